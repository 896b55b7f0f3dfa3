// SPDX-License-Identifier: Apache-2.0
//! Multicast listener discovery, version 2 (RFC 3810) and 1 (RFC 2710), as far as a host needs it: read queries, write
//! reports about one group.
//!
//! ```text
//!  │ IPv6 │ hop-by-hop: router alert │ type, code, checksum │ max response, 0 │ group │ ...     query
//!  │ IPv6 │ hop-by-hop: router alert │ type, code, checksum │ 0, records │ record of the group │ report, version 2
//!  │  40  │            8             │          4           │      4     │         20          │
//! ```
//!
//! As with neighbour discovery, the checks of a receiver look at the IPv6 header too, so messages are whole packets.

use super::Malformed;
use super::icmpv6::{self, Icmpv6};
use super::ipv6::{self, HOP_BY_HOP, Ipv6, PAD1, PROTOCOL_ICMPV6};
use std::net::Ipv6Addr;
use std::time::Duration;

/// A query that passed the checks of RFC 3810 sections 6.2 and 8.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query {
    /// The group that is asked about; `None`: all groups.
    pub group: Option<Ipv6Addr>,
    /// Answers are to be spread over this time.
    pub max_response_delay: Duration,
    pub version: Version,
}

/// What the querier of a link understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    V1,
    V2,
}

/// Why a report of version 2 is sent: the type of its record (RFC 3810 section 5.2.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// MODE_IS_EXCLUDE, without sources: a query was answered.
    Asked = 2,
    /// CHANGE_TO_EXCLUDE_MODE, without sources: the group was joined.
    Joined = 4,
}

/// Whether a packet is a query, sound or not.
pub fn is_query(packet: &Ipv6<'_>) -> bool {
    upper(packet).is_some_and(|(_, message)| message.first() == Some(&QUERY))
}

impl Query {
    pub fn parse(packet: &Ipv6<'_>) -> Result<Query, Malformed> {
        let (options, bytes) = upper(packet).ok_or(Malformed::Message)?;
        let message = Icmpv6::parse(bytes)?;
        //= RFC 3810 section 6.2: "the node checks if the source address of the message is a valid link-local address,
        //= if the Hop Limit is set to 1, and if the Router Alert option is present in the Hop-By-Hop Options header".
        if packet.hop_limit() != HOP_LIMIT {
            return Err(Malformed::HopLimit);
        }
        if !ipv6::is_link_local(&packet.source()) || !has_router_alert(options) || message.kind() != QUERY {
            return Err(Malformed::Message);
        }
        if !message.checksum_ok(packet.source(), packet.destination()) {
            return Err(Malformed::Checksum);
        }
        let group = Ipv6Addr::from(*message.body().first_chunk::<16>().ok_or(Malformed::Truncated)?);
        if !(group.is_unspecified() || group.is_multicast()) {
            return Err(Malformed::Message);
        }
        let [high, low, ..] = message.rest();
        let code = u16::from_be_bytes([high, low]);
        //= RFC 3810 section 8.1: "Query messages that do not match any of the above conditions (e.g., a Query of length
        //= 26 octets) MUST be silently ignored."
        let (version, delay_ms) = match bytes.len() {
            QUERY_V1 => (Version::V1, u32::from(code)),
            QUERY_V2.. => (Version::V2, milliseconds(code)),
            _ => return Err(Malformed::Truncated),
        };
        Ok(Query {
            group: (!group.is_unspecified()).then_some(group),
            max_response_delay: Duration::from_millis(delay_ms.into()),
            version,
        })
    }
}

/// Writes the packet that says that we listen to `group`; it goes to [`ROUTERS`].
pub fn report(out: &mut [u8; REPORT], source: Ipv6Addr, group: Ipv6Addr, reason: Reason) {
    let mut message = [0; REPORT - FRONT];
    message[0] = REPORT_V2;
    message[7] = 1;
    message[8] = reason as u8;
    message[12..].copy_from_slice(&group.octets());
    write(out, source, ROUTERS, &mut message);
}

/// The same for queriers of version 1; it goes to the group itself.
pub fn report_v1(out: &mut [u8; REPORT_OF_V1], source: Ipv6Addr, group: Ipv6Addr) {
    let mut message = [0; REPORT_OF_V1 - FRONT];
    message[0] = REPORT_V1;
    message[8..].copy_from_slice(&group.octets());
    write(out, source, group, &mut message);
}

/// The source of reports of who has this address. RFC 3810 section 5.2.13 wants one of the link, or none.
pub fn report_source(own_ip: Ipv6Addr) -> Ipv6Addr {
    if ipv6::is_link_local(&own_ip) { own_ip } else { Ipv6Addr::UNSPECIFIED }
}

/// The hop-by-hop options and the ICMPv6 message behind them. Messages of MLD have no other extension headers.
fn upper<'a>(packet: &Ipv6<'a>) -> Option<(&'a [u8], &'a [u8])> {
    if packet.next_header() != HOP_BY_HOP {
        return None;
    }
    let bytes = packet.payload();
    let &[next, eights, ..] = bytes else { return None };
    let (options, message) = bytes.split_at_checked((usize::from(eights) + 1) * 8)?;
    (next == PROTOCOL_ICMPV6).then_some((options.get(2..)?, message))
}

/// RFC 2711, with the value of MLD.
fn has_router_alert(mut options: &[u8]) -> bool {
    while let Some((&kind, rest)) = options.split_first() {
        if kind == PAD1 {
            options = rest;
            continue;
        }
        let Some((&length, rest)) = rest.split_first() else { return false };
        let Some((value, rest)) = rest.split_at_checked(length.into()) else { return false };
        if kind == ROUTER_ALERT {
            return value == [0, 0];
        }
        options = rest;
    }
    false
}

/// The maximum response code of RFC 3810 section 5.1.3.
fn milliseconds(code: u16) -> u32 {
    if code < 0x8000 {
        return code.into();
    }
    let [exponent, mantissa] = [code >> 12 & 7, code & 0xfff];
    (u32::from(mantissa) | 0x1000) << (exponent + 3)
}

fn write(out: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr, message: &mut [u8]) {
    let payload_len = (OPTIONS.len() + message.len()) as u16;
    let header = ipv6::Header {
        hop_limit: HOP_LIMIT,
        ..ipv6::Header::of_ours(HOP_BY_HOP, source, destination, payload_len)
    };
    let checksum = icmpv6::checksum(source, destination, message, &[]);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    let (front, rest) = out.split_at_mut(ipv6::HEADER);
    if let Some(front) = front.first_chunk_mut() {
        header.write(front);
    }
    let (options, rest) = rest.split_at_mut(OPTIONS.len());
    options.copy_from_slice(&OPTIONS);
    rest.copy_from_slice(message);
}

/// All routers that understand version 2.
pub const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Reports as this gateway sends them: about one group.
pub const REPORT: usize = FRONT + icmpv6::HEADER + 20;
pub const REPORT_OF_V1: usize = FRONT + icmpv6::HEADER + 16;

const FRONT: usize = ipv6::HEADER + OPTIONS.len();
/// Router alert, and padding to eight bytes.
const OPTIONS: [u8; 8] = [PROTOCOL_ICMPV6, 0, ROUTER_ALERT, 2, 0, 0, PADN, 0];
const HOP_LIMIT: u8 = 1;
const QUERY: u8 = 130;
const REPORT_V1: u8 = 131;
const REPORT_V2: u8 = 143;
/// Lengths of queries.
const QUERY_V1: usize = icmpv6::HEADER + 16;
const QUERY_V2: usize = QUERY_V1 + 4;
const PADN: u8 = 1;
const ROUTER_ALERT: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Icmpv6Slice, IpNumber, Ipv6Slice};
    use proptest::prelude::*;

    const US: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0x12, 0x3456);
    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff12, 0x3456);
    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

    /// A query as a router sends it: `tail` follows the group.
    fn query(code: u16, group: Ipv6Addr, tail: &[u8]) -> Vec<u8> {
        let mut message = vec![QUERY, 0, 0, 0];
        message.extend(code.to_be_bytes());
        message.extend([0, 0]);
        message.extend(group.octets());
        message.extend(tail);
        let mut out = vec![0; FRONT + message.len()];
        let destination = if group.is_unspecified() { ALL_NODES } else { group };
        write(&mut out, ROUTER, destination, &mut message);
        out
    }

    const V2_TAIL: [u8; 4] = [2, 125, 0, 0];

    fn parse(bytes: &[u8]) -> Result<Query, Malformed> {
        Query::parse(&Ipv6::parse(bytes).unwrap())
    }

    /// Repairs the lengths and the checksum of a changed packet with eight bytes of options.
    fn sound(mut bytes: Vec<u8>) -> Vec<u8> {
        let payload_len = (bytes.len() - ipv6::HEADER) as u16;
        bytes[4..6].copy_from_slice(&payload_len.to_be_bytes());
        if bytes.len() >= FRONT + 4 {
            bytes[FRONT + 2..FRONT + 4].fill(0);
            let packet = Ipv6::parse(&bytes).unwrap();
            let checksum = icmpv6::checksum(packet.source(), packet.destination(), &bytes[FRONT..], &[]);
            bytes[FRONT + 2..FRONT + 4].copy_from_slice(&checksum.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn queries_of_both_versions_are_read() {
        for (group, expected) in [(Ipv6Addr::UNSPECIFIED, None), (GROUP, Some(GROUP))] {
            for (code, tail, version) in [(10_000, &V2_TAIL[..], Version::V2), (60_000, &[], Version::V1)] {
                let bytes = query(code, group, tail);
                let found = parse(&bytes).unwrap();
                assert_eq!((found.group, found.version), (expected, version));
                assert!(is_query(&Ipv6::parse(&bytes).unwrap()));
            }
        }
        let delay =
            |code, tail: &[u8]| parse(&query(code, GROUP, tail)).unwrap().max_response_delay.as_millis();
        assert_eq!([delay(10_000, &V2_TAIL), delay(0x7fff, &V2_TAIL)], [10_000, 0x7fff]);
        // RFC 3810 section 5.1.3: (mantissa | 0x1000) << (exponent + 3); in version 1 it is a plain number.
        assert_eq!([delay(0x8000, &V2_TAIL), delay(0xffff, &V2_TAIL)], [0x1000 << 3, 0x1fff << 10]);
        assert_eq!(delay(0xffff, &[]), 0xffff);
        // With sources, which are of no interest to who wants all of them.
        assert!(parse(&query(1, GROUP, &[&[2, 125, 0, 1][..], &US.octets()].concat())).is_ok());
    }

    #[test]
    fn each_check_of_section_6_2_refuses_what_it_should() {
        let good = query(10_000, GROUP, &V2_TAIL);
        let change = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            parse(&sound(bytes)).err()
        };
        assert_eq!(change(7, 255), Some(Malformed::HopLimit));
        assert_eq!(change(8, 0x20), Some(Malformed::Message), "a source from beyond the link");
        assert_eq!(change(42, 9), Some(Malformed::Message), "no router alert");
        assert_eq!(change(45, 1), Some(Malformed::Message), "a router alert for RSVP");
        assert_eq!(change(40, 17), Some(Malformed::Message), "not ICMPv6");
        assert_eq!(change(41, 9), Some(Malformed::Message), "options longer than the packet");
        assert_eq!(change(48, REPORT_V2), Some(Malformed::Message), "a report");
        assert_eq!(change(56, 0x20), Some(Malformed::Message), "about one node");
        for length in 0..QUERY_V2 {
            let cut = sound(good[..FRONT + length].to_vec());
            assert_eq!(parse(&cut).is_ok(), length == QUERY_V1, "{length} bytes");
        }
        for bit in 0..QUERY_V2 * 8 {
            let mut damaged = good.clone();
            damaged[FRONT + bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&damaged).is_err(), "bit {bit}");
        }
        let mut plain = good.clone();
        plain[6] = PROTOCOL_ICMPV6;
        assert!(!is_query(&Ipv6::parse(&plain).unwrap()));
    }

    #[test]
    fn the_router_alert_may_stand_behind_other_options() {
        assert!(has_router_alert(&[0, 0, 1, 1, 7, 5, 2, 0, 0]));
        assert!(!has_router_alert(&[0, 0, 1, 1, 7]));
        assert!(!has_router_alert(&[1, 3, 5, 2, 0]), "inside of another option");
        assert!(!has_router_alert(&[5, 2, 0]), "cut short");
        assert!(!has_router_alert(&[5]));
    }

    #[test]
    fn reports_are_as_the_rfcs_draw_them() {
        let mut out = [0; REPORT];
        report(&mut out, Ipv6Addr::UNSPECIFIED, GROUP, Reason::Joined);
        let packet = Ipv6Slice::from_slice(&out).unwrap();
        assert_eq!(packet.header().hop_limit(), 1);
        assert_eq!(packet.header().destination_addr(), "ff02::16".parse::<Ipv6Addr>().unwrap());
        assert_eq!(packet.payload().ip_number, IpNumber::IPV6_ICMP);
        let message = Icmpv6Slice::from_slice(packet.payload().payload).unwrap();
        assert!(message.is_checksum_valid([0; 16], ROUTERS.octets()));
        assert_eq!(out[40..48], [58, 0, 5, 2, 0, 0, 1, 0]);
        // One record: of type 4, without auxiliary data and sources, about the group.
        let record = [&[4, 0, 0, 0][..], &GROUP.octets()].concat();
        assert_eq!(message.slice()[..2], [143, 0]);
        assert_eq!(message.slice()[4..], [&[0, 0, 0, 1][..], &record].concat());
        report(&mut out, Ipv6Addr::UNSPECIFIED, GROUP, Reason::Asked);
        assert_eq!(out[FRONT + 8], 2);

        let mut out = [0; REPORT_OF_V1];
        report_v1(&mut out, ROUTER, GROUP);
        let packet = Ipv6Slice::from_slice(&out).unwrap();
        assert_eq!(packet.header().source_addr(), ROUTER);
        assert_eq!(packet.header().destination_addr(), GROUP);
        let message = Icmpv6Slice::from_slice(packet.payload().payload).unwrap();
        assert!(message.is_checksum_valid(ROUTER.octets(), GROUP.octets()));
        assert_eq!(message.slice()[..2], [131, 0]);
        assert_eq!(message.slice()[4..], [&[0; 4][..], &GROUP.octets()].concat());
    }

    #[test]
    fn a_report_has_a_source_of_the_link_or_none() {
        assert_eq!(report_source(US), Ipv6Addr::UNSPECIFIED);
        assert_eq!(report_source(ROUTER), ROUTER);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            mut bytes in proptest::collection::vec(any::<u8>(), 40..140), length in 0u8..4, repair: bool,
        ) {
            bytes[0] = 0x60;
            bytes[6..8].copy_from_slice(&[HOP_BY_HOP, HOP_LIMIT]);
            if repair && bytes.len() > FRONT {
                bytes[40..48].copy_from_slice(&OPTIONS);
                bytes[41] = length;
                bytes[FRONT] = QUERY;
                bytes = sound(bytes);
            }
            if let Ok(packet) = Ipv6::parse(&bytes) {
                let _ = (is_query(&packet), Query::parse(&packet));
            }
        }
    }
}
