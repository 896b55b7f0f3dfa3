// SPDX-License-Identifier: Apache-2.0
//! The side of an exchange that begins it.
//!
//! A challenge is not authenticated. While the agreement is awaited further challenges are therefore answered as well:
//! a forged one that comes first does no harm. Of each challenge only the nonce is kept, because everything else of a
//! proposal can be made again from the one ephemeral key of the negotiation.

use crate::clock::Instant;
use std::time::Duration;

use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::limit::Limit;
use super::message::{AEAD_FIELD, KEY_MESSAGE, Kind, LANE, Payload, VERSION};
use super::noise::{self, Agreement, Ephemeral, Keys};
use super::report::Rejection;
use super::tunnel::Peering;
use super::{Random, Settings};

pub(super) struct Initiator {
    negotiation: Option<Negotiation>,
    /// The inbound SPI of the next proposal. It outlives a negotiation that expires, so that a deployed peer, which may
    /// have agreed to that one already, replaces its SA instead of adding one.
    spi: Option<u32>,
    /// A proposal went unanswered, and the peer may have accepted it: a deployed one would send under keys that we lack.
    /// Only a complete exchange under the same SPI makes that good.
    unanswered: bool,
}

/// A negotiation that has expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Expired {
    /// No challenge came that counts.
    pub is_unanswered: bool,
    /// The peer was held to be capable, so a challenge had to carry the token.
    pub had_token: bool,
}

struct Negotiation {
    deadline: Instant,
    /// Zero where the peer is not known to be capable, so that answers are not checked.
    token: u16,
    /// When to knock again.
    knock_at: Option<Instant>,
    proposals: Option<Proposals>,
}

/// All proposals of one negotiation. They differ in the nonce of the challenge only.
struct Proposals {
    ephemeral: Ephemeral,
    own: Payload,
    nonces: Vec<[u8; 32]>,
    limit: Limit,
}

impl Initiator {
    pub fn new() -> Self {
        Initiator { negotiation: None, spi: None, unanswered: false }
    }

    pub fn is_idle(&self) -> bool {
        self.negotiation.is_none()
    }

    /// Whether to begin again even if there are SAs from elsewhere.
    pub fn has_to_retry(&self) -> bool {
        self.unanswered
    }

    pub fn deadline(&self) -> Option<Instant> {
        let negotiation = self.negotiation.as_ref()?;
        [Some(negotiation.deadline), negotiation.knock_at].into_iter().flatten().min()
    }

    /// A knock leaves. Without a token it is the only one.
    pub fn start(&mut self, now: Instant, settings: &Settings, token: u16) {
        let knock_at = (token != 0).then_some(now + KNOCK_AGAIN);
        let deadline = now + settings.negotiation_ttl;
        self.negotiation = Some(Negotiation { deadline, token, knock_at, proposals: None });
    }

    /// The token of the knock to repeat now.
    pub fn knock_again(&mut self, now: Instant) -> Option<u16> {
        let negotiation = self.negotiation.as_mut()?;
        negotiation.knock_at.filter(|&at| at <= now)?;
        negotiation.knock_at = Some(now + KNOCK_AGAIN);
        Some(negotiation.token)
    }

    /// Whether a message of this kind with this token is one that is waited for. Says whether the token vouches for it.
    pub fn expects(&self, kind: Kind, token: u16) -> Result<bool, Rejection> {
        let negotiation = self.negotiation.as_ref().ok_or(Rejection::OutOfState(kind))?;
        if kind == Kind::Agreement && negotiation.proposals.is_none() {
            return Err(Rejection::OutOfState(kind));
        }
        let checks = negotiation.token != 0;
        if checks && negotiation.token != token { Err(Rejection::Token(kind)) } else { Ok(checks) }
    }

    /// The token that our messages of this negotiation carry.
    pub fn token(&self) -> u16 {
        self.negotiation.as_ref().map_or(0, |negotiation| negotiation.token)
    }

    /// Answers a challenge with the proposal that is returned. The first challenge of a negotiation needs `spi`.
    pub fn challenged(
        &mut self,
        now: Instant,
        peering: &Peering<'_>,
        (version, aead, nonce): (u32, &[u8; 32], &[u8; 32]),
        settings: &Settings,
        random: &mut dyn Random,
    ) -> Result<[u8; KEY_MESSAGE], Rejection> {
        let negotiation = self.negotiation.as_mut().ok_or(Rejection::OutOfState(Kind::Challenge))?;
        if version != VERSION {
            return Err(Rejection::Version(version));
        }
        if *aead != AEAD_FIELD {
            return Err(Rejection::Parameter);
        }
        let spi = self.spi.ok_or(Rejection::NoSpi)?;
        let proposals = match &mut negotiation.proposals {
            Some(proposals) => proposals,
            none => {
                // Challenges that follow do not prolong the wait: anyone may send those.
                negotiation.deadline = now + settings.negotiation_ttl;
                negotiation.knock_at = None;
                none.insert(Proposals {
                    ephemeral: Ephemeral::new(ephemeral(random)),
                    own: Payload { spi, is_capable: settings.extensions, lane: LANE },
                    nonces: Vec::new(),
                    limit: Limit::new(PROPOSALS_PER_SECOND),
                })
            }
        };
        if !proposals.limit.spend(now) {
            return Err(Rejection::RateLimit);
        }
        proposals.keep(nonce, random);
        let prologue = peering.prologue_as_initiator(nonce);
        Ok(noise::propose(&prologue, peering.secret, &proposals.ephemeral, proposals.own))
    }

    /// Ends the exchange, unless the agreement is bad: then nothing changes. Returns the keys and our inbound SPI.
    pub fn agreed(
        &mut self,
        peering: &Peering<'_>,
        lane: u8,
        agreement: &[u8; KEY_MESSAGE],
    ) -> Result<(Keys, u32), Rejection> {
        let proposals = self.negotiation.as_ref().and_then(|negotiation| negotiation.proposals.as_ref());
        let proposals = proposals.ok_or(Rejection::OutOfState(Kind::Agreement))?;
        let agreement = Agreement::new(&proposals.ephemeral, agreement)?;
        let conclude = |nonce: &[u8; 32]| {
            let prologue = peering.prologue_as_initiator(nonce);
            agreement.conclude(&prologue, peering.secret, &proposals.ephemeral, proposals.own)
        };
        let keys = proposals.nonces.iter().rev().find_map(conclude);
        let fits = |keys: &Keys| !keys.peer.is_capable || keys.peer.lane == lane && lane == LANE;
        let keys = keys.filter(fits).ok_or(Rejection::Authentication(Kind::Agreement))?;
        let spi = proposals.own.spi;
        *self = Initiator::new();
        Ok((keys, spi))
    }

    /// Gives up waiting, but not the SPI.
    pub fn expire(&mut self, now: Instant) -> Option<Expired> {
        let negotiation = self.negotiation.as_ref().filter(|negotiation| negotiation.deadline <= now)?;
        let is_unanswered = negotiation.proposals.is_none();
        let expired = Expired { is_unanswered, had_token: negotiation.token != 0 };
        self.reset();
        Some(expired)
    }

    /// Forgets an exchange under way, but not its SPI.
    pub fn reset(&mut self) {
        let negotiation = self.negotiation.take();
        self.unanswered |= negotiation.is_some_and(|negotiation| negotiation.proposals.is_some());
    }

    /// Whether proposals of this negotiation have left, so that the SPI has to stay.
    pub fn has_proposed(&self) -> bool {
        self.negotiation.as_ref().is_some_and(|negotiation| negotiation.proposals.is_some())
    }

    pub fn spi(&self) -> Option<u32> {
        self.spi
    }

    /// The inbound SPI of the proposals to come.
    pub fn set_spi(&mut self, spi: Option<u32>) {
        self.spi = spi;
    }
}

impl Proposals {
    fn keep(&mut self, nonce: &[u8; 32], random: &mut dyn Random) {
        if self.nonces.contains(nonce) {
            return;
        }
        if self.nonces.len() == MAX_NONCES {
            let mut dice = [0; 1];
            random.fill(&mut dice);
            self.nonces.swap_remove(usize::from(dice[0]) % MAX_NONCES);
        }
        self.nonces.push(*nonce);
    }
}

/// A fresh private key.
pub(super) fn ephemeral(random: &mut dyn Random) -> StaticSecret {
    let mut bytes = Zeroizing::new([0; 32]);
    random.fill(&mut *bytes);
    StaticSecret::from(*bytes)
}

/// Towards a capable peer.
const KNOCK_AGAIN: Duration = Duration::from_millis(500);
/// Challenges of one negotiation whose agreement would be recognised.
const MAX_NONCES: usize = 64;
const PROPOSALS_PER_SECOND: usize = 20;
