// SPDX-License-Identifier: Apache-2.0
//! Two blocks at a time: AVX2 with VAES and VPCLMULQDQ.

use super::mask::{MASK, MASKED};
use super::vector::{Vector, WIDEST};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Ymm(__m256i);

/// An intrinsic on existing values.
macro_rules! proven {
    ($intrinsic:expr) => {
        // SAFETY: a value of this type exists only where the CPU has its instructions.
        Ymm(unsafe { $intrinsic })
    };
}

impl Vector for Ymm {
    const BYTES: usize = 32;
    const MASKED: bool = false;
    const KARATSUBA: bool = true;

    #[inline(always)]
    unsafe fn splat(block: __m128i) -> Ymm {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_broadcastsi128_si256(block) })
    }

    #[inline(always)]
    unsafe fn alone(block: __m128i) -> Ymm {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_zextsi128_si256(block) })
    }

    #[inline(always)]
    unsafe fn gather([a, b, ..]: [__m128i; WIDEST]) -> Ymm {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_set_m128i(b, a) })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Ymm {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn load_some(from: *const u8, len: usize) -> Ymm {
        // SAFETY: more than 16 bytes make 32 with the ICV behind; fewer make 16 with it.
        unsafe { if len > 16 { Ymm::load(from) } else { Ymm::alone(_mm_loadu_si128(from.cast())) } }
    }

    #[inline(always)]
    unsafe fn load_behind(from: *const u8, _len: usize) -> Ymm {
        // SAFETY: the ICV behind makes 16 bytes readable.
        Ymm(unsafe { _mm256_set_m128i(_mm_loadu_si128(from.cast()), _mm_setzero_si128()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn store_some(self, to: *mut u8, len: usize) {
        // SAFETY: as for loads.
        unsafe {
            if len > 16 {
                self.store(to);
            } else {
                _mm_storeu_si128(to.cast(), self.first());
            }
        }
    }

    #[inline(always)]
    unsafe fn store_behind(self, to: *mut u8, _len: usize) {
        // SAFETY: the ICV behind makes 16 bytes writable.
        unsafe { _mm_storeu_si128(to.cast(), _mm256_extracti128_si256::<1>(self.0)) }
    }

    #[inline(always)]
    fn keep(self, len: usize) -> Ymm {
        let from = &MASK[MASKED - len..][..32];
        // SAFETY: the slice has 32 bytes.
        proven!(_mm256_and_si256(self.0, _mm256_loadu_si256(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn keep_behind(self, len: usize) -> Ymm {
        proven!(_mm256_blend_epi32::<0x0f>(self.keep(16 + len).0, _mm256_setzero_si256()))
    }

    #[inline(always)]
    fn first(self) -> __m128i {
        // SAFETY: a value of this type exists only where the CPU has its instructions.
        unsafe { _mm256_castsi256_si128(self.0) }
    }

    #[inline(always)]
    fn fold(self) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_xor_si128(self.first(), _mm256_extracti128_si256::<1>(self.0)) }
    }

    #[inline(always)]
    fn fold_each(vectors: [Ymm; WIDEST]) -> Ymm {
        let [a, b, ..] = vectors.map(|vector| vector.0);
        let low = proven!(_mm256_permute2x128_si256::<0x20>(a, b));
        low.xor(proven!(_mm256_permute2x128_si256::<0x31>(a, b)))
    }

    #[inline(always)]
    fn xor(self, other: Ymm) -> Ymm {
        proven!(_mm256_xor_si256(self.0, other.0))
    }

    #[inline(always)]
    fn add(self, other: Ymm) -> Ymm {
        proven!(_mm256_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    fn shuffle(self, order: Ymm) -> Ymm {
        proven!(_mm256_shuffle_epi8(self.0, order.0))
    }

    #[inline(always)]
    fn swap(self) -> Ymm {
        proven!(_mm256_shuffle_epi32::<0b01_00_11_10>(self.0))
    }

    #[inline(always)]
    fn raise(self) -> Ymm {
        proven!(_mm256_bslli_epi128::<8>(self.0))
    }

    #[inline(always)]
    fn lower(self) -> Ymm {
        proven!(_mm256_bsrli_epi128::<8>(self.0))
    }

    #[inline(always)]
    fn round(self, key: Ymm) -> Ymm {
        proven!(_mm256_aesenc_epi128(self.0, key.0))
    }

    #[inline(always)]
    fn last_round(self, key: Ymm) -> Ymm {
        proven!(_mm256_aesenclast_epi128(self.0, key.0))
    }

    #[inline(always)]
    fn product<const HALVES: i32>(self, other: Ymm) -> Ymm {
        proven!(_mm256_clmulepi64_epi128::<HALVES>(self.0, other.0))
    }
}
