// SPDX-License-Identifier: Apache-2.0
//! Whatever the packets, all implementations make of them what the crates make.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn one_packet(
        cipher in 0..3usize,
        key: [u8; 32],
        nonce: [u8; 12],
        associated in prop_oneof![vec(any::<u8>(), 8), vec(any::<u8>(), 12), vec(any::<u8>(), 0..=32)],
        len in prop_oneof![0..200usize, 0..9001usize],
        offset in 0..64usize,
        seed: u64,
    ) {
        let (key, text) = (of_cipher(cipher, key), noise(len, seed));
        let sealed = expected(&key, &nonce, &associated, &text);
        for aead in available() {
            // Surrounded by bytes that nobody may change.
            let mut memory = vec![0xee; offset + len + ICV + 64];
            let place = offset..offset + len + ICV;
            memory[place.clone()][..len].copy_from_slice(&text);
            seal(*aead, &key, &nonce, &associated, &mut memory[place.clone()]);
            prop_assert_eq!(&memory[place.clone()], &sealed, "{}", aead.name());
            prop_assert!(open(*aead, &key, &nonce, &associated, &mut memory[place.clone()]));
            prop_assert_eq!(&memory[place.clone()][..len], &text, "{}", aead.name());
            prop_assert!(memory[..offset].iter().all(|byte| *byte == 0xee));
            prop_assert!(memory[place.end..].iter().all(|byte| *byte == 0xee));
        }
    }

    #[test]
    fn a_batch_of_many_keys(
        packets in vec((0..8usize, prop_oneof![4 => 0..100usize, 4 => 0..1600usize, 1 => 0..9001usize], any::<bool>()), 1..=64),
        seed: u64,
    ) {
        let secrets: Vec<_> = (0..8).map(|i| of_cipher(i % 3, noise(32, seed ^ i as u64).try_into().unwrap())).collect();
        let nonce = |i: usize| [i as u8; 12];
        let texts: Vec<_> = packets.iter().map(|(_, len, _)| noise(*len, seed)).collect();
        for aead in available() {
            let keys: Vec<_> = secrets.iter().map(|secret| aead.expand(secret)).collect();
            let mut data: Vec<_> = texts.iter().map(|text| [&text[..], &[0; ICV]].concat()).collect();
            let mut jobs: Vec<_> = data
                .iter_mut()
                .zip(&packets)
                .enumerate()
                .map(|(i, (data, (key, _, _)))| Job {
                    key: &keys[*key],
                    nonce: nonce(i),
                    associated: [9; 12],
                    data,
                    authentic: false,
                })
                .collect();
            aead.seal(&mut jobs);
            for (i, job) in jobs.iter_mut().enumerate() {
                let (key, _, forged) = packets[i];
                let sealed = expected(&secrets[key], &nonce(i), &[9; 12], &texts[i]);
                prop_assert_eq!(&*job.data, &sealed, "{}", aead.name());
                job.nonce[0] ^= u8::from(forged);
            }
            aead.open(&mut jobs);
            for (i, job) in jobs.iter().enumerate() {
                prop_assert_eq!(job.authentic, !packets[i].2, "{}", aead.name());
                if job.authentic {
                    prop_assert_eq!(&job.data[..texts[i].len()], &texts[i], "{}", aead.name());
                }
            }
        }
    }
}

fn of_cipher(cipher: usize, key: [u8; 32]) -> Key {
    match cipher {
        0 => secret(&key[..16]),
        1 => Key::Aes256Gcm(key),
        _ => Key::ChaCha20Poly1305(key),
    }
}
