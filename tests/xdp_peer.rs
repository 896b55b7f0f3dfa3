// SPDX-License-Identifier: Apache-2.0
//! Our sockets against those of libxdp (through xsk-rs), which share no code with them: it generates, we wrap
//! and send on, it receives, with its own XDP program. Needs root.

#[path = "support/netns.rs"]
mod netns;
#[path = "support/veth.rs"]
mod veth;

use netns::Netns;
use std::io::Write;
use veth::*;
use vita::frame::{Batch, Port};
use xsk_rs::config::{SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue};

const FRAMES: usize = 64;
const ROUNDS: usize = 30;

/// A socket of libxdp: the first half of its memory is for sending, the second for receiving.
struct Independent {
    umem: xsk_rs::Umem,
    transmit: TxQueue,
    receive: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    descriptors: Vec<FrameDesc>,
}

impl Independent {
    fn on(netns: &Netns, interface: &str) -> Independent {
        netns.enter();
        let count = (2 * FRAMES as u32).try_into().unwrap();
        let (umem, descriptors) = xsk_rs::Umem::new(UmemConfig::default(), count, false).unwrap();
        let interface = interface.parse().unwrap();
        // SAFETY: the only socket on this memory and this queue.
        let socket = unsafe { xsk_rs::Socket::new(SocketConfig::default(), &umem, &interface, 0) };
        let (transmit, receive, rings) = socket.unwrap();
        let (mut fill, completion) = rings.unwrap();
        // SAFETY: these descriptors belong to this memory and are used for nothing else.
        assert_eq!(unsafe { fill.produce(&descriptors[FRAMES..]) }, FRAMES);
        Independent { umem, transmit, receive, fill, completion, descriptors }
    }

    fn send(&mut self, frames: &[Vec<u8>]) {
        let descriptors = &mut self.descriptors[..FRAMES];
        for (descriptor, bytes) in descriptors.iter_mut().zip(frames) {
            // SAFETY: the first half is in no ring, or has come back from it.
            let mut data = unsafe { self.umem.data_mut(descriptor) };
            let mut cursor = data.cursor();
            cursor.set_pos(0);
            cursor.write_all(bytes).unwrap();
        }
        // SAFETY: the descriptors were just written and belong to this memory.
        assert_eq!(unsafe { self.transmit.produce(&descriptors[..frames.len()]) }, frames.len());
        let mut left = frames.len();
        let mut back = vec![descriptors[0]; FRAMES];
        eventually("libxdp sends its frames", || {
            let _ = self.transmit.wakeup();
            // SAFETY: completions of frames sent just above.
            left -= unsafe { self.completion.consume(&mut back[..left]) };
            left == 0
        });
    }

    fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut descriptors = vec![self.descriptors[FRAMES]; FRAMES];
        eventually("libxdp receives the frames", || {
            // SAFETY: received descriptors are read and then given back to the fill ring once.
            unsafe {
                let received = self.receive.consume(&mut descriptors);
                let contents = descriptors[..received].iter().map(|d| self.umem.data(d).contents().to_vec());
                frames.extend(contents);
                assert_eq!(self.fill.produce(&descriptors[..received]), received);
            }
            frames.len() >= count
        });
        frames
    }
}

#[test]
fn frames_made_and_checked_by_libxdp_pass_through_our_sockets() {
    let (left, gateway, right) = (Netns::new(), Netns::new(), Netns::new());
    left.veth("host", &gateway, "private", 1);
    gateway.veth("public", &right, "peer", 1);
    let mut generator = Independent::on(&left, "host");
    let mut sink = Independent::on(&right, "peer");
    let umem = umem();
    let (device, _program1, mut private) = attach(&gateway, "private", &umem);
    let (_, _program2, mut public) = attach(&gateway, "public", &umem);

    for round in 0..ROUNDS {
        let frames: Vec<Vec<u8>> =
            (0..FRAMES).map(|n| frame(device.mac, 0x0800, n + round, 46 + 20 * n)).collect();
        generator.send(&frames);
        let mut batch: Batch = receive(&mut private, FRAMES).into_iter().collect();
        for frame in &mut batch {
            frame.prepend(20).unwrap().fill(0xee);
        }
        public.transmit(&mut batch);
        settle(&mut public, umem.pool());
        for (arrived, sent) in sink.receive(FRAMES).iter().zip(&frames) {
            assert!(arrived[..20] == [0xee; 20] && arrived[20..] == **sent);
        }
    }
    assert_eq!(public.statistics().tx_packets, (FRAMES * ROUNDS) as u64);
}
