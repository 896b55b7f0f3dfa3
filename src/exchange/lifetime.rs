// SPDX-License-Identifier: Apache-2.0
//! The security associations of one route on one queue, from birth to death.
//!
//! ```text
//!   inbound    newest ── .. ── oldest ──► at most four
//!   outbound   new ──► waiting ──► active ──► replaced by the next
//!                         all of them die sa-ttl after they were made
//! ```
//!
//! An exchange makes a pair, one SA in each direction. A packet that authenticates under the inbound SA shows that the
//! peer has the keys: it confirms the pair. When an outbound SA leaves the line:
//!
//! | peer | we were | it becomes active |
//! | --- | --- | --- |
//! | capable | initiator | at once; dummy packets follow until the pair is confirmed |
//! | capable | responder | when the pair is confirmed, never before; one dummy packet answers |
//! | deployed | either | when the pair is confirmed, or after a wait ([`Waiting::due`]); at once if none is active |
//!
//! The order in which they were made counts: one that becomes active discards those that are older and wait.

use crate::clock::Instant;
use std::collections::VecDeque;
use std::time::Duration;

use super::report::Role;
use super::sa::{Active, Dummies, MAX_INBOUND, NEWER_PAIRS, NewOutbound, Sa};
use super::waiting::Waiting;
use crate::sa::{Direction, SaParameters};

#[derive(Default)]
pub(super) struct Associations {
    /// Newest first.
    inbound: VecDeque<Inbound>,
    active: Option<Active>,
    /// Oldest first. All are younger than the active one.
    waiting: VecDeque<Waiting>,
    /// Proposals accepted since the active one was made whose agreement did not come: pairs that only a deployed peer has.
    lost: usize,
    /// When it was last seen that the path loses messages of the exchange.
    loss_seen: Option<Instant>,
    /// When the peer knocked last, unless it has proposed since.
    knocked: Option<Instant>,
}

/// What became of the SAs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Displaced(u32),
    Expired(Direction, u32),
    Updated,
    Activated(SaParameters),
    NoOutbound,
    /// Send a dummy packet through the active SA.
    Dummy,
}

struct Inbound {
    sa: Sa,
    /// Our part in the exchange. As initiator we know that the peer has the keys as well.
    role: Role,
    /// A packet has authenticated.
    is_confirmed: bool,
}

impl Associations {
    pub(super) fn add_inbound(&mut self, sa: Sa, role: Role, changes: &mut Vec<Change>) {
        self.inbound.push_front(Inbound { sa, role, is_confirmed: false });
        if self.inbound.len() > MAX_INBOUND {
            let victim = self.least_useful();
            if let Some(displaced) = self.inbound.remove(victim) {
                changes.push(Change::Displaced(displaced.sa.spi));
                self.forget_unconfirmable();
            }
        }
    }

    pub(super) fn add_outbound(&mut self, new: NewOutbound, changes: &mut Vec<Change>) {
        if new.peer_is_capable {
            match new.role {
                Role::Initiator => self.activate_with_dummies(new, changes),
                Role::Responder => self.waiting.push_back(Waiting::new(new)),
            }
            return;
        }
        if new.role == Role::Responder {
            self.waiting.iter_mut().for_each(Waiting::doubt);
        }
        let mut new = Waiting::new(new);
        if new.new.role == Role::Responder {
            self.knocked = None;
            new.is_after_loss = self.loss_seen.is_some_and(|at| at + new.new.sa_ttl > new.new.created);
        }
        let same = |other: &Waiting| other.sa().spi == new.sa().spi && !other.new.peer_is_capable;
        if let Some(replaced) = self.waiting.iter().position(same).and_then(|at| self.waiting.remove(at)) {
            new.since = replaced.since;
            changes.push(Change::Updated);
        }
        match &self.active {
            // The peer gives an SPI out again only when the SA that had it is gone there, or was never made. Those that
            // wait are older. Of them, it has the pairs that it answered for.
            Some(active) if active.sa.spi == new.sa().spi => {
                self.waiting.retain(Waiting::is_known_to_peer);
                changes.push(Change::Updated);
                let is_doubtful = new.new.role == Role::Responder;
                self.activate(new.new, is_doubtful, changes);
            }
            None => {
                self.waiting.clear();
                self.activate(new.new, false, changes);
            }
            Some(_) => {
                self.waiting.push_back(new);
                if self.waiting.iter().filter(|waiting| waiting.is_timed()).count() >= NEWER_PAIRS {
                    self.take_oldest_deployed(changes);
                }
            }
        }
    }

    /// A proposal of ours was accepted, and the agreement did not come.
    pub(super) fn lost_agreement(&mut self, now: Instant) {
        self.lost += 1;
        self.lost_message(now);
    }

    /// Some message of the exchange did not arrive.
    pub(super) fn lost_message(&mut self, now: Instant) {
        self.loss_seen = Some(now);
    }

    /// The peer knocks. A deployed one does not while it has a new SA, and does so again a negotiation-ttl after a proposal
    /// that was not answered. So it may not have got the agreements of pairs that we made as responder. Only the age of a
    /// pair tells: an earlier knock is repeated or late, and a much later one wants to replace what has grown old.
    ///
    /// Anyone may have sent it. The pairs have to wait longer, and are not given up.
    pub(super) fn knocked(&mut self, now: Instant, negotiation_ttl: Duration) {
        let before = self.knocked.replace(now);
        if before.is_some_and(|before| before + LATE_KNOCK <= now) {
            self.lost_message(now);
        }
        let is_told_by_knock = |sa: Sa| {
            (negotiation_ttl * 3 / 4..sa.life() / 4).contains(&now.saturating_duration_since(sa.created))
        };
        self.waiting.iter_mut().filter(|one| is_told_by_knock(one.sa())).for_each(Waiting::doubt);
        if let Some(active) = self.active.as_mut().filter(|active| is_told_by_knock(active.sa)) {
            let pair = active.pair;
            let is_ours_only =
                |one: &Inbound| Some(one.sa.spi) == pair && one.role == Role::Responder && !one.is_confirmed;
            active.is_doubtful |= !active.peer_is_capable && self.inbound.iter().any(is_ours_only);
        }
    }

    /// Whether the newest pair may exist here only.
    pub(super) fn is_in_doubt(&self) -> bool {
        match self.waiting.back() {
            Some(waiting) => waiting.is_doubtful && waiting.is_timed(),
            None => self.active.as_ref().is_some_and(|active| active.is_doubtful),
        }
    }

    /// A packet has authenticated under this inbound SA.
    pub(super) fn confirm(&mut self, spi: u32, changes: &mut Vec<Change>) {
        let Some(inbound) = self.inbound.iter_mut().find(|inbound| inbound.sa.spi == spi) else { return };
        inbound.is_confirmed = true;
        if let Some(active) = self.active.as_mut().filter(|active| active.pair == Some(spi)) {
            active.dummies = None;
            active.is_doubtful = false;
        } else if let Some(position) = self.waiting.iter().position(|waiting| waiting.new.pair == Some(spi)) {
            let new = &self.waiting[position].new;
            let answer = new.peer_is_capable && new.role == Role::Responder;
            self.take(position, true, changes);
            if answer {
                changes.push(Change::Dummy);
            }
        }
    }

    /// Does what is due: deaths first, so that nothing dead becomes active.
    pub(super) fn advance(&mut self, now: Instant, changes: &mut Vec<Change>) {
        // The times of life may have changed between two SAs, so the oldest is not always the first to die.
        self.inbound.retain(|inbound| survives(&inbound.sa, Direction::Inbound, now, changes));
        self.waiting.retain(|waiting| survives(&waiting.sa(), Direction::Outbound, now, changes));
        let had_active = self.active.is_some();
        self.active.take_if(|active| !survives(&active.sa, Direction::Outbound, now, changes));
        self.forget_unconfirmable();
        if self.active.is_none() {
            self.take_oldest_deployed(changes);
        }
        let active = self.active.as_ref();
        let is_due = |one: &Waiting| one.due(active, self.lost).is_some_and(|at| at <= now);
        let newest_known = self.waiting.iter().rposition(|one| one.is_known_to_peer() && is_due(one));
        if let Some(newest) = newest_known.or_else(|| self.waiting.iter().rposition(is_due)) {
            self.take(newest, false, changes);
        }
        if had_active && self.active.is_none() {
            changes.push(Change::NoOutbound);
        }
        let dummies = self.active.as_mut().and_then(|active| active.dummies.as_mut());
        if let Some(dummies) = dummies.filter(|dummies| dummies.next <= now) {
            dummies.pause = (dummies.pause * 2).min(LONGEST_DUMMY_PAUSE);
            dummies.next = now + dummies.pause;
            changes.push(Change::Dummy);
        }
    }

    /// When [`Associations::advance`] has something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let inbound = self.inbound.iter().map(|inbound| inbound.sa.expires);
        let active = self.active.iter().map(|active| active.sa.expires);
        let dummy = self.active.iter().filter_map(|active| Some(active.dummies.as_ref()?.next));
        let waiting = self.waiting.iter().map(|waiting| waiting.sa().expires);
        let due = self.waiting.iter().filter_map(|waiting| waiting.due(self.active.as_ref(), self.lost));
        inbound.chain(active).chain(dummy).chain(waiting).chain(due).min()
    }

    /// When the outbound SA has to be replaced. None where one is needed at once. One that waits may be the
    /// replacement, but only for a while: its pair may never be confirmed.
    pub(super) fn rekey_at(&self) -> Option<Instant> {
        let known = self.waiting.iter().rfind(|waiting| waiting.is_known_to_peer());
        let waiting = known.or(self.waiting.front()).map(|waiting| {
            let longest = waiting.new.negotiation_ttl * 2;
            let patience = if self.active.is_some() { longest } else { longest.min(PATIENCE_WITHOUT_SA) };
            waiting.since + patience
        });
        let active = self.active.as_ref().map(|active| active.rekey_at);
        active.max(waiting)
    }

    pub(super) fn has_outbound(&self) -> bool {
        self.active.is_some()
    }

    /// When the active outbound SA dies.
    pub(super) fn outbound_expires(&self) -> Option<Instant> {
        self.active.as_ref().map(|active| active.sa.expires)
    }

    pub(super) fn inbound(&self) -> impl Iterator<Item = &Sa> {
        self.inbound.iter().map(|inbound| &inbound.sa)
    }

    /// With whether it is active.
    pub(super) fn outbound(&self) -> impl Iterator<Item = (Sa, bool)> {
        let active = self.active.iter().map(|active| (active.sa, true));
        active.chain(self.waiting.iter().map(|waiting| (waiting.sa(), false)))
    }

    /// Which of the inbound SAs to give up for the newest: the oldest one, but none that the peer is known to have and
    /// may be using. Where agreements are lost, there may be many that the peer never got.
    fn least_useful(&self) -> usize {
        let confirmed = self.inbound.iter().position(|inbound| inbound.is_confirmed);
        let initiated = self.inbound.iter().position(|inbound| inbound.role == Role::Initiator);
        let pair = self.active.as_ref().and_then(|active| active.pair);
        let in_use = self.inbound.iter().position(|inbound| Some(inbound.sa.spi) == pair);
        let kept = [Some(0), confirmed, initiated, in_use];
        (0..self.inbound.len()).rev().find(|&index| !kept.contains(&Some(index))).unwrap_or(0)
    }

    /// Removes what waits for the confirmation of a pair that has no inbound SA any more.
    fn forget_unconfirmable(&mut self) {
        let inbound = &self.inbound;
        let lives = |pair| inbound.iter().any(|inbound| Some(inbound.sa.spi) == pair);
        self.waiting.retain(|waiting| !waiting.new.peer_is_capable || lives(waiting.new.pair));
    }

    /// Takes the oldest pair with a deployed peer, one that was to be used after a time if there is any.
    fn take_oldest_deployed(&mut self, changes: &mut Vec<Change>) {
        let is_deployed = |waiting: &Waiting| !waiting.new.peer_is_capable;
        let oldest = self.waiting.iter().position(Waiting::is_timed);
        if let Some(oldest) = oldest.or_else(|| self.waiting.iter().position(is_deployed)) {
            self.take(oldest, false, changes);
        }
    }

    /// Makes one of those that wait the active one, and discards the older ones. If a deployed peer is known to have that
    /// pair, no time makes it right to use one that it may not have.
    fn take(&mut self, position: usize, is_confirmed: bool, changes: &mut Vec<Change>) {
        let taken = self.waiting.drain(..=position).next_back();
        if let Some(taken) = taken {
            let is_known = is_confirmed || taken.is_known_to_peer();
            if is_known && !taken.new.peer_is_capable {
                self.waiting.iter_mut().for_each(Waiting::await_confirmation);
            }
            self.activate(taken.new, taken.is_doubtful && !is_known, changes);
        }
    }

    fn activate(&mut self, new: NewOutbound, is_doubtful: bool, changes: &mut Vec<Change>) {
        self.lost = 0;
        self.active = Some(Active {
            sa: new.sa(),
            rekey_at: new.rekey_at,
            pair: new.pair,
            dummies: None,
            peer_is_capable: new.peer_is_capable,
            is_doubtful,
        });
        changes.push(Change::Activated(new.parameters));
    }

    fn activate_with_dummies(&mut self, new: NewOutbound, changes: &mut Vec<Change>) {
        self.waiting.clear();
        let dummies = Dummies { next: new.created + FIRST_DUMMY_PAUSE, pause: FIRST_DUMMY_PAUSE };
        self.activate(new, false, changes);
        // Over a loopback there is nobody to ask.
        if let Some(active) = self.active.as_mut().filter(|active| active.pair.is_some()) {
            active.dummies = Some(dummies);
            changes.push(Change::Dummy);
        }
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

/// How long a pair that is not confirmed keeps a route without an SA from beginning a negotiation of its own.
const PATIENCE_WITHOUT_SA: Duration = Duration::from_secs(1);
/// Knocks closer to each other may be one that arrived twice.
const LATE_KNOCK: Duration = Duration::from_millis(500);
const FIRST_DUMMY_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_DUMMY_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_inbound_sa_displaces_the_oldest() {
        let mut story = Story::new();
        for spi in 1..=4 {
            assert_eq!(story.inbound(spi, Role::Responder), []);
        }
        assert_eq!(story.inbound(5, Role::Responder), [Change::Displaced(1)]);
        assert_eq!(story.inbound_spis(), [5, 4, 3, 2], "newest first");
    }

    #[test]
    fn inbound_sas_whose_agreement_may_be_lost_do_not_displace_what_the_peer_has() {
        let mut story = Story::new();
        story.inbound(1, Role::Initiator);
        story.inbound(2, Role::Responder);
        story.confirm(2);
        for spi in 3..=10 {
            story.inbound(spi, Role::Responder);
        }
        assert_eq!(story.inbound_spis(), [10, 9, 2, 1]);
        story.confirm(10);
        story.inbound(11, Role::Initiator);
        story.inbound(12, Role::Responder);
        assert_eq!(story.inbound_spis(), [12, 11, 10, 9], "what the peer has left behind goes first");
    }

    #[test]
    fn towards_a_deployed_peer_the_first_outbound_sa_is_active_at_once_and_the_next_one_waits() {
        let mut story = Story::new();
        assert_eq!(story.deployed(1), [activated(1, 0)]);
        story.pass(300);
        assert_eq!(story.deployed(2), []);
        story.pass(7);
        assert_eq!(story.advance(), []);
        assert_eq!(story.associations.deadline(), Some(story.at(307) + HALF_SECOND));
        story.now += HALF_SECOND;
        assert_eq!(story.advance(), [activated(2, 300)]);
    }

    #[test]
    fn a_short_negotiation_ttl_does_not_shorten_the_wait_below_two_seconds() {
        let mut story = Story::new();
        story.negotiation_ttl = Duration::from_secs(1);
        story.deployed(1);
        story.pass(300);
        story.deployed(2);
        assert_eq!(story.associations.deadline(), Some(story.at(302)));
    }

    #[test]
    fn a_confirmed_pair_is_used_without_waiting_longer() {
        for role in [Role::Initiator, Role::Responder] {
            let mut story = Story::new();
            story.deployed(1);
            story.pass(300);
            story.inbound(12, role);
            assert_eq!(story.outbound(2, 12, role, false), []);
            assert_eq!(story.confirm(12), [activated(2, 300)], "and no dummy packet");
            assert_eq!(story.confirm(12), []);
        }
    }

    #[test]
    fn a_further_proposal_with_another_spi_prolongs_the_wait_but_not_for_ever() {
        let mut story = Story::new();
        story.deployed(1);
        story.pass(300);
        story.inbound(12, Role::Responder);
        story.outbound(2, 12, Role::Responder, false);
        story.pass(7);
        // Of a capable peer, so that it has no time of its own.
        story.inbound(13, Role::Responder);
        story.outbound(3, 13, Role::Responder, true);
        story.associations.waiting[0].is_doubtful = true;
        assert_eq!(story.associations.deadline(), Some(story.at(320)), "4 x 5 s");
        story.pass(13);
        assert_eq!(story.advance(), [activated(2, 300)]);
    }

    #[test]
    fn while_a_deployed_peer_proposes_again_and_again_its_first_answer_is_not_used() {
        let mut story = Story::new();
        story.deployed(1);
        story.pass(300);
        assert_eq!(story.deployed(2), []);
        for _ in 0..6 {
            story.pass(5);
            assert_eq!(story.advance(), []);
            assert_eq!(story.deployed(2), [Change::Updated]);
        }
        story.pass(8);
        assert_eq!(story.advance(), [activated(2, 330)]);
        // Two SPIs: the older one is doubtful.
        story.deployed(3);
        story.pass(1);
        story.deployed(4);
        story.pass(7);
        assert_eq!(story.advance(), []);
        story.pass(1);
        assert_eq!(story.advance(), [activated(4, 339)]);
    }

    #[test]
    fn the_wait_never_reaches_into_the_end_of_the_sa_in_use() {
        let mut story = Story::new();
        story.deployed(1);
        story.pass(585);
        story.deployed(2);
        assert_eq!(story.associations.deadline(), Some(story.at(590)));
        // What is made later still than that gets the time to be installed.
        let mut story = Story::new();
        story.deployed(1);
        story.pass(595);
        story.deployed(2);
        assert_eq!(story.associations.deadline(), Some(story.at(596)));
        story.pass(1);
        assert_eq!(story.advance(), [activated(2, 595)]);
    }

    #[test]
    fn when_a_deployed_peer_has_made_three_newer_pairs_the_oldest_of_them_is_used() {
        let mut story = Story::new();
        story.deployed(1);
        assert_eq!([story.deployed(2), story.deployed(3)], [[], []]);
        assert_eq!(story.deployed(4), [activated(2, 0)]);
        assert_eq!(story.associations.outbound().count(), 3);
    }

    #[test]
    fn when_the_peer_has_pairs_that_we_lack_the_next_one_that_both_have_is_used_once_it_is_installed() {
        let mut story = Story::new();
        story.deployed(1);
        story.pass(300);
        story.associations.lost_agreement(story.now);
        story.associations.lost_agreement(story.now);
        story.inbound(12, Role::Initiator);
        assert_eq!(story.outbound(2, 12, Role::Initiator, false), []);
        assert_eq!(story.associations.deadline(), Some(story.at(301)));
        story.pass(1);
        assert_eq!(story.advance(), [activated(2, 300)]);
    }

    #[test]
    fn a_knock_makes_a_waiting_pair_of_a_deployed_peer_doubtful() {
        for (after, role, due) in [
            (0, Role::Responder, 307), // the knock that began the exchange, once more
            (4, Role::Responder, 320),
            (4, Role::Initiator, 307), // the peer has answered for this one
        ] {
            let mut story = Story::new();
            story.deployed(1);
            story.pass(300);
            story.inbound(12, role);
            story.outbound(2, 12, role, false);
            story.pass(after);
            story.knock();
            assert_eq!(story.associations.is_in_doubt(), due == 320);
            let deadline = story.associations.deadline().unwrap();
            assert_eq!((deadline - story.start).as_secs(), due);
            // However often it knocks.
            story.knock();
            assert_eq!(story.associations.deadline(), Some(deadline));
            assert_eq!(story.confirm(12), [activated(2, 300)]);
            assert!(!story.associations.is_in_doubt());
        }
    }

    #[test]
    fn a_knock_tells_that_the_pair_in_use_may_not_exist_at_the_peer_until_it_is_confirmed() {
        for is_confirmed in [false, true] {
            let mut story = Story::new();
            story.inbound(11, Role::Responder);
            story.outbound(1, 11, Role::Responder, false);
            if is_confirmed {
                story.confirm(11);
            }
            story.pass(5);
            story.knock();
            assert_eq!(story.associations.is_in_doubt(), !is_confirmed);
            story.inbound(12, Role::Initiator);
            story.outbound(2, 12, Role::Initiator, false);
            assert!(!story.associations.is_in_doubt(), "the newest pair is known to both");
            let due = if is_confirmed { story.at(12) + HALF_SECOND } else { story.at(6) };
            assert_eq!(story.associations.deadline(), Some(due));
        }
        // A knock that comes when the SA has grown old asks for another one.
        let mut story = Story::new();
        story.inbound(11, Role::Responder);
        story.outbound(1, 11, Role::Responder, false);
        story.pass(150);
        story.knock();
        assert!(!story.associations.is_in_doubt());
    }

    #[test]
    fn a_pair_that_both_ends_have_replaces_those_that_the_peer_may_not_have() {
        for pause in [0, 1] {
            let mut story = Story::new();
            story.deployed(1);
            story.pass(300);
            story.inbound(12, Role::Initiator);
            story.outbound(2, 12, Role::Initiator, false);
            story.pass(pause);
            story.inbound(13, Role::Responder);
            story.outbound(3, 13, Role::Responder, false);
            story.now = story.at(307) + HALF_SECOND;
            assert_eq!(story.advance(), [activated(2, 300)]);
            story.pass(20);
            assert_eq!(story.advance(), []);
            assert_eq!(
                story.confirm(13),
                [activated(3, 300 + pause as u32)],
                "unless the peer shows that it has it"
            );
        }
    }

    #[test]
    fn on_a_path_that_loses_messages_a_pair_that_the_peer_may_not_have_waits_longer() {
        let mut story = Story::new();
        story.deployed(1);
        story.pass(300);
        // A challenge or a proposal was lost.
        story.knock();
        story.pass(5);
        story.knock();
        assert_eq!(story.deployed(2), []);
        assert_eq!(story.associations.deadline(), Some(story.at(325)));
        assert!(!story.associations.is_in_doubt());
    }

    #[test]
    fn the_same_spi_of_a_deployed_peer_replaces_the_active_sa_and_drops_older_ones_that_wait() {
        let mut story = Story::new();
        story.deployed(1);
        story.pass(1);
        story.deployed(2);
        story.pass(1);
        assert_eq!(story.deployed(1), [Change::Updated, activated(1, 2)]);
        story.pass(30);
        assert_eq!(story.advance(), [], "2 is older than the new 1");
    }

    #[test]
    fn towards_a_capable_peer_the_initiator_seals_at_once_and_asks_until_it_hears_something() {
        let mut story = Story::new();
        story.deployed(1);
        story.pass(300);
        story.inbound(12, Role::Initiator);
        assert_eq!(story.outbound(2, 12, Role::Initiator, true), [activated(2, 300), Change::Dummy]);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let next = story.associations.deadline().unwrap();
            pauses.push((next - story.now).as_millis());
            story.now = next;
            assert_eq!(story.advance(), [Change::Dummy]);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
        assert_eq!(story.confirm(12), []);
        story.pass(5);
        assert_eq!(story.advance(), []);
    }

    #[test]
    fn towards_a_capable_peer_the_responder_waits_for_confirmation_however_long_that_takes() {
        let mut story = Story::new();
        story.deployed(1);
        story.pass(300);
        story.inbound(12, Role::Responder);
        assert_eq!(story.outbound(2, 12, Role::Responder, true), []);
        story.pass(200);
        assert_eq!(story.advance(), []);
        assert_eq!(story.confirm(12), [activated(2, 300), Change::Dummy]);
        assert_eq!(story.confirm(12), [], "one dummy packet is the answer");
    }

    #[test]
    fn without_an_sa_in_use_a_capable_initiator_has_to_confirm_as_well() {
        let mut story = Story::new();
        story.inbound(12, Role::Responder);
        assert_eq!(story.outbound(2, 12, Role::Responder, true), []);
        assert!(!story.associations.has_outbound());
        assert_eq!(story.confirm(12), [activated(2, 0), Change::Dummy]);
    }

    #[test]
    fn several_proposals_of_one_negotiation_are_told_apart_by_our_spi() {
        let mut story = Story::new();
        for pair in [12, 13, 14] {
            story.inbound(pair, Role::Responder);
            assert_eq!(story.outbound(2, pair, Role::Responder, true), []);
            story.pass(1);
        }
        assert_eq!(story.confirm(13), [activated(2, 1), Change::Dummy]);
        assert_eq!(story.confirm(12), [], "older than the one in use");
        assert_eq!(story.confirm(14), [activated(2, 2), Change::Dummy]);
    }

    #[test]
    fn what_waits_for_a_pair_that_was_displaced_is_forgotten() {
        let mut story = Story::new();
        for pair in 11..=15 {
            story.inbound(pair, Role::Responder);
            story.outbound(pair - 10, pair, Role::Responder, true);
        }
        assert_eq!(story.associations.outbound().count(), 4);
        assert_eq!(story.confirm(11), []);
    }

    #[test]
    fn every_sa_dies_at_its_age() {
        let mut story = Story::new();
        story.inbound(10, Role::Responder);
        story.deployed(1);
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
    fn when_the_active_sa_dies_the_waiting_one_of_a_deployed_peer_does_not_wait_longer() {
        let mut story = Story::new();
        story.deployed(1);
        story.now = story.at(600) - HALF_SECOND;
        story.deployed(2);
        story.now = story.at(600);
        assert_eq!(story.advance(), [Change::Expired(Direction::Outbound, 1), activated(2, 599)]);
    }

    #[test]
    fn a_waiting_sa_can_die_before_its_turn() {
        let mut story = Story::new();
        story.deployed(1);
        story.sa_ttl = Duration::from_secs(3);
        story.inbound(12, Role::Responder);
        story.outbound(2, 12, Role::Responder, true);
        story.pass(3);
        assert_eq!(
            story.advance(),
            [Change::Expired(Direction::Inbound, 12), Change::Expired(Direction::Outbound, 2)]
        );
    }

    #[test]
    fn younger_sas_may_die_first_after_the_time_of_life_was_shortened() {
        let mut story = Story::new();
        story.inbound(10, Role::Responder);
        story.sa_ttl = Duration::from_secs(60);
        story.inbound(11, Role::Responder);
        story.pass(60);
        assert_eq!(story.advance(), [Change::Expired(Direction::Inbound, 11)]);
    }

    #[test]
    fn a_waiting_sa_suppresses_a_rekey_for_two_negotiation_ttls() {
        let mut story = Story::new();
        assert_eq!(story.associations.rekey_at(), None, "at once");
        story.deployed(1);
        assert_eq!(story.associations.rekey_at(), Some(story.at(300)));
        story.pass(300);
        story.inbound(12, Role::Responder);
        story.outbound(2, 12, Role::Responder, true);
        assert_eq!(story.associations.rekey_at(), Some(story.at(310)));
        story.pass(5);
        story.inbound(13, Role::Responder);
        story.outbound(3, 13, Role::Responder, true);
        assert_eq!(story.associations.rekey_at(), Some(story.at(310)), "the peer's tries do not count anew");
    }

    #[test]
    fn without_an_sa_in_use_a_waiting_one_suppresses_a_negotiation_for_a_second() {
        let mut story = Story::new();
        story.inbound(12, Role::Responder);
        story.outbound(2, 12, Role::Responder, true);
        assert_eq!(story.associations.rekey_at(), Some(story.at(1)));
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
        negotiation_ttl: Duration,
        sa_ttl: Duration,
        associations: Associations,
    }

    impl Story {
        fn new() -> Self {
            let now = Instant::now();
            let (negotiation_ttl, sa_ttl) = (Duration::from_secs(5), Duration::from_secs(600));
            Story { start: now, now, negotiation_ttl, sa_ttl, associations: Associations::default() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn inbound(&mut self, spi: u32, role: Role) -> Vec<Change> {
            let mut changes = Vec::new();
            let sa = Sa { spi, created: self.now, expires: self.now + self.sa_ttl };
            self.associations.add_inbound(sa, role, &mut changes);
            changes
        }

        fn inbound_spis(&self) -> Vec<u32> {
            self.associations.inbound().map(|sa| sa.spi).collect()
        }

        /// The SA of an exchange in which a deployed peer proposed.
        fn deployed(&mut self, spi: u32) -> Vec<Change> {
            self.outbound(spi, 1_000 + spi, Role::Responder, false)
        }

        /// Its salt tells when it was made.
        fn outbound(&mut self, spi: u32, pair: u32, role: Role, peer_is_capable: bool) -> Vec<Change> {
            let mut changes = Vec::new();
            let new = NewOutbound {
                parameters: parameters(spi, (self.now - self.start).as_secs() as u32),
                created: self.now,
                expires: self.now + self.sa_ttl,
                rekey_at: self.now + self.sa_ttl / 2,
                pair: Some(pair),
                role,
                peer_is_capable,
                negotiation_ttl: self.negotiation_ttl,
                sa_ttl: self.sa_ttl,
            };
            self.associations.add_outbound(new, &mut changes);
            changes
        }

        fn knock(&mut self) {
            self.associations.knocked(self.now, self.negotiation_ttl);
        }

        fn confirm(&mut self, spi: u32) -> Vec<Change> {
            let mut changes = Vec::new();
            self.associations.confirm(spi, &mut changes);
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
        SaParameters { spi, key: crate::sa::Key::Aes128Gcm([0; 16]), salt: made_at.to_be_bytes() }
    }
}
