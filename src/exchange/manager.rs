// SPDX-License-Identifier: Apache-2.0
//! The key manager of one queue: finds the route of a datagram, keeps the deadlines of all routes, and the budgets.

use crate::clock::Instant;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::kind::{KEY_MESSAGE, Kind};
use super::message::{self, Datagram, Message};
use super::report::{Counters, Event, Rejection};
use super::sample::Sample;
use super::spis::Spis;
use super::tunnel::{Shared, Tunnel};
use super::turns::Turns;
use super::{Association, Output, Random, Route, Settings};
use crate::limit::SlidingWindow;
use crate::wire::ip::Family;

/// The key exchange of one queue. See the [module](super) for how it is driven.
pub struct KeyManager {
    shared: Shared,
    /// By route SPI.
    /// Boxed, so that one that goes leaves nothing behind in the tree.
    tunnels: BTreeMap<u32, Box<Entry>>,
    /// One entry for each route that has a deadline.
    agenda: BTreeSet<(Instant, u32)>,
    /// By address.
    peers: BTreeMap<IpAddr, Peer>,
    /// Peers with routes that want a negotiation, except those in `paused`.
    turns: Turns<IpAddr>,
    /// Peers that have had as many negotiations as they take, with the time of the next.
    paused: BTreeSet<(Instant, IpAddr)>,
    budgets: Budgets,
}

struct Entry {
    tunnel: Tunnel,
    /// Its place in the agenda.
    deadline: Option<Instant>,
    /// Whether it waits for its turn.
    waits: bool,
    budget: RouteBudget,
}

/// A gateway address, which any number of routes may have.
struct Peer {
    routes: usize,
    /// Whether the last exchange over any of its routes was one with a newer gateway.
    is_capable: bool,
    starts: SlidingWindow,
    turns: Turns<u32>,
    /// Whether it stands among the peers that carry traffic, and among the others.
    is_listed: [bool; 2],
    is_paused: bool,
}

/// What all routes of the queue share.
struct Budgets {
    starts: SlidingWindow,
    /// Knocks, while there are not too many. Then those of routes that knock rarely, and the others.
    knocks: Sample,
    rare_knocks: Sample,
    frequent_knocks: Sample,
    /// Proposals that are checked although the budget of their route is used up.
    spare_checks: SlidingWindow,
    challenges: Guarded,
    agreements: Guarded,
}

/// A budget, and its reserve for messages with the right token.
struct Guarded {
    open: SlidingWindow,
    reserve: SlidingWindow,
}

/// What one route may use, so that it takes nothing from the others.
struct RouteBudget {
    knocks: SlidingWindow,
    failed_proposals: SlidingWindow,
    good_proposals: SlidingWindow,
    failed_agreements: SlidingWindow,
}

impl KeyManager {
    /// A key manager without routes.
    pub fn new(settings: Settings, mut random: Box<dyn Random + Send>) -> Self {
        KeyManager {
            shared: Shared {
                settings: settings.bounded(),
                spis: Spis::new(&mut *random),
                random,
                owners: HashMap::new(),
                counters: Counters::default(),
                outputs: VecDeque::new(),
            },
            tunnels: BTreeMap::new(),
            agenda: BTreeSet::new(),
            peers: BTreeMap::new(),
            turns: Turns::new(),
            paused: BTreeSet::new(),
            budgets: Budgets::new(),
        }
    }

    /// Brings the routes in line with the configuration. A route that keeps its id, SPI and secret keeps its SAs. If
    /// its gateway, our own address or `negotiation_ttl` changes, exchanges under way start again. A route that is gone
    /// or has another SPI or secret loses its SAs at once. SAs that exist keep their age limit when `sa_ttl` changes.
    ///
    /// SPIs of routes are unique in a valid configuration; should two be equal, the later route counts.
    pub fn configure(&mut self, now: Instant, settings: Settings, routes: Vec<Route>) {
        self.timeout(now);
        let settings = settings.bounded();
        let before = std::mem::replace(&mut self.shared.settings, settings);

        let routes: BTreeMap<u32, Route> = routes.into_iter().map(|route| (route.spi, route)).collect();
        let stays = |spi: &u32, entry: &Entry| routes.get(spi).is_some_and(|new| entry.tunnel.is_of(new));
        let gone: Vec<u32> =
            self.tunnels.iter().filter(|(spi, entry)| !stays(spi, entry)).map(|(spi, _)| *spi).collect();
        self.remove(&gone);
        for route in routes.into_values() {
            let reset = before.own_for(route.gateway) != settings.own_for(route.gateway)
                || before.negotiation_ttl != settings.negotiation_ttl;
            self.place(now, route, reset);
        }
        self.start_negotiations(now);
    }

    /// As [`KeyManager::configure`] with the same settings, told only what is different: the SPIs of routes that are
    /// gone or have another SPI now, and routes that are new or not what they were.
    pub fn change(&mut self, now: Instant, gone: &[u32], routes: Vec<Route>) {
        self.timeout(now);
        self.remove(gone);
        let is_another =
            |route: &&Route| self.tunnels.get(&route.spi).is_some_and(|entry| !entry.tunnel.is_of(route));
        let others: Vec<u32> = routes.iter().filter(is_another).map(|route| route.spi).collect();
        self.remove(&others);
        for route in routes {
            self.place(now, route, false);
        }
        self.start_negotiations(now);
    }

    /// Takes the payload of a UDP datagram whose checksum has been verified.
    pub fn handle(&mut self, now: Instant, source: IpAddr, datagram: &[u8]) {
        self.timeout(now);
        let parsed = message::parse(datagram);
        let spi = parsed.as_ref().ok().map(|datagram| datagram.route_spi);
        if let Err(reason) = parsed.and_then(|datagram| self.process(now, source, &datagram)) {
            self.shared.counters.count_rejection(&reason);
            let entry = spi.and_then(|spi| self.tunnels.get(&spi));
            let route = entry.map(|entry| entry.tunnel.route().id.clone());
            self.shared.outputs.push_back(Output::Log(Event::Rejected { source, route, reason }));
        }
        self.start_negotiations(now);
    }

    /// A packet has authenticated under the inbound SA with this SPI. To be told at least once, after the first packet:
    /// it shows that the peer has the keys. Telling it again does no harm.
    pub fn authenticated(&mut self, now: Instant, spi: u32) {
        self.timeout(now);
        if let Some(&route) = self.shared.owners.get(&spi)
            && let Some(entry) = self.tunnels.get_mut(&route)
        {
            entry.tunnel.confirm(spi, &mut self.shared);
            self.settle(now, route);
        }
        self.start_negotiations(now);
    }

    /// Does what is due by now. Calling it too early or too often does no harm.
    pub fn timeout(&mut self, now: Instant) {
        while let Some((_, spi)) = self.agenda.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.settle(now, spi);
        }
        while let Some((_, address)) = self.paused.first().copied().filter(|(until, _)| *until <= now) {
            self.paused.pop_first();
            if let Some(peer) = self.peers.get_mut(&address) {
                peer.is_paused = false;
                peer.list(address, &mut self.turns);
            }
        }
        self.start_negotiations(now);
    }

    /// When [`KeyManager::timeout`] has to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let agenda = self.agenda.first().map(|(deadline, _)| *deadline);
        let paused = self.paused.first().map(|(until, _)| *until);
        let start = self.budgets.starts.free_at().filter(|_| self.turns.next().is_some());
        agenda.into_iter().chain(paused).chain(start).min()
    }

    /// What to do next. To be called until it returns None after every call of `configure`, `handle` and `timeout`.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.shared.outputs.pop_front();
        if output.is_none() && self.shared.outputs.capacity() > 0 {
            // The keys of those that were there.
            self.shared.outputs = VecDeque::new();
        }
        output
    }
    /// Its counters so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters
    }
    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// All live SAs, by route SPI; inbound ones newest first, then outbound ones in the order of their turns.
    pub fn associations(&self) -> impl Iterator<Item = Association<'_>> {
        self.tunnels.values().flat_map(|entry| entry.tunnel.associations())
    }

    fn process(&mut self, now: Instant, source: IpAddr, datagram: &Datagram<'_>) -> Result<(), Rejection> {
        let spi = datagram.route_spi;
        let entry = self.tunnels.get_mut(&spi).ok_or(Rejection::UnknownRoute(spi))?;
        if source != entry.tunnel.route().gateway {
            return Err(Rejection::Source);
        }
        let (lane, token) = (datagram.lane, datagram.token);
        match datagram.message {
            Message::Knock => self.knocked(now, spi, token)?,
            Message::Challenge { version, aead, nonce } => {
                let is_vouched = entry.tunnel.expects(Kind::Challenge, token)?;
                let budget = self.budgets.challenges.of(is_vouched);
                if !budget.admits(now) {
                    return Err(Rejection::RateLimit);
                }
                entry.tunnel.challenged(now, (version, aead, nonce), &mut self.shared)?;
                budget.note(now);
            }
            Message::Proposal(proposal) => entry.proposed(
                now,
                (lane, token),
                proposal,
                &mut self.budgets.spare_checks,
                &mut self.shared,
            )?,
            Message::Agreement(agreement) => {
                let is_vouched = entry.tunnel.expects(Kind::Agreement, token)?;
                let budget = self.budgets.agreements.of(is_vouched);
                if !budget.admits(now) || !entry.budget.failed_agreements.admits(now) {
                    return Err(Rejection::RateLimit);
                }
                let agreed = entry.tunnel.agreed(now, lane, agreement, &mut self.shared);
                if agreed.is_err() {
                    budget.note(now);
                    entry.budget.failed_agreements.note(now);
                }
                agreed?;
            }
        }
        self.settle(now, spi);
        Ok(())
    }

    fn knocked(&mut self, now: Instant, spi: u32, token: u16) -> Result<(), Rejection> {
        let Some(entry) = self.tunnels.get_mut(&spi) else { return Ok(()) };
        let is_rare = entry.budget.knocks.spend(now);
        if !self.budgets.admit_knock(now, is_rare, &mut *self.shared.random) {
            return Err(Rejection::RateLimit);
        }
        entry.tunnel.challenge(token, &mut self.shared);
        if entry.tunnel.knocked(now, &self.shared.settings) {
            let address = entry.tunnel.route().gateway;
            self.settle(now, spi);
            if let Some(peer) = self.peers.get_mut(&address) {
                peer.turns.advance(spi);
                self.turns.advance(address);
            }
        }
        Ok(())
    }

    fn remove(&mut self, spis: &[u32]) {
        let mut waited = BTreeSet::new();
        for spi in spis {
            let Some(entry) = self.tunnels.remove(spi) else { continue };
            if let Some(deadline) = entry.deadline {
                self.agenda.remove(&(deadline, *spi));
            }
            let gateway = entry.tunnel.route().gateway;
            if entry.waits {
                waited.insert(gateway);
            }
            entry.tunnel.destroy(&mut self.shared);
            self.leave(gateway);
        }
        for gateway in waited {
            if let Some(peer) = self.peers.get_mut(&gateway) {
                peer.turns.retain(|spi| self.tunnels.contains_key(spi));
            }
        }
    }

    /// Makes a route, or gives the one there is the gateway it has now.
    fn place(&mut self, now: Instant, route: Route, reset: bool) {
        let (spi, gateway) = (route.spi, route.gateway);
        match self.tunnels.get_mut(&spi) {
            Some(entry) => {
                let before = entry.tunnel.route().gateway;
                if entry.tunnel.set_gateway(gateway) {
                    entry.waits = false;
                    entry.tunnel.reset(&mut self.shared);
                    if let Some(peer) = self.peers.get_mut(&before) {
                        peer.turns.retain(|other| *other != spi);
                    }
                    self.leave(before);
                    self.join(gateway);
                    self.settle(now, spi);
                } else if reset {
                    entry.tunnel.reset(&mut self.shared);
                    self.settle(now, spi);
                }
            }
            None => {
                let tunnel = Tunnel::new(route, &mut self.shared);
                let budget = RouteBudget::new();
                self.tunnels.insert(spi, Box::new(Entry { tunnel, deadline: None, waits: false, budget }));
                self.join(gateway);
                self.settle(now, spi);
            }
        }
    }

    /// One more route has this gateway.
    fn join(&mut self, gateway: IpAddr) {
        self.peers.entry(gateway).or_insert_with(Peer::new).routes += 1;
    }

    /// One route less has this gateway.
    fn leave(&mut self, gateway: IpAddr) {
        let Some(peer) = self.peers.get_mut(&gateway) else { return };
        peer.routes -= 1;
        if peer.routes > 0 {
            return;
        }
        if peer.is_listed != [false; 2] {
            self.turns.retain(|other| *other != gateway);
        }
        if peer.is_paused {
            self.paused.retain(|(_, other)| *other != gateway);
        }
        self.peers.remove(&gateway);
    }

    /// Does what is due for one route, and brings agenda and turn in line with its state.
    fn settle(&mut self, now: Instant, spi: u32) {
        let Some(entry) = self.tunnels.get_mut(&spi) else { return };
        let was_capable = entry.tunnel.is_capable();
        entry.tunnel.advance(now, &mut self.shared);
        let gateway = entry.tunnel.route().gateway;
        if let Some(peer) = self.peers.get_mut(&gateway) {
            // A route that has met nobody yet says nothing about the peer.
            if was_capable || entry.tunnel.has_outbound() {
                peer.is_capable = entry.tunnel.is_capable();
            }
            if !entry.waits && entry.tunnel.wants_turn(now) {
                entry.waits = true;
                peer.turns.push(spi, entry.tunnel.has_outbound());
                peer.list(gateway, &mut self.turns);
            }
        }
        let deadline = entry.tunnel.deadline(now);
        if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
            self.agenda.remove(&(old, spi));
        }
        if let Some(deadline) = deadline {
            self.agenda.insert((deadline, spi));
        }
    }

    fn start_negotiations(&mut self, now: Instant) {
        while let Some(address) = self.turns.next() {
            let Some(peer) = self.peers.get_mut(&address) else {
                self.turns.pop();
                continue;
            };
            let Some(spi) = peer.turns.next() else {
                peer.unlist(&mut self.turns);
                continue;
            };
            let Some(entry) = self.tunnels.get_mut(&spi) else {
                peer.turns.pop();
                continue;
            };
            // The peer may have been faster.
            if entry.tunnel.wants_turn(now) {
                if !self.budgets.starts.admits(now) {
                    return;
                }
                if let Some(until) = peer.full_until(now) {
                    peer.unlist(&mut self.turns);
                    if !std::mem::replace(&mut peer.is_paused, true) {
                        self.paused.insert((until, address));
                    }
                    continue;
                }
                self.budgets.starts.note(now);
                peer.starts.note(now);
                entry.tunnel.knock(now, &mut self.shared);
            }
            entry.waits = false;
            peer.turns.pop();
            // One negotiation for each peer in turn.
            peer.unlist(&mut self.turns);
            peer.list(address, &mut self.turns);
            self.settle(now, spi);
        }
    }
}

impl Entry {
    /// Whether a tag verifies is known before there is a Diffie-Hellman, and costs little. So authentic proposals have
    /// the checks to spare of the whole queue beside the budget of the route, which only failures use up.
    fn proposed(
        &mut self,
        now: Instant,
        header: (u8, u16),
        proposal: &[u8; KEY_MESSAGE],
        spare_checks: &mut SlidingWindow,
        shared: &mut Shared,
    ) -> Result<(), Rejection> {
        let has_budget = self.budget.failed_proposals.admits(now);
        if !has_budget && !spare_checks.spend(now) {
            return Err(Rejection::RateLimit);
        }
        let received = match self.tunnel.receive(proposal, shared) {
            Ok(received) => received,
            Err(_) if !has_budget => return Err(Rejection::RateLimit),
            Err(reason) => {
                self.budget.failed_proposals.note(now);
                return Err(reason);
            }
        };
        // Whoever has the secret may still not use up the time of the other routes.
        if !self.budget.good_proposals.spend(now) {
            return Err(Rejection::RateLimit);
        }
        self.tunnel.proposed(now, header, received, shared)
    }
}

impl Peer {
    fn new() -> Self {
        Peer {
            routes: 0,
            is_capable: false,
            starts: SlidingWindow::new(STARTS_PER_SECOND),
            turns: Turns::new(),
            is_listed: [false; 2],
            is_paused: false,
        }
    }

    /// Has the peer wait for its turn if one of its routes does.
    fn list(&mut self, address: IpAddr, turns: &mut Turns<IpAddr>) {
        let carries = self.turns.has_carrying();
        let is_listed = &mut self.is_listed[usize::from(!carries)];
        if !self.turns.is_empty() && !self.is_paused && !std::mem::replace(is_listed, true) {
            turns.push(address, carries);
        }
    }

    /// Takes the peer away, whose turn it is.
    fn unlist(&mut self, turns: &mut Turns<IpAddr>) {
        let carries = turns.pop();
        self.is_listed[usize::from(!carries)] = false;
    }

    /// When the next negotiation may begin, if not now.
    fn full_until(&mut self, now: Instant) -> Option<Instant> {
        let limit = if self.is_capable { STARTS_PER_SECOND } else { DEPLOYED_STARTS_PER_SECOND };
        self.starts.set_limit(limit);
        if self.starts.admits(now) { None } else { self.starts.free_at() }
    }
}

impl Budgets {
    fn new() -> Self {
        let guarded = |limit| Guarded { open: SlidingWindow::new(limit), reserve: SlidingWindow::new(limit) };
        Budgets {
            starts: SlidingWindow::new(STARTS_PER_SECOND),
            knocks: Sample::new(KNOCKS_PER_SECOND),
            rare_knocks: Sample::new(RARE_KNOCKS_PER_SECOND),
            frequent_knocks: Sample::new(KNOCKS_PER_SECOND),
            spare_checks: SlidingWindow::new(SPARE_CHECKS_PER_SECOND),
            challenges: guarded(CHALLENGES_PER_SECOND),
            agreements: guarded(FAILED_AGREEMENTS_PER_SECOND),
        }
    }

    /// Whether a knock is answered.
    fn admit_knock(&mut self, now: Instant, is_rare: bool, random: &mut dyn Random) -> bool {
        let kind = if is_rare { &mut self.rare_knocks } else { &mut self.frequent_knocks };
        kind.arrive(now);
        // What the rare ones do not need is free for the others.
        let rare = self.rare_knocks.count().min(RARE_KNOCKS_PER_SECOND as u64) as usize;
        self.frequent_knocks.set_limit(KNOCKS_PER_SECOND - rare);
        let kind = if is_rare { &mut self.rare_knocks } else { &mut self.frequent_knocks };
        self.knocks.arrive(now);
        (!self.knocks.is_over() || kind.choose(now, random)) && self.knocks.admit(now)
    }
}

impl Guarded {
    fn of(&mut self, is_vouched: bool) -> &mut SlidingWindow {
        if is_vouched { &mut self.reserve } else { &mut self.open }
    }
}

impl RouteBudget {
    fn new() -> Self {
        RouteBudget {
            knocks: SlidingWindow::new(RARE_KNOCKS),
            failed_proposals: SlidingWindow::new(FAILED_PROPOSALS_PER_SECOND),
            good_proposals: SlidingWindow::new(GOOD_PROPOSALS_PER_SECOND),
            failed_agreements: SlidingWindow::new(FAILED_AGREEMENTS_OF_ROUTE),
        }
    }
}

impl Settings {
    /// Our address towards a gateway.
    pub(super) fn own_for(&self, gateway: IpAddr) -> Option<IpAddr> {
        self.own.of(Family::of(gateway))
    }

    /// Whether the number of the worker fits an SPI.
    pub(super) fn has_long_spis(&self) -> bool {
        self.queue < MAX_WORKERS
    }

    /// A time of zero would never let an exchange end, and a very long one would leave the range of `Instant`.
    fn bounded(mut self) -> Self {
        for ttl in [&mut self.negotiation_ttl, &mut self.sa_ttl] {
            *ttl = (*ttl).clamp(SHORTEST_TTL, LONGEST_TTL);
        }
        self
    }
}

/// The range of the top byte of an SPI, which names a worker.
const MAX_WORKERS: u16 = u8::MAX as u16;
/// Challenges that a worker offers. Above that chance decides.
const KNOCKS_PER_SECOND: usize = 1_000;
/// A route whose peer knocks more often than any does that is in its right mind competes with its like only.
const RARE_KNOCKS: usize = 5;
/// Of the challenges, those that are kept for such routes.
const RARE_KNOCKS_PER_SECOND: usize = KNOCKS_PER_SECOND / 4;
/// Negotiations with a deployed peer, which processes 100 messages a second: two for each of ours, and as many for its
/// own. A repeated knock counts as one that begins, and costs as much.
const DEPLOYED_STARTS_PER_SECOND: usize = 25;
/// Negotiations with a capable peer, and with all peers together.
const STARTS_PER_SECOND: usize = 500;
/// Proposals of one route whose tag fails.
const FAILED_PROPOSALS_PER_SECOND: usize = 50;
/// As many as a peer sends.
const GOOD_PROPOSALS_PER_SECOND: usize = 20;
/// Each takes some microseconds.
const SPARE_CHECKS_PER_SECOND: usize = 5_000;
/// Challenges of all routes that are answered by a proposal.
const CHALLENGES_PER_SECOND: usize = 1_000;
/// Each takes a Diffie-Hellman.
const FAILED_AGREEMENTS_PER_SECOND: usize = 500;
/// The same, of one route.
const FAILED_AGREEMENTS_OF_ROUTE: usize = 50;
/// The unit of the configuration.
const SHORTEST_TTL: Duration = Duration::from_secs(1);
/// The configuration's range.
const LONGEST_TTL: Duration = Duration::from_secs(1 << 32);
