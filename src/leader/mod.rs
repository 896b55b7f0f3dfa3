// SPDX-License-Identifier: Apache-2.0
//! The control socket: how a running gateway is found, asked and changed.
//!
//! ```text
//!    vita config ──► Client ─┐                        ┌─► Server ──► dispatch ──► Handler
//!    snabb config ───────────┴─► <run directory> ─────┘   connections, frames     (whoever runs the
//!    NETCONF agents              config-leader-socket     bounded, non-blocking    configuration)
//! ```
//!
//! The protocol is that of deployed `snabb config` clients: frames (`frame`) that hold YANG text, which
//! are calls of the module snabb-config-leader-v1 (`message`), each answered by one reply group.
//! `rundir` is where the socket lies. This room knows nothing of gateways: it carries paths and values
//! to the one `Handler` and its answers back.
//!
//! Trust: the socket is for root and the user that the gateway runs as. The run directory and the socket
//! are closed to others, and the credentials of every peer are checked besides. A peer that breaks the
//! protocol, floods, or stops reading loses its own connection and nothing else.
//!
//! A client may become the listener (`attach-listener`): until it leaves, nobody else may change the
//! configuration. Alarms can be asked for, and there are none: no state of a gateway is an alarm so far.
//! Beside the socket lies another, `notifications`, on which alarms would be announced.
//!
//! Changes are made one at a time, in the order in which clients came with them; questions are answered meanwhile, from
//! the configuration before.
//!
//! Limits: notifications go out by their own socket only, so attach-notification-listener has
//! nothing to attach and closes the connection, as in deployed instances.

mod alarms;
mod client;
mod connection;
mod dispatch;
mod extension;
pub mod frame;
mod handler;
mod message;
mod notifications;
mod peer;
mod reserve;
pub mod rundir;
mod server;

pub use client::{Client, ClientError};
pub use extension::{Change, Extended, Extension};
pub use frame::MAX_REQUEST;
pub use handler::Handler;
pub use message::{BadMessage, Edit, Query, Reply, Request};
pub use server::Server;
