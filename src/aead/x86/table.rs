// SPDX-License-Identifier: Apache-2.0
//! What is computed once per key: the AES key schedule and powers of the GHASH key. All backends share its form.

use super::ghash;
use std::arch::x86_64::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Wiped when dropped. Small packets use the end of `powers` and the key schedule, which lie side by side.
#[repr(C, align(64))]
#[derive(Zeroize, ZeroizeOnDrop)]
pub(in super::super) struct Table {
    /// H to the power of `POWERS`, …, H², H; then zeros, since vectors reach beyond the end.
    powers: [u128; POWERS + BEYOND],
    rounds: [u128; ROUNDS + 1],
    /// What the length of 12 bytes of associated data adds to every hash.
    associated_length: u128,
}

impl Table {
    /// # Safety
    /// The CPU has AES-NI, PCLMULQDQ and AVX.
    #[target_feature(enable = "aes,pclmulqdq,avx")]
    pub(super) unsafe fn expand(key: &[u8; 16]) -> Box<Table> {
        let mut table =
            Box::new(Table { powers: [0; POWERS + BEYOND], rounds: [0; ROUNDS + 1], associated_length: 0 });
        table.rounds[0] = u128::from_le_bytes(*key);
        table.expand_round::<1, 0x01>();
        table.expand_round::<2, 0x02>();
        table.expand_round::<3, 0x04>();
        table.expand_round::<4, 0x08>();
        table.expand_round::<5, 0x10>();
        table.expand_round::<6, 0x20>();
        table.expand_round::<7, 0x40>();
        table.expand_round::<8, 0x80>();
        table.expand_round::<9, 0x1b>();
        table.expand_round::<10, 0x36>();

        let mut block = as_vector(table.rounds[0]);
        for round in &table.rounds[1..ROUNDS] {
            block = _mm_aesenc_si128(block, as_vector(*round));
        }
        let hash_key = as_number(_mm_aesenclast_si128(block, as_vector(table.rounds[ROUNDS])));
        let first = as_vector(times_x(hash_key.swap_bytes()));
        let mut power = first;
        for to in table.powers[..POWERS].iter_mut().rev() {
            *to = as_number(power);
            // SAFETY: the caller's.
            power = unsafe { ghash::times(power, first) };
        }
        // SAFETY: the caller's.
        table.associated_length = as_number(unsafe { ghash::times(as_vector(96 << 64), first) });
        table
    }

    /// The key that was expanded: the first round key of AES-128.
    pub(in super::super) fn cipher_key(&self) -> [u8; 16] {
        self.rounds[0].to_le_bytes()
    }

    /// Where a vector of powers is loaded from whose first lane is H to this power, at most [`POWERS`].
    #[inline(always)]
    pub(super) fn power(&self, power: usize) -> *const u8 {
        debug_assert!((1..=POWERS).contains(&power));
        self.powers.as_ptr().wrapping_add(POWERS - power).cast()
    }

    #[inline(always)]
    pub(super) fn round(&self, round: usize) -> *const __m128i {
        self.rounds[round..].as_ptr().cast()
    }

    #[inline(always)]
    pub(super) fn associated_length(&self) -> __m128i {
        // SAFETY: a table exists only where the CPU has AVX.
        unsafe { _mm_loadu_si128((&raw const self.associated_length).cast()) }
    }

    /// FIPS 197 section 5.2: each word is the sum of those before it and the rotated, substituted last one.
    #[target_feature(enable = "aes,avx")]
    fn expand_round<const ROUND: usize, const CONSTANT: i32>(&mut self) {
        let before = as_vector(self.rounds[ROUND - 1]);
        let last = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<CONSTANT>(before));
        let sum = _mm_xor_si128(before, _mm_slli_si128::<4>(before));
        let sum = _mm_xor_si128(sum, _mm_slli_si128::<8>(sum));
        self.rounds[ROUND] = as_number(_mm_xor_si128(sum, last));
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

/// Enough for a packet of 1,500 bytes with one reduction, while the table stays below 2 KiB, so that thousands of
/// security associations fit the cache.
pub(super) const POWERS: usize = 96;
/// A vector of four lanes that begins at H.
const BEYOND: usize = 3;
pub(super) const ROUNDS: usize = 10;
/// x^128 + x^127 + x^126 + x^121 + 1, without its leading term.
const FIELD: u128 = 0xc2 << 120 | 1;
const _: () = assert!(size_of::<Table>() <= 2048);
