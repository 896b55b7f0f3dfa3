// SPDX-License-Identifier: Apache-2.0
//! What a packet is, and so where it goes.
//!
//! An interface has an address of IPv4, of IPv6, or of both; packets of a family it has no address of are none of the
//! gateway's.

use crate::count;
use crate::frame::{Batch, Frame};
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ip::{Addresses, Family, Ip};
use crate::wire::ipv4::{PROTOCOL_ESP, PROTOCOL_UDP};
use crate::wire::ipv6::{self, Ipv6};
use crate::wire::nd;
use crate::wire::udp::Udp;

/// Frames from the private interface.
pub struct PrivateDispatch {
    pub own: Addresses,
}

/// Frames from the public interface.
pub struct PublicDispatch {
    pub own: Addresses,
    pub protocol_port: u16,
    /// Whether messages of the key exchange are wanted.
    pub key_exchange: bool,
}

/// Packets that came out of a tunnel.
pub struct InboundDispatch {
    pub own: Addresses,
}

impl PrivateDispatch {
    /// Deals out packets to forward and packets for the gateway itself, both without their Ethernet header, and what
    /// neighbours say.
    pub fn run(
        &self,
        input: &mut Batch,
        forward: &mut Batch,
        local: &mut Batch,
        neighbours: &mut Batch,
        count: &count::PrivateDispatch,
    ) {
        for mut frame in input.drain(..) {
            match kind(&frame, &self.own) {
                Kind::Ip => {
                    frame.trim_front(ethernet::HEADER);
                    // What is no IP packet after all, the next stage finds out.
                    match Ip::parse(frame.data()) {
                        Ok(ip) if self.own.contain_destination(&ip) => local.push(frame),
                        Ok(ip) if !may_leave_link(&ip) => count.address_errors.add(1),
                        _ => forward.push(frame),
                    }
                }
                Kind::Neighbour => neighbours.push(frame),
                Kind::Group => count.address_errors.add(1),
                Kind::Other => count.ethertype_errors.add(1),
            }
        }
    }
}

impl PublicDispatch {
    /// Deals out ESP, the key exchange, and other packets for the gateway itself, all without their Ethernet header,
    /// and what neighbours say.
    pub fn run(
        &self,
        input: &mut Batch,
        esp: &mut Batch,
        exchange: &mut Batch,
        local: &mut Batch,
        neighbours: &mut Batch,
        count: &count::PublicDispatch,
    ) {
        for mut frame in input.drain(..) {
            let error = match kind(&frame, &self.own) {
                Kind::Ip => {
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
                Kind::Neighbour => {
                    neighbours.push(frame);
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
        let Ok(ip) = Ip::parse(frame.data()) else { return Class::Other };
        let (protocol, offset) = match ip {
            Ip::V4(ip) if ip.is_fragment() => return Class::Fragment,
            Ip::V4(ip) => (ip.protocol(), ip.header_len()),
            Ip::V6(ip) => match ip.upper() {
                Ok(upper) if upper.is_fragment => return Class::Fragment,
                // Whatever it carries: RFC 8200 section 4.2 has it discarded, and tells who has to hear of it.
                Ok(upper) if upper.refused.is_some() && self.own.contain_destination(&Ip::V6(ip)) => {
                    return Class::Local;
                }
                Ok(upper) => (upper.protocol, upper.offset),
                Err(_) => return Class::Other,
            },
        };
        let to_port = || {
            let udp = Udp::parse(ip.packet().get(offset..).unwrap_or_default());
            udp.is_ok_and(|udp| udp.destination_port() == self.protocol_port)
        };
        match protocol {
            PROTOCOL_ESP => Class::Esp,
            PROTOCOL_UDP if to_port() => {
                if self.key_exchange {
                    Class::Exchange
                } else {
                    Class::Other
                }
            }
            _ if self.own.contain_destination(&ip) => Class::Local,
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
            match Ip::parse(frame.data()) {
                Ok(ip) if self.own.contain_destination(&ip) => local.push(frame),
                Ok(ip) if !may_leave_link(&ip) => count.protocol_errors.add(1),
                Ok(_) => forward.push(frame),
                // What is wrong with a header is the next stage's to say.
                Err(_) if Family::of_packet(frame.data()).is_some() => forward.push(frame),
                Err(_) => count.protocol_errors.add(1),
            }
        }
    }
}

enum Kind {
    Ip,
    /// ARP, or neighbour discovery.
    Neighbour,
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
fn kind(frame: &Frame, own: &Addresses) -> Kind {
    let Ok(header) = Ethernet::parse(frame.data()) else { return Kind::Other };
    let to_group = header.destination().is_multicast();
    match header.ethertype() {
        ethernet::ETHERTYPE_IPV4 if own.v4.is_some() => {
            if to_group {
                Kind::Group
            } else {
                Kind::Ip
            }
        }
        ethernet::ETHERTYPE_ARP if own.v4.is_some() => Kind::Neighbour,
        ethernet::ETHERTYPE_IPV6 if own.v6.is_some() => {
            // Solicitations come to a group; advertisements may.
            if Ipv6::parse(header.payload()).is_ok_and(|ip| nd::is_neighbour_discovery(&ip)) {
                Kind::Neighbour
            } else if to_group {
                Kind::Group
            } else {
                Kind::Ip
            }
        }
        _ => Kind::Other,
    }
}

/// Whether a packet between these addresses may be forwarded. Groups are not routed here; the rest stays on its link or
/// host: RFC 1812 sections 5.3.5.1 and 5.3.7, RFC 4291 sections 2.5.2, 2.5.3 and 2.5.6.
#[inline]
fn may_leave_link(packet: &Ip<'_>) -> bool {
    match packet {
        Ip::V4(packet) => [packet.source(), packet.destination()].iter().all(|address| {
            let [network, ..] = address.octets();
            !(network == 0 || network == 127 || address.is_multicast() || address.is_broadcast())
        }),
        Ip::V6(packet) => [packet.source(), packet.destination()].iter().all(|address| {
            !(address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || ipv6::is_link_local(address))
        }),
    }
}
