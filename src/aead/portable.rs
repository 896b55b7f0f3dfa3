// SPDX-License-Identifier: Apache-2.0
//! AES-GCM of the `aes-gcm` crate, which uses AES-NI and PCLMULQDQ where the CPU has them.

use super::{Aead, ICV, Job, Key};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit};

pub struct Portable;

pub(super) type Expanded = Aes128Gcm;

impl Aead for Portable {
    fn name(&self) -> &'static str {
        "aes-gcm crate"
    }

    fn expand(&self, key: &[u8; 16]) -> Key {
        Key(Aes128Gcm::new(key.into()))
    }

    fn seal(&self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            let Some((text, icv)) = job.data.split_last_chunk_mut::<ICV>() else { continue };
            // The cipher refuses nothing below 64 GiB.
            if let Ok(tag) =
                job.key.0.encrypt_inout_detached((&job.nonce).into(), &job.associated, text.into())
            {
                *icv = tag.into();
            }
        }
    }

    fn open(&self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            let Some((text, icv)) = job.data.split_last_chunk_mut::<ICV>() else { continue };
            let (nonce, icv) = ((&job.nonce).into(), (&*icv).into());
            job.authentic =
                job.key.0.decrypt_inout_detached(nonce, &job.associated, text.into(), icv).is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job<'a>(key: &'a Key, nonce: u8, data: &'a mut [u8]) -> Job<'a> {
        Job { key, nonce: [nonce; 12], associated: [7; 12], data, authentic: false }
    }

    #[test]
    fn a_batch_may_mix_keys_and_what_is_forged_stays_closed() {
        let keys = [Portable.expand(&[1; 16]), Portable.expand(&[2; 16])];
        let mut packets: Vec<Vec<u8>> = (0..6u8).map(|i| vec![i; 20 + 16 + i as usize * 31]).collect();
        let plain = packets.clone();
        let mut jobs: Vec<_> =
            packets.iter_mut().enumerate().map(|(i, data)| job(&keys[i % 2], i as u8, data)).collect();
        Portable.seal(&mut jobs);
        packets[3][5] ^= 1;
        let sealed = packets[3].clone();
        let mut jobs: Vec<_> =
            packets.iter_mut().enumerate().map(|(i, data)| job(&keys[i % 2], i as u8, data)).collect();
        Portable.open(&mut jobs);
        let authentic: Vec<_> = jobs.iter().map(|job| job.authentic).collect();
        assert_eq!(authentic, [true, true, true, false, true, true]);
        for (i, (opened, plain)) in packets.iter().zip(&plain).enumerate() {
            let text = ..plain.len() - ICV;
            if i == 3 {
                assert_eq!(opened, &sealed);
            } else {
                assert_eq!(opened[text], plain[text]);
            }
        }
    }

    #[test]
    fn data_shorter_than_an_icv_is_not_authentic() {
        let key = Portable.expand(&[1; 16]);
        let mut data = [0; ICV - 1];
        let mut jobs = [job(&key, 0, &mut data)];
        Portable.seal(&mut jobs);
        Portable.open(&mut jobs);
        assert!(!jobs[0].authentic);
    }
}
