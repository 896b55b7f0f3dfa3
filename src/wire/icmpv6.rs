// SPDX-License-Identifier: Apache-2.0
//! ICMP for IPv6 (RFC 4443), and when to keep silent (its section 2.4 (e)).

use super::icmp::{self, Message};
use super::ipv6::{self, Ipv6, PROTOCOL_ICMPV6};
use super::{Malformed, checksum};
use std::net::Ipv6Addr;
use std::ops::Deref;

/// A message whose header is complete.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6<'a>(Message<'a>);

impl<'a> Icmpv6<'a> {
    /// Takes what follows the IP headers of a packet that is not a fragment.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Icmpv6<'a>, Malformed> {
        Message::parse(bytes).map(Icmpv6)
    }

    #[inline]
    pub fn checksum_ok(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        checksum::fold(pseudo_header(source, destination, self.bytes().len()) + checksum::sum(self.bytes()))
            == 0
    }
}

impl<'a> Deref for Icmpv6<'a> {
    type Target = Message<'a>;

    #[inline]
    fn deref(&self) -> &Message<'a> {
        &self.0
    }
}

/// Turns an echo request into its reply, in place; false, and nothing changed, if it is none.
///
/// The checksum is patched, not recomputed, so a damaged message stays recognisably damaged; that the addresses change
/// places does not change it.
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

/// Fills the header of an error message that has its quote already; false, and nothing written, if it is too short to have
/// a header. `rest` is the MTU or the pointer, where the type has one.
#[inline]
pub fn write_error(
    message: &mut [u8],
    kind: u8,
    code: u8,
    rest: [u8; 4],
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> bool {
    icmp::fill_header(message, [kind, code], rest, |header, quote| {
        checksum(source, destination, header, quote)
    })
}

/// The checksum to send with a message in two parts, of which the first is even and has a checksum of zero.
#[inline]
pub(super) fn checksum(source: Ipv6Addr, destination: Ipv6Addr, first: &[u8], second: &[u8]) -> u16 {
    let pseudo_header = pseudo_header(source, destination, first.len() + second.len());
    checksum::fold(pseudo_header + checksum::sum(first) + checksum::sum(second))
}

/// What an error says about the packet that caused it: "as much of invoking packet as possible without
/// the ICMPv6 packet exceeding the minimum IPv6 MTU" (RFC 4443).
#[inline]
pub fn quote<'a>(packet: &Ipv6<'a>) -> &'a [u8] {
    let bytes = packet.packet();
    bytes.get(..LONGEST_QUOTE).unwrap_or(bytes)
}

/// Between whom the packet went that an error quotes: its source and destination. `None` for what is no error.
pub fn quoted(packet: &Ipv6<'_>) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let upper = packet.upper().ok()?;
    if upper.protocol != PROTOCOL_ICMPV6 || upper.is_fragment {
        return None;
    }
    let message = Icmpv6::parse(packet.packet().get(upper.offset..)?).ok()?;
    if !(DESTINATION_UNREACHABLE..=PARAMETER_PROBLEM).contains(&message.kind()) {
        return None;
    }
    // More than a header need not be there, so it is no packet to parse.
    let header = message.body().first_chunk::<{ ipv6::HEADER }>()?;
    let (start, destination) = header.split_last_chunk::<16>()?;
    let (start, source) = start.split_last_chunk::<16>()?;
    (start.first()? >> 4 == 6).then(|| ((*source).into(), (*destination).into()))
}

/// Whether an error about `packet`, which was sent to one link-layer address only, may be sent.
///
/// RFC 4443 section 2.4 (e): not about an ICMPv6 error or redirect, a packet to a multicast address, or one "whose
/// source address does not uniquely identify a single node". Nor about a later fragment, of which nobody can tell
/// whether it is part of an error.
#[inline]
pub fn may_answer(packet: &Ipv6<'_>) -> bool {
    let destination = packet.destination();
    if destination.is_multicast() || destination.is_unspecified() || !is_single_host(packet.source()) {
        return false;
    }
    let Ok(upper) = packet.upper() else { return false };
    let kind = packet.packet().get(upper.offset);
    !upper.is_later_fragment
        && (upper.protocol != PROTOCOL_ICMPV6 || kind.is_some_and(|kind| is_informational(*kind)))
}

/// Whether a source address belongs to one node that an answer can reach.
#[inline]
pub fn is_single_host(source: Ipv6Addr) -> bool {
    // Those that are unspecified or loopback are among the first.
    !(ipv6::is_of_ipv4(&source) || source.is_multicast())
}

/// RFC 4443 section 2.1: types from 128 on are informational. Redirects are among them, but about them there is to be
/// no error either.
#[inline]
const fn is_informational(kind: u8) -> bool {
    kind >= 128 && kind != REDIRECT
}

/// RFC 8200 section 8.1.
#[inline]
fn pseudo_header(source: Ipv6Addr, destination: Ipv6Addr, length: usize) -> u32 {
    // A message is part of a packet, so its length fits 16 bits.
    checksum::sum(&source.octets())
        + checksum::sum(&destination.octets())
        + length as u32
        + u32::from(PROTOCOL_ICMPV6)
}

pub use super::icmp::HEADER;
/// The longest quote.
pub const LONGEST_QUOTE: usize = ipv6::MIN_MTU as usize - ipv6::HEADER - HEADER;

pub const DESTINATION_UNREACHABLE: u8 = 1;
pub const PACKET_TOO_BIG: u8 = 2;
pub const TIME_EXCEEDED: u8 = 3;
pub const PARAMETER_PROBLEM: u8 = 4;
pub const ECHO_REQUEST: u8 = 128;
pub const ECHO_REPLY: u8 = 129;
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Code of `TIME_EXCEEDED`.
pub const HOP_LIMIT_EXCEEDED: u8 = 0;
/// Codes of `PARAMETER_PROBLEM`.
pub const UNKNOWN_NEXT_HEADER: u8 = 1;
pub const UNKNOWN_OPTION: u8 = 2;

const REDIRECT: u8 = 137;

#[cfg(test)]
mod tests {
    use super::super::testing::needs_exactly;
    use super::*;
    use etherparse::icmpv6::{ParameterProblemCode, ParameterProblemHeader, TimeExceededCode};
    use etherparse::{IcmpEchoHeader, Icmpv6Header, Icmpv6Slice, Icmpv6Type};
    use proptest::collection::vec;
    use proptest::prelude::*;

    const HERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
    const THERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);
    const UDP: u8 = 17;

    fn packet_between(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let header = ipv6::Header::of_ours(next_header, source, destination, payload.len() as u16);
        let mut bytes = vec![0; ipv6::HEADER];
        header.write(bytes.first_chunk_mut().unwrap());
        bytes.extend(payload);
        bytes
    }

    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        packet_between(HERE, THERE, next_header, payload)
    }

    fn answered(bytes: &[u8]) -> bool {
        may_answer(&Ipv6::parse(bytes).unwrap())
    }

    fn echo_request(data: &[u8]) -> Vec<u8> {
        let kind = Icmpv6Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 9 });
        let header = Icmpv6Header::with_checksum(kind, HERE.octets(), THERE.octets(), data).unwrap();
        [&header.to_bytes()[..], data].concat()
    }

    #[test]
    fn a_message_shorter_than_its_header_is_refused_at_every_length() {
        needs_exactly(HEADER, &echo_request(b"data"), Icmpv6::parse);
    }

    #[test]
    fn each_flipped_bit_and_any_other_address_breaks_the_checksum() {
        let message = echo_request(b"odd");
        assert!(Icmpv6::parse(&message).unwrap().checksum_ok(HERE, THERE));
        assert!(!Icmpv6::parse(&message).unwrap().checksum_ok(HERE, Ipv6Addr::LOCALHOST));
        for bit in 0..message.len() * 8 {
            let mut damaged = message.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!Icmpv6::parse(&damaged).unwrap().checksum_ok(HERE, THERE), "bit {bit}");
        }
    }

    #[test]
    fn only_echo_requests_are_echoed() {
        for (kind, code) in [(ECHO_REPLY, 0), (TIME_EXCEEDED, 0), (135, 0), (ECHO_REQUEST, 1)] {
            let mut message = echo_request(b"data");
            message[..2].copy_from_slice(&[kind, code]);
            let before = message.clone();
            assert!(!echo_reply(&mut message));
            assert_eq!(message, before, "type {kind} code {code}");
        }
        for length in 0..HEADER {
            assert!(!echo_reply(&mut echo_request(b"")[..length]), "{length} bytes");
        }
    }

    #[test]
    fn an_error_quotes_what_fits_the_smallest_mtu() {
        let long = packet(UDP, &[0x55; 1400]);
        let quoted = quote(&Ipv6::parse(&long).unwrap());
        assert_eq!(quoted, &long[..1280 - 48]);
        let short = packet(UDP, &[0x55; 3]);
        let mut padded = short.clone();
        padded.resize(60, 0);
        assert_eq!(quote(&Ipv6::parse(&padded).unwrap()), &short[..], "no byte of the frame's padding");
    }

    #[test]
    fn our_errors_are_those_etherparse_knows_by_name() {
        let offender = packet(UDP, &[0x55; 99]);
        let pointer =
            ParameterProblemHeader { code: ParameterProblemCode::UnrecognizedNextHeader, pointer: 6 };
        for (kind, code, rest, expected) in [
            (PACKET_TOO_BIG, 0, 1426, Icmpv6Type::PacketTooBig { mtu: 1426 }),
            (
                TIME_EXCEEDED,
                HOP_LIMIT_EXCEEDED,
                0,
                Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded),
            ),
            (PARAMETER_PROBLEM, UNKNOWN_NEXT_HEADER, 6, Icmpv6Type::ParameterProblem(pointer)),
        ] {
            let mut out = [&[0xaa; HEADER][..], &offender].concat();
            let rest = u32::to_be_bytes(rest);
            assert!(write_error(&mut out, kind, code, rest, THERE, HERE));
            let theirs =
                Icmpv6Header::with_checksum(expected, THERE.octets(), HERE.octets(), &offender).unwrap();
            assert_eq!(out, [&theirs.to_bytes()[..], &offender].concat());
            assert_eq!(Icmpv6Slice::from_slice(&out).unwrap().icmp_type(), expected);
            assert!(!write_error(&mut [0; HEADER - 1], kind, code, rest, THERE, HERE), "no room");
        }
    }

    #[test]
    fn an_ordinary_packet_may_be_answered_with_an_error() {
        assert!(answered(&packet(UDP, b"data")));
        assert!(answered(&packet(PROTOCOL_ICMPV6, &echo_request(b"data"))));
        let options = [&[PROTOCOL_ICMPV6, 0, 1, 4, 0, 0, 0, 0][..], &echo_request(b"")].concat();
        assert!(answered(&packet(60, &options)));
    }

    #[test]
    fn no_error_about_an_error_or_about_what_might_be_one() {
        for kind in 0..=255 {
            let message = [kind, 0, 0, 0, 0, 0, 0, 0];
            let expected = kind >= 128 && kind != 137;
            assert_eq!(answered(&packet(PROTOCOL_ICMPV6, &message)), expected, "type {kind}");
            // An error does not hide behind options or in a first fragment.
            let options = [&[PROTOCOL_ICMPV6, 0, 1, 4, 0, 0, 0, 0][..], &message].concat();
            assert_eq!(answered(&packet(60, &options)), expected, "type {kind} behind options");
            let first = [&[PROTOCOL_ICMPV6, 0, 0, 1, 0, 0, 0, 0][..], &message].concat();
            assert_eq!(answered(&packet(44, &first)), expected, "type {kind} in a first fragment");
        }
        assert!(!answered(&packet(PROTOCOL_ICMPV6, b"")), "a message without a type");
        assert!(!answered(&packet(44, &[UDP, 0, 0, 0x10, 0, 0, 0, 0])), "a later fragment");
        assert!(!answered(&packet(60, &[UDP, 9])), "a broken chain of headers");
    }

    #[test]
    fn no_error_to_or_about_more_than_one_node() {
        for (source, destination) in [
            ("::", "2001:db8::1"),
            ("::1", "2001:db8::1"),
            ("ff02::1", "2001:db8::1"),
            ("2001:db8::1", "ff02::1"),
            ("2001:db8::1", "::"),
        ] {
            let bytes = packet_between(source.parse().unwrap(), destination.parse().unwrap(), UDP, b"data");
            assert!(!answered(&bytes), "{source} to {destination}");
        }
    }

    proptest! {
        #[test]
        fn an_echo_is_the_reply_that_etherparse_makes(id: u16, seq: u16, data in vec(any::<u8>(), 0..100)) {
            let echo = IcmpEchoHeader { id, seq };
            let build = |kind: Icmpv6Type, from: Ipv6Addr, to: Ipv6Addr| {
                let header = Icmpv6Header::with_checksum(kind, from.octets(), to.octets(), &data).unwrap();
                [&header.to_bytes()[..], &data].concat()
            };
            let mut message = build(Icmpv6Type::EchoRequest(echo), HERE, THERE);
            prop_assert!(echo_reply(&mut message));
            let reply = Icmpv6::parse(&message).unwrap();
            prop_assert!(reply.checksum_ok(THERE, HERE));
            let theirs = build(Icmpv6Type::EchoReply(echo), THERE, HERE);
            prop_assert_eq!(&message[..2], &theirs[..2]);
            prop_assert_eq!(&message[4..], &theirs[4..]);
        }

        #[test]
        fn any_bytes_are_read_as_etherparse_reads_them(bytes in vec(any::<u8>(), 0..60)) {
            let (ours, theirs) = (Icmpv6::parse(&bytes), Icmpv6Slice::from_slice(&bytes));
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
            if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                prop_assert_eq!((ours.kind(), ours.code()), (theirs.type_u8(), theirs.code_u8()));
                prop_assert_eq!(ours.rest(), theirs.bytes5to8());
                prop_assert_eq!(ours.body().len(), bytes.len() - HEADER);
                prop_assert_eq!(
                    ours.checksum_ok(HERE, THERE),
                    theirs.is_checksum_valid(HERE.octets(), THERE.octets())
                );
            }
        }
    }
}
