// SPDX-License-Identifier: Apache-2.0
//! Memory that will be needed soon.

/// Asks the CPU to bring the line of the cache where a value begins near the core. It does not wait.
#[inline(always)]
pub fn fetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every x86-64 CPU has the instruction, and it changes and reads nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    // Miri has no cache.
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    let _ = value;
}
