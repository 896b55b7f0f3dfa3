// SPDX-License-Identifier: Apache-2.0
//! One worker alone, and two at a time, each on a core of its own.

use crate::clock::Clock;
use crate::site::{Family, Scenario, Site};
use std::sync::Barrier;
use std::thread;

/// How much more two carry than one, round by round.
pub fn ratios(clock: &Clock) -> Vec<f64> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let barrier = Barrier::new(2);
    let work = |index: usize| {
        if let Some(core) = cores.get(index) {
            core_affinity::set_for_current(*core);
        }
        let scenario = Scenario::new(String::new(), Family::V4, &[60], 1, 1);
        let mut site = Site::new(&scenario, ());
        site.run(clock, PACKETS);
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            barrier.wait();
            if index == 0 {
                alone.push(1.0 / site.run(clock, PACKETS));
            }
            barrier.wait();
            together.push(1.0 / site.run(clock, PACKETS));
        }
        (alone, together)
    };
    let ((alone, first), (_, second)) = thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        (work(0), other.join().expect("the second worker does not fail"))
    });
    let together = first.iter().zip(&second).map(|(first, second)| first + second);
    together.zip(alone).map(|(together, alone)| together / alone).collect()
}

const ROUNDS: usize = 200;
const PACKETS: usize = 16_384;
