// SPDX-License-Identifier: Apache-2.0
//! What becomes of packets that leave the fast path: put aside for another stage, or dropped and accounted for.
//!
//! ```text
//!   stage ── Err(Exception) ──┬── Diverted: to the gateway itself, from neighbours, to be answered by an ICMP error, ..
//!         └─ Err(Reason) ─────┴── Drops: counters of gateway, route and SA; the audit log
//! ```

use super::icmp::Problem;
use super::open::SadEntry;
use super::{Event, Events, Tunnel};
use crate::count::{Counters, OwnerCounters, Reason};
use crate::frame::{BATCH, Batch, Frame};
use crate::limit::TokenBucket;
use crate::route::PeerNumber;
use crate::wire::esp::{self, Esp};
use crate::wire::ip::Ip;
use arrayvec::ArrayVec;
use std::net::IpAddr;

/// Why a packet leaves the fast path.
#[derive(Clone, Copy)]
pub enum Exception {
    /// To an address of the gateway itself.
    Local,
    /// ARP, neighbour discovery, or a query of multicast listener discovery.
    Neighbour,
    /// To the port of the key exchange.
    KeyExchange,
    /// Its time to live is over.
    TimeExceeded,
    /// Longer than its peer's tunnel takes, and not to be fragmented.
    TooBig {
        /// The peer whose tunnel it does not fit.
        peer: PeerNumber,
        /// Whether the sender hears of it.
        is_reported: bool,
    },
    /// Longer than its peer's tunnel takes, and to be fragmented.
    Oversize(PeerNumber),
    /// The link-layer address of the next hop is not known yet.
    Unresolved,
    /// It is dropped.
    Drop(Reason),
}

/// Packets of one batch that left the fast path, by what is to be done with them. They start with their IP header.
#[derive(Default)]
pub struct Diverted {
    /// To the gateway itself.
    pub local: Batch,
    /// Messages of neighbours: whole frames.
    pub neighbours: Batch,
    /// To the key exchange.
    pub key_exchange: Batch,
    /// To be answered by an ICMP error.
    pub problems: ArrayVec<(Frame, Problem), BATCH>,
    /// To be fragmented for the tunnel of their peer.
    pub oversize: ArrayVec<(Frame, PeerNumber), BATCH>,
    /// To wait for the address of the next hop.
    pub unresolved: Batch,
}

/// Accounts for packets that are dropped: the counters of the gateway, of the route and of the SA, and the audit log.
pub struct Drops {
    /// For the log; whoever drives the graph takes them.
    pub events: Events,
    /// Enough to see an attack or a key mismatch in the log, too little to flood it.
    audited_packets: TokenBucket,
    audited_messages: TokenBucket,
}

/// Owner of a dropped packet, as far as it is known.
pub enum Owner<'a> {
    /// Nothing that is known.
    Nothing,
    /// A tunnel, if there is one for its peer.
    Tunnel(Option<&'a Tunnel>),
    /// An inbound SA. The ESP header is at `offset` of the packet.
    Sa {
        /// The SA.
        entry: &'a SadEntry,
        /// Where in the packet its ESP header is.
        offset: u16,
    },
    /// A message of the key exchange, about the route with this SPI.
    Message {
        /// Who sent it.
        source: IpAddr,
        /// The route that it is about.
        route_spi: u32,
    },
}

impl From<Reason> for Exception {
    #[inline(always)]
    fn from(reason: Reason) -> Exception {
        Exception::Drop(reason)
    }
}

impl Diverted {
    /// Whether all packets went the fast path.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.local.is_empty()
            && self.neighbours.is_empty()
            && self.key_exchange.is_empty()
            && self.problems.is_empty()
            && self.oversize.is_empty()
            && self.unresolved.is_empty()
    }
}

impl Default for Drops {
    fn default() -> Drops {
        Drops {
            events: Events::new(),
            audited_packets: TokenBucket::per_second(5, 20),
            audited_messages: TokenBucket::per_second(1, 10),
        }
    }
}

impl Drops {
    /// Puts a packet aside that left the fast path, or accounts for it if it is dropped.
    #[cold]
    pub fn divert(
        &mut self,
        now_ns: u64,
        exception: Exception,
        frame: Frame,
        owner: Owner<'_>,
        into: &mut Diverted,
        counters: &Counters,
    ) {
        match exception {
            Exception::Local => into.local.push(frame),
            Exception::Neighbour => into.neighbours.push(frame),
            Exception::KeyExchange => into.key_exchange.push(frame),
            Exception::TimeExceeded => into.problems.push((frame, Problem::TimeExceeded)),
            Exception::TooBig { is_reported, .. } => {
                let mtu = owner.mtu();
                self.account(now_ns, Reason::TooBig, owner, &frame, counters);
                if is_reported {
                    into.problems.push((frame, Problem::TooBig { mtu }));
                }
            }
            Exception::Oversize(peer) => into.oversize.push((frame, peer)),
            Exception::Unresolved => into.unresolved.push(frame),
            Exception::Drop(reason) => self.account(now_ns, reason, owner, &frame, counters),
        }
    }

    /// Accounts for a packet that is dropped.
    #[cold]
    pub fn account(
        &mut self,
        now_ns: u64,
        reason: Reason,
        owner: Owner<'_>,
        packet: &Frame,
        counters: &Counters,
    ) {
        counters.dropped(1, reason, owner.counters());
        if self.events.is_full() {
            return;
        }
        let (event, budget) = match owner {
            Owner::Nothing | Owner::Tunnel(_) => return,
            Owner::Sa { entry, offset } => {
                (audit_packet(reason, packet, offset, entry), &mut self.audited_packets)
            }
            Owner::Message { source, route_spi } => {
                (audit_message(reason, source, route_spi), &mut self.audited_messages)
            }
        };
        if let Some(event) = event
            && budget.spend(now_ns)
        {
            self.events.push(event);
        }
    }
}

impl<'a> Owner<'a> {
    /// The longest packet that its tunnel takes.
    fn mtu(&self) -> u16 {
        match self {
            Owner::Tunnel(Some(tunnel)) => tunnel.mtu,
            _ => 0,
        }
    }

    fn counters(&self) -> OwnerCounters<'a> {
        match *self {
            Owner::Nothing | Owner::Message { .. } => OwnerCounters::default(),
            Owner::Tunnel(tunnel) => {
                OwnerCounters { route: tunnel.map(|tunnel| &tunnel.stats.counters), sa: None }
            }
            Owner::Sa { entry, .. } => {
                OwnerCounters { route: Some(&entry.stats.counters), sa: Some(&entry.counters) }
            }
        }
    }
}

/// RFC 4303 section 3.4.3 and RFC 4301 section 5.2: auditable events.
fn audit_packet(reason: Reason, packet: &Frame, offset: u16, entry: &SadEntry) -> Option<Event> {
    let (spi, outer) = (entry.sa.spi(), Ip::parse(packet.data()).ok()?);
    let esp = packet.data().get(usize::from(offset)..)?;
    match reason {
        Reason::ForbiddenSource => {
            // The inner packet has been decrypted in place.
            let inner = Ip::parse(esp.get(esp::HEADER..)?).ok()?;
            let (inner_source, inner_destination) = (inner.source(), inner.destination());
            Some(Event::ForbiddenSource { spi, inner_source, inner_destination, peer: outer.source() })
        }
        Reason::TooShort
        | Reason::Replayed
        | Reason::Forged
        | Reason::BadPadding
        | Reason::BadNextHeader
        | Reason::Congestion => Some(Event::NotDecapsulated {
            reason,
            spi,
            sequence_low: Esp::parse(esp).map_or(0, |esp| esp.sequence_low()),
            source: outer.source(),
            destination: outer.destination(),
        }),
        _ => None,
    }
}

fn audit_message(reason: Reason, source: IpAddr, spi: u32) -> Option<Event> {
    let is_known = match reason {
        Reason::ExchangeSource => true,
        Reason::ExchangeRoute => false,
        _ => return None,
    };
    Some(Event::Stranger { source, spi, is_known })
}
