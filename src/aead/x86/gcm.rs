// SPDX-License-Identifier: Apache-2.0
//! AES-128-GCM (NIST SP 800-38D) over one packet, for any width of vector.
//!
//! ```text
//!   counters    1    2    3    4 │  5    6    7    8 │  9   10   11   12 │
//!   keystream  tag  text text text  text text text text text text ~~~~~~~~
//!   GHASH      AAD   ▲    ▲    ▲     ▲    ▲    ▲    ▲    ▲    ▲   lengths
//!   times H^   11   10    9    8     7    6    5    4    3    2    1
//! ```
//!
//! The block that masks the tag has counter 1 and the text begins at 2, as GHASH begins with the associated data: so
//! the first vector carries both in its first lane. Products are summed unreduced against a table of powers, and
//! reduced once at the end, or whenever a long packet has used up the table.

use super::ghash::Sum;
use super::table::{POWERS, ROUNDS, Table};
use super::vector::Vector;
use std::arch::x86_64::*;

/// The associated data: its last block, to which the blocks before are added, in reversed byte order.
#[derive(Clone, Copy)]
pub(super) struct Associated {
    pub(super) block: __m128i,
    pub(super) bits: u64,
}

/// Encrypts all but the last 16 bytes of `data`, and puts the ICV there.
///
/// # Safety
/// The CPU has the instructions of `V`, AES-NI, PCLMULQDQ and SSSE3. `data` has at least 16 bytes.
#[inline(always)]
pub(super) unsafe fn seal<V: Vector, const GROUP: usize>(
    table: &Table,
    nonce: &[u8; 12],
    associated: Associated,
    data: &mut [u8],
) {
    let len = data.len() - ICV;
    let text = data.as_mut_ptr();
    // SAFETY: `len` bytes of text and the ICV behind are exclusively ours.
    unsafe {
        let tag = Packet::<V>::new(table, nonce).run::<GROUP, true>(associated, text, len);
        _mm_storeu_si128(text.add(len).cast(), tag);
    }
}

/// Decrypts what `seal` encrypted, or wipes it if the ICV is not right. Says which.
///
/// # Safety
/// As for `seal`.
#[inline(always)]
pub(super) unsafe fn open<V: Vector, const GROUP: usize>(
    table: &Table,
    nonce: &[u8; 12],
    associated: Associated,
    data: &mut [u8],
) -> bool {
    let len = data.len() - ICV;
    let text = data.as_mut_ptr();
    // SAFETY: `len` bytes of text and the ICV behind are exclusively ours.
    let authentic = unsafe {
        let icv = _mm_loadu_si128(text.add(len).cast());
        let tag = Packet::<V>::new(table, nonce).run::<GROUP, false>(associated, text, len);
        // The last store of text may have overwritten it.
        _mm_storeu_si128(text.add(len).cast(), icv);
        let difference = _mm_xor_si128(tag, icv);
        _mm_movemask_epi8(_mm_cmpeq_epi8(difference, _mm_setzero_si128())) == 0xffff
    };
    if !authentic {
        data[..len].fill(0);
    }
    authentic
}

/// AES in counter mode under one key and nonce.
struct Packet<'a, V> {
    table: &'a Table,
    rounds: [V; ROUNDS + 1],
    /// The next counter blocks, with the counter itself in little-endian order.
    counters: V,
    /// Puts the counters in big-endian order.
    to_counter: V,
    /// Reverses all bytes of a block.
    to_hash: V,
}

impl<'a, V: Vector> Packet<'a, V> {
    /// # Safety
    /// As for `seal`.
    #[inline(always)]
    unsafe fn new(table: &'a Table, nonce: &[u8; 12]) -> Packet<'a, V> {
        // SAFETY: the caller's; the tables have the widths that are loaded.
        unsafe {
            let mut rounds = [V::splat(_mm_setzero_si128()); ROUNDS + 1];
            for (round, keys) in rounds.iter_mut().enumerate() {
                *keys = V::splat(_mm_loadu_si128(table.round(round)));
            }
            let counters = V::splat(padded(nonce)).add(V::load(FIRST_COUNTERS.0.as_ptr().cast()));
            Packet {
                table,
                rounds,
                counters,
                to_counter: V::splat(_mm_set_epi64x(0x0c0d_0e0f_0b0a_0908, 0x0706_0504_0302_0100)),
                to_hash: V::splat(reversal()),
            }
        }
    }

    /// The keystream of the next `N` vectors, whitened by `input` in the last round.
    ///
    /// # Safety
    /// As for `seal`.
    #[inline(always)]
    unsafe fn crypt<const N: usize>(&mut self, input: [V; N]) -> [V; N] {
        let mut blocks = [self.counters; N];
        for (i, block) in blocks.iter_mut().enumerate() {
            // SAFETY: the caller's.
            let ahead = unsafe { V::splat(_mm_set_epi32((i * V::BLOCKS) as i32, 0, 0, 0)) };
            *block = block.add(ahead).shuffle(self.to_counter).xor(self.rounds[0]);
        }
        // SAFETY: the caller's.
        let passed = unsafe { V::splat(_mm_set_epi32((N * V::BLOCKS) as i32, 0, 0, 0)) };
        self.counters = self.counters.add(passed);
        for round in 1..ROUNDS {
            for block in &mut blocks {
                *block = block.round(self.rounds[round]);
            }
        }
        for (block, input) in blocks.iter_mut().zip(input) {
            *block = block.last_round(self.rounds[ROUNDS].xor(input));
        }
        blocks
    }

    /// `N` whole vectors of text. Gives their share of GHASH, the first block of which is multiplied by H^`power`.
    ///
    /// # Safety
    /// As for `seal`; `N` vectors of text are ours, and the table has powers for them.
    #[inline(always)]
    unsafe fn step<const N: usize, const SEAL: bool>(
        &mut self,
        mut sum: Sum<V>,
        text: *mut u8,
        power: usize,
    ) -> Sum<V> {
        // SAFETY: the caller's.
        unsafe {
            let powers = self.table.power(power);
            let mut input = [self.counters; N];
            for (i, input) in input.iter_mut().enumerate() {
                *input = V::load(text.add(i * V::BYTES));
            }
            let output = self.crypt(input);
            for i in 0..N {
                output[i].store(text.add(i * V::BYTES));
                let sealed = if SEAL { output[i] } else { input[i] };
                let power = V::load(powers.add(i * V::BYTES));
                sum = sum.plus(Sum::of(sealed.shuffle(self.to_hash), power));
            }
            sum
        }
    }

    /// Gives the ICV of the text that is sealed or opened.
    ///
    /// # Safety
    /// As for `seal`; `len` bytes of text and 16 bytes behind are ours.
    #[inline(always)]
    unsafe fn run<const GROUP: usize, const SEAL: bool>(
        mut self,
        associated: Associated,
        text: *mut u8,
        len: usize,
    ) -> __m128i {
        let group = GROUP * V::BLOCKS;
        let mut left = 1 + len.div_ceil(16) + 1;
        let mut power =
            if left <= POWERS { left } else { V::BLOCKS + (POWERS - 1 - V::BLOCKS) / group * group };

        // SAFETY: the caller's; each step below passes over text of which there is enough.
        unsafe {
            let begun = len.min(V::BYTES - 16);
            let input = V::load_behind(text, begun);
            let [output] = self.crypt([input]);
            output.store_behind(text, begun);
            let mask = output.xor(input).first();
            let sealed = if SEAL { output } else { input };
            let sealed = sealed.keep_behind(begun).shuffle(self.to_hash);
            let sealed = sealed.xor(V::alone(associated.block));
            let mut sum = Sum::of(sealed, V::load(self.table.power(power)));

            let mut text = text.add(begun);
            let mut remaining = len - begun;
            left = left.saturating_sub(V::BLOCKS);
            power = power.saturating_sub(V::BLOCKS);
            loop {
                while remaining >= GROUP * V::BYTES && power > 0 {
                    sum = self.step::<GROUP, SEAL>(sum, text, power);
                    text = text.add(GROUP * V::BYTES);
                    remaining -= GROUP * V::BYTES;
                    left -= group;
                    power -= group;
                }
                if power > 0 || remaining == 0 {
                    break;
                }
                // All that was summed moves on by the power that the next block has.
                power = if left <= POWERS { left } else { (POWERS - 1) / group * group };
                let carried = V::alone(sum.reduced());
                sum = Sum::of(carried, V::load(self.table.power(power)));
            }
            while remaining >= V::BYTES {
                sum = self.step::<1, SEAL>(sum, text, power);
                text = text.add(V::BYTES);
                remaining -= V::BYTES;
                power -= V::BLOCKS;
            }
            if remaining > 0 {
                let input = V::load_some(text, remaining);
                let [output] = self.crypt([input]);
                output.store_some(text, remaining);
                let sealed = if SEAL { output } else { input }.keep(remaining).shuffle(self.to_hash);
                sum = sum.plus(Sum::of(sealed, V::load(self.table.power(power))));
            }

            let lengths = _mm_set_epi64x(associated.bits as i64, (len as i64) << 3);
            sum = sum.plus(Sum::of(V::alone(lengths), V::load(self.table.power(1))));
            _mm_xor_si128(_mm_shuffle_epi8(sum.reduced(), reversal()), mask)
        }
    }
}

impl Associated {
    /// # Safety
    /// The CPU has SSSE3.
    #[inline(always)]
    pub(super) unsafe fn of(data: &[u8; 12]) -> Associated {
        // SAFETY: the caller's.
        let block = unsafe { _mm_shuffle_epi8(padded(data), reversal()) };
        Associated { block, bits: 96 }
    }
}

/// 12 bytes and four zeros.
///
/// # Safety
/// The CPU has SSE2.
#[inline(always)]
unsafe fn padded(bytes: &[u8; 12]) -> __m128i {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    let front = i64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let back = u32::from_le_bytes([i, j, k, l]);
    // SAFETY: the caller's.
    unsafe { _mm_set_epi64x(i64::from(back), front) }
}

/// The order of bytes that reverses a block.
///
/// # Safety
/// The CPU has SSE2.
#[inline(always)]
unsafe fn reversal() -> __m128i {
    // SAFETY: the caller's.
    unsafe { _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f) }
}

#[repr(align(64))]
struct Counters([[u32; 4]; 4]);

/// The counter is the last word of its block.
static FIRST_COUNTERS: Counters = Counters([[0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3], [0, 0, 0, 4]]);

const ICV: usize = super::super::ICV;
