// SPDX-License-Identifier: Apache-2.0
//! Our sockets against those of libxdp (through xsk-rs), which share no code with them: it generates, we wrap
//! and send on, it receives, with its own XDP program. Needs root.
//!
//! libxdp is in a process of its own, the program of tests/libxdp.

#[path = "libxdp/src/protocol.rs"]
mod protocol;

use crate::support::netns::Netns;
use crate::support::veth::*;
use protocol::{READY, RECEIVE, SEND};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use vita::frame::{Batch, Port};

const FRAMES: usize = 64;
const ROUNDS: usize = 30;

/// A process with a socket of libxdp.
struct Independent {
    process: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

impl Independent {
    fn on(netns: &Netns, program: &Path, interface: &str) -> Independent {
        let mut command = netns.command(program.to_str().unwrap());
        let command = command.arg(interface).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (requests, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut independent = Independent { process, requests, answers };
        independent.await_ready();
        independent
    }

    fn send(&mut self, frames: &[Vec<u8>]) {
        self.requests.write_all(&[SEND]).unwrap();
        protocol::write_frames(&mut self.requests, frames).unwrap();
        self.await_ready();
    }

    fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.requests.write_all(&[RECEIVE]).unwrap();
        protocol::write_number(&mut self.requests, count).unwrap();
        protocol::read_frames(&mut self.answers).unwrap()
    }

    fn await_ready(&mut self) {
        let mut answer = [0];
        self.answers.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], READY);
    }
}

impl Drop for Independent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program of libxdp, built if need be; `make test` has done so before.
fn libxdp() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libxdp/Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status();
    assert!(built.unwrap().success(), "cargo does not build tests/libxdp");
    target.join("debug/libxdp-peer")
}

#[test]
fn frames_made_and_checked_by_libxdp_pass_through_our_sockets() {
    let libxdp = libxdp();
    let (left, gateway, right) = (Netns::new(), Netns::new(), Netns::new());
    left.veth("host", &gateway, "private", 1);
    gateway.veth("public", &right, "peer", 1);
    let mut generator = Independent::on(&left, &libxdp, "host");
    let mut sink = Independent::on(&right, &libxdp, "peer");
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
