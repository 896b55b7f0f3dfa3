// SPDX-License-Identifier: Apache-2.0
//! How neighbours talk with IPv6.

use super::mld::Report;
use super::{LinkAddress, NeighbourMessage, is_station};
use crate::frame::Frame;
use crate::wire::ethernet::{self, ETHERTYPE_IPV6, Ethernet};
use crate::wire::ipv6::Ipv6;
use crate::wire::mld::Version;
use crate::wire::nd::{self, Message};
use crate::wire::{self, Mac};
use std::net::Ipv6Addr;

/// What was said, after all checks of RFC 4861 section 7.1; and, as with ARP, no one else may have our address.
pub(super) fn parse(frame: &[u8], own_ip: Ipv6Addr, next_hop: Ipv6Addr) -> Option<NeighbourMessage> {
    let ethernet = Ethernet::parse(frame).ok()?;
    let packet = Ipv6::parse(ethernet.payload()).ok()?;
    let message = Message::parse(&packet).ok()?;
    let ethernet_source = ethernet.source();
    if ethernet_source.is_multicast() || packet.source() == own_ip || packet.source().is_multicast() {
        return None;
    }
    match message {
        Message::Solicitation { source, target, source_mac } => {
            // Section 7.2.4 has the answer go to a neighbour that is known. The one who asked is known by the option, or
            // by the frame. Deployed gateways leave the source of the frame zero.
            let mac = source_mac.unwrap_or(ethernet_source);
            // Who has no address yet is answered by way of all nodes.
            let is_answered_to_all = source.is_unspecified() && source_mac.is_none();
            if !is_answered_to_all && !is_station(mac) {
                return None;
            }
            let next_hop =
                source_mac.filter(|_| source == next_hop).map(|mac| LinkAddress { mac, overrides: true });
            Some(NeighbourMessage { next_hop, asker: (target == own_ip).then_some((source.into(), mac)) })
        }
        Message::Advertisement { target, target_mac, overrides } => {
            if target == own_ip || target_mac.is_some_and(|mac| !is_station(mac)) {
                return None;
            }
            // Section 7.2.5: without an address there is nothing to learn.
            let next_hop =
                target_mac.filter(|_| target == next_hop).map(|mac| LinkAddress { mac, overrides });
            Some(NeighbourMessage { next_hop, asker: None })
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

/// Tells everyone where we are: an unsolicited advertisement (RFC 4861 section 7.2.6).
pub(super) fn announcement(frame: &mut Frame, own_mac: Mac, own_ip: Ipv6Addr) -> Option<()> {
    answer(frame, own_mac, own_ip, Mac::ZERO, Ipv6Addr::UNSPECIFIED)
}

/// Tells who keeps track of the groups of the link that we listen to the group of our address.
pub(super) fn group_report(frame: &mut Frame, own_mac: Mac, own_ip: Ipv6Addr, report: Report) -> Option<()> {
    let (source, group) = (wire::mld::report_source(own_ip), nd::solicited_node(own_ip));
    match report.version {
        Version::V1 => {
            let out = packet(frame, own_mac, nd::group_mac(group))?;
            wire::mld::report_v1(out, source, group);
        }
        Version::V2 => {
            let out = packet(frame, own_mac, nd::group_mac(wire::mld::ROUTERS))?;
            wire::mld::report(out, source, group, report.reason);
        }
    }
    Some(())
}

/// Writes an Ethernet header, and gives the room behind it.
fn packet<const LEN: usize>(frame: &mut Frame, source: Mac, destination: Mac) -> Option<&mut [u8; LEN]> {
    let header = ethernet::Header { destination, source, ethertype: ETHERTYPE_IPV6 };
    header.write(frame.append(ethernet::HEADER)?.first_chunk_mut()?);
    frame.append(LEN)?.first_chunk_mut()
}
