// SPDX-License-Identifier: Apache-2.0
//! What is counted of each route: in memory, packet by packet; and by the real daemon, through many keys.

use crate::support::site::*;
use crate::support::two_sites::TwoSites;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vita::esp::{InboundSa, OutboundSa};
use vita::route::{PeerNumber, RouteNumber};
use vita::sa::{Key, SaParameters};
use vita::stage::SadEntry;

#[test]
fn packets_and_inner_bytes_are_counted_in_both_directions() {
    for tfc in [false, true] {
        let (mut paris, mut tokyo) = pair();
        let mut padding = plan(31, 32);
        padding.tunnels = tunnels4(31, 32, tfc);
        padding.tunnels[0].as_mut().unwrap().stats = paris.route.clone();
        paris.graph.replan(padding);
        for len in [0, 1, 700] {
            paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, &vec![7; len]));
        }
        // What Ethernet adds to a short frame is no part of the packet.
        let mut padded = udp("172.31.1.50", "172.32.1.50", 64, b"short");
        padded.resize(60, 0);
        paris.arrive_private(&padded);
        for sealed in paris.sent_public() {
            tokyo.arrive_public(&sealed);
        }
        let bytes = 28 + 29 + 728 + 33;
        paris.counted_of_route(&[("outbound/packets", 4), ("outbound/bytes", bytes)]);
        tokyo.counted_of_route(&[("inbound/packets", 4), ("inbound/bytes", bytes)]);
        tokyo.leaked_nothing();
    }
}

#[test]
fn what_is_dropped_is_counted_with_its_reason() {
    let mut paris = Site::new(plan(31, 32));
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"no key yet"));
    paris.arrive_private(&udp("172.31.1.50", "172.33.1.50", 64, b"of no route"));
    let [seal, open] = keys();
    let mut paris = paris.with_keys(&seal, &open);
    let too_big = with_header_byte(udp("172.31.1.50", "172.32.1.50", 64, &[0; MTU as usize]), 6, 0x40);
    paris.arrive_private(&too_big);
    paris.counted_of_route(&[("outbound/mtu-errors", 1), ("outbound/sa-errors", 1)]);
    paris.leaked_nothing();

    let (mut paris, mut tokyo) = pair();
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"once"));
    let sealed = paris.sent_public().remove(0);
    let mut forged = sealed.clone();
    *forged.last_mut().unwrap() ^= 1;
    for frame in [&forged, &sealed, &sealed] {
        tokyo.arrive_public(frame);
    }
    // Tokyo has no IPv6 inside, whatever Paris may send.
    let mut six = dual(31, 32, vita::wire::ip::Family::V4);
    six.tunnels[0].as_mut().unwrap().stats = paris.route.clone();
    paris.graph.replan(six);
    paris.arrive_private(&udp6("2001:db8:31::50", "2001:db8:32::50", 64, b"six"));
    for frame in paris.sent_public() {
        tokyo.arrive_public(&frame);
    }
    tokyo.counted_of_route(&[
        ("inbound/packets", 1),
        ("inbound/bytes", 32),
        ("inbound/decrypt-errors", 2),
        ("inbound/protocol-errors", 1),
    ]);
    // The leaves that are there once for all routes count the same.
    tokyo.counted(&[
        ("inbound-sa/decrypt-errors", 2),
        ("inbound-sa/protocol-errors", 1),
        ("inbound-sa/rxerrors", 3),
    ]);
    tokyo.leaked_nothing();
    paris.leaked_nothing();
}

#[test]
fn counting_goes_on_with_new_keys_and_a_new_plan() {
    let (mut paris, mut tokyo) = pair();
    let mut exchange = |number: u8| {
        paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"one more"));
        let keys = SaParameters {
            spi: 5000 + u32::from(number),
            key: Key::Aes128Gcm([number; 16]),
            salt: [number; 4],
        };
        for sealed in paris.sent_public() {
            tokyo.arrive_public(&sealed);
        }
        let aead = vita::aead::preferred();
        paris.graph.activate(PeerNumber(0), Some(Box::new(OutboundSa::new(&keys, aead))));
        let (sa, stats) = (InboundSa::new(&keys, aead), tokyo.route.clone());
        tokyo.graph.install(Box::new(SadEntry {
            sa,
            route: RouteNumber(0),
            peer: PeerNumber(0),
            counters: Arc::default(),
            stats,
        }));
        let mut again = plan(31, 32);
        again.tunnels[0].as_mut().unwrap().stats = paris.route.clone();
        paris.graph.replan(again);
    };
    (0..5).for_each(&mut exchange);
    paris.counted_of_route(&[("outbound/packets", 5), ("outbound/bytes", 180)]);
    tokyo.counted_of_route(&[("inbound/packets", 5), ("inbound/bytes", 180)]);
    tokyo.leaked_nothing();
}

fn with_short_keys(near: u8, far: u8) -> String {
    format!(
        "private-interface4 {{ ifname lan; ip 10.{near}.0.20; nexthop-ip 10.{near}.0.50; }}
         public-interface4 {{ ifname wan; ip 192.0.2.{near}; nexthop-ip 192.0.2.{far}; }}
         route4 {{ id site{far}; spi 1031; preshared-key {KEY}; net \"10.{far}.0.0/16\";
                   gateway {{ ip 192.0.2.{far}; }} }}
         sa-ttl 4; negotiation-ttl 1;"
    )
}

#[test]
fn every_packet_is_counted_once_however_many_keys_it_takes() {
    let sites = TwoSites::raise(with_short_keys);
    sites.await_tunnel(|number| format!("10.{number}.0.50"));
    let count = |number: u8, leaf: &str| -> u64 {
        let other = 31 + 32 - number;
        let path = format!("/gateway-state/route[id=site{other}][queue=1]/{leaf}");
        sites.state(number, &path).parse().unwrap_or_else(|error| panic!("{path} of {number}: {error}"))
    };
    let leaves = ["outbound/packets", "outbound/bytes", "inbound/packets", "inbound/bytes"];
    let all = || [31, 32].map(|number| leaves.map(|leaf| count(number, leaf)));
    let before = all();
    let keys = || sites.state(31, "/gateway-state/key-manager/keypairs-negotiated").parse::<u64>().unwrap();
    let (keys_before, mut pings) = (keys(), 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while keys() < keys_before + 3 {
        assert!(Instant::now() < deadline, "no new keys");
        sites.host(31).run("ping -q -c 20 -i 0.02 -W 5 -s 972 10.32.0.50");
        pings += 20;
    }
    let (after, bytes) = (all(), pings * 1000);
    for (before, after) in before.iter().zip(&after) {
        let moved: Vec<u64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
        assert_eq!(moved, [pings, bytes, pings, bytes]);
    }
    assert_eq!(count(31, "effective-mtu"), 1446);
    let json = sites.state_in("json", 31, "/gateway-state/route");
    assert!(json.contains("\"id\": \"site32\"") || json.contains("\"id\":\"site32\""), "{json}");
    for format in ["xpath", "influxdb"] {
        let text = sites.state_in(format, 31, "/gateway-state/route");
        assert!(text.contains("site32") && text.contains("sequence-errors"), "{text}");
    }
}

const KEY: &str = "00000000000000000000000000000000000000000000000000000000000ACAB1";
