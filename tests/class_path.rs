// SPDX-License-Identifier: Apache-2.0
//! The traffic class in tunnels of any kind, told with two gateways in memory: ECN by RFC 6040, DSCP as configured.

use crate::support::field::{self, v4};
use crate::support::site::*;
use etherparse::{NetSlice, SlicedPacket};
use vita::graph::Plan;
use vita::stage::{Event, Tunnel};
use vita::wire::class::{Dscp, Marking};
use vita::wire::ip::Family;

/// Inner family, outer family.
const SHAPES: [(Family, Family); 4] =
    [(Family::V4, Family::V4), (Family::V4, Family::V6), (Family::V6, Family::V4), (Family::V6, Family::V6)];
const NOT_ECT: u8 = 0b00;
const ECT_0: u8 = 0b10;
const ECT_1: u8 = 0b01;
const CE: u8 = 0b11;

/// The one frame of a list.
#[track_caller]
fn only(mut frames: Vec<Vec<u8>>) -> Vec<u8> {
    assert_eq!(frames.len(), 1, "{frames:02x?}");
    frames.remove(0)
}

/// The class of a frame's packet, by etherparse, and that its header is sound.
#[track_caller]
fn class(frame: &[u8]) -> u8 {
    match SlicedPacket::from_ethernet(frame).unwrap().net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            header.dscp.value() << 2 | header.ecn.value()
        }
        Some(NetSlice::Ipv6(ip)) => {
            assert_eq!(ip.header().flow_label().value(), 0);
            ip.header().traffic_class()
        }
        _ => panic!("not IP: {frame:02x?}"),
    }
}

fn with_class(mut frame: Vec<u8>, class: u8) -> Vec<u8> {
    if frame[v4::VERSION] >> 4 == 4 {
        frame[v4::TOS] = class;
        field::refresh_checksum(&mut frame);
    } else {
        frame[v4::VERSION] = 6 << 4 | class >> 4;
        frame[v4::TOS] = class << 4 | frame[v4::TOS] & 0x0f;
    }
    frame
}

/// From a host in Paris to one in Tokyo.
fn packet(family: Family, class: u8) -> Vec<u8> {
    let bare = match family {
        Family::V4 => udp("172.31.1.50", "172.32.1.50", 64, b"marked"),
        Family::V6 => udp6("2001:db8:31::50", "2001:db8:32::50", 64, b"marked"),
    };
    with_class(bare, class)
}

/// Two sites with this rule for the outer DSCP.
fn pair_with(outer: Family, dscp: Dscp) -> (Site, Site) {
    pair_of(|near, far| marked(dual(near, far, outer), dscp))
}

fn marked(plan: Plan, dscp: Dscp) -> Plan {
    with_marking(plan, Marking::new(dscp, true))
}

fn with_marking(plan: Plan, marking: Marking) -> Plan {
    let mark = |tunnel: Option<Tunnel>| tunnel.map(|tunnel| tunnel.with_marking(marking));
    Plan { tunnels: plan.tunnels.into_iter().map(mark).collect(), ..plan }
}

#[test]
fn ecn_passes_tunnels_as_rfc_6040_has_it() {
    let columns = [NOT_ECT, ECT_0, ECT_1, CE];
    // Figure 4 of the RFC.
    let table = [
        (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
        (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
        (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
        (CE, [Some(CE); 4]),
    ];
    const EXPEDITED: u8 = 46 << 2;
    for (inner_family, outer_family) in SHAPES {
        let (mut paris, mut tokyo) = pair_with(outer_family, Dscp::None);
        for (inner, row) in table {
            for (outer, expected) in columns.into_iter().zip(row) {
                paris.arrive_private(&packet(inner_family, EXPEDITED | inner));
                let sealed = only(paris.sent_public());
                assert_eq!(class(&sealed), inner, "copied on the way out");
                // Routers on the way may set another DSCP as well; it does not come inside.
                tokyo.arrive_public(&with_class(sealed, 0x28 | outer));
                let arrived: Vec<u8> = tokyo.sent_private().iter().map(|frame| class(frame)).collect();
                let expected: Vec<u8> = expected.into_iter().map(|ecn| EXPEDITED | ecn).collect();
                assert_eq!(
                    arrived, expected,
                    "{inner_family:?} in {outer_family:?}: inner {inner:02b}, outer {outer:02b}"
                );
            }
        }
        paris.counted(&[]);
        tokyo.counted(&[("inbound-sa/ecn-errors", 1), ("inbound-sa/rxerrors", 1)]);
        paris.leaked_nothing();
        tokyo.leaked_nothing();
    }
}

#[test]
fn the_far_gateways_answer_has_the_class_of_what_arrived() {
    for (inner_family, outer_family) in SHAPES {
        let (mut paris, mut tokyo) = pair_with(outer_family, Dscp::None);
        let question = match inner_family {
            Family::V4 => echo("172.31.1.50", "172.32.1.20", 64),
            Family::V6 => echo6("2001:db8:31::50", "2001:db8:32::20", 64),
        };
        paris.arrive_private(&with_class(question, ECT_0));
        tokyo.arrive_public(&with_class(only(paris.sent_public()), CE));
        let answer = only(tokyo.sent_public());
        assert_eq!(class(&answer), CE, "{inner_family:?} in {outer_family:?}");
        paris.arrive_public(&answer);
        assert_eq!(class(&only(paris.sent_private())), CE);
    }
}

#[test]
fn the_outer_class_of_older_gateways_changes_nothing_inside() {
    for (inner_family, outer_family) in SHAPES {
        let (mut paris, mut tokyo) = pair_with(outer_family, Dscp::None);
        for inner in [0x00, 0x01, 0x02, 0x03, 0xb8, 0xff] {
            paris.arrive_private(&packet(inner_family, inner));
            tokyo.arrive_public(&with_class(only(paris.sent_public()), 0));
            assert_eq!(class(&only(tokyo.sent_private())), inner);
        }
        tokyo.counted(&[]);
    }
}

#[test]
fn without_ecn_nothing_on_the_way_may_mark_and_what_arrives_marked_is_understood_all_the_same() {
    for (inner_family, outer_family) in SHAPES {
        for (rule, dscp) in [(Dscp::None, 0), (Dscp::Copy, 0xb8), (Dscp::Fixed(10), 0x28)] {
            let plan = |near, far| with_marking(dual(near, far, outer_family), Marking::new(rule, false));
            let (mut paris, mut tokyo) = pair_of(plan);
            for inner in [NOT_ECT, ECT_0, ECT_1, CE] {
                paris.arrive_private(&packet(inner_family, 0xb8 | inner));
                let sealed = only(paris.sent_public());
                assert_eq!(class(&sealed), dscp | NOT_ECT, "RFC 6040 section 4.1, compatibility mode");
                tokyo.arrive_public(&sealed);
                assert_eq!(class(&only(tokyo.sent_private())), 0xb8 | inner);
            }
            // The other side copies, and its packets are marked on the way.
            tokyo.graph.replan(marked(dual(32, 31, outer_family), Dscp::None));
            let back = match inner_family {
                Family::V4 => udp("172.32.1.50", "172.31.1.50", 64, b"marked"),
                Family::V6 => udp6("2001:db8:32::50", "2001:db8:31::50", 64, b"marked"),
            };
            tokyo.arrive_private(&with_class(back, ECT_0));
            paris.arrive_public(&with_class(only(tokyo.sent_public()), CE));
            assert_eq!(class(&only(paris.sent_private())), CE);
            paris.counted(&[]);
            tokyo.counted(&[]);
        }
    }
}

#[test]
fn ecn_is_switched_while_packets_pass_and_no_sequence_number_is_repeated() {
    for outer in [Family::V4, Family::V6] {
        let (mut paris, mut tokyo) = pair_with(outer, Dscp::None);
        for (round, ecn) in [false, true, false, true].into_iter().enumerate() {
            paris.graph.replan(with_marking(dual(31, 32, outer), Marking::new(Dscp::None, ecn)));
            paris.arrive_private(&packet(Family::V4, ECT_1));
            let sealed = only(paris.sent_public());
            let header = if outer == Family::V4 { 20 } else { 40 };
            assert_eq!(sealed[14 + header + 4..][..4], (round as u32 + 1).to_be_bytes());
            assert_eq!(class(&sealed), if ecn { ECT_1 } else { NOT_ECT });
            tokyo.arrive_public(&sealed);
            assert_eq!(class(&only(tokyo.sent_private())), ECT_1);
        }
    }
}

#[test]
fn a_drop_because_of_congestion_is_audited_with_the_outer_addresses() {
    let (mut paris, mut tokyo) = pair_with(Family::V4, Dscp::None);
    paris.arrive_private(&packet(Family::V4, NOT_ECT));
    tokyo.arrive_public(&with_class(only(paris.sent_public()), CE));
    let [Event::NotDecapsulated { reason, source, sequence_low, .. }] = &tokyo.graph.drops.events[..] else {
        panic!("{:?}", tokyo.graph.drops.events)
    };
    assert_eq!(*reason, vita::count::Reason::Congestion);
    assert_eq!((source.to_string(), *sequence_low), ("192.0.2.31".to_string(), 1));
}

#[test]
fn the_outer_dscp_is_what_the_configuration_says_and_the_inner_one_stays() {
    for (inner_family, outer_family) in SHAPES {
        for (rule, expected) in [
            (Dscp::None, [0x00, 0x02, 0x03]),
            (Dscp::Copy, [0x68, 0xfe, 0x03]),
            (Dscp::Fixed(46), [0xb8, 0xba, 0xbb]),
        ] {
            let (mut paris, mut tokyo) = pair_with(outer_family, rule);
            for (inner, outer) in [0x68, 0xfe, 0x03].into_iter().zip(expected) {
                paris.arrive_private(&packet(inner_family, inner));
                let sealed = only(paris.sent_public());
                assert_eq!(class(&sealed), outer, "{rule:?}");
                tokyo.arrive_public(&sealed);
                assert_eq!(class(&only(tokyo.sent_private())), inner);
            }
            paris.counted(&[]);
            tokyo.counted(&[]);
        }
    }
}

#[test]
fn another_rule_for_the_dscp_loses_nothing_and_repeats_no_sequence_number() {
    let (mut paris, mut tokyo) = pair_with(Family::V4, Dscp::None);
    for (round, rule) in [Dscp::Copy, Dscp::Fixed(46), Dscp::None, Dscp::Fixed(0)].into_iter().enumerate() {
        paris.graph.replan(marked(dual(31, 32, Family::V4), rule));
        paris.arrive_private(&packet(Family::V4, 0x28));
        let sealed = only(paris.sent_public());
        assert_eq!(sealed[14 + 20 + 4..][..4], (round as u32 + 1).to_be_bytes());
        assert_eq!(class(&sealed), [0x28, 0xb8, 0, 0][round]);
        tokyo.arrive_public(&sealed);
        assert_eq!(tokyo.sent_private().len(), 1);
    }
}

#[test]
fn with_tfc_packets_are_extended_to_their_own_tunnels_mtu_and_marked_as_ever() {
    for (inner_family, outer_family) in SHAPES {
        let (mut paris, mut tokyo) = pair_of(|near, far| dual(near, far, outer_family));
        let (ends, header) = match outer_family {
            Family::V4 => (["192.0.2.31", "192.0.2.32"], 20),
            Family::V6 => (["2001:db8:ffff::31", "2001:db8:ffff::32"], 40),
        };
        let [near, far] = ends.map(|end| end.parse().unwrap());
        let tunnels = vec![Tunnel::new(near, far, 1337, true)];
        paris.graph.replan(Plan { tunnels, ..dual(31, 32, outer_family) });
        paris.arrive_private(&packet(inner_family, CE));
        let sealed = only(paris.sent_public());
        // 1337 + 1 + 2 bytes are a multiple of four.
        assert_eq!(sealed.len(), 14 + header + 16 + 1337 + 1 + 2 + 16);
        assert_eq!(class(&sealed), CE);
        tokyo.arrive_public(&sealed);
        let arrived = only(tokyo.sent_private());
        assert_eq!(arrived.len(), packet(inner_family, CE).len());
        assert_eq!(class(&arrived), CE);
    }
}
