// SPDX-License-Identifier: Apache-2.0
//! Records of SAs: what is kept of every one, of a new outbound one, and of the outbound one in use.

use crate::clock::Instant;
use crate::sa::SaParameters;
use std::time::Duration;

use super::report::Role;

/// SPI and life of an SA; the keys are the worker's.
#[derive(Clone, Copy)]
pub(super) struct Sa {
    pub spi: u32,
    pub created: Instant,
    pub expires: Instant,
}

/// An outbound SA about to be placed.
pub(super) struct NewOutbound {
    pub parameters: SaParameters,
    pub created: Instant,
    pub expires: Instant,
    /// When to replace it by another one.
    pub rekey_at: Instant,
    /// The inbound SPI of its pair; none over a loopback.
    pub pair: Option<u32>,
    /// Our part in the exchange.
    pub role: Role,
    /// Whether both messages of the exchange had the format of newer gateways.
    pub peer_is_capable: bool,
    pub negotiation_ttl: Duration,
    pub sa_ttl: Duration,
}

/// The outbound SA in use.
pub(super) struct Active {
    pub sa: Sa,
    pub rekey_at: Instant,
    pub pair: Option<u32>,
    pub dummies: Option<Dummies>,
    pub peer_is_capable: bool,
    /// The peer may not have this pair.
    pub is_doubtful: bool,
}

/// Dummy packets that ask for confirmation.
pub(super) struct Dummies {
    pub next: Instant,
    /// Between the last and the next.
    pub pause: Duration,
}

impl Sa {
    /// From its making to its end.
    pub(super) fn life(&self) -> Duration {
        self.expires.saturating_duration_since(self.created)
    }
}

impl NewOutbound {
    pub(super) fn sa(&self) -> Sa {
        Sa { spi: self.parameters.spi, created: self.created, expires: self.expires }
    }
}

/// The active one, its replacement, and one of each for when both sides begin at once.
pub(super) const MAX_INBOUND: usize = 4;
/// A deployed peer keeps four inbound SAs. When it has made three that are newer, the next one may displace the one that
/// is active here.
pub(super) const NEWER_PAIRS: usize = MAX_INBOUND - 1;
