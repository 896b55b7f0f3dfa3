// SPDX-License-Identifier: Apache-2.0
//! Where the sequence numbers of configured keys have got to, for as long as the process runs: a key that is taken away
//! and configured again, on a worker that was started anew too, goes on where it was.

use crate::esp::{LastNumber, Parameters};
use crate::exchange::Direction;
use blake2::{Blake2s256, Digest};
use std::collections::{HashMap, VecDeque};

#[derive(Default)]
pub struct Ledger {
    numbers: HashMap<Name, LastNumber>,
    /// Oldest first.
    order: VecDeque<Name>,
}

/// Stands for a key, which is not kept longer than it is needed.
type Name = [u8; 32];

impl Ledger {
    /// The last number of a key, 0 if it is new here; none while an association has it.
    pub fn number(&mut self, direction: Direction, sa: &Parameters) -> Option<u64> {
        self.numbers.get_mut(&name(direction, sa)).map_or(Some(0), LastNumber::number)
    }

    /// Takes over where an association leaves its last number.
    pub fn keep(&mut self, direction: Direction, sa: &Parameters, last: LastNumber) {
        let name = name(direction, sa);
        if self.numbers.insert(name, last).is_none() {
            self.order.push_back(name);
            self.forget();
        }
    }

    /// Keeps within bounds: the oldest that no association has goes.
    fn forget(&mut self) {
        if self.order.len() <= MAX_NUMBERS {
            return;
        }
        let has_ended = |name: &Name| self.numbers.get_mut(name).is_none_or(|last| last.number().is_some());
        let oldest = self.order.iter().position(has_ended);
        if let Some(name) = oldest.and_then(|oldest| self.order.remove(oldest)) {
            self.numbers.remove(&name);
        }
    }
}

/// Nonces are those of key and salt, whatever the SPI and the algorithm. What was received before cannot be received by another SPI, which
/// the integrity check covers.
fn name(direction: Direction, sa: &Parameters) -> Name {
    let spi = match direction {
        Direction::Inbound => sa.spi.to_be_bytes(),
        // Of no association (RFC 4303 section 2.1).
        Direction::Outbound => [0; 4],
    };
    let hash = Blake2s256::new_with_prefix(spi).chain_update(sa.salt).chain_update(sa.key.bytes());
    hash.finalize().into()
}

/// Six megabytes; more than the associations of 10,000 routes, four times replaced.
const MAX_NUMBERS: usize = 1 << 16;

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
}
