// SPDX-License-Identifier: Apache-2.0
//! What those without the secret may try.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use vita::exchange::{Kind, Rejection};

use crate::pair::*;

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
fn the_answer_to_a_knock_goes_to_the_gateway_of_the_route() {
    let mut pair = Pair::connected();
    let knock = pair.last(A, KNOCK).payload;
    pair.inject(B, "198.51.100.66".parse().unwrap(), &knock);
    let answer = pair.sent.last().unwrap();
    assert_eq!((answer.kind(), answer.to), (CHALLENGE, pair.gateways[A].address));
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
fn a_flood_from_elsewhere_does_not_stop_rekeying() {
    let mut pair = Pair::connected();
    pair.traffic_flows = true;
    let knock = pair.last(A, KNOCK).payload;
    let stranger: IpAddr = "198.51.100.66".parse().unwrap();
    // Ten times the budget, in the ten minutes in which every SA has to be replaced.
    for _ in 0..SA_TTL * 10 {
        for _ in 0..100 {
            pair.inject(B, stranger, &knock);
        }
        pair.sent.truncate(100);
        pair.gateways[A].events.clear();
        pair.gateways[B].events.clear();
        pair.run_until(pair.now + Duration::from_millis(100));
    }
    pair.assert_traffic_flows();
    let counters = pair.counters(B);
    assert!(counters.rate_errors > 0);
    assert!(counters.challenges_offered <= 26 * (SA_TTL + 1));
    assert!(pair.gateways[A].activations.len() > 2, "rekeyed");
}

#[test]
fn at_most_a_hundred_messages_a_second_are_processed() {
    let mut pair = Pair::new();
    pair.configure(B, vec![pair.route(B)]);
    let source = pair.gateways[A].address;
    let knock = pair.last(B, KNOCK).payload;
    pair.wire = Box::new(|_| Fate::Lose);
    for second in 0..5 {
        pair.run_until(pair.at(second));
        for _ in 0..1_000 {
            pair.inject(B, source, &knock);
        }
    }
    let counters = pair.counters(B);
    assert_eq!((counters.challenges_offered, counters.rate_errors), (500, 4_500));
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
