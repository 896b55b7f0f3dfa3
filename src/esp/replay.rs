// SPDX-License-Identifier: Apache-2.0
//! The anti-replay window (RFC 4303 section 3.4.3 and appendix A), as a ring of words (after RFC 6479): moving it
//! forward clears whole words instead of shifting bits.

use crate::prefetch::prefetch;
use std::cell::Cell;

/// How far behind the newest packet one may be. More than the 1024 that packets of one SA, spread over the queues
/// of a NIC, need.
pub const WINDOW: u64 = (WORDS as u64 - 1) * 64;

/// Which of the latest sequence numbers have been seen. Cells, as in the outbound SA: one thread opens packets.
#[derive(Default)]
#[repr(C)]
pub struct Window {
    /// The highest number accepted; 0 before the first.
    top: Cell<u64>,
    seen: [Cell<u64>; WORDS],
}

#[expect(clippy::indexing_slicing, reason = "`word` is below the number of words")]
impl Window {
    /// One that has seen every number up to this.
    pub fn after(top: u64) -> Window {
        let seen = [const { Cell::new(u64::MAX) }; WORDS];
        seen[word(top)].set(u64::MAX >> (63 - top % 64));
        Window { top: Cell::new(top), seen }
    }

    /// The highest number accepted; 0 before the first.
    #[inline]
    pub fn top(&self) -> u64 {
        self.top.get()
    }

    /// Prefetches the word of the window that a packet with this number belongs to.
    #[inline(always)]
    pub fn prefetch(&self, sequence_low: u32) {
        prefetch(&self.seen[word(sequence_low.into())]);
    }

    /// The 64-bit number that the 32 bits on the wire most likely stand for; `None` if it would lie before the
    /// first packet.
    #[inline]
    pub fn infer(&self, low: u32) -> Option<u64> {
        let (epoch, top_low) = (self.top() >> 32, self.top() as u32);
        let bottom = top_low.wrapping_sub(WINDOW as u32 - 1);
        let epoch = match (top_low >= WINDOW as u32 - 1, low >= bottom) {
            // The window lies within one epoch: below its bottom means the next one.
            (true, true) => epoch,
            (true, false) => epoch.checked_add(1).filter(|epoch| *epoch <= u64::from(u32::MAX))?,
            // The window reaches back into the epoch before.
            (false, true) => epoch.checked_sub(1)?,
            (false, false) => epoch,
        };
        Some(epoch << 32 | u64::from(low))
    }

    /// Whether the number is neither too old nor seen before.
    #[inline]
    pub fn is_fresh(&self, sequence: u64) -> bool {
        let top = self.top();
        if sequence > top {
            return true;
        }
        sequence != 0 && top - sequence < WINDOW && self.seen[word(sequence)].get() & bit(sequence) == 0
    }

    /// Marks the number of an authenticated packet as seen; false if it was not fresh.
    #[inline]
    pub fn accept(&self, sequence: u64) -> bool {
        if !self.is_fresh(sequence) {
            return false;
        }
        let top = self.top();
        if sequence > top {
            let skipped = (sequence / 64 - top / 64).min(WORDS as u64);
            for step in 1..=skipped {
                self.seen[((top / 64).wrapping_add(step) % WORDS as u64) as usize].set(0);
            }
            self.top.set(sequence);
        }
        let seen = &self.seen[word(sequence)];
        seen.set(seen.get() | bit(sequence));
        true
    }
}

#[inline]
fn word(sequence: u64) -> usize {
    (sequence / 64 % WORDS as u64) as usize
}

#[inline]
fn bit(sequence: u64) -> u64 {
    1 << (sequence % 64)
}

const WORDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_number_counts_once() {
        let window = Window::default();
        assert!(!window.is_fresh(0));
        for sequence in [1, 3, 2, 1000, 999] {
            assert!(window.accept(sequence), "{sequence}");
            assert!(!window.accept(sequence), "{sequence} again");
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_refused() {
        let window = Window::default();
        assert!(window.accept(5000));
        assert!(!window.is_fresh(5000 - WINDOW));
        assert!(window.accept(5000 - WINDOW + 1));
        const { assert!(WINDOW >= 1024) };
    }

    #[test]
    fn the_high_half_follows_the_window_across_an_epoch() {
        let window = Window::default();
        assert_eq!(window.infer(u32::MAX), None, "before the first packet there is nothing to be late for");
        let end = u64::from(u32::MAX);
        assert!(window.accept(end - 10));
        assert_eq!(window.infer(u32::MAX), Some(end));
        assert_eq!(window.infer(5), Some((1 << 32) + 5));
        assert!(window.accept((1 << 32) + 5));
        assert_eq!(window.infer(u32::MAX - 3), Some(end - 3), "late packets of the epoch before");
        assert!(window.accept(end - 3));
        assert!(!window.accept(end - 10));
    }

    #[test]
    fn a_window_goes_on_after_a_number_of_another() {
        for top in [0, 1, 62, 63, 64, 5000, u64::from(u32::MAX), (1 << 32) + 5, u64::MAX - 5000] {
            let window = Window::after(top);
            for late in [0, 1, 63, 64, 65, WINDOW - 1, WINDOW] {
                assert!(!window.is_fresh(top.saturating_sub(late)), "{top} - {late}");
            }
            assert_eq!(window.infer((top + 3) as u32), Some(top + 3));
            for sequence in [3, 1, 2, 64, 65, 3000, 2999].map(|step| top + step) {
                assert!(window.accept(sequence), "{sequence} after {top}");
                assert!(!window.accept(sequence), "{sequence} again, after {top}");
            }
            assert_eq!(window.top(), top + 3000);
        }
    }

    #[test]
    fn the_last_epoch_has_no_next() {
        let window = Window::default();
        assert!(window.accept(u64::MAX));
        assert_eq!(window.infer(3), None);
        assert_eq!(window.infer(u32::MAX), Some(u64::MAX));
    }

    proptest! {
        /// A set of all numbers seen, and the newest of them, decide the same.
        #[test]
        fn agrees_with_a_set(start in 0u64..1 << 40, steps in prop::collection::vec(-2500i64..3000, 1..400)) {
            let window = Window::default();
            let (mut seen, mut top, mut at) = (BTreeSet::new(), 0u64, start);
            for step in steps {
                at = at.saturating_add_signed(step);
                let expected = at != 0 && (at > top || top - at < WINDOW) && !seen.contains(&at);
                if at + WINDOW > top && at < top + (1 << 31) {
                    prop_assert_eq!(window.infer(at as u32), Some(at));
                }
                prop_assert_eq!(window.is_fresh(at), expected);
                prop_assert_eq!(window.accept(at), expected);
                if expected {
                    seen.insert(at);
                    top = top.max(at);
                }
            }
        }
    }
}
