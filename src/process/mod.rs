// SPDX-License-Identifier: Apache-2.0
//! What the gateway's process may do, and what it leaves behind: its log, its privileges, its memory.
//!
//! ```text
//!   start ──► harden      no core dump, not traceable, no_new_privs, memory locked
//!         ──► Log         standard error behind a bounded queue: nobody who logs waits
//!   started ──► limit     capabilities: the five
//!   worker, sockets bound ──► confine      no capability, a list of system calls
//!   every free ──► Erasing                 memory is overwritten before it is given back
//! ```
//!
//! An operator with root still reads the memory of the process; these measures keep keys out of files, swap and reports, and
//! out of reach of what breaks into a worker.

mod confine;
mod erase;
mod generation;
mod log;
mod privileges;
mod schedule;

pub use confine::{ConfineError, confine};
pub use erase::{Erasing, erase_stack};
pub use generation::Generation;
pub use log::Log;
pub use privileges::{harden, limit, lock_again};
pub use schedule::realtime;
