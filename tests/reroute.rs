// SPDX-License-Identifier: Apache-2.0
//! Routes that change in a running packet path: what the others notice of it (nothing), and what becomes of those.

use crate::support::field::v4;
use crate::support::site::{self, *};
use std::sync::Arc;
use vita::aead;
use vita::esp::{InboundSa, OutboundSa};
use vita::graph::Reroute;
use vita::route::{PeerNumber, PrefixTable, RouteNumber};
use vita::sa::{Key, SaParameters};
use vita::stage::{SadEntry, Tunnel};

fn tunnel(destination: [u8; 4]) -> Option<Tunnel> {
    Tunnel::new([192, 0, 2, 31].into(), destination.into(), MTU, false)
}

fn table(prefixes: &[(&str, u32)]) -> Option<Arc<PrefixTable>> {
    let prefixes = prefixes.iter().map(|(net, number)| (net.parse().unwrap(), *number));
    Some(Arc::new(PrefixTable::build(prefixes)))
}

/// Paris, with room for more routes, and Tokyo.
fn pair_with_room() -> (Site, Site) {
    let [to_tokyo, to_paris] = keys();
    let mut plan = plan(31, 32);
    plan.tunnels.resize_with(4, || None);
    (
        Site::new(plan).with_keys(&to_tokyo, &to_paris),
        Site::new(site::plan(32, 31)).with_keys(&to_paris, &to_tokyo),
    )
}

/// A packet to Tokyo, and the sequence number it is sealed with.
fn send(paris: &mut Site) -> (Vec<u8>, u32) {
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"hello"));
    let frame = paris.sent_public().pop().unwrap();
    let sequence = u32::from_be_bytes(frame[v4::ESP_SEQUENCE].try_into().unwrap());
    (frame, sequence)
}

#[test]
fn a_route_added_or_removed_is_nothing_to_the_others() {
    let (mut paris, mut tokyo) = pair_with_room();
    let (_, first) = send(&mut paris);
    let both = [("172.32.0.0/16", 0), ("10.0.0.0/8", 3)];
    let add = Reroute {
        table: table(&both),
        tunnels: vec![(PeerNumber(3), tunnel([203, 0, 113, 9]))],
        ..Reroute::default()
    };
    paris.graph.reroute(Box::new(add));
    let (frame, second) = send(&mut paris);
    let remove =
        Reroute { table: table(&both[..1]), tunnels: vec![(PeerNumber(3), None)], ..Reroute::default() };
    let old = paris.graph.reroute(Box::new(remove));
    assert!(matches!(old.tunnels[..], [(PeerNumber(3), Some(_))]), "the old one comes back to be freed");
    let (_, third) = send(&mut paris);
    assert_eq!([second, third], [first + 1, first + 2]);
    tokyo.arrive_public(&frame);
    assert_eq!(tokyo.sent_private().len(), 1);

    paris.arrive_private(&udp("172.31.1.50", "10.1.1.1", 64, b"hello"));
    assert!(paris.sent_public().is_empty());
    paris.leaked_nothing();
}

#[test]
fn a_gateway_that_moves_keeps_its_keys_and_its_sequence_number() {
    let (mut paris, _) = pair_with_room();
    let (before, first) = send(&mut paris);
    paris.graph.reroute(Box::new(Reroute {
        table: None,
        tunnels: vec![(PeerNumber(0), tunnel([192, 0, 2, 77]))],
        ..Reroute::default()
    }));
    let (after, second) = send(&mut paris);
    assert_eq!(second, first + 1);
    assert_eq!(
        (&before[v4::DESTINATION], &after[v4::DESTINATION]),
        (&[192, 0, 2, 32][..], &[192, 0, 2, 77][..])
    );
}

#[test]
fn a_route_that_comes_back_has_no_keys_of_before() {
    let (mut paris, _) = pair_with_room();
    paris.graph.reroute(Box::new(Reroute {
        table: table(&[]),
        tunnels: vec![(PeerNumber(0), None)],
        ..Reroute::default()
    }));
    let again = Reroute {
        table: table(&[("172.32.0.0/16", 0)]),
        tunnels: vec![(PeerNumber(0), tunnel([192, 0, 2, 32]))],
        ..Reroute::default()
    };
    paris.graph.reroute(Box::new(again));
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"hello"));
    assert!(paris.sent_public().is_empty());
    assert!(paris.moved().iter().any(|(leaf, count)| leaf.ends_with("/sa-errors") && *count == 1));
}

#[test]
fn a_number_beyond_the_room_is_passed_over() {
    let (mut paris, _) = pair_with_room();
    paris.graph.reroute(Box::new(Reroute {
        table: None,
        tunnels: vec![(PeerNumber(4), tunnel([192, 0, 2, 77])), (PeerNumber(u32::MAX), None)],
        ..Reroute::default()
    }));
    send(&mut paris);
}

#[test]
fn gateways_that_come_move_and_go_may_take_part_in_the_key_exchange_accordingly() {
    let (mut paris, _) = pair_with_room();
    let knock = |spi: u32, last: u8| {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 31, 2])
            .ipv4([192, 0, 2, last], address("192.0.2.31"), 64)
            .udp(303, 303)
            .write(&mut frame, &spi.to_be_bytes())
            .unwrap();
        frame
    };
    let let_in = |paris: &mut Site| {
        let senders = [(7, 77), (7, 78), (8, 77), (ROUTE_SPI, 32)];
        senders.map(|(spi, last)| {
            paris.arrive_public(&knock(spi, last));
            paris.exchange.drain(..).count() == 1
        })
    };
    let change = |paris: &mut Site, gone: &[u32], peers: &[(u32, u8)]| {
        let peers = peers.iter().map(|(spi, last)| (*spi, [192, 0, 2, *last].into())).collect();
        paris.graph.reroute(Box::new(Reroute { gone: gone.to_vec(), peers, ..Reroute::default() }));
    };
    assert_eq!(let_in(&mut paris), [false, false, false, true]);
    change(&mut paris, &[], &[(7, 77)]);
    assert_eq!(let_in(&mut paris), [true, false, false, true]);
    change(&mut paris, &[], &[(7, 78)]);
    assert_eq!(let_in(&mut paris), [false, true, false, true]);
    change(&mut paris, &[7], &[(8, 77)]);
    assert_eq!(let_in(&mut paris), [false, false, true, true]);
    change(&mut paris, &[8, ROUTE_SPI, 99], &[]);
    assert_eq!(let_in(&mut paris), [false; 4]);
}

#[test]
fn a_route_with_two_peers_sends_to_the_active_one_and_hears_both() {
    let [to_tokyo, to_paris] = keys();
    let (mut paris, _) = pair_with_room();
    let other = SaParameters { spi: 4000, key: Key::Aes128Gcm([4; 16]), salt: [4; 4] };
    let second = PeerNumber(2);
    paris.graph.reroute(Box::new(Reroute {
        tunnels: vec![(second, tunnel([203, 0, 113, 9]))],
        ..Reroute::default()
    }));
    paris.graph.activate(second, Some(Box::new(OutboundSa::new(&other, aead::preferred()))));
    let destination_and_spi = |paris: &mut Site| {
        let (frame, _) = send(paris);
        (frame[v4::DESTINATION].to_vec(), u32::from_be_bytes(frame[v4::ESP_SPI].try_into().unwrap()))
    };
    assert_eq!(destination_and_spi(&mut paris), (vec![192, 0, 2, 32], to_tokyo.spi));

    // Another peer becomes the active one, and back.
    let switch = |paris: &mut Site, peer| {
        let active_peers = vec![(RouteNumber(0), peer)];
        paris.graph.reroute(Box::new(Reroute { active_peers, ..Reroute::default() }));
    };
    switch(&mut paris, second);
    assert_eq!(destination_and_spi(&mut paris), (vec![203, 0, 113, 9], other.spi));
    switch(&mut paris, PeerNumber(0));
    assert_eq!(destination_and_spi(&mut paris), (vec![192, 0, 2, 32], to_tokyo.spi));
    switch(&mut paris, PeerNumber::NONE);
    paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"hello"));
    assert!(paris.sent_public().is_empty());
    assert_eq!(paris.counters.private_router.sa_errors.value(), 1);

    // Packets from either come in, whichever is active: the prefixes are those of the route.
    let from_second = SaParameters { spi: 5000, key: Key::Aes128Gcm([5; 16]), salt: [5; 4] };
    paris.graph.install(Box::new(SadEntry {
        sa: InboundSa::new(&from_second, aead::preferred()),
        route: RouteNumber(0),
        peer: second,
        counters: Arc::default(),
        stats: Arc::default(),
    }));
    for keys in [&to_paris, &from_second] {
        let mut tokyo = Site::new(site::plan(32, 31)).with_keys(keys, &to_tokyo);
        tokyo.arrive_private(&udp("172.32.1.50", "172.31.1.50", 64, b"hello"));
        paris.arrive_public(&tokyo.sent_public().pop().unwrap());
        assert_eq!(paris.sent_private().len(), 1);
    }
    paris.leaked_nothing();
}
