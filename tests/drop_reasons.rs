// SPDX-License-Identifier: Apache-2.0
//! Every reason for which a packet is dropped, one after the other: a packet that gives the reason moves its leaf, those
//! that the model says go with it, and no other.
//!
//! A leaf of the table of counters that neither a [`Driver`] moves nor [`ELSEWHERE`] names fails the test. To add one:
//! a line in the function of its group below, with the packet, the leaf, and what else has to move.

use crate::support::field::{self};
use crate::support::site::*;
use etherparse::{ArpOperation, Icmpv6Type, PacketBuilder};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use vita::count::{Counters, SaCounters};
use vita::esp::{LastNumber, OutboundSa};
use vita::graph::{Interface, Plan};
use vita::route::PeerNumber;

use vita::stage::{Handoff, Mailbox, Owners};
use vita::wire::Mac;
use vita::wire::ip::Family;

#[test]
fn every_reason_moves_its_own_leaf() {
    for driver in drivers() {
        let mut site = (driver.drive)();
        let mut moved = site.moved();
        moved.sort();
        assert_eq!(moved, driver.leaves, "driving {}", driver.reason());
        site.leaked_nothing();
    }
}

#[test]
fn every_leaf_has_a_packet_that_moves_it() {
    let mut table = BTreeSet::new();
    Counters::default().visit(|group, leaf, _| _ = table.insert(format!("{group}/{leaf}")));
    SaCounters::default().visit(|leaf, _| _ = table.insert(format!("inbound-sa/{leaf}")));
    let driven: BTreeSet<String> =
        drivers().into_iter().flat_map(|driver| driver.leaves).map(|(leaf, _)| leaf).collect();
    let elsewhere: BTreeSet<String> = ELSEWHERE.iter().map(|(leaf, ..)| leaf.to_string()).collect();
    let missing: Vec<_> =
        table.iter().filter(|leaf| !driven.contains(*leaf) && !elsewhere.contains(*leaf)).collect();
    assert!(missing.is_empty(), "nothing here moves {missing:#?}");
    let twice: Vec<_> = driven.intersection(&elsewhere).collect();
    assert!(twice.is_empty(), "driven here, so take them from ELSEWHERE: {twice:#?}");
    let unknown: Vec<_> = elsewhere.difference(&table).collect();
    assert!(unknown.is_empty(), "no such leaves: {unknown:#?}");
}

#[test]
fn what_is_driven_elsewhere_is_named_there() {
    for (leaf, file, word) in ELSEWHERE {
        if file.is_empty() {
            continue;
        }
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(word), "{leaf}: {file} does not say {word}");
    }
}

/// Leaves that no packet in memory moves: where a test moves them instead, and by what word it can be found there. No
/// file: why there is none.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    // What sockets and devices count; in memory there are none.
    ("private-interface/rxbytes", "", "traffic, not a reason"),
    ("private-interface/rxpackets", "", "traffic, not a reason"),
    ("private-interface/rxmcast", "", "traffic, not a reason"),
    ("private-interface/rxbcast", "", "traffic, not a reason"),
    ("private-interface/rxdmapackets", "", "traffic, not a reason"),
    ("private-interface/txbytes", "", "traffic, not a reason"),
    ("private-interface/txpackets", "", "traffic, not a reason"),
    ("private-interface/txmcast", "", "traffic, not a reason"),
    ("private-interface/txbcast", "", "traffic, not a reason"),
    ("private-interface/rxdrop", "tests/xdp.rs", "fill_empty"),
    (
        "private-interface/rxerrors",
        "",
        "the kernel refuses a descriptor of ours, which takes a fault of ours",
    ),
    ("private-interface/txdrop", "tests/xdp.rs", "tx_dropped"),
    ("private-interface/txerrors", "tests/xdp.rs", "tx_errors"),
    ("public-interface/rxbytes", "", "traffic, not a reason"),
    ("public-interface/rxpackets", "", "traffic, not a reason"),
    ("public-interface/rxmcast", "", "traffic, not a reason"),
    ("public-interface/rxbcast", "", "traffic, not a reason"),
    ("public-interface/rxdmapackets", "", "traffic, not a reason"),
    ("public-interface/txbytes", "", "traffic, not a reason"),
    ("public-interface/txpackets", "tests/worker.rs", "txpackets"),
    ("public-interface/txmcast", "", "traffic, not a reason"),
    ("public-interface/txbcast", "", "traffic, not a reason"),
    ("public-interface/rxdrop", "tests/xdp.rs", "fill_empty"),
    ("public-interface/rxerrors", "", "the kernel refuses a descriptor of ours, which takes a fault of ours"),
    ("public-interface/txdrop", "tests/xdp.rs", "tx_dropped"),
    ("public-interface/txerrors", "tests/worker.rs", "txerrors"),
    ("private-interface/unserved-packets", "tests/fail_closed.rs", "unserved-packets"),
    ("public-interface/unserved-packets", "tests/fail_closed.rs", "unserved-packets"),
    // The key exchange counts by itself; the packet path knows but four of its reasons.
    ("key-manager/version-errors", "tests/exchange/counting.rs", "version_errors"),
    ("key-manager/parameter-errors", "tests/exchange/counting.rs", "parameter_errors"),
    ("key-manager/authentication-errors", "tests/exchange/counting.rs", "authentication_errors"),
    ("key-manager/public-key-errors", "tests/exchange/counting.rs", "public_key_errors"),
    ("key-manager/spi-errors", "tests/exchange/counting.rs", "spi_errors"),
    ("key-manager/rate-errors", "tests/exchange/attacks.rs", "rate_errors"),
    ("key-manager/negotiations-initiated", "tests/exchange/counting.rs", "negotiations_initiated"),
    ("key-manager/negotiations-expired", "tests/exchange/counting.rs", "negotiations_expired"),
    ("key-manager/challenges-offered", "tests/exchange/counting.rs", "challenges_offered"),
    ("key-manager/challenges-accepted", "tests/exchange/counting.rs", "challenges_accepted"),
    ("key-manager/keypairs-offered", "tests/exchange/counting.rs", "keypairs_offered"),
    ("key-manager/keypairs-negotiated", "tests/exchange/counting.rs", "keypairs_negotiated"),
    ("key-manager/inbound-sa-expired", "tests/exchange/counting.rs", "inbound_sa_expired"),
    ("key-manager/outbound-sa-expired", "tests/exchange/counting.rs", "outbound_sa_expired"),
    ("key-manager/outbound-sa-updated", "tests/exchange/counting.rs", "outbound_sa_updated"),
];

fn drivers() -> Vec<Driver> {
    let mut drivers = Vec::new();
    for side in [Side::Private, Side::Public] {
        drivers.extend(next_hop(side));
    }
    drivers.extend(dispatch());
    drivers.extend(ages());
    drivers.extend(routers());
    drivers.extend(associations());
    for place in [Place::Private, Place::Public, Place::Inbound] {
        drivers.extend(icmp(place, Family::V4));
        drivers.extend(icmp(place, Family::V6));
    }
    drivers.extend(key_exchange());
    drivers.extend(handoff());
    drivers
}

/// Makes a site drop something.
struct Driver {
    /// All that moves, and by how much; sorted.
    leaves: Vec<(String, u64)>,
    drive: Box<dyn Fn() -> Site>,
}

impl Driver {
    fn reason(&self) -> String {
        self.leaves.iter().map(|(leaf, _)| leaf.as_str()).collect::<Vec<_>>().join(" and ")
    }
}

/// A driver for `leaves`, each a name or `name*times`.
fn driver(leaves: &str, drive: impl Fn(&mut Site) + 'static) -> Driver {
    driver_of(leaves, both_families, drive)
}

fn driver_of(leaves: &str, plan: impl Fn() -> Plan + 'static, drive: impl Fn(&mut Site) + 'static) -> Driver {
    let mut leaves: Vec<_> = leaves
        .split_whitespace()
        .map(|leaf| {
            leaf.split_once('*')
                .map_or((leaf.to_string(), 1), |(leaf, n)| (leaf.to_string(), n.parse().unwrap()))
        })
        .collect();
    leaves.sort();
    let drive = Box::new(move || {
        let [seal, open] = keys();
        let mut site = Site::new(plan()).with_keys(&seal, &open);
        drive(&mut site);
        site
    });
    Driver { leaves, drive }
}

/// A gateway with addresses of both families on both sides.
fn both_families() -> Plan {
    let mut plan = dual(31, 32, Family::V4);
    plan.public.v6 = plan6(31, 32).public.v6;
    plan
}

const HOST: &str = "172.31.1.50";
const FAR_HOST: &str = "172.32.1.50";
const HOST6: &str = "2001:db8:31::50";
const FAR_HOST6: &str = "2001:db8:32::50";
/// Where things are in a frame.
const HOP_LIMIT: usize = 14 + 7;
const CHECKSUM: usize = 14 + 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Private,
    Public,
}

impl Side {
    fn arrive(self, site: &mut Site, frame: &[u8]) {
        match self {
            Side::Private => site.arrive_private(frame),
            Side::Public => site.arrive_public(frame),
        }
    }

    fn of(self, plan: &mut Plan) -> &mut Interface {
        match self {
            Side::Private => &mut plan.private,
            Side::Public => &mut plan.public,
        }
    }

    /// The gateway's address, its next hop's, and a neighbour's.
    fn addresses(self, family: Family) -> [&'static str; 3] {
        match (self, family) {
            (Side::Private, Family::V4) => ["172.31.1.20", "172.31.0.1", HOST],
            (Side::Private, Family::V6) => ["2001:db8:31::20", "2001:db8:31::1", HOST6],
            (Side::Public, Family::V4) => ["192.0.2.31", "192.0.2.254", "192.0.2.7"],
            (Side::Public, Family::V6) => ["2001:db8:ffff::31", "2001:db8:ffff::fe", "2001:db8:ffff::7"],
        }
    }
}

fn next_hop(side: Side) -> Vec<Driver> {
    let group = if side == Side::Private { "private-next-hop" } else { "public-next-hop" };
    let [own4, router4, host4] = side.addresses(Family::V4);
    let [own6, router6, host6] = side.addresses(Family::V6);
    let leaf = |name: &str| format!("{group}/{name}");
    // The next hops' addresses are not known; `family` is asked for.
    let unknown = move |family: Option<Family>| {
        move || {
            let mut plan = both_families();
            let interface = side.of(&mut plan);
            let (v4, v6) = (interface.v4.as_mut().unwrap(), interface.v6.as_mut().unwrap());
            (v4.next_hop_mac, v6.next_hop_mac) = (None, None);
            (v4.asks, v6.asks) = (family == Some(Family::V4), family == Some(Family::V6));
            plan
        }
    };
    // This side alone tells its neighbours of its address of this family.
    let speaks = move |family: Family| {
        move || {
            let mut plan = both_families();
            let of_family = |asks| [asks && family == Family::V4, asks && family == Family::V6];
            let [here, there] = [of_family(true), of_family(false)];
            let [private, public] = if side == Side::Private { [here, there] } else { [there, here] };
            for (interface, [v4, v6]) in [(&mut plan.private, private), (&mut plan.public, public)] {
                (interface.v4.as_mut().unwrap().asks, interface.v6.as_mut().unwrap().asks) = (v4, v6);
            }
            plan
        }
    };
    // A query of multicast listener discovery from beyond the link.
    let spoilt_query = || {
        let options = [58, 0, 5, 2, 0, 0, 1, 0];
        let message = [&[130, 0, 0, 0, 0, 0, 0, 0][..], &[0; 16]].concat();
        with_group(packet6("fe80::1", "ff02::1", 64, 0, &[&options[..], &message].concat()))
    };
    let [first, second] = [[2, 9, 9, 9, 9, 1], [2, 9, 9, 9, 9, 2]];
    let answer = move |mac| arp(ArpOperation::REPLY, (mac, router4), ([2, 0, 0, 0, 31, 1], own4));
    vec![
        driver(&leaf("arp-errors"), move |site| {
            let question = arp(ArpOperation::REQUEST, (first, host4), ([0; 6], own4));
            side.arrive(site, &with_byte(question, 14 + 1, 6));
        }),
        driver(&leaf("nd-errors"), move |site| {
            side.arrive(site, &with_byte(solicitation(host6, own6, own6, Some(first)), HOP_LIMIT, 254));
        }),
        driver_of(&leaf("unresolved-errors"), unknown(None), move |site| {
            match side {
                Side::Private => {
                    Far::new().send(site, &udp(FAR_HOST, HOST, 64, b"waits in vain")[field::IP..], 4)
                }
                Side::Public => site.arrive_private(&udp(HOST, FAR_HOST, 64, b"waits in vain")),
            }
            site.now += 60 * SECOND;
            site.run();
        }),
        driver_of(&leaf("arp-requests"), unknown(Some(Family::V4)), |site| site.run()),
        driver_of(&leaf("ns-requests"), unknown(Some(Family::V6)), |site| site.run()),
        driver_of(&leaf("arp-announcements"), speaks(Family::V4), |site| {
            site.graph.announce();
            site.run();
        }),
        driver_of(&format!("{group}/mld-reports {group}/na-announcements"), speaks(Family::V6), |site| {
            site.graph.announce();
            site.run();
        }),
        driver(&leaf("mld-errors"), move |site| side.arrive(site, &spoilt_query())),
        driver(&leaf("arp-replies"), move |site| {
            side.arrive(site, &arp(ArpOperation::REQUEST, (first, host4), ([0; 6], own4)));
        }),
        driver(&leaf("na-replies"), move |site| {
            side.arrive(site, &solicitation(host6, own6, own6, Some(first)));
        }),
        driver_of(&leaf("addresses-added"), unknown(None), move |site| side.arrive(site, &answer(first))),
        driver_of(&leaf("addresses-added"), unknown(None), move |site| {
            side.arrive(site, &advertisement(router6, own6, true, first));
        }),
        driver_of(
            &format!("{group}/addresses-added {group}/addresses-updated"),
            unknown(None),
            move |site| {
                side.arrive(site, &answer(first));
                side.arrive(site, &answer(second));
            },
        ),
    ]
}

fn dispatch() -> Vec<Driver> {
    let lldp = || [&[1, 0x80, 0xc2, 0, 0, 14][..], &HOST_MAC, &[0x88, 0xcc], &[0; 46]].concat();
    let to_everyone = || with_group(udp(HOST, FAR_HOST, 64, b"to everyone"));
    let to_stranger = || udp("198.51.100.7", "198.51.100.8", 64, b"not ours");
    let from_afar = || udp(FAR_HOST, HOST, 64, b"from afar");
    vec![
        driver("private-dispatch/ethertype-errors", move |site| site.arrive_private(&lldp())),
        driver("private-dispatch/address-errors", move |site| site.arrive_private(&to_everyone())),
        driver("private-dispatch/address-errors", |site| {
            site.arrive_private(&udp6("fe80::1", FAR_HOST6, 64, b"stays on its link"));
        }),
        // No drop: with the sum of the pseudo header alone in the field.
        driver("private-dispatch/partial-checksums", |site| {
            let finished = udp(HOST, FAR_HOST, 64, b"from a veth");
            let mut frame = finished.clone();
            // 172.31.1.50 and 172.32.1.50, UDP, 8 and 11 bytes.
            let sum = 0xac1f + 0x0132 + 0xac20 + 0x0132 + 17 + 19u32;
            frame[40..42].copy_from_slice(&((sum & 0xffff) as u16 + (sum >> 16) as u16).to_be_bytes());
            site.arrive_private(&frame);
            assert_eq!(site.sent_public().len(), 1);
        }),
        // To the other side's MAC: both may be on one device.
        driver("private-dispatch/address-errors*2", |site| {
            site.strict = true;
            let [_, public] = site.macs;
            site.arrive_private(&to(public, udp(HOST, FAR_HOST, 64, b"for the public side")));
            site.arrive_private(&to(
                public,
                arp(ArpOperation::REQUEST, (HOST_MAC, HOST), ([0; 6], "172.31.1.20")),
            ));
            assert!(site.sent_public().is_empty() && site.sent_private().is_empty());
        }),
        driver("public-dispatch/address-errors public-dispatch/rxerrors", move |site| {
            site.strict = true;
            let [private, _] = site.macs;
            let sealed = Far::new().sealed(site, &from_afar()[field::IP..], 4);
            site.arrive_public(&to(private, sealed));
            assert!(site.sent_private().is_empty());
        }),
        driver("private-dispatch/address-errors*4", |site| {
            for martian in ["::ffff:10.0.0.1", "fec0::1", "::10.0.0.1"] {
                site.arrive_private(&udp6(martian, FAR_HOST6, 64, b"nobody's"));
            }
            site.arrive_private(&udp("240.0.0.1", FAR_HOST, 64, b"nobody's"));
        }),
        driver("public-dispatch/address-errors public-dispatch/rxerrors", |site| {
            site.arrive_public(&packet4("192.0.2.32", "192.0.2.30", 50, &[1; 64]));
        }),
        driver("inbound-dispatch/protocol-errors*2", |site| {
            site.graph.replan(Plan { check_inner_source: false, ..both_families() });
            let mut far = Far::new();
            far.send(site, &udp6("::ffff:10.0.0.1", HOST6, 64, b"nobody's")[field::IP..], 41);
            far.send(site, &echo("169.254.1.1", "172.31.1.20", 64)[field::IP..], 4);
        }),
        driver("public-dispatch/ethertype-errors public-dispatch/rxerrors", move |site| {
            site.arrive_public(&lldp())
        }),
        driver("public-dispatch/address-errors public-dispatch/rxerrors", move |site| {
            site.arrive_public(&to_everyone());
        }),
        driver("public-dispatch/protocol-errors public-dispatch/rxerrors", move |site| {
            site.arrive_public(&to_stranger());
        }),
        // An outer header that was damaged on the way: that of ESP, of the key exchange, of a question to us.
        driver("public-dispatch/protocol-errors public-dispatch/rxerrors", move |site| {
            let sealed = Far::new().sealed(site, &from_afar()[field::IP..], 4);
            site.arrive_public(&damaged(sealed));
            assert!(site.sent_private().is_empty());
        }),
        driver("public-dispatch/protocol-errors public-dispatch/rxerrors", |site| {
            site.arrive_public(&damaged(knock()));
            assert!(site.exchange.is_empty());
        }),
        driver("public-dispatch/protocol-errors public-dispatch/rxerrors", |site| {
            site.arrive_public(&damaged(echo("192.0.2.7", "192.0.2.31", 64)));
        }),
        driver("public-dispatch/fragment-errors public-dispatch/rxerrors", move |site| {
            site.arrive_public(&with_header_byte(to_stranger(), 6, 0x20));
        }),
        driver("inbound-dispatch/protocol-errors", |site| {
            Far::new().send(site, b"this is no packet at all", 4)
        }),
        driver("inbound-dispatch/protocol-errors", |site| {
            Far::new().send(site, &udp(FAR_HOST, "224.0.0.5", 64, b"to a group")[field::IP..], 4)
        }),
        driver("inbound-dispatch/protocol-errors", |site| {
            let sealed = Far::new().sealed(site, b"this is no packet at all", 4);
            site.arrive_public(&with_header_byte(sealed, 1, CONGESTED));
        }),
    ]
}

/// The frame to a group of the link.
fn with_group(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&[0xff; 6]);
    frame
}

fn with_ethertype(mut frame: Vec<u8>, ethertype: [u8; 2]) -> Vec<u8> {
    frame[field::ETHERTYPE].copy_from_slice(&ethertype);
    frame
}

fn ages() -> Vec<Driver> {
    let out = || udp(HOST, FAR_HOST, 64, b"damaged");
    let back = || udp(FAR_HOST, HOST, 64, b"damaged");
    vec![
        driver("outbound-ttl/checksum-errors", move |site| site.arrive_private(&damaged(out()))),
        driver("outbound-ttl/protocol-errors", move |site| site.arrive_private(&out()[..14 + 19])),
        driver("outbound-ttl/protocol-errors", |site| {
            site.arrive_private(&udp6(HOST6, FAR_HOST6, 64, b"cut")[..14 + 39]);
        }),
        driver("outbound-ttl/protocol-errors", |site| {
            site.arrive_private(&with_ethertype(
                udp6(HOST6, FAR_HOST6, 64, b"said to be IPv4"),
                [0x08, 0x00],
            ));
        }),
        driver("inbound-ttl/protocol-errors", move |site| Far::new().send(site, &back()[14..14 + 24], 4)),
        driver("inbound-ttl/checksum-errors", move |site| {
            Far::new().send(site, &damaged(back())[field::IP..], 4)
        }),
    ]
}

/// The frame with another IPv4 header checksum.
fn damaged(frame: Vec<u8>) -> Vec<u8> {
    let byte = frame[CHECKSUM];
    with_byte(frame, CHECKSUM, byte ^ 0x55)
}

fn routers() -> Vec<Driver> {
    let fragmentable = |size: usize| with_header_byte(udp(HOST, FAR_HOST, 64, &vec![0; size - 28]), 6, 0);
    vec![
        driver("private-router/route-errors private-router/rxerrors", |site| {
            site.arrive_private(&udp(HOST, "172.33.1.50", 64, b"no route"));
        }),
        driver("private-router/mtu-errors private-router/rxerrors", move |site| {
            site.graph.replan(Plan { fragment_inner: false, ..both_families() });
            site.arrive_private(&fragmentable(usize::from(MTU) + 1));
        }),
        driver("packet-size/fragmented-packets packet-size/fragments-created*2", move |site| {
            site.arrive_private(&fragmentable(usize::from(MTU) + 1));
        }),
        driver("packet-size/fragment-errors private-router/rxerrors", move |site| {
            let frame = site.graph.pool.copy_of(&fragmentable(usize::from(MTU) + 1)).unwrap();
            site.private.arriving.push_back(frame);
            let all_others: Vec<_> = std::iter::from_fn(|| site.graph.pool.take()).collect();
            site.run();
            drop(all_others);
        }),
        driver("packet-size/outbound-mss-clamped", |site| site.arrive_private(&syn(HOST, FAR_HOST))),
        driver("packet-size/inbound-mss-clamped", |site| {
            Far::new().send(site, &syn(FAR_HOST, HOST)[field::IP..], 4)
        }),
        driver("private-router/sa-errors private-router/rxerrors", |site| {
            site.graph.activate(PeerNumber(0), None);
            site.arrive_private(&udp(HOST, FAR_HOST, 64, b"no key"));
        }),
        driver("private-router/sequence-errors private-router/rxerrors", |site| {
            let [seal, _] = keys();
            let spent =
                OutboundSa::new(&seal, vita::aead::preferred()).after(u64::MAX, &LastNumber::default());
            site.graph.activate(PeerNumber(0), Some(Box::new(spent)));
            site.arrive_private(&udp(HOST, FAR_HOST, 64, b"one too many"));
        }),
        driver("public-router/route-errors", |site| {
            let mut esp = [0; 64];
            esp[..4].copy_from_slice(&3000u32.to_be_bytes());
            site.arrive_public(&packet4("192.0.2.32", "192.0.2.31", 50, &esp));
        }),
        driver("public-router/protocol-errors", |site| {
            site.arrive_public(&packet4("192.0.2.32", "192.0.2.31", 50, &[0; 16]));
        }),
    ]
}

/// The start of a TCP connection with segments of an Ethernet's size.
fn syn(source: &str, destination: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
        .ipv4(address(source), address(destination), 64)
        .tcp(4000, 22, 7, 1024)
        .syn()
        .options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1460)])
        .unwrap()
        .write(&mut frame, b"")
        .unwrap();
    frame
}

fn associations() -> Vec<Driver> {
    let packet = || udp(FAR_HOST, HOST, 64, b"from afar")[field::IP..].to_vec();
    vec![
        driver("inbound-sa/decrypt-errors inbound-sa/rxerrors", move |site| {
            let mut sealed = Far::new().sealed(site, &packet(), 4);
            *sealed.last_mut().unwrap() ^= 1;
            site.arrive_public(&sealed);
        }),
        driver("inbound-sa/decrypt-errors inbound-sa/rxerrors", move |site| {
            let sealed = Far::new().sealed(site, &packet(), 4);
            site.arrive_public(&sealed);
            site.arrive_public(&sealed);
        }),
        driver("inbound-sa/protocol-errors inbound-sa/rxerrors", move |site| {
            Far::new().send(site, &packet(), 17)
        }),
        driver("inbound-sa/dummy-packets", |site| Far::new().send(site, &[0; 30], 59)),
        driver("inbound-sa/inner-source-errors inbound-sa/rxerrors", move |site| {
            Far::new().send(site, &udp("172.33.1.50", HOST, 64, b"another's address")[field::IP..], 4)
        }),
        driver("inbound-sa/ecn-errors inbound-sa/rxerrors", move |site| {
            let sealed = Far::new().sealed(site, &packet(), 4);
            site.arrive_public(&with_header_byte(sealed, 1, CONGESTED));
        }),
    ]
}

/// ECN: congestion experienced.
const CONGESTED: u8 = 3;

/// Where messages to the gateway come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Private,
    Public,
    Inbound,
}

impl Place {
    fn group(self, family: Family) -> String {
        let place = match self {
            Place::Private => "private",
            Place::Public => "public",
            Place::Inbound => "inbound",
        };
        format!("{place}-{}", if family == Family::V4 { "icmp4" } else { "icmp6" })
    }

    /// Who sends, and to which address of ours.
    fn ends(self, family: Family) -> [&'static str; 2] {
        let side = if self == Place::Public { Side::Public } else { Side::Private };
        let [own, _, neighbour] = side.addresses(family);
        match (self, family) {
            (Place::Inbound, Family::V4) => [FAR_HOST, own],
            (Place::Inbound, Family::V6) => [FAR_HOST6, own],
            _ => [neighbour, own],
        }
    }

    fn arrive(self, site: &mut Site, far: &mut Far, frame: &[u8]) {
        match self {
            Place::Private => site.arrive_private(frame),
            Place::Public => site.arrive_public(frame),
            Place::Inbound => far.send(site, &frame[field::IP..], if frame[12] == 8 { 4 } else { 41 }),
        }
    }

    /// The place gets these frames.
    fn driver(self, leaves: &str, family: Family, frames: impl Fn() -> Vec<Vec<u8>> + 'static) -> Driver {
        let group = self.group(family);
        let leaves: Vec<_> = leaves.split_whitespace().map(|leaf| format!("{group}/{leaf}")).collect();
        driver(&leaves.join(" "), move |site| {
            let mut far = Far::new();
            frames().iter().for_each(|frame| self.arrive(site, &mut far, frame));
        })
    }
}

fn icmp(place: Place, family: Family) -> Vec<Driver> {
    let [them, own] = place.ends(family);
    let quote = move || match family {
        Family::V4 => udp(own, them, 1, b"")[field::IP..].to_vec(),
        Family::V6 => udp6(own, them, 1, b"")[field::IP..].to_vec(),
    };
    let message = move |kind, code| match family {
        Family::V4 => icmp4(them, own, kind, code, &quote()),
        Family::V6 => {
            let kind = Icmpv6Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: [0; 4] };
            icmp6(them, own, 64, kind, &quote())
        }
    };
    let ask = move || if family == Family::V4 { echo(them, own, 64) } else { echo6(them, own, 64) };
    let too_big = match family {
        Family::V4 => "destination-unreachable fragmentation-needed quote-errors",
        Family::V6 => "packet-too-big quote-errors",
    };
    let known: &[(u8, u8, &str)] = if family == Family::V4 { KNOWN4 } else { KNOWN6 };
    let mut drivers: Vec<_> = known
        .iter()
        .map(|(kind, code, leaves)| place.driver(leaves, family, move || vec![message(*kind, *code)]))
        .collect();
    drivers.extend([
        place.driver("echo-request", family, move || vec![ask()]),
        place.driver("type-not-implemented-errors rxerrors", family, move || vec![message(99, 0)]),
        place.driver("protocol-errors rxerrors", family, move || {
            let mut damaged = ask();
            *damaged.last_mut().unwrap() ^= 1;
            vec![damaged]
        }),
        place.driver("echo-request*100 rate-limited", family, move || vec![ask(); 101]),
        place.driver(too_big, family, move || {
            // About an ESP packet that nobody here has sent.
            vec![match family {
                Family::V4 => icmp4(them, own, 3, 4, &packet4(own, them, 50, &[0x77; 32])[field::IP..]),
                Family::V6 => {
                    let kind = Icmpv6Type::Unknown { type_u8: 2, code_u8: 0, bytes5to8: [0; 4] };
                    icmp6(them, own, 64, kind, &packet6(own, them, 64, 50, &[0x77; 32])[field::IP..])
                }
            }]
        }),
        place.driver("answer-errors", family, move || {
            // No error about a later fragment; nor, where fragments do not get that far, to a group.
            let later = [&[17, 0, 0, 16, 0, 0, 0, 1][..], &[0; 32]].concat();
            vec![match (place, family) {
                (Place::Public, Family::V4) => packet4("224.0.0.5", own, 17, &[0; 32]),
                (Place::Public, Family::V6) => packet6("ff02::5", own, 64, 17, &[0; 32]),
                (_, Family::V4) => with_header_byte(packet4(them, own, 17, &[0; 32]), 7, 2),
                (_, Family::V6) => packet6(them, own, 64, 44, &later),
            }]
        }),
    ]);
    drivers
}

/// Types and codes of RFC 792 and what they move.
const KNOWN4: &[(u8, u8, &str)] = &[
    (3, 0, "destination-unreachable net-unreachable"),
    (3, 1, "destination-unreachable host-unreachable"),
    (3, 2, "destination-unreachable protocol-unreachable"),
    (3, 3, "destination-unreachable port-unreachable"),
    (3, 4, "destination-unreachable fragmentation-needed"),
    (3, 5, "destination-unreachable source-route-failed"),
    (3, 77, "destination-unreachable code-not-implemented-errors"),
    (5, 0, "redirect redirect-net"),
    (5, 1, "redirect redirect-host"),
    (5, 2, "redirect redirect-tos-net"),
    (5, 3, "redirect redirect-tos-host"),
    (11, 0, "time-exceeded transit-ttl-exceeded"),
    (11, 1, "time-exceeded fragment-reassembly-time-exceeded"),
    (12, 0, "parameter-problem"),
];

/// Those of RFC 4443.
const KNOWN6: &[(u8, u8, &str)] = &[
    (1, 0, "destination-unreachable net-unreachable"),
    (1, 1, "destination-unreachable destination-denied"),
    (1, 2, "destination-unreachable scope-denied"),
    (1, 3, "destination-unreachable host-unreachable"),
    (1, 4, "destination-unreachable port-unreachable"),
    (1, 5, "destination-unreachable source-denied"),
    (1, 6, "destination-unreachable net-denied"),
    (1, 77, "destination-unreachable code-not-implemented-errors"),
    (2, 0, "packet-too-big"),
    (3, 0, "time-exceeded transit-hop-limit-exceeded"),
    (3, 1, "time-exceeded fragment-reassembly-time-exceeded"),
    (4, 0, "parameter-problem header-field-problem"),
    (4, 1, "parameter-problem next-header-problem"),
    (4, 2, "parameter-problem option-problem"),
];

/// A datagram of the key exchange.
fn knock() -> Vec<u8> {
    message("192.0.2.32", b"knock")
}

/// A datagram to the gateway's port of the key exchange.
fn message(source: &str, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST_MAC, [2, 0, 0, 0, 0, 1])
        .ipv4(address(source), address("192.0.2.31"), 64)
        .udp(303, 303)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// Two workers, of which the other one has an SA of the route.
fn beside_an_owner() -> Plan {
    let owners = Arc::new(Owners::new(1));
    let mailboxes: Arc<[_]> = (0..2).map(|place| Some(Arc::new(Mailbox::new(place, 0..2)))).collect();
    let worker = |place| Handoff { place: Some(place), mailboxes: mailboxes.clone(), owners: owners.clone() };
    worker(1).set_owner(PeerNumber(0), true);
    Plan { handoff: worker(0), ..both_families() }
}

fn handoff() -> Vec<Driver> {
    let stray = |site: &mut Site, count: usize| {
        site.graph.activate(PeerNumber(0), None);
        (0..count).for_each(|_| site.arrive_private(&udp(HOST, FAR_HOST, 64, b"handed over")));
        assert!(site.sent_public().is_empty());
    };
    let full = "outbound-handoff/handoff-out-packets*256 outbound-handoff/handoff-out-drops*3 \
                private-router/rxerrors*3";
    vec![
        driver_of("outbound-handoff/handoff-out-packets", beside_an_owner, move |site| stray(site, 1)),
        driver_of(full, beside_an_owner, move |site| stray(site, 259)),
    ]
}

fn key_exchange() -> Vec<Driver> {
    let without_exchange = || Plan { key_exchange: false, ..both_families() };
    vec![
        driver_of(
            "public-dispatch/protocol-errors public-dispatch/rxerrors",
            without_exchange,
            move |site| {
                site.arrive_public(&knock());
            },
        ),
        driver("key-manager/protocol-errors key-manager/rxerrors", move |site| {
            site.arrive_public(&with_byte(knock(), 14 + 20 + 8, b'K'));
        }),
        driver("key-manager/route-errors key-manager/rxerrors", |site| {
            site.arrive_public(&message("192.0.2.32", b"knack"));
        }),
        driver("key-manager/source-errors key-manager/rxerrors", |site| {
            site.arrive_public(&message("192.0.2.33", b"knock"));
        }),
        driver("key-manager/protocol-errors key-manager/rxerrors", |site| {
            site.arrive_public(&message("192.0.2.32", b"kno"));
        }),
        driver("key-manager/overflow-errors key-manager/rxerrors", move |site| {
            site.public.arriving.push_back(site.graph.pool.copy_of(&knock()).unwrap());
            site.address();
            site.graph.inbound(site.now, &mut site.private, &mut site.public, |_| false);
        }),
    ]
}

/// The far gateway: it seals whatever one likes.
struct Far(OutboundSa);

impl Far {
    fn new() -> Far {
        let [_, to_paris] = keys();
        Far(OutboundSa::new(&to_paris, vita::aead::preferred()))
    }

    fn sealed(&mut self, site: &Site, inner: &[u8], next_header: u8) -> Vec<u8> {
        let mut frame = site.graph.pool.copy_of(inner).unwrap();
        let (_, _, job) =
            self.0.encapsulate::<0, 0>(self.0.draw().unwrap(), &mut frame, next_header, 0).unwrap();
        vita::aead::preferred().seal(&mut [job]);
        packet4("192.0.2.32", "192.0.2.31", 50, frame.data())
    }

    fn send(&mut self, site: &mut Site, inner: &[u8], next_header: u8) {
        let sealed = self.sealed(site, inner, next_header);
        site.arrive_public(&sealed);
    }
}

/// A frame that is sent to this address.
fn to(mac: Mac, mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac.0);
    frame
}
