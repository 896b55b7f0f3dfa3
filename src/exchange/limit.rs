// SPDX-License-Identifier: Apache-2.0
//! A bound on how often something happens in any one second.

use crate::clock::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// Admits at most `limit` events in any second, wherever that second begins. (A token bucket that is full admits
/// twice its rate in its first second.)
pub(super) struct Limit {
    limit: usize,
    /// When the events of the last second were admitted, oldest first. At most `limit` of them.
    admitted: VecDeque<Instant>,
}

impl Limit {
    pub fn new(limit: usize) -> Self {
        Limit { limit, admitted: VecDeque::with_capacity(limit) }
    }

    pub fn admits(&mut self, now: Instant) -> bool {
        while self.admitted.front().is_some_and(|&at| at + SECOND <= now) {
            self.admitted.pop_front();
        }
        self.admitted.len() < self.limit
    }

    /// Call it only after [`Limit::admits`] has said yes.
    pub fn note(&mut self, now: Instant) {
        debug_assert!(self.admitted.len() < self.limit);
        self.admitted.push_back(now);
    }

    /// When an event that was not admitted may be tried again.
    pub fn free_at(&self) -> Option<Instant> {
        self.admitted.front().map(|&at| at + SECOND)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_the_limit() {
        let start = Instant::now();
        let mut limit = Limit::new(10);
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
        let mut limit = Limit::new(2);
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
