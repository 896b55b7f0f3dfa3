// SPDX-License-Identifier: Apache-2.0
//! From destination to route, from SPI to security association. What is found is noted in the frame's mark.

use super::tunnel::Inbound;
use crate::count;
use crate::frame::Batch;
use crate::route::{PrefixTable, SpiTable};
use crate::wire::esp::Esp;
use crate::wire::ipv4::Ipv4;
use std::sync::Arc;

/// Picks the route of an inner packet.
pub struct PrivateRouter {
    pub table: Arc<PrefixTable>,
    /// The largest inner packet, in bytes.
    pub mtu: u16,
}

/// Picks the security association of an ESP packet.
pub struct PublicRouter;

impl PrivateRouter {
    /// Marks each packet with the number of its route. Packets that are too large but must not be fragmented go to
    /// `too_big`.
    pub fn run(
        &self,
        input: &mut Batch,
        routed: &mut Batch,
        too_big: &mut Batch,
        count: &count::PrivateRouter,
    ) {
        for mut frame in input.drain(..) {
            let route = Ipv4::parse(frame.data()).ok().and_then(|ip| {
                Some((self.table.lookup4(ip.destination())?, ip.total_len(), ip.dont_fragment()))
            });
            let Some((route, len, dont_fragment)) = route else {
                count.route_errors.add(1);
                count.rxerrors.add(1);
                continue;
            };
            if len > usize::from(self.mtu) {
                count.mtu_errors.add(1);
                count.rxerrors.add(1);
                if dont_fragment {
                    too_big.push(frame);
                }
                continue;
            }
            frame.mark = route;
            routed.push(frame);
        }
    }
}

impl PublicRouter {
    /// Marks each packet with the place of its security association in the table.
    pub fn run(
        &self,
        input: &mut Batch,
        associated: &mut Batch,
        associations: &SpiTable<Box<Inbound>>,
        count: &count::PublicRouter,
    ) {
        for mut frame in input.drain(..) {
            let packet = Ipv4::parse(frame.data())
                .and_then(|ip| Ok((Esp::parse(ip.payload())?.spi(), ip.total_len())));
            let Ok((spi, total_len)) = packet else {
                count.protocol_errors.add(1);
                continue;
            };
            // What follows the packet in its frame is not authenticated.
            frame.truncate(total_len);
            match associations.find(spi) {
                Some(place) => {
                    frame.mark = place;
                    associated.push(frame);
                }
                None => count.route_errors.add(1),
            }
        }
    }
}
