// SPDX-License-Identifier: Apache-2.0
//! The transcripts of deployed gateways, played against a whole key manager in both roles. Only the random bytes are
//! those of the transcript; SPIs come from the counter.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
use vita::clock::Instant;
use vita::sa::{Algorithm, Key, PresharedKey, SaParameters};

use serde_json::Value;
use vita::exchange::{KeyManager, Output, Route, Settings, Share};

#[test]
fn as_responder() {
    for vector in vectors() {
        // A gateway that offers the extensions sends a deployed one exactly what deployed ones send.
        for extensions in [false, true] {
            let draws = [vector.bytes("challenge")[36..].to_vec(), vector.bytes("responder_e_sk")];
            let (mut manager, now) = vector.manager("responder", "initiator", extensions, draws);
            drain(&mut manager);
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
}

#[test]
fn as_initiator() {
    for vector in vectors() {
        // The route draws a nonce and a key as responder before it draws the key of its proposal.
        let draws = [vec![0; 32], vec![0; 32], vector.bytes("initiator_e_sk")];
        let (mut manager, now) = vector.manager("initiator", "responder", false, draws);
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

#[test]
fn an_offer_changes_only_what_is_encrypted() {
    for vector in vectors() {
        let draws = [vec![0; 32], vec![0; 32], vector.bytes("initiator_e_sk")];
        let (mut manager, now) = vector.manager("initiator", "responder", true, draws);
        let peer = vector.address("responder_address");
        assert_eq!(sent(&mut manager, peer), vector.datagram(11, "knock"));
        manager.handle(now, peer, &vector.datagram(12, "challenge"));
        let (proposal, recorded) = (sent(&mut manager, peer), vector.datagram(13, "proposal"));
        assert_eq!(proposal.len(), recorded.len());
        let differs = |at: usize| proposal[at] != recorded[at];
        assert!(!(0..8 + 32).any(differs), "header and public key");
        let payload: Vec<usize> = (8 + 32..8 + 64).filter(|&at| differs(at)).collect();
        assert_eq!(payload, [8 + 32 + 4], "the format, in place");
    }
}

struct Vector(Value);

impl Vector {
    /// A key manager in one role with the route of the transcript, whose SPI is the next one, and whose generator then
    /// yields the draws given, and zeros after them.
    fn manager<const N: usize>(
        &self,
        own: &str,
        peer: &str,
        extensions: bool,
        draws: [Vec<u8>; N],
    ) -> (KeyManager, Instant) {
        let counter = self.number(&format!("{own}_rx_spi")) - 256;
        let start = [counter.to_be_bytes(), [0; 4]].concat();
        let mut script: VecDeque<Vec<u8>> = [start].into_iter().chain(draws).collect();
        let random = Box::new(move |bytes: &mut [u8]| match script.pop_front() {
            Some(draw) => bytes.copy_from_slice(&draw),
            None => bytes.fill(0),
        });
        let address = |role: &str| self.address(&format!("{role}_address"));
        let settings = Settings {
            queue: 1,
            share: Share::WHOLE,
            extensions,
            own: address(own).into(),
            negotiation_ttl: Duration::from_secs(5),
            sa_ttl: Duration::from_secs(600),
        };
        let now = Instant::now();
        let mut manager = KeyManager::new(settings, random);
        let preshared_key = PresharedKey::new(self.bytes("psk").try_into().unwrap());
        let route = Route {
            id: "vector".into(),
            spi: self.number("route_spi"),
            preshared_key,
            gateway: address(peer),
        };
        manager.configure(now, settings, vec![route]);
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
            key: Key::new(Algorithm::named("aes-gcm-16-icv").unwrap(), &bytes("key")).unwrap(),
            salt: bytes("salt").try_into().unwrap(),
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
    assert!(!vectors.is_empty());
    vectors.into_iter().map(Vector)
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
