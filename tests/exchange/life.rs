// SPDX-License-Identifier: Apache-2.0
//! SAs over hours.

use std::time::Duration;
use vita::clock::Instant;

use vita::exchange::{Direction, Event, Role};

use crate::pair::*;

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
fn a_new_outbound_sa_waits_one_and_a_half_negotiation_ttls() {
    let mut pair = Pair::connected();
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
    pair.run_for(NEGOTIATION_TTL + 1);
    pair.assert_traffic_flows();
}

#[test]
fn a_peer_that_restarts_is_found_again() {
    for after in [1, 5, 100, 299, 310, 320, 400, 1_000] {
        let mut pair = Pair::connected();
        pair.run_for(after);
        pair.restart(B, 77);
        // The survivor's new outbound SA waits behind the one that is dead now.
        pair.run_for(NEGOTIATION_TTL * 2);
        pair.assert_traffic_flows();
        pair.traffic_flows = true;
        pair.run_for(2 * 3600);
    }
}

#[test]
fn a_peer_that_restarts_at_once_takes_the_place_of_its_sas() {
    let mut pair = Pair::connected();
    pair.restart(B, 77);
    pair.run_for(1);
    pair.assert_traffic_flows();
    assert!(pair.counters(A).outbound_sa_updated > 0);
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
    let mut pair = Pair::connected();
    let in_use: Vec<u32> = pair.gateways[A].inbound.keys().copied().collect();
    assert_eq!(in_use, [256, 257], "258 is held for the next answer");
    // Every new key of this route draws one SPI. Those left until the counter wraps:
    for round in 0..65_276_u32 {
        let churn = route("churn", 300, (round % 2) as u8, "203.0.113.99".parse().unwrap());
        pair.configure(A, vec![pair.route(A), churn]);
    }
    pair.configure(A, vec![pair.route(A)]);
    pair.run_until(pair.at(SA_TTL - 1));
    let spis: Vec<u32> = pair.gateways[A].inbound.keys().copied().collect();
    assert!(spis.len() > 2 && spis.iter().all(|spi| (256..=260).contains(spi)), "{spis:?}");
    pair.assert_traffic_flows();
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
    pair.run_for(21);
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
fn thousands_of_dead_peers_do_not_keep_those_that_live_from_their_keys() {
    let mut pair = Pair::new();
    let nobody = "203.0.113.99".parse().unwrap();
    for side in [A, B] {
        let peer = pair.gateways[1 - side].address;
        let live = (0..50).map(|n| route(&format!("live{n}"), 300 + n, 7, peer));
        let dead = (0..10_000).map(|n| route(&format!("dead{n}"), 1000 + n, 9, nobody));
        pair.configure(side, dead.chain(live).collect());
    }
    pair.run_for(450);
    pair.assert_traffic_flows();
    pair.run_for(1500);
    pair.assert_traffic_flows();
    for side in [A, B] {
        assert_eq!((pair.gateways[side].outbound.len(), pair.counters(side).outbound_sa_expired), (50, 0));
        let knocks = pair.counters(side).negotiations_initiated;
        assert!(knocks > 10_000, "those without an answer are asked again: {knocks}");
    }
}
