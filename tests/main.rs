// SPDX-License-Identifier: Apache-2.0
//! The integration tests, one program: each module is the stories of one subject, told through the public interface of
//! the library, the control socket or the wire. `cargo test --test vita SUBJECT::` runs those of one subject.
//!
//! * in memory: packet path, key exchange, golden cases, control protocol, YANG model; they run in parallel
//! * with network namespaces and the real daemon: as root; `support::netns::Turn` says how many run at a time
//! * with what the whole process has: such a story starts this program again for itself (`support::alone`)

mod associations;
mod bpf_object;
mod class_path;
mod cli;
mod drop_reasons;
mod exchange;
mod fail_closed;
mod families;
mod fuzz_corpus;
#[allow(unsafe_code)]
mod gateway;
mod golden;
mod leader;
mod neighbours;
mod packet_path;
mod packet_path6;
mod path_mtu;
mod policy_path;
mod process;
mod reroute;
mod route_counts;
mod scapy_peer;
mod state_tree;
#[allow(unsafe_code)]
mod support;
mod tidy;
mod traffic_class;
#[allow(unsafe_code)]
mod transactions;
mod transcript;
mod worker;
mod xdp;
mod xdp_device;
mod xdp_leak;
mod xdp_peer;
mod yang_oracle;
