// SPDX-License-Identifier: Apache-2.0
//! One gateway in a street: a generator sends it all it can, a sink takes what it sends on.

use crate::netns::Netns;
use crate::plain::{self, Plain, Side};
use crate::thread::{self, Used};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vita::count::Counters;
use vita::device::Attachment;
use vita::esp::OutboundSa;
use vita::frame::{BATCH, Batch, Frame, Pool, Port};
use vita::graph::{Graph, Interface, InterfaceAddress, Plan};
use vita::route::{PeerNumber, PrefixTable, SpiTable};
use vita::sa::{Key, SaParameters};
use vita::stage::{ResolvedMac, Tunnel};
use vita::wait::EventFd;
use vita::wire::Mac;
use vita::wire::ethernet::{self, ETHERTYPE_IPV4};
use vita::wire::ipv4;
use vita::worker::{Command, Worker, WorkerPlacement};
use vita::xdp::{Device, Filter, Options, Program, Socket, Umem};

pub struct Street {
    near: Netns,
    middle: Netns,
    far: Netns,
    /// Of the generator, of the gateway towards it and away from it, and of the sink.
    macs: [[u8; 6]; 4],
}

/// Which frames are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// 64 with the frame check sequence that veth has not.
    Small,
    Imix,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    No,
    Yes,
}

/// What one run has shown of the gateway.
pub struct Lap {
    pub packets_per_second: f64,
    pub packets_per_cpu_second: f64,
    /// User time of a packet.
    pub user_ns: f64,
    /// Part of the time that its thread has run.
    pub busy: f64,
}

impl Street {
    pub fn new() -> Street {
        let (near, middle, far) = (Netns::new(), Netns::new(), Netns::new());
        near.veth("out", &middle, "lan", 1);
        middle.veth("wan", &far, "in", 1);
        let ends = [(&near, "out"), (&middle, "lan"), (&middle, "wan"), (&far, "in")];
        // What is sealed is longer than what was sent.
        ends.iter().for_each(|(netns, end)| drop(netns.run(&format!("ip link set dev {end} mtu {MTU}"))));
        let macs = ends.map(|(netns, end)| inside(netns, || inspect(end).mac));
        Street { near, middle, far, macs }
    }

    /// Sends for a second, after a start that does not count.
    pub fn run(&self, mix: Mix, sealed: Sealed) -> Lap {
        let stop = AtomicBool::new(false);
        let [generator, inner, outer, sink] = self.macs;
        std::thread::scope(|scope| {
            scope.spawn(|| drain(&self.far, &stop));
            let lap = match sealed {
                Sealed::No => {
                    let sides = [
                        Side { device: "lan", neighbour: generator },
                        Side { device: "wan", neighbour: sink },
                    ];
                    let plain = Plain::start(&self.middle, sides, cpu_of_gateway());
                    scope.spawn(|| generate(&self.near, mix, inner, &stop));
                    watch(plain::NAME, || plain.forwarded.load(Ordering::Relaxed))
                }
                Sealed::Yes => {
                    let (worker, counters, _programs) =
                        inside(&self.middle, || start_worker(plan([inner, generator], [outer, sink])));
                    scope.spawn(|| generate(&self.near, mix, inner, &stop));
                    let lap = watch(WORKER, || counters.public_interface.txpackets.value());
                    drop(worker);
                    lap
                }
            };
            stop.store(true, Ordering::Relaxed);
            lap
        })
    }
}

/// What the graph alone takes for a packet, in memory: outbound, as the gateway of the street works.
pub fn loop_ns(mix: Mix) -> f64 {
    let pool = Rc::new(Pool::new(4 * BATCH as u32).expect("memory for a few batches"));
    let aead = vita::aead::preferred();
    let mac = [2, 0, 0, 0, 0, 1];
    let mut graph = Graph::new(pool.clone(), Arc::default(), aead, plan([mac; 2], [mac; 2]));
    graph.activate(PeerNumber(0), Some(Box::new(OutboundSa::new(&keys(), aead))));
    let (mut private, mut public) = (Lane::default(), Lane::default());
    let mut mill = Mill::new(mix, mac);
    let (start, mut spent, mut packets) = (Instant::now(), Duration::ZERO, 0);
    while start.elapsed() < LOOP {
        for _ in 0..BATCH {
            private.arriving.extend(mill.next(&pool));
        }
        let now_ns = start.elapsed().as_nanos() as u64;
        let begin = Instant::now();
        graph.outbound(now_ns, &mut private, &mut public);
        spent += begin.elapsed();
        packets += public.leaving.len();
        public.leaving.clear();
    }
    spent.as_nanos() as f64 / packets as f64
}

/// Reads the clocks around a second of work.
fn watch(name: &str, packets: impl Fn() -> u64) -> Lap {
    std::thread::sleep(WARM_UP);
    let look = || (Instant::now(), packets(), thread::of_thread(name));
    let (begin, first, used): (_, _, Used) = look();
    std::thread::sleep(ROUND);
    let (end, last, used_then) = look();
    let seconds = (end - begin).as_secs_f64();
    let packets = (last - first).max(1) as f64;
    let all = (used_then.all - used.all).as_secs_f64();
    Lap {
        packets_per_second: packets / seconds,
        packets_per_cpu_second: packets / all,
        user_ns: (used_then.user - used.user).as_nanos() as f64 / packets,
        busy: all / seconds,
    }
}

/// All that one thread can send, in batches.
fn generate(netns: &Netns, mix: Mix, to: [u8; 6], stop: &AtomicBool) {
    netns.enter();
    plain::pin(cpu_of_others());
    let pool = Rc::new(Pool::new(GENERATOR_CHUNKS).expect("memory for the packets"));
    let umem = Umem::new(pool.clone());
    let mut socket = Socket::bind(&umem, &inspect("out"), 0, Options::default()).expect("the queue is free");
    let mut mill = Mill::new(mix, to);
    while !stop.load(Ordering::Relaxed) {
        let mut batch: Batch = (0..BATCH).map_while(|_| mill.next(&pool)).collect();
        socket.transmit(&mut batch);
        socket.flush();
        socket.complete();
    }
}

/// Takes everything that comes, and sleeps when nothing does.
fn drain(netns: &Netns, stop: &AtomicBool) {
    netns.enter();
    plain::pin(cpu_of_others());
    let umem = Umem::new(Rc::new(Pool::new(Umem::CHUNKS).expect("memory for the packets")));
    let (mut socket, _program) = plain::attach(&umem, &inspect("in"));
    while !stop.load(Ordering::Relaxed) {
        let mut batch = Batch::new();
        socket.receive(&mut batch);
        if batch.is_empty() {
            plain::wait(socket.fd());
            // Time for some to gather: the sink's CPU is also the generator's.
            std::thread::sleep(GATHER);
        }
    }
}

/// The daemon's worker, between the two devices of the namespace that the calling thread is in.
fn start_worker(plan: Plan) -> (Worker, Arc<Counters>, Vec<Program>) {
    let counters = Arc::new(Counters::default());
    let [private, public] =
        ["lan", "wan"].map(|device| Some(Attachment { device: inspect(device), queue: 0 }));
    let placement = WorkerPlacement {
        queue: 1,
        private,
        public,
        cpu: cpu_of_gateway(),
        busywait: false,
        realtime: false,
    };
    let programs: Vec<Program> = [&placement.private, &placement.public]
        .into_iter()
        .flatten()
        .map(|Attachment { device, .. }| {
            let program = Program::attach(device).expect("the program can be attached");
            let filter = Filter {
                mac: device.mac,
                side: vita::count::Side::Private,
                ipv4: None,
                ipv6: None,
                exchange_port: 303,
            };
            program.set_filters(&[filter]).expect("one filter fits the program");
            program
        })
        .collect();
    let wakeup = Arc::new(EventFd::new().expect("a descriptor is free"));
    let mut worker = Worker::start(placement, plan, counters.clone(), wakeup, Duration::from_secs(3))
        .expect("the worker starts");
    for (program, bound) in programs.iter().zip([&worker.private, &worker.public]) {
        let socket = &bound.as_ref().expect("both devices are there").socket;
        program.register(0, socket).expect("the queue has a place in the program");
    }
    let sa = OutboundSa::new(&keys(), vita::aead::preferred());
    worker.command(Command::Activate { peer: PeerNumber(0), sa: Some(Box::new(sa)) });
    worker.begin();
    (worker, counters, programs)
}

/// Own and next hop's MAC of each side.
fn plan(private: [[u8; 6]; 2], public: [[u8; 6]; 2]) -> Plan {
    let interface = |[own, next]: [[u8; 6]; 2], ip: [u8; 4], next_hop_ip: [u8; 4]| Interface {
        mac: Mac(own),
        v4: Some(InterfaceAddress {
            ip: ip.into(),
            next_hop_ip: next_hop_ip.into(),
            next_hop_mac: Some(Mac(next)),
            next_hop: Arc::new(ResolvedMac::default()),
            asks: false,
        }),
        v6: None,
    };
    let [source, destination] = [[192, 0, 2, 1], [192, 0, 2, 2]];
    let tunnel = Tunnel::new(source.into(), destination.into(), TUNNEL_MTU, false);
    Plan {
        private: interface(private, [10, 0, 0, 1], [10, 0, 0, 2]),
        public: interface(public, source, destination),
        protocol_port: 303,
        key_exchange: true,
        table: Arc::new(PrefixTable::build([("10.1.0.0/16".parse().expect("a prefix"), 0)])),
        check_inner_source: true,
        fragment_inner: true,
        mss_clamp: true,
        active_peers: vec![PeerNumber(0)],
        tunnels: vec![tunnel],
        associations: Some(SpiTable::with_capacity(4)),
        peers: SpiTable::with_capacity(0),
        handoff: Default::default(),
    }
}

fn keys() -> SaParameters {
    SaParameters { spi: 256, key: Key::Aes128Gcm([7; 16]), salt: [9; 4] }
}

/// Makes the frames of a mix, one after the other.
struct Mill {
    headers: Vec<(usize, [u8; HEADERS])>,
    next: usize,
}

impl Mill {
    fn new(mix: Mix, to: [u8; 6]) -> Mill {
        Mill { headers: mix.sizes().iter().map(|size| (*size, headers(*size, to))).collect(), next: 0 }
    }

    /// What follows the headers is whatever the chunk held before.
    fn next(&mut self, pool: &Pool) -> Option<Frame> {
        let (size, headers) = &self.headers[self.next];
        let mut frame = pool.take()?;
        frame.append(*size)?[..HEADERS].copy_from_slice(headers);
        self.next = (self.next + 1) % self.headers.len();
        Some(frame)
    }
}

fn headers(size: usize, to: [u8; 6]) -> [u8; HEADERS] {
    let mut bytes = [0; HEADERS];
    let (front, packet) = bytes.split_at_mut(ethernet::HEADER);
    let header =
        ethernet::Header { destination: Mac(to), source: Mac([2, 0, 0, 0, 0, 9]), ethertype: ETHERTYPE_IPV4 };
    header.write(front.first_chunk_mut().expect("14 bytes"));
    let header = ipv4::Header {
        tos: 0,
        id: 0,
        dont_fragment: true,
        ttl: 64,
        protocol: 17,
        source: [10, 0, 0, 2].into(),
        destination: [10, 1, 0, 2].into(),
        payload_len: (size - HEADERS) as u16,
    };
    header.write(packet.first_chunk_mut().expect("20 bytes"));
    bytes
}

/// A port of memory.
#[derive(Default)]
struct Lane {
    arriving: VecDeque<Frame>,
    leaving: Vec<Frame>,
}

impl Port for Lane {
    fn receive(&mut self, into: &mut Batch) {
        into.extend(self.arriving.drain(..));
    }

    fn transmit(&mut self, from: &mut Batch) {
        self.leaving.extend(from.drain(..));
    }

    fn flush(&mut self) {}
}

impl Mix {
    pub const ALL: [Mix; 2] = [Mix::Small, Mix::Imix];

    pub fn name(self) -> &'static str {
        match self {
            Mix::Small => "60 B",
            Mix::Imix => "IMIX",
        }
    }

    fn sizes(self) -> &'static [usize] {
        match self {
            Mix::Small => &[60],
            // Seven small, four medium, one large, mixed as they would arrive.
            Mix::Imix => &[54, 590, 54, 54, 590, 54, 1514, 54, 590, 54, 590, 54],
        }
    }
}

impl Sealed {
    pub fn name(self) -> &'static str {
        match self {
            Sealed::No => "plain",
            Sealed::Yes => "sealed",
        }
    }
}

/// Does something in a namespace, on a thread of its own.
fn inside<T: Send>(netns: &Netns, what: impl FnOnce() -> T + Send) -> T {
    let there = || {
        netns.enter();
        what()
    };
    std::thread::scope(|scope| scope.spawn(there).join()).expect("root may enter a namespace it made")
}

fn inspect(device: &str) -> Device {
    Device::inspect(device).expect("the device is there")
}

/// The gateway has a CPU of its own; generator and sink share another, if there is one.
fn cpu_of_gateway() -> Option<usize> {
    (cpus() > 1).then_some(1)
}

fn cpu_of_others() -> Option<usize> {
    (cpus() > 1).then_some(0)
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

const WORKER: &str = "vita-queue1";
const HEADERS: usize = ethernet::HEADER + ipv4::HEADER;
const MTU: u16 = 1700;
const TUNNEL_MTU: u16 = 1500;
const GENERATOR_CHUNKS: u32 = 1024;
const GATHER: Duration = Duration::from_micros(200);
const WARM_UP: Duration = Duration::from_millis(200);
const ROUND: Duration = Duration::from_millis(1000);
const LOOP: Duration = Duration::from_millis(100);
