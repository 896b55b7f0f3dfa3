// SPDX-License-Identifier: Apache-2.0
//! A bounded ring of packets from one thread to another.
//!
//! ```text
//!   sender ── put: copy in ──► │ slot │ slot │ … 256 … │ ── take: copy out ──► receiver's pool
//!                              tail ▲               ▲ head
//! ```
//!
//! Frames belong to the thread of their pool, so a packet changes threads as a copy. The words of a slot are atomics that
//! are written and read without ordering (plain moves on every CPU of today); head and tail order them. The memory comes
//! from the allocator as zeros and is first touched when a packet is put there: rings that are never used cost none.
//!
//! Limits: one sender and one receiver at a time. Two senders at once would mix their packets, and no more than that.

use super::{Frame, Pool};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A ring of [`PacketRing::SLOTS`] packets.
pub struct PacketRing {
    words: Box<[AtomicU64]>,
    /// Packets taken so far, modulo 2^32.
    head: Line,
    /// Packets put so far.
    tail: Line,
}

/// Written by one side only: on a cache line (of two, as CPUs fetch them) of its own.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU32);

impl PacketRing {
    /// Packets that may wait.
    pub const SLOTS: usize = 256;
    /// The longest packet: with the usual headroom in front of it, it fills a chunk.
    pub const LONGEST: usize = (SLOT_WORDS - 1) * WORD;
    /// An empty ring.
    pub fn new() -> PacketRing {
        PacketRing {
            words: zeros(PacketRing::SLOTS * SLOT_WORDS),
            head: Line::default(),
            tail: Line::default(),
        }
    }

    /// Copies a packet into the ring; false if it is full, or the packet too long. For the sender.
    pub fn put(&self, packet: &[u8]) -> bool {
        let tail = self.tail.0.load(Ordering::Relaxed);
        let waiting = tail.wrapping_sub(self.head.0.load(Ordering::Acquire));
        if waiting as usize >= PacketRing::SLOTS || packet.len() > PacketRing::LONGEST {
            return false;
        }
        let Some([len, words @ ..]) = self.slot(tail) else { return false };
        len.store(packet.len() as u64, Ordering::Relaxed);
        let (whole, rest) = packet.as_chunks::<WORD>();
        for (word, bytes) in words.iter().zip(whole) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        if let (false, Some(word)) = (rest.is_empty(), words.get(whole.len())) {
            let mut bytes = [0; WORD];
            bytes[..rest.len()].copy_from_slice(rest);
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        self.tail.0.store(tail.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes the next packet out of the ring; `None` if there is none. The frame is `None` if the pool had no chunk for it:
    /// the packet is lost. For the receiver.
    pub fn take(&self, pool: &Pool) -> Option<Option<Frame>> {
        let head = self.head.0.load(Ordering::Relaxed);
        if head == self.tail.0.load(Ordering::Acquire) {
            return None;
        }
        let frame = self.copy_out(head, pool);
        self.head.0.store(head.wrapping_add(1), Ordering::Release);
        Some(frame)
    }

    fn copy_out(&self, head: u32, pool: &Pool) -> Option<Frame> {
        let [len, words @ ..] = self.slot(head)? else { return None };
        let len = (len.load(Ordering::Relaxed) as usize).min(PacketRing::LONGEST);
        let mut frame = pool.take()?;
        let (whole, rest) = frame.append(len)?.as_chunks_mut::<WORD>();
        let last = words.get(whole.len());
        for (bytes, word) in whole.iter_mut().zip(words) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        if let Some(word) = last {
            let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            let len = rest.len();
            rest.copy_from_slice(&bytes[..len]);
        }
        Some(frame)
    }

    fn slot(&self, number: u32) -> Option<&[AtomicU64]> {
        let start = number as usize % PacketRing::SLOTS * SLOT_WORDS;
        self.words.get(start..start + SLOT_WORDS)
    }
}

impl Default for PacketRing {
    fn default() -> PacketRing {
        PacketRing::new()
    }
}

/// Zeros that no memory is touched for yet.
fn zeros(words: usize) -> Box<[AtomicU64]> {
    let words = vec![0u64; words].into_boxed_slice();
    const { assert!(align_of::<AtomicU64>() == align_of::<u64>()) };
    // SAFETY: an atomic has the size, the representation and, as was just checked, the alignment of its integer; the box is
    // taken apart and put together once.
    unsafe { Box::from_raw(Box::into_raw(words) as *mut [AtomicU64]) }
}

const WORD: usize = size_of::<u64>();
/// The length of the packet, and as much of it as a chunk holds.
const SLOT_WORDS: usize = Pool::LONGEST / WORD;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn packets_of_every_length_arrive_as_they_were() {
        let (ring, pool) = (PacketRing::new(), Pool::new(1).unwrap());
        let bytes: Vec<u8> = (0..=PacketRing::LONGEST).map(|i| (i * 7 + i / 256) as u8).collect();
        let lengths =
            (0..40).chain((1400..1420).step_by(3)).chain([PacketRing::LONGEST - 1, PacketRing::LONGEST]);
        for len in lengths {
            assert!(ring.put(&bytes[..len]));
            assert_eq!(ring.take(&pool).flatten().unwrap().data(), &bytes[..len]);
        }
        assert!(!ring.put(&bytes), "too long");
        assert!(ring.take(&pool).is_none());
    }

    #[test]
    fn a_full_ring_refuses_and_loses_nothing() {
        let (ring, pool) = (PacketRing::new(), Pool::new(1).unwrap());
        // The counters of packets wrap.
        for line in [&ring.head, &ring.tail] {
            line.0.store(u32::MAX - 100, Ordering::Relaxed);
        }
        for round in 0..3u16 {
            let number = |i: usize| (i as u16 + round).to_be_bytes();
            assert!((0..PacketRing::SLOTS).all(|i| ring.put(&number(i))));
            assert!(!ring.put(&[0]));
            for i in 0..PacketRing::SLOTS {
                assert_eq!(ring.take(&pool).flatten().unwrap().data(), number(i));
            }
            assert!(ring.take(&pool).is_none());
        }
    }

    #[test]
    fn a_packet_for_which_the_receiver_has_no_chunk_makes_room_for_the_next() {
        let (ring, pool) = (PacketRing::new(), Pool::new(1).unwrap());
        assert!(ring.put(b"lost") && ring.put(b"kept"));
        let taken = pool.take();
        assert!(matches!(ring.take(&pool), Some(None)));
        drop(taken);
        assert_eq!(ring.take(&pool).flatten().unwrap().data(), b"kept");
    }

    #[test]
    fn two_threads_pass_packets_in_order() {
        const COUNT: u32 = if cfg!(miri) { 300 } else { 20_000 };
        let ring = Arc::new(PacketRing::new());
        let sender = ring.clone();
        let thread = std::thread::spawn(move || {
            for number in 0..COUNT {
                let packet = number.to_be_bytes().repeat(1 + number as usize % 5);
                while !sender.put(&packet) {
                    std::thread::yield_now();
                }
            }
        });
        let pool = Pool::new(1).unwrap();
        for number in 0..COUNT {
            let frame = loop {
                match ring.take(&pool) {
                    Some(frame) => break frame.unwrap(),
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(frame.data(), number.to_be_bytes().repeat(1 + number as usize % 5));
        }
        thread.join().unwrap();
    }
}
