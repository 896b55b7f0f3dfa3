// SPDX-License-Identifier: Apache-2.0
//! The whole packet path of one worker, with any bytes into any port. The input is a small program: a configuration,
//! then steps (frames, sealed packets, time, changes of routes and associations), see [`Run::step`].
//!
//! After every step holds, apart from that nothing panicked:
//!
//! ```text
//!   frames in + frames that waited  =  sent + waiting now + given to the key exchange + told us something + dropped
//! ```
//!
//! where every drop is counted exactly once (`Verdicts` says by which leaves), and frames are known to wait by the
//! chunks that the pool misses. What leaves on the public side comes from the gateway itself and never uses a sequence
//! number twice; and at the end every chunk is back in the pool.

#[path = "graph/packets.rs"]
mod packets;
#[path = "graph/verdicts.rs"]
mod verdicts;

use packets::{Input, packet};
use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use verdicts::Verdicts;
use vita::count::Side;
use vita::count::{Counters, SaCounters};
use vita::esp::{InboundSa, OutboundSa};
use vita::frame::{Frame, Memory, Pool};
use vita::graph::{Graph, Interface, InterfaceAddress, Plan, Reroute};
use vita::route::{PeerNumber, PrefixTable, RouteNumber, SpiTable};
use vita::sa::{Key, SaParameters};
use vita::stage::{Datagram, Handoff, NeighbourFrame, ResolvedMac, SadEntry, Tunnel};
use vita::wire::Mac;
use vita::wire::class::{Dscp, Marking};
use vita::wire::ip::Ip;

pub fn graph(data: &[u8]) {
    let mut input = Input(data);
    let pool = POOL.with(Rc::clone);
    let mut run = Run::new(pool.clone(), input.byte());
    for _ in 0..MOST_STEPS {
        if input.0.is_empty() {
            break;
        }
        run.step(&mut input);
    }
    run.pass();
    drop(run);
    assert_eq!(pool.available(), pool.chunks() as usize, "frames that were lost");
}

thread_local! {
    /// Every run takes all and gives all back, so one serves them all.
    static POOL: Rc<Pool> = Rc::new(Pool::new(CHUNKS).expect("memory for frames"));
}

struct Run {
    graph: Graph,
    counters: Arc<Counters>,
    inbound: Arc<SaCounters>,
    private: Memory,
    public: Memory,
    /// Frames taken away, so that the pool runs dry.
    hoard: Vec<Frame>,
    /// The far ends of inbound associations.
    peers: [Option<OutboundSa>; PEERS],
    /// No two associations have the same key.
    keys: u8,
    sealed: HashSet<[u8; 12]>,
    /// Frames that wait for a next hop.
    waiting: usize,
    /// What public addresses there have been: packets that wait may have the one of before.
    own: Vec<IpAddr>,
    resolved: [Arc<ResolvedMac>; 4],
    takes_datagrams: bool,
    now_ns: u64,
}

/// How one pass went.
#[derive(Debug, Default)]
struct Pass {
    arrived: usize,
    delivered: usize,
    /// Frames that are ARP or neighbour discovery: those that say nothing to us are not counted.
    neighbours: usize,
}

impl Run {
    fn new(pool: Rc<Pool>, config: u8) -> Run {
        let resolved: [Arc<ResolvedMac>; 4] = Default::default();
        let counters = Arc::new(Counters::default());
        let first =
            Plan { associations: Some(SpiTable::with_capacity(PEERS - 2)), ..plan(config, &resolved) };
        let mut run = Run {
            own: addresses(&first.public),
            graph: Graph::new(pool, counters.clone(), vita::aead::preferred(), first),
            counters,
            inbound: Arc::default(),
            private: Memory::default(),
            public: Memory::default(),
            hoard: Vec::new(),
            peers: Default::default(),
            keys: 0,
            sealed: HashSet::new(),
            waiting: 0,
            resolved,
            takes_datagrams: true,
            now_ns: 100_000_000_000,
        };
        for route in 0..ROUTES as u8 {
            run.activate(route);
        }
        for peer in 0..2 {
            run.install(peer);
        }
        run
    }

    /// The low half of the first byte says what happens. Frames are held back for the next pass if its top bit is set, so
    /// that several travel together.
    fn step(&mut self, input: &mut Input<'_>) {
        let step = input.byte();
        let holds = step & 0x80 != 0;
        match step & 0x0f {
            0 => {
                let bytes = input.bytes().to_vec();
                self.arrive_private(&bytes);
            }
            1 => {
                let bytes = input.bytes().to_vec();
                self.arrive_public(&bytes);
            }
            2 | 3 => {
                let frame = framed(input, packet);
                self.arrive_private(&frame);
            }
            4 | 5 => {
                let frame = framed(input, packet);
                self.arrive_public(&frame);
            }
            6 | 7 => {
                if let Some(frame) = self.sealed(input) {
                    self.arrive_public(&frame);
                }
            }
            8 => {
                // From a millisecond to half a minute.
                self.pass();
                self.now_ns += 1_000_000 << (input.byte() & 0x0f);
            }
            9 => self.replan(input.byte()),
            10 => self.reroute(input),
            11 => {
                self.pass();
                let peer = input.byte();
                if peer & 0x80 == 0 {
                    self.install(peer);
                } else {
                    self.graph.remove(spi(usize::from(peer) % PEERS));
                }
            }
            12 => {
                self.pass();
                let route = input.byte();
                if route & 0x80 == 0 {
                    self.activate(route)
                } else {
                    drop(self.graph.activate(PeerNumber((route & 3).into()), None))
                }
            }
            13 => {
                // Another worker has found a next hop.
                let which = input.byte();
                self.resolved[usize::from(which & 3)].set(Mac([2, 7, 7, 7, 7, which]));
            }
            14 => self.send_datagram(input),
            _ => {
                self.pass();
                let how = input.byte();
                self.takes_datagrams = how & 1 != 0;
                self.hoard.clear();
                if how & 2 != 0 {
                    self.hoard.extend(std::iter::from_fn(|| self.graph.pool.take()));
                }
                if how & 4 != 0 {
                    self.graph.announce();
                }
                if how & 8 != 0 {
                    let side = if how & 16 != 0 { Side::Private } else { Side::Public };
                    let frame = framed(input, packet);
                    self.hear(side, &frame);
                }
            }
        }
        if !holds {
            self.pass();
        }
    }

    fn arrive_private(&mut self, frame: &[u8]) {
        self.private.arriving.extend(self.graph.pool.copy_of(frame));
    }

    fn arrive_public(&mut self, frame: &[u8]) {
        self.public.arriving.extend(self.graph.pool.copy_of(frame));
    }

    /// Everything that arrived, in batches, and then what is due.
    fn pass(&mut self) {
        while !self.private.arriving.is_empty() {
            let pass = Pass::of(&self.private);
            let before = self.verdicts();
            let work = self.graph.outbound(self.now_ns, &mut self.private, &mut self.public);
            assert_eq!(work, pass.arrived);
            self.account(pass, before);
        }
        while !self.public.arriving.is_empty() {
            let mut pass = Pass::of(&self.public);
            let before = self.verdicts();
            let takes = self.takes_datagrams;
            let work = self.graph.inbound(self.now_ns, &mut self.private, &mut self.public, |_| {
                pass.delivered += usize::from(takes);
                takes
            });
            assert_eq!(work, pass.arrived);
            self.account(pass, before);
        }
        let before = self.verdicts();
        let due = self.graph.tick(self.now_ns, &mut self.private, &mut self.public);
        assert!(due > self.now_ns);
        let questions = self.verdicts().questions - before.questions;
        self.account(Pass { arrived: questions, ..Pass::default() }, before);
    }

    /// Holds the frames of a pass against what became of them.
    fn account(&mut self, pass: Pass, before: Verdicts) {
        let delta = self.verdicts() - before;
        let sent = self.sent();
        let arriving = self.private.arriving.len() + self.public.arriving.len();
        let pool = &self.graph.pool;
        let waiting = pool.chunks() as usize - pool.available() - self.hoard.len() - arriving;
        assert!(waiting <= 2 * vita::frame::BATCH, "{waiting} wait");
        let entered = pass.arrived + delta.pieces + self.waiting;
        let accounted = sent + waiting + pass.delivered + delta.dropped;
        self.waiting = waiting;
        // Neighbours that say nothing to us are not counted; and of these leaves some frames have two.
        let fewest = accounted;
        let most = accounted + delta.ambiguous + pass.neighbours - delta.neighbours;
        let told = || format!("{pass:?}, {sent} sent, {waiting} wait, {delta:?}");
        assert!(
            (fewest..=most).contains(&entered),
            "{entered} frames in, {fewest} to {most} verdicts: {}",
            told()
        );
        if pass.arrived == 1 && delta.ambiguous == 0 {
            let silent = usize::from(pass.neighbours == 1 && delta.neighbours + delta.dropped == 0);
            assert_eq!(entered, accounted + silent, "{}", told());
        }
        self.verdicts().assert_companions();
    }

    fn verdicts(&self) -> Verdicts {
        Verdicts::of(&self.counters, &self.inbound)
    }

    /// Looks at what left, and gives it back to the pool.
    fn sent(&mut self) -> usize {
        let sent = self.private.sent.len() + self.public.sent.len();
        for frame in self.private.sent.drain(..) {
            sound(frame.data());
        }
        for frame in self.public.sent.drain(..) {
            let Some(ip) = sound(frame.data()) else { continue };
            assert!(self.own.contains(&ip.source()), "in clear: {ip:?}");
            let (protocol, offset) = ip.upper().expect("a packet of ours");
            if protocol == 50 {
                let mut number = [0; 12];
                number[..4].copy_from_slice(&ip.packet()[offset..offset + 4]);
                number[4..].copy_from_slice(&ip.packet()[offset + 8..offset + 16]);
                assert!(self.sealed.insert(number), "two packets under one nonce");
            }
        }
        sent
    }

    /// A packet in ESP, as the far end of an association makes it; then anything may happen to it.
    fn sealed(&mut self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let how = input.byte();
        let inner = if how & 0x10 != 0 { input.bytes().to_vec() } else { packet(input) };
        let natural = if inner.first().is_some_and(|first| first >> 4 == 6) { 41 } else { 4 };
        let next_header = if how & 0x20 != 0 { input.byte() } else { natural };
        let padded = if how & 0x40 != 0 { 600 } else { 0 };
        let peer = self.peers[usize::from(how & 0x0f) % PEERS].as_mut()?;
        let mut frame = self.graph.pool.copy_of(&inner)?;
        let (_, _, job) =
            peer.encapsulate::<0, 0>(peer.draw().ok()?, &mut frame, next_header, padded).ok()?;
        vita::aead::preferred().seal(&mut [job]);
        let outer =
            if how & 0x80 != 0 { packets::outer6(frame.data()) } else { packets::outer4(frame.data()) };
        drop(frame);
        Some(framed(input, |input| packets::edited(input, outer)))
    }

    fn replan(&mut self, config: u8) {
        self.pass();
        let before = self.verdicts();
        if config & 0x80 != 0 {
            self.resolved = Default::default();
        }
        let mut plan = plan(config, &self.resolved);
        self.own.extend(addresses(&plan.public));
        if config & 0x40 != 0 {
            plan.associations = Some(SpiTable::with_capacity(PEERS));
        }
        drop(self.graph.replan(plan));
        self.account(Pass::default(), before);
    }

    fn reroute(&mut self, input: &mut Input<'_>) {
        self.pass();
        let how = input.byte();
        let number = u32::from(how & 3);
        // Addresses do not change with a route, so the tunnel is of a family that the gateway has.
        let own = *self.own.last().expect("every plan has one");
        let new = (how & 4 != 0).then(|| tunnel(own, mtu(how >> 4), how & 8 != 0));
        let table = (how & 0x40 != 0).then(|| table(how & 0x80 != 0));
        drop(self.graph.reroute(Box::new(Reroute {
            table,
            active_peers: vec![(RouteNumber(number), PeerNumber(u32::from(how >> 4 & 3)))],
            tunnels: vec![(PeerNumber(number), new)],
            ..Reroute::default()
        })));
    }

    fn install(&mut self, peer: u8) {
        let peer = usize::from(peer) % PEERS;
        let parameters = self.parameters(spi(peer));
        let aead = vita::aead::preferred();
        let sa = InboundSa::new(&parameters, aead);
        let refused = self.graph.install(Box::new(SadEntry {
            sa,
            route: RouteNumber((peer % ROUTES) as u32),
            peer: PeerNumber((peer % ROUTES) as u32),
            counters: self.inbound.clone(),
            stats: Arc::default(),
        }));
        if refused.is_none() || self.peers[peer].is_some() {
            self.peers[peer] = Some(OutboundSa::new(&parameters, aead));
        }
    }

    fn activate(&mut self, route: u8) {
        let key = u32::from(self.keys) + 5000;
        let sa = OutboundSa::new(&self.parameters(key), vita::aead::preferred());
        drop(self.graph.activate(PeerNumber(u32::from(route) & 3), Some(Box::new(sa))));
    }

    fn parameters(&mut self, spi: u32) -> SaParameters {
        // There are fewer steps than keys.
        self.keys += 1;
        SaParameters { spi, key: Key::Aes128Gcm([self.keys; 16]), salt: [3; 4] }
    }

    /// A frame that the kernel has received.
    fn hear(&mut self, side: Side, frame: &[u8]) {
        let Some(heard) = NeighbourFrame::new(side, frame) else { return };
        let before = self.verdicts();
        let arrived = usize::from(self.graph.pool.available() > 0);
        self.graph.receive_neighbour(self.now_ns, &heard, &mut self.private, &mut self.public);
        // Whatever is of no interest is passed over.
        self.account(Pass { arrived, delivered: 0, neighbours: arrived }, before);
    }

    fn send_datagram(&mut self, input: &mut Input<'_>) {
        self.pass();
        let before = self.verdicts();
        let free = self.graph.pool.available();
        let peer = if input.byte() & 1 != 0 { packets::PEER4.into() } else { packets::PEER6.into() };
        let datagram = Datagram::new(peer, input.bytes());
        self.graph.send_datagram(self.now_ns, &datagram, &mut self.public);
        // Without an address of the peer's family, or a free chunk, there is nothing to send.
        let made = free - self.graph.pool.available();
        let refused = self.verdicts().dropped - before.dropped;
        self.account(Pass { arrived: made + refused, ..Pass::default() }, before);
    }
}

impl Pass {
    fn of(port: &Memory) -> Pass {
        let batch = port.arriving.iter().take(vita::frame::BATCH);
        let neighbours = batch.clone().filter(|frame| packets::is_of_neighbours(frame.data())).count();
        Pass { arrived: batch.count(), delivered: 0, neighbours }
    }
}

/// A frame that the gateway may send. Gives its packet, unless that is one of neighbours among themselves.
fn sound(frame: &[u8]) -> Option<Ip<'_>> {
    let theirs = etherparse::Ethernet2Slice::from_slice_without_fcs(frame).expect("a frame that was sent");
    if packets::is_of_neighbours(frame) {
        return None;
    }
    let family = match theirs.ether_type() {
        etherparse::EtherType::IPV4 => 4,
        etherparse::EtherType::IPV6 => 6,
        other => panic!("sent a frame of type {other:?}"),
    };
    assert_eq!(frame[14] >> 4, family, "{frame:02x?}");
    let ip = Ip::parse(&frame[14..]).expect("a packet that was sent");
    if let Ip::V4(ip) = &ip {
        assert!(ip.checksum_ok(), "{ip:?}");
    }
    assert_eq!(ip.total_len(), frame.len() - 14, "{ip:?}");
    Some(ip)
}

/// An Ethernet frame around a packet, for the gateway unless its fields are changed.
fn framed(input: &mut Input<'_>, packet: impl FnOnce(&mut Input<'_>) -> Vec<u8>) -> Vec<u8> {
    let first = input.byte();
    let packet = packet(input);
    packets::frame(first, &packet)
}

/// Bits 0 and 1: families; 2: traffic flow confidentiality; 3 and 4: mtu; 5: next hops are to be asked for; 6: inner sources
/// may be any; 7: the key exchange is off.
fn plan(config: u8, resolved: &[Arc<ResolvedMac>; 4]) -> Plan {
    let (v4_inside, v6_inside) = (config & 3 != 1, config & 3 != 0);
    let (v4_outside, v6_outside) = (config & 3 != 1, config & 3 == 1 || config & 3 == 2);
    let configured = (config & 0x20 == 0).then_some(Mac(packets::HOST));
    let private = Interface {
        mac: Mac(packets::OWN),
        v4: v4_inside.then(|| face(packets::INSIDE4, packets::HOST4, configured, &resolved[0])),
        v6: v6_inside.then(|| face(packets::INSIDE6, packets::HOST6, configured, &resolved[1])),
    };
    let public = Interface {
        mac: Mac(packets::OWN),
        v4: v4_outside.then(|| face(packets::OUTSIDE4, packets::ROUTER4, configured, &resolved[2])),
        v6: v6_outside.then(|| face(packets::OUTSIDE6, packets::ROUTER6, configured, &resolved[3])),
    };
    let own = addresses(&public);
    let tunnels = (0..ROUTES).map(|route| {
        let own = own[route % own.len()];
        Some(tunnel(own, mtu(config >> 3), config & 4 != 0))
    });
    Plan {
        private,
        public,
        protocol_port: packets::PORT,
        key_exchange: config & 0x80 == 0,
        table: table(true),
        check_inner_source: config & 0x40 == 0,
        fragment_inner: config & 0x20 == 0,
        mss_clamp: config & 0x10 == 0,
        active_peers: (0..ROUTES as u32).map(PeerNumber).collect(),
        tunnels: tunnels.collect(),
        associations: None,
        peers: peers(),
        handoff: Handoff::default(),
    }
}

/// Whoever sends datagrams to the gateway is one that may, unless the packet is edited: packets 12 and 13 are theirs.
fn peers() -> SpiTable<IpAddr> {
    let mut peers = SpiTable::with_capacity(2);
    for (byte, gateway) in [(12, packets::NEAR_HOST4.into()), (13, packets::NEAR_HOST6.into())] {
        peers.insert(u32::from_be_bytes([byte; 4]), gateway).expect("there is room for two");
    }
    peers
}

fn face<Address>(
    ip: Address,
    next_hop_ip: Address,
    mac: Option<Mac>,
    resolved: &Arc<ResolvedMac>,
) -> InterfaceAddress<Address> {
    InterfaceAddress { ip, next_hop_ip, next_hop_mac: mac, next_hop: resolved.clone(), asks: true }
}

fn addresses(interface: &Interface) -> Vec<IpAddr> {
    let v4 = interface.v4.as_ref().map(|face| IpAddr::V4(face.ip));
    v4.into_iter().chain(interface.v6.as_ref().map(|face| IpAddr::V6(face.ip))).collect()
}

fn tunnel(own: IpAddr, mtu: u16, tfc: bool) -> Tunnel {
    let peer: IpAddr = if own.is_ipv4() { packets::PEER4.into() } else { packets::PEER6.into() };
    let tunnel = Tunnel::new(own, peer, mtu, tfc).expect("both are of one family");
    if tfc { tunnel.with_marking(Marking::new(Dscp::Copy, false)) } else { tunnel }
}

/// The last is beyond what a chunk has room for.
fn mtu(choice: u8) -> u16 {
    [1440, 576, 1280, 3840][usize::from(choice & 3)]
}

/// Routes 0 to 2 have tunnels, route 3 has none. Made once: a table is large.
fn table(full: bool) -> Arc<PrefixTable> {
    static TABLES: OnceLock<[Arc<PrefixTable>; 2]> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        let nets =
            ["172.32.0.0/16", "2001:db8:32::/48", "172.32.2.0/24", "2001:db8:32:2::/64", "0.0.0.0/0", "::/0"];
        [2, nets.len()].map(|count| {
            let routes = nets.iter().take(count).enumerate();
            Arc::new(PrefixTable::build(
                routes.map(|(n, net)| (net.parse().expect("a net"), [0, 0, 1, 1, 2, 3][n])),
            ))
        })
    });
    tables[usize::from(full)].clone()
}

fn spi(peer: usize) -> u32 {
    packets::FIRST_SPI + peer as u32
}

/// Room for what waits, for what travels together, and for what is sealed meanwhile.
const CHUNKS: u32 = 512;
/// Fewer than there are keys.
const MOST_STEPS: usize = 200;
const ROUTES: usize = 3;
/// Two more than there is room for at first.
const PEERS: usize = 10;
