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

#![warn(unreachable_pub)]

// Rooms that touch kernel memory, share memory between threads or use CPU instructions directly may use `unsafe`. Rooms
// that parse input from outside never unwrap, and those on the packet path never index. Rooms that are used by many document every public item.

#[warn(missing_docs)]
#[allow(unsafe_code)]
pub mod aead;
pub mod cli;
#[warn(missing_docs)]
pub mod clock;
pub mod config;
pub mod control;
#[warn(missing_docs)]
pub mod count;
#[warn(missing_docs)]
pub mod daemon;
#[warn(missing_docs)]
pub mod device;
#[warn(missing_docs)]
#[deny(clippy::unwrap_used, clippy::expect_used)]
#[cfg_attr(not(test), deny(clippy::indexing_slicing))]
pub mod esp;
#[warn(missing_docs)]
pub mod exchange;
#[warn(missing_docs)]
#[allow(unsafe_code)]
pub mod frame;
#[warn(missing_docs)]
pub mod graph;
pub mod leader;
#[warn(missing_docs)]
pub mod limit;
#[warn(missing_docs)]
#[allow(unsafe_code)]
pub mod prefetch;
#[warn(missing_docs)]
#[allow(unsafe_code)]
pub mod process;
#[warn(missing_docs)]
pub mod route;
#[warn(missing_docs)]
pub mod sa;
#[warn(missing_docs)]
#[deny(clippy::unwrap_used, clippy::expect_used)]
#[cfg_attr(not(test), deny(clippy::indexing_slicing))]
pub mod stage;
#[warn(missing_docs)]
#[allow(unsafe_code)]
pub mod wait;
#[deny(clippy::unwrap_used, clippy::expect_used)]
#[cfg_attr(not(test), deny(clippy::indexing_slicing))]
pub mod wire;
#[warn(missing_docs)]
pub mod worker;
#[allow(unsafe_code)]
pub mod xdp;
#[deny(clippy::unwrap_used, clippy::expect_used)]
pub mod yang;

/// In the tests and benches, too: its cost is in all figures.
#[global_allocator]
static ALLOCATOR: process::Erasing = process::Erasing;
