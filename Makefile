# SPDX-License-Identifier: Apache-2.0

# Rust as rustup installs it, also where the shell's profile was not read; and tools that only root has in its path.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin
SHELL := /bin/bash
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help build demo test miri bench bpf fuzz lint clippy oldest-rust deny clean packages

help:
	@echo "make demo      two gateways, two sites and the internet on this machine: raise it, use it, check it, remove it"
	@echo "               (make demo KEEP=1 leaves it up to look around)"
	@echo "make test      everything: unit tests, device tests and end-to-end tests with the real daemon (as root)"
	@echo "make miri      frames, rings and the packet path under Miri, which sees undefined behaviour (needs a nightly"
	@echo "               toolchain with it); CI does it where there is one"
	@echo "make build     target/release/vita"
	@echo "make bench     how fast it all is: a table, a document and a plot in target/bench (six minutes and the build; AF_XDP as root)"
	@echo "make fuzz      one minute of random input for each parser and for the whole packet path (needs a nightly toolchain and cargo-fuzz)"
	@echo "make lint      formatting, clippy (of benches, too) and documentation, warnings are errors"
	@echo "make oldest-rust   whether the oldest Rust that Cargo.toml promises still compiles it (needs that toolchain)"
	@echo "make deny      licences, bans and sources of dependencies by deny.toml (needs cargo-deny)"
	@echo "make bpf       rebuild the XDP program (the built object is in the repository; only needed after a change)"
	@echo "make clean     remove what was built"
	@echo
	@echo "demo and test install what is missing of the packages in apt-packages.txt (Debian, Ubuntu)."

packages:
	@tools/install-packages

build: packages
	$(CARGO) build --release --locked

demo:
	@KEEP='$(KEEP)' examples/ec2-k8s/demo.sh

# AF_XDP sockets and network namespaces need root. Saying so at once is better than a hundred failed tests.
test:
	@[ "$$(id -u)" -eq 0 ] || { echo "make test: needs root for AF_XDP sockets and network namespaces; try: sudo -E make test" >&2; exit 1; }
	@$(MAKE) --no-print-directory packages
	$(CARGO) build $(LIBXDP)
	$(CARGO) test --locked

# The program that tests/xdp_peer.rs drives. The test builds it if it is missing; built here, its messages are seen.
LIBXDP := --locked --manifest-path tests/libxdp/Cargo.toml --target-dir $(or $(CARGO_TARGET_DIR),target)

# Under both models of what pointers may do. Few cases, because Miri interprets: two minutes in all, and the build.
HAS_MIRI := RUSTUP_AUTO_INSTALL=0 $(CARGO) +nightly miri --version >/dev/null 2>&1
INSTALL_MIRI := rustup toolchain install nightly --component miri --component rust-src
MIRI_CASES := PROPTEST_CASES=4 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true $(CARGO) +nightly miri test --locked
miri:
	@$(HAS_MIRI) || { echo "make miri: Miri is not on this machine; to have it: $(INSTALL_MIRI)" >&2; exit 1; }
	for model in "" -Zmiri-tree-borrows; do \
	  export MIRIFLAGS="-Zmiri-disable-isolation $$model"; \
	  $(MIRI_CASES) --lib -- frame::batch frame::pool xdp::ring && \
	  $(MIRI_CASES) --test vita -- --exact $(MIRI_PATHS) || exit 1; \
	done
# One packet sealed and opened; two cut before.
MIRI_PATHS := \
	packet_path::a_packet_arrives_at_the_other_site_two_hops_older_and_unreadable_on_the_way \
	packet_path::a_packet_beyond_the_mtu_that_may_be_fragmented_arrives_in_pieces

FIGURES := $(CURDIR)/target/bench/figures.jsonl
BENCHES := gateway aead tables exchange veth
bench: packages
	@mkdir -p $(dir $(FIGURES)) && rm -f $(FIGURES)
	VITA_FIGURES=$(FIGURES) $(CARGO) bench --locked $(addprefix --bench ,$(BENCHES))
	VITA_FIGURES=$(FIGURES) $(CARGO) bench --locked --bench report

# The corpus in fuzz/corpus is replayed by `make test` as well, without any of this.
FUZZ_TARGETS := text path framing leader json ledger wire graph exchange
fuzz: packages
	@$(CARGO) +nightly --version >/dev/null 2>&1 || { \
	  echo "make fuzz: needs a nightly toolchain, which is not on this machine: rustup toolchain install nightly" >&2; exit 1; }
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { \
	  echo "make fuzz: needs cargo-fuzz, which is not on this machine: cargo install cargo-fuzz" >&2; exit 1; }
	for target in $(FUZZ_TARGETS); do $(CARGO) +nightly fuzz run $$target -- -max_total_time=60 || exit 1; done

bpf: packages
	bpf/build.sh

lint clippy: packages
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) fmt --check --manifest-path tests/libxdp/Cargo.toml
	$(CARGO) clippy $(LIBXDP) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --lib

# The version in Cargo.toml. In a directory of its own, so that nothing is built again for the usual toolchain.
OLDEST_RUST := $(shell sed -n 's/^rust-version = "\(.*\)".*/\1/p' Cargo.toml)
oldest-rust:
	@RUSTUP_AUTO_INSTALL=0 $(CARGO) +$(OLDEST_RUST) --version >/dev/null 2>&1 || { \
	  echo "make oldest-rust: Rust $(OLDEST_RUST) is not on this machine; to have it: rustup toolchain install $(OLDEST_RUST)" >&2; exit 1; }
	$(CARGO) +$(OLDEST_RUST) check --locked --all-targets --target-dir target/oldest-rust

# Advisories change without any change of ours, so they are no reason for CI to fail.
deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
	  echo "make deny: cargo-deny is not on this machine; to have it: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --locked check licenses bans sources

clean:
	$(CARGO) clean
