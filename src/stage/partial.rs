// SPDX-License-Identifier: Apache-2.0
//! Completes TCP and UDP checksums that a sender left to its device.
//!
//! The kernel of a sender on a veth pair does so by default: the pair is memory, and nobody computes what the device should
//! have. In the checksum field is then the sum of the pseudo header alone (Linux: CHECKSUM_PARTIAL), which the receiver behind
//! a tunnel takes for a damaged packet. A right checksum has that value once in 65536 packets, so a packet is only touched if
//! its checksum is wrong as well.
//!
//! Packets of senders that do this come together, so one packet of each batch is looked at until the first is found; from then
//! on all are.

use super::{Event, Events};
use crate::count::Counter;
use crate::frame::Batch;
use crate::wire::ethernet;
use crate::wire::ip::Ip;
use crate::wire::ipv4::PROTOCOL_UDP;
use crate::wire::tcp::PROTOCOL_TCP;
use crate::wire::{checksum, ipv4, ipv6};
use std::ops::Range;

/// Looks for unfinished checksums.
#[derive(Default)]
pub struct PartialChecksums {
    /// Whether there was one.
    seen: bool,
}

/// A TCP segment or UDP datagram in a frame, in whose checksum field is the sum of its pseudo header.
struct Suspect {
    segment: Range<usize>,
    /// Where the field is in the segment.
    field: usize,
    pseudo_header: u32,
    protocol: u8,
}

impl PartialChecksums {
    /// Frames with Ethernet header.
    #[inline(always)]
    pub fn complete(&mut self, packets: &mut Batch, completed: &Counter, events: &mut Events) {
        let is_suspect = || packets.first().is_some_and(|frame| suspect(frame.data()).is_some());
        if self.seen || is_suspect() {
            self.complete_all(packets, completed, events);
        }
    }

    #[cold]
    fn complete_all(&mut self, packets: &mut Batch, completed: &Counter, events: &mut Events) {
        for frame in packets.iter_mut() {
            let Some(suspect) = suspect(frame.data()) else { continue };
            let Some(segment) = frame.data_mut().get_mut(suspect.segment.clone()) else { continue };
            if !suspect.complete(segment) {
                continue;
            }
            completed.add(1);
            if !self.seen {
                self.seen = true;
                // A full list loses a log line; the counter has it.
                let _ = events.try_push(Event::PartialChecksum);
            }
        }
    }
}

impl Suspect {
    /// Whether the checksum was not right; then it is now.
    fn complete(&self, segment: &mut [u8]) -> bool {
        let sum = checksum::sum(segment);
        if checksum::fold(self.pseudo_header + sum) == 0 {
            return false;
        }
        // The field has the sum of the pseudo header already.
        let complete = match checksum::fold(sum) {
            //= RFC 768: a computed checksum of zero is sent as all ones.
            0 if self.protocol == PROTOCOL_UDP => 0xffff,
            complete => complete,
        };
        if let Some(field) = segment.get_mut(self.field..self.field + 2) {
            field.copy_from_slice(&complete.to_be_bytes());
        }
        true
    }
}

#[inline]
fn suspect(frame: &[u8]) -> Option<Suspect> {
    let packet = Ip::parse(frame.get(ethernet::HEADER..)?).ok()?;
    let (protocol, offset, addresses) = match &packet {
        Ip::V4(ip) if ip.is_fragment() => return None,
        Ip::V4(ip) => (ip.protocol(), ip.header_len(), ADDRESSES4),
        // What is behind extension headers is left to its sender.
        Ip::V6(ip) => (ip.next_header(), ipv6::HEADER, ADDRESSES6),
    };
    let field = match protocol {
        PROTOCOL_TCP => 16,
        PROTOCOL_UDP => 6,
        _ => return None,
    };
    let bytes = packet.packet();
    let [high, low] = *bytes.get(offset + field..)?.first_chunk()?;
    let length = bytes.len() - offset;
    let pseudo_header = checksum::sum(bytes.get(addresses)?) + u32::from(protocol) + length as u32;
    let is_partial = u16::from_be_bytes([high, low]) == !checksum::fold(pseudo_header);
    let start = ethernet::HEADER + offset;
    is_partial.then(|| Suspect { segment: start..start + length, field, pseudo_header, protocol })
}

/// Source and destination in the header.
const ADDRESSES4: Range<usize> = 12..ipv4::HEADER;
const ADDRESSES6: Range<usize> = 8..ipv6::HEADER;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Pool;
    use etherparse::PacketBuilder;

    fn frames() -> Vec<(Vec<u8>, usize)> {
        let four = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 1, 0, 1], 64);
        let six = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([0xfd; 16], [0xfc; 16], 64);
        let mut frames = Vec::new();
        let payload = b"an odd number of bytes.";
        for (builder, field) in
            [(four().tcp(1, 2, 3, 4), 14 + 20 + 16), (six().tcp(1, 2, 3, 4), 14 + 40 + 16)]
        {
            let mut frame = Vec::new();
            builder.write(&mut frame, payload).unwrap();
            frames.push((frame, field));
        }
        for (builder, field) in [(four().udp(1, 2), 14 + 20 + 6), (six().udp(1, 2), 14 + 40 + 6)] {
            let mut frame = Vec::new();
            builder.write(&mut frame, payload).unwrap();
            // As padding of Ethernet.
            frame.extend([0xee; 5]);
            frames.push((frame, field));
        }
        frames
    }

    /// What Linux leaves in the field.
    fn partial(frame: &[u8], field: usize) -> Vec<u8> {
        let mut frame = frame.to_vec();
        let (addresses, transport) = if frame[14] >> 4 == 4 { (26..34, 34) } else { (22..54, 54) };
        let protocol = if field == transport + 6 { 17 } else { 6 };
        let length = Ip::parse(&frame[14..]).unwrap().total_len() + 14 - transport;
        let sum = checksum::sum(&frame[addresses]) + protocol + length as u32;
        frame[field..field + 2].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
        frame
    }

    fn run(partials: &mut PartialChecksums, frames: &[Vec<u8>]) -> (Vec<Vec<u8>>, u64, usize) {
        let pool = Pool::new(64).unwrap();
        let mut batch: Batch = frames.iter().map(|bytes| pool.copy_of(bytes).unwrap()).collect();
        let (completed, mut events) = (Counter::default(), Events::new());
        partials.complete(&mut batch, &completed, &mut events);
        let bytes = batch.iter().map(|frame| frame.data().to_vec()).collect();
        (bytes, completed.value(), events.len())
    }

    #[test]
    fn unfinished_checksums_are_finished_and_told_once() {
        for (complete, field) in frames() {
            let mut partials = PartialChecksums::default();
            let unfinished = partial(&complete, field);
            assert_ne!(unfinished, complete);
            assert!(run(&mut partials, std::slice::from_ref(&unfinished)) == (vec![complete.clone()], 1, 1));
            // From now on all are looked at, not only the first of a batch.
            let two = [complete.clone(), unfinished];
            assert!(run(&mut partials, &two) == (vec![complete.clone(), complete], 1, 0));
        }
    }

    #[test]
    fn other_packets_stay_as_they_are() {
        for (complete, field) in frames() {
            let mut damaged = complete.clone();
            damaged[field] ^= 1;
            let mut fragment = partial(&complete, field);
            fragment[20] |= 0x20;
            let mut odd =
                vec![complete.clone(), damaged, complete[..field].to_vec(), complete[..20].to_vec(), vec![]];
            if fragment[14] >> 4 == 4 {
                odd.push(fragment);
            }
            for frame in odd {
                let mut partials = PartialChecksums { seen: true };
                assert!(run(&mut partials, std::slice::from_ref(&frame)) == (vec![frame], 0, 0));
            }
        }
    }

    #[test]
    fn a_right_checksum_that_looks_unfinished_stays() {
        let (frame, field) = &frames()[2];
        // The sum of the rest is zero if a word of the payload makes it so.
        let mut frame = partial(frame, *field);
        let segment = 34..14 + Ip::parse(&frame[14..]).unwrap().total_len();
        let at = segment.start + 8;
        frame[at..at + 2].fill(0);
        let pseudo = suspect(&frame).unwrap().pseudo_header;
        let word = checksum::fold(pseudo + checksum::sum(&frame[segment.clone()]));
        frame[at..at + 2].copy_from_slice(&word.to_be_bytes());
        assert_eq!(checksum::fold(pseudo + checksum::sum(&frame[segment])), 0);
        let mut partials = PartialChecksums { seen: true };
        assert!(run(&mut partials, std::slice::from_ref(&frame)) == (vec![frame], 0, 0));
    }
}
