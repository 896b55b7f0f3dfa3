// SPDX-License-Identifier: Apache-2.0
//! From destination to route, from SPI to security association.

use super::{Exception, SadEntry, Tunnel};
use crate::count::{Counter, Counters, OwnerCounters, Reason, RouteCounters};
use crate::frame::{BATCH, Batch, Frame, Notes, Pool};
use crate::route::{PeerNumber, PrefixTable, Slot, SpiTable};
use crate::wire::esp::Esp;
use crate::wire::fragment::{Piece, Pieces};
use crate::wire::ip::Ip;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::{ipv6, tcp};
use arrayvec::ArrayVec;
use std::sync::Arc;

/// Finds the route of an inner packet.
pub struct PrivateRouter {
    /// Prefixes to route numbers.
    pub table: Arc<PrefixTable>,
    /// By route number.
    pub active_peers: Vec<PeerNumber>,
    /// Whether packets without DF that are too long are fragmented.
    pub fragment_inner: bool,
    /// Whether the segment size that TCP connections announce is lowered to what a tunnel takes.
    pub mss_clamp: bool,
}

impl PrivateRouter {
    /// The active peer of a packet's route. Prefetches what its tunnel will use.
    #[inline(always)]
    pub fn lookup(&self, packet: &Ip<'_>, tunnels: &[Option<Tunnel>]) -> Result<PeerNumber, Exception> {
        let found = match packet {
            Ip::V4(ip) => self.table.lookup4(ip.destination()),
            Ip::V6(ip) => self.table.lookup6(ip.destination()),
        };
        let route = found.ok_or(Reason::NoRoute)?;
        let peer = self.active_peers.get(route as usize).copied().unwrap_or(PeerNumber::NONE);
        // A peer without a tunnel is an exception of the next stage.
        if let Some(tunnel) = tunnel(tunnels, peer) {
            if packet.total_len() > usize::from(tunnel.mtu) {
                let may_fragment = matches!(packet, Ip::V4(ip) if !ip.dont_fragment());
                return Err(self.too_long(peer, may_fragment));
            }
            tunnel.prefetch();
        }
        Ok(peer)
    }

    #[cold]
    fn too_long(&self, peer: PeerNumber, may_fragment: bool) -> Exception {
        if may_fragment && self.fragment_inner {
            return Exception::Oversize(peer);
        }
        // RFC 792: the sender hears of it if it forbade fragmentation.
        Exception::TooBig { peer, is_reported: !may_fragment }
    }

    /// Lowers the segment size that a packet announces, if it is a SYN, to what the tunnel of a peer takes in one packet.
    #[cold]
    #[inline(never)]
    pub fn clamp(frame: &mut Frame, peer: PeerNumber, tunnels: &[Option<Tunnel>], clamped: &Counter) {
        let Some(tunnel) = tunnel(tunnels, peer) else { return };
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

/// The tunnel of a peer.
#[inline(always)]
pub fn tunnel(tunnels: &[Option<Tunnel>], PeerNumber(peer): PeerNumber) -> Option<&Tunnel> {
    tunnels.get(peer as usize)?.as_ref()
}

/// Counters of the route of a peer.
pub fn route_counters(tunnels: &[Option<Tunnel>], peer: PeerNumber) -> Option<&RouteCounters> {
    tunnel(tunnels, peer).map(|tunnel| &tunnel.stats.counters)
}

/// Fragments packets for their tunnels, the last packet first, until all are done or `fragments` has no room for those of the
/// next. RFC 4301 section 8.2: the plaintext side may fragment IPv4 packets without DF.
#[cold]
#[inline(never)]
pub fn fragment(
    oversize: &mut ArrayVec<(Frame, PeerNumber), BATCH>,
    pool: &Pool,
    tunnels: &[Option<Tunnel>],
    counters: &Counters,
    fragments: &mut Batch,
    peers: &mut Notes<PeerNumber>,
) {
    while let Some((frame, peer)) = oversize.last() {
        let mtu = tunnel(tunnels, *peer).map_or(0, |tunnel| tunnel.mtu);
        let cut = Ipv4::parse(frame.data()).ok().and_then(|packet| {
            let pieces = Pieces::of(&packet, mtu)?;
            Some((packet, pieces))
        });
        let dropped = match cut {
            Some((packet, pieces)) if pieces.len() <= BATCH.min(pool.available()) => {
                if pieces.len() > fragments.remaining_capacity() {
                    return;
                }
                counters.packet_size.fragmented_packets.add(1);
                counters.packet_size.fragments_created.add(pieces.len() as u64);
                for frame in pieces.filter_map(|piece| fragment_of(&packet, &piece, pool)) {
                    fragments.push(frame);
                    peers.push(*peer);
                }
                None
            }
            Some(_) => Some(Reason::TooManyFragments),
            None => Some(Reason::TooBig),
        };
        if let Some(reason) = dropped {
            counters.dropped(1, reason, OwnerCounters { route: route_counters(tunnels, *peer), sa: None });
        }
        oversize.pop();
    }
}

fn fragment_of(packet: &Ipv4<'_>, piece: &Piece, pool: &Pool) -> Option<Frame> {
    let mut frame = pool.take()?;
    frame.append(piece.header.len())?.copy_from_slice(&piece.header);
    let payload = packet.payload().get(piece.payload.clone())?;
    frame.append(payload.len())?.copy_from_slice(payload);
    Some(frame)
}

/// The slot of the inbound SA of an ESP packet, whose header is at `offset`. Prefetches what opening the packet will use.
#[inline(always)]
pub fn lookup_sa(
    packet: &Ip<'_>,
    offset: usize,
    associations: &SpiTable<Box<SadEntry>>,
) -> Result<Slot, Reason> {
    let esp = packet.packet().get(offset..).and_then(|esp| Esp::parse(esp).ok()).ok_or(Reason::NoEsp)?;
    let slot = associations.find(esp.spi()).ok_or(Reason::UnknownSpi)?;
    if let Some(entry) = associations.at(slot) {
        entry.prefetch(esp.sequence_low());
    }
    Ok(slot)
}
