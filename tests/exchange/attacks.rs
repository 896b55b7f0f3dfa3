// SPDX-License-Identifier: Apache-2.0
//! What those without the secret may try.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use vita::exchange::{Kind, Rejection};

use super::pair::*;

#[test]
fn forged_messages_do_not_end_an_exchange_under_way() {
    // Before each datagram arrives, its receiver gets broken copies of it and of all that was sent before.
    let mut pair = Pair::new();
    pair.configure(A, vec![pair.route(A)]);
    pair.configure(B, vec![pair.route(B)]);
    for step in 1..=4 {
        for side in [A, B] {
            let source = pair.gateways[1 - side].address;
            let forged: Vec<Vec<u8>> =
                pair.sent.iter().filter_map(|sent| broken_copy(&sent.payload)).collect();
            for payload in &forged {
                pair.inject(side, source, payload);
            }
        }
        pair.run_until(pair.start + LATENCY * step);
    }
    pair.run_for(1);
    pair.assert_traffic_flows();
    for side in [A, B] {
        let counters = pair.counters(side);
        assert_eq!(counters.negotiations_expired, 0);
        assert!(counters.authentication_errors > 0);
        let rejections = pair.gateways[side].rejections();
        assert!(rejections.contains(&Rejection::Authentication(Kind::Agreement)));
    }
}

#[test]
fn a_knock_changes_nothing_and_the_nonce_stays_until_an_exchange_completes() {
    let mut pair = Pair::connected();
    let (source, knock) = (pair.gateways[A].address, pair.last(A, KNOCK).payload);
    let inbound = pair.gateways[B].inbound.clone();
    pair.wire = Box::new(|_| Fate::Lose);
    for _ in 0..10 {
        pair.inject(B, source, &knock);
    }
    let challenges: Vec<&Vec<u8>> = pair.sent.iter().rev().take(10).map(|sent| &sent.payload).collect();
    assert!(challenges.iter().all(|challenge| challenge == &challenges[0]));
    assert_ne!(challenges[0], &pair.sent.iter().find(|sent| sent.kind() == CHALLENGE).unwrap().payload);
    assert_eq!(pair.gateways[B].inbound, inbound);
}

#[test]
fn messages_from_elsewhere_than_the_gateway_of_the_route_are_not_answered() {
    let mut pair = Pair::connected();
    let messages = [(A, KNOCK), (A, CHALLENGE), (A, PROPOSAL), (A, AGREEMENT)];
    let messages = messages.map(|(side, kind)| pair.last(side, kind).payload);
    let sent = pair.sent.len();
    for payload in &messages {
        pair.inject(B, "198.51.100.66".parse().unwrap(), payload);
    }
    assert_eq!(pair.sent.len(), sent);
    assert_eq!(pair.gateways[B].rejections(), [Rejection::Source; 4]);
    assert_eq!((pair.counters(B).source_errors, pair.counters(B).rxerrors), (4, 4));
}

#[test]
fn a_replayed_transcript_is_rejected() {
    let mut pair = Pair::connected();
    let transcript = pair.sent.clone();
    let keys = [A, B].map(|side| (pair.gateways[side].inbound.clone(), pair.gateways[side].outbound.clone()));
    pair.wire = Box::new(|_| Fate::Lose);
    for datagram in &transcript {
        for side in [A, B] {
            let source = pair.gateways[1 - side].address;
            pair.inject(side, source, &datagram.payload);
        }
    }
    for side in [A, B] {
        assert_eq!(
            (&pair.gateways[side].inbound, &pair.gateways[side].outbound),
            (&keys[side].0, &keys[side].1)
        );
        let rejections = pair.gateways[side].rejections();
        assert!(rejections.contains(&Rejection::Authentication(Kind::Proposal)));
        assert!(rejections.contains(&Rejection::OutOfState(Kind::Challenge)));
        assert!(rejections.contains(&Rejection::OutOfState(Kind::Agreement)));
    }
}

#[test]
fn at_most_a_thousand_challenges_a_second_are_offered() {
    let mut pair = Pair::new();
    pair.configure(B, vec![pair.route(B)]);
    let source = pair.gateways[A].address;
    let knock = pair.last(B, KNOCK).payload;
    pair.wire = Box::new(|_| Fate::Lose);
    for second in 0..5 {
        pair.run_until(pair.at(second));
        for _ in 0..900 {
            pair.inject(B, source, &knock);
        }
    }
    let counters = pair.counters(B);
    assert_eq!((counters.challenges_offered, counters.rate_errors), (4_500, 0));
    for ms in 0..5_000 {
        pair.run_until(pair.at(10) + Duration::from_millis(ms));
        for _ in 0..10 {
            pair.inject(B, source, &knock);
        }
        pair.sent.truncate(1);
    }
    let offered = pair.counters(B).challenges_offered - 4_500;
    assert!((4_000..=5_000).contains(&offered), "{offered}");
}

#[test]
fn forged_proposals_use_up_the_budget_of_their_route_only_and_authentic_ones_need_none() {
    let mut pair = Pair::connected();
    let source = pair.gateways[A].address;
    let other = route("other", 77, 9, source);
    pair.change(B, &[], vec![other]);
    let forged = |spi: u32| {
        let mut payload = spi.to_be_bytes().to_vec();
        payload.extend_from_slice(&[PROPOSAL, 0, 0, 0]);
        payload.extend_from_slice(&[9; 80]);
        payload
    };
    for _ in 0..100 {
        pair.inject(B, source, &forged(ROUTE_SPI));
    }
    let counters = pair.counters(B);
    assert_eq!((counters.authentication_errors, counters.rate_errors), (50, 50));
    pair.inject(B, source, &forged(77));
    assert_eq!(pair.counters(B).authentication_errors, 51, "the other route has its own budget");

    // A starts anew, so that it proposes while the budget of the route is used up.
    let before = pair.counters(B).keypairs_offered;
    pair.restart(A, 99);
    for _ in 0..20 {
        pair.run_until(pair.now + Duration::from_millis(10));
        for _ in 0..50 {
            pair.inject(B, source, &forged(ROUTE_SPI));
        }
    }
    assert!(pair.counters(B).keypairs_offered > before);
    pair.assert_traffic_flows();
}

#[test]
fn a_peer_that_knocks_all_the_time_does_not_keep_another_from_its_keys() {
    let mut pair = Pair::new();
    let (a, b) = (pair.gateways[A].address, pair.gateways[B].address);
    let greedy: IpAddr = "198.51.100.66".parse().unwrap();
    pair.configure(B, vec![pair.route(B), route("greedy", 77, 9, greedy)]);
    let mut knock = pair.last(B, KNOCK).payload;
    knock[..4].copy_from_slice(&77_u32.to_be_bytes());
    pair.wire = Box::new(
        move |datagram| if datagram.to == a || datagram.to == b { Fate::Deliver } else { Fate::Lose },
    );
    for ms in 0..4_000 {
        pair.run_until(pair.start + Duration::from_millis(ms));
        for _ in 0..5 {
            pair.inject(B, greedy, &knock);
        }
        if ms == 2_000 {
            let of_a = pair.route(A);
            pair.configure(A, vec![of_a]);
        }
        pair.sent.truncate(1);
    }
    pair.assert_traffic_flows();
    assert_eq!(pair.counters(A).negotiations_expired, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic_and_never_make_an_sa(
        payloads in proptest::collection::vec(payload(), 1..30),
    ) {
        let mut pair = Pair::new();
        pair.configure(A, vec![pair.route(A)]);
        let source = pair.gateways[B].address;
        pair.wire = Box::new(|_| Fate::Lose);
        for payload in &payloads {
            pair.inject(A, source, payload);
        }
        prop_assert_eq!(pair.gateways[A].manager.associations().count(), 0);
        prop_assert!(pair.sent.len() <= payloads.len() + 1, "one answer at most");
        prop_assert!(pair.gateways[A].events.len() <= payloads.len(), "one line at most");
    }
}

/// Random bytes, some of them behind a header that is right.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let framed = (10..16_u8, prop_oneof![Just(4_usize), Just(68), Just(80), 0..100_usize], any::<u64>())
        .prop_map(|(kind, length, seed)| {
            let mut message = vec![0; length];
            random(seed).fill(&mut message);
            let mut payload = ROUTE_SPI.to_be_bytes().to_vec();
            payload.extend_from_slice(&[kind, 0, 0, 0]);
            payload.extend_from_slice(&message);
            payload
        });
    prop_oneof![any_bytes, framed]
}

/// Messages that are authenticated, with the last bit of their tag flipped.
fn broken_copy(payload: &[u8]) -> Option<Vec<u8>> {
    let mut copy = payload.to_vec();
    if ![PROPOSAL, AGREEMENT].contains(&copy[4]) {
        // Before there is anything to break, a well-formed message that nobody could have made.
        copy = ROUTE_SPI.to_be_bytes().to_vec();
        copy.extend_from_slice(&[PROPOSAL, 0, 0, 0]);
        copy.extend_from_slice(&[9; 80]);
    }
    *copy.last_mut()? ^= 1;
    Some(copy)
}
