// SPDX-License-Identifier: Apache-2.0
//! The checks of a packet that is forwarded, and its time to live.

use crate::count;
use crate::frame::{Batch, Frame};
use crate::wire::ip::{Family, Ip};
use crate::wire::{ipv4, ipv6};

/// Why a packet goes no further.
pub enum Stop {
    Expired,
    BadChecksum,
}

/// Whether a packet is sound and has time to live.
#[inline(always)]
pub fn check(packet: &Ip<'_>) -> Result<Family, Stop> {
    let (family, left) = match packet {
        Ip::V4(ip) if !ip.checksum_ok() => return Err(Stop::BadChecksum),
        Ip::V4(ip) => (Family::V4, ip.ttl()),
        Ip::V6(ip) => (Family::V6, ip.hop_limit()),
    };
    //= RFC 1812 section 5.3.1, RFC 8200 section 3: a packet that arrives with 1 or 0 is not forwarded.
    if left > 1 { Ok(family) } else { Err(Stop::Expired) }
}

/// Takes one from the time to live of a packet that was checked.
#[inline(always)]
pub fn decrement(packet: &mut [u8], family: Family) {
    match family {
        Family::V4 => packet.first_chunk_mut().map(ipv4::decrement_ttl),
        Family::V6 => packet.first_chunk_mut().map(ipv6::decrement_hop_limit),
    };
}

/// What becomes of a packet that was stopped: those whose time is up go to `expired`.
#[cold]
pub fn divert(stop: Stop, frame: Frame, expired: &mut Batch, count: &count::Ttl) {
    match stop {
        Stop::Expired => expired.push(frame),
        Stop::BadChecksum => count.checksum_errors.add(1),
    }
}
