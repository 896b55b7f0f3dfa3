// SPDX-License-Identifier: Apache-2.0
//! A gateway's packet path in memory: when it asks for its next hop, and what it says and hears unasked.

use crate::support::field;
use crate::support::site::*;
use etherparse::{ArpOperation, NetSlice, SlicedPacket};
use vita::count::Side;
use vita::stage::NeighbourFrame;

/// A site that has to find out who its public next hop is.
fn asking() -> Site {
    let [to_tokyo, to_paris] = keys();
    let mut plan = plan(31, 32);
    plan.public.v4.as_mut().unwrap().next_hop_mac = None;
    Site::new(plan).with_keys(&to_tokyo, &to_paris)
}

const ROUTER: [u8; 6] = [2, 9, 9, 9, 9, 9];

#[test]
fn a_question_without_an_answer_is_repeated_after_1_and_2_seconds_and_then_every_5() {
    let mut paris = asking();
    let start = paris.now;
    let mut asked_at = Vec::new();
    let mut ask_until = |paris: &mut Site, tenth: u64| {
        while paris.now < start + tenth * SECOND / 10 {
            paris.run();
            asked_at.extend(paris.sent_public().iter().map(|_| (paris.now - start) / (SECOND / 10)));
            paris.now += SECOND / 10;
        }
        std::mem::take(&mut asked_at)
    };
    assert_eq!(ask_until(&mut paris, 200), [0, 10, 30, 80, 130, 180]);
    paris.arrive_public(&arp(ArpOperation::REPLY, (ROUTER, "192.0.2.254"), (ROUTER, "192.0.2.31")));
    assert_eq!(ask_until(&mut paris, 300), [230, 280]);

    // With an answer, there is no haste.
    let mut paris = asking();
    paris.run();
    paris.arrive_public(&arp(ArpOperation::REPLY, (ROUTER, "192.0.2.254"), (ROUTER, "192.0.2.31")));
    assert_eq!(paris.sent_public().len(), 1);
    let mut due = paris.now;
    for after in [5, 10] {
        due = paris.graph.tick(due, &mut paris.private, &mut paris.public);
        assert_eq!(due, start + after * SECOND);
    }
    assert_eq!(paris.sent_public().len(), 1);
}

#[test]
fn neighbours_are_told_where_the_gateway_is_when_it_starts_and_when_its_address_changes() {
    // Configured next hops, so nothing is asked.
    let (mut paris, _) = pair();
    let announcements = |frames: Vec<Vec<u8>>| {
        for frame in &frames {
            let Some(NetSlice::Arp(said)) = SlicedPacket::from_ethernet(frame).unwrap().net else { panic!() };
            assert_eq!((&frame[..6], said.operation()), (&[0xff; 6][..], ArpOperation::REQUEST));
            assert_eq!(said.sender_protocol_addr(), said.target_protocol_addr());
            assert_eq!(said.sender_hw_addr(), &frame[field::SOURCE_MAC]);
        }
        frames.iter().map(|frame| [&frame[field::SOURCE_MAC], &frame[28..32]].concat()).collect::<Vec<_>>()
    };
    let sent = |paris: &mut Site| [announcements(paris.sent_private()), announcements(paris.sent_public())];
    let inside = |mac: u8| vec![[2, 0, 0, 0, 31, mac, 172, 31, 1, 20].to_vec()];
    let outside = |mac: u8| vec![[2, 0, 0, 0, 31, mac, 192, 0, 2, 31].to_vec()];
    paris.run();
    assert_eq!(sent(&mut paris), [vec![], vec![]] as [Vec<Vec<u8>>; 2]);
    paris.graph.announce();
    for _ in 0..3 {
        paris.run();
        paris.run();
        assert_eq!(sent(&mut paris), [inside(1), outside(2)]);
        paris.now += SECOND;
    }
    paris.now += 60 * SECOND;
    paris.run();
    assert_eq!(sent(&mut paris), [vec![], vec![]] as [Vec<Vec<u8>>; 2]);

    // A plan that changes nothing here; another MAC address; another IP address.
    paris.graph.replan(plan(31, 32));
    paris.run();
    assert_eq!(sent(&mut paris), [vec![], vec![]] as [Vec<Vec<u8>>; 2]);
    let mut moved = plan(31, 32);
    moved.public.mac.0[5] = 7;
    paris.graph.replan(moved);
    paris.run();
    assert_eq!(sent(&mut paris), [vec![], outside(7)]);
    let mut moved = plan(31, 32);
    moved.public.mac.0[5] = 7;
    moved.private.v4.as_mut().unwrap().ip = [172, 31, 1, 21].into();
    paris.graph.replan(moved);
    paris.run();
    assert_eq!(sent(&mut paris), [vec![[2, 0, 0, 0, 31, 1, 172, 31, 1, 21].to_vec()], vec![]]);
    paris.counted(&[("private-next-hop/arp-announcements", 4), ("public-next-hop/arp-announcements", 4)]);
    paris.leaked_nothing();
}

#[test]
fn one_worker_speaks_for_an_address_that_several_share() {
    let mut plan = plan(31, 32);
    plan.private.v4.as_mut().unwrap().asks = false;
    let mut paris = Site::new(plan);
    paris.graph.announce();
    paris.run();
    assert_eq!([paris.sent_private().len(), paris.sent_public().len()], [0, 1]);
}

#[test]
fn what_the_kernel_has_received_is_heard_as_if_the_queue_had() {
    let mut paris = asking();
    paris.run();
    paris.sent_public();
    let hear = |paris: &mut Site, side, mac, ip: &str| {
        let frame = arp(ArpOperation::REQUEST, (mac, ip), ([0; 6], ip));
        let heard = NeighbourFrame::new(side, &frame).unwrap();
        let (private, public) = (&mut paris.private, &mut paris.public);
        paris.graph.receive_neighbour(paris.now, &heard, private, public);
        paris.arrive_private(&udp("172.31.1.50", "172.32.1.50", 64, b"where to?"));
        paris.sent_public().iter().map(|frame| frame[..6].to_vec()).collect::<Vec<_>>()
    };
    let moved = [2, 9, 9, 9, 9, 8];
    assert_eq!(hear(&mut paris, Side::Private, ROUTER, "192.0.2.254"), [[0; 6]; 0], "the other side");
    assert_eq!(hear(&mut paris, Side::Public, ROUTER, "192.0.2.253"), [[0; 6]; 0], "another neighbour");
    assert_eq!(hear(&mut paris, Side::Public, ROUTER, "192.0.2.254"), [ROUTER; 3], "with those that waited");
    assert_eq!(hear(&mut paris, Side::Public, moved, "192.0.2.254"), [moved]);
    assert_eq!(hear(&mut paris, Side::Public, [0xff; 6], "192.0.2.254"), [moved], "the address of a group");
    assert!(NeighbourFrame::new(Side::Public, &[0; 1500]).is_none());
    paris.counted(&[
        ("public-next-hop/arp-requests", 1),
        ("public-next-hop/addresses-added", 1),
        ("public-next-hop/addresses-updated", 1),
        ("public-next-hop/arp-errors", 1),
    ]);
    paris.leaked_nothing();
}
