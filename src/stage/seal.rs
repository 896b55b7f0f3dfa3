// SPDX-License-Identifier: Apache-2.0
//! Sealing: headers and trailers of a batch, then its cryptography.

use super::tunnel::{Stop, Tunnel};
use super::{Marks, Meter, Ways};
use crate::count;
use crate::esp::{Aead, Job, Unsealed};
use crate::frame::{BATCH, Batch, Frame};
use crate::wire::ethernet;
use arrayvec::ArrayVec;

/// Seals what the router marked with a tunnel's number.
pub struct Outbound {
    pub tunnels: Vec<Option<Tunnel>>,
}

/// Packets that are not ready to be sent.
pub struct Aside {
    /// Sealed, but there is no way to send them yet: without an Ethernet header.
    pub bare: Batch,
    /// Inner packets of routes without an SA, as they were; not counted yet.
    pub stray: Batch,
}

impl Aside {
    #[inline(always)]
    pub fn empty() -> Aside {
        Aside { bare: Batch::new(), stray: Batch::new() }
    }
}

impl Outbound {
    /// Turns inner packets into sealed outer ones, where they lie: Ethernet frames, except for those that go aside.
    #[inline(never)]
    pub fn run(
        &self,
        packets: &mut Batch,
        aside: &mut Aside,
        ways: &Ways,
        aead: &dyn Aead,
        count: &count::PrivateRouter,
        meter: &mut impl Meter,
    ) {
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
        let mut refused: Marks = 0;
        let mut wayless: Marks = 0;
        for (index, frame) in packets.iter_mut().enumerate() {
            let route = frame.mark;
            let tunnel = self.tunnels.get(route as usize).and_then(Option::as_ref);
            let prepared = tunnel.ok_or(Stop::NoAssociation).and_then(|tunnel| tunnel.prepare(frame, ways));
            match prepared {
                Ok((job, is_wayless)) => {
                    wayless |= Marks::from(is_wayless) << index;
                    jobs.push(job);
                }
                Err(stop) => {
                    refused |= 1 << index;
                    if let Stop::Unsealed(reason) = stop {
                        self.count_unsealed(reason, route, count);
                    }
                }
            }
        }
        meter.lap("outbound prepare");
        aead.seal(&mut jobs);
        drop(jobs);
        if refused | wayless != 0 {
            let mut indices = 0..BATCH;
            packets.sift(
                |_| {
                    let index = indices.next().unwrap_or_default();
                    let (is_refused, is_wayless) = (refused >> index & 1 != 0, wayless >> index & 1 != 0);
                    if is_refused || is_wayless { Err(is_refused) } else { Ok(()) }
                },
                |is_refused, mut frame| {
                    if !is_refused {
                        frame.trim_front(ethernet::HEADER);
                        aside.bare.push(frame);
                    } else if !self.has_association(frame.mark) {
                        aside.stray.push(frame);
                    }
                },
            );
        }
        meter.lap("outbound seal");
    }

    /// Turns an empty frame into a sealed dummy packet of a route. True if there is no way to send it yet: it has no Ethernet
    /// header then. `None` if the route has no SA, or its numbers are used up.
    pub fn seal_dummy(&self, route: u32, frame: &mut Frame, ways: &Ways, aead: &dyn Aead) -> Option<bool> {
        let tunnel = self.tunnels.get(route as usize)?.as_ref()?;
        let (job, is_wayless) = tunnel.prepare_dummy(frame, ways).ok()?;
        aead.seal(&mut [job]);
        if is_wayless {
            frame.trim_front(ethernet::HEADER);
        }
        Some(is_wayless)
    }

    /// Counts a packet of a route that has no SA.
    #[cold]
    pub fn count_stray(&self, route: u32, count: &count::PrivateRouter) {
        count.sa_errors.add(1);
        count.rxerrors.add(1);
        if let Some(of_route) = self.of_route(route) {
            of_route.sa_errors.add(1);
        }
    }

    #[cold]
    fn count_unsealed(&self, reason: Unsealed, route: u32, count: &count::PrivateRouter) {
        let of_route = self.of_route(route);
        let (leaf, of_route) = match reason {
            Unsealed::SequenceExhausted => {
                (&count.sequence_errors, of_route.map(|route| &route.sequence_errors))
            }
            Unsealed::NoRoom => (&count.mtu_errors, of_route.map(|route| &route.mtu_errors)),
        };
        leaf.add(1);
        count.rxerrors.add(1);
        if let Some(leaf) = of_route {
            leaf.add(1);
        }
    }

    fn has_association(&self, route: u32) -> bool {
        self.tunnels.get(route as usize).and_then(Option::as_ref).is_some_and(Tunnel::has_association)
    }

    fn of_route(&self, route: u32) -> Option<&count::RouteOutbound> {
        let tunnel = self.tunnels.get(route as usize)?.as_ref()?;
        Some(&tunnel.told.counters.outbound)
    }
}
