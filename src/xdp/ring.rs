// SPDX-License-Identifier: Apache-2.0
//! The four rings of a socket: one cursor, seen from the producing or from the consuming end.
//!
//! ```text
//!            consumer ▼            ▼ producer          both only ever count up, modulo 2³²;
//!   ┌───┬───┬───┬───┬───┬───┬───┬───┬───┬───┐          entry = index & (size - 1)
//!   │   │   │   │ ■ │ ■ │ ■ │ ■ │   │   │   │
//!   └───┴───┴───┴───┴───┴───┴───┴───┴───┴───┘
//! ```
//!
//! Each end keeps a copy of the other's index and looks at the shared one only when the copy does not
//! suffice. Entries are written or read freely and then handed over in one store for the whole batch. The
//! kernel sits at the other end in earnest; in tests it is a second cursor over the same plain memory.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a ring lies.
pub(super) struct Layout<T> {
    pub producer: NonNull<AtomicU32>,
    pub consumer: NonNull<AtomicU32>,
    pub flags: NonNull<AtomicU32>,
    pub entries: NonNull<T>,
    /// Number of entries, a power of two.
    pub size: u32,
}

/// The end that puts entries in: the fill and transmit rings.
pub(super) struct Producer<T>(Cursor<T>);

/// The end that takes entries out: the receive and completion rings.
pub(super) struct Consumer<T>(Cursor<T>);

struct Cursor<T> {
    layout: Layout<T>,
    /// The next entry of ours; handed over up to here.
    own: u32,
    /// The other side's index when last looked at.
    other: u32,
}

impl<T: Copy> Producer<T> {
    /// # Safety
    /// The memory of the layout outlives the cursor, `size` is a power of two and there are as many entries,
    /// and nobody else is at this end of the ring.
    pub(super) unsafe fn new(layout: Layout<T>) -> Self {
        let own = load(layout.producer);
        let other = load(layout.consumer);
        Producer(Cursor { layout, own, other })
    }

    /// How many entries can be written now, `wanted` at most.
    #[inline]
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        let size = self.0.layout.size;
        let used = self.0.own.wrapping_sub(self.0.other);
        if size - used.min(size) < wanted {
            self.0.other = load(self.0.layout.consumer);
        }
        let used = self.0.own.wrapping_sub(self.0.other);
        wanted.min(size - used.min(size))
    }

    /// Writes the entry `offset` places on; it counts only once submitted.
    #[inline]
    pub(super) fn write(&mut self, offset: u32, entry: T) {
        // SAFETY: the index is masked, so the entry lies inside the ring; entries not yet submitted are ours.
        unsafe { self.0.entry(offset).write(entry) }
    }

    /// Hands the next `count` entries over, which [`Producer::room`] promised and [`Producer::write`] filled.
    #[inline]
    pub(super) fn submit(&mut self, count: u32) {
        self.0.own = self.0.own.wrapping_add(count);
        // Release: whoever sees the index sees the entries.
        self.0.index(self.0.layout.producer).store(self.0.own, Ordering::Release);
    }

    /// Entries handed over that the other side has not taken yet.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        self.0.own.wrapping_sub(load(self.0.layout.consumer)).min(self.0.layout.size)
    }

    /// Whether the kernel wants a system call before it looks at the ring.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.0.index(self.0.layout.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

impl<T: Copy> Consumer<T> {
    /// # Safety
    /// As for [`Producer::new`].
    pub(super) unsafe fn new(layout: Layout<T>) -> Self {
        let own = load(layout.consumer);
        let other = load(layout.producer);
        Consumer(Cursor { layout, own, other })
    }

    /// How many entries can be read now, `wanted` at most.
    #[inline]
    pub(super) fn ready(&mut self, wanted: u32) -> u32 {
        if self.0.other.wrapping_sub(self.0.own) < wanted {
            self.0.other = load(self.0.layout.producer);
        }
        wanted.min(self.0.other.wrapping_sub(self.0.own)).min(self.0.layout.size)
    }

    /// Reads the entry `offset` places on, one of those that [`Consumer::ready`] promised.
    #[inline]
    pub(super) fn read(&self, offset: u32) -> T {
        // SAFETY: the index is masked, so the entry lies inside the ring; the producer initialised it before
        // it moved its index, and every bit pattern of the plain numbers used here is valid.
        unsafe { self.0.entry(offset).read() }
    }

    /// Gives the next `count` entries back.
    #[inline]
    pub(super) fn release(&mut self, count: u32) {
        self.0.own = self.0.own.wrapping_add(count);
        // Release: the entries have been read before the producer may overwrite them.
        self.0.index(self.0.layout.consumer).store(self.0.own, Ordering::Release);
    }
}

impl<T> Cursor<T> {
    #[inline]
    fn entry(&self, offset: u32) -> NonNull<T> {
        let place = self.own.wrapping_add(offset) & (self.layout.size - 1);
        // SAFETY: `place` < `size`, the number of entries there are.
        unsafe { self.layout.entries.add(place as usize) }
    }

    #[inline]
    fn index(&self, which: NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: the memory of the layout outlives the cursor; shared indices are only used as atomics.
        unsafe { which.as_ref() }
    }
}

/// Acquire: entries up to the index are seen as the other side left them.
#[inline]
fn load(index: NonNull<AtomicU32>) -> u32 {
    // SAFETY: called with the indices of a layout, whose memory outlives its cursor.
    unsafe { index.as_ref() }.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;

    /// A ring of 8 in plain memory, its indices starting where a test wants them.
    struct Plain {
        producer: AtomicU32,
        consumer: AtomicU32,
        flags: AtomicU32,
        entries: UnsafeCell<[u64; 8]>,
    }

    // SAFETY: entries are handed over through the indices, which is what the tests are about.
    unsafe impl Sync for Plain {}

    impl Plain {
        fn starting_at(index: u32) -> Plain {
            Plain {
                producer: index.into(),
                consumer: index.into(),
                flags: 0.into(),
                entries: UnsafeCell::new([u64::MAX; 8]),
            }
        }

        fn layout(&self) -> Layout<u64> {
            Layout {
                producer: NonNull::from(&self.producer),
                consumer: NonNull::from(&self.consumer),
                flags: NonNull::from(&self.flags),
                entries: NonNull::new(self.entries.get().cast()).unwrap(),
                size: 8,
            }
        }

        fn ends(&self) -> (Producer<u64>, Consumer<u64>) {
            // SAFETY: eight entries, and the tests keep `self` alive; one cursor at each end.
            unsafe { (Producer::new(self.layout()), Consumer::new(self.layout())) }
        }
    }

    fn put(producer: &mut Producer<u64>, entries: &[u64]) {
        assert_eq!(producer.room(entries.len() as u32), entries.len() as u32);
        for (offset, entry) in entries.iter().enumerate() {
            producer.write(offset as u32, *entry);
        }
        producer.submit(entries.len() as u32);
    }

    fn take(consumer: &mut Consumer<u64>, wanted: u32) -> Vec<u64> {
        let count = consumer.ready(wanted);
        let entries = (0..count).map(|offset| consumer.read(offset)).collect();
        consumer.release(count);
        entries
    }

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let plain = Plain::starting_at(0);
        let (mut producer, mut consumer) = plain.ends();
        assert!(take(&mut consumer, 8).is_empty());
        put(&mut producer, &[1, 2, 3]);
        assert_eq!(take(&mut consumer, 2), [1, 2]);
        assert_eq!(take(&mut consumer, 8), [3]);
    }

    #[test]
    fn nothing_is_seen_before_it_is_submitted() {
        let plain = Plain::starting_at(0);
        let (mut producer, mut consumer) = plain.ends();
        assert_eq!(producer.room(1), 1);
        producer.write(0, 7);
        assert_eq!(consumer.ready(1), 0);
        producer.submit(1);
        assert_eq!(consumer.ready(1), 1);
    }

    #[test]
    fn a_full_ring_has_no_room_until_entries_are_released() {
        let plain = Plain::starting_at(0);
        let (mut producer, mut consumer) = plain.ends();
        put(&mut producer, &[0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((producer.room(1), producer.pending()), (0, 8));
        assert_eq!(consumer.ready(3), 3);
        assert_eq!(producer.room(8), 0);
        consumer.release(3);
        assert_eq!((producer.room(8), producer.pending()), (3, 5));
    }

    #[test]
    fn indices_wrap_around_at_the_end_of_the_ring_and_of_the_number() {
        for start in [5, u32::MAX - 2, u32::MAX] {
            let plain = Plain::starting_at(start);
            let (mut producer, mut consumer) = plain.ends();
            for round in 0..5 {
                let batch: Vec<u64> = (0..7).map(|n| round * 100 + n).collect();
                put(&mut producer, &batch);
                assert_eq!(take(&mut consumer, 8), batch, "start {start}, round {round}");
            }
        }
    }

    #[test]
    fn a_cursor_continues_where_its_predecessor_stopped() {
        let plain = Plain::starting_at(u32::MAX);
        put(&mut plain.ends().0, &[1, 2, 3]);
        assert_eq!(take(&mut plain.ends().1, 2), [1, 2]);
        assert_eq!(take(&mut plain.ends().1, 8), [3]);
    }

    #[test]
    fn the_wakeup_flag_is_the_kernels_to_set() {
        let plain = Plain::starting_at(0);
        let (producer, _) = plain.ends();
        assert!(!producer.needs_wakeup());
        plain.flags.store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
        assert!(producer.needs_wakeup());
    }

    #[test]
    fn batches_of_any_size_cross_threads_complete_and_in_order() {
        const COUNT: u64 = if cfg!(miri) { 300 } else { 20_000 };
        let plain = Plain::starting_at(u32::MAX - 1000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut producer = plain.ends().0;
                let mut next = 0;
                while next < COUNT {
                    let room = producer.room(u32::min(1 + (next % 5) as u32, (COUNT - next) as u32));
                    (0..room).for_each(|offset| producer.write(offset, next + u64::from(offset)));
                    producer.submit(room);
                    next += u64::from(room);
                    if room == 0 {
                        std::thread::yield_now();
                    }
                }
            });
            let mut consumer = plain.ends().1;
            let mut next = 0;
            while next < COUNT {
                let entries = take(&mut consumer, 1 + (next % 7) as u32);
                if entries.is_empty() {
                    std::thread::yield_now();
                }
                for entry in entries {
                    assert_eq!(entry, next);
                    next += 1;
                }
            }
        });
    }
}
