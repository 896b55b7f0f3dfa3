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

#[cfg(test)]
mod tests {
    use super::super::testing::needs_exactly;
    use super::*;
    use etherparse::{UdpHeader, UdpSlice};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));

    fn sample() -> [u8; 20] {
        let mut datagram = [0; 20];
        assert_eq!(build(&mut datagram, HERE, THERE, 303, 303, b"knock"), 13);
        datagram
    }

    fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
        let v4 = any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, b)| (IpAddr::V4(a), IpAddr::V4(b)));
        let v6 = any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, b)| (IpAddr::V6(a), IpAddr::V6(b)));
        prop_oneof![v4, v6]
    }

    #[test]
    fn a_datagram_cut_anywhere_is_refused_and_what_follows_it_is_ignored() {
        needs_exactly(13, &sample(), Udp::parse);
        assert_eq!(Udp::parse(&sample()).unwrap().payload(), b"knock");
    }

    #[test]
    fn a_length_that_does_not_cover_the_header_is_refused() {
        for length in 0..HEADER as u8 {
            let mut datagram = sample();
            datagram[5] = length;
            assert_eq!(Udp::parse(&datagram).err(), Some(Malformed::TotalLength), "length {length}");
        }
    }

    #[test]
    fn each_flipped_bit_of_datagram_or_addresses_breaks_the_checksum() {
        let datagram = sample();
        assert!(Udp::parse(&datagram).unwrap().checksum_ok(HERE, THERE));
        for bit in 0..13 * 8 {
            let mut damaged = datagram;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let intact = Udp::parse(&damaged).is_ok_and(|view| view.checksum_ok(HERE, THERE));
            assert!(!intact, "bit {bit}");
        }
        let elsewhere = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 6));
        assert!(!Udp::parse(&datagram).unwrap().checksum_ok(HERE, elsewhere));
        assert!(!Udp::parse(&datagram).unwrap().checksum_ok(elsewhere, THERE));
    }

    #[test]
    fn an_absent_checksum_is_told_from_a_wrong_one_and_neither_is_right() {
        let mut datagram = sample();
        datagram[6..8].fill(0);
        let absent = Udp::parse(&datagram).unwrap();
        assert!(!absent.has_checksum() && !absent.checksum_ok(HERE, THERE));
        datagram[7] = 1;
        let wrong = Udp::parse(&datagram).unwrap();
        assert!(wrong.has_checksum() && !wrong.checksum_ok(HERE, THERE));
    }

    #[test]
    fn a_checksum_that_computes_to_zero_is_sent_as_all_ones() {
        let zero = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let mut datagram = [0; 10];
        // With no ports the sum is protocol 17, the length 10 twice and the payload: 0xffff in all.
        let payload = (0xffff - 17 - 10 - 10u16).to_be_bytes();
        assert_eq!(build(&mut datagram, zero, zero, 0, 0, &payload), 10);
        assert_eq!(datagram[6..8], [0xff, 0xff]);
        assert!(Udp::parse(&datagram).unwrap().checksum_ok(zero, zero));
    }

    #[test]
    fn what_does_not_fit_is_not_built() {
        let mut short = [0xaa; 12];
        assert_eq!(build(&mut short, HERE, THERE, 303, 303, b"knock"), 0);
        assert_eq!(short, [0xaa; 12]);

        let mut large = vec![0; 70_000];
        let longest = vec![0; MAX_PAYLOAD];
        assert_eq!(build(&mut large, HERE, THERE, 303, 303, &longest), 65_535);
        assert_eq!(build(&mut large, HERE, THERE, 303, 303, &vec![0; MAX_PAYLOAD + 1]), 0);
    }

    proptest! {
        #[test]
        fn a_built_datagram_reads_back_and_etherparse_builds_the_same(
            (source, destination) in addresses(),
            (source_port, destination_port) in any::<(u16, u16)>(),
            payload in vec(any::<u8>(), 0..200),
        ) {
            let mut out = [0; 220];
            let length = build(&mut out, source, destination, source_port, destination_port, &payload);
            let bytes = &out[..length];

            let view = Udp::parse(bytes).unwrap();
            prop_assert_eq!((view.source_port(), view.destination_port()), (source_port, destination_port));
            prop_assert_eq!(view.payload(), &payload);
            prop_assert!(view.has_checksum() && view.checksum_ok(source, destination));

            let mut theirs = UdpHeader { source_port, destination_port, length: length as u16, checksum: 0 };
            theirs.checksum = match (source, destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) =>
                    theirs.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &payload).unwrap(),
                (IpAddr::V6(source), IpAddr::V6(destination)) =>
                    theirs.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &payload).unwrap(),
                _ => unreachable!("both addresses are of one family"),
            };
            prop_assert_eq!(bytes, &[&theirs.to_bytes()[..], &payload].concat());
        }

        #[test]
        fn etherparse_accepts_the_same_bytes(mut bytes in vec(any::<u8>(), 0..40), length in proptest::option::of(0u8..48)) {
            if let (Some(length), Some(field)) = (length, bytes.get_mut(4..6)) {
                field.copy_from_slice(&[0, length]);
            }
            // A length of zero stands for "the rest" there, which only IPv6 jumbograms may say (RFC 2675).
            let zero = bytes.get(4..6) == Some(&[0, 0]);
            let theirs = UdpSlice::from_slice(&bytes).ok().filter(|_| !zero);
            let ours = Udp::parse(&bytes);
            prop_assert_eq!(ours.is_ok(), theirs.is_some());
            if let (Ok(ours), Some(theirs)) = (ours, theirs) {
                prop_assert_eq!(ours.source_port(), theirs.source_port());
                prop_assert_eq!(ours.destination_port(), theirs.destination_port());
                prop_assert_eq!(ours.payload(), theirs.payload());
                prop_assert_eq!(ours.has_checksum(), theirs.checksum() != 0);
                let _ = ours.checksum_ok(HERE, THERE);
            }
        }
    }
}
