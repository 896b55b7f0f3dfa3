// SPDX-License-Identifier: Apache-2.0
//! Interfaces that go and come back, signals, and what a daemon may use of the machine.

use std::fs;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use vita::frame::Pool;
use vita::xdp::{Device, Options, Socket, Umem};

use crate::support::lab::{KUBE_TOKYO, Lab, Pings, configuration};
use crate::support::wait::within;

#[test]
fn an_interface_that_is_deleted_and_made_again_is_taken_up() {
    let lab = Lab::with_tunnel("negotiation-ttl 1;");
    let pid = lab.pid("paris");
    let before = lab.counter("paris", "key-manager/negotiations-initiated");
    lab.must("vita-paris", &["ip", "link", "del", "eth3"]);
    within(SOON, "the log says so", || lab.log("paris").contains("interface eth3 is gone"));
    // What does not need it goes on, and can be configured.
    let said = lab.set("paris", "/sa-ttl", "500");
    assert!(said.status.success(), "{}", said.text);
    assert!(lab.counter("paris", "key-manager/negotiations-initiated") >= before, "counts were lost");
    assert!(cpu_ticks_in(&lab, Duration::from_secs(2)) < 100, "the daemon spins");

    lab.must(
        "vpc-paris",
        &[
            "ip",
            "link",
            "add",
            "vita-eth3",
            "type",
            "veth",
            "peer",
            "name",
            "eth3",
            "address",
            "0a:33:39:04:9c:ac",
            "netns",
            &lab.namespace("vita-paris"),
        ],
    );
    lab.must("vpc-paris", &["ip", "link", "set", "vita-eth3", "master", "subnet", "up"]);
    for (node, device) in [("vpc-paris", "vita-eth3"), ("vita-paris", "eth3")] {
        lab.must(node, &["ethtool", "-K", device, "tx", "off", "gso", "off", "tso", "off", "gro", "off"]);
    }
    // Not up yet: nothing to be done.
    within(SOON, "the log says so", || lab.log("paris").contains("ip link set dev eth3 up"));
    lab.must("vita-paris", &["ip", "link", "set", "eth3", "up"]);
    within(SOON, "both queues have keys again", || {
        lab.log("paris").matches("route tokyo, queue 2: up").count() >= 2
    });
    lab.await_tunnel();
    for port in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        let options = ["-c", "2", "-i", "0.1", "-e", port];
        within(SOON, "every flow passes", || {
            let pings = lab.ping("paris", KUBE_TOKYO, &options);
            pings.received == pings.sent
        });
    }
    assert_eq!(lab.pid("paris"), pid);
}

#[test]
fn an_interface_that_goes_down_and_up_is_waited_for() {
    let lab = Lab::with_tunnel("negotiation-ttl 1;");
    for device in ["eth1", "eth2"] {
        let pings = lab.pings("0.01", 300);
        lab.must("vita-paris", &["ip", "link", "set", device, "down"]);
        within(SOON, "the log says so", || lab.log("paris").contains(&format!("interface {device} is down")));
        let said = lab.set("paris", "/sa-ttl", "500");
        assert!(said.status.success(), "{}", said.text);
        assert!(cpu_ticks_in(&lab, Duration::from_secs(2)) < 100, "the daemon spins while {device} is down");
        drop(Pings::of(pings));
        lab.must("vita-paris", &["ip", "link", "set", device, "up"]);
        lab.await_tunnel();
    }
    assert_eq!(lab.log("paris").matches("worker of queue 1 runs").count(), 1, "{}", lab.log("paris"));
}

#[test]
fn a_change_that_names_a_broken_interface_is_refused_and_running_ones_stay() {
    let lab = Lab::with_tunnel("");
    // The candidate moves the worker of queue 1 to eth0, which is fit, and that of queue 2 to one that is not.
    let text = configuration("paris", "")
        .replace("ifname eth2;", "ifname eth0;")
        .replace("ifname eth3;", "ifname lo;");
    let pings = lab.pings("0.01", 300);
    let said = lab.set("paris", "/", &text);
    assert!(!said.status.success() && said.text.contains("lo"), "{}", said.text);
    assert!(!lab.must("vita-paris", &["ip", "link", "show", "dev", "eth0"]).contains("prog/xdp"));
    Pings::of(pings).assert_none_lost();
}

#[test]
fn a_worker_that_cannot_start_puts_the_configuration_before_back() {
    let lab = Lab::with_tunnel("negotiation-ttl 1;");
    let before = lab.configured("paris");
    // Somebody has the queue, which only shows when the worker is already on its way there.
    let taken = QueueTaken::of(&lab.namespace("vita-paris"), "eth0");
    let text = configuration("paris", "negotiation-ttl 1;")
        .replace("ifname eth2;", "ifname eth0;")
        .replace("mac 0a:42:13:9e:a8:ae;", "")
        .replace("id tokyo;", "id kyoto;");
    let said = lab.set("paris", "/", &text);
    assert!(
        !said.status.success() && said.text.contains("queue 1 of interface eth0 is in use"),
        "{}",
        said.text
    );
    drop(taken);
    assert_eq!(lab.configured("paris"), before);
    assert!(!lab.must("vita-paris", &["ip", "link", "show", "dev", "eth0"]).contains("prog/xdp"));
    within(SOON, "the worker of queue 1 is back with keys", || {
        lab.log("paris").matches("route tokyo, queue 1: up").count() == 2
    });
    lab.await_tunnel();
    // The other one has kept its keys.
    let log = lab.log("paris");
    assert_eq!(log.matches("worker of queue 2").count(), 1, "{log}");
    assert_eq!(log.matches("route tokyo, queue 2").count(), 1, "{log}");
}

#[test]
fn a_daemon_without_a_configuration_waits_ends_and_leaves_nothing() {
    let mut lab = Lab::raise();
    for signal in ["TERM", "INT"] {
        lab.start("paris", &[]);
        assert!(cpu_ticks_in(&lab, Duration::from_secs(1)) < 20, "an idle daemon uses CPU time");
        lab.signal("paris", "HUP");
        assert!(lab.config(&["get", "paris", "/mtu"]).status.success(), "SIGHUP has ended it");
        let directory = lab.run_directory().join(lab.pid("paris").to_string());
        let status = lab.stop("paris", signal);
        assert_eq!(status.code(), Some(0), "after SIG{signal}: {status}");
        assert!(!directory.exists(), "{directory:?} is still there");
    }
}

#[test]
fn a_hundred_changes_cost_no_descriptor_and_no_thread() {
    let lab = Lab::with_tunnel("");
    let pid = lab.pid("paris");
    let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).expect("the daemon runs").count();
    let other = "{ id other; spi 2000; net \"10.1.0.0/16\"; gateway { ip 203.0.113.9; } \
                 preshared-key 5555555555555555555555555555555555555555555555555555555555555555; }";
    let whole = configuration("paris", "");
    let moved = whole.replace("ifname eth2;", "ifname eth0;").replace("mac 0a:42:13:9e:a8:ae;", "");
    let round = || {
        assert!(lab.config(&["add", "paris", "/route4", other]).status.success());
        assert!(lab.config(&["remove", "paris", "/route4[id=other]"]).status.success());
        assert!(!lab.set("paris", "/", &whole.replace("ifname eth3;", "ifname eth9;")).status.success());
    };
    let restart = || {
        lab.configure("paris", &moved);
        lab.configure("paris", &whole);
    };
    round();
    restart();
    thread::sleep(Duration::from_secs(1));
    let before = [count("fd"), count("task")];
    for _ in 0..30 {
        round();
    }
    for _ in 0..5 {
        restart();
    }
    // The connection of the last client may be closed a moment later.
    within(SOON, "there are as many as before", || [count("fd"), count("task")] <= before);
    lab.await_tunnel();
}

#[test]
fn workers_run_where_and_how_they_are_told() {
    let mut lab = Lab::raise();
    lab.start("paris", &["--realtime"]);
    lab.configure("paris", &configuration("paris", ""));
    let pid = lab.pid("paris");
    let mut seen = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon runs").flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).expect("the thread runs");
        let name = read("comm").trim().to_string();
        if name.starts_with("vita-queue") {
            let status = read("status");
            let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(str::trim);
            // The scheduling policy is the 41st figure of proc(5); the second may contain blanks.
            let stat = read("stat");
            let policy =
                stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(38)).map(str::to_string);
            seen.push((name, cpus.map(str::to_string), policy));
        }
    }
    seen.sort();
    let expected = |name: &str, cpu: &str| (name.to_string(), Some(cpu.to_string()), Some("1".to_string()));
    assert_eq!(seen, [expected("vita-queue1", "0"), expected("vita-queue2", "1")]);
}

/// An AF_XDP socket on queue 0 of a device, as another program would have it.
pub struct QueueTaken {
    release: mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl QueueTaken {
    pub fn of(namespace: &str, device: &'static str) -> QueueTaken {
        let namespace = fs::File::open(format!("/run/netns/{namespace}")).expect("the namespace exists");
        let (release, released) = mpsc::channel();
        let (report, bound) = mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: takes a descriptor that is open; changes only this thread, which ends soon.
            let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(entered, 0, "root may enter a namespace");
            let device = Device::inspect(device).expect("the device is there");
            let umem = Umem::new(Rc::new(Pool::new(1024).expect("there is memory")));
            let _socket = Socket::bind(&umem, &device, 0, Options::default()).expect("the queue is free");
            report.send(()).expect("the test waits");
            let _ = released.recv();
        });
        bound.recv().expect("the socket is bound");
        QueueTaken { release, thread: Some(thread) }
    }
}

impl Drop for QueueTaken {
    fn drop(&mut self) {
        let _ = self.release.send(());
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// What the daemon at paris uses of the CPUs, in hundredths of a second.
fn cpu_ticks_in(lab: &Lab, time: Duration) -> u64 {
    let used = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", lab.pid("paris"))).expect("the daemon runs");
        let figures = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
        figures.filter_map(|figure| figure.parse::<u64>().ok()).sum()
    };
    let before = used();
    thread::sleep(time);
    used() - before
}

const SOON: Duration = Duration::from_secs(20);
