// SPDX-License-Identifier: Apache-2.0
//! Neighbour discovery (RFC 4861): the two messages by which a node asks for a link-layer address and tells its own.
//!
//! ```text
//!  │ IPv6 │ type, code, checksum │ flags │ target │ option: type, length, MAC │ ...
//!  │  40  │          4           │   4   │   16   │             8             │
//! ```
//!
//! The receiver's checks look at the IPv6 header too, so messages are read from, and written as, whole packets.

use super::icmpv6::{self, Icmpv6, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION};
use super::ipv6::{self, Ipv6, PROTOCOL_ICMPV6};
use super::{Mac, Malformed};
use std::net::Ipv6Addr;

/// A message that passed the checks of RFC 4861 sections 7.1.1 and 7.1.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    Solicitation {
        /// Unspecified while the sender makes sure that nobody has its address.
        source: Ipv6Addr,
        target: Ipv6Addr,
        source_mac: Option<Mac>,
    },
    Advertisement {
        target: Ipv6Addr,
        target_mac: Option<Mac>,
        /// Whether it shall replace an address that is known.
        overrides: bool,
    },
}

/// Whether a packet is one of the two messages, sound or not.
#[inline]
pub fn is_neighbour_discovery(packet: &Ipv6<'_>) -> bool {
    packet.next_header() == PROTOCOL_ICMPV6
        && matches!(packet.payload().first(), Some(&(NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT)))
}

impl Message {
    pub fn parse(packet: &Ipv6<'_>) -> Result<Message, Malformed> {
        let bytes = packet.payload();
        let message = Icmpv6::parse(bytes)?;
        let (source, destination) = (packet.source(), packet.destination());
        // "The IP Hop Limit field has a value of 255, i.e., the packet could not possibly have been forwarded by a
        // router."
        if packet.hop_limit() != HOP_LIMIT {
            return Err(Malformed::HopLimit);
        }
        if !message.checksum_ok(source, destination) {
            return Err(Malformed::Checksum);
        }
        let (target, options) = message.body().split_first_chunk::<16>().ok_or(Malformed::Truncated)?;
        let target = Ipv6Addr::from(*target);
        if message.code() != 0 || target.is_multicast() {
            return Err(Malformed::Message);
        }
        match message.kind() {
            NEIGHBOUR_SOLICITATION => {
                let source_mac = link_layer_address(options, SOURCE_ADDRESS)?;
                let probes = source.is_unspecified();
                if probes && (source_mac.is_some() || !is_solicited_node(destination)) {
                    return Err(Malformed::Message);
                }
                Ok(Message::Solicitation { source, target, source_mac })
            }
            NEIGHBOUR_ADVERTISEMENT => {
                let target_mac = link_layer_address(options, TARGET_ADDRESS)?;
                let [flags, ..] = message.rest();
                if destination.is_multicast() && flags & SOLICITED != 0 {
                    return Err(Malformed::Message);
                }
                Ok(Message::Advertisement { target, target_mac, overrides: flags & OVERRIDE != 0 })
            }
            _ => Err(Malformed::Message),
        }
    }
}

/// Writes the packet that asks who has `target`. It goes to the target's [`solicited_node`] group.
pub fn solicitation(out: &mut [u8; PACKET], own_ip: Ipv6Addr, own_mac: Mac, target: Ipv6Addr) {
    let option = (SOURCE_ADDRESS, own_mac);
    write(out, own_ip, solicited_node(target), NEIGHBOUR_SOLICITATION, 0, target, option);
}

/// Writes the packet that tells who asked for `own_ip` where it is; all nodes, if who asked has no address yet.
pub fn advertisement(out: &mut [u8; PACKET], own_ip: Ipv6Addr, own_mac: Mac, asker: Ipv6Addr) {
    let (destination, solicited) = if asker.is_unspecified() { (ALL_NODES, 0) } else { (asker, SOLICITED) };
    let flags = ROUTER | solicited | OVERRIDE;
    write(out, own_ip, destination, NEIGHBOUR_ADVERTISEMENT, flags, own_ip, (TARGET_ADDRESS, own_mac));
}

/// The group that every node joins for each of its addresses (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet address of a group (RFC 2464 section 7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

fn is_solicited_node(address: Ipv6Addr) -> bool {
    solicited_node(address) == address
}

/// The address in the first option of this type. RFC 4861 section 4.6: options of other types, and, as section 4.6.1
/// leaves it to the link layer, of another size than Ethernet's, are ignored.
fn link_layer_address(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, Malformed> {
    let mut found = None;
    while !options.is_empty() {
        let &[kind, eights, ..] = options else { return Err(Malformed::Truncated) };
        // "All included options have a length that is greater than zero."
        if eights == 0 {
            return Err(Malformed::Message);
        }
        let (option, rest) = options.split_at_checked(usize::from(eights) * 8).ok_or(Malformed::Truncated)?;
        if let (true, &[_, _, a, b, c, d, e, f]) = (kind == wanted && found.is_none(), option) {
            found = Some(Mac([a, b, c, d, e, f]));
        }
        options = rest;
    }
    Ok(found)
}

fn write(
    out: &mut [u8; PACKET],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    (option, Mac(mac)): (u8, Mac),
) {
    let header = ipv6::Header {
        hop_limit: HOP_LIMIT,
        ..ipv6::Header::of_ours(PROTOCOL_ICMPV6, source, destination, MESSAGE as u16)
    };
    let mut message = [0; MESSAGE];
    message[..8].copy_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[option, 1]);
    message[26..].copy_from_slice(&mac);
    let checksum = icmpv6::checksum(source, destination, &message, &[]);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    if let Some((front, rest)) = out.split_first_chunk_mut() {
        header.write(front);
        rest.copy_from_slice(&message);
    }
}

/// A packet as this gateway sends it: with one option.
pub const PACKET: usize = ipv6::HEADER + MESSAGE;
/// The group of all nodes on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const MESSAGE: usize = icmpv6::HEADER + 16 + 8;
const HOP_LIMIT: u8 = 255;
/// Option types.
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;
/// Flags of an advertisement.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice};
    use etherparse::{Icmpv6Slice, Icmpv6Type};
    use proptest::prelude::*;

    const US: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0x12, 0x3456);
    const THEM: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
    const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn asked() -> [u8; PACKET] {
        let mut out = [0; PACKET];
        solicitation(&mut out, US, OUR_MAC, THEM);
        out
    }

    fn advertised(asker: Ipv6Addr) -> [u8; PACKET] {
        let mut out = [0; PACKET];
        advertisement(&mut out, US, OUR_MAC, asker);
        out
    }

    fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
        Message::parse(&Ipv6::parse(bytes).unwrap())
    }

    /// Repairs the checksum of a changed packet.
    fn sound(mut bytes: Vec<u8>) -> Vec<u8> {
        let payload_len = (bytes.len() - ipv6::HEADER) as u16;
        bytes[4..6].copy_from_slice(&payload_len.to_be_bytes());
        bytes[42..44].fill(0);
        let (source, destination) = {
            let packet = Ipv6::parse(&bytes).unwrap();
            (packet.source(), packet.destination())
        };
        let checksum = icmpv6::checksum(source, destination, &bytes[40..], &[]);
        bytes[42..44].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    #[test]
    fn groups_and_their_ethernet_addresses_are_those_of_the_rfcs() {
        // The example of RFC 4291 section 2.7.1, and its address by RFC 2464 section 7.
        let group = solicited_node("4037::01:800:200e:8c6c".parse().unwrap());
        assert_eq!(group, "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
        assert_eq!(group_mac(group), Mac([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    }

    #[test]
    fn what_is_written_reads_back() {
        let asked = asked();
        assert_eq!(
            parse(&asked),
            Ok(Message::Solicitation { source: US, target: THEM, source_mac: Some(OUR_MAC) })
        );
        assert_eq!(Ipv6::parse(&asked).unwrap().destination(), solicited_node(THEM));
        for (asker, destination) in [(THEM, THEM), (Ipv6Addr::UNSPECIFIED, ALL_NODES)] {
            let advertised = advertised(asker);
            assert_eq!(
                parse(&advertised),
                Ok(Message::Advertisement { target: US, target_mac: Some(OUR_MAC), overrides: true })
            );
            assert_eq!(Ipv6::parse(&advertised).unwrap().destination(), destination);
            assert!(is_neighbour_discovery(&Ipv6::parse(&advertised).unwrap()));
        }
    }

    #[test]
    fn etherparse_reads_the_same_messages() {
        let asked = asked();
        let slice = Icmpv6Slice::from_slice(&asked[40..]).unwrap();
        assert!(slice.is_checksum_valid(US.octets(), solicited_node(THEM).octets()));
        assert_eq!(slice.icmp_type(), Icmpv6Type::NeighborSolicitation);
        let Ok(Icmpv6PayloadSlice::NeighborSolicitation(payload)) = slice.payload_slice() else { panic!() };
        assert_eq!(payload.target_address(), THEM);
        let Some(Ok(NdpOptionSlice::SourceLinkLayerAddress(mac))) = payload.options_iterator().next() else {
            panic!()
        };
        assert_eq!(mac.link_layer_address(), OUR_MAC.0);

        let advertised = advertised(THEM);
        let slice = Icmpv6Slice::from_slice(&advertised[40..]).unwrap();
        assert!(slice.is_checksum_valid(US.octets(), THEM.octets()));
        let Icmpv6Type::NeighborAdvertisement(flags) = slice.icmp_type() else { panic!() };
        assert!(flags.router && flags.solicited && flags.r#override);
        let Ok(Icmpv6PayloadSlice::NeighborAdvertisement(payload)) = slice.payload_slice() else { panic!() };
        assert_eq!(payload.target_address(), US);
        let Some(Ok(NdpOptionSlice::TargetLinkLayerAddress(mac))) = payload.options_iterator().next() else {
            panic!()
        };
        assert_eq!(mac.link_layer_address(), OUR_MAC.0);
    }

    #[test]
    fn each_check_of_section_7_1_refuses_what_it_should() {
        for good in [asked().to_vec(), advertised(THEM).to_vec()] {
            let change = |at: usize, value: u8| {
                let mut bytes = good.clone();
                bytes[at] = value;
                parse(&sound(bytes)).err()
            };
            assert_eq!(change(7, 254), Some(Malformed::HopLimit));
            assert_eq!(change(41, 1), Some(Malformed::Message), "code");
            assert_eq!(change(48, 0xff), Some(Malformed::Message), "a group as target");
            assert_eq!(change(65, 0), Some(Malformed::Message), "an option without length");
            assert_eq!(change(65, 2), Some(Malformed::Truncated), "an option cut short");
            assert_eq!(change(40, 137), Some(Malformed::Message), "another type");
            for length in 0..32 {
                let cut = sound(
                    [&good[..40 + length], &[0; 4][..usize::from(length < 4) * (4 - length % 4)]].concat(),
                );
                // Nothing but a message without options is complete when cut.
                assert_eq!(parse(&cut).is_ok(), length == 24, "{length} bytes");
            }
            for bit in 0..32 * 8 {
                let mut damaged = good.clone();
                damaged[40 + bit / 8] ^= 1 << (bit % 8);
                assert!(parse(&damaged).is_err(), "bit {bit}");
            }
        }
        // A solicited advertisement to many.
        let mut to_many = advertised(THEM).to_vec();
        to_many[24..40].copy_from_slice(&ALL_NODES.octets());
        assert_eq!(parse(&sound(to_many)), Err(Malformed::Message));
        // A probe for a duplicate: with an address, or to one node.
        let mut probe = asked().to_vec();
        probe[8..24].fill(0);
        assert_eq!(parse(&sound(probe.clone())), Err(Malformed::Message));
        probe.truncate(64);
        let expected =
            Message::Solicitation { source: Ipv6Addr::UNSPECIFIED, target: THEM, source_mac: None };
        assert_eq!(parse(&sound(probe.clone())), Ok(expected));
        probe[24..40].copy_from_slice(&THEM.octets());
        assert_eq!(parse(&sound(probe)), Err(Malformed::Message));
    }

    #[test]
    fn other_options_and_other_sizes_are_passed_over() {
        let mut bytes = asked()[..64].to_vec();
        bytes.extend([14, 1, 1, 2, 3, 4, 5, 6]); // a nonce (RFC 3971)
        bytes.extend([1, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]); // a longer address
        bytes.extend([1, 1, 2, 0, 0, 0, 0, 7]);
        bytes.extend([1, 1, 2, 0, 0, 0, 0, 8]);
        let expected =
            Message::Solicitation { source: US, target: THEM, source_mac: Some(Mac([2, 0, 0, 0, 0, 7])) };
        assert_eq!(parse(&sound(bytes)), Ok(expected));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            mut bytes in proptest::collection::vec(any::<u8>(), 40..140), kind in 135u8..=137, repair: bool,
        ) {
            bytes[0] = 0x60;
            bytes[7] = 255;
            if let Some(place) = bytes.get_mut(40) {
                *place = kind;
            }
            if repair && bytes.len() >= 48 {
                bytes = sound(bytes);
            }
            if let Ok(packet) = Ipv6::parse(&bytes) {
                let _ = Message::parse(&packet);
            }
        }
    }
}
