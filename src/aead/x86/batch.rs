// SPDX-License-Identifier: Apache-2.0
//! Batches, in groups: short packets at once; of others, the texts one after the other, then the ICVs.

use super::gcm::{Associated, Unfinished};
use super::key::Expanded;
use super::short::Group;
use super::table::Table;
use super::vector::{Vector, WIDEST};
use super::{Aead, ICV, Job, Portable};
use std::arch::x86_64::*;
use std::{mem, ptr, slice};

/// Seals or opens all jobs.
///
/// # Safety
/// The CPU has the instructions of `V`, AES-NI, PCLMULQDQ and SSSE3.
#[inline(always)]
pub(super) unsafe fn run<V: Vector, const SEAL: bool>(jobs: &mut [Job<'_>]) {
    // SAFETY: the caller's; `table_of` and `Group::of` checked the lengths.
    unsafe {
        let mut packets = [Unfinished::<V>::none(); WIDEST];
        fetch_keys(&[], jobs);
        let mut rest = jobs;
        while !rest.is_empty() {
            let count = WIDEST.min(rest.len());
            let (some, behind) = mem::take(&mut rest).split_at_mut(count);
            fetch_keys(some, behind);
            rest = behind;
            if let Some(four) = some.first_chunk_mut()
                && let Some(group) = Group::of::<V>(four)
            {
                let icvs = group.run::<V, SEAL>(four);
                for (job, icv) in four.iter_mut().zip(icvs) {
                    finish::<SEAL>(job, icv);
                }
                continue;
            }
            for (i, packet) in packets.iter_mut().enumerate().take(some.len()) {
                fetch_rest(&some[i], some.get(i + 1).or(rest.first()));
                let job = &mut some[i];
                match table_of(job) {
                    Some(table) => {
                        let associated = Associated::of(&job.associated);
                        *packet = Unfinished::crypt::<SEAL>(table, &job.nonce, associated, job.data);
                    }
                    None if SEAL => Portable.seal(slice::from_mut(job)),
                    None => Portable.open(slice::from_mut(job)),
                }
            }
            for (job, icv) in some.iter_mut().zip(Unfinished::finish(&packets)) {
                if table_of(job).is_some() {
                    finish::<SEAL>(job, icv);
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
            table.prefetch_near();
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
        table.prefetch_far(next.data.len().div_ceil(16) + 1);
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

/// Writes the ICV of a packet that was sealed. Of one that was opened, it is what is different about its ICV: says whether
/// that is nothing, and wipes what was decrypted if it is not.
///
/// # Safety
/// The CPU has SSE2. The job has an ICV.
#[inline(always)]
unsafe fn finish<const SEAL: bool>(job: &mut Job<'_>, icv: __m128i) {
    let len = job.data.len() - ICV;
    // SAFETY: there are 16 bytes from `len` on.
    unsafe {
        if SEAL {
            _mm_storeu_si128(job.data.as_mut_ptr().add(len).cast(), icv);
            return;
        }
        job.authentic = _mm_movemask_epi8(_mm_cmpeq_epi8(icv, _mm_setzero_si128())) == 0xffff;
    }
    if !job.authentic {
        job.data[..len].fill(0);
    }
}

/// One packet, with associated data of any length instead of its own, as vectors of third parties have it.
///
/// # Safety
/// As for `run`. The job has an ICV.
#[cfg(test)]
pub(super) unsafe fn one<V: Vector, const SEAL: bool>(table: &Table, associated: &[u8], job: &mut Job<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut packets = [Unfinished::<V>::none(); WIDEST];
        let associated = Associated::of_any(associated, table);
        packets[0] = Unfinished::crypt::<SEAL>(table, &job.nonce, associated, job.data);
        finish::<SEAL>(job, Unfinished::finish(&packets)[0]);
    }
}

/// Bytes from which on a packet gains more from a key that was fetched than the requests cost.
const LONG: usize = 512;
