// SPDX-License-Identifier: Apache-2.0
//! The stages of one worker, wired.
//!
//! ```text
//! private rx ─► dispatch ─► ttl ─► private router ─► seal ─► public next hop ─► public tx
//!                 │  └ arp, nd  │               ├► fragment ┘          ▲
//!                 │             └► private icmp ◄┘ (expired, too big)  │
//!                                └ no SA here: to the worker that has one (hand-off)
//! public rx ──► dispatch ─► public router ─► open ─► inbound dispatch ─┼► ttl ─► private next hop ─► private tx
//!                 ├ arp, nd                                   │        │    │
//!                 ├► key exchange                             └► inbound icmp ─► private router (the answer goes back sealed)
//!                 └► public icmp ─► public next hop
//!                       └► path MTU ─► tunnels (too big on the way)
//! ```
//!
//! A batch takes three passes outwards and four inwards. The first prefetches what the second needs of tunnels and SAs; the
//! cryptography has a pass of its own. Packets that leave the fast path are put aside ([`Diverted`]) and handled afterwards.
//!
//! ```text
//! outbound:  route (dispatch, ttl, router) │ prepare │ seal
//! inbound:   locate (dispatch, router) │ inspect │ open │ admit (decapsulate, inbound dispatch, ttl, next hop)
//! ```
//!
//! The graph neither knows sockets nor the clock: it is driven through [`Port`]s, with the time as an argument.

use crate::aead::Aead;
use crate::count::{Counters, Reason, Side};
use crate::esp::OutboundSa;
use crate::frame::{Annotated, Batch, Frame, Notes, Pool, Port};
use crate::route::{PeerNumber, PrefixTable, RouteNumber, SpiTable};
use crate::stage::*;
use crate::wire::Mac;
use crate::wire::class;
use crate::wire::ethernet;
use crate::wire::ip::{Addresses, Ip};
use crate::wire::tcp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

/// One side of the gateway.
#[derive(Clone, Default)]
pub struct Interface {
    /// Its own MAC address.
    pub mac: Mac,
    /// If it has an IPv4 address.
    pub v4: Option<InterfaceAddress<Ipv4Addr>>,
    /// If it has an IPv6 address.
    pub v6: Option<InterfaceAddress<Ipv6Addr>>,
}

/// The addresses of one family on one side.
#[derive(Clone)]
pub struct InterfaceAddress<Address> {
    /// The own address.
    pub ip: Address,
    /// The router that all packets go to.
    pub next_hop_ip: Address,
    /// The next hop's address, if it is not to be asked for.
    pub next_hop_mac: Option<Mac>,
    /// Where its address is kept.
    pub next_hop: Arc<ResolvedMac>,
    /// Whether this worker asks for it.
    pub asks: bool,
}

/// All that a configuration says to one worker. Made by the control thread, memory for the worker included.
pub struct Plan {
    /// The network behind the gateway.
    pub private: Interface,
    /// The network between gateways.
    pub public: Interface,
    /// The UDP port of the key exchange.
    pub protocol_port: u16,
    /// Whether messages of the key exchange are wanted.
    pub key_exchange: bool,
    /// Prefixes to route numbers.
    pub table: Arc<PrefixTable>,
    /// Whether what comes out of a tunnel has to come from its route's prefixes.
    pub check_inner_source: bool,
    /// Whether IPv4 packets without DF that are too long for a tunnel are cut.
    pub fragment_inner: bool,
    /// Whether the segment size that TCP connections announce is lowered to what the tunnel takes.
    pub mss_clamp: bool,
    /// By route number.
    pub active_peers: Vec<PeerNumber>,
    /// By peer number. Outbound SAs move from the old plan to the new.
    pub tunnels: Vec<Option<Tunnel>>,
    /// Room for inbound associations, if there is to be more than before.
    pub associations: Option<SpiTable<Box<SadEntry>>>,
    /// Gateways that may take part in the key exchange, by route SPI; with room for as many as there are peers.
    pub peers: SpiTable<IpAddr>,
    /// The other workers.
    pub handoff: Handoff,
}

/// A change that touches routes only.
#[derive(Default)]
pub struct Reroute {
    /// If the prefixes are other ones.
    pub table: Option<Arc<PrefixTable>>,
    /// The peers that routes lead to from now on. Route numbers are below the length of the plan's `active_peers`.
    pub active_peers: Vec<(RouteNumber, PeerNumber)>,
    /// New tunnels. Peer numbers are below the length of the plan's `tunnels`.
    pub tunnels: Vec<(PeerNumber, Option<Tunnel>)>,
    /// SPIs of routes that are no more, or have another one.
    pub gone: Vec<u32>,
    /// Route SPIs and their gateways, where they are new or other ones.
    pub peers: Vec<(u32, IpAddr)>,
}

/// What a worker no longer needs: memory to be freed, by someone who has the time.
pub struct RetiredPlan {
    _router: PrivateRouter,
    _tunnels: Vec<Option<Tunnel>>,
    _associations: Option<SpiTable<Box<SadEntry>>>,
    _exchange: ExchangeFilter,
    _handoff: Handoff,
}

/// Which worker received a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Here,
    OtherWorker,
}

/// One worker's packet path and everything it remembers.
pub struct Graph<M = ()> {
    counters: Arc<Counters>,
    aead: &'static dyn Aead,
    protocol_port: u16,
    partial_checksums: PartialChecksums,
    private_dispatch: PrivateDispatch,
    public_dispatch: PublicDispatch,
    private_router: PrivateRouter,
    seal: Seal,
    open: Open,
    associations: SpiTable<Box<SadEntry>>,
    exchange: ExchangeFilter,
    handoff: Handoff,
    private_icmp: Icmp,
    public_icmp: Icmp,
    inbound_icmp: Icmp,
    path_mtu: PathMtu,
    private_next_hop: NextHop,
    public_next_hop: NextHop,
    /// Accounts for drops, and has the events for the log.
    pub drops: Drops,
    /// SPIs of inbound associations that had their first authentic packet; whoever drives the graph takes them.
    pub confirmed: Confirmed,
    /// A bit for each place of a worker that was handed packets; whoever drives the graph wakes those workers.
    pub handed: u64,
    /// Last, because fields are dropped in order: packets that wait for a next hop go back to it.
    pub pool: Rc<Pool>,
    /// Told of every step.
    pub meter: M,
}

impl Graph {
    /// A graph by a plan, with nothing under way.
    pub fn new(pool: Rc<Pool>, counters: Arc<Counters>, aead: &'static dyn Aead, plan: Plan) -> Graph {
        Graph::measured(pool, counters, aead, plan, ())
    }
}

impl<M: Meter> Graph<M> {
    /// A graph that tells `meter` of every step.
    pub fn measured(
        pool: Rc<Pool>,
        counters: Arc<Counters>,
        aead: &'static dyn Aead,
        mut plan: Plan,
        meter: M,
    ) -> Graph<M> {
        for tunnel in plan.tunnels.iter_mut().flatten() {
            tunnel.take_over(None);
        }
        let (inside, outside) = (plan.private.own(), plan.public.own());
        let policy = plan.policy();
        Graph {
            counters,
            aead,
            protocol_port: plan.protocol_port,
            partial_checksums: PartialChecksums::default(),
            private_dispatch: PrivateDispatch { mac: plan.private.mac, own: inside },
            public_dispatch: plan.public_dispatch(),
            open: Open { inside, policy },
            private_router: plan.router(),
            seal: Seal { tunnels: plan.tunnels },
            associations: plan.associations.unwrap_or_else(|| SpiTable::with_capacity(0)),
            exchange: ExchangeFilter { peers: plan.peers },
            handoff: plan.handoff,
            private_icmp: Icmp::new(IcmpNode::Private, inside),
            public_icmp: Icmp::new(IcmpNode::Public, outside),
            inbound_icmp: Icmp::new(IcmpNode::Inbound, inside),
            path_mtu: PathMtu::default(),
            private_next_hop: plan.private.next_hop(Side::Private),
            public_next_hop: plan.public.next_hop(Side::Public),
            drops: Drops::default(),
            confirmed: Confirmed::new(),
            handed: 0,
            pool,
            meter,
        }
    }

    /// Packets from the private side: sealed, or answered.
    pub fn outbound(&mut self, now_ns: u64, private: &mut impl Port, public: &mut impl Port) -> usize {
        let mut packets = Batch::new();
        private.receive(&mut packets);
        let work = packets.len();
        if work == 0 {
            return 0;
        }
        self.meter.lap("outbound receive");
        let partial_checksums = &self.counters.private_dispatch.partial_checksums;
        self.partial_checksums.complete(&mut packets, partial_checksums, &mut self.drops.events);
        let (mut peers, mut diverted) = (Notes::new(), Diverted::default());
        let routed = self.route(now_ns, &mut packets, &mut peers, &mut diverted);
        self.meter.lap("outbound dispatch to route");
        self.forward(now_ns, routed, &mut diverted, Origin::Here, private, public);
        work
    }

    /// Packets from the public side: opened, answered, or, those of the key exchange, given to `deliver`.
    pub fn inbound(
        &mut self,
        now_ns: u64,
        private: &mut impl Port,
        public: &mut impl Port,
        deliver: impl FnMut(Datagram) -> bool,
    ) -> usize {
        let mut packets = Batch::new();
        public.receive(&mut packets);
        let work = packets.len();
        if work == 0 {
            return 0;
        }
        self.meter.lap("inbound receive");
        let (mut located, mut diverted) = (Notes::new(), Diverted::default());
        let packets = self.locate(now_ns, &mut packets, &mut located, &mut diverted);
        self.meter.lap("inbound dispatch to SPI");
        let (mut verdicts, mut inner) = (Notes::new(), Diverted::default());
        let decrypted =
            self.open.decrypt(packets, &mut verdicts, &self.associations, self.aead, &mut self.meter);
        private.transmit(self.admit(now_ns, decrypted, &mut inner));
        self.meter.lap("inbound inside to next hop");
        if !inner.is_empty() {
            self.private_next_hop.queue(now_ns, &mut inner.unresolved, &self.counters);
            let mut answers = self.answer(now_ns, IcmpNode::Inbound, &mut inner);
            self.seal_answers(now_ns, &mut answers, public);
        }
        if !diverted.is_empty() {
            let (messages, drops) = (&mut diverted.key_exchange, &mut self.drops);
            self.exchange.collect(now_ns, messages, deliver, drops, &self.counters);
            let mut answers = self.answer(now_ns, IcmpNode::Public, &mut diverted);
            self.public_next_hop.send(now_ns, &mut answers, public, &self.counters);
            self.learn_public(now_ns, &mut diverted.neighbours, public);
        }
        work
    }

    /// From a frame of the private side to an inner packet with its peer.
    #[inline(never)]
    fn route<'a>(
        &mut self,
        now_ns: u64,
        packets: &'a mut Batch,
        peers: &'a mut Notes<PeerNumber>,
        diverted: &mut Diverted,
    ) -> Annotated<'a, PeerNumber> {
        let (dispatch, router, tunnels) = (&self.private_dispatch, &self.private_router, &self.seal.tunnels);
        let (drops, counters) = (&mut self.drops, &*self.counters);
        packets.try_annotate(
            peers,
            |frame| {
                let packet = dispatch.classify(frame)?;
                let (aged, peer) = (ttl::check(&packet, Side::Private), router.lookup(&packet, tunnels));
                let (len, may_be_syn) = (packet.total_len(), tcp::may_be_syn(&packet));
                frame.cut(ethernet::HEADER, len);
                let family = aged?;
                ttl::decrement(frame.data_mut(), family);
                let peer = peer?;
                if may_be_syn && router.mss_clamp {
                    let clamped = &counters.packet_size.outbound_mss_clamped;
                    PrivateRouter::clamp(frame, peer, tunnels, clamped);
                }
                Ok(peer)
            },
            |exception, frame| {
                let frame = without_link_header(exception, frame);
                drops.divert(now_ns, exception, frame, owner(exception, tunnels), diverted, counters);
            },
        )
    }

    /// Seals packets from inside, and handles those that left the fast path.
    #[inline(always)]
    fn forward(
        &mut self,
        now_ns: u64,
        routed: Annotated<'_, PeerNumber>,
        diverted: &mut Diverted,
        origin: Origin,
        private: &mut impl Port,
        public: &mut impl Port,
    ) {
        self.seal(now_ns, routed, origin, public);
        if !diverted.is_empty() {
            self.seal_fragments(now_ns, diverted, origin, public);
            let mut answers = self.answer(now_ns, IcmpNode::Private, diverted);
            self.private_next_hop.send(now_ns, &mut answers, private, &self.counters);
            self.learn_private(now_ns, &mut diverted.neighbours, private);
        }
    }

    /// From a frame of the public side to an ESP packet with the place of its SA.
    #[inline(never)]
    fn locate<'a>(
        &mut self,
        now_ns: u64,
        packets: &'a mut Batch,
        located: &'a mut Notes<Located>,
        diverted: &mut Diverted,
    ) -> Annotated<'a, Located> {
        let (dispatch, associations) = (&self.public_dispatch, &self.associations);
        let (drops, counters) = (&mut self.drops, &*self.counters);
        packets.try_annotate(
            located,
            |frame| {
                let (packet, offset) = dispatch.classify(frame)?;
                let slot = router::lookup_sa(&packet, offset, associations)?;
                // What follows the packet in its frame is not authenticated.
                let len = packet.total_len();
                frame.cut(ethernet::HEADER, len);
                Ok(Located { slot, offset: offset as u16 })
            },
            |exception, frame| {
                let frame = without_link_header(exception, frame);
                drops.divert(now_ns, exception, frame, Owner::Nothing, diverted, counters);
            },
        )
    }

    /// From a packet that was decrypted to a frame for the private side with the inner packet.
    #[inline(never)]
    fn admit<'a>(
        &mut self,
        now_ns: u64,
        packets: Annotated<'a, Verdict>,
        diverted: &mut Diverted,
    ) -> &'a mut Batch {
        let link_headers = self.private_next_hop.link_headers();
        let (associations, open, confirmed) = (&self.associations, &self.open, &mut self.confirmed);
        let (tunnels, clamps) = (&self.seal.tunnels, self.private_router.mss_clamp);
        let (drops, counters) = (&mut self.drops, &*self.counters);
        packets.try_retain(
            |frame, verdict| {
                // The table has not changed since the SA was found.
                let entry = associations.at(verdict.at.slot).ok_or(Reason::UnknownSpi)?;
                let inner = open.decapsulate(frame, verdict, entry, confirmed)?;
                let packet = &inner.packet;
                let (dispatched, aged) =
                    (dispatch::check_inner(packet, &open.inside), ttl::check(packet, Side::Public));
                let (start, len, class) = (inner.start, packet.total_len(), inner.class);
                let (may_be_syn, peer) = (tcp::may_be_syn(packet), entry.peer);
                frame.cut(start, len);
                if let Some(class) = class {
                    class::set(frame.data_mut(), class);
                }
                dispatched?;
                let family = aged?;
                ttl::decrement(frame.data_mut(), family);
                if may_be_syn && clamps {
                    let clamped = &counters.packet_size.inbound_mss_clamped;
                    PrivateRouter::clamp(frame, peer, tunnels, clamped);
                }
                link_headers.prepend(frame, family).ok_or(Exception::Unresolved)
            },
            |exception, frame, verdict| {
                let entry = associations.at(verdict.at.slot);
                let owner =
                    entry.map_or(Owner::Nothing, |entry| Owner::Sa { entry, offset: verdict.at.offset });
                drops.divert(now_ns, exception, frame, owner, diverted, counters);
            },
        )
    }

    /// Answers what is addressed to the gateway itself, and reports packets that cannot be forwarded. Gives IP packets.
    fn answer(&mut self, now_ns: u64, node: IcmpNode, diverted: &mut Diverted) -> Batch {
        let (icmp, tunnels) = match node {
            // Nobody inside sees our ESP packets.
            IcmpNode::Private => (&mut self.private_icmp, &mut [][..]),
            IcmpNode::Inbound => (&mut self.inbound_icmp, &mut [][..]),
            IcmpNode::Public => (&mut self.public_icmp, &mut self.seal.tunnels[..]),
        };
        let count = icmp.count(&self.counters);
        let (mut answers, mut reports) = (Batch::new(), Batch::new());
        icmp.receive(now_ns, &mut diverted.local, &mut answers, &mut reports, count, &mut self.drops.events);
        self.path_mtu.learn(now_ns, &mut reports, tunnels, count, &mut self.drops.events);
        icmp.report(now_ns, diverted.problems.drain(..), &mut answers, count);
        answers
    }

    /// Answers of ours to a host behind a tunnel.
    fn seal_answers(&mut self, now_ns: u64, packets: &mut Batch, public: &mut impl Port) {
        // One that is too big for the tunnel is not worth an error to ourselves. None is fragmented: answers have DF.
        let (mut peers, mut diverted) = (Notes::new(), Diverted::default());
        let routed = self.route_again(now_ns, packets, &mut peers, &mut diverted);
        self.seal(now_ns, routed, Origin::Here, public);
    }

    /// From a packet without Ethernet header to one with its peer.
    fn route_again<'a>(
        &mut self,
        now_ns: u64,
        packets: &'a mut Batch,
        peers: &'a mut Notes<PeerNumber>,
        diverted: &mut Diverted,
    ) -> Annotated<'a, PeerNumber> {
        let (router, tunnels) = (&self.private_router, &self.seal.tunnels);
        let (drops, counters) = (&mut self.drops, &*self.counters);
        packets.try_annotate(
            peers,
            |frame| {
                let packet = Ip::parse(frame.data()).map_err(|_| Reason::NoRoute)?;
                router.lookup(&packet, tunnels)
            },
            |exception, frame| {
                drops.divert(now_ns, exception, frame, owner(exception, tunnels), diverted, counters);
            },
        )
    }

    /// Packets that have a peer into their tunnels, or to a worker that has an SA to the peer.
    fn seal(
        &mut self,
        now_ns: u64,
        packets: Annotated<'_, PeerNumber>,
        origin: Origin,
        public: &mut impl Port,
    ) {
        if packets.is_empty() {
            return;
        }
        self.path_mtu.sending(now_ns, &mut self.seal.tunnels);
        let (link_headers, mut unsent) = (self.public_next_hop.link_headers(), Unsent::default());
        let counters = &*self.counters;
        let sealed = self.seal.run(packets, &mut unsent, &link_headers, self.aead, counters, &mut self.meter);
        public.transmit(sealed);
        self.public_next_hop.send(now_ns, &mut unsent.unresolved, public, counters);
        self.meter.lap("outbound next hop");
        if !unsent.without_sa.is_empty() {
            self.hand_over(now_ns, &mut unsent, origin);
        }
    }

    /// Gives packets to peers without an SA to workers that have one.
    #[cold]
    fn hand_over(&mut self, now_ns: u64, unsent: &mut Unsent, origin: Origin) {
        for (frame, peer) in unsent.without_sa.drain(..) {
            // They are not handed on: two workers without an SA must not play ball.
            let owner = if origin == Origin::Here { self.handoff.owner(peer) } else { None };
            let reason = match owner {
                Some(owner) if self.handoff.give(owner, frame.data()) => {
                    self.counters.outbound_handoff.handoff_out_packets.add(1);
                    self.handed |= 1 << owner;
                    continue;
                }
                Some(_) => Reason::HandoffFull,
                None => Reason::NoSa,
            };
            let owner = Owner::Tunnel(router::tunnel(&self.seal.tunnels, peer));
            self.drops.account(now_ns, reason, owner, &frame, &self.counters);
        }
    }

    /// Packets that other workers have handed over: routed anew and sealed, or answered, as those from the private side.
    #[inline(always)]
    pub fn handed_over(&mut self, now_ns: u64, private: &mut impl Port, public: &mut impl Port) -> usize {
        match self.handoff.own() {
            Some(mailbox) if mailbox.has_packets() => {
                let mailbox = mailbox.clone();
                self.receive_handed_over(now_ns, &mailbox, private, public)
            }
            _ => 0,
        }
    }

    #[cold]
    fn receive_handed_over(
        &mut self,
        now_ns: u64,
        mailbox: &Mailbox,
        private: &mut impl Port,
        public: &mut impl Port,
    ) -> usize {
        let (mut senders, mut work) = (mailbox.senders(), 0);
        while senders != 0 {
            let sender = senders.trailing_zeros() as u8;
            senders &= senders - 1;
            let mut packets = Batch::new();
            let lost = mailbox.receive(sender, &self.pool, |frame| packets.push(frame));
            self.counters.dropped(lost, Reason::HandoffFull, Default::default());
            work += packets.len();
            let (mut peers, mut diverted) = (Notes::new(), Diverted::default());
            let routed = self.route_again(now_ns, &mut packets, &mut peers, &mut diverted);
            self.forward(now_ns, routed, &mut diverted, Origin::OtherWorker, private, public);
        }
        work
    }

    /// What this worker knows of the others.
    pub fn handoff(&self) -> &Handoff {
        &self.handoff
    }

    /// Reports first authentic packets that there was no room for before.
    #[cold]
    pub fn confirm_rest(&mut self) {
        let unreported = self.associations.values().filter(|entry| entry.sa.is_unreported());
        unreported.for_each(|entry| entry.confirm(&mut self.confirmed));
    }

    /// Sends a dummy packet through a peer's tunnel.
    pub fn send_dummy(&mut self, now_ns: u64, peer: PeerNumber, public: &mut impl Port) {
        self.path_mtu.sending(now_ns, &mut self.seal.tunnels);
        let Some(mut frame) = self.pool.take() else { return };
        let link_headers = self.public_next_hop.link_headers();
        let sealed = self.seal.seal_dummy(peer, &mut frame, &link_headers, self.aead);
        let Some(is_resolved) = sealed else { return };
        let mut batch = Batch::from_iter([frame]);
        if is_resolved {
            public.transmit(&mut batch);
        } else {
            self.public_next_hop.send(now_ns, &mut batch, public, &self.counters);
        }
    }

    /// Packets that are longer than their tunnels take, fragmented.
    #[cold]
    #[inline(never)]
    fn seal_fragments(
        &mut self,
        now_ns: u64,
        diverted: &mut Diverted,
        origin: Origin,
        public: &mut impl Port,
    ) {
        // The first to come is the first to go.
        diverted.oversize.reverse();
        while !diverted.oversize.is_empty() {
            let (mut fragments, mut peers) = (Batch::new(), Notes::new());
            let (tunnels, counters) = (&self.seal.tunnels, &self.counters);
            router::fragment(
                &mut diverted.oversize,
                &self.pool,
                tunnels,
                counters,
                &mut fragments,
                &mut peers,
            );
            self.seal(now_ns, Annotated::new(&mut fragments, &mut peers), origin, public);
        }
    }

    /// Does what is due. Gives the time of the next call.
    pub fn tick(&mut self, now_ns: u64, private: &mut impl Port, public: &mut impl Port) -> u64 {
        let counters = &self.counters;
        let private_due = self.private_next_hop.tick(now_ns, &self.pool, private, counters);
        let public_due = self.public_next_hop.tick(now_ns, &self.pool, public, counters);
        let path_due = self.path_mtu.tick(now_ns, &mut self.seal.tunnels);
        private_due.min(public_due).min(path_due)
    }

    /// Tells the neighbours on both sides where this gateway is, from the next tick on.
    pub fn announce(&mut self) {
        self.private_next_hop.announce();
        self.public_next_hop.announce();
    }

    /// Takes what a neighbour said to all, which the kernel has received.
    pub fn receive_neighbour(
        &mut self,
        now_ns: u64,
        received: &NeighbourFrame,
        private: &mut impl Port,
        public: &mut impl Port,
    ) {
        let mut batch = Batch::new();
        batch.extend(self.pool.copy_of(received.frame()));
        match received.side {
            Side::Private => self.learn_private(now_ns, &mut batch, private),
            Side::Public => self.learn_public(now_ns, &mut batch, public),
        }
    }

    fn learn_private(&mut self, now_ns: u64, frames: &mut Batch, private: &mut impl Port) {
        let counters = &self.counters;
        self.private_next_hop.learn(now_ns, frames, private, counters, &mut self.drops.events);
    }

    fn learn_public(&mut self, now_ns: u64, frames: &mut Batch, public: &mut impl Port) {
        let counters = &self.counters;
        self.public_next_hop.learn(now_ns, frames, public, counters, &mut self.drops.events);
    }

    /// Sends a datagram of the key exchange.
    pub fn send_datagram(&mut self, now_ns: u64, datagram: &Datagram, public: &mut impl Port) {
        let own = self.public_icmp.own();
        let mut batch = Batch::new();
        batch.extend(datagram_frame(&self.pool, own, self.protocol_port, datagram));
        self.public_next_hop.send(now_ns, &mut batch, public, &self.counters);
    }

    /// Goes over to another plan and gives back what is left of the old one. Associations live on.
    pub fn replan(&mut self, mut plan: Plan) -> RetiredPlan {
        let public_dispatch = plan.public_dispatch();
        for (number, new) in plan.tunnels.iter_mut().enumerate() {
            let Some(new) = new else { continue };
            new.take_over(self.seal.tunnels.get_mut(number).and_then(Option::as_mut));
        }
        let (policy, router) = (plan.policy(), plan.router());
        let old_table = plan.associations.map(|mut roomier| {
            for (spi, entry) in self.associations.drain() {
                // The control thread makes the table large enough for all there can be.
                let _ = roomier.insert(spi, entry);
            }
            std::mem::replace(&mut self.associations, roomier)
        });
        let (inside, outside) = (plan.private.own(), plan.public.own());
        self.private_icmp.change(inside);
        self.inbound_icmp.change(inside);
        self.public_icmp.change(outside);
        self.private_dispatch = PrivateDispatch { mac: plan.private.mac, own: inside };
        self.open.inside = inside;
        // The router still holds the table that this lets go.
        self.open.policy = policy;
        self.protocol_port = plan.protocol_port;
        self.public_dispatch = public_dispatch;
        self.private_next_hop.change(plan.private.next_hop(Side::Private), &self.counters);
        self.public_next_hop.change(plan.public.next_hop(Side::Public), &self.counters);
        let handoff = std::mem::replace(&mut self.handoff, plan.handoff);
        for (tunnel, number) in plan.tunnels.iter().zip(0..) {
            self.handoff.set_owner(PeerNumber(number), tunnel.as_ref().is_some_and(Tunnel::has_association));
        }
        RetiredPlan {
            _router: std::mem::replace(&mut self.private_router, router),
            _tunnels: std::mem::replace(&mut self.seal.tunnels, plan.tunnels),
            _associations: old_table,
            _exchange: std::mem::replace(&mut self.exchange, ExchangeFilter { peers: plan.peers }),
            _handoff: handoff,
        }
    }

    /// Changes routes in place and gives back what was there before. Associations live on, and so does everything
    /// else.
    pub fn reroute(&mut self, mut change: Box<Reroute>) -> Box<Reroute> {
        for (number, new) in &mut change.tunnels {
            let Some(old) = self.seal.tunnels.get_mut(number.0 as usize) else { continue };
            if let Some(new) = new {
                new.take_over(old.as_mut());
            }
            std::mem::swap(new, old);
            self.handoff.set_owner(*number, old.as_ref().is_some_and(Tunnel::has_association));
        }
        for (route, new) in &mut change.active_peers {
            if let Some(active) = self.private_router.active_peers.get_mut(route.0 as usize) {
                std::mem::swap(active, new);
            }
        }
        self.exchange.change(&change.gone, &change.peers);
        if let Some(table) = &mut change.table {
            if let Some(policy) = &mut self.open.policy {
                *policy = table.clone();
            }
            std::mem::swap(table, &mut self.private_router.table);
        }
        change
    }

    /// Adds an inbound association; gives back one of the same SPI that it replaces, or itself if there is no room.
    pub fn install(&mut self, entry: Box<SadEntry>) -> Option<Box<SadEntry>> {
        self.associations.insert(entry.sa.spi(), entry).unwrap_or_else(|full| Some(full.0))
    }
    /// Removes an inbound SA.
    pub fn remove(&mut self, spi: u32) -> Option<Box<SadEntry>> {
        self.associations.remove(spi)
    }

    /// Makes an SA the one that packets to a peer are sealed with, or none. Gives back the one before.
    pub fn activate(&mut self, peer: PeerNumber, sa: Option<Box<OutboundSa>>) -> Option<Box<OutboundSa>> {
        match self.seal.tunnels.get_mut(peer.0 as usize).and_then(Option::as_mut) {
            Some(tunnel) => {
                self.handoff.set_owner(peer, sa.is_some());
                tunnel.activate(sa)
            }
            None => sa,
        }
    }
}

impl Plan {
    fn public_dispatch(&self) -> PublicDispatch {
        PublicDispatch {
            mac: self.public.mac,
            own: self.public.own(),
            protocol_port: self.protocol_port,
            key_exchange: self.key_exchange,
        }
    }

    fn router(&mut self) -> PrivateRouter {
        PrivateRouter {
            table: self.table.clone(),
            active_peers: std::mem::take(&mut self.active_peers),
            fragment_inner: self.fragment_inner,
            mss_clamp: self.mss_clamp,
        }
    }

    fn policy(&self) -> Option<Arc<PrefixTable>> {
        self.check_inner_source.then(|| self.table.clone())
    }
}

impl Interface {
    fn own(&self) -> Addresses {
        Addresses {
            v4: self.v4.as_ref().map(|address| address.ip),
            v6: self.v6.as_ref().map(|address| address.ip),
        }
    }

    fn next_hop(&self, side: Side) -> NextHop {
        NextHop::new(
            side,
            self.mac,
            self.v4.as_ref().map(InterfaceAddress::neighbour),
            self.v6.as_ref().map(InterfaceAddress::neighbour),
        )
    }
}

impl<Address: Copy + Into<IpAddr>> InterfaceAddress<Address> {
    fn neighbour(&self) -> Neighbour {
        Neighbour::new(
            self.ip.into(),
            self.next_hop_ip.into(),
            self.next_hop_mac,
            self.next_hop.clone(),
            self.asks,
        )
    }
}

/// A packet to the gateway itself starts with its IP header.
fn without_link_header(exception: Exception, mut frame: Frame) -> Frame {
    if matches!(exception, Exception::Local | Exception::KeyExchange) {
        frame.trim_front(ethernet::HEADER);
    }
    frame
}

/// The route of a packet that cannot be routed on, where that is known.
fn owner(exception: Exception, tunnels: &[Option<Tunnel>]) -> Owner<'_> {
    match exception {
        Exception::TooBig { peer, .. } => Owner::Tunnel(router::tunnel(tunnels, peer)),
        _ => Owner::Nothing,
    }
}
