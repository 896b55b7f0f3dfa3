// SPDX-License-Identifier: Apache-2.0
//! What a packet is, and so where it goes.

use crate::count;
use crate::frame::{Batch, Frame};
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ipv4::{Ipv4, PROTOCOL_ESP, PROTOCOL_UDP};
use crate::wire::udp::Udp;
use std::net::Ipv4Addr;

/// Frames from the private interface.
pub struct PrivateDispatch {
    pub address: Ipv4Addr,
}

/// Frames from the public interface.
pub struct PublicDispatch {
    pub address: Ipv4Addr,
    pub protocol_port: u16,
}

/// Packets that came out of a tunnel.
pub struct InboundDispatch {
    pub address: Ipv4Addr,
}

impl PrivateDispatch {
    /// Deals out packets to forward and packets for the gateway itself, both without their Ethernet header, and ARP.
    pub fn run(
        &self,
        input: &mut Batch,
        forward: &mut Batch,
        local: &mut Batch,
        arp: &mut Batch,
        count: &count::PrivateDispatch,
    ) {
        for mut frame in input.drain(..) {
            match kind(&frame) {
                Kind::Ipv4 => {
                    frame.trim_front(ethernet::HEADER);
                    let to_us = Ipv4::parse(frame.data()).is_ok_and(|ip| ip.destination() == self.address);
                    if to_us { local.push(frame) } else { forward.push(frame) }
                }
                Kind::Arp => arp.push(frame),
                Kind::Group => count.address_errors.add(1),
                Kind::Other => count.ethertype_errors.add(1),
            }
        }
    }
}

impl PublicDispatch {
    /// Deals out ESP, the key exchange, and other packets for the gateway itself, all without their Ethernet header,
    /// and ARP.
    pub fn run(
        &self,
        input: &mut Batch,
        esp: &mut Batch,
        exchange: &mut Batch,
        local: &mut Batch,
        arp: &mut Batch,
        count: &count::PublicDispatch,
    ) {
        for mut frame in input.drain(..) {
            let error = match kind(&frame) {
                Kind::Ipv4 => {
                    frame.trim_front(ethernet::HEADER);
                    match self.classify(&frame) {
                        Class::Esp => {
                            esp.push(frame);
                            continue;
                        }
                        Class::Exchange => {
                            exchange.push(frame);
                            continue;
                        }
                        Class::Local => {
                            local.push(frame);
                            continue;
                        }
                        Class::Fragment => &count.fragment_errors,
                        Class::Other => &count.protocol_errors,
                    }
                }
                Kind::Arp => {
                    arp.push(frame);
                    continue;
                }
                Kind::Group => &count.address_errors,
                Kind::Other => &count.ethertype_errors,
            };
            error.add(1);
            count.rxerrors.add(1);
        }
    }

    #[inline]
    fn classify(&self, frame: &Frame) -> Class {
        let Ok(ip) = Ipv4::parse(frame.data()) else { return Class::Other };
        if ip.is_fragment() {
            return Class::Fragment;
        }
        match ip.protocol() {
            PROTOCOL_ESP => Class::Esp,
            PROTOCOL_UDP
                if Udp::parse(ip.payload()).is_ok_and(|udp| udp.destination_port() == self.protocol_port) =>
            {
                Class::Exchange
            }
            _ if ip.destination() == self.address => Class::Local,
            _ => Class::Other,
        }
    }
}

impl InboundDispatch {
    /// Deals out inner packets to forward and inner packets for the gateway itself.
    pub fn run(
        &self,
        input: &mut Batch,
        forward: &mut Batch,
        local: &mut Batch,
        count: &count::InboundDispatch,
    ) {
        for frame in input.drain(..) {
            match Ipv4::parse(frame.data()) {
                Ok(ip) if ip.destination() == self.address => local.push(frame),
                Ok(_) => forward.push(frame),
                Err(_) => count.protocol_errors.add(1),
            }
        }
    }
}

enum Kind {
    Ipv4,
    Arp,
    /// IP that was sent to a link-layer group address. RFC 1812 section 5.3.4: a router must not forward it; and
    /// RFC 1122 section 3.2.2 forbids an error about it.
    Group,
    Other,
}

enum Class {
    Esp,
    Exchange,
    Local,
    Fragment,
    Other,
}

#[inline]
fn kind(frame: &Frame) -> Kind {
    let Ok(header) = Ethernet::parse(frame.data()) else { return Kind::Other };
    match header.ethertype() {
        ethernet::ETHERTYPE_IPV4 if header.destination().is_multicast() => Kind::Group,
        ethernet::ETHERTYPE_IPV4 => Kind::Ipv4,
        ethernet::ETHERTYPE_ARP => Kind::Arp,
        _ => Kind::Other,
    }
}
