// SPDX-License-Identifier: Apache-2.0
//! The key manager of one queue: finds the route of a datagram, keeps the deadlines of all routes, and the budgets.

use crate::clock::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::limit::Limit;
use super::message::{self, Datagram};
use super::report::{Counters, Event, Rejection};
use super::spis::Spis;
use super::tunnel::{Shared, Tunnel};
use super::{Association, Output, Random, Route, Settings};
use crate::wire::ip::Family;

/// The key exchange of one queue. See the [module](super) for how it is driven.
pub struct KeyManager {
    shared: Shared,
    /// By route SPI.
    tunnels: BTreeMap<u32, Entry>,
    /// One entry for each route that has a deadline.
    agenda: BTreeSet<(Instant, u32)>,
    turns: Turns,
    starts: Limit,
    messages: Limit,
    strangers: Limit,
}

struct Entry {
    tunnel: Tunnel,
    /// Its place in the agenda.
    deadline: Option<Instant>,
    /// Whether it waits for its turn.
    waits: bool,
}

impl KeyManager {
    /// A key manager without routes.
    pub fn new(settings: Settings, random: Box<dyn Random + Send>) -> Self {
        KeyManager {
            shared: Shared {
                settings: settings.bounded(),
                random,
                spis: Spis::new(),
                counters: Counters::default(),
                outputs: VecDeque::new(),
            },
            tunnels: BTreeMap::new(),
            agenda: BTreeSet::new(),
            turns: Turns::default(),
            starts: Limit::new(STARTS_PER_SECOND),
            messages: Limit::new(MESSAGES_PER_SECOND),
            strangers: Limit::new(STRANGERS_PER_SECOND),
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
        let stays = |(spi, entry): (&u32, &Entry)| routes.get(spi).is_some_and(|new| entry.tunnel.is_of(new));
        let gone: Vec<u32> =
            self.tunnels.iter().filter(|tunnel| !stays(*tunnel)).map(|(spi, _)| *spi).collect();
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

    /// Does what is due by now. Calling it too early or too often does no harm.
    pub fn timeout(&mut self, now: Instant) {
        while let Some((_, spi)) = self.agenda.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.settle(now, spi);
        }
        self.start_negotiations(now);
    }

    /// When [`KeyManager::timeout`] has to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let agenda = self.agenda.first().map(|(deadline, _)| *deadline);
        let start = self.starts.free_at().filter(|_| self.turns.next().is_some());
        agenda.into_iter().chain(start).min()
    }

    /// What to do next. To be called until it returns None after every call of `configure`, `handle` and `timeout`.
    pub fn poll(&mut self) -> Option<Output> {
        self.shared.outputs.pop_front()
    }

    pub fn counters(&self) -> Counters {
        self.shared.counters
    }

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
        let stranger = source != entry.tunnel.route().gateway;
        if !self.messages.admits(now) || stranger && !self.strangers.admits(now) {
            return Err(Rejection::RateLimit);
        }
        self.messages.note(now);
        if stranger {
            self.strangers.note(now);
        }
        entry.tunnel.handle(now, &datagram.message, &mut self.shared)?;
        self.settle(now, spi);
        Ok(())
    }

    fn remove(&mut self, spis: &[u32]) {
        let mut waited = false;
        for spi in spis {
            let Some(entry) = self.tunnels.remove(spi) else { continue };
            if let Some(deadline) = entry.deadline {
                self.agenda.remove(&(deadline, *spi));
            }
            waited |= entry.waits;
            entry.tunnel.destroy(&mut self.shared);
        }
        if waited {
            self.turns.retain(|spi| self.tunnels.contains_key(spi));
        }
    }

    /// Makes a route, or gives the one there is the gateway it has now.
    fn place(&mut self, now: Instant, route: Route, reset: bool) {
        let spi = route.spi;
        match self.tunnels.get_mut(&spi) {
            Some(entry) => {
                if entry.tunnel.set_gateway(route.gateway) || reset {
                    entry.tunnel.reset(&mut self.shared);
                    self.settle(now, spi);
                }
            }
            None => {
                let tunnel = Tunnel::new(route, &mut self.shared);
                self.tunnels.insert(spi, Entry { tunnel, deadline: None, waits: false });
                self.settle(now, spi);
            }
        }
    }

    /// Does what is due for one route, and brings agenda and turn in line with its state.
    fn settle(&mut self, now: Instant, spi: u32) {
        let Some(entry) = self.tunnels.get_mut(&spi) else { return };
        entry.tunnel.advance(now, &mut self.shared);
        if !entry.waits && entry.tunnel.wants_negotiation(now) {
            entry.waits = true;
            self.turns.push(spi, entry.tunnel.has_outbound());
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
        while let Some(spi) = self.turns.next() {
            let wanted = |entry: &&mut Entry| entry.tunnel.wants_negotiation(now);
            match self.tunnels.get_mut(&spi).filter(wanted) {
                Some(_) if !self.starts.admits(now) => return,
                Some(entry) => {
                    self.starts.note(now);
                    entry.tunnel.knock(now, &mut self.shared);
                }
                // The peer was faster.
                None => {}
            }
            self.turns.pop();
            if let Some(entry) = self.tunnels.get_mut(&spi) {
                entry.waits = false;
            }
            self.settle(now, spi);
        }
    }
}

/// Routes that want a negotiation and wait for their turn, each at most once, by route SPI.
///
/// Those that carry traffic go first: else thousands of routes whose peers are gone, and which come back all the time,
/// would outlast the SAs of those that live. Within a kind it is first come, first served.
#[derive(Default)]
struct Turns {
    carrying: VecDeque<u32>,
    idle: VecDeque<u32>,
    /// How many in a row were taken from the first line while there were others in the second.
    preferred: usize,
}

impl Turns {
    fn push(&mut self, spi: u32, carries: bool) {
        let line = if carries { &mut self.carrying } else { &mut self.idle };
        line.push_back(spi);
    }

    /// Whose turn it is.
    fn next(&self) -> Option<u32> {
        let (first, second) = (self.carrying.front(), self.idle.front());
        let turn = if self.preferred < PREFERRED_IN_A_ROW { first.or(second) } else { second.or(first) };
        turn.copied()
    }

    /// Takes the one away whose turn it is.
    fn pop(&mut self) {
        let from_first = self.next() == self.carrying.front().copied();
        let line = if from_first { &mut self.carrying } else { &mut self.idle };
        line.pop_front();
        self.preferred = if from_first && !self.idle.is_empty() { self.preferred + 1 } else { 0 };
    }

    fn retain(&mut self, keep: impl Fn(&u32) -> bool) {
        self.carrying.retain(&keep);
        self.idle.retain(&keep);
    }
}

impl Settings {
    /// Our address towards a gateway.
    pub(super) fn own_for(&self, gateway: IpAddr) -> Option<IpAddr> {
        self.own.of(Family::of(gateway))
    }

    /// A time of zero would never let an exchange end, and a very long one would leave the range of `Instant`.
    fn bounded(mut self) -> Self {
        for ttl in [&mut self.negotiation_ttl, &mut self.sa_ttl] {
            *ttl = (*ttl).clamp(SHORTEST_TTL, LONGEST_TTL);
        }
        self
    }
}

/// What deployed gateways process. An exchange costs each side two of them, so 10,000 routes are rekeyed in 200 s.
const MESSAGES_PER_SECOND: usize = 100;
/// Of these, what may come from elsewhere than from the route's gateway.
const STRANGERS_PER_SECOND: usize = MESSAGES_PER_SECOND / 4;
/// Two messages for each of our negotiations, and as many for those of the peer.
const STARTS_PER_SECOND: usize = MESSAGES_PER_SECOND / 4;
/// One turn in five is for routes without traffic, however many others there are.
const PREFERRED_IN_A_ROW: usize = 4;
/// The unit of the configuration.
const SHORTEST_TTL: Duration = Duration::from_secs(1);
/// The configuration's range.
const LONGEST_TTL: Duration = Duration::from_secs(1 << 32);
