// SPDX-License-Identifier: Apache-2.0
//! Every implementation that this CPU has, against vectors of third parties and against the crates.

use super::*;
use crate::aead::key::Expanded;
use std::ptr;

mod batches;
mod borders;
mod forgeries;
mod random;
mod vectors;

/// One packet through one implementation, with associated data of any length: alone, and in company.
fn seal(aead: &dyn Aead, key: &Key, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) {
    let key = [aead.expand(key), aead.expand(&other(key))];
    if let Ok(associated) = associated.try_into() {
        in_company(&key, nonce, associated, data, |jobs| aead.seal(jobs));
        return;
    }
    match &key[0].0 {
        Expanded::Portable(cipher) => portable::seal(cipher, nonce, associated, data),
        #[cfg(target_arch = "x86_64")]
        Expanded::Table(table) => {
            let mut job = Job { key: &key[0], nonce: *nonce, associated: [0; 12], data, authentic: false };
            width(aead).one::<true>(table, associated, &mut job);
        }
    }
}

fn open(aead: &dyn Aead, key: &Key, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> bool {
    let key = [aead.expand(key), aead.expand(&other(key))];
    if let Ok(associated) = associated.try_into() {
        return in_company(&key, nonce, associated, data, |jobs| aead.open(jobs));
    }
    match &key[0].0 {
        Expanded::Portable(cipher) => portable::open(cipher, nonce, associated, data),
        #[cfg(target_arch = "x86_64")]
        Expanded::Table(table) => {
            let mut job = Job { key: &key[0], nonce: *nonce, associated: [0; 12], data, authentic: false };
            width(aead).one::<false>(table, associated, &mut job);
            job.authentic
        }
    }
}

/// Has a packet and copies of it worked on in batches of which some are groups: what it is among does not matter. Says
/// whether it is authentic.
fn in_company(
    keys: &[ExpandedKey; 2],
    nonce: &[u8; 12],
    associated: &[u8; 12],
    data: &mut [u8],
    work: impl Fn(&mut [Job<'_>]),
) -> bool {
    let mut copies: [Vec<u8>; 8] = std::array::from_fn(|_| data.to_vec());
    let [alone, others @ ..] = &mut copies;
    fn job<'a>(key: &'a ExpandedKey, data: &'a mut [u8], like: (&[u8; 12], &[u8; 12])) -> Job<'a> {
        Job { key, nonce: *like.0, associated: *like.1, data, authentic: false }
    }
    let mut jobs = [job(&keys[0], alone, (nonce, associated))];
    work(&mut jobs);
    let authentic = jobs[0].authentic;
    // Four under one key, and four under more than one.
    let datas = [data].into_iter().chain(others.iter_mut().map(Vec::as_mut_slice));
    let mut jobs: Vec<_> = [0, 0, 0, 0, 0, 1, 0, 1]
        .into_iter()
        .zip(datas)
        .map(|(key, data)| job(&keys[key], data, (nonce, associated)))
        .collect();
    work(&mut jobs);
    for job in jobs.iter().filter(|job| ptr::eq(job.key, &keys[0])) {
        assert_eq!((&*job.data, job.authentic), (&alone[..], authentic));
    }
    authentic
}

#[cfg(target_arch = "x86_64")]
fn width(aead: &dyn Aead) -> X86 {
    let widths = [X86::zmm(), X86::ymm(), X86::xmm()];
    widths.into_iter().flatten().find(|width| width.name() == aead.name()).unwrap()
}

/// Another key of the same cipher.
fn other(key: &Key) -> Key {
    let mut other = key.clone();
    match &mut other {
        Key::Aes128Gcm(bytes) => bytes[0] ^= 1,
        Key::Aes256Gcm(bytes) | Key::ChaCha20Poly1305(bytes) => bytes[0] ^= 1,
    }
    other
}

/// What the crates make of a text.
fn expected(key: &Key, nonce: &[u8; 12], associated: &[u8], text: &[u8]) -> Vec<u8> {
    let mut data = [text, &[0; ICV]].concat();
    seal(&Portable, key, nonce, associated, &mut data);
    data
}

/// Of AES, with 16 or 32 bytes.
fn secret(key: &[u8]) -> Key {
    match <[u8; 16]>::try_from(key) {
        Ok(key) => Key::Aes128Gcm(key),
        Err(_) => Key::Aes256Gcm(key.try_into().unwrap()),
    }
}

/// One of each cipher.
static KEYS: [Key; 3] = [Key::Aes128Gcm([5; 16]), Key::Aes256Gcm([5; 32]), Key::ChaCha20Poly1305([5; 32])];

/// Bytes without pattern, the same in every run.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(step).collect()
}

/// The compiler checks it: a key that does not wipe itself does not get here.
#[test]
fn expanded_keys_wipe_themselves() {
    fn wipes<T: zeroize::ZeroizeOnDrop>() {}
    wipes::<Key>();
    wipes::<aes_gcm::Aes128Gcm>();
    wipes::<aes_gcm::Aes256Gcm>();
    wipes::<chacha20poly1305::ChaCha20Poly1305>();
    #[cfg(target_arch = "x86_64")]
    {
        wipes::<x86::Near>();
        wipes::<x86::Far>();
    }
}
