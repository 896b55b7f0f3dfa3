// SPDX-License-Identifier: Apache-2.0
//! Opening: the replay check of a batch, its cryptography, then what is left to know of each packet.

use super::{Meter, policy};
use crate::count::{self, Reason, SaCounters};
use crate::esp::{Aead, InboundSa, Job};
use crate::frame::{Annotated, BATCH, Frame, Notes};
use crate::prefetch::prefetch;
use crate::route::{PeerNumber, PrefixTable, RouteNumber, Slot, SpiTable};
use crate::wire::class;
use crate::wire::esp::{self, Esp};
use crate::wire::ip::{Addresses, Family, Ip};
use crate::wire::ipv4::{Ipv4, PROTOCOL_IPIP};
use crate::wire::ipv6::{Ipv6, PROTOCOL_IPV6};
use arrayvec::ArrayVec;
use std::mem::offset_of;
use std::sync::Arc;

/// An entry of the security association database (RFC 4301 section 4.4.2): an inbound SA and what it counts. Every packet
/// needs one cache line of it, and a second one for the replay window.
#[repr(C, align(64))]
pub struct SadEntry {
    /// This worker's counters of the route.
    pub stats: Arc<count::Route>,
    /// Counters of the SA.
    pub counters: Arc<SaCounters>,
    /// Its route, whose prefixes inner sources have to be in.
    pub route: RouteNumber,
    /// The gateway of the route that sends through it.
    pub peer: PeerNumber,
    /// Key and replay window.
    pub sa: InboundSa,
}

/// SPIs of the inbound SAs that had their first authentic packet in one pass through the graph.
pub type Confirmed = ArrayVec<u32, BATCH>;

/// Opens packets whose SA the router has found.
pub struct Open {
    /// The gateway's own inside: packets of a family that it has no address of are not taken.
    pub inside: Addresses,
    /// The prefixes of the routes, if the sources of inner packets are checked against them.
    pub policy: Option<Arc<PrefixTable>>,
}

/// Where the SA of a packet is, and where in the packet its ESP header.
#[derive(Clone, Copy)]
pub struct Located {
    /// The slot of its SA.
    pub slot: Slot,
    /// Where in the packet the ESP header is.
    pub offset: u16,
}

/// Result of the cryptography for one packet.
#[derive(Clone, Copy)]
pub struct Verdict {
    /// Its SA.
    pub at: Located,
    /// The sequence number that it claims.
    sequence: u64,
    /// Whether it is to be dropped before all else.
    refused: Option<Reason>,
}

/// The inside of a packet.
pub struct Inner<'a> {
    /// Where in the frame it starts.
    pub start: usize,
    pub packet: Ip<'a>,
    /// The traffic class that it gets, if that is another.
    pub class: Option<u8>,
}

impl SadEntry {
    /// Prefetches what a packet with this number will use.
    #[inline(always)]
    pub(super) fn prefetch(&self, sequence_low: u32) {
        self.sa.prefetch(sequence_low);
    }

    /// Reports the first authentic packet, if there is room for the report.
    #[cold]
    pub fn confirm(&self, confirmed: &mut Confirmed) {
        if confirmed.try_push(self.sa.spi()).is_ok() {
            self.sa.confirm();
        }
    }
}

impl Open {
    /// Decrypts packets in place, and gives a verdict for each.
    #[inline(never)]
    pub fn decrypt<'a>(
        &self,
        mut located: Annotated<'a, Located>,
        verdicts: &'a mut Notes<Verdict>,
        associations: &SpiTable<Box<SadEntry>>,
        aead: &dyn Aead,
        meter: &mut impl Meter,
    ) -> Annotated<'a, Verdict> {
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
        located.map(verdicts, |frame, at| match prepare(frame, *at, associations) {
            Ok((sequence, job)) => {
                jobs.push(job);
                Verdict { at: *at, sequence, refused: None }
            }
            Err(reason) => Verdict { at: *at, sequence: 0, refused: Some(reason) },
        });
        meter.lap("inbound inspect");
        aead.open(&mut jobs);
        let decrypted = verdicts.iter_mut().filter(|verdict| verdict.refused.is_none());
        for (verdict, job) in decrypted.zip(&jobs) {
            if !job.authentic {
                verdict.refused = Some(Reason::Forged);
            }
        }
        drop(jobs);
        meter.lap("inbound open");
        Annotated::new(located.into_frames(), verdicts)
    }

    /// The inside of a decrypted packet, if it may come in.
    #[inline(always)]
    pub fn decapsulate<'a>(
        &self,
        frame: &'a Frame,
        verdict: Verdict,
        entry: &SadEntry,
        confirmed: &mut Confirmed,
    ) -> Result<Inner<'a>, Reason> {
        if let Some(reason) = verdict.refused {
            return Err(reason);
        }
        let is_new = entry.sa.is_new();
        entry.sa.accept(verdict.sequence)?;
        if is_new {
            entry.confirm(confirmed);
        }
        let offset = usize::from(verdict.at.offset);
        let (bytes, next_header) = InboundSa::decapsulate(frame.data().get(offset..).unwrap_or_default())?;
        let packet = match next_header {
            PROTOCOL_IPIP if self.inside.v4.is_some() => Ipv4::parse(bytes).map(Ip::V4),
            PROTOCOL_IPV6 if self.inside.v6.is_some() => Ipv6::parse(bytes).map(Ip::V6),
            esp::DUMMY => return Err(Reason::Dummy),
            _ => return Err(Reason::BadNextHeader),
        };
        let packet = packet.map_err(|_| malformed(next_header, bytes))?;
        if let Some(table) = &self.policy
            && !policy::permits(table, entry.route, &packet)
        {
            return Err(Reason::ForbiddenSource);
        }
        let before = packet.class();
        let class = class::decapsulated(before, class::of(frame.data())).ok_or(Reason::Congestion)?;
        let of_route = &entry.stats.counters.inbound;
        of_route.packets.add(1);
        of_route.bytes.add(packet.total_len() as u64);
        Ok(Inner { start: offset + esp::HEADER, packet, class: (class != before).then_some(class) })
    }
}

/// The number and the cryptography of a packet that is worth it.
#[inline(always)]
fn prepare<'a>(
    frame: &'a mut Frame,
    at: Located,
    associations: &'a SpiTable<Box<SadEntry>>,
) -> Result<(u64, Job<'a>), Reason> {
    // The table has not changed since the SA was found.
    let entry = associations.at(at.slot).ok_or(Reason::UnknownSpi)?;
    let packet = frame.data_mut().get_mut(usize::from(at.offset)..).unwrap_or_default();
    let esp = Esp::parse(packet).map_err(|_| Reason::TooShort)?;
    let sequence = entry.sa.inspect(&esp)?;
    prefetch(&entry.stats.counters.inbound);
    let job = entry.sa.job(sequence, packet).ok_or(Reason::TooShort)?;
    Ok((sequence, job))
}

/// Why the inside of an authentic packet is not of the version that its next header announces.
#[cold]
fn malformed(next_header: u8, bytes: &[u8]) -> Reason {
    match (Family::of_packet(bytes), next_header) {
        (Some(Family::V4), PROTOCOL_IPIP) | (Some(Family::V6), PROTOCOL_IPV6) => Reason::InnerMalformed,
        (Some(_), _) => Reason::BadNextHeader,
        (None, _) => Reason::InnerVersion,
    }
}

const _: () = assert!(offset_of!(SadEntry, sa) + offset_of!(InboundSa, window) + size_of::<u64>() <= 64);
