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
mod message;
mod notifications;
mod peer;
mod reserve;
pub mod rundir;
mod server;

use crate::yang::format::Format;
use std::task::Poll;

pub use client::{Client, ClientError};
pub use extension::{Change, Extended, Extension};
pub use frame::MAX_REQUEST;
pub use message::{BadMessage, Edit, Query, Reply, Request};
pub use server::Server;

/// What the control socket serves. Errors are shown to the user as they are, so they name the path, the
/// value and what was expected.
pub trait Handler {
    /// Name of the schema that paths and values belong to.
    fn schema(&self) -> &str;
    /// YANG text of a schema, if this one is known.
    fn schema_source(&self, schema: &str) -> Option<&str>;
    fn get_config(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String>;
    fn get_state(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String>;
    /// Whether a change is under way, so that none of the calls below may be made.
    fn is_busy(&self) -> bool {
        false
    }
    /// What came of the call of those below that was made last and not refused: an error, with nothing changed; another text
    /// than the call gave, if there is one. `Pending` until the change is in effect.
    fn outcome(&mut self) -> Poll<Result<Option<String>, String>> {
        Poll::Ready(Ok(None))
    }
    /// Begins a change, or refuses it.
    fn set_config(&mut self, path: &str, config: &str) -> Result<(), String>;
    fn add_config(&mut self, path: &str, config: &str) -> Result<(), String>;
    fn remove_config(&mut self, path: &str) -> Result<(), String>;
    /// What deployed instances do not offer. The text that is shown in answer.
    fn extension(&mut self, _: &Extension) -> Result<String, String> {
        Err("this instance has no history and no dry run".to_owned())
    }
}
