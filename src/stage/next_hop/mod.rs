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
//! [`LinkHeaders`]. Then there is nothing left to do here.
//!
//! A question leaves every few seconds whether or not the answer is known. That is how a router that fails over without
//! a word is found, and it takes the place of neighbour unreachability detection (RFC 4861 section 7.3).
//!
//! After [`NextHop::announce`], and when an address of ours changes, neighbours are told where we are (RFC 5227 section
//! 2.3, RFC 4861 section 7.2.6), whether or not they have asked; and switches to which group we listen (`mld.rs`).

mod arp;
mod mld;
mod nd;

use super::{Event, Events};
use crate::count::{self, Counters, OwnerCounters, Reason, Side};
use crate::frame::{Batch, Frame, Pool, Port};
use crate::wire::ethernet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet};
use crate::wire::ip::Family;
use crate::wire::ipv6::Ipv6;
use crate::wire::mld::{Query, is_query};
use crate::wire::nd::solicited_node;
use crate::wire::{Mac, Malformed};
use arrayvec::ArrayVec;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A frame that a neighbour sent to everyone, so that the kernel has it, not the queue of a worker.
#[derive(Clone)]
pub struct NeighbourFrame {
    /// The side it was sent to.
    pub side: Side,
    frame: ArrayVec<u8, { NeighbourFrame::LONGEST }>,
}

impl NeighbourFrame {
    /// Longer than announcements and queries are. What is longer is of no interest.
    pub const LONGEST: usize = 128;
    /// A copy; none if the frame is longer than such frames are.
    pub fn new(side: Side, frame: &[u8]) -> Option<NeighbourFrame> {
        Some(NeighbourFrame { side, frame: frame.try_into().ok()? })
    }
    /// The frame, with its Ethernet header.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }
}

/// An address that several workers may use while one of them finds it out.
#[derive(Default)]
pub struct ResolvedMac(AtomicU64);

/// One interface's neighbours, one for each family at most.
pub struct NextHop {
    side: Side,
    own_mac: Mac,
    v4: Option<Neighbour>,
    v6: Option<Neighbour>,
    waiting: Batch,
    waiting_since_ns: u64,
    announcements: Announcements,
    listener: mld::Listener,
}

/// When neighbours are told next where we are.
struct Announcements {
    left: u8,
    at_ns: u64,
}

/// Who gets the packets of one family.
pub struct Neighbour {
    own_ip: IpAddr,
    ip: IpAddr,
    address: Arc<ResolvedMac>,
    /// Whether it may tell us its address; not when that is configured.
    learns: bool,
    /// Whether this worker asks, and tells neighbours of our address.
    speaks: bool,
    /// When the last question was sent, if one was.
    asked_at_ns: Option<u64>,
    /// Questions without an answer so far.
    unanswered: u8,
}

/// What a neighbour said, as far as it matters.
#[derive(Default)]
struct NeighbourMessage {
    /// That it has the next hop's address.
    next_hop: Option<LinkAddress>,
    /// That it wants to know ours: where it is.
    asker: Option<(IpAddr, Mac)>,
}

struct LinkAddress {
    mac: Mac,
    /// Whether this replaces an address that is known.
    overrides: bool,
}

impl ResolvedMac {
    /// The address, once it is known.
    #[inline]
    pub fn mac(&self) -> Option<Mac> {
        let [known, _, mac @ ..] = self.0.load(Ordering::Relaxed).to_be_bytes();
        (known != 0).then_some(Mac(mac))
    }
    /// The address is known now.
    pub fn set(&self, mac: Mac) {
        let Mac([a, b, c, d, e, f]) = mac;
        self.0.store(u64::from_be_bytes([1, 0, a, b, c, d, e, f]), Ordering::Relaxed);
    }
}

impl Neighbour {
    /// The neighbour `ip`, of the same family as `own_ip`. `configured` is its address if that is not to be asked for;
    /// `speaks` says whether this worker asks for it, and tells neighbours of `own_ip`.
    pub fn new(
        own_ip: IpAddr,
        ip: IpAddr,
        configured: Option<Mac>,
        address: Arc<ResolvedMac>,
        speaks: bool,
    ) -> Neighbour {
        if let Some(mac) = configured {
            address.set(mac);
        }
        let learns = configured.is_none();
        Neighbour { own_ip, ip, address, learns, speaks, asked_at_ns: None, unanswered: 0 }
    }

    /// Whether the other describes the same neighbour, so that what is known of it stays true.
    fn is_same(&self, other: &Neighbour) -> bool {
        (self.own_ip, self.ip, self.learns) == (other.own_ip, other.ip, other.learns)
            && Arc::ptr_eq(&self.address, &other.address)
            && self.speaks == other.speaks
    }

    /// When the next question is due; never where another worker asks.
    fn ask_at_ns(&self) -> u64 {
        let Some(asked_at_ns) = self.asked_at_ns else {
            return if self.speaks && self.learns { 0 } else { u64::MAX };
        };
        let pause_ns = match (self.address.mac(), self.unanswered) {
            // The first question, or its answer, may be lost: switches learn, queues are not yet served.
            (None, 1) => FIRST_PAUSE_NS,
            (None, 2) => SECOND_PAUSE_NS,
            _ => ASK_EVERY_NS,
        };
        asked_at_ns + pause_ns
    }

    fn learn(&self, address: &LinkAddress, count: &count::NextHop, events: &mut Events) {
        match self.address.mac() {
            Some(known) if known == address.mac || !address.overrides => return,
            Some(_) => count.addresses_updated.add(1),
            None => count.addresses_added.add(1),
        }
        self.address.set(address.mac);
        if !events.is_full() {
            events.push(Event::NextHop { ip: self.ip, mac: address.mac });
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

    /// Fills an empty frame with what tells everyone our address.
    fn announce(&self, frame: &mut Frame, own_mac: Mac, count: &count::NextHop) -> Option<()> {
        match self.own_ip {
            IpAddr::V4(own_ip) => {
                arp::announcement(frame, own_mac, own_ip)?;
                count.arp_announcements.add(1);
            }
            IpAddr::V6(own_ip) => {
                nd::announcement(frame, own_mac, own_ip)?;
                count.na_announcements.add(1);
            }
        }
        Some(())
    }
}

impl Announcements {
    const NONE: Announcements = Announcements { left: 0, at_ns: u64::MAX };
    const ALL: Announcements = Announcements { left: ANNOUNCEMENTS, at_ns: 0 };
}

impl NextHop {
    /// Nobody has been asked yet.
    pub fn new(side: Side, own_mac: Mac, v4: Option<Neighbour>, v6: Option<Neighbour>) -> NextHop {
        NextHop {
            side,
            own_mac,
            v4,
            v6,
            waiting: Batch::new(),
            waiting_since_ns: 0,
            announcements: Announcements::NONE,
            listener: mld::Listener::default(),
        }
    }

    /// Tells the neighbours where we are, a few times from the next tick on.
    pub fn announce(&mut self) {
        self.announcements = Announcements::ALL;
        self.listener.start();
    }

    /// Goes over to other neighbours. Those that stay the same are kept as they are. What waits for another is lost: it
    /// was made for the addresses of before.
    pub fn change(&mut self, next: NextHop, counters: &Counters) {
        let mut changed = self.own_mac != next.own_mac;
        let mut moved = changed;
        self.own_mac = next.own_mac;
        for (ours, theirs) in [(&mut self.v4, next.v4), (&mut self.v6, next.v6)] {
            let own_ip = |neighbour: &Option<Neighbour>| {
                neighbour.as_ref().filter(|neighbour| neighbour.speaks).map(|neighbour| neighbour.own_ip)
            };
            moved |= own_ip(&theirs).is_some_and(|new| own_ip(ours) != Some(new));
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
            self.drop_waiting(counters);
        }
        if moved {
            self.announce();
        }
    }

    /// Sends IP packets on their way, or keeps them for a short while if the way is not known yet.
    pub fn send(&mut self, now_ns: u64, packets: &mut Batch, port: &mut impl Port, counters: &Counters) {
        if packets.is_empty() {
            return;
        }
        let headers = self.link_headers();
        let mut unresolved = Batch::new();
        packets.try_retain(|frame| headers.prepend_any(frame).ok_or(()), |(), frame| unresolved.push(frame));
        port.transmit(packets);
        self.queue(now_ns, &mut unresolved, counters);
    }

    /// Keeps packets for a short while, until the next hop is resolved.
    pub fn queue(&mut self, now_ns: u64, packets: &mut Batch, counters: &Counters) {
        if packets.is_empty() {
            return;
        }
        if self.waiting.is_empty() {
            self.waiting_since_ns = now_ns;
        }
        self.waiting.append(packets);
        counters.dropped(packets.len() as u64, Reason::Unresolved(self.side), OwnerCounters::default());
        packets.clear();
    }

    fn drop_waiting(&mut self, counters: &Counters) {
        counters.dropped(self.waiting.len() as u64, Reason::Unresolved(self.side), OwnerCounters::default());
        self.waiting.clear();
    }

    /// Takes what neighbours say, answers those that ask for our address, and learns from the next hop.
    pub fn learn(
        &mut self,
        now_ns: u64,
        packets: &mut Batch,
        port: &mut impl Port,
        counters: &Counters,
        events: &mut Events,
    ) {
        let count = counters.next_hop(self.side);
        let dropped = |reason| counters.dropped(1, reason, OwnerCounters::default());
        let mut answers = Batch::new();
        for mut frame in packets.drain(..) {
            let ethertype = Ethernet::parse(frame.data()).map(|header| header.ethertype());
            let (family, neighbour) = match ethertype {
                Ok(ETHERTYPE_ARP) => (Family::V4, &self.v4),
                Ok(ETHERTYPE_IPV6) => (Family::V6, &self.v6),
                // Dispatch sends nothing else here.
                _ => continue,
            };
            let (error, replies) = match family {
                Family::V4 => (Reason::Arp(self.side), &count.arp_replies),
                Family::V6 => (Reason::NeighbourDiscovery(self.side), &count.na_replies),
            };
            let Some(neighbour) = neighbour else { continue };
            if let (Family::V6, Some(query)) = (family, group_query(frame.data())) {
                match (query, neighbour.own_ip) {
                    (Ok(query), IpAddr::V6(own_ip)) if neighbour.speaks => {
                        let random = self.random(now_ns);
                        self.listener.query(now_ns, &query, solicited_node(own_ip), random);
                    }
                    (Ok(_), _) => {}
                    (Err(_), _) => dropped(Reason::Mld(self.side)),
                }
                continue;
            }
            let message = match (neighbour.own_ip, neighbour.ip) {
                (IpAddr::V4(own_ip), IpAddr::V4(ip)) => arp::parse(frame.data(), own_ip, ip),
                (IpAddr::V6(own_ip), IpAddr::V6(ip)) => nd::parse(frame.data(), own_ip, ip),
                _ => None,
            };
            let Some(message) = message else {
                dropped(error);
                continue;
            };
            if let (true, Some(address)) = (neighbour.learns, &message.next_hop) {
                neighbour.learn(address, count, events);
            }
            let Some((asker, mac)) = message.asker else { continue };
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
    pub fn tick(&mut self, now_ns: u64, pool: &Pool, port: &mut impl Port, counters: &Counters) -> u64 {
        let count = counters.next_hop(self.side);
        if !self.waiting.is_empty() {
            let since_ns = self.waiting_since_ns;
            let mut waiting = std::mem::take(&mut self.waiting);
            self.send(now_ns, &mut waiting, port, counters);
            self.waiting_since_ns = since_ns;
            if now_ns.saturating_sub(since_ns) >= PATIENCE_NS {
                self.drop_waiting(counters);
            }
        }
        let mut due_ns = u64::MAX;
        for neighbour in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            if now_ns >= neighbour.ask_at_ns() {
                neighbour.asked_at_ns = Some(now_ns);
                let known = neighbour.address.mac().is_some();
                neighbour.unanswered = if known { 0 } else { neighbour.unanswered.saturating_add(1) };
                emit(pool, port, |frame| neighbour.ask(frame, self.own_mac, count));
            }
            due_ns = due_ns.min(neighbour.ask_at_ns());
        }
        let unasked_ns = self.announcements.at_ns.min(self.listener.due_ns());
        if now_ns >= unasked_ns {
            self.speak(now_ns, pool, port, count);
        }
        due_ns = due_ns.min(self.announcements.at_ns).min(self.listener.due_ns());
        // The answer may come to another worker, so whoever waits looks again soon.
        if self.waiting.is_empty() { due_ns } else { due_ns.min(now_ns + LOOK_AGAIN_NS) }
    }

    /// Sends what nobody has asked for.
    #[cold]
    fn speak(&mut self, now_ns: u64, pool: &Pool, port: &mut impl Port, count: &count::NextHop) {
        let own_mac = self.own_mac;
        if now_ns >= self.announcements.at_ns {
            let left = self.announcements.left.saturating_sub(1);
            let at_ns = if left > 0 { now_ns + ANNOUNCE_EVERY_NS } else { u64::MAX };
            self.announcements = Announcements { left, at_ns };
            for neighbour in [&self.v4, &self.v6].into_iter().flatten().filter(|neighbour| neighbour.speaks) {
                emit(pool, port, |frame| neighbour.announce(frame, own_mac, count));
            }
        }
        let random = self.random(now_ns);
        let Some(report) = self.listener.take(now_ns, random) else { return };
        let speaker = self.v6.as_ref().filter(|neighbour| neighbour.speaks);
        if let Some(IpAddr::V6(own_ip)) = speaker.map(|neighbour| neighbour.own_ip) {
            emit(pool, port, |frame| {
                nd::group_report(frame, own_mac, own_ip, report)?;
                count.mld_reports.add(1);
                Some(())
            });
        }
    }

    /// A number that differs between gateways and from time to time, to spread messages by; no secret.
    fn random(&self, now_ns: u64) -> u64 {
        let Mac([a, b, c, d, e, f]) = self.own_mac;
        // The finalizer of splitmix64.
        let mixed = now_ns ^ u64::from_be_bytes([0, 0, a, b, c, d, e, f]).rotate_left(32);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The Ethernet headers of this moment.
    #[inline]
    pub fn link_headers(&self) -> LinkHeaders {
        let header = |neighbour: &Option<Neighbour>, ethertype| {
            let mut front = [0; ethernet::HEADER];
            let destination = neighbour.as_ref()?.address.mac()?;
            ethernet::Header { destination, source: self.own_mac, ethertype }.write(&mut front);
            Some(front)
        };
        LinkHeaders { v4: header(&self.v4, ETHERTYPE_IPV4), v6: header(&self.v6, ETHERTYPE_IPV6) }
    }
}

/// The Ethernet headers in front of packets of each family, where the next hop is resolved.
pub struct LinkHeaders {
    v4: Option<[u8; ethernet::HEADER]>,
    v6: Option<[u8; ethernet::HEADER]>,
}

impl LinkHeaders {
    #[inline]
    fn prepend_any(&self, packet: &mut Frame) -> Option<()> {
        let family = Family::of_packet(packet.data())?;
        self.prepend(packet, family)
    }

    /// Puts the header in front of an IP packet of this family, if the next hop is resolved. Headroom is never short: at most
    /// the outer IP and ESP headers were put there before.
    #[inline(always)]
    pub fn prepend(&self, packet: &mut Frame, family: Family) -> Option<()> {
        let header = self.of(family)?;
        *packet.prepend_chunk()? = *header;
        Some(())
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

/// Sends one frame, if `fill` can fill it.
fn emit(pool: &Pool, port: &mut impl Port, fill: impl FnOnce(&mut Frame) -> Option<()>) {
    let Some(mut frame) = pool.take() else { return };
    if fill(&mut frame).is_some() {
        let mut batch = Batch::new();
        batch.push(frame);
        port.transmit(&mut batch);
    }
}

/// The query of multicast listener discovery in a frame, if it is one.
fn group_query(frame: &[u8]) -> Option<Result<Query, Malformed>> {
    let packet = Ipv6::parse(Ethernet::parse(frame).ok()?.payload()).ok()?;
    is_query(&packet).then(|| Query::parse(&packet))
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
const FIRST_PAUSE_NS: u64 = 1_000_000_000;
const SECOND_PAUSE_NS: u64 = 2_000_000_000;
const ASK_EVERY_NS: u64 = 5_000_000_000;
/// RFC 4861 section 10: MAX_NEIGHBOR_ADVERTISEMENT and RETRANS_TIMER. RFC 5227 is content with two.
const ANNOUNCEMENTS: u8 = 3;
const ANNOUNCE_EVERY_NS: u64 = 1_000_000_000;
/// How long a packet may wait for an address: about as long as its sender would for a slow answer.
const PATIENCE_NS: u64 = 3_000_000_000;
const LOOK_AGAIN_NS: u64 = 10_000_000;
