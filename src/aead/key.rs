// SPDX-License-Identifier: Apache-2.0
//! Keys: as they are agreed on, and in the form of the implementation that expanded them.

use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The bytes of a key; their number says which AES it is for. Wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub enum Secret {
    Aes128([u8; 16]),
    Aes256([u8; 32]),
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

/// Of the `aes-gcm` crate.
pub(super) enum Cipher {
    Aes128(Box<Aes128Gcm>),
    Aes256(Box<Aes256Gcm>),
}

impl Cipher {
    pub(super) fn new(secret: &Secret) -> Cipher {
        match secret {
            Secret::Aes128(key) => Cipher::Aes128(Box::new(Aes128Gcm::new(key.into()))),
            Secret::Aes256(key) => Cipher::Aes256(Box::new(Aes256Gcm::new(key.into()))),
        }
    }
}
