// SPDX-License-Identifier: Apache-2.0
//! Opening and closing leaves nothing behind: no descriptor, no mapping, no pinned page. It counts what
//! the whole process has, so it runs in one of its own. Needs root.

use crate::support::alone::in_a_process_of_its_own;
use crate::support::netns::Netns;
use crate::support::veth::*;
use vita::frame::Port;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("socket:") || line.contains("bpf")).count()
}

/// Kilobytes that the kernel has pinned and mapped for this process.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_hundred_openings_and_closings_leave_nothing_behind() {
    in_a_process_of_its_own("xdp_leak::a_hundred_openings_and_closings_leave_nothing_behind", open_and_close);
}

fn open_and_close() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("one", &right, "two", 1);
    let cycle = |n: usize| {
        let shared = umem();
        let (_, _program1, mut socket1) = attach(&left, "one", &shared);
        let (device2, _program2, mut socket2) = attach(&right, "two", &shared);
        let frames: Vec<Vec<u8>> = (0..20).map(|n| frame(device2.mac, 0x0800, n, 46 + n)).collect();
        send(&mut socket1, shared.pool(), &frames);
        // Closed with frames at every stage: taken, in the rx ring, in the tx ring.
        let taken = receive(&mut socket2, 20);
        send(&mut socket1, shared.pool(), &frames);
        let mut unsent = taken.into_iter().take(n % 20).collect();
        socket2.transmit(&mut unsent);
    };
    (0..5).for_each(cycle);
    let before = (descriptors(), mappings());
    let memory = status("VmSize:");
    (0..100).for_each(cycle);
    assert_eq!((descriptors(), mappings()), before);
    eventually("pinned pages are given back", || status("VmPin:") == 0);
    let grown = status("VmSize:").saturating_sub(memory);
    // One lost pool of 4 MiB would show; the allocator's own arenas may move a little.
    assert!(grown < 2048, "{grown} KiB more than before");
}
