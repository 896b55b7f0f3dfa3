// SPDX-License-Identifier: Apache-2.0
//! The checks of a packet that is forwarded, and its time to live.

use super::Exception;
use crate::count::{Reason, Side};
use crate::wire::ip::{Family, Ip};
use crate::wire::{ipv4, ipv6};

/// Whether a packet that came from `side` is sound and has time to live.
#[inline(always)]
pub fn check(packet: &Ip<'_>, side: Side) -> Result<Family, Exception> {
    let (family, left) = match packet {
        Ip::V4(ip) if !ip.checksum_ok() => return Err(Reason::HeaderChecksum(side).into()),
        Ip::V4(ip) => (Family::V4, ip.ttl()),
        Ip::V6(ip) => (Family::V6, ip.hop_limit()),
    };
    //= RFC 1812 section 5.3.1, RFC 8200 section 3: a packet that arrives with 1 or 0 is not forwarded.
    if left > 1 { Ok(family) } else { Err(Exception::TimeExceeded) }
}

/// Takes one from the time to live of a packet that was checked.
#[inline(always)]
pub fn decrement(packet: &mut [u8], family: Family) {
    match family {
        Family::V4 => packet.first_chunk_mut().map(ipv4::decrement_ttl),
        Family::V6 => packet.first_chunk_mut().map(ipv6::decrement_hop_limit),
    };
}
