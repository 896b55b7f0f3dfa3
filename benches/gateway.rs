// SPDX-License-Identifier: Apache-2.0
//! How many packets one core carries: each goes outbound (dispatch, TTL, route, seal, outer headers) and at once
//! inbound (dispatch, SPI, replay check, open, TTL, next hop), through the graph that a worker runs, in memory.
//!
//! A packet counts once for both ways. Rates are medians over rounds that interleave all frame sizes, so that a
//! machine that changes its speed does so for all of them. Gbit/s counts 24 bytes per frame on top (preamble,
//! frame check sequence, gap).

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vita::count::Counters;
use vita::esp::{InboundSa, OutboundSa, Parameters};
use vita::frame::{BATCH, Batch, Frame, Pool, Port};
use vita::graph::{Face, Graph, Interface, Plan};
use vita::route::{PrefixTable, SpiTable};
use vita::stage::{Inbound, Resolved, Tunnel};
use vita::wire::Mac;
use vita::wire::ethernet::{self, ETHERTYPE_IPV4};
use vita::wire::ipv4;

fn main() {
    let mixes: [(&str, Vec<usize>); 6] = [
        ("60 B", vec![60]),
        ("64 B", vec![64]),
        ("512 B", vec![512]),
        ("1024 B", vec![1024]),
        ("1400 B", vec![1400]),
        // Seven small, four medium, one large, mixed as they would arrive.
        ("IMIX", vec![54, 590, 54, 54, 590, 54, 1514, 54, 590, 54, 590, 54]),
    ];
    let mut loops: Vec<_> = mixes.iter().map(|(name, sizes)| (*name, Loop::new(sizes), Vec::new())).collect();
    for (_, lap, _) in &mut loops {
        lap.run(WARM_UP);
    }
    for _ in 0..ROUNDS {
        for (_, lap, rates) in &mut loops {
            rates.push(lap.run(ROUND));
        }
    }
    println!("{:>8} {:>8} {:>8} {:>11}", "frames", "Mpps", "Gbit/s", "ns/packet");
    for (name, lap, mut rates) in loops {
        rates.sort_by(f64::total_cmp);
        let rate = rates[rates.len() / 2];
        let gigabits = rate * (lap.mean_size + WIRE_OVERHEAD) * 8.0 / 1e9;
        println!("{name:>8} {:>8.2} {gigabits:>8.2} {:>11.1}", rate / 1e6, 1e9 / rate);
    }
    println!("AEAD: {}; one core, both ways, median of {ROUNDS} rounds", vita::aead::preferred().name());
}

/// A gateway whose tunnel ends at itself, and a batch of frames that goes round and round.
struct Loop {
    graph: Graph,
    counters: Arc<Counters>,
    frames: Batch,
    mean_size: f64,
}

impl Loop {
    fn new(sizes: &[usize]) -> Loop {
        let pool = Rc::new(Pool::new(4 * BATCH as u32).expect("memory for a few hundred frames"));
        let frames: Batch =
            (0..BATCH).map(|i| pool.copy_of(&frame(sizes[i % sizes.len()])).expect("a free chunk")).collect();
        let mean_size = frames.iter().map(Frame::len).sum::<usize>() as f64 / frames.len() as f64;
        let counters = Arc::new(Counters::default());
        let aead = vita::aead::preferred();
        let mut graph = Graph::new(pool, counters.clone(), aead, plan());
        let keys = Parameters { spi: 256, key: [7; 16].into(), salt: [9; 4] };
        graph.activate(0, Some(Box::new(OutboundSa::new(&keys, aead))));
        let inbound = Inbound {
            sa: InboundSa::new(&keys, aead),
            route: 0,
            count: Arc::default(),
            told: Arc::default(),
        };
        graph.install(Box::new(inbound));
        Loop { graph, counters, frames, mean_size }
    }

    /// Packets per second over this time.
    fn run(&mut self, time: Duration) -> f64 {
        let (mut private, mut public) = (Lane::default(), Lane::default());
        let start = Instant::now();
        let mut packets = 0;
        let elapsed = loop {
            let now_ns = start.elapsed().as_nanos() as u64;
            if now_ns >= time.as_nanos() as u64 {
                break now_ns;
            }
            private.arriving.extend(self.frames.drain(..).map(rejuvenated));
            self.graph.outbound(now_ns, &mut private, &mut public);
            std::mem::swap(&mut public.arriving, &mut public.leaving);
            self.graph.inbound(now_ns, &mut private, &mut public, |_| false);
            self.frames.extend(private.leaving.drain(..));
            packets += self.frames.len();
        };
        assert_eq!(self.frames.len(), BATCH, "no frame may get lost: {:?}", self.counters);
        packets as f64 * 1e9 / elapsed as f64
    }
}

/// A port of which what left is handed on by the caller.
#[derive(Default)]
struct Lane {
    arriving: VecDeque<Frame>,
    leaving: VecDeque<Frame>,
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

fn plan() -> Plan {
    let interface = |ip: [u8; 4]| Interface {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        v4: Some(Face {
            ip: ip.into(),
            next_hop_ip: [192, 0, 2, 254].into(),
            next_hop_mac: Some(Mac([2, 0, 0, 0, 0, 2])),
            next_hop: Arc::new(Resolved::default()),
            asks: false,
        }),
        v6: None,
    };
    let public = [192, 0, 2, 1];
    Plan {
        private: interface([10, 0, 0, 1]),
        public: interface(public),
        protocol_port: 303,
        key_exchange: true,
        table: Arc::new(PrefixTable::build([("10.0.0.0/15".parse().expect("a prefix"), 0)])),
        check_inner_source: true,
        tunnels: vec![Tunnel::new(public.into(), public.into(), 1500, false)],
        associations: Some(SpiTable::with_capacity(4)),
    }
}

/// A frame of this many bytes, without frame check sequence.
fn frame(size: usize) -> Vec<u8> {
    let mut bytes = vec![0xa5; size];
    let (front, packet) = bytes.split_at_mut(ethernet::HEADER);
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let header = ethernet::Header { destination: mac, source: mac, ethertype: ETHERTYPE_IPV4 };
    header.write(front.first_chunk_mut().expect("14 bytes"));
    let header = ipv4::Header {
        tos: 0,
        id: 0,
        dont_fragment: true,
        ttl: TTL,
        protocol: 17,
        source: [10, 0, 0, 2].into(),
        destination: [10, 1, 0, 2].into(),
        payload_len: (packet.len() - ipv4::HEADER) as u16,
    };
    header.write(packet.first_chunk_mut().expect("20 bytes"));
    bytes
}

/// Gives a frame that went round its TTL back; one addition to the checksum for each of the two hops.
fn rejuvenated(mut frame: Frame) -> Frame {
    let header = &mut frame.data_mut()[ethernet::HEADER..];
    let checksum = u16::from_be_bytes([header[10], header[11]]);
    let aged = u16::from_be_bytes([header[8], header[9]]);
    header[8] = TTL;
    let young = u16::from_be_bytes([header[8], header[9]]);
    let checksum = vita::wire::checksum::update(checksum, aged, young);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame
}

const TTL: u8 = 64;
const WIRE_OVERHEAD: f64 = 24.0;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(200);
const WARM_UP: Duration = Duration::from_millis(50);
