// SPDX-License-Identifier: Apache-2.0
//! From destination to route, from SPI to security association. What is found goes into the frame's mark.

use super::{Inbound, Tunnel};
use crate::count::{self, Counter};
use crate::frame::{BATCH, Batch, Frame, Pool};
use crate::route::{PrefixTable, SpiTable};
use crate::wire::esp::Esp;
use crate::wire::fragment::{Piece, Pieces};
use crate::wire::ip::Ip;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::{ipv6, tcp};
use std::sync::Arc;

/// Picks the route of an inner packet.
pub struct PrivateRouter {
    pub table: Arc<PrefixTable>,
    /// Whether packets without DF that are too long are cut.
    pub fragment_inner: bool,
    /// Whether the segment size that TCP connections announce is lowered to what a tunnel takes.
    pub mss_clamp: bool,
}

/// Where the packets that were stopped go.
pub struct Stopped<'a> {
    /// To be told so: marked with the size that would have passed.
    pub too_big: &'a mut Batch,
    /// To be cut: marked with their route.
    pub oversize: &'a mut Batch,
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
            tunnel.prefetch();
        }
        Ok(route)
    }

    /// What becomes of a packet that was stopped.
    #[cold]
    pub fn divert(
        &self,
        stop: Stop,
        mut frame: Frame,
        into: &mut Stopped<'_>,
        tunnels: &[Option<Tunnel>],
        count: &count::PrivateRouter,
    ) {
        match stop {
            Stop::NoRoute => {
                count.route_errors.add(1);
                count.rxerrors.add(1);
            }
            Stop::TooBig { route, fragmentable: true, .. } if self.fragment_inner => {
                frame.mark = route;
                into.oversize.push(frame);
            }
            Stop::TooBig { route, mtu, fragmentable } => {
                count_too_big(route, tunnels, &count.mtu_errors, count);
                if !fragmentable {
                    frame.mark = mtu.into();
                    into.too_big.push(frame);
                }
            }
        }
    }

    /// Lowers the segment size that a packet announces, if it is a SYN, to what the tunnel of a route takes in one packet.
    #[cold]
    #[inline(never)]
    pub fn clamp(frame: &mut Frame, route: u32, tunnels: &[Option<Tunnel>], clamped: &Counter) {
        let Some(tunnel) = tunnels.get(route as usize).and_then(Option::as_ref) else { return };
        // Read once more: nothing may point to what the fast path has read, or it would have to be in memory.
        let Ok(packet) = Ip::parse(frame.data()) else { return };
        let Some(offset) = tcp::find_syn(&packet) else { return };
        //= RFC 6691 section 2: the MSS is the MTU less the headers without options.
        let header = if matches!(packet, Ip::V4(_)) { ipv4::HEADER } else { ipv6::HEADER };
        let most = tunnel.mtu.saturating_sub((header + tcp::HEADER) as u16);
        // A tunnel that takes no segment at all says so when one comes.
        let segment = frame.data_mut().get_mut(offset..).unwrap_or_default();
        if most > 0 && tcp::clamp_mss(segment, most) {
            clamped.add(1);
        }
    }
}

/// Cuts packets that are marked with their route into pieces that its tunnel takes, the last packet first, until all are
/// cut or the batch has no room for the pieces of the next. RFC 4301 section 8.2: the plaintext side may fragment IPv4
/// packets without DF.
#[cold]
#[inline(never)]
pub fn fragment(
    oversize: &mut Batch,
    pool: &Pool,
    tunnels: &[Option<Tunnel>],
    count: &count::PrivateRouter,
    sizes: &count::PacketSize,
    pieces: &mut Batch,
) {
    while let Some(frame) = oversize.last() {
        let route = frame.mark;
        let mtu = tunnels.get(route as usize).and_then(Option::as_ref).map_or(0, |tunnel| tunnel.mtu);
        let cut = Ipv4::parse(frame.data()).ok().and_then(|packet| {
            let cut = Pieces::of(&packet, mtu)?;
            Some((packet, cut))
        });
        match cut {
            Some((packet, cut)) if cut.len() <= BATCH.min(pool.available()) => {
                if cut.len() > pieces.remaining_capacity() {
                    return;
                }
                sizes.fragmented_packets.add(1);
                sizes.fragments_created.add(cut.len() as u64);
                pieces.extend(cut.filter_map(|piece| piece_of(&packet, &piece, route, pool)));
            }
            Some(_) => count_too_big(route, tunnels, &sizes.fragment_errors, count),
            None => count_too_big(route, tunnels, &count.mtu_errors, count),
        }
        oversize.pop();
    }
}

fn piece_of(packet: &Ipv4<'_>, piece: &Piece, route: u32, pool: &Pool) -> Option<Frame> {
    let mut frame = pool.take()?;
    frame.append(piece.header.len())?.copy_from_slice(&piece.header);
    let payload = packet.payload().get(piece.payload.clone())?;
    frame.append(payload.len())?.copy_from_slice(payload);
    frame.mark = route;
    Some(frame)
}

fn count_too_big(route: u32, tunnels: &[Option<Tunnel>], leaf: &Counter, count: &count::PrivateRouter) {
    leaf.add(1);
    count.rxerrors.add(1);
    if let Some(tunnel) = tunnels.get(route as usize).and_then(Option::as_ref) {
        tunnel.told.counters.outbound.mtu_errors.add(1);
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
        inbound.prefetch(esp.sequence_low());
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
