// SPDX-License-Identifier: Apache-2.0
//! A queue of an interface in a namespace, with everything that a gateway puts there, and ways to drive it.

use super::netns::Netns;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use vita::count::Side;
use vita::frame::{BATCH, Batch, Frame, Pool, Port};
use vita::xdp::{Device, Filter, Options, Program, Socket, Umem};

/// Chunks of a test's memory: few, so that a leak of some shows.
pub const CHUNKS: u32 = 1024;

/// Of these, posted on the fill ring by each socket.
pub const POSTED: usize = CHUNKS as usize / 4;

pub fn umem() -> Umem {
    Umem::new(Rc::new(Pool::new(CHUNKS).unwrap()))
}

/// The interface as the thread sees it, after entering the namespace.
pub fn device(netns: &Netns, interface: &str) -> Device {
    netns.enter();
    Device::inspect(interface).unwrap()
}

/// A private MAC address without IP addresses.
pub fn filter(mac: [u8; 6]) -> Filter {
    Filter { mac, side: Side::Private, ipv4: None, ipv6: None, exchange_port: 303 }
}

/// A program on the interface that takes frames to its own MAC, and a socket on queue 0.
pub fn attach(netns: &Netns, interface: &str, umem: &Umem) -> (Device, Program, Socket) {
    let device = device(netns, interface);
    device.check(0).unwrap();
    let program = Program::attach(&device).unwrap();
    program.set_filters(&[filter(device.mac)]).unwrap();
    let socket = Socket::bind(umem, &device, 0, Options::default()).unwrap();
    program.register(0, &socket).unwrap();
    (device, program, socket)
}

/// Ethernet with a made-up payload of `len` bytes that differs with `number`.
pub fn frame(destination: [u8; 6], ethertype: u16, number: usize, len: usize) -> Vec<u8> {
    let mut bytes = destination.to_vec();
    bytes.extend([2, 0xaa, 0, 0, 0, 1]);
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend((0..len).map(|n| (n + 7 * number) as u8));
    bytes
}

/// An ARP request, as 42 bytes without padding.
pub fn arp_request(destination: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut bytes = frame(destination, 0x0806, 0, 0);
    bytes.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend([2, 0xaa, 0, 0, 0, 1]);
    bytes.extend(sender.octets());
    bytes.extend([0; 6]);
    bytes.extend(target.octets());
    bytes
}

/// Sends everything and waits until the kernel has given all chunks back.
pub fn send(socket: &mut Socket, pool: &Pool, frames: &[Vec<u8>]) {
    let sent = socket.statistics().tx_packets + frames.len() as u64;
    for some in frames.chunks(BATCH) {
        let mut batch: Batch = some.iter().map(|bytes| pool.copy_of(bytes).unwrap()).collect();
        socket.transmit(&mut batch);
        assert!(batch.is_empty());
        settle(socket, pool);
    }
    assert_eq!(socket.statistics().tx_packets, sent, "no frame was dropped on the way to the ring");
}

/// Flushes until nothing is in flight.
pub fn settle(socket: &mut Socket, pool: &Pool) {
    eventually("the kernel sends and completes what it was given", || {
        socket.flush();
        socket.complete();
        socket.unsent() == 0 && socket.in_flight() == 0 && pool.available() > 0
    });
}

/// Receives until there are `count` frames.
pub fn receive(socket: &mut Socket, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    eventually(&format!("{count} frames arrive"), || {
        let mut batch = Batch::new();
        socket.receive(&mut batch);
        frames.extend(batch);
        frames.len() >= count
    });
    assert_eq!(frames.len(), count);
    frames
}

/// As [`receive`], as copies: the chunks are free again.
pub fn receive_copies(socket: &mut Socket, count: usize) -> Vec<Vec<u8>> {
    receive(socket, count).iter().map(|frame| frame.data().to_vec()).collect()
}

/// Waits for something that must happen. The limit is far beyond what a loaded machine takes.
pub fn eventually(what: &str, mut happens: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !happens() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}
