// SPDX-License-Identifier: Apache-2.0
//! AES-GCM of the `aes-gcm` crate, which uses AES instructions where it knows them.

use super::key::Expanded;
use super::{Aead, ICV, Job, Key};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit};

pub struct Portable;

impl Aead for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn expand(&self, key: &[u8; 16]) -> Key {
        Key(Expanded::Portable(Box::new(Aes128Gcm::new(key.into()))))
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
fn with_cipher<T>(key: &Key, work: impl FnOnce(&Aes128Gcm) -> T) -> T {
    match &key.0 {
        Expanded::Portable(cipher) => work(cipher),
        #[cfg(target_arch = "x86_64")]
        Expanded::Table(table) => {
            let key = zeroize::Zeroizing::new(table.cipher_key());
            work(&Aes128Gcm::new((&*key).into()))
        }
    }
}

pub(super) fn seal(cipher: &Aes128Gcm, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) {
    let Some((text, icv)) = data.split_last_chunk_mut::<ICV>() else { return };
    // The cipher refuses nothing below 64 GiB.
    if let Ok(tag) = cipher.encrypt_inout_detached(nonce.into(), associated, text.into()) {
        *icv = tag.into();
    }
}

pub(super) fn open(cipher: &Aes128Gcm, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> bool {
    let Some((text, icv)) = data.split_last_chunk_mut::<ICV>() else { return false };
    cipher.decrypt_inout_detached(nonce.into(), associated, text.into(), (&*icv).into()).is_ok()
}
