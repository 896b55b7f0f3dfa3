// SPDX-License-Identifier: Apache-2.0
//! Packets so short that associated data and text fill one vector: as many at once as it has lanes. Round keys that they
//! share are loaded once, and nothing is put aside between their texts and their ICVs.

use super::super::{ICV, Job};
use super::gcm::{FIRST_COUNTERS, Unfinished, padded, reversal};
use super::ghash::Sum;
use super::key::Expanded;
use super::table::Table;
use super::vector::{Vector, WIDEST};
use std::arch::x86_64::*;

/// Bytes of text at most.
pub(super) const SHORT: usize = 16 * (WIDEST - 1);

/// The keys of packets that can be done together, which depends on their lengths and ciphers.
#[inline(always)]
pub(super) fn tables_of<'a, V: Vector>(jobs: &[Job<'a>; WIDEST]) -> Option<[&'a Table; WIDEST]> {
    let [a, b, c, d] = jobs;
    let is_short = |job: &Job<'_>| (ICV..=ICV + SHORT).contains(&job.data.len());
    if V::BLOCKS != WIDEST || !(is_short(a) && is_short(b) && is_short(c) && is_short(d)) {
        return None;
    }
    match [&a.key.0, &b.key.0, &c.key.0, &d.key.0] {
        [Expanded::Table(a), Expanded::Table(b), Expanded::Table(c), Expanded::Table(d)] => {
            let tables = [a, b, c, d];
            tables.iter().all(|table| table.is_aes256() == a.is_aes256()).then_some(tables)
        }
        _ => None,
    }
}

/// Seals or opens the texts of packets with these keys. Gives their ICVs; when opening, what is different about them.
///
/// # Safety
/// The CPU has the instructions of `V`, AES-NI, PCLMULQDQ and SSSE3. The tables are those that `tables_of` gave for the jobs.
#[inline(always)]
pub(super) unsafe fn run<V: Vector, const SEAL: bool>(
    tables: [&Table; WIDEST],
    jobs: &mut [Job<'_>; WIDEST],
) -> [__m128i; WIDEST] {
    let is_one = tables.iter().all(|table| std::ptr::eq(*table, tables[0]));
    // SAFETY: the caller's.
    unsafe {
        match (tables[0].is_aes256(), is_one) {
            (false, true) => rounds::<V, 10, SEAL>([tables[0]; WIDEST], jobs),
            (false, false) => rounds::<V, 10, SEAL>(tables, jobs),
            (true, true) => rounds::<V, 14, SEAL>([tables[0]; WIDEST], jobs),
            (true, false) => rounds::<V, 14, SEAL>(tables, jobs),
        }
    }
}

/// # Safety
/// As for `run`; AES has so many rounds.
#[inline(always)]
unsafe fn rounds<V: Vector, const ROUNDS: usize, const SEAL: bool>(
    tables: [&Table; WIDEST],
    jobs: &mut [Job<'_>; WIDEST],
) -> [__m128i; WIDEST] {
    // SAFETY: the caller's; a mask keeps loads and stores to the text, and there are 16 bytes of an ICV behind it.
    unsafe {
        let counters = V::load(FIRST_COUNTERS.0.as_ptr().cast());
        let mut blocks = [counters; WIDEST];
        for (i, block) in blocks.iter_mut().enumerate() {
            *block = block.xor(V::splat(padded(&jobs[i].nonce))).xor(round_key(tables[i], 0));
        }
        for round in 1..ROUNDS {
            for (block, table) in blocks.iter_mut().zip(tables) {
                *block = block.round(round_key(table, round));
            }
        }
        let [job_a, job_b, job_c, job_d] = jobs;
        // One after the other in the program; nothing of it waits for anything of another.
        let a = text::<V, ROUNDS, SEAL>(tables[0], blocks[0], job_a);
        let b = text::<V, ROUNDS, SEAL>(tables[1], blocks[1], job_b);
        let c = text::<V, ROUNDS, SEAL>(tables[2], blocks[2], job_c);
        let d = text::<V, ROUNDS, SEAL>(tables[3], blocks[3], job_d);
        let lengths = V::gather([a.lengths, b.lengths, c.lengths, d.lengths]);
        let hash_keys = V::gather([a.hash_key, b.hash_key, c.hash_key, d.hash_key]);
        let hashes = Sum::fold_each([a.sum, b.sum, c.sum, d.sum]).plus(Sum::of(lengths, hash_keys));
        let masks = V::gather([a.mask, b.mask, c.mask, d.mask]);
        let mut icvs = [_mm_setzero_si128(); WIDEST];
        let hashes = hashes.reduced_each().shuffle(V::splat(reversal()));
        hashes.xor(masks).store(icvs.as_mut_ptr().cast());
        icvs
    }
}

/// The text of one packet, of which the counters have passed all rounds but the last.
///
/// # Safety
/// As for `rounds`.
#[inline(always)]
unsafe fn text<V: Vector, const ROUNDS: usize, const SEAL: bool>(
    table: &Table,
    block: V,
    job: &mut Job<'_>,
) -> Unfinished<V> {
    let (text, len) = (job.data.as_mut_ptr(), job.data.len() - ICV);
    // SAFETY: the caller's; a mask keeps loads and stores to the text, and there are 16 bytes of an ICV behind it.
    unsafe {
        let input = V::load_behind(text, len);
        let icv = _mm_loadu_si128(text.add(len).cast());
        let output = block.last_round(round_key::<V>(table, ROUNDS).xor(input));
        output.store_behind(text, len);
        // The counter of the first lane, in which there is no text, makes what masks the ICV.
        let mask = if SEAL { output.first() } else { _mm_xor_si128(output.first(), icv) };
        let associated = V::alone(padded(&job.associated));
        let sealed = if SEAL { output.keep_behind(len) } else { input };
        let hashed = sealed.xor(associated).shuffle(V::splat(reversal()));
        // The block of the associated data comes first, that of the lengths last.
        let sum = Sum::of(hashed, V::load(table.near_power(len.div_ceil(16) + 2)));
        let lengths = _mm_set_epi64x(8 * job.associated.len() as i64, 8 * len as i64);
        let hash_key = _mm_loadu_si128(table.near_power(1).cast());
        Unfinished { sum, lengths, hash_key, mask }
    }
}

/// # Safety
/// As for `run`; the table has the round.
#[inline(always)]
unsafe fn round_key<V: Vector>(table: &Table, round: usize) -> V {
    // SAFETY: the caller's.
    unsafe { V::splat(_mm_loadu_si128(table.round(round))) }
}
