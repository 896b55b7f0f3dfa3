// SPDX-License-Identifier: Apache-2.0
//! One route of one queue: its two state machines, its SAs, and what follows from one for the other.

use crate::clock::Instant;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use super::initiator::Initiator;
use super::lifetime::{Associations, Change, NewOutbound, Sa, rekey_after};
use super::message::{self, AEAD, KEY_MESSAGE, Message, PROLOGUE};
use super::noise::{EspKey, Keys};
use super::report::{Counters, Event, Rejection, Role};
use super::responder::Responder;
use super::spis::Spis;
use super::{Association, Direction, Output, PresharedKey, Random, Route, SaParameters, Settings};

/// What the routes of a queue share.
pub(super) struct Shared {
    pub settings: Settings,
    pub random: Box<dyn Random + Send>,
    pub spis: Spis,
    pub counters: Counters,
    pub outputs: VecDeque<Output>,
}

pub(super) struct Tunnel {
    route: Route,
    initiator: Initiator,
    responder: Responder,
    associations: Associations,
}

/// The two ends of a route, and their secret: all that the handshake has to know of the configuration.
pub(super) struct Peering<'a> {
    pub route_spi: u32,
    pub own: IpAddr,
    pub peer: IpAddr,
    pub secret: &'a PresharedKey,
}

impl Tunnel {
    pub fn new(route: Route, shared: &mut Shared) -> Self {
        Tunnel {
            route,
            initiator: Initiator::new(),
            responder: Responder::new(&mut shared.spis, &mut *shared.random),
            associations: Associations::default(),
        }
    }

    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Whether a configured route is this one, so that its SAs stay good.
    pub fn is_of(&self, route: &Route) -> bool {
        let Route { id, spi, preshared_key, .. } = &self.route;
        (id, *spi, preshared_key) == (&route.id, route.spi, &route.preshared_key)
    }

    /// Begins a negotiation.
    pub fn knock(&mut self, now: Instant, shared: &mut Shared) {
        self.initiator.start(now + shared.settings.negotiation_ttl);
        shared.counters.negotiations_initiated += 1;
        self.send(shared, message::knock(self.route.spi));
    }

    pub fn handle(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        shared: &mut Shared,
    ) -> Result<(), Rejection> {
        match message {
            Message::Knock => {
                shared.counters.challenges_offered += 1;
                self.send(shared, message::challenge(self.route.spi, self.responder.nonce()));
                Ok(())
            }
            Message::Challenge { version, aead, nonce } => {
                self.challenged(now, (*version, aead, nonce), shared)
            }
            Message::Proposal(proposal) => self.proposed(now, proposal, shared),
            Message::Agreement(agreement) => self.agreed(now, agreement, shared),
        }
    }

    /// Does what is due, except beginning a negotiation.
    pub fn advance(&mut self, now: Instant, shared: &mut Shared) {
        let mut changes = Vec::new();
        self.associations.advance(now, &mut changes);
        self.report(changes, shared);
        if self.initiator.expire(now) {
            shared.counters.negotiations_expired += 1;
            shared.outputs.push_back(Output::Log(Event::NegotiationExpired {
                route: self.route.id.clone(),
                gateway: self.route.gateway,
            }));
        }
    }

    pub fn wants_negotiation(&self, now: Instant) -> bool {
        self.initiator.is_idle() && (self.initiator.has_to_retry() || self.associations.needs_rekey(now))
    }

    pub fn has_outbound(&self) -> bool {
        self.associations.has_outbound()
    }

    /// When there is something to do next, not counting a negotiation that is wanted already at `now`.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let rekey = self.associations.rekey_at().filter(|&at| self.initiator.is_idle() && at > now);
        [self.initiator.deadline(), self.associations.deadline(), rekey].into_iter().flatten().min()
    }

    /// Takes over a changed gateway address. Says whether it is another one.
    pub fn set_gateway(&mut self, gateway: IpAddr) -> bool {
        let changed = self.route.gateway != gateway;
        self.route.gateway = gateway;
        changed
    }

    /// Forgets the exchanges under way, and nothing else.
    pub fn reset(&mut self, shared: &mut Shared) {
        self.initiator.reset();
        self.responder.reset(&mut *shared.random);
    }

    /// The end of the route and of its SAs.
    pub fn destroy(self, shared: &mut Shared) {
        for sa in self.associations.inbound() {
            shared.spis.release(sa.spi);
            let route = self.route.id.clone();
            shared.outputs.push_back(Output::RemoveInbound { route, spi: sa.spi });
        }
        if self.associations.has_outbound() {
            shared.outputs.push_back(Output::RemoveOutbound { route: self.route.id.clone() });
        }
        for spi in [self.initiator.spi(), self.responder.spi()].into_iter().flatten() {
            shared.spis.release(spi);
        }
    }

    pub fn associations(&self) -> impl Iterator<Item = Association<'_>> {
        let association = |sa: Sa, direction, active| Association {
            route: &self.route.id,
            route_spi: self.route.spi,
            direction,
            spi: sa.spi,
            aead: AEAD,
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

    fn challenged(
        &mut self,
        now: Instant,
        challenge: (u32, &[u8; 32], &[u8; 32]),
        shared: &mut Shared,
    ) -> Result<(), Rejection> {
        let deadline = now + shared.settings.negotiation_ttl;
        let peering = self.route.peering(&shared.settings);
        let proposal = self.initiator.challenged(
            &peering,
            challenge,
            deadline,
            &mut shared.spis,
            &mut *shared.random,
        )?;
        shared.counters.challenges_accepted += 1;
        self.send(shared, message::proposal(self.route.spi, &proposal));
        Ok(())
    }

    fn proposed(
        &mut self,
        now: Instant,
        proposal: &[u8; KEY_MESSAGE],
        shared: &mut Shared,
    ) -> Result<(), Rejection> {
        let peering = self.route.peering(&shared.settings);
        let (keys, spi, agreement) =
            self.responder.proposed(&peering, proposal, &mut shared.spis, &mut *shared.random)?;
        shared.counters.keypairs_offered += 1;
        self.add_inbound(now, spi, &keys, shared);
        self.send(shared, message::agreement(self.route.spi, &agreement));
        // Over a loopback the same gateway makes the other SA as initiator.
        let outbound = (!self.is_loopback(shared)).then_some(keys.peer_spi);
        if outbound.is_some() {
            self.add_outbound(now, &keys, shared);
        }
        self.log_negotiated(Role::Responder, Some(spi), outbound, shared);
        Ok(())
    }

    fn agreed(
        &mut self,
        now: Instant,
        agreement: &[u8; KEY_MESSAGE],
        shared: &mut Shared,
    ) -> Result<(), Rejection> {
        let (keys, spi) = self.initiator.agreed(agreement)?;
        shared.counters.keypairs_negotiated += 1;
        // Over a loopback the same gateway makes the other SA as responder.
        let inbound = (!self.is_loopback(shared)).then_some(spi);
        if inbound.is_some() {
            self.add_inbound(now, spi, &keys, shared);
        } else {
            shared.spis.release(spi);
        }
        self.add_outbound(now, &keys, shared);
        self.log_negotiated(Role::Initiator, inbound, Some(keys.peer_spi), shared);
        Ok(())
    }

    fn add_inbound(&mut self, now: Instant, spi: u32, keys: &Keys, shared: &mut Shared) {
        let sa = parameters(spi, &keys.inbound);
        shared.outputs.push_back(Output::InstallInbound { route: self.route.id.clone(), sa });
        let mut changes = Vec::new();
        let expires = now + shared.settings.sa_ttl;
        self.associations.add_inbound(Sa { spi, created: now, expires }, &mut changes);
        self.report(changes, shared);
    }

    fn add_outbound(&mut self, now: Instant, keys: &Keys, shared: &mut Shared) {
        let Settings { negotiation_ttl, sa_ttl, .. } = shared.settings;
        let mut random = [0; 4];
        shared.random.fill(&mut random);
        let new = NewOutbound {
            parameters: parameters(keys.peer_spi, &keys.outbound),
            created: now,
            expires: now + sa_ttl,
            rekey_at: now + rekey_after(sa_ttl, u32::from_be_bytes(random)),
            activate_at: now + negotiation_ttl + negotiation_ttl / 2,
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
                    shared.spis.release(spi);
                    shared.outputs.push_back(Output::RemoveInbound { route, spi });
                }
                Change::Expired(direction, spi) => {
                    if direction == Direction::Inbound {
                        shared.counters.inbound_sa_expired += 1;
                        shared.spis.release(spi);
                        shared.outputs.push_back(Output::RemoveInbound { route: route.clone(), spi });
                    } else {
                        shared.counters.outbound_sa_expired += 1;
                    }
                    shared.outputs.push_back(Output::Log(Event::SaExpired { route, direction, spi }));
                }
                Change::Updated => shared.counters.outbound_sa_updated += 1,
                Change::Activated(sa) => shared.outputs.push_back(Output::ActivateOutbound { route, sa }),
                Change::NoOutbound => shared.outputs.push_back(Output::RemoveOutbound { route }),
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

impl Peering<'_> {
    pub fn prologue_as_initiator(&self, nonce: &[u8; 32]) -> [u8; PROLOGUE] {
        message::prologue(self.route_spi, self.own, self.peer, nonce)
    }

    pub fn prologue_as_responder(&self, nonce: &[u8; 32]) -> [u8; PROLOGUE] {
        message::prologue(self.route_spi, self.peer, self.own, nonce)
    }
}

fn parameters(spi: u32, key: &EspKey) -> SaParameters {
    SaParameters { spi, key: key.key, salt: key.salt, aead: AEAD }
}
