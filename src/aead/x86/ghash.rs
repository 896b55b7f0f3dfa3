// SPDX-License-Identifier: Apache-2.0
//! GHASH as POLYVAL (RFC 8452 appendix A): on blocks in reversed byte order and with a key multiplied by x, products
//! need no shift and a reduction is two small multiplications.

use super::vector::{Vector, WIDEST};
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
        let middle = if V::KARATSUBA {
            blocks.xor(blocks.swap()).product::<0x00>(powers.xor(powers.swap()))
        } else {
            blocks.product::<0x01>(powers).xor(blocks.product::<0x10>(powers))
        };
        Sum { low: blocks.product::<0x00>(powers), middle, high: blocks.product::<0x11>(powers) }
    }

    #[inline(always)]
    pub(super) fn plus(self, other: Sum<V>) -> Sum<V> {
        Sum {
            low: self.low.xor(other.low),
            middle: self.middle.xor(other.middle),
            high: self.high.xor(other.high),
        }
    }

    /// In each lane the sum of all lanes of the sum that has its number.
    #[inline(always)]
    pub(super) fn fold_each(sums: [Sum<V>; WIDEST]) -> Sum<V> {
        let [a, b, c, d] = sums;
        Sum {
            low: V::fold_each([a.low, b.low, c.low, d.low]),
            middle: V::fold_each([a.middle, b.middle, c.middle, d.middle]),
            high: V::fold_each([a.high, b.high, c.high, d.high]),
        }
    }

    /// The sum of all lanes, as an element of the field.
    #[inline(always)]
    pub(super) fn reduced(self) -> __m128i {
        let (low, middle, high) = (self.low.fold(), self.middle.fold(), self.high.fold());
        // SAFETY: PCLMULQDQ was there to make the products.
        let [low, middle, high] = unsafe { [low, middle, high].map(|part| Xmm::splat(part)) };
        let middle = if V::KARATSUBA { middle.xor(low).xor(high) } else { middle };
        reduced(low, middle, high).first()
    }

    /// Each lane as an element of the field.
    #[inline(always)]
    pub(super) fn reduced_each(self) -> V {
        let middle = if V::KARATSUBA { self.middle.xor(self.low).xor(self.high) } else { self.middle };
        reduced(self.low, middle, self.high)
    }
}

#[inline(always)]
fn reduced<V: Vector>(low: V, middle: V, high: V) -> V {
    // SAFETY: values of the type exist.
    let polynomial = unsafe { V::splat(_mm_set1_epi64x(POLYNOMIAL)) };
    let low = low.xor(middle.raise());
    let high = high.xor(middle.lower());
    let low = low.swap().xor(low.product::<0x00>(polynomial));
    let low = low.swap().xor(low.product::<0x00>(polynomial));
    high.xor(low)
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
