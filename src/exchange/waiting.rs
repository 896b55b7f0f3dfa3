// SPDX-License-Identifier: Apache-2.0
//! An outbound SA that is not yet in use, and for how long.

use crate::clock::Instant;
use std::time::Duration;

use super::report::Role;
use super::sa::{Active, NEWER_PAIRS, NewOutbound, Sa};

pub(super) struct Waiting {
    pub new: NewOutbound,
    /// When the first of those with this SPI was made that replaced each other while they waited.
    pub since: Instant,
    /// The peer has knocked again, or a further proposal of it was accepted. It may not have got our agreement.
    pub is_doubtful: bool,
    /// Made on a path that has lost messages a while ago.
    pub is_after_loss: bool,
    /// A deployed peer is known to have another pair that is as fresh. Only its confirmation brings this one into use.
    needs_confirmation: bool,
}

impl Waiting {
    pub(super) fn new(new: NewOutbound) -> Self {
        Waiting {
            since: new.created,
            is_doubtful: false,
            is_after_loss: false,
            needs_confirmation: false,
            new,
        }
    }

    pub(super) fn sa(&self) -> Sa {
        self.new.sa()
    }

    /// Whether a deployed peer has this pair for sure: it has answered for it.
    pub(super) fn is_known_to_peer(&self) -> bool {
        self.new.role == Role::Initiator && !self.new.peer_is_capable
    }

    /// Whether it becomes active without confirmation after a time.
    pub(super) fn is_timed(&self) -> bool {
        !self.new.peer_is_capable && !self.needs_confirmation
    }

    pub(super) fn await_confirmation(&mut self) {
        self.needs_confirmation |= !self.is_known_to_peer();
    }

    pub(super) fn doubt(&mut self) {
        self.is_doubtful |= self.new.role == Role::Responder && !self.new.peer_is_capable;
    }

    /// When it becomes active without confirmation. None where only confirmation counts.
    ///
    /// A deployed peer installs its keys up to a second after its agreement has left, and may not have got ours, in
    /// which case it proposes again. Most often it proposes the same SPI, and the new SA takes the place of this one.
    /// But the SA in use does not live for ever.
    ///
    /// On a path that loses messages its next knock may be lost as well. A pair that it has for sure is used as soon as it
    /// is installed if that in use may not exist there, or not for long.
    pub(super) fn due(&self, active: Option<&Active>, lost: usize) -> Option<Instant> {
        let NewOutbound { created, negotiation_ttl, sa_ttl, .. } = self.new;
        if !self.is_timed() {
            return None;
        }
        let longest = negotiation_ttl * 4;
        let wait = (negotiation_ttl + negotiation_ttl / 2).max(SHORTEST_WAIT);
        let is_urgent = active.is_some_and(|active| active.is_doubtful) || lost + 1 >= NEWER_PAIRS;
        let wait = match self.is_known_to_peer() {
            true if is_urgent => INSTALLATION,
            false if self.is_doubtful || self.is_after_loss => longest,
            _ => wait.min(longest),
        };
        let mut due = created + wait;
        if let Some(active) = active {
            let reserve = (negotiation_ttl * 2).min(sa_ttl / 4);
            // Instants before the first one cannot be had.
            let latest = active.sa.created + active.sa.life().saturating_sub(reserve);
            due = due.min(latest);
        }
        Some(due.max(created + INSTALLATION))
    }
}

/// The least wait before an SA is used that a deployed peer has not confirmed.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);
/// A deployed peer installs new keys once a second.
const INSTALLATION: Duration = Duration::from_secs(1);
