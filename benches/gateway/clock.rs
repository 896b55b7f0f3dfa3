// SPDX-License-Identifier: Apache-2.0
//! A clock that costs a few nanoseconds, and what it says of the steps of the graph.

use std::time::{Duration, Instant};
use vita::frame::BATCH;
use vita::stage::Meter;

pub struct Clock {
    pub ns_per_tick: f64,
}

impl Clock {
    /// Compares the ticks with the time.
    pub fn calibrated() -> Clock {
        let (start, first) = (Instant::now(), ticks());
        while start.elapsed() < Duration::from_millis(50) {}
        let (elapsed, last) = (start.elapsed(), ticks());
        Clock { ns_per_tick: elapsed.as_nanos() as f64 / (last - first) as f64 }
    }
}

/// The time stamp counter, which runs at one speed on every CPU of the last fifteen years.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn ticks() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Ticks of each step, batch by batch.
#[derive(Default)]
pub struct Cycles {
    since: u64,
    steps: Vec<(&'static str, Vec<u32>)>,
}

impl Cycles {
    /// The steps in their order, and for every batch its ticks per packet. What was between them is no step.
    pub fn per_packet(&self) -> Vec<(&'static str, Vec<f64>)> {
        let per_packet = |ticks: &u32| f64::from(*ticks) / BATCH as f64;
        let steps = self.steps.iter().filter(|(step, _)| *step != BETWEEN);
        steps.map(|(step, batches)| (*step, batches.iter().map(per_packet).collect())).collect()
    }
}

impl Meter for Cycles {
    fn lap(&mut self, step: &'static str) {
        let passed = ticks() - self.since;
        match self.steps.iter_mut().find(|(known, _)| std::ptr::eq(*known, step)) {
            Some((_, batches)) => batches.push(passed as u32),
            None => self.steps.push((step, vec![passed as u32])),
        }
        self.since = ticks();
    }
}

/// What the bench itself does.
pub const BETWEEN: &str = "between";
