// SPDX-License-Identifier: Apache-2.0
//! One route of one queue: its two state machines, its SAs, and what follows from one for the other.

use crate::clock::Instant;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::initiator::{Expired, Initiator};
use super::kind::{KEY_MESSAGE, Kind};
use super::lifetime::{Associations, Change, rekey_after};
use super::message::{self, ALGORITHM, LANE, Payload};
use super::noise::{Keys, Received};
use super::peering::Peering;
use super::report::{Counters, Event, Rejection, Role};
use super::responder::Responder;
use super::sa::{NewOutbound, Sa};
use super::spis::{self, Spis};
use super::{Association, Output, Random, Route, Settings};
use crate::sa::Direction;

/// What the routes of a queue share.
pub(super) struct Shared {
    pub settings: Settings,
    pub random: Box<dyn Random + Send>,
    pub spis: Spis,
    /// The route SPI of each installed inbound SA.
    pub owners: HashMap<u32, u32>,
    pub counters: Counters,
    pub outputs: VecDeque<Output>,
}

pub(super) struct Tunnel {
    route: Route,
    initiator: Initiator,
    responder: Responder,
    associations: Associations,
    capability: Capability,
    backoff: Backoff,
}

/// Whether the peer understands the extensions.
#[derive(Default)]
struct Capability {
    is_known: bool,
    /// Negotiations in a row that expired without a challenge with our token.
    missed: u32,
}

/// Keeps a peer that does not answer from being asked too often.
#[derive(Default)]
struct Backoff {
    /// Negotiations in a row without a challenge.
    unanswered: u32,
    until: Option<Instant>,
    /// When the peer's knock last ended it.
    ended: Option<Instant>,
}

impl Tunnel {
    pub(super) fn new(route: Route, shared: &mut Shared) -> Self {
        Tunnel {
            route,
            initiator: Initiator::new(),
            responder: Responder::new(&mut *shared.random),
            associations: Associations::default(),
            capability: Capability::default(),
            backoff: Backoff::default(),
        }
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// Whether a configured route is this one, so that its SAs stay good.
    pub(super) fn is_of(&self, route: &Route) -> bool {
        let Route { id, spi, preshared_key, .. } = &self.route;
        (id, *spi, preshared_key) == (&route.id, route.spi, &route.preshared_key)
    }

    pub(super) fn is_capable(&self) -> bool {
        self.capability.is_known
    }

    /// Begins a negotiation, or repeats the knock of the one under way.
    pub(super) fn knock(&mut self, now: Instant, shared: &mut Shared) {
        if self.initiator.is_idle() {
            let token = if self.is_capable() { token(&mut *shared.random) } else { 0 };
            // A peer that stays silent is asked less often.
            let repeats = self.is_in_doubt() && self.backoff.unanswered < GRACE_IN_DOUBT;
            self.initiator.start(now, &shared.settings, token, repeats);
            shared.counters.negotiations_initiated += 1;
        } else {
            self.initiator.knock_again(now);
        }
        self.send(shared, message::knock(self.route.spi, self.initiator.token()));
    }

    /// Answers a knock. Nothing changes.
    pub(super) fn challenge(&self, token: u16, shared: &mut Shared) {
        shared.counters.challenges_offered += 1;
        let token = if self.is_capable() { token } else { 0 };
        self.send(shared, message::challenge(self.route.spi, token, self.responder.nonce()));
    }

    /// The peer knocks, so it is there: a negotiation that is wanted need not wait. Says whether to see to that.
    pub(super) fn knocked(&mut self, now: Instant, settings: &Settings) -> bool {
        let was_in_doubt = self.is_in_doubt();
        self.associations.knocked(now, settings.negotiation_ttl);
        let again = self.backoff.ended.is_none_or(|at| at + FRONT_AGAIN <= now);
        if again {
            self.backoff = Backoff { ended: Some(now), ..Backoff::default() };
        }
        again || self.is_in_doubt() && !was_in_doubt
    }

    /// Whether the initiator waits for a message of this kind. Says whether its token vouches for it.
    pub(super) fn expects(&self, kind: Kind, token: u16) -> Result<bool, Rejection> {
        self.initiator.expects(kind, token)
    }

    pub(super) fn challenged(
        &mut self,
        now: Instant,
        challenge: (u32, &[u8; 32], &[u8; 32]),
        shared: &mut Shared,
    ) -> Result<(), Rejection> {
        if !self.initiator.has_proposed() {
            self.draw_initiator_spi(shared);
        }
        let peering = self.route.peering(&shared.settings);
        let (proposal, has_accepted) =
            self.initiator.challenged(now, &peering, challenge, &shared.settings, &mut *shared.random)?;
        self.capability.missed = 0;
        if has_accepted {
            self.associations.lost_agreement(now);
        }
        shared.counters.challenges_accepted += 1;
        self.send(shared, message::proposal(self.route.spi, self.initiator.token(), &proposal));
        Ok(())
    }

    /// Whether a proposal is authentic. Nothing changes.
    pub(super) fn receive(
        &self,
        proposal: &[u8; KEY_MESSAGE],
        shared: &Shared,
    ) -> Result<Received, Rejection> {
        self.responder.receive(&self.route.peering(&shared.settings), proposal)
    }

    /// Takes an authentic proposal with the lane and token of its header.
    pub(super) fn proposed(
        &mut self,
        now: Instant,
        (lane, token): (u8, u16),
        received: Received,
        shared: &mut Shared,
    ) -> Result<(), Rejection> {
        let is_capable = received.payload.is_capable && shared.settings.extensions;
        if is_capable && received.payload.lane != lane {
            return Err(Rejection::Authentication(Kind::Proposal));
        }
        if is_capable && lane != LANE {
            return Err(Rejection::Lane(lane));
        }
        let spi = shared.allocate(is_capable).ok_or(Rejection::NoSpi)?;
        // A deployed gateway gets what deployed gateways send.
        let own = Payload { spi, is_capable, lane: LANE };
        let (keys, agreement) = match self.responder.agree(received, own, &mut *shared.random) {
            Ok(agreed) => agreed,
            Err(reason) => {
                shared.spis.release(spi);
                return Err(reason);
            }
        };
        self.met(is_capable);
        shared.counters.keypairs_offered += 1;
        self.add_inbound(now, spi, Role::Responder, &keys, shared);
        let token = if is_capable { token } else { 0 };
        self.send(shared, message::agreement(self.route.spi, token, &agreement));
        // Over a loopback the same gateway makes the other SA as initiator.
        let outbound = (!self.is_loopback(shared)).then_some(keys.peer.spi);
        if outbound.is_some() {
            self.add_outbound(now, Some(spi), Role::Responder, &keys, shared);
        }
        self.log_negotiated(Role::Responder, Some(spi), outbound, shared);
        Ok(())
    }

    pub(super) fn agreed(
        &mut self,
        now: Instant,
        lane: u8,
        agreement: &[u8; KEY_MESSAGE],
        shared: &mut Shared,
    ) -> Result<(), Rejection> {
        let peering = self.route.peering(&shared.settings);
        let (keys, spi) = self.initiator.agreed(now, &peering, lane, agreement)?;
        self.met(keys.peer.is_capable && shared.settings.extensions);
        shared.counters.keypairs_negotiated += 1;
        // Over a loopback the same gateway makes the other SA as responder.
        let inbound = (!self.is_loopback(shared)).then_some(spi);
        if inbound.is_some() {
            self.add_inbound(now, spi, Role::Initiator, &keys, shared);
        } else {
            shared.spis.release(spi);
        }
        self.add_outbound(now, inbound, Role::Initiator, &keys, shared);
        self.log_negotiated(Role::Initiator, inbound, Some(keys.peer.spi), shared);
        Ok(())
    }

    /// A packet has authenticated under this inbound SA.
    pub(super) fn confirm(&mut self, spi: u32, shared: &mut Shared) {
        self.backoff.end();
        let mut changes = Vec::new();
        self.associations.confirm(spi, &mut changes);
        self.report(changes, shared);
    }

    /// Does what is due, except beginning a negotiation.
    pub(super) fn advance(&mut self, now: Instant, shared: &mut Shared) {
        let mut changes = Vec::new();
        self.associations.advance(now, &mut changes);
        self.report(changes, shared);
        if let Some(expired) = self.initiator.expire(now) {
            self.expired(now, expired, shared);
        }
        if self.initiator.token() != 0 && self.initiator.knock_at().is_some_and(|at| at <= now) {
            self.knock(now, shared);
        }
    }

    /// Whether a negotiation has to begin, or a knock to a deployed peer has to be repeated.
    pub(super) fn wants_turn(&self, now: Instant) -> bool {
        self.next_turn(now).is_some_and(|at| at <= now)
    }

    pub(super) fn has_outbound(&self) -> bool {
        self.associations.has_outbound()
    }

    /// When there is something to do next, not counting a turn that is wanted already at `now`.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let turn = self.next_turn(now).filter(|&at| at > now);
        [self.initiator.deadline(), self.associations.deadline(), turn].into_iter().flatten().min()
    }

    /// Takes over a changed gateway address. Says whether it is another one.
    pub(super) fn set_gateway(&mut self, gateway: IpAddr) -> bool {
        let changed = self.route.gateway != gateway;
        if changed {
            self.route.gateway = gateway;
            self.capability = Capability::default();
        }
        changed
    }

    /// Forgets the exchanges under way, and nothing else.
    pub(super) fn reset(&mut self, shared: &mut Shared) {
        self.initiator.reset();
        self.responder.reset(&mut *shared.random);
        self.backoff = Backoff::default();
    }

    /// The end of the route and of its SAs.
    pub(super) fn destroy(self, shared: &mut Shared) {
        for sa in self.associations.inbound() {
            shared.release_inbound(sa.spi);
            let route = self.route.id.clone();
            shared.outputs.push_back(Output::RemoveInbound { route, spi: sa.spi });
        }
        if self.associations.has_outbound() {
            shared.outputs.push_back(Output::RemoveOutbound { route: self.route.id.clone() });
        }
        if let Some(spi) = self.initiator.spi() {
            shared.spis.release(spi);
        }
    }

    pub(super) fn associations(&self) -> impl Iterator<Item = Association<'_>> {
        let association = |sa: Sa, direction, active| Association {
            route: &self.route.id,
            route_spi: self.route.spi,
            direction,
            spi: sa.spi,
            algorithm: ALGORITHM,
            created: sa.created,
            expires: sa.expires,
            active,
        };
        let inbound = self.associations.inbound().map(move |&sa| association(sa, Direction::Inbound, true));
        let outbound = self
            .associations
            .outbound()
            .map(move |(sa, active)| association(sa, Direction::Outbound, active));
        inbound.chain(outbound)
    }

    /// When to begin the next negotiation, or to repeat the knock of the one under way.
    fn next_turn(&self, now: Instant) -> Option<Instant> {
        if !self.initiator.is_idle() {
            return self.initiator.knock_at();
        }
        let at_once = self.initiator.start_at(now);
        let wanted = if self.is_in_doubt() { at_once } else { self.associations.rekey_at().unwrap_or(now) };
        Some(wanted.max(self.backoff.until.unwrap_or(wanted)))
    }

    /// Whether one end may use keys that the other never got. A capable peer uses none that we have not shown to have.
    fn is_in_doubt(&self) -> bool {
        !self.is_capable() && (self.initiator.has_to_retry() || self.associations.is_in_doubt())
    }

    /// Sees to an SPI for the first proposal of a negotiation, of the kind that the peer gets.
    fn draw_initiator_spi(&mut self, shared: &mut Shared) {
        let fits = |spi: &u32| spis::is_long(*spi) == self.is_capable() || !shared.settings.has_long_spis();
        let held = self.initiator.spi();
        if held.as_ref().is_some_and(fits) {
            return;
        }
        if let Some(other) = held {
            shared.spis.release(other);
        }
        self.initiator.set_spi(shared.allocate(self.is_capable()));
    }

    /// An exchange has shown what the peer is.
    fn met(&mut self, is_capable: bool) {
        self.capability = Capability { is_known: is_capable, missed: 0 };
        self.backoff.end();
    }

    fn expired(&mut self, now: Instant, expired: Expired, shared: &mut Shared) {
        shared.counters.negotiations_expired += 1;
        self.associations.lost_message(now);
        let (route, gateway) = (self.route.id.clone(), self.route.gateway);
        shared.outputs.push_back(Output::Log(Event::NegotiationExpired { route, gateway }));
        if !expired.is_unanswered {
            self.backoff.end();
            return;
        }
        let remaining = self.associations.outbound_expires().map(|at| at.saturating_duration_since(now));
        let grace = if self.is_in_doubt() { GRACE_IN_DOUBT } else { GRACE };
        self.backoff.extend(now, shared.settings.negotiation_ttl, grace, remaining);
        if expired.had_token {
            self.capability.missed += 1;
            self.capability.is_known &= self.capability.missed < MISSED;
        }
    }

    fn add_inbound(&mut self, now: Instant, spi: u32, role: Role, keys: &Keys, shared: &mut Shared) {
        shared.owners.insert(spi, self.route.spi);
        let sa = keys.inbound.with_spi(spi);
        shared.outputs.push_back(Output::InstallInbound { route: self.route.id.clone(), sa });
        let mut changes = Vec::new();
        let expires = now + shared.settings.sa_ttl;
        self.associations.add_inbound(Sa { spi, created: now, expires }, role, &mut changes);
        self.report(changes, shared);
    }

    fn add_outbound(
        &mut self,
        now: Instant,
        pair: Option<u32>,
        role: Role,
        keys: &Keys,
        shared: &mut Shared,
    ) {
        let Settings { negotiation_ttl, sa_ttl, extensions, .. } = shared.settings;
        let mut random = [0; 4];
        shared.random.fill(&mut random);
        let new = NewOutbound {
            parameters: keys.outbound.with_spi(keys.peer.spi),
            created: now,
            expires: now + sa_ttl,
            rekey_at: now + rekey_after(sa_ttl, u32::from_be_bytes(random)),
            pair,
            role,
            peer_is_capable: keys.peer.is_capable && extensions,
            negotiation_ttl,
            sa_ttl,
        };
        let mut changes = Vec::new();
        self.associations.add_outbound(new, &mut changes);
        self.report(changes, shared);
    }

    fn report(&self, changes: Vec<Change>, shared: &mut Shared) {
        for change in changes {
            let route = self.route.id.clone();
            match change {
                Change::Displaced(spi) => {
                    shared.release_inbound(spi);
                    shared.outputs.push_back(Output::RemoveInbound { route, spi });
                }
                Change::Expired(direction, spi) => {
                    if direction == Direction::Inbound {
                        shared.counters.inbound_sa_expired += 1;
                        shared.release_inbound(spi);
                        shared.outputs.push_back(Output::RemoveInbound { route: route.clone(), spi });
                    } else {
                        shared.counters.outbound_sa_expired += 1;
                    }
                    shared.outputs.push_back(Output::Log(Event::SaExpired { route, direction, spi }));
                }
                Change::Updated => shared.counters.outbound_sa_updated += 1,
                Change::Activated(sa) => shared.outputs.push_back(Output::ActivateOutbound { route, sa }),
                Change::NoOutbound => shared.outputs.push_back(Output::RemoveOutbound { route }),
                Change::Dummy => shared.outputs.push_back(Output::SendDummy { route }),
            }
        }
    }

    fn log_negotiated(&self, role: Role, inbound: Option<u32>, outbound: Option<u32>, shared: &mut Shared) {
        let route = self.route.id.clone();
        shared.outputs.push_back(Output::Log(Event::Negotiated { route, role, inbound, outbound }));
    }

    fn is_loopback(&self, shared: &Shared) -> bool {
        shared.settings.own_for(self.route.gateway) == Some(self.route.gateway)
    }

    fn send(&self, shared: &mut Shared, payload: Vec<u8>) {
        shared.outputs.push_back(Output::Send { to: self.route.gateway, payload });
    }
}

impl Shared {
    fn allocate(&mut self, is_capable: bool) -> Option<u32> {
        let Settings { queue, share, .. } = self.settings;
        if is_capable { self.spis.allocate_long(queue, share) } else { self.spis.allocate(share) }
    }

    fn release_inbound(&mut self, spi: u32) {
        self.owners.remove(&spi);
        self.spis.release(spi);
    }
}

impl Backoff {
    fn end(&mut self) {
        *self = Backoff { ended: self.ended, ..Backoff::default() };
    }

    /// A negotiation of this length was not answered. With an SA in use, which has so long to live, there have to be
    /// more tries before it dies.
    fn extend(&mut self, now: Instant, negotiation_ttl: Duration, grace: u32, remaining: Option<Duration>) {
        self.unanswered = self.unanswered.saturating_add(1);
        let doublings = self.unanswered.saturating_sub(grace).min(LONGEST_PAUSE.as_secs().ilog2() + 1);
        // From one start to the next.
        let interval = (negotiation_ttl * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
        let pause = interval.saturating_sub(negotiation_ttl);
        self.until = Some(now + remaining.map_or(pause, |remaining| pause.min(remaining / 4)));
    }
}

impl Route {
    fn peering(&self, settings: &Settings) -> Peering<'_> {
        Peering {
            route_spi: self.spi,
            // Without one, nothing that is exchanged can be authentic.
            own: settings.own_for(self.gateway).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            peer: self.gateway,
            secret: &self.preshared_key,
        }
    }
}

/// Never zero, which stands for none.
fn token(random: &mut dyn Random) -> u16 {
    let mut bytes = [0; 2];
    random.fill(&mut bytes);
    u16::from_be_bytes(bytes).max(1)
}

/// Negotiations in a row without a challenge that carries our token, after which the peer is held to be a deployed one.
const MISSED: u32 = 2;
/// Negotiations in a row without a challenge before a peer is asked less often: on a bad path some fail.
const GRACE: u32 = 2;
/// The same where the peer may be using keys that were lost on their way to us.
const GRACE_IN_DOUBT: u32 = 8;
/// From one negotiation with a silent peer to the next, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the peer's knock may move a route to the front.
const FRONT_AGAIN: Duration = Duration::from_secs(1);
