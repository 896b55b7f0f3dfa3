// SPDX-License-Identifier: Apache-2.0
//! What the wire may do to an exchange.

use std::time::Duration;

use proptest::prelude::*;
use vita::exchange::Event;

use crate::pair::*;

#[test]
fn two_gateways_connect_in_two_round_trips() {
    let mut pair = Pair::new();
    pair.configure(B, vec![pair.route(B)]);
    pair.in_flight.clear(); // B knocked before A was there
    pair.configure(A, vec![pair.route(A)]);
    pair.run_until(pair.start + LATENCY * 4);
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
        assert!(pair.counters(A).negotiations_expired + pair.counters(B).negotiations_expired > 0);
    }
}

#[test]
fn a_lost_agreement_while_rekeying_interrupts_nothing() {
    let mut pair = Pair::connected();
    pair.traffic_flows = true;
    let mut lost = 0;
    pair.wire = Box::new(move |datagram| {
        lost += u32::from(datagram.kind() == AGREEMENT);
        // Every second agreement arrives.
        if datagram.kind() == AGREEMENT && lost % 2 == 1 { Fate::Lose } else { Fate::Deliver }
    });
    pair.run_for(3 * 3600);
    let counters = [pair.counters(A), pair.counters(B)];
    assert!(counters.iter().map(|counters| counters.outbound_sa_updated).sum::<u64>() > 10);
}

#[test]
fn an_expired_negotiation_keeps_its_inbound_spi() {
    let mut pair = Pair::connected();
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
        .filter(|sa| sa.direction == vita::exchange::Direction::Outbound);
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
fn a_silent_peer_is_asked_again_every_negotiation_ttl() {
    let mut pair = Pair::new();
    pair.configure(A, vec![pair.route(A)]);
    pair.run_for(60);
    assert_eq!(pair.sent_count(A, KNOCK), 13);
    assert_eq!(pair.counters(A).negotiations_expired, 12);
    let gateway = pair.gateways[B].address;
    assert!(
        pair.gateways[A]
            .events
            .iter()
            .all(|event| *event == Event::NegotiationExpired { route: "net".into(), gateway })
    );
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
