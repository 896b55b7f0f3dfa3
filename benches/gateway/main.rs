// SPDX-License-Identifier: Apache-2.0
//! How many packets one core carries: each goes outbound (dispatch, TTL, route, seal, outer headers) and at once
//! inbound (dispatch, SPI, replay check, open, TTL, next hop), through the graph that a worker runs, in memory.
//!
//! A packet counts once for both ways. Time is taken around the graph's two calls, ports included; making the packets
//! young again is not in it. A round is a fraction of a millisecond, too short for other processes to interrupt many of
//! them, and rounds of all rows take turns, so that a machine that changes its speed does so for all. Gbit/s counts 24
//! bytes per frame on top (preamble, frame check sequence, gap).
//!
//! Three tables: rates by size, routes and associations; what two workers on two cores carry in comparison to one; and
//! where the time of a small packet goes, step by step. `figures` says how they are left behind for other programs.

#[allow(unsafe_code)]
mod clock;
#[path = "../figures/mod.rs"]
mod figures;
mod lane;
mod site;
mod workers;

use clock::Clock;
use figures::Figure;
use site::{Family, Scenario, Site};

fn main() {
    let clock = Clock::calibrated();
    rates(&clock);
    println!("AEAD: {}; one core, both ways; medians of {ROUNDS} rounds", vita::aead::preferred().name());
    let mut ratios = workers::ratios(&clock);
    let ratio = figure("workers/two in comparison to one", "times", Some(1.9)).record(&mut ratios);
    println!("two workers on two cores carry {ratio:.2} times as much as one");
    for family in [Family::V4, Family::V6] {
        steps(&clock, family);
    }
}

fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (size, goal) in [(60, Some(12.0)), (512, None), (1024, None), (1400, Some(4.0))] {
            all.push(Scenario::new(format!("loop/{family}/{size} B"), family, &[size], 1, 1).aiming_at(goal));
        }
        all.push(Scenario::new(format!("loop/{family}/IMIX"), family, &IMIX, 1, 1).aiming_at(Some(8.0)));
        for routes in [100, 10_000] {
            all.push(Scenario::new(format!("loop/{family}/60 B, {routes} routes"), family, &[60], routes, 1));
        }
        for sas in [4, 1000] {
            all.push(Scenario::new(format!("loop/{family}/60 B, {sas} SAs"), family, &[60], sas, sas));
        }
    }
    all
}

fn rates(clock: &Clock) {
    let mut rows: Vec<_> = scenarios()
        .into_iter()
        .map(|scenario| (Site::new(&scenario, ()), scenario, Vec::with_capacity(ROUNDS)))
        .collect();
    for (site, ..) in &mut rows {
        site.run(clock, WARM_UP_PACKETS);
    }
    for _ in 0..ROUNDS {
        for (site, _, rounds) in &mut rows {
            // The other rows were here: a gateway that is busy finds its own associations in the caches.
            site.run(clock, AGAIN_PACKETS);
            rounds.push(1e3 / site.run(clock, ROUND_PACKETS));
        }
    }
    println!("{:<28} {:>8} {:>8} {:>10} {:>10}", "frames", "Mpps", "Gbit/s", "ns/packet", "best");
    for (site, scenario, mut rounds) in rows {
        let mpps = figure(&scenario.name, "Mpps", scenario.goal).record(&mut rounds);
        // They are in order by now.
        let best = rounds.last().copied().unwrap_or(mpps);
        let gigabits = (site.mean_size + WIRE_OVERHEAD) * 8.0 * mpps / 1e3;
        let (ns, best) = (1e3 / mpps, 1e3 / best);
        println!("{:<28} {mpps:>8.2} {gigabits:>8.2} {ns:>10.1} {best:>10.1}", scenario.name);
    }
}

fn steps(clock: &Clock, family: Family) {
    let scenario = Scenario::new(format!("{family}/60 B"), family, &[60], 1, 1);
    let mut site = Site::new(&scenario, clock::Cycles::default());
    for _ in 0..ROUNDS {
        site.run(clock, ROUND_PACKETS);
    }
    println!("{:<28} {:>8} {:>8}", format!("steps of {}", scenario.name), "cycles", "ns");
    let mut sum = 0.0;
    for (step, mut batches) in site.meter().per_packet() {
        let name = format!("step/{}/{step}", scenario.name);
        batches.iter_mut().for_each(|ticks| *ticks *= clock.ns_per_tick);
        let ns = figure(&name, "ns", None).record(&mut batches);
        println!("{step:<28} {:>8.1} {ns:>8.1}", ns / clock.ns_per_tick);
        sum += ns;
    }
    let mhz = 1e3 / clock.ns_per_tick;
    println!("{:<28} {:>8.1} {sum:>8.1}, at {mhz:.0} MHz", "sum", sum / clock.ns_per_tick);
}

fn figure<'a>(name: &'a str, unit: &'a str, goal: Option<f64>) -> Figure<'a> {
    Figure { bench: "gateway", figure: name, unit, goal, against: &[] }
}

/// Seven small, four medium, one large, mixed as they would arrive.
const IMIX: [usize; 12] = [54, 590, 54, 54, 590, 54, 1514, 54, 590, 54, 590, 54];
const WIRE_OVERHEAD: f64 = 24.0;
const ROUNDS: usize = 501;
const ROUND_PACKETS: usize = 2048;
const WARM_UP_PACKETS: usize = 65_536;
/// Sixteen for each of a thousand associations.
const AGAIN_PACKETS: usize = 16_384;
