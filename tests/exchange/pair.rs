// SPDX-License-Identifier: Apache-2.0
//! Two gateways, a wire between them, and a clock that jumps from one deadline to the next.
//!
//! The wire carries the datagrams of the exchange, and packets: each is sealed with the active outbound SA of its sender
//! and arrives, if it is not lost, where it is accepted or not. The first that is accepted under an SA is reported to the
//! key manager, as the worker does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use vita::clock::Instant;
use vita::sa::{PresharedKey, SaParameters};

use vita::exchange::{Counters, Event, KeyManager, Output, Random, Rejection, Route, Settings, Share};

pub const A: usize = 0;
pub const B: usize = 1;
pub const LATENCY: Duration = Duration::from_millis(20);
pub const NEGOTIATION_TTL: u64 = 5;
pub const SA_TTL: u64 = 600;
pub const ROUTE_SPI: u32 = 1234;

pub const KNOCK: u8 = 11;
pub const CHALLENGE: u8 = 12;
pub const PROPOSAL: u8 = 13;
pub const AGREEMENT: u8 = 14;

/// What the wire does with a datagram.
pub enum Fate {
    Deliver,
    Lose,
    Twice,
    After(Duration),
}

#[derive(Clone, Debug)]
pub struct Datagram {
    pub at: Instant,
    pub source: IpAddr,
    pub to: IpAddr,
    pub payload: Vec<u8>,
}

impl Datagram {
    pub fn kind(&self) -> u8 {
        self.payload[4]
    }
}

/// A gateway: its key manager, and what its data plane would hold.
pub struct Gateway {
    pub address: IpAddr,
    pub manager: KeyManager,
    pub settings: Settings,
    pub inbound: BTreeMap<u32, SaParameters>,
    pub outbound: BTreeMap<String, SaParameters>,
    pub events: Vec<Event>,
    /// Every activation, with its time.
    pub activations: Vec<Instant>,
    /// Inbound SAs under which a packet has been accepted.
    pub confirmed: BTreeSet<u32>,
    /// Packets accepted.
    pub accepted: u64,
    /// When packets arrived for which there was no SA.
    pub refused: Vec<Instant>,
    /// Dummy packets sent.
    pub dummies: u64,
}

/// A sealed packet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub at: Instant,
    pub from: usize,
    pub sa: SaParameters,
}

type Wire = Box<dyn FnMut(&Datagram) -> Fate>;
type Path = Box<dyn FnMut(&Packet) -> Fate>;

pub struct Pair {
    pub start: Instant,
    pub now: Instant,
    pub gateways: [Gateway; 2],
    pub wire: Wire,
    /// What becomes of packets.
    pub path: Path,
    /// From one gateway to the other.
    pub latency: Duration,
    /// From one packet of a side to its next, where it sends any.
    pub traffic: [Option<Duration>; 2],
    next_packet: [Instant; 2],
    pub in_flight: Vec<Datagram>,
    pub packets: Vec<Packet>,
    /// All datagrams ever sent.
    pub sent: Vec<Datagram>,
    /// Once set, traffic has to flow at every instant.
    pub traffic_flows: bool,
}

impl Pair {
    /// Two gateways without routes.
    pub fn new() -> Self {
        Pair::with_addresses(["203.0.113.2", "203.0.113.5"])
    }

    pub fn with_addresses(addresses: [&str; 2]) -> Self {
        let start = Instant::now();
        let gateway = |side: usize| Gateway::new(addresses[side].parse().unwrap(), side as u64);
        Pair {
            start,
            now: start,
            gateways: [gateway(A), gateway(B)],
            wire: Box::new(|_| Fate::Deliver),
            path: Box::new(|_| Fate::Deliver),
            latency: LATENCY,
            traffic: [None; 2],
            next_packet: [start; 2],
            in_flight: Vec::new(),
            packets: Vec::new(),
            sent: Vec::new(),
            traffic_flows: false,
        }
    }

    /// Two gateways that do not offer the extensions.
    pub fn without_extensions() -> Self {
        let mut pair = Pair::new();
        for gateway in &mut pair.gateways {
            gateway.settings.extensions = false;
        }
        pair
    }

    /// Two gateways that have exchanged keys for their one route.
    pub fn connected() -> Self {
        let mut pair = Pair::new();
        pair.connect();
        pair
    }

    pub fn connect(&mut self) {
        let pair = self;
        pair.configure_both();
        pair.run_for(1);
        pair.assert_traffic_flows();
    }

    pub fn configure_both(&mut self) {
        self.configure(A, vec![self.route(A)]);
        self.configure(B, vec![self.route(B)]);
    }

    pub fn route(&self, side: usize) -> Route {
        route("net", ROUTE_SPI, 7, self.gateways[1 - side].address)
    }

    pub fn configure(&mut self, side: usize, routes: Vec<Route>) {
        let gateway = &mut self.gateways[side];
        gateway.manager.configure(self.now, gateway.settings, routes);
        self.perform(side);
    }

    pub fn change(&mut self, side: usize, gone: &[u32], routes: Vec<Route>) {
        self.gateways[side].manager.change(self.now, gone, routes);
        self.perform(side);
    }

    /// The gateway starts anew and knows nothing of what was.
    pub fn restart(&mut self, side: usize, seed: u64) {
        let settings = self.gateways[side].settings;
        self.gateways[side] = Gateway::new(self.gateways[side].address, seed);
        self.gateways[side].settings = settings;
        let route = self.route(side);
        self.configure(side, vec![route]);
    }

    pub fn inject(&mut self, side: usize, source: IpAddr, payload: &[u8]) {
        self.gateways[side].manager.handle(self.now, source, payload);
        self.perform(side);
    }

    pub fn run_for(&mut self, seconds: u64) {
        self.run_until(self.now + Duration::from_secs(seconds));
    }

    pub fn run_until(&mut self, end: Instant) {
        let mut steps_at_this_instant = 0;
        while let Some(next) = self.next_event().filter(|&next| next <= end) {
            assert!(next >= self.now);
            steps_at_this_instant = if next == self.now { steps_at_this_instant + 1 } else { 0 };
            assert!(steps_at_this_instant < 1_000, "time stands still");
            self.now = next;
            self.step();
        }
        self.now = end;
    }

    pub fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    pub fn counters(&self, side: usize) -> Counters {
        self.gateways[side].manager.counters()
    }

    /// Each side's outbound SA is, by SPI and key, one of the inbound SAs of the other side.
    pub fn assert_traffic_flows(&self) {
        for side in [A, B] {
            let seconds = (self.now - self.start).as_secs_f64();
            let peer = &self.gateways[1 - side];
            assert!(!self.gateways[side].outbound.is_empty(), "side {side} cannot send at {seconds} s");
            for sa in self.gateways[side].outbound.values() {
                assert_eq!(peer.inbound.get(&sa.spi), Some(sa), "from side {side} at {seconds} s");
            }
        }
    }

    /// The last datagram of a kind that a side has sent.
    pub fn last(&self, side: usize, kind: u8) -> Datagram {
        let source = self.gateways[side].address;
        self.sent
            .iter()
            .rfind(|datagram| datagram.source == source && datagram.kind() == kind)
            .expect("such a datagram was sent")
            .clone()
    }

    fn next_event(&self) -> Option<Instant> {
        let deadlines = self.gateways.iter().filter_map(|gateway| gateway.manager.deadline());
        let packets = self.packets.iter().map(|packet| packet.at);
        let sides = [A, B].into_iter();
        let traffic =
            sides.filter_map(|side| self.traffic[side].map(|_| self.next_packet[side].max(self.now)));
        deadlines.chain(self.in_flight.iter().map(|datagram| datagram.at)).chain(packets).chain(traffic).min()
    }

    fn step(&mut self) {
        let now = self.now;
        let mut arrived: Vec<Datagram> =
            self.in_flight.extract_if(.., |datagram| datagram.at <= now).collect();
        arrived.sort_by_key(|datagram| datagram.at);
        for datagram in arrived {
            if let Some(side) = self.gateways.iter().position(|gateway| gateway.address == datagram.to) {
                self.inject(side, datagram.source, &datagram.payload);
            }
        }
        let arrived: Vec<Packet> = self.packets.extract_if(.., |packet| packet.at <= now).collect();
        for packet in arrived {
            self.accept(1 - packet.from, &packet);
        }
        for side in [A, B] {
            self.gateways[side].manager.timeout(now);
            self.perform(side);
            if let Some(pause) = self.traffic[side].filter(|_| self.next_packet[side] <= now) {
                self.next_packet[side] = now + pause;
                self.send_packet(side, "net", false);
            }
        }
        if self.traffic_flows {
            self.assert_traffic_flows();
        }
    }

    /// Seals a packet, if there is an SA, and sends it.
    fn send_packet(&mut self, side: usize, route: &str, is_dummy: bool) {
        let Some(sa) = self.gateways[side].outbound.get(route).cloned() else {
            assert!(!is_dummy, "a dummy packet needs an SA");
            return;
        };
        self.gateways[side].dummies += u64::from(is_dummy);
        let packet = Packet { at: self.now + self.latency, from: side, sa };
        match (self.path)(&packet) {
            Fate::Deliver => self.packets.push(packet),
            Fate::Lose => {}
            Fate::Twice => self.packets.extend([packet.clone(), packet]),
            Fate::After(delay) => self.packets.push(Packet { at: self.now + delay, ..packet }),
        }
    }

    fn accept(&mut self, side: usize, packet: &Packet) {
        let gateway = &mut self.gateways[side];
        let spi = packet.sa.spi;
        if gateway.inbound.get(&spi) != Some(&packet.sa) {
            gateway.refused.push(self.now);
            return;
        }
        gateway.accepted += 1;
        if gateway.confirmed.insert(spi) {
            gateway.manager.authenticated(self.now, spi);
            self.perform(side);
        }
    }

    /// Does what the key manager asks for, and holds it against the state that the key manager shows.
    fn perform(&mut self, side: usize) {
        let mut dummies = Vec::new();
        let gateway = &mut self.gateways[side];
        while let Some(output) = gateway.manager.poll() {
            match output {
                Output::Send { to, payload } => {
                    let at = self.now + self.latency;
                    let datagram = Datagram { at, source: gateway.address, to, payload };
                    self.sent.push(datagram.clone());
                    match (self.wire)(&datagram) {
                        Fate::Deliver => self.in_flight.push(datagram),
                        Fate::Lose => {}
                        Fate::Twice => self.in_flight.extend([datagram.clone(), datagram]),
                        Fate::After(delay) => {
                            self.in_flight.push(Datagram { at: self.now + delay, ..datagram });
                        }
                    }
                }
                Output::InstallInbound { sa, .. } => {
                    gateway.confirmed.remove(&sa.spi);
                    let before = gateway.inbound.insert(sa.spi, sa);
                    assert_eq!(before, None, "two live inbound SAs share an SPI");
                }
                Output::RemoveInbound { spi, .. } => {
                    assert!(gateway.inbound.remove(&spi).is_some(), "SPI {spi} was never installed");
                }
                Output::ActivateOutbound { route, sa } => {
                    gateway.activations.push(self.now);
                    gateway.outbound.insert(route, sa);
                }
                Output::RemoveOutbound { route } => {
                    assert!(gateway.outbound.remove(&route).is_some(), "{route} had no outbound SA");
                }
                Output::SendDummy { route } => dummies.push(route),
                Output::Log(event) => gateway.events.push(event),
            }
        }
        if gateway.outbound.len() <= MANY {
            gateway.assert_state_is_what_was_put_out();
        }
        for route in dummies {
            self.send_packet(side, &route, true);
        }
    }
}

impl Gateway {
    fn new(address: IpAddr, seed: u64) -> Self {
        let settings = Settings {
            queue: 1,
            share: Share::WHOLE,
            extensions: true,
            own: address.into(),
            negotiation_ttl: Duration::from_secs(NEGOTIATION_TTL),
            sa_ttl: Duration::from_secs(SA_TTL),
        };
        Gateway {
            address,
            manager: KeyManager::new(settings, random(seed)),
            settings,
            inbound: BTreeMap::new(),
            outbound: BTreeMap::new(),
            events: Vec::new(),
            activations: Vec::new(),
            confirmed: BTreeSet::new(),
            accepted: 0,
            refused: Vec::new(),
            dummies: 0,
        }
    }

    pub fn rejections(&self) -> Vec<Rejection> {
        let reason = |event: &Event| match event {
            Event::Rejected { reason, .. } => Some(*reason),
            _ => None,
        };
        self.events.iter().filter_map(reason).collect()
    }

    fn assert_state_is_what_was_put_out(&self) {
        use vita::sa::Direction::{Inbound, Outbound};
        let mut inbound = BTreeMap::new();
        let mut active = BTreeMap::new();
        for sa in self.manager.associations() {
            match (sa.direction, sa.active) {
                (Inbound, _) => *inbound.entry(sa.route).or_insert(0) += 1,
                (Outbound, true) => assert_eq!(active.insert(sa.route, sa.spi), None),
                (Outbound, false) => {}
            }
        }
        assert!(inbound.values().all(|&count| count <= 4));
        assert_eq!(inbound.values().sum::<usize>(), self.inbound.len());
        let put_out: BTreeMap<&str, u32> =
            self.outbound.iter().map(|(id, sa)| (id.as_str(), sa.spi)).collect();
        assert_eq!(active, put_out);
    }
}

pub fn route(id: &str, spi: u32, secret: u8, gateway: IpAddr) -> Route {
    Route { id: id.into(), spi, preshared_key: PresharedKey::new([secret; 32]), gateway }
}

/// SplitMix64: the same bytes in every run.
pub fn random(seed: u64) -> Box<dyn Random + Send> {
    let mut state = seed;
    Box::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed ^ (mixed >> 31)) as u8;
        }
    })
}

/// With more routes than these, comparing all of them after every step takes too long.
const MANY: usize = 10;
