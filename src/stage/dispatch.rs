// SPDX-License-Identifier: Apache-2.0
//! From a frame to the packet to forward, or to what else the frame is.
//!
//! An interface has an address of IPv4, of IPv6, or of both; packets of a family it has no address of are none of the
//! gateway's.

use super::Exception;
use crate::count::{Reason, Side};
use crate::frame::Frame;
use crate::wire::Mac;
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ip::{Addresses, Ip};
use crate::wire::ipv4::{Ipv4, PROTOCOL_ESP, PROTOCOL_UDP};
use crate::wire::ipv6::Ipv6;
use crate::wire::mld;
use crate::wire::nd;
use crate::wire::udp::Udp;

/// Frames from the private interface.
pub struct PrivateDispatch {
    /// The MAC address of this side.
    pub mac: Mac,
    /// The gateway's addresses on this side.
    pub own: Addresses,
}

/// Frames from the public interface.
pub struct PublicDispatch {
    /// The MAC address of this side.
    pub mac: Mac,
    /// The gateway's addresses on this side.
    pub own: Addresses,
    /// The UDP port of the key exchange.
    pub protocol_port: u16,
    /// Whether messages of the key exchange are wanted.
    pub key_exchange: bool,
}

impl PrivateDispatch {
    /// The packet to forward in a frame.
    #[inline(always)]
    pub fn classify<'a>(&self, frame: &'a Frame) -> Result<Ip<'a>, Exception> {
        let packet = packet_of(frame.data(), self.mac, &self.own, Side::Private)?;
        if self.own.contain_destination(&packet) {
            Err(Exception::Local)
        } else if packet.is_forwardable() {
            Ok(packet)
        } else {
            Err(Reason::Address(Side::Private).into())
        }
    }
}

impl PublicDispatch {
    /// The packet in a frame, if it carries ESP, and where in the packet that starts.
    #[inline(always)]
    pub fn classify<'a>(&self, frame: &'a Frame) -> Result<(Ip<'a>, usize), Exception> {
        let ip = packet_of(frame.data(), self.mac, &self.own, Side::Public)?;
        let (protocol, offset) = match ip {
            //= RFC 1122 section 3.2.1.2: a datagram with a bad header checksum is discarded silently.
            Ip::V4(ip) if !ip.checksum_ok() => return Err(Reason::Protocol.into()),
            Ip::V4(ip) if ip.is_fragment() => return Err(Reason::Fragment.into()),
            Ip::V4(ip) => (ip.protocol(), ip.header_len()),
            Ip::V6(ip) => match ip.upper() {
                Ok(upper) if upper.is_fragment => return Err(Reason::Fragment.into()),
                // Whatever it carries: RFC 8200 section 4.2 has it discarded, and tells who has to hear of it.
                Ok(upper) if upper.refused.is_some() && self.own.contain_destination(&Ip::V6(ip)) => {
                    return Err(Exception::Local);
                }
                Ok(upper) => (upper.protocol, upper.offset),
                Err(_) => return Err(Reason::Protocol.into()),
            },
        };
        if protocol != PROTOCOL_ESP {
            return Err(self.classify_other(&ip, protocol, offset));
        }
        // An SPI means something only at the address that it was chosen for (RFC 4301 section 4.1).
        if !self.own.contain_destination(&ip) {
            return Err(Reason::Address(Side::Public).into());
        }
        Ok((ip, offset))
    }

    #[cold]
    fn classify_other(&self, ip: &Ip<'_>, protocol: u8, offset: usize) -> Exception {
        let to_port = || {
            let udp = Udp::parse(ip.packet().get(offset..).unwrap_or_default());
            udp.is_ok_and(|udp| udp.destination_port() == self.protocol_port)
        };
        match protocol {
            _ if !self.own.contain_destination(ip) => Reason::Protocol.into(),
            PROTOCOL_UDP if to_port() && self.key_exchange => Exception::KeyExchange,
            PROTOCOL_UDP if to_port() => Reason::Protocol.into(),
            _ => Exception::Local,
        }
    }
}

/// Whether a packet that came out of a tunnel is one to forward.
#[inline(always)]
pub fn check_inner(packet: &Ip<'_>, own: &Addresses) -> Result<(), Exception> {
    if own.contain_destination(packet) {
        // Behind a tunnel there is no link.
        if packet.is_from_link() { Err(Reason::InnerAddress.into()) } else { Err(Exception::Local) }
    } else if packet.is_forwardable() {
        Ok(())
    } else {
        Err(Reason::InnerAddress.into())
    }
}

/// The packet behind an Ethernet header, if it is of a family that the gateway has an address of.
#[inline(always)]
fn packet_of<'a>(frame: &'a [u8], mac: Mac, own: &Addresses, side: Side) -> Result<Ip<'a>, Exception> {
    let header = Ethernet::parse(frame).map_err(|_| Reason::Ethertype(side))?;
    if !header.is_to(mac) {
        return Err(classify_foreign(frame, own, side));
    }
    // The Ethertype says the version, too (RFC 894, RFC 2464): what contradicts it is no packet of either.
    let packet = match header.ethertype() {
        ethernet::ETHERTYPE_IPV4 if own.v4.is_some() => Ipv4::parse(header.payload()).map(Ip::V4),
        ethernet::ETHERTYPE_IPV6 if own.v6.is_some() => {
            let packet = Ipv6::parse(header.payload());
            if packet.is_ok_and(|ip| nd::is_neighbour_discovery(&ip)) {
                return Err(Exception::Neighbour);
            }
            packet.map(Ip::V6)
        }
        ethernet::ETHERTYPE_ARP if own.v4.is_some() => return Err(Exception::Neighbour),
        _ => return Err(Reason::Ethertype(side).into()),
    };
    packet.map_err(|_| Reason::Malformed(side).into())
}

/// A frame to another MAC address: to a group, or to the other side of the gateway.
#[cold]
#[inline(never)]
fn classify_foreign(frame: &[u8], own: &Addresses, side: Side) -> Exception {
    let Ok(header) = Ethernet::parse(frame) else { return Reason::Ethertype(side).into() };
    // Both sides may be on one device, whose queues get frames to either: a frame to the public side must not be sealed, nor
    // one to the private side opened.
    if !header.destination().is_multicast() {
        return Reason::Address(side).into();
    }
    match header.ethertype() {
        ethernet::ETHERTYPE_ARP if own.v4.is_some() => Exception::Neighbour,
        // RFC 1812 section 5.3.4: a router must not forward what was sent to a link-layer group address; and RFC 1122
        // section 3.2.2 forbids an error about it.
        ethernet::ETHERTYPE_IPV4 if own.v4.is_some() => Reason::Address(side).into(),
        // Solicitations come to a group, advertisements may; and a query for our solicited-node group is sent to that
        // group (RFC 3810 section 5.1.15).
        ethernet::ETHERTYPE_IPV6 if own.v6.is_some() => match Ipv6::parse(header.payload()) {
            Ok(packet) if nd::is_neighbour_discovery(&packet) || mld::is_query(&packet) => {
                Exception::Neighbour
            }
            _ => Reason::Address(side).into(),
        },
        _ => Reason::Ethertype(side).into(),
    }
}
