// SPDX-License-Identifier: Apache-2.0
//! Packets so short that associated data and text fill one vector, or two: as many at once as it has lanes. Round keys that
//! they share are loaded once, and nothing is put aside between their texts and their ICVs. Only for vectors of four lanes
//! that mask what is not text.

use super::super::{ICV, Job};
use super::gcm::{FIRST_COUNTERS, Unfinished, padded, reversal};
use super::ghash::Sum;
use super::key::Expanded;
use super::table::Table;
use super::vector::{Vector, WIDEST};
use std::arch::x86_64::*;

/// Packets that can be done together.
pub(super) struct Group<'a> {
    tables: [&'a Table; WIDEST],
    /// That each of them fills.
    vectors: usize,
}

impl<'a> Group<'a> {
    /// None if they differ in the number of vectors or of rounds, or are not short.
    #[inline(always)]
    pub(super) fn of<V: Vector>(jobs: &[Job<'a>; WIDEST]) -> Option<Group<'a>> {
        let [a, b, c, d] = jobs;
        // The block of the associated data takes as much as the ICV.
        let vectors = a.data.len().div_ceil(V::BYTES);
        let is_like_it =
            |job: &Job<'_>| job.data.len() >= ICV && job.data.len().div_ceil(V::BYTES) == vectors;
        let is_short = V::MASKED && V::BLOCKS == WIDEST && vectors <= MOST_VECTORS;
        if !(is_short && is_like_it(a) && is_like_it(b) && is_like_it(c) && is_like_it(d)) {
            return None;
        }
        match [&a.key.0, &b.key.0, &c.key.0, &d.key.0] {
            [Expanded::Table(a), Expanded::Table(b), Expanded::Table(c), Expanded::Table(d)] => {
                let tables = [a, b, c, d];
                let is_like_it = |table: &&Table| table.is_aes256() == a.is_aes256();
                tables.iter().all(is_like_it).then_some(Group { tables, vectors })
            }
            _ => None,
        }
    }

    /// Seals or opens the texts. Gives the ICVs; when opening, what is different about them.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, AES-NI, PCLMULQDQ and SSSE3. The jobs are those of the group.
    #[inline(always)]
    pub(super) unsafe fn run<V: Vector, const SEAL: bool>(
        self,
        jobs: &mut [Job<'_>; WIDEST],
    ) -> [__m128i; WIDEST] {
        let Group { tables, vectors } = self;
        let is_one = tables.iter().all(|table| std::ptr::eq(*table, tables[0]));
        let is_aes256 = tables[0].is_aes256();
        // SAFETY: the caller's.
        unsafe {
            match (vectors, is_aes256, is_one) {
                (1, false, true) => rounds::<V, 1, 10, SEAL>([tables[0]; WIDEST], jobs),
                (1, false, false) => rounds::<V, 1, 10, SEAL>(tables, jobs),
                (1, true, true) => rounds::<V, 1, 14, SEAL>([tables[0]; WIDEST], jobs),
                (1, true, false) => rounds::<V, 1, 14, SEAL>(tables, jobs),
                (_, false, true) => rounds::<V, 2, 10, SEAL>([tables[0]; WIDEST], jobs),
                (_, false, false) => rounds::<V, 2, 10, SEAL>(tables, jobs),
                (_, true, true) => rounds::<V, 2, 14, SEAL>([tables[0]; WIDEST], jobs),
                (_, true, false) => rounds::<V, 2, 14, SEAL>(tables, jobs),
            }
        }
    }
}

/// # Safety
/// As for `Group::run`; AES has so many rounds, and each packet `N` vectors.
#[inline(always)]
unsafe fn rounds<V: Vector, const N: usize, const ROUNDS: usize, const SEAL: bool>(
    tables: [&Table; WIDEST],
    jobs: &mut [Job<'_>; WIDEST],
) -> [__m128i; WIDEST] {
    // SAFETY: the caller's; there are counters for so many vectors.
    unsafe {
        let mut blocks = [[V::splat(_mm_setzero_si128()); N]; WIDEST];
        for (i, blocks) in blocks.iter_mut().enumerate() {
            let begun = V::splat(padded(&jobs[i].nonce)).xor(round_key(tables[i], 0));
            for (block, counters) in blocks.iter_mut().zip(FIRST_COUNTERS.0.chunks(V::BLOCKS)) {
                *block = begun.xor(V::load(counters.as_ptr().cast()));
            }
        }
        for round in 1..ROUNDS {
            for (blocks, table) in blocks.iter_mut().zip(tables) {
                let key = round_key(table, round);
                for block in blocks {
                    *block = block.round(key);
                }
            }
        }
        let [job_a, job_b, job_c, job_d] = jobs;
        // One after the other in the program; nothing of it waits for anything of another.
        let a = text::<V, N, ROUNDS, SEAL>(tables[0], blocks[0], job_a);
        let b = text::<V, N, ROUNDS, SEAL>(tables[1], blocks[1], job_b);
        let c = text::<V, N, ROUNDS, SEAL>(tables[2], blocks[2], job_c);
        let d = text::<V, N, ROUNDS, SEAL>(tables[3], blocks[3], job_d);
        Unfinished::finish(&[a, b, c, d])
    }
}

/// The text of one packet, of which the counters have passed all rounds but the last.
///
/// # Safety
/// As for `rounds`.
#[inline(always)]
unsafe fn text<V: Vector, const N: usize, const ROUNDS: usize, const SEAL: bool>(
    table: &Table,
    blocks: [V; N],
    job: &mut Job<'_>,
) -> Unfinished<V> {
    let (text, len) = (job.data.as_mut_ptr(), job.data.len() - ICV);
    // SAFETY: the caller's; loads and stores are masked to the text, and there are 16 bytes of an ICV behind it.
    unsafe {
        let icv = _mm_loadu_si128(text.add(len).cast());
        let reversal = V::splat(reversal());
        let last_key = round_key::<V>(table, ROUNDS);
        // The block of the associated data comes first, that of the lengths last.
        let power = len.div_ceil(16) + 2;
        let power = if N == 1 { table.near_power(power) } else { table.power(power) };
        let first = if N == 1 { len } else { V::BYTES - 16 };
        let input = V::load_behind(text, first);
        let output = blocks[0].last_round(last_key.xor(input));
        output.store_behind(text, first);
        // The counter of the first lane, in which there is no text, makes what masks the ICV.
        let mask = if SEAL { output.first() } else { _mm_xor_si128(output.first(), icv) };
        let associated = V::alone(padded(&job.associated));
        let sealed = if SEAL { output.keep_behind(first) } else { input };
        let mut sum = Sum::of(sealed.xor(associated).shuffle(reversal), V::load(power));
        if N == 2 {
            let (text, len) = (text.add(first), len - first);
            let input = V::load_some(text, len);
            let output = blocks[N - 1].last_round(last_key.xor(input));
            output.store_some(text, len);
            let sealed = if SEAL { output.keep(len) } else { input };
            sum = sum.plus(Sum::of(sealed.shuffle(reversal), V::load(power.add(V::BYTES))));
        }
        let lengths = _mm_set_epi64x(8 * job.associated.len() as i64, 8 * len as i64);
        let hash_key = _mm_loadu_si128(table.near_power(1).cast());
        Unfinished { sum, lengths, hash_key, mask }
    }
}

/// # Safety
/// As for `rounds`; the table has the round.
#[inline(always)]
unsafe fn round_key<V: Vector>(table: &Table, round: usize) -> V {
    // SAFETY: the caller's.
    unsafe { V::splat(_mm_loadu_si128(table.round(round))) }
}

const MOST_VECTORS: usize = 2;
