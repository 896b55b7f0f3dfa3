// SPDX-License-Identifier: Apache-2.0
//! A worker on a veth pair: that it begins, ends, runs commands, and sleeps when there is nothing to do. Needs root.

use crate::support::netns::Netns;
use crate::support::site;
use crate::support::wait::eventually;
use std::sync::Arc;
use std::time::Duration;
use vita::clock::Instant;
use vita::count::Counters;
use vita::device::Attachment;
use vita::stage::Datagram;
use vita::wait::EventFd;
use vita::worker::{Command, Worker, WorkerPlacement};
use vita::xdp::Device;

/// A worker without a private device and with this public one, whose next hop is known.
fn worker(queue: u16, device: Option<Device>) -> (Worker, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let public = device.map(|device| Attachment { device, queue: 0 });
    let placement =
        WorkerPlacement { queue, private: None, public, cpu: None, busywait: false, realtime: false };
    let wakeup = Arc::new(EventFd::new().unwrap());
    (
        Worker::start(placement, site::plan(31, 32), counters.clone(), wakeup, Duration::from_secs(3))
            .unwrap(),
        counters,
    )
}

fn datagram() -> Command {
    Command::Send(Datagram::new([192, 0, 2, 32].into(), b"knock"))
}

/// Time that the thread of this name has spent on a CPU, in hundredths of a second.
fn cpu_ticks(thread: &str) -> u64 {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let task =
        tasks.into_iter().find(|task| read(task.join("comm")).trim() == thread).expect("the thread lives");
    let stat = read(task.join("stat"));
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // Of the numbers behind the name, the 12th and 13th (proc(5): utime, stime).
    fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_worker_without_frames_to_move_leaves_the_cpu_to_others_even_when_its_link_is_down() {
    let (outside, inside) = (Netns::new(), Netns::new());
    outside.veth("peer", &inside, "wan", 1);
    inside.enter();
    let (mut worker, counters) = worker(41, Some(Device::inspect("wan").unwrap()));
    worker.begin();
    worker.command(datagram());
    assert!(worker.settle(Duration::from_secs(10)));
    eventually("what it is told to send is sent", || counters.public_interface.txpackets.value() == 1);

    // A spinning thread would take most of each second, whatever else runs here.
    let idle = |what: &str| {
        let before = cpu_ticks("vita-queue41");
        std::thread::sleep(Duration::from_secs(1));
        let spent = cpu_ticks("vita-queue41") - before;
        assert!(spent <= 10, "{what}: {spent} hundredths of a second");
    };
    idle("link up");
    inside.run("ip link set dev wan down");
    worker.command(datagram());
    assert!(worker.settle(Duration::from_secs(10)));
    eventually("the kernel refuses to send", || counters.public_interface.txerrors.value() > 0);
    idle("link down, a frame in the ring");

    inside.run("ip link set dev wan up");
    let refused = |counters: &Counters| counters.public_interface.txerrors.value();
    eventually("it is sent after all", || {
        let before = refused(&counters);
        // Longer than the kernel's statistics take to be published.
        std::thread::sleep(Duration::from_millis(1200));
        refused(&counters) == before
    });
}

#[test]
fn a_worker_may_end_before_it_begins_and_while_packets_wait() {
    let (never_begun, _) = worker(42, None);
    drop(never_begun);

    let counters = Arc::new(Counters::default());
    let mut plan = site::plan(31, 32);
    plan.public.v4.as_mut().unwrap().next_hop_mac = None;
    let placement = WorkerPlacement {
        queue: 43,
        private: None,
        public: None,
        cpu: None,
        busywait: false,
        realtime: false,
    };
    let mut waiting =
        Worker::start(placement, plan, counters, Arc::new(EventFd::new().unwrap()), Duration::ZERO).unwrap();
    waiting.command(datagram());
    waiting.begin();
    assert!(waiting.settle(Duration::from_secs(10)));
    assert!(!waiting.is_dead());
}

#[test]
fn nobody_waits_for_a_worker_that_takes_no_commands() {
    let (mut idle, _) = worker(44, None);
    // Before it begins it does not look at its commands; and the ring has room for fewer.
    let start = Instant::now();
    (0..5000).for_each(|_| idle.command(datagram()));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(idle.has_backlog() && !idle.is_settled() && !idle.is_dead());
    idle.begin();
    assert!(idle.settle(Duration::from_secs(60)));
    assert!(!idle.has_backlog() && !idle.is_dead());
}

#[test]
fn a_device_below_another_one_gets_its_program_first() {
    let (outside, inside) = (Netns::new(), Netns::new());
    outside.veth("peer", &inside, "wan", 1);
    inside.run("ip link add aaa link wan type macvlan mode bridge");
    inside.run("ip link set dev aaa up");
    inside.enter();
    // The upper one comes first in the configuration and by name.
    let text = "private-interface4 { ifname aaa; ip 10.0.0.1; nexthop-ip 10.0.0.2; }
        public-interface4 { queue 1; ifname wan; ip 192.0.2.1; nexthop-ip 192.0.2.9; }";
    let document = vita::config::Document::parse(text).unwrap();
    let mut supervisor = vita::control::Supervisor::new(vita::control::Options::default()).unwrap();
    supervisor.apply(Instant::now(), document).unwrap();
    for device in ["wan", "aaa"] {
        let shown = inside.run(&format!("ip link show dev {device}"));
        assert!(shown.contains("xdp"), "{shown}");
    }
}
