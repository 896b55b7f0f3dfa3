// SPDX-License-Identifier: Apache-2.0
//! What AF_XDP leaves of the loop's speed, in network namespaces joined by veth pairs: as root, `cargo bench --bench veth`.
//!
//! ```text
//!   street   generator ──── one gateway ──── sink        AF_XDP all the way; the worker, and plain forwarding without sealing
//!   sites    host ──── gateway ──── gateway ──── host    the daemon, plain forwarding, the kernel's, and wireguard-go
//! ```
//!
//! Systems take turns within each round, and what counts are medians and ratios of one run. On veth the kernel carries every
//! packet in somebody's system call: a packet sent on a cable is received within the same call of the sender, hosts included.
//! With two cores for both gateways, both hosts and iperf3, its client is often what limits the packet rate; the same rate
//! through the kernel's own forwarding shows by how much. `per CPU second` does not depend on that: packets sent for
//! each second of the gateway's thread, kernel included.
//!
//! Figures also go to the file that `VITA_FIGURES` names, in the format that `figures/mod.rs` describes, with names of these
//! forms: `street/60 B/sealed`, `street/IMIX/user beyond loop`, `TCP/1500/vita`, `UDP 64 B/vita`, `idle/gateway`,
//! `ping/vita/p99`. Nothing stays behind: namespaces have no names, daemons die with this process.

#![allow(unsafe_code)]

#[allow(dead_code, reason = "not every bench uses all of it")]
mod figures;
#[path = "../tests/support/netns.rs"]
mod netns;
#[path = "veth/plain.rs"]
mod plain;
#[path = "veth/sites.rs"]
mod sites;
#[path = "veth/street.rs"]
mod street;
#[path = "veth/thread.rs"]
mod thread;

use figures::Figure;
use sites::{Sites, System};
use std::collections::BTreeMap;
use std::time::Duration;
use street::{Mix, Sealed, Street};

fn main() {
    // SAFETY: takes and touches nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("veth: needs root for network namespaces and AF_XDP: sudo -E cargo bench --bench veth");
        return;
    }
    take_precedence();
    let wanted = |part: &str| {
        let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
        words.is_empty() || words.iter().any(|word| word == part)
    };
    if wanted("street") {
        street_figures();
    }
    if wanted("sites") {
        site_figures();
    }
    if wanted("ping") {
        quiet_figures();
    }
}

/// One gateway between a generator and a sink.
fn street_figures() {
    let street = Street::new();
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        for mix in Mix::ALL {
            for sealed in [Sealed::No, Sealed::Yes] {
                let lap = street.run(mix, sealed);
                let name = |what: &str| format!("street/{}/{what}", mix.name());
                let system = sealed.name();
                rounds.add(name(system), lap.packets_per_second / 1e6);
                rounds.add(name(&format!("{system}, per CPU second")), lap.packets_per_cpu_second / 1e6);
                rounds.add(name(&format!("{system}, user")), lap.user_ns);
                rounds.add(name(&format!("{system}, busy")), 100.0 * lap.busy);
            }
            rounds.add(format!("street/{}/loop", mix.name()), street::loop_ns(mix));
        }
    }
    println!(
        "one gateway from a generator to a sink, all AF_XDP; outbound only, median of {ROUNDS} rounds\n"
    );
    println!(
        "{:>6} {:>20} {:>26} {:>17} {:>22}",
        "", "Mpps", "Mpps per CPU second", "thread busy", "user ns per packet"
    );
    println!(
        "{:>6} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>6}",
        "",
        "plain",
        "sealed",
        "ratio",
        "plain",
        "sealed",
        "ratio",
        "plain",
        "sealed",
        "plain",
        "sealed",
        "loop",
        "beyond"
    );
    for mix in Mix::ALL {
        let name = |what: &str| format!("street/{}/{what}", mix.name());
        let of = |what: &str| rounds.median(&name(what));
        let [plain, sealed] = [of("plain"), of("sealed")];
        let [plain_cpu, sealed_cpu] = [of("plain, per CPU second"), of("sealed, per CPU second")];
        // The kernel samples what is user time, a hundred times a second: only all rounds together say something.
        let [plain_user, sealed_user] = ["plain, user", "sealed, user"].map(|what| rounds.mean(&name(what)));
        let beyond = sealed_user - of("loop");
        println!(
            "{:>6} {plain:>6.2} {sealed:>6.2} {:>5.0}% {plain_cpu:>8.2} {sealed_cpu:>8.2} {:>7.0}% {:>7.0}% {:>7.0}% {:>6.0} {:>6.0} {:>6.0} {beyond:>6.0}",
            mix.name(),
            100.0 * sealed / plain,
            100.0 * sealed_cpu / plain_cpu,
            of("plain, busy"),
            of("sealed, busy"),
            plain_user,
            sealed_user,
            of("loop"),
        );
        let against = [("plain forwarding through the same sockets", plain)];
        rounds.record(&name("sealed"), "Mpps", Some(GOAL_OF_PLAIN * plain), &against);
        let against = [("plain forwarding through the same sockets", plain_cpu)];
        rounds.record(&name("sealed, per CPU second"), "Mpps", Some(GOAL_OF_PLAIN * plain_cpu), &against);
        let against = [("the loop in memory", of("loop")), ("plain forwarding", plain_user)];
        rounds.record(&name("sealed, user"), "ns", None, &against);
        let figure = Figure {
            bench: "veth",
            figure: &name("user beyond loop"),
            unit: "ns",
            goal: None,
            against: &[("plain forwarding, all user time", plain_user)],
        };
        figure.record(&mut [beyond]);
    }
    println!();
}

/// Two gateways between two hosts.
fn site_figures() {
    let mut rounds = Rounds::default();
    let systems: Vec<System> = System::ALL.into_iter().filter(System::is_here).collect();
    for mtu in [1500, 3498] {
        let sites = Sites::new(mtu);
        for _ in 0..SITE_ROUNDS {
            for system in &systems {
                let _running = sites.start(*system);
                let (gigabits, retransmits) = sites.tcp();
                rounds.add(format!("TCP/{mtu}/{}", system.name()), gigabits);
                rounds.add(format!("TCP/{mtu}/{}, retransmits", system.name()), retransmits);
                if mtu == 1500 {
                    let datagrams = sites.udp();
                    rounds.add(format!("UDP 64 B/{}", system.name()), datagrams.carried / 1e3);
                    rounds.add(format!("UDP 64 B/{}, offered", system.name()), datagrams.offered / 1e3);
                    rounds.add(format!("UDP 64 B/{}, read", system.name()), datagrams.read / 1e3);
                }
            }
        }
    }
    println!("two gateways between two hosts, iperf3 with one stream, median of {SITE_ROUNDS} rounds\n");
    println!("{:>14} {:>24} {:>24} {:>29}", "", "TCP, MTU 1500", "TCP, MTU 3498", "UDP, frames of 64 B, k/s");
    println!(
        "{:>14} {:>12} {:>11} {:>12} {:>11} {:>11} {:>8} {:>8}",
        "", "Gbit/s", "retransmits", "Gbit/s", "retransmits", "offered", "carried", "read"
    );
    for system in &systems {
        let of = |what: String| rounds.median(&what);
        let name = system.name();
        println!(
            "{name:>14} {:>12.2} {:>11.0} {:>12.2} {:>11.0} {:>11.0} {:>8.0} {:>8.0}",
            of(format!("TCP/1500/{name}")),
            of(format!("TCP/1500/{name}, retransmits")),
            of(format!("TCP/3498/{name}")),
            of(format!("TCP/3498/{name}, retransmits")),
            of(format!("UDP 64 B/{name}, offered")),
            of(format!("UDP 64 B/{name}")),
            of(format!("UDP 64 B/{name}, read")),
        );
    }
    for (what, unit, deployed, goal) in [
        (
            "TCP/1500",
            "Gbit/s",
            Some(("deployed Vita, another machine", DEPLOYED_TCP)),
            Some(1.5 * DEPLOYED_TCP),
        ),
        ("TCP/3498", "Gbit/s", None, None),
        (
            "UDP 64 B",
            "kpps",
            Some(("deployed Vita, another machine", DEPLOYED_UDP)),
            Some(1.6 * DEPLOYED_UDP),
        ),
    ] {
        let others: Vec<(&str, f64)> = systems
            .iter()
            .filter(|system| **system != System::Vita)
            .map(|system| (system.name(), rounds.median(&format!("{what}/{}", system.name()))))
            .chain(deployed)
            .collect();
        rounds.record(&format!("{what}/vita"), unit, goal, &others);
    }
    for what in ["offered", "read"] {
        rounds.record(&format!("UDP 64 B/vita, {what}"), "kpps", None, &[]);
    }
    println!();
}

/// What a gateway costs that has nothing to do, and what two of them add to a ping.
fn quiet_figures() {
    let sites = Sites::new(1500);
    let mut rounds = Rounds::default();
    let systems = [System::Kernel, System::Plain, System::Vita, System::VitaBusy];
    for _ in 0..SITE_ROUNDS {
        for system in systems {
            let running = sites.start(system);
            if system == System::Vita {
                rounds.add("idle/gateway".to_string(), 100.0 * running.idle(IDLE));
            }
            let mut times = sites.ping();
            times.sort_by(f64::total_cmp);
            let quantile = |part: f64| times[(part * (times.len() - 1) as f64) as usize];
            rounds.add(format!("ping/{}/median", system.name()), 1e3 * quantile(0.5));
            rounds.add(format!("ping/{}/p99", system.name()), 1e3 * quantile(0.99));
        }
    }
    println!("ping through two gateways, round trip, median of {SITE_ROUNDS} rounds\n");
    println!("{:>14} {:>12} {:>12}", "", "median us", "p99 us");
    let kernel = [("median", "kernel"), ("p99", "kernel")]
        .map(|(what, system)| rounds.median(&format!("ping/{system}/{what}")));
    for system in systems {
        let [median, p99] = ["median", "p99"].map(|what| format!("ping/{}/{what}", system.name()));
        println!("{:>14} {:>12.0} {:>12.0}", system.name(), rounds.median(&median), rounds.median(&p99));
        rounds.record(&median, "us", None, &[("kernel forwarding", kernel[0])]);
        rounds.record(&p99, "us", None, &[("kernel forwarding", kernel[1])]);
    }
    println!("\nan idle gateway takes {:.2} % of a CPU", rounds.median("idle/gateway"));
    rounds.record("idle/gateway", "%", Some(1.0), &[]);
}

/// What each figure was in each round.
#[derive(Default)]
struct Rounds(BTreeMap<String, Vec<f64>>);

impl Rounds {
    fn add(&mut self, figure: String, value: f64) {
        self.0.entry(figure).or_default().push(value);
    }

    /// Zero for what was not measured.
    fn median(&self, figure: &str) -> f64 {
        let mut values = self.0.get(figure).cloned().unwrap_or_default();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    }

    fn mean(&self, figure: &str) -> f64 {
        let values = self.0.get(figure).map_or(&[][..], Vec::as_slice);
        values.iter().sum::<f64>() / values.len().max(1) as f64
    }

    fn record(&self, figure: &str, unit: &str, goal: Option<f64>, against: &[(&str, f64)]) {
        if let Some(values) = self.0.get(figure) {
            Figure { bench: "veth", figure, unit, goal, against }.record(&mut values.clone());
        }
    }
}

/// Other work on this machine is to disturb as little as can be: a session of its own, which the scheduler prefers to other
/// sessions (sched(7), autogroups). Among themselves the processes of the bench are as equal as ever. Leaving the
/// terminal's session means that Ctrl-C reaches cargo only; the death of cargo is ours.
fn take_precedence() {
    // SAFETY: no memory is involved.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setsid();
    }
    // Kernels without autogroups know no such file.
    let _ = std::fs::write("/proc/self/autogroup", "-19");
}

const ROUNDS: usize = 5;
const SITE_ROUNDS: usize = 3;
const IDLE: Duration = Duration::from_secs(2);
/// Sealing may cost this part of the packet rate of plain forwarding.
const GOAL_OF_PLAIN: f64 = 0.85;
/// The deployed implementation on this topology, two cores of Sapphire Rapids: Gbit/s of one TCP stream, thousand packets
/// a second.
const DEPLOYED_TCP: f64 = 1.65;
const DEPLOYED_UDP: f64 = 150.0;
