// SPDX-License-Identifier: Apache-2.0
//! Tables that a packet is looked up in: prefixes to routes ([`PrefixTable`]), SPIs to security associations
//! ([`SpiTable`]).
//!
//! ```text
//!   destination ── PrefixTable ──► RouteNumber ── the active peer ──► PeerNumber ──► tunnel, outbound SA
//!   SPI ────────── SpiTable ─────► Slot ──► inbound SA, with its RouteNumber and PeerNumber
//! ```
//!
//! The prefix table is immutable: the control thread builds a new one for each change of the routes and the
//! workers exchange a pointer. The SPI table belongs to a worker and changes in place, without allocation.

mod lpm;
mod spi;

pub use lpm::PrefixTable;
pub use spi::{Slot, SpiTable};

/// The number by which workers know a route: its prefixes lead to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RouteNumber(pub u32);

/// The number by which workers know a peer, which is a gateway of a route: its tunnel and its outbound SA have it. A route may
/// have several peers, of which one is active.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PeerNumber(pub u32);

impl PeerNumber {
    /// No peer: it has no tunnel.
    pub const NONE: PeerNumber = PeerNumber(u32::MAX);
}
