// SPDX-License-Identifier: Apache-2.0
//! A model of a deployed gateway, written from the description of the protocol alone, with one route.
//!
//! It processes 100 messages a second from whatever source, takes the first challenge that comes, and commits new SAs
//! once a second, after its agreement has left. A new outbound SA waits 1.5 negotiation-ttls; the four newest inbound SAs
//! are kept.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use blake2::{Blake2s256, Digest};
use hkdf::SimpleHkdf;
use vita::clock::Instant;
use vita::exchange::Random;
use vita::sa::{Key, SaParameters};
use x25519_dalek::{PublicKey, StaticSecret};

use super::pair::{AGREEMENT, CHALLENGE, KNOCK, PROPOSAL};

pub struct Deployed {
    pub own: IpAddr,
    pub peer: IpAddr,
    pub route_spi: u32,
    pub secret: [u8; 32],
    pub negotiation_ttl: Duration,
    pub sa_ttl: Duration,
    random: Box<dyn Random + Send>,
    nonce: [u8; 32],
    ephemeral: StaticSecret,
    state: State,
    /// Of the next proposal.
    spi: Option<u32>,
    counter: u32,
    /// When SAs are committed next.
    tick: Instant,
    made: Vec<(SaParameters, SaParameters)>,
    /// Newest first, with the ends of their lives.
    inbound: VecDeque<(SaParameters, Instant)>,
    active: Option<Outbound>,
    waiting: VecDeque<Outbound>,
    processed: VecDeque<Instant>,
    /// Datagrams for the peer.
    pub sent: Vec<Vec<u8>>,
}

enum State {
    Idle,
    AwaitChallenge(Instant),
    AwaitAgreement(Instant, Symmetric, StaticSecret),
}

struct Outbound {
    sa: SaParameters,
    activate: Instant,
    rekey: Instant,
    expires: Instant,
}

impl Deployed {
    pub fn new(
        now: Instant,
        own: IpAddr,
        peer: IpAddr,
        ttls: [Duration; 2],
        mut random: Box<dyn Random + Send>,
    ) -> Self {
        let mut bytes = [[0; 32]; 3];
        bytes.iter_mut().for_each(|bytes| random.fill(bytes));
        let [nonce, ephemeral, other] = bytes;
        let [negotiation_ttl, sa_ttl] = ttls;
        Deployed {
            own,
            peer,
            route_spi: super::pair::ROUTE_SPI,
            secret: [7; 32],
            negotiation_ttl,
            sa_ttl,
            random,
            nonce,
            ephemeral: ephemeral.into(),
            state: State::Idle,
            spi: None,
            counter: 0,
            tick: now + Duration::from_millis(u64::from(other[0]) * 4),
            made: Vec::new(),
            inbound: VecDeque::new(),
            active: None,
            waiting: VecDeque::new(),
            processed: VecDeque::new(),
            sent: Vec::new(),
        }
    }

    pub fn outbound(&self) -> Option<&SaParameters> {
        self.active.as_ref().map(|active| &active.sa)
    }

    pub fn accepts(&self, sa: &SaParameters) -> bool {
        self.inbound.iter().any(|(inbound, _)| inbound == sa)
    }

    pub fn handle(&mut self, now: Instant, datagram: &[u8]) {
        self.timeout(now);
        while self.processed.front().is_some_and(|&at| at + Duration::from_secs(1) <= now) {
            self.processed.pop_front();
        }
        let Some((header, message)) = datagram.split_first_chunk::<8>() else { return };
        if self.processed.len() >= 100 || header[..4] != self.route_spi.to_be_bytes() {
            return;
        }
        self.processed.push_back(now);
        match (header[4], message.len()) {
            (KNOCK, 4) => {
                let challenge = [&5_u32.to_be_bytes()[..], &AEAD, &self.nonce].concat();
                self.send(CHALLENGE, &challenge);
            }
            (CHALLENGE, 68) => self.challenged(now, message),
            (PROPOSAL, 80) => self.proposed(message),
            (AGREEMENT, 80) => self.agreed(message),
            _ => {}
        }
    }

    pub fn deadline(&self) -> Instant {
        match self.state {
            State::Idle => self.tick,
            State::AwaitChallenge(deadline) | State::AwaitAgreement(deadline, ..) => self.tick.min(deadline),
        }
    }

    pub fn timeout(&mut self, now: Instant) {
        if let State::AwaitChallenge(deadline) | State::AwaitAgreement(deadline, ..) = self.state
            && deadline <= now
        {
            self.state = State::Idle;
        }
        while self.tick <= now {
            self.commit(self.tick);
            self.tick += Duration::from_secs(1);
        }
        let wanted = self.waiting.is_empty() && self.active.as_ref().is_none_or(|active| active.rekey <= now);
        if matches!(self.state, State::Idle) && wanted && self.made.is_empty() {
            self.state = State::AwaitChallenge(now + self.negotiation_ttl);
            self.send(KNOCK, &5_u32.to_be_bytes());
        }
    }

    fn commit(&mut self, now: Instant) {
        self.inbound.retain(|(_, expires)| *expires > now);
        self.active.take_if(|active| active.expires <= now);
        for (inbound, outbound) in std::mem::take(&mut self.made) {
            self.inbound.push_front((inbound, now + self.sa_ttl));
            self.inbound.truncate(4);
            let spread = u32::from(self.draw::<1>()[0]);
            let new = Outbound {
                activate: now + self.negotiation_ttl * 3 / 2,
                rekey: now + self.sa_ttl / 2 + self.sa_ttl / 8 * spread / 255,
                expires: now + self.sa_ttl,
                sa: outbound,
            };
            self.waiting.retain(|other| other.sa.spi != new.sa.spi);
            if self.active.as_ref().is_none_or(|active| active.sa.spi == new.sa.spi) {
                self.active = Some(new);
            } else {
                self.waiting.push_back(new);
            }
        }
        while self.waiting.front().is_some_and(|next| next.activate <= now || self.active.is_none()) {
            self.active = self.waiting.pop_front();
        }
    }

    fn challenged(&mut self, now: Instant, challenge: &[u8]) {
        if !matches!(self.state, State::AwaitChallenge(_))
            || challenge[..36] != [&5_u32.to_be_bytes()[..], &AEAD].concat()
        {
            return;
        }
        let prologue = self.prologue(true, &challenge[36..]);
        let ephemeral = StaticSecret::from(self.draw::<32>());
        let mut symmetric = Symmetric::new(&prologue, &self.secret);
        let spi = *self.spi.get_or_insert_with(|| next_spi(&mut self.counter));
        let message = symmetric.write(&ephemeral, None, spi);
        self.state = State::AwaitAgreement(now + self.negotiation_ttl, symmetric, ephemeral);
        self.send(PROPOSAL, &message);
    }

    fn proposed(&mut self, proposal: &[u8]) {
        let prologue = self.prologue(false, &self.nonce);
        let mut symmetric = Symmetric::new(&prologue, &self.secret);
        let Some(peer_spi) = symmetric.read(proposal, None) else { return };
        let spi = next_spi(&mut self.counter);
        let peer = public(proposal);
        let ephemeral = std::mem::replace(&mut self.ephemeral, StaticSecret::from([0; 32]));
        let agreement = symmetric.write(&ephemeral, Some(&peer), spi);
        let [initiators_inbound, initiators_outbound] = symmetric.split();
        self.send(AGREEMENT, &agreement);
        self.made.push((sa(spi, initiators_outbound), sa(peer_spi, initiators_inbound)));
        (self.nonce, self.ephemeral) = (self.draw(), self.draw::<32>().into());
    }

    fn agreed(&mut self, agreement: &[u8]) {
        let State::AwaitAgreement(_, symmetric, ephemeral) = &self.state else { return };
        let mut symmetric = symmetric.clone();
        let Some(peer_spi) = symmetric.read(agreement, Some(ephemeral)) else { return };
        let [inbound, outbound] = symmetric.split();
        let Some(spi) = self.spi.take() else { return };
        self.made.push((sa(spi, inbound), sa(peer_spi, outbound)));
        self.state = State::Idle;
    }

    fn prologue(&self, initiates: bool, nonce: &[u8]) -> Vec<u8> {
        let (initiator, responder) = if initiates { (self.own, self.peer) } else { (self.peer, self.own) };
        let address = |address: IpAddr| match address {
            IpAddr::V4(v4) => [&v4.octets()[..], &[0; 12]].concat(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let start = [5_u32.to_be_bytes(), self.route_spi.to_be_bytes()].concat();
        [start, address(initiator), address(responder), AEAD.to_vec(), nonce.to_vec()].concat()
    }

    fn send(&mut self, kind: u8, message: &[u8]) {
        self.sent.push([&self.route_spi.to_be_bytes()[..], &[kind, 0, 0, 0], message].concat());
    }

    fn draw<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }
}

fn next_spi(counter: &mut u32) -> u32 {
    *counter = (*counter + 1) % 65_279;
    256 + *counter
}

fn sa(spi: u32, key: [u8; 20]) -> SaParameters {
    let (key, salt) = key.split_first_chunk().unwrap();
    SaParameters { spi, key: Key::Aes128Gcm(*key), salt: salt.try_into().unwrap() }
}

fn public(message: &[u8]) -> PublicKey {
    PublicKey::from(<[u8; 32]>::try_from(&message[..32]).unwrap())
}

/// Noise_NNpsk0_25519_AESGCM_BLAKE2s.
#[derive(Clone)]
struct Symmetric {
    ck: [u8; 32],
    h: [u8; 32],
}

impl Symmetric {
    fn new(prologue: &[u8], psk: &[u8; 32]) -> Self {
        let name = Blake2s256::digest(b"Noise_NNpsk0_25519_AESGCM_BLAKE2s").into();
        let mut symmetric = Symmetric { ck: name, h: name };
        symmetric.mix_hash(prologue);
        let [ck, temp, _] = hkdf(&symmetric.ck, psk);
        symmetric.ck = ck;
        symmetric.mix_hash(&temp);
        symmetric
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.h = Blake2s256::new_with_prefix(self.h).chain_update(data).finalize().into();
    }

    fn mix_key(&mut self, input: &[u8; 32]) -> [u8; 32] {
        let [ck, key, _] = hkdf(&self.ck, input);
        self.ck = ck;
        key
    }

    /// The key of a message with this public key, and with `ee` where there is the other key.
    fn key(&mut self, public: &PublicKey, ee: Option<(&StaticSecret, &PublicKey)>) -> [u8; 32] {
        self.mix_hash(public.as_bytes());
        let key = self.mix_key(public.as_bytes());
        ee.map_or(key, |(own, peer)| self.mix_key(own.diffie_hellman(peer).as_bytes()))
    }

    fn write(&mut self, ephemeral: &StaticSecret, peer: Option<&PublicKey>, spi: u32) -> Vec<u8> {
        let public = PublicKey::from(ephemeral);
        let key = self.key(&public, peer.map(|peer| (ephemeral, peer)));
        let mut payload = [&spi.to_be_bytes()[..], &[0; 28]].concat();
        let tag = Aes256Gcm::new(&key.into())
            .encrypt_inout_detached(&Nonce::default(), &self.h, payload.as_mut_slice().into())
            .unwrap();
        payload.extend_from_slice(&tag);
        self.mix_hash(&payload);
        [&public.as_bytes()[..], &payload].concat()
    }

    /// The SPI, if the tag verifies.
    fn read(&mut self, message: &[u8], ephemeral: Option<&StaticSecret>) -> Option<u32> {
        let peer = public(message);
        let key = self.key(&peer, ephemeral.map(|own| (own, &peer)));
        let mut payload = message[32..64].to_vec();
        let tag: [u8; 16] = message[64..].try_into().unwrap();
        Aes256Gcm::new(&key.into())
            .decrypt_inout_detached(&Nonce::default(), &self.h, payload.as_mut_slice().into(), &tag.into())
            .ok()?;
        self.mix_hash(&message[32..]);
        Some(u32::from_be_bytes(payload[..4].try_into().unwrap()))
    }

    /// The initiator's inbound and outbound key.
    fn split(&self) -> [[u8; 20]; 2] {
        let [one, two, _] = hkdf(&[0; 32], &self.ck);
        let output = [one, two].concat();
        [output[..20].try_into().unwrap(), output[20..40].try_into().unwrap()]
    }
}

fn hkdf(salt: &[u8; 32], input: &[u8; 32]) -> [[u8; 32]; 3] {
    let mut output = [0; 96];
    SimpleHkdf::<Blake2s256>::new(Some(salt), input).expand(&[], &mut output).unwrap();
    [0, 32, 64].map(|at| output[at..at + 32].try_into().unwrap())
}

const AEAD: [u8; 32] = *b"aes-gcm-16-icv\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
