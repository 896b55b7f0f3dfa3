// SPDX-License-Identifier: Apache-2.0
//! A socket of libxdp (through xsk-rs) on queue 0 of the interface that is named on the command line.
//!
//! ```text
//!   standard input                       standard output
//!                                        READY, once the socket is bound
//!   SEND     count, length, bytes, ..    READY, once the kernel has sent them all
//!   RECEIVE  count                       count, length, bytes, .. of that many frames or more
//! ```
//!
//! It ends with its input. Whatever goes wrong is a panic: the test that drives it sees its output end.

mod protocol;

use protocol::{READY, RECEIVE, SEND};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};
use xsk_rs::config::{SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue};

/// The first half of its memory is for sending, the second for receiving.
struct Independent {
    umem: xsk_rs::Umem,
    transmit: TxQueue,
    receive: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    descriptors: Vec<FrameDesc>,
}

impl Independent {
    fn on(interface: &str) -> Independent {
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

fn main() {
    let interface = std::env::args().nth(1).expect("the name of an interface is the only argument");
    let mut socket = Independent::on(&interface);
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    write_ready(&mut output);
    let mut request = [0];
    while input.read_exact(&mut request).is_ok() {
        match request[0] {
            SEND => {
                socket.send(&protocol::read_frames(&mut input).unwrap());
                write_ready(&mut output);
            }
            RECEIVE => {
                let count = protocol::read_number(&mut input).unwrap();
                protocol::write_frames(&mut output, &socket.receive(count)).unwrap();
            }
            other => panic!("{other} is no request"),
        }
    }
}

fn write_ready(output: &mut impl Write) {
    output.write_all(&[READY]).and_then(|()| output.flush()).unwrap();
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

const FRAMES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);
