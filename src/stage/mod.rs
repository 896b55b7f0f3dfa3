// SPDX-License-Identifier: Apache-2.0
//! The steps of the packet path, one file per kind of node; `graph.rs` wires them. A stage of the fast path looks at one
//! packet (`classify`, `check`, `lookup`, `decapsulate`) and gives what it found, or the [`Exception`] or [`Reason`] for which
//! the packet goes no further: so several stages look at a packet in one pass over the batch. Sealing and opening take whole
//! batches, for the sake of the cryptography, and so do stages that few packets come to. A frame starts, by place, with
//!
//! ```text
//!   port ─[Ethernet]─► dispatch … router ─[IP]─► seal ─[Ethernet]─► port
//!   port ─[Ethernet]─► dispatch, router ─[outer IP]─► decrypt … ttl ─[IP]─► next hop ─[Ethernet]─► port
//! ```
//!
//! Every frame that does not reach an output is counted under the leaf of its reason. The batches that are filled are empty
//! before and each holds as many frames as the one that is emptied, so they never overflow.
//!
//! Batches hold packets of both families, told apart by their first byte. Where a stage does the same for both, that is a
//! match per packet; where they differ (`icmp`, `next_hop`), the family's part is a file of its own below the stage.

pub mod dispatch;
mod exception;
mod exchange;
pub mod handoff;
mod icmp;
mod meter;
mod next_hop;
mod open;
mod partial;
mod path;
mod policy;
pub mod router;
mod seal;
pub mod ttl;
mod tunnel;

pub use dispatch::{PrivateDispatch, PublicDispatch};
pub use exception::{Diverted, Drops, Exception, Owner};
pub use exchange::{Datagram, ExchangeFilter, datagram_frame};
pub use handoff::{Handoff, Mailbox, Owners};
pub use icmp::{Icmp, IcmpNode, Problem};
pub use meter::Meter;
pub use next_hop::{LinkHeaders, Neighbour, NeighbourFrame, NextHop, ResolvedMac};
pub use open::{Confirmed, Located, Open, SadEntry, Verdict};
pub use partial::PartialChecksums;
pub use path::PathMtu;
pub use router::PrivateRouter;
pub use seal::{Seal, Unsent};
pub use tunnel::Tunnel;

use crate::count::Reason;
use crate::frame::Frame;
use crate::route::PeerNumber;
use crate::wire::{Mac, ipv4, ipv6};
use arrayvec::ArrayVec;
use std::net::IpAddr;

/// Something for the log, which a worker does not write itself.
#[allow(missing_docs, reason = "names of fields say it")]
#[derive(Clone, Debug)]
pub enum Event {
    /// An ESP packet that was dropped (RFC 4303 section 3.4.3: an auditable event).
    NotDecapsulated { reason: Reason, spi: u32, sequence_low: u32, source: IpAddr, destination: IpAddr },
    /// A packet came out of a tunnel with a source that its route does not have (RFC 4301 section 5.2: an auditable event).
    ForbiddenSource { spi: u32, inner_source: IpAddr, inner_destination: IpAddr, peer: IpAddr },
    /// A datagram for the key exchange that no gateway of ours sent: about a route that is not known, or from an address
    /// that is not that of the route's gateway.
    Stranger { source: IpAddr, spi: u32, is_known: bool },
    /// An ICMP error about a packet of ours, and the first bytes of that packet.
    Icmp { source: IpAddr, kind: u8, code: u8, excerpt: ArrayVec<u8, EXCERPT> },
    /// The path to a peer is narrower than was known: what it carries, and the longest inner packet that fits.
    PathMtu { peer: PeerNumber, path_mtu: u16, inner_mtu: u16 },
    /// Packets from inside have checksums that are not finished. Once.
    PartialChecksum,
    /// A next hop has a new address.
    NextHop { ip: IpAddr, mac: Mac },
}

/// Bytes of an excerpt: an IPv6 header and eight more.
const EXCERPT: usize = 48;

/// Events of one pass through the graph; what exceeds it is dropped, the counters have it.
pub type Events = ArrayVec<Event, 16>;

/// Puts an IP header in front of a packet of our own. The addresses are of one family.
fn prepend_ip(frame: &mut Frame, class: u8, protocol: u8, source: IpAddr, destination: IpAddr) -> Option<()> {
    let payload_len = frame.len() as u16;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = ipv4::Header::of_ours(protocol, source, destination, payload_len);
            ipv4::Header { tos: class, ..header }.write(frame.prepend_chunk()?);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = ipv6::Header::of_ours(protocol, source, destination, payload_len);
            ipv6::Header { traffic_class: class, ..header }.write(frame.prepend_chunk()?);
        }
        _ => return None,
    }
    Some(())
}
