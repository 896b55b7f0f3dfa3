// SPDX-License-Identifier: Apache-2.0
//! The rings between workers, and the table of the workers that own SAs. Rings last as long as the set of workers is the
//! same.

use crate::stage::handoff::PLACES;
use crate::stage::{Handoff, Mailbox, Owners};
use crate::wait::EventFd;
use crate::worker::Wakeups;
use std::sync::Arc;

/// State that all workers share for hand-off. The place of a worker is its queue number less one.
#[derive(Clone, Default)]
pub(super) struct Handoffs {
    queues: Vec<u16>,
    mailboxes: Arc<[Option<Arc<Mailbox>>]>,
    owners: Arc<Owners>,
}

impl Handoffs {
    /// For these workers and routes with numbers below `routes`. Reuses what fits.
    pub(super) fn for_workers(&self, queues: Vec<u16>, routes: usize) -> Handoffs {
        let owners = if self.owners.capacity() < routes {
            let owners = Owners::new(routes);
            owners.copy(&self.owners);
            Arc::new(owners)
        } else {
            self.owners.clone()
        };
        if queues == self.queues {
            return Handoffs { queues, mailboxes: self.mailboxes.clone(), owners };
        }
        let places = || queues.iter().copied().filter_map(place);
        let mailbox = |own| places().any(|place| place == own).then(|| Arc::new(Mailbox::new(own, places())));
        // A single worker has nobody to share with.
        let end = if places().count() > 1 { places().max().map_or(0, |last| last + 1) } else { 0 };
        let mailboxes = (0..end).map(mailbox).collect();
        Handoffs { queues, mailboxes, owners }
    }

    /// The hand-off state of the worker of a queue.
    pub(super) fn of(&self, queue: u16) -> Handoff {
        let is_alone = self.mailboxes.is_empty();
        let place = place(queue).filter(|_| !is_alone);
        Handoff { place, mailboxes: self.mailboxes.clone(), owners: self.owners.clone() }
    }

    /// The worker of a queue has ended.
    pub(super) fn leave(&self, queue: u16) {
        if let Some(place) = place(queue) {
            self.owners.leave(place);
        }
    }
}

/// Wakeups by the place of the worker that they wake.
pub(super) fn wakeups<'a>(workers: impl Iterator<Item = (u16, &'a Arc<EventFd>)>) -> Wakeups {
    let mut wakeups = Wakeups::new();
    for (place, wakeup) in workers.filter_map(|(queue, wakeup)| Some((usize::from(place(queue)?), wakeup))) {
        if wakeups.len() <= place {
            wakeups.resize(place + 1, None);
        }
        wakeups[place] = Some(wakeup.clone());
    }
    wakeups
}

fn place(queue: u16) -> Option<u8> {
    u8::try_from(queue.checked_sub(1)?).ok().filter(|place| *place < PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::PeerNumber;

    #[test]
    fn rings_stay_as_long_as_the_workers_do_and_owners_longer() {
        let first = Handoffs::default().for_workers(vec![1, 2], 10);
        let [one, two] = [1, 2].map(|queue| first.of(queue));
        assert_eq!((one.place, two.place), (Some(0), Some(1)));
        two.set_owner(PeerNumber(9), true);
        assert_eq!(one.owner(PeerNumber(9)), Some(1));
        let same = first.for_workers(vec![1, 2], 10);
        assert!(Arc::ptr_eq(&same.mailboxes, &first.mailboxes) && Arc::ptr_eq(&same.owners, &first.owners));
        let larger = first.for_workers(vec![1, 2, 7], 20);
        assert_eq!(larger.of(7).owner(PeerNumber(9)), Some(1));
        assert_eq!(larger.mailboxes.iter().map(|mailbox| usize::from(mailbox.is_some())).sum::<usize>(), 3);
        larger.leave(2);
        assert_eq!(larger.of(7).owner(PeerNumber(9)), None);
    }

    #[test]
    fn one_worker_alone_and_workers_beyond_the_last_place_take_no_part() {
        let alone = Handoffs::default().for_workers(vec![3], 10);
        assert_eq!(alone.of(3).place, None);
        let many = Handoffs::default().for_workers(vec![1, 64, 65, 700], 10);
        assert_eq!([1, 64, 65, 700].map(|queue| many.of(queue).place), [Some(0), Some(63), None, None]);
        let wakeup = Arc::new(EventFd::new().unwrap());
        let wakeups = wakeups([(64, &wakeup), (65, &wakeup), (2, &wakeup)].into_iter());
        assert_eq!(wakeups.len(), 64);
        assert_eq!(wakeups.iter().flatten().count(), 2);
    }
}
