// SPDX-License-Identifier: Apache-2.0
//! What AES-GCM needs of a vector of 128-bit blocks, so that it is written once for all widths.

use std::arch::x86_64::__m128i;

/// One, two or four blocks. A value exists only where the CPU has the instructions of its type: that is what makes
/// the methods on values safe, and what the caller of every constructor answers for.
pub(super) trait Vector: Copy {
    const BYTES: usize;
    const BLOCKS: usize = Self::BYTES / 16;
    /// Whether parts are loaded with zeros behind, and nothing behind them is stored.
    const MASKED: bool;
    /// Whether three products and some sums cost less than four products.
    const KARATSUBA: bool;

    /// The block in every lane.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn splat(block: __m128i) -> Self;

    /// The block in the first lane, zeros in the others.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn alone(block: __m128i) -> Self;

    /// The first blocks, one in each lane.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn gather(blocks: [__m128i; WIDEST]) -> Self;

    /// # Safety
    /// The CPU has the instructions of this type; `BYTES` bytes are readable.
    unsafe fn load(from: *const u8) -> Self;

    /// `len` bytes, from 1 to `BYTES`. What follows them in the vector is arbitrary.
    ///
    /// # Safety
    /// The CPU has the instructions of this type; `len` and the 16 bytes of an ICV behind are readable.
    unsafe fn load_some(from: *const u8, len: usize) -> Self;

    /// `len` bytes behind a first lane of zeros, where they must fit. What follows them is arbitrary.
    ///
    /// # Safety
    /// As for `load_some`.
    unsafe fn load_behind(from: *const u8, len: usize) -> Self;

    /// # Safety
    /// `BYTES` bytes are writable.
    unsafe fn store(self, to: *mut u8);

    /// Stores `len` bytes, from 1 to `BYTES`, and may overwrite the 16 bytes behind.
    ///
    /// # Safety
    /// `len` and 16 bytes are writable.
    unsafe fn store_some(self, to: *mut u8, len: usize);

    /// Stores the `len` bytes behind the first lane, and may overwrite the 16 bytes behind.
    ///
    /// # Safety
    /// `len` and 16 bytes are writable.
    unsafe fn store_behind(self, to: *mut u8, len: usize);

    /// Zeros all but the first `len` bytes; `len` is at most `BYTES`.
    fn keep(self, len: usize) -> Self;

    /// Zeros the first lane, and all but the `len` bytes behind it.
    fn keep_behind(self, len: usize) -> Self;

    fn first(self) -> __m128i;

    /// The sum of all lanes.
    fn fold(self) -> __m128i;

    /// In each lane the sum of all lanes of the vector that has its number.
    fn fold_each(vectors: [Self; WIDEST]) -> Self;

    fn xor(self, other: Self) -> Self;

    /// Adds as vectors of 32-bit numbers.
    fn add(self, other: Self) -> Self;

    /// Permutes the bytes of each lane.
    fn shuffle(self, order: Self) -> Self;

    /// Exchanges the halves of each lane.
    fn swap(self) -> Self;

    /// Moves the lower half of each lane to the upper, and zeros the lower.
    fn raise(self) -> Self;

    /// Moves the upper half of each lane to the lower, and zeros the upper.
    fn lower(self) -> Self;

    fn round(self, key: Self) -> Self;

    fn last_round(self, key: Self) -> Self;

    /// Carry-less product of the halves of each lane, by the immediate of PCLMULQDQ.
    fn product<const HALVES: i32>(self, other: Self) -> Self;
}

/// Lanes of the widest vector.
pub(super) const WIDEST: usize = 4;
