// SPDX-License-Identifier: Apache-2.0
//! The checks of a packet that is forwarded, and its time to live.

use crate::count;
use crate::frame::{Batch, Frame};
use crate::wire::ip::Ip;
use crate::wire::{ipv4, ipv6};

/// Why a packet goes no further.
enum Stop {
    Expired,
    BadChecksum,
    Malformed,
}

/// Takes one from the TTL of each packet and cuts what follows it in the frame. Packets whose TTL is used up go to
/// `expired`, unchanged.
pub fn decrement(packets: &mut Batch, expired: &mut Batch, count: &count::Ttl) {
    packets.sift(step, |stop, frame| match stop {
        Stop::Expired => expired.push(frame),
        Stop::BadChecksum => count.checksum_errors.add(1),
        Stop::Malformed => count.protocol_errors.add(1),
    });
}

#[inline]
fn step(frame: &mut Frame) -> Result<(), Stop> {
    match Ip::parse(frame.data()) {
        Ok(Ip::V4(ip)) => {
            if !ip.checksum_ok() {
                return Err(Stop::BadChecksum);
            }
            let (ttl, total_len) = (ip.ttl(), ip.total_len());
            age(frame, total_len, ttl, ipv4::decrement_ttl)
        }
        Ok(Ip::V6(ip)) => {
            let (hop_limit, total_len) = (ip.hop_limit(), ip.total_len());
            age(frame, total_len, hop_limit, ipv6::decrement_hop_limit)
        }
        Err(_) => Err(Stop::Malformed),
    }
}

#[inline]
fn age<const HEADER: usize>(
    frame: &mut Frame,
    total_len: usize,
    left: u8,
    decrement: impl Fn(&mut [u8; HEADER]),
) -> Result<(), Stop> {
    // Ethernet pads short frames, and traffic flow confidentiality extends packets.
    frame.truncate(total_len);
    //= RFC 1812 section 5.3.1, RFC 8200 section 3: a packet that arrives with 1 or 0 is not forwarded.
    if left <= 1 {
        return Err(Stop::Expired);
    }
    match frame.data_mut().first_chunk_mut() {
        Some(header) => {
            decrement(header);
            Ok(())
        }
        None => Err(Stop::Malformed),
    }
}
