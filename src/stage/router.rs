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
        packets: &mut Batch,
        too_big: &mut Batch,
        tunnels: &[Option<Tunnel>],
        count: &count::PrivateRouter,
    ) {
        packets.sift(
            |frame| {
                let (route, len, fragmentable) = match Ip::parse(frame.data()) {
                    Ok(Ip::V4(ip)) => {
                        (self.table.lookup4(ip.destination()), ip.total_len(), !ip.dont_fragment())
                    }
                    Ok(Ip::V6(ip)) => (self.table.lookup6(ip.destination()), ip.total_len(), false),
                    Err(_) => (None, 0, false),
                };
                let route = route.ok_or(Stop::NoRoute)?;
                // What has no tunnel is told so in the next stage.
                let tunnel = tunnels.get(route as usize).and_then(Option::as_ref);
                if let Some(tunnel) = tunnel
                    && len > usize::from(tunnel.mtu)
                {
                    tunnel.told.counters.outbound.mtu_errors.add(1);
                    frame.mark = tunnel.mtu.into();
                    return Err(Stop::TooBig { fragmentable });
                }
                if let Some(tunnel) = tunnel {
                    tunnel.fetch();
                }
                frame.mark = route;
                Ok(())
            },
            |stop, frame| {
                count.rxerrors.add(1);
                match stop {
                    Stop::NoRoute => count.route_errors.add(1),
                    Stop::TooBig { fragmentable } => {
                        count.mtu_errors.add(1);
                        if !fragmentable {
                            too_big.push(frame);
                        }
                    }
                }
            },
        );
    }
}

/// Why a packet goes into no tunnel.
enum Stop {
    NoRoute,
    TooBig { fragmentable: bool },
}

impl PublicRouter {
    /// Marks each packet with the place of its security association in the table.
    pub fn run(
        &self,
        packets: &mut Batch,
        associations: &SpiTable<Box<Inbound>>,
        count: &count::PublicRouter,
    ) {
        packets.sift(
            |frame| {
                let esp = esp_of(frame).ok_or(Lost::NoEsp)?;
                frame.mark = associations.find(esp.spi()).ok_or(Lost::NoAssociation)?;
                if let Some(inbound) = associations.at(frame.mark) {
                    inbound.fetch();
                }
                Ok(())
            },
            |lost, _frame| match lost {
                Lost::NoEsp => count.protocol_errors.add(1),
                Lost::NoAssociation => count.route_errors.add(1),
            },
        );
    }
}

/// Why a packet has no security association.
enum Lost {
    NoEsp,
    NoAssociation,
}
