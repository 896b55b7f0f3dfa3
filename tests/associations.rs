// SPDX-License-Identifier: Apache-2.0
//! What workers do about SAs beside sealing and opening: they report the first authentic packet, send dummy packets, and
//! hand packets to the worker that has an SA. In memory, and with real daemons between two sites.

use crate::support::field::{self, v4};
use crate::support::injector::Injector;
use crate::support::site::*;
use crate::support::two_sites::TwoSites;
use crate::support::wait::eventually;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use vita::esp::{InboundSa, LastNumber, OutboundSa};
use vita::graph::Plan;
use vita::route::{PeerNumber, RouteNumber};
use vita::sa::{Key, SaParameters};
use vita::stage::{Handoff, Mailbox, Owners, SadEntry, Tunnel};
use vita::wire::ip::Family;

const FAR_HOST: &str = "172.32.1.50";
const HOST: &str = "172.31.1.50";

fn confirmed(site: &mut Site) -> Vec<u32> {
    site.graph.confirmed.drain(..).collect()
}

fn inbound(parameters: &SaParameters, after: u64) -> Box<SadEntry> {
    let sa = InboundSa::new(parameters, vita::aead::preferred()).after(after, &LastNumber::default());
    Box::new(SadEntry {
        sa,
        route: RouteNumber(0),
        peer: PeerNumber(0),
        counters: Arc::default(),
        stats: Arc::default(),
    })
}

#[test]
fn the_first_authentic_packet_of_an_sa_is_reported_and_no_other() {
    let (mut paris, mut tokyo) = pair();
    let sealed = |paris: &mut Site| {
        paris.arrive_private(&udp(HOST, FAR_HOST, 64, b"hello"));
        only(paris.sent_public())
    };
    let lost = sealed(&mut paris);
    let first = sealed(&mut paris);
    let mut forged = first.clone();
    *forged.last_mut().unwrap() ^= 1;
    tokyo.arrive_public(&forged);
    assert_eq!(confirmed(&mut tokyo), [] as [u32; 0], "it is not authentic");
    tokyo.arrive_public(&first);
    assert_eq!(confirmed(&mut tokyo), [1000]);
    for frame in [first, lost, sealed(&mut paris)] {
        tokyo.arrive_public(&frame);
    }
    assert_eq!(confirmed(&mut tokyo), [] as [u32; 0]);
    // One that goes on after a number has been confirmed before; one that begins has not.
    let [to_tokyo, _] = keys();
    for (after, expected) in [(7, &[][..]), (0, &[1000][..])] {
        tokyo.graph.install(inbound(&to_tokyo, after));
        for _ in 0..7 {
            let frame = sealed(&mut paris);
            tokyo.arrive_public(&frame);
        }
        assert_eq!(confirmed(&mut tokyo), expected, "after {after}");
    }
    paris.leaked_nothing();
    tokyo.leaked_nothing();
}

#[test]
fn a_packet_without_a_use_confirms_as_well() {
    let (mut paris, mut tokyo) = pair();
    paris.graph.send_dummy(paris.now, PeerNumber(0), &mut paris.public);
    let dummy = only(paris.sent_public());
    tokyo.arrive_public(&dummy);
    assert_eq!(confirmed(&mut tokyo), [1000]);
    assert!(tokyo.sent_private().is_empty());
    tokyo.counted(&[("inbound-sa/dummy-packets", 1)]);
    // It is no traffic of the route.
    paris.counted_of_route(&[]);
    paris.leaked_nothing();
    tokyo.leaked_nothing();
}

#[test]
fn reports_that_find_no_room_are_not_lost() {
    const SAS: u32 = 200;
    let mut plan = plan(32, 31);
    plan.associations = Some(vita::route::SpiTable::with_capacity(SAS as usize));
    let mut tokyo = Site::new(plan);
    for number in 0..SAS {
        let parameters =
            SaParameters { spi: 5000 + number, key: Key::Aes128Gcm([7; 16]), salt: number.to_be_bytes() };
        assert!(tokyo.graph.install(inbound(&parameters, 0)).is_none());
        let sa = OutboundSa::new(&parameters, vita::aead::preferred());
        let mut frame = tokyo.graph.pool.copy_of(&udp(HOST, FAR_HOST, 64, b"hello")[field::IP..]).unwrap();
        let (_, _, job) = sa.encapsulate::<0, 0>(sa.draw().unwrap(), &mut frame, 4, 0).unwrap();
        vita::aead::preferred().seal(&mut [job]);
        let packet = packet4("192.0.2.31", "192.0.2.32", 50, frame.data());
        drop(frame);
        tokyo.arrive_public(&packet);
    }
    let mut reported = BTreeMap::<u32, usize>::new();
    loop {
        let some = confirmed(&mut tokyo);
        if some.is_empty() {
            break;
        }
        some.into_iter().for_each(|spi| *reported.entry(spi).or_default() += 1);
        tokyo.graph.confirm_rest();
    }
    assert!(reported.keys().copied().eq(5000..5000 + SAS), "{reported:?}");
    assert!(reported.values().all(|times| *times == 1), "{reported:?}");
    tokyo.leaked_nothing();
}

#[test]
fn dummy_packets_are_as_long_as_all_others_where_lengths_are_hidden() {
    for (outer, tfc) in [(Family::V4, false), (Family::V4, true), (Family::V6, false), (Family::V6, true)] {
        let of = |near, far| {
            let mut plan = dual(near, far, outer);
            plan.tunnels = tunnels(outer, near, far, MTU, tfc);
            plan
        };
        let (mut paris, mut tokyo) = pair_of(of);
        paris.graph.send_dummy(paris.now, PeerNumber(0), &mut paris.public);
        let dummy = only(paris.sent_public());
        paris.arrive_private(&udp(HOST, FAR_HOST, 64, b"short"));
        let packet = only(paris.sent_public());
        assert_eq!(dummy.len() == packet.len(), tfc);
        tokyo.arrive_public(&dummy);
        tokyo.counted(&[("inbound-sa/dummy-packets", 1)]);
        // Without an SA, or a route, there is nothing to send.
        paris.graph.activate(PeerNumber(0), None);
        paris.graph.send_dummy(paris.now, PeerNumber(0), &mut paris.public);
        paris.graph.send_dummy(paris.now, PeerNumber(99), &mut paris.public);
        assert!(paris.sent_public().is_empty());
        paris.leaked_nothing();
    }
}

/// Two workers of Paris, which share what workers share. The first has keys.
fn two_workers(plan: impl Fn() -> Plan) -> [Site; 2] {
    let owners = Arc::new(Owners::new(1));
    let mailboxes: Arc<[_]> = (0..2).map(|place| Some(Arc::new(Mailbox::new(place, 0..2)))).collect();
    let worker = |place| {
        let handoff = Handoff { place: Some(place), mailboxes: mailboxes.clone(), owners: owners.clone() };
        Site::new(Plan { handoff, ..plan() })
    };
    let [to_tokyo, to_paris] = keys();
    [worker(0).with_keys(&to_tokyo, &to_paris), worker(1)]
}

fn take_handed(site: &mut Site) -> usize {
    let taken = site.graph.handed_over(site.now, &mut site.private, &mut site.public);
    site.graph.tick(site.now, &mut site.private, &mut site.public);
    taken
}

#[test]
fn a_worker_without_an_sa_hands_packets_to_the_one_that_has_it() {
    let [mut owner, mut other] = two_workers(|| plan(31, 32));
    let (_, mut tokyo) = pair();
    assert_eq!(take_handed(&mut owner), 0);
    for length in [0, 1, 100, 1400] {
        other.arrive_private(&udp(HOST, FAR_HOST, 64, &vec![7; length]));
        assert!(other.sent_public().is_empty(), "it has no key");
        assert_eq!((other.graph.handed, take_handed(&mut owner)), (1, 1));
        tokyo.arrive_public(&only(owner.sent_public()));
        let expected = with_header_byte(udp(HOST, FAR_HOST, 64, &vec![7; length]), 8, 62);
        assert_eq!(
            only(tokyo.sent_private())[field::IP..],
            expected[field::IP..],
            "as if one worker had done it all"
        );
        other.graph.handed = 0;
    }
    other.counted(&[("outbound-handoff/handoff-out-packets", 4)]);
    owner.counted(&[]);
    assert_eq!(owner.route.counters.outbound.packets.value(), 4);

    // With an SA of its own, it needs nobody.
    let own = SaParameters { spi: 1001, key: Key::Aes128Gcm([9; 16]), salt: [9; 4] };
    let sa = || Some(Box::new(OutboundSa::new(&own, vita::aead::preferred())));
    other.graph.activate(PeerNumber(0), sa());
    other.arrive_private(&udp(HOST, FAR_HOST, 64, b"sealed here"));
    assert_eq!((other.sent_public().len(), other.graph.handed), (1, 0));
    // And the other way round.
    owner.graph.activate(PeerNumber(0), None);
    owner.arrive_private(&udp(HOST, FAR_HOST, 64, b"sealed there"));
    assert_eq!((owner.sent_public().len(), owner.graph.handed, take_handed(&mut other)), (0, 2, 1));
    assert_eq!(other.sent_public().len(), 1);
    for site in [&mut owner, &mut other, &mut tokyo] {
        site.leaked_nothing();
    }
}

#[test]
fn packets_that_nobody_can_seal_are_dropped_where_they_are() {
    let [mut owner, mut other] = two_workers(|| plan(31, 32));
    // The owner lost its SA after packets were handed to it.
    other.arrive_private(&udp(HOST, FAR_HOST, 64, b"too late"));
    owner.graph.activate(PeerNumber(0), None);
    assert_eq!(take_handed(&mut owner), 1);
    owner.counted(&[("private-router/sa-errors", 1), ("private-router/rxerrors", 1)]);
    owner.counted_of_route(&[("outbound/sa-errors", 1)]);
    assert_eq!(owner.graph.handed, 0, "it is not handed back");
    // From now on it is known.
    other.arrive_private(&udp(HOST, FAR_HOST, 64, b"nobody has an SA"));
    other.counted(&[
        ("outbound-handoff/handoff-out-packets", 1),
        ("private-router/sa-errors", 1),
        ("private-router/rxerrors", 1),
    ]);
    // A route that is removed takes the knowledge with it, whatever worker has it.
    let [mut owner, mut other] = two_workers(|| plan(31, 32));
    owner.graph.replan(Plan { handoff: handoff_of(&other, 0), tunnels: vec![None], ..plan(31, 32) });
    other.arrive_private(&udp(HOST, FAR_HOST, 64, b"no tunnel any more"));
    assert_eq!(other.graph.handed, 0);
    owner.leaked_nothing();
    other.leaked_nothing();
}

fn handoff_of(site: &Site, place: u8) -> Handoff {
    Handoff { place: Some(place), ..site.graph.handoff().clone() }
}

/// Two workers, of which only the one with keys knows that the path is narrow.
fn two_workers_and_a_narrow_path() -> [Site; 2] {
    let [mut owner, other] = two_workers(|| plan(31, 32));
    let mut plan = plan(31, 32);
    plan.tunnels = vec![Tunnel::new([192, 0, 2, 31].into(), [192, 0, 2, 32].into(), 1000, false)];
    plan.handoff = handoff_of(&other, 0);
    plan.associations = None;
    owner.graph.replan(plan);
    [owner, other]
}

#[test]
fn what_the_owner_cannot_send_is_told_by_the_owner() {
    let [mut owner, mut other] = two_workers_and_a_narrow_path();
    other.arrive_private(&udp(HOST, FAR_HOST, 64, &[0; 1200]));
    assert_eq!(take_handed(&mut owner), 1);
    assert!(owner.sent_public().is_empty());
    let answer = only(owner.sent_private());
    assert_eq!(
        (&answer[v4::DESTINATION], &answer[v4::ICMP_TYPE_AND_CODE]),
        (&address(HOST)[..], &[3, 4][..])
    );
    owner.leaked_nothing();
}

#[test]
fn what_is_too_long_for_the_owner_is_cut_by_the_owner() {
    let [mut owner, mut other] = two_workers_and_a_narrow_path();
    let (_, mut tokyo) = pair();
    let payload: Vec<u8> = (0..1200).map(|i| i as u8).collect();
    other.arrive_private(&with_header_byte(udp(HOST, FAR_HOST, 64, &payload), 6, 0));
    assert_eq!((other.sent_public().len(), take_handed(&mut owner)), (0, 1));
    let sealed = owner.sent_public();
    assert_eq!(sealed.len(), 2);
    sealed.iter().for_each(|frame| tokyo.arrive_public(frame));
    let pieces = tokyo.sent_private();
    // Flags and offset, in units of eight bytes: the first one has as many as fit, the last one says that it is the last.
    let words: Vec<u16> = pieces.iter().map(|piece| u16::from_be_bytes([piece[20], piece[21]])).collect();
    assert_eq!(words, [0x2000, (1000 - 20) / 8]);
    assert_eq!(only(reassembled(&pieces))[8..], payload);
    owner.counted(&[("packet-size/fragmented-packets", 1), ("packet-size/fragments-created", 2)]);
    for site in [&mut owner, &mut other, &mut tokyo] {
        site.leaked_nothing();
    }
}

#[test]
fn a_flood_from_another_worker_takes_no_more_than_its_share_of_a_round() {
    let [mut owner, mut other] = two_workers(|| plan(31, 32));
    for _ in 0..300 {
        other.arrive_private(&udp(HOST, FAR_HOST, 64, b"flood"));
    }
    let mut rounds = Vec::new();
    loop {
        let taken = take_handed(&mut owner);
        if taken == 0 {
            break;
        }
        rounds.push(taken);
    }
    assert_eq!(rounds, [32; 8]);
    assert_eq!(owner.sent_public().len(), 256);
    other.counted(&[
        ("outbound-handoff/handoff-out-packets", 256),
        ("outbound-handoff/handoff-out-drops", 44),
        ("private-router/rxerrors", 44),
    ]);
    owner.leaked_nothing();
}

/// A gateway with one worker, or more with these further public interfaces.
fn gateway(near: u8, far: u8, more: &str) -> String {
    format!(
        "private-interface4 {{ ifname lan; ip 10.{near}.0.20; nexthop-ip 10.{near}.0.50; }}
         public-interface4 {{ queue 1; ifname wan; ip 192.0.2.{near}; nexthop-ip 192.0.2.{far}; }}
         route4 {{ id site{far}; spi 1032; preshared-key {KEY}; net \"10.{far}.0.0/16\";
                  gateway {{ ip 192.0.2.{far}; }} }}
         {more}\n"
    )
}

/// Site 31 has two workers with an address each, site 32 has one and knows only the first of these addresses.
fn unequal(near: u8, far: u8) -> String {
    let second = "public-interface4 { queue 2; ifname wan; ip 192.0.2.131; nexthop-ip 192.0.2.32; }";
    gateway(near, far, &format!("negotiation-ttl 1; {}", if near == 31 { second } else { "" }))
}

#[test]
fn all_flows_pass_between_two_workers_and_one() {
    let sites = TwoSites::raise_with_queues([2, 1], unequal);
    let address = |number: u8| Ipv4Addr::new(10, number, 0, 50);
    // The first worker has keys once some flow passes.
    let start = Instant::now();
    while flows(&sites, 31, 32, address(32)).len() < FLOWS.len() {
        assert!(start.elapsed() < Duration::from_secs(60), "not all flows pass");
    }
    let counter = |leaf: &str| -> u64 { sites.state(31, &format!("/gateway-state/{leaf}")).parse().unwrap() };
    let handed = counter("outbound-handoff/handoff-out-packets");
    assert!(handed > 0, "all flows came to one worker");
    for (from, to) in [(31, 32), (32, 31)] {
        let passed = flows(&sites, from, to, address(to));
        assert_eq!(passed.len(), FLOWS.len(), "from {from} to {to}: {passed:?}");
    }
    assert!(counter("outbound-handoff/handoff-out-packets") > handed);
    assert_eq!(counter("outbound-handoff/handoff-out-drops"), 0);
    // The second worker negotiates in vain, and the log says so once.
    let start = Instant::now();
    while counter("key-manager/negotiations-expired") < 3 {
        assert!(start.elapsed() < Duration::from_secs(60), "it gave up");
        thread::sleep(Duration::from_millis(100));
    }
    let log = sites.log(31);
    let lines = log.lines().filter(|line| line.contains("queue 2") && line.contains("does not answer"));
    assert_eq!(lines.count(), 1, "{log}");
}

/// The source ports whose packets arrive, of 16 flows.
fn flows(sites: &TwoSites, from: u8, to: u8, address: Ipv4Addr) -> BTreeSet<u16> {
    let sink = sites.host(to).inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    sink.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let port = sink.local_addr().unwrap().port();
    sites.host(from).inside(|| {
        for source in FLOWS {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, source)).unwrap();
            for _ in 0..3 {
                socket.send_to(b"flow", (address, port)).unwrap();
            }
        }
    });
    let mut arrived = BTreeSet::new();
    while arrived.len() < FLOWS.len()
        && let Ok((_, source)) = sink.recv_from(&mut [0; 16])
    {
        arrived.insert(source.port());
    }
    arrived
}

const FLOWS: std::ops::Range<u16> = 4000..4016;

#[test]
fn a_flood_of_strangers_on_the_port_of_the_key_exchange_stops_no_rekey() {
    let sites = TwoSites::raise(|near, far| gateway(near, far, "negotiation-ttl 2; sa-ttl 4;"));
    sites.await_tunnel(|number| format!("10.{number}.0.50"));
    let counter = |leaf: &str| -> u64 {
        sites.state(31, &format!("/gateway-state/key-manager/{leaf}")).parse().unwrap()
    };
    let negotiated = || counter("keypairs-negotiated") + counter("keypairs-offered");
    let (before, mut frames) = (negotiated(), Vec::new());
    let link = sites.gateway(31).run("cat /sys/class/net/wan/address");
    let mac: Vec<u8> = link.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    for kind in 11..=14u8 {
        // About our route from elsewhere, and about no route from the gateway's address.
        for (source, spi) in [("198.51.100.9", 1032u32), ("192.0.2.32", 4711), ("198.51.100.7", 99)] {
            let length = [4, 68, 80, 80][usize::from(kind) - 11];
            let message = [&spi.to_be_bytes()[..], &[kind, 0, 0, 0], &vec![5; length]].concat();
            let mut frame = Vec::new();
            etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], mac.clone().try_into().unwrap())
                .ipv4(address(source), address("192.0.2.31"), 64)
                .udp(303, 303)
                .write(&mut frame, &message)
                .unwrap();
            frames.push(frame);
        }
    }
    let stranger = Injector::at(&sites.gateway(32).path(), "wan");
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end || negotiated() < before + 2 {
        assert!(end.elapsed() < Duration::from_secs(30), "no new keys under the flood");
        for _ in 0..200 {
            frames.iter().for_each(|frame| stranger.send(frame));
        }
    }
    for leaf in ["overflow-errors", "rate-errors"] {
        assert_eq!(counter(leaf), 0, "{leaf}: the flood took room from genuine messages");
    }
    assert!(counter("source-errors") > 1000 && counter("route-errors") > 1000);
    sites.host(31).run("ping -q -c 10 -i 0.02 -W 5 10.32.0.50");
    sites.host(32).run("ping -q -c 10 -i 0.02 -W 5 10.31.0.50");
}

#[test]
fn ordinary_rekeys_lose_nothing() {
    for ttl in ["negotiation-ttl 1; sa-ttl 6;", "negotiation-ttl 5; sa-ttl 8;"] {
        let sites = TwoSites::raise(|near, far| gateway(near, far, ttl));
        sites.await_tunnel(|number| format!("10.{number}.0.50"));
        let counter = |leaf: &str| -> u64 {
            sites.state(31, &format!("/gateway-state/key-manager/{leaf}")).parse().unwrap()
        };
        let negotiated = || counter("keypairs-negotiated") + counter("keypairs-offered");
        let before = negotiated();
        let streams = both_ways(&sites);
        let start = Instant::now();
        while negotiated() < before + 3 || start.elapsed() < Duration::from_secs(10) {
            assert!(start.elapsed() < Duration::from_secs(60), "no rekeys");
            thread::sleep(Duration::from_millis(200));
        }
        for stream in streams {
            let (sent, arrivals) = stream.end();
            let arrived: BTreeSet<u64> = arrivals.iter().map(|(number, _)| *number).collect();
            let lost: Vec<u64> = (0..sent).filter(|number| !arrived.contains(number)).collect();
            assert!(lost.is_empty(), "{ttl}: of {sent} packets these were lost: {lost:?}");
        }
        // That SAs end is no news: nobody has to do anything.
        eventually("an SA expires", || counter("inbound-sa-expired") > 0);
        for number in [31, 32] {
            let warnings: Vec<String> =
                sites.log(number).lines().filter(|line| line.contains(" WARN ")).map(str::to_owned).collect();
            assert!(warnings.iter().all(|line| !line.contains("SA")), "{warnings:#?}");
        }
    }
}

#[test]
fn a_site_that_is_killed_and_started_again_is_heard_and_hears() {
    let mut sites = TwoSites::raise(|near, far| gateway(near, far, "negotiation-ttl 5;"));
    sites.await_tunnel(|number| format!("10.{number}.0.50"));
    let mut gaps = Vec::new();
    // A machine that does something else at the moment makes a gap, too: but not each time.
    for _ in 0..3 {
        let streams = both_ways(&sites);
        streams.iter().for_each(|stream| stream.await_arrivals(10));
        sites.restart(32);
        let restart = Instant::now() + Duration::from_millis(20);
        let arrived = [&streams[0], &streams[1]].map(Stream::arrived);
        thread::sleep(Duration::from_millis(20));
        streams.iter().zip(arrived).for_each(|(stream, arrived)| stream.await_arrivals(arrived + 50));
        let resumed = streams.map(|stream| {
            let (_, arrivals) = stream.end();
            arrivals.into_iter().map(|(_, at)| at).find(|at| *at > restart).expect("it goes on")
        });
        let gap = resumed[0].max(resumed[1]) - resumed[0].min(resumed[1]);
        gaps.push(gap);
        if gap < Duration::from_millis(500) {
            return;
        }
    }
    panic!("one direction is dead longer than the other: {gaps:?}");
}

/// Numbered packets, one every five milliseconds, and when they arrived.
struct Stream {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Vec<(u64, Instant)>>,
}

fn both_ways(sites: &TwoSites) -> [Stream; 2] {
    [(31, 32), (32, 31)].map(|(from, to)| Stream::start(sites, from, to))
}

impl Stream {
    fn start(sites: &TwoSites, from: u8, to: u8) -> Stream {
        let socket = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let [source, sink] = [from, to].map(|number| sites.host(number).inside(socket));
        sink.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let target = (Ipv4Addr::new(10, to, 0, 50), sink.local_addr().unwrap().port());
        let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop_sending, stop_receiving, count) = (stop.clone(), stop.clone(), arrived.clone());
        let sender = thread::spawn(move || {
            let mut number = 0u64;
            while !stop_sending.load(Ordering::Relaxed) {
                let _ = source.send_to(&number.to_be_bytes(), target);
                number += 1;
                thread::sleep(Duration::from_millis(5));
            }
            number
        });
        let receiver = thread::spawn(move || {
            let (mut arrivals, mut number, mut quiet) = (Vec::new(), [0; 8], 0);
            // Until nothing has come for a while after the end.
            while !stop_receiving.load(Ordering::Relaxed) || quiet < 10 {
                if sink.recv(&mut number).is_ok() {
                    arrivals.push((u64::from_be_bytes(number), Instant::now()));
                    count.fetch_add(1, Ordering::Relaxed);
                    quiet = 0;
                } else {
                    quiet += 1;
                }
            }
            arrivals
        });
        Stream { stop, arrived, sender, receiver }
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    fn await_arrivals(&self, count: u64) {
        let start = Instant::now();
        while self.arrived() < count {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing arrives any more");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many were sent, and what arrived.
    fn end(self) -> (u64, Vec<(u64, Instant)>) {
        self.stop.store(true, Ordering::Relaxed);
        (self.sender.join().unwrap(), self.receiver.join().unwrap())
    }
}

const KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";
