// SPDX-License-Identifier: Apache-2.0
//! IPv4 (RFC 791). Options are carried along and never interpreted; this gateway sends none.

use super::{Malformed, checksum};
use std::net::Ipv4Addr;

/// A packet whose header and total length fit the bytes received.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    fixed: &'a [u8; HEADER],
    /// From the first byte of the header to the end that the header announces.
    packet: &'a [u8],
    header_len: usize,
}

impl<'a> Ipv4<'a> {
    /// Bytes beyond the total length are padding of the frame and ignored.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Ipv4<'a>, Malformed> {
        let fixed = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        if fixed[0] >> 4 != VERSION {
            return Err(Malformed::Version);
        }
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        if header_len < HEADER {
            return Err(Malformed::HeaderLength);
        }
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if total_len < header_len {
            return Err(Malformed::TotalLength);
        }
        let packet = bytes.get(..total_len).ok_or(Malformed::Truncated)?;
        Ok(Ipv4 { fixed, packet, header_len })
    }

    /// In bytes, options included: 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// In bytes, header included.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.packet.len()
    }

    #[inline]
    pub fn tos(&self) -> u8 {
        self.fixed[1]
    }

    #[inline]
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_and_offset() & DONT_FRAGMENT != 0
    }

    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_and_offset() & MORE_FRAGMENTS != 0
    }

    /// In units of eight bytes, as on the wire.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        self.flags_and_offset() & FRAGMENT_OFFSET
    }

    /// Whether this is one of several pieces of a packet, the first included.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_and_offset() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    #[inline]
    pub fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    #[inline]
    pub fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        let [.., a, b, c, d, _, _, _, _] = *self.fixed;
        Ipv4Addr::new(a, b, c, d)
    }

    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        let [.., a, b, c, d] = *self.fixed;
        Ipv4Addr::new(a, b, c, d)
    }

    /// The header with its options.
    #[inline]
    pub fn header(&self) -> &'a [u8] {
        self.packet.get(..self.header_len).unwrap_or(self.packet)
    }

    /// The whole packet, header first, cut to its total length.
    #[inline]
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// What follows the header, cut to the total length.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(self.header_len..).unwrap_or_default()
    }

    #[inline]
    pub fn checksum_ok(&self) -> bool {
        if self.header_len == HEADER {
            checksum::header(self.fixed) == 0
        } else {
            checksum::internet(self.header()) == 0
        }
    }

    #[inline]
    fn flags_and_offset(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6], self.fixed[7]])
    }
}

/// A header without options, of a packet that is not a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub tos: u8,
    pub id: u16,
    pub dont_fragment: bool,
    pub ttl: u8,
    pub protocol: u8,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// At most `MAX_PAYLOAD`; what is above cannot be said on the wire and is written as that.
    pub payload_len: u16,
}

impl Header {
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER]) {
        let total_len = self.payload_len.min(MAX_PAYLOAD) + HEADER as u16;
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        out[0] = VERSION << 4 | (HEADER / 4) as u8;
        out[1] = self.tos;
        out[2..4].copy_from_slice(&total_len.to_be_bytes());
        out[4..6].copy_from_slice(&self.id.to_be_bytes());
        out[6..8].copy_from_slice(&flags.to_be_bytes());
        out[8] = self.ttl;
        out[9] = self.protocol;
        out[10..12].fill(0);
        out[12..16].copy_from_slice(&self.source.octets());
        out[16..].copy_from_slice(&self.destination.octets());
        let checksum = checksum::header(out);
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// One hop less to live, and the checksum patched to match (RFC 1624); a header at zero stays as it is.
///
/// The first 20 bytes suffice whether or not options follow.
#[inline]
pub fn decrement_ttl(packet: &mut [u8; HEADER]) {
    let old = u16::from_be_bytes([packet[8], packet[9]]);
    packet[8] = packet[8].saturating_sub(1);
    let new = u16::from_be_bytes([packet[8], packet[9]]);
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    let checksum = checksum::update(checksum, old, new);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The header without options, which is also the shortest.
pub const HEADER: usize = 20;
/// What the 16-bit total length leaves beside that header.
pub const MAX_PAYLOAD: u16 = u16::MAX - HEADER as u16;
pub const PROTOCOL_ICMP: u8 = 1;
pub const PROTOCOL_IPIP: u8 = 4;
pub const PROTOCOL_UDP: u8 = 17;
pub const PROTOCOL_ESP: u8 = 50;

const VERSION: u8 = 4;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;
