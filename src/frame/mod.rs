// SPDX-License-Identifier: Apache-2.0
//! Packet buffers. A [`Frame`] owns exactly one chunk of its [`Pool`]; dropping it gives the chunk back.
//!
//! ```text
//!   chunk, 4096 bytes
//!   ├── headroom ──┬──────── data ────────┬── tailroom ──┤
//!                  prepend ◄              ► append
//! ```
//!
//! The pool is plain anonymous memory, so the same frames serve tests and benches (where nothing else knows
//! the memory) and AF_XDP (where `xdp/` registers it as the UMEM and chunks wander through kernel rings as
//! addresses, see [`Frame::into_address`]). A packet is sealed or opened where it lies: outer headers go into
//! the headroom, the ESP trailer and ICV into the tailroom.
//!
//! Limits: a frame never spans chunks; pool and frames belong to one thread.

mod batch;
mod packet_ring;
mod pool;
mod port;

pub use batch::{Annotated, Batch, Notes};
pub use packet_ring::PacketRing;
pub use pool::{Frame, Pool};
pub use port::{Memory, Port};

/// Bytes of one chunk: [`Pool::CHUNK_SIZE`]. A constant, because every access to a frame computes with it.
const CHUNK: usize = 4096;

/// Bytes in front of the data of a fresh frame, as the kernel leaves them in front of a received one
/// (`XDP_PACKET_HEADROOM`). Outer Ethernet, IPv6 and ESP headers take 70.
const HEADROOM: usize = 256;

/// Frames that travel together. Large enough to spread the cost of a system call, small enough that
/// headers and keys of a batch stay in the first-level cache.
pub const BATCH: usize = 64;
