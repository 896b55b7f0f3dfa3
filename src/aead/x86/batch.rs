// SPDX-License-Identifier: Apache-2.0
//! Batches: the texts of a few packets one after the other, then their ICVs at once.

use super::gcm::{Associated, Unfinished};
use super::key::Expanded;
use super::short;
use super::table::Table;
use super::vector::{Vector, WIDEST};
use super::{Aead, ICV, Job, Portable};
use std::arch::x86_64::*;
use std::{mem, ptr, slice};

/// # Safety
/// The CPU has the instructions of `V`, AES-NI, PCLMULQDQ and SSSE3.
#[inline(always)]
pub(super) unsafe fn seal<V: Vector>(jobs: &mut [Job<'_>]) {
    // SAFETY: the caller's; `table_of` checked the length.
    unsafe {
        let mut packets = [Unfinished::<V>::none(); WIDEST];
        fetch_keys(&[], jobs);
        let mut rest = jobs;
        while !rest.is_empty() {
            let count = WIDEST.min(rest.len());
            let (some, behind) = mem::take(&mut rest).split_at_mut(count);
            fetch_keys(some, behind);
            rest = behind;
            if let Ok(four) = <&mut [Job<'_>; WIDEST]>::try_from(&mut *some)
                && let Some(tables) = short::tables_of::<V>(four)
            {
                let icvs = short::run::<V, true>(tables, four);
                for (job, icv) in four.iter_mut().zip(icvs) {
                    finish_seal(job.data, icv);
                }
                continue;
            }
            for (i, packet) in packets.iter_mut().enumerate().take(some.len()) {
                fetch_rest(&some[i], some.get(i + 1).or(rest.first()));
                let job = &mut some[i];
                match table_of(job) {
                    Some(table) => {
                        let associated = Associated::of(&job.associated);
                        *packet = Unfinished::seal(table, &job.nonce, associated, job.data);
                    }
                    None => Portable.seal(slice::from_mut(job)),
                }
            }
            for (job, icv) in some.iter_mut().zip(Unfinished::finish(&packets)) {
                if table_of(job).is_some() {
                    finish_seal(job.data, icv);
                }
            }
        }
    }
}

/// # Safety
/// As for `seal`.
#[inline(always)]
pub(super) unsafe fn open<V: Vector>(jobs: &mut [Job<'_>]) {
    // SAFETY: the caller's; `table_of` checked the length.
    unsafe {
        let mut packets = [Unfinished::<V>::none(); WIDEST];
        fetch_keys(&[], jobs);
        let mut rest = jobs;
        while !rest.is_empty() {
            let count = WIDEST.min(rest.len());
            let (some, behind) = mem::take(&mut rest).split_at_mut(count);
            fetch_keys(some, behind);
            rest = behind;
            if let Ok(four) = <&mut [Job<'_>; WIDEST]>::try_from(&mut *some)
                && let Some(tables) = short::tables_of::<V>(four)
            {
                let differences = short::run::<V, false>(tables, four);
                for (job, difference) in four.iter_mut().zip(differences) {
                    job.authentic = finish_open(job.data, difference);
                }
                continue;
            }
            for (i, packet) in packets.iter_mut().enumerate().take(some.len()) {
                fetch_rest(&some[i], some.get(i + 1).or(rest.first()));
                let job = &mut some[i];
                match table_of(job) {
                    Some(table) => {
                        let associated = Associated::of(&job.associated);
                        *packet = Unfinished::open(table, &job.nonce, associated, job.data);
                    }
                    None => Portable.open(slice::from_mut(job)),
                }
            }
            for (job, difference) in some.iter_mut().zip(Unfinished::finish(&packets)) {
                if table_of(job).is_some() {
                    job.authentic = finish_open(job.data, difference);
                }
            }
        }
    }
}

/// Where many tunnels meet, the keys of the next packets are far away.
#[inline(always)]
fn fetch_keys(some: &[Job<'_>], behind: &[Job<'_>]) {
    let mut last = some.last().map(|job| job.key);
    for job in behind.iter().take(WIDEST) {
        if let Some(table) = table_of(job)
            && !last.is_some_and(|last| ptr::eq(last, job.key))
        {
            table.fetch_near();
        }
        last = Some(job.key);
    }
}

/// What only long packets use of a key, for the next packet.
#[inline(always)]
fn fetch_rest(job: &Job<'_>, next: Option<&Job<'_>>) {
    let is_far = |next: &&Job<'_>| next.data.len() >= LONG && !ptr::eq(next.key, job.key);
    let Some(next) = next.filter(is_far) else { return };
    if let Some(table) = table_of(next) {
        // One block of associated data and one of lengths stand in for the ICV.
        table.fetch_far(next.data.len().div_ceil(16) + 1);
    }
}

/// None if the key is for another cipher or of another implementation, or there is no room for an ICV: the portable one
/// knows what to do.
#[inline(always)]
fn table_of<'a>(job: &Job<'a>) -> Option<&'a Table> {
    match &job.key.0 {
        Expanded::Table(table) if job.data.len() >= ICV => Some(table),
        _ => None,
    }
}

/// # Safety
/// The CPU has SSE2. `data` has at least 16 bytes.
#[inline(always)]
pub(super) unsafe fn finish_seal(data: &mut [u8], icv: __m128i) {
    let len = data.len() - ICV;
    // SAFETY: there are 16 bytes from `len` on.
    unsafe { _mm_storeu_si128(data.as_mut_ptr().add(len).cast(), icv) }
}

/// Whether the difference is none. What was decrypted is wiped if it is not.
///
/// # Safety
/// As for `finish_seal`.
#[inline(always)]
pub(super) unsafe fn finish_open(data: &mut [u8], difference: __m128i) -> bool {
    // SAFETY: the caller's.
    let equal = unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(difference, _mm_setzero_si128())) };
    let authentic = equal == 0xffff;
    if !authentic {
        let len = data.len() - ICV;
        data[..len].fill(0);
    }
    authentic
}

/// One packet with associated data of any length, as vectors of third parties have it.
///
/// # Safety
/// As for `seal`. `data` has at least 16 bytes.
#[cfg(test)]
pub(super) unsafe fn seal_one<V: Vector>(
    table: &Table,
    nonce: &[u8; 12],
    associated: &[u8],
    data: &mut [u8],
) {
    // SAFETY: the caller's.
    unsafe {
        let mut packets = [Unfinished::<V>::none(); WIDEST];
        packets[0] = Unfinished::seal(table, nonce, Associated::of_any(associated, table), data);
        finish_seal(data, Unfinished::finish(&packets)[0]);
    }
}

/// # Safety
/// As for `seal_one`.
#[cfg(test)]
pub(super) unsafe fn open_one<V: Vector>(
    table: &Table,
    nonce: &[u8; 12],
    associated: &[u8],
    data: &mut [u8],
) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let mut packets = [Unfinished::<V>::none(); WIDEST];
        packets[0] = Unfinished::open(table, nonce, Associated::of_any(associated, table), data);
        finish_open(data, Unfinished::finish(&packets)[0])
    }
}

/// Bytes from which on a packet gains more from a key that was fetched than the requests cost.
const LONG: usize = 512;
