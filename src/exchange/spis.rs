// SPDX-License-Identifier: Apache-2.0
//! The inbound SPIs of one queue: given out by one counter, none twice while it is in use.

/// Every SPI fits 16 bits and is none of those that RFC 4303 section 2.1 reserves.
pub(super) struct Spis {
    counter: u32,
    in_use: Vec<bool>,
    free: usize,
}

impl Spis {
    pub fn new() -> Self {
        Spis { counter: 0, in_use: vec![false; COUNT as usize], free: COUNT as usize }
    }

    /// The next SPI that is not in use, or None where all of them are.
    pub fn allocate(&mut self) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        loop {
            let slot = self.counter;
            self.counter = (self.counter + 1) % COUNT;
            let in_use = &mut self.in_use[slot as usize];
            if !*in_use {
                *in_use = true;
                self.free -= 1;
                return Some(FIRST + slot);
            }
        }
    }

    /// The SPI may be given out again, when its turn comes.
    pub fn release(&mut self, spi: u32) {
        let slot = spi.checked_sub(FIRST).and_then(|slot| self.in_use.get_mut(slot as usize));
        if let Some(in_use) = slot
            && *in_use
        {
            *in_use = false;
            self.free += 1;
        }
    }
}

const FIRST: u32 = 256;
const COUNT: u32 = 65_279;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_wraps_and_skips_what_is_in_use() {
        let mut spis = Spis::new();
        for expected in 256..=65_534 {
            assert_eq!(spis.allocate(), Some(expected));
            if expected != 257 && expected != 65_534 {
                spis.release(expected);
            }
        }
        assert_eq!(spis.allocate(), Some(256));
        assert_eq!(spis.allocate(), Some(258), "257 is in use");
        for expected in 259..=65_533 {
            assert_eq!(spis.allocate(), Some(expected));
        }
        assert_eq!(spis.allocate(), None, "65534 is in use, and so is everything else");
        spis.release(65_534);
        assert_eq!(spis.allocate(), Some(65_534));
    }

    #[test]
    fn a_released_spi_is_not_the_next_one() {
        let mut spis = Spis::new();
        let first = spis.allocate().unwrap();
        spis.release(first);
        assert_ne!(spis.allocate(), Some(first));
    }

    #[test]
    fn releasing_twice_or_something_foreign_frees_nothing_more() {
        let mut spis = Spis::new();
        let spi = spis.allocate().unwrap();
        for foreign in [spi, spi, 0, 255, 65_535, u32::MAX] {
            spis.release(foreign);
        }
        assert_eq!(spis.free, COUNT as usize);
    }
}
