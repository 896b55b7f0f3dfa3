// SPDX-License-Identifier: Apache-2.0
//! Paths between the gateways that are narrower than their interfaces, as routers on the way tell: which of them are
//! believed, what follows, and for how long.

use crate::support::field::{self, v4};
use crate::support::site::*;
use crate::support::two_sites::TwoSites;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vita::esp::{LastNumber, OutboundSa};
use vita::graph::{Plan, Reroute};
use vita::route::PeerNumber;
use vita::sa::{Key, SaParameters};
use vita::stage::{Event, Tunnel};
use vita::wire::ip::Family;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A site with IPv4 inside and tunnels of this family.
fn plan_over(outer: Family, near: u8, far: u8) -> Plan {
    match outer {
        Family::V4 => plan(near, far),
        Family::V6 => dual(near, far, Family::V6),
    }
}

fn paris(outer: Family) -> Site {
    let [to_tokyo, to_paris] = keys();
    Site::new(plan_over(outer, 31, 32)).with_keys(&to_tokyo, &to_paris)
}

fn outside(outer: Family, host: u8) -> String {
    match outer {
        Family::V4 => format!("192.0.2.{host}"),
        Family::V6 => format!("2001:db8:ffff::{host}"),
    }
}

/// A packet from Paris to Tokyo of this length, which must not be fragmented.
fn inner(len: u16) -> Vec<u8> {
    udp("172.31.1.50", "172.32.1.50", 64, &vec![0; usize::from(len) - 28])
}

/// What a router quotes of a packet from Paris to Tokyo.
fn quote(outer: Family, paris: &mut Site) -> Vec<u8> {
    paris.arrive_private(&inner(500));
    let sealed = paris.sent_public().remove(0);
    let quoted = if outer == Family::V4 { 28 } else { sealed.len() - 14 };
    sealed[14..14 + quoted].to_vec()
}

/// A router says that a packet was too big.
fn report(outer: Family, mtu: u16, quote: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 31, 2]);
    match outer {
        Family::V4 => {
            let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
            builder
                .ipv4(address("198.51.100.7"), address(&outside(outer, 31)), 64)
                .icmpv4(Icmpv4Type::DestinationUnreachable(needed))
                .write(&mut frame, quote)
        }
        Family::V6 => builder
            .ipv6(address6("2001:db8:7::7"), address6(&outside(outer, 31)), 64)
            .icmpv6(Icmpv6Type::PacketTooBig { mtu: mtu.into() })
            .write(&mut frame, quote),
    }
    .unwrap();
    frame
}

/// The MTU that a sender of a packet of the configured one is told; that one itself if the packet passes.
fn output(paris: &mut Site) -> u16 {
    paris.arrive_private(&inner(MTU));
    let (answers, sealed) = (paris.sent_private(), paris.sent_public());
    match (answers.as_slice(), sealed.len()) {
        ([], 1) => MTU,
        ([answer], 0) => {
            assert_eq!(answer[v4::ICMP_TYPE_AND_CODE], [3, 4], "fragmentation needed");
            u16::from_be_bytes([answer[40], answer[41]])
        }
        outcome => panic!("{outcome:?}"),
    }
}

fn inner_mtu(outer: Family, path_mtu: u16) -> u16 {
    let headers = if outer == Family::V4 { 20 + 16 + 16 } else { 40 + 16 + 16 };
    (path_mtu - headers) / 4 * 4 - 2
}

#[test]
fn a_router_on_the_way_lowers_what_fits_and_senders_are_told() {
    for outer in FAMILIES {
        let mut paris = paris(outer);
        let quote = quote(outer, &mut paris);
        assert_eq!(output(&mut paris), MTU);
        for path_mtu in [1400, 1399, 1301] {
            paris.arrive_public(&report(outer, path_mtu, &quote));
            let fits = inner_mtu(outer, path_mtu);
            assert_eq!(output(&mut paris), fits);
            assert_eq!(paris.route.path_mtu.value(), u64::from(path_mtu));
            paris.arrive_private(&inner(fits));
            let sealed = paris.sent_public().remove(0);
            assert!((path_mtu - 3..=path_mtu).contains(&(sealed.len() as u16 - 14)), "{}", sealed.len());
            paris.arrive_private(&inner(fits + 1));
            assert!(paris.sent_public().is_empty());
            assert_eq!(paris.sent_private().len(), 1);
        }
        // What may be fragmented is, to what the path carries.
        let mut fragmentable = inner(MTU);
        fragmentable[v4::FRAGMENT] = 0;
        field::refresh_checksum(&mut fragmentable);
        paris.arrive_private(&fragmentable);
        assert!(paris.sent_private().is_empty());
        let pieces = paris.sent_public();
        assert!(pieces.len() == 2 && pieces.iter().all(|piece| piece.len() <= 14 + 1301));
        let version = if outer == Family::V4 { 4 } else { 6 };
        let leaves: &[&str] = match outer {
            Family::V4 => &["destination-unreachable", "fragmentation-needed"],
            Family::V6 => &["packet-too-big"],
        };
        let mut expected: Vec<_> =
            leaves.iter().map(|leaf| (format!("public-icmp{version}/{leaf}"), 3)).collect();
        expected.extend(["mtu-errors", "rxerrors"].map(|leaf| (format!("private-router/{leaf}"), 6)));
        expected.push(("packet-size/fragmented-packets".into(), 1));
        expected.push(("packet-size/fragments-created".into(), 2));
        let expected: Vec<_> = expected.iter().map(|(leaf, count)| (leaf.as_str(), *count)).collect();
        paris.counted(&expected);
        let lowered = paris.graph.drops.events.iter().filter_map(|event| match event {
            Event::PathMtu { peer: PeerNumber(0), path_mtu, inner_mtu } => Some((*path_mtu, *inner_mtu)),
            _ => None,
        });
        let expected = [1400, 1399, 1301].map(|path_mtu| (path_mtu, inner_mtu(outer, path_mtu)));
        assert_eq!(lowered.collect::<Vec<_>>(), expected);
        paris.leaked_nothing();
    }
}

#[test]
fn padding_ends_at_what_the_path_carries() {
    for outer in FAMILIES {
        let mut paris = paris(outer);
        let mut padding = plan_over(outer, 31, 32);
        padding.tunnels = if outer == Family::V4 { tunnels4(31, 32, true) } else { tunnels6(31, 32, true) };
        paris.graph.replan(padding);
        let quote = quote(outer, &mut paris);
        paris.arrive_public(&report(outer, 1300, &quote));
        paris.arrive_private(&inner(28));
        assert_eq!(paris.sent_public()[0].len(), 14 + 1300);
    }
}

#[test]
fn a_report_about_what_is_no_packet_of_ours_changes_nothing() {
    for outer in FAMILIES {
        let mut paris = paris(outer);
        let sound = quote(outer, &mut paris);
        let (protocol, source, destination, spi) =
            if outer == Family::V4 { (9, 15, 19, 23) } else { (6, 23, 39, 43) };
        let mut forged = Vec::new();
        for (place, flip) in [(source, 1), (destination, 1), (spi, 1)] {
            let mut quote = sound.clone();
            quote[place] ^= flip;
            forged.push(quote);
        }
        if outer == Family::V4 {
            // Options, and the rest of a fragment: we send neither.
            for (place, flip) in [(0, 3), (7, 1)] {
                let mut quote = sound.clone();
                quote[place] ^= flip;
                forged.push(quote);
            }
        }
        // The SPI that we receive by.
        let mut inbound = sound.clone();
        inbound[spi - 3..=spi].copy_from_slice(&2000u32.to_be_bytes());
        forged.push(inbound);
        forged.push(sound[..spi].to_vec());
        for quote in &forged {
            paris.arrive_public(&report(outer, 1300, quote));
            assert_eq!(output(&mut paris), MTU, "{quote:02x?}");
        }
        let version = if outer == Family::V4 { 4 } else { 6 };
        let counted = |paris: &Site, leaf: &str| {
            let name = format!("public-icmp{version}/{leaf}");
            paris.moved().iter().find(|(moved, _)| *moved == name).map_or(0, |(_, count)| *count)
        };
        let count = forged.len() as u64;
        let received = if outer == Family::V4 { "fragmentation-needed" } else { "packet-too-big" };
        let received_and_refused = |paris: &Site| [received, "quote-errors"].map(|leaf| counted(paris, leaf));
        assert_eq!(received_and_refused(&paris), [count; 2]);
        // What is about no ESP at all is of no interest.
        for (place, flip) in [(0, 0x20), (protocol, 1)] {
            let mut quote = sound.clone();
            quote[place] ^= flip;
            paris.arrive_public(&report(outer, 1300, &quote));
            assert_eq!(output(&mut paris), MTU);
        }
        assert_eq!(received_and_refused(&paris), [count + 2, count]);

        // A message that was damaged is not read at all.
        let mut damaged = report(outer, 1300, &sound);
        *damaged.last_mut().unwrap() ^= 1;
        paris.arrive_public(&damaged);
        assert_eq!(output(&mut paris), MTU);
        assert!(!paris.graph.drops.events.iter().any(|event| matches!(event, Event::PathMtu { .. })));
        // The sound one still is believed.
        paris.arrive_public(&report(outer, 1300, &sound));
        assert_eq!(output(&mut paris), inner_mtu(outer, 1300));
        paris.leaked_nothing();
    }
}

#[test]
fn a_report_about_the_key_exchange_or_an_echo_reply_changes_nothing() {
    for outer in FAMILIES {
        let mut paris = paris(outer);
        let builder = || PacketBuilder::ethernet2(HOST_MAC, HOST_MAC);
        let [mut exchange, mut reply] = [Vec::new(), Vec::new()];
        let [near, far] = [31, 32].map(|host| outside(outer, host));
        match outer {
            Family::V4 => {
                let ip = || builder().ipv4(address(&near), address(&far), 64);
                ip().udp(303, 303).write(&mut exchange, &[0; 88]).unwrap();
                ip().icmpv4_echo_reply(1, 1).write(&mut reply, &[0; 88]).unwrap();
            }
            Family::V6 => {
                let ip = || builder().ipv6(address6(&near), address6(&far), 64);
                ip().udp(303, 303).write(&mut exchange, &[0; 88]).unwrap();
                ip().icmpv6_echo_reply(1, 1).write(&mut reply, &[0; 88]).unwrap();
            }
        }
        for packet in [exchange, reply] {
            paris.arrive_public(&report(outer, 1300, &packet[field::IP..]));
            assert_eq!(output(&mut paris), MTU);
        }
    }
}

#[test]
fn nothing_below_the_smallest_mtu_of_the_protocol_is_believed_and_nothing_is_raised() {
    for (outer, smallest) in [(Family::V4, 576), (Family::V6, 1280)] {
        let mut paris = paris(outer);
        let quote = quote(outer, &mut paris);
        // More than we send is no news.
        paris.arrive_public(&report(outer, 1520, &quote));
        assert_eq!((output(&mut paris), paris.route.path_mtu.value()), (MTU, 0));
        paris.arrive_public(&report(outer, 1400, &quote));
        paris.arrive_public(&report(outer, 1450, &quote));
        paris.arrive_public(&report(outer, u16::MAX, &quote));
        assert_eq!(output(&mut paris), inner_mtu(outer, 1400));
        assert_eq!(refused(&paris, outer), 0);
        match outer {
            // Some take any path to be this wide (RFC 1191 section 3), and nobody shall choke a tunnel.
            Family::V4 => {
                paris.arrive_public(&report(outer, 68, &quote));
                assert_eq!((output(&mut paris), refused(&paris, outer)), (inner_mtu(outer, smallest), 0));
            }
            // RFC 8201 section 4: it must be discarded.
            Family::V6 => {
                for (count, mtu) in [0, 68, smallest - 1].into_iter().enumerate() {
                    paris.arrive_public(&report(outer, mtu, &quote));
                    assert_eq!(output(&mut paris), inner_mtu(outer, 1400), "{mtu}");
                    assert_eq!(
                        (paris.route.path_mtu.value(), refused(&paris, outer)),
                        (1400, count as u64 + 1)
                    );
                }
                paris.arrive_public(&report(outer, smallest, &quote));
                assert_eq!(output(&mut paris), inner_mtu(outer, smallest));
            }
        }
    }
}

/// Reports that were refused for what they quote or say.
fn refused(paris: &Site, outer: Family) -> u64 {
    let name = format!("public-icmp{}/quote-errors", if outer == Family::V4 { 4 } else { 6 });
    paris.moved().iter().find(|(moved, _)| *moved == name).map_or(0, |(_, count)| *count)
}

/// The quote with the low half of another sequence number.
fn numbered(outer: Family, quote: &[u8], number: u64) -> Vec<u8> {
    let place = if outer == Family::V4 { 24 } else { 44 };
    let mut quote = quote.to_vec();
    quote[place..place + 4].copy_from_slice(&(number as u32).to_be_bytes());
    quote
}

#[test]
fn whoever_knows_addresses_and_spi_but_no_number_that_was_sent_is_not_believed() {
    // The last number before the next packet is sealed: low, in the middle, around the turn of the low half.
    for outer in FAMILIES {
        for before in
            [0u64, 5, 70_000, 1 << 20, (1 << 32) - 1, (1 << 32) + 3, (7 << 32) + 65_534, (1 << 40) + 99_999]
        {
            let fresh = || {
                let [seal, open] = keys();
                let mut paris = Site::new(plan_over(outer, 31, 32)).with_keys(&seal, &open);
                let sa =
                    OutboundSa::new(&seal, vita::aead::preferred()).after(before, &LastNumber::default());
                paris.graph.activate(PeerNumber(0), Some(Box::new(sa)));
                let quote = quote(outer, &mut paris);
                (paris, quote)
            };
            let last = before + 1;
            let (mut paris, quote) = fresh();
            let earliest = last.saturating_sub(LATE - 1).max(1);
            let forged = [
                last + 1,
                last + 2,
                last + LATE,
                last + (1 << 31),
                earliest.wrapping_sub(1),
                earliest.wrapping_sub(50),
            ];
            for (count, number) in forged.into_iter().enumerate() {
                paris.arrive_public(&report(outer, 1300, &numbered(outer, &quote, number)));
                assert_eq!(paris.route.path_mtu.value(), 0, "{number} after {last}");
                assert_eq!(refused(&paris, outer), count as u64 + 1);
            }
            for number in [last, earliest, last - (last - earliest) / 2] {
                let (mut paris, quote) = fresh();
                paris.arrive_public(&report(outer, 1300, &numbered(outer, &quote, number)));
                assert_eq!(
                    (paris.route.path_mtu.value(), refused(&paris, outer)),
                    (1300, 0),
                    "{number} after {last}"
                );
            }
        }
    }
}

#[test]
fn of_the_key_before_the_numbers_count_as_well() {
    for outer in FAMILIES {
        let mut paris = paris(outer);
        let before = quote(outer, &mut paris);
        let next = SaParameters { spi: 3000, key: Key::Aes128Gcm([7; 16]), salt: [3; 4] };
        paris.graph.activate(PeerNumber(0), Some(Box::new(OutboundSa::new(&next, vita::aead::preferred()))));
        for _ in 0..5 {
            quote(outer, &mut paris);
        }
        paris.arrive_public(&report(outer, 1300, &numbered(outer, &before, 2)));
        assert_eq!(
            (output(&mut paris), refused(&paris, outer)),
            (MTU, 1),
            "it was sent with the new key only"
        );
        paris.arrive_public(&report(outer, 1300, &before));
        assert_eq!(output(&mut paris), inner_mtu(outer, 1300));
    }
}

#[test]
fn a_number_that_was_not_sent_within_the_last_seconds_is_not_believed() {
    const MILLISECOND: u64 = SECOND / 1000;
    // How often the worker looks at the time while it waits: as it should, or, because it was held up, not at all.
    for outer in FAMILIES {
        for every in [100 * MILLISECOND, SECOND, 60 * SECOND] {
            for (late, is_believed) in
                [(0, true), (1900, true), (3100, false), (3900, false), (60_000, false), (3_600_000, false)]
            {
                let mut paris = paris(outer);
                // As an attacker guesses: the first number of all, and that of a while ago.
                let first = quote(outer, &mut paris);
                let end = paris.now + late * MILLISECOND;
                while paris.now < end {
                    paris.now = (paris.now + every).min(end);
                    paris.run();
                }
                // A single packet that leaves now does not make the others any younger.
                let last = quote(outer, &mut paris);
                paris.arrive_public(&report(outer, 576, &first));
                paris.arrive_public(&report(outer, 1300, &first));
                let is_narrow = paris.route.path_mtu.value() != 0;
                assert_eq!(is_narrow, is_believed, "{late} ms late, looked every {every} ns");
                assert_eq!(refused(&paris, outer) == 0, is_believed && outer == Family::V4);
                paris.arrive_public(&report(outer, 1280, &last));
                assert!(paris.route.path_mtu.value() != 0);
            }
        }
    }
}

#[test]
fn what_was_sent_with_the_key_before_is_believed_no_longer_than_the_rest() {
    for outer in FAMILIES {
        for (seconds, is_believed) in [(1, true), (4, false)] {
            let mut paris = paris(outer);
            let before = quote(outer, &mut paris);
            let next = SaParameters { spi: 3000, key: Key::Aes128Gcm([7; 16]), salt: [3; 4] };
            paris
                .graph
                .activate(PeerNumber(0), Some(Box::new(OutboundSa::new(&next, vita::aead::preferred()))));
            for _ in 0..seconds {
                paris.now += SECOND;
                quote(outer, &mut paris);
            }
            paris.arrive_public(&report(outer, 1300, &before));
            assert_eq!(paris.route.path_mtu.value() != 0, is_believed, "after {seconds} s");
        }
    }
}

#[test]
fn among_thousands_of_tunnels_numbers_grow_old_in_time_and_no_pass_looks_at_all_of_them() {
    const TUNNELS: u32 = 5000;
    let last = TUNNELS - 1;
    for (late, is_believed) in [(1900, true), (3100, false)] {
        let mut plan = plan(31, 32);
        plan.tunnels.resize_with(TUNNELS as usize, || None);
        plan.active_peers = (0..TUNNELS).map(PeerNumber).collect();
        plan.tunnels[last as usize] = Tunnel::new([192, 0, 2, 31].into(), [192, 0, 2, 33].into(), MTU, false);
        let prefixes = [("172.32.0.0/16", 0), ("172.33.0.0/16", last)];
        let prefixes = prefixes.map(|(net, number)| (net.parse().unwrap(), number));
        plan.table = Arc::new(vita::route::PrefixTable::build(prefixes));
        let [to_tokyo, to_paris] = keys();
        let mut paris = Site::new(plan).with_keys(&to_tokyo, &to_paris);
        let other = SaParameters { spi: 1001, key: Key::Aes128Gcm([9; 16]), salt: [9; 4] };
        paris
            .graph
            .activate(PeerNumber(last), Some(Box::new(OutboundSa::new(&other, vita::aead::preferred()))));
        let quotes = ["172.32.1.50", "172.33.1.50"].map(|destination| {
            paris.arrive_private(&udp("172.31.1.50", destination, 64, b"packet"));
            paris.sent_public().remove(0)[v4::QUOTED].to_vec()
        });
        let (end, mut looks) = (paris.now + late * SECOND / 1000, 0);
        while paris.now < end {
            let port = || vita::frame::Memory::default();
            let due = paris.graph.tick(paris.now, &mut port(), &mut port());
            assert!(due > paris.now);
            (paris.now, looks) = (due.min(end), looks + 1);
        }
        assert!(looks > 70, "{looks} looks: the work is spread");
        for (count, quote) in quotes.iter().enumerate() {
            paris.arrive_public(&report(Family::V4, 1300, quote));
            let expected = if is_believed { 0 } else { count as u64 + 1 };
            assert_eq!(refused(&paris, Family::V4), expected, "tunnel {count}, {late} ms");
        }
    }
}

#[test]
fn ipv6_inside_never_has_less_than_its_smallest_mtu() {
    for outer in FAMILIES {
        let mut plan = dual(31, 32, outer);
        plan.tunnels = plan.tunnels.into_iter().map(|tunnel| tunnel.map(Tunnel::with_ipv6_inside)).collect();
        let [to_tokyo, to_paris] = keys();
        let mut paris = Site::new(plan).with_keys(&to_tokyo, &to_paris);
        let quote = quote(outer, &mut paris);
        // The smallest outer packet that carries 1280 bytes of IPv6, and what one of IPv4 may have in it.
        let floor = if outer == Family::V4 { 1336 } else { 1356 };
        for (path_mtu, believed) in [(floor + 4, floor + 4), (floor - 1, floor), (1280, floor)] {
            paris.arrive_public(&report(outer, path_mtu, &quote));
            assert_eq!(paris.route.path_mtu.value(), u64::from(believed));
            assert_eq!(output(&mut paris), inner_mtu(outer, believed));
        }
        assert_eq!(output(&mut paris), 1282);
        let smallest = udp6("2001:db8:31::50", "2001:db8:32::50", 64, &[0; 1280 - 48]);
        paris.arrive_private(&smallest);
        assert_eq!((paris.sent_private().len(), paris.sent_public().len()), (0, 1));
        if outer == Family::V4 {
            paris.arrive_public(&report(outer, 576, &quote));
            assert_eq!(paris.route.path_mtu.value(), u64::from(floor));
        }
    }
}

/// By how many packets a report may be late.
const LATE: u64 = 1 << 16;

#[test]
fn a_router_that_does_not_know_how_to_tell_is_understood() {
    let mut paris = paris(Family::V4);
    paris.arrive_private(&inner(MTU));
    let quote = paris.sent_public()[0][v4::QUOTED].to_vec();
    paris.arrive_public(&report(Family::V4, 0, &quote));
    // The next plateau (RFC 1191 section 7.1) below the 1496 bytes that were quoted.
    assert_eq!(paris.route.path_mtu.value(), 1492);
    let narrower = |paris: &mut Site, len: u16| {
        let mut shorter = quote.clone();
        shorter[2..4].copy_from_slice(&len.to_be_bytes());
        paris.arrive_public(&report(Family::V4, 0, &shorter));
        paris.route.path_mtu.value()
    };
    assert_eq!(narrower(&mut paris, 1492), 1006);
    assert_eq!(narrower(&mut paris, 1006), 576);
    assert_eq!(narrower(&mut paris, 100), 576, "no such router");
}

#[test]
fn ten_minutes_after_the_last_report_all_is_as_before() {
    for outer in FAMILIES {
        let mut paris = paris(outer);
        let quote = quote(outer, &mut paris);
        let start = paris.now;
        paris.arrive_public(&report(outer, 1400, &quote));
        paris.now = start + 400 * SECOND;
        let quote = self::quote(outer, &mut paris);
        paris.arrive_public(&report(outer, 1450, &quote));
        paris.arrive_public(&report(outer, 1400, &quote));
        paris.now = start + 999 * SECOND;
        paris.run();
        assert_eq!(output(&mut paris), inner_mtu(outer, 1400), "it was confirmed");
        paris.now = start + 1000 * SECOND;
        paris.run();
        assert_eq!((output(&mut paris), paris.route.path_mtu.value()), (MTU, 0));
        // Until the next one.
        let quote = self::quote(outer, &mut paris);
        paris.arrive_public(&report(outer, 1300, &quote));
        assert_eq!(output(&mut paris), inner_mtu(outer, 1300));
        let port = || vita::frame::Memory::default();
        let due = paris.graph.tick(paris.now, &mut port(), &mut port());
        assert!(due <= start + 1600 * SECOND, "whoever sleeps is told when to look: {due}");
        paris.now = start + 1600 * SECOND;
        paris.run();
        assert_eq!(output(&mut paris), MTU);
    }
}

#[test]
fn new_keys_and_plans_change_nothing_about_the_path() {
    for outer in FAMILIES {
        let mut paris = paris(outer);
        let quote = quote(outer, &mut paris);
        let rekey = |paris: &mut Site, spi: u32| {
            let keys = SaParameters { spi, key: Key::Aes128Gcm([spi as u8; 16]), salt: [3; 4] };
            let sa = OutboundSa::new(&keys, vita::aead::preferred());
            assert!(paris.graph.activate(PeerNumber(0), Some(Box::new(sa))).is_some());
        };
        rekey(&mut paris, 3000);
        // A packet sealed with the key before was still on its way.
        paris.arrive_public(&report(outer, 1400, &quote));
        assert_eq!(output(&mut paris), inner_mtu(outer, 1400));
        rekey(&mut paris, 4000);
        paris.arrive_public(&report(outer, 1300, &quote));
        assert_eq!(output(&mut paris), inner_mtu(outer, 1400), "that key is too old");

        let stats = paris.route.clone();
        let again = || {
            let mut plan = plan_over(outer, 31, 32);
            plan.tunnels[0].as_mut().unwrap().stats = stats.clone();
            plan
        };
        paris.graph.replan(again());
        assert_eq!(output(&mut paris), inner_mtu(outer, 1400));
        let same = again().tunnels.remove(0);
        paris.graph.reroute(Box::new(Reroute {
            table: None,
            tunnels: vec![(PeerNumber(0), same)],
            ..Reroute::default()
        }));
        assert_eq!((output(&mut paris), stats.path_mtu.value()), (inner_mtu(outer, 1400), 1400));
        // The key before is still known, too.
        let present = self::quote(outer, &mut paris);
        rekey(&mut paris, 5000);
        paris.graph.replan(again());
        paris.arrive_public(&report(outer, 1350, &present));
        assert_eq!(output(&mut paris), inner_mtu(outer, 1350));

        // Another gateway is another path.
        let [near, elsewhere] = [31, 77].map(|host| outside(outer, host).parse().unwrap());
        let mut moved = Tunnel::new(near, elsewhere, MTU, false);
        moved.as_mut().unwrap().stats = Arc::clone(&stats);
        paris.graph.reroute(Box::new(Reroute {
            table: None,
            tunnels: vec![(PeerNumber(0), moved)],
            ..Reroute::default()
        }));
        assert_eq!((output(&mut paris), stats.path_mtu.value()), (MTU, 0));
    }
}

#[test]
fn only_the_route_whose_packet_was_too_big_is_narrowed() {
    let mut plan = plan(31, 32);
    plan.tunnels.push(Tunnel::new([192, 0, 2, 31].into(), [192, 0, 2, 33].into(), MTU, false));
    let prefixes = [("172.32.0.0/16", 0), ("172.33.0.0/16", 1)];
    let prefixes = prefixes.map(|(net, number)| (net.parse().unwrap(), number));
    plan.table = Arc::new(vita::route::PrefixTable::build(prefixes));
    let [to_tokyo, to_paris] = keys();
    let mut paris = Site::new(plan).with_keys(&to_tokyo, &to_paris);
    let other = SaParameters { spi: 1001, key: Key::Aes128Gcm([9; 16]), salt: [9; 4] };
    paris.graph.activate(PeerNumber(1), Some(Box::new(OutboundSa::new(&other, vita::aead::preferred()))));
    let quote = quote(Family::V4, &mut paris);
    // The SPI of one route with the gateway of another is a forgery.
    let mut mixed = quote.clone();
    mixed[19] = 33;
    paris.arrive_public(&report(Family::V4, 1300, &mixed));
    assert_eq!(output(&mut paris), MTU);
    paris.arrive_public(&report(Family::V4, 1300, &quote));
    assert_eq!(output(&mut paris), inner_mtu(Family::V4, 1300));
    let to_other = udp("172.31.1.50", "172.33.1.50", 64, &[0; MTU as usize - 28]);
    paris.arrive_private(&to_other);
    assert_eq!(paris.sent_public().len(), 1);
}

/// Two gateways with a router of Linux between them, IPv4 inside.
fn apart_over(outer: Family) -> impl Fn(u8, u8) -> String {
    move |near, far| {
        let private =
            format!("private-interface4 {{ ifname lan; ip 10.{near}.0.20; nexthop-ip 10.{near}.0.50; }}");
        // A route has at least one network of its own family.
        let (version, nets) = match outer {
            Family::V4 => (4, format!("net \"10.{far}.0.0/16\";")),
            Family::V6 => (6, format!("net \"2001:db8:{far}::/48\"; additional-net \"10.{far}.0.0/16\";")),
        };
        let outside = |site: u8, host: u8| match outer {
            Family::V4 => format!("192.0.{site}.{host}"),
            Family::V6 => format!("2001:db8:ff{site}::{host}"),
        };
        let (own, next_hop, gateway) = (outside(near, 2), outside(near, 1), outside(far, 2));
        format!(
            "{private}
             public-interface{version} {{ ifname wan; ip {own}; nexthop-ip {next_hop}; }}
             route{version} {{ id site{far}; spi 1031; preshared-key {KEY}; {nets}
                       gateway {{ ip {gateway}; }} }}"
        )
    }
}

#[test]
fn a_transfer_passes_a_router_with_a_narrow_link() {
    for outer in FAMILIES {
        let sites = TwoSites::raise_apart(1400, apart_over(outer));
        sites.await_tunnel(|number| format!("10.{number}.0.50"));
        let state = |leaf: &str| sites.state(31, &format!("/gateway-state/route[id=site32][queue=1]/{leaf}"));
        let widest = if outer == Family::V4 { "1446" } else { "1426" };
        assert_eq!(state("effective-mtu"), widest);
        assert!(state("path-mtu").contains("has no value"), "{}", state("path-mtu"));
        transfer(&sites);
        assert_eq!(state("path-mtu"), "1400");
        let fits = inner_mtu(outer, 1400);
        assert_eq!(state("effective-mtu"), fits.to_string());
        // The gateway as a whole can still send more.
        assert_eq!(sites.state(31, "/gateway-state/effective-mtu"), widest);
        let leaf = if outer == Family::V4 {
            "public-icmp4/fragmentation-needed"
        } else {
            "public-icmp6/packet-too-big"
        };
        let heard: u64 = sites.state(31, &format!("/gateway-state/{leaf}")).parse().expect("a count");
        assert!(heard >= 1);
        // What Linux was told is what it believes.
        let route = sites.host(31).run("ip route get 10.32.0.50");
        assert!(route.contains(&format!("mtu {fits}")), "{route}");
        let ping = |size: u16| {
            sites.host(31).try_run(&format!("ping -M do -c 2 -i 0.2 -W 3 -s {} 10.32.0.50", size - 28))
        };
        ping(fits).unwrap();
        let refused = ping(fits + 1).unwrap_err();
        assert!(refused.contains(&fits.to_string()), "{refused}");
        let log = sites.log(31);
        let lines = log.lines().filter(|line| line.contains("the path to its gateway carries 1400 bytes"));
        assert_eq!(lines.count(), 1, "{log}");
    }
}

/// 10 MB from site 31 to 32, in segments as large as Linux thinks that they may be.
fn transfer(sites: &TwoSites) {
    let mut server = sites.host(32).command("setpriv");
    server.args(["--pdeathsig", "KILL", "iperf3", "-s", "-1", "--forceflush"]);
    let mut server = server.stdout(Stdio::null()).spawn().expect("iperf3 is installed");
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(text) = sites.host(31).try_run("timeout 60 iperf3 -c 10.32.0.50 -n 10M") {
        // The server takes a moment.
        assert!(text.contains("Connection refused") && Instant::now() < deadline, "{text}");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.wait().expect("it is our child");
}

const KEY: &str = "00000000000000000000000000000000000000000000000000000000000ACAB1";
