// SPDX-License-Identifier: Apache-2.0
//! ICMP for IPv4 (RFC 792), and when to keep silent (RFC 1122 section 3.2.2).

use super::ipv4::{self, Ipv4};
use super::{Mac, Malformed, checksum};
use std::net::Ipv4Addr;

/// A message whose header is complete.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv4<'a> {
    header: &'a [u8; HEADER],
    message: &'a [u8],
}

impl<'a> Icmpv4<'a> {
    /// Takes the payload of an IPv4 packet that is not a fragment.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Icmpv4<'a>, Malformed> {
        let header = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Icmpv4 { header, message: bytes })
    }

    /// The field named "type" in RFC 792.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.header[0]
    }

    #[inline]
    pub fn code(&self) -> u8 {
        self.header[1]
    }

    /// The last four bytes of the header, which each type uses in its own way.
    #[inline]
    pub fn rest(&self) -> [u8; 4] {
        let [.., a, b, c, d] = *self.header;
        [a, b, c, d]
    }

    /// What follows the header: echo data, or the quoted packet of an error.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.message.get(HEADER..).unwrap_or_default()
    }

    #[inline]
    pub fn checksum_ok(&self) -> bool {
        checksum::internet(self.message) == 0
    }
}

/// Turns an echo request into its reply, in place; false, and nothing changed, if it is none.
///
/// The checksum is patched, not recomputed, so a damaged message stays recognisably damaged.
#[inline]
pub fn echo_reply(message: &mut [u8]) -> bool {
    let Some([kind, code, checksum @ .., _, _, _, _]) = message.first_chunk_mut::<HEADER>() else {
        return false;
    };
    if (*kind, *code) != (ECHO_REQUEST, 0) {
        return false;
    }
    let old = u16::from_be_bytes([*kind, *code]);
    *kind = ECHO_REPLY;
    let new = u16::from_be_bytes([*kind, *code]);
    *checksum = checksum::update(u16::from_be_bytes(*checksum), old, new).to_be_bytes();
    true
}

/// Writes an error message that ends with `quote` to the front of `out` and returns its length.
///
/// Zero, and nothing written, if `out` is too short.
#[inline]
pub fn error(out: &mut [u8], kind: u8, code: u8, rest: [u8; 4], quote: &[u8]) -> usize {
    let length = HEADER + quote.len();
    let Some((header, body)) = out.get_mut(..length).and_then(<[u8]>::split_first_chunk_mut::<HEADER>) else {
        return 0;
    };
    let [a, b, c, d] = rest;
    *header = [kind, code, 0, 0, a, b, c, d];
    body.copy_from_slice(quote);
    let checksum = checksum::fold(checksum::sum(header) + checksum::sum(body));
    header[2..4].copy_from_slice(&checksum.to_be_bytes());
    length
}

/// What an error says about the packet that caused it: "the internet header plus the first 64 bits of
/// the original datagram's data" (RFC 792).
#[inline]
pub fn quote<'a>(packet: &Ipv4<'a>) -> &'a [u8] {
    let bytes = packet.packet();
    bytes.get(..packet.header_len() + QUOTED_PAYLOAD).unwrap_or(bytes)
}

/// The `rest` of "fragmentation needed" (RFC 1191 section 4).
#[inline]
pub const fn next_hop_mtu(mtu: u16) -> [u8; 4] {
    let [high, low] = mtu.to_be_bytes();
    [0, 0, high, low]
}

/// Whether an error about `packet` may be sent, given the link-layer address it was sent to.
///
/// RFC 1122 section 3.2.2: "An ICMP error message MUST NOT be sent as the result of receiving: an ICMP
/// error message, or a datagram destined to an IP broadcast or IP multicast address, or a datagram sent
/// as a link-layer broadcast, or a non-initial fragment, or a datagram whose source address does not
/// define a single host". The broadcast address of a subnet cannot be told from a host's without its
/// prefix: such a packet shows by its link-layer address.
#[inline]
pub fn may_answer(packet: &Ipv4<'_>, destination: Mac) -> bool {
    !destination.is_multicast()
        && packet.fragment_offset() == 0
        && is_single_destination(packet.destination())
        && is_single_host(packet.source())
        && (packet.protocol() != ipv4::PROTOCOL_ICMP
            || packet.payload().first().is_some_and(|kind| is_query(*kind)))
}

/// Whether a source address defines a single host that an answer can reach: RFC 1122 section 3.2.2 rules
/// out "a zero address, a loopback address, a broadcast address, a multicast address, or a Class E address".
#[inline]
pub fn is_single_host(source: Ipv4Addr) -> bool {
    !matches!(source.octets(), [0 | 127 | 224..=255, ..])
}

/// Whether the type asks or answers a question. A type nobody assigned is taken for an error, because
/// two nodes that take it for a question could answer each other for ever.
#[inline]
pub const fn is_query(kind: u8) -> bool {
    // Echo, router discovery (RFC 1256), timestamp, information, address mask (RFC 950), extended echo (RFC 8335).
    matches!(kind, ECHO_REPLY | ECHO_REQUEST | 9 | 10 | 13..=18 | 42 | 43)
}

/// Neither multicast nor limited broadcast; 0.0.0.0 is a broadcast address of old (RFC 1122 section 3.3.6).
#[inline]
fn is_single_destination(destination: Ipv4Addr) -> bool {
    !(destination.is_multicast() || destination.is_broadcast() || destination.is_unspecified())
}

pub const HEADER: usize = 8;

pub const ECHO_REPLY: u8 = 0;
pub const DESTINATION_UNREACHABLE: u8 = 3;
pub const REDIRECT: u8 = 5;
pub const ECHO_REQUEST: u8 = 8;
pub const TIME_EXCEEDED: u8 = 11;
pub const PARAMETER_PROBLEM: u8 = 12;

/// Codes of `DESTINATION_UNREACHABLE`.
pub const PROTOCOL_UNREACHABLE: u8 = 2;
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Code of `TIME_EXCEEDED`.
pub const TTL_EXCEEDED: u8 = 0;

const QUOTED_PAYLOAD: usize = 8;
