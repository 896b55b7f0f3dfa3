// SPDX-License-Identifier: Apache-2.0
//! What the tests of every header share.

use super::Malformed;

/// Parses every proper prefix of `valid` shorter than `needed` bytes and expects it to be refused as cut short,
/// and every longer one to be accepted.
pub fn needs_exactly<'a, T>(
    needed: usize,
    valid: &'a [u8],
    parse: impl Fn(&'a [u8]) -> Result<T, Malformed>,
) {
    for length in 0..=valid.len() {
        let result = parse(&valid[..length]).err();
        let expected = (length < needed).then_some(Malformed::Truncated);
        assert_eq!(result, expected, "{length} of {} bytes, {needed} needed", valid.len());
    }
}
