// SPDX-License-Identifier: Apache-2.0
//! The transcripts of deployed gateways, played against a whole key manager in both roles. Only the random bytes are
//! those of the transcript; SPIs come from the counter.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
use vita::clock::Instant;

use serde_json::Value;
use vita::exchange::{KeyManager, Output, PresharedKey, Route, SaParameters, Settings};

#[test]
fn as_responder() {
    for vector in vectors() {
        // The counter is moved on by other routes, each of which draws one SPI, a nonce and a key.
        let others = vector.number("responder_rx_spi") - 256;
        let draws = [vector.bytes("challenge")[36..].to_vec(), vector.bytes("responder_e_sk")];
        let (mut manager, now) =
            vector.manager("responder_address", "initiator_address", others, others * 2, draws);
        let peer = vector.address("initiator_address");

        manager.handle(now, peer, &vector.datagram(11, "knock"));
        assert_eq!(sent(&mut manager, peer), vector.datagram(12, "challenge"));

        manager.handle(now, peer, &vector.datagram(13, "proposal"));
        let outputs = drain(&mut manager);
        let [Output::InstallInbound { sa: inbound, .. }, Output::Send { payload, .. }, rest @ ..] =
            &outputs[..]
        else {
            panic!("the inbound SA comes first, then the agreement: {outputs:?}");
        };
        assert_eq!(*inbound, vector.association("outbound"));
        assert_eq!(*payload, vector.datagram(14, "agreement"));
        let Output::ActivateOutbound { sa: outbound, .. } = &rest[0] else { panic!("{rest:?}") };
        assert_eq!(*outbound, vector.association("inbound"));
    }
}

#[test]
fn as_initiator() {
    for vector in vectors() {
        // The route itself draws one SPI as responder before it draws that of its proposal.
        let others = vector.number("initiator_rx_spi") - 257;
        let draws = [vector.bytes("initiator_e_sk")];
        let (mut manager, now) =
            vector.manager("initiator_address", "responder_address", others, others * 2 + 2, draws);
        let peer = vector.address("responder_address");
        assert_eq!(sent(&mut manager, peer), vector.datagram(11, "knock"));

        manager.handle(now, peer, &vector.datagram(12, "challenge"));
        assert_eq!(sent(&mut manager, peer), vector.datagram(13, "proposal"));

        manager.handle(now, peer, &vector.datagram(14, "agreement"));
        let outputs = drain(&mut manager);
        let [Output::InstallInbound { sa: inbound, .. }, Output::ActivateOutbound { sa: outbound, .. }, ..] =
            &outputs[..]
        else {
            panic!("{outputs:?}");
        };
        assert_eq!(*inbound, vector.association("inbound"));
        assert_eq!(*outbound, vector.association("outbound"));
    }
}

struct Vector(Value);

impl Vector {
    /// A key manager with the route of the transcript, whose generator yields zeros for the first draws, then those
    /// given, then zeros again.
    fn manager<const N: usize>(
        &self,
        own: &str,
        peer: &str,
        others: u32,
        zeros: u32,
        draws: [Vec<u8>; N],
    ) -> (KeyManager, Instant) {
        let mut script: VecDeque<Vec<u8>> = (0..zeros).map(|_| vec![0; 32]).chain(draws).collect();
        let random = Box::new(move |bytes: &mut [u8]| match script.pop_front() {
            Some(draw) => bytes.copy_from_slice(&draw),
            None => bytes.fill(0),
        });
        let settings = Settings {
            queue: 1,
            own: self.address(own).into(),
            negotiation_ttl: Duration::from_secs(5),
            sa_ttl: Duration::from_secs(600),
        };
        let now = Instant::now();
        let mut manager = KeyManager::new(settings, random);
        let elsewhere: IpAddr = "198.51.100.1".parse().unwrap();
        let mut routes: Vec<Route> =
            (0..others).map(|n| route(&format!("other{n}"), 1000 + n, [n as u8; 32], elsewhere)).collect();
        let psk = self.bytes("psk").try_into().unwrap();
        routes.push(route("vector", self.number("route_spi"), psk, self.address(peer)));
        manager.configure(now, settings, routes);
        if others * 2 == zeros {
            drain(&mut manager);
        }
        (manager, now)
    }

    fn datagram(&self, kind: u8, name: &str) -> Vec<u8> {
        let mut datagram = self.number("route_spi").to_be_bytes().to_vec();
        datagram.extend_from_slice(&[kind, 0, 0, 0]);
        datagram.extend(self.bytes(name));
        datagram
    }

    /// One of the initiator's SAs.
    fn association(&self, direction: &str) -> SaParameters {
        let bytes = |name: &str| self.bytes(&format!("initiator_{direction}_{name}"));
        SaParameters {
            spi: self.number(&format!("initiator_{direction}_spi")),
            key: bytes("key").try_into().unwrap(),
            salt: bytes("salt").try_into().unwrap(),
            aead: "aes-gcm-16-icv",
        }
    }

    fn address(&self, name: &str) -> IpAddr {
        self.0[name].as_str().unwrap().parse().unwrap()
    }

    fn number(&self, name: &str) -> u32 {
        self.0[name].as_u64().unwrap() as u32
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let digits = self.0[name].as_str().unwrap().as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }
}

fn vectors() -> impl Iterator<Item = Vector> {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../vectors/ske-v5.json")).unwrap();
    assert_eq!(vectors.len(), 3);
    vectors.into_iter().map(Vector)
}

fn route(id: &str, spi: u32, secret: [u8; 32], gateway: IpAddr) -> Route {
    Route { id: id.into(), spi, preshared_key: PresharedKey::new(secret), gateway }
}

fn drain(manager: &mut KeyManager) -> Vec<Output> {
    std::iter::from_fn(|| manager.poll()).collect()
}

/// The one datagram sent to a peer.
fn sent(manager: &mut KeyManager, peer: IpAddr) -> Vec<u8> {
    let mut sent: Vec<Vec<u8>> = drain(manager)
        .into_iter()
        .filter_map(|output| match output {
            Output::Send { to, payload } if to == peer => Some(payload),
            _ => None,
        })
        .collect();
    assert_eq!(sent.len(), 1);
    sent.remove(0)
}
