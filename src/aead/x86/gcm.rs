// SPDX-License-Identifier: Apache-2.0
//! AES-GCM (NIST SP 800-38D) over one packet, for any width of vector.
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
use super::table::{NEAR_POWERS, POWERS, Table};
use super::vector::{Vector, WIDEST};
use std::arch::x86_64::*;

/// The associated data as GHASH takes it.
#[derive(Clone, Copy)]
pub(super) struct Associated {
    /// Its last block, to which the hash of those before is added.
    pub(super) block: __m128i,
    pub(super) bits: u64,
}

/// A packet of which the text is done. Hashes of several packets are reduced at once, one per lane.
#[derive(Clone, Copy)]
pub(super) struct Unfinished<V> {
    /// Of all blocks but the last.
    pub(super) sum: Sum<V>,
    /// The last block, that of the lengths, and H.
    pub(super) lengths: __m128i,
    pub(super) hash_key: __m128i,
    /// What is still to be added to the hash: gives the ICV when sealing, zero when opening what is authentic.
    pub(super) mask: __m128i,
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
            let zero = _mm_setzero_si128();
            let sum = Sum::of(V::splat(zero), V::splat(zero));
            Unfinished { sum, lengths: zero, hash_key: zero, mask: zero }
        }
    }

    /// Encrypts or decrypts all but the last 16 bytes of `data`, the ICV. Decryption leaves that as it was.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, AES-NI, PCLMULQDQ and SSSE3. `data` has at least 16 bytes.
    #[inline(always)]
    pub(super) unsafe fn crypt<const SEAL: bool>(
        table: &Table,
        nonce: &[u8; 12],
        associated: Associated,
        data: &mut [u8],
    ) -> Unfinished<V> {
        let (text, len) = (data.as_mut_ptr(), data.len() - ICV);
        // SAFETY: `len` bytes of text and the ICV behind are exclusively ours.
        unsafe {
            if SEAL {
                return run::<V, SEAL>(table, nonce, associated, text, len);
            }
            let icv = _mm_loadu_si128(text.add(len).cast());
            let packet = run::<V, SEAL>(table, nonce, associated, text, len);
            // The last store of text may have overwritten it.
            _mm_storeu_si128(text.add(len).cast(), icv);
            Unfinished { mask: _mm_xor_si128(packet.mask, icv), ..packet }
        }
    }

    /// The ICVs of packets that were sealed; of those that were opened, zero where the ICV is right.
    ///
    /// # Safety
    /// As for `crypt`.
    #[inline(always)]
    pub(super) unsafe fn finish(packets: &[Unfinished<V>; WIDEST]) -> [__m128i; WIDEST] {
        // SAFETY: the caller's; the array has room for as many as there are lanes.
        unsafe {
            let mut icvs = [_mm_setzero_si128(); WIDEST];
            let mut first = 0;
            while first < WIDEST {
                let of_lane = |lane| &packets[(first + lane) % WIDEST];
                let (a, b, c, d) = (of_lane(0), of_lane(1), of_lane(2), of_lane(3));
                let lengths = V::gather([a.lengths, b.lengths, c.lengths, d.lengths]);
                let hash_keys = V::gather([a.hash_key, b.hash_key, c.hash_key, d.hash_key]);
                let sums = Sum::fold_each([a.sum, b.sum, c.sum, d.sum]).plus(Sum::of(lengths, hash_keys));
                let hashes = sums.reduced_each().shuffle(V::splat(reversal()));
                hashes.store(icvs[first..].as_mut_ptr().cast());
                first += V::BLOCKS;
            }
            for (icv, packet) in icvs.iter_mut().zip(packets) {
                *icv = _mm_xor_si128(*icv, packet.mask);
            }
            icvs
        }
    }
}

/// # Safety
/// As for `Unfinished::crypt`; `len` bytes of text and 16 bytes behind are ours.
#[inline(always)]
unsafe fn run<V: Vector, const SEAL: bool>(
    table: &Table,
    nonce: &[u8; 12],
    associated: Associated,
    text: *mut u8,
    len: usize,
) -> Unfinished<V> {
    // SAFETY: the caller's.
    unsafe {
        if table.is_aes256() {
            Packet::<V, 14>::new(table, nonce, associated, text, len).run::<SEAL>(associated.bits)
        } else {
            Packet::<V, 10>::new(table, nonce, associated, text, len).run::<SEAL>(associated.bits)
        }
    }
}

/// A packet in work: AES of so many rounds in counter mode, and GHASH.
struct Packet<'a, V, const ROUNDS: usize> {
    table: &'a Table,
    nonce: &'a [u8; 12],
    /// The round keys of AES-128 but the first two, for which there are registers; AES-256 loads the others.
    rounds: [V; 9],
    /// The block of the nonce and counter 0 before the first round; after it, if that is what counters add to.
    begun: V,
    /// That of the next block.
    counter: usize,
    /// What of the text is still to be loaded.
    text: *mut u8,
    len: usize,
    associated: __m128i,
    /// What encrypts the hash to the ICV.
    mask: __m128i,
    sum: Sum<V>,
    /// That of H by which the next block is multiplied.
    power: usize,
    /// Blocks still to be hashed, that of the lengths included.
    left: usize,
}

impl<'a, V: Vector, const ROUNDS: usize> Packet<'a, V, ROUNDS> {
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn new(
        table: &'a Table,
        nonce: &'a [u8; 12],
        associated: Associated,
        text: *mut u8,
        len: usize,
    ) -> Packet<'a, V, ROUNDS> {
        // SAFETY: the caller's; the table has the rounds.
        unsafe {
            let none = V::splat(_mm_setzero_si128());
            let key = |round| _mm_loadu_si128(table.round(round));
            let begun = _mm_xor_si128(padded(nonce), key(0));
            // Those of the associated data and of the lengths are two.
            let left = len.div_ceil(16) + 2;
            let key = |round| V::splat(key(round));
            Packet {
                rounds: [key(2), key(3), key(4), key(5), key(6), key(7), key(8), key(9), key(10)],
                table,
                nonce,
                begun: V::splat(begun),
                counter: 1,
                text,
                len,
                associated: associated.block,
                mask: associated.block,
                sum: Sum::of(none, none),
                power: if left <= POWERS { left } else { Self::CHUNK },
                left,
            }
        }
    }

    const CHUNK: usize = (POWERS - 1) / (GROUP * V::BLOCKS) * (GROUP * V::BLOCKS);

    /// Seals or opens the text.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn run<const SEAL: bool>(mut self, associated_bits: u64) -> Unfinished<V> {
        let mut vectors = (self.len + 16).div_ceil(V::BYTES);
        // SAFETY: the caller's; each pass is over text of which there is enough.
        unsafe {
            let lengths = _mm_set_epi64x(associated_bits as i64, (self.len as i64) << 3);
            if vectors <= GROUP {
                match vectors {
                    1 => self.last::<1, 0, true, SEAL>([]),
                    2 => self.last::<2, 0, true, SEAL>([]),
                    3 => self.last::<3, 0, true, SEAL>([]),
                    _ => self.last::<4, 0, true, SEAL>([]),
                }
            } else {
                let mut sealed = self.pass::<GROUP, 0, true, false, SEAL>([]);
                vectors -= GROUP;
                while vectors > GROUP {
                    sealed = self.pass::<GROUP, GROUP, false, false, SEAL>(sealed);
                    vectors -= GROUP;
                }
                match vectors {
                    1 => self.last::<1, GROUP, false, SEAL>(sealed),
                    2 => self.last::<2, GROUP, false, SEAL>(sealed),
                    3 => self.last::<3, GROUP, false, SEAL>(sealed),
                    _ => self.last::<4, GROUP, false, SEAL>(sealed),
                }
            }
            let hash_key = _mm_loadu_si128(self.table.near_power(1).cast());
            Unfinished { sum: self.sum, lengths, hash_key, mask: self.mask }
        }
    }

    /// The last pass.
    ///
    /// # Safety
    /// As for `pass`.
    #[inline(always)]
    unsafe fn last<const N: usize, const BEHIND: usize, const FIRST: bool, const SEAL: bool>(
        &mut self,
        sealed: [V; BEHIND],
    ) {
        // SAFETY: the caller's.
        unsafe {
            let sealed = self.pass::<N, BEHIND, FIRST, true, SEAL>(sealed);
            if SEAL && const { Self::is_near::<N, FIRST>() } {
                self.hash::<_, true>(sealed);
            } else if SEAL {
                self.hash::<_, false>(sealed);
            }
        }
    }

    /// Whether a packet of which these are the only vectors is a short one.
    const fn is_near<const N: usize, const FIRST: bool>() -> bool {
        FIRST && N * V::BLOCKS < NEAR_POWERS
    }

    /// The next `N` vectors of text. If they are the `FIRST`, the text begins in the second lane; if they are the
    /// `LAST`, the last of them has what remains, else all are full.
    ///
    /// What is opened is hashed at once; but of what is sealed, the vectors that the pass before has `sealed`, so that
    /// nothing waits for AES.
    ///
    /// # Safety
    /// As for `run`; there is so much text.
    #[inline(always)]
    unsafe fn pass<
        const N: usize,
        const BEHIND: usize,
        const FIRST: bool,
        const LAST: bool,
        const SEAL: bool,
    >(
        &mut self,
        sealed: [V; BEHIND],
    ) -> [V; N] {
        // SAFETY: the caller's.
        unsafe {
            let is_near = const { LAST && Self::is_near::<N, FIRST>() };
            let mut blocks = if is_near { self.begin_near() } else { self.begin::<N, FIRST>() };
            let text = self.text;
            let mut len = self.len;
            let mut inputs = blocks;
            for (i, input) in inputs.iter_mut().enumerate() {
                *input = match (FIRST && i == 0, LAST && i == N - 1) {
                    (true, ends) => V::load_behind(self.text, Self::part(true, ends, len)),
                    (_, true) => V::load_some(self.text, len),
                    _ => V::load(self.text),
                };
                let part = Self::part(FIRST && i == 0, LAST && i == N - 1, len);
                self.text = self.text.add(part);
                len -= part;
            }
            let hashed = if SEAL { inputs } else { self.whole::<N, FIRST, LAST>(inputs) };
            for round in 2..ROUNDS {
                let key = self.key(round);
                for block in &mut blocks {
                    *block = block.round(key);
                }
            }
            let key = self.key(ROUNDS);
            let mut to = text;
            let mut len = self.len;
            for (i, (block, input)) in blocks.iter_mut().zip(inputs).enumerate() {
                *block = block.last_round(key.xor(input));
                let part = Self::part(FIRST && i == 0, LAST && i == N - 1, len);
                match (FIRST && i == 0, LAST && i == N - 1) {
                    (true, _) => block.store_behind(to, part),
                    (_, true) => block.store_some(to, part),
                    _ => block.store(to),
                }
                to = to.add(part);
                len -= part;
            }
            if FIRST {
                self.mask = blocks[0].first();
            }
            if SEAL {
                self.hash::<_, false>(sealed);
            } else if is_near {
                self.hash::<_, true>(hashed);
            } else {
                self.hash::<_, false>(hashed);
            }
            let outputs = if SEAL { self.whole::<N, FIRST, LAST>(blocks) } else { blocks };
            self.len = len;
            outputs
        }
    }

    /// Bytes of text that a vector takes.
    #[inline(always)]
    fn part(begins: bool, ends: bool, len: usize) -> usize {
        match (begins, ends) {
            (_, true) => len,
            (true, _) => V::BYTES - 16,
            _ => V::BYTES,
        }
    }

    /// The sealed text of a pass as GHASH takes it: behind the associated data, and zeros behind it.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn whole<const N: usize, const FIRST: bool, const LAST: bool>(
        &self,
        mut sealed: [V; N],
    ) -> [V; N] {
        let mut len = self.len;
        for (i, vector) in sealed.iter_mut().enumerate() {
            let part = Self::part(FIRST && i == 0, LAST && i == N - 1, len);
            if FIRST && i == 0 {
                // SAFETY: the caller's.
                *vector = vector.keep_behind(part).xor(unsafe { V::alone(self.associated) });
            } else if LAST && i == N - 1 {
                *vector = vector.keep(part);
            }
            len -= part;
        }
        sealed
    }

    /// Of a round from 2 on.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn key(&self, round: usize) -> V {
        match self.rounds.get(round - 2) {
            Some(key) => *key,
            // SAFETY: the caller's; the table has the rounds.
            None => unsafe { V::splat(_mm_loadu_si128(self.table.round(round))) },
        }
    }

    /// The next counter blocks after the first round.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn begin<const N: usize, const FIRST: bool>(&mut self) -> [V; N] {
        let first = self.counter;
        self.counter += N * V::BLOCKS;
        // SAFETY: the caller's; the table has vectors for the counters that it covers.
        unsafe {
            if FIRST {
                self.begun = self.begun.round(V::splat(_mm_loadu_si128(self.table.round(1))));
            }
            let mut blocks = [self.begun; N];
            if self.counter <= POWERS + 1 {
                for (i, block) in blocks.iter_mut().enumerate() {
                    *block = block.xor(V::load(self.table.begun(first + i * V::BLOCKS)));
                }
            } else {
                let key = |round| V::splat(_mm_loadu_si128(self.table.round(round)));
                let nonce = V::splat(padded(self.nonce)).xor(key(0));
                let to_big_endian = V::splat(_mm_set_epi64x(0x0c0d_0e0f_ffff_ffff, !0));
                let mut counters = V::load(COUNTERS.0.as_ptr().cast());
                counters = counters.add(V::splat(_mm_set_epi32(first as i32, 0, 0, 0)));
                for block in &mut blocks {
                    *block = counters.shuffle(to_big_endian).xor(nonce).round(key(1));
                    counters = counters.add(V::splat(_mm_set_epi32(V::BLOCKS as i32, 0, 0, 0)));
                }
            }
            blocks
        }
    }

    /// The only counter blocks of a short packet after the first round, for which it looks nowhere else than at the
    /// round keys.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn begin_near<const N: usize>(&self) -> [V; N] {
        let mut blocks = [self.begun; N];
        // SAFETY: the caller's; there are as many first counters as a short packet has.
        unsafe {
            let key = V::splat(_mm_loadu_si128(self.table.round(1)));
            for (i, block) in blocks.iter_mut().enumerate() {
                *block = block.xor(V::load(FIRST_COUNTERS.0.as_ptr().add(i * V::BLOCKS).cast())).round(key);
            }
        }
        blocks
    }

    /// Adds the next vectors of sealed text to the hash. If the powers are used up, all that was summed first moves on
    /// by the power that the next block has.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn hash<const N: usize, const NEAR: bool>(&mut self, sealed: [V; N]) {
        if N == 0 {
            return;
        }
        // SAFETY: the caller's.
        unsafe {
            if !NEAR && self.power == 0 {
                self.power = if self.left <= POWERS { self.left } else { Self::CHUNK };
                let carried = V::alone(self.sum.reduced());
                self.sum = Sum::of(carried, V::load(self.table.power(self.power)));
            }
            let powers = if NEAR { self.table.near_power(self.power) } else { self.table.power(self.power) };
            for (i, vector) in sealed.into_iter().enumerate() {
                let power = V::load(powers.add(i * V::BYTES));
                self.sum = self.sum.plus(Sum::of(vector.shuffle(V::splat(reversal())), power));
            }
        }
        self.power = self.power.wrapping_sub(N * V::BLOCKS);
        self.left = self.left.wrapping_sub(N * V::BLOCKS);
    }
}

impl Associated {
    /// # Safety
    /// The CPU has SSSE3.
    #[inline(always)]
    pub(super) unsafe fn of(data: &[u8; 12]) -> Associated {
        // SAFETY: the caller's.
        Associated { block: unsafe { padded(data) }, bits: 8 * data.len() as u64 }
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
            Associated { block: _mm_shuffle_epi8(block, reversal()), bits: 8 * data.len() as u64 }
        }
    }
}

/// 12 bytes and four zeros.
///
/// # Safety
/// The CPU has SSE2.
#[inline(always)]
pub(super) unsafe fn padded(bytes: &[u8; 12]) -> __m128i {
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
pub(super) unsafe fn reversal() -> __m128i {
    // SAFETY: the caller's.
    unsafe { _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f) }
}

#[repr(align(64))]
struct Counters([[u32; 4]; 4]);

/// What the lanes of a vector add to its first counter, which is the last word of its block.
static COUNTERS: Counters = Counters([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3]]);

#[repr(align(64))]
pub(super) struct FirstCounters(pub(super) [[u8; 16]; 2 * WIDEST]);

/// The first counter blocks of a packet without its nonce.
pub(super) static FIRST_COUNTERS: FirstCounters = {
    let mut blocks = [[0; 16]; 2 * WIDEST];
    let mut block = 0;
    while block < blocks.len() {
        blocks[block][15] = block as u8 + 1;
        block += 1;
    }
    FirstCounters(blocks)
};

/// Vectors whose rounds are done together: as many as hide the latency of a round.
const GROUP: usize = 4;
const ICV: usize = super::super::ICV;
