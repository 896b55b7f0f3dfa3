// SPDX-License-Identifier: Apache-2.0
//! SAs over hours.

use std::time::Duration;
use vita::clock::Instant;
use vita::sa::Direction;

use vita::exchange::{Event, Role, Share};

use super::pair::*;

#[test]
fn rekeys_for_a_day_without_a_gap() {
    let mut pair = Pair::connected();
    pair.traffic_flows = true;
    pair.run_for(24 * 3600);
    let rekeys: u64 = [A, B].iter().map(|&side| pair.counters(side).keypairs_negotiated).sum();
    // One exchange for every 300 to 375 seconds, and a few where both began.
    assert!((230..=330).contains(&rekeys), "{rekeys}");
    for side in [A, B] {
        let counters = pair.counters(side);
        assert_eq!((counters.negotiations_expired, counters.rxerrors), (0, 0));
        assert_eq!(counters.outbound_sa_expired, 0);
        assert!(counters.inbound_sa_expired > 200);
    }
}

#[test]
fn a_new_outbound_sa_waits_one_and_a_half_negotiation_ttls_for_a_deployed_peer() {
    let mut pair = Pair::without_extensions();
    pair.connect();
    pair.run_for(SA_TTL);
    for side in [A, B] {
        let created: Vec<Instant> = pair.gateways[side]
            .manager
            .associations()
            .filter(|sa| sa.direction == Direction::Outbound && sa.active)
            .map(|sa| sa.created)
            .collect();
        assert_eq!(
            pair.gateways[side].activations.last().copied(),
            Some(created[0] + Duration::from_millis(7_500))
        );
    }
}

#[test]
fn sas_die_when_the_peer_is_gone() {
    let mut pair = Pair::connected();
    pair.wire = Box::new(|_| Fate::Lose);
    pair.run_until(pair.at(SA_TTL - 1));
    pair.assert_traffic_flows();
    pair.run_for(2);
    for side in [A, B] {
        let gateway = &pair.gateways[side];
        assert!(gateway.inbound.is_empty() && gateway.outbound.is_empty());
        assert_eq!(gateway.manager.associations().count(), 0);
        let counters = pair.counters(side);
        assert_eq!((counters.inbound_sa_expired, counters.outbound_sa_expired), (2, 1));
    }
    pair.wire = Box::new(|_| Fate::Deliver);
    // They ask each other once in a minute now, at least.
    pair.run_for(61);
    pair.assert_traffic_flows();
}

#[test]
fn a_peer_that_restarts_is_found_again_within_three_round_trips() {
    for after in [0, 1, 5, 100, 299, 310, 320, 400, 1_000] {
        for side in [A, B] {
            let mut pair = Pair::connected();
            pair.run_for(after);
            pair.restart(side, 77);
            pair.run_until(pair.now + 6 * LATENCY);
            pair.assert_traffic_flows();
            pair.traffic_flows = true;
            pair.run_for(2 * 3600);
        }
    }
}

#[test]
fn capable_peers_get_spis_of_32_bits_that_name_the_worker() {
    let mut pair = Pair::connected();
    pair.run_for(2 * SA_TTL);
    for gateway in &pair.gateways {
        assert!(gateway.inbound.keys().all(|spi| spi >> 24 == 2), "{:?}", gateway.inbound.keys());
    }
    let mut pair = Pair::without_extensions();
    pair.gateways[A].settings.extensions = true;
    pair.connect();
    pair.run_for(2 * SA_TTL);
    for gateway in &pair.gateways {
        assert!(
            gateway.inbound.keys().all(|spi| (256..65_535).contains(spi)),
            "{:?}",
            gateway.inbound.keys()
        );
    }
    let header = |datagram: &Datagram| datagram.payload[5..8] == [0; 3];
    assert!(pair.sent.iter().all(header), "a deployed peer sees nothing new");
}

#[test]
fn a_loopback_route_makes_one_sa_in_each_role() {
    let mut pair = Pair::new();
    let own = pair.gateways[A].address;
    pair.configure(A, vec![route("loop", ROUTE_SPI, 7, own)]);
    for hour in 0..3 {
        pair.run_until(pair.start + Duration::from_secs(hour * 3600 + 1));
        let gateway = &pair.gateways[A];
        let outbound = &gateway.outbound["loop"];
        assert_eq!(gateway.inbound.get(&outbound.spi), Some(outbound));
    }
    let roles: Vec<(Role, bool, bool)> = pair.gateways[A]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Negotiated { role, inbound, outbound, .. } => {
                Some((*role, inbound.is_some(), outbound.is_some()))
            }
            _ => None,
        })
        .collect();
    for pair in roles.chunks(2) {
        assert_eq!(pair, [(Role::Responder, true, false), (Role::Initiator, false, true)]);
    }
    assert_eq!(pair.counters(A).rxerrors, 0);
}

#[test]
fn spis_wrap_around_and_skip_those_in_use() {
    let mut pair = Pair::without_extensions();
    for gateway in &mut pair.gateways {
        // Every 10,000th: seven of them.
        gateway.settings.share = Share { index: 5, of: 10_000 };
    }
    pair.connect();
    pair.traffic_flows = true;
    pair.run_for(12 * 3600);
    for side in [A, B] {
        assert!(pair.gateways[side].inbound.keys().all(|spi| (spi - 256) % 10_000 == 5));
        assert_eq!(pair.counters(side).spi_errors, 0);
    }
}

#[test]
fn hundreds_of_routes_come_up_within_the_budget_and_stay_up() {
    let mut pair = Pair::new();
    let (a, b) = (pair.gateways[A].address, pair.gateways[B].address);
    let routes = |gateway| {
        (0..500).map(|n| route(&format!("r{n}"), 300 + n, (n % 251) as u8, gateway)).collect::<Vec<_>>()
    };
    pair.configure(A, routes(b));
    pair.configure(B, routes(a));
    // Until the first exchange is complete the peer could be a deployed one.
    pair.run_for(2);
    assert_eq!(pair.gateways[A].outbound.len(), 500);
    pair.assert_traffic_flows();
    pair.run_for(1200);
    pair.assert_traffic_flows();
    for side in [A, B] {
        let counters = pair.counters(side);
        assert_eq!((counters.rate_errors, counters.outbound_sa_expired), (0, 0));
    }
}

#[test]
fn a_deployed_peer_is_not_asked_more_than_25_times_a_second() {
    let mut pair = Pair::without_extensions();
    let (a, b) = (pair.gateways[A].address, pair.gateways[B].address);
    let routes = |gateway| (0..200).map(|n| route(&format!("r{n}"), 300 + n, 7, gateway)).collect::<Vec<_>>();
    pair.configure(A, routes(b));
    pair.configure(B, routes(a));
    pair.run_for(9);
    assert_eq!(pair.gateways[A].outbound.len(), 200);
    let knocks: Vec<Instant> =
        pair.sent.iter().filter(|one| one.kind() == KNOCK && one.to == b).map(|one| one.at).collect();
    assert!(knocks.windows(26).all(|window| window[25] - window[0] >= Duration::from_secs(1)));
}

#[test]
fn thousands_of_routes_in_doubt_do_not_knock_more_often_than_a_deployed_peer_bears() {
    let mut pair = Pair::without_extensions();
    let (a, b) = (pair.gateways[A].address, pair.gateways[B].address);
    let routes =
        |gateway| (0..2_000).map(|n| route(&format!("r{n}"), 300 + n, 7, gateway)).collect::<Vec<_>>();
    pair.wire = Box::new(move |datagram| {
        let is_lost = datagram.kind() == AGREEMENT || datagram.kind() == KNOCK && datagram.source == b;
        if is_lost { Fate::Lose } else { Fate::Deliver }
    });
    pair.configure(A, routes(b));
    pair.configure(B, routes(a));
    pair.run_for(180);
    assert!(pair.counters(A).challenges_accepted > 4_000);
    let knocks: Vec<Instant> =
        pair.sent.iter().filter(|one| one.kind() == KNOCK && one.source == a).map(|one| one.at).collect();
    assert!(knocks.len() > 4_000 && knocks.windows(26).all(|few| few[25] - few[0] >= Duration::from_secs(1)));
    // Each has had its turn.
    let proposals = pair.sent.iter().filter(|one| one.kind() == PROPOSAL && one.source == a);
    let spis: std::collections::BTreeSet<[u8; 4]> =
        proposals.map(|one| one.payload[..4].try_into().unwrap()).collect();
    assert_eq!(spis.len(), 2_000);
    pair.wire = Box::new(|_| Fate::Deliver);
    pair.run_for(180);
    assert_eq!((pair.gateways[A].outbound.len(), pair.gateways[B].outbound.len()), (2_000, 2_000));
}

#[test]
fn thousands_of_dead_peers_do_not_keep_those_that_live_from_their_keys() {
    let mut pair = Pair::new();
    let nobody = "203.0.113.99".parse().unwrap();
    for side in [A, B] {
        let peer = pair.gateways[1 - side].address;
        let live = (0..50).map(|n| route(&format!("live{n}"), 300 + n, 7, peer));
        let dead = (0..10_000).map(|n| route(&format!("dead{n}"), 1000 + n, 9, nobody));
        // As many with an address each.
        let elsewhere = (0..10_000_u32).map(|n| {
            let address = std::net::Ipv4Addr::from(0xc612_0000 + n);
            route(&format!("elsewhere{n}"), 20_000 + n, 9, address.into())
        });
        pair.configure(side, dead.chain(elsewhere).chain(live).collect());
    }
    pair.run_for(60);
    pair.assert_traffic_flows();
    pair.run_for(1500);
    pair.assert_traffic_flows();
    for side in [A, B] {
        assert_eq!((pair.gateways[side].outbound.len(), pair.counters(side).outbound_sa_expired), (50, 0));
        let knocks = pair.counters(side).negotiations_initiated;
        assert!(knocks > 10_000, "those without an answer are asked again: {knocks}");
    }
}
