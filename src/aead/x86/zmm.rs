// SPDX-License-Identifier: Apache-2.0
//! Four blocks at a time: AVX-512 with VAES and VPCLMULQDQ. Mask registers take care of every odd length.

use super::vector::{Vector, WIDEST};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Zmm(__m512i);

/// An intrinsic on existing values.
macro_rules! proven {
    ($intrinsic:expr) => {
        // SAFETY: a value of this type exists only where the CPU has its instructions.
        Zmm(unsafe { $intrinsic })
    };
}

/// `len` bytes, at most 64.
#[inline(always)]
fn mask(len: usize) -> __mmask64 {
    // SAFETY: only for values, which exist only where the CPU has the instructions.
    unsafe { _bzhi_u64(!0, len as u32) }
}

impl Vector for Zmm {
    const BYTES: usize = 64;
    const MASKED: bool = true;
    const KARATSUBA: bool = false;

    #[inline(always)]
    unsafe fn splat(block: __m128i) -> Zmm {
        // SAFETY: the caller's.
        Zmm(unsafe { _mm512_broadcast_i32x4(block) })
    }

    #[inline(always)]
    unsafe fn alone(block: __m128i) -> Zmm {
        // SAFETY: the caller's.
        Zmm(unsafe { _mm512_zextsi128_si512(block) })
    }

    #[inline(always)]
    unsafe fn gather([a, b, c, d]: [__m128i; WIDEST]) -> Zmm {
        // SAFETY: the caller's.
        unsafe {
            let (front, back) = (_mm256_set_m128i(b, a), _mm256_set_m128i(d, c));
            Zmm(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(front), back))
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Zmm {
        // SAFETY: the caller's.
        Zmm(unsafe { _mm512_loadu_si512(from.cast()) })
    }

    #[inline(always)]
    unsafe fn load_some(from: *const u8, len: usize) -> Zmm {
        // SAFETY: bytes that are masked out are not touched.
        Zmm(unsafe { _mm512_maskz_loadu_epi8(mask(len), from.cast()) })
    }

    #[inline(always)]
    unsafe fn load_behind(from: *const u8, len: usize) -> Zmm {
        // SAFETY: bytes that are masked out are not touched, and `wrapping_sub` may leave the allocation.
        Zmm(unsafe { _mm512_maskz_loadu_epi8(mask(len) << 16, from.wrapping_sub(16).cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn store_some(self, to: *mut u8, len: usize) {
        // SAFETY: bytes that are masked out are not touched.
        unsafe { _mm512_mask_storeu_epi8(to.cast(), mask(len), self.0) }
    }

    #[inline(always)]
    unsafe fn store_behind(self, to: *mut u8, len: usize) {
        // SAFETY: bytes that are masked out are not touched, and `wrapping_sub` may leave the allocation.
        unsafe { _mm512_mask_storeu_epi8(to.wrapping_sub(16).cast(), mask(len) << 16, self.0) }
    }

    #[inline(always)]
    fn keep(self, len: usize) -> Zmm {
        proven!(_mm512_maskz_mov_epi8(mask(len), self.0))
    }

    #[inline(always)]
    fn keep_behind(self, len: usize) -> Zmm {
        proven!(_mm512_maskz_mov_epi8(mask(len) << 16, self.0))
    }

    #[inline(always)]
    fn first(self) -> __m128i {
        // SAFETY: a value of this type exists only where the CPU has its instructions.
        unsafe { _mm512_castsi512_si128(self.0) }
    }

    #[inline(always)]
    fn fold(self) -> __m128i {
        // SAFETY: as above.
        unsafe {
            let half =
                _mm256_xor_si256(_mm512_castsi512_si256(self.0), _mm512_extracti64x4_epi64::<1>(self.0));
            _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
        }
    }

    #[inline(always)]
    fn fold_each(vectors: [Zmm; WIDEST]) -> Zmm {
        let [a, b, c, d] = vectors.map(|vector| vector.0);
        // Lanes 0 and 2 of each against 1 and 3: a a b b, c c d d; then the halves that are left.
        let ab = proven!(_mm512_shuffle_i64x2::<0b10_00_10_00>(a, b))
            .xor(proven!(_mm512_shuffle_i64x2::<0b11_01_11_01>(a, b)));
        let cd = proven!(_mm512_shuffle_i64x2::<0b10_00_10_00>(c, d))
            .xor(proven!(_mm512_shuffle_i64x2::<0b11_01_11_01>(c, d)));
        proven!(_mm512_shuffle_i64x2::<0b10_00_10_00>(ab.0, cd.0))
            .xor(proven!(_mm512_shuffle_i64x2::<0b11_01_11_01>(ab.0, cd.0)))
    }

    #[inline(always)]
    fn xor(self, other: Zmm) -> Zmm {
        proven!(_mm512_xor_si512(self.0, other.0))
    }

    #[inline(always)]
    fn add(self, other: Zmm) -> Zmm {
        proven!(_mm512_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    fn shuffle(self, order: Zmm) -> Zmm {
        proven!(_mm512_shuffle_epi8(self.0, order.0))
    }

    #[inline(always)]
    fn swap(self) -> Zmm {
        proven!(_mm512_shuffle_epi32::<0b01_00_11_10>(self.0))
    }

    #[inline(always)]
    fn raise(self) -> Zmm {
        proven!(_mm512_bslli_epi128::<8>(self.0))
    }

    #[inline(always)]
    fn lower(self) -> Zmm {
        proven!(_mm512_bsrli_epi128::<8>(self.0))
    }

    #[inline(always)]
    fn round(self, key: Zmm) -> Zmm {
        proven!(_mm512_aesenc_epi128(self.0, key.0))
    }

    #[inline(always)]
    fn last_round(self, key: Zmm) -> Zmm {
        proven!(_mm512_aesenclast_epi128(self.0, key.0))
    }

    #[inline(always)]
    fn product<const HALVES: i32>(self, other: Zmm) -> Zmm {
        proven!(_mm512_clmulepi64_epi128::<HALVES>(self.0, other.0))
    }
}
