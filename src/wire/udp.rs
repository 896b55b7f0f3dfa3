// SPDX-License-Identifier: Apache-2.0
//! UDP (RFC 768) over IPv4 and IPv6.

use super::{Malformed, checksum};
use std::net::IpAddr;

/// A datagram whose length field fits the bytes received.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    header: &'a [u8; HEADER],
    /// Header and payload, cut to the length field.
    datagram: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Takes the payload of an IP packet that is not a fragment.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Udp<'a>, Malformed> {
        let header = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if length < HEADER {
            return Err(Malformed::TotalLength);
        }
        let datagram = bytes.get(..length).ok_or(Malformed::Truncated)?;
        Ok(Udp { header, datagram })
    }

    #[inline]
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    #[inline]
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.datagram.get(HEADER..).unwrap_or_default()
    }

    /// Whether the sender computed a checksum: zero says it did not, which only IPv4 allows.
    #[inline]
    pub fn has_checksum(&self) -> bool {
        self.header[6..] != [0, 0]
    }

    /// Whether there is a checksum and it is right; an absent one is not.
    #[inline]
    pub fn checksum_ok(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.has_checksum()
            && checksum::fold(
                pseudo_header(source, destination, self.datagram.len() as u16) + checksum::sum(self.datagram),
            ) == 0
    }
}

/// Writes header, checksum and payload to the front of `out` and returns the length of the datagram.
///
/// Zero, and nothing written, if `out` is too short or the payload longer than `MAX_PAYLOAD`.
#[inline]
pub fn build(
    out: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
    payload: &[u8],
) -> usize {
    let length = HEADER + payload.len();
    let Ok(length_field) = u16::try_from(length) else { return 0 };
    let Some((header, body)) = out.get_mut(..length).and_then(<[u8]>::split_first_chunk_mut::<HEADER>) else {
        return 0;
    };
    header[..2].copy_from_slice(&source_port.to_be_bytes());
    header[2..4].copy_from_slice(&destination_port.to_be_bytes());
    header[4..6].copy_from_slice(&length_field.to_be_bytes());
    header[6..].fill(0);
    body.copy_from_slice(payload);
    let sum = pseudo_header(source, destination, length_field) + checksum::sum(header) + checksum::sum(body);
    // RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    let checksum = match checksum::fold(sum) {
        0 => 0xffff,
        other => other,
    };
    header[6..].copy_from_slice(&checksum.to_be_bytes());
    length
}

/// The pseudo header's sum is the same expression for IPv4 (RFC 768) and IPv6 (RFC 8200 section 8.1).
#[inline]
fn pseudo_header(source: IpAddr, destination: IpAddr, length: u16) -> u32 {
    address(source) + address(destination) + u32::from(PROTOCOL) + u32::from(length)
}

#[inline]
fn address(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => checksum::sum(&address.octets()),
        IpAddr::V6(address) => checksum::sum(&address.octets()),
    }
}

pub const HEADER: usize = 8;
/// What the 16-bit length leaves beside the header.
pub const MAX_PAYLOAD: usize = u16::MAX as usize - HEADER;

const PROTOCOL: u8 = super::ipv4::PROTOCOL_UDP;
