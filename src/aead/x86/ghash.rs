// SPDX-License-Identifier: Apache-2.0
//! GHASH as POLYVAL (RFC 8452 appendix A): on blocks in reversed byte order and with a key multiplied by x, products
//! need no shift and a reduction is two small multiplications.

use super::vector::Vector;
use super::xmm::Xmm;
use std::arch::x86_64::*;

/// A sum of products that is not reduced yet, lane by lane.
#[derive(Clone, Copy)]
pub(super) struct Sum<V> {
    low: V,
    middle: V,
    high: V,
}

impl<V: Vector> Sum<V> {
    /// Each lane of `blocks` times that of `powers`.
    #[inline(always)]
    pub(super) fn of(blocks: V, powers: V) -> Sum<V> {
        Sum {
            low: blocks.product::<0x00>(powers),
            middle: blocks.product::<0x01>(powers).xor(blocks.product::<0x10>(powers)),
            high: blocks.product::<0x11>(powers),
        }
    }

    #[inline(always)]
    pub(super) fn plus(self, other: Sum<V>) -> Sum<V> {
        Sum {
            low: self.low.xor(other.low),
            middle: self.middle.xor(other.middle),
            high: self.high.xor(other.high),
        }
    }

    /// The sum of all lanes, as an element of the field.
    #[inline(always)]
    pub(super) fn reduced(self) -> __m128i {
        let (low, middle, high) = (self.low.fold(), self.middle.fold(), self.high.fold());
        // SAFETY: PCLMULQDQ was there to make the products.
        unsafe {
            let polynomial = _mm_set_epi64x(0, POLYNOMIAL);
            let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
            let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
            let low = _mm_xor_si128(
                _mm_shuffle_epi32::<SWAP_HALVES>(low),
                _mm_clmulepi64_si128::<0x00>(low, polynomial),
            );
            let low = _mm_xor_si128(
                _mm_shuffle_epi32::<SWAP_HALVES>(low),
                _mm_clmulepi64_si128::<0x00>(low, polynomial),
            );
            _mm_xor_si128(high, low)
        }
    }
}

/// The product of two elements of the field.
///
/// # Safety
/// The CPU has PCLMULQDQ and SSE2.
#[inline(always)]
pub(super) unsafe fn times(a: __m128i, b: __m128i) -> __m128i {
    // SAFETY: the caller's.
    unsafe { Sum::of(Xmm::splat(a), Xmm::splat(b)).reduced() }
}

/// x^63 + x^62 + x^57: the upper half of x^128 + x^127 + x^126 + x^121 + 1, without its leading term.
const POLYNOMIAL: i64 = 0xc2u64.cast_signed() << 56;
const SWAP_HALVES: i32 = 0b01_00_11_10;
