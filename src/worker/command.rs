// SPDX-License-Identifier: Apache-2.0
//! Commands to a worker, and the memory that it returns to be freed.

use crate::esp::OutboundSa;
use crate::graph::{Leftover, Plan, Reroute};
use crate::route::PeerNumber;
use crate::stage::{Datagram, NeighbourFrame, SadEntry};
use crate::wait::EventFd;
use std::sync::Arc;

/// A command from the control thread to a worker.
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
    /// A frame that a neighbour sent to all, passed on by the control thread.
    ReceiveNeighbour(NeighbourFrame),
    /// Sets the descriptors that wake the other workers.
    SetWakeups(Wakeups),
}

/// The wake-up descriptors of all workers, indexed by handoff place.
pub type Wakeups = Vec<Option<Arc<EventFd>>>;

/// Memory that a worker no longer needs; the control thread frees it.
pub enum Retired {
    Plan(Leftover),
    Routes(Box<Reroute>),
    Inbound(Box<SadEntry>),
    Outbound(Box<OutboundSa>),
    Wakeups(Wakeups),
}
