// SPDX-License-Identifier: Apache-2.0
//! Several packets at once.

use super::*;

fn job<'a>(key: &'a ExpandedKey, nonce: u8, data: &'a mut [u8]) -> Job<'a> {
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

/// Short packets are done in groups. Each has a length, a key and a verdict of its own.
#[test]
fn of_a_group_of_short_packets_those_that_are_forged_stay_closed() {
    const LENGTHS: [[usize; 8]; 3] = [
        [0, 1, 15, 16, 17, 44, 47, 48],
        [49, 50, 63, 64, 65, 80, 111, 112],
        [0, 48, 49, 64, 112, 113, 128, 300],
    ];
    for aead in available() {
        let secrets = [
            Key::Aes128Gcm([5; 16]),
            Key::Aes128Gcm([6; 16]),
            Key::Aes256Gcm([5; 32]),
            Key::Aes256Gcm([6; 32]),
        ];
        let keys = secrets.each_ref().map(|secret: &Key| aead.expand(secret));
        for (round, forged) in (0..16).cycle().take(16 * 3 * 64).enumerate() {
            let key = |i: usize| {
                [round / 192 % 4, [0, 0, 1, 0][i], [2, 3, 2, 2][i], [0, 1, 2, 3][i]][round / 48 % 4]
            };
            let length = |i: usize| LENGTHS[round / 16 % 3][(round / 48 * (i + 1) + i) % 8];
            let texts: [Vec<u8>; 4] = std::array::from_fn(|i| noise(length(i), i as u64));
            let mut packets = texts.each_ref().map(|text| [&text[..], &[0; ICV]].concat());
            let work = |packets: &mut [Vec<u8>; 4], sealing: bool| {
                let mut jobs: Vec<_> = packets
                    .iter_mut()
                    .enumerate()
                    .map(|(i, data)| job(&keys[key(i)], i as u8, data))
                    .collect();
                if sealing {
                    aead.seal(&mut jobs)
                } else {
                    aead.open(&mut jobs)
                }
                jobs.iter().map(|job| job.authentic).collect::<Vec<_>>()
            };
            work(&mut packets, true);
            for (i, packet) in packets.iter_mut().enumerate() {
                let secret = &secrets[key(i)];
                assert_eq!(*packet, expected(secret, &[i as u8; 12], &[7; 12], &texts[i]), "{}", aead.name());
                packet[length(i) * (round % 2)] ^= forged >> i & 1;
            }
            let arrived = packets.clone();
            let verdicts = work(&mut packets, false);
            for (i, packet) in packets.iter().enumerate() {
                assert_eq!(verdicts[i], forged >> i & 1 == 0, "{} {round} {i}", aead.name());
                let text = &packet[..length(i)];
                let is_closed = text.iter().all(|byte| *byte == 0) || *text == arrived[i][..length(i)];
                assert!(
                    if verdicts[i] { text == texts[i] } else { is_closed },
                    "{} {round} {i}",
                    aead.name()
                );
            }
        }
    }
}

#[test]
fn data_shorter_than_an_icv_is_not_authentic() {
    for aead in available() {
        let key = aead.expand(&Key::Aes128Gcm([1; 16]));
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
