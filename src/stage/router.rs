// SPDX-License-Identifier: Apache-2.0
//! From destination to route, from SPI to security association. What is found goes into the frame's mark.

use super::{Inbound, Tunnel};
use crate::count;
use crate::frame::{Batch, Frame};
use crate::route::{PrefixTable, SpiTable};
use crate::wire::esp::Esp;
use crate::wire::ip::Ip;
use std::sync::Arc;

/// Picks the route of an inner packet.
pub struct PrivateRouter {
    pub table: Arc<PrefixTable>,
}

/// Why a packet goes into no tunnel.
pub enum Stop {
    NoRoute,
    /// The largest that the tunnel of this route takes has `mtu` bytes.
    TooBig {
        route: u32,
        mtu: u16,
        fragmentable: bool,
    },
}

impl PrivateRouter {
    /// The number of a packet's route.
    #[inline(always)]
    pub fn pick(&self, packet: &Ip<'_>, tunnels: &[Option<Tunnel>]) -> Result<u32, Stop> {
        let found = match packet {
            Ip::V4(ip) => self.table.lookup4(ip.destination()),
            Ip::V6(ip) => self.table.lookup6(ip.destination()),
        };
        let route = found.ok_or(Stop::NoRoute)?;
        // What has no tunnel is told so in the next stage.
        if let Some(tunnel) = tunnels.get(route as usize).and_then(Option::as_ref) {
            if packet.total_len() > usize::from(tunnel.mtu) {
                let fragmentable = matches!(packet, Ip::V4(ip) if !ip.dont_fragment());
                return Err(Stop::TooBig { route, mtu: tunnel.mtu, fragmentable });
            }
            tunnel.fetch();
        }
        Ok(route)
    }

    /// What becomes of a packet that was stopped: one that is too large and must not be fragmented goes to `too_big`,
    /// marked with the size that would have passed.
    #[cold]
    pub fn divert(
        stop: Stop,
        mut frame: Frame,
        too_big: &mut Batch,
        tunnels: &[Option<Tunnel>],
        count: &count::PrivateRouter,
    ) {
        count.rxerrors.add(1);
        match stop {
            Stop::NoRoute => count.route_errors.add(1),
            Stop::TooBig { route, mtu, fragmentable } => {
                count.mtu_errors.add(1);
                if let Some(tunnel) = tunnels.get(route as usize).and_then(Option::as_ref) {
                    tunnel.told.counters.outbound.mtu_errors.add(1);
                }
                if !fragmentable {
                    frame.mark = mtu.into();
                    too_big.push(frame);
                }
            }
        }
    }
}

/// Why a packet has no security association.
pub enum Lost {
    NoEsp,
    NoAssociation,
}

/// The place of the security association of an ESP packet in the table.
#[inline(always)]
pub fn find(packet: &Ip<'_>, offset: usize, associations: &SpiTable<Box<Inbound>>) -> Result<u32, Lost> {
    let esp = packet.packet().get(offset..).and_then(|esp| Esp::parse(esp).ok()).ok_or(Lost::NoEsp)?;
    let place = associations.find(esp.spi()).ok_or(Lost::NoAssociation)?;
    if let Some(inbound) = associations.at(place) {
        inbound.fetch(esp.sequence_low());
    }
    Ok(place)
}

/// Counts a packet that was lost.
#[cold]
pub fn count_lost(lost: Lost, count: &count::PublicRouter) {
    match lost {
        Lost::NoEsp => count.protocol_errors.add(1),
        Lost::NoAssociation => count.route_errors.add(1),
    }
}
