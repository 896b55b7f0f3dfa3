// SPDX-License-Identifier: Apache-2.0
//! Sealing: headers and trailers of a batch, then its cryptography.

use super::router::{route_counters, tunnel};
use super::tunnel::Tunnel;
use super::{LinkHeaders, Meter};
use crate::count::{Counters, OwnerCounters, Reason};
use crate::esp::{Aead, Job};
use crate::frame::{Annotated, BATCH, Batch, Frame, Notes};
use crate::route::PeerNumber;
use crate::wire::ethernet;
use arrayvec::ArrayVec;

/// Seals packets for the tunnels of their peers.
pub struct Seal {
    /// By peer number.
    pub tunnels: Vec<Option<Tunnel>>,
}

/// Packets that are not ready to be sent.
#[derive(Default)]
pub struct Unsent {
    /// Sealed, but without an Ethernet header: the next hop is not resolved.
    pub unresolved: Batch,
    /// Inner packets to peers without an SA, as they were. Not accounted for.
    pub without_sa: ArrayVec<(Frame, PeerNumber), BATCH>,
}

/// Outcome of sealing one packet.
#[derive(Clone, Copy)]
enum Outcome {
    Sealed,
    Unresolved,
    NoSa(PeerNumber),
    /// And accounted for.
    Dropped,
}

impl Seal {
    /// Turns inner packets into Ethernet frames with the sealed outer ones, in place.
    #[inline(never)]
    pub fn run<'a>(
        &self,
        mut packets: Annotated<'a, PeerNumber>,
        unsent: &mut Unsent,
        link: &LinkHeaders,
        aead: &dyn Aead,
        counters: &Counters,
        meter: &mut impl Meter,
    ) -> &'a mut Batch {
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
        // Packets that are sealed and ready need no entry.
        let mut exceptions: ArrayVec<(usize, Outcome), BATCH> = ArrayVec::new();
        packets.for_each(|index, frame, peer| {
            let tunnel = tunnel(&self.tunnels, *peer);
            match tunnel.ok_or(Reason::NoSa).and_then(|tunnel| tunnel.prepare(frame, link)) {
                Ok((job, is_resolved)) => {
                    jobs.push(job);
                    if !is_resolved {
                        exceptions.push((index, Outcome::Unresolved));
                    }
                }
                Err(Reason::NoSa) => exceptions.push((index, Outcome::NoSa(*peer))),
                Err(reason) => {
                    let owner = OwnerCounters { route: route_counters(&self.tunnels, *peer), sa: None };
                    counters.dropped(1, reason, owner);
                    exceptions.push((index, Outcome::Dropped));
                }
            }
        });
        meter.lap("outbound prepare");
        aead.seal(&mut jobs);
        drop(jobs);
        let frames = packets.into_frames();
        if !exceptions.is_empty() {
            put_aside(frames, &exceptions, unsent);
        }
        meter.lap("outbound seal");
        frames
    }

    /// Turns an empty frame into a sealed dummy packet to a peer. False if the next hop is not resolved: it has no Ethernet
    /// header then. `None` if the peer has no SA, or its numbers are used up.
    pub fn seal_dummy(
        &self,
        peer: PeerNumber,
        frame: &mut Frame,
        link: &LinkHeaders,
        aead: &dyn Aead,
    ) -> Option<bool> {
        let (job, is_resolved) = tunnel(&self.tunnels, peer)?.prepare_dummy(frame, link).ok()?;
        aead.seal(&mut [job]);
        if !is_resolved {
            frame.trim_front(ethernet::HEADER);
        }
        Some(is_resolved)
    }
}

/// Takes the packets out that are not ready to be sent.
#[cold]
fn put_aside(frames: &mut Batch, exceptions: &[(usize, Outcome)], unsent: &mut Unsent) {
    let mut outcomes: Notes<Outcome> = frames.iter().map(|_| Outcome::Sealed).collect();
    for (index, exception) in exceptions {
        if let Some(outcome) = outcomes.get_mut(*index) {
            *outcome = *exception;
        }
    }
    Annotated::new(frames, &mut outcomes).try_retain(
        |_, outcome| if matches!(outcome, Outcome::Sealed) { Ok(()) } else { Err(outcome) },
        |outcome, mut frame, _| match outcome {
            Outcome::Unresolved => {
                frame.trim_front(ethernet::HEADER);
                unsent.unresolved.push(frame);
            }
            Outcome::NoSa(peer) => unsent.without_sa.push((frame, peer)),
            Outcome::Sealed | Outcome::Dropped => {}
        },
    );
}
