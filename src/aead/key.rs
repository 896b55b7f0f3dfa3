// SPDX-License-Identifier: Apache-2.0
//! Keys: as they are agreed on, and in the form of the implementation that expanded them.

use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The bytes of a key, and what it is for. Wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub enum Secret {
    Aes128([u8; 16]),
    Aes256([u8; 32]),
    /// With Poly1305 (RFC 8439 section 2.8).
    ChaCha20([u8; 32]),
}

impl Secret {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Secret::Aes128(bytes) => bytes,
            Secret::Aes256(bytes) | Secret::ChaCha20(bytes) => bytes,
        }
    }
}

impl From<[u8; 16]> for Secret {
    fn from(bytes: [u8; 16]) -> Secret {
        Secret::Aes128(bytes)
    }
}

impl From<[u8; 32]> for Secret {
    fn from(bytes: [u8; 32]) -> Secret {
        Secret::Aes256(bytes)
    }
}

/// Behind a pointer, so that moving a key leaves no copies to wipe. All forms wipe themselves.
pub(super) enum Expanded {
    Portable(Cipher),
    #[cfg(target_arch = "x86_64")]
    Table(super::x86::Table),
}

/// Of the `aes-gcm` and `chacha20poly1305` crates.
pub(super) enum Cipher {
    Aes128(Box<Aes128Gcm>),
    Aes256(Box<Aes256Gcm>),
    ChaCha20(Box<ChaCha20Poly1305>),
}

impl Cipher {
    pub(super) fn new(secret: &Secret) -> Cipher {
        match secret {
            Secret::Aes128(key) => Cipher::Aes128(Box::new(Aes128Gcm::new(key.into()))),
            Secret::Aes256(key) => Cipher::Aes256(Box::new(Aes256Gcm::new(key.into()))),
            Secret::ChaCha20(key) => Cipher::ChaCha20(Box::new(ChaCha20Poly1305::new(key.into()))),
        }
    }
}
