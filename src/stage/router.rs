// SPDX-License-Identifier: Apache-2.0
//! From destination to route, from SPI to security association. What is found is noted in the frame's mark.

use super::tunnel::{Inbound, Tunnel, esp_of};
use crate::count;
use crate::frame::Batch;
use crate::route::{PrefixTable, SpiTable};
use crate::wire::ip::Ip;
use std::sync::Arc;

/// Picks the route of an inner packet.
pub struct PrivateRouter {
    pub table: Arc<PrefixTable>,
}

/// Picks the security association of an ESP packet.
pub struct PublicRouter;

impl PrivateRouter {
    /// Marks each packet with the number of its route. Packets that are too large but must not be fragmented go to
    /// `too_big`, marked with the size that would have passed.
    pub fn run(
        &self,
        input: &mut Batch,
        routed: &mut Batch,
        too_big: &mut Batch,
        tunnels: &[Option<Tunnel>],
        count: &count::PrivateRouter,
    ) {
        for mut frame in input.drain(..) {
            let (route, len, fragmentable) = match Ip::parse(frame.data()) {
                Ok(Ip::V4(ip)) => (self.table.lookup4(ip.destination()), ip.total_len(), !ip.dont_fragment()),
                Ok(Ip::V6(ip)) => (self.table.lookup6(ip.destination()), ip.total_len(), false),
                Err(_) => (None, 0, false),
            };
            let Some(route) = route else {
                count.route_errors.add(1);
                count.rxerrors.add(1);
                continue;
            };
            // What has no tunnel is told so in the next stage.
            let tunnel = tunnels.get(route as usize).and_then(Option::as_ref);
            if let Some(tunnel) = tunnel
                && len > usize::from(tunnel.mtu)
            {
                tunnel.told.counters.outbound.mtu_errors.add(1);
                count.mtu_errors.add(1);
                count.rxerrors.add(1);
                if !fragmentable {
                    frame.mark = tunnel.mtu.into();
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
            let ip = Ip::parse(frame.data()).ok();
            let Some((spi, total_len)) = ip.and_then(|ip| Some((esp_of(&ip)?.0.spi(), ip.total_len())))
            else {
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
