// SPDX-License-Identifier: Apache-2.0
//! The link-layer address that all packets of an interface go to: configured, or asked for.
//!
//! ```text
//!   NextHop ──┬── Neighbour of IPv4 ── arp.rs: asks and answers with ARP (RFC 826)
//!             └── Neighbour of IPv6 ── nd.rs: asks and answers with neighbour discovery (RFC 4861)
//! ```
//!
//! The router of an interface may have another address for each family, and so may be two routers. When to ask, what to
//! believe and what to do with packets that have to wait is the same for both.
//!
//! Sealing writes several headers in front of a packet, and while the way is known, that of Ethernet with them: see
//! [`Ways`]. Then there is nothing left to do here.
//!
//! A question leaves every few seconds whether or not the answer is known. That is how a router that fails over without
//! a word is found, and it takes the place of neighbour unreachability detection (RFC 4861 section 7.3).

mod arp;
mod nd;

use super::{Event, Events};
use crate::count;
use crate::frame::{Batch, Frame, Pool, Port};
use crate::wire::Mac;
use crate::wire::ethernet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet};
use crate::wire::ip::Family;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An address that several workers may use while one of them finds it out.
#[derive(Default)]
pub struct Resolved(AtomicU64);

/// One interface's neighbours, one for each family at most.
pub struct NextHop {
    own_mac: Mac,
    v4: Option<Neighbour>,
    v6: Option<Neighbour>,
    waiting: Batch,
    waiting_since_ns: u64,
}

/// Who gets the packets of one family.
pub struct Neighbour {
    own_ip: IpAddr,
    ip: IpAddr,
    address: Arc<Resolved>,
    /// Whether it may tell us its address; not when that is configured.
    learns: bool,
    /// When the next question is due; never where another worker asks.
    ask_at_ns: u64,
}

/// What a neighbour said, as far as it matters.
#[derive(Default)]
struct Heard {
    /// That it has the next hop's address.
    told: Option<Told>,
    /// That it wants to know ours: where it is.
    asker: Option<(IpAddr, Mac)>,
}

struct Told {
    mac: Mac,
    /// Whether this replaces an address that is known.
    overrides: bool,
}

/// It said nothing that makes sense.
struct Nonsense;

impl Resolved {
    /// The address, once it is known.
    #[inline]
    pub fn mac(&self) -> Option<Mac> {
        let [known, _, mac @ ..] = self.0.load(Ordering::Relaxed).to_be_bytes();
        (known != 0).then_some(Mac(mac))
    }

    pub fn set(&self, mac: Mac) {
        let Mac([a, b, c, d, e, f]) = mac;
        self.0.store(u64::from_be_bytes([1, 0, a, b, c, d, e, f]), Ordering::Relaxed);
    }
}

impl Neighbour {
    /// The neighbour `ip`, of the same family as `own_ip`. `configured` is its address if that is not to be asked for;
    /// `asks` says whether this worker does the asking.
    pub fn new(
        own_ip: IpAddr,
        ip: IpAddr,
        configured: Option<Mac>,
        address: Arc<Resolved>,
        asks: bool,
    ) -> Neighbour {
        if let Some(mac) = configured {
            address.set(mac);
        }
        let learns = configured.is_none();
        let ask_at_ns = if asks && learns { 0 } else { u64::MAX };
        Neighbour { own_ip, ip, address, learns, ask_at_ns }
    }

    /// Whether the other describes the same neighbour, so that what is known of it stays true.
    fn is_same(&self, other: &Neighbour) -> bool {
        (self.own_ip, self.ip, self.learns) == (other.own_ip, other.ip, other.learns)
            && Arc::ptr_eq(&self.address, &other.address)
            && (self.ask_at_ns == u64::MAX) == (other.ask_at_ns == u64::MAX)
    }

    fn believe(&self, told: &Told, count: &count::NextHop, events: &mut Events) {
        match self.address.mac() {
            Some(known) if known == told.mac || !told.overrides => return,
            Some(_) => count.addresses_updated.add(1),
            None => count.addresses_added.add(1),
        }
        self.address.set(told.mac);
        if !events.is_full() {
            events.push(Event::NextHop { ip: self.ip, mac: told.mac });
        }
    }

    /// Fills an empty frame with the question for the neighbour's address.
    fn ask(&self, frame: &mut Frame, own_mac: Mac, count: &count::NextHop) -> Option<()> {
        match (self.own_ip, self.ip) {
            (IpAddr::V4(own_ip), IpAddr::V4(ip)) => {
                arp::question(frame, own_mac, own_ip, ip)?;
                count.arp_requests.add(1);
            }
            (IpAddr::V6(own_ip), IpAddr::V6(ip)) => {
                nd::question(frame, own_mac, own_ip, ip)?;
                count.ns_requests.add(1);
            }
            // Both are of one family.
            _ => return None,
        }
        Some(())
    }
}

impl NextHop {
    pub fn new(own_mac: Mac, v4: Option<Neighbour>, v6: Option<Neighbour>) -> NextHop {
        NextHop { own_mac, v4, v6, waiting: Batch::new(), waiting_since_ns: 0 }
    }

    /// Goes over to other neighbours. Those that stay the same are kept as they are. What waits for another is lost: it
    /// was made for the addresses of before.
    pub fn change(&mut self, next: NextHop, count: &count::NextHop) {
        let mut changed = self.own_mac != next.own_mac;
        self.own_mac = next.own_mac;
        for (ours, theirs) in [(&mut self.v4, next.v4), (&mut self.v6, next.v6)] {
            match (&ours, &theirs) {
                (Some(before), Some(after)) if before.is_same(after) => {}
                (None, None) => {}
                _ => {
                    *ours = theirs;
                    changed = true;
                }
            }
        }
        if changed {
            count.unresolved_errors.add(self.waiting.len() as u64);
            self.waiting.clear();
        }
    }

    /// Sends IP packets on their way, or keeps them for a short while if the way is not known yet.
    pub fn send(&mut self, now_ns: u64, packets: &mut Batch, port: &mut impl Port, count: &count::NextHop) {
        if packets.is_empty() {
            return;
        }
        let ways = self.ways();
        packets.sift(|frame| ways.go(frame), |Unknown, frame| self.hold(now_ns, frame, count));
        port.transmit(packets);
    }

    /// Keeps a packet for a short while.
    #[cold]
    pub fn hold(&mut self, now_ns: u64, packet: Frame, count: &count::NextHop) {
        if self.waiting.is_empty() {
            self.waiting_since_ns = now_ns;
        }
        if let Err(refused) = self.waiting.try_push(packet) {
            drop(refused);
            count.unresolved_errors.add(1);
        }
    }

    /// Takes what neighbours say, answers those that ask for our address, and learns from the next hop.
    pub fn learn(
        &mut self,
        packets: &mut Batch,
        port: &mut impl Port,
        count: &count::NextHop,
        events: &mut Events,
    ) {
        let mut answers = Batch::new();
        for mut frame in packets.drain(..) {
            let ethertype = Ethernet::parse(frame.data()).map(|header| header.ethertype());
            let (family, neighbour) = match ethertype {
                Ok(ETHERTYPE_ARP) => (Family::V4, &self.v4),
                Ok(ETHERTYPE_IPV6) => (Family::V6, &self.v6),
                // Dispatch sends nothing else here.
                _ => continue,
            };
            let (errors, replies) = match family {
                Family::V4 => (&count.arp_errors, &count.arp_replies),
                Family::V6 => (&count.nd_errors, &count.na_replies),
            };
            let Some(neighbour) = neighbour else { continue };
            let heard = match (neighbour.own_ip, neighbour.ip) {
                (IpAddr::V4(own_ip), IpAddr::V4(ip)) => arp::hear(frame.data(), own_ip, ip),
                (IpAddr::V6(own_ip), IpAddr::V6(ip)) => nd::hear(frame.data(), own_ip, ip),
                _ => Err(Nonsense),
            };
            let Ok(heard) = heard else {
                errors.add(1);
                continue;
            };
            if let (true, Some(told)) = (neighbour.learns, &heard.told) {
                neighbour.believe(told, count, events);
            }
            let Some((asker, mac)) = heard.asker else { continue };
            frame.reset();
            let answered = match (neighbour.own_ip, asker) {
                (IpAddr::V4(own_ip), IpAddr::V4(asker)) => {
                    arp::answer(&mut frame, self.own_mac, own_ip, mac, asker)
                }
                (IpAddr::V6(own_ip), IpAddr::V6(asker)) => {
                    nd::answer(&mut frame, self.own_mac, own_ip, mac, asker)
                }
                _ => None,
            };
            if answered.is_some() {
                replies.add(1);
                answers.push(frame);
            }
        }
        port.transmit(&mut answers);
    }

    /// What time brings: the next questions, the end of waiting. Gives the time of the next call.
    pub fn tick(&mut self, now_ns: u64, pool: &Pool, port: &mut impl Port, count: &count::NextHop) -> u64 {
        if !self.waiting.is_empty() {
            let since_ns = self.waiting_since_ns;
            let mut waiting = std::mem::take(&mut self.waiting);
            self.send(now_ns, &mut waiting, port, count);
            self.waiting_since_ns = since_ns;
            if now_ns.saturating_sub(since_ns) >= PATIENCE_NS {
                count.unresolved_errors.add(self.waiting.len() as u64);
                self.waiting.clear();
            }
        }
        let mut due_ns = u64::MAX;
        for neighbour in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            if now_ns >= neighbour.ask_at_ns {
                neighbour.ask_at_ns = now_ns + ASK_EVERY_NS;
                if let Some(mut frame) = pool.take()
                    && neighbour.ask(&mut frame, self.own_mac, count).is_some()
                {
                    let mut batch = Batch::new();
                    batch.push(frame);
                    port.transmit(&mut batch);
                }
            }
            due_ns = due_ns.min(neighbour.ask_at_ns);
        }
        // The answer may come to another worker, so whoever waits looks again soon.
        if self.waiting.is_empty() { due_ns } else { due_ns.min(now_ns + LOOK_AGAIN_NS) }
    }

    /// Where packets go at this moment.
    #[inline]
    pub fn ways(&self) -> Ways {
        let way = |neighbour: &Option<Neighbour>, ethertype| {
            let mut front = [0; ethernet::HEADER];
            let destination = neighbour.as_ref()?.address.mac()?;
            ethernet::Header { destination, source: self.own_mac, ethertype }.write(&mut front);
            Some(front)
        };
        Ways { v4: way(&self.v4, ETHERTYPE_IPV4), v6: way(&self.v6, ETHERTYPE_IPV6) }
    }
}

/// The Ethernet headers of the moment, as far as they are known.
pub struct Ways {
    v4: Option<[u8; ethernet::HEADER]>,
    v6: Option<[u8; ethernet::HEADER]>,
}

/// There is no way yet.
pub struct Unknown;

impl Ways {
    #[inline]
    fn go(&self, packet: &mut Frame) -> Result<(), Unknown> {
        let family = Family::of_packet(packet.data()).ok_or(Unknown)?;
        self.take(packet, family)
    }

    /// Puts the header in front of an IP packet of this family. Headroom is never short: at most the outer IP and ESP
    /// headers were put there before.
    #[inline(always)]
    pub fn take(&self, packet: &mut Frame, family: Family) -> Result<(), Unknown> {
        let way = self.of(family).ok_or(Unknown)?;
        *packet.prepend_chunk().ok_or(Unknown)? = *way;
        Ok(())
    }

    /// The header in front of packets of this family.
    #[inline(always)]
    pub(super) fn of(&self, family: Family) -> Option<&[u8; ethernet::HEADER]> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }
}

/// Whether this can be the address of one node.
fn is_station(mac: Mac) -> bool {
    !mac.is_multicast() && mac != Mac::ZERO
}

/// Pads a frame and its Ethernet header to the shortest there is.
fn pad(frame: &mut Frame) -> Option<()> {
    frame.append(SHORTEST_FRAME.saturating_sub(frame.len()))?.fill(0);
    Some(())
}

/// IEEE 802.3, without the frame check sequence.
const SHORTEST_FRAME: usize = 60;
const ASK_EVERY_NS: u64 = 5_000_000_000;
/// How long a packet may wait for an address: about as long as its sender would for a slow answer.
const PATIENCE_NS: u64 = 3_000_000_000;
const LOOK_AGAIN_NS: u64 = 10_000_000;
