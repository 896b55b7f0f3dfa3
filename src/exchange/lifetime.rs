// SPDX-License-Identifier: Apache-2.0
//! The security associations of one route on one queue, from birth to death.
//!
//! ```text
//!   inbound    newest ── .. ── oldest ──► displaced by a fifth
//!   outbound   new ──► waiting (1.5 × negotiation-ttl) ──► active ──► replaced by the next
//!                         all of them die sa-ttl after they were made
//! ```
//!
//! The wait gives the peer the time to install the SA: its agreement may have been lost, and the next try, under the
//! same SPI, takes up to another negotiation-ttl.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Direction, SaParameters};

#[derive(Default)]
pub(super) struct Associations {
    /// Newest first.
    inbound: VecDeque<Sa>,
    active: Option<Active>,
    /// In the order in which they were made, which is the order in which they become active. Empty where none is
    /// active.
    waiting: VecDeque<NewOutbound>,
}

/// What is known of an SA apart from its keys.
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
    /// When it may replace the one that is active.
    pub activate_at: Instant,
}

/// What became of the SAs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Displaced(u32),
    Expired(Direction, u32),
    Updated,
    Activated(SaParameters),
    NoOutbound,
}

struct Active {
    sa: Sa,
    rekey_at: Instant,
}

impl Associations {
    pub fn add_inbound(&mut self, sa: Sa, changes: &mut Vec<Change>) {
        self.inbound.push_front(sa);
        if self.inbound.len() > MAX_INBOUND
            && let Some(oldest) = self.inbound.pop_back()
        {
            changes.push(Change::Displaced(oldest.spi));
        }
    }

    pub fn add_outbound(&mut self, new: NewOutbound, changes: &mut Vec<Change>) {
        if let Some(position) = self.waiting.iter().position(|other| other.sa().spi == new.sa().spi) {
            self.waiting.remove(position);
            changes.push(Change::Updated);
        }
        match &self.active {
            Some(active) if active.sa.spi == new.sa().spi => {
                // The peer gives an SPI out again only when the SA that had it is gone there. Those that wait are older
                // than the new one, so they must not take its place later.
                self.waiting.clear();
                changes.push(Change::Updated);
                self.activate(new, changes);
            }
            None => self.activate(new, changes),
            Some(_) => {
                self.waiting.push_back(new);
                if self.waiting.len() > MAX_WAITING {
                    self.activate_oldest(changes);
                }
            }
        }
    }

    /// Does what is due: deaths first, so that nothing dead becomes active.
    pub fn advance(&mut self, now: Instant, changes: &mut Vec<Change>) {
        // The times of life may have changed between two SAs, so the oldest is not always the first to die.
        self.inbound.retain(|sa| survives(sa, Direction::Inbound, now, changes));
        self.waiting.retain(|waiting| survives(&waiting.sa(), Direction::Outbound, now, changes));
        let had_active = self.active.is_some();
        self.active.take_if(|active| !survives(&active.sa, Direction::Outbound, now, changes));
        let newest_due = self.waiting.iter().rposition(|waiting| waiting.activate_at <= now);
        self.waiting.drain(..newest_due.unwrap_or(0));
        if newest_due.is_some() || self.active.is_none() {
            self.activate_oldest(changes);
        }
        if had_active && self.active.is_none() {
            changes.push(Change::NoOutbound);
        }
    }

    /// When [`Associations::advance`] has something to do next.
    pub fn deadline(&self) -> Option<Instant> {
        let inbound = self.inbound.iter().map(|sa| sa.expires);
        let active = self.active.iter().map(|active| active.sa.expires);
        let waiting = self.waiting.iter().map(|waiting| waiting.activate_at.min(waiting.expires));
        inbound.chain(active).chain(waiting).min()
    }

    /// When the outbound SA has to be replaced. None where there is no SA (so one is needed at once), or where its
    /// replacement waits already.
    pub fn rekey_at(&self) -> Option<Instant> {
        self.active.as_ref().filter(|_| self.waiting.is_empty()).map(|active| active.rekey_at)
    }

    pub fn needs_rekey(&self, now: Instant) -> bool {
        self.active.is_none() || self.rekey_at().is_some_and(|at| at <= now)
    }

    pub fn has_outbound(&self) -> bool {
        self.active.is_some()
    }

    pub fn inbound(&self) -> impl Iterator<Item = &Sa> {
        self.inbound.iter()
    }

    /// With whether it is active.
    pub fn outbound(&self) -> impl Iterator<Item = (Sa, bool)> {
        let active = self.active.iter().map(|active| (active.sa, true));
        active.chain(self.waiting.iter().map(|waiting| (waiting.sa(), false)))
    }

    fn activate_oldest(&mut self, changes: &mut Vec<Change>) {
        if let Some(oldest) = self.waiting.pop_front() {
            self.activate(oldest, changes);
        }
    }

    fn activate(&mut self, new: NewOutbound, changes: &mut Vec<Change>) {
        self.active = Some(Active { sa: new.sa(), rekey_at: new.rekey_at });
        changes.push(Change::Activated(new.parameters));
    }
}

impl NewOutbound {
    fn sa(&self) -> Sa {
        Sa { spi: self.parameters.spi, created: self.created, expires: self.expires }
    }
}

fn survives(sa: &Sa, direction: Direction, now: Instant, changes: &mut Vec<Change>) -> bool {
    let survives = sa.expires > now;
    if !survives {
        changes.push(Change::Expired(direction, sa.spi));
    }
    survives
}

/// When an SA made now wants to be replaced: at half its life and up to an eighth more, so that the two sides and the
/// many routes do not all begin at once. `random` is spread over all of u32.
pub(super) fn rekey_after(sa_ttl: Duration, random: u32) -> Duration {
    sa_ttl / 2 + (sa_ttl / 8).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// The active one, its replacement, and one of each for when both sides begin at once.
const MAX_INBOUND: usize = 4;
/// A peer that keeps four inbound SAs has displaced the one that is active here when four newer ones wait: the
/// oldest of those takes its place at once.
const MAX_WAITING: usize = MAX_INBOUND - 1;
