// SPDX-License-Identifier: Apache-2.0
//! The side of an exchange that begins it.

use crate::clock::Instant;

use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::Random;
use super::message::{AEAD_FIELD, KEY_MESSAGE, Kind, VERSION};
use super::noise::{self, Keys, Proposed};
use super::report::Rejection;
use super::spis::Spis;
use super::tunnel::Peering;

pub(super) struct Initiator {
    state: State,
    /// The inbound SPI of the next proposal. It outlives a negotiation that expires, so that the peer, which may have
    /// agreed to that one already, replaces its SA instead of adding one.
    spi: Option<u32>,
    /// A proposal went unanswered, and the peer may have accepted it: it would send under keys that we lack. Only a
    /// complete exchange under the same SPI makes that good.
    unanswered: bool,
}

enum State {
    Idle,
    AwaitChallenge { deadline: Instant },
    AwaitAgreement { deadline: Instant, proposed: Box<Proposed> },
}

impl Initiator {
    pub fn new() -> Self {
        Initiator { state: State::Idle, spi: None, unanswered: false }
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether to begin again even if there are SAs from elsewhere.
    pub fn has_to_retry(&self) -> bool {
        self.unanswered
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::AwaitChallenge { deadline } | State::AwaitAgreement { deadline, .. } => Some(deadline),
        }
    }

    /// A knock leaves.
    pub fn start(&mut self, deadline: Instant) {
        self.state = State::AwaitChallenge { deadline };
    }

    /// Answers a challenge with the proposal that is returned.
    pub fn challenged(
        &mut self,
        peering: &Peering<'_>,
        (version, aead, nonce): (u32, &[u8; 32], &[u8; 32]),
        deadline: Instant,
        spis: &mut Spis,
        random: &mut dyn Random,
    ) -> Result<[u8; KEY_MESSAGE], Rejection> {
        if !matches!(self.state, State::AwaitChallenge { .. }) {
            return Err(Rejection::OutOfState(Kind::Challenge));
        }
        if version != VERSION {
            return Err(Rejection::Version(version));
        }
        if *aead != AEAD_FIELD {
            return Err(Rejection::Parameter);
        }
        let spi = self.spi.or_else(|| spis.allocate()).ok_or(Rejection::NoSpi)?;
        self.spi = Some(spi);
        let prologue = peering.prologue_as_initiator(nonce);
        let (proposed, message) = noise::propose(&prologue, peering.secret, ephemeral(random), spi);
        self.state = State::AwaitAgreement { deadline, proposed: Box::new(proposed) };
        Ok(message)
    }

    /// Ends the exchange, unless the agreement is bad: then nothing changes. Returns the keys and our inbound SPI.
    pub fn agreed(&mut self, agreement: &[u8; KEY_MESSAGE]) -> Result<(Keys, u32), Rejection> {
        let (State::AwaitAgreement { proposed, .. }, Some(spi)) = (&self.state, self.spi) else {
            return Err(Rejection::OutOfState(Kind::Agreement));
        };
        let keys = proposed.conclude(agreement)?;
        *self = Initiator::new();
        Ok((keys, spi))
    }

    /// Gives up waiting, but not the SPI. Says whether there was something to give up.
    pub fn expire(&mut self, now: Instant) -> bool {
        let expired = self.deadline().is_some_and(|deadline| deadline <= now);
        if expired {
            self.reset();
        }
        expired
    }

    /// Forgets an exchange under way, but not its SPI.
    pub fn reset(&mut self) {
        self.unanswered |= matches!(self.state, State::AwaitAgreement { .. });
        self.state = State::Idle;
    }

    pub fn spi(&self) -> Option<u32> {
        self.spi
    }
}

/// A fresh private key.
pub(super) fn ephemeral(random: &mut dyn Random) -> StaticSecret {
    let mut bytes = Zeroizing::new([0; 32]);
    random.fill(&mut *bytes);
    StaticSecret::from(*bytes)
}
