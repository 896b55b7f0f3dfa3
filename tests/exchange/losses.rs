// SPDX-License-Identifier: Apache-2.0
//! What the wire may do to an exchange.

use std::time::Duration;

use proptest::prelude::*;
use vita::clock::Instant;
use vita::exchange::{Event, Kind, Rejection};

use super::pair::*;

#[test]
fn two_gateways_connect_in_two_round_trips() {
    let mut pair = Pair::new();
    pair.configure(B, vec![pair.route(B)]);
    pair.in_flight.clear(); // B knocked before A was there
    pair.configure(A, vec![pair.route(A)]);
    pair.run_until(pair.start + LATENCY * 4);
    assert!(!pair.gateways[A].outbound.is_empty(), "two round trips");
    assert!(pair.gateways[B].outbound.is_empty(), "B has not heard that A has the keys");
    pair.run_until(pair.start + LATENCY * 5);
    pair.assert_traffic_flows();
    let kinds: Vec<u8> = pair.sent[1..].iter().map(|datagram| datagram.kind()).collect();
    assert_eq!(kinds, [KNOCK, CHALLENGE, PROPOSAL, AGREEMENT]);
    assert!(pair.sent.iter().all(|datagram| [12, 76, 88].contains(&datagram.payload.len())));
}

#[test]
fn they_connect_over_ipv6() {
    let mut pair = Pair::with_addresses(["2001:db8:1::2", "2001:db8:2::5"]);
    pair.configure_both();
    pair.run_for(1);
    pair.assert_traffic_flows();
}

#[test]
fn both_may_begin_at_once() {
    let mut pair = Pair::new();
    pair.configure_both();
    pair.run_for(1);
    for side in [A, B] {
        let counters = pair.counters(side);
        assert_eq!((counters.keypairs_offered, counters.keypairs_negotiated), (1, 1));
        assert_eq!(pair.gateways[side].inbound.len(), 2);
    }
    pair.traffic_flows = true;
    pair.run_for(3600);
}

#[test]
fn any_one_message_may_be_lost() {
    for kind in [KNOCK, CHALLENGE, PROPOSAL, AGREEMENT] {
        let mut pair = Pair::new();
        let mut lost = 0;
        pair.wire = Box::new(move |datagram| {
            lost += u32::from(datagram.kind() == kind);
            if datagram.kind() == kind && lost <= 2 { Fate::Lose } else { Fate::Deliver }
        });
        pair.configure_both();
        pair.run_for(NEGOTIATION_TTL + 1);
        pair.assert_traffic_flows();
        let expired = pair.counters(A).negotiations_expired + pair.counters(B).negotiations_expired;
        // Once there is a proposal that was not answered, the knock is repeated before.
        assert_eq!(expired > 0, [KNOCK, CHALLENGE].contains(&kind));
    }
}

#[test]
fn a_lost_agreement_while_rekeying_interrupts_nothing() {
    for mut pair in [Pair::new(), Pair::without_extensions()] {
        pair.connect();
        pair.traffic_flows = true;
        let mut lost = 0;
        pair.wire = Box::new(move |datagram| {
            lost += u32::from(datagram.kind() == AGREEMENT);
            // Every second agreement arrives.
            if datagram.kind() == AGREEMENT && lost % 2 == 1 { Fate::Lose } else { Fate::Deliver }
        });
        pair.run_for(3 * 3600);
        let updated = pair.counters(A).outbound_sa_updated + pair.counters(B).outbound_sa_updated;
        // A capable peer uses no keys that are not confirmed, so nothing has to be replaced.
        assert_eq!(updated > 10, !pair.gateways[A].settings.extensions, "{updated}");
    }
}

#[test]
fn an_expired_negotiation_keeps_its_inbound_spi() {
    let mut pair = Pair::without_extensions();
    pair.connect();
    pair.wire = Box::new(|datagram| if datagram.kind() == AGREEMENT { Fate::Lose } else { Fate::Deliver });
    pair.run_until(pair.at(SA_TTL * 5 / 8 + 3 * NEGOTIATION_TTL));
    // The SA that the agreements were about waits at the responder, or is active, once and not once per try.
    let responder = if pair.counters(A).keypairs_offered > pair.counters(B).keypairs_offered { A } else { B };
    let counters = pair.counters(responder);
    let tries = counters.keypairs_offered - 1;
    assert!(tries >= 3, "{tries}");
    assert_eq!(counters.outbound_sa_updated, tries - 1);
    let outbound = pair.gateways[responder]
        .manager
        .associations()
        .filter(|sa| sa.direction == vita::sa::Direction::Outbound);
    assert!(outbound.count() <= 2);
}

#[test]
fn a_message_that_arrives_twice_does_no_harm() {
    let mut pair = Pair::new();
    pair.wire = Box::new(|_| Fate::Twice);
    pair.configure_both();
    pair.run_for(1);
    pair.assert_traffic_flows();
    pair.traffic_flows = true;
    pair.run_for(2 * 3600);
    assert_eq!(pair.counters(A).negotiations_expired + pair.counters(B).negotiations_expired, 0);
}

#[test]
fn late_messages_of_an_expired_negotiation_do_no_harm() {
    for kind in [KNOCK, CHALLENGE, PROPOSAL, AGREEMENT] {
        let mut pair = Pair::new();
        let mut delayed = 0;
        pair.wire = Box::new(move |datagram| {
            delayed += u32::from(datagram.kind() == kind);
            let late = datagram.kind() == kind && delayed <= 2;
            if late { Fate::After(Duration::from_millis(6_500)) } else { Fate::Deliver }
        });
        pair.configure_both();
        pair.run_for(20);
        pair.assert_traffic_flows();
        pair.traffic_flows = true;
        pair.run_for(3600);
    }
}

#[test]
fn a_silent_peer_is_asked_less_and_less_often_until_it_knocks() {
    let mut pair = Pair::new();
    pair.configure(A, vec![pair.route(A)]);
    pair.run_for(200);
    let knocks = |pair: &Pair| -> Vec<u64> {
        let knocks = pair.sent.iter().filter(|datagram| datagram.kind() == KNOCK);
        knocks.map(|datagram| (datagram.at - LATENCY - pair.start).as_secs()).collect()
    };
    assert_eq!(knocks(&pair), [0, 5, 10, 20, 40, 80, 140, 200]);
    let gateway = pair.gateways[B].address;
    assert_eq!(pair.counters(A).negotiations_expired, 7);
    assert!(
        pair.gateways[A]
            .events
            .iter()
            .all(|event| *event == Event::NegotiationExpired { route: "net".into(), gateway })
    );
    // At most once a second, and not while a negotiation is under way.
    let knock = pair.last(A, KNOCK).payload;
    for ms in 0..1_000 {
        pair.run_until(pair.at(210) + Duration::from_millis(ms));
        pair.inject(A, gateway, &knock);
    }
    assert_eq!(knocks(&pair).len(), 9);
    pair.run_until(pair.at(240));
    assert_eq!(knocks(&pair)[8..], [210, 215, 220, 230], "it begins again");
}

#[test]
fn a_knock_to_a_capable_peer_is_repeated_with_its_token_until_a_challenge_comes() {
    let mut pair = Pair::connected();
    pair.run_for(1);
    let mut lost = 0;
    pair.wire = Box::new(move |datagram| {
        lost += u32::from(datagram.kind() == KNOCK);
        if datagram.kind() == KNOCK && lost <= 3 { Fate::Lose } else { Fate::Deliver }
    });
    let before = pair.sent.len();
    pair.run_until(pair.at(SA_TTL * 5 / 8 + 3));
    let sent: Vec<_> =
        pair.sent[before..].iter().map(|one| (one.kind(), one.payload[5..8].to_vec())).collect();
    let kinds: Vec<u8> = sent.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [KNOCK, KNOCK, KNOCK, KNOCK, CHALLENGE, PROPOSAL, AGREEMENT]);
    assert!(sent.iter().all(|(_, header)| *header == sent[0].1 && header[0] == 0 && header[1..] != [0; 2]));
    let at: Vec<Instant> = pair.sent[before..][..4].iter().map(|one| one.at).collect();
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(500)));
    assert_eq!(pair.counters(A).negotiations_expired + pair.counters(B).negotiations_expired, 0);
}

#[test]
fn a_knock_to_a_deployed_peer_is_repeated_once_a_proposal_is_not_answered() {
    let mut pair = Pair::without_extensions();
    pair.connect();
    let silent = pair.gateways[B].address;
    let mut lost = 0;
    pair.wire = Box::new(move |datagram| {
        let is_lost = match datagram.kind() {
            KNOCK => datagram.source == silent,
            AGREEMENT => lost < 2,
            _ => false,
        };
        lost += u32::from(is_lost && datagram.kind() == AGREEMENT);
        if is_lost { Fate::Lose } else { Fate::Deliver }
    });
    let before = pair.sent.len();
    pair.run_until(pair.at(SA_TTL * 5 / 8 + 4));
    let a = pair.gateways[A].address;
    let sent: Vec<&Datagram> =
        pair.sent[before..].iter().filter(|one| [one.source, one.to].contains(&a)).collect();
    let of_a = |kind: u8| -> Vec<&&Datagram> {
        sent.iter().filter(|one| one.source == a && one.kind() == kind).collect()
    };
    let (knocks, proposals) = (of_a(KNOCK), of_a(PROPOSAL));
    assert_eq!((knocks.len(), proposals.len()), (3, 3));
    let pause = knocks[1].at - proposals[0].at;
    assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&pause), "{pause:?}");
    // The same key and SPI under another nonce, so that the peer replaces its SA.
    assert_eq!(proposals[0].payload[8..40], proposals[1].payload[8..40]);
    assert_ne!(proposals[0].payload, proposals[1].payload);
    assert_eq!((pair.counters(A).negotiations_expired, pair.counters(B).outbound_sa_updated), (0, 2));
    pair.assert_traffic_flows();
}

#[test]
fn where_nothing_is_lost_no_knock_to_a_deployed_peer_is_repeated() {
    for latency_ms in [1, 40, 200, 450] {
        let mut pair = Pair::without_extensions();
        pair.latency = Duration::from_millis(latency_ms);
        pair.configure_both();
        pair.run_for(6 * 3600);
        let count = |kind: u8| pair.sent.iter().filter(|one| one.kind() == kind).count() as u64;
        let initiated = [A, B].map(|side| pair.counters(side).negotiations_initiated).iter().sum::<u64>();
        assert!(initiated > 50);
        assert_eq!([KNOCK, CHALLENGE, PROPOSAL, AGREEMENT].map(count), [initiated; 4]);
    }
}

#[test]
fn a_deployed_peer_that_falls_silent_is_asked_less_and_less_often_even_in_doubt() {
    let mut pair = Pair::without_extensions();
    pair.configure(B, vec![pair.route(B)]);
    pair.in_flight.clear();
    // After its challenge nothing comes.
    let (silent, mut challenges) = (pair.gateways[B].address, 0);
    pair.wire = Box::new(move |datagram| {
        challenges += u32::from(datagram.kind() == CHALLENGE);
        let is_first = datagram.kind() == CHALLENGE && challenges == 1;
        if datagram.source == silent && !is_first { Fate::Lose } else { Fate::Deliver }
    });
    pair.configure(A, vec![pair.route(A)]);
    pair.run_for(3600);
    let knocks = |from: u64, to: u64| {
        let a = pair.gateways[A].address;
        let sent = pair.sent.iter().filter(|one| one.source == a && one.kind() == KNOCK);
        sent.filter(|one| (pair.at(from)..pair.at(to)).contains(&one.at)).count()
    };
    let [first, last] = [knocks(0, 40), knocks(3_000, 3_600)];
    assert!((30..=45).contains(&first), "one a second: {first}");
    assert!((9..=11).contains(&last), "one a minute: {last}");
}

#[test]
fn a_capable_peer_that_a_deployed_one_replaces_is_asked_without_a_token_after_two_negotiations() {
    let mut pair = Pair::connected();
    pair.gateways[B].settings.extensions = false;
    // The restarted one is not the one that begins.
    pair.wire = Box::new(|datagram| {
        let from_b = datagram.source == "203.0.113.5".parse::<std::net::IpAddr>().unwrap();
        if from_b && datagram.kind() == KNOCK { Fate::Lose } else { Fate::Deliver }
    });
    pair.restart(B, 5);
    let before = pair.sent.len();
    pair.run_until(pair.at(SA_TTL));
    let a = pair.gateways[A].address;
    let knocks = pair.sent[before..].iter().filter(|one| one.source == a && one.kind() == KNOCK);
    let headers: Vec<bool> = knocks.map(|one| one.payload[5..8] != [0; 3]).collect();
    assert!(headers[0] && !headers[headers.len() - 1], "{headers:?}");
    assert!(pair.gateways[A].rejections().contains(&Rejection::Token(Kind::Challenge)));
    pair.assert_traffic_flows();
}

#[test]
fn the_wait_is_restarted_when_the_proposal_is_sent() {
    let mut pair = Pair::new();
    pair.wire = Box::new(|datagram| match datagram.kind() {
        CHALLENGE => Fate::After(Duration::from_secs(4)),
        AGREEMENT => Fate::After(Duration::from_secs(4)),
        _ => Fate::Deliver,
    });
    pair.configure_both();
    pair.run_for(10);
    pair.assert_traffic_flows();
    assert_eq!(pair.counters(A).negotiations_expired, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 64, ..ProptestConfig::default() })]

    /// Loss, duplicates and reordering as a bad path has them.
    #[test]
    fn a_bad_path_delays_but_never_breaks(seed in any::<u64>(), loss in 0..30_u8) {
        let mut pair = Pair::new();
        let mut dice = random(seed);
        pair.wire = Box::new(move |_| {
            let mut roll = [0; 3];
            dice.fill(&mut roll);
            match roll[0] % 100 {
                lost if lost < loss => Fate::Lose,
                twice if twice < loss + 10 => Fate::Twice,
                _ => Fate::After(Duration::from_millis(u64::from(roll[1]) * 4)),
            }
        });
        pair.configure_both();
        pair.run_for(4 * 3600);
        pair.wire = Box::new(|_| Fate::Deliver);
        // At the latest with the next rekey all is well again.
        pair.run_for(SA_TTL);
        pair.assert_traffic_flows();
        pair.traffic_flows = true;
        pair.run_for(3600);
    }
}
