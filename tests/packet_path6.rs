// SPDX-License-Identifier: Apache-2.0
//! What happens to an IPv6 packet, told with two gateways in memory; and to packets of one family in tunnels of the other.

use crate::support::field::{self, v6};
use crate::support::site::*;
use etherparse::icmpv6::{ParameterProblemCode, ParameterProblemHeader, TimeExceededCode};
use etherparse::{IcmpEchoHeader, Icmpv6Type, IpNumber, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use vita::wire::ip::Family;

const HOST: &str = "2001:db8:31::50";
const FAR_HOST: &str = "2001:db8:32::50";
const GATEWAY: &str = "2001:db8:31::20";
const FAR_GATEWAY: &str = "2001:db8:32::20";
const OUTSIDE: &str = "2001:db8:ffff::31";
const STRANGER: &str = "2001:db8:aaaa::7";
/// Where things are in a frame.
const HOP_LIMIT: usize = 14 + 7;
const PAYLOAD: usize = 14 + 40;

fn pair6() -> (Site, Site) {
    pair_of(plan6)
}

/// Checks an ICMPv6 error: who sent it, to whom, what it says, and which packet it quotes.
#[track_caller]
fn assert_error(frame: &[u8], from: &str, to: &str, expected: Icmpv6Type, quoted: &[u8]) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("not IPv6") };
    let header = ip.header().to_header();
    assert_eq!((header.source, header.destination), (address6(from), address6(to)));
    // An error of the far gateway was forwarded once, by the near one.
    assert_eq!(header.hop_limit, 64 - u8::from(from == FAR_GATEWAY));
    let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("not ICMPv6") };
    assert!(icmp.is_checksum_valid(header.source, header.destination));
    assert_eq!(icmp.icmp_type(), expected);
    assert_eq!(icmp.payload(), quoted);
}

#[test]
fn a_packet_arrives_at_the_other_site_two_hops_older_and_unreadable_on_the_way() {
    let (mut paris, mut tokyo) = pair6();
    let sent = udp6(HOST, FAR_HOST, 64, b"hello tokyo");
    paris.arrive_private(&sent);
    let sealed = only(paris.sent_public());
    assert!(!sealed.windows(5).any(|window| window == b"hello"));
    // ESP's length is a multiple of four: 59 + 2 bytes become 64, and 40 + 16 + 16 around them.
    assert_eq!(sealed.len(), 14 + 40 + 16 + 64 + 16);
    let outer = SlicedPacket::from_ethernet(&sealed).unwrap();
    let Some(NetSlice::Ipv6(ip)) = &outer.net else { panic!() };
    let header = ip.header().to_header();
    assert_eq!(header.next_header, IpNumber::ENCAPSULATING_SECURITY_PAYLOAD);
    assert_eq!((header.source, header.destination), (address6(OUTSIDE), address6("2001:db8:ffff::32")));
    assert_eq!((header.hop_limit, header.traffic_class, header.flow_label.value()), (64, 0, 0));
    assert_eq!(usize::from(header.payload_length), sealed.len() - PAYLOAD);

    tokyo.arrive_public(&sealed);
    let arrived = only(tokyo.sent_private());
    let expected = with_byte(sent, HOP_LIMIT, 62);
    assert_eq!(arrived[12..], expected[12..]);
    assert_eq!(arrived[..6], HOST_MAC);
    paris.counted(&[]);
    tokyo.counted(&[]);
    paris.leaked_nothing();
    tokyo.leaked_nothing();
}

#[test]
fn every_length_up_to_the_mtu_passes_in_any_tunnel_with_and_without_padding() {
    type Shape = (Family, fn(&[u8]) -> Vec<u8>, usize);
    let four: fn(&[u8]) -> Vec<u8> = |data| udp("172.31.1.50", "172.32.1.50", 64, data);
    let six: fn(&[u8]) -> Vec<u8> = |data| udp6(HOST, FAR_HOST, 64, data);
    let shapes: [Shape; 4] =
        [(Family::V4, four, 28), (Family::V4, six, 48), (Family::V6, four, 28), (Family::V6, six, 48)];
    for (outer, build, headers) in shapes {
        for tfc in [false, true] {
            let (mut paris, mut tokyo) = pair_of(|near, far| dual(near, far, outer));
            let (tunnels, outer_header) =
                if outer == Family::V4 { (tunnels4(31, 32, tfc), 20) } else { (tunnels6(31, 32, tfc), 40) };
            paris.graph.replan(vita::graph::Plan { tunnels, ..dual(31, 32, outer) });
            for len in (0..=usize::from(MTU) - headers).step_by(7).chain([usize::from(MTU) - headers]) {
                let sent = build(&vec![len as u8; len]);
                paris.arrive_private(&sent);
                let sealed = only(paris.sent_public());
                if tfc {
                    assert_eq!(sealed.len(), 14 + outer_header + 16 + 1440 + 2 + 2 + 16);
                }
                tokyo.arrive_public(&sealed);
                let arrived = only(tokyo.sent_private());
                assert_eq!(arrived[field::ETHERTYPE], sent[field::ETHERTYPE]);
                assert_eq!(arrived[6 + headers..], sent[6 + headers..], "{len} bytes, {outer:?}");
            }
            paris.counted(&[]);
            tokyo.counted(&[]);
        }
    }
}

#[test]
fn both_families_keep_their_order_in_one_batch() {
    let (mut paris, mut tokyo) = pair_of(|near, far| dual(near, far, Family::V6));
    for number in 0..60u8 {
        let frame = match number % 2 {
            0 => udp("172.31.1.50", "172.32.1.50", 64, &[number; 20]),
            _ => udp6(HOST, FAR_HOST, 64, &[number; 20]),
        };
        paris.private.arriving.push_back(paris.graph.pool.copy_of(&frame).unwrap());
    }
    paris.run();
    for frame in paris.sent_public() {
        tokyo.public.arriving.push_back(tokyo.graph.pool.copy_of(&frame).unwrap());
    }
    tokyo.run();
    let numbers: Vec<u8> = tokyo.sent_private().iter().map(|frame| *frame.last().unwrap()).collect();
    assert_eq!(numbers, (0..60).collect::<Vec<u8>>());
}

#[test]
fn the_far_gateway_answers_through_the_tunnel() {
    let (mut paris, mut tokyo) = pair6();
    paris.arrive_private(&echo6(HOST, FAR_GATEWAY, 64));
    tokyo.arrive_public(&only(paris.sent_public()));
    assert!(tokyo.sent_private().is_empty());
    paris.arrive_public(&only(tokyo.sent_public()));
    let reply = only(paris.sent_private());
    let packet = SlicedPacket::from_ethernet(&reply).unwrap();
    let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!() };
    assert_eq!(icmp.icmp_type(), Icmpv6Type::EchoReply(IcmpEchoHeader { id: 7, seq: 1 }));
    assert!(icmp.is_checksum_valid(address6(FAR_GATEWAY), address6(HOST)));
    assert_eq!(icmp.payload(), b"payload of an echo request");
    tokyo.counted(&[("inbound-icmp6/echo-request", 1)]);
}

#[test]
fn both_own_addresses_answer_echo_requests_and_keep_their_class() {
    let (mut paris, _) = pair6();
    let mut marked = echo6(HOST, GATEWAY, 1);
    marked[14..16].copy_from_slice(&[0x6b, 0x80]);
    paris.arrive_private(&marked);
    paris.arrive_public(&echo6(STRANGER, OUTSIDE, 1));
    for (reply, from, to, class) in
        [(only(paris.sent_private()), GATEWAY, HOST, 0xb8), (only(paris.sent_public()), OUTSIDE, STRANGER, 0)]
    {
        let packet = SlicedPacket::from_ethernet(&reply).unwrap();
        let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!() };
        let header = ip.header().to_header();
        assert_eq!((header.source, header.destination), (address6(from), address6(to)));
        assert_eq!((header.traffic_class, header.hop_limit), (class, 64));
        let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!() };
        assert!(icmp.is_checksum_valid(address6(from), address6(to)));
    }
    paris.counted(&[("private-icmp6/echo-request", 1), ("public-icmp6/echo-request", 1)]);
}

#[test]
fn a_traceroute_meets_exactly_two_gateways() {
    let (mut paris, mut tokyo) = pair6();
    let exceeded = Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded);
    let first = udp6(HOST, FAR_HOST, 1, b"first hop");
    paris.arrive_private(&first);
    assert!(paris.sent_public().is_empty());
    assert_error(&only(paris.sent_private()), GATEWAY, HOST, exceeded, &first[field::IP..]);

    let second = udp6(HOST, FAR_HOST, 2, b"second hop");
    paris.arrive_private(&second);
    tokyo.arrive_public(&only(paris.sent_public()));
    assert!(tokyo.sent_private().is_empty());
    paris.arrive_public(&only(tokyo.sent_public()));
    let quoted = with_byte(second, HOP_LIMIT, 1);
    assert_error(&only(paris.sent_private()), FAR_GATEWAY, HOST, exceeded, &quoted[field::IP..]);

    paris.arrive_private(&udp6(HOST, FAR_HOST, 3, b"target"));
    tokyo.arrive_public(&only(paris.sent_public()));
    assert_eq!(tokyo.sent_private().len(), 1);
}

#[test]
fn a_packet_beyond_the_mtu_is_always_told_so() {
    let (mut paris, _) = pair6();
    let large = udp6(HOST, FAR_HOST, 64, &[7; MTU as usize - 47]);
    paris.arrive_private(&large);
    let quoted = with_byte(large, HOP_LIMIT, 63);
    let output = only(paris.sent_private());
    assert_eq!(output.len(), 14 + 1280, "as much as fits the smallest MTU");
    let expected = Icmpv6Type::PacketTooBig { mtu: MTU.into() };
    assert_error(&output, GATEWAY, HOST, expected, &quoted[14..14 + 1280 - 48]);
    paris.counted(&[("private-router/mtu-errors", 1), ("private-router/rxerrors", 1)]);
}

#[test]
fn own_addresses_speak_icmp_only_and_say_where_the_other_protocol_is_named() {
    let (mut paris, _) = pair6();
    let problem = |pointer| {
        let code = ParameterProblemCode::UnrecognizedNextHeader;
        Icmpv6Type::ParameterProblem(ParameterProblemHeader { code, pointer })
    };
    let inside = udp6(HOST, GATEWAY, 64, b"anyone there?");
    paris.arrive_private(&inside);
    assert_error(&only(paris.sent_private()), GATEWAY, HOST, problem(6), &inside[field::IP..]);
    let outside = udp6(STRANGER, OUTSIDE, 64, b"anyone there?");
    paris.arrive_public(&outside);
    assert_error(&only(paris.sent_public()), OUTSIDE, STRANGER, problem(6), &outside[field::IP..]);
    let options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &[0; 8]].concat();
    let behind = packet6(HOST, GATEWAY, 64, 60, &options);
    paris.arrive_private(&behind);
    assert_error(&only(paris.sent_private()), GATEWAY, HOST, problem(40), &behind[field::IP..]);
    paris.counted(&[]);
}

#[test]
fn what_is_malformed_or_must_not_be_forwarded_is_counted_and_dropped() {
    let (mut paris, _) = pair6();
    let good = udp6(HOST, FAR_HOST, 64, b"good");
    let mut longer_than_frame = good.clone();
    longer_than_frame[v6::PAYLOAD_LENGTH].copy_from_slice(&2000u16.to_be_bytes());
    paris.arrive_private(&longer_than_frame);
    paris.arrive_private(&good[..14 + 39]);
    paris.arrive_private(&with_byte(good.clone(), 14, 0x45));
    // IPv4 is none of an IPv6 gateway's business.
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"another family"));
    let mut to_group = good.clone();
    to_group[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 0xfb]);
    paris.arrive_private(&to_group);
    for (source, destination) in
        [("fe80::1", FAR_HOST), (HOST, "fe80::1"), ("::", FAR_HOST), (HOST, "ff02::1"), ("::1", FAR_HOST)]
    {
        paris.arrive_private(&udp6(source, destination, 64, b"stays on its link"));
    }
    paris.arrive_private(&udp6(HOST, "2001:db8:33::1", 64, b"no route"));
    assert!(paris.sent_public().is_empty() && paris.sent_private().is_empty());
    paris.counted(&[
        ("outbound-ttl/protocol-errors", 3),
        ("private-dispatch/ethertype-errors", 1),
        ("private-dispatch/address-errors", 6),
        ("private-router/route-errors", 1),
        ("private-router/rxerrors", 1),
    ]);
    paris.leaked_nothing();
}

#[test]
fn the_public_side_takes_nothing_but_what_is_meant_for_it() {
    let (mut paris, _) = pair6();
    paris.arrive_public(&udp6(STRANGER, "2001:db8:bbbb::1", 64, b"not ours"));
    for offset_and_more in [[0, 1], [0, 9], [0, 8]] {
        let fragment = [&[17, 0][..], &offset_and_more, &[0, 0, 0, 1], &[0; 16]].concat();
        paris.arrive_public(&packet6(STRANGER, OUTSIDE, 64, 44, &fragment));
    }
    paris.arrive_public(&packet6(STRANGER, OUTSIDE, 64, 60, &[17, 9, 0, 0, 0, 0, 0, 0]));
    paris.arrive_public(&udp("198.51.100.7", "192.0.2.31", 64, b"another family"));
    paris.arrive_public(&packet6(STRANGER, OUTSIDE, 64, 50, &[0; 20]));
    paris.counted(&[
        ("public-dispatch/protocol-errors", 2),
        ("public-dispatch/fragment-errors", 3),
        ("public-dispatch/ethertype-errors", 1),
        ("public-dispatch/rxerrors", 6),
        ("public-router/protocol-errors", 1),
    ]);
    assert!(paris.sent_public().is_empty());
    paris.leaked_nothing();
}

#[test]
fn esp_is_found_behind_extension_headers() {
    let (mut paris, mut tokyo) = pair6();
    paris.arrive_private(&udp6(HOST, FAR_HOST, 64, b"options"));
    let sealed = only(paris.sent_public());
    // Destination options: nothing but padding.
    let options = [50, 0, 1, 4, 0, 0, 0, 0];
    let mut longer = [&sealed[..PAYLOAD], &options, &sealed[PAYLOAD..]].concat();
    longer[14 + 6] = 60;
    let len = (longer.len() - PAYLOAD) as u16;
    longer[14 + 4..14 + 6].copy_from_slice(&len.to_be_bytes());
    tokyo.arrive_public(&longer);
    assert!(only(tokyo.sent_private()).ends_with(b"options"));
    tokyo.counted(&[]);
}

#[test]
fn replayed_forged_and_unknown_esp_is_dropped_silently() {
    let (mut paris, mut tokyo) = pair6();
    paris.arrive_private(&udp6(HOST, FAR_HOST, 64, b"once"));
    let sealed = only(paris.sent_public());
    tokyo.arrive_public(&sealed);
    tokyo.sent_private();
    tokyo.arrive_public(&sealed);
    let mut forged = sealed.clone();
    *forged.last_mut().unwrap() ^= 1;
    forged[PAYLOAD + 7] += 1;
    tokyo.arrive_public(&forged);
    tokyo.arrive_public(&with_byte(sealed, PAYLOAD, 0x77));
    assert!(tokyo.sent_private().is_empty() && tokyo.sent_public().is_empty());
    tokyo.counted(&[
        ("inbound-sa/decrypt-errors", 2),
        ("inbound-sa/rxerrors", 2),
        ("public-router/route-errors", 1),
    ]);
    assert_eq!(tokyo.graph.drops.events.len(), 2, "what did not open is audited");
}

#[test]
fn a_family_without_an_address_inside_does_not_come_out() {
    // Tokyo has an IPv6 tunnel and inside nothing but IPv6; Paris sends it an IPv4 packet all the same.
    let [to_tokyo, to_paris] = keys();
    let mut paris = Site::new(dual(31, 32, Family::V6)).with_keys(&to_tokyo, &to_paris);
    let mut tokyo = Site::new(plan6(32, 31)).with_keys(&to_paris, &to_tokyo);
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"who will have it?"));
    tokyo.arrive_public(&only(paris.sent_public()));
    assert!(tokyo.sent_private().is_empty() && tokyo.sent_public().is_empty());
    tokyo.counted(&[("inbound-sa/protocol-errors", 1), ("inbound-sa/rxerrors", 1)]);
}

#[test]
fn the_key_exchange_gets_its_datagrams_checked_and_sends_its_own() {
    let (mut paris, _) = pair6();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
        .ipv6(address6("2001:db8:ffff::32"), address6(OUTSIDE), 64)
        .udp(303, 303)
        .write(&mut frame, b"knock")
        .unwrap();
    paris.arrive_public(&frame);
    assert_eq!(paris.exchange.len(), 1);
    let peer = paris.exchange[0].peer;
    assert_eq!((peer, paris.exchange[0].payload()), (address6("2001:db8:ffff::32").into(), &b"knock"[..]));
    let mut damaged = frame.clone();
    damaged[PAYLOAD + 9] ^= 1;
    paris.arrive_public(&damaged);
    let mut without_checksum = frame.clone();
    without_checksum[PAYLOAD + 6..PAYLOAD + 8].fill(0);
    paris.arrive_public(&without_checksum);
    assert_eq!(paris.exchange.len(), 1);
    paris.counted(&[("key-manager/protocol-errors", 2), ("key-manager/rxerrors", 2)]);

    let answer = vita::stage::Datagram::new(peer, b"challenge");
    paris.graph.send_datagram(paris.now, &answer, &mut paris.public);
    let sent = only(paris.sent_public());
    let packet = SlicedPacket::from_ethernet(&sent).unwrap();
    let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!() };
    assert_eq!((udp.source_port(), udp.destination_port(), udp.payload()), (303, 303, &b"challenge"[..]));
    let checksum = udp.to_header().calc_checksum_ipv6_raw(
        address6(OUTSIDE),
        address6("2001:db8:ffff::32"),
        udp.payload(),
    );
    assert_eq!(Ok(udp.checksum()), checksum);
}

#[test]
fn received_errors_are_counted_by_type_and_code() {
    let (mut paris, _) = pair6();
    let quote = udp6(OUTSIDE, STRANGER, 1, b"")[field::IP..].to_vec();
    let known: [(u8, u8, &[&str]); 17] = [
        (1, 0, &["destination-unreachable", "net-unreachable"]),
        (1, 1, &["destination-unreachable", "destination-denied"]),
        (1, 2, &["destination-unreachable", "scope-denied"]),
        (1, 3, &["destination-unreachable", "host-unreachable"]),
        (1, 4, &["destination-unreachable", "port-unreachable"]),
        (1, 5, &["destination-unreachable", "source-denied"]),
        (1, 6, &["destination-unreachable", "net-denied"]),
        (1, 7, &["destination-unreachable", "code-not-implemented-errors"]),
        (2, 0, &["packet-too-big"]),
        (3, 0, &["time-exceeded", "transit-hop-limit-exceeded"]),
        (3, 1, &["time-exceeded", "fragment-reassembly-time-exceeded"]),
        (3, 2, &["time-exceeded", "code-not-implemented-errors"]),
        (4, 0, &["parameter-problem", "header-field-problem"]),
        (4, 1, &["parameter-problem", "next-header-problem"]),
        (4, 2, &["parameter-problem", "option-problem"]),
        (4, 9, &["parameter-problem", "code-not-implemented-errors"]),
        (100, 0, &["type-not-implemented-errors", "rxerrors"]),
    ];
    for (type_u8, code_u8, leaves) in known {
        let mut before = paris.moved();
        let kind = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8: [0; 4] };
        paris.arrive_public(&icmp6(STRANGER, OUTSIDE, 64, kind, &quote));
        let mut after = paris.moved();
        for leaf in leaves {
            let name = format!("public-icmp6/{leaf}");
            match before.iter_mut().find(|(other, _)| *other == name) {
                Some((_, value)) => *value += 1,
                None => before.push((name, 1)),
            }
        }
        before.sort();
        after.sort();
        assert_eq!(before, after, "type {type_u8} code {code_u8}");
    }
    assert!(!paris.graph.drops.events.is_empty(), "errors are logged");
    assert!(paris.sent_public().is_empty());
}

#[test]
fn a_flood_of_errors_leaves_echo_requests_their_answers() {
    let (mut paris, _) = pair6();
    for _ in 0..150 {
        paris.arrive_private(&udp6(HOST, FAR_HOST, 1, b"expired"));
    }
    assert_eq!(paris.sent_private().len(), 100);
    for _ in 0..50 {
        paris.arrive_private(&echo6(HOST, GATEWAY, 64));
    }
    assert_eq!(paris.sent_private().len(), 50);
    paris.counted(&[("private-icmp6/rate-limited", 50), ("private-icmp6/echo-request", 50)]);
}

#[test]
fn no_error_about_an_error_or_to_nobody() {
    let (mut paris, _) = pair6();
    let exceeded = Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded);
    paris.arrive_private(&icmp6(HOST, FAR_HOST, 1, exceeded, &[0; 48]));
    paris.arrive_private(&udp6("ff02::5", GATEWAY, 64, b"from a group"));
    let later = [&[17, 0, 0, 0x10, 0, 0, 0, 1][..], &[0; 16]].concat();
    paris.arrive_private(&packet6(HOST, FAR_HOST, 1, 44, &later));
    assert!(paris.sent_private().is_empty());
    paris.counted(&[("private-icmp6/answer-errors", 3)]);
}

/// A site that has to find out who its public next hop is.
fn asking() -> Site {
    let [to_tokyo, to_paris] = keys();
    let mut plan = plan6(31, 32);
    let router = plan.public.v6.as_mut().unwrap();
    router.next_hop_mac = None;
    Site::new(plan).with_keys(&to_tokyo, &to_paris)
}

const ROUTER: &str = "2001:db8:ffff::fe";
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 31, 2];

#[test]
fn the_next_hop_is_asked_for_and_packets_wait_for_the_answer() {
    let mut paris = asking();
    paris.run();
    let question = only(paris.sent_public());
    assert_eq!(question[..12], [&[0x33, 0x33, 0xff, 0, 0, 0xfe][..], &OWN_MAC].concat());
    let packet = SlicedPacket::from_ethernet(&question).unwrap();
    let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!() };
    assert_eq!(ip.header().hop_limit(), 255);
    assert_eq!(ip.header().source(), address6(OUTSIDE));
    assert_eq!(ip.header().destination(), address6("ff02::1:ff00:fe"));
    let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!() };
    assert!(icmp.is_checksum_valid(address6(OUTSIDE), address6("ff02::1:ff00:fe")));
    assert_eq!(icmp.icmp_type(), Icmpv6Type::NeighborSolicitation);
    assert_eq!(icmp.payload(), neighbour(ROUTER, Some((1, OWN_MAC))));

    paris.arrive_private(&udp6(HOST, FAR_HOST, 64, b"patience"));
    assert!(paris.sent_public().is_empty());
    let router = [2, 9, 9, 9, 9, 9];
    paris.arrive_public(&advertisement(ROUTER, OUTSIDE, false, router));
    assert_eq!(only(paris.sent_public())[..6], router);

    // Without the override flag an address that is known stays; with it, it changes; a solicitation changes it too.
    let [second, third] = [[2, 9, 9, 9, 9, 2], [2, 9, 9, 9, 9, 3]];
    let sends_to = |paris: &mut Site| {
        paris.arrive_private(&udp6(HOST, FAR_HOST, 64, b"where to?"));
        only(paris.sent_public())[..6].to_vec()
    };
    paris.arrive_public(&advertisement(ROUTER, OUTSIDE, false, second));
    assert_eq!(sends_to(&mut paris), router);
    paris.arrive_public(&advertisement(ROUTER, OUTSIDE, true, second));
    assert_eq!(sends_to(&mut paris), second);
    paris.arrive_public(&solicitation(ROUTER, "ff02::1:ff00:31", OUTSIDE, Some(third)));
    let reply = only(paris.sent_public());
    assert_eq!(reply[..12], [&third[..], &OWN_MAC].concat());
    assert_eq!(sends_to(&mut paris), third);

    paris.now += 5 * SECOND;
    paris.run();
    assert_eq!(paris.sent_public().len(), 1, "asked again");
    paris.counted(&[
        ("public-next-hop/ns-requests", 2),
        ("public-next-hop/na-replies", 1),
        ("public-next-hop/addresses-added", 1),
        ("public-next-hop/addresses-updated", 2),
    ]);
    paris.leaked_nothing();
}

#[test]
fn whoever_asks_for_our_address_is_told() {
    let (mut paris, _) = pair6();
    let host = [2, 7, 7, 7, 7, 7];
    // By group with its address; unicast without one, as a probe of reachability; and to see whether it is free.
    paris.arrive_private(&solicitation(HOST, "ff02::1:ff00:20", GATEWAY, Some(host)));
    paris.arrive_private(&solicitation("fe80::50", GATEWAY, GATEWAY, None));
    paris.arrive_private(&solicitation("::", "ff02::1:ff00:20", GATEWAY, None));
    let answers = paris.sent_private();
    let expected: [([u8; 6], &str, bool); 3] =
        [(host, HOST, true), (HOST_MAC, "fe80::50", true), ([0x33, 0x33, 0, 0, 0, 1], "ff02::1", false)];
    assert_eq!(answers.len(), expected.len());
    for (answer, (mac, to, solicited)) in answers.iter().zip(expected) {
        assert_eq!(answer[..6], mac);
        let packet = SlicedPacket::from_ethernet(answer).unwrap();
        let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!() };
        assert_eq!((ip.header().hop_limit(), ip.header().source()), (255, address6(GATEWAY)));
        assert_eq!(ip.header().destination(), address6(to));
        let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!() };
        assert!(icmp.is_checksum_valid(address6(GATEWAY), address6(to)));
        let Icmpv6Type::NeighborAdvertisement(flags) = icmp.icmp_type() else { panic!() };
        assert_eq!((flags.router, flags.solicited, flags.r#override), (true, solicited, true));
        assert_eq!(icmp.payload(), neighbour(GATEWAY, Some((2, [2, 0, 0, 0, 31, 1]))));
    }
    // Others' addresses are others' business.
    paris.arrive_private(&solicitation(HOST, "ff02::1:ff00:99", "2001:db8:31::99", Some(host)));
    assert!(paris.sent_private().is_empty());
    paris.counted(&[("private-next-hop/na-replies", 3)]);
    paris.leaked_nothing();
}

#[test]
fn the_source_of_the_frame_may_be_zero_where_it_is_not_needed() {
    let mut paris = asking();
    paris.run();
    paris.sent_public();
    let zero = |frame: Vec<u8>| [&frame[..6], &[0; 6], &frame[12..]].concat();
    let [host, router] = [[2, 7, 7, 7, 7, 7], [2, 9, 9, 9, 9, 9]];
    // As deployed gateways ask: with the option.
    paris.arrive_public(&zero(solicitation("2001:db8:ffff::7", "ff02::1:ff00:31", OUTSIDE, Some(host))));
    assert_eq!(only(paris.sent_public())[..12], [host, OWN_MAC].concat());
    paris.arrive_public(&zero(solicitation("::", "ff02::1:ff00:31", OUTSIDE, None)));
    assert_eq!(only(paris.sent_public())[..6], [0x33, 0x33, 0, 0, 0, 1]);
    paris.arrive_public(&zero(advertisement(ROUTER, OUTSIDE, true, router)));
    paris.arrive_private(&udp6(HOST, FAR_HOST, 64, b"to whom it is"));
    assert_eq!(only(paris.sent_public())[..6], router);
    // Without the option nobody is left to answer; and a group never sends.
    paris.arrive_public(&zero(solicitation("2001:db8:ffff::7", OUTSIDE, OUTSIDE, None)));
    let mut from_group = solicitation("2001:db8:ffff::7", "ff02::1:ff00:31", OUTSIDE, Some(host));
    from_group[6] |= 1;
    paris.arrive_public(&from_group);
    paris.arrive_public(&zero(solicitation("2001:db8:ffff::7", "ff02::1:ff00:31", OUTSIDE, Some([0; 6]))));
    assert!(paris.sent_public().is_empty());
    paris.counted(&[
        ("public-next-hop/ns-requests", 1),
        ("public-next-hop/na-replies", 2),
        ("public-next-hop/addresses-added", 1),
        ("public-next-hop/nd-errors", 3),
    ]);
    paris.leaked_nothing();
}

/// The frame of a query of multicast listener discovery, from a router to the group or, without one, to all nodes.
fn query(group: Option<&str>) -> Vec<u8> {
    let to = address6(group.unwrap_or("ff02::1"));
    // 10 s; then the values of RFC 3810 section 9.
    let group = group.map_or([0; 16], address6);
    let body = [&group[..], &[2, 125, 0, 0]].concat();
    let kind = Icmpv6Type::Unknown { type_u8: 130, code_u8: 0, bytes5to8: [0x27, 0x10, 0, 0] };
    let message = etherparse::Icmpv6Header::with_checksum(kind, address6("fe80::1"), to, &body).unwrap();
    let [.., a, b, c, d] = to;
    let mut frame =
        [&[0x33, 0x33, a, b, c, d][..], &HOST_MAC, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 36, 0, 1]].concat();
    frame.extend(address6("fe80::1"));
    frame.extend(to);
    frame.extend([58, 0, 5, 2, 0, 0, 1, 0]);
    frame.extend(&message.to_bytes()[..]);
    frame.extend(body);
    frame
}

/// The groups that frames report (RFC 3810), and why.
fn reported(frames: Vec<Vec<u8>>) -> Vec<(u8, [u8; 16])> {
    let report = |frame: &Vec<u8>| {
        assert_eq!(frame[..14], [&[0x33, 0x33, 0, 0, 0, 0x16][..], &OWN_MAC, &[0x86, 0xdd]].concat());
        assert_eq!((frame[14 + 6], frame[14 + 7], frame[14 + 48]), (0, 1, 143));
        (frame[14 + 56], frame[14 + 60..].try_into().unwrap())
    };
    frames.iter().map(report).collect()
}

#[test]
fn the_link_is_told_which_group_the_gateway_listens_to() {
    let (mut paris, _) = pair6();
    let group = address6("ff02::1:ff00:31");
    let is_report = |frame: &Vec<u8>| frame[14 + 6] == 0;
    paris.graph.announce();
    let mut reports = Vec::new();
    let mut advertised = 0;
    for _ in 0..30 {
        paris.run();
        for frame in paris.sent_public() {
            if is_report(&frame) {
                reports.push(frame);
                continue;
            }
            advertised += 1;
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!() };
            assert!(icmp.is_checksum_valid(address6(OUTSIDE), address6("ff02::1")));
            let Icmpv6Type::NeighborAdvertisement(flags) = icmp.icmp_type() else { panic!() };
            assert_eq!((flags.solicited, flags.r#override), (false, true));
            assert_eq!(icmp.payload(), neighbour(OUTSIDE, Some((2, OWN_MAC))));
            assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        }
        paris.now += SECOND / 10;
    }
    assert_eq!((reported(reports), advertised), (vec![(4, group), (4, group)], 3));
    assert_eq!(paris.sent_private().iter().filter(|frame| is_report(frame)).count(), 2);

    // Queries are answered within their 10 s, whoever hands them over; those about other groups are not.
    let answers = |paris: &mut Site| {
        for _ in 0..=100 {
            paris.run();
            paris.now += SECOND / 10;
        }
        reported(paris.sent_public())
    };
    paris.arrive_public(&query(Some("ff02::1:ff00:31")));
    assert_eq!(answers(&mut paris), [(2, group)]);
    let heard = vita::stage::NeighbourFrame::new(vita::count::Side::Public, &query(None)).unwrap();
    paris.graph.receive_neighbour(paris.now, &heard, &mut paris.private, &mut paris.public);
    assert_eq!(answers(&mut paris), [(2, group)]);
    paris.arrive_public(&query(Some("ff02::1:ff00:32")));
    paris.arrive_public(&with_byte(query(Some("ff02::1:ff00:31")), HOP_LIMIT, 2));
    assert_eq!(answers(&mut paris), []);
    // And before a switch forgets the group, without a query.
    paris.now += 100 * SECOND;
    assert_eq!(answers(&mut paris), [(2, group)]);
    paris.counted(&[
        ("private-next-hop/na-announcements", 3),
        ("private-next-hop/mld-reports", 3),
        ("public-next-hop/na-announcements", 3),
        ("public-next-hop/mld-reports", 5),
        ("public-next-hop/mld-errors", 1),
    ]);
    paris.leaked_nothing();
}

#[test]
fn neighbours_that_cannot_be_believed_are_counted() {
    let mut paris = asking();
    paris.run();
    paris.sent_public();
    let mac = [2, 9, 9, 9, 9, 9];
    let sound = advertisement(ROUTER, OUTSIDE, true, mac);
    // From beyond the link; damaged; with our own address; with the address of a group.
    paris.arrive_public(&with_byte(sound.clone(), HOP_LIMIT, 254));
    paris.arrive_public(&with_byte(sound.clone(), PAYLOAD + 30, 0));
    paris.arrive_public(&advertisement(OUTSIDE, OUTSIDE, true, mac));
    paris.arrive_public(&advertisement(ROUTER, OUTSIDE, true, [0x33; 6]));
    paris.arrive_private(&udp6(HOST, FAR_HOST, 64, b"still waiting"));
    assert!(paris.sent_public().is_empty());
    paris.counted(&[("public-next-hop/ns-requests", 1), ("public-next-hop/nd-errors", 4)]);
    paris.now += 4 * SECOND;
    paris.run();
    paris.counted(&[
        ("public-next-hop/ns-requests", 2),
        ("public-next-hop/nd-errors", 4),
        ("public-next-hop/unresolved-errors", 1),
    ]);
    paris.leaked_nothing();
}

#[test]
fn one_family_does_not_wait_for_the_other_ones_next_hop() {
    let [to_tokyo, to_paris] = keys();
    let mut plan = dual(32, 31, Family::V6);
    plan.private.v6.as_mut().unwrap().next_hop_mac = None;
    let mut paris = Site::new(dual(31, 32, Family::V6)).with_keys(&to_tokyo, &to_paris);
    let mut tokyo = Site::new(plan).with_keys(&to_paris, &to_tokyo);
    tokyo.run();
    assert_eq!(tokyo.sent_private().len(), 1, "a solicitation");
    for frame in [udp6(HOST, FAR_HOST, 64, b"waits"), udp("172.31.1.50", "172.32.1.50", 64, b"goes")] {
        paris.arrive_private(&frame);
        tokyo.arrive_public(&only(paris.sent_public()));
    }
    assert_eq!(only(tokyo.sent_private())[field::ETHERTYPE], [8, 0]);
    tokyo.arrive_private(&advertisement("2001:db8:32::1", FAR_GATEWAY, true, HOST_MAC));
    assert_eq!(only(tokyo.sent_private())[field::ETHERTYPE], [0x86, 0xdd]);
    tokyo.leaked_nothing();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Any bytes into any port of a gateway of both families: nothing panics, and no buffer is lost.
    #[test]
    fn any_bytes_are_survived(
        frames in prop::collection::vec((any::<bool>(), arbitrary_frame()), 1..80),
    ) {
        let (mut paris, _) = pair_of(|near, far| dual(near, far, Family::V6));
        for (private, frame) in frames {
            if private { paris.arrive_private(&frame) } else { paris.arrive_public(&frame) }
        }
        paris.leaked_nothing();
    }
}

/// Noise, and sound frames with some noise in them.
fn arbitrary_frame() -> impl Strategy<Value = Vec<u8>> {
    let options = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &[128, 0, 0, 0, 0, 0, 0, 0]].concat();
    let sound = prop_oneof![
        Just(udp6(HOST, FAR_HOST, 64, b"some text")),
        Just(udp6(HOST, FAR_HOST, 1, b"some text")),
        Just(udp("172.31.1.50", "172.32.1.50", 64, b"some text")),
        Just(echo6(HOST, GATEWAY, 64)),
        Just(echo6(STRANGER, OUTSIDE, 64)),
        Just(packet6(HOST, GATEWAY, 64, 60, &options)),
        Just(packet6(STRANGER, OUTSIDE, 64, 50, &[0; 80])),
        Just(packet6(STRANGER, OUTSIDE, 64, 17, &[0; 80])),
        Just(solicitation(HOST, "ff02::1:ff00:20", GATEWAY, Some(HOST_MAC))),
        Just(advertisement(ROUTER, OUTSIDE, true, HOST_MAC)),
    ];
    let noise = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let noisy = (sound, noise).prop_map(|(mut frame, noise)| {
        for (place, byte) in noise {
            let place = place.index(frame.len());
            frame[place] = byte;
        }
        frame
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), noisy]
}
