// SPDX-License-Identifier: Apache-2.0
//! What is computed once per key: the AES key schedule, the first round of counters, and powers of the GHASH key. All
//! widths share its form.

use super::super::Key;
use super::ghash;
use crate::prefetch::prefetch_bytes;
use std::arch::x86_64::*;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What packets use of a key, in two pieces: where many tunnels meet, keys are far from the core, and a short packet
/// asks for four lines of the cache, all in a row.
pub(in super::super) struct Table {
    near: Box<Near>,
    far: Box<Far>,
    aes256: bool,
}

/// All that short packets use. Wiped when dropped.
#[repr(C, align(64))]
#[derive(Zeroize, ZeroizeOnDrop)]
pub(in super::super) struct Near {
    /// H to the power of `NEAR_POWERS`, …, H², H. Vectors reach beyond the end, but have zeros there.
    powers: [u128; NEAR_POWERS],
    rounds: [u128; MOST_ROUNDS + 1],
}

/// What longer packets use besides the round keys. Wiped when dropped.
#[repr(C, align(64))]
#[derive(Zeroize, ZeroizeOnDrop)]
pub(in super::super) struct Far {
    /// H to the power of `POWERS`, …, H², H; then zeros, since vectors reach beyond the end.
    powers: [u128; POWERS + BEYOND],
    /// What counters from 1 to `POWERS` add to a block of which the first round is done. The last byte of a counter
    /// block goes through the S-box alone, and what follows in the round is linear: so the round of all other bytes
    /// is done once per packet, and that of the counter once per key.
    begun: [u128; POWERS],
}

impl Table {
    /// None unless the key is for AES.
    ///
    /// # Safety
    /// The CPU has AES-NI, PCLMULQDQ and AVX.
    #[target_feature(enable = "aes,pclmulqdq,avx")]
    pub(super) unsafe fn expand(secret: &Key) -> Option<Table> {
        let mut near = Box::new(Near { powers: [0; NEAR_POWERS], rounds: [0; MOST_ROUNDS + 1] });
        let mut far = Box::new(Far { powers: [0; POWERS + BEYOND], begun: [0; POWERS] });
        match secret {
            Key::Aes128Gcm(key) => near.expand_128(key),
            Key::Aes256Gcm(key) => near.expand_256(key),
            Key::ChaCha20Poly1305(_) => return None,
        }
        far.begin_counters(near.rounds[0]);

        let aes256 = matches!(secret, Key::Aes256Gcm(_));
        let rounds = if aes256 { MOST_ROUNDS } else { 10 };
        let mut block = as_vector(near.rounds[0]);
        for round in &near.rounds[1..rounds] {
            block = _mm_aesenc_si128(block, as_vector(*round));
        }
        let hash_key = as_number(_mm_aesenclast_si128(block, as_vector(near.rounds[rounds])));
        let first = as_vector(times_x(hash_key.swap_bytes()));
        let mut power = first;
        for to in far.powers[..POWERS].iter_mut().rev() {
            *to = as_number(power);
            // SAFETY: the caller's.
            power = unsafe { ghash::times(power, first) };
        }
        near.powers.copy_from_slice(&far.powers[POWERS - NEAR_POWERS..POWERS]);
        Some(Table { near, far, aes256 })
    }

    /// The key that was expanded is the beginning of the round keys.
    pub(in super::super) fn secret(&self) -> Key {
        let mut bytes = Zeroizing::new([0; 32]);
        let (first, second) = bytes.split_at_mut(16);
        first.copy_from_slice(&self.near.rounds[0].to_le_bytes());
        second.copy_from_slice(&self.near.rounds[1].to_le_bytes());
        match first.try_into() {
            Ok(first) if !self.aes256 => Key::Aes128Gcm(first),
            _ => Key::Aes256Gcm(*bytes),
        }
    }

    #[inline(always)]
    pub(super) fn is_aes256(&self) -> bool {
        self.aes256
    }

    /// Where a vector of powers is loaded from whose first lane is H to this power, at most [`POWERS`].
    #[inline(always)]
    pub(super) fn power(&self, power: usize) -> *const u8 {
        debug_assert!((1..=POWERS).contains(&power));
        self.far.powers.as_ptr().wrapping_add(POWERS - power).cast()
    }

    /// The same for at most [`NEAR_POWERS`]; lanes beyond H are arbitrary: all that they are multiplied by is zero.
    #[inline(always)]
    pub(super) fn near_power(&self, power: usize) -> *const u8 {
        debug_assert!((1..=NEAR_POWERS).contains(&power));
        (&raw const *self.near).cast::<u128>().wrapping_add(NEAR_POWERS - power).cast()
    }

    #[inline(always)]
    pub(super) fn round(&self, round: usize) -> *const __m128i {
        self.near.rounds[round..].as_ptr().cast()
    }

    /// Where a vector of that is loaded from for counters from this one on, at least 1.
    #[inline(always)]
    pub(super) fn begun(&self, counter: usize) -> *const u8 {
        debug_assert!((1..=POWERS).contains(&counter));
        self.far.begun.as_ptr().wrapping_add(counter - 1).cast()
    }

    /// Prefetches what all packets use.
    #[inline(always)]
    pub(super) fn prefetch_near(&self) {
        let start = &raw const *self.near;
        prefetch_bytes(start.cast(), if self.aes256 { size_of::<Near>() } else { NEAR_128 });
    }

    /// Prefetches what a packet of so many blocks uses besides: it lies in one piece.
    #[inline(always)]
    pub(super) fn prefetch_far(&self, blocks: usize) {
        let blocks = blocks.clamp(1, POWERS);
        let (start, end) = (self.power(blocks), self.begun(blocks));
        prefetch_bytes(start, end.addr() - start.addr() + 1);
    }
}

impl Near {
    #[target_feature(enable = "aes,avx")]
    fn expand_128(&mut self, key: &[u8; 16]) {
        self.rounds[0] = u128::from_le_bytes(*key);
        self.expand_round::<1, 1, 0x01, ROTATED>();
        self.expand_round::<2, 1, 0x02, ROTATED>();
        self.expand_round::<3, 1, 0x04, ROTATED>();
        self.expand_round::<4, 1, 0x08, ROTATED>();
        self.expand_round::<5, 1, 0x10, ROTATED>();
        self.expand_round::<6, 1, 0x20, ROTATED>();
        self.expand_round::<7, 1, 0x40, ROTATED>();
        self.expand_round::<8, 1, 0x80, ROTATED>();
        self.expand_round::<9, 1, 0x1b, ROTATED>();
        self.expand_round::<10, 1, 0x36, ROTATED>();
    }

    #[target_feature(enable = "aes,avx")]
    fn expand_256(&mut self, key: &[u8; 32]) {
        let (halves, _) = key.as_chunks::<16>();
        for (round, half) in self.rounds.iter_mut().zip(halves) {
            *round = u128::from_le_bytes(*half);
        }
        self.expand_round::<2, 2, 0x01, ROTATED>();
        self.expand_round::<3, 2, 0x00, PLAIN>();
        self.expand_round::<4, 2, 0x02, ROTATED>();
        self.expand_round::<5, 2, 0x00, PLAIN>();
        self.expand_round::<6, 2, 0x04, ROTATED>();
        self.expand_round::<7, 2, 0x00, PLAIN>();
        self.expand_round::<8, 2, 0x08, ROTATED>();
        self.expand_round::<9, 2, 0x00, PLAIN>();
        self.expand_round::<10, 2, 0x10, ROTATED>();
        self.expand_round::<11, 2, 0x00, PLAIN>();
        self.expand_round::<12, 2, 0x20, ROTATED>();
        self.expand_round::<13, 2, 0x00, PLAIN>();
        self.expand_round::<14, 2, 0x40, ROTATED>();
    }

    /// FIPS 197 section 5.2: each word is the sum of those before it, as far back as the key is long, and the
    /// substituted last one.
    #[target_feature(enable = "aes,avx")]
    fn expand_round<const ROUND: usize, const BACK: usize, const CONSTANT: i32, const WORD: i32>(&mut self) {
        let before = as_vector(self.rounds[ROUND - BACK]);
        let last = _mm_aeskeygenassist_si128::<CONSTANT>(as_vector(self.rounds[ROUND - 1]));
        let last = _mm_shuffle_epi32::<WORD>(last);
        let sum = _mm_xor_si128(before, _mm_slli_si128::<4>(before));
        let sum = _mm_xor_si128(sum, _mm_slli_si128::<8>(sum));
        self.rounds[ROUND] = as_number(_mm_xor_si128(sum, last));
    }
}

impl Far {
    #[target_feature(enable = "aes,avx")]
    fn begin_counters(&mut self, first_round: u128) {
        let none = _mm_setzero_si128();
        let last = first_round & LAST_BYTE;
        let without = _mm_aesenc_si128(as_vector(last), none);
        for (counter, begun) in (1..).zip(&mut self.begun) {
            let with = _mm_aesenc_si128(as_vector(last ^ counter << 120), none);
            *begun = as_number(_mm_xor_si128(with, without));
        }
    }
}

/// In the field of POLYVAL.
fn times_x(element: u128) -> u128 {
    let carry = 0u128.wrapping_sub(element >> 127);
    element << 1 ^ carry & FIELD
}

#[target_feature(enable = "sse2")]
fn as_vector(number: u128) -> __m128i {
    _mm_set_epi64x((number >> 64) as i64, number as i64)
}

#[target_feature(enable = "sse2")]
fn as_number(vector: __m128i) -> u128 {
    let low = _mm_cvtsi128_si64(vector) as u64;
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(vector, vector)) as u64;
    u128::from(high) << 64 | u128::from(low)
}

/// Enough for a packet of 1,500 bytes with one reduction, while the table stays below 3.5 KiB, so that thousands of
/// security associations fit the cache. The same number of counters is begun.
pub(super) const POWERS: usize = 96;
/// Enough for a text of 48 bytes: there are one block of associated data and one of lengths. Small TCP and UDP packets
/// have no more, and so the round keys of AES-128 end with a line of the cache.
pub(super) const NEAR_POWERS: usize = 5;
const NEAR_128: usize = 16 * (NEAR_POWERS + 10 + 1);
/// A vector of four lanes that begins at H.
const BEYOND: usize = 3;
/// Those of AES-256.
pub(super) const MOST_ROUNDS: usize = 14;
/// The word of AESKEYGENASSIST that is rotated after substitution, in all places; and the one that is not.
const ROTATED: i32 = 0xff;
const PLAIN: i32 = 0xaa;
/// Of a block, in memory.
const LAST_BYTE: u128 = 0xff << 120;
/// x^128 + x^127 + x^126 + x^121 + 1, without its leading term.
const FIELD: u128 = 0xc2 << 120 | 1;
const _: () = assert!(size_of::<Near>() + size_of::<Far>() <= 3584 && POWERS < 256 && NEAR_128 == 4 * 64);
