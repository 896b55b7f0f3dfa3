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

use crate::clock::Instant;
use std::collections::VecDeque;
use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_inbound_sa_displaces_the_oldest() {
        let mut story = Story::new();
        for spi in 1..=4 {
            assert_eq!(story.inbound(spi), []);
        }
        assert_eq!(story.inbound(5), [Change::Displaced(1)]);
        let spis: Vec<u32> = story.associations.inbound().map(|sa| sa.spi).collect();
        assert_eq!(spis, [5, 4, 3, 2], "newest first");
    }

    #[test]
    fn the_first_outbound_sa_is_active_at_once_and_the_next_one_waits() {
        let mut story = Story::new();
        assert_eq!(story.outbound(1), [activated(1, 0)]);
        story.pass(300);
        assert_eq!(story.outbound(2), []);
        story.pass(7);
        assert_eq!(story.advance(), []);
        assert_eq!(story.associations.deadline(), Some(story.at(307) + HALF_SECOND));
        story.now += HALF_SECOND;
        assert_eq!(story.advance(), [activated(2, 300)]);
    }

    #[test]
    fn the_same_spi_replaces_the_active_sa_and_drops_older_ones_that_wait() {
        let mut story = Story::new();
        story.outbound(1);
        story.pass(1);
        story.outbound(2);
        story.pass(1);
        assert_eq!(story.outbound(1), [Change::Updated, activated(1, 2)]);
        story.pass(20);
        assert_eq!(story.advance(), [], "2 is older than the new 1");
    }

    #[test]
    fn the_same_spi_replaces_a_waiting_sa_whose_wait_begins_again() {
        let mut story = Story::new();
        story.outbound(1);
        story.outbound(2);
        story.pass(5);
        assert_eq!(story.outbound(2), [Change::Updated]);
        story.pass(5);
        assert_eq!(story.advance(), []);
        story.pass(3);
        assert_eq!(story.advance(), [activated(2, 5)]);
    }

    #[test]
    fn when_several_have_waited_long_enough_the_newest_of_them_becomes_active() {
        let mut story = Story::new();
        for spi in 1..=3 {
            story.outbound(spi);
        }
        story.pass(8);
        assert_eq!(story.advance(), [activated(3, 0)]);
        assert_eq!(story.associations.outbound().count(), 1);
    }

    #[test]
    fn no_more_wait_than_the_peer_can_have_beside_the_active_one() {
        let mut story = Story::new();
        for spi in 1..=4 {
            story.outbound(spi);
        }
        assert_eq!(story.outbound(5), [activated(2, 0)]);
        assert_eq!(story.associations.outbound().count(), 4);
    }

    #[test]
    fn every_sa_dies_at_its_age() {
        let mut story = Story::new();
        story.inbound(10);
        story.outbound(1);
        story.pass(599);
        assert_eq!(story.advance(), []);
        assert_eq!(story.associations.deadline(), Some(story.at(600)));
        story.pass(1);
        assert_eq!(
            story.advance(),
            [
                Change::Expired(Direction::Inbound, 10),
                Change::Expired(Direction::Outbound, 1),
                Change::NoOutbound
            ]
        );
        assert_eq!(story.associations.deadline(), None);
    }

    #[test]
    fn when_the_active_sa_dies_the_waiting_one_does_not_wait_longer() {
        let mut story = Story::new();
        story.outbound(1);
        story.pass(598);
        story.outbound(2);
        story.pass(2);
        assert_eq!(story.advance(), [Change::Expired(Direction::Outbound, 1), activated(2, 598)]);
    }

    #[test]
    fn a_waiting_sa_can_die_before_its_turn() {
        let mut story = Story::new();
        story.outbound(1);
        story.sa_ttl = Duration::from_secs(3);
        story.outbound(2);
        story.pass(3);
        assert_eq!(story.associations.deadline(), Some(story.now));
        assert_eq!(story.advance(), [Change::Expired(Direction::Outbound, 2)]);
    }

    #[test]
    fn younger_sas_may_die_first_after_the_time_of_life_was_shortened() {
        let mut story = Story::new();
        story.inbound(10);
        story.sa_ttl = Duration::from_secs(60);
        story.inbound(11);
        story.pass(60);
        assert_eq!(story.advance(), [Change::Expired(Direction::Inbound, 11)]);
    }

    #[test]
    fn a_rekey_is_due_without_an_sa_or_with_an_old_one_but_not_while_its_replacement_waits() {
        let mut story = Story::new();
        assert!(story.associations.needs_rekey(story.now));
        story.outbound(1);
        assert!(!story.associations.needs_rekey(story.at(299)));
        assert!(story.associations.needs_rekey(story.at(300)));
        story.pass(300);
        story.outbound(2);
        assert!(!story.associations.needs_rekey(story.now));
    }

    #[test]
    fn rekeying_begins_between_four_and_five_eighths_of_a_life() {
        let ttl = Duration::from_secs(600);
        assert_eq!(rekey_after(ttl, 0), Duration::from_secs(300));
        assert_eq!(rekey_after(ttl, u32::MAX), Duration::from_secs(375));
        let middle = rekey_after(ttl, u32::MAX / 2);
        assert!(middle > Duration::from_secs(337) && middle < Duration::from_secs(338));
    }

    const HALF_SECOND: Duration = Duration::from_millis(500);

    struct Story {
        start: Instant,
        now: Instant,
        sa_ttl: Duration,
        associations: Associations,
    }

    impl Story {
        fn new() -> Self {
            let now = Instant::now();
            let sa_ttl = Duration::from_secs(600);
            Story { start: now, now, sa_ttl, associations: Associations::default() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn inbound(&mut self, spi: u32) -> Vec<Change> {
            let mut changes = Vec::new();
            let sa = Sa { spi, created: self.now, expires: self.now + self.sa_ttl };
            self.associations.add_inbound(sa, &mut changes);
            changes
        }

        /// Its salt tells when it was made.
        fn outbound(&mut self, spi: u32) -> Vec<Change> {
            let mut changes = Vec::new();
            let new = NewOutbound {
                parameters: parameters(spi, (self.now - self.start).as_secs() as u32),
                created: self.now,
                expires: self.now + self.sa_ttl,
                rekey_at: self.now + self.sa_ttl / 2,
                activate_at: self.now + Duration::from_millis(7_500),
            };
            self.associations.add_outbound(new, &mut changes);
            changes
        }

        fn advance(&mut self) -> Vec<Change> {
            let mut changes = Vec::new();
            self.associations.advance(self.now, &mut changes);
            changes
        }
    }

    fn activated(spi: u32, made_at: u32) -> Change {
        Change::Activated(parameters(spi, made_at))
    }

    fn parameters(spi: u32, made_at: u32) -> SaParameters {
        SaParameters { spi, key: [0; 16], salt: made_at.to_be_bytes(), aead: "test" }
    }
}
