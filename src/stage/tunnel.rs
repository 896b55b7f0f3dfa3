// SPDX-License-Identifier: Apache-2.0
//! Sealing and opening, three passes over a batch each: prepare, cryptography, finish.

use super::{Budget, Event, Events};
use crate::count::{self, SaCounters};
use crate::esp::{Aead, InboundSa, Job, OutboundSa, Unopened, Unsealed};
use crate::frame::{BATCH, Batch, Frame};
use crate::route::SpiTable;
use crate::wire::checksum;
use crate::wire::esp::{self, Esp};
use crate::wire::ipv4::{self, Ipv4, PROTOCOL_ESP, PROTOCOL_IPIP};
use arrayvec::ArrayVec;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The way to the gateway of one route.
pub struct Tunnel {
    /// The outer header but for total length and checksum.
    outer: [u8; ipv4::HEADER],
    /// The sum of its words, with the length as zero.
    sum: u32,
    pub sa: Option<Box<OutboundSa>>,
}

/// Seals what the router marked with a tunnel's number.
pub struct Outbound {
    pub tunnels: Vec<Option<Tunnel>>,
    /// Shorter packets are extended to this many bytes; 0 without traffic flow confidentiality.
    pub padded: usize,
}

/// An inbound security association and what it counts.
pub struct Inbound {
    pub sa: InboundSa,
    pub count: Arc<SaCounters>,
}

/// Opens what the router marked with an association's place.
pub struct Open {
    audit: Budget,
}

impl Tunnel {
    /// The outer header as deployed gateways send it: TTL 64, DF, TOS 0, identification 0.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr) -> Tunnel {
        let mut outer = [0; ipv4::HEADER];
        let header = ipv4::Header {
            tos: 0,
            id: 0,
            dont_fragment: true,
            ttl: TTL,
            protocol: PROTOCOL_ESP,
            source,
            destination,
            payload_len: 0,
        };
        header.write(&mut outer);
        outer[2..4].fill(0);
        outer[10..12].fill(0);
        Tunnel { outer, sum: checksum::sum(&outer), sa: None }
    }

    #[inline]
    fn write_outer(&self, frame: &mut Frame) -> bool {
        let Some(header) = frame.prepend(ipv4::HEADER) else { return false };
        header.copy_from_slice(&self.outer);
        let len = frame.len() as u16;
        let checksum = checksum::fold(self.sum + u32::from(len));
        let packet = frame.data_mut();
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
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
        for mut frame in input.drain(..) {
            let tunnel = self.tunnels.get_mut(frame.mark as usize).and_then(Option::as_mut);
            let Some(sa) = tunnel.and_then(|tunnel| tunnel.sa.as_mut()) else {
                count.sa_errors.add(1);
                count.rxerrors.add(1);
                continue;
            };
            match sa.encapsulate(&mut frame, PROTOCOL_IPIP, self.padded) {
                Ok(()) => sealed.push(frame),
                Err(Unsealed::SequenceExhausted) => {
                    count.sequence_errors.add(1);
                    count.rxerrors.add(1);
                }
                Err(Unsealed::NoRoom) => {
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
        sealed.retain(|frame| {
            let tunnel = self.tunnels.get(frame.mark as usize).and_then(Option::as_ref);
            tunnel.is_some_and(|tunnel| tunnel.write_outer(frame))
        });
    }
}

impl Default for Open {
    fn default() -> Open {
        // Enough to see an attack or a key mismatch in the log, too little to drown it.
        Open { audit: Budget::per_second(5, 20) }
    }
}

impl Open {
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
            match InboundSa::decapsulate(&mut frame, offset) {
                Ok(PROTOCOL_IPIP) => opened.push(frame),
                Ok(_) => {
                    // The audit record names the outer addresses: uncover the headers that were just cut.
                    frame.prepend(offset + esp::HEADER);
                    self.refuse(now_ns, Unopened::BadNextHeader, &frame, inbound, events);
                }
                Err(reason) => self.refuse(now_ns, reason, &frame, inbound, events),
            }
        }
    }

    fn refuse(
        &mut self,
        now_ns: u64,
        reason: Unopened,
        frame: &Frame,
        inbound: &Inbound,
        events: &mut Events,
    ) {
        let leaf = match reason {
            Unopened::BadNextHeader => &inbound.count.protocol_errors,
            _ => &inbound.count.decrypt_errors,
        };
        leaf.add(1);
        inbound.count.rxerrors.add(1);
        if let Some(event) = audit(reason, frame, inbound)
            && !events.is_full()
            && self.audit.spend(now_ns)
        {
            events.push(event);
        }
    }
}

/// The sequence number of a packet and where in the frame its ESP header starts.
#[inline]
fn inspect(inbound: &Inbound, frame: &Frame) -> Result<(u64, usize), Unopened> {
    let ip = Ipv4::parse(frame.data()).map_err(|_| Unopened::TooShort)?;
    let esp = Esp::parse(ip.payload()).map_err(|_| Unopened::TooShort)?;
    Ok((inbound.sa.inspect(&esp)?, ip.header_len()))
}

fn audit(reason: Unopened, frame: &Frame, inbound: &Inbound) -> Option<Event> {
    let ip = Ipv4::parse(frame.data()).ok()?;
    Some(Event::Unopened {
        reason,
        spi: inbound.sa.spi(),
        sequence_low: Esp::parse(ip.payload()).map_or(0, |esp| esp.sequence_low()),
        source: ip.source(),
        destination: ip.destination(),
    })
}

const TTL: u8 = 64;
