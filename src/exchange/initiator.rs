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

use super::kind::{KEY_MESSAGE, Kind};
use super::message::{AEAD_FIELD, LANE, Payload, VERSION};
use super::noise::{self, Agreement, Ephemeral, Keys};
use super::peering::Peering;
use super::report::Rejection;
use super::{Random, Settings};
use crate::limit::SlidingWindow;

pub(super) struct Initiator {
    negotiation: Option<Negotiation>,
    /// The inbound SPI of the next proposal. It outlives a negotiation that expires, so that a deployed peer, which may
    /// have agreed to that one already, replaces its SA instead of adding one.
    spi: Option<u32>,
    /// A proposal went unanswered, and the peer may have accepted it: a deployed one would send under keys that we lack.
    /// Only a complete exchange under the same SPI makes that good.
    unanswered: bool,
    /// The last proposal since an exchange completed.
    proposed: Option<Proposed>,
    /// From one knock or first proposal to the next knock while in doubt. Two round trips, as the last agreement showed: if
    /// the agreement were under way while the peer answers a knock, its next nonce would look like a lost agreement.
    pause: Duration,
    /// When the last knock left.
    knocked: Option<Instant>,
}

/// A proposal that has left.
struct Proposed {
    /// Of the challenge that it answers.
    nonce: [u8; 32],
    /// When it left; none if it left more than once, so that its agreement shows no round trip.
    at: Option<Instant>,
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
    /// The first knock.
    began: Instant,
    deadline: Instant,
    /// Zero where the peer is not known to be capable, so that answers are not checked.
    token: u16,
    /// When to knock again.
    knock_at: Option<Instant>,
    /// When the last challenge came, or else the first knock left.
    heard: Instant,
    proposals: Option<Proposals>,
}

/// All proposals of one negotiation. They differ in the nonce of the challenge only.
struct Proposals {
    ephemeral: Ephemeral,
    own: Payload,
    nonces: Vec<[u8; 32]>,
    limit: SlidingWindow,
}

impl Initiator {
    pub(super) fn new() -> Self {
        Initiator {
            negotiation: None,
            spi: None,
            unanswered: false,
            proposed: None,
            pause: KNOCK_AGAIN_LATEST,
            knocked: None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.negotiation.is_none()
    }

    /// Whether to begin again even if there are SAs from elsewhere.
    pub(super) fn has_to_retry(&self) -> bool {
        self.unanswered
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.negotiation.as_ref()?.deadline)
    }

    /// A knock leaves. It is repeated until a challenge comes if it has a token, or if we are in doubt.
    pub(super) fn start(&mut self, now: Instant, settings: &Settings, token: u16, is_in_doubt: bool) {
        let pause = if token != 0 { KNOCK_AGAIN } else { self.pause };
        self.knocked = Some(now);
        self.negotiation = Some(Negotiation {
            began: now,
            deadline: now + settings.negotiation_ttl,
            token,
            knock_at: (token != 0 || is_in_doubt).then_some(now + pause),
            heard: now,
            proposals: None,
        });
    }

    /// When to knock again.
    pub(super) fn knock_at(&self) -> Option<Instant> {
        self.negotiation.as_ref()?.knock_at
    }

    /// The knock leaves again. To a peer that stays silent it does so less and less often.
    pub(super) fn knock_again(&mut self, now: Instant) {
        let Some(negotiation) = &mut self.negotiation else { return };
        let silence = now.saturating_duration_since(negotiation.heard);
        let pause = if negotiation.token != 0 { KNOCK_AGAIN } else { self.pause.max(silence / 8) };
        negotiation.knock_at = Some(now + pause);
        self.knocked = Some(now);
    }

    /// When a negotiation that is wanted at `now` may begin, so that no earlier knock is under way.
    pub(super) fn start_at(&self, now: Instant) -> Instant {
        self.knocked.map_or(now, |knocked| now.max(knocked + self.pause))
    }

    /// Whether a message of this kind with this token is one that is waited for. Says whether the token vouches for it.
    pub(super) fn expects(&self, kind: Kind, token: u16) -> Result<bool, Rejection> {
        let negotiation = self.negotiation.as_ref().ok_or(Rejection::OutOfState(kind))?;
        if kind == Kind::Agreement && negotiation.proposals.is_none() {
            return Err(Rejection::OutOfState(kind));
        }
        let checks = negotiation.token != 0;
        if checks && negotiation.token != token { Err(Rejection::Token(kind)) } else { Ok(checks) }
    }

    /// The token that our messages of this negotiation carry.
    pub(super) fn token(&self) -> u16 {
        self.negotiation.as_ref().map_or(0, |negotiation| negotiation.token)
    }

    /// Answers a challenge with the proposal that is returned. The first challenge of a negotiation needs an SPI. Says as
    /// well whether the nonce is another one than that of the last proposal, so that the peer must have accepted that.
    pub(super) fn challenged(
        &mut self,
        now: Instant,
        peering: &Peering<'_>,
        (version, aead, nonce): (u32, &[u8; 32], &[u8; 32]),
        settings: &Settings,
        random: &mut dyn Random,
    ) -> Result<([u8; KEY_MESSAGE], bool), Rejection> {
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
                // A deployed peer will use the keys even if its agreement is lost.
                negotiation.knock_at = (negotiation.token == 0).then_some(now + self.pause);
                none.insert(Proposals {
                    ephemeral: Ephemeral::new(ephemeral(random)),
                    own: Payload { spi, is_capable: settings.extensions, lane: LANE },
                    nonces: Vec::new(),
                    limit: SlidingWindow::new(PROPOSALS_PER_SECOND),
                })
            }
        };
        if !proposals.limit.spend(now) {
            return Err(Rejection::RateLimit);
        }
        // Challenges that follow do not prolong the wait for ever: anyone may send those.
        let latest = negotiation.began + settings.negotiation_ttl * LONGEST_NEGOTIATION;
        negotiation.deadline = (now + settings.negotiation_ttl).min(latest);
        negotiation.heard = now;
        proposals.keep(nonce, random);
        let prologue = peering.prologue_as_initiator(nonce);
        let before = self.proposed.as_ref().map(|proposed| proposed.nonce);
        let is_first = before != Some(*nonce);
        self.proposed = Some(Proposed { nonce: *nonce, at: is_first.then_some(now) });
        let is_new = before.is_some() && is_first;
        Ok((noise::propose(&prologue, peering.secret, &proposals.ephemeral, proposals.own), is_new))
    }

    /// Ends the exchange, unless the agreement is bad: then nothing changes. Returns the keys and our inbound SPI.
    pub(super) fn agreed(
        &mut self,
        now: Instant,
        peering: &Peering<'_>,
        lane: u8,
        agreement: &[u8; KEY_MESSAGE],
    ) -> Result<(Keys, u32), Rejection> {
        let proposals = self.negotiation.as_ref().and_then(|negotiation| negotiation.proposals.as_ref());
        let proposals = proposals.ok_or(Rejection::OutOfState(Kind::Agreement))?;
        let agreement = Agreement::new(&proposals.ephemeral, agreement)?;
        let conclude = |nonce: &[u8; 32]| {
            let prologue = peering.prologue_as_initiator(nonce);
            let keys = agreement.conclude(&prologue, peering.secret, &proposals.ephemeral, proposals.own)?;
            Some((keys, *nonce))
        };
        let keys = proposals.nonces.iter().rev().find_map(conclude);
        let fits =
            |(keys, _): &(Keys, [u8; 32])| !keys.peer.is_capable || keys.peer.lane == lane && lane == LANE;
        let (keys, nonce) = keys.filter(fits).ok_or(Rejection::Authentication(Kind::Agreement))?;
        let spi = proposals.own.spi;
        // The agreement is authentic; if its proposal left once, it shows a round trip.
        let proposed = self.proposed.as_ref().filter(|proposed| proposed.nonce == nonce);
        let proposed_at = proposed.and_then(|proposed| proposed.at);
        let round_trip = proposed_at.map(|at| now.saturating_duration_since(at));
        let pause = round_trip.map_or(self.pause, |time| (time * 2).clamp(KNOCK_AGAIN, KNOCK_AGAIN_LATEST));
        *self = Initiator { pause, ..Initiator::new() };
        Ok((keys, spi))
    }

    /// Gives up waiting, but not the SPI.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Expired> {
        let negotiation = self.negotiation.as_ref().filter(|negotiation| negotiation.deadline <= now)?;
        let is_unanswered = negotiation.proposals.is_none();
        let expired = Expired { is_unanswered, had_token: negotiation.token != 0 };
        self.reset();
        Some(expired)
    }

    /// Forgets an exchange under way, but not its SPI.
    pub(super) fn reset(&mut self) {
        let negotiation = self.negotiation.take();
        self.unanswered |= negotiation.is_some_and(|negotiation| negotiation.proposals.is_some());
    }

    /// Whether proposals of this negotiation have left, so that the SPI has to stay.
    pub(super) fn has_proposed(&self) -> bool {
        self.negotiation.as_ref().is_some_and(|negotiation| negotiation.proposals.is_some())
    }

    pub(super) fn spi(&self) -> Option<u32> {
        self.spi
    }

    /// The inbound SPI of the proposals to come.
    pub(super) fn set_spi(&mut self, spi: Option<u32>) {
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

/// Towards a capable peer, and the least pause towards a deployed one.
const KNOCK_AGAIN: Duration = Duration::from_millis(500);
/// Towards a deployed peer that answers.
const KNOCK_AGAIN_LATEST: Duration = Duration::from_secs(1);
/// In negotiation-ttls, from the first knock.
const LONGEST_NEGOTIATION: u32 = 4;
/// Challenges of one negotiation whose agreement would be recognised.
const MAX_NONCES: usize = 64;
const PROPOSALS_PER_SECOND: usize = 20;
