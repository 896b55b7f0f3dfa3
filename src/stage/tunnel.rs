// SPDX-License-Identifier: Apache-2.0
//! Sealing and opening, three passes over a batch each: prepare, cryptography, finish.

use super::path::{Ends, Quote};
use super::{Budget, Event, Events, Meter, Ways, policy};
use crate::count::{self, SaCounters};
use crate::esp::{Aead, InboundSa, Job, OutboundSa, Unopened, Unsealed};
use crate::frame::{self, BATCH, Batch, Frame};
use crate::route::{PrefixTable, SpiTable};
use crate::wire::checksum;
use crate::wire::class::{self, Marking};
use crate::wire::esp::{self, Esp};
use crate::wire::ethernet;
use crate::wire::ip::{Addresses, Family, Ip};
use crate::wire::ipv4::{self, PROTOCOL_ESP, PROTOCOL_IPIP};
use crate::wire::ipv6::{self, PROTOCOL_IPV6};
use arrayvec::ArrayVec;
use std::net::IpAddr;
use std::sync::Arc;

/// The way to the gateway of one route.
pub struct Tunnel {
    outer: Outer,
    /// The traffic class of the outer header, by that of the inner packet.
    marking: Marking,
    /// The largest inner packet at present, in bytes.
    pub(super) mtu: u16,
    /// Whether shorter packets are extended to that (traffic flow confidentiality).
    tfc: bool,
    sa: Option<Box<OutboundSa>>,
    /// What is told of the route.
    pub told: Arc<count::Route>,
    path: Path,
}

/// What is seldom looked at.
struct Path {
    /// The largest inner packet unless the path is narrower.
    widest: u16,
    narrow: Option<Narrow>,
    /// By the association before the present one: packets sealed with it are still on their way.
    before: Sent,
}

/// What an association has sent until now. Nothing, by default.
#[derive(Clone, Copy, Default)]
struct Sent {
    spi: u32,
    /// The number of the last packet; 0 before the first.
    last: u64,
}

/// A path that carries less than our own interface does.
#[derive(Clone, Copy)]
struct Narrow {
    /// In bytes, outer header included.
    mtu: u16,
    until_ns: u64,
}

/// The header in front of ESP, but for what depends on the packet.
enum Outer {
    V4 {
        header: [u8; ipv4::HEADER],
        /// The sum of its words, with type of service, length and checksum as zero.
        sum: u32,
    },
    V6 {
        header: [u8; ipv6::HEADER],
    },
}

/// Seals what the router marked with a tunnel's number.
pub struct Outbound {
    pub tunnels: Vec<Option<Tunnel>>,
}

/// An inbound security association and what it counts.
pub struct Inbound {
    pub sa: InboundSa,
    /// The number of its route.
    pub route: u32,
    pub count: Arc<SaCounters>,
    /// What is told of the route that it belongs to.
    pub told: Arc<count::Route>,
}

/// Opens what the router marked with an association's place.
pub struct Open {
    /// The gateway's own inside: packets of a family that it has no address of are not taken.
    pub inside: Addresses,
    /// The prefixes of the routes, if the sources of inner packets are checked against them.
    pub policy: Option<Arc<PrefixTable>>,
    audit: Budget,
}

impl Tunnel {
    /// The outer header is that of `source` to `destination`, which are of one family; else `None`.
    pub fn new(source: IpAddr, destination: IpAddr, mtu: u16, tfc: bool) -> Option<Tunnel> {
        let outer = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = [0; ipv4::HEADER];
                let fields = ipv4::Header {
                    tos: 0,
                    id: 0,
                    dont_fragment: true,
                    ttl: TTL,
                    protocol: PROTOCOL_ESP,
                    source,
                    destination,
                    payload_len: 0,
                };
                fields.write(&mut header);
                header[2..4].fill(0);
                header[10..12].fill(0);
                Outer::V4 { header, sum: checksum::sum(&header) }
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = [0; ipv6::HEADER];
                let fields = ipv6::Header {
                    traffic_class: 0,
                    flow_label: 0,
                    next_header: PROTOCOL_ESP,
                    hop_limit: TTL,
                    source,
                    destination,
                    payload_len: 0,
                };
                fields.write(&mut header);
                Outer::V6 { header }
            }
            _ => return None,
        };
        let path = Path { widest: mtu, narrow: None, before: Sent::default() };
        Some(Tunnel { outer, marking: Marking::default(), mtu, tfc, sa: None, told: Arc::default(), path })
    }

    /// The same with another rule for the outer traffic class.
    pub fn with_marking(self, marking: Marking) -> Tunnel {
        Tunnel { marking, ..self }
    }

    /// Makes an association the one that packets are sealed with, or none. Gives back the one before.
    pub fn activate(&mut self, sa: Option<Box<OutboundSa>>) -> Option<Box<OutboundSa>> {
        let old = std::mem::replace(&mut self.sa, sa);
        self.path.before = self.sa.as_ref().and(old.as_deref()).map(Sent::by).unwrap_or_default();
        old
    }

    /// Goes on where another tunnel of the same route, if there was one, stops: with its keys; and, if it led to the same
    /// gateway, with what is known of the path.
    pub fn take_over(&mut self, old: Option<&mut Tunnel>) {
        let told_before = match old {
            Some(old) => {
                self.sa = old.sa.take();
                self.path.before = std::mem::take(&mut old.path.before);
                if self.outer.destination() == old.outer.destination() {
                    let fits = |narrow: &Narrow| self.outer.inner_mtu(narrow.mtu) < self.path.widest;
                    self.path.narrow = old.path.narrow.filter(fits);
                }
                Arc::ptr_eq(&self.told, &old.told).then_some(old.path.narrow.map(|narrow| narrow.mtu))
            }
            None => None,
        };
        // With thousands of routes and nothing new, their memory is left alone.
        if told_before != Some(self.path.narrow.map(|narrow| narrow.mtu)) || self.path.narrow.is_some() {
            self.set_mtu();
        }
    }

    /// Brings near the core what the next packet in this tunnel will use.
    #[inline(always)]
    pub(super) fn fetch(&self) {
        if let Some(sa) = &self.sa {
            sa.fetch();
        }
        frame::fetch(&self.told.counters.outbound);
    }

    /// Whether such a packet was sent here lately, by the association that is in use or the one before.
    #[inline]
    pub(super) fn has_sent(&self, quote: &Quote) -> bool {
        // First what is at hand: there are thousands of tunnels.
        self.outer.is_between(&quote.ends)
            && (self.path.before.includes(quote)
                || self.sa.as_deref().is_some_and(|sa| Sent::by(sa).includes(quote)))
    }

    /// Believes that the path carries no more than this, outer header included, until a time. Gives what is believed
    /// from now on if it is less than before.
    pub(super) fn narrow(&mut self, mtu: u16, until_ns: u64) -> Option<u16> {
        let is_less = match self.path.narrow {
            Some(narrow) => mtu < narrow.mtu,
            None => self.outer.inner_mtu(mtu) < self.path.widest,
        };
        let is_confirmed = self.path.narrow.is_some_and(|narrow| narrow.mtu == mtu);
        if is_less || is_confirmed {
            self.path.narrow = Some(Narrow { mtu, until_ns });
            self.set_mtu();
        }
        is_less.then_some(mtu)
    }

    /// Forgets what was believed until now. Gives the time until which something still is.
    pub(super) fn widen(&mut self, now_ns: u64) -> Option<u64> {
        let narrow = self.path.narrow?;
        if now_ns < narrow.until_ns {
            return Some(narrow.until_ns);
        }
        self.path.narrow = None;
        self.set_mtu();
        None
    }

    fn set_mtu(&mut self) {
        let path_mtu = self.path.narrow.map_or(0, |narrow| narrow.mtu);
        self.mtu = self.path.narrow.map_or(self.path.widest, |narrow| self.outer.inner_mtu(narrow.mtu));
        self.told.path_mtu.set(path_mtu.into());
    }
}

impl Sent {
    fn by(sa: &OutboundSa) -> Sent {
        Sent { spi: sa.spi(), last: sa.last() }
    }

    fn includes(self, quote: &Quote) -> bool {
        // Of the number, the low half is in the header (RFC 4303 section 2.2.1).
        let behind = u64::from((self.last as u32).wrapping_sub(quote.sequence_low));
        self.spi == quote.spi && behind < self.last.min(QUOTED_LATE)
    }
}

impl Outer {
    #[inline]
    fn is_between(&self, ends: &Ends) -> bool {
        match (self, ends) {
            (Outer::V4 { header, .. }, Ends::V4(ends)) => header[12..] == ends[..],
            (Outer::V6 { header }, Ends::V6(ends)) => header[8..] == ends[..],
            _ => false,
        }
    }

    fn destination(&self) -> &[u8] {
        match self {
            Outer::V4 { header, .. } => &header[16..],
            Outer::V6 { header } => &header[24..],
        }
    }

    fn inner_mtu(&self, outer: u16) -> u16 {
        let header = match self {
            Outer::V4 { .. } => ipv4::HEADER,
            Outer::V6 { .. } => ipv6::HEADER,
        };
        // It is less than the outer one, which has this type.
        esp::inner_mtu(outer.into(), header) as u16
    }

    /// Puts the header in front of ESP, and that of Ethernet in front of it if there is a way. Gives ESP, and whether
    /// there is no way; `None` if there was no room.
    #[inline(always)]
    fn write<'a>(&self, class: u8, ways: &Ways, frame: &'a mut Frame) -> Option<(&'a mut [u8], bool)> {
        let payload_len = frame.len() as u16;
        let (way, header_len) = match self {
            Outer::V4 { header, sum } => {
                let front = frame.prepend_chunk()?;
                *front = *header;
                let len = payload_len + ipv4::HEADER as u16;
                // Version and header length are in the sum; the class is the low byte of the same word.
                let checksum = checksum::fold(sum + u32::from(class) + u32::from(len));
                front[1] = class;
                front[2..4].copy_from_slice(&len.to_be_bytes());
                front[10..12].copy_from_slice(&checksum.to_be_bytes());
                (&ways.v4, ipv4::HEADER)
            }
            Outer::V6 { header } => {
                let front = frame.prepend_chunk()?;
                *front = *header;
                front[4..6].copy_from_slice(&payload_len.to_be_bytes());
                ipv6::set_traffic_class(front, class);
                (&ways.v6, ipv6::HEADER)
            }
        };
        match way {
            Some(way) => {
                *frame.prepend_chunk()? = *way;
                Some((frame.data_mut().get_mut(ethernet::HEADER + header_len..)?, false))
            }
            None => Some((frame.data_mut().get_mut(header_len..)?, true)),
        }
    }
}

impl Outbound {
    /// Turns inner packets into sealed outer ones, where they lie: Ethernet frames, except for those that there is no way
    /// for yet, which go to `bare`.
    #[inline(never)]
    pub fn run(
        &self,
        packets: &mut Batch,
        bare: &mut Batch,
        ways: &Ways,
        aead: &dyn Aead,
        count: &count::PrivateRouter,
        meter: &mut impl Meter,
    ) {
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
        let mut refused: Marks = 0;
        let mut wayless: Marks = 0;
        for (index, frame) in packets.iter_mut().enumerate() {
            let route = frame.mark;
            match self.prepare(frame, ways) {
                Ok((job, is_wayless)) => {
                    wayless |= Marks::from(is_wayless) << index;
                    jobs.push(job);
                }
                Err(stop) => {
                    refused |= 1 << index;
                    self.count_stop(stop, route, count);
                }
            }
        }
        meter.lap("outbound prepare");
        aead.seal(&mut jobs);
        drop(jobs);
        if refused | wayless != 0 {
            let mut indices = 0..BATCH;
            packets.sift(
                |_| {
                    let index = indices.next().unwrap_or_default();
                    let is = |marks: Marks| marks >> index & 1 != 0;
                    if is(refused | wayless) { Err(is(wayless)) } else { Ok(()) }
                },
                |is_wayless, frame| {
                    if is_wayless {
                        bare.push(frame);
                    }
                },
            );
        }
        meter.lap("outbound seal");
    }

    /// All but the cryptography: headers in front, the trailer and room for the ICV behind. Tells too whether there is no
    /// way to send the packet.
    #[inline(always)]
    fn prepare<'a>(&'a self, frame: &'a mut Frame, ways: &Ways) -> Result<(Job<'a>, bool), Stop> {
        let tunnel = self.tunnels.get(frame.mark as usize).and_then(Option::as_ref);
        let Some((tunnel, sa)) = tunnel.and_then(|tunnel| Some((tunnel, tunnel.sa.as_deref()?))) else {
            return Err(Stop::NoAssociation);
        };
        let padded = if tunnel.tfc { tunnel.mtu.into() } else { 0 };
        let len = frame.len();
        let next_header = match Family::of_packet(frame.data()) {
            Some(Family::V6) => PROTOCOL_IPV6,
            // The router has parsed it: it is one or the other.
            _ => PROTOCOL_IPIP,
        };
        // The inner one cannot be read any more once it is sealed.
        let class = tunnel.marking.outer(class::of(frame.data()));
        sa.encapsulate(frame, next_header, padded).map_err(Stop::Unsealed)?;
        // Headroom for the outer headers is never short: a frame starts with 256 bytes of it, of which ESP took 16.
        let written = tunnel.outer.write(class, ways, frame);
        let job = written.and_then(|(esp, is_wayless)| Some((sa.job(esp)?, is_wayless)));
        let job = job.ok_or(Stop::Unsealed(Unsealed::NoRoom))?;
        let of_route = &tunnel.told.counters.outbound;
        of_route.packets.add(1);
        of_route.bytes.add(len as u64);
        Ok(job)
    }

    #[cold]
    fn count_stop(&self, stop: Stop, route: u32, count: &count::PrivateRouter) {
        let tunnel = self.tunnels.get(route as usize).and_then(Option::as_ref);
        let of_route = tunnel.map(|tunnel| &tunnel.told.counters.outbound);
        let (leaf, of_route) = match stop {
            Stop::NoAssociation => (&count.sa_errors, of_route.map(|route| &route.sa_errors)),
            Stop::Unsealed(Unsealed::SequenceExhausted) => {
                (&count.sequence_errors, of_route.map(|route| &route.sequence_errors))
            }
            Stop::Unsealed(Unsealed::NoRoom) => (&count.mtu_errors, of_route.map(|route| &route.mtu_errors)),
        };
        leaf.add(1);
        count.rxerrors.add(1);
        if let Some(leaf) = of_route {
            leaf.add(1);
        }
    }
}

/// Why a packet is not sealed.
enum Stop {
    NoAssociation,
    Unsealed(Unsealed),
}

impl Inbound {
    /// Brings near the core what its next packet will use.
    #[inline(always)]
    pub(super) fn fetch(&self) {
        self.sa.fetch();
        frame::fetch(&self.told);
    }
}

impl Open {
    pub fn new(inside: Addresses, policy: Option<Arc<PrefixTable>>) -> Open {
        // Enough to see an attack or a key mismatch in the log, too little to drown it.
        Open { inside, policy, audit: Budget::per_second(5, 20) }
    }

    /// Turns sealed outer packets into inner ones, where they lie.
    #[inline(never)]
    pub fn run(
        &mut self,
        now_ns: u64,
        packets: &mut Batch,
        associations: &mut SpiTable<Box<Inbound>>,
        aead: &dyn Aead,
        events: &mut Events,
        meter: &mut impl Meter,
    ) {
        // Jobs, numbers and verdicts are of the packets worth the cryptography, in their order.
        let mut worth: Marks = 0;
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
        let mut sequences: ArrayVec<u64, BATCH> = ArrayVec::new();
        for (index, frame) in packets.iter_mut().enumerate() {
            let Some(inbound) = associations.at(frame.mark) else { continue };
            let sequence =
                match esp_of(frame).ok_or(Unopened::TooShort).and_then(|esp| inbound.sa.inspect(&esp)) {
                    Ok(sequence) => sequence,
                    Err(reason) => {
                        self.refuse(now_ns, reason, frame, inbound, events);
                        continue;
                    }
                };
            frame::fetch(&inbound.told.counters.inbound);
            let offset = usize::from(frame.offset);
            let esp = frame.data_mut().get_mut(offset..).unwrap_or_default();
            if let Some(job) = inbound.sa.job(sequence, esp) {
                worth |= 1 << index;
                jobs.push(job);
                sequences.push(sequence);
            }
        }
        meter.lap("inbound inspect");
        aead.open(&mut jobs);
        let authentic = jobs.iter().rev().fold(0, |all: Marks, job| all << 1 | Marks::from(job.authentic));
        drop(jobs);
        meter.lap("inbound open");
        let mut verdicts =
            sequences.into_iter().enumerate().map(|(n, sequence)| (sequence, authentic >> n & 1 != 0));
        let mut index = 0;
        packets.sift(
            |frame| {
                let is_worth = worth >> index & 1 != 0;
                index += 1;
                let ((sequence, authentic), inbound) = is_worth
                    .then(|| verdicts.next())
                    .flatten()
                    .zip(associations.at_mut(frame.mark))
                    .ok_or(())?;
                self.finish(frame, inbound, sequence, authentic)
                    .map_err(|reason| self.refuse(now_ns, reason, frame, inbound, events))
            },
            // It has been counted where it was refused.
            |(), _refused| {},
        );
        meter.lap("inbound decapsulate");
    }

    /// What is left to do with a packet after the cryptography. One that is refused is as it was.
    #[inline(always)]
    fn finish(
        &self,
        frame: &mut Frame,
        inbound: &mut Inbound,
        sequence: u64,
        authentic: bool,
    ) -> Result<(), Unopened> {
        if !authentic {
            return Err(Unopened::Forged);
        }
        inbound.sa.accept(sequence)?;
        let (offset, len) = (usize::from(frame.offset), frame.len());
        let outer_class = class::of(frame.data());
        let next_header = InboundSa::decapsulate(frame, offset)?;
        let Err(reason) = self.admit(next_header, outer_class, inbound, frame) else { return Ok(()) };
        // The audit record names the outer addresses: uncover what was just cut.
        frame.prepend(offset + esp::HEADER);
        frame.append(len - frame.len());
        Err(reason)
    }

    /// Whether an authentic packet may come inside; what its ECN field has to tell by then is in it.
    #[inline(always)]
    fn admit(
        &self,
        next_header: u8,
        outer_class: u8,
        inbound: &Inbound,
        frame: &mut Frame,
    ) -> Result<(), Unopened> {
        if !self.expects(next_header, frame) {
            return Err(if next_header == esp::DUMMY { Unopened::Dummy } else { Unopened::BadNextHeader });
        }
        let len = Ip::parse(frame.data()).map(|inner| inner.total_len());
        if let Some(table) = &self.policy
            && !policy::permits(table, inbound.route, frame.data())
        {
            return Err(Unopened::ForbiddenSource);
        }
        if !class::decapsulate(frame.data_mut(), outer_class) {
            return Err(Unopened::Congestion);
        }
        let of_route = &inbound.told.counters.inbound;
        match len {
            Ok(len) => {
                of_route.packets.add(1);
                of_route.bytes.add(len as u64);
            }
            // The next stage drops it.
            Err(_) => of_route.protocol_errors.add(1),
        }
        Ok(())
    }

    /// Whether the packet may be of the family that its next header announces.
    #[inline(always)]
    fn expects(&self, next_header: u8, frame: &Frame) -> bool {
        let announced = match next_header {
            PROTOCOL_IPIP => Family::V4,
            PROTOCOL_IPV6 => Family::V6,
            _ => return false,
        };
        self.inside.has(announced) && Family::of_packet(frame.data()).is_none_or(|found| found == announced)
    }

    #[cold]
    fn refuse(
        &mut self,
        now_ns: u64,
        reason: Unopened,
        frame: &Frame,
        inbound: &Inbound,
        events: &mut Events,
    ) {
        let of_route = &inbound.told.counters.inbound;
        if reason == Unopened::Dummy {
            //= RFC 4303 section 2.6: a receiver must be prepared to discard dummy packets.
            inbound.count.dummy_packets.add(1);
            of_route.dummy_packets.add(1);
            return;
        }
        let (leaf, of_route) = match reason {
            Unopened::BadNextHeader => (&inbound.count.protocol_errors, &of_route.protocol_errors),
            Unopened::ForbiddenSource => (&inbound.count.inner_source_errors, &of_route.inner_source_errors),
            Unopened::Congestion => (&inbound.count.ecn_errors, &of_route.ecn_errors),
            _ => (&inbound.count.decrypt_errors, &of_route.decrypt_errors),
        };
        leaf.add(1);
        of_route.add(1);
        inbound.count.rxerrors.add(1);
        if !events.is_full()
            && let Some(event) = audit(reason, frame, inbound)
            && self.audit.spend(now_ns)
        {
            events.push(event);
        }
    }
}

/// The ESP of a packet, where dispatch saw it.
#[inline]
pub(super) fn esp_of(frame: &Frame) -> Option<Esp<'_>> {
    Esp::parse(frame.data().get(usize::from(frame.offset)..)?).ok()
}

fn audit(reason: Unopened, frame: &Frame, inbound: &Inbound) -> Option<Event> {
    let ip = Ip::parse(frame.data()).ok()?;
    let spi = inbound.sa.spi();
    if reason == Unopened::ForbiddenSource {
        // It has been decrypted in its place.
        let inner = Ip::parse(frame.data().get(usize::from(frame.offset) + esp::HEADER..)?).ok()?;
        let (inner_source, inner_destination) = (inner.source(), inner.destination());
        return Some(Event::ForbiddenSource { spi, inner_source, inner_destination, peer: ip.source() });
    }
    Some(Event::Unopened {
        reason,
        spi,
        sequence_low: esp_of(frame).map_or(0, |esp| esp.sequence_low()),
        source: ip.source(),
        destination: ip.destination(),
    })
}

/// A bit for each frame of a batch, the first one lowest.
type Marks = u64;

const _: () = assert!(BATCH <= Marks::BITS as usize);

const TTL: u8 = 64;
/// Packets by which the one that a router reports may be behind the last one sent. 2^16 packets of 1500 bytes are 100 MB,
/// a round trip of 80 ms at 10 Gbit/s; of 2^32 numbers, that leaves one guess in 65,536 right.
const QUOTED_LATE: u64 = 1 << 16;
