// SPDX-License-Identifier: Apache-2.0
//! Sealing: headers and trailers of a batch, then its cryptography.

use super::tunnel::{Stop, Tunnel};
use super::{Marks, Meter, Ways};
use crate::count;
use crate::esp::{Aead, Job, Unsealed};
use crate::frame::{BATCH, Batch};
use crate::wire::ethernet;
use arrayvec::ArrayVec;

/// Seals what the router marked with a tunnel's number.
pub struct Outbound {
    pub tunnels: Vec<Option<Tunnel>>,
}

impl Outbound {
    /// Turns inner packets into sealed outer ones, where they lie: Ethernet frames, except for those that there is no way
    /// for yet, which go to `bare`.
    #[inline(never)]
    pub fn run(
        &self,
        packets: &mut Batch,
        bare: &mut Batch,
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
                    self.count_stop(stop, route, count);
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
                    let is = |marks: Marks| marks >> index & 1 != 0;
                    if is(refused | wayless) { Err(is(wayless & !refused)) } else { Ok(()) }
                },
                |is_wayless, mut frame| {
                    if is_wayless {
                        frame.trim_front(ethernet::HEADER);
                        bare.push(frame);
                    }
                },
            );
        }
        meter.lap("outbound seal");
    }

    #[cold]
    fn count_stop(&self, stop: Stop, route: u32, count: &count::PrivateRouter) {
        let tunnel = self.tunnels.get(route as usize).and_then(Option::as_ref);
        let of_route = tunnel.map(|tunnel| &tunnel.told.counters.outbound);
        let (leaf, of_route) = match stop {
            Stop::NoAssociation => (&count.sa_errors, of_route.map(|route| &route.sa_errors)),
            Stop::Unsealed(Unsealed::SequenceExhausted) => {
                (&count.sequence_errors, of_route.map(|route| &route.sequence_errors))
            }
            Stop::Unsealed(Unsealed::NoRoom) => (&count.mtu_errors, of_route.map(|route| &route.mtu_errors)),
        };
        leaf.add(1);
        count.rxerrors.add(1);
        if let Some(leaf) = of_route {
            leaf.add(1);
        }
    }
}
