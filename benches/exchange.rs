// SPDX-License-Identifier: Apache-2.0
//! What keys cost: complete exchanges between two key managers on one core, and datagrams that are refused.
//!
//! Time is an argument of the key manager, so the bench jumps from one rekey to the next, and no budget of messages per
//! second is ever short, except where that is what is measured.

mod figures;

use figures::Figure;
use std::net::IpAddr;
use std::time::Duration;
use vita::clock::Instant;
use vita::exchange::{KeyManager, Output, Route, Settings, Share};
use vita::sa::PresharedKey;

fn main() {
    let mut pair = Pair::connected();
    let forgery = pair.forged_proposal();
    let stranger = pair.to_unknown_route();
    let mut exchanges = Vec::new();
    let mut refusals: [(&str, &[u8], Duration, Vec<f64>); 4] = [
        ("noise, not even the right length", &[0xa5; 40], Duration::from_secs(1), Vec::new()),
        ("a route that does not exist", &stranger, Duration::from_secs(1), Vec::new()),
        ("a forged proposal", &forgery, Duration::from_secs(1), Vec::new()),
        ("a forged proposal above the rate limit", &forgery, Duration::ZERO, Vec::new()),
    ];
    for _ in 0..ROUNDS {
        exchanges.push(pair.exchange_keys(EXCHANGES));
        for (_, datagram, pause, ns) in &mut refusals {
            ns.push(pair.refuse(datagram, *pause));
        }
    }
    println!("{:>44} {:>12}", "what", "median");
    let both =
        Figure { bench: "exchange", figure: "exchange, both ends", unit: "ns", goal: None, against: &[] };
    let ns = both.record(&mut exchanges);
    println!("{:>44} {:>9.1} us", "one exchange, both ends together", ns / 1e3);
    // Each end of an exchange has the same work: one key pair, one agreement.
    let mut rates: Vec<f64> = exchanges.iter().map(|ns| 2.0 * 1e9 / ns).collect();
    let rate = Figure {
        bench: "exchange",
        figure: "exchanges of one gateway",
        unit: "/s",
        goal: None,
        against: &[],
    };
    println!("{:>44} {:>10.0}/s", "exchanges of one gateway on one core", rate.record(&mut rates));
    for (what, _, _, mut ns) in refusals {
        let figure = Figure {
            bench: "exchange",
            figure: &format!("refused: {what}"),
            unit: "ns",
            goal: None,
            against: &[("a complete exchange, one end", exchanges[ROUNDS / 2] / 2.0)],
        };
        println!("{:>44} {:>9.0} ns", format!("refused: {what}"), figure.record(&mut ns));
    }
    println!("medians of {ROUNDS} rounds; one core");
}

/// Two gateways with one route between them.
struct Pair {
    now: Instant,
    managers: [KeyManager; 2],
    /// The last proposal on the wire, and who it was for.
    proposal: Option<(usize, Vec<u8>)>,
}

impl Pair {
    fn connected() -> Pair {
        let now = Instant::now();
        let managers = [0, 1].map(|side| {
            let settings = Settings {
                queue: 1,
                share: Share::WHOLE,
                extensions: false,
                own: ADDRESSES[side].into(),
                negotiation_ttl: Duration::from_secs(5),
                sa_ttl: SA_TTL,
            };
            let random = |bytes: &mut [u8]| getrandom::fill(bytes).expect("the kernel has random numbers");
            let mut manager = KeyManager::new(settings, Box::new(random));
            let route = Route {
                id: "far".into(),
                spi: ROUTE_SPI,
                preshared_key: PresharedKey::new([7; 32]),
                gateway: ADDRESSES[1 - side],
            };
            manager.configure(now, settings, vec![route]);
            manager
        });
        let mut pair = Pair { now, managers, proposal: None };
        pair.deliver();
        assert!(pair.negotiated() > 0, "the two ends agree on keys");
        pair
    }

    /// Carries datagrams until there are none.
    fn deliver(&mut self) {
        loop {
            let mut quiet = true;
            for side in [0, 1] {
                while let Some(output) = self.managers[side].poll() {
                    let Output::Send { payload, .. } = output else { continue };
                    if payload[4] == PROPOSAL {
                        self.proposal = Some((1 - side, payload.clone()));
                    }
                    self.managers[1 - side].handle(self.now, ADDRESSES[side], &payload);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Key pairs negotiated, both ends counted.
    fn negotiated(&self) -> u64 {
        self.managers.iter().map(|manager| manager.counters().keypairs_negotiated).sum()
    }

    /// Nanoseconds for each of at least so many exchanges, both ends and all that SAs need in their lives included.
    fn exchange_keys(&mut self, count: u64) -> f64 {
        let before = self.negotiated();
        let start = Instant::now();
        while self.negotiated() - before < 2 * count {
            let deadlines = self.managers.iter().filter_map(KeyManager::deadline);
            self.now = deadlines.min().expect("SAs expire").max(self.now);
            for manager in &mut self.managers {
                manager.timeout(self.now);
            }
            self.deliver();
        }
        start.elapsed().as_nanos() as f64 * 2.0 / (self.negotiated() - before) as f64
    }

    /// Nanoseconds for each of many datagrams that lead to nothing. Between bursts that are within the budget of a
    /// second, so much time passes.
    fn refuse(&mut self, datagram: &[u8], pause: Duration) -> f64 {
        let (manager, source) = (&mut self.managers[0], ADDRESSES[1]);
        let rejected = |manager: &KeyManager| manager.counters().rxerrors;
        let before = rejected(manager);
        // Once before the clock runs, so that a budget that is to be used up is.
        let mut spent = Duration::ZERO;
        for burst in 0..BURSTS {
            let start = Instant::now();
            for _ in 0..BURST {
                manager.handle(self.now, source, datagram);
                while manager.poll().is_some() {}
            }
            if burst >= WARM_UP {
                spent += start.elapsed();
            }
            self.now += pause;
            manager.timeout(self.now);
            while manager.poll().is_some() {}
        }
        assert_eq!(rejected(manager) - before, u64::from(BURSTS * BURST), "every one is refused and counted");
        // Both ends have let that much time pass.
        self.managers[1].timeout(self.now);
        self.deliver();
        spent.as_nanos() as f64 / f64::from((BURSTS - WARM_UP) * BURST)
    }

    fn forged_proposal(&self) -> Vec<u8> {
        let (_, mut proposal) = self.proposal.clone().expect("there was an exchange");
        proposal[20] ^= 1;
        proposal
    }

    fn to_unknown_route(&self) -> Vec<u8> {
        let (_, mut proposal) = self.proposal.clone().expect("there was an exchange");
        proposal[..4].copy_from_slice(&(ROUTE_SPI + 1).to_be_bytes());
        proposal
    }
}

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 2)),
    IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 5)),
];
const ROUTE_SPI: u32 = 1234;
const SA_TTL: Duration = Duration::from_secs(600);
/// The message type of a proposal on the wire.
const PROPOSAL: u8 = 13;
const ROUNDS: usize = 9;
const EXCHANGES: u64 = 200;
const BURSTS: u32 = 160;
/// Bursts before the clock runs. They use up the budgets of one second for proposals that fail: that of the route, and the
/// checks that the queue has to spare.
const WARM_UP: u32 = 110;
/// Within what a key manager processes in one second.
const BURST: u32 = 50;
