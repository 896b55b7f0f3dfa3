// SPDX-License-Identifier: Apache-2.0
//! What a packet is, and so where it goes.
//!
//! An interface has an address of IPv4, of IPv6, or of both; packets of a family it has no address of are none of the
//! gateway's.

use crate::count;
use crate::frame::{Batch, Frame};
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
    pub mac: Mac,
    pub own: Addresses,
}

/// Frames from the public interface.
pub struct PublicDispatch {
    pub mac: Mac,
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
    /// The packet to forward in a frame.
    #[inline(always)]
    pub fn judge<'a>(&self, frame: &'a Frame) -> Result<Ip<'a>, Other> {
        let packet = uncover(frame.data(), self.mac, &self.own)?;
        if self.own.contain_destination(&packet) {
            Err(Other::Local)
        } else if packet.is_forwardable() {
            Ok(packet)
        } else {
            Err(Other::Address)
        }
    }

    /// What becomes of the others: packets for the gateway itself, without their Ethernet header, and what neighbours
    /// say go into batches.
    #[cold]
    pub fn divert(
        other: Other,
        mut frame: Frame,
        local: &mut Batch,
        neighbours: &mut Batch,
        count: &count::PrivateDispatch,
        of_ttl: &count::Ttl,
    ) {
        match other {
            Other::Local => {
                frame.trim_front(ethernet::HEADER);
                local.push(frame);
            }
            Other::Neighbour => neighbours.push(frame),
            Other::Address => count.address_errors.add(1),
            Other::Ethertype => count.ethertype_errors.add(1),
            Other::Malformed => of_ttl.protocol_errors.add(1),
        }
    }
}

impl PublicDispatch {
    /// The packet in a frame, if it carries ESP, and where in the packet that starts.
    #[inline(always)]
    pub fn judge<'a>(&self, frame: &'a Frame) -> Result<(Ip<'a>, usize), NotEsp> {
        let ip = uncover(frame.data(), self.mac, &self.own).map_err(NotEsp::Other)?;
        let (protocol, offset) = match ip {
            //= RFC 1122 section 3.2.1.2: a datagram with a bad header checksum is discarded silently.
            Ip::V4(ip) if !ip.checksum_ok() => return Err(NotEsp::Protocol),
            Ip::V4(ip) if ip.is_fragment() => return Err(NotEsp::Fragment),
            Ip::V4(ip) => (ip.protocol(), ip.header_len()),
            Ip::V6(ip) => match ip.upper() {
                Ok(upper) if upper.is_fragment => return Err(NotEsp::Fragment),
                // Whatever it carries: RFC 8200 section 4.2 has it discarded, and tells who has to hear of it.
                Ok(upper) if upper.refused.is_some() && self.own.contain_destination(&Ip::V6(ip)) => {
                    return Err(NotEsp::Other(Other::Local));
                }
                Ok(upper) => (upper.protocol, upper.offset),
                Err(_) => return Err(NotEsp::Protocol),
            },
        };
        if protocol != PROTOCOL_ESP {
            return Err(self.not_esp(&ip, protocol, offset));
        }
        // An SPI means something only at the address that it was chosen for (RFC 4301 section 4.1).
        if !self.own.contain_destination(&ip) {
            return Err(NotEsp::Other(Other::Address));
        }
        Ok((ip, offset))
    }

    /// What becomes of the others: messages of the key exchange, other packets for the gateway itself, both without their
    /// Ethernet header, and what neighbours say go into batches.
    #[cold]
    pub fn divert(
        found: NotEsp,
        mut frame: Frame,
        exchange: &mut Batch,
        local: &mut Batch,
        neighbours: &mut Batch,
        count: &count::PublicDispatch,
    ) {
        let error = match found {
            NotEsp::Exchange | NotEsp::Other(Other::Local) => {
                frame.trim_front(ethernet::HEADER);
                let into = if let NotEsp::Exchange = found { exchange } else { local };
                return into.push(frame);
            }
            NotEsp::Other(Other::Neighbour) => return neighbours.push(frame),
            NotEsp::Other(Other::Address) => &count.address_errors,
            NotEsp::Other(Other::Ethertype) => &count.ethertype_errors,
            NotEsp::Fragment => &count.fragment_errors,
            NotEsp::Protocol | NotEsp::Other(Other::Malformed) => &count.protocol_errors,
        };
        error.add(1);
        count.rxerrors.add(1);
    }

    #[cold]
    fn not_esp(&self, ip: &Ip<'_>, protocol: u8, offset: usize) -> NotEsp {
        let to_port = || {
            let udp = Udp::parse(ip.packet().get(offset..).unwrap_or_default());
            udp.is_ok_and(|udp| udp.destination_port() == self.protocol_port)
        };
        match protocol {
            _ if !self.own.contain_destination(ip) => NotEsp::Protocol,
            PROTOCOL_UDP if to_port() && self.key_exchange => NotEsp::Exchange,
            PROTOCOL_UDP if to_port() => NotEsp::Protocol,
            _ => NotEsp::Other(Other::Local),
        }
    }
}

impl InboundDispatch {
    /// Whether an inner packet is one to forward.
    #[inline(always)]
    pub fn judge(&self, packet: &Ip<'_>) -> Result<(), Inner> {
        if self.own.contain_destination(packet) {
            // Behind a tunnel there is no link.
            if packet.is_from_link() { Err(Inner::Unfit) } else { Err(Inner::Local) }
        } else if packet.is_forwardable() {
            Ok(())
        } else {
            Err(Inner::Unfit)
        }
    }
}

/// What a frame is that does not go through the gateway.
pub enum Other {
    /// A packet for the gateway itself.
    Local,
    /// ARP, neighbour discovery, or a query of multicast listener discovery.
    Neighbour,
    /// A packet with an address that none may have which is forwarded, or a frame to another interface of the gateway.
    Address,
    Ethertype,
    /// It cannot be read as what its Ethertype says that it is.
    Malformed,
}

/// What arrives on the public interface and is not in a tunnel.
pub enum NotEsp {
    Exchange,
    Fragment,
    Protocol,
    Other(Other),
}

/// What an inner packet is that is not forwarded.
pub enum Inner {
    Local,
    Unfit,
}

/// The packet behind an Ethernet header, if it is of a family that the gateway has an address of.
#[inline(always)]
fn uncover<'a>(frame: &'a [u8], mac: Mac, own: &Addresses) -> Result<Ip<'a>, Other> {
    let header = Ethernet::parse(frame).map_err(|_| Other::Ethertype)?;
    if !header.is_to(mac) {
        return Err(not_to_us(frame, own));
    }
    // The Ethertype says the version, too (RFC 894, RFC 2464): what contradicts it is no packet of either.
    let packet = match header.ethertype() {
        ethernet::ETHERTYPE_IPV4 if own.v4.is_some() => Ipv4::parse(header.payload()).map(Ip::V4),
        ethernet::ETHERTYPE_IPV6 if own.v6.is_some() => {
            let packet = Ipv6::parse(header.payload());
            if packet.is_ok_and(|ip| nd::is_neighbour_discovery(&ip)) {
                return Err(Other::Neighbour);
            }
            packet.map(Ip::V6)
        }
        ethernet::ETHERTYPE_ARP if own.v4.is_some() => return Err(Other::Neighbour),
        _ => return Err(Other::Ethertype),
    };
    packet.map_err(|_| Other::Malformed)
}

/// What a frame is that was sent to another MAC address: to a group, or to the other side of the gateway.
#[cold]
#[inline(never)]
fn not_to_us(frame: &[u8], own: &Addresses) -> Other {
    let Ok(header) = Ethernet::parse(frame) else { return Other::Ethertype };
    // Both sides may be on one device, whose queues get frames to either: what was sent to the public side must not be
    // sealed, nor the other way round.
    if !header.destination().is_multicast() {
        return Other::Address;
    }
    match header.ethertype() {
        ethernet::ETHERTYPE_ARP if own.v4.is_some() => Other::Neighbour,
        // RFC 1812 section 5.3.4: a router must not forward what was sent to a link-layer group address; and RFC 1122
        // section 3.2.2 forbids an error about it.
        ethernet::ETHERTYPE_IPV4 if own.v4.is_some() => Other::Address,
        // Solicitations come to a group, advertisements may; and a query for our solicited-node group is sent to that
        // group (RFC 3810 section 5.1.15).
        ethernet::ETHERTYPE_IPV6 if own.v6.is_some() => match Ipv6::parse(header.payload()) {
            Ok(packet) if nd::is_neighbour_discovery(&packet) || mld::is_query(&packet) => Other::Neighbour,
            _ => Other::Address,
        },
        _ => Other::Ethertype,
    }
}
