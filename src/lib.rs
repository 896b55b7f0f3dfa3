// SPDX-License-Identifier: Apache-2.0
//! Vita: an IPsec gateway in user space.
//!
//! A gateway stands between a private network and a public one. It seals packets from the private side, sends
//! them to other gateways, and opens the packets that these send.
//!
//! `docs/architecture.md` has the picture: threads, rooms, which room may use which, and the order in which to
//! read them. Each room begins with a comment of its own. The program is [`cli::run`]. `docs/security.md` says what
//! the design protects against, why a default is what it is, and which attacks do not apply.
//!
//! The library serves the program, its tests, benches and fuzz targets; its interface may change with any
//! version.

// Rooms that touch kernel memory, share memory between threads or use CPU instructions directly may use `unsafe`. Rooms
// that parse input from outside never unwrap.

#[allow(unsafe_code)]
pub mod aead;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod count;
pub mod daemon;
pub mod device;
#[deny(clippy::unwrap_used, clippy::expect_used)]
pub mod esp;
pub mod exchange;
#[allow(unsafe_code)]
pub mod frame;
pub mod graph;
pub mod leader;
pub mod limit;
#[allow(unsafe_code)]
pub mod prefetch;
#[allow(unsafe_code)]
pub mod process;
pub mod route;
pub mod sa;
#[deny(clippy::unwrap_used, clippy::expect_used)]
pub mod stage;
#[allow(unsafe_code)]
pub mod wait;
#[deny(clippy::unwrap_used, clippy::expect_used)]
pub mod wire;
pub mod worker;
#[allow(unsafe_code)]
pub mod xdp;
#[deny(clippy::unwrap_used, clippy::expect_used)]
pub mod yang;

/// In the tests and benches, too: its cost is in all figures.
#[global_allocator]
static ALLOCATOR: process::Erasing = process::Erasing;
