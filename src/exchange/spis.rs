// SPDX-License-Identifier: Apache-2.0
//! The inbound SPIs of one worker: given out by counters, none twice while it is in use.
//!
//! ```text
//!   for a deployed peer   256 ..= 65534, of these the share of this worker
//!   for a capable peer    │ worker + 1 (8 bits) │ counter (24 bits) │
//! ```
//!
//! Both counters start at a random place, so that nobody can guess the SPIs of a gateway that has just started, and a
//! gateway that restarts does not give out those that it had before.

use std::collections::HashSet;

use super::{Random, Share};

pub(super) struct Spis {
    /// The slot of the next SPI of 16 bits.
    counter: u32,
    in_use: Vec<bool>,
    free: usize,
    long_counter: u32,
    long_in_use: HashSet<u32>,
}

impl Spis {
    pub(super) fn new(random: &mut dyn Random) -> Self {
        let mut start = [0; 8];
        random.fill(&mut start);
        let [a, b, c, d, e, f, g, h] = start;
        Spis {
            counter: u32::from_be_bytes([a, b, c, d]) % COUNT,
            in_use: vec![false; COUNT as usize],
            free: COUNT as usize,
            long_counter: u32::from_be_bytes([e, f, g, h]) & COUNTER_BITS,
            long_in_use: HashSet::new(),
        }
    }

    /// The next SPI of 16 bits that is not in use, or None where all of them are.
    pub(super) fn allocate(&mut self, share: Share) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        for _ in 0..COUNT {
            let slot = self.counter;
            self.counter = (self.counter + 1) % COUNT;
            let in_use = &mut self.in_use[slot as usize];
            if !*in_use && share.includes(slot) {
                *in_use = true;
                self.free -= 1;
                return Some(FIRST + slot);
            }
        }
        None
    }

    /// The next SPI whose top byte names the worker. A worker whose number does not fit gives out 16 bits.
    pub(super) fn allocate_long(&mut self, worker: u16, share: Share) -> Option<u32> {
        let Some(owner) = worker.checked_add(1).filter(|&owner| owner <= u16::from(u8::MAX)) else {
            return self.allocate(share);
        };
        let owner = u32::from(owner) << COUNTER_BITS.count_ones();
        // Far fewer are in use than there are.
        loop {
            let spi = owner | self.long_counter;
            self.long_counter = (self.long_counter + 1) & COUNTER_BITS;
            if self.long_in_use.insert(spi) {
                return Some(spi);
            }
        }
    }

    /// The SPI may be given out again, when its turn comes.
    pub(super) fn release(&mut self, spi: u32) {
        if is_long(spi) {
            self.long_in_use.remove(&spi);
            return;
        }
        let slot = spi.checked_sub(FIRST).and_then(|slot| self.in_use.get_mut(slot as usize));
        if let Some(in_use) = slot
            && *in_use
        {
            *in_use = false;
            self.free += 1;
        }
    }
}

impl Share {
    fn includes(&self, slot: u32) -> bool {
        slot % u32::from(self.of.max(1)) == u32::from(self.index)
    }
}

/// Whether an SPI is one that only a capable peer is given.
pub(super) fn is_long(spi: u32) -> bool {
    spi > COUNTER_BITS
}

/// None of those that RFC 4303 section 2.1 reserves.
const FIRST: u32 = 256;
const COUNT: u32 = 65_279;
const COUNTER_BITS: u32 = 0x00ff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Share = Share { index: 0, of: 1 };

    fn starting_at(counter: u32, long: u32) -> Spis {
        Spis::new(&mut move |bytes: &mut [u8]| {
            bytes[..4].copy_from_slice(&counter.to_be_bytes());
            bytes[4..].copy_from_slice(&long.to_be_bytes());
        })
    }

    #[test]
    fn the_counter_wraps_and_skips_what_is_in_use() {
        let mut spis = starting_at(0, 0);
        for expected in 256..=65_534 {
            assert_eq!(spis.allocate(ALL), Some(expected));
            if expected != 257 && expected != 65_534 {
                spis.release(expected);
            }
        }
        assert_eq!(spis.allocate(ALL), Some(256));
        assert_eq!(spis.allocate(ALL), Some(258), "257 is in use");
        for expected in 259..=65_533 {
            assert_eq!(spis.allocate(ALL), Some(expected));
        }
        assert_eq!(spis.allocate(ALL), None, "65534 is in use, and so is everything else");
        spis.release(65_534);
        assert_eq!(spis.allocate(ALL), Some(65_534));
    }

    #[test]
    fn the_first_spi_is_a_random_one() {
        assert_eq!(starting_at(1_000, 0).allocate(ALL), Some(1_256));
        assert_eq!(starting_at(COUNT + 7, 0).allocate(ALL), Some(263));
        assert_eq!(starting_at(0, 77).allocate_long(2, ALL), Some(0x0300_004d));
        assert_eq!(starting_at(0, u32::MAX).allocate_long(2, ALL), Some(0x03ff_ffff));
    }

    #[test]
    fn a_long_spi_names_its_worker_and_wraps_below_it() {
        let mut spis = starting_at(0, COUNTER_BITS);
        assert_eq!(spis.allocate_long(1, ALL), Some(0x02ff_ffff));
        assert_eq!(spis.allocate_long(1, ALL), Some(0x0200_0000));
        spis.long_counter = COUNTER_BITS;
        assert_eq!(spis.allocate_long(1, ALL), Some(0x0200_0001), "two are in use");
        spis.release(0x0200_0000);
        spis.long_counter = 0;
        assert_eq!(spis.allocate_long(1, ALL), Some(0x0200_0000));
        assert!(is_long(0x0100_0000) && !is_long(65_534));
    }

    #[test]
    fn a_worker_beyond_the_top_byte_gives_out_16_bits() {
        assert_eq!(starting_at(0, 5).allocate_long(254, ALL), Some(0xff00_0005));
        for worker in [255, u16::MAX] {
            assert_eq!(starting_at(0, 5).allocate_long(worker, ALL), Some(256));
        }
    }

    #[test]
    fn workers_that_share_an_address_never_give_out_the_same_spi() {
        let spis = |index| {
            let mut spis = starting_at(0, 0);
            let mut all = HashSet::new();
            while let Some(spi) = spis.allocate(Share { index, of: 3 }) {
                assert!(all.insert(spi));
            }
            all
        };
        let [one, two, three] = [spis(0), spis(1), spis(2)];
        assert_eq!(one.len() + two.len() + three.len(), COUNT as usize);
        assert!(one.is_disjoint(&two) && two.is_disjoint(&three) && one.is_disjoint(&three));
    }

    #[test]
    fn a_released_spi_is_not_the_next_one() {
        let mut spis = starting_at(0, 0);
        let first = spis.allocate(ALL).unwrap();
        spis.release(first);
        assert_ne!(spis.allocate(ALL), Some(first));
    }

    #[test]
    fn releasing_twice_or_something_foreign_frees_nothing_more() {
        let mut spis = starting_at(0, 0);
        let spi = spis.allocate(ALL).unwrap();
        for foreign in [spi, spi, 0, 255, 65_535, u32::MAX] {
            spis.release(foreign);
        }
        assert_eq!(spis.free, COUNT as usize);
    }
}
