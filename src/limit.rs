// SPDX-License-Identifier: Apache-2.0
//! Rate limits. There are two, because neither can replace the other:
//!
//! | | [`TokenBucket`] | [`SlidingWindow`] |
//! | --- | --- | --- |
//! | promises | a mean rate, after a burst | at most N events in any second |
//! | a full one admits in its first second | the burst and a second's worth of the rate | N |
//! | memory | one number | the time of each event of the last second |
//! | used by | packet path and log: a packet costs no allocation | key exchange: bounds the work of a flood |

use crate::clock::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// On average one event per interval, and this many at once after a quiet time.
pub struct TokenBucket {
    interval_ns: u64,
    burst: u64,
    /// When all that was spent will have been earned again.
    even_at_ns: u64,
}

impl TokenBucket {
    /// A full bucket: `burst` tokens, and `rate` more each second.
    pub const fn per_second(rate: u64, burst: u64) -> TokenBucket {
        TokenBucket { interval_ns: 1_000_000_000 / rate, burst, even_at_ns: 0 }
    }

    /// Whether there is one more to spend. `now_ns`: [`Instant::as_nanos`].
    pub fn spend(&mut self, now_ns: u64) -> bool {
        let even_at = self.even_at_ns.max(now_ns);
        let allowed = even_at - now_ns <= (self.burst - 1) * self.interval_ns;
        if allowed {
            self.even_at_ns = even_at + self.interval_ns;
        }
        allowed
    }
}

/// At most `limit` events in any second, wherever that second begins.
pub struct SlidingWindow {
    limit: usize,
    /// When the events of the last second were admitted, oldest first. At most `limit` of them.
    admitted: VecDeque<Instant>,
}

impl SlidingWindow {
    /// A window that admits `limit` in a second.
    pub fn new(limit: usize) -> Self {
        SlidingWindow { limit, admitted: VecDeque::new() }
    }
    /// Whether one more is admitted; if so it counts.
    pub fn admits(&mut self, now: Instant) -> bool {
        while self.admitted.front().is_some_and(|&at| at + SECOND <= now) {
            self.admitted.pop_front();
        }
        self.admitted.len() < self.limit
    }

    /// Call it only after [`SlidingWindow::admits`] has said yes.
    pub fn note(&mut self, now: Instant) {
        debug_assert!(self.admitted.len() < self.limit);
        self.admitted.push_back(now);
    }

    /// Admits and notes in one step.
    pub fn spend(&mut self, now: Instant) -> bool {
        let admits = self.admits(now);
        if admits {
            self.note(now);
        }
        admits
    }

    /// When an event that was not admitted may be tried again.
    pub fn free_at(&self) -> Option<Instant> {
        let excess = self.admitted.len().checked_sub(self.limit)?;
        self.admitted.get(excess).map(|&at| at + SECOND)
    }
    /// How many it admits in a second.
    pub fn limit(&self) -> usize {
        self.limit
    }
    /// Changes how many it admits in a second.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_a_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::per_second(50, 100);
        let start = 7_000_000_000;
        assert_eq!((0..1000).filter(|_| bucket.spend(start)).count(), 100);
        let spent = (1..=1000).filter(|ms| bucket.spend(start + ms * 1_000_000)).count();
        assert_eq!(spent, 50);
        let later = start + 60_000_000_000;
        assert_eq!((0..1000).filter(|_| bucket.spend(later)).count(), 100);
    }

    #[test]
    fn no_second_sees_more_than_the_limit() {
        let start = Instant::now();
        let mut limit = SlidingWindow::new(10);
        let mut admitted = Vec::new();
        for ms in 0..5_000 {
            let now = start + Duration::from_millis(ms);
            if limit.admits(now) {
                limit.note(now);
                admitted.push(now);
            }
        }
        assert_eq!(admitted.len(), 50);
        for window in admitted.windows(11) {
            assert!(window[10] - window[0] >= SECOND);
        }
    }

    #[test]
    fn it_says_when_to_try_again() {
        let start = Instant::now();
        let mut limit = SlidingWindow::new(2);
        for ms in [0, 300] {
            let now = start + Duration::from_millis(ms);
            assert!(limit.admits(now));
            limit.note(now);
        }
        assert!(!limit.admits(start + Duration::from_millis(999)));
        let free = limit.free_at().unwrap();
        assert_eq!(free, start + Duration::from_millis(1000));
        assert!(limit.admits(free));
    }
}
