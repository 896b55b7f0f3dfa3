// SPDX-License-Identifier: Apache-2.0
//! What the control thread tells a worker, and what comes back to be freed.

use crate::esp::OutboundSa;
use crate::graph::{Leftover, Plan, Reroute};
use crate::route::PeerNumber;
use crate::stage::{Datagram, Overheard, SadEntry};
use crate::wait::Doorbell;
use std::sync::Arc;

/// What the control thread tells a worker.
pub enum Command {
    Replan(Box<Plan>),
    Reroute(Box<Reroute>),
    Install(Box<SadEntry>),
    Remove {
        spi: u32,
    },
    /// Makes an SA the one that packets to a peer are sealed with, or none.
    Activate {
        peer: PeerNumber,
        sa: Option<Box<OutboundSa>>,
    },
    /// Sends a dummy packet through the tunnel of a peer.
    SendDummy {
        peer: PeerNumber,
    },
    Send(Datagram),
    /// Tells the neighbours where this gateway is.
    Announce,
    /// What a neighbour has told everyone.
    Hear(Overheard),
    /// How to wake the other workers, by their place.
    Acquaint(Bells),
}

/// The bells of all workers, by their place.
pub type Bells = Vec<Option<Arc<Doorbell>>>;

/// What a worker has no more use for.
pub enum Retired {
    Plan(Leftover),
    Routes(Box<Reroute>),
    Inbound(Box<SadEntry>),
    Outbound(Box<OutboundSa>),
    Bells(Bells),
}
