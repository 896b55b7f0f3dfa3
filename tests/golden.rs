// SPDX-License-Identifier: Apache-2.0
//! Frames in, frames out: every case of `tests/golden` is replayed through a gateway in memory. Whatever leaves it, when,
//! and what it counts has to be what scapy said in `tests/golden/make.py`, byte for byte.
//!
//! ```text
//!   <family>/<case>/private-in.pcap  public-in.pcap     what arrives, at the gateway's time of the stamps
//!                   private-out.pcap public-out.pcap    what has to leave; no file: nothing
//!                   expected                            # why / the gateway / counters that move, all others must not
//! ```
//!
//! What left a gateway that disagrees is in `target/golden` afterwards, as captures to compare.

use crate::support::pcap::{self, Seen};
use crate::support::site::*;
use std::fs;
use std::path::{Path, PathBuf};
use vita::graph::Plan;
use vita::wire::ip::Family;

#[test]
fn every_case_comes_out_as_an_independent_program_says() {
    let cases = cases();
    assert!(cases.len() > 100, "cases are missing: {}", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| replay(case).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Frames that arrive at the same time on one side travel in one batch. That changes the order in which answers and
/// forwarded packets leave, and nothing else.
#[test]
fn every_case_comes_out_the_same_in_batches() {
    let wrong: Vec<String> = cases()
        .iter()
        .filter_map(|case| {
            let mut whole = case.site();
            let mut left = Left::default();
            let mut arriving = case.arriving.as_slice();
            while let [(time, side, _), ..] = arriving {
                let together = arriving.iter().take_while(|next| (&next.0, next.1) == (time, *side)).count();
                let (batch, rest) = arriving.split_at(together);
                for (_, _, frame) in batch {
                    let frame = whole.graph.pool.copy_of(frame).unwrap();
                    match side {
                        Side::Private => whole.private.arriving.push_back(frame),
                        Side::Public => whole.public.arriving.push_back(frame),
                    }
                }
                whole.now = *time;
                whole.run();
                left.collect(&mut whole);
                arriving = rest;
            }
            let sorted = |frames: &[Seen]| {
                let mut frames = frames.to_vec();
                frames.sort();
                frames
            };
            let same = sorted(&left.private) == sorted(&case.private_out)
                && sorted(&left.public) == sorted(&case.public_out)
                && counted(&whole) == case.counters;
            (!same).then(|| case.name.clone())
        })
        .collect();
    assert!(wrong.is_empty(), "otherwise in batches: {wrong:#?}");
}

#[test]
fn no_case_is_without_a_reason_or_an_arrival() {
    for case in cases() {
        assert!(case.about.len() > 10, "{}: what is it about?", case.name);
        assert!(!case.arriving.is_empty(), "{}: nothing happens", case.name);
    }
}

struct Case {
    name: String,
    about: String,
    /// As `gateway` names it.
    gateway: String,
    mtu: u16,
    tfc: bool,
    /// Whether there are security associations.
    keyless: bool,
    /// Leaves of the configuration that are `false`.
    off: Vec<String>,
    /// Sides whose next hop has to be asked for.
    asks: Vec<Side>,
    /// In order of time.
    arriving: Vec<(u64, Side, Vec<u8>)>,
    private_out: Vec<Seen>,
    public_out: Vec<Seen>,
    /// Sorted.
    counters: Vec<(String, u64)>,
    /// Peer and payload.
    exchange: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Private,
    Public,
}

#[derive(Default)]
struct Left {
    private: Vec<Seen>,
    public: Vec<Seen>,
}

impl Left {
    fn collect(&mut self, site: &mut Site) {
        let now = site.now;
        self.private.extend(site.sent_private().into_iter().map(|frame| (now, frame)));
        self.public.extend(site.sent_public().into_iter().map(|frame| (now, frame)));
    }
}

fn replay(case: &Case) -> Result<(), String> {
    let mut site = case.site();
    let mut left = Left::default();
    for (time, side, frame) in &case.arriving {
        site.now = *time;
        match side {
            Side::Private => site.arrive_private(frame),
            Side::Public => site.arrive_public(frame),
        }
        left.collect(&mut site);
    }
    let mut wrong = Vec::new();
    for (side, left, expected) in
        [("private", &left.private, &case.private_out), ("public", &left.public, &case.public_out)]
    {
        if left != expected {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/golden").join(&case.name);
            fs::create_dir_all(&directory).unwrap();
            pcap::write(&directory.join(format!("{side}-out.pcap")), left);
            wrong.push(format!("{side} side: {}", difference(left, expected)));
        }
    }
    let counted = counted(&site);
    if counted != case.counters {
        wrong.push(format!("counted {counted:?} instead of {:?}", case.counters));
    }
    let exchange: Vec<_> =
        site.exchange.iter().map(|datagram| (datagram.peer.to_string(), hex(datagram.payload()))).collect();
    if exchange != case.exchange {
        wrong.push(format!("to the key exchange: {exchange:?} instead of {:?}", case.exchange));
    }
    site.leaked_nothing();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("{} ({})\n    {}", case.name, case.about, wrong.join("\n    "))),
    }
}

fn counted(site: &Site) -> Vec<(String, u64)> {
    let mut moved = site.moved();
    moved.sort();
    moved
}

/// The first frame that differs.
fn difference(left: &[Seen], expected: &[Seen]) -> String {
    let at = left.iter().zip(expected).take_while(|(left, expected)| left == expected).count();
    let show = |frames: &[Seen]| match frames.get(at) {
        Some((time, frame)) => format!("{} s {}", time / SECOND, hex(frame)),
        None => "nothing".to_string(),
    };
    format!(
        "{} frames left, {} expected; number {}\n      left     {}\n      expected {}",
        left.len(),
        expected.len(),
        at + 1,
        show(left),
        show(expected)
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cases() -> Vec<Case> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut directories: Vec<PathBuf> = ["v4", "v6"]
        .iter()
        .flat_map(|family| fs::read_dir(top.join(family)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    directories.sort();
    directories.iter().map(|directory| Case::read(&top, directory)).collect()
}

impl Case {
    fn read(top: &Path, directory: &Path) -> Case {
        let name = directory.strip_prefix(top).unwrap().display().to_string();
        let arrivals = |file, side| {
            pcap::read(&directory.join(file)).into_iter().map(move |(time, frame)| (time, side, frame))
        };
        let mut arriving: Vec<_> = arrivals("private-in.pcap", Side::Private)
            .chain(arrivals("public-in.pcap", Side::Public))
            .collect();
        arriving.sort_by_key(|(time, ..)| *time);
        let mut case = Case {
            about: String::new(),
            gateway: String::new(),
            mtu: MTU,
            tfc: false,
            keyless: false,
            off: Vec::new(),
            asks: Vec::new(),
            arriving,
            private_out: pcap::read(&directory.join("private-out.pcap")),
            public_out: pcap::read(&directory.join("public-out.pcap")),
            counters: Vec::new(),
            exchange: Vec::new(),
            name,
        };
        for line in fs::read_to_string(directory.join("expected")).unwrap().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["#", ..] => case.about = line[1..].trim().to_string(),
                ["gateway", kind] => case.gateway = kind.into(),
                ["mtu", size] => case.mtu = size.parse().unwrap(),
                ["tfc"] => case.tfc = true,
                ["keyless"] => case.keyless = true,
                [leaf, "false"] => case.off.push(leaf.into()),
                ["asks", "private"] => case.asks.push(Side::Private),
                ["asks", "public"] => case.asks.push(Side::Public),
                ["key-exchange", peer, payload] => case.exchange.push((peer.into(), payload.into())),
                [counter, value] => case.counters.push((counter.into(), value.parse().unwrap())),
                _ => panic!("{}: what does {line} mean?", case.name),
            }
        }
        case.counters.sort();
        case
    }

    fn plan(&self) -> Plan {
        let (outer, mut plan) = match self.gateway.as_str() {
            "v4" => (Family::V4, plan(31, 32)),
            "v6" => (Family::V6, plan6(31, 32)),
            "dual-v4" => (Family::V4, dual(31, 32, Family::V4)),
            "dual-v6" => (Family::V6, dual(31, 32, Family::V6)),
            other => panic!("{}: what gateway is {other}?", self.name),
        };
        for side in &self.asks {
            let interface = if *side == Side::Private { &mut plan.private } else { &mut plan.public };
            interface.v4.iter_mut().for_each(|face| face.next_hop_mac = None);
            interface.v6.iter_mut().for_each(|face| face.next_hop_mac = None);
        }
        plan.tunnels = tunnels(outer, 31, 32, self.mtu, self.tfc);
        for leaf in &self.off {
            match leaf.as_str() {
                "check-inner-source" => plan.check_inner_source = false,
                "fragment-inner" => plan.fragment_inner = false,
                "mss-clamp" => plan.mss_clamp = false,
                _ => panic!("{}: what is {leaf}?", self.name),
            }
        }
        plan
    }

    fn site(&self) -> Site {
        let site = Site::new(self.plan());
        if self.keyless {
            return site;
        }
        let [seal, open] = keys();
        site.with_keys(&seal, &open)
    }
}
