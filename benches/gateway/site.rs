// SPDX-License-Identifier: Apache-2.0
//! A gateway whose tunnels end at itself, and a batch of frames that goes round and round.

use crate::clock::{self, Clock};
use crate::lane::Lane;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use vita::count::Counters;
use vita::esp::{InboundSa, OutboundSa};
use vita::frame::{BATCH, Batch, Frame, Pool};
use vita::graph::{Graph, Interface, InterfaceAddress, Plan};
use vita::route::{PeerNumber, PrefixTable, RouteNumber, SpiTable};
use vita::sa::{Key, SaParameters};
use vita::stage::{Meter, ResolvedMac, SadEntry, Tunnel};
use vita::wire::Mac;
use vita::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use vita::wire::{checksum, ipv4, ipv6};

/// What goes through which gateway.
pub struct Scenario {
    pub name: String,
    family: Family,
    /// Bytes of frames, in turn.
    sizes: Vec<usize>,
    /// Prefixes in the table, each with a tunnel.
    routes: usize,
    /// The routes that have associations and take packets in turn.
    sas: usize,
    /// Million packets a second.
    pub goal: Option<f64>,
}

/// That of packets and tunnels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

pub struct Site<M> {
    graph: Graph<M>,
    counters: Arc<Counters>,
    family: Family,
    sas: usize,
    frames: Box<Batch>,
    private: Lane,
    public: Lane,
    laps: usize,
    now_ns: u64,
    pub mean_size: f64,
}

impl Scenario {
    pub fn new(name: String, family: Family, sizes: &[usize], routes: usize, sas: usize) -> Scenario {
        Scenario { name, family, sizes: sizes.to_vec(), routes, sas, goal: None }
    }

    pub fn aiming_at(self, goal: Option<f64>) -> Scenario {
        Scenario { goal, ..self }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Family::V4 { "IPv4" } else { "IPv6" })
    }
}

impl<M: Meter> Site<M> {
    pub fn new(scenario: &Scenario, meter: M) -> Site<M> {
        let Scenario { family, sizes, routes, sas, .. } = scenario;
        let pool = Rc::new(Pool::new(CHUNKS).expect("a few megabytes"));
        let frames: Box<Batch> = (0..BATCH)
            .map(|i| pool.copy_of(&frame(*family, sizes[i % sizes.len()], i % sas)).expect("a free chunk"))
            .collect::<Batch>()
            .into();
        let mean_size = frames.iter().map(Frame::len).sum::<usize>() as f64 / frames.len() as f64;
        let counters = Arc::new(Counters::default());
        let aead = vita::aead::preferred();
        let mut graph = Graph::measured(pool, counters.clone(), aead, plan(*family, *routes), meter);
        for route in 0..*sas as u32 {
            let keys = SaParameters { spi: 256 + route, key: Key::Aes128Gcm([7; 16]), salt: [9; 4] };
            graph.activate(PeerNumber(route), Some(Box::new(OutboundSa::new(&keys, aead))));
            let sa = InboundSa::new(&keys, aead);
            let inbound = SadEntry {
                sa,
                route: RouteNumber(route),
                peer: PeerNumber(route),
                counters: Arc::default(),
                stats: Arc::default(),
            };
            graph.install(Box::new(inbound));
        }
        let (private, public) = (Lane::default(), Lane::default());
        let (family, sas) = (*family, *sas);
        Site { graph, counters, family, sas, frames, private, public, laps: 0, now_ns: 0, mean_size }
    }

    /// Sends this many packets. Gives the nanoseconds for each.
    pub fn run(&mut self, clock: &Clock, packets: usize) -> f64 {
        let laps = packets / BATCH;
        let mut spent = 0;
        for _ in 0..laps {
            self.refresh();
            std::mem::swap(&mut self.private.arriving, &mut self.frames);
            self.graph.meter.lap(clock::BETWEEN);
            let start = clock::ticks();
            self.graph.outbound(self.now_ns, &mut self.private, &mut self.public);
            std::mem::swap(&mut self.public.arriving, &mut self.public.leaving);
            self.graph.meter.lap(clock::BETWEEN);
            self.graph.inbound(self.now_ns, &mut self.private, &mut self.public, |_| false);
            spent += clock::ticks() - start;
            std::mem::swap(&mut self.frames, &mut self.private.leaving);
            self.now_ns += 5_000;
        }
        assert_eq!(self.frames.len(), BATCH, "no frame may get lost: {:?}", self.counters);
        spent as f64 * clock.ns_per_tick / (laps * BATCH) as f64
    }

    pub fn meter(&mut self) -> &mut M {
        &mut self.graph.meter
    }

    /// Gives frames their time to live back before it is used up, and where there are more associations than frames,
    /// another destination in every lap.
    fn refresh(&mut self) {
        self.laps += 1;
        let many = self.sas > BATCH;
        if !many && !self.laps.is_multiple_of(usize::from(TTL) / 2 - 1) {
            return;
        }
        for (index, frame) in self.frames.iter_mut().enumerate() {
            let packet = &mut frame.data_mut()[ethernet::HEADER..];
            let route = (self.laps * BATCH * usize::from(many) + index) % self.sas;
            match ends(self.family, route) {
                [IpAddr::V4(source), IpAddr::V4(destination)] => {
                    packet[8] = TTL;
                    packet[12..16].copy_from_slice(&source.octets());
                    packet[16..20].copy_from_slice(&destination.octets());
                    packet[10..12].fill(0);
                    let sum = checksum::internet(&packet[..ipv4::HEADER]);
                    packet[10..12].copy_from_slice(&sum.to_be_bytes());
                }
                [IpAddr::V6(source), IpAddr::V6(destination)] => {
                    packet[7] = TTL;
                    packet[8..24].copy_from_slice(&source.octets());
                    packet[24..40].copy_from_slice(&destination.octets());
                }
                _ => unreachable!("both are of one family"),
            }
        }
    }
}

fn plan(family: Family, routes: usize) -> Plan {
    let side = |four: [u8; 4], six: u16| {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        match family {
            Family::V4 => Interface { mac, v4: Some(face(four.into(), [192, 0, 2, 254].into())), v6: None },
            Family::V6 => Interface { mac, v4: None, v6: Some(face(own6(six), own6(0xfe))) },
        }
    };
    let outer: IpAddr = match family {
        Family::V4 => PUBLIC.into(),
        Family::V6 => own6(2).into(),
    };
    let length = if family == Family::V4 { 24 } else { 48 };
    let prefix =
        |route| ipnet::IpNet::new(ends(family, route)[1], length).expect("a length of the family").trunc();
    Plan {
        private: side([10, 0, 0, 1], 1),
        public: side(PUBLIC, 2),
        protocol_port: 303,
        key_exchange: true,
        table: Arc::new(PrefixTable::build((0..routes).map(|route| (prefix(route), route as u32)))),
        check_inner_source: true,
        fragment_inner: true,
        mss_clamp: true,
        active_peers: (0..routes as u32).map(PeerNumber).collect(),
        tunnels: (0..routes).map(|_| Tunnel::new(outer, outer, 1500, false)).collect(),
        associations: Some(SpiTable::with_capacity(routes.max(4))),
        peers: SpiTable::with_capacity(routes),
        handoff: Default::default(),
    }
}

fn face<Address>(ip: Address, next_hop_ip: Address) -> InterfaceAddress<Address> {
    let next_hop = Arc::new(ResolvedMac::default());
    InterfaceAddress { ip, next_hop_ip, next_hop_mac: Some(Mac([2, 0, 0, 0, 0, 1])), next_hop, asks: false }
}

fn own6(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host)
}

/// Two hosts behind a route, of which one sends to the other: what goes into its tunnel may come out of it.
fn ends(family: Family, route: usize) -> [IpAddr; 2] {
    [3, 2].map(|host| match family {
        Family::V4 => Ipv4Addr::from(0x0a01_0000 + ((route as u32) << 8) + host).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, route as u16, 0, 0, 0, 0, host as u16).into(),
    })
}

/// A frame of this many bytes, without frame check sequence.
fn frame(family: Family, size: usize, route: usize) -> Vec<u8> {
    let mut bytes = vec![0xa5; size];
    let (front, packet) = bytes.split_at_mut(ethernet::HEADER);
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let payload = |header: usize| (size - ethernet::HEADER - header) as u16;
    let ethertype = match ends(family, route) {
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            let header = ipv4::Header {
                tos: 0,
                id: 0,
                dont_fragment: true,
                ttl: TTL,
                protocol: 17,
                source,
                destination,
                payload_len: payload(ipv4::HEADER),
            };
            header.write(packet.first_chunk_mut().expect("20 bytes"));
            ETHERTYPE_IPV4
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            let header = ipv6::Header {
                traffic_class: 0,
                flow_label: 0,
                next_header: 17,
                hop_limit: TTL,
                source,
                destination,
                payload_len: payload(ipv6::HEADER),
            };
            header.write(packet.first_chunk_mut().expect("40 bytes"));
            ETHERTYPE_IPV6
        }
        _ => unreachable!("both are of one family"),
    };
    ethernet::Header { destination: mac, source: mac, ethertype }
        .write(front.first_chunk_mut().expect("14 bytes"));
    bytes
}

const PUBLIC: [u8; 4] = [192, 0, 2, 1];
const TTL: u8 = 64;
/// As for a worker, large enough for huge pages.
const CHUNKS: u32 = 1024;
