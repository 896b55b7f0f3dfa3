// SPDX-License-Identifier: Apache-2.0
//! Changes of the configuration while keys are in use.

use std::time::Duration;

use super::pair::*;

#[test]
fn the_same_configuration_again_changes_nothing() {
    let mut pair = Pair::connected();
    let before = snapshot(&pair, A);
    let sent = pair.sent.len();
    pair.configure(A, vec![pair.route(A)]);
    assert_eq!(snapshot(&pair, A), before);
    assert_eq!(pair.sent.len(), sent);
    pair.traffic_flows = true;
    pair.run_for(3600);
}

#[test]
fn another_route_added_or_removed_is_not_noticed() {
    let mut pair = Pair::connected();
    let before = snapshot(&pair, A);
    let elsewhere = "203.0.113.99".parse().unwrap();
    for round in 0..3 {
        pair.configure(A, vec![pair.route(A), route("other", 500 + round, round as u8, elsewhere)]);
        assert_eq!(snapshot(&pair, A), before);
        pair.configure(A, vec![pair.route(A)]);
        assert_eq!(snapshot(&pair, A), before);
    }
    pair.traffic_flows = true;
    pair.run_for(3600);
}

#[test]
fn a_new_key_destroys_the_sas_at_once_and_both_sides_meet_again() {
    let mut pair = Pair::connected();
    for side in [A, B] {
        let changed = route("net", ROUTE_SPI, 8, pair.gateways[1 - side].address);
        pair.configure(side, vec![changed]);
        assert!(pair.gateways[side].inbound.is_empty() && pair.gateways[side].outbound.is_empty());
    }
    pair.run_for(2 * NEGOTIATION_TTL + 1);
    pair.assert_traffic_flows();
}

#[test]
fn with_different_keys_they_do_not_connect() {
    let mut pair = Pair::connected();
    let changed = route("net", ROUTE_SPI, 8, pair.gateways[B].address);
    pair.configure(A, vec![changed]);
    pair.run_for(60);
    assert!(pair.gateways[A].outbound.is_empty());
    assert!(pair.counters(B).authentication_errors > 5);
    assert!(!pair.gateways[B].outbound.is_empty(), "B cannot know");
}

#[test]
fn a_new_route_spi_or_a_new_name_is_another_route() {
    for (id, spi) in [("net", 4321), ("web", ROUTE_SPI)] {
        let mut pair = Pair::connected();
        for side in [A, B] {
            let changed = route(id, spi, 7, pair.gateways[1 - side].address);
            pair.configure(side, vec![changed]);
            assert!(pair.gateways[side].inbound.is_empty() && pair.gateways[side].outbound.is_empty());
        }
        pair.run_for(NEGOTIATION_TTL + 1);
        pair.assert_traffic_flows();
        assert!(pair.gateways[A].outbound.contains_key(id));
    }
}

#[test]
fn a_change_of_some_routes_leaves_the_others_alone() {
    let mut pair = Pair::connected();
    let before = snapshot(&pair, A);
    let elsewhere = "203.0.113.99".parse().unwrap();
    pair.change(A, &[], vec![route("other", 500, 1, elsewhere)]);
    pair.change(A, &[], vec![route("other", 500, 1, "203.0.113.98".parse().unwrap())]);
    pair.change(A, &[], vec![route("other", 500, 2, elsewhere)]);
    pair.change(A, &[500], vec![route("other", 501, 2, elsewhere)]);
    pair.change(A, &[501], vec![]);
    pair.change(A, &[501, 7777], vec![]);
    assert_eq!(snapshot(&pair, A), before);
    pair.traffic_flows = true;
    pair.run_for(3600);
}

#[test]
fn a_change_does_to_its_routes_what_a_configuration_would() {
    let mut pair = Pair::connected();
    for side in [A, B] {
        let changed = route("net", ROUTE_SPI, 8, pair.gateways[1 - side].address);
        pair.change(side, &[], vec![changed]);
        assert!(pair.gateways[side].inbound.is_empty() && pair.gateways[side].outbound.is_empty());
    }
    pair.run_for(2 * NEGOTIATION_TTL + 1);
    pair.assert_traffic_flows();
    for side in [A, B] {
        pair.change(side, &[ROUTE_SPI], vec![]);
        assert!(pair.gateways[side].inbound.is_empty() && pair.gateways[side].outbound.is_empty());
    }
    let sent = pair.sent.len();
    pair.run_for(3600);
    assert_eq!(pair.sent.len(), sent, "there is no route to negotiate for");
}

#[test]
fn two_routes_may_exchange_their_spis() {
    let mut pair = Pair::new();
    for spis in [[300, 400], [400, 300]] {
        for side in [A, B] {
            let gateway = pair.gateways[1 - side].address;
            pair.configure(side, vec![route("x", spis[0], 1, gateway), route("y", spis[1], 2, gateway)]);
        }
        pair.run_for(2 * NEGOTIATION_TTL + 1);
        assert_eq!(pair.gateways[A].outbound.len(), 2);
        pair.assert_traffic_flows();
    }
}

#[test]
fn a_removed_route_is_gone_at_once() {
    let mut pair = Pair::connected();
    pair.configure(A, Vec::new());
    let gateway = &pair.gateways[A];
    assert!(gateway.inbound.is_empty() && gateway.outbound.is_empty());
    assert_eq!(gateway.manager.deadline(), None);
    let counters = pair.counters(A);
    assert_eq!((counters.inbound_sa_expired, counters.outbound_sa_expired), (0, 0), "removed is not expired");
    let source = pair.gateways[B].address;
    let knock = pair.last(B, KNOCK).payload;
    pair.inject(A, source, &knock);
    assert_eq!(pair.counters(A).route_errors, 1);
}

#[test]
fn a_new_gateway_address_resets_only_the_state_machines() {
    let mut pair = Pair::connected();
    let before = snapshot(&pair, A);
    let moved = "203.0.113.77".parse().unwrap();
    pair.configure(A, vec![route("net", ROUTE_SPI, 7, moved)]);
    assert_eq!(snapshot(&pair, A), before);
    pair.gateways[B].address = moved;
    pair.gateways[B].settings.own = moved.into();
    pair.configure(B, vec![pair.route(B)]);
    pair.traffic_flows = true;
    pair.run_for(3600);
}

#[test]
fn a_reset_in_the_middle_of_an_exchange_begins_a_new_one() {
    // The agreement, 60 ms on its way, arrives at a gateway that has forgotten the proposal.
    for ms in [1, 30, 50, 70] {
        let mut pair = Pair::new();
        pair.configure_both();
        pair.run_until(pair.start + Duration::from_millis(ms));
        for side in [A, B] {
            pair.gateways[side].settings.negotiation_ttl = Duration::from_secs(4);
            pair.configure(side, vec![pair.route(side)]);
        }
        pair.run_for(2 * NEGOTIATION_TTL);
        pair.assert_traffic_flows();
        pair.traffic_flows = true;
        pair.run_for(3600);
    }
}

#[test]
fn another_negotiation_ttl_keeps_the_sas() {
    let mut pair = Pair::connected();
    let before = snapshot(&pair, A);
    pair.gateways[A].settings.negotiation_ttl = Duration::from_secs(2);
    pair.configure(A, vec![pair.route(A)]);
    assert_eq!(snapshot(&pair, A), before);
    pair.wire = Box::new(|_| Fate::Lose);
    pair.run_until(pair.at(SA_TTL - 1));
    assert!(pair.counters(A).negotiations_expired > 5);
}

#[test]
fn another_sa_ttl_counts_for_new_sas_only() {
    let mut pair = Pair::connected();
    let before = snapshot(&pair, A);
    for side in [A, B] {
        pair.gateways[side].settings.sa_ttl = Duration::from_secs(60);
        pair.configure(side, vec![pair.route(side)]);
    }
    assert_eq!(snapshot(&pair, A), before);
    pair.traffic_flows = true;
    pair.run_for(3600);
    assert!(pair.counters(A).keypairs_negotiated + pair.counters(B).keypairs_negotiated > 80);
}

#[test]
fn times_of_life_beyond_all_bounds_are_survived() {
    for (negotiation, sa) in [(0, 0), (u64::MAX, u64::MAX), (u64::MAX, 1), (1, u64::MAX)] {
        let mut pair = Pair::new();
        for side in [A, B] {
            pair.gateways[side].settings.negotiation_ttl = Duration::from_secs(negotiation);
            pair.gateways[side].settings.sa_ttl = Duration::from_secs(sa);
        }
        pair.configure_both();
        pair.run_for(100);
    }
}

#[test]
fn nothing_shows_a_key() {
    let mut pair = Pair::connected();
    let key = pair.gateways[A].outbound["net"].key.clone();
    pair.configure(A, Vec::new());
    let shown = format!("{:?} {:?}", pair.gateways[B].inbound, pair.route(B));
    let digits = format!("{:?}", &key.bytes()[..4]);
    assert!(!shown.contains(digits.trim_matches(['[', ']'])), "{shown}");
    assert!(!shown.contains("7, 7, 7"), "{shown}");
    assert!(shown.contains("PresharedKey(hidden)"));
}

/// The SAs of one side as its data plane and its state tree have them.
fn snapshot(pair: &Pair, side: usize) -> String {
    let gateway = &pair.gateways[side];
    let keys: Vec<_> = gateway
        .inbound
        .values()
        .chain(gateway.outbound.values())
        .map(|sa| (sa.spi, sa.key.clone()))
        .collect();
    let shown: Vec<_> = gateway.manager.associations().collect();
    format!("{keys:?} {shown:?}")
}
