// SPDX-License-Identifier: Apache-2.0
//! Where the sequence numbers of configured keys have got to, for as long as the process runs: a key that is taken away
//! and configured again, on a worker that was started anew too, goes on where it was.

use crate::esp::{LastNumber, Parameters};
use crate::exchange::Direction;
use blake2::{Blake2s256, Digest};
use std::collections::{HashMap, VecDeque};

#[derive(Default)]
pub struct Ledger {
    /// Apart, so that what was received displaces nothing that was sent: a replay does less harm than a nonce twice.
    outbound: Book,
    inbound: Book,
}

#[derive(Default)]
struct Book {
    numbers: HashMap<Name, LastNumber>,
    /// Oldest first; those that were found to live are young again.
    order: VecDeque<Name>,
    /// How many associations may live.
    live: usize,
}

/// Stands for a key, which is not kept longer than it is needed.
type Name = [u8; 32];

impl Ledger {
    /// Has room for so many associations that live, besides those that have ended.
    pub fn make_room(&mut self, outbound: usize, inbound: usize) {
        (self.outbound.live, self.inbound.live) = (outbound, inbound);
    }

    /// The last number of a key, 0 if it is new here; none while an association has it.
    pub fn number(&mut self, direction: Direction, sa: &Parameters) -> Option<u64> {
        let name = name(direction, sa);
        self.book(direction).numbers.get_mut(&name).map_or(Some(0), LastNumber::number)
    }

    /// Takes over where an association leaves its last number.
    pub fn keep(&mut self, direction: Direction, sa: &Parameters, last: LastNumber) {
        let name = name(direction, sa);
        let book = self.book(direction);
        if book.numbers.insert(name, last).is_none() {
            book.order.push_back(name);
            book.forget();
        }
    }

    fn book(&mut self, direction: Direction) -> &mut Book {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        }
    }
}

impl Book {
    /// Keeps within bounds: the oldest that no association has go. A few steps each time, also where all live.
    fn forget(&mut self) {
        for _ in 0..STEPS {
            if self.order.len() <= self.live + MAX_ENDED {
                return;
            }
            let Some(name) = self.order.pop_front() else { return };
            match self.numbers.get_mut(&name).map(LastNumber::number) {
                // It lives.
                Some(None) => self.order.push_back(name),
                _ => {
                    self.numbers.remove(&name);
                }
            }
        }
    }
}

/// Nonces are those of key and salt, whatever the SPI and the algorithm. What was received before cannot be received by
/// another SPI, which the integrity check covers.
fn name(direction: Direction, sa: &Parameters) -> Name {
    let spi = match direction {
        Direction::Inbound => sa.spi.to_be_bytes(),
        // Of no association (RFC 4303 section 2.1).
        Direction::Outbound => [0; 4],
    };
    let hash = Blake2s256::new_with_prefix(spi).chain_update(sa.salt).chain_update(sa.key.bytes());
    hash.finalize().into()
}

/// In each direction, besides those that live. About 150 bytes each, so ten megabytes; the model tells of it.
const MAX_ENDED: usize = 1 << 16;
/// More than one, so that a book that grew while all lived shrinks again.
const STEPS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn sa(spi: u32, key: u8) -> Parameters {
        Parameters { spi, key: [key; 16].into(), salt: [0; 4] }
    }

    #[test]
    fn a_sending_key_is_known_under_every_spi_and_a_receiving_one_under_its_own() {
        let mut ledger = Ledger::default();
        ledger.keep(Direction::Outbound, &sa(300, 1), LastNumber::new(7));
        ledger.keep(Direction::Inbound, &sa(300, 1), LastNumber::new(9));
        assert_eq!(ledger.number(Direction::Outbound, &sa(301, 1)), Some(7));
        assert_eq!(ledger.number(Direction::Outbound, &sa(300, 2)), Some(0));
        assert_eq!(ledger.number(Direction::Inbound, &sa(300, 1)), Some(9));
        assert_eq!(ledger.number(Direction::Inbound, &sa(301, 1)), Some(0));
    }

    fn many(number: usize) -> Parameters {
        let mut key = [9; 16];
        key[..8].copy_from_slice(&number.to_be_bytes());
        Parameters { spi: 300, key: key.into(), salt: [0; 4] }
    }

    #[test]
    fn what_was_received_displaces_nothing_that_was_sent() {
        let mut ledger = Ledger::default();
        ledger.keep(Direction::Outbound, &sa(300, 1), LastNumber::new(7));
        for number in 0..2 * MAX_ENDED {
            ledger.keep(Direction::Inbound, &many(number), LastNumber::new(1));
        }
        assert_eq!(ledger.number(Direction::Outbound, &sa(300, 1)), Some(7));
        assert_eq!(ledger.inbound.order.len(), MAX_ENDED);
    }

    #[test]
    fn the_oldest_that_ended_go_and_those_that_live_stay() {
        let mut ledger = Ledger::default();
        let lives = LastNumber::new(5);
        let will = lives.will();
        ledger.make_room(1, 0);
        ledger.keep(Direction::Outbound, &sa(300, 1), lives);
        for number in 0..MAX_ENDED + 3 {
            ledger.keep(Direction::Outbound, &many(number), LastNumber::new(1));
        }
        assert_eq!(ledger.number(Direction::Outbound, &sa(300, 1)), None);
        assert_eq!(ledger.outbound.order.len(), MAX_ENDED + 1);
        assert_eq!(ledger.outbound.numbers.len(), MAX_ENDED + 1);
        assert_eq!(ledger.number(Direction::Outbound, &many(2)), Some(0));
        assert_eq!(ledger.number(Direction::Outbound, &many(3)), Some(1));
        drop(will);
        assert_eq!(ledger.number(Direction::Outbound, &sa(300, 1)), Some(5));
    }

    #[test]
    fn a_book_that_grew_because_all_lived_shrinks_again() {
        let mut ledger = Ledger::default();
        let mut wills = Vec::new();
        for number in 0..MAX_ENDED + 1000 {
            let last = LastNumber::new(1);
            wills.push(last.will());
            ledger.keep(Direction::Outbound, &many(number), last);
        }
        assert_eq!(ledger.outbound.order.len(), MAX_ENDED + 1000);
        wills.clear();
        for number in 0..1000 {
            ledger.keep(Direction::Outbound, &many(2 * MAX_ENDED + number), LastNumber::new(1));
        }
        assert_eq!(ledger.outbound.order.len(), MAX_ENDED);
    }
}
