// SPDX-License-Identifier: Apache-2.0
//! Each counter moves in its case, and no other moves with it.

use vita::exchange::{Counters, Rejection, Share};

use super::pair::*;

#[test]
fn the_steps_of_an_exchange() {
    let mut pair = Pair::new();
    pair.configure(B, vec![pair.route(B)]);
    pair.in_flight.clear();
    pair.configure(A, vec![pair.route(A)]);
    pair.run_for(1);
    assert_eq!(
        pair.counters(A),
        Counters {
            negotiations_initiated: 1,
            challenges_accepted: 1,
            keypairs_negotiated: 1,
            ..Counters::default()
        }
    );
    // B's own knock was lost; it is still waiting for the answer.
    assert_eq!(
        pair.counters(B),
        Counters {
            negotiations_initiated: 1,
            challenges_offered: 1,
            keypairs_offered: 1,
            ..Counters::default()
        }
    );
}

#[test]
fn what_is_wrong_with_a_datagram() {
    let challenge = |version: u8, aead: &[u8]| {
        let mut message = vec![0, 0, 0, version];
        message.extend_from_slice(aead);
        message.resize(4 + 32, 0);
        message.resize(4 + 64, 0x55);
        message
    };
    let good_aead = b"aes-gcm-16-icv";
    struct Case(Vec<u8>, fn(&mut Counters) -> &mut u64);
    let cases = [
        Case(Vec::new(), |c| &mut c.protocol_errors),
        Case(vec![0; 7], |c| &mut c.protocol_errors),
        Case(datagram(ROUTE_SPI, 10, &[0; 4]), |c| &mut c.protocol_errors),
        Case(datagram(ROUTE_SPI, KNOCK, &[0; 5]), |c| &mut c.protocol_errors),
        Case(datagram(ROUTE_SPI, PROPOSAL, &[0; 79]), |c| &mut c.protocol_errors),
        Case(datagram(ROUTE_SPI, AGREEMENT, &[0; 80]), |c| &mut c.protocol_errors),
        Case(datagram(ROUTE_SPI + 1, KNOCK, &[0, 0, 0, 5]), |c| &mut c.route_errors),
        Case(datagram(ROUTE_SPI, CHALLENGE, &challenge(4, good_aead)), |c| &mut c.version_errors),
        Case(datagram(ROUTE_SPI, CHALLENGE, &challenge(5, b"aes-gcm-16-ic")), |c| &mut c.parameter_errors),
        Case(datagram(ROUTE_SPI, CHALLENGE, &challenge(5, b"aes-gcm-16-icvx")), |c| &mut c.parameter_errors),
        Case(datagram(ROUTE_SPI, PROPOSAL, &[9; 80]), |c| &mut c.authentication_errors),
    ];
    for Case(payload, counter) in cases {
        // A waits for its challenge.
        let mut pair = Pair::new();
        pair.configure(A, vec![pair.route(A)]);
        let mut expected = pair.counters(A);
        let source = pair.gateways[B].address;
        pair.inject(A, source, &payload);
        *counter(&mut expected) += 1;
        expected.rxerrors += 1;
        assert_eq!(pair.counters(A), expected, "{payload:?}");
        assert_eq!(pair.sent.len(), 1, "nothing is answered");
        assert_eq!(pair.gateways[A].rejections().len(), 1);
    }
}

#[test]
fn an_agreement_with_a_bad_tag_or_a_public_key_of_low_order() {
    let mut pair = Pair::new();
    pair.wire = Box::new(|datagram| if datagram.kind() == AGREEMENT { Fate::Lose } else { Fate::Deliver });
    pair.configure(B, vec![pair.route(B)]);
    pair.in_flight.clear();
    pair.configure(A, vec![pair.route(A)]);
    pair.run_for(1);
    let mut expected = pair.counters(A);
    let source = pair.gateways[B].address;
    let mut agreement = pair.last(B, AGREEMENT).payload;

    agreement[87] ^= 1;
    pair.inject(A, source, &agreement);
    expected.authentication_errors += 1;
    expected.rxerrors += 1;
    assert_eq!(pair.counters(A), expected);

    pair.inject(A, source, &datagram(ROUTE_SPI, AGREEMENT, &[0; 80]));
    expected.public_key_errors += 1;
    expected.rxerrors += 1;
    assert_eq!(pair.counters(A), expected);

    agreement[87] ^= 1;
    pair.inject(A, source, &agreement);
    expected.keypairs_negotiated += 1;
    assert_eq!(pair.counters(A), expected, "the true one is still welcome");
    pair.run_for(1);
    pair.assert_traffic_flows();
}

#[test]
fn reserved_bytes_are_ignored() {
    let mut pair = Pair::new();
    pair.configure(B, vec![pair.route(B)]);
    let source = pair.gateways[A].address;
    let mut knock = datagram(ROUTE_SPI, KNOCK, &[0, 0, 0, 5]);
    knock[5..8].fill(0xff);
    pair.inject(B, source, &knock);
    let counters = pair.counters(B);
    assert_eq!((counters.challenges_offered, counters.rxerrors), (1, 0));
    assert_eq!(pair.last(B, CHALLENGE).payload[5..8], [0; 3], "nobody knows yet that the peer is capable");
}

#[test]
fn expiry_and_replacement() {
    let mut pair = Pair::new();
    pair.configure(B, vec![pair.route(B)]);
    pair.in_flight.clear();
    pair.configure(A, vec![pair.route(A)]);
    pair.run_for(1);
    pair.wire = Box::new(|_| Fate::Lose);
    pair.run_until(pair.at(SA_TTL + 1));
    let counters = pair.counters(A);
    assert_eq!((counters.inbound_sa_expired, counters.outbound_sa_expired), (1, 1));
    // One was successful, and one may be under way.
    let unanswered = counters.negotiations_initiated - 1;
    assert!((unanswered - 1..=unanswered).contains(&counters.negotiations_expired));
    assert!(unanswered > 2);
    assert_eq!(counters.outbound_sa_updated, 0);

    // A lost agreement: the next one is about the same SPI.
    let mut pair = Pair::without_extensions();
    pair.configure(B, vec![pair.route(B)]);
    pair.in_flight.clear();
    let mut agreements = 0;
    pair.wire = Box::new(move |datagram| {
        agreements += u32::from(datagram.kind() == AGREEMENT);
        let silence =
            datagram.source == "203.0.113.5".parse::<std::net::IpAddr>().unwrap() && datagram.kind() == KNOCK;
        if silence || datagram.kind() == AGREEMENT && agreements == 1 { Fate::Lose } else { Fate::Deliver }
    });
    pair.configure(A, vec![pair.route(A)]);
    pair.run_for(NEGOTIATION_TTL + 1);
    assert_eq!(pair.counters(B).outbound_sa_updated, 1);
    assert_eq!(pair.counters(A).outbound_sa_updated, 0);
    pair.assert_traffic_flows();
}

#[test]
fn without_a_free_spi_an_exchange_fails_and_says_so() {
    let mut pair = Pair::without_extensions();
    // One SPI, which serves one of the two exchanges that both sides begin.
    pair.gateways[A].settings.share = Share { index: 0, of: 65_279 };
    pair.configure_both();
    pair.run_for(1);
    assert_eq!(pair.gateways[A].rejections(), [Rejection::NoSpi]);
    assert_eq!((pair.counters(A).spi_errors, pair.counters(A).rxerrors), (1, 1));
    assert_eq!(pair.gateways[A].inbound.keys().copied().collect::<Vec<_>>(), [256]);

    pair.gateways[A].settings.share = Share::WHOLE;
    pair.configure(A, vec![pair.route(A)]);
    pair.run_for(2 * SA_TTL);
    assert_eq!(pair.counters(A).spi_errors, 1);
    pair.assert_traffic_flows();
}

fn datagram(spi: u32, kind: u8, message: &[u8]) -> Vec<u8> {
    let mut datagram = spi.to_be_bytes().to_vec();
    datagram.extend_from_slice(&[kind, 0, 0, 0]);
    datagram.extend_from_slice(message);
    datagram
}
