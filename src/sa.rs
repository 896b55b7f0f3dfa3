// SPDX-License-Identifier: Apache-2.0
//! Security associations in words: algorithm, key, salt, SPI, direction. Everyone who configures, negotiates, keeps or uses an
//! SA uses these types, so that a key is never without its algorithm.

use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// An AEAD of ESP, with a salt of four bytes and an ICV of sixteen (RFC 4106, RFC 7634).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// AES-GCM with a key of 128 bits: the one that version 5 of the key exchange agrees on.
    Aes128Gcm,
    /// AES-GCM with a key of 256 bits.
    Aes256Gcm,
    /// ChaCha20 with Poly1305.
    ChaCha20Poly1305,
}

/// The bytes of a key, for one algorithm. Wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub enum Key {
    /// For [`Algorithm::Aes128Gcm`].
    Aes128Gcm([u8; 16]),
    /// For [`Algorithm::Aes256Gcm`].
    Aes256Gcm([u8; 32]),
    /// For [`Algorithm::ChaCha20Poly1305`].
    ChaCha20Poly1305([u8; 32]),
}

/// Parameters that the two ends of an SA agree on. Wiped when dropped.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct SaParameters {
    /// The security parameter index.
    pub spi: u32,
    /// The key, and with it the algorithm.
    pub key: Key,
    /// The first bytes of each nonce.
    pub salt: [u8; 4],
}

/// Which way the packets of an SA go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Direction {
    /// From the far gateway.
    Inbound,
    /// To the far gateway.
    Outbound,
}

/// The secret that the two ends of a route share. Behind a pointer, so that moving it leaves no copies; wiped when dropped, and
/// never shown.
#[derive(Clone, ZeroizeOnDrop)]
pub struct PresharedKey(Box<[u8; 32]>);

impl Algorithm {
    /// All of them, the default first.
    pub const ALL: [Algorithm; 3] = [Algorithm::Aes128Gcm, Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305];

    /// The name in a configuration, and in the key exchange.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Aes128Gcm => "aes-gcm-16-icv",
            Algorithm::Aes256Gcm => "aes-256-gcm-16-icv",
            Algorithm::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// The algorithm of that name.
    pub fn named(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Bytes of a key.
    pub const fn key_len(self) -> usize {
        match self {
            Algorithm::Aes128Gcm => 16,
            Algorithm::Aes256Gcm | Algorithm::ChaCha20Poly1305 => 32,
        }
    }
}

impl Key {
    /// A key for `algorithm`; `None` if it has another length.
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Key> {
        Some(match algorithm {
            Algorithm::Aes128Gcm => Key::Aes128Gcm(bytes.try_into().ok()?),
            Algorithm::Aes256Gcm => Key::Aes256Gcm(bytes.try_into().ok()?),
            Algorithm::ChaCha20Poly1305 => Key::ChaCha20Poly1305(bytes.try_into().ok()?),
        })
    }

    /// The algorithm that it is for.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Key::Aes128Gcm(_) => Algorithm::Aes128Gcm,
            Key::Aes256Gcm(_) => Algorithm::Aes256Gcm,
            Key::ChaCha20Poly1305(_) => Algorithm::ChaCha20Poly1305,
        }
    }

    /// Its secret bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Key::Aes128Gcm(bytes) => bytes,
            Key::Aes256Gcm(bytes) | Key::ChaCha20Poly1305(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, hidden)", self.algorithm().name())
    }
}

impl fmt::Debug for SaParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("SaParameters");
        fields.field("spi", &self.spi).field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        })
    }
}

impl PresharedKey {
    /// A secret of these bytes.
    pub fn new(key: [u8; 32]) -> PresharedKey {
        PresharedKey(Box::new(key))
    }

    /// Its secret bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for PresharedKey {
    fn eq(&self, other: &PresharedKey) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for PresharedKey {}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fits_its_algorithm_and_shows_neither_bytes_nor_salt() {
        for algorithm in Algorithm::ALL {
            let bytes: Vec<u8> = (0xa0..).take(algorithm.key_len()).collect();
            let key = Key::new(algorithm, &bytes).unwrap();
            assert_eq!((key.algorithm(), key.bytes()), (algorithm, &bytes[..]));
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
            assert!(Key::new(algorithm, &bytes[1..]).is_none());
            let sa = SaParameters { spi: 300, key, salt: [0xa7; 4] };
            let shown = format!("{sa:?} {:?}", PresharedKey::new([0xa7; 32]));
            assert!(shown.contains("300") && !shown.contains("167") && !shown.contains("a7"), "{shown}");
        }
        assert_eq!(Algorithm::named("aes-gcm"), None);
    }
}
