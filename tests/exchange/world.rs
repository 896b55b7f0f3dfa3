// SPDX-License-Identifier: Apache-2.0
//! Two ends of a tunnel, a network with all its faults between them, and a stranger. In virtual time, and the same for
//! the same seed.
//!
//! Hosts send packets through the tunnel. Each is sealed with the outbound SA that its sender has at that moment, and is
//! accepted or refused when it arrives. What must hold is that traffic flows: once both ends have keys, no packet is
//! refused, and none finds no SA to be sealed with.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use vita::clock::Instant;
use vita::exchange::{Counters, KeyManager, Output, Random, Settings, Share};
use vita::sa::SaParameters;

use super::deployed::Deployed;
use super::pair::*;

/// What the history is about.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Whether side B is a deployed gateway.
    pub is_deployed: bool,
    pub negotiation_ttl: Duration,
    pub sa_ttl: Duration,
    pub round_trip: Duration,
    /// Added to each way at random: messages overtake each other.
    pub jitter: Duration,
    /// Percent of the datagrams of the exchange that are lost, and of the packets.
    pub loss: [u8; 2],
    /// Percent of both that arrive twice.
    pub twice: u8,
    /// From one packet of a side to its next.
    pub traffic: [Option<Duration>; 2],
    pub stranger: Option<Stranger>,
}

#[derive(Clone, Debug)]
pub struct Stranger {
    pub messages_per_second: u32,
    pub source: Source,
    /// The sides that get its messages.
    pub victims: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Own,
    /// That of the peer.
    Spoofed,
}

pub enum End {
    Ours(Box<Ours>),
    Deployed(Box<Deployed>),
}

pub struct Ours {
    manager: KeyManager,
    inbound: HashMap<u32, (SaParameters, bool)>,
    outbound: Option<SaParameters>,
}

enum What {
    Datagram { to: usize, source: IpAddr, payload: Vec<u8> },
    Packet { to: usize, sa: SaParameters, sealed: Instant },
    Host(usize),
    Stranger,
}

pub struct World {
    pub plan: Plan,
    pub now: Instant,
    pub ends: [End; 2],
    random: Box<dyn Random + Send>,
    agenda: BTreeMap<(Instant, u64), What>,
    serial: u64,
    /// What the stranger has seen on the wire.
    recorded: Vec<Vec<u8>>,
    /// When packets that a side sent did not get through: refused at the other end, by the time they were sealed, or
    /// without an SA. Those that the network has lost are not counted.
    pub failed: [Vec<Instant>; 2],
    pub arrived: [u64; 2],
    /// Since when both sides have had keys.
    pub up: Option<Instant>,
    /// Datagrams of ours that had something else than zero in their header.
    pub with_header: u64,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let start = Instant::now();
        let mut world = World {
            now: start,
            ends: [A, B].map(|side| end(&plan, side, start, plan.seed)),
            random: random(plan.seed ^ 0x5eed),
            agenda: BTreeMap::new(),
            serial: 0,
            recorded: Vec::new(),
            failed: [Vec::new(), Vec::new()],
            arrived: [0; 2],
            up: None,
            with_header: 0,
            plan,
        };
        for side in [A, B] {
            if world.plan.traffic[side].is_some() {
                world.at(start, What::Host(side));
            }
            world.configure(side);
        }
        if world.plan.stranger.is_some() {
            world.at(start, What::Stranger);
        }
        world
    }

    /// A stranger comes.
    pub fn begin(&mut self, stranger: Stranger) {
        self.plan.stranger = Some(stranger);
        self.at(self.now, What::Stranger);
    }

    /// One end forgets all it had.
    pub fn restart(&mut self, side: usize) {
        let seed = self.dice() as u64;
        self.ends[side] = end(&self.plan, side, self.now, seed);
        self.configure(side);
    }

    pub fn counters(&self, side: usize) -> Counters {
        match &self.ends[side] {
            End::Ours(ours) => ours.manager.counters(),
            End::Deployed(_) => Counters::default(),
        }
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let deadline = |one: &End| match one {
                End::Ours(ours) => ours.manager.deadline(),
                End::Deployed(deployed) => Some(deployed.deadline()),
            };
            let deadlines = self.ends.iter().filter_map(deadline);
            let event = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = deadlines.chain(event).min().filter(|&next| next <= end) else { break };
            self.now = next.max(self.now);
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let what = entry.remove();
                self.happen(what);
            }
            for side in [A, B] {
                let now = self.now;
                match &mut self.ends[side] {
                    End::Ours(ours) => ours.manager.timeout(now),
                    End::Deployed(deployed) => deployed.timeout(now),
                }
                self.perform(side);
            }
        }
        self.now = end;
    }

    /// The longest time for which packets of a side did not get through.
    pub fn longest_outage(&self, side: usize) -> Duration {
        let Some(pause) = self.plan.traffic[side] else { return Duration::ZERO };
        let mut longest = Duration::ZERO;
        let mut first: Option<(Instant, Instant)> = None;
        let mut failed = self.failed[side].clone();
        failed.sort();
        for at in failed {
            let begin = match first {
                Some((begin, last)) if at - last <= pause * 3 / 2 => begin,
                _ => at,
            };
            longest = longest.max(at - begin + pause);
            first = Some((begin, at));
        }
        longest
    }

    fn happen(&mut self, what: What) {
        let now = self.now;
        match what {
            What::Datagram { to, source, payload } => {
                match &mut self.ends[to] {
                    End::Ours(ours) => ours.manager.handle(now, source, &payload),
                    End::Deployed(deployed) => deployed.handle(now, &payload),
                }
                self.perform(to);
            }
            What::Packet { to, sa, sealed } => self.packet(to, &sa, sealed),
            What::Host(side) => {
                if let Some(pause) = self.plan.traffic[side] {
                    self.at(now + pause, What::Host(side));
                }
                self.seal(side);
            }
            What::Stranger => self.stranger(),
        }
    }

    fn packet(&mut self, to: usize, sa: &SaParameters, sealed: Instant) {
        let now = self.now;
        let is_accepted = match &mut self.ends[to] {
            End::Ours(ours) => match ours.inbound.get_mut(&sa.spi) {
                Some((inbound, is_reported)) if inbound == sa => {
                    if !std::mem::replace(is_reported, true) {
                        ours.manager.authenticated(now, sa.spi);
                    }
                    true
                }
                _ => false,
            },
            End::Deployed(deployed) => deployed.accepts(sa),
        };
        self.perform(to);
        if is_accepted {
            self.arrived[1 - to] += 1;
        } else {
            self.failed[1 - to].push(sealed);
        }
    }

    /// A packet of a host, or a dummy packet.
    fn seal(&mut self, side: usize) {
        let sa = match &self.ends[side] {
            End::Ours(ours) => ours.outbound.clone(),
            End::Deployed(deployed) => deployed.outbound().cloned(),
        };
        let Some(sa) = sa else {
            if self.up.is_some() {
                self.failed[side].push(self.now);
            }
            return;
        };
        for _ in 0..self.copies(self.plan.loss[1]) {
            let at = self.now + self.delay();
            self.at(at, What::Packet { to: 1 - side, sa: sa.clone(), sealed: self.now });
        }
    }

    fn configure(&mut self, side: usize) {
        let now = self.now;
        if let End::Ours(ours) = &mut self.ends[side] {
            let settings = *ours.manager.settings();
            let route = route("net", ROUTE_SPI, 7, address(1 - side));
            ours.manager.configure(now, settings, vec![route]);
        }
        self.perform(side);
    }

    fn perform(&mut self, side: usize) {
        let mut sent = Vec::new();
        let mut dummies = 0;
        match &mut self.ends[side] {
            End::Ours(ours) => {
                while let Some(output) = ours.manager.poll() {
                    match output {
                        Output::Send { payload, .. } => {
                            self.with_header += u64::from(payload[5..8] != [0; 3]);
                            sent.push(payload);
                        }
                        Output::InstallInbound { sa, .. } => {
                            assert!(ours.inbound.insert(sa.spi, (sa, false)).is_none());
                        }
                        Output::RemoveInbound { spi, .. } => {
                            ours.inbound.remove(&spi);
                        }
                        Output::ActivateOutbound { sa, .. } => ours.outbound = Some(sa),
                        Output::RemoveOutbound { .. } => ours.outbound = None,
                        Output::SendDummy { .. } => dummies += 1,
                        Output::Log(_) => {}
                    }
                }
            }
            End::Deployed(deployed) => sent.append(&mut deployed.sent),
        }
        for _ in 0..dummies {
            assert!(!self.plan.is_deployed, "a deployed peer gets no dummy packets");
            self.seal(side);
        }
        for payload in sent {
            if self.recorded.len() < 10_000 {
                self.recorded.push(payload.clone());
            }
            for _ in 0..self.copies(self.plan.loss[0]) {
                let at = self.now + self.delay();
                self.at(at, What::Datagram { to: 1 - side, source: address(side), payload: payload.clone() });
            }
        }
        if self.up.is_none() {
            let is_up = |end: &End| match end {
                End::Ours(ours) => ours.outbound.is_some() && !ours.inbound.is_empty(),
                End::Deployed(deployed) => deployed.outbound().is_some(),
            };
            if self.ends.iter().all(is_up) {
                self.up = Some(self.now);
                self.failed = [Vec::new(), Vec::new()];
            }
        }
    }

    fn stranger(&mut self) {
        let Some(stranger) = self.plan.stranger.clone() else { return };
        let pause = Duration::from_secs(1) / stranger.messages_per_second;
        self.at(self.now + pause, What::Stranger);
        let to = stranger.victims[self.dice() as usize % stranger.victims.len()];
        let payload = self.forged();
        let source = match stranger.source {
            Source::Own => "198.51.100.66".parse().unwrap(),
            Source::Spoofed => address(1 - to),
        };
        self.happen(What::Datagram { to, source, payload });
    }

    /// Any of the four kinds: made up, or one that was sent, as it was, with a bit turned, or with another header.
    fn forged(&mut self) -> Vec<u8> {
        let how = self.dice();
        // What was just sent is not replayed: that is what duplicates are for.
        let old = self.recorded.len().saturating_sub(8);
        if how.is_multiple_of(4) || old == 0 {
            let kind = [KNOCK, CHALLENGE, PROPOSAL, AGREEMENT][how as usize / 4 % 4];
            let mut message = match kind {
                KNOCK => 5_u32.to_be_bytes().to_vec(),
                CHALLENGE => {
                    let mut challenge = [&5_u32.to_be_bytes()[..], b"aes-gcm-16-icv"].concat();
                    challenge.resize(68, 0);
                    self.random.fill(&mut challenge[36..]);
                    challenge
                }
                _ => {
                    let mut message = vec![0; 80];
                    self.random.fill(&mut message);
                    message
                }
            };
            let mut payload = [&ROUTE_SPI.to_be_bytes()[..], &[kind, 0, 0, 0]].concat();
            if how & 64 != 0 {
                self.random.fill(&mut payload[5..]);
            }
            payload.append(&mut message);
            return payload;
        }
        let chosen = self.dice() as usize % old;
        let mut payload = self.recorded[chosen].clone();
        match how % 4 {
            1 => {}
            2 => {
                let bit = self.dice() as usize % ((payload.len() - 8) * 8);
                payload[8 + bit / 8] ^= 1 << (bit % 8);
            }
            _ => self.random.fill(&mut payload[5..8]),
        }
        payload
    }

    fn copies(&mut self, loss: u8) -> usize {
        match self.dice() % 100 {
            lost if lost < u32::from(loss) => 0,
            twice if twice < u32::from(loss + self.plan.twice) => 2,
            _ => 1,
        }
    }

    fn delay(&mut self) -> Duration {
        let jitter = self.plan.jitter.as_micros() as u32;
        let added = if jitter == 0 { 0 } else { self.dice() % jitter };
        self.plan.round_trip / 2 + Duration::from_micros(added.into())
    }

    fn dice(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    fn at(&mut self, at: Instant, what: What) {
        self.serial += 1;
        self.agenda.insert((at, self.serial), what);
    }
}

fn end(plan: &Plan, side: usize, now: Instant, seed: u64) -> End {
    let random = random(seed.wrapping_mul(2).wrapping_add(side as u64));
    let ttls = [plan.negotiation_ttl, plan.sa_ttl];
    if side == B && plan.is_deployed {
        return End::Deployed(Box::new(Deployed::new(now, address(B), address(A), ttls, random)));
    }
    let settings = Settings {
        queue: 1,
        share: Share::WHOLE,
        extensions: true,
        own: address(side).into(),
        negotiation_ttl: plan.negotiation_ttl,
        sa_ttl: plan.sa_ttl,
    };
    let manager = KeyManager::new(settings, random);
    End::Ours(Box::new(Ours { manager, inbound: HashMap::new(), outbound: None }))
}

fn address(side: usize) -> IpAddr {
    ["203.0.113.2", "203.0.113.5"][side].parse().unwrap()
}
