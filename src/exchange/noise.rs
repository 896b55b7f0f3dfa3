// SPDX-License-Identifier: Apache-2.0
//! The handshake: `Noise_NNpsk0_25519_AESGCM_BLAKE2s` (Noise revision 34) up to its last step, and then our own.
//!
//! ```text
//!   initiator                                   responder
//!   propose() ───── -> psk, e ────────────► receive(): the tag verifies, no Diffie-Hellman yet
//!                                               │
//!   Agreement::conclude() ◄── <- e, ee ──── Received::agree() ──► keys
//!      └──► keys
//! ```
//!
//! Nothing here keeps a state that a bad message could spoil: every function starts from the secret and the prologue.
//! The initiator may have sent several proposals with one ephemeral key, one for each challenge. [`Agreement`] then
//! does the Diffie-Hellman once, and is tried under each of them.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use blake2::{Blake2s256, Digest};
use hkdf::SimpleHkdf;
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::kind::{self, KEY_MESSAGE, Kind};
use super::message::Payload;
use super::report::Rejection;
use crate::sa::{Key, PresharedKey, SaParameters};

/// The ESP key material of one exchange as one side sees it, and what the other side said about itself.
pub(super) struct Keys {
    pub peer: Payload,
    pub inbound: KeyMaterial,
    pub outbound: KeyMaterial,
}

/// The key material of one direction: key and salt (RFC 4106 section 8.1). Wiped when dropped.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub(super) struct KeyMaterial {
    key: Key,
    salt: [u8; 4],
}

/// A private key and its public key, which would take as long to compute again as a Diffie-Hellman.
#[derive(Clone)]
pub(super) struct Ephemeral {
    secret: StaticSecret,
    public: PublicKey,
}

/// A proposal whose tag has verified.
pub(super) struct Received {
    symmetric: Symmetric,
    peer_public: PublicKey,
    pub payload: Payload,
}

/// An agreement on its way through the proposals that it may be the answer to.
pub(super) struct Agreement<'a> {
    message: &'a [u8; KEY_MESSAGE],
    peer_public: PublicKey,
    shared: SharedSecret,
}

impl Ephemeral {
    pub(super) fn new(secret: StaticSecret) -> Self {
        Ephemeral { public: PublicKey::from(&secret), secret }
    }
}

/// The proposal. The same arguments yield the same bytes. Under one prologue and ephemeral key there must never be two
/// payloads, because they would be encrypted with the same key and nonce.
pub(super) fn propose(
    prologue: &[u8],
    secret: &PresharedKey,
    ephemeral: &Ephemeral,
    own: Payload,
) -> [u8; KEY_MESSAGE] {
    proposed(prologue, secret, ephemeral, own).1
}

/// The responder's first step: whether the proposal is authentic.
pub(super) fn receive(
    prologue: &[u8],
    secret: &PresharedKey,
    proposal: &[u8; KEY_MESSAGE],
) -> Result<Received, Rejection> {
    let mut symmetric = Symmetric::new(prologue, secret);
    let peer_public = public_key(proposal);
    let key = symmetric.mix_ephemeral(&peer_public);
    let payload = symmetric.open(key, proposal).ok_or(Rejection::Authentication(Kind::Proposal))?;
    Ok(Received { symmetric, peer_public, payload })
}

impl Received {
    /// The responder's second step: makes the agreement and the keys.
    pub(super) fn agree(
        self,
        ephemeral: &Ephemeral,
        own: Payload,
    ) -> Result<(Keys, [u8; KEY_MESSAGE]), Rejection> {
        let Received { mut symmetric, peer_public, payload } = self;
        let shared =
            diffie_hellman(&ephemeral.secret, &peer_public).ok_or(Rejection::PublicKey(Kind::Proposal))?;
        symmetric.mix_ephemeral(&ephemeral.public);
        let key = symmetric.mix_key(shared.as_bytes());
        let message = symmetric.seal(key, &ephemeral.public, own);
        let [initiator_inbound, initiator_outbound] = symmetric.split();
        Ok((Keys { peer: payload, inbound: initiator_outbound, outbound: initiator_inbound }, message))
    }
}

impl<'a> Agreement<'a> {
    /// Fails where the public key is of low order.
    pub(super) fn new(ephemeral: &Ephemeral, message: &'a [u8; KEY_MESSAGE]) -> Result<Self, Rejection> {
        let peer_public = public_key(message);
        let shared =
            diffie_hellman(&ephemeral.secret, &peer_public).ok_or(Rejection::PublicKey(Kind::Agreement))?;
        Ok(Agreement { message, peer_public, shared })
    }

    /// The keys, if this is the answer to the proposal that these arguments make. None where the tag fails.
    pub(super) fn conclude(
        &self,
        prologue: &[u8],
        secret: &PresharedKey,
        ephemeral: &Ephemeral,
        own: Payload,
    ) -> Option<Keys> {
        let (mut symmetric, _) = proposed(prologue, secret, ephemeral, own);
        symmetric.mix_ephemeral(&self.peer_public);
        let key = symmetric.mix_key(self.shared.as_bytes());
        let peer = symmetric.open(key, self.message)?;
        let [inbound, outbound] = symmetric.split();
        Some(Keys { peer, inbound, outbound })
    }
}

fn proposed(
    prologue: &[u8],
    secret: &PresharedKey,
    ephemeral: &Ephemeral,
    own: Payload,
) -> (Symmetric, [u8; KEY_MESSAGE]) {
    let mut symmetric = Symmetric::new(prologue, secret);
    let key = symmetric.mix_ephemeral(&ephemeral.public);
    let message = symmetric.seal(key, &ephemeral.public, own);
    (symmetric, message)
}

/// Noise's symmetric state less the cipher key, which is a value of its own: [`MessageKey`].
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Symmetric {
    chaining_key: [u8; 32],
    hash: [u8; 32],
}

/// The key of exactly one message. Using it consumes it, so Noise's nonce counter, which starts again at zero with
/// every key, is always zero.
#[derive(Zeroize, ZeroizeOnDrop)]
struct MessageKey([u8; 32]);

impl Symmetric {
    /// `Initialize`, then the token `psk`. The key that Noise has after `psk` encrypts nothing in this pattern.
    fn new(prologue: &[u8], secret: &PresharedKey) -> Self {
        // The name has more than 32 bytes, so its hash takes its place (Noise section 5.2).
        let name = Blake2s256::digest(PROTOCOL_NAME).into();
        let mut symmetric = Symmetric { chaining_key: name, hash: name };
        symmetric.mix_hash(&[prologue]);
        let mut output = Zeroizing::new([0; 96]);
        derive(&symmetric.chaining_key, secret.bytes(), &mut *output);
        symmetric.chaining_key.copy_from_slice(&output[..32]);
        symmetric.mix_hash(&[&output[32..64]]);
        symmetric
    }

    fn mix_hash(&mut self, parts: &[&[u8]]) {
        let mut hasher = Blake2s256::new_with_prefix(self.hash);
        for part in parts {
            hasher.update(part);
        }
        self.hash = hasher.finalize().into();
    }

    #[must_use]
    fn mix_key(&mut self, input: &[u8; 32]) -> MessageKey {
        let mut output = Zeroizing::new([0; 64]);
        derive(&self.chaining_key, input, &mut *output);
        self.chaining_key.copy_from_slice(&output[..32]);
        let mut key = MessageKey([0; 32]);
        key.0.copy_from_slice(&output[32..]);
        key
    }

    /// The token `e`, which in a handshake with a pre-shared key also goes into the key (Noise section 9.2).
    fn mix_ephemeral(&mut self, public: &PublicKey) -> MessageKey {
        self.mix_hash(&[public.as_bytes()]);
        self.mix_key(public.as_bytes())
    }

    /// The complete message: public key, and `EncryptAndHash` of the payload.
    fn seal(&mut self, key: MessageKey, public: &PublicKey, payload: Payload) -> [u8; KEY_MESSAGE] {
        let mut message = [0; KEY_MESSAGE];
        message[PUBLIC].copy_from_slice(public.as_bytes());
        message[PAYLOAD].copy_from_slice(&payload.to_wire());
        let tag = Aes256Gcm::new((&key.0).into())
            .encrypt_inout_detached(&Nonce::default(), &self.hash, (&mut message[PAYLOAD]).into())
            .expect("32 bytes are within what GCM encrypts");
        message[TAG].copy_from_slice(&tag);
        self.mix_hash(&[&message[PAYLOAD.start..]]);
        message
    }

    /// `DecryptAndHash`. None where the tag fails.
    fn open(&mut self, key: MessageKey, message: &[u8; KEY_MESSAGE]) -> Option<Payload> {
        let mut payload = [0; kind::PAYLOAD];
        payload.copy_from_slice(&message[PAYLOAD]);
        let mut tag = [0; 16];
        tag.copy_from_slice(&message[TAG]);
        Aes256Gcm::new((&key.0).into())
            .decrypt_inout_detached(&Nonce::default(), &self.hash, payload.as_mut_slice().into(), &tag.into())
            .ok()?;
        self.mix_hash(&[&message[PAYLOAD.start..]]);
        Some(Payload::from_wire(&payload))
    }

    /// In place of Noise's `Split`: the initiator's inbound and outbound key.
    fn split(self) -> [KeyMaterial; 2] {
        let mut output = Zeroizing::new([0; 40]);
        derive(&[0; 32], &self.chaining_key, &mut *output);
        {
            let (halves, _) = output.as_chunks();
            [KeyMaterial::new(&halves[0]), KeyMaterial::new(&halves[1])]
        }
    }
}

impl KeyMaterial {
    /// Bytes of [`message::ALGORITHM`].
    const LEN: usize = 20;

    fn new(bytes: &[u8; KeyMaterial::LEN]) -> KeyMaterial {
        let mut material = KeyMaterial { key: Key::Aes128Gcm([0; 16]), salt: [0; 4] };
        if let Key::Aes128Gcm(key) = &mut material.key {
            key.copy_from_slice(&bytes[..16]);
        }
        material.salt.copy_from_slice(&bytes[16..]);
        material
    }

    /// The SA with this key material and SPI.
    pub(super) fn with_spi(&self, spi: u32) -> SaParameters {
        SaParameters { spi, key: self.key.clone(), salt: self.salt }
    }
}

/// Noise's HKDF is that of RFC 5869 with the chaining key as salt and empty info.
fn derive(salt: &[u8; 32], input: &[u8; 32], output: &mut [u8]) {
    SimpleHkdf::<Blake2s256>::new(Some(salt), input)
        .expand(&[], output)
        .expect("at most 96 bytes are asked for, and HKDF yields 255 times 32");
}

/// None for a peer's key of low order, whose result everyone would know (RFC 7748 section 6.1).
fn diffie_hellman(own: &StaticSecret, peer: &PublicKey) -> Option<SharedSecret> {
    let shared = own.diffie_hellman(peer);
    shared.was_contributory().then_some(shared)
}

fn public_key(message: &[u8; KEY_MESSAGE]) -> PublicKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&message[PUBLIC]);
    PublicKey::from(bytes)
}

const PROTOCOL_NAME: &[u8] = b"Noise_NNpsk0_25519_AESGCM_BLAKE2s";
const PUBLIC: std::ops::Range<usize> = 0..32;
const PAYLOAD: std::ops::Range<usize> = 32..64;
const TAG: std::ops::Range<usize> = 64..80;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde_json::Value;

    use super::*;
    use crate::exchange::message::prologue;

    #[test]
    fn transcripts_of_deployed_gateways_are_reproduced_on_both_sides() {
        for vector in vectors() {
            let number = |name: &str| vector[name].as_u64().unwrap() as u32;
            let prologue = prologue_of(&vector);
            assert_eq!(prologue.as_slice(), bytes(&vector, "prologue"));

            let secret = PresharedKey::new(array(&vector, "psk"));
            let start = Symmetric::new(&prologue, &secret);
            assert_eq!(start.hash.as_slice(), bytes(&vector, "h_after_prologue_psk"));
            assert_eq!(start.chaining_key.as_slice(), bytes(&vector, "ck_after_prologue_psk"));

            let ephemerals = [("initiator_e_sk", "initiator_e_pk"), ("responder_e_sk", "responder_e_pk")]
                .map(|(secret, public)| {
                    let ephemeral = ephemeral(array(&vector, secret));
                    assert_eq!(ephemeral.public.to_bytes(), array(&vector, public));
                    ephemeral
                });
            let [initiator_ephemeral, responder_ephemeral] = ephemerals;

            let own = deployed(number("initiator_rx_spi"));
            let proposal = propose(&prologue, &secret, &initiator_ephemeral, own);
            assert_eq!(proposal.as_slice(), bytes(&vector, "proposal"));

            let received = receive(&prologue, &secret, &proposal).ok().unwrap();
            let (responder, agreement) =
                received.agree(&responder_ephemeral, deployed(number("responder_rx_spi"))).ok().unwrap();
            assert_eq!(agreement.as_slice(), bytes(&vector, "agreement"));

            let initiator = Agreement::new(&initiator_ephemeral, &agreement).ok().unwrap();
            let initiator = initiator.conclude(&prologue, &secret, &initiator_ephemeral, own).unwrap();
            assert_eq!(responder.peer, deployed(number("initiator_inbound_spi")));
            assert_eq!(initiator.peer, deployed(number("initiator_outbound_spi")));
            for (direction, keys) in [
                ("inbound", [&initiator.inbound, &responder.outbound]),
                ("outbound", [&initiator.outbound, &responder.inbound]),
            ] {
                for key in keys {
                    assert_eq!(key.key.bytes(), bytes(&vector, &format!("initiator_{direction}_key")));
                    assert_eq!(key.salt.as_slice(), bytes(&vector, &format!("initiator_{direction}_salt")));
                }
            }
        }
    }

    #[test]
    fn another_implementation_of_noise_agrees_up_to_the_split() {
        for vector in vectors() {
            let (prologue, psk) = (prologue_of(&vector), array(&vector, "psk"));
            let [e_initiator, e_responder] =
                ["initiator_e_sk", "responder_e_sk"].map(|name| array(&vector, name));
            let oracle = |ephemeral: [u8; 32], initiates: bool| {
                let builder = snow::Builder::new("Noise_NNpsk0_25519_AESGCM_BLAKE2s".parse().unwrap())
                    .psk(0, &psk)
                    .unwrap()
                    .prologue(&prologue)
                    .unwrap()
                    .fixed_ephemeral_key_for_testing_only(&ephemeral);
                if initiates {
                    builder.build_initiator().unwrap()
                } else {
                    builder.build_responder().unwrap()
                }
            };
            let payload = |spi: u32| {
                let mut payload = [0; 32];
                payload[..4].copy_from_slice(&spi.to_be_bytes());
                payload[4] = 1;
                payload
            };
            let (e_initiator, e_responder) = (ephemeral(e_initiator), ephemeral(e_responder));
            let (mut theirs, mut read) = ([0; 200], [0; 200]);
            let secret = PresharedKey::new(psk);

            let own = capable(300);
            let mut initiator = oracle(e_initiator.secret.to_bytes(), true);
            let (symmetric, proposal) = proposed(&prologue, &secret, &e_initiator, own);
            let length = initiator.write_message(&payload(300), &mut theirs).unwrap();
            assert_eq!(proposal, theirs[..length]);
            assert_eq!(symmetric.hash, initiator.get_handshake_hash());

            let mut responder = oracle(e_responder.secret.to_bytes(), false);
            assert_eq!(responder.read_message(&proposal, &mut read).unwrap(), 32);
            assert_eq!(read[..32], payload(300));

            let (keys, agreement) = agree(&prologue, &secret, &e_responder, &proposal).unwrap();
            assert_eq!(keys.peer, own);
            let length = responder.write_message(&payload(400), &mut theirs).unwrap();
            assert_eq!(agreement, theirs[..length]);

            assert_eq!(initiator.read_message(&agreement, &mut read).unwrap(), 32);
            assert_eq!(read[..32], payload(400));
            let keys = conclude(&prologue, &secret, &e_initiator, &agreement).unwrap();
            assert_eq!(keys.peer, capable(400));
        }
    }

    #[test]
    fn no_bit_of_a_message_can_be_changed() {
        let secret = PresharedKey::new([1; 32]);
        let (initiator, responder) = (ephemeral([2; 32]), ephemeral([3; 32]));
        let proposal = propose(b"prologue", &secret, &initiator, capable(300));
        let (_, agreement) = agree(b"prologue", &secret, &responder, &proposal).unwrap();
        for bit in 0..KEY_MESSAGE * 8 {
            let flip = |message: &[u8; KEY_MESSAGE]| {
                let mut flipped = *message;
                flipped[bit / 8] ^= 1 << (bit % 8);
                flipped
            };
            let refused = agree(b"prologue", &secret, &responder, &flip(&proposal)).err();
            assert_eq!(refused, Some(Rejection::Authentication(Kind::Proposal)), "bit {bit}");
            let refused = conclude(b"prologue", &secret, &initiator, &flip(&agreement)).err();
            assert_eq!(refused, Some(Rejection::Authentication(Kind::Agreement)), "bit {bit}");
        }
        assert!(conclude(b"prologue", &secret, &initiator, &agreement).is_ok(), "failures leave no trace");
    }

    #[test]
    fn another_secret_or_prologue_does_not_authenticate() {
        let secret = PresharedKey::new([1; 32]);
        let proposal = propose(b"prologue", &secret, &ephemeral([2; 32]), capable(300));
        for (prologue, secret) in [(b"prologuf", secret.clone()), (b"prologue", PresharedKey::new([4; 32]))] {
            let refused = agree(prologue, &secret, &ephemeral([3; 32]), &proposal).err();
            assert_eq!(refused, Some(Rejection::Authentication(Kind::Proposal)));
        }
    }

    #[test]
    fn an_agreement_answers_one_of_the_proposals_of_a_negotiation() {
        let secret = PresharedKey::new([1; 32]);
        let (initiator, responder) = (ephemeral([2; 32]), ephemeral([3; 32]));
        let proposal = propose(b"second", &secret, &initiator, capable(300));
        let (keys, message) = agree(b"second", &secret, &responder, &proposal).unwrap();
        let agreement = Agreement::new(&initiator, &message).ok().unwrap();
        let conclude = |prologue| agreement.conclude(prologue, &secret, &initiator, capable(300));
        assert!(conclude(b"first").is_none());
        assert!(conclude(b"second").unwrap().inbound == keys.outbound);
        assert!(conclude(b"third").is_none());
    }

    #[test]
    fn public_keys_of_low_order_are_refused() {
        let secret = PresharedKey::new([1; 32]);
        for low_order in low_order_points() {
            let mut agreement = [0; KEY_MESSAGE];
            agreement[PUBLIC].copy_from_slice(&low_order);
            let refused = conclude(b"prologue", &secret, &ephemeral([2; 32]), &agreement).err();
            assert_eq!(refused, Some(Rejection::PublicKey(Kind::Agreement)));

            // Only one who has the secret can make such a proposal.
            let mut symmetric = Symmetric::new(b"prologue", &secret);
            let public = PublicKey::from(low_order);
            let key = symmetric.mix_ephemeral(&public);
            let proposal = symmetric.seal(key, &public, capable(300));
            let refused = agree(b"prologue", &secret, &ephemeral([3; 32]), &proposal).err();
            assert_eq!(refused, Some(Rejection::PublicKey(Kind::Proposal)));
        }
    }

    #[test]
    fn fields_of_a_later_format_are_not_looked_at() {
        let secret = PresharedKey::new([1; 32]);
        let mut peer = snow::Builder::new("Noise_NNpsk0_25519_AESGCM_BLAKE2s".parse().unwrap())
            .psk(0, secret.bytes())
            .unwrap()
            .prologue(b"prologue")
            .unwrap()
            .fixed_ephemeral_key_for_testing_only(&[5; 32])
            .build_initiator()
            .unwrap();
        let mut payload = [0xff; 32];
        payload[..4].copy_from_slice(&300_u32.to_be_bytes());
        payload[27] = 0;
        let mut proposal = [0; KEY_MESSAGE];
        peer.write_message(&payload, &mut proposal).unwrap();
        let (keys, _) = agree(b"prologue", &secret, &ephemeral([3; 32]), &proposal).unwrap();
        assert_eq!(keys.peer, capable(300));
    }

    fn agree(
        prologue: &[u8],
        secret: &PresharedKey,
        ephemeral: &Ephemeral,
        proposal: &[u8; KEY_MESSAGE],
    ) -> Result<(Keys, [u8; KEY_MESSAGE]), Rejection> {
        receive(prologue, secret, proposal)?.agree(ephemeral, capable(400))
    }

    /// As initiator with SPI 300.
    fn conclude(
        prologue: &[u8],
        secret: &PresharedKey,
        ephemeral: &Ephemeral,
        agreement: &[u8; KEY_MESSAGE],
    ) -> Result<Keys, Rejection> {
        let keys = Agreement::new(ephemeral, agreement)?.conclude(prologue, secret, ephemeral, capable(300));
        keys.ok_or(Rejection::Authentication(Kind::Agreement))
    }

    fn ephemeral(secret: [u8; 32]) -> Ephemeral {
        Ephemeral::new(StaticSecret::from(secret))
    }

    fn capable(spi: u32) -> Payload {
        Payload { spi, is_capable: true, lane: 0 }
    }

    fn deployed(spi: u32) -> Payload {
        Payload { spi, is_capable: false, lane: 0 }
    }

    /// The order-1, -2, -4 and -8 points and their non-canonical encodings (RFC 7748 section 6.1, in the list of
    /// Bernstein's curve25519 page).
    fn low_order_points() -> Vec<[u8; 32]> {
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ]
        .map(|hex| unhex(hex).try_into().unwrap())
        .to_vec()
    }

    fn vectors() -> Vec<Value> {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../tests/vectors/ske-v5.json")).unwrap();
        assert!(!vectors.is_empty());
        vectors
    }

    fn prologue_of(vector: &Value) -> [u8; 104] {
        let address = |name: &str| vector[name].as_str().unwrap().parse::<IpAddr>().unwrap();
        let challenge = bytes(vector, "challenge");
        prologue(
            vector["route_spi"].as_u64().unwrap() as u32,
            address("initiator_address"),
            address("responder_address"),
            challenge[36..].try_into().unwrap(),
        )
    }

    fn bytes(vector: &Value, name: &str) -> Vec<u8> {
        unhex(vector[name].as_str().unwrap())
    }

    fn array(vector: &Value, name: &str) -> [u8; 32] {
        bytes(vector, name).try_into().unwrap()
    }

    fn unhex(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
            .collect()
    }
}
