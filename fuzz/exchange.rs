// SPDX-License-Identifier: Apache-2.0
//! Two key managers that live, a network that does what the input says, and a stranger who injects what the input says.
//!
//! Whatever happens, no SA is installed twice or removed that is not there, time goes on, a capable peer uses only keys
//! that the other side has, and when network and stranger leave them alone, traffic flows again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use vita::clock::Instant;
use vita::exchange::{KeyManager, Output, Route, Settings, Share};
use vita::sa::{PresharedKey, SaParameters};

pub fn exchange(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let mut world = World::new(flags);
    for _ in 0..MAX_STEPS {
        if input.0.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.recover();
}

/// Zeros where there is nothing left.
struct Input<'a>(&'a [u8]);

struct World {
    now: Instant,
    flags: u8,
    seed: u64,
    ends: [End; 2],
    in_flight: Vec<(usize, IpAddr, Vec<u8>)>,
    recorded: Vec<Vec<u8>>,
    /// Keys that a side has had for packets it receives.
    known: [BTreeSet<(u32, Vec<u8>)>; 2],
}

struct End {
    manager: KeyManager,
    inbound: BTreeMap<u32, SaParameters>,
    outbound: Option<SaParameters>,
}

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

impl World {
    fn new(flags: u8) -> World {
        let mut world = World {
            now: Instant::now(),
            flags,
            seed: 2,
            ends: [end(flags, 0, 0), end(flags, 1, 1)],
            in_flight: Vec::new(),
            recorded: Vec::new(),
            known: Default::default(),
        };
        for side in [0, 1] {
            world.configure(side, flags);
        }
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (what, detail) = (input.byte(), input.byte());
        let side = usize::from(what >> 7);
        match what % 12 {
            0..=2 if !self.in_flight.is_empty() => {
                let chosen = usize::from(detail) % self.in_flight.len();
                self.deliver(if what % 12 == 0 { 0 } else { chosen });
            }
            3 if !self.in_flight.is_empty() => {
                self.in_flight.remove(usize::from(detail) % self.in_flight.len());
            }
            4 if !self.in_flight.is_empty() && self.in_flight.len() < MAX_STEPS => {
                let chosen = usize::from(detail) % self.in_flight.len();
                self.in_flight.push(self.in_flight[chosen].clone());
            }
            5 | 6 => {
                let unit = [1, 50, 500, 10_000][usize::from(what >> 5 & 3)];
                self.advance(Duration::from_millis(unit * u64::from(detail)));
            }
            7 => self.packet(side),
            8 if !self.recorded.is_empty() => {
                let mut payload = self.recorded[usize::from(detail) % self.recorded.len()].clone();
                for _ in 0..what >> 4 & 3 {
                    let at = usize::from(input.byte()) % payload.len();
                    payload[at] ^= input.byte();
                }
                self.inject(side, what, &payload);
            }
            9 => {
                let kind = 11 + detail % 4;
                let length = [4, 68, 80, 80][usize::from(detail % 4)];
                let length = if detail >= 0xf0 { usize::from(input.byte()) } else { length };
                let mut payload = ROUTE.to_be_bytes().to_vec();
                payload.push(kind);
                payload.extend(input.bytes(3 + length));
                self.inject(side, what, &payload);
            }
            10 if detail == 0 => {
                self.seed += 1;
                self.ends[side] = end(self.flags, side, self.seed);
                self.configure(side, self.flags);
            }
            11 => self.configure(side, self.flags ^ detail & 0x0c),
            _ => {}
        }
    }

    /// Both are left alone.
    fn recover(&mut self) {
        for side in [0, 1] {
            self.configure(side, self.flags);
        }
        let end = self.now + Duration::from_secs(300);
        let mut steps = 0;
        while self.now < end {
            while !self.in_flight.is_empty() {
                self.deliver(0);
                steps += 1;
                assert!(steps < 100_000, "they never stop talking");
            }
            self.advance(Duration::from_millis(250));
            self.packet(0);
            self.packet(1);
        }
        while !self.in_flight.is_empty() {
            self.deliver(0);
        }
        for side in [0, 1] {
            let sa = self.ends[side].outbound.as_ref().expect("there are keys");
            assert_eq!(self.ends[1 - side].inbound.get(&sa.spi), Some(sa), "traffic flows from side {side}");
        }
    }

    fn configure(&mut self, side: usize, flags: u8) {
        let route = Route {
            id: "net".into(),
            spi: ROUTE,
            preshared_key: PresharedKey::new([7; 32]),
            gateway: address(1 - side),
        };
        self.ends[side].manager.configure(self.now, settings(flags, side), vec![route]);
        self.perform(side);
    }

    fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut at_this_instant = 0;
        loop {
            let deadline = |side: usize| self.ends[side].manager.deadline().map(|at| (at, side));
            let next = [deadline(0), deadline(1)].into_iter().flatten().min();
            let Some((at, side)) = next.filter(|(at, _)| *at <= end) else { break };
            at_this_instant = if at <= self.now { at_this_instant + 1 } else { 0 };
            assert!(at_this_instant < 100, "time stands still");
            self.now = self.now.max(at);
            self.ends[side].manager.timeout(self.now);
            self.perform(side);
        }
        self.now = end;
    }

    fn inject(&mut self, side: usize, how: u8, payload: &[u8]) {
        let source = if how & 0x40 == 0 { address(1 - side) } else { Ipv4Addr::new(198, 51, 100, 66).into() };
        self.ends[side].manager.handle(self.now, source, payload);
        self.perform(side);
    }

    fn deliver(&mut self, chosen: usize) {
        let (to, source, payload) = self.in_flight.remove(chosen);
        self.ends[to].manager.handle(self.now, source, &payload);
        self.perform(to);
    }

    /// Sealed by one side and received by the other at once.
    fn packet(&mut self, from: usize) {
        let Some(sa) = self.ends[from].outbound.clone() else { return };
        let to = &mut self.ends[1 - from];
        if to.inbound.get(&sa.spi) == Some(&sa) {
            to.manager.authenticated(self.now, sa.spi);
            self.perform(1 - from);
        }
    }

    fn perform(&mut self, side: usize) {
        let mut dummies = 0;
        let both_offer = self.flags & 3 == 3;
        let end = &mut self.ends[side];
        while let Some(output) = end.manager.poll() {
            match output {
                Output::Send { to, payload } => {
                    assert_eq!(to, address(1 - side));
                    if self.recorded.len() < MAX_STEPS {
                        self.recorded.push(payload.clone());
                    }
                    self.in_flight.push((1 - side, address(side), payload));
                }
                Output::InstallInbound { sa, .. } => {
                    assert!(sa.spi >= 256);
                    self.known[side].insert((sa.spi, sa.key.bytes().to_vec()));
                    assert!(end.inbound.insert(sa.spi, sa).is_none(), "two live SAs share an SPI");
                }
                Output::RemoveInbound { spi, .. } => assert!(end.inbound.remove(&spi).is_some()),
                Output::ActivateOutbound { sa, .. } => {
                    let is_known = self.known[1 - side].contains(&(sa.spi, sa.key.bytes().to_vec()));
                    assert!(is_known || !both_offer, "a key that the peer does not have");
                    end.outbound = Some(sa);
                }
                Output::RemoveOutbound { .. } => assert!(end.outbound.take().is_some()),
                Output::SendDummy { .. } => {
                    assert!(end.outbound.is_some() && both_offer);
                    dummies += 1;
                }
                Output::Log(_) => {}
            }
        }
        assert!(end.inbound.len() <= 4);
        for _ in 0..dummies {
            self.packet(side);
        }
    }
}

fn end(flags: u8, side: usize, seed: u64) -> End {
    let mut state = seed;
    let random = move |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
    };
    let manager = KeyManager::new(settings(flags, side), Box::new(random));
    End { manager, inbound: BTreeMap::new(), outbound: None }
}

fn settings(flags: u8, side: usize) -> Settings {
    let negotiation_ttl = [5, 1, 2, 5][usize::from(flags >> 2 & 3)];
    Settings {
        queue: 1,
        share: Share::WHOLE,
        extensions: flags >> side & 1 != 0,
        own: address(side).into(),
        negotiation_ttl: Duration::from_secs(negotiation_ttl),
        sa_ttl: Duration::from_secs(60),
    }
}

fn address(side: usize) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, side as u8 + 1).into()
}

const ROUTE: u32 = 1234;
const MAX_STEPS: usize = 300;
