// SPDX-License-Identifier: Apache-2.0
//! How neighbours talk with IPv4.

use super::{LinkAddress, NeighbourMessage, is_station, pad};
use crate::frame::Frame;
use crate::wire::Mac;
use crate::wire::arp::{self, Arp};
use crate::wire::ethernet::{self, ETHERTYPE_ARP, Ethernet};
use std::net::Ipv4Addr;

/// RFC 826: both requests and replies tell where their sender is.
pub(super) fn parse(frame: &[u8], own_ip: Ipv4Addr, next_hop: Ipv4Addr) -> Option<NeighbourMessage> {
    let arp = Ethernet::parse(frame).and_then(|frame| Arp::parse(frame.payload())).ok()?;
    let sound = is_station(arp.sender_mac())
        && arp.sender_ip() != own_ip
        && matches!(arp.operation(), arp::REQUEST | arp::REPLY);
    if !sound {
        return None;
    }
    let (mac, ip) = (arp.sender_mac(), arp.sender_ip());
    let asks_for_us = arp.operation() == arp::REQUEST && arp.target_ip() == own_ip;
    Some(NeighbourMessage {
        next_hop: (ip == next_hop).then_some(LinkAddress { mac, overrides: true }),
        asker: asks_for_us.then_some((ip.into(), mac)),
    })
}

pub(super) fn question(frame: &mut Frame, own_mac: Mac, own_ip: Ipv4Addr, ip: Ipv4Addr) -> Option<()> {
    let header = arp::Header {
        operation: arp::REQUEST,
        sender_mac: own_mac,
        sender_ip: own_ip,
        target_mac: Mac::ZERO,
        target_ip: ip,
    };
    write(frame, Mac::BROADCAST, header)
}

pub(super) fn answer(
    frame: &mut Frame,
    own_mac: Mac,
    own_ip: Ipv4Addr,
    mac: Mac,
    ip: Ipv4Addr,
) -> Option<()> {
    let header = arp::Header {
        operation: arp::REPLY,
        sender_mac: own_mac,
        sender_ip: own_ip,
        target_mac: mac,
        target_ip: ip,
    };
    write(frame, mac, header)
}

/// Tells everyone where we are: the announcement of RFC 5227 section 2.3.
pub(super) fn announcement(frame: &mut Frame, own_mac: Mac, own_ip: Ipv4Addr) -> Option<()> {
    question(frame, own_mac, own_ip, own_ip)
}

fn write(frame: &mut Frame, destination: Mac, message: arp::Header) -> Option<()> {
    let header = ethernet::Header { destination, source: message.sender_mac, ethertype: ETHERTYPE_ARP };
    header.write(frame.append(ethernet::HEADER)?.first_chunk_mut()?);
    message.write(frame.append(arp::MESSAGE)?.first_chunk_mut()?);
    pad(frame)
}
