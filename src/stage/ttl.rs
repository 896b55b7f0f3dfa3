// SPDX-License-Identifier: Apache-2.0
//! The checks of a packet that is forwarded, and its time to live.

use crate::count;
use crate::frame::{Batch, Frame};
use crate::wire::ip::Ip;
use crate::wire::{ipv4, ipv6};

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
    match Ip::parse(frame.data()) {
        Ok(Ip::V4(ip)) => {
            if !ip.checksum_ok() {
                return Ttl::BadChecksum;
            }
            let (ttl, total_len) = (ip.ttl(), ip.total_len());
            age(frame, total_len, ttl, ipv4::decrement_ttl)
        }
        Ok(Ip::V6(ip)) => {
            let (hop_limit, total_len) = (ip.hop_limit(), ip.total_len());
            age(frame, total_len, hop_limit, ipv6::decrement_hop_limit)
        }
        Err(_) => Ttl::Malformed,
    }
}

#[inline]
fn age<const HEADER: usize>(
    frame: &mut Frame,
    total_len: usize,
    left: u8,
    decrement: impl Fn(&mut [u8; HEADER]),
) -> Ttl {
    // Ethernet pads short frames, and traffic flow confidentiality extends packets.
    frame.truncate(total_len);
    //= RFC 1812 section 5.3.1, RFC 8200 section 3: a packet that arrives with 1 or 0 is not forwarded.
    if left <= 1 {
        return Ttl::Expired;
    }
    match frame.data_mut().first_chunk_mut() {
        Some(header) => {
            decrement(header);
            Ttl::Alive
        }
        None => Ttl::Malformed,
    }
}
