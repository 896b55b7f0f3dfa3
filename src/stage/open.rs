// SPDX-License-Identifier: Apache-2.0
//! Opening: the replay check of a batch, its cryptography, then what is left to know of each packet.

use super::{Event, Events, Marks, Meter, policy};
use crate::count::{self, SaCounters};
use crate::esp::{Aead, InboundSa, Job, Unopened};
use crate::frame::{BATCH, Batch, Frame};
use crate::limit::TokenBucket;
use crate::prefetch::prefetch;
use crate::route::{PrefixTable, SpiTable};
use crate::wire::class;
use crate::wire::esp::{self, Esp};
use crate::wire::ip::{Addresses, Family, Ip};
use crate::wire::ipv4::{Ipv4, PROTOCOL_IPIP};
use crate::wire::ipv6::{Ipv6, PROTOCOL_IPV6};
use arrayvec::ArrayVec;
use std::mem::offset_of;
use std::sync::Arc;

/// An inbound security association and what it counts. What every packet needs of it is one line of the cache, and a
/// second one for the memory of numbers that were seen.
#[repr(C, align(64))]
pub struct Inbound {
    /// What is told of the route that it belongs to.
    pub told: Arc<count::Route>,
    pub count: Arc<SaCounters>,
    /// The number of its route.
    pub route: u32,
    pub sa: InboundSa,
}

/// SPIs of the inbound SAs that had their first authentic packet in one pass through the graph.
pub type Confirmed = ArrayVec<u32, BATCH>;

/// Opens what the router marked with an association's place.
pub struct Open {
    /// The gateway's own inside: packets of a family that it has no address of are not taken.
    pub inside: Addresses,
    /// The prefixes of the routes, if the sources of inner packets are checked against them.
    pub policy: Option<Arc<PrefixTable>>,
    audit: TokenBucket,
}

/// What is known of each packet of a batch after the cryptography.
pub struct Verdicts {
    /// Packets that were decrypted: a bit for each packet of the batch.
    worth: Marks,
    /// Packets whose ICV is right: a bit for each decrypted packet.
    authentic: Marks,
    /// Numbers of the decrypted packets.
    sequences: ArrayVec<u64, BATCH>,
    /// Count of the numbers that have been taken.
    taken: usize,
}

/// Verdict on one packet: the number that it claims, and whether its ICV is right.
pub struct Verdict {
    sequence: u64,
    authentic: bool,
}

/// The inside of a packet.
pub struct Opened<'a> {
    /// Where in the frame it starts.
    pub start: usize,
    pub packet: Ip<'a>,
    /// The traffic class that it gets, if that is another.
    pub class: Option<u8>,
}

/// Why there is nothing inside.
pub enum Closed {
    Refused(Unopened),
    /// A packet of the version that was announced, but one that cannot be read.
    Malformed,
    /// No packet of any version.
    NoPacket,
}

impl From<Unopened> for Closed {
    fn from(reason: Unopened) -> Closed {
        Closed::Refused(reason)
    }
}

impl Verdicts {
    /// That of the next packet; `None` if it was refused before. To be taken once for each packet of the batch, in their
    /// order.
    #[inline(always)]
    pub fn of_next(&mut self) -> Option<Verdict> {
        let is_worth = self.worth & 1 != 0;
        self.worth >>= 1;
        if !is_worth {
            return None;
        }
        let authentic = self.authentic & 1 != 0;
        self.authentic >>= 1;
        let sequence = *self.sequences.get(self.taken)?;
        self.taken += 1;
        Some(Verdict { sequence, authentic })
    }
}

impl Inbound {
    /// Prefetches what a packet with this number will use.
    #[inline(always)]
    pub(super) fn prefetch(&self, sequence_low: u32) {
        self.sa.prefetch(sequence_low);
    }

    /// Reports the first authentic packet, if there is room for the report.
    #[cold]
    pub fn confirm(&mut self, confirmed: &mut Confirmed) {
        if confirmed.try_push(self.sa.spi()).is_ok() {
            self.sa.confirm();
        }
    }
}

impl Open {
    pub fn new(inside: Addresses, policy: Option<Arc<PrefixTable>>) -> Open {
        // Enough to see an attack or a key mismatch in the log, too little to drown it.
        Open { inside, policy, audit: TokenBucket::per_second(5, 20) }
    }

    /// Decrypts packets where they lie. What comes of it are verdicts, one for each packet.
    #[inline(never)]
    pub fn decrypt(
        &mut self,
        now_ns: u64,
        packets: &mut Batch,
        associations: &SpiTable<Box<Inbound>>,
        aead: &dyn Aead,
        events: &mut Events,
        meter: &mut impl Meter,
    ) -> Verdicts {
        // Jobs and numbers are of the packets worth the cryptography, in their order. Verdicts are made in their place: a copy
        // would take as long as several packets.
        let mut verdicts = Verdicts { worth: 0, authentic: 0, sequences: ArrayVec::new(), taken: 0 };
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
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
            prefetch(&inbound.told.counters.inbound);
            let offset = usize::from(frame.offset);
            let esp = frame.data_mut().get_mut(offset..).unwrap_or_default();
            if let Some(job) = inbound.sa.job(sequence, esp) {
                verdicts.worth |= 1 << index;
                jobs.push(job);
                verdicts.sequences.push(sequence);
            }
        }
        meter.lap("inbound inspect");
        aead.open(&mut jobs);
        verdicts.authentic =
            jobs.iter().rev().fold(0, |all: Marks, job| all << 1 | Marks::from(job.authentic));
        meter.lap("inbound open");
        verdicts
    }

    /// What is inside of a packet, if it may come in.
    #[inline(always)]
    pub fn judge<'a>(
        &self,
        frame: &'a Frame,
        verdict: Verdict,
        inbound: &mut Inbound,
        confirmed: &mut Confirmed,
    ) -> Result<Opened<'a>, Closed> {
        if !verdict.authentic {
            return Err(Closed::Refused(Unopened::Forged));
        }
        let is_new = inbound.sa.is_new();
        inbound.sa.accept(verdict.sequence)?;
        if is_new {
            inbound.confirm(confirmed);
        }
        let offset = usize::from(frame.offset);
        let (bytes, next_header) = InboundSa::decapsulate(frame.data().get(offset..).unwrap_or_default())?;
        let packet = match next_header {
            PROTOCOL_IPIP if self.inside.v4.is_some() => Ipv4::parse(bytes).map(Ip::V4),
            PROTOCOL_IPV6 if self.inside.v6.is_some() => Ipv6::parse(bytes).map(Ip::V6),
            esp::DUMMY => return Err(Closed::Refused(Unopened::Dummy)),
            _ => return Err(Closed::Refused(Unopened::BadNextHeader)),
        };
        let packet = packet.map_err(|_| unreadable(next_header, bytes, inbound))?;
        if let Some(table) = &self.policy
            && !policy::permits(table, inbound.route, &packet)
        {
            return Err(Closed::Refused(Unopened::ForbiddenSource));
        }
        let before = packet.class();
        let class = class::decapsulated(before, class::of(frame.data())).ok_or(Unopened::Congestion)?;
        let of_route = &inbound.told.counters.inbound;
        of_route.packets.add(1);
        of_route.bytes.add(packet.total_len() as u64);
        Ok(Opened { start: offset + esp::HEADER, packet, class: (class != before).then_some(class) })
    }

    /// Counts a packet that stays outside, and tells of it.
    #[cold]
    pub fn refuse(
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

/// What an authentic packet is whose inside is not of the version that its next header announces.
#[cold]
fn unreadable(next_header: u8, bytes: &[u8], inbound: &Inbound) -> Closed {
    let closed = match (Family::of_packet(bytes), next_header) {
        (Some(Family::V4), PROTOCOL_IPIP) | (Some(Family::V6), PROTOCOL_IPV6) => Closed::Malformed,
        (Some(_), _) => return Closed::Refused(Unopened::BadNextHeader),
        (None, _) => Closed::NoPacket,
    };
    inbound.told.counters.inbound.protocol_errors.add(1);
    closed
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

const _: () = assert!(offset_of!(Inbound, sa) + offset_of!(InboundSa, window) + size_of::<u64>() <= 64);
