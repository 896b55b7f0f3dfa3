// SPDX-License-Identifier: Apache-2.0
//! Garbage on every interface and socket: the gateway counts it and goes on.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use etherparse::{IpNumber, PacketBuilder};

use crate::support::injector::Injector;
use crate::support::lab::{KUBE_PARIS, KUBE_TOKYO, Lab, SITES, configuration};

#[test]
fn garbage_on_both_interfaces_is_counted_and_survived() {
    let mut lab = Lab::raise();
    // Room for frames far above the tunnel's MTU.
    for (node, device) in [
        ("vpc-paris", "vita-eth1"),
        ("vita-paris", "eth1"),
        ("vpc-paris", "vita-eth2"),
        ("vita-paris", "eth2"),
    ] {
        lab.must(node, &["ip", "link", "set", device, "mtu", LARGE_MTU]);
    }
    for site in SITES {
        lab.start(site, &[]);
        lab.configure(site, &configuration(site, ""));
    }
    lab.await_tunnel();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let private = Injector::new(&lab.namespace("vpc-paris"), "vita-eth1");
    let public = Injector::new(&lab.namespace("vpc-paris"), "vita-eth2");

    // Once before measuring, so that what is allocated on first use is there.
    inject(&private, &mut random, PRIVATE_MAC, [172, 31, 1, 20]);
    inject(&public, &mut random, PUBLIC_MAC, [172, 31, 1, 30]);
    let memory = resident_kib(lab.pid("paris"));
    let before = COUNTERS.map(|leaf| lab.counter("paris", leaf));
    for _ in 0..ROUNDS {
        inject(&private, &mut random, PRIVATE_MAC, [172, 31, 1, 20]);
        inject(&public, &mut random, PUBLIC_MAC, [172, 31, 1, 30]);
    }

    lab.await_tunnel();
    lab.ping("paris", KUBE_TOKYO, &["-c", "20", "-i", "0.02"]).assert_none_lost();
    lab.ping("tokyo", KUBE_PARIS, &["-c", "20", "-i", "0.02"]).assert_none_lost();
    for (leaf, before) in COUNTERS.into_iter().zip(before) {
        assert!(lab.counter("paris", leaf) > before, "{leaf} did not move");
    }
    let grown = resident_kib(lab.pid("paris")).saturating_sub(memory);
    assert!(grown < TOLERATED_KIB, "the daemon has grown by {grown} KiB");
}

#[test]
fn garbage_in_the_control_socket_is_survived() {
    let lab = Lab::with_tunnel("");
    let socket = lab.run_directory().join("by-name/paris/config-leader-socket");
    let connect = || {
        let stream = UnixStream::connect(&socket).expect("the daemon listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
        stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
        stream
    };
    let talk = |bytes: &[u8]| {
        let mut stream = connect();
        // The daemon may hang up as soon as it has seen enough.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for length in 1..200 {
        talk(&random.bytes(length));
    }
    talk(&random.bytes(1 << 20));
    for text in [
        "-1\n",
        "0\n",
        "012\nx",
        "99999999999999999999\n",
        "4294967295\n",
        "\n",
        "9\ndescribe",
        "11\ndescribe{}\n",
        "3\n{{{",
        "20\nget-config { path }\n",
        "4\n\u{0}\u{0}\n",
        "13\ndescribe {\n}\n13\ndescribe {\n",
    ] {
        talk(text.as_bytes());
    }
    talk(format!("{}\n{}", 1 << 16, "a {".repeat(1 << 15)).as_bytes());

    // Connections that never say anything do not keep others out.
    let silent: Vec<UnixStream> = (0..40).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    assert!(lab.config(&["get", "paris", "/mtu"]).status.success());
    drop(silent);
    lab.ping("paris", KUBE_TOKYO, &["-c", "20", "-i", "0.02"]).assert_none_lost();
}

/// About five thousand frames: nonsense, and packets of every kind the gateway knows, cut, bent and far too long.
fn inject(injector: &Injector, random: &mut Random, mac: [u8; 6], address: [u8; 4]) {
    let templates = templates(mac, address);
    for round in 0..500 {
        let mut frames = vec![
            [&mac[..], &random.some(8, 1500)].concat(),
            [&mac[..], &STRANGER, &[0x08, 0x00], &random.some(1, 1500)].concat(),
            [&mac[..], &STRANGER, &[0x08, 0x06], &random.some(1, 60)].concat(),
            [&[0xff; 6][..], &STRANGER, &[0x08, 0x06], &random.bytes(28)].concat(),
            [&mac[..], &STRANGER, &[0x86, 0xdd], &random.some(1, 1500)].concat(),
        ];
        for template in &templates {
            let mut bent = template.clone();
            for _ in 0..=random.below(4) {
                let at = 12 + random.below(bent.len() - 12);
                bent[at] = random.next() as u8;
            }
            let mut cut = template.clone();
            cut.truncate(15 + random.below(template.len() - 14));
            frames.extend([template.clone(), bent, cut]);
        }
        if round % 10 == 0 {
            for template in &templates {
                let mut long = template.clone();
                long.resize(14 + LARGE_MTU.parse::<usize>().expect("a number"), 0x5a);
                frames.push(long);
            }
        }
        for frame in frames {
            injector.send(&frame);
        }
        // So that the gateway sees them, rather than the kernel dropping them in front of a full ring.
        thread::sleep(Duration::from_millis(1));
    }
}

/// One well-formed packet of each kind, to the gateway or through it.
fn templates(mac: [u8; 6], address: [u8; 4]) -> Vec<Vec<u8>> {
    let to = |destination: [u8; 4], ttl: u8| {
        PacketBuilder::ethernet2(STRANGER, mac).ipv4([172, 31, 7, 7], destination, ttl)
    };
    let mut frames = Vec::new();
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        frames.push(frame);
    };
    add(&|frame| to(address, 64).icmpv4_echo_request(1, 1).write(frame, b"hello").expect("it fits"));
    add(&|frame| to([172, 32, 1, 50], 64).udp(9, 9).write(frame, &[7; 100]).expect("it fits"));
    add(&|frame| to([172, 32, 1, 50], 1).udp(9, 9).write(frame, &[7; 100]).expect("it fits"));
    add(&|frame| to([10, 9, 8, 7], 64).udp(9, 9).write(frame, &[7; 100]).expect("it fits"));
    add(&|frame| to(address, 64).tcp(1, 22, 0, 1024).write(frame, &[]).expect("it fits"));
    // The key exchange: knock, challenge, proposal and agreement by size and type, for the route of the example and for none.
    for (kind, length) in [(11, 4), (12, 68), (13, 80), (14, 80), (99, 10)] {
        for spi in [1234u32, 4321] {
            let payload = [&spi.to_be_bytes()[..], &[kind, 0, 0, 0], &vec![5; length]].concat();
            add(&|frame| to(address, 64).udp(303, 303).write(frame, &payload).expect("it fits"));
        }
    }
    for spi in [256u32, 257, 258, 259, 70_000] {
        let payload = [&spi.to_be_bytes()[..], &[0; 60]].concat();
        add(&|frame| {
            to(address, 64).write(frame, IpNumber::ENCAPSULATING_SECURITY_PAYLOAD, &payload).expect("it fits")
        });
    }
    frames
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells it");
    line.split_whitespace().nth(1).and_then(|figure| figure.parse().ok()).expect("a number of KiB")
}

/// xorshift64: the same garbage in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn some(&mut self, least: usize, most: usize) -> Vec<u8> {
        let length = least + self.below(most - least + 1);
        self.bytes(length)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// eth1 and eth2 of vita-paris, as the example configures them.
const PRIVATE_MAC: [u8; 6] = [0x0a, 0xcc, 0xb1, 0xe4, 0x24, 0xd2];
const PUBLIC_MAC: [u8; 6] = [0x0a, 0x42, 0x13, 0x9e, 0xa8, 0xae];
const STRANGER: [u8; 6] = [0x02, 0x66, 0x66, 0x66, 0x66, 0x66];

/// Below what one XDP frame holds, so that these frames reach the gateway.
const LARGE_MTU: &str = "3400";
const ROUNDS: usize = 3;

/// What an allocator may keep; a leak of one small packet in a hundred would exceed it.
const TOLERATED_KIB: u64 = 4096;

const COUNTERS: [&str; 7] = [
    "private-dispatch/ethertype-errors",
    "public-dispatch/ethertype-errors",
    "public-dispatch/protocol-errors",
    "outbound-ttl/protocol-errors",
    "private-router/route-errors",
    "public-router/route-errors",
    "key-manager/rxerrors",
];
