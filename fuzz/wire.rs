// SPDX-License-Identifier: Apache-2.0
//! Every parser of `wire` against etherparse, which shares no code with it. Where both accept, they have to agree on
//! every field that both know; where one refuses and the other does not, the difference is one of those listed here:
//!
//! | protocol | difference | why |
//! |---|---|---|
//! | ARP | other address spaces and lengths are refused | the gateway speaks no other; RFC 826 |
//! | IPv4 | an authentication header is a protocol | it is carried, never looked into; so for IPv6 |
//! | IPv6 | a payload length of zero means zero | jumbograms (RFC 2675) are not supported |
//! | IPv6 | hop-by-hop options may come late | RFC 8200 section 4.1: accept any order of headers |
//! | IPv6 | nothing is read behind the header of a later fragment | what is there belongs to the middle of a packet |
//! | IPv6 | more extension headers than `wire` looks through are refused | a bound on the work |
//! | ICMPv4 | timestamps of any length are messages | the gateway has no use for their fields |
//! | UDP | a length of zero is refused | only jumbograms have it |
//! | ND | options of types and sizes without a use here are skipped | RFC 4861 section 4.6 |
//!
//! Builders are held to the parsers of both, checksums to etherparse's.

use etherparse::checksum::Sum16BitWords;
use etherparse::icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice};
use etherparse::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vita::wire::arp::{self, Arp};
use vita::wire::esp::{self, Esp, Trailer};
use vita::wire::icmpv4::{self, Icmpv4};
use vita::wire::icmpv6::{self, Icmpv6};
use vita::wire::ip::{Family, Ip};
use vita::wire::ipv4::{self, Ipv4};
use vita::wire::ipv6::{self, Ipv6};
use vita::wire::mld::{self, Query};
use vita::wire::nd::{self, Message};
use vita::wire::udp::{self, Udp};
use vita::wire::{Mac, Malformed, checksum, class, ethernet};

/// The first byte says which parser gets the others.
pub fn wire(data: &[u8]) {
    let Some((selector, bytes)) = data.split_first() else { return };
    let check = CHECKS[usize::from(*selector) % CHECKS.len()];
    check(bytes);
}

const CHECKS: [fn(&[u8]); 11] =
    [ethernet_frame, arp, ipv4, ipv6, icmpv4, icmpv6, neighbour_discovery, udp, esp, checksums, builders];

fn ethernet_frame(bytes: &[u8]) {
    match (ethernet::Ethernet::parse(bytes), Ethernet2Slice::from_slice_without_fcs(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(ours.destination().0, theirs.destination());
            assert_eq!(ours.source().0, theirs.source());
            assert_eq!(ours.ethertype(), theirs.ether_type().0);
            assert_eq!(ours.payload(), theirs.payload_slice());
        }
        (Err(Malformed::Truncated), Err(_)) => {}
        (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
    }
}

fn arp(bytes: &[u8]) {
    match (Arp::parse(bytes), ArpPacketSlice::from_slice(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(theirs.hw_addr_type(), ArpHardwareId::ETHERNET);
            assert_eq!(theirs.proto_addr_type(), EtherType::IPV4);
            assert_eq!((theirs.hw_addr_size(), theirs.proto_addr_size()), (6, 4));
            assert_eq!(ours.operation(), theirs.operation().0);
            assert_eq!(ours.sender_mac().0, theirs.sender_hw_addr());
            assert_eq!(ours.sender_ip().octets(), theirs.sender_protocol_addr());
            assert_eq!(ours.target_mac().0, theirs.target_hw_addr());
            assert_eq!(ours.target_ip().octets(), theirs.target_protocol_addr());
        }
        (Err(Malformed::AddressFormat), Ok(theirs)) => {
            let format = (theirs.hw_addr_type(), theirs.proto_addr_type());
            let sizes = (theirs.hw_addr_size(), theirs.proto_addr_size());
            assert_ne!((format, sizes), ((ArpHardwareId::ETHERNET, EtherType::IPV4), (6, 4)));
        }
        // Shorter than any ARP for IPv4, but long enough for shorter addresses.
        (Err(Malformed::Truncated), Ok(theirs)) => assert!(theirs.slice().len() < arp::MESSAGE),
        (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
    }
}

fn ipv4(bytes: &[u8]) {
    let ours = match (Ipv4::parse(bytes), Ipv4Slice::from_slice(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            if ours.protocol() != AUTHENTICATION {
                assert_eq!(theirs.payload_ip_number().0, ours.protocol());
                assert_eq!(ours.payload(), theirs.payload().payload);
            }
            ours
        }
        (Ok(ours), Err(_)) if ours.protocol() == AUTHENTICATION => ours,
        (Err(_), Err(_)) => return,
        (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
    };
    let theirs = Ipv4HeaderSlice::from_slice(bytes).expect("a header whose packet was accepted");
    assert_eq!(ours.header(), theirs.slice());
    assert_eq!(ours.header_len(), usize::from(theirs.ihl()) * 4);
    assert_eq!(ours.total_len(), usize::from(theirs.total_len()));
    assert_eq!(ours.packet(), &bytes[..ours.total_len()]);
    assert_eq!(ours.tos(), theirs.dcp().value() << 2 | theirs.ecn().value());
    assert_eq!(ours.id(), theirs.identification());
    assert_eq!(ours.dont_fragment(), theirs.dont_fragment());
    assert_eq!(ours.more_fragments(), theirs.more_fragments());
    assert_eq!(ours.fragment_offset(), theirs.fragments_offset().value());
    assert_eq!(ours.is_fragment(), theirs.is_fragmenting_payload());
    assert_eq!((ours.ttl(), ours.protocol()), (theirs.ttl(), theirs.protocol().0));
    assert_eq!((ours.source(), ours.destination()), (theirs.source_addr(), theirs.destination_addr()));
    let checksum = theirs.to_header().calc_header_checksum();
    // Zero and all ones are the same sum, which a computed checksum never says and a received one may.
    let same = theirs.header_checksum() == checksum || (theirs.header_checksum(), checksum) == (0xffff, 0);
    // The reserved flag is in the header, but not in etherparse's idea of it.
    if bytes[6] & 0x80 == 0 {
        assert_eq!(ours.checksum_ok(), same);
    }
    assert_eq!(ours.checksum_ok(), their_sum(ours.header()) == 0);

    if let (Some(older), true) = (bytes[..ours.total_len()].first_chunk(), ours.checksum_ok()) {
        let mut older: [u8; ipv4::HEADER] = *older;
        ipv4::decrement_ttl(&mut older);
        assert_eq!(older[8], ours.ttl().saturating_sub(1));
        let header = [&older[..], &ours.header()[ipv4::HEADER..]].concat();
        assert_eq!(their_sum(&header), 0, "{header:02x?}");
    }
    let quote = icmpv4::quote(&ours);
    assert!(ours.packet().starts_with(quote));
    assert_eq!(quote.len(), ours.total_len().min(ours.header_len() + 8));
    icmpv4::may_answer(&ours);
    either_version(bytes, Family::V4, ours.total_len());
    class_of(ours.packet(), ours.tos(), ours.checksum_ok());
}

fn ipv6(bytes: &[u8]) {
    let (ours, theirs) = match (Ipv6::parse(bytes), Ipv6HeaderSlice::from_slice(bytes)) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        // The header alone says nothing about how much there has to be.
        (Err(Malformed::Truncated), Ok(theirs)) => {
            return assert!(bytes.len() < ipv6::HEADER + usize::from(theirs.payload_length()));
        }
        (Err(_), Err(_)) => return,
        (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
    };
    assert_eq!(ours.total_len(), ipv6::HEADER + usize::from(theirs.payload_length()));
    assert_eq!(ours.traffic_class(), theirs.traffic_class());
    assert_eq!(ours.flow_label(), theirs.flow_label().value());
    assert_eq!((ours.next_header(), ours.hop_limit()), (theirs.next_header().0, theirs.hop_limit()));
    assert_eq!((ours.source(), ours.destination()), (theirs.source_addr(), theirs.destination_addr()));
    assert_eq!(ours.packet(), &bytes[..ours.total_len()]);
    assert_eq!(ours.payload(), &bytes[ipv6::HEADER..ours.total_len()]);
    assert_eq!(ipv6::is_link_local(&ours.source()), ours.source().is_unicast_link_local());

    let behind = Ipv6ExtensionsSlice::from_slice(theirs.next_header(), ours.payload());
    match (ours.upper(), behind) {
        (Ok(upper), _) if upper.is_later_fragment || upper.protocol == AUTHENTICATION => {
            assert!(ours.total_len() >= upper.offset);
        }
        (Ok(upper), Ok((extensions, protocol, rest))) => {
            assert_eq!((upper.protocol, upper.offset), (protocol.0, ours.total_len() - rest.len()));
            assert_eq!(ours.packet()[upper.named_at], upper.protocol);
            assert_eq!(upper.is_fragment, extensions.is_fragmenting_payload());
        }
        (Ok(_), Err(error)) => assert!(is_about_order(&error), "{error:?}"),
        (Err(Malformed::Truncated), Err(_)) => {}
        (Err(Malformed::Extensions), result) => match result {
            Ok((extensions, ..)) => assert!(extensions.slice().len() >= 8 * MANY_EXTENSIONS),
            Err(_) => assert!(ours.payload().len() >= 8 * MANY_EXTENSIONS),
        },
        (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
    }
    assert!(ours.packet().starts_with(icmpv6::quote(&ours)));
    icmpv6::may_answer(&ours);
    either_version(bytes, Family::V6, ours.total_len());
    class_of(ours.packet(), ours.traffic_class(), false);
}

fn is_about_order(error: &err::ipv6_exts::HeaderSliceError) -> bool {
    use err::ipv6_exts::{HeaderError, HeaderSliceError};
    matches!(error, HeaderSliceError::Content(HeaderError::HopByHopNotAtStart))
}

/// What is known to be a packet of one version is so where the version does not matter.
fn either_version(bytes: &[u8], family: Family, total_len: usize) {
    assert_eq!(Family::of_packet(bytes), Some(family));
    let ip = Ip::parse(bytes).expect("a packet of a known version");
    assert_eq!(ip.total_len(), total_len);
    let ends = [ip.source(), ip.destination()].map(Family::of);
    assert_eq!(ends, [family; 2]);
}

/// What is taken over from an outer header changes the ECN field and nothing else, and keeps the checksum right.
fn class_of(packet: &[u8], inner: u8, has_sum: bool) {
    assert_eq!(class::of(packet), inner);
    for outer in 0..4 {
        let mut out = packet.to_vec();
        let admitted = class::decapsulated(inner, outer);
        // RFC 6040 figure 4: not capable of ECN, but said to have met congestion.
        assert_eq!(admitted.is_some(), (inner & 3, outer) != (0, 3));
        let Some(class) = admitted else { continue };
        class::set(&mut out, class);
        // The same figure's other surprises: congestion stays, and ECT(1) takes the place of ECT(0).
        let ecn = match (inner & 3, outer) {
            (0 | 3, _) => inner & 3,
            (_, 3) => 3,
            (2, 1) => 1,
            (inner, _) => inner,
        };
        assert_eq!(class::of(&out), inner & !3 | ecn);
        if has_sum {
            let header = usize::from(packet[0] & 15) * 4;
            assert_eq!(their_sum(&out[..header]), 0);
            out[10..12].copy_from_slice(&packet[10..12]);
        }
        // The ECN field is in the second byte of either header.
        out[1] = packet[1];
        assert!(out == packet || packet[0] >> 4 == 4 && !has_sum);
    }
}

fn icmpv4(bytes: &[u8]) {
    match (Icmpv4::parse(bytes), Icmpv4Slice::from_slice(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!((ours.kind(), ours.code()), (theirs.type_u8(), theirs.code_u8()));
            assert_eq!(ours.rest(), theirs.bytes5to8());
            // Etherparse counts the times of a timestamp as header.
            assert!(ours.body().ends_with(theirs.payload()));
        }
        (Ok(ours), Err(_)) => assert!(matches!((ours.kind(), ours.code()), (13 | 14, 0))),
        (Err(Malformed::Truncated), Err(_)) => return,
        (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
    }
    let sound = Icmpv4::parse(bytes).is_ok_and(|message| message.checksum_ok());
    assert_eq!(sound, their_sum(bytes) == 0);
    let mut reply = bytes.to_vec();
    assert_eq!(icmpv4::echo_reply(&mut reply), bytes[..2] == [icmpv4::ECHO_REQUEST, 0]);
    assert_eq!(their_sum(&reply) == 0, sound, "a reply is as sound as its request");
}

/// Sixteen bytes of each address come first.
fn icmpv6(bytes: &[u8]) {
    let Some((source, bytes)) = bytes.split_first_chunk::<16>() else { return };
    let Some((destination, bytes)) = bytes.split_first_chunk::<16>() else { return };
    let ends = [*source, *destination].map(Ipv6Addr::from);
    match (Icmpv6::parse(bytes), Icmpv6Slice::from_slice(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!((ours.kind(), ours.code()), (theirs.type_u8(), theirs.code_u8()));
            assert_eq!((ours.rest(), ours.body()), (theirs.bytes5to8(), theirs.payload()));
            let sound = ours.checksum_ok(ends[0], ends[1]);
            assert_eq!(sound, their_sum6(ends, 58, bytes) == 0);
            let mut reply = bytes.to_vec();
            assert_eq!(icmpv6::echo_reply(&mut reply), bytes[..2] == [icmpv6::ECHO_REQUEST, 0]);
            assert_eq!(their_sum6([ends[1], ends[0]], 58, &reply) == 0, sound);
        }
        (Err(Malformed::Truncated), Err(_)) => {}
        (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
    }
}

/// A packet. An odd first byte repairs its checksum, which luck would not.
fn neighbour_discovery(bytes: &[u8]) {
    let Some((repair, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if repair & 1 != 0 {
        repair_icmpv6(&mut bytes);
    }
    let Ok(packet) = Ipv6::parse(&bytes) else { return };
    listener_discovery(&packet);
    let Ok(message) = Message::parse(&packet) else { return };
    assert!(nd::is_neighbour_discovery(&packet) || packet.next_header() != ipv6::PROTOCOL_ICMPV6);
    assert_eq!(packet.hop_limit(), 255);
    let theirs = Icmpv6Slice::from_slice(packet.payload()).expect("a message that was accepted");
    assert_eq!(their_sum6([packet.source(), packet.destination()], 58, packet.payload()), 0);
    assert_eq!(theirs.code_u8(), 0);
    let payload = theirs.payload_slice().expect("a message that was accepted");
    let (target, mac, options, wanted) = match (message, &payload) {
        (
            Message::Solicitation { source, target, source_mac },
            Icmpv6PayloadSlice::NeighborSolicitation(theirs),
        ) => {
            assert_eq!((source, target), (packet.source(), theirs.target_address()));
            (target, source_mac, theirs.options_iterator(), 1)
        }
        (
            Message::Advertisement { target, target_mac, overrides },
            Icmpv6PayloadSlice::NeighborAdvertisement(said),
        ) => {
            assert_eq!(target, said.target_address());
            assert_eq!(overrides, theirs.bytes5to8()[0] & 0x20 != 0);
            (target, target_mac, said.options_iterator(), 2)
        }
        (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
    };
    assert!(!target.is_multicast());
    // Etherparse stops at the first option that it does not like.
    let mut options = options.map_while(Result::ok).filter_map(|option| match (option, wanted) {
        (NdpOptionSlice::SourceLinkLayerAddress(option), 1) => Some(option.link_layer_address().to_vec()),
        (NdpOptionSlice::TargetLinkLayerAddress(option), 2) => Some(option.link_layer_address().to_vec()),
        _ => None,
    });
    if let Some(theirs) = options.find(|address| address.len() == 6) {
        assert_eq!(mac.map(|mac| mac.0.to_vec()), Some(theirs));
    }
}

/// A query that is accepted is one: etherparse has no more than the header of ICMPv6 to say about it.
fn listener_discovery(packet: &Ipv6<'_>) {
    let Ok(query) = Query::parse(packet) else { return };
    assert!(mld::is_query(packet));
    assert_eq!((packet.hop_limit(), packet.source().segments()[0] & 0xffc0), (1, 0xfe80));
    assert!(query.group.is_none_or(|group| group.is_multicast()));
    let upper = packet.upper().expect("options that were accepted");
    let message = &packet.packet()[upper.offset..];
    assert_eq!((upper.protocol, message[0]), (58, 130));
    assert_eq!(their_sum6([packet.source(), packet.destination()], 58, message), 0);
}

fn repair_icmpv6(packet: &mut [u8]) {
    let Ok(ip) = Ipv6::parse(packet) else { return };
    let (ends, total_len) = ([ip.source(), ip.destination()], ip.total_len());
    if total_len < ipv6::HEADER + 8 {
        return;
    }
    packet[7] = 255;
    packet[42..44].fill(0);
    let sum = their_sum6(ends, 58, &packet[ipv6::HEADER..total_len]);
    packet[42..44].copy_from_slice(&sum.to_be_bytes());
}

/// Four bytes of each address come first.
fn udp(bytes: &[u8]) {
    let Some((ends, bytes)) = bytes.split_first_chunk::<8>() else { return };
    let (ours, theirs) = match (Udp::parse(bytes), UdpSlice::from_slice(bytes)) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(Malformed::TotalLength), Ok(theirs)) => return assert_eq!(theirs.length(), 0),
        (Err(_), Err(_)) => return,
        (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
    };
    assert_eq!(
        (ours.source_port(), ours.destination_port()),
        (theirs.source_port(), theirs.destination_port())
    );
    assert_eq!(ours.payload(), theirs.payload());
    assert_eq!(ours.has_checksum(), theirs.checksum() != 0);
    let [a, b, c, d, e, f, g, h] = *ends;
    let (source, destination) = ([a, b, c, d], [e, f, g, h]);
    let sum = theirs.to_header().calc_checksum_ipv4_raw(source, destination, theirs.payload());
    assert_eq!(ours.checksum_ok(source.into(), destination.into()), sum == Ok(theirs.checksum()));
    let (source, destination) = (long(source), long(destination));
    let sum =
        theirs.to_header().calc_checksum_ipv6_raw(source.octets(), destination.octets(), theirs.payload());
    assert_eq!(ours.checksum_ok(source.into(), destination.into()), sum == Ok(theirs.checksum()));
}

fn long(address: [u8; 4]) -> Ipv6Addr {
    Ipv4Addr::from(address).to_ipv6_mapped()
}

/// Etherparse knows no ESP: here the RFC is the second opinion.
fn esp(bytes: &[u8]) {
    match Esp::parse(bytes) {
        Ok(esp) => {
            //= RFC 4303 section 2: SPI, sequence number, then (RFC 4106) eight bytes of IV.
            assert_eq!(esp.spi().to_be_bytes(), bytes[..4]);
            assert_eq!(esp.sequence_low().to_be_bytes(), bytes[4..8]);
            assert_eq!(esp.iv(), bytes[8..16]);
            assert_eq!(esp.sealed(), &bytes[16..]);
            let mut again = [0; esp::HEADER];
            esp::Header { spi: esp.spi(), sequence_low: esp.sequence_low(), iv: esp.iv() }.write(&mut again);
            assert_eq!(again, bytes[..16]);
        }
        Err(problem) => assert!(problem == Malformed::Truncated && bytes.len() < 16 + 2 + 16),
    }
    match Trailer::split(bytes) {
        Ok((inner, trailer)) => {
            assert_eq!(inner.len() + trailer.len(), bytes.len());
            assert_eq!(bytes[bytes.len() - 2..], [trailer.pad_length, trailer.next_header]);
        }
        Err(_) => assert!(bytes.len() < 2 || bytes.len() - 2 < usize::from(bytes[bytes.len() - 2])),
    }
    let trailer = Trailer::after(bytes.len(), 41);
    let mut text = [bytes, &vec![0xee; trailer.len()]].concat();
    assert!(trailer.write(&mut text) && text.len() % 4 == 0 && trailer.pad_length < 4);
    assert_eq!(Trailer::split(&text), Ok((bytes, trailer)));
}

fn checksums(bytes: &[u8]) {
    assert_eq!(checksum::internet(bytes), their_sum(bytes));
    let cut = (bytes.len() / 2) & !1;
    let parts = checksum::sum(&bytes[..cut]) + checksum::sum(&bytes[cut..]);
    assert_eq!(checksum::fold(parts), their_sum(bytes));
    if let Some(header) = bytes.first_chunk() {
        assert_eq!(checksum::header(header), their_sum(header));
    }
    // One word of a text with a checksum changes, and the checksum with it.
    if let Some((&[a, b, c, d], text)) = bytes.split_first_chunk() {
        let sum = |word: [u8; 2]| their_sum(&[&word, &[c | 1, d], text].concat());
        let updated = checksum::update(sum([a, b]), u16::from_be_bytes([a, b]), u16::from_be_bytes([d, a]));
        assert_eq!(updated, sum([d, a]));
    }
}

/// What is built is read back, by both.
fn builders(bytes: &[u8]) {
    let Some((fields, payload)) = bytes.split_first_chunk::<40>() else { return };
    let at = |offset: usize| [fields[offset], fields[offset + 1], fields[offset + 2], fields[offset + 3]];
    let mac = |offset: usize| Mac([0, 1, 2, 3, 4, 5].map(|n: usize| fields[offset + n]));
    let wide = |offset: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&fields[offset..offset + 16]);
        Ipv6Addr::from(octets)
    };
    let payload_len = payload.len() as u16;

    let header = ethernet::Header {
        destination: mac(0),
        source: mac(6),
        ethertype: u16::from_be_bytes([fields[12], fields[13]]),
    };
    let mut out = [0; ethernet::HEADER];
    header.write(&mut out);
    ethernet_frame(&out);
    let read = ethernet::Ethernet::parse(&out).expect("what was built");
    let again = ethernet::Header {
        destination: read.destination(),
        source: read.source(),
        ethertype: read.ethertype(),
    };
    assert_eq!(again, header);

    let header = arp::Header {
        operation: u16::from_be_bytes([fields[0], fields[1]]),
        sender_mac: mac(2),
        sender_ip: at(8).into(),
        target_mac: mac(12),
        target_ip: at(18).into(),
    };
    let mut out = [0; arp::MESSAGE];
    header.write(&mut out);
    arp(&out);
    let read = Arp::parse(&out).expect("what was built");
    let again = arp::Header {
        operation: read.operation(),
        sender_mac: read.sender_mac(),
        sender_ip: read.sender_ip(),
        target_mac: read.target_mac(),
        target_ip: read.target_ip(),
    };
    assert_eq!(again, header);

    let header = ipv4::Header {
        tos: fields[0],
        id: u16::from_be_bytes([fields[1], fields[2]]),
        dont_fragment: fields[3] & 1 != 0,
        ttl: fields[4],
        protocol: fields[5],
        source: at(6).into(),
        destination: at(10).into(),
        payload_len,
    };
    let mut out = [0; ipv4::HEADER];
    header.write(&mut out);
    let packet = [&out[..], payload].concat();
    ipv4(&packet);
    let read = Ipv4::parse(&packet).expect("what was built");
    assert!(read.checksum_ok() && !read.is_fragment() && read.payload() == payload);
    let again = ipv4::Header {
        tos: read.tos(),
        id: read.id(),
        dont_fragment: read.dont_fragment(),
        ttl: read.ttl(),
        protocol: read.protocol(),
        source: read.source(),
        destination: read.destination(),
        payload_len,
    };
    assert_eq!(again, header);

    let header = ipv6::Header {
        traffic_class: fields[0],
        flow_label: u32::from_be_bytes(at(1)) & 0xf_ffff,
        next_header: fields[5],
        hop_limit: fields[6],
        source: wide(8),
        destination: wide(24),
        payload_len,
    };
    let mut out = [0; ipv6::HEADER];
    header.write(&mut out);
    let packet = [&out[..], payload].concat();
    ipv6(&packet);
    let read = Ipv6::parse(&packet).expect("what was built");
    assert_eq!(read.payload(), payload);
    let again = ipv6::Header {
        traffic_class: read.traffic_class(),
        flow_label: read.flow_label(),
        next_header: read.next_header(),
        hop_limit: read.hop_limit(),
        source: read.source(),
        destination: read.destination(),
        payload_len,
    };
    assert_eq!(again, header);

    built_messages(fields, payload, [wide(8), wide(24)]);
}

fn built_messages(fields: &[u8; 40], payload: &[u8], ends: [Ipv6Addr; 2]) {
    let &[kind, code, a, b, c, d, e, f, ..] = fields;
    let mut out = vec![0; payload.len() + 8];
    out[8..].copy_from_slice(payload);
    assert!(icmpv4::write_error(&mut out, kind, code, [a, b, c, d]));
    assert_eq!(their_sum(&out), 0);
    icmpv4(&out);
    assert!(!icmpv4::write_error(&mut [0; 7], kind, code, [a, b, c, d]));

    let [source, destination] = ends;
    assert!(icmpv6::write_error(&mut out, kind, code, [a, b, c, d], source, destination));
    assert_eq!(their_sum6(ends, 58, &out), 0);

    let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    let short = [[a, b, c, d], [c, d, e, f]].map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    for [source, destination] in [short, ends.map(IpAddr::from)] {
        assert_eq!(udp::build(&mut out, source, destination, ports[0], ports[1], payload), out.len());
        let read = Udp::parse(&out).expect("what was built");
        assert!(read.checksum_ok(source, destination) && read.payload() == payload);
        assert_eq!([read.source_port(), read.destination_port()], ports);
        let theirs = UdpSlice::from_slice(&out).expect("what was built");
        assert_eq!(usize::from(theirs.length()), out.len());
    }

    let own_mac = Mac([kind, code, a, b, c, d]);
    let mut packet = [0; nd::PACKET];
    nd::solicitation(&mut packet, source, own_mac, destination);
    let read = Ipv6::parse(&packet).expect("what was built");
    assert_eq!(read.destination(), nd::solicited_node(destination));
    if !destination.is_multicast() && !source.is_unspecified() {
        let expected = Message::Solicitation { source, target: destination, source_mac: Some(own_mac) };
        assert_eq!(Message::parse(&read), Ok(expected));
    }
    neighbour_discovery(&[&[0], &packet[..]].concat());
    nd::advertisement(&mut packet, source, own_mac, destination);
    let read = Ipv6::parse(&packet).expect("what was built");
    if !source.is_multicast() && !destination.is_multicast() {
        let expected = Message::Advertisement { target: source, target_mac: Some(own_mac), overrides: true };
        assert_eq!(Message::parse(&read), Ok(expected));
    }
    neighbour_discovery(&[&[0], &packet[..]].concat());
}

/// The checksum that belongs to these bytes; zero if they contain theirs.
fn their_sum(bytes: &[u8]) -> u16 {
    Sum16BitWords::new().add_slice(bytes).ones_complement().to_be()
}

/// As [`their_sum`], with the pseudo header of IPv6 in front.
fn their_sum6(ends: [Ipv6Addr; 2], protocol: u8, bytes: &[u8]) -> u16 {
    let length = u32::try_from(bytes.len()).expect("an input of a fuzzer").to_be_bytes();
    Sum16BitWords::new()
        .add_16bytes(ends[0].octets())
        .add_16bytes(ends[1].octets())
        .add_4bytes(length)
        .add_2bytes([0, protocol])
        .add_slice(bytes)
        .ones_complement()
        .to_be()
}

/// The protocol number of the authentication header.
const AUTHENTICATION: u8 = 51;
/// How many extension headers `wire` looks through.
const MANY_EXTENSIONS: usize = 8;
