// SPDX-License-Identifier: Apache-2.0
//! What it costs to find a packet's route and association, to check it for replay, and to make and change the table of
//! prefixes. `figures` says how the figures are left behind for other programs.
//!
//! Lookups are timed as the gateway makes them: 64 in a row that do not wait for each other. "Warm" is a table whose entries
//! are in the cache as far as they fit, asked for a thousand addresses again and again; "cold" asks for addresses all over.

#[path = "figures/mod.rs"]
mod figures;

use figures::Figure;
use ipnet::IpNet;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;
use vita::esp::Window;
use vita::route::{PrefixTable, SpiTable};

fn main() {
    lookups();
    changes();
    associations();
    replay();
}

fn lookups() {
    let mut random = Random(1);
    for count in [1_000, 1_000_000] {
        let (four, six) = (prefixes4(count), prefixes6(count));
        let table = PrefixTable::build(numbered(four.iter().chain(&six).copied()));
        for (kind, few) in [("warm", WARM), ("cold", COLD)] {
            let addresses: Vec<Ipv4Addr> = (0..few)
                .map(|_| match four[random.below(count)] {
                    IpNet::V4(net) => net.network(),
                    IpNet::V6(_) => unreachable!("prefixes of IPv4"),
                })
                .collect();
            let goal = (kind == "warm").then_some(10.0);
            time(&format!("lookup/IPv4, {count} prefixes, {kind}"), goal, &addresses, |address| {
                table.lookup4(*address).map_or(0, u64::from)
            });
            let addresses: Vec<Ipv6Addr> = (0..few)
                .map(|_| match six[random.below(count)] {
                    IpNet::V6(net) => net.network(),
                    IpNet::V4(_) => unreachable!("prefixes of IPv6"),
                })
                .collect();
            time(&format!("lookup/IPv6, {count} prefixes, {kind}"), goal, &addresses, |address| {
                table.lookup6(*address).map_or(0, u64::from)
            });
        }
    }
}

fn changes() {
    for (family, prefixes) in [("IPv4", prefixes4(10_000)), ("IPv6", prefixes6(10_000))] {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                black_box(PrefixTable::build(numbered(prefixes.iter().copied())));
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        tell(&format!("build/{family}, 10000 prefixes"), "ms", Some(50.0), &mut rounds);
        // The table is immutable, and so quick to make that a change is a new one; lookups go on in the old one.
        tell(&format!("change/{family}, one of 10000 prefixes"), "ms", Some(1.0), &mut rounds);
    }
}

fn associations() {
    for count in [4, 1_000, 10_000] {
        let mut table = SpiTable::with_capacity(count as usize);
        for spi in 0..count {
            table.insert(256 + spi, Box::new(u64::from(spi))).expect("room for as many as asked for");
        }
        let mut random = Random(2);
        let spis: Vec<u32> = (0..WARM).map(|_| 256 + random.below(count as usize) as u32).collect();
        time(&format!("association/SPI, {count} associations"), Some(5.0), &spis, |spi| {
            u64::from(table.find(*spi).is_some())
        });
    }
}

fn replay() {
    let window = Window::default();
    let mut next = 0;
    let steps: Vec<u64> = (0..WARM as u64).collect();
    time("replay/check and accept, in order", None, &steps, |_| {
        next += 1;
        let fresh = window.infer(next as u32).is_some_and(|sequence| window.is_fresh(sequence));
        u64::from(fresh && window.accept(next))
    });
    let (window, mut base) = (Window::default(), 0);
    time("replay/check and accept, neighbours exchanged", None, &steps, |step| {
        base += 1;
        let number = if step % 2 == 0 { base + 1 } else { base - 1 };
        let fresh = window.infer(number as u32).is_some_and(|sequence| window.is_fresh(sequence));
        u64::from(fresh && window.accept(number))
    });
}

/// Nanoseconds for each of the items, round by round.
fn time<Item>(name: &str, goal: Option<f64>, items: &[Item], mut one: impl FnMut(&Item) -> u64) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let mut sum = 0;
            for item in items {
                sum ^= one(item);
            }
            black_box(sum);
            start.elapsed().as_nanos() as f64 / items.len() as f64
        })
        .collect();
    tell(name, "ns", goal, &mut rounds);
}

fn tell(name: &str, unit: &str, goal: Option<f64>, rounds: &mut [f64]) {
    let median = Figure { bench: "tables", figure: name, unit, goal, against: &[] }.record(rounds);
    let goal = goal.map_or(String::new(), |goal| format!("(goal: {goal})"));
    println!("{name:<50} {median:>8.2} {unit} {goal}");
}

/// As many prefixes of different lengths, 16 to 28, as routers see them: most are of 24 bits.
fn prefixes4(count: usize) -> Vec<IpNet> {
    let mut random = Random(3);
    (0..count)
        .map(|_| {
            let length = *random.one_of(&[16, 20, 22, 23, 24, 24, 24, 24, 24, 24, 24, 28]);
            let address = Ipv4Addr::from(0x0100_0000 + random.below(0xdf00_0000 - 0x0100_0000) as u32);
            IpNet::new(address.into(), length).expect("at most 32").trunc()
        })
        .collect()
}

/// Of 32 to 64 bits, most of 48.
fn prefixes6(count: usize) -> Vec<IpNet> {
    let mut random = Random(4);
    (0..count)
        .map(|_| {
            let length = *random.one_of(&[32, 40, 44, 48, 48, 48, 48, 56, 64]);
            let provider = 0x2001_0000 + random.below(4096) as u128;
            let address = Ipv6Addr::from(provider << 96 | (random.next() as u128) << 32);
            IpNet::new(address.into(), length).expect("at most 128").trunc()
        })
        .collect()
}

fn numbered(prefixes: impl Iterator<Item = IpNet>) -> impl Iterator<Item = (IpNet, u32)> {
    prefixes.zip(0..)
}

/// Numbers that are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const ROUNDS: usize = 51;
const WARM: usize = 1024;
const COLD: usize = 1 << 18;
