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
//! A batch takes three passes outwards and four inwards. Between the first and the second, what the tunnels and associations
//! of its packets need comes near the core; the cryptography has a pass of its own:
//!
//! ```text
//! outbound:  route (dispatch, ttl, router) │ prepare │ seal
//! inbound:   find (dispatch, router) │ inspect │ open │ admit (decapsulate, inbound dispatch, ttl, next hop)
//! ```
//!
//! The graph neither knows sockets nor the clock: it is driven through [`Port`]s, with the time as an argument.

use crate::aead::Aead;
use crate::count::Counters;
use crate::esp::OutboundSa;
use crate::frame::{Batch, Pool, Port};
use crate::route::{PrefixTable, SpiTable};
use crate::stage::dispatch::Inner;
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
    pub mac: Mac,
    pub v4: Option<Face<Ipv4Addr>>,
    pub v6: Option<Face<Ipv6Addr>>,
}

/// What a side is for one family.
#[derive(Clone)]
pub struct Face<Address> {
    pub ip: Address,
    pub next_hop_ip: Address,
    /// The next hop's address, if it is not to be asked for.
    pub next_hop_mac: Option<Mac>,
    /// Where its address is kept.
    pub next_hop: Arc<Resolved>,
    /// Whether this worker asks for it.
    pub asks: bool,
}

/// All that a configuration says to one worker. Made by the control thread, memory for the worker included.
pub struct Plan {
    pub private: Interface,
    pub public: Interface,
    pub protocol_port: u16,
    /// Whether messages of the key exchange are wanted.
    pub key_exchange: bool,
    pub table: Arc<PrefixTable>,
    /// Whether what comes out of a tunnel has to come from its route's prefixes.
    pub check_inner_source: bool,
    /// Whether IPv4 packets without DF that are too long for a tunnel are cut.
    pub fragment_inner: bool,
    /// Whether the segment size that TCP connections announce is lowered to what the tunnel takes.
    pub mss_clamp: bool,
    /// By route number. Outbound associations move from the old plan to the new.
    pub tunnels: Vec<Option<Tunnel>>,
    /// Room for inbound associations, if there is to be more than before.
    pub associations: Option<SpiTable<Box<Inbound>>>,
    /// Gateways that may take part in the key exchange, by route SPI; with room for as many routes as `tunnels`.
    pub peers: SpiTable<IpAddr>,
    /// The other workers.
    pub handoff: Handoff,
}

/// A change that touches routes only.
#[derive(Default)]
pub struct Reroute {
    /// If the prefixes are other ones.
    pub table: Option<Arc<PrefixTable>>,
    /// Route numbers, below the length of the plan's `tunnels`, and what they lead to from now on.
    pub tunnels: Vec<(u32, Option<Tunnel>)>,
    /// SPIs of routes that are no more, or have another one.
    pub gone: Vec<u32>,
    /// Route SPIs and their gateways, where they are new or other ones.
    pub peers: Vec<(u32, IpAddr)>,
}

/// What a worker no longer needs: memory to be freed, by someone who has the time.
pub struct Leftover {
    _router: PrivateRouter,
    _tunnels: Vec<Option<Tunnel>>,
    _associations: Option<SpiTable<Box<Inbound>>>,
    _exchange: ExchangeFilter,
    _handoff: Handoff,
}

/// Which worker received a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Here,
    OtherWorker,
}

/// Why a packet from inside goes no further.
enum Stop {
    Dispatch(dispatch::Other),
    Ttl(ttl::Stop),
    Route(router::Stop),
}

/// Why a packet from outside goes no further.
enum Lost {
    Dispatch(dispatch::NotEsp),
    Router(router::Lost),
}

/// Why the inside of a packet goes no further.
enum Kept {
    Outside,
    Malformed,
    Dispatch(Inner),
    Ttl(ttl::Stop),
    NextHop(Unknown),
}

/// One worker's packet path and everything it remembers.
pub struct Graph<M = ()> {
    counters: Arc<Counters>,
    aead: &'static dyn Aead,
    protocol_port: u16,
    partial_checksums: PartialChecksums,
    private_dispatch: PrivateDispatch,
    public_dispatch: PublicDispatch,
    inbound_dispatch: InboundDispatch,
    private_router: PrivateRouter,
    outbound: Outbound,
    open: Open,
    associations: SpiTable<Box<Inbound>>,
    exchange: ExchangeFilter,
    handoff: Handoff,
    private_icmp: Icmp,
    public_icmp: Icmp,
    inbound_icmp: Icmp,
    path_mtu: PathMtu,
    private_next_hop: NextHop,
    public_next_hop: NextHop,
    /// For the log; whoever drives the graph takes them.
    pub events: Events,
    /// SPIs of inbound associations that had their first authentic packet; whoever drives the graph takes them.
    pub confirmed: Confirmed,
    /// A bit for each place of a worker that was handed packets; whoever drives the graph wakes those workers.
    pub handed: u64,
    /// Last, because fields are dropped in order: packets that wait for a next hop go back to it.
    pub pool: Rc<Pool>,
    pub meter: M,
}

impl Graph {
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
            inbound_dispatch: InboundDispatch { own: inside },
            open: Open::new(inside, policy),
            private_router: plan.router(),
            outbound: Outbound { tunnels: plan.tunnels },
            associations: plan.associations.unwrap_or_else(|| SpiTable::with_capacity(0)),
            exchange: ExchangeFilter::new(plan.peers),
            handoff: plan.handoff,
            private_icmp: Icmp::new(inside),
            public_icmp: Icmp::new(outside),
            inbound_icmp: Icmp::new(inside),
            path_mtu: PathMtu::default(),
            private_next_hop: plan.private.next_hop(),
            public_next_hop: plan.public.next_hop(),
            events: Events::new(),
            confirmed: Confirmed::new(),
            handed: 0,
            pool,
            meter,
        }
    }

    /// Packets from the private side: sealed, or answered.
    pub fn outbound(&mut self, now_ns: u64, private: &mut impl Port, public: &mut impl Port) -> usize {
        let count = self.counters.clone();
        let icmp_count = IcmpCount { v4: &count.private_icmp4, v6: &count.private_icmp6 };
        let [mut packets, mut local, mut neighbours] = batches();
        private.receive(&mut packets);
        let work = packets.len();
        if work == 0 {
            return 0;
        }
        self.meter.lap("outbound receive");
        self.partial_checksums.complete(&mut packets, &count.private_dispatch, &mut self.events);
        let [mut expired, mut too_big, mut oversize, mut answers, mut reports] = batches();
        let mut stopped = router::Stopped { too_big: &mut too_big, oversize: &mut oversize };
        self.route(&mut packets, &mut local, &mut neighbours, &mut expired, &mut stopped);
        self.meter.lap("outbound dispatch to route");
        self.private_icmp.receive(
            now_ns,
            &mut local,
            &mut answers,
            &mut reports,
            icmp_count,
            &mut self.events,
        );
        // Inside, nobody sees our ESP packets.
        self.path_mtu.learn(now_ns, &mut reports, &mut [], icmp_count, &mut self.events);
        self.private_icmp.report(now_ns, Problem::TimeExceeded, &mut expired, &mut answers, icmp_count);
        self.seal(now_ns, &mut packets, Origin::Here, public);
        if !oversize.is_empty() {
            self.seal_in_pieces(now_ns, &mut oversize, Origin::Here, public);
        }
        self.private_icmp.report(now_ns, Problem::TooBig, &mut too_big, &mut answers, icmp_count);
        self.private_next_hop.send(now_ns, &mut answers, private, &count.private_next_hop);
        self.private_next_hop.learn(
            now_ns,
            &mut neighbours,
            private,
            &count.private_next_hop,
            &mut self.events,
        );
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
        let count = self.counters.clone();
        let [mut packets, mut exchange, mut local, mut neighbours] = batches();
        public.receive(&mut packets);
        let work = packets.len();
        if work == 0 {
            return 0;
        }
        self.meter.lap("inbound receive");
        self.find(&mut packets, &mut exchange, &mut local, &mut neighbours);
        self.meter.lap("inbound dispatch to SPI");
        self.exchange.collect(now_ns, &mut exchange, deliver, &count.key_manager, &mut self.events);

        let mut verdicts = self.open.decrypt(
            now_ns,
            &mut packets,
            &self.associations,
            self.aead,
            &mut self.events,
            &mut self.meter,
        );
        let [mut inner, mut expired, mut answers, mut reports] = batches();
        self.admit(now_ns, &mut packets, &mut verdicts, &mut inner, &mut expired);
        private.transmit(&mut packets);
        self.meter.lap("inbound inside to next hop");

        let icmp_count = IcmpCount { v4: &count.inbound_icmp4, v6: &count.inbound_icmp6 };
        self.inbound_icmp.receive(
            now_ns,
            &mut inner,
            &mut answers,
            &mut reports,
            icmp_count,
            &mut self.events,
        );
        self.path_mtu.learn(now_ns, &mut reports, &mut [], icmp_count, &mut self.events);
        self.inbound_icmp.report(now_ns, Problem::TimeExceeded, &mut expired, &mut answers, icmp_count);
        self.answer(now_ns, &mut answers, public);

        let [mut answers, mut reports] = batches();
        let icmp_count = IcmpCount { v4: &count.public_icmp4, v6: &count.public_icmp6 };
        self.public_icmp.receive(
            now_ns,
            &mut local,
            &mut answers,
            &mut reports,
            icmp_count,
            &mut self.events,
        );
        let tunnels = &mut self.outbound.tunnels;
        self.path_mtu.learn(now_ns, &mut reports, tunnels, icmp_count, &mut self.events);
        self.public_next_hop.send(now_ns, &mut answers, public, &count.public_next_hop);
        self.public_next_hop.learn(now_ns, &mut neighbours, public, &count.public_next_hop, &mut self.events);
        work
    }

    /// From a frame of the private side to a packet that is marked with its route.
    #[inline(never)]
    fn route(
        &self,
        packets: &mut Batch,
        local: &mut Batch,
        neighbours: &mut Batch,
        expired: &mut Batch,
        stopped: &mut router::Stopped<'_>,
    ) {
        let count = &self.counters;
        let (dispatch, router, tunnels) =
            (&self.private_dispatch, &self.private_router, &self.outbound.tunnels);
        packets.sift(
            |frame| {
                let packet = dispatch.judge(frame).map_err(Stop::Dispatch)?;
                let (aged, route) = (ttl::check(&packet), router.pick(&packet, tunnels));
                let (len, may_be_syn) = (packet.total_len(), tcp::may_be_syn(&packet));
                frame.cut(ethernet::HEADER, len);
                let family = aged.map_err(Stop::Ttl)?;
                ttl::decrement(frame.data_mut(), family);
                frame.mark = route.map_err(Stop::Route)?;
                if may_be_syn && router.mss_clamp {
                    let (route, clamped) = (frame.mark, &count.packet_size.outbound_mss_clamped);
                    PrivateRouter::clamp(frame, route, tunnels, clamped);
                }
                Ok(())
            },
            |stop, frame| match stop {
                Stop::Dispatch(other) => {
                    let (count, of_ttl) = (&count.private_dispatch, &count.outbound_ttl);
                    PrivateDispatch::divert(other, frame, local, neighbours, count, of_ttl);
                }
                Stop::Ttl(stop) => ttl::divert(stop, frame, expired, &count.outbound_ttl),
                Stop::Route(stop) => router.divert(stop, frame, stopped, tunnels, &count.private_router),
            },
        );
    }

    /// From a frame of the public side to a packet that is marked with its security association.
    #[inline(never)]
    fn find(&self, packets: &mut Batch, exchange: &mut Batch, local: &mut Batch, neighbours: &mut Batch) {
        let count = &self.counters;
        let (dispatch, associations) = (&self.public_dispatch, &self.associations);
        packets.sift(
            |frame| {
                let (packet, offset) = dispatch.judge(frame).map_err(Lost::Dispatch)?;
                let place = router::find(&packet, offset, associations).map_err(Lost::Router)?;
                // What follows the packet in its frame is not authenticated.
                let len = packet.total_len();
                frame.cut(ethernet::HEADER, len);
                (frame.offset, frame.mark) = (offset as u16, place);
                Ok(())
            },
            |lost, frame| match lost {
                Lost::Dispatch(found) => {
                    let count = &count.public_dispatch;
                    PublicDispatch::divert(found, frame, exchange, local, neighbours, count);
                }
                Lost::Router(lost) => router::count_lost(lost, &count.public_router),
            },
        );
    }

    /// From a packet that was decrypted to a frame for the private side with what was in it.
    #[inline(never)]
    fn admit(
        &mut self,
        now_ns: u64,
        packets: &mut Batch,
        verdicts: &mut Verdicts,
        inner: &mut Batch,
        expired: &mut Batch,
    ) {
        let count = &self.counters;
        let ways = self.private_next_hop.ways();
        let (tunnels, clamps) = (&self.outbound.tunnels, self.private_router.mss_clamp);
        packets.sift(
            |frame| {
                let verdict = verdicts.of_next();
                let inbound = self.associations.at_mut(frame.mark);
                let (verdict, inbound) = verdict.zip(inbound).ok_or(Kept::Outside)?;
                let opened = match self.open.judge(frame, verdict, inbound, &mut self.confirmed) {
                    Ok(opened) => opened,
                    Err(Closed::Malformed) => return Err(Kept::Malformed),
                    Err(Closed::NoPacket) => return Err(Kept::Dispatch(Inner::Unfit)),
                    Err(Closed::Refused(reason)) => {
                        self.open.refuse(now_ns, reason, frame, inbound, &mut self.events);
                        return Err(Kept::Outside);
                    }
                };
                let packet = &opened.packet;
                let (dispatched, aged) = (self.inbound_dispatch.judge(packet), ttl::check(packet));
                let (start, len, class) = (opened.start, packet.total_len(), opened.class);
                let (may_be_syn, route) = (tcp::may_be_syn(packet), inbound.route);
                frame.cut(start, len);
                if let Some(class) = class {
                    class::set(frame.data_mut(), class);
                }
                dispatched.map_err(Kept::Dispatch)?;
                let family = aged.map_err(Kept::Ttl)?;
                ttl::decrement(frame.data_mut(), family);
                if may_be_syn && clamps {
                    let clamped = &count.packet_size.inbound_mss_clamped;
                    PrivateRouter::clamp(frame, route, tunnels, clamped);
                }
                ways.take(frame, family).map_err(Kept::NextHop)
            },
            |kept, frame| match kept {
                // It has been counted where it was refused.
                Kept::Outside => {}
                Kept::Malformed => count.inbound_ttl.protocol_errors.add(1),
                Kept::Dispatch(Inner::Local) => inner.push(frame),
                Kept::Dispatch(Inner::Unfit) => count.inbound_dispatch.protocol_errors.add(1),
                Kept::Ttl(stop) => ttl::divert(stop, frame, expired, &count.inbound_ttl),
                Kept::NextHop(Unknown) => {
                    self.private_next_hop.hold(now_ns, frame, &count.private_next_hop);
                }
            },
        );
    }

    /// Answers of ours to who is behind a tunnel.
    fn answer(&mut self, now_ns: u64, packets: &mut Batch, public: &mut impl Port) {
        if packets.is_empty() {
            return;
        }
        // One that is too big for the tunnel is not worth an error to ourselves. None is cut: answers have DF.
        let mut stopped = router::Stopped { too_big: &mut Batch::new(), oversize: &mut Batch::new() };
        self.route_again(packets, &mut stopped);
        self.seal(now_ns, packets, Origin::Here, public);
    }

    /// From a packet without Ethernet header to one that is marked with its route.
    fn route_again(&self, packets: &mut Batch, stopped: &mut router::Stopped<'_>) {
        let (router, tunnels) = (&self.private_router, &self.outbound.tunnels);
        packets.sift(
            |frame| {
                let packet = Ip::parse(frame.data()).map_err(|_| router::Stop::NoRoute)?;
                frame.mark = router.pick(&packet, tunnels)?;
                Ok(())
            },
            |stop, frame| router.divert(stop, frame, stopped, tunnels, &self.counters.private_router),
        );
    }

    /// Packets that have a route into their tunnels, or to a worker that has an SA of the route.
    fn seal(&mut self, now_ns: u64, packets: &mut Batch, origin: Origin, public: &mut impl Port) {
        if packets.is_empty() {
            return;
        }
        self.path_mtu.sending(now_ns, &mut self.outbound.tunnels);
        let count = self.counters.clone();
        let (ways, mut aside) = (self.public_next_hop.ways(), Aside::empty());
        self.outbound.run(packets, &mut aside, &ways, self.aead, &count.private_router, &mut self.meter);
        public.transmit(packets);
        self.public_next_hop.send(now_ns, &mut aside.bare, public, &count.public_next_hop);
        self.meter.lap("outbound next hop");
        if !aside.stray.is_empty() {
            self.hand_over(&mut aside.stray, origin);
        }
    }

    /// Gives packets of routes without an SA to workers that have one.
    #[cold]
    fn hand_over(&mut self, stray: &mut Batch, origin: Origin) {
        let count = &self.counters.private_router;
        for frame in stray.drain(..) {
            // They are not handed on: two workers without an SA must not play ball.
            let owner = if origin == Origin::Here { self.handoff.owner(frame.mark) } else { None };
            let Some(owner) = owner else {
                self.outbound.count_stray(frame.mark, count);
                continue;
            };
            if self.handoff.give(owner, frame.data()) {
                self.counters.outbound_handoff.handoff_out_packets.add(1);
                self.handed |= 1 << owner;
            } else {
                self.counters.outbound_handoff.handoff_out_drops.add(1);
                count.rxerrors.add(1);
            }
        }
    }

    /// Packets that other workers have handed over: routed anew and sealed, or answered, as those from the private side.
    #[inline(always)]
    pub fn handed_over(&mut self, now_ns: u64, private: &mut impl Port, public: &mut impl Port) -> usize {
        match self.handoff.own() {
            Some(mailbox) if mailbox.has_packets() => {
                let mailbox = mailbox.clone();
                self.take_handed(now_ns, &mailbox, private, public)
            }
            _ => 0,
        }
    }

    #[cold]
    fn take_handed(
        &mut self,
        now_ns: u64,
        mailbox: &Mailbox,
        private: &mut impl Port,
        public: &mut impl Port,
    ) -> usize {
        let count = self.counters.clone();
        let (mut senders, mut work) = (mailbox.senders(), 0);
        while senders != 0 {
            let sender = senders.trailing_zeros() as u8;
            senders &= senders - 1;
            let [mut packets, mut too_big, mut oversize, mut answers] = batches();
            let lost = mailbox.take(sender, &self.pool, |frame| packets.push(frame));
            count.outbound_handoff.handoff_out_drops.add(lost);
            count.private_router.rxerrors.add(lost);
            work += packets.len();
            let mut stopped = router::Stopped { too_big: &mut too_big, oversize: &mut oversize };
            self.route_again(&mut packets, &mut stopped);
            self.seal(now_ns, &mut packets, Origin::OtherWorker, public);
            if !oversize.is_empty() {
                self.seal_in_pieces(now_ns, &mut oversize, Origin::OtherWorker, public);
            }
            let icmp_count = IcmpCount { v4: &count.private_icmp4, v6: &count.private_icmp6 };
            self.private_icmp.report(now_ns, Problem::TooBig, &mut too_big, &mut answers, icmp_count);
            self.private_next_hop.send(now_ns, &mut answers, private, &count.private_next_hop);
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
        let unreported = self.associations.values_mut().filter(|inbound| inbound.sa.is_unreported());
        unreported.for_each(|inbound| inbound.confirm(&mut self.confirmed));
    }

    /// Sends a dummy packet through a route's tunnel.
    pub fn send_dummy(&mut self, now_ns: u64, route: u32, public: &mut impl Port) {
        self.path_mtu.sending(now_ns, &mut self.outbound.tunnels);
        let Some(mut frame) = self.pool.take() else { return };
        let ways = self.public_next_hop.ways();
        let Some(is_bare) = self.outbound.seal_dummy(route, &mut frame, &ways, self.aead) else { return };
        let mut batch = Batch::from_iter([frame]);
        if is_bare {
            self.public_next_hop.send(now_ns, &mut batch, public, &self.counters.public_next_hop);
        } else {
            public.transmit(&mut batch);
        }
    }

    /// Packets that are longer than their tunnels take, cut.
    #[cold]
    #[inline(never)]
    fn seal_in_pieces(&mut self, now_ns: u64, oversize: &mut Batch, origin: Origin, public: &mut impl Port) {
        // The first to come is the first to go.
        oversize.reverse();
        let mut pieces = Batch::new();
        while !oversize.is_empty() {
            let (tunnels, count) = (&self.outbound.tunnels, &self.counters);
            let (count, sizes) = (&count.private_router, &count.packet_size);
            router::fragment(oversize, &self.pool, tunnels, count, sizes, &mut pieces);
            self.seal(now_ns, &mut pieces, origin, public);
        }
    }

    /// Does what is due. Gives the time of the next call.
    pub fn tick(&mut self, now_ns: u64, private: &mut impl Port, public: &mut impl Port) -> u64 {
        let count = &self.counters;
        let private_due = self.private_next_hop.tick(now_ns, &self.pool, private, &count.private_next_hop);
        let public_due = self.public_next_hop.tick(now_ns, &self.pool, public, &count.public_next_hop);
        let path_due = self.path_mtu.tick(now_ns, &mut self.outbound.tunnels);
        private_due.min(public_due).min(path_due)
    }

    /// Tells the neighbours on both sides where this gateway is, from the next tick on.
    pub fn announce(&mut self) {
        self.private_next_hop.announce();
        self.public_next_hop.announce();
    }

    /// Takes what a neighbour said to all, which the kernel has received.
    pub fn hear(&mut self, now_ns: u64, heard: &Overheard, private: &mut impl Port, public: &mut impl Port) {
        let (count, mut batch) = (&self.counters, Batch::new());
        batch.extend(self.pool.copy_of(heard.frame()));
        match heard.side {
            Side::Private => {
                self.private_next_hop.learn(
                    now_ns,
                    &mut batch,
                    private,
                    &count.private_next_hop,
                    &mut self.events,
                );
            }
            Side::Public => {
                self.public_next_hop.learn(
                    now_ns,
                    &mut batch,
                    public,
                    &count.public_next_hop,
                    &mut self.events,
                );
            }
        }
    }

    /// Sends a datagram of the key exchange.
    pub fn send_datagram(&mut self, now_ns: u64, datagram: &Datagram, public: &mut impl Port) {
        let own = self.public_icmp.own();
        let mut batch = Batch::new();
        batch.extend(datagram_frame(&self.pool, own, self.protocol_port, datagram));
        self.public_next_hop.send(now_ns, &mut batch, public, &self.counters.public_next_hop);
    }

    /// Goes over to another plan and gives back what is left of the old one. Associations live on.
    pub fn replan(&mut self, mut plan: Plan) -> Leftover {
        let public_dispatch = plan.public_dispatch();
        for (number, new) in plan.tunnels.iter_mut().enumerate() {
            let Some(new) = new else { continue };
            new.take_over(self.outbound.tunnels.get_mut(number).and_then(Option::as_mut));
        }
        let (policy, router) = (plan.policy(), plan.router());
        let old_table = plan.associations.map(|mut roomier| {
            for (spi, inbound) in self.associations.drain() {
                // The control thread makes the table large enough for all there can be.
                let _ = roomier.insert(spi, inbound);
            }
            std::mem::replace(&mut self.associations, roomier)
        });
        let (inside, outside) = (plan.private.own(), plan.public.own());
        if self.private_icmp.own() != inside {
            self.private_icmp = Icmp::new(inside);
            self.inbound_icmp = Icmp::new(inside);
        }
        if self.public_icmp.own() != outside {
            self.public_icmp = Icmp::new(outside);
        }
        self.private_dispatch = PrivateDispatch { mac: plan.private.mac, own: inside };
        self.inbound_dispatch.own = inside;
        self.open.inside = inside;
        // The router still holds the table that this lets go.
        self.open.policy = policy;
        self.protocol_port = plan.protocol_port;
        self.public_dispatch = public_dispatch;
        self.private_next_hop.change(plan.private.next_hop(), &self.counters.private_next_hop);
        self.public_next_hop.change(plan.public.next_hop(), &self.counters.public_next_hop);
        let handoff = std::mem::replace(&mut self.handoff, plan.handoff);
        for (tunnel, number) in plan.tunnels.iter().zip(0..) {
            self.handoff.tell(number, tunnel.as_ref().is_some_and(Tunnel::has_association));
        }
        Leftover {
            _router: std::mem::replace(&mut self.private_router, router),
            _tunnels: std::mem::replace(&mut self.outbound.tunnels, plan.tunnels),
            _associations: old_table,
            _exchange: std::mem::replace(&mut self.exchange, ExchangeFilter::new(plan.peers)),
            _handoff: handoff,
        }
    }

    /// Changes routes in place and gives back what was there before. Associations live on, and so does everything
    /// else.
    pub fn reroute(&mut self, mut change: Box<Reroute>) -> Box<Reroute> {
        for (number, new) in &mut change.tunnels {
            let Some(old) = self.outbound.tunnels.get_mut(*number as usize) else { continue };
            if let Some(new) = new {
                new.take_over(old.as_mut());
            }
            std::mem::swap(new, old);
            self.handoff.tell(*number, old.as_ref().is_some_and(Tunnel::has_association));
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
    pub fn install(&mut self, inbound: Box<Inbound>) -> Option<Box<Inbound>> {
        self.associations.insert(inbound.sa.spi(), inbound).unwrap_or_else(|full| Some(full.0))
    }

    pub fn remove(&mut self, spi: u32) -> Option<Box<Inbound>> {
        self.associations.remove(spi)
    }

    /// Makes an association the one that a route's packets are sealed with, or none. Gives back the one before.
    pub fn activate(&mut self, route: u32, sa: Option<Box<OutboundSa>>) -> Option<Box<OutboundSa>> {
        match self.outbound.tunnels.get_mut(route as usize).and_then(Option::as_mut) {
            Some(tunnel) => {
                self.handoff.tell(route, sa.is_some());
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

    fn router(&self) -> PrivateRouter {
        let (fragment_inner, mss_clamp) = (self.fragment_inner, self.mss_clamp);
        PrivateRouter { table: self.table.clone(), fragment_inner, mss_clamp }
    }

    fn policy(&self) -> Option<Arc<PrefixTable>> {
        self.check_inner_source.then(|| self.table.clone())
    }
}

impl Interface {
    fn own(&self) -> Addresses {
        Addresses { v4: self.v4.as_ref().map(|face| face.ip), v6: self.v6.as_ref().map(|face| face.ip) }
    }

    fn next_hop(&self) -> NextHop {
        NextHop::new(self.mac, self.v4.as_ref().map(Face::neighbour), self.v6.as_ref().map(Face::neighbour))
    }
}

impl<Address: Copy + Into<IpAddr>> Face<Address> {
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

#[inline(always)]
fn batches<const N: usize>() -> [Batch; N] {
    std::array::from_fn(|_| Batch::new())
}
