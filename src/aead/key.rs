// SPDX-License-Identifier: Apache-2.0
//! Keys in the form of the implementation that expanded them.

use crate::sa::Key;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;

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
    pub(super) fn new(key: &Key) -> Cipher {
        match key {
            Key::Aes128Gcm(key) => Cipher::Aes128(Box::new(Aes128Gcm::new(key.into()))),
            Key::Aes256Gcm(key) => Cipher::Aes256(Box::new(Aes256Gcm::new(key.into()))),
            Key::ChaCha20Poly1305(key) => Cipher::ChaCha20(Box::new(ChaCha20Poly1305::new(key.into()))),
        }
    }
}
