// SPDX-License-Identifier: Apache-2.0
//! SPIs to security associations: open addressing with linear probing, at most half full.

/// A map from SPI to `T` of fixed capacity.
pub struct SpiTable<T> {
    slots: Box<[Option<(u32, T)>]>,
    shift: u32,
    len: usize,
}

/// Where an entry is. Good until the table changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u32);

/// There is no room for another SPI.
#[derive(Debug)]
pub struct Full<T>(pub T);

impl<T> SpiTable<T> {
    /// A table with room for `capacity` SPIs.
    pub fn with_capacity(capacity: usize) -> SpiTable<T> {
        let size = (2 * capacity).next_power_of_two().max(2);
        let slots = std::iter::repeat_with(|| None).take(size).collect();
        SpiTable { slots, shift: 32 - size.trailing_zeros(), len: 0 }
    }
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many SPIs it has room for.
    pub fn capacity(&self) -> usize {
        self.slots.len() / 2
    }

    /// Adds an entry, or replaces the one of the same SPI and gives it back.
    pub fn insert(&mut self, spi: u32, value: T) -> Result<Option<T>, Full<T>> {
        let index = self.probe(spi);
        let full = self.len == self.capacity();
        match &mut self.slots[index] {
            Some((_, old)) => Ok(Some(std::mem::replace(old, value))),
            None if full => Err(Full(value)),
            empty => {
                *empty = Some((spi, value));
                self.len += 1;
                Ok(None)
            }
        }
    }

    /// The slot of the entry with this SPI.
    #[inline]
    pub fn find(&self, spi: u32) -> Option<Slot> {
        let index = self.probe(spi);
        self.slots[index].is_some().then_some(Slot(index as u32))
    }

    /// The entry in a slot that [`SpiTable::find`] gave.
    #[inline]
    pub fn at(&self, Slot(index): Slot) -> Option<&T> {
        self.slots.get(index as usize)?.as_ref().map(|(_, value)| value)
    }

    /// All entries.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|(_, value)| value)
    }
    /// Takes the entry with this SPI out.
    pub fn remove(&mut self, spi: u32) -> Option<T> {
        let mut hole = self.probe(spi);
        let (_, removed) = self.slots[hole].take()?;
        self.len -= 1;
        // Close the gap: move up every entry of the run that a probe would no longer reach.
        let mask = self.slots.len() - 1;
        let mut next = (hole + 1) & mask;
        while let Some((spi, _)) = &self.slots[next] {
            let home = self.home(*spi);
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.slots.swap(hole, next);
                hole = next;
            }
            next = (next + 1) & mask;
        }
        Some(removed)
    }

    /// Empties the table, entry by entry.
    pub fn drain(&mut self) -> impl Iterator<Item = (u32, T)> + '_ {
        self.len = 0;
        self.slots.iter_mut().filter_map(Option::take)
    }

    /// The slot that holds `spi`, or the free one where it belongs. Ends, because half of the slots are free.
    #[inline]
    fn probe(&self, spi: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut index = self.home(spi);
        while let Some((other, _)) = &self.slots[index] {
            if *other == spi {
                break;
            }
            index = (index + 1) & mask;
        }
        index
    }

    /// Fibonacci hashing: SPIs are allocated in sequence, which this spreads evenly.
    #[inline]
    fn home(&self, spi: u32) -> usize {
        (spi.wrapping_mul(0x9e37_79b9) >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_full_table_refuses_but_still_replaces() {
        let mut table = SpiTable::with_capacity(2);
        assert!(table.insert(256, 'a').unwrap().is_none());
        assert!(table.insert(257, 'b').unwrap().is_none());
        assert_eq!(table.insert(258, 'c').unwrap_err().0, 'c');
        assert_eq!(table.insert(257, 'd').unwrap(), Some('b'));
        assert_eq!(table.find(257).and_then(|place| table.at(place)), Some(&'d'));
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(operations in prop::collection::vec((any::<bool>(), 0u32..40), 0..300)) {
            let mut table = SpiTable::with_capacity(20);
            let mut model = HashMap::new();
            for (time, (insert, spi)) in operations.into_iter().enumerate() {
                if insert {
                    if model.len() < table.capacity() || model.contains_key(&spi) {
                        prop_assert_eq!(table.insert(spi, time).unwrap(), model.insert(spi, time));
                    }
                } else {
                    prop_assert_eq!(table.remove(spi), model.remove(&spi));
                }
                prop_assert_eq!(table.len(), model.len());
                for spi in 0..40 {
                    prop_assert_eq!(table.find(spi).and_then(|place| table.at(place)), model.get(&spi));
                }
            }
        }
    }
}
