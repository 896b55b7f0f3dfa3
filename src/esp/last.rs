// SPDX-License-Identifier: Apache-2.0
//! What outlives an SA: the numbers it has used, and how far it may go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where an SA leaves its last sequence number when it is dropped, by whichever thread and for whatever reason. Whoever
/// uses its key again goes on from there (RFC 4106 section 2: nonces must not repeat).
///
/// It also says how far an outbound SA may count: up to the ceiling, which can be raised while the SA lives. The SA looks at
/// it once in [`STRIDE`] numbers, and notes then how far it has come.
#[derive(Debug)]
pub struct LastNumber(Arc<Shared>);

/// The SA's side. It tells the number when it goes.
pub(crate) struct LastNumberWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// While the SA lives, a number that it has not come further than `STRIDE` behind.
    number: AtomicU64,
    ceiling: AtomicU64,
    /// When it ended, in the order of all that end in this process.
    ended: AtomicU64,
}

impl LastNumber {
    /// That of an SA that is gone already.
    pub fn new(number: u64) -> LastNumber {
        LastNumber::bounded(number, u64::MAX)
    }

    /// For an SA that begins behind `number` and may not go beyond `ceiling` as yet.
    pub fn bounded(number: u64, ceiling: u64) -> LastNumber {
        LastNumber(Arc::new(Shared {
            number: AtomicU64::new(number),
            ceiling: AtomicU64::new(ceiling),
            ended: AtomicU64::new(0),
        }))
    }

    /// The number; none while the SA lives.
    pub fn number(&mut self) -> Option<u64> {
        Arc::get_mut(&mut self.0).map(|shared| *shared.number.get_mut())
    }

    /// A number that the SA, alive or not, has not gone beyond.
    pub fn bound(&mut self) -> u64 {
        let at_stride = self.0.number.load(Ordering::Relaxed).saturating_add(STRIDE);
        self.number().unwrap_or(at_stride)
    }

    /// Lets the SA count up to here.
    pub fn allow(&self, ceiling: u64) {
        self.0.ceiling.store(ceiling, Ordering::Relaxed);
    }

    /// Greater for one that ended later; 0 for one that has not ended in this process.
    pub fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn writer(&self) -> LastNumberWriter {
        LastNumberWriter(self.0.clone())
    }
}

impl Default for LastNumber {
    /// For an SA that begins with the first number and may use all.
    fn default() -> LastNumber {
        LastNumber::new(0)
    }
}

impl LastNumberWriter {
    /// Notes that the SA begins behind this number.
    pub(crate) fn begin(&self, number: u64) {
        self.0.number.store(number, Ordering::Relaxed);
    }

    /// Whether `next`, a multiple of [`STRIDE`], and those behind it up to the next multiple may be drawn.
    pub(crate) fn may_draw(&self, next: u64) -> bool {
        self.0.number.store(next - 1, Ordering::Relaxed);
        next.saturating_add(STRIDE - 1) <= self.0.ceiling.load(Ordering::Relaxed)
    }

    pub(crate) fn leave(&self, number: u64) {
        self.0.ended.store(1 + ENDS.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        self.0.number.store(number, Ordering::Relaxed);
    }
}

static ENDS: AtomicU64 = AtomicU64::new(0);

/// How many numbers an SA draws between two looks at its ceiling. A worker at full speed draws some ten times as many in a
/// second.
pub const STRIDE: u64 = 1 << 20;
