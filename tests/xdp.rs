// SPDX-License-Identifier: Apache-2.0
//! Frames through real AF_XDP sockets on veth pairs. Needs root.

use crate::support::netns::Netns;
use crate::support::veth::*;
use std::net::Ipv4Addr;
use std::time::Duration;
use vita::count::Side;
use vita::frame::{BATCH, Batch, Pool, Port};
use vita::xdp::{BindError, Filter, Hook, Mode, Options, Program, Socket, Umem, Unserved};

const IPV4: u16 = 0x0800;
const BROADCAST: [u8; 6] = [0xff; 6];

#[test]
fn frames_of_every_size_cross_a_cable_in_both_directions() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("one", &right, "two", 1);
    let (umem1, umem2) = (umem(), umem());
    let (device1, _program1, mut socket1) = attach(&left, "one", &umem1);
    let (device2, _program2, mut socket2) = attach(&right, "two", &umem2);
    assert_eq!((socket1.mode(), socket2.mode()), (Mode::Copy, Mode::Copy));

    let mut bytes = 0;
    for round in 0..10 {
        let frames = |to| (0..100).map(|n| frame(to, IPV4, n, 46 + 14 * n + round)).collect::<Vec<Vec<u8>>>();
        send(&mut socket1, umem1.pool(), &frames(device2.mac));
        assert!(receive_copies(&mut socket2, 100) == frames(device2.mac));
        send(&mut socket2, umem2.pool(), &frames(device1.mac));
        assert!(receive_copies(&mut socket1, 100) == frames(device1.mac));
        bytes += frames(device1.mac).iter().map(Vec::len).sum::<usize>() as u64;
    }

    for (socket, umem) in [(&socket1, &umem1), (&socket2, &umem2)] {
        let statistics = socket.statistics();
        assert_eq!((statistics.rx_packets, statistics.rx_bytes), (1000, bytes));
        assert_eq!((statistics.tx_packets, statistics.tx_bytes), (1000, bytes));
        assert_eq!((statistics.tx_dropped, statistics.tx_errors), (0, 0));
        assert_eq!(socket.kernel_statistics().unwrap().tx_invalid, 0);
        assert_eq!(umem.pool().available(), CHUNKS as usize - POSTED, "no chunk was lost");
    }
}

#[test]
fn the_largest_frame_an_interface_may_carry_arrives_whole() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("one", &right, "two", 1);
    left.run("ip link set dev one mtu 3498");
    right.run("ip link set dev two mtu 3498");
    let umem = umem();
    let (_, _program1, mut socket1) = attach(&left, "one", &umem);
    let (device2, _program2, mut socket2) = attach(&right, "two", &umem);
    let large = [frame(device2.mac, IPV4, 1, 3498)];
    send(&mut socket1, umem.pool(), &large);
    assert!(receive_copies(&mut socket2, 1) == large);
}

#[test]
fn a_frame_is_wrapped_and_sent_on_out_of_the_chunk_it_arrived_in() {
    let (left, gateway, right) = (Netns::new(), Netns::new(), Netns::new());
    left.veth("host", &gateway, "private", 1);
    gateway.veth("public", &right, "peer", 1);
    let (umem1, shared, umem2) = (umem(), umem(), umem());
    let (_, _program1, mut host) = attach(&left, "host", &umem1);
    let (private_device, _program2, mut private) = attach(&gateway, "private", &shared);
    let (_, _program3, mut public) = attach(&gateway, "public", &shared);
    let (peer_device, _program4, mut peer) = attach(&right, "peer", &umem2);

    let inner: Vec<Vec<u8>> = (0..50).map(|n| frame(private_device.mac, IPV4, n, 46 + 28 * n)).collect();
    let outer: Vec<u8> = frame(peer_device.mac, IPV4, 0, 36);
    for _ in 0..40 {
        send(&mut host, umem1.pool(), &inner);
        let mut batch: Batch = receive(&mut private, inner.len()).into_iter().collect();
        let before: Vec<usize> = batch.iter().map(|frame| frame.data().as_ptr() as usize / 4096).collect();
        for frame in &mut batch {
            assert_eq!(
                frame.headroom(),
                (Pool::CHUNK_SIZE - Pool::LONGEST),
                "the kernel leaves this much in front of a frame"
            );
            frame.prepend(outer.len()).unwrap().copy_from_slice(&outer);
            frame.append(16).unwrap().copy_from_slice(&[0x1c; 16]);
        }
        let after: Vec<usize> = batch.iter().map(|frame| frame.data().as_ptr() as usize / 4096).collect();
        assert_eq!(before, after);
        public.transmit(&mut batch);
        settle(&mut public, shared.pool());
        let wrapped = receive_copies(&mut peer, inner.len());
        for (wrapped, inner) in wrapped.iter().zip(&inner) {
            assert!(*wrapped == [&outer[..], inner, &[0x1c; 16]].concat());
        }
    }
    assert_eq!(shared.pool().available(), CHUNKS as usize - 2 * POSTED, "no chunk was lost");
}

/// One end sends what it likes, the other has a gateway's program, filter and socket besides the kernel's
/// own address.
struct Gateway {
    outside: Netns,
    inside: Netns,
    program: Program,
    socket: Socket,
    sender: Socket,
    umem: Umem,
    kernel_mac: [u8; 6],
}

const OWN: Filter = Filter {
    mac: [2, 0xbb, 0, 0, 0, 9],
    side: Side::Private,
    ipv4: Some(Ipv4Addr::new(10, 0, 0, 9)),
    ipv6: None,
    exchange_port: 303,
};

fn gateway(queues: u32, filter: impl Fn([u8; 6]) -> Filter) -> Gateway {
    let (outside, inside) = (Netns::new(), Netns::new());
    outside.veth("peer", &inside, "wan", queues);
    outside.run("ip addr add 10.0.0.2/24 dev peer");
    inside.run("ip addr add 10.0.0.1/24 dev wan");
    let umem = umem();
    let peer = device(&outside, "peer");
    let sender = Socket::bind(&umem, &peer, 0, Options::default()).unwrap();
    let wan = device(&inside, "wan");
    let program = Program::attach(&wan).unwrap();
    program.set_filters(&[filter(wan.mac)]).unwrap();
    let socket = Socket::bind(&umem, &wan, 0, Options::default()).unwrap();
    program.register(0, &socket).unwrap();
    Gateway { outside, inside, program, socket, sender, umem, kernel_mac: wan.mac }
}

impl Gateway {
    fn send(&mut self, frames: &[Vec<u8>]) {
        send(&mut self.sender, self.umem.pool(), frames);
    }
}

#[test]
fn what_is_ours_is_redirected_and_the_rest_is_the_kernels() {
    let mut gateway = gateway(1, |_| OWN);
    assert_eq!(gateway.program.hook(), Hook::Driver);
    // Of VLAN 0xe0f.
    let vlan = frame(OWN.mac, 0x8100, 2, 60);
    let own_arp = arp_request(BROADCAST, Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 9));
    let other_arp = arp_request(BROADCAST, Ipv4Addr::new(10, 0, 0, 77), Ipv4Addr::new(10, 0, 0, 1));
    let last = frame(OWN.mac, IPV4, 3, 46);
    gateway.send(&[
        frame(gateway.kernel_mac, IPV4, 0, 46),
        frame(OWN.mac, IPV4, 1, 46),
        frame([1, 0, 0x5e, 0, 0, 1], IPV4, 1, 46),
        frame([0x33, 0x33, 0, 0, 0, 1], 0x86dd, 1, 60),
        frame(BROADCAST, IPV4, 1, 46),
        other_arp,
        own_arp.clone(),
        own_arp[..41].to_vec(),
        vlan.clone(),
        last.clone(),
    ]);
    let arrived = receive_copies(&mut gateway.socket, 4);
    assert!(arrived == [frame(OWN.mac, IPV4, 1, 46), own_arp, vlan, last]);
    assert_eq!(gateway.socket.statistics().rx_broadcast, 1);
    assert_eq!(gateway.sender.statistics().tx_broadcast, 4);
    assert_eq!(gateway.sender.statistics().tx_multicast, 2);

    // The request for the kernel's address reached the kernel, which noted who asked.
    eventually("the kernel learns the asker's address", || {
        gateway.inside.run("ip neigh show 10.0.0.77").contains("02:aa:00:00:00:01")
    });
    gateway.outside.run("ping -c 1 -W 15 10.0.0.1");
}

#[test]
fn until_addresses_are_set_everything_is_the_kernels() {
    let (outside, inside) = (Netns::new(), Netns::new());
    outside.veth("peer", &inside, "wan", 1);
    outside.run("ip addr add 10.0.0.2/24 dev peer");
    inside.run("ip addr add 10.0.0.1/24 dev wan");
    let umem = umem();
    let wan = device(&inside, "wan");
    let program = Program::attach(&wan).unwrap();
    let mut socket = Socket::bind(&umem, &wan, 0, Options::default()).unwrap();
    program.register(0, &socket).unwrap();
    outside.run("ping -c 1 -W 15 10.0.0.1");
    let mut batch = Batch::new();
    socket.receive(&mut batch);
    assert!(batch.is_empty());
}

#[test]
fn addresses_change_while_packets_flow() {
    let mut gateway = gateway(1, |_| OWN);
    let new = [2, 0xbb, 0, 0, 0, 10];
    let both = [frame(OWN.mac, IPV4, 1, 46), frame(new, IPV4, 2, 46)];
    gateway.send(&both);
    assert!(receive_copies(&mut gateway.socket, 1) == both[..1]);
    gateway.program.set_filters(&[Filter { mac: new, ..OWN }]).unwrap();
    gateway.send(&both);
    assert!(receive_copies(&mut gateway.socket, 1) == both[1..]);
}

#[test]
fn one_interface_may_have_the_addresses_of_many() {
    let mut gateway = gateway(1, |_| OWN);
    let most = Filter::MOST as u8;
    let own = |n: u8| Filter { mac: [2, 0xbb, 0, 0, 1, n], ipv4: Some(Ipv4Addr::new(10, 0, 1, n)), ..OWN };
    let filters: Vec<Filter> = (0..most).map(own).collect();
    gateway.program.set_filters(&filters).unwrap();
    let unicast = |n| frame(own(n).mac, IPV4, n.into(), 46);
    let question = |n| arp_request(BROADCAST, Ipv4Addr::new(10, 0, 0, 2), own(n).ipv4.unwrap());
    let ours: Vec<_> = (0..most).flat_map(|n| [unicast(n), question(n)]).collect();
    let others = [frame(OWN.mac, IPV4, 1, 46), unicast(most), question(most)];
    gateway.send(&[&others[..], &ours].concat());
    assert!(receive_copies(&mut gateway.socket, ours.len()) == ours);

    gateway.program.set_filters(&filters[1..2]).unwrap();
    gateway.send(&ours);
    assert!(receive_copies(&mut gateway.socket, 2) == ours[2..4]);

    let too_many: Vec<Filter> = (0..=most).map(own).collect();
    let error = gateway.program.set_filters(&too_many).unwrap_err().to_string();
    assert!(error.starts_with("interface wan: 17 pairs of MAC and IP address, 16 is the most"), "{error}");
}

/// A UDP datagram, or another packet with that much in it.
fn packet(mac: [u8; 6], destination: [u8; 4], protocol: u8, port: u16) -> Vec<u8> {
    let mut payload =
        [&4000u16.to_be_bytes()[..], &port.to_be_bytes(), &12u16.to_be_bytes(), &[0; 2]].concat();
    payload.extend(b"data");
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0xaa, 0, 0, 0, 1], mac)
        .ipv4([10, 0, 0, 2], destination, 64)
        .write(&mut frame, etherparse::IpNumber(protocol), &payload)
        .unwrap();
    frame
}

fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let tags =
        tags.iter().flat_map(|(protocol, control)| [protocol.to_be_bytes(), control.to_be_bytes()].concat());
    frame[..12].iter().copied().chain(tags).chain(frame[12..].iter().copied()).collect()
}

#[test]
fn private_packets_on_a_queue_without_a_socket_are_dropped_and_counted() {
    let mut gateway = gateway(2, filter);
    gateway.outside.enter();
    let peer = device(&gateway.outside, "peer");
    let mut second = Socket::bind(&gateway.umem, &peer, 1, Options::default()).unwrap();
    let own = gateway.kernel_mac;
    gateway.inside.enter();
    let listener = std::net::UdpSocket::bind("10.0.0.1:5000").unwrap();
    listener.set_nonblocking(true).unwrap();
    let to_us = packet(own, [10, 0, 0, 1], 17, 5000);
    let ipv6 = frame(own, 0x86dd, 1, 60);
    let dropped = [
        to_us.clone(),
        packet(own, [10, 0, 0, 77], 6, 5000),
        ipv6,
        // In a VLAN of the kernel, which may forward as well.
        tagged(&to_us, &[(0x8100, 5)]),
        tagged(&to_us, &[(0x8100, 0)]),
        frame(own, 0x8847, 1, 60),
    ];
    send(&mut second, gateway.umem.pool(), &dropped);
    let count = dropped.len() as u64;
    eventually("all are counted", || gateway.program.unserved().private == count);
    assert_eq!(gateway.program.unserved().public, 0);
    assert!(listener.recv(&mut [0; 64]).is_err(), "the kernel got one");
    // On the other queue they are the socket's, without priority tags.
    gateway.send(&dropped);
    let arrived = receive_copies(&mut gateway.socket, dropped.len());
    assert!(arrived[..4] == dropped[..4] && arrived[4] == to_us && arrived[5] == dropped[5]);
    assert_eq!(gateway.program.unserved().private, count);
}

#[test]
fn of_public_packets_the_kernel_gets_those_to_the_public_address_that_are_no_tunnels() {
    let own = Ipv4Addr::new(10, 0, 0, 1);
    let mut gateway = gateway(2, |mac| Filter { mac, side: Side::Public, ipv4: Some(own), ..OWN });
    let peer = device(&gateway.outside, "peer");
    let mut second = Socket::bind(&gateway.umem, &peer, 1, Options::default()).unwrap();
    let mac = gateway.kernel_mac;
    gateway.inside.enter();
    let sockets = [5000, 303, 4500].map(|port| {
        let socket = std::net::UdpSocket::bind((own, port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    });
    let mut fragment = packet(mac, own.octets(), 17, 5000);
    fragment[20] = 0x20;
    let stranger6 = [&mac[..], &[2; 6], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 59, 64], &[0xfd; 32]].concat();
    let dropped = [
        packet(mac, own.octets(), 50, 0),
        packet(mac, own.octets(), 17, 303),
        packet(mac, own.octets(), 17, 4500),
        fragment,
        packet(mac, [10, 9, 9, 9], 17, 5000),
        tagged(&packet(mac, own.octets(), 17, 5000), &[(0x8100, 5)]),
        stranger6,
    ];
    send(&mut second, gateway.umem.pool(), &dropped);
    let passed =
        [packet(mac, own.octets(), 17, 5000), tagged(&packet(mac, own.octets(), 17, 5000), &[(0x8100, 0)])];
    send(&mut second, gateway.umem.pool(), &passed);
    for _ in 0..passed.len() {
        eventually("the kernel gets it", || sockets[0].recv(&mut [0; 64]).is_ok());
    }
    assert_eq!(gateway.program.unserved(), Unserved { private: 0, public: dropped.len() as u64 });
    assert!(sockets.iter().all(|socket| socket.recv(&mut [0; 64]).is_err()));
    // With a socket all are the gateway's.
    gateway.send(&passed);
    assert!(receive_copies(&mut gateway.socket, 2)[0] == passed[0]);
}

#[test]
fn tags_in_the_packet_are_taken_off_if_they_name_no_vlan() {
    let mut gateway = gateway(1, |_| OWN);
    let plain = packet(OWN.mac, [10, 7, 7, 7], 17, 5000);
    let question = arp_request(BROADCAST, Ipv4Addr::new(10, 0, 0, 2), OWN.ipv4.unwrap());
    let kept = [
        tagged(&plain, &[(0x8100, 5)]),
        tagged(&plain, &[(0x8100, 0), (0x8100, 5)]),
        tagged(&plain, &[(0x88a8, 5), (0x8100, 0)]),
        plain.clone(),
    ];
    let stripped = [
        tagged(&plain, &[(0x8100, 0)]),
        tagged(&plain, &[(0x8100, 0xe000)]),
        tagged(&plain, &[(0x88a8, 0), (0x8100, 0x6000)]),
        tagged(&question, &[(0x8100, 0)]),
    ];
    gateway.send(&[&stripped[..], &kept].concat());
    let arrived = receive_copies(&mut gateway.socket, 8);
    assert!(arrived[..4] == [plain.clone(), plain.clone(), plain, question]);
    assert!(arrived[4] == kept[0] && arrived[6..] == kept[2..]);
    // The outer one is gone, the VLAN is still seen.
    assert_eq!(arrived[5][12..16], [0x81, 0, 0, 5]);
}

/// Gives what the kernel of the other end sends a tag beside the packet.
fn push_tags(gateway: &Gateway, protocol: u16, control: u16) {
    let directory = tempfile::tempdir().unwrap();
    let object = directory.path().join("push_tag.o");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/push_tag.bpf.c");
    let mut clang = std::process::Command::new("clang");
    clang.args(["-O2", "-target", "bpf", "-c", source, "-o"]).arg(&object);
    clang.args([format!("-DPROTOCOL={protocol}"), format!("-DCONTROL={control}")]);
    assert!(clang.status().expect("clang is installed").success());
    let _ = gateway.outside.try_run("tc qdisc del dev peer clsact");
    gateway.outside.run("tc qdisc add dev peer clsact");
    gateway.outside.run(&format!("tc filter add dev peer egress bpf da obj {} sec tc", object.display()));
}

#[test]
fn tags_beside_the_packet_are_put_back_if_they_name_a_vlan() {
    let mut gateway = gateway(1, |_| OWN);
    assert!(gateway.program.sees_tags(), "veth tells of tags");
    gateway.outside.run("ip neigh replace 10.0.0.9 lladdr 02:bb:00:00:00:09 nud permanent dev peer");
    gateway.outside.enter();
    let sender = std::net::UdpSocket::bind("10.0.0.2:0").unwrap();
    for (protocol, control, tag) in [
        (0x8100, 0x2005, Some([0x81, 0x00, 0x20, 0x05])),
        (0x88a8, 0x0fff, Some([0x88, 0xa8, 0x0f, 0xff])),
        (0x8100, 0xe000, None),
    ] {
        push_tags(&gateway, protocol, control);
        sender.send_to(b"tagged", "10.0.0.9:5000").unwrap();
        let frame = receive_copies(&mut gateway.socket, 1).remove(0);
        assert_eq!(frame[..6], OWN.mac);
        let untagged = match tag {
            Some(tag) => {
                assert_eq!(frame[12..16], tag);
                &frame[16..]
            }
            None => &frame[12..],
        };
        assert_eq!(untagged[..3], [0x08, 0x00, 0x45], "{frame:02x?}");
        assert!(frame.ends_with(b"tagged"));
    }
}

#[test]
fn questions_on_a_queue_without_a_socket_are_the_kernels() {
    let mut gateway = gateway(2, filter);
    // On veth a frame arrives on the queue it was sent from.
    let peer = device(&gateway.outside, "peer");
    let mut second = Socket::bind(&gateway.umem, &peer, 1, Options::default()).unwrap();
    let request = |n| arp_request(gateway.kernel_mac, Ipv4Addr::new(10, 0, 0, n), Ipv4Addr::new(10, 0, 0, 1));
    let (first_asks, second_asks) = (request(70), request(71));
    gateway.send(std::slice::from_ref(&first_asks));
    assert!(receive_copies(&mut gateway.socket, 1) == [first_asks]);
    send(&mut second, gateway.umem.pool(), &[second_asks]);
    eventually("the kernel sees the request on queue 1", || {
        gateway.inside.run("ip neigh show 10.0.0.71").contains("02:aa:00:00:00:01")
    });
    assert!(!gateway.inside.run("ip neigh").contains("10.0.0.70"));
}

#[test]
fn an_interface_may_go_down_and_come_back() {
    let mut gateway = gateway(1, |_| OWN);
    gateway.outside.run("ip link set dev peer down");
    let frames = [frame(OWN.mac, IPV4, 1, 46)];
    let mut batch: Batch = frames.iter().map(|f| gateway.umem.pool().copy_of(f).unwrap()).collect();
    gateway.sender.transmit(&mut batch);
    gateway.sender.flush();
    assert_eq!(gateway.sender.statistics().tx_errors, 1);
    gateway.outside.run("ip link set dev peer up");
    settle(&mut gateway.sender, gateway.umem.pool());
    gateway.send(&frames);
    let arrived = receive(&mut gateway.socket, 2);
    assert!(arrived.iter().all(|frame| frame.data() == frames[0]));
}

#[test]
fn what_the_ring_cannot_hold_is_dropped_and_counted() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("one", &right, "two", 1);
    let umem = Umem::new(std::rc::Rc::new(Pool::new(64).unwrap()));
    let one = device(&left, "one");
    let mut socket = Socket::bind(&umem, &one, 0, Options::default()).unwrap();
    let pool = umem.pool();
    // Of 64 chunks, a quarter is for receiving and a little less for sending.
    assert_eq!(pool.available(), 48);
    let mut batch: Batch = (0..40).map(|n| pool.copy_of(&frame(one.mac, IPV4, n, 46)).unwrap()).collect();
    batch.push(pool.take().unwrap());
    socket.transmit(&mut batch);
    assert_eq!((socket.statistics().tx_packets, socket.statistics().tx_dropped), (12, 29));
    assert_eq!(pool.available(), 36);
    settle(&mut socket, pool);
    assert_eq!(pool.available(), 48);
}

#[test]
fn a_worker_that_falls_behind_loses_frames_and_no_chunks() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("one", &right, "two", 1);
    let (umem1, umem2) = (umem(), umem());
    let (_, _program1, mut sender) = attach(&left, "one", &umem1);
    let (device2, _program2, mut slow) = attach(&right, "two", &umem2);
    let frames: Vec<Vec<u8>> = (0..POSTED + 100).map(|n| frame(device2.mac, IPV4, n, 46)).collect();
    send(&mut sender, umem1.pool(), &frames);
    eventually("the kernel counts what it could not deliver", || {
        slow.kernel_statistics().unwrap().fill_empty == 100
    });
    assert!(receive_copies(&mut slow, POSTED) == frames[..POSTED]);
    send(&mut sender, umem1.pool(), &frames[..10]);
    assert!(receive_copies(&mut slow, 10) == frames[..10]);
    assert!(umem2.pool().available() >= CHUNKS as usize - POSTED, "no chunk was lost");
}

#[test]
fn one_queue_has_one_socket_and_is_free_again_after_it() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("one", &right, "two", 1);
    let one = device(&left, "one");
    let hasty = Options { patience: Duration::ZERO, ..Options::default() };
    let shared = umem();
    let socket = Socket::bind(&shared, &one, 0, Options::default()).unwrap();
    for umem in [&shared, &umem()] {
        let error = Socket::bind(umem, &one, 0, hasty).err().unwrap();
        assert!(matches!(error, BindError::Busy { queue: 0, .. }), "{error}");
        assert!(error.to_string().starts_with("queue 1 of interface one is in use"));
    }
    assert_eq!(shared.pool().available(), CHUNKS as usize - POSTED, "failing costs no chunk");
    drop(socket);
    for _ in 0..3 {
        let umem = umem();
        drop(Socket::bind(&umem, &one, 0, Options::default()).unwrap());
    }
    let error = Socket::bind(&umem(), &one, 5, hasty).err().unwrap();
    assert!(error.to_string().contains("ethtool --show-channels one"), "{error}");
}

#[test]
fn memory_outlives_the_socket_that_registered_it() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("one", &right, "two", 2);
    let umem = umem();
    let (device2, program2, registrar) = attach(&right, "two", &umem);
    let one = device(&left, "one");
    let mut sharer = Socket::bind(&umem, &one, 0, Options::default()).unwrap();
    drop(registrar);

    let unshared = Options { zero_copy: false, ..Options::default() };
    right.enter();
    let mut receiver = Socket::bind(&umem, &device2, 0, unshared).unwrap();
    program2.register(0, &receiver).unwrap();
    let frames = [frame(device2.mac, IPV4, 1, 46)];
    send(&mut sharer, umem.pool(), &frames);
    assert!(receive_copies(&mut receiver, 1) == frames);
}

#[test]
fn busy_polling_can_be_switched_and_frames_still_arrive() {
    let mut gateway = gateway(1, |_| OWN);
    for enable in [true, false] {
        gateway.socket.busy_poll(enable).unwrap();
        gateway.sender.busy_poll(enable).unwrap();
        let frames: Vec<Vec<u8>> = (0..BATCH).map(|n| frame(OWN.mac, IPV4, n, 46)).collect();
        gateway.send(&frames);
        assert!(receive_copies(&mut gateway.socket, BATCH) == frames);
    }
}
