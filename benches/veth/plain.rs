// SPDX-License-Identifier: Apache-2.0
//! Forwarding with nothing in between: what a worker does with its sockets, without a graph. Frames get new Ethernet
//! addresses and leave on the other side.

use crate::netns::Netns;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use vita::frame::{Batch, Pool, Port};
use vita::wait::{poll, readable};
use vita::xdp::{Device, Filter, Options, Program, Socket, Umem};

/// A thread that forwards between two devices until it is dropped.
pub struct Plain {
    pub forwarded: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A device, and who is at the other end of its cable.
#[derive(Clone, Copy)]
pub struct Side {
    pub device: &'static str,
    pub neighbour: [u8; 6],
}

impl Plain {
    pub fn start(netns: &Netns, sides: [Side; 2], cpu: Option<usize>) -> Plain {
        let (forwarded, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (ready, is_ready) = mpsc::channel();
        let (count, stopped) = (forwarded.clone(), stop.clone());
        let thread = std::thread::scope(|scope| {
            // A thread that enters a namespace stays there, and its children with it.
            let inside = scope.spawn(|| {
                netns.enter();
                std::thread::Builder::new()
                    .name(NAME.to_string())
                    .spawn(move || {
                        pin(cpu);
                        let mut lane = Lane::open(sides);
                        ready.send(()).expect("the starter waits");
                        while !stopped.load(Ordering::Relaxed) {
                            let work = lane.pass();
                            count.store(lane.sent(), Ordering::Relaxed);
                            if work == 0 {
                                lane.sleep();
                            }
                        }
                    })
                    .expect("a thread can be made")
            });
            inside.join().expect("root may enter a namespace it made")
        });
        is_ready.recv().expect("the sockets can be bound");
        Plain { forwarded, stop, thread: Some(thread) }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the forwarder does not panic");
        }
    }
}

struct Lane {
    sides: [Side; 2],
    devices: [Device; 2],
    sockets: [Socket; 2],
    _programs: [Program; 2],
}

impl Lane {
    fn open(sides: [Side; 2]) -> Lane {
        let umem = Umem::new(Rc::new(Pool::new(Umem::CHUNKS).expect("memory for the packets")));
        let devices = sides.map(|side| Device::inspect(side.device).expect("the device is there"));
        let [(a, pa), (b, pb)] = [&devices[0], &devices[1]].map(|device| attach(&umem, device));
        Lane { sides, devices, sockets: [a, b], _programs: [pa, pb] }
    }

    /// As the worker: receive, do, hand over, and one look at the end whether the kernel must be told.
    fn pass(&mut self) -> usize {
        let mut work = 0;
        for from in 0..2 {
            let to = 1 - from;
            let mut batch = Batch::new();
            self.sockets[from].receive(&mut batch);
            work += batch.len();
            for frame in batch.iter_mut() {
                if let Some(addresses) = frame.data_mut().first_chunk_mut::<12>() {
                    addresses[..6].copy_from_slice(&self.sides[to].neighbour);
                    addresses[6..].copy_from_slice(&self.devices[to].mac);
                }
            }
            self.sockets[to].transmit(&mut batch);
        }
        self.sockets.iter_mut().for_each(Port::flush);
        work
    }

    fn sent(&self) -> u64 {
        self.sockets.iter().map(|socket| socket.statistics().tx_packets).sum()
    }

    fn sleep(&self) {
        let mut fds = self.sockets.each_ref().map(|socket| readable(socket.fd()));
        let _ = poll(&mut fds, Some(LOOK_UP));
    }
}

/// A program that takes what is for the device's own MAC, and the socket it takes it to.
pub fn attach(umem: &Umem, device: &Device) -> (Socket, Program) {
    let program = Program::attach(device).expect("the program can be attached");
    program
        .set_filters(&[Filter {
            mac: device.mac,
            side: vita::count::Side::Private,
            ipv4: None,
            ipv6: None,
            exchange_port: 303,
        }])
        .expect("one filter fits the program");
    let socket = Socket::bind(umem, device, 0, Options::default()).expect("the queue is free");
    program.register(0, &socket).expect("the queue has a place in the program");
    (socket, program)
}

/// On this CPU from now on.
pub fn pin(cpu: Option<usize>) {
    if let Some(id) = cpu {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
}

/// Sleeps until one of the sockets has something.
pub fn wait(fd: RawFd) {
    let _ = poll(&mut [readable(fd)], Some(LOOK_UP));
}

pub const NAME: &str = "plain";
/// How soon a thread sees that it is to stop.
const LOOK_UP: Duration = Duration::from_millis(50);
