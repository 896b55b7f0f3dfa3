// SPDX-License-Identifier: Apache-2.0
//! One gateway's packet path in memory, and packets made by etherparse, which shares no code with it.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use etherparse::PacketBuilder;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use vita::count::{Counters, SaCounters};
use vita::esp::{InboundSa, OutboundSa, Parameters};
use vita::frame::{Memory, Pool};
use vita::graph::{Graph, Interface, Plan};
use vita::route::{Ipv4Table, SpiTable};
use vita::stage::{Datagram, Inbound, Resolved, Tunnel};
use vita::wire::Mac;

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

/// Addresses 172.N.1.20 inside and 192.0.2.N outside, for network 172.N.0.0/16; `far` is the other site's N.
pub fn plan(near: u8, far: u8) -> Plan {
    let interface = |ip: [u8; 4], mac: u8, next: [u8; 4]| Interface {
        ip: ip.into(),
        mac: Mac([2, 0, 0, 0, near, mac]),
        next_hop_ip: next.into(),
        next_hop_mac: Some(Mac(HOST_MAC)),
        next_hop: Arc::new(Resolved::default()),
        asks: true,
    };
    let route = format!("172.{far}.0.0/16").parse().unwrap();
    Plan {
        private: interface([172, near, 1, 20], 1, [172, near, 0, 1]),
        public: interface([192, 0, 2, near], 2, [192, 0, 2, 254]),
        protocol_port: 303,
        mtu: MTU,
        tfc: false,
        table: Arc::new(Ipv4Table::build([(route, 0)])),
        tunnels: vec![Some(Tunnel::new([192, 0, 2, near].into(), [192, 0, 2, far].into()))],
        associations: Some(SpiTable::with_capacity(8)),
    }
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
    let [to_tokyo, to_paris] = keys();
    (
        Site::new(plan(31, 32)).with_keys(&to_tokyo, &to_paris),
        Site::new(plan(32, 31)).with_keys(&to_paris, &to_tokyo),
    )
}

pub fn keys() -> [Parameters; 2] {
    [
        Parameters { spi: 1000, key: [0x31; 16], salt: [1; 4] },
        Parameters { spi: 2000, key: [0x32; 16], salt: [2; 4] },
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
