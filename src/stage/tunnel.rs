// SPDX-License-Identifier: Apache-2.0
//! Sealing and opening, three passes over a batch each: prepare, cryptography, finish.

use super::{Budget, Event, Events, policy};
use crate::count::{self, SaCounters};
use crate::esp::{Aead, InboundSa, Job, OutboundSa, Unopened, Unsealed};
use crate::frame::{BATCH, Batch, Frame};
use crate::route::{PrefixTable, SpiTable};
use crate::wire::checksum;
use crate::wire::class::{self, Dscp, Marking};
use crate::wire::esp::{self, Esp};
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
    /// That of the association before the present one: packets sealed with it are still on their way.
    spi_before: Option<u32>,
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
        let path = Path { widest: mtu, narrow: None, spi_before: None };
        let marking = Marking::new(Dscp::None);
        Some(Tunnel { outer, marking, mtu, tfc, sa: None, told: Arc::default(), path })
    }

    /// The same with another rule for the outer DSCP, which is 0 otherwise.
    pub fn with_dscp(self, dscp: Dscp) -> Tunnel {
        Tunnel { marking: Marking::new(dscp), ..self }
    }

    /// Makes an association the one that packets are sealed with, or none. Gives back the one before.
    pub fn activate(&mut self, sa: Option<Box<OutboundSa>>) -> Option<Box<OutboundSa>> {
        let old = std::mem::replace(&mut self.sa, sa);
        self.path.spi_before = self.sa.as_ref().and(old.as_ref()).map(|old| old.spi());
        old
    }

    /// Goes on where another tunnel of the same route, if there was one, stops: with its keys; and, if it led to the same
    /// gateway, with what is known of the path.
    pub fn take_over(&mut self, old: Option<&mut Tunnel>) {
        let told_before = match old {
            Some(old) => {
                self.sa = old.sa.take();
                self.path.spi_before = old.path.spi_before.take();
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

    /// Whether a packet that begins like this was sent here, with an association that is in use.
    pub(super) fn has_sent(&self, quote: &[u8]) -> bool {
        let spi = self.outer.quoted_spi(quote);
        let present = self.sa.as_ref().map(|sa| sa.spi());
        spi.is_some() && (spi == present || spi == self.path.spi_before)
    }

    /// Believes that the path carries no more than this, outer header included, until a time. Gives what is believed
    /// from now on if it is less than before.
    pub(super) fn narrow(&mut self, reported: u32, until_ns: u64) -> Option<u16> {
        let mtu = u16::try_from(reported).unwrap_or(u16::MAX).max(self.outer.smallest_mtu());
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

impl Outer {
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

    /// Less is not believed, so that nobody can choke a tunnel: what every host of IPv4 takes (RFC 791 section 3.1), what
    /// every link of IPv6 carries (RFC 8200 section 5).
    fn smallest_mtu(&self) -> u16 {
        match self {
            Outer::V4 { .. } => 576,
            Outer::V6 { .. } => 1280,
        }
    }

    /// The SPI in what is quoted of a packet, if that has this header but for what differs by packet and hop.
    fn quoted_spi(&self, quote: &[u8]) -> Option<u32> {
        let (is_same, esp) = match self {
            Outer::V4 { header, .. } => {
                let (quoted, esp) = quote.split_first_chunk::<{ ipv4::HEADER }>()?;
                let is_whole = quoted[6] & 0x1f == 0 && quoted[7] == 0;
                let is_same =
                    quoted[0] == header[0] && quoted[9] == header[9] && quoted[12..] == header[12..];
                (is_same && is_whole, esp)
            }
            Outer::V6 { header } => {
                let (quoted, esp) = quote.split_first_chunk::<{ ipv6::HEADER }>()?;
                let is_same =
                    quoted[0] >> 4 == header[0] >> 4 && quoted[6] == header[6] && quoted[8..] == header[8..];
                (is_same, esp)
            }
        };
        let spi = u32::from_be_bytes(*esp.first_chunk()?);
        is_same.then_some(spi)
    }

    /// False if there was no room.
    #[inline]
    fn write(&self, class: u8, frame: &mut Frame) -> bool {
        match self {
            Outer::V4 { header, sum } => {
                let Some(front) = frame.prepend(ipv4::HEADER) else { return false };
                front.copy_from_slice(header);
                let len = frame.len() as u16;
                // Version and header length are in the sum; the class is the low byte of the same word.
                let checksum = checksum::fold(sum + u32::from(class) + u32::from(len));
                let packet = frame.data_mut();
                packet[1] = class;
                packet[2..4].copy_from_slice(&len.to_be_bytes());
                packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            Outer::V6 { header } => {
                let payload_len = frame.len() as u16;
                let Some(front) = frame.prepend(ipv6::HEADER) else { return false };
                front.copy_from_slice(header);
                front[4..6].copy_from_slice(&payload_len.to_be_bytes());
                if let Some(front) = front.first_chunk_mut() {
                    ipv6::set_traffic_class(front, class);
                }
            }
        }
        true
    }
}

impl Outbound {
    pub fn run(
        &mut self,
        input: &mut Batch,
        sealed: &mut Batch,
        aead: &dyn Aead,
        count: &count::PrivateRouter,
    ) {
        // Of the outer headers to come, in the order of `sealed`: by then the inner ones cannot be read any more.
        let mut classes: ArrayVec<u8, BATCH> = ArrayVec::new();
        for mut frame in input.drain(..) {
            let Some(tunnel) = self.tunnels.get_mut(frame.mark as usize).and_then(Option::as_mut) else {
                count.sa_errors.add(1);
                count.rxerrors.add(1);
                continue;
            };
            let of_route = &tunnel.told.counters.outbound;
            let Some(sa) = &mut tunnel.sa else {
                of_route.sa_errors.add(1);
                count.sa_errors.add(1);
                count.rxerrors.add(1);
                continue;
            };
            let padded = if tunnel.tfc { tunnel.mtu.into() } else { 0 };
            let len = frame.len();
            let next_header = match Family::of_packet(frame.data()) {
                Some(Family::V6) => PROTOCOL_IPV6,
                // The router has parsed it: it is one or the other.
                _ => PROTOCOL_IPIP,
            };
            let class = tunnel.marking.outer(class::of(frame.data()));
            match sa.encapsulate(&mut frame, next_header, padded) {
                Ok(()) => {
                    of_route.packets.add(1);
                    of_route.bytes.add(len as u64);
                    classes.push(class);
                    sealed.push(frame);
                }
                Err(Unsealed::SequenceExhausted) => {
                    of_route.sequence_errors.add(1);
                    count.sequence_errors.add(1);
                    count.rxerrors.add(1);
                }
                Err(Unsealed::NoRoom) => {
                    of_route.mtu_errors.add(1);
                    count.mtu_errors.add(1);
                    count.rxerrors.add(1);
                }
            }
        }

        let encapsulated = sealed.len();
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
        for frame in sealed.iter_mut() {
            let tunnel = self.tunnels.get(frame.mark as usize).and_then(Option::as_ref);
            jobs.extend(tunnel.and_then(|tunnel| tunnel.sa.as_ref()?.job(frame.data_mut())));
        }
        let complete = jobs.len() == encapsulated;
        aead.seal(&mut jobs);
        drop(jobs);
        if !complete {
            // `encapsulate` left room for a job in every frame. Should that ever be wrong, nothing goes out unsealed.
            count.sa_errors.add(sealed.len() as u64);
            count.rxerrors.add(sealed.len() as u64);
            sealed.clear();
        }

        // Headroom for the outer header is never short: a frame starts with 256 bytes of it, of which ESP took 16.
        let mut classes = classes.into_iter();
        sealed.retain(|frame| {
            let tunnel = self.tunnels.get(frame.mark as usize).and_then(Option::as_ref);
            let class = classes.next().unwrap_or_default();
            tunnel.is_some_and(|tunnel| tunnel.outer.write(class, frame))
        });
    }
}

impl Open {
    pub fn new(inside: Addresses, policy: Option<Arc<PrefixTable>>) -> Open {
        // Enough to see an attack or a key mismatch in the log, too little to drown it.
        Open { inside, policy, audit: Budget::per_second(5, 20) }
    }

    pub fn run(
        &mut self,
        now_ns: u64,
        input: &mut Batch,
        opened: &mut Batch,
        associations: &mut SpiTable<Box<Inbound>>,
        aead: &dyn Aead,
        events: &mut Events,
    ) {
        let mut sequences: ArrayVec<(u64, usize), BATCH> = ArrayVec::new();
        let mut worth: Batch = Batch::new();
        for frame in input.drain(..) {
            let Some(inbound) = associations.at(frame.mark) else { continue };
            match inspect(inbound, &frame) {
                Ok(found) => {
                    sequences.push(found);
                    worth.push(frame);
                }
                Err(reason) => self.refuse(now_ns, reason, &frame, inbound, events),
            }
        }

        let worth_count = worth.len();
        let mut authentic: ArrayVec<bool, BATCH> = ArrayVec::new();
        {
            let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
            for (frame, (sequence, offset)) in worth.iter_mut().zip(&sequences) {
                // `inspect` found the association and the ESP header, so there is a job for every frame.
                let inbound = associations.at(frame.mark);
                let esp = frame.data_mut().get_mut(*offset..);
                jobs.extend(inbound.zip(esp).and_then(|(inbound, esp)| inbound.sa.job(*sequence, esp)));
            }
            // Verdicts belong to frames by position. Were a job missing, all would stay what they are: not authentic.
            if jobs.len() == worth_count {
                aead.open(&mut jobs);
            }
            authentic.extend(jobs.iter().map(|job| job.authentic));
        }

        for ((mut frame, (sequence, offset)), authentic) in worth.drain(..).zip(sequences).zip(authentic) {
            let Some(inbound) = associations.at_mut(frame.mark) else { continue };
            let accepted = if authentic { inbound.sa.accept(sequence) } else { Err(Unopened::Forged) };
            if let Err(reason) = accepted {
                self.refuse(now_ns, reason, &frame, inbound, events);
                continue;
            }
            let (outer_class, len) = (class::of(frame.data()), frame.len());
            let next_header = match InboundSa::decapsulate(&mut frame, offset) {
                //= RFC 4303 section 2.6: a receiver must be prepared to discard dummy packets.
                Ok(esp::DUMMY) => {
                    inbound.count.dummy_packets.add(1);
                    inbound.told.counters.inbound.dummy_packets.add(1);
                    continue;
                }
                Ok(next_header) => next_header,
                Err(reason) => {
                    self.refuse(now_ns, reason, &frame, inbound, events);
                    continue;
                }
            };
            match self.admit(next_header, outer_class, inbound.route, &mut frame) {
                Ok(()) => {
                    let of_route = &inbound.told.counters.inbound;
                    match Ip::parse(frame.data()) {
                        Ok(inner) => {
                            of_route.packets.add(1);
                            of_route.bytes.add(inner.total_len() as u64);
                        }
                        // The next stage drops it.
                        Err(_) => of_route.protocol_errors.add(1),
                    }
                    opened.push(frame);
                }
                Err(reason) => {
                    // The audit record names the outer addresses: uncover what was just cut.
                    frame.prepend(offset + esp::HEADER);
                    frame.append(len - frame.len());
                    self.refuse(now_ns, reason, &frame, inbound, events);
                }
            }
        }
    }

    /// Whether an authentic packet may come inside; what its ECN field has to tell by then is in it.
    #[inline]
    fn admit(&self, next_header: u8, outer_class: u8, route: u32, frame: &mut Frame) -> Result<(), Unopened> {
        if !self.expects(next_header, frame) {
            return Err(Unopened::BadNextHeader);
        }
        // What does not parse is told so in the next stage.
        if let Some(table) = &self.policy
            && Ip::parse(frame.data()).is_ok_and(|ip| !policy::permits(table, route, &ip))
        {
            return Err(Unopened::ForbiddenSource);
        }
        if !class::decapsulate(frame.data_mut(), outer_class) {
            return Err(Unopened::Congestion);
        }
        Ok(())
    }

    /// Whether the packet may be of the family that its next header announces.
    #[inline]
    fn expects(&self, next_header: u8, frame: &Frame) -> bool {
        let announced = match next_header {
            PROTOCOL_IPIP => Family::V4,
            PROTOCOL_IPV6 => Family::V6,
            _ => return false,
        };
        self.inside.has(announced) && Family::of_packet(frame.data()).is_none_or(|found| found == announced)
    }

    fn refuse(
        &mut self,
        now_ns: u64,
        reason: Unopened,
        frame: &Frame,
        inbound: &Inbound,
        events: &mut Events,
    ) {
        let of_route = &inbound.told.counters.inbound;
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

/// The sequence number of a packet and where in the frame its ESP header starts.
#[inline]
fn inspect(inbound: &Inbound, frame: &Frame) -> Result<(u64, usize), Unopened> {
    let ip = Ip::parse(frame.data()).map_err(|_| Unopened::TooShort)?;
    let (esp, offset) = esp_of(&ip).ok_or(Unopened::TooShort)?;
    Ok((inbound.sa.inspect(&esp)?, offset))
}

/// The ESP of a packet, and where it starts.
#[inline]
pub(super) fn esp_of<'a>(ip: &Ip<'a>) -> Option<(Esp<'a>, usize)> {
    let (_, offset) = ip.upper().ok()?;
    Some((Esp::parse(ip.packet().get(offset..)?).ok()?, offset))
}

fn audit(reason: Unopened, frame: &Frame, inbound: &Inbound) -> Option<Event> {
    let ip = Ip::parse(frame.data()).ok()?;
    let (spi, esp) = (inbound.sa.spi(), esp_of(&ip));
    if let (Unopened::ForbiddenSource, Some((_, offset))) = (reason, &esp) {
        // It has been decrypted in its place.
        let inner = Ip::parse(frame.data().get(offset + esp::HEADER..)?).ok()?;
        let (inner_source, inner_destination) = (inner.source(), inner.destination());
        return Some(Event::ForbiddenSource { spi, inner_source, inner_destination, peer: ip.source() });
    }
    Some(Event::Unopened {
        reason,
        spi,
        sequence_low: esp.map_or(0, |(esp, _)| esp.sequence_low()),
        source: ip.source(),
        destination: ip.destination(),
    })
}

const TTL: u8 = 64;
