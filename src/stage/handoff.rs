// SPDX-License-Identifier: Apache-2.0
//! Outbound hand-off: a worker that has no SA to a peer gives inner packets to a worker that has one.
//!
//! ```text
//!   worker 2: peer, no SA ──► Owners: worker 1 has one ──► Mailbox of worker 1 ──► worker 1: route, seal, transmit
//! ```
//!
//! That happens where two peers have unequal numbers of workers: the NIC spreads flows over all workers, the
//! peer knows the addresses of some. Each SA keeps one owner, so sequence numbers need no lock. A worker with an SA of its
//! own looks at none of this.
//!
//! Limits: workers are told apart by their place, which is the queue number less one; those beyond [`PLACES`] neither give
//! nor take. A packet is handed over once: an owner that has lost its SA in the meantime drops it.

use crate::frame::{Frame, PacketRing, Pool};
use crate::route::PeerNumber;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one worker knows of the others.
#[derive(Clone, Default)]
pub struct Handoff {
    /// Its own place; `None`: it takes no part.
    pub place: Option<u8>,
    /// Of all workers, by place.
    pub mailboxes: Arc<[Option<Arc<Mailbox>>]>,
    /// Which workers have an SA.
    pub owners: Arc<Owners>,
}

/// Which workers have an outbound SA, to each peer. Written by the workers, each its own bit.
#[derive(Default)]
pub struct Owners(Box<[AtomicU64]>);

/// What the other workers have for one worker: a ring for each of them.
#[derive(Default)]
pub struct Mailbox {
    /// A bit for each place whose ring may hold packets.
    waiting: Line,
    /// By the sender's place.
    rings: Box<[Option<PacketRing>]>,
}

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Workers that can take part.
pub const PLACES: u8 = u64::BITS as u8;
/// Packets that an owner takes from one ring per round, after those of its own queue.
pub const PER_ROUND: usize = 32;

impl Handoff {
    /// The mailbox of the worker itself.
    pub fn own(&self) -> Option<&Arc<Mailbox>> {
        self.mailbox(self.place?)
    }

    fn mailbox(&self, place: u8) -> Option<&Arc<Mailbox>> {
        self.mailboxes.get(usize::from(place))?.as_ref()
    }

    /// Says whether this worker has an outbound SA to a peer.
    pub fn set_owner(&self, peer: PeerNumber, has_sa: bool) {
        if let Some(place) = self.place {
            self.owners.set_owner(peer, place, has_sa);
        }
    }

    /// The place of another worker that has an outbound SA to a peer.
    pub fn owner(&self, PeerNumber(peer): PeerNumber) -> Option<u8> {
        let own = self.place?;
        let others = self.owners.0.get(peer as usize)?.load(Ordering::Relaxed) & !(1 << own);
        (others != 0).then(|| others.trailing_zeros() as u8)
    }

    /// Gives a packet to the worker at a place; false if there is no room for it.
    pub fn give(&self, place: u8, packet: &[u8]) -> bool {
        let (Some(own), Some(mailbox)) = (self.place, self.mailbox(place)) else { return false };
        let Some(Some(ring)) = mailbox.rings.get(usize::from(own)) else { return false };
        let put = ring.put(packet);
        if put {
            mailbox.waiting.0.fetch_or(1 << own, Ordering::Release);
        }
        put
    }
}

impl Owners {
    /// A table for peer numbers below this one.
    pub fn new(peers: usize) -> Owners {
        Owners((0..peers).map(|_| AtomicU64::new(0)).collect())
    }

    /// How many peers it has room for.
    pub fn capacity(&self) -> usize {
        self.0.len()
    }

    /// Takes over what another table says.
    pub fn copy(&self, other: &Owners) {
        for (new, old) in self.0.iter().zip(&other.0) {
            new.fetch_or(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The worker at a place has ended, and its SAs with it.
    pub fn leave(&self, place: u8) {
        for peer in &self.0 {
            peer.fetch_and(!bit(place), Ordering::Relaxed);
        }
    }

    fn set_owner(&self, PeerNumber(peer): PeerNumber, place: u8, has_sa: bool) {
        let Some(workers) = self.0.get(peer as usize) else { return };
        if has_sa {
            workers.fetch_or(bit(place), Ordering::Relaxed);
        } else {
            workers.fetch_and(!bit(place), Ordering::Relaxed);
        }
    }
}

impl Mailbox {
    /// One with a ring for each of these places but its own.
    pub fn new(own: u8, senders: impl IntoIterator<Item = u8>) -> Mailbox {
        let mut rings = Vec::new();
        for place in senders.into_iter().filter(|place| *place != own && *place < PLACES) {
            let end = usize::from(place) + 1;
            if rings.len() < end {
                rings.resize_with(end, || None);
            }
            if let Some(ring) = rings.get_mut(usize::from(place)) {
                *ring = Some(PacketRing::new());
            }
        }
        Mailbox { waiting: Line::default(), rings: rings.into() }
    }

    /// Whether there is something to take.
    #[inline(always)]
    pub fn has_packets(&self) -> bool {
        self.waiting.0.load(Ordering::Relaxed) != 0
    }

    /// The senders whose rings are to be looked at, a bit each; from now on only those that put something in again.
    pub fn senders(&self) -> u64 {
        self.waiting.0.swap(0, Ordering::Acquire)
    }

    /// Takes at most [`PER_ROUND`] packets of one sender. Gives the number of those that there was no chunk for.
    pub fn receive(&self, sender: u8, pool: &Pool, mut each: impl FnMut(Frame)) -> u64 {
        let Some(Some(ring)) = self.rings.get(usize::from(sender)) else { return 0 };
        let mut lost = 0;
        for _ in 0..PER_ROUND {
            match ring.take(pool) {
                Some(Some(frame)) => each(frame),
                Some(None) => lost += 1,
                None => return lost,
            }
        }
        // There may be more: in the next round.
        self.waiting.0.fetch_or(1 << sender, Ordering::Relaxed);
        lost
    }
}

fn bit(place: u8) -> u64 {
    1u64.checked_shl(place.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(places: &[u8]) -> Vec<Handoff> {
        let owners = Arc::new(Owners::new(4));
        let mailbox =
            |place| places.contains(&place).then(|| Arc::new(Mailbox::new(place, places.iter().copied())));
        let mailboxes: Arc<[_]> = (0..PLACES).map(mailbox).collect();
        let worker = |place: &u8| Handoff {
            place: Some(*place),
            mailboxes: mailboxes.clone(),
            owners: owners.clone(),
        };
        places.iter().map(worker).collect()
    }

    #[test]
    fn the_owner_of_a_peer_is_the_first_other_worker_that_has_an_sa() {
        let [one, two, last] = workers(&[0, 1, 63]).try_into().ok().unwrap();
        assert_eq!(one.owner(PeerNumber(2)), None);
        last.set_owner(PeerNumber(2), true);
        assert_eq!(
            (
                one.owner(PeerNumber(2)),
                two.owner(PeerNumber(2)),
                last.owner(PeerNumber(2)),
                one.owner(PeerNumber(1))
            ),
            (Some(63), Some(63), None, None)
        );
        two.set_owner(PeerNumber(2), true);
        assert_eq!(
            (one.owner(PeerNumber(2)), two.owner(PeerNumber(2)), last.owner(PeerNumber(2))),
            (Some(1), Some(63), Some(1))
        );
        let larger = Owners::new(9);
        larger.copy(&one.owners);
        one.owners.leave(1);
        assert_eq!((one.owner(PeerNumber(2)), one.owner(PeerNumber(99))), (Some(63), None));
        assert_eq!(larger.0[2].load(Ordering::Relaxed), 1 << 1 | 1 << 63);
        last.set_owner(PeerNumber(2), false);
        assert_eq!(one.owner(PeerNumber(2)), None);
        last.set_owner(PeerNumber(99), true);
    }

    #[test]
    fn each_sender_has_its_ring_and_its_share_of_a_round() {
        let [one, two, three] = workers(&[0, 1, 2]).try_into().ok().unwrap();
        let pool = Pool::new(2 * PER_ROUND as u32).unwrap();
        let mailbox = one.own().unwrap().clone();
        assert!(!mailbox.has_packets());
        assert!((0..PacketRing::SLOTS).all(|_| two.give(0, b"two")));
        assert!(!two.give(0, b"two"), "its ring is full");
        assert!(three.give(0, b"three"), "the other one is not");
        assert!(!two.give(1, b"to itself") && !two.give(7, b"to nobody"));
        for round in 0..PacketRing::SLOTS / PER_ROUND {
            assert!(mailbox.has_packets());
            let senders = mailbox.senders();
            assert_eq!(senders, if round == 0 { 0b110 } else { 0b010 });
            let mut taken = Vec::new();
            for sender in (0..PLACES).filter(|sender| senders >> sender & 1 != 0) {
                mailbox.receive(sender, &pool, |frame| taken.push(frame.data().to_vec()));
            }
            assert_eq!(taken.len(), if round == 0 { PER_ROUND + 1 } else { PER_ROUND });
        }
        // The ring was empty exactly at the end of a share.
        assert_eq!(mailbox.receive(1, &pool, |_| panic!("there is no more")), 0);
        assert_eq!(mailbox.senders(), 0b010);
        assert!(!mailbox.has_packets());
    }
}
