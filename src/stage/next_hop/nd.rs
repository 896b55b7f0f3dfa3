// SPDX-License-Identifier: Apache-2.0
//! How neighbours talk with IPv6.

use super::{Heard, Nonsense, Told, is_station};
use crate::frame::Frame;
use crate::wire::Mac;
use crate::wire::ethernet::{self, ETHERTYPE_IPV6, Ethernet};
use crate::wire::ipv6::Ipv6;
use crate::wire::nd::{self, Message};
use std::net::Ipv6Addr;

/// What was said, after all checks of RFC 4861 section 7.1; and, as with ARP, no one else may have our address.
pub(super) fn hear(frame: &[u8], own_ip: Ipv6Addr, next_hop: Ipv6Addr) -> Result<Heard, Nonsense> {
    let ethernet = Ethernet::parse(frame).map_err(|_| Nonsense)?;
    let packet = Ipv6::parse(ethernet.payload()).map_err(|_| Nonsense)?;
    let message = Message::parse(&packet).map_err(|_| Nonsense)?;
    if !is_station(ethernet.source()) || packet.source() == own_ip || packet.source().is_multicast() {
        return Err(Nonsense);
    }
    match message {
        Message::Solicitation { source, target, source_mac } => {
            if source_mac.is_some_and(|mac| !is_station(mac)) {
                return Err(Nonsense);
            }
            // Section 7.2.4 has the answer go to a neighbour that is known. The one who asked is known by the frame.
            let mac = source_mac.unwrap_or(ethernet.source());
            let told = source_mac.filter(|_| source == next_hop).map(|mac| Told { mac, overrides: true });
            Ok(Heard { told, asker: (target == own_ip).then_some((source.into(), mac)) })
        }
        Message::Advertisement { target, target_mac, overrides } => {
            if target == own_ip || target_mac.is_some_and(|mac| !is_station(mac)) {
                return Err(Nonsense);
            }
            // Section 7.2.5: without an address there is nothing to learn.
            let told = target_mac.filter(|_| target == next_hop).map(|mac| Told { mac, overrides });
            Ok(Heard { told, asker: None })
        }
    }
}

pub(super) fn question(frame: &mut Frame, own_mac: Mac, own_ip: Ipv6Addr, ip: Ipv6Addr) -> Option<()> {
    let destination = nd::group_mac(nd::solicited_node(ip));
    nd::solicitation(packet(frame, own_mac, destination)?, own_ip, own_mac, ip);
    Some(())
}

/// Who asks without an address, to see whether one is free, is answered by way of all nodes.
pub(super) fn answer(
    frame: &mut Frame,
    own_mac: Mac,
    own_ip: Ipv6Addr,
    mac: Mac,
    ip: Ipv6Addr,
) -> Option<()> {
    let destination = if ip.is_unspecified() { nd::group_mac(nd::ALL_NODES) } else { mac };
    nd::advertisement(packet(frame, own_mac, destination)?, own_ip, own_mac, ip);
    Some(())
}

/// Writes an Ethernet header, and gives the room behind it.
fn packet(frame: &mut Frame, source: Mac, destination: Mac) -> Option<&mut [u8; nd::PACKET]> {
    let header = ethernet::Header { destination, source, ethertype: ETHERTYPE_IPV6 };
    header.write(frame.append(ethernet::HEADER)?.first_chunk_mut()?);
    frame.append(nd::PACKET)?.first_chunk_mut()
}
