// SPDX-License-Identifier: Apache-2.0
//! AES-GCM of the `aes-gcm` crate, which uses AES instructions where it knows them, and ChaCha20-Poly1305 of the
//! `chacha20poly1305` crate, which uses AVX2.

use super::key::{Cipher, Expanded};
use super::{Aead, ExpandedKey, ICV, Job, Key};
use aes_gcm::aead::AeadInOut;
/// AES-GCM of the `aes-gcm` crate.
pub struct Portable;

impl Aead for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn expand(&self, secret: &Key) -> ExpandedKey {
        ExpandedKey(Expanded::Portable(Cipher::new(secret)))
    }

    fn seal(&self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            with_cipher(job.key, |cipher| seal(cipher, &job.nonce, &job.associated, job.data));
        }
    }

    fn open(&self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            job.authentic =
                with_cipher(job.key, |cipher| open(cipher, &job.nonce, &job.associated, job.data));
        }
    }
}

/// With the key of another implementation this is slow, but right.
fn with_cipher<T>(key: &ExpandedKey, work: impl FnOnce(&Cipher) -> T) -> T {
    match &key.0 {
        Expanded::Portable(cipher) => work(cipher),
        #[cfg(target_arch = "x86_64")]
        Expanded::Table(table) => work(&Cipher::new(&table.secret())),
    }
}

pub(super) fn seal(cipher: &Cipher, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) {
    let Some((text, icv)) = data.split_last_chunk_mut::<ICV>() else { return };
    let (nonce, text) = (nonce.into(), text.into());
    let tag = match cipher {
        Cipher::Aes128(cipher) => cipher.encrypt_inout_detached(nonce, associated, text),
        Cipher::Aes256(cipher) => cipher.encrypt_inout_detached(nonce, associated, text),
        Cipher::ChaCha20(cipher) => cipher.encrypt_inout_detached(nonce, associated, text),
    };
    // The cipher refuses nothing below 64 GiB.
    if let Ok(tag) = tag {
        *icv = tag.into();
    }
}

pub(super) fn open(cipher: &Cipher, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> bool {
    let Some((text, icv)) = data.split_last_chunk_mut::<ICV>() else { return false };
    let (nonce, text, tag) = (nonce.into(), text.into(), (&*icv).into());
    match cipher {
        Cipher::Aes128(cipher) => cipher.decrypt_inout_detached(nonce, associated, text, tag).is_ok(),
        Cipher::Aes256(cipher) => cipher.decrypt_inout_detached(nonce, associated, text, tag).is_ok(),
        Cipher::ChaCha20(cipher) => cipher.decrypt_inout_detached(nonce, associated, text, tag).is_ok(),
    }
}
