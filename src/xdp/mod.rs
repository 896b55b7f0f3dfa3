// SPDX-License-Identifier: Apache-2.0
//! AF_XDP: how packets get from a queue of an interface to a worker and back without the kernel's stack.
//!
//! ```text
//!                    ┌─────────── one Umem (a frame::Pool the kernel knows) ───────────┐
//!                    │                                                                 │
//!   private queue ──►│ rx ring ─► Batch of Frames ─► worker ─► Batch ─► tx ring        │──► public queue
//!      Socket    ◄──►│ fill ring ◄── free chunks ◄── completion ring                   │◄──►   Socket
//!                    └─────────────────────────────────────────────────────────────────┘
//!
//!   Device    what the interface is like, read before it is used
//!   Program   the XDP program on it: sends frames that are ours to the sockets, the rest to the kernel
//!   Listener  what the program leaves to the kernel and the gateway has to know all the same
//!   Umem      the packet memory of one worker
//!   Socket    one queue of one interface; a frame::Port
//! ```
//!
//! Both sockets of a worker work on one memory, so a chunk that arrives on one leaves on the other. A received
//! frame starts behind the headroom of its chunk and may be sent from any offset.
//!
//! A program belongs to the thread that configures and may be shared; memory and sockets belong to the worker
//! that made them. What a worker calls for each batch ([`Socket`] as a [`Port`](crate::frame::Port)) neither
//! allocates nor locks, and makes a system call only where the kernel asks for one.
//!
//! Limits: one buffer per frame, so no MTU above about 3500 to 3800; chunks in the kernel when a socket is
//! closed stay out of the pool, so memory and its sockets are made and dropped together.

mod bind;
mod device;
mod link;
mod listener;
mod netlink;
mod pin;
mod program;
mod ring;
mod socket;
mod umem;

pub use bind::BindError;
pub use device::{Device, DeviceError, Lower, Offloads, Queues};
pub use listener::{Interest, Listener};
pub use pin::{PinError, Pins};
pub use program::{Filter, Hook, Program, ProgramError, Unserved};
pub use socket::{InterfaceStatistics, KernelStatistics, Mode, Options, Socket, is_unbound};
pub use umem::Umem;
