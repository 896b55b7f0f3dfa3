// SPDX-License-Identifier: Apache-2.0
//! A rate limit that chooses by chance.

use crate::clock::Instant;
use crate::limit::SlidingWindow;
use std::time::Duration;

use super::Random;

/// As a [`SlidingWindow`], but where more arrive than it admits, chance decides which, not who comes first. Else those
/// who send most often would take every place as soon as it is free.
pub(super) struct Sample {
    window: SlidingWindow,
    /// Arrivals in the slots of the last second.
    arrived: [u32; SLOTS],
    /// The slot that `arrived` was last brought up to date for.
    slot: Option<(Instant, usize)>,
}

impl Sample {
    pub(super) fn new(limit: usize) -> Self {
        Sample { window: SlidingWindow::new(limit), arrived: [0; SLOTS], slot: None }
    }

    pub(super) fn arrive(&mut self, now: Instant) {
        self.pass(now);
        if let Some((_, current)) = self.slot {
            self.arrived[current] = self.arrived[current].saturating_add(1);
        }
    }

    /// Whether more have arrived in the last second than are admitted.
    pub(super) fn is_over(&self) -> bool {
        self.count() > self.window.limit() as u64
    }

    /// Whether the last arrival is one of those admitted.
    pub(super) fn choose(&mut self, now: Instant, random: &mut dyn Random) -> bool {
        if self.is_over() {
            let mut dice = [0; 4];
            random.fill(&mut dice);
            if u64::from(u32::from_be_bytes(dice)) * self.count() >= (self.window.limit() as u64) << 32 {
                return false;
            }
        }
        self.window.spend(now)
    }

    /// Admits the last arrival unless the limit is reached.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        self.window.spend(now)
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.window.set_limit(limit);
    }

    /// Arrivals in the last second.
    pub(super) fn count(&self) -> u64 {
        self.arrived.iter().map(|&count| u64::from(count)).sum()
    }

    /// Empties the slots that have begun since the last arrival.
    fn pass(&mut self, now: Instant) {
        let Some((start, current)) = self.slot else {
            self.slot = Some((now, 0));
            return;
        };
        let slots = now.saturating_duration_since(start).as_nanos() / SLOT.as_nanos();
        let passed = slots.min(SLOTS as u128) as usize;
        for step in 1..=passed {
            self.arrived[(current + step) % SLOTS] = 0;
        }
        let start = if passed < SLOTS { start + SLOT * passed as u32 } else { now };
        self.slot = Some((start, (current + passed) % SLOTS));
    }
}

const SLOTS: usize = 10;
const SLOT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_admits_everything_up_to_its_limit_in_any_pattern() {
        for (burst, pause_ms) in [(1, 1), (1_000, 1_000), (500, 500), (90, 100)] {
            let mut sample = Sample::new(1_000);
            let mut now = Instant::now();
            for _ in 0..20 {
                for _ in 0..burst {
                    sample.arrive(now);
                    assert!(sample.choose(now, &mut dice(1)), "{burst} every {pause_ms} ms");
                }
                now += Duration::from_millis(pause_ms);
            }
        }
    }

    #[test]
    fn a_sample_chooses_at_random_and_never_exceeds_its_limit() {
        // Nine of ten arrive at the beginning of each millisecond, and one at its end.
        let mut sample = Sample::new(1_000);
        let mut random = dice(2);
        let start = Instant::now();
        let (mut admitted, mut late) = (Vec::new(), 0);
        for ms in 0..6_000_u64 {
            for arrival in 0..10_u64 {
                let now = start + Duration::from_micros(ms * 1_000 + arrival * 99);
                sample.arrive(now);
                if sample.choose(now, &mut random) {
                    admitted.push(now);
                    late += u32::from(arrival == 9 && ms >= 1_000);
                }
            }
        }
        for window in admitted.windows(1_001) {
            assert!(window[1_000] - window[0] >= Duration::from_secs(1));
        }
        assert!(admitted.len() > 5_000, "{}", admitted.len());
        assert!((400..600).contains(&late), "one in ten of 5,000: {late}");
    }

    fn dice(seed: u64) -> impl Random {
        let mut state = seed;
        move |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            }
        }
    }
}
