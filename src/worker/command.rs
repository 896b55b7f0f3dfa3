// SPDX-License-Identifier: Apache-2.0
//! Commands to a worker, and the memory that it returns to be freed.

use crate::esp::OutboundSa;
use crate::graph::{Plan, Reroute, RetiredPlan};
use crate::route::PeerNumber;
use crate::stage::{Datagram, NeighbourFrame, SadEntry};
use crate::wait::EventFd;
use std::sync::Arc;

/// A command from the control thread to a worker.
pub enum Command {
    /// Goes over to another plan.
    Replan(Box<Plan>),
    /// Changes routes only.
    Reroute(Box<Reroute>),
    /// Accepts packets of an inbound SA.
    Install(Box<SadEntry>),
    /// Accepts packets of an inbound SA no more.
    Remove {
        /// Its SPI.
        spi: u32,
    },
    /// Makes an SA the one that packets to a peer are sealed with, or none.
    Activate {
        /// The peer.
        peer: PeerNumber,
        /// The SA; none: packets to the peer are dropped.
        sa: Option<Box<OutboundSa>>,
    },
    /// Sends a dummy packet through the tunnel of a peer.
    SendDummy {
        /// The peer.
        peer: PeerNumber,
    },
    /// Sends a message of the key exchange.
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
    /// The plan before.
    Plan(RetiredPlan),
    /// The routes before.
    Routes(Box<Reroute>),
    /// An inbound SA.
    Inbound(Box<SadEntry>),
    /// An outbound SA.
    Outbound(Box<OutboundSa>),
    /// Descriptors that woke the other workers before.
    Wakeups(Wakeups),
}
