// SPDX-License-Identifier: Apache-2.0
//! Which sources may come out of a tunnel (RFC 4301 section 5.2), told with two gateways in memory.

use crate::support::field::{self, v4};
use crate::support::site::*;
use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};
use std::sync::Arc;
use vita::graph::{Plan, Reroute};
use vita::route::PrefixTable;
use vita::stage::Event;
use vita::wire::ip::Family;

const OUTER: [Family; 2] = [Family::V4, Family::V6];
const DROPPED: [(&str, u64); 2] = [("inbound-sa/inner-source-errors", 1), ("inbound-sa/rxerrors", 1)];

/// Paris sends whatever it gets to Tokyo, which knows Paris's networks.
fn pair_with(outer: Family, check: bool) -> (Site, Site) {
    let [to_tokyo, to_paris] = keys();
    let plan = |near, far| Plan { check_inner_source: check, ..dual(near, far, outer) };
    let mut generous = plan(31, 32);
    generous.table = table(&[("0.0.0.0/0", 0), ("::/0", 0)]);
    (
        Site::new(generous).with_keys(&to_tokyo, &to_paris),
        Site::new(plan(32, 31)).with_keys(&to_paris, &to_tokyo),
    )
}

fn table(prefixes: &[(&str, u32)]) -> Arc<PrefixTable> {
    Arc::new(PrefixTable::build(prefixes.iter().map(|(net, route)| (net.parse().unwrap(), *route))))
}

/// How many packets come out in Tokyo, or are answered, when Paris sends this.
fn passes(paris: &mut Site, tokyo: &mut Site, frame: &[u8]) -> bool {
    paris.arrive_private(frame);
    let sealed = paris.sent_public();
    assert_eq!(sealed.len(), 1);
    tokyo.arrive_public(&sealed[0]);
    tokyo.sent_private().len() + tokyo.sent_public().len() == 1
}

fn echo_from(source: &str, destination: &str) -> Vec<u8> {
    if source.contains(':') { echo6(source, destination, 64) } else { echo(source, destination, 64) }
}

/// An error from a router about a packet between these two; only its header and eight bytes are quoted.
fn error4(kind: Icmpv4Type, router: &str, to: &str, quoted: (&str, &str)) -> Vec<u8> {
    let quoted = udp(quoted.0, quoted.1, 1, &[0; 99])[14..14 + 28].to_vec();
    let mut frame = Vec::new();
    let builder =
        PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1]).ipv4(address(router), address(to), 60);
    builder.icmpv4(kind).write(&mut frame, &quoted).unwrap();
    frame
}

fn error6(kind: Icmpv6Type, router: &str, to: &str, quoted: (&str, &str)) -> Vec<u8> {
    let quoted = udp6(quoted.0, quoted.1, 1, &[0; 99])[field::IP..].to_vec();
    let mut frame = Vec::new();
    let builder =
        PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1]).ipv6(address6(router), address6(to), 60);
    builder.icmpv6(kind).write(&mut frame, &quoted).unwrap();
    frame
}

#[test]
fn a_source_that_is_not_of_the_route_is_dropped_counted_and_told() {
    for outer in OUTER {
        for (source, destination) in [
            ("10.9.9.9", "172.32.1.50"),
            // Of our own network, and for the gateway itself.
            ("172.32.1.51", "172.32.1.50"),
            ("10.9.9.9", "172.32.1.20"),
            ("2001:db8:99::9", "2001:db8:32::50"),
            ("2001:db8:32::51", "2001:db8:32::50"),
            ("2001:db8:99::9", "2001:db8:32::20"),
        ] {
            let (mut paris, mut tokyo) = pair_with(outer, true);
            assert!(!passes(&mut paris, &mut tokyo, &echo_from(source, destination)), "{source}");
            tokyo.counted(&DROPPED);
            let [Event::ForbiddenSource { spi: 1000, inner_source, inner_destination, peer }] =
                &tokyo.graph.drops.events[..]
            else {
                panic!("{:?}", tokyo.graph.drops.events)
            };
            assert_eq!(
                (inner_source.to_string(), inner_destination.to_string()),
                (source.into(), destination.into())
            );
            assert_eq!(Family::of(*peer), outer);
            tokyo.leaked_nothing();
        }
    }
}

#[test]
fn sources_of_the_route_pass_and_so_does_everything_when_nothing_is_checked() {
    for outer in OUTER {
        for (source, destination, of_route) in [
            ("172.31.1.50", "172.32.1.50", true),
            ("172.31.255.255", "172.32.1.20", true),
            ("2001:db8:31::50", "2001:db8:32::50", true),
            ("10.9.9.9", "172.32.1.50", false),
            ("2001:db8:99::9", "2001:db8:32::50", false),
        ] {
            for check in [true, false] {
                let (mut paris, mut tokyo) = pair_with(outer, check);
                let passed = passes(&mut paris, &mut tokyo, &echo_from(source, destination));
                assert_eq!(passed, of_route || !check, "{source}, check {check}");
            }
        }
    }
}

#[test]
fn the_longest_prefix_says_whose_a_source_is() {
    let (mut paris, mut tokyo) = pair_with(Family::V4, true);
    let mut plan = dual(32, 31, Family::V4);
    plan.table = table(&[("0.0.0.0/0", 0), ("172.31.7.0/24", 1)]);
    tokyo.graph.replan(plan);
    assert!(passes(&mut paris, &mut tokyo, &echo("10.9.9.9", "172.32.1.50", 64)));
    assert!(!passes(&mut paris, &mut tokyo, &echo("172.31.7.1", "172.32.1.50", 64)));
    tokyo.counted(&DROPPED);
}

#[test]
fn errors_about_our_packets_may_come_from_any_router_on_their_way() {
    let too_big = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded {
        next_hop_mtu: 1200,
    });
    let exceeded = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
    let redirect = Icmpv4Type::Unknown { type_u8: 5, code_u8: 0, bytes5to8: [10, 0, 0, 1] };
    let echo_request = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 1, seq: 1 });
    let (host, router) = ("172.32.1.50", "10.255.0.1");
    let ours = (host, "172.31.1.50");
    for (kind, to, quoted, expected) in [
        (too_big.clone(), host, ours, true),
        (exceeded.clone(), host, ours, true),
        // About a packet that did not go there, that another one sent, or that nobody sent.
        (exceeded.clone(), host, (host, "10.1.1.1"), false),
        (exceeded, "172.32.1.51", ours, false),
        (too_big, host, ("172.31.1.50", host), false),
        (redirect, host, ours, false),
        (echo_request, host, ours, false),
    ] {
        let (mut paris, mut tokyo) = pair_with(Family::V6, true);
        let frame = error4(kind.clone(), router, to, quoted);
        assert_eq!(passes(&mut paris, &mut tokyo, &frame), expected, "{kind:?} about {quoted:?}");
        tokyo.counted(if expected { &[] } else { &DROPPED });
    }
    let too_big = Icmpv6Type::PacketTooBig { mtu: 1280 };
    let exceeded = Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded);
    let echo_request = Icmpv6Type::EchoRequest(IcmpEchoHeader { id: 1, seq: 1 });
    let (host, router) = ("2001:db8:32::50", "2001:db8:255::1");
    let ours = (host, "2001:db8:31::50");
    for (kind, to, quoted, expected) in [
        (too_big, host, ours, true),
        (exceeded, host, ours, true),
        (exceeded, host, (host, "2001:db8:99::1"), false),
        (exceeded, "2001:db8:32::51", ours, false),
        (too_big, host, ("2001:db8:31::50", host), false),
        (echo_request, host, ours, false),
    ] {
        let (mut paris, mut tokyo) = pair_with(Family::V4, true);
        let frame = error6(kind, router, to, quoted);
        assert_eq!(passes(&mut paris, &mut tokyo, &frame), expected, "{kind:?} about {quoted:?}");
        tokyo.counted(if expected { &[] } else { &DROPPED });
    }
}

#[test]
fn a_gateway_with_an_address_outside_of_its_network_still_shows_in_a_traceroute() {
    let (mut paris, mut tokyo) = pair_with(Family::V4, true);
    // Tokyo's network is known to Paris without the /24 that Tokyo's gateway is in.
    let mut plan = dual(31, 32, Family::V4);
    plan.table = table(&[("172.32.2.0/24", 0)]);
    paris.graph.replan(plan);
    paris.arrive_private(&udp("172.31.1.50", "172.32.2.50", 2, b"second hop"));
    tokyo.arrive_public(&paris.sent_public()[0]);
    paris.arrive_public(&tokyo.sent_public()[0]);
    let output = paris.sent_private();
    assert_eq!((output.len(), &output[0][v4::SOURCE]), (1, &address("172.32.1.20")[..]));
    paris.counted(&[]);
    tokyo.counted(&[]);
}

#[test]
fn the_check_follows_the_routes_and_can_be_switched_while_packets_pass() {
    let (mut paris, mut tokyo) = pair_with(Family::V4, true);
    let stranger = echo("10.9.9.9", "172.32.1.50", 64);
    assert!(!passes(&mut paris, &mut tokyo, &stranger));
    let wider = table(&[("172.31.0.0/16", 0), ("10.0.0.0/8", 0)]);
    let old = tokyo.graph.reroute(Box::new(Reroute {
        table: Some(wider),
        tunnels: Vec::new(),
        ..Reroute::default()
    }));
    assert_eq!(Arc::strong_count(old.table.as_ref().unwrap()), 1, "the worker keeps nothing of it");
    assert!(passes(&mut paris, &mut tokyo, &stranger));
    tokyo.graph.replan(dual(32, 31, Family::V4));
    assert!(!passes(&mut paris, &mut tokyo, &stranger));
    tokyo.graph.replan(Plan { check_inner_source: false, ..dual(32, 31, Family::V4) });
    assert!(passes(&mut paris, &mut tokyo, &stranger));
    tokyo.counted(&[("inbound-sa/inner-source-errors", 2), ("inbound-sa/rxerrors", 2)]);
}
