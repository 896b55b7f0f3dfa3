// SPDX-License-Identifier: Apache-2.0
//! Several packets at once.

use super::*;

fn job<'a>(key: &'a Key, nonce: u8, data: &'a mut [u8]) -> Job<'a> {
    Job { key, nonce: [nonce; 12], associated: [7; 12], data, authentic: false }
}

#[test]
fn a_batch_may_mix_keys_of_all_ciphers_and_what_is_forged_stays_closed() {
    for aead in available() {
        let keys = KEYS.each_ref().map(|secret| aead.expand(secret));
        let mut packets: Vec<Vec<u8>> = (0..12u8).map(|i| vec![i; 20 + 16 + i as usize * 31]).collect();
        let plain = packets.clone();
        let mut jobs: Vec<_> =
            packets.iter_mut().enumerate().map(|(i, data)| job(&keys[i % 3], i as u8, data)).collect();
        aead.seal(&mut jobs);
        // One of each cipher.
        let is_forged = |i| i == 3 || i == 7 || i == 11;
        for (_, packet) in packets.iter_mut().enumerate().filter(|(i, _)| is_forged(*i)) {
            packet[5] ^= 1;
        }
        let mut jobs: Vec<_> =
            packets.iter_mut().enumerate().map(|(i, data)| job(&keys[i % 3], i as u8, data)).collect();
        aead.open(&mut jobs);
        for (i, job) in jobs.iter().enumerate() {
            assert_eq!(job.authentic, !is_forged(i), "{} {i}", aead.name());
            let text = ..plain[i].len() - ICV;
            assert_eq!(job.data[text] == plain[i][text], !is_forged(i), "{} {i}", aead.name());
        }
    }
}

#[test]
fn data_shorter_than_an_icv_is_not_authentic() {
    for aead in available() {
        let key = aead.expand(&[1; 16].into());
        for len in 0..ICV {
            let mut data = vec![0; len];
            let mut jobs = [job(&key, 0, &mut data)];
            aead.seal(&mut jobs);
            aead.open(&mut jobs);
            assert!(!jobs[0].authentic);
            assert_eq!(data, vec![0; len]);
        }
    }
}

#[test]
fn implementations_agree_and_take_each_others_keys() {
    for secret in &KEYS {
        for len in (0..300).chain([1420, 1472, 1473, 1474, 1488, 1489, 1520, 1536, 2048, 4096, 9000]) {
            let plain: Vec<u8> = (0..len + ICV).map(|i| i as u8).collect();
            let key = Portable.expand(secret);
            let mut expected = plain.clone();
            Portable.seal(&mut [job(&key, 9, &mut expected)]);
            for aead in available() {
                for key in available().iter().map(|other| other.expand(secret)) {
                    let mut data = plain.clone();
                    aead.seal(&mut [job(&key, 9, &mut data)]);
                    assert_eq!(data, expected, "{} {len}", aead.name());
                    let mut jobs = [job(&key, 9, &mut data)];
                    aead.open(&mut jobs);
                    assert!(jobs[0].authentic);
                    assert_eq!(data[..len], plain[..len], "{} {len}", aead.name());
                    assert_eq!(data[len..], expected[len..], "{} {len}", aead.name());
                }
            }
        }
    }
}
