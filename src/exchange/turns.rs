// SPDX-License-Identifier: Apache-2.0
//! Who begins a negotiation next.

use std::collections::VecDeque;

/// Keys that wait for their turn: the routes of a peer, and the peers of a queue.
///
/// Those that carry traffic go first: else thousands of routes whose peers are gone, and which come back all the time,
/// would outlast the SAs of those that live. Within a kind it is first come, first served.
pub(super) struct Turns<K> {
    carrying: VecDeque<K>,
    idle: VecDeque<K>,
    /// How many in a row were taken from the first line while there were others in the second.
    preferred: usize,
}

impl<K: Copy + PartialEq> Turns<K> {
    pub(super) fn new() -> Self {
        Turns { carrying: VecDeque::new(), idle: VecDeque::new(), preferred: 0 }
    }

    pub(super) fn push(&mut self, key: K, carries: bool) {
        self.line(carries).push_back(key);
    }

    /// Puts a key that waits at the head of its line.
    pub(super) fn advance(&mut self, key: K) {
        for line in [&mut self.carrying, &mut self.idle] {
            if let Some(position) = line.iter().position(|other| *other == key) {
                line.remove(position);
                line.push_front(key);
            }
        }
    }

    /// Whose turn it is.
    pub(super) fn next(&self) -> Option<K> {
        let (first, second) = (self.carrying.front(), self.idle.front());
        let turn = if self.preferred < PREFERRED_IN_A_ROW { first.or(second) } else { second.or(first) };
        turn.copied()
    }

    /// Whether one that carries traffic waits.
    pub(super) fn has_carrying(&self) -> bool {
        !self.carrying.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.carrying.is_empty() && self.idle.is_empty()
    }

    /// Takes the one away whose turn it is. Says whether it stood among those that carry traffic.
    pub(super) fn pop(&mut self) -> bool {
        let first = !self.carrying.is_empty();
        let second = !self.idle.is_empty();
        let from_first = first && (self.preferred < PREFERRED_IN_A_ROW || !second);
        self.line(from_first).pop_front();
        self.preferred = if from_first && !self.idle.is_empty() { self.preferred + 1 } else { 0 };
        from_first
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.carrying.retain(&keep);
        self.idle.retain(&keep);
    }

    fn line(&mut self, carries: bool) -> &mut VecDeque<K> {
        if carries { &mut self.carrying } else { &mut self.idle }
    }
}

/// One turn in five is for those without traffic, however many others there are.
const PREFERRED_IN_A_ROW: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(turns: &mut Turns<u32>) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(next) = turns.next() {
            order.push(next);
            turns.pop();
        }
        order
    }

    #[test]
    fn those_that_carry_traffic_go_first_but_not_always() {
        let mut turns = Turns::new();
        for key in 0..6 {
            turns.push(key, false);
            turns.push(100 + key, true);
        }
        let order = drain(&mut turns);
        assert_eq!(order, [100, 101, 102, 103, 0, 104, 105, 1, 2, 3, 4, 5]);
        assert!(turns.is_empty());
    }

    #[test]
    fn one_that_advances_passes_its_own_kind_only() {
        let mut turns = Turns::new();
        for key in 0..3 {
            turns.push(key, false);
        }
        turns.push(100, true);
        turns.advance(2);
        turns.advance(77);
        assert_eq!(drain(&mut turns), [100, 2, 0, 1]);
    }

    #[test]
    fn pop_tells_the_line() {
        let mut turns = Turns::new();
        turns.push(1, true);
        turns.push(2, false);
        assert!(turns.has_carrying());
        assert!(turns.pop());
        assert!(!turns.pop());
        assert_eq!(turns.next(), None);
    }
}
