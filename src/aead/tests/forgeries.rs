// SPDX-License-Identifier: Apache-2.0
//! One bit is enough.

use super::*;

#[test]
fn a_changed_byte_anywhere_is_found_and_nothing_of_the_text_comes_out() {
    for len in [0, 1, 15, 16, 44, 48, 49, 64, 130, 241, 256, 354, 1489, 1600] {
        let text = noise(len, 1);
        for secret in &KEYS {
            let sealed = expected(secret, &[3; 12], &[7; 12], &text);
            for aead in available() {
                let key = aead.expand(secret);
                for position in 0..len + ICV {
                    let mut data = sealed.clone();
                    data[position] ^= 1 << (position % 8);
                    is_found(*aead, &key, &mut data, &sealed);
                }
            }
        }
    }
}

#[test]
fn a_changed_nonce_key_associated_data_or_length_is_found() {
    let text = noise(100, 2);
    for key in &KEYS {
        let sealed = expected(key, &[3; 12], &[7; 12], &text);
        let is_found = |key: &Key, nonce: &[u8; 12], associated: &[u8], data: &[u8]| {
            for aead in available() {
                assert!(!open(*aead, key, nonce, associated, &mut data.to_vec()), "{}", aead.name());
            }
        };
        for bit in 0..96 {
            let mut changed = [3; 12];
            changed[bit / 8] ^= 1 << (bit % 8);
            is_found(key, &changed, &[7; 12], &sealed);
            let mut changed = [7; 12];
            changed[bit / 8] ^= 1 << (bit % 8);
            is_found(key, &[3; 12], &changed, &sealed);
        }
        for bit in 0..8 * key.bytes().len() {
            let mut changed = key.clone();
            match &mut changed {
                Key::Aes128Gcm(bytes) => bytes[bit / 8] ^= 1 << (bit % 8),
                Key::Aes256Gcm(bytes) | Key::ChaCha20Poly1305(bytes) => bytes[bit / 8] ^= 1 << (bit % 8),
            }
            is_found(&changed, &[3; 12], &[7; 12], &sealed);
        }
        for other in KEYS.iter().filter(|other| *other != key) {
            is_found(other, &[3; 12], &[7; 12], &sealed);
        }
        is_found(key, &[3; 12], &[7; 11], &sealed);
        is_found(key, &[3; 12], &[7; 12], &sealed[1..]);
        is_found(key, &[3; 12], &[7; 12], &sealed[..sealed.len() - 1]);
        is_found(key, &[3; 12], &[7; 12], &[&sealed[..], &[0]].concat());
    }
}

/// `data` differs from what was sealed: it is not authentic, keeps its ICV, and shows zeros or ciphertext.
fn is_found(aead: &dyn Aead, key: &ExpandedKey, data: &mut [u8], sealed: &[u8]) {
    let (len, name) = (data.len() - ICV, aead.name());
    let icv = data[len..].to_vec();
    let mut jobs = [Job { key, nonce: [3; 12], associated: [7; 12], data, authentic: true }];
    aead.open(&mut jobs);
    assert!(!jobs[0].authentic, "{name} {len}");
    assert_eq!(data[len..], icv, "{name} {len}");
    let zeroed = data[..len].iter().all(|byte| *byte == 0);
    let untouched = data[..len].iter().zip(sealed).filter(|(a, b)| a != b).count() <= 1;
    assert!(zeroed || untouched, "{name} {len}");
}
