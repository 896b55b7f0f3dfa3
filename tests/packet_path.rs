// SPDX-License-Identifier: Apache-2.0
//! What happens to a packet, told with two gateways in memory.

use crate::support::field::{self, v4};
use crate::support::site::*;
use etherparse::{Icmpv4Type, IpNumber, NetSlice, SlicedPacket, TransportSlice, icmpv4};
use proptest::prelude::*;
use std::sync::Arc;
use vita::graph::Plan;
use vita::route::PeerNumber;

use vita::stage::Event;
use vita::wire::checksum;
use vita::wire::ip::Family;

/// Checks an ICMP error: who sent it, to whom, what it says, and which packet it quotes.
#[track_caller]
fn assert_error(frame: &[u8], from: &str, to: &str, expected: Icmpv4Type, quoted: &[u8]) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("not IPv4") };
    let header = ip.header().to_header();
    assert_eq!(header.calc_header_checksum(), header.header_checksum);
    assert_eq!((header.source, header.destination), (address(from), address(to)));
    // An error of the far gateway was forwarded once, by the near one.
    let far = from == "172.32.1.20";
    assert_eq!(header.time_to_live, 64 - u8::from(far));
    let Some(TransportSlice::Icmpv4(icmp)) = packet.transport else { panic!("not ICMP") };
    assert_eq!(icmp.icmp_type(), expected);
    assert_eq!(checksum::internet(ip.payload().payload), 0);
    assert_eq!(icmp.payload(), quoted);
}

#[test]
fn a_packet_arrives_at_the_other_site_two_hops_older_and_unreadable_on_the_way() {
    let (mut paris, mut tokyo) = pair();
    let sent = udp("172.31.1.50", "172.32.1.50", 64, b"hello tokyo");
    paris.arrive_private(&sent);
    let sealed = only(paris.sent_public());
    assert!(!sealed.windows(5).any(|window| window == b"hello"));
    let outer = SlicedPacket::from_ethernet(&sealed).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &outer.net else { panic!() };
    let header = ip.header().to_header();
    assert_eq!(header.protocol, IpNumber::ENCAPSULATING_SECURITY_PAYLOAD);
    assert_eq!((header.source, header.destination), (address("192.0.2.31"), address("192.0.2.32")));
    assert_eq!((header.time_to_live, header.dont_fragment, header.identification), (64, true, 0));
    assert_eq!((header.dscp.value(), header.ecn.value()), (0, 0));
    assert_eq!(header.header_checksum, header.calc_header_checksum());

    tokyo.arrive_public(&sealed);
    let arrived = only(tokyo.sent_private());
    let expected = with_header_byte(sent, 8, 62);
    assert_eq!(arrived[field::IP..], expected[field::IP..]);
    assert_eq!(arrived[..6], HOST_MAC);
    paris.counted(&[]);
    tokyo.counted(&[]);
    paris.leaked_nothing();
    tokyo.leaked_nothing();
}

#[test]
fn every_length_up_to_the_mtu_passes_with_and_without_padding() {
    for tfc in [false, true] {
        let (mut paris, mut tokyo) = pair();
        let mut tfc_plan = plan(31, 32);
        tfc_plan.tunnels = tunnels4(31, 32, tfc);
        paris.graph.replan(tfc_plan);
        for len in 0..=usize::from(MTU) - 28 {
            let sent = udp("172.31.1.50", "172.32.1.50", 64, &vec![len as u8; len]);
            paris.arrive_private(&sent);
            let sealed = only(paris.sent_public());
            if tfc {
                assert_eq!(sealed.len(), 14 + 20 + 16 + 1440 + 2 + 2 + 16);
            }
            tokyo.arrive_public(&sealed);
            assert_eq!(only(tokyo.sent_private())[v4::PAYLOAD..], sent[v4::PAYLOAD..], "{len} bytes");
        }
    }
}

#[test]
fn a_batch_is_sealed_and_opened_in_order() {
    let (mut paris, mut tokyo) = pair();
    for number in 0..200u8 {
        let frame = udp("172.31.1.50", "172.32.1.50", 64, &[number; 20]);
        paris.private.arriving.push_back(paris.graph.pool.copy_of(&frame).unwrap());
    }
    paris.run();
    for frame in paris.sent_public() {
        tokyo.public.arriving.push_back(tokyo.graph.pool.copy_of(&frame).unwrap());
    }
    tokyo.run();
    let numbers: Vec<u8> = tokyo.sent_private().iter().map(|frame| frame[60]).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<u8>>());
}

#[test]
fn the_far_gateway_answers_through_the_tunnel() {
    let (mut paris, mut tokyo) = pair();
    paris.arrive_private(&echo("172.31.1.50", "172.32.1.20", 64));
    tokyo.arrive_public(&only(paris.sent_public()));
    assert!(tokyo.sent_private().is_empty());
    paris.arrive_public(&only(tokyo.sent_public()));
    let reply = only(paris.sent_private());
    let packet = SlicedPacket::from_ethernet(&reply).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = packet.transport else { panic!() };
    assert!(matches!(icmp.icmp_type(), Icmpv4Type::EchoReply(_)));
    assert_eq!(icmp.payload(), b"payload of an echo request");
    tokyo.counted(&[("inbound-icmp4/echo-request", 1)]);
}

#[test]
fn both_own_addresses_answer_echo_requests_with_sound_checksums() {
    let (mut paris, _) = pair();
    paris.arrive_private(&echo("172.31.1.50", "172.31.1.20", 1));
    paris.arrive_public(&echo("198.51.100.7", "192.0.2.31", 1));
    for (reply, from) in
        [(only(paris.sent_private()), "172.31.1.20"), (only(paris.sent_public()), "192.0.2.31")]
    {
        let packet = SlicedPacket::from_ethernet(&reply).unwrap();
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!() };
        assert_eq!(ip.header().source(), address(from));
        assert_eq!(checksum::internet(&reply[v4::HEADER]), 0);
        assert_eq!(checksum::internet(&reply[v4::PAYLOAD..]), 0);
    }
    paris.counted(&[("private-icmp4/echo-request", 1), ("public-icmp4/echo-request", 1)]);
}

#[test]
fn a_traceroute_meets_exactly_two_gateways() {
    let (mut paris, mut tokyo) = pair();
    let exceeded = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
    let first = udp("172.31.1.50", "172.32.1.50", 1, b"first hop");
    paris.arrive_private(&first);
    assert!(paris.sent_public().is_empty());
    assert_error(
        &only(paris.sent_private()),
        "172.31.1.20",
        "172.31.1.50",
        exceeded.clone(),
        &first[v4::QUOTED],
    );

    let second = udp("172.31.1.50", "172.32.1.50", 2, b"second hop");
    paris.arrive_private(&second);
    tokyo.arrive_public(&only(paris.sent_public()));
    assert!(tokyo.sent_private().is_empty());
    paris.arrive_public(&only(tokyo.sent_public()));
    let quoted = with_header_byte(second, 8, 1);
    assert_error(&only(paris.sent_private()), "172.32.1.20", "172.31.1.50", exceeded, &quoted[v4::QUOTED]);

    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 3, b"target"));
    tokyo.arrive_public(&only(paris.sent_public()));
    assert_eq!(tokyo.sent_private().len(), 1);
}

#[test]
fn a_packet_beyond_the_mtu_is_told_so_if_it_must_not_be_fragmented() {
    let (mut paris, _) = pair();
    paris.graph.replan(Plan { fragment_inner: false, ..plan(31, 32) });
    let large = udp("172.31.1.50", "172.32.1.50", 64, &[0; MTU as usize - 27]);
    paris.arrive_private(&with_header_byte(large.clone(), 6, 0));
    assert!(paris.sent_private().is_empty());
    let large = with_header_byte(large, 6, 0x40);
    paris.arrive_private(&large);
    let needed = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded {
        next_hop_mtu: MTU,
    });
    let quoted = with_header_byte(large, 8, 63);
    assert_error(&only(paris.sent_private()), "172.31.1.20", "172.31.1.50", needed, &quoted[v4::QUOTED]);
    paris.counted(&[("private-router/mtu-errors", 2), ("private-router/rxerrors", 2)]);
}

#[test]
fn a_packet_beyond_the_mtu_that_may_be_fragmented_arrives_in_pieces() {
    let (mut paris, mut tokyo) = pair();
    let text = |number: usize| (0..1472).map(|i| (i * 7 + number) as u8).collect::<Vec<u8>>();
    let count = if cfg!(miri) { 2 } else { 50 };
    for number in 0..count {
        let mut frame = with_header_byte(udp("172.31.1.50", "172.32.1.50", 64, &text(number)), 6, 0);
        frame = with_header_byte(frame, 5, number as u8);
        paris.private.arriving.push_back(paris.graph.pool.copy_of(&frame).unwrap());
    }
    paris.run();
    let sealed = paris.sent_public();
    assert_eq!(sealed.len(), 2 * count);
    sealed.iter().for_each(|frame| tokyo.arrive_public(frame));
    let arrived = tokyo.sent_private();
    assert!(arrived.iter().all(|frame| frame.len() <= 14 + usize::from(MTU)));
    let expected: Vec<_> = (0..count).map(text).collect();
    let whole: Vec<_> = reassembled(&arrived).iter().map(|datagram| datagram[8..].to_vec()).collect();
    assert_eq!(whole, expected);
    let count = count as u64;
    paris.counted(&[("packet-size/fragmented-packets", count), ("packet-size/fragments-created", 2 * count)]);
    tokyo.counted(&[]);
    paris.leaked_nothing();
    tokyo.leaked_nothing();
}

#[test]
fn fragments_need_memory_and_there_may_be_none_for_all() {
    let (mut paris, _) = pair();
    let large = with_header_byte(udp("172.31.1.50", "172.32.1.50", 64, &[7; 1472]), 6, 0);
    for _ in 0..2 {
        paris.private.arriving.push_back(paris.graph.pool.copy_of(&large).unwrap());
    }
    // Three chunks are free: enough for one packet, and its own is free again when it has been cut.
    let taken: Vec<_> = (3..paris.graph.pool.available()).map(|_| paris.graph.pool.take().unwrap()).collect();
    paris.run();
    assert_eq!(paris.public.sent.len(), 4);
    paris.public.sent.truncate(3);
    assert_eq!(paris.graph.pool.available(), 2);
    let _one = paris.graph.pool.take().unwrap();
    paris.private.arriving.push_back(paris.graph.pool.take().unwrap());
    paris.private.arriving[0].append(large.len()).unwrap().copy_from_slice(&large);
    paris.run();
    assert_eq!(paris.public.sent.len(), 3);
    paris.counted(&[
        ("packet-size/fragmented-packets", 2),
        ("packet-size/fragments-created", 4),
        ("packet-size/fragment-errors", 1),
        ("private-router/rxerrors", 1),
    ]);
    drop((taken, _one));
    paris.leaked_nothing();
}

#[test]
fn what_cannot_be_cut_is_counted_as_too_long() {
    let (mut paris, _) = pair();
    let mut narrow = plan(31, 32);
    narrow.tunnels = tunnels(Family::V4, 31, 32, 27, false);
    narrow.tunnels.iter_mut().flatten().for_each(|tunnel| tunnel.stats = paris.route.clone());
    paris.graph.replan(narrow);
    paris.arrive_private(&with_header_byte(udp("172.31.1.50", "172.32.1.50", 64, &[7; 100]), 6, 0));
    assert!(paris.sent_public().is_empty() && paris.sent_private().is_empty());
    paris.counted(&[("private-router/mtu-errors", 1), ("private-router/rxerrors", 1)]);
    paris.counted_of_route(&[("outbound/mtu-errors", 1)]);
    paris.leaked_nothing();
}

#[test]
fn a_flood_of_one_kind_of_message_silences_no_other() {
    let (mut paris, _) = pair();
    let expired = udp("172.31.1.50", "172.32.1.50", 1, b"too old");
    let too_big = with_header_byte(udp("172.31.1.50", "172.32.1.50", 64, &[0; MTU as usize]), 6, 0x40);
    let unknown = udp("172.31.1.50", "172.31.1.20", 64, b"anyone there?");
    let question = echo("172.31.1.50", "172.31.1.20", 64);
    let kinds = [expired, too_big, unknown, question];
    for (flood, frame) in kinds.iter().enumerate() {
        paris.now += 10 * SECOND;
        (0..150).for_each(|_| paris.arrive_private(frame));
        assert_eq!(paris.sent_private().len(), 100, "kind {flood}: a burst");
        for (kind, other) in kinds.iter().enumerate() {
            paris.arrive_private(other);
            let answers = paris.sent_private().len();
            assert_eq!(answers, usize::from(kind != flood), "kind {kind} after a flood of kind {flood}");
        }
        // Half of a second is 25 more.
        paris.now += SECOND / 2;
        (0..50).for_each(|_| paris.arrive_private(frame));
        assert_eq!(paris.sent_private().len(), 25, "kind {flood}: the rate");
    }
}

#[test]
fn own_addresses_speak_icmp_only() {
    let (mut paris, _) = pair();
    let unreachable = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Protocol);
    let inside = udp("172.31.1.50", "172.31.1.20", 64, b"anyone there?");
    paris.arrive_private(&inside);
    assert_error(
        &only(paris.sent_private()),
        "172.31.1.20",
        "172.31.1.50",
        unreachable.clone(),
        &inside[v4::QUOTED],
    );
    let outside = udp("198.51.100.7", "192.0.2.31", 64, b"anyone there?");
    paris.arrive_public(&outside);
    assert_error(&only(paris.sent_public()), "192.0.2.31", "198.51.100.7", unreachable, &outside[v4::QUOTED]);
}

#[test]
fn nothing_leaves_without_a_route_or_a_security_association() {
    let mut paris = Site::new(plan(31, 32));
    paris.arrive_private(&udp("172.31.1.50", "172.33.1.50", 64, b"no route"));
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"no association yet"));
    assert!(paris.sent_private().is_empty() && paris.sent_public().is_empty());
    paris.counted(&[
        ("private-router/route-errors", 1),
        ("private-router/sa-errors", 1),
        ("private-router/rxerrors", 2),
    ]);
    paris.leaked_nothing();
}

#[test]
fn what_is_malformed_or_damaged_is_counted_and_dropped() {
    let (mut paris, _) = pair();
    let good = udp("172.31.1.50", "172.32.1.50", 64, b"good");
    let mut damaged = good.clone();
    damaged[v4::CHECKSUM.start] ^= 0x55;
    paris.arrive_private(&damaged);
    let mut longer_than_frame = good.clone();
    longer_than_frame[v4::TOTAL_LENGTH].copy_from_slice(&2000u16.to_be_bytes());
    paris.arrive_private(&longer_than_frame);
    paris.arrive_private(&good[..14 + 19]);
    let mut version = good.clone();
    version[v4::VERSION] = 0x65;
    paris.arrive_private(&version);
    let mut unknown = good.clone();
    unknown[field::ETHERTYPE].copy_from_slice(&[0x86, 0xdd]);
    paris.arrive_private(&unknown);
    paris.arrive_private(&good[..10]);
    let mut broadcast = good.clone();
    broadcast[..6].fill(0xff);
    paris.arrive_private(&broadcast);
    assert!(paris.sent_public().is_empty() && paris.sent_private().is_empty());
    paris.counted(&[
        ("outbound-ttl/checksum-errors", 1),
        ("outbound-ttl/protocol-errors", 3),
        ("private-dispatch/ethertype-errors", 2),
        ("private-dispatch/address-errors", 1),
    ]);
    paris.leaked_nothing();
}

#[test]
fn the_public_side_takes_nothing_but_what_is_meant_for_it() {
    let (mut paris, _) = pair();
    let elsewhere = udp("198.51.100.7", "198.51.100.8", 64, b"not ours");
    paris.arrive_public(&elsewhere);
    paris.arrive_public(&with_header_byte(elsewhere.clone(), 6, 0x20));
    paris.arrive_public(&with_header_byte(elsewhere.clone(), 7, 0x20));
    let mut unknown = elsewhere.clone();
    unknown[field::ETHERTYPE].copy_from_slice(&[0x88, 0xcc]);
    paris.arrive_public(&unknown);
    let mut broadcast = elsewhere.clone();
    broadcast[..6].fill(0xff);
    paris.arrive_public(&broadcast);
    let short_esp = with_header_byte(elsewhere, 9, 50);
    paris.arrive_public(&short_esp);
    paris.arrive_public(&packet4("198.51.100.7", "192.0.2.31", 50, &[0; 16]));
    paris.counted(&[
        ("public-dispatch/protocol-errors", 1),
        ("public-dispatch/fragment-errors", 2),
        ("public-dispatch/ethertype-errors", 1),
        ("public-dispatch/address-errors", 2),
        ("public-dispatch/rxerrors", 6),
        ("public-router/protocol-errors", 1),
    ]);
    assert!(paris.sent_public().is_empty());
    paris.leaked_nothing();
}

#[test]
fn replayed_forged_and_unknown_esp_is_dropped_silently() {
    let (mut paris, mut tokyo) = pair();
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"once"));
    let sealed = only(paris.sent_public());
    tokyo.arrive_public(&sealed);
    tokyo.sent_private();
    tokyo.arrive_public(&sealed);
    let mut forged = sealed.clone();
    *forged.last_mut().unwrap() ^= 1;
    // A later number, so that the forgery gets past the window.
    forged[14 + 20 + 7] += 1;
    tokyo.arrive_public(&forged);
    let mut unknown = sealed;
    unknown[14 + 20] = 0x77;
    tokyo.arrive_public(&unknown);
    assert!(tokyo.sent_private().is_empty() && tokyo.sent_public().is_empty());
    tokyo.counted(&[
        ("inbound-sa/decrypt-errors", 2),
        ("inbound-sa/rxerrors", 2),
        ("public-router/route-errors", 1),
    ]);
    assert_eq!(tokyo.graph.drops.events.len(), 2, "what did not open is audited");
}

#[test]
fn each_packet_of_a_batch_has_its_own_verdict() {
    let (mut paris, mut tokyo) = pair();
    for n in 0..6 {
        paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, &[n]));
    }
    let sealed = paris.sent_public();
    let forged = |n: usize| {
        let mut frame = sealed[n].clone();
        *frame.last_mut().unwrap() ^= 1;
        frame
    };
    tokyo.arrive_public(&sealed[0]);
    tokyo.sent_private();
    // A replay is not worth the cryptography; what follows it is.
    let batch =
        [&sealed[0], &forged(1), &sealed[2], &sealed[0], &forged(3), &sealed[4], &sealed[2], &sealed[5]];
    for frame in batch {
        tokyo.public.arriving.push_back(tokyo.graph.pool.copy_of(frame).unwrap());
    }
    tokyo.run();
    let payloads: Vec<u8> = tokyo.sent_private().iter().map(|frame| *frame.last().unwrap()).collect();
    assert_eq!(payloads, [2, 4, 5]);
    tokyo.counted(&[("inbound-sa/decrypt-errors", 5), ("inbound-sa/rxerrors", 5)]);
    // A forgery has not used up the number.
    tokyo.arrive_public(&sealed[1]);
    assert_eq!(tokyo.sent_private().len(), 1);
    tokyo.leaked_nothing();
}

#[test]
fn what_cannot_be_sealed_does_not_leave_with_what_waits_for_the_next_hop() {
    for places in [&[0][..], &[1], &[0, 2], &[2]] {
        let [to_tokyo, to_paris] = keys();
        let mut plan = plan(31, 32);
        let router = plan.public.v4.as_mut().unwrap();
        (router.next_hop_mac, router.next_hop, router.asks) = (None, Default::default(), false);
        let mut paris = Site::new(plan).with_keys(&to_tokyo, &to_paris);
        for n in 0..4 {
            let packet = udp("172.31.1.50", "172.32.1.50", 64, b"cramped");
            // No room behind it for an ICV.
            let front = if places.contains(&n) { 4096 - 256 - packet.len() - 8 } else { 0 };
            let mut frame = paris.graph.pool.copy_of(&[&vec![0; front][..], &packet].concat()).unwrap();
            frame.trim_front(front);
            paris.private.arriving.push_back(frame);
        }
        paris.run();
        assert!(paris.sent_public().is_empty());
        let (router, own) = ([2, 9, 9, 9, 9, 9], [2, 0, 0, 0, 31, 2]);
        paris.arrive_public(&arp(
            etherparse::ArpOperation::REPLY,
            (router, "192.0.2.254"),
            (own, "192.0.2.31"),
        ));
        paris.run();
        let sent = paris.sent_public();
        assert_eq!(sent.len(), 4 - places.len());
        assert!(sent.iter().all(|frame| frame[v4::PROTOCOL] == 50), "{sent:02x?}");
    }
}

#[test]
fn what_is_for_the_far_gateway_need_not_live_longer() {
    let (mut paris, mut tokyo) = pair();
    paris.arrive_private(&echo("172.31.1.50", "172.32.1.20", 2));
    tokyo.arrive_public(&only(paris.sent_public()));
    tokyo.counted(&[("inbound-icmp4/echo-request", 1)]);
    assert_eq!(tokyo.sent_public().len(), 1);
}

#[test]
fn esp_is_found_behind_options() {
    let (mut paris, mut tokyo) = pair();
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"options"));
    let sealed = only(paris.sent_public());
    let mut longer = [&sealed[..v4::PAYLOAD], &[1, 1, 1, 1], &sealed[v4::PAYLOAD..]].concat();
    longer[v4::VERSION] = 0x46;
    let len = (longer.len() - 14) as u16;
    longer[v4::TOTAL_LENGTH].copy_from_slice(&len.to_be_bytes());
    longer[v4::CHECKSUM].fill(0);
    let sum = vita::wire::checksum::internet(&longer[14..38]);
    longer[v4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    tokyo.arrive_public(&longer);
    assert!(only(tokyo.sent_private()).ends_with(b"options"));
}

#[test]
fn two_copies_in_one_batch_count_as_one() {
    let (mut paris, mut tokyo) = pair();
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"once"));
    let sealed = only(paris.sent_public());
    for _ in 0..3 {
        tokyo.public.arriving.push_back(tokyo.graph.pool.copy_of(&sealed).unwrap());
    }
    tokyo.run();
    assert_eq!(tokyo.sent_private().len(), 1);
    tokyo.counted(&[("inbound-sa/decrypt-errors", 2), ("inbound-sa/rxerrors", 2)]);
}

#[test]
fn the_key_exchange_gets_its_datagrams_checked() {
    let (mut paris, _) = pair();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
        .ipv4(address("192.0.2.32"), address("192.0.2.31"), 64)
        .udp(303, 303)
        .write(&mut frame, b"knock")
        .unwrap();
    paris.arrive_public(&frame);
    assert_eq!(paris.exchange.len(), 1);
    assert_eq!(
        (paris.exchange[0].peer, paris.exchange[0].payload()),
        (address("192.0.2.32").into(), &b"knock"[..])
    );
    paris.counted(&[]);
    let mut damaged = frame.clone();
    damaged[45] ^= 1;
    paris.arrive_public(&damaged);
    frame[40..42].fill(0);
    paris.arrive_public(&frame);
    assert_eq!(paris.exchange.len(), 1);
    paris.counted(&[("key-manager/protocol-errors", 2), ("key-manager/rxerrors", 2)]);
}

#[test]
fn errors_and_answers_keep_to_their_rate() {
    let (mut paris, _) = pair();
    for _ in 0..150 {
        paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 1, b"expired"));
    }
    assert_eq!(paris.sent_private().len(), 100);
    paris.now += SECOND / 10;
    for _ in 0..10 {
        paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 1, b"expired"));
    }
    assert_eq!(paris.sent_private().len(), 5);
}

#[test]
fn no_error_about_an_error_a_group_or_a_later_fragment() {
    let (mut paris, _) = pair();
    let expired = udp("172.31.1.50", "172.32.1.50", 1, b"expired");
    paris.arrive_private(&expired);
    let error = only(paris.sent_private());
    // The error itself, now on its way through us with a TTL of one.
    let mut bounced = error.clone();
    bounced[v4::SOURCE].copy_from_slice(&address("172.31.1.50"));
    bounced[v4::DESTINATION].copy_from_slice(&address("172.32.1.50"));
    paris.arrive_private(&with_header_byte(bounced, 8, 1));
    let mut from_group = expired.clone();
    from_group[v4::SOURCE].copy_from_slice(&address("224.0.0.5"));
    paris.arrive_private(&with_header_byte(from_group, 8, 1));
    paris.arrive_private(&with_header_byte(expired, 7, 9));
    assert!(paris.sent_private().is_empty());
    paris.counted(&[("private-dispatch/address-errors", 1), ("private-icmp4/answer-errors", 2)]);
}

#[test]
fn what_must_not_be_answered_is_counted() {
    let (mut paris, _) = pair();
    let from_group = |mut frame: Vec<u8>| {
        frame[v4::SOURCE].copy_from_slice(&address("224.0.0.5"));
        let ttl = frame[v4::TTL];
        with_header_byte(frame, 8, ttl)
    };
    paris.arrive_private(&from_group(udp("172.31.1.50", "172.32.1.50", 1, b"expired")));
    paris.arrive_private(&from_group(udp("172.31.1.50", "172.31.1.20", 9, b"no such protocol")));
    paris.arrive_private(&from_group(echo("172.31.1.50", "172.31.1.20", 9)));
    assert!(paris.sent_private().is_empty());
    paris.counted(&[
        ("private-dispatch/address-errors", 1),
        ("private-icmp4/answer-errors", 2),
        ("private-icmp4/echo-request", 1),
    ]);
    paris.leaked_nothing();
}

#[test]
fn a_damaged_header_is_no_reason_to_bother_its_source() {
    let (mut paris, _) = pair();
    let mut damaged = udp("172.31.1.50", "172.31.1.20", 64, b"who sent this?");
    damaged[v4::CHECKSUM.start] ^= 0x55;
    paris.arrive_private(&damaged);
    assert!(paris.sent_private().is_empty());
    paris.counted(&[("private-icmp4/protocol-errors", 1), ("private-icmp4/rxerrors", 1)]);
}

/// An ICMP message with a sound checksum, from outside to the public address.
fn icmp(kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    icmp4("198.51.100.7", "192.0.2.31", kind, code, body)
}

#[test]
fn received_errors_are_counted_by_type_and_code() {
    let (mut paris, _) = pair();
    let quote = udp("192.0.2.31", "198.51.100.7", 1, b"")[field::IP..].to_vec();
    let known: [(u8, &[u8], &str, &[&str]); 4] = [
        (
            3,
            &[0, 1, 2, 3, 4, 5],
            "destination-unreachable",
            &[
                "net-unreachable",
                "host-unreachable",
                "protocol-unreachable",
                "port-unreachable",
                "fragmentation-needed",
                "source-route-failed",
            ],
        ),
        (
            5,
            &[0, 1, 2, 3],
            "redirect",
            &["redirect-net", "redirect-host", "redirect-tos-net", "redirect-tos-host"],
        ),
        (11, &[0, 1], "time-exceeded", &["transit-ttl-exceeded", "fragment-reassembly-time-exceeded"]),
        (12, &[0], "parameter-problem", &[]),
    ];
    let mut expected = Vec::new();
    for (kind, codes, name, code_names) in known {
        for code in codes {
            paris.arrive_public(&icmp(kind, *code, &quote));
        }
        paris.arrive_public(&icmp(kind, 77, &quote));
        expected.push((format!("public-icmp4/{name}"), codes.len() as u64 + 1));
        expected.extend(code_names.iter().map(|name| (format!("public-icmp4/{name}"), 1)));
    }
    paris.arrive_public(&icmp(0, 0, &quote));
    paris.arrive_public(&icmp(200, 0, &quote));
    expected.push(("public-icmp4/code-not-implemented-errors".into(), 4));
    expected.push(("public-icmp4/type-not-implemented-errors".into(), 2));
    expected.push(("public-icmp4/rxerrors".into(), 2));
    let expected: Vec<_> = expected.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    paris.counted(&expected);
    assert!(paris.sent_public().is_empty());
}

#[test]
fn a_received_error_must_be_sound_and_say_what_it_is_about() {
    let (mut paris, _) = pair();
    let quote = udp("192.0.2.31", "198.51.100.7", 1, b"")[field::IP..].to_vec();
    let good = icmp(3, 1, &quote);
    let mut damaged = good.clone();
    damaged[40] ^= 1;
    paris.arrive_public(&damaged);
    paris.arrive_public(&icmp(3, 1, &quote[..19]));
    paris.arrive_private(&with_header_byte(echo("172.31.1.50", "172.31.1.20", 64), 6, 0x20));
    paris.counted(&[
        ("public-icmp4/protocol-errors", 2),
        ("public-icmp4/rxerrors", 2),
        ("private-icmp4/protocol-errors", 1),
        ("private-icmp4/rxerrors", 1),
    ]);
    assert!(paris.graph.drops.events.is_empty());
}

#[test]
fn received_errors_are_reported_with_an_excerpt_but_not_all_of_them() {
    let (mut paris, _) = pair();
    let quote = udp("192.0.2.31", "198.51.100.7", 1, b"text")[field::IP..].to_vec();
    let error = icmp(3, 4, &quote);
    paris.arrive_public(&error);
    let Some(Event::Icmp { source, kind, code, excerpt }) = paris.graph.drops.events.first() else {
        panic!()
    };
    assert_eq!((*source, *kind, *code), (address("198.51.100.7").into(), 3, 4));
    assert_eq!(excerpt[..], quote[..28]);
    let mut reported = 0;
    for _ in 0..90 {
        paris.graph.drops.events.clear();
        paris.arrive_public(&error);
        reported += paris.graph.drops.events.len();
    }
    assert!((1..40).contains(&reported), "{reported} of 90");
    paris.counted(&[("public-icmp4/destination-unreachable", 91), ("public-icmp4/fragmentation-needed", 91)]);
}

#[test]
fn received_messages_beyond_the_rate_are_not_read() {
    let (mut paris, _) = pair();
    for _ in 0..150 {
        paris.arrive_public(&echo("198.51.100.7", "192.0.2.31", 64));
    }
    assert_eq!(paris.sent_public().len(), 100);
    paris.counted(&[("public-icmp4/echo-request", 100), ("public-icmp4/rate-limited", 50)]);
}

#[test]
fn inner_packets_of_another_family_or_none_do_not_come_out() {
    let (mut paris, mut tokyo) = pair();
    // A peer that seals what is no IPv4 packet, and says that it is one; or says that it is IPv6.
    let [to_tokyo, _] = keys();
    let sa = vita::esp::OutboundSa::new(&to_tokyo, vita::aead::preferred());
    for (inner, next_header) in
        [(&b"this is no packet at all"[..], 4), (&[0x60; 40][..], 41), (&[0; 8][..], 59)]
    {
        let mut frame = paris.graph.pool.copy_of(inner).unwrap();
        let (_, _, job) = sa.encapsulate::<0, 0>(sa.draw().unwrap(), &mut frame, next_header, 0).unwrap();
        vita::aead::preferred().seal(&mut [job]);
        let mut sealed = Vec::new();
        etherparse::PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
            .ipv4(address("192.0.2.31"), address("192.0.2.32"), 64)
            .write(&mut sealed, IpNumber::ENCAPSULATING_SECURITY_PAYLOAD, frame.data())
            .unwrap();
        tokyo.arrive_public(&sealed);
    }
    assert!(tokyo.sent_private().is_empty() && tokyo.sent_public().is_empty());
    tokyo.counted(&[
        ("inbound-dispatch/protocol-errors", 1),
        ("inbound-sa/protocol-errors", 1),
        ("inbound-sa/dummy-packets", 1),
        ("inbound-sa/rxerrors", 1),
    ]);
    paris.leaked_nothing();
    tokyo.leaked_nothing();
}

#[test]
fn the_far_side_of_the_tunnel_may_ask_only_icmp_of_the_gateway() {
    let (mut paris, mut tokyo) = pair();
    let asked = udp("172.31.1.50", "172.32.1.20", 64, b"anyone there?");
    paris.arrive_private(&asked);
    tokyo.arrive_public(&only(paris.sent_public()));
    paris.arrive_public(&only(tokyo.sent_public()));
    let unreachable = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Protocol);
    let quoted = with_header_byte(asked, 8, 63);
    assert_error(&only(paris.sent_private()), "172.32.1.20", "172.31.1.50", unreachable, &quoted[v4::QUOTED]);
}

#[test]
fn an_answer_through_the_tunnel_never_leaves_in_clear() {
    let (mut paris, mut tokyo) = pair();
    paris.arrive_private(&echo("172.31.1.50", "172.32.1.20", 64));
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 2, b"expires at the far gateway"));
    assert!(tokyo.graph.activate(PeerNumber(0), None).is_some());
    for sealed in paris.sent_public() {
        tokyo.arrive_public(&sealed);
    }
    assert!(tokyo.sent_private().is_empty() && tokyo.sent_public().is_empty());
    tokyo.counted(&[
        ("inbound-icmp4/echo-request", 1),
        ("private-router/sa-errors", 2),
        ("private-router/rxerrors", 2),
    ]);
    tokyo.leaked_nothing();
}

#[test]
fn padding_of_short_ethernet_frames_is_not_carried_along() {
    let (mut paris, mut tokyo) = pair();
    let sent = udp("172.31.1.50", "172.32.1.50", 64, b"x");
    let padded = [&sent[..], &[0xee; 17]].concat();
    paris.arrive_private(&padded);
    let sealed = only(paris.sent_public());
    tokyo.arrive_public(&[&sealed[..], &[0xee; 9]].concat());
    assert_eq!(only(tokyo.sent_private()).len(), sent.len());
}

#[test]
fn the_next_hop_is_asked_for_and_packets_wait_for_the_answer() {
    use etherparse::ArpOperation;
    let [to_tokyo, to_paris] = keys();
    let mut plan = plan(31, 32);
    let router = plan.public.v4.as_mut().unwrap();
    router.next_hop_mac = None;
    router.next_hop = Arc::default();
    let mut paris = Site::new(plan).with_keys(&to_tokyo, &to_paris);
    paris.run();
    let question = only(paris.sent_public());
    assert_eq!(question.len(), 60);
    let Some(NetSlice::Arp(asked)) = SlicedPacket::from_ethernet(&question).unwrap().net else { panic!() };
    assert_eq!(asked.operation(), ArpOperation::REQUEST);
    assert_eq!(asked.target_protocol_addr(), address("192.0.2.254"));
    assert_eq!(asked.sender_protocol_addr(), address("192.0.2.31"));

    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"patience"));
    assert!(paris.sent_public().is_empty());
    let own = [2, 0, 0, 0, 31, 2];
    let router = [2, 9, 9, 9, 9, 9];
    paris.arrive_public(&arp(ArpOperation::REPLY, (router, "192.0.2.254"), (own, "192.0.2.31")));
    let sealed = only(paris.sent_public());
    assert_eq!(sealed[..6], router);

    // The address moves; we are asked for ours; both in one request.
    let moved = [2, 9, 9, 9, 9, 8];
    paris.arrive_public(&arp(ArpOperation::REQUEST, (moved, "192.0.2.254"), ([0; 6], "192.0.2.31")));
    let reply = only(paris.sent_public());
    let Some(NetSlice::Arp(said)) = SlicedPacket::from_ethernet(&reply).unwrap().net else { panic!() };
    assert_eq!(said.operation(), ArpOperation::REPLY);
    assert_eq!((said.sender_hw_addr(), said.target_hw_addr()), (&own[..], &moved[..]));
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"to the new address"));
    assert_eq!(only(paris.sent_public())[..6], moved);

    // Others are of no interest, and who claims our address or makes no sense is counted.
    paris.arrive_public(&arp(ArpOperation::REQUEST, (router, "192.0.2.7"), ([0; 6], "192.0.2.8")));
    paris.arrive_public(&arp(ArpOperation::REPLY, (router, "192.0.2.31"), (own, "192.0.2.31")));
    paris.arrive_public(&arp(ArpOperation::REPLY, ([0xff; 6], "192.0.2.254"), (own, "192.0.2.31")));
    paris.now += 5 * SECOND;
    paris.run();
    assert_eq!(paris.sent_public().len(), 1, "asked again");
    paris.counted(&[
        ("public-next-hop/arp-requests", 2),
        ("public-next-hop/arp-replies", 1),
        ("public-next-hop/arp-errors", 2),
        ("public-next-hop/addresses-added", 1),
        ("public-next-hop/addresses-updated", 1),
    ]);
    paris.leaked_nothing();
}

#[test]
fn packets_do_not_wait_for_ever_nor_without_bound() {
    let [to_tokyo, to_paris] = keys();
    let mut plan = plan(31, 32);
    let router = plan.public.v4.as_mut().unwrap();
    router.next_hop_mac = None;
    router.next_hop = Arc::default();
    let mut paris = Site::new(plan).with_keys(&to_tokyo, &to_paris);
    for _ in 0..100 {
        paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"waiting"));
    }
    paris.counted(&[("public-next-hop/arp-requests", 1), ("public-next-hop/unresolved-errors", 100 - 64)]);
    paris.now += 4 * SECOND;
    paris.run();
    paris.counted(&[("public-next-hop/arp-requests", 2), ("public-next-hop/unresolved-errors", 100)]);
    paris.leaked_nothing();
}

#[test]
fn packets_that_wait_when_the_next_hop_changes_are_counted() {
    let [to_tokyo, to_paris] = keys();
    let unresolved = |next: u8| {
        let mut plan = plan(31, 32);
        let router = plan.public.v4.as_mut().unwrap();
        router.next_hop_ip = [192, 0, 2, next].into();
        router.next_hop_mac = None;
        plan
    };
    let mut paris = Site::new(unresolved(254)).with_keys(&to_tokyo, &to_paris);
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"waiting"));
    paris.graph.replan(unresolved(253));
    paris.counted(&[("public-next-hop/arp-requests", 1), ("public-next-hop/unresolved-errors", 1)]);
    paris.leaked_nothing();
}

#[test]
fn a_gateway_may_end_while_packets_wait() {
    let [to_tokyo, to_paris] = keys();
    let mut plan = plan(31, 32);
    let router = plan.public.v4.as_mut().unwrap();
    router.next_hop_mac = None;
    let mut paris = Site::new(plan).with_keys(&to_tokyo, &to_paris);
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"waiting"));
    paris.sent_public();
    // Frames that outlive their pool are a panic in a debug build, and lost memory in any other.
    drop(paris);
}

#[test]
fn a_new_plan_keeps_associations_and_their_numbers() {
    let (mut paris, mut tokyo) = pair();
    for round in 1..=3u8 {
        paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"again"));
        let sealed = only(paris.sent_public());
        assert_eq!(sealed[14 + 20 + 4..][..4], [0, 0, 0, round]);
        tokyo.arrive_public(&sealed);
        assert_eq!(tokyo.sent_private().len(), 1);
        paris.graph.replan(plan(31, 32));
        tokyo.graph.replan(plan(32, 31));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Any bytes into any port: nothing panics, and no buffer is lost.
    #[test]
    fn any_bytes_are_survived(
        frames in prop::collection::vec((any::<bool>(), arbitrary_frame()), 1..80),
    ) {
        let (mut paris, _) = pair();
        for (private, frame) in frames {
            if private { paris.arrive_private(&frame) } else { paris.arrive_public(&frame) }
        }
        paris.leaked_nothing();
    }
}

/// Noise, and sound frames with some noise in them.
fn arbitrary_frame() -> impl Strategy<Value = Vec<u8>> {
    let sound = prop_oneof![
        Just(udp("172.31.1.50", "172.32.1.50", 64, b"some text")),
        Just(echo("172.31.1.50", "172.31.1.20", 64)),
        Just(echo("172.31.1.50", "192.0.2.31", 64)),
        Just(with_header_byte(udp("172.31.1.50", "192.0.2.31", 64, &[0; 80]), 9, 50)),
        Just(arp(etherparse::ArpOperation::REQUEST, (HOST_MAC, "172.31.0.1"), ([0; 6], "172.31.1.20"))),
    ];
    let noisy = (sound, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)).prop_map(
        |(mut frame, noise)| {
            for (place, byte) in noise {
                let place = place.index(frame.len());
                frame[place] = byte;
            }
            frame
        },
    );
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), noisy]
}
