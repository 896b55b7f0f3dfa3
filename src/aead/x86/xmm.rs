// SPDX-License-Identifier: Apache-2.0
//! One block at a time: AES-NI and PCLMULQDQ.

use super::mask::{MASK, MASKED};
use super::vector::{Vector, WIDEST};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Xmm(__m128i);

/// An intrinsic on existing values.
macro_rules! proven {
    ($intrinsic:expr) => {
        // SAFETY: a value of this type exists only where the CPU has its instructions.
        Xmm(unsafe { $intrinsic })
    };
}

impl Vector for Xmm {
    const BYTES: usize = 16;
    const MASKED: bool = false;
    const KARATSUBA: bool = true;

    #[inline(always)]
    unsafe fn splat(block: __m128i) -> Xmm {
        // SAFETY: nothing is done.
        Xmm(block)
    }

    #[inline(always)]
    unsafe fn alone(block: __m128i) -> Xmm {
        // SAFETY: nothing is done.
        Xmm(block)
    }

    #[inline(always)]
    unsafe fn gather([block, ..]: [__m128i; WIDEST]) -> Xmm {
        Xmm(block)
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Xmm {
        // SAFETY: the caller's.
        Xmm(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline(always)]
    unsafe fn load_some(from: *const u8, _len: usize) -> Xmm {
        // SAFETY: the ICV behind makes 16 bytes readable.
        Xmm(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline(always)]
    unsafe fn load_behind(_from: *const u8, _len: usize) -> Xmm {
        // SAFETY: the caller's.
        Xmm(unsafe { _mm_setzero_si128() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { _mm_storeu_si128(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn store_some(self, to: *mut u8, _len: usize) {
        // SAFETY: the ICV behind makes 16 bytes writable.
        unsafe { _mm_storeu_si128(to.cast(), self.0) }
    }

    #[inline(always)]
    // SAFETY: nothing is done.
    unsafe fn store_behind(self, _to: *mut u8, _len: usize) {}

    #[inline(always)]
    fn keep(self, len: usize) -> Xmm {
        let from = &MASK[MASKED - len..][..16];
        // SAFETY: the slice has 16 bytes.
        proven!(_mm_and_si128(self.0, _mm_loadu_si128(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn keep_behind(self, _len: usize) -> Xmm {
        proven!(_mm_setzero_si128())
    }

    #[inline(always)]
    fn first(self) -> __m128i {
        self.0
    }

    #[inline(always)]
    fn fold(self) -> __m128i {
        self.0
    }

    #[inline(always)]
    fn fold_each(vectors: [Xmm; WIDEST]) -> Xmm {
        vectors[0]
    }

    #[inline(always)]
    fn xor(self, other: Xmm) -> Xmm {
        proven!(_mm_xor_si128(self.0, other.0))
    }

    #[inline(always)]
    fn add(self, other: Xmm) -> Xmm {
        proven!(_mm_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    fn shuffle(self, order: Xmm) -> Xmm {
        proven!(_mm_shuffle_epi8(self.0, order.0))
    }

    #[inline(always)]
    fn swap(self) -> Xmm {
        proven!(_mm_shuffle_epi32::<0b01_00_11_10>(self.0))
    }

    #[inline(always)]
    fn raise(self) -> Xmm {
        proven!(_mm_slli_si128::<8>(self.0))
    }

    #[inline(always)]
    fn lower(self) -> Xmm {
        proven!(_mm_srli_si128::<8>(self.0))
    }

    #[inline(always)]
    fn round(self, key: Xmm) -> Xmm {
        proven!(_mm_aesenc_si128(self.0, key.0))
    }

    #[inline(always)]
    fn last_round(self, key: Xmm) -> Xmm {
        proven!(_mm_aesenclast_si128(self.0, key.0))
    }

    #[inline(always)]
    fn product<const HALVES: i32>(self, other: Xmm) -> Xmm {
        proven!(_mm_clmulepi64_si128::<HALVES>(self.0, other.0))
    }
}
