// SPDX-License-Identifier: Apache-2.0
//! Prefetching: asks the CPU to bring memory into its caches before it is used. Nothing waits for it.

/// Prefetches the cache line where `value` begins.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    line(std::ptr::from_ref(value).cast());
}

/// Prefetches the cache lines of `len` bytes from `start`.
#[inline(always)]
pub fn prefetch_bytes(start: *const u8, len: usize) {
    for offset in (0..len).step_by(CACHE_LINE) {
        line(start.wrapping_add(offset));
    }
}

#[inline(always)]
fn line(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every x86-64 CPU has the instruction. It faults at no address and changes nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    // Miri has no cache.
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    let _ = address;
}

const CACHE_LINE: usize = 64;
