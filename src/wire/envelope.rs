// SPDX-License-Identifier: Apache-2.0
//! The envelope: what surrounds a sealed packet on its way between two gateways.
//!
//! ```text
//!   │ IPv4 or IPv6 │ ESP header │ inner packet │ padding, trailer │ ICV │
//!    ╰─ envelope ─╯             ╰──────────── sealed ────────────╯
//! ```
//!
//! There is one template per kind. It has every byte that is the same in each packet, and writes those that are not: lengths,
//! class and checksum. All that follows from the kind is said here: the sizes that fit a path, and how to recognise a packet of
//! ours that a router quotes. Another kind, such as ESP in UDP (RFC 3948), is another variant of [`Envelope`].
//!
//! Limits: packets have no options, extension headers, fragments or flow label. IPv4 has DF set (RFC 4301 section 8.1).

use super::checksum;
use super::esp;
use super::ip::Family;
use super::ipv4::{self, PROTOCOL_ESP};
use super::ipv6;
use std::net::IpAddr;

/// The header in front of ESP, by kind.
pub enum Envelope {
    /// ESP over IPv4.
    Ipv4(OverIpv4),
    /// ESP over IPv6.
    Ipv6(OverIpv6),
}

/// The template of ESP over IPv4.
pub struct OverIpv4 {
    header: [u8; OverIpv4::LEN],
    /// The sum of its words, with type of service, length and checksum as zero.
    sum: u16,
}

/// The template of ESP over IPv6.
pub struct OverIpv6 {
    header: [u8; OverIpv6::LEN],
}

/// A packet in an envelope, as far as an ICMP error quotes it: RFC 792 has eight bytes quoted behind its IP header.
pub struct Quote {
    ends: Ends,
    /// The SPI of its SA.
    pub spi: u32,
    /// The lower half of its sequence number.
    pub sequence_low: u32,
}

/// Source and destination, as they stand in the header.
enum Ends {
    V4([u8; 8]),
    V6([u8; 32]),
}

impl OverIpv4 {
    /// Bytes in front of the ESP header.
    pub const LEN: usize = ipv4::HEADER;

    /// Writes the header of a packet with `esp_len` bytes of ESP, ICV included.
    #[inline(always)]
    pub fn write(&self, out: &mut [u8; OverIpv4::LEN], class: u8, esp_len: usize) {
        let len = (OverIpv4::LEN + esp_len) as u16;
        // Version and header length are in the sum; the class is the low byte of the same word.
        let checksum = checksum::fold(u32::from(self.sum) + u32::from(class) + u32::from(len));
        *out = self.header;
        out[1] = class;
        out[2..4].copy_from_slice(&len.to_be_bytes());
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

impl OverIpv6 {
    /// Bytes in front of the ESP header.
    pub const LEN: usize = ipv6::HEADER;

    /// Writes the header of a packet with `esp_len` bytes of ESP, ICV included.
    #[inline(always)]
    pub fn write(&self, out: &mut [u8; OverIpv6::LEN], class: u8, esp_len: usize) {
        *out = self.header;
        out[4..6].copy_from_slice(&(esp_len as u16).to_be_bytes());
        // The template has neither class nor flow label.
        (out[0], out[1]) = (self.header[0] | class >> 4, class << 4);
    }
}

impl Envelope {
    /// The template for packets from `source` to `destination`, which are of one family; else `None`.
    pub fn new(source: IpAddr, destination: IpAddr) -> Option<Envelope> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = [0; OverIpv4::LEN];
                ipv4::Header::of_ours(PROTOCOL_ESP, source, destination, 0).write(&mut header);
                header[2..4].fill(0);
                header[10..12].fill(0);
                let sum = checksum::sum(&header) as u16;
                Some(Envelope::Ipv4(OverIpv4 { header, sum }))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = [0; OverIpv6::LEN];
                ipv6::Header::of_ours(PROTOCOL_ESP, source, destination, 0).write(&mut header);
                Some(Envelope::Ipv6(OverIpv6 { header }))
            }
            _ => None,
        }
    }

    /// The address of the far gateway, as it stands in the header.
    pub fn destination(&self) -> &[u8] {
        match self {
            Envelope::Ipv4(template) => &template.header[16..],
            Envelope::Ipv6(template) => &template.header[24..],
        }
    }

    /// The largest inner packet for a path that carries `path_mtu` bytes.
    pub fn inner_mtu(&self, path_mtu: u16) -> u16 {
        // It is less than the path MTU, which has this type.
        inner_mtu(self.family(), path_mtu.into()) as u16
    }

    /// The length of the whole packet with an inner packet of this length.
    pub fn outer_len(&self, inner: usize) -> usize {
        overhead(self.family()) + (inner + esp::TRAILER).next_multiple_of(4) + esp::ICV
    }

    /// Whether a quoted packet went between the same gateways in the same kind of envelope.
    #[inline]
    pub fn has_ends_of(&self, quote: &Quote) -> bool {
        match (self, &quote.ends) {
            (Envelope::Ipv4(template), Ends::V4(ends)) => template.header[12..] == ends[..],
            (Envelope::Ipv6(template), Ends::V6(ends)) => template.header[8..] == ends[..],
            _ => false,
        }
    }

    fn family(&self) -> Family {
        match self {
            Envelope::Ipv4(_) => Family::V4,
            Envelope::Ipv6(_) => Family::V6,
        }
    }
}

impl Quote {
    /// The start of a packet of ESP in an ICMP error of this family. `None` if it is none that we send.
    pub fn parse(packet: &[u8], family: Family) -> Option<Quote> {
        if Family::of_packet(packet) != Some(family) {
            return None;
        }
        let (ends, esp) = match family {
            Family::V4 => {
                let (header, esp) = packet.split_first_chunk::<{ OverIpv4::LEN }>()?;
                // We send neither options nor fragments.
                let fragment = u16::from_be_bytes([header[6], header[7]]);
                if header[0] != ipv4::PLAIN || fragment & ipv4::FRAGMENT_OFFSET != 0 {
                    return None;
                }
                (Ends::V4(*header.last_chunk()?), esp)
            }
            Family::V6 => {
                let (header, esp) = packet.split_first_chunk::<{ OverIpv6::LEN }>()?;
                (Ends::V6(*header.last_chunk()?), esp)
            }
        };
        let (spi, rest) = esp.split_first_chunk()?;
        let (spi, sequence_low) = (u32::from_be_bytes(*spi), u32::from_be_bytes(*rest.first_chunk()?));
        Some(Quote { ends, spi, sequence_low })
    }

    /// Whether the start of a packet in an ICMP error of this family is that of a packet that carries ESP.
    pub fn is_esp(packet: &[u8], family: Family) -> bool {
        let protocol_at = match family {
            Family::V4 => 9,
            Family::V6 => 6,
        };
        Family::of_packet(packet) == Some(family) && packet.get(protocol_at) == Some(&PROTOCOL_ESP)
    }
}

/// The largest inner packet for a path that carries `path_mtu` bytes, in an envelope of this family.
pub const fn inner_mtu(outer: Family, path_mtu: u32) -> u32 {
    let sealed = path_mtu.saturating_sub((overhead(outer) + esp::ICV) as u32);
    // RFC 4303 section 2.4: the trailer ends on four bytes.
    (sealed & !3).saturating_sub(esp::TRAILER as u32)
}

/// Bytes in front of the inner packet.
const fn overhead(outer: Family) -> usize {
    let envelope = match outer {
        Family::V4 => OverIpv4::LEN,
        Family::V6 => OverIpv6::LEN,
    };
    envelope + esp::HEADER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_mtu_is_what_deployed_gateways_compute() {
        for (path, over_ipv4, over_ipv6) in
            [(1500, 1446, 1426), (3498, 3442, 3422), (8500, 8446, 8426), (9001, 8946, 8926)]
        {
            assert_eq!(inner_mtu(Family::V4, path), over_ipv4);
            assert_eq!(inner_mtu(Family::V6, path), over_ipv6);
        }
        assert_eq!(inner_mtu(Family::V4, 0), 0);
    }

    #[test]
    fn the_largest_inner_packet_fits_and_one_byte_more_does_not() {
        let v4 = Envelope::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into()).unwrap();
        let v6 = Envelope::new([1; 16].into(), [2; 16].into()).unwrap();
        for envelope in [v4, v6] {
            for path_mtu in 576..1600 {
                let inner = usize::from(envelope.inner_mtu(path_mtu));
                assert!(envelope.outer_len(inner) <= path_mtu.into());
                assert!(envelope.outer_len(inner + 1) > path_mtu.into());
            }
        }
    }

    #[test]
    fn a_header_is_the_one_that_etherparse_writes() {
        for esp_len in [0, 36, 1400, 9000] {
            for class in [0, 0xb8, 0xff] {
                let envelope = Envelope::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into()).unwrap();
                let Envelope::Ipv4(template) = envelope else { panic!() };
                let mut ours = [0; OverIpv4::LEN];
                template.write(&mut ours, class, esp_len);
                let mut theirs = etherparse::Ipv4Header::new(
                    esp_len as u16,
                    64,
                    etherparse::IpNumber::ENCAPSULATING_SECURITY_PAYLOAD,
                    [192, 0, 2, 1],
                    [192, 0, 2, 2],
                )
                .unwrap();
                theirs.dscp = etherparse::IpDscp::try_new(class >> 2).unwrap();
                theirs.ecn = etherparse::IpEcn::try_new(class & 3).unwrap();
                theirs.dont_fragment = true;
                theirs.header_checksum = theirs.calc_header_checksum();
                assert_eq!(ours[..], theirs.to_bytes()[..]);

                let Some(Envelope::Ipv6(template)) = Envelope::new([1; 16].into(), [2; 16].into()) else {
                    panic!()
                };
                let mut ours = [0; OverIpv6::LEN];
                template.write(&mut ours, class, esp_len);
                let theirs = etherparse::Ipv6Header {
                    traffic_class: class,
                    flow_label: Default::default(),
                    payload_length: esp_len as u16,
                    next_header: etherparse::IpNumber::ENCAPSULATING_SECURITY_PAYLOAD,
                    hop_limit: 64,
                    source: [1; 16],
                    destination: [2; 16],
                };
                assert_eq!(ours, theirs.to_bytes());
            }
        }
    }

    #[test]
    fn a_packet_is_recognised_by_the_start_of_it_and_others_are_not() {
        let ours = Envelope::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into()).unwrap();
        let other = Envelope::new([192, 0, 2, 1].into(), [192, 0, 2, 3].into()).unwrap();
        let Envelope::Ipv4(template) = &ours else { panic!() };
        let mut packet = [0; OverIpv4::LEN + 8];
        template.write(packet.first_chunk_mut().unwrap(), 0, 1000);
        packet[OverIpv4::LEN..].copy_from_slice(&[0, 0, 1, 2, 0, 0, 0, 7]);
        let quote = Quote::parse(&packet, Family::V4).unwrap();
        assert!(Quote::is_esp(&packet, Family::V4) && ours.has_ends_of(&quote) && !other.has_ends_of(&quote));
        assert_eq!((quote.spi, quote.sequence_low), (0x102, 7));
        for (at, value) in [(0, 0x46), (6, 0x21), (7, 1), (0, 0x65)] {
            let mut odd = packet;
            odd[at] = value;
            assert!(
                Quote::parse(&odd, Family::V4).is_none_or(|quote| !ours.has_ends_of(&quote)),
                "byte {at}"
            );
        }
        // An ICMPv6 error quotes no packet of IPv4.
        assert!(Quote::parse(&packet, Family::V6).is_none() && !Quote::is_esp(&packet, Family::V6));
        assert!(Quote::parse(&packet[..OverIpv4::LEN + 7], Family::V4).is_none());
    }
}
