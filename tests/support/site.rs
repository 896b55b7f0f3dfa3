// SPDX-License-Identifier: Apache-2.0
//! One gateway's packet path in memory, and packets made by etherparse, which shares no code with it.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use etherparse::PacketBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use vita::count::{Counters, SaCounters};
use vita::esp::{InboundSa, OutboundSa, Parameters};
use vita::frame::{Memory, Pool};
use vita::graph::{Face, Graph, Interface, Plan};
use vita::route::{PrefixTable, SpiTable};
use vita::stage::{Datagram, Inbound, Tunnel};
use vita::wire::Mac;
use vita::wire::ip::Family;

pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub const MTU: u16 = 1440;
pub const SECOND: u64 = 1_000_000_000;

/// A gateway with one route.
pub struct Site {
    pub graph: Graph,
    pub counters: Arc<Counters>,
    pub inbound: Arc<SaCounters>,
    pub private: Memory,
    pub public: Memory,
    pub exchange: Vec<Datagram>,
    pub now: u64,
}

/// An IPv4 gateway: 172.N.1.20 inside and 192.0.2.N outside, for network 172.N.0.0/16; `far` is the other site's N.
pub fn plan(near: u8, far: u8) -> Plan {
    Plan {
        private: interface(near, 1, Some(inside4(near)), None),
        public: interface(near, 2, Some(outside4(near)), None),
        protocol_port: 303,
        table: Arc::new(PrefixTable::build([(format!("172.{far}.0.0/16").parse().unwrap(), 0)])),
        tunnels: tunnels4(near, far, false),
        associations: Some(SpiTable::with_capacity(8)),
    }
}

/// An IPv6 gateway: 2001:db8:N::20 inside and 2001:db8:ffff::N outside, for network 2001:db8:N::/48.
pub fn plan6(near: u8, far: u8) -> Plan {
    Plan {
        private: interface(near, 1, None, Some(inside6(near))),
        public: interface(near, 2, None, Some(outside6(near))),
        table: Arc::new(PrefixTable::build([(format!("2001:db8:{far}::/48").parse().unwrap(), 0)])),
        tunnels: tunnels6(near, far, false),
        ..plan(near, far)
    }
}

/// A gateway for the networks of both families, and with the tunnels of one of the two above.
pub fn dual(near: u8, far: u8, outer: Family) -> Plan {
    let mut plan = if outer == Family::V4 { plan(near, far) } else { plan6(near, far) };
    plan.private = interface(near, 1, Some(inside4(near)), Some(inside6(near)));
    let nets = [format!("172.{far}.0.0/16"), format!("2001:db8:{far}::/48")];
    plan.table = Arc::new(PrefixTable::build(nets.iter().map(|net| (net.parse().unwrap(), 0))));
    plan
}

pub fn tunnels4(near: u8, far: u8, tfc: bool) -> Vec<Option<Tunnel>> {
    let [near, far] = [near, far].map(|n| IpAddr::from([192, 0, 2, n]));
    vec![Some(Tunnel::new(near, far, MTU, tfc).unwrap())]
}

pub fn tunnels6(near: u8, far: u8, tfc: bool) -> Vec<Option<Tunnel>> {
    let [near, far] = [near, far].map(|n| format!("2001:db8:ffff::{n}").parse().unwrap());
    vec![Some(Tunnel::new(near, far, MTU, tfc).unwrap())]
}

fn interface(
    near: u8,
    mac: u8,
    v4: Option<(Ipv4Addr, Ipv4Addr)>,
    v6: Option<(Ipv6Addr, Ipv6Addr)>,
) -> Interface {
    Interface { mac: Mac([2, 0, 0, 0, near, mac]), v4: v4.map(face), v6: v6.map(face) }
}

fn face<Address>((ip, next_hop_ip): (Address, Address)) -> Face<Address> {
    Face { ip, next_hop_ip, next_hop_mac: Some(Mac(HOST_MAC)), next_hop: Arc::default(), asks: true }
}

fn inside4(near: u8) -> (Ipv4Addr, Ipv4Addr) {
    ([172, near, 1, 20].into(), [172, near, 0, 1].into())
}

fn outside4(near: u8) -> (Ipv4Addr, Ipv4Addr) {
    ([192, 0, 2, near].into(), [192, 0, 2, 254].into())
}

fn inside6(near: u8) -> (Ipv6Addr, Ipv6Addr) {
    let at = |host: &str| format!("2001:db8:{near}::{host}").parse().unwrap();
    (at("20"), at("1"))
}

fn outside6(near: u8) -> (Ipv6Addr, Ipv6Addr) {
    let at = |host: &str| format!("2001:db8:ffff::{host}").parse().unwrap();
    (at(&near.to_string()), at("fe"))
}

impl Site {
    pub fn new(plan: Plan) -> Site {
        let counters = Arc::new(Counters::default());
        let pool = Rc::new(Pool::new(512).unwrap());
        let graph = Graph::new(pool, counters.clone(), vita::aead::preferred(), plan);
        Site {
            graph,
            counters,
            inbound: Arc::default(),
            private: Memory::default(),
            public: Memory::default(),
            exchange: Vec::new(),
            now: 100 * SECOND,
        }
    }

    /// Seals with this key and opens with that.
    pub fn with_keys(mut self, seal: &Parameters, open: &Parameters) -> Site {
        let aead = vita::aead::preferred();
        assert!(self.graph.activate(0, Some(Box::new(OutboundSa::new(seal, aead)))).is_none());
        let inbound = Inbound { sa: InboundSa::new(open, aead), count: self.inbound.clone() };
        assert!(self.graph.install(Box::new(inbound)).is_none());
        self
    }

    pub fn arrive_private(&mut self, frame: &[u8]) {
        self.private.arriving.push_back(self.graph.pool.copy_of(frame).unwrap());
        self.run();
    }

    pub fn arrive_public(&mut self, frame: &[u8]) {
        self.public.arriving.push_back(self.graph.pool.copy_of(frame).unwrap());
        self.run();
    }

    pub fn run(&mut self) {
        while self.graph.outbound(self.now, &mut self.private, &mut self.public) > 0 {}
        let exchange = &mut self.exchange;
        let mut deliver = |datagram| {
            exchange.push(datagram);
            true
        };
        while self.graph.inbound(self.now, &mut self.private, &mut self.public, &mut deliver) > 0 {}
        self.graph.tick(self.now, &mut self.private, &mut self.public);
    }

    pub fn sent_private(&mut self) -> Vec<Vec<u8>> {
        self.private.sent.drain(..).map(|frame| frame.data().to_vec()).collect()
    }

    pub fn sent_public(&mut self) -> Vec<Vec<u8>> {
        self.public.sent.drain(..).map(|frame| frame.data().to_vec()).collect()
    }

    /// Every counter that is not zero, `group/leaf` and value.
    pub fn moved(&self) -> Vec<(String, u64)> {
        let mut moved = Vec::new();
        self.counters.visit(|group, leaf, value| moved.push((format!("{group}/{leaf}"), value)));
        self.inbound.visit(|leaf, value| moved.push((format!("inbound-sa/{leaf}"), value)));
        moved.retain(|(_, value)| *value > 0);
        moved
    }

    /// Asserts that exactly these counters are not zero.
    #[track_caller]
    pub fn counted(&self, expected: &[(&str, u64)]) {
        let mut expected: Vec<_> = expected.iter().map(|(name, n)| (name.to_string(), *n)).collect();
        let mut moved = self.moved();
        expected.sort();
        moved.sort();
        assert_eq!(moved, expected);
    }

    /// Asserts that every buffer is back in the pool.
    #[track_caller]
    pub fn leaked_nothing(&mut self) {
        self.private.sent.clear();
        self.public.sent.clear();
        assert_eq!(self.graph.pool.available(), self.graph.pool.chunks() as usize);
    }
}

/// Two sites that share keys.
pub fn pair() -> (Site, Site) {
    pair_of(plan)
}

/// Two sites of these plans.
pub fn pair_of(plan: impl Fn(u8, u8) -> Plan) -> (Site, Site) {
    let [to_tokyo, to_paris] = keys();
    (
        Site::new(plan(31, 32)).with_keys(&to_tokyo, &to_paris),
        Site::new(plan(32, 31)).with_keys(&to_paris, &to_tokyo),
    )
}

pub fn keys() -> [Parameters; 2] {
    [
        Parameters { spi: 1000, key: [0x31; 16].into(), salt: [1; 4] },
        Parameters { spi: 2000, key: [0x32; 16].into(), salt: [2; 4] },
    ]
}

pub fn address(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap().octets()
}

/// A UDP packet in an Ethernet frame, from a host to the gateway in front of it.
pub fn udp(source: &str, destination: &str, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
        .ipv4(address(source), address(destination), ttl)
        .udp(4000, 5000)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// An ICMP echo request in an Ethernet frame.
pub fn echo(source: &str, destination: &str, ttl: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
        .ipv4(address(source), address(destination), ttl)
        .icmpv4_echo_request(7, 1)
        .write(&mut frame, b"payload of an echo request")
        .unwrap();
    frame
}

pub fn address6(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

/// As [`udp`], with IPv6.
pub fn udp6(source: &str, destination: &str, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
        .ipv6(address6(source), address6(destination), hop_limit)
        .udp(4000, 5000)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// As [`echo`], with IPv6.
pub fn echo6(source: &str, destination: &str, hop_limit: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
        .ipv6(address6(source), address6(destination), hop_limit)
        .icmpv6_echo_request(7, 1)
        .write(&mut frame, b"payload of an echo request")
        .unwrap();
    frame
}
