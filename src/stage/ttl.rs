// SPDX-License-Identifier: Apache-2.0
//! The checks of a packet that is forwarded, and its time to live.

use crate::count;
use crate::frame::{Batch, Frame};
use crate::wire::ipv4::{self, Ipv4};

/// What becomes of one packet.
enum Ttl {
    Alive,
    Expired,
    BadChecksum,
    Malformed,
}

/// Takes one from the TTL of each packet and cuts what follows it in the frame. Packets whose TTL is used up go to
/// `expired`, unchanged.
pub fn decrement(input: &mut Batch, alive: &mut Batch, expired: &mut Batch, count: &count::Ttl) {
    for mut frame in input.drain(..) {
        match step(&mut frame) {
            Ttl::Alive => alive.push(frame),
            Ttl::Expired => expired.push(frame),
            Ttl::BadChecksum => count.checksum_errors.add(1),
            Ttl::Malformed => count.protocol_errors.add(1),
        }
    }
}

#[inline]
fn step(frame: &mut Frame) -> Ttl {
    let Ok(ip) = Ipv4::parse(frame.data()) else { return Ttl::Malformed };
    if !ip.checksum_ok() {
        return Ttl::BadChecksum;
    }
    let (ttl, total_len) = (ip.ttl(), ip.total_len());
    // Ethernet pads short frames, and traffic flow confidentiality extends packets.
    frame.truncate(total_len);
    //= RFC 1812 section 5.3.1: a packet with TTL 1 or 0 is not forwarded.
    if ttl <= 1 {
        return Ttl::Expired;
    }
    match frame.data_mut().first_chunk_mut() {
        Some(header) => {
            ipv4::decrement_ttl(header);
            Ttl::Alive
        }
        None => Ttl::Malformed,
    }
}
