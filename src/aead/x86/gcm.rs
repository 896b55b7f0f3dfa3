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
use super::vector::{Vector, WIDEST};
use std::arch::x86_64::*;

/// The associated data as GHASH takes it.
#[derive(Clone, Copy)]
pub(super) struct Associated {
    /// Its last block, to which the hash of those before is added.
    pub(super) block: __m128i,
    /// What its length adds to the hash, in reversed byte order.
    pub(super) length: __m128i,
}

/// A packet of which the text is done. Hashes of several packets are reduced at once, one per lane.
#[derive(Clone, Copy)]
pub(super) struct Unfinished<V> {
    sum: Sum<V>,
    /// What is still to be added to the hash: gives the ICV when sealing, zero when opening what is authentic.
    mask: __m128i,
}

impl<V: Vector> Unfinished<V> {
    /// No packet.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn none() -> Unfinished<V> {
        // SAFETY: the caller's.
        unsafe {
            let zero = V::splat(_mm_setzero_si128());
            Unfinished { sum: Sum::of(zero, zero), mask: _mm_setzero_si128() }
        }
    }

    /// Encrypts all but the last 16 bytes of `data`.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, AES-NI, PCLMULQDQ and SSSE3. `data` has at least 16 bytes.
    #[inline(always)]
    pub(super) unsafe fn seal(
        table: &Table,
        nonce: &[u8; 12],
        associated: Associated,
        data: &mut [u8],
    ) -> Unfinished<V> {
        let len = data.len() - ICV;
        // SAFETY: `len` bytes of text and the ICV behind are exclusively ours.
        unsafe { Packet::<V>::new(table, nonce).run::<true>(associated, data.as_mut_ptr(), len) }
    }

    /// Decrypts what `seal` encrypted, and leaves the ICV as it is.
    ///
    /// # Safety
    /// As for `seal`.
    #[inline(always)]
    pub(super) unsafe fn open(
        table: &Table,
        nonce: &[u8; 12],
        associated: Associated,
        data: &mut [u8],
    ) -> Unfinished<V> {
        let len = data.len() - ICV;
        let text = data.as_mut_ptr();
        // SAFETY: `len` bytes of text and the ICV behind are exclusively ours.
        unsafe {
            let icv = _mm_loadu_si128(text.add(len).cast());
            let packet = Packet::<V>::new(table, nonce).run::<false>(associated, text, len);
            // The last store of text may have overwritten it.
            _mm_storeu_si128(text.add(len).cast(), icv);
            Unfinished { mask: _mm_xor_si128(packet.mask, icv), ..packet }
        }
    }

    /// The ICVs of packets that were sealed; of those that were opened, zero where the ICV is right.
    ///
    /// # Safety
    /// As for `seal`.
    #[inline(always)]
    pub(super) unsafe fn finish(packets: &[Unfinished<V>; WIDEST]) -> [__m128i; WIDEST] {
        // SAFETY: the caller's; the array has room for the widest vector.
        unsafe {
            let mut lanes = [_mm_setzero_si128(); WIDEST];
            for first in (0..WIDEST).step_by(V::BLOCKS) {
                let mut sums = [packets[first].sum; WIDEST];
                for (sum, packet) in sums.iter_mut().zip(&packets[first..]).take(V::BLOCKS) {
                    *sum = packet.sum;
                }
                let hashes = Sum::fold_each(sums).reduced_each();
                hashes.shuffle(V::splat(reversal())).store(lanes[first..].as_mut_ptr().cast());
            }
            for (lane, packet) in lanes.iter_mut().zip(packets) {
                *lane = _mm_xor_si128(*lane, packet.mask);
            }
            lanes
        }
    }
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

    /// Counter blocks after `N` vectors' rounds but the last.
    ///
    /// # Safety
    /// As for `seal`.
    #[inline(always)]
    unsafe fn keystream<const N: usize>(&mut self) -> [V; N] {
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
        blocks
    }

    /// The next `N` vectors. If they are the `FIRST`, the text begins in the second lane; if they are the `LAST`, the
    /// last of them has what remains, else all are full.
    ///
    /// # Safety
    /// As for `seal`; the text is ours, and the table has powers for it.
    #[inline(always)]
    unsafe fn pass<const N: usize, const FIRST: bool, const LAST: bool, const SEAL: bool>(
        &mut self,
        rest: &mut Rest<V>,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let powers = self.table.power(rest.power);
            let blocks = self.keystream::<N>();
            for (i, block) in blocks.into_iter().enumerate() {
                let (begins, ends) = (FIRST && i == 0, LAST && i == N - 1);
                let room = if begins { V::BYTES - 16 } else { V::BYTES };
                let len = if ends { rest.len } else { room };
                let input = match (begins, ends) {
                    (true, _) => V::load_behind(rest.text, len),
                    (_, true) => V::load_some(rest.text, len),
                    _ => V::load(rest.text),
                };
                let output = block.last_round(self.rounds[ROUNDS].xor(input));
                match (begins, ends) {
                    (true, _) => output.store_behind(rest.text, len),
                    (_, true) => output.store_some(rest.text, len),
                    _ => output.store(rest.text),
                }
                let sealed = if SEAL { output } else { input };
                let sealed = match (begins, ends) {
                    (true, _) => sealed.keep_behind(len),
                    (_, true) => sealed.keep(len),
                    _ => sealed,
                };
                let sealed = if begins { sealed.xor(V::alone(rest.associated)) } else { sealed };
                if begins {
                    rest.mask = output.first();
                }
                let product = Sum::of(sealed.shuffle(self.to_hash), V::load(powers.add(i * V::BYTES)));
                rest.sum = if begins { product } else { rest.sum.plus(product) };
                rest.text = rest.text.add(len);
                rest.len -= len;
            }
            rest.power = rest.power.wrapping_sub(N * V::BLOCKS);
        }
    }

    /// Seals or opens the text.
    ///
    /// # Safety
    /// As for `seal`; `len` bytes of text and 16 bytes behind are ours.
    #[inline(always)]
    unsafe fn run<const SEAL: bool>(
        mut self,
        associated: Associated,
        text: *mut u8,
        len: usize,
    ) -> Unfinished<V> {
        const GROUP: usize = 4;
        let group = GROUP * V::BLOCKS;
        let chunk = (POWERS - 1) / group * group;
        // Those of the associated data and of the lengths are two.
        let mut left = len.div_ceil(16) + 2;
        let mut vectors = (len + 16).div_ceil(V::BYTES);

        // SAFETY: the caller's; each pass is over text of which there is enough.
        unsafe {
            let none = V::splat(_mm_setzero_si128());
            let mut rest = Rest {
                text,
                len,
                power: if left <= POWERS { left } else { chunk },
                associated: associated.block,
                mask: associated.block,
                sum: Sum::of(none, none),
            };
            if vectors <= GROUP {
                match vectors {
                    1 => self.pass::<1, true, true, SEAL>(&mut rest),
                    2 => self.pass::<2, true, true, SEAL>(&mut rest),
                    3 => self.pass::<3, true, true, SEAL>(&mut rest),
                    _ => self.pass::<4, true, true, SEAL>(&mut rest),
                }
            } else {
                self.pass::<GROUP, true, false, SEAL>(&mut rest);
                loop {
                    vectors -= GROUP;
                    left -= group;
                    if rest.power == 0 {
                        // All that was summed moves on by the power that the next block has.
                        rest.power = if left <= POWERS { left } else { chunk };
                        let carried = V::alone(rest.sum.reduced());
                        rest.sum = Sum::of(carried, V::load(self.table.power(rest.power)));
                    }
                    if vectors <= GROUP {
                        break;
                    }
                    self.pass::<GROUP, false, false, SEAL>(&mut rest);
                }
                match vectors {
                    1 => self.pass::<1, false, true, SEAL>(&mut rest),
                    2 => self.pass::<2, false, true, SEAL>(&mut rest),
                    3 => self.pass::<3, false, true, SEAL>(&mut rest),
                    _ => self.pass::<4, false, true, SEAL>(&mut rest),
                }
            }
            let length = V::alone(_mm_set_epi64x(0, (len as i64) << 3));
            let sum = rest.sum.plus(Sum::of_halves(length, V::load(self.table.power(1))));
            Unfinished { sum: sum.plus_element(associated.length), mask: rest.mask }
        }
    }
}

/// What of a packet is still to do.
struct Rest<V> {
    text: *mut u8,
    len: usize,
    /// That of H by which the next block is multiplied.
    power: usize,
    associated: __m128i,
    /// What encrypts the hash to the ICV.
    mask: __m128i,
    sum: Sum<V>,
}

impl Associated {
    /// # Safety
    /// The CPU has SSSE3.
    #[inline(always)]
    pub(super) unsafe fn of(data: &[u8; 12], table: &Table) -> Associated {
        // SAFETY: the caller's.
        let block = unsafe { padded(data) };
        Associated { block, length: table.associated_length() }
    }

    /// Of any length, as vectors of third parties have it.
    ///
    /// # Safety
    /// The CPU has SSSE3 and PCLMULQDQ.
    #[cfg(test)]
    pub(super) unsafe fn of_any(data: &[u8], table: &Table) -> Associated {
        // SAFETY: the caller's; the chunk is copied to 16 bytes.
        unsafe {
            let key = _mm_loadu_si128(table.power(1).cast());
            let mut block = _mm_setzero_si128();
            for chunk in data.chunks(16) {
                let mut padded = [0u8; 16];
                padded[..chunk.len()].copy_from_slice(chunk);
                let next = _mm_shuffle_epi8(_mm_loadu_si128(padded.as_ptr().cast()), reversal());
                block = _mm_xor_si128(super::ghash::times(block, key), next);
            }
            let bits = _mm_set_epi64x(8 * data.len() as i64, 0);
            let block = _mm_shuffle_epi8(block, reversal());
            Associated { block, length: super::ghash::times(bits, key) }
        }
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
