// SPDX-License-Identifier: Apache-2.0
//! The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.
//!
//! ```text
//!   sum(a) + sum(b) + length  ──fold──►  the checksum to send
//!   the same over bytes that contain their checksum  ──fold──►  0 if they are intact
//! ```
//!
//! Sums of parts can be added as long as every part but the last has an even number of bytes.

/// The one's complement sum of the bytes as big-endian words, a missing last byte taken as zero.
///
/// It has at most 16 bits, so tens of thousands of such sums and lengths can be added before `fold`.
#[inline]
pub fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    // RFC 1071 section 2: the sum does not depend on the byte order in which words are added, so they
    // are added as the machine loads them and only the result is swapped.
    let total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    carry_around(total + u64::from(u32::from_ne_bytes(last)))
}

/// Ends a computation: carries go around, and the result is complemented.
#[inline]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// The checksum of the bytes: what to send in a field that was zero; 0 if the bytes contain a right one.
#[inline]
pub fn internet(bytes: &[u8]) -> u16 {
    fold(sum(bytes))
}

/// `internet` for an IPv4 header without options: no loop, no length to look at.
#[inline]
pub fn header(bytes: &[u8; 20]) -> u16 {
    let total = header_sum(bytes);
    fold(carry_around((total & 0xffff_ffff) + (total >> 32)))
}

/// Whether `header` of these bytes is 0, which is all that there is to know of a header that was received.
#[inline]
pub fn header_ok(bytes: &[u8; 20]) -> bool {
    let total = header_sum(bytes);
    // Of the one's complement sums only 0xffff is a multiple of itself, apart from that of nothing but zeros.
    // Times the inverse, multiples become their quotients, all others something greater than any quotient.
    total.wrapping_mul(INVERSE).wrapping_sub(1) < u64::MAX / 0xffff
}

/// Of 0xffff, modulo 2^64.
const INVERSE: u64 = (u64::MAX / 0xffff).wrapping_neg();
const _: () = assert!(INVERSE.wrapping_mul(0xffff) == 1);

/// The one's complement sum of native 64-bit words: as good as any of 16 bits, because 2^64 leaves 1 when divided by 0xffff.
#[inline]
fn header_sum(bytes: &[u8; 20]) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *bytes;
    let first = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    let second = u64::from_ne_bytes([i, j, k, l, m, n, o, p]);
    let third = u64::from(u32::from_ne_bytes([q, r, s, t]));
    let (sum, carry) = first.overflowing_add(second);
    // Both fit: the third is far from the largest number.
    let (sum, carry) = sum.overflowing_add(third + u64::from(carry));
    sum + u64::from(carry)
}

/// The checksum after one 16-bit word of the covered bytes changed (RFC 1624 section 3, equation 3:
/// HC' = ~(~HC + ~m + m'), which unlike RFC 1141 never makes a wrong negative zero).
#[inline]
pub const fn update(old_checksum: u16, old_word: u16, new_word: u16) -> u16 {
    fold(!old_checksum as u32 + !old_word as u32 + new_word as u32)
}

/// From any sum of native words to the big-endian sum in 16 bits.
#[inline]
fn carry_around(total: u64) -> u32 {
    let total = (total & 0xffff_ffff) + (total >> 32); // at most 33 bits
    let total = (total & 0xffff_ffff) + (total >> 32); // 32
    let total = (total & 0xffff) + (total >> 16); // 17, and 0x1fffe at most
    let total = (total & 0xffff) + (total >> 16); // 16
    u32::from(u16::from_be(total as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum: u64 = 0;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&bytes), 0xddf2);
        assert_eq!(internet(&bytes), !0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_section_4() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn no_bytes_and_all_ones_are_the_two_zeros() {
        assert_eq!(internet(&[]), 0xffff);
        assert_eq!(internet(&[0; 20]), 0xffff);
        assert_eq!(internet(&[0xff; 20]), 0);
        assert_eq!(header(&[0xff; 20]), 0);
        assert!(header_ok(&[0xff; 20]) && !header_ok(&[0; 20]));
    }

    #[test]
    fn the_longest_packet_of_the_heaviest_words_does_not_overflow() {
        assert_eq!(internet(&vec![0xff; 65_536]), 0);
        assert_eq!(internet(&vec![0xff; 65_535]), by_the_book(&vec![0xff; 65_535]));
        assert_eq!(fold(u32::MAX), 0);
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(internet(&bytes), by_the_book(&bytes));
        }

        #[test]
        fn the_fixed_size_path_agrees_with_the_general_one(bytes: [u8; 20]) {
            prop_assert_eq!(header(&bytes), internet(&bytes));
            prop_assert_eq!(header_ok(&bytes), internet(&bytes) == 0);
            let mut sound = bytes;
            sound[10..12].fill(0);
            let checksum = header(&sound).to_be_bytes();
            sound[10..12].copy_from_slice(&checksum);
            prop_assert!(header_ok(&sound) || bytes.iter().all(|byte| *byte == 0));
        }

        #[test]
        fn sums_of_parts_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..100) {
            let (first, second) = bytes.split_at((cut * 2).min(bytes.len() & !1));
            prop_assert_eq!(fold(sum(first) + sum(second)), internet(&bytes));
        }

        #[test]
        fn an_updated_checksum_is_that_of_the_changed_bytes(
            mut bytes: [u8; 20], at in 0usize..9, word: u16,
        ) {
            bytes[18..].fill(0);
            bytes[0] |= 1; // like every IP header not all zero; else both zeros are right
            let before = internet(&bytes);
            let old = u16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
            bytes[at * 2..at * 2 + 2].copy_from_slice(&word.to_be_bytes());
            prop_assume!(bytes != [0; 20]);
            prop_assert_eq!(update(before, old, word), internet(&bytes));
        }
    }
}
