// SPDX-License-Identifier: Apache-2.0
//! Messages of the key exchange on their way from a worker to the control thread.
//!
//! ```text
//!   worker ── share of the route ──► agreements ─┐
//!                                ├─► proposals ──┼──► control thread: a bounded number per round, in this order
//!                                ├─► challenges ─┤
//!                                └─► the rest ───┘
//! ```
//!
//! What arrives here claims to come from a route's gateway; a source address can be forged. Three bounds keep such a flood
//! from crowding out what is genuine. Each kind of message has its ring: knocks, which cost nothing to send and nothing to
//! lose, take no room from proposals and agreements. Each route has its share of a ring between two rounds of the control
//! thread, so that a flood in the name of one route leaves the others alone. And a round ends after a number of messages
//! and a time, so that the control thread gets to its other work.
//!
//! Limits: routes share buckets by a hash of their SPI. Within one route and kind genuine messages compete with forged
//! ones: only the keys tell them apart.

use crate::clock::Instant;
use crate::stage::Datagram;
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The rings, shared by both threads.
pub struct Inbox {
    /// In the order in which they are emptied.
    rings: [ArrayQueue<Datagram>; KINDS],
    /// Rounds of the control thread.
    rounds: AtomicU32,
}

/// How much each route has put into the rings since the last round. The worker's own.
pub struct RouteShares {
    round: u32,
    taken: [[u8; BUCKETS]; KINDS],
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox { rings: std::array::from_fn(|_| ArrayQueue::new(MESSAGES)), rounds: AtomicU32::new(0) }
    }
}

impl Default for RouteShares {
    fn default() -> RouteShares {
        RouteShares { round: 0, taken: [[0; BUCKETS]; KINDS] }
    }
}

impl Inbox {
    /// Hands over a message, if its route has some of its share left and its ring has room. For the worker.
    pub fn put(&self, shares: &mut RouteShares, datagram: Datagram) -> bool {
        let round = self.rounds.load(Ordering::Relaxed);
        if round != shares.round {
            *shares = RouteShares { round, ..RouteShares::default() };
        }
        let kind = ORDER.iter().position(|kind| datagram.kind() == Some(*kind)).unwrap_or(KINDS - 1);
        let bucket = datagram.route_spi().unwrap_or(0).wrapping_mul(GOLDEN) >> (u32::BITS - BUCKET_BITS);
        let taken = &mut shares.taken[kind][bucket as usize];
        if *taken >= SHARE || self.rings[kind].push(datagram).is_err() {
            return false;
        }
        *taken += 1;
        true
    }

    /// Gives the messages there are to `handle`, as many as one round takes. Whether some may be left. For the control
    /// thread.
    pub fn round(&self, mut handle: impl FnMut(Datagram)) -> bool {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        for _ in 0..PER_ROUND {
            let Some(datagram) = self.rings.iter().find_map(ArrayQueue::pop) else { return false };
            handle(datagram);
            if start.elapsed() >= ROUND {
                break;
            }
        }
        self.rings.iter().any(|ring| !ring.is_empty())
    }
}

const KINDS: usize = 4;
/// Types of messages by what it costs to lose them: agreement, proposal, challenge; then knocks and whatever else arrives.
const ORDER: [u8; KINDS - 1] = [14, 13, 12];
/// Messages of one kind that may wait: more than a route's share, and several rounds.
const MESSAGES: usize = 256;
/// Messages of one kind that one route may have waiting, or all routes of one bucket.
const SHARE: u8 = 32;
const BUCKET_BITS: u32 = 8;
const BUCKETS: usize = 1 << BUCKET_BITS;
/// Fibonacci hashing: SPIs are often numbered in sequence, which this spreads evenly.
const GOLDEN: u32 = 0x9e37_79b9;
/// Messages of one round: some 100 microseconds each, if they are authentic.
const PER_ROUND: usize = 64;
/// With many workers, the control thread still gets round in time.
const ROUND: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Counters;
    use crate::frame::{Batch, Pool};
    use crate::route::SpiTable;
    use crate::stage::{Drops, ExchangeFilter, datagram_frame};
    use crate::wire::ip::Addresses;

    fn message(spi: u32, kind: u8) -> Datagram {
        let payload = [&spi.to_be_bytes()[..], &[kind, 0, 0, 0]].concat();
        Datagram::new([192, 0, 2, 1].into(), &payload)
    }

    fn rounds(inbox: &Inbox) -> Vec<Vec<(u32, u8)>> {
        let mut rounds = Vec::new();
        loop {
            let mut round = Vec::new();
            let more = inbox.round(|datagram| {
                round.push((datagram.route_spi().unwrap_or(0), datagram.kind().unwrap_or(0)));
            });
            rounds.push(round);
            if !more {
                return rounds;
            }
        }
    }

    #[test]
    fn a_flood_in_the_name_of_one_route_costs_no_other_route_a_message() {
        let (inbox, mut shares) = (Inbox::default(), RouteShares::default());
        for kind in [11, 12, 13, 14, 99] {
            assert_eq!(
                (0..10_000).filter(|_| inbox.put(&mut shares, message(7000, kind))).count() > 0,
                kind != 99
            );
        }
        // Whatever is no message waits with the knocks, and has used up their share here.
        for spi in (8000..8100).filter(|spi| !same_bucket(*spi, 7000)) {
            assert!(inbox.put(&mut shares, message(spi, 13)), "{spi}");
            assert!(inbox.put(&mut shares, message(spi, 14)), "{spi}");
        }
        let all = rounds(&inbox).concat();
        assert_eq!(all.iter().filter(|(spi, _)| *spi == 7000).count(), 4 * usize::from(SHARE));
        // After a round, the route has its share again.
        assert!(inbox.put(&mut shares, message(7000, 11)));
    }

    fn same_bucket(one: u32, other: u32) -> bool {
        let bucket = |spi: u32| spi.wrapping_mul(GOLDEN) >> (u32::BITS - BUCKET_BITS);
        bucket(one) == bucket(other)
    }

    #[test]
    fn what_is_dear_comes_first_and_a_round_ends() {
        let (inbox, mut shares) = (Inbox::default(), RouteShares::default());
        // Of many routes, so that no share is used up.
        for spi in 0..200 {
            for kind in [11, 12, 13, 14] {
                assert!(inbox.put(&mut shares, message(spi * 5, kind)));
            }
        }
        let rounds = rounds(&inbox);
        assert!(rounds.iter().all(|round| round.len() <= PER_ROUND), "{rounds:?}");
        assert!(rounds.len() >= 800 / PER_ROUND);
        let kinds: Vec<u8> = rounds.concat().iter().map(|(_, kind)| *kind).collect();
        assert_eq!(kinds.len(), 800);
        assert!(kinds.is_sorted_by(|one, other| one >= other));
    }

    #[test]
    fn a_flood_from_strangers_costs_no_genuine_message_even_if_the_control_thread_sleeps() {
        const SPI: u32 = 7000;
        let (pool, counters) = (Pool::new(8).unwrap(), Counters::default());
        let ip = |last: u8| Addresses { v4: Some([192, 0, 2, last].into()), v6: None };
        let (own, peer) = (ip(1).v4.unwrap(), ip(2));
        let mut peers = SpiTable::with_capacity(4);
        peers.insert(SPI, peer.v4.unwrap().into()).unwrap();
        let (filter, mut drops) = (ExchangeFilter { peers }, Drops::default());
        let count = &counters.key_manager;
        let (inbox, mut shares) = (Inbox::default(), RouteShares::default());
        let mut arrive = |from: Addresses, payload: &[u8]| {
            let datagram = Datagram::new(own.into(), payload);
            let mut batch: Batch = datagram_frame(&pool, from, 303, &datagram).into_iter().collect();
            filter.collect(0, &mut batch, |one| inbox.put(&mut shares, one), &mut drops, &counters);
        };
        for round in 0..10_000u32 {
            let kind = 11 + (round % 4) as u8;
            let of_route = |spi: u32| [&spi.to_be_bytes()[..], &[kind, 0, 0, 0, 1, 2, 3]].concat();
            // Somebody else about a route of ours, the peer's address about none, and nonsense.
            arrive(ip(3 + (round % 200) as u8), &of_route(SPI));
            arrive(peer, &of_route(SPI + 1 + round));
            arrive(ip(77), &of_route(round));
            arrive(peer, &[0; 3]);
            if round % 500 == 0 {
                arrive(peer, &of_route(SPI));
            }
        }
        assert_eq!(count.overflow_errors.value(), 0);
        let dropped = [&count.source_errors, &count.route_errors, &count.protocol_errors];
        assert_eq!(
            dropped.map(|leaf| leaf.value()),
            [10_001, 19_999, 10_000],
            "route 7000 is asked for once"
        );
        let delivered = rounds(&inbox).concat();
        assert_eq!(delivered.len(), 20);
        assert!(delivered.iter().all(|(spi, _)| *spi == SPI));
        assert!(drops.events.is_full() || drops.events.len() <= 10, "a few log lines, not 40,000");
        assert_eq!(pool.available(), 8);
    }

    #[test]
    fn a_slow_round_ends_early() {
        let (inbox, mut shares) = (Inbox::default(), RouteShares::default());
        for spi in 0..20 {
            assert!(inbox.put(&mut shares, message(spi, 13)));
        }
        let mut handled = 0;
        assert!(inbox.round(|_| {
            handled += 1;
            std::thread::sleep(ROUND);
        }));
        assert_eq!(handled, 1);
    }
}
