// SPDX-License-Identifier: Apache-2.0
//! How many packets one core carries: each goes outbound (dispatch, TTL, route, seal, outer headers) and at once
//! inbound (dispatch, SPI, replay check, open, TTL, next hop), through the graph that a worker runs, in memory.
//!
//! A packet counts once for both ways. Time is taken around the graph's two calls, ports included; making the packets
//! young again is not in it. A round is about a millisecond, too short for other processes to interrupt many of them,
//! and rounds of all rows take turns, so that a machine that changes its speed does so for all. Gbit/s counts 24 bytes
//! per frame on top (preamble, frame check sequence, gap).
//!
//! Three tables: rates by size, routes and associations; what two workers on two cores carry in comparison to one; and
//! where the cycles of a small packet go, step by step.
//!
//! With `VITA_BENCH_JSON=FILE` every figure is also appended to that file, one JSON object on a line:
//!
//! ```text
//!   {"bench":"gateway","row":"ipv4 60 B","ns":83.1,"best_ns":80.2,"mpps":12.03,"best_mpps":12.47,"gbps":8.08}
//!   {"bench":"gateway","row":"two workers","ratio":1.97}
//!   {"bench":"gateway","row":"step ipv4 60 B outbound ttl","cycles":6.1}
//! ```
//!
//! `ns` and `mpps` are those of the median round, `best_` those of the fastest; `cycles` are of the time stamp counter,
//! per packet, of the median batch.

mod clock;
mod lane;
mod site;
mod workers;

use clock::Clock;
use site::{Family, Scenario, Site};
use std::fs::File;
use std::io::Write;

fn main() {
    let clock = Clock::calibrated();
    let mut report = Report::new();
    rates(&clock, &mut report);
    report.note(&format!("AEAD: {}; one core, both ways", vita::aead::preferred().name()));
    let ratio = workers::ratio(&clock);
    report.note(&format!("two workers on two cores carry {ratio:.2} times as much as one"));
    report.line(&format!(r#""row":"two workers","ratio":{ratio:.3}"#));
    for family in [Family::V4, Family::V6] {
        steps(&clock, family, &mut report);
    }
}

fn scenarios() -> Vec<Scenario> {
    // Seven small, four medium, one large, mixed as they would arrive.
    let imix = [54, 590, 54, 54, 590, 54, 1514, 54, 590, 54, 590, 54];
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        for size in [60, 512, 1024, 1400] {
            all.push(Scenario::new(format!("{family} {size} B"), family, &[size], 1, 1));
        }
        all.push(Scenario::new(format!("{family} IMIX"), family, &imix, 1, 1));
        for routes in [100, 10_000] {
            all.push(Scenario::new(format!("{family} 60 B, {routes} routes"), family, &[60], routes, 1));
        }
        for sas in [4, 1000] {
            all.push(Scenario::new(format!("{family} 60 B, {sas} SAs"), family, &[60], sas, sas));
        }
    }
    all
}

fn rates(clock: &Clock, report: &mut Report) {
    let mut rows: Vec<_> = scenarios()
        .into_iter()
        .map(|scenario| (Site::new(&scenario, ()), scenario, Vec::with_capacity(ROUNDS)))
        .collect();
    for (site, ..) in &mut rows {
        site.run(clock, WARM_UP_PACKETS);
    }
    for _ in 0..ROUNDS {
        for (site, _, rounds) in &mut rows {
            rounds.push(site.run(clock, ROUND_PACKETS));
        }
    }
    report
        .note(&format!("{:<24} {:>8} {:>8} {:>10} {:>10}", "frames", "Mpps", "Gbit/s", "ns/packet", "best"));
    for (site, scenario, mut rounds) in rows {
        rounds.sort_by(f64::total_cmp);
        let (ns, best) = (rounds[rounds.len() / 2], rounds[0]);
        let (name, gigabits) = (&scenario.name, (site.mean_size + WIRE_OVERHEAD) * 8.0 / ns);
        report.note(&format!("{name:<24} {:>8.2} {gigabits:>8.2} {ns:>10.1} {best:>10.1}", 1e3 / ns));
        let (mpps, best_mpps) = (1e3 / ns, 1e3 / best);
        report.line(&format!(
            r#""row":"{name}","ns":{ns:.2},"best_ns":{best:.2},"mpps":{mpps:.3},"best_mpps":{best_mpps:.3},"gbps":{gigabits:.3}"#
        ));
    }
}

fn steps(clock: &Clock, family: Family, report: &mut Report) {
    let scenario = Scenario::new(format!("{family} 60 B"), family, &[60], 1, 1);
    let mut site = Site::new(&scenario, clock::Cycles::default());
    for _ in 0..ROUNDS {
        site.run(clock, ROUND_PACKETS);
    }
    report.note(&format!("cycles per packet, {}:", scenario.name));
    let mut sum = 0.0;
    for (step, cycles) in site.meter().medians().into_iter().filter(|(step, _)| *step != "between") {
        report.note(&format!("{step:>28} {cycles:>7.1}"));
        report.line(&format!(r#""row":"step {} {step}","cycles":{cycles:.2}"#, scenario.name));
        sum += cycles;
    }
    report.note(&format!("{:>28} {sum:>7.1}, at {:.0} MHz", "sum", 1e3 / clock.ns_per_tick));
}

/// The table on the screen, and the same in a file for programs.
struct Report {
    json: Option<File>,
}

impl Report {
    fn new() -> Report {
        let open = |path| {
            File::options().append(true).create(true).open(path).expect("VITA_BENCH_JSON can be written")
        };
        Report { json: std::env::var_os("VITA_BENCH_JSON").map(open) }
    }

    fn note(&self, text: &str) {
        println!("{text}");
    }

    fn line(&mut self, fields: &str) {
        if let Some(file) = &mut self.json {
            writeln!(file, r#"{{"bench":"gateway",{fields}}}"#).expect("room for a line");
        }
    }
}

const WIRE_OVERHEAD: f64 = 24.0;
const ROUNDS: usize = 500;
const ROUND_PACKETS: usize = 2048;
const WARM_UP_PACKETS: usize = 65_536;
