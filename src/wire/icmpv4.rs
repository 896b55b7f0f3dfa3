// SPDX-License-Identifier: Apache-2.0
//! ICMP for IPv4 (RFC 792), and when to keep silent (RFC 1122 section 3.2.2).

use super::icmp::{self, Message};
use super::ipv4::{self, Ipv4};
use super::{Malformed, checksum};
use std::net::Ipv4Addr;
use std::ops::Deref;

/// A message whose header is complete.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv4<'a>(Message<'a>);

impl<'a> Icmpv4<'a> {
    /// Takes what follows the IP headers of a packet that is not a fragment.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Icmpv4<'a>, Malformed> {
        Message::parse(bytes).map(Icmpv4)
    }

    #[inline]
    pub fn checksum_ok(&self) -> bool {
        checksum::internet(self.bytes()) == 0
    }
}

impl<'a> Deref for Icmpv4<'a> {
    type Target = Message<'a>;

    #[inline]
    fn deref(&self) -> &Message<'a> {
        &self.0
    }
}

/// Turns an echo request into its reply, in place; false, and nothing changed, if it is none.
///
/// The checksum is patched, not recomputed, so a damaged message stays recognisably damaged.
#[inline]
pub fn echo_reply(message: &mut [u8]) -> bool {
    let Some((front, rest)) = message.split_first_chunk_mut::<4>() else { return false };
    let [kind, code, checksum @ ..] = front;
    if rest.len() < HEADER - 4 || (*kind, *code) != (ECHO_REQUEST, 0) {
        return false;
    }
    let old = u16::from_be_bytes([*kind, *code]);
    *kind = ECHO_REPLY;
    let new = u16::from_be_bytes([*kind, *code]);
    let updated = match checksum::update(u16::from_be_bytes(*checksum), old, new) {
        // A reply of nothing but zeros has a checksum of all ones, which no update can tell from zero.
        0 if rest.iter().all(|byte| *byte == 0) => u16::MAX,
        updated => updated,
    };
    *checksum = updated.to_be_bytes();
    true
}

/// Fills the header of an error message that has its quote already; false, and nothing written, if it is too short to have
/// a header.
#[inline]
pub fn write_error(message: &mut [u8], kind: u8, code: u8, rest: [u8; 4]) -> bool {
    icmp::fill_header(message, [kind, code], rest, |header, quote| {
        checksum::fold(checksum::sum(header) + checksum::sum(quote))
    })
}

/// What an error says about the packet that caused it: "the internet header plus the first 64 bits of
/// the original datagram's data" (RFC 792).
#[inline]
pub fn quote<'a>(packet: &Ipv4<'a>) -> &'a [u8] {
    let bytes = packet.packet();
    bytes.get(..packet.header_len() + QUOTED_PAYLOAD).unwrap_or(bytes)
}

/// Between whom the packet went that an error quotes: its source and destination. `None` for what is no error. A redirect
/// counts as none, because it says nothing beyond its own link (RFC 1122 section 3.2.2.2).
pub fn quoted(packet: &Ipv4<'_>) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if packet.protocol() != ipv4::PROTOCOL_ICMP || packet.is_fragment() {
        return None;
    }
    let message = Icmpv4::parse(packet.payload()).ok()?;
    if !matches!(message.kind(), DESTINATION_UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM) {
        return None;
    }
    // More than a header need not be there, so it is no packet to parse.
    let header = message.body().first_chunk::<{ ipv4::HEADER }>()?;
    let [first, .., a, b, c, d, e, f, g, h] = *header;
    (first >> 4 == 4).then(|| (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)))
}

/// The `rest` of "fragmentation needed" (RFC 1191 section 4).
#[inline]
pub const fn next_hop_mtu(mtu: u16) -> [u8; 4] {
    let [high, low] = mtu.to_be_bytes();
    [0, 0, high, low]
}

/// Whether an error about `packet`, which was sent to one link-layer address only, may be sent.
///
/// RFC 1122 section 3.2.2: "An ICMP error message MUST NOT be sent as the result of receiving: an ICMP
/// error message, or a datagram destined to an IP broadcast or IP multicast address, or a datagram sent
/// as a link-layer broadcast, or a non-initial fragment, or a datagram whose source address does not
/// define a single host". The broadcast address of a subnet cannot be told from a host's without its
/// prefix: such a packet shows by its link-layer address.
#[inline]
pub fn may_answer(packet: &Ipv4<'_>) -> bool {
    packet.fragment_offset() == 0
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

pub use super::icmp::HEADER;

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

#[cfg(test)]
mod tests {
    use super::super::testing::{deployed_packets, needs_exactly};
    use super::*;
    use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
    use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type};
    use proptest::collection::vec;
    use proptest::prelude::*;

    const HEADER_OF_IP: usize = ipv4::HEADER;

    /// A packet from 10.0.0.1 to 10.0.0.2 whose payload is the given bytes.
    fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = ipv4::Header {
            tos: 0,
            id: 1,
            dont_fragment: false,
            ttl: 64,
            protocol,
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
            payload_len: payload.len() as u16,
        };
        let mut bytes = vec![0; HEADER_OF_IP];
        header.write(bytes.first_chunk_mut().unwrap());
        bytes.extend(payload);
        bytes
    }

    fn answered(bytes: &[u8]) -> bool {
        may_answer(&Ipv4::parse(bytes).unwrap())
    }

    fn echo_request(data: &[u8]) -> Vec<u8> {
        let kind = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 9 });
        [&Icmpv4Header::with_checksum(kind, data).to_bytes()[..], data].concat()
    }

    #[test]
    fn a_message_shorter_than_its_header_is_refused_at_every_length() {
        needs_exactly(HEADER, &echo_request(b"data"), Icmpv4::parse);
    }

    #[test]
    fn each_flipped_bit_breaks_the_checksum() {
        let message = echo_request(b"odd");
        assert!(Icmpv4::parse(&message).unwrap().checksum_ok());
        for bit in 0..message.len() * 8 {
            let mut damaged = message.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!Icmpv4::parse(&damaged).unwrap().checksum_ok(), "bit {bit}");
        }
    }

    #[test]
    fn an_echo_of_deployed_traffic_is_answered_with_its_data() {
        for packet in deployed_packets() {
            let Ok(inner) = Ipv4::parse(&packet.inner) else { continue };
            let mut message = inner.payload().to_vec();
            if inner.protocol() != ipv4::PROTOCOL_ICMP || message.first() != Some(&ECHO_REQUEST) {
                continue;
            }
            let request = message.clone();
            assert!(echo_reply(&mut message));
            let reply = Icmpv4::parse(&message).unwrap();
            assert_eq!((reply.kind(), reply.code()), (ECHO_REPLY, 0));
            assert_eq!(message[4..], request[4..]);
            assert!(reply.checksum_ok());
        }
    }

    #[test]
    fn an_echo_of_zeros_is_answered_with_a_sound_checksum() {
        let mut message = [ECHO_REQUEST, 0, 0xf7, 0xff, 0, 0, 0, 0, 0, 0, 0];
        assert!(Icmpv4::parse(&message).unwrap().checksum_ok());
        assert!(echo_reply(&mut message));
        assert!(Icmpv4::parse(&message).unwrap().checksum_ok());
        assert_eq!(message, [ECHO_REPLY, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn only_echo_requests_are_echoed() {
        for (kind, code) in [(ECHO_REPLY, 0), (DESTINATION_UNREACHABLE, 0), (13, 0), (ECHO_REQUEST, 1)] {
            let mut message = echo_request(b"data");
            message[..2].copy_from_slice(&[kind, code]);
            let before = message.clone();
            assert!(!echo_reply(&mut message));
            assert_eq!(message, before, "type {kind} code {code}");
        }
        let request = echo_request(b"");
        for length in 0..HEADER {
            assert!(!echo_reply(&mut request[..length].to_vec()), "{length} bytes");
        }
    }

    #[test]
    fn an_error_quotes_the_ip_header_and_eight_bytes() {
        let long = packet(ipv4::PROTOCOL_UDP, &[0x55; 100]);
        assert_eq!(quote(&Ipv4::parse(&long).unwrap()), &long[..28]);
        let short = packet(ipv4::PROTOCOL_UDP, &[0x55; 3]);
        assert_eq!(quote(&Ipv4::parse(&short).unwrap()), &short[..]);

        let mut padded = short.clone();
        padded.resize(46, 0);
        assert_eq!(quote(&Ipv4::parse(&padded).unwrap()), &short[..], "no byte of the frame's padding");
    }

    #[test]
    fn a_quote_includes_the_options() {
        let mut bytes = packet(ipv4::PROTOCOL_UDP, &[0; 60]);
        bytes[0] = 0x4f;
        assert_eq!(quote(&Ipv4::parse(&bytes).unwrap()).len(), 68);
    }

    #[test]
    fn fragmentation_needed_carries_the_mtu_as_etherparse_writes_it() {
        let offender = packet(ipv4::PROTOCOL_UDP, &[0x55; 100]);
        let quote = quote(&Ipv4::parse(&offender).unwrap());
        let mut out = [&[0xaa; HEADER][..], quote].concat();
        assert!(write_error(&mut out, DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED, next_hop_mtu(1446)));
        let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu: 1446,
        });
        let theirs = Icmpv4Header::with_checksum(kind, quote);
        assert_eq!(out, [&theirs.to_bytes()[..], quote].concat());
    }

    #[test]
    fn our_other_errors_are_those_etherparse_knows_by_name() {
        let mut out = [0; 8];
        for (kind, code, expected) in [
            (TIME_EXCEEDED, TTL_EXCEEDED, Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit)),
            (
                DESTINATION_UNREACHABLE,
                PROTOCOL_UNREACHABLE,
                Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Protocol),
            ),
        ] {
            assert!(write_error(&mut out, kind, code, [0; 4]));
            assert_eq!(Icmpv4Slice::from_slice(&out).unwrap().icmp_type(), expected);
        }
    }

    #[test]
    fn an_error_without_room_for_its_header_is_not_written() {
        let mut out = [0xaa; HEADER - 1];
        assert!(!write_error(&mut out, TIME_EXCEEDED, TTL_EXCEEDED, [0; 4]));
        assert_eq!(out, [0xaa; HEADER - 1]);
    }

    #[test]
    fn an_ordinary_packet_may_be_answered_with_an_error() {
        assert!(answered(&packet(ipv4::PROTOCOL_UDP, b"data")));
        assert!(answered(&packet(ipv4::PROTOCOL_UDP, b"")));
        assert!(answered(&packet(ipv4::PROTOCOL_ICMP, &echo_request(b"data"))));
    }

    #[test]
    fn no_error_about_an_error_or_about_what_might_be_one() {
        for kind in 0..=255 {
            let message = [kind, 0, 0, 0, 0, 0, 0, 0];
            let question = [0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43].contains(&kind);
            assert_eq!(answered(&packet(ipv4::PROTOCOL_ICMP, &message)), question, "type {kind}");
        }
        assert!(!answered(&packet(ipv4::PROTOCOL_ICMP, b"")), "a message without a type");
    }

    #[test]
    fn no_error_about_what_was_sent_to_many() {
        for destination in [[224, 0, 0, 5], [239, 255, 255, 250], [255, 255, 255, 255], [0, 0, 0, 0]] {
            let mut bytes = packet(ipv4::PROTOCOL_UDP, b"data");
            bytes[16..20].copy_from_slice(&destination);
            assert!(!answered(&bytes), "{destination:?}");
        }
    }

    #[test]
    fn no_error_about_a_fragment_but_the_first() {
        let mut bytes = packet(ipv4::PROTOCOL_UDP, b"data");
        bytes[6..8].copy_from_slice(&[0x20, 0]);
        assert!(answered(&bytes), "the first fragment");
        for offset in [[0x20, 1], [0, 1], [0x1f, 0xff]] {
            bytes[6..8].copy_from_slice(&offset);
            assert!(!answered(&bytes), "{offset:?}");
        }
    }

    #[test]
    fn no_error_to_a_source_that_is_no_single_host() {
        let mut bytes = packet(ipv4::PROTOCOL_UDP, b"data");
        for source in [
            [0, 0, 0, 0],
            [0, 1, 2, 3],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [239, 1, 1, 1],
            [240, 0, 0, 1],
            [255, 255, 255, 255],
        ] {
            bytes[12..16].copy_from_slice(&source);
            assert!(!answered(&bytes), "{source:?}");
        }
        for source in [[1, 0, 0, 1], [126, 0, 0, 1], [128, 0, 0, 1], [223, 255, 255, 254]] {
            bytes[12..16].copy_from_slice(&source);
            assert!(answered(&bytes), "{source:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_error_reads_back(kind: u8, code: u8, rest: [u8; 4], quote in vec(any::<u8>(), 0..69)) {
            let mut out = [&[0xaa; HEADER][..], &quote].concat();
            prop_assert!(write_error(&mut out, kind, code, rest));
            let view = Icmpv4::parse(&out).unwrap();
            prop_assert_eq!((view.kind(), view.code(), view.rest()), (kind, code, rest));
            prop_assert_eq!(view.body(), &quote);
            prop_assert!(view.checksum_ok());
        }

        #[test]
        fn etherparse_answers_an_echo_with_the_same_bytes(data in vec(any::<u8>(), 0..100)) {
            let mut message = echo_request(&data);
            prop_assert!(echo_reply(&mut message));
            let kind = Icmpv4Type::EchoReply(IcmpEchoHeader { id: 7, seq: 9 });
            let theirs = [&Icmpv4Header::with_checksum(kind, &data).to_bytes()[..], &data].concat();
            prop_assert_eq!(message, theirs);
        }

        #[test]
        fn random_bytes_never_panic_and_etherparse_reads_the_same(mut bytes in vec(any::<u8>(), 0..64)) {
            if let Ok(ours) = Icmpv4::parse(&bytes) {
                let _ = ours.checksum_ok();
                prop_assert_eq!(ours.body(), &bytes[HEADER..]);
                // It has longer headers for timestamps, and refuses shorter ones.
                if let Ok(theirs) = Icmpv4Slice::from_slice(&bytes) {
                    prop_assert_eq!(ours.kind(), theirs.type_u8());
                    prop_assert_eq!(ours.code(), theirs.code_u8());
                    prop_assert_eq!(ours.rest(), theirs.bytes5to8());
                }
            }
            let _ = echo_reply(&mut bytes);
        }

        #[test]
        fn any_packet_that_parses_is_judged_and_quoted(
            mut bytes in vec(any::<u8>(), 0..64), words in 5u8..16, total_len in 20u8..64,
        ) {
            if let Some(start) = bytes.first_chunk_mut() {
                *start = [0x40 | words, 0, 0, total_len];
            }
            if let Ok(view) = Ipv4::parse(&bytes) {
                let _ = may_answer(&view);
                prop_assert!(quote(&view).len() <= view.header_len() + 8);
            }
        }
    }
}
