// SPDX-License-Identifier: Apache-2.0
//! One gateway's packet path in memory, and packets made by etherparse, which shares no code with it.

use super::field::{self};
use etherparse::defrag::IpDefragPool;
use etherparse::icmpv6::NeighborAdvertisementHeader;
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Icmpv6Header, Icmpv6Type, IpNumber, PacketBuilder,
    SlicedPacket,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use vita::count::{Counters, SaCounters};
use vita::esp::{InboundSa, OutboundSa};
use vita::frame::{Memory, Pool};
use vita::graph::{Graph, Interface, InterfaceAddress, Plan};
use vita::route::{PeerNumber, PrefixTable, RouteNumber, SpiTable};
use vita::sa::{Key, SaParameters};
use vita::stage::{Datagram, Handoff, SadEntry, Tunnel};
use vita::wire::Mac;
use vita::wire::checksum;
use vita::wire::ip::Family;

pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub const MTU: u16 = 1440;
pub const SECOND: u64 = 1_000_000_000;

/// A gateway with one route.
pub struct Site {
    pub graph: Graph,
    pub counters: Arc<Counters>,
    pub inbound: Arc<SaCounters>,
    /// Of its one route.
    pub route: Arc<vita::count::Route>,
    pub private: Memory,
    pub public: Memory,
    pub exchange: Vec<Datagram>,
    pub now: u64,
    /// Its own addresses on the private and on the public side.
    pub macs: [Mac; 2],
    /// Whether frames arrive with the addresses they were sent to. Otherwise those to a single host come to the gateway,
    /// whatever its address is.
    pub strict: bool,
}

/// An IPv4 gateway: 172.N.1.20 inside and 192.0.2.N outside, for network 172.N.0.0/16; `far` is the other site's N.
pub fn plan(near: u8, far: u8) -> Plan {
    Plan {
        private: interface(near, 1, Some(inside4(near)), None),
        public: interface(near, 2, Some(outside4(near)), None),
        protocol_port: 303,
        key_exchange: true,
        table: Arc::new(PrefixTable::build([(format!("172.{far}.0.0/16").parse().unwrap(), 0)])),
        check_inner_source: true,
        fragment_inner: true,
        mss_clamp: true,
        active_peers: (0..8).map(PeerNumber).collect(),
        tunnels: tunnels4(near, far, false),
        associations: Some(SpiTable::with_capacity(8)),
        peers: peers(IpAddr::V4(outside4(far).0)),
        handoff: Handoff::default(),
    }
}

/// The SPI of the one route in the key exchange, as it stands in the message `knock`.
pub const ROUTE_SPI: u32 = u32::from_be_bytes(*b"knoc");

/// Who may take part in the key exchange.
fn peers(gateway: IpAddr) -> SpiTable<IpAddr> {
    let mut peers = SpiTable::with_capacity(2);
    assert!(peers.insert(ROUTE_SPI, gateway).is_ok());
    peers
}

/// An IPv6 gateway: 2001:db8:N::20 inside and 2001:db8:ffff::N outside, for network 2001:db8:N::/48.
pub fn plan6(near: u8, far: u8) -> Plan {
    Plan {
        private: interface(near, 1, None, Some(inside6(near))),
        public: interface(near, 2, None, Some(outside6(near))),
        table: Arc::new(PrefixTable::build([(format!("2001:db8:{far}::/48").parse().unwrap(), 0)])),
        tunnels: tunnels6(near, far, false),
        peers: peers(IpAddr::V6(outside6(far).0)),
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
    tunnels(Family::V4, near, far, MTU, tfc)
}

pub fn tunnels6(near: u8, far: u8, tfc: bool) -> Vec<Option<Tunnel>> {
    tunnels(Family::V6, near, far, MTU, tfc)
}

/// The one tunnel that a site has.
pub fn tunnels(outer: Family, near: u8, far: u8, mtu: u16, tfc: bool) -> Vec<Option<Tunnel>> {
    let [near, far] = [near, far].map(|n| match outer {
        Family::V4 => IpAddr::V4(outside4(n).0),
        Family::V6 => IpAddr::V6(outside6(n).0),
    });
    vec![Some(Tunnel::new(near, far, mtu, tfc).unwrap())]
}

fn interface(
    near: u8,
    mac: u8,
    v4: Option<(Ipv4Addr, Ipv4Addr)>,
    v6: Option<(Ipv6Addr, Ipv6Addr)>,
) -> Interface {
    Interface { mac: Mac([2, 0, 0, 0, near, mac]), v4: v4.map(face), v6: v6.map(face) }
}

fn face<Address>((ip, next_hop_ip): (Address, Address)) -> InterfaceAddress<Address> {
    InterfaceAddress {
        ip,
        next_hop_ip,
        next_hop_mac: Some(Mac(HOST_MAC)),
        next_hop: Arc::default(),
        asks: true,
    }
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
    pub fn new(mut plan: Plan) -> Site {
        let route = Arc::<vita::count::Route>::default();
        for tunnel in plan.tunnels.iter_mut().flatten() {
            tunnel.stats = route.clone();
        }
        let macs = [plan.private.mac, plan.public.mac];
        let counters = Arc::new(Counters::default());
        let pool = Rc::new(Pool::new(512).unwrap());
        let graph = Graph::new(pool, counters.clone(), vita::aead::preferred(), plan);
        Site {
            graph,
            counters,
            inbound: Arc::default(),
            route,
            private: Memory::default(),
            public: Memory::default(),
            exchange: Vec::new(),
            now: 100 * SECOND,
            macs,
            strict: false,
        }
    }

    /// Seals with this key and opens with that.
    pub fn with_keys(mut self, seal: &SaParameters, open: &SaParameters) -> Site {
        let aead = vita::aead::preferred();
        assert!(self.graph.activate(PeerNumber(0), Some(Box::new(OutboundSa::new(seal, aead)))).is_none());
        let inbound = SadEntry {
            sa: InboundSa::new(open, aead),
            route: RouteNumber(0),
            peer: PeerNumber(0),
            counters: self.inbound.clone(),
            stats: self.route.clone(),
        };
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
        self.address();
        while self.graph.outbound(self.now, &mut self.private, &mut self.public) > 0 {}
        let exchange = &mut self.exchange;
        let mut deliver = |datagram| {
            exchange.push(datagram);
            true
        };
        while self.graph.inbound(self.now, &mut self.private, &mut self.public, &mut deliver) > 0 {}
        self.graph.tick(self.now, &mut self.private, &mut self.public);
    }

    /// Sends what arrives to the gateway's addresses, unless it is to stay as it is.
    pub fn address(&mut self) {
        for (port, mac) in [&mut self.private, &mut self.public].into_iter().zip(self.macs) {
            for frame in port.arriving.iter_mut().filter(|_| !self.strict) {
                if let Some(destination) = frame.data_mut().first_chunk_mut::<6>()
                    && destination[0] & 1 == 0
                {
                    *destination = mac.0;
                }
            }
        }
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

    /// Asserts that exactly these counters of the route are not zero.
    #[track_caller]
    pub fn counted_of_route(&self, expected: &[(&str, u64)]) {
        let mut moved = Vec::new();
        self.route.counters.visit(|group, leaf, value| moved.push((format!("{group}/{leaf}"), value)));
        moved.retain(|(_, value)| *value > 0);
        let expected: Vec<_> = expected.iter().map(|(name, n)| (name.to_string(), *n)).collect();
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

pub fn keys() -> [SaParameters; 2] {
    // Interpreted by Miri, ChaCha20 is many times faster than AES.
    let key = |byte| if cfg!(miri) { Key::ChaCha20Poly1305([byte; 32]) } else { Key::Aes128Gcm([byte; 16]) };
    [
        SaParameters { spi: 1000, key: key(0x31), salt: [1; 4] },
        SaParameters { spi: 2000, key: key(0x32), salt: [2; 4] },
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

/// Frames of the private side, put together by a host that shares no code with the gateway.
pub fn reassembled(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut pool = IpDefragPool::<(), ()>::new();
    let pieces = frames.iter().filter_map(|frame| {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        pool.process_sliced_packet(&sliced, (), ()).unwrap()
    });
    pieces.map(|whole| whole.payload).collect()
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

/// Any IPv4 packet in an Ethernet frame.
pub fn packet4(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
        .ipv4(address(source), address(destination), 64)
        .write(&mut frame, IpNumber(protocol), payload)
        .unwrap();
    frame
}

/// Any IPv6 packet in an Ethernet frame.
pub fn packet6(source: &str, destination: &str, hop_limit: u8, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = etherparse::Ipv6Header {
        payload_length: payload.len() as u16,
        next_header: IpNumber(next_header),
        hop_limit,
        source: address6(source),
        destination: address6(destination),
        ..Default::default()
    };
    let ethernet = [&[2, 0, 0, 0, 0, 1][..], &HOST_MAC, &[0x86, 0xdd]].concat();
    [&ethernet[..], &header.to_bytes(), payload].concat()
}

/// An ICMP message with a sound checksum.
pub fn icmp4(source: &str, destination: &str, kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0], body].concat();
    let sum = checksum::internet(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet4(source, destination, 1, &message)
}

/// An ICMPv6 message with a sound checksum.
pub fn icmp6(source: &str, destination: &str, hop_limit: u8, kind: Icmpv6Type, body: &[u8]) -> Vec<u8> {
    let header = Icmpv6Header::with_checksum(kind, address6(source), address6(destination), body).unwrap();
    let message = [&header.to_bytes()[..], body].concat();
    packet6(source, destination, hop_limit, 58, &message)
}

/// An ARP packet, to everyone.
pub fn arp(operation: ArpOperation, sender: ([u8; 6], &str), target: ([u8; 6], &str)) -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        operation,
        &sender.0,
        &address(sender.1),
        &target.0,
        &address(target.1),
    )
    .unwrap();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(sender.0, [0xff; 6]).arp(packet).write(&mut frame).unwrap();
    frame
}

/// A neighbour's question, with its own address in the option.
pub fn solicitation(source: &str, destination: &str, target: &str, mac: Option<[u8; 6]>) -> Vec<u8> {
    let body = neighbour(target, mac.map(|mac| (1, mac)));
    icmp6(source, destination, 255, Icmpv6Type::NeighborSolicitation, &body)
}

/// A neighbour's answer.
pub fn advertisement(source: &str, destination: &str, r#override: bool, mac: [u8; 6]) -> Vec<u8> {
    let kind = Icmpv6Type::NeighborAdvertisement(NeighborAdvertisementHeader {
        router: true,
        solicited: true,
        r#override,
    });
    icmp6(source, destination, 255, kind, &neighbour(source, Some((2, mac))))
}

/// The options and target of a neighbour's message.
pub fn neighbour(target: &str, option: Option<(u8, [u8; 6])>) -> Vec<u8> {
    let mut body = address6(target).to_vec();
    if let Some((kind, mac)) = option {
        body.extend([kind, 1]);
        body.extend(mac);
    }
    body
}

/// Sets a byte of the IPv4 header and repairs its checksum.
pub fn with_header_byte(mut frame: Vec<u8>, offset: usize, value: u8) -> Vec<u8> {
    frame[14 + offset] = value;
    field::refresh_checksum(&mut frame);
    frame
}

pub fn with_byte(mut frame: Vec<u8>, offset: usize, value: u8) -> Vec<u8> {
    frame[offset] = value;
    frame
}

/// The one frame of a list.
#[track_caller]
pub fn only(mut frames: Vec<Vec<u8>>) -> Vec<u8> {
    assert_eq!(frames.len(), 1, "{frames:02x?}");
    frames.remove(0)
}
