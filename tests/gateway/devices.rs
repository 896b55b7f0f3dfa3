// SPDX-License-Identifier: Apache-2.0
//! Interfaces with a will of their own, seen from the daemon: missing at the start, renamed, moved, replaced, taken by
//! others. What can run runs, the rest is healed when that is possible, and clients are answered meanwhile.

use libbpf_rs::libbpf_sys as sys;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::faults::QueueTaken;
use crate::support::lab::{KUBE_TOKYO, Lab, Pings, SITES, configuration};
use crate::support::wait::within;

#[test]
fn a_queue_that_another_process_has_holds_nobody_up() {
    let mut lab = Lab::raise();
    let taken = QueueTaken::of(&lab.namespace("vita-paris"), "eth2");
    start_with_file(&mut lab, "paris", &configuration("paris", "negotiation-ttl 1;"));
    start_with_file(&mut lab, "tokyo", &configuration("tokyo", "negotiation-ttl 1;"));
    within(SOON, "the log names the queue", || {
        lab.log("paris").contains("queue 1 of interface eth2 is in use")
    });
    // The other one works, and everybody is answered, also while the first is tried again and again.
    within(SOON, "queue 2 has keys", || lab.log("paris").contains("route tokyo, queue 2: up"));
    answered(&lab, Duration::from_secs(3));
    let said = lab.set("paris", "/sa-ttl", "500");
    assert!(said.status.success(), "{}", said.text);

    // A change that needs a queue that is taken takes its time to be refused. Others do not wait for that.
    let other = QueueTaken::of(&lab.namespace("vita-paris"), "eth0");
    let moved = configuration("paris", "sa-ttl 500;")
        .replace("ifname eth3;", "ifname eth0;")
        .replace("mac 0a:33:39:04:9c:ac;", "");
    thread::scope(|scope| {
        let change = scope.spawn(|| lab.set("paris", "/", &moved));
        let mut answers = 0;
        while !change.is_finished() {
            answered(&lab, Duration::ZERO);
            answers += 1;
        }
        let said = change.join().expect("the client ends");
        assert!(
            !said.status.success() && said.text.contains("queue 1 of interface eth0 is in use"),
            "{said:?}"
        );
        assert!(answers >= 3, "only {answers} answers while the change was under way");
    });
    drop(other);

    drop(taken);
    within(SOON, "queue 1 has keys", || lab.log("paris").contains("route tokyo, queue 1: up"));
    let again = QueueTaken::of(&lab.namespace("vita-paris"), "eth0");
    let began = Instant::now();
    assert_eq!(lab.stop("paris", "TERM").code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "the end took {:?}", began.elapsed());
    drop(again);
}

#[test]
fn a_start_waits_for_interfaces_that_are_missing_or_down() {
    let mut lab = Lab::raise();
    lab.must("vita-paris", &["ip", "link", "set", "eth2", "down"]);
    lab.must("vita-paris", &["ip", "link", "set", "eth3", "down", "name", "later"]);
    for site in SITES {
        start_with_file(&mut lab, site, &configuration(site, "negotiation-ttl 1;"));
    }
    for waits in [
        "1 waits for its interface: interface eth2 is down",
        "2 waits for its interface: interface eth3: there is none",
    ] {
        within(SOON, waits, || lab.log("paris").contains(waits));
    }
    lab.must("vita-paris", &["ip", "link", "set", "eth2", "up"]);
    within(SOON, "queue 1 has keys", || lab.log("paris").contains("route tokyo, queue 1: up"));
    lab.must("vita-paris", &["ip", "link", "set", "later", "name", "eth3", "up"]);
    within(SOON, "queue 2 has keys", || lab.log("paris").contains("route tokyo, queue 2: up"));
    // Before, those had no worker that the private device gives to its second queue: none, or all, as the kernel has it.
    within(SOON, "every flow passes", || every_flow_passes(&lab));
    assert_eq!(lab.configured("paris").matches("public-interface4").count(), 2);
    // One whose name is not right is still refused where somebody waits for the answer.
    let said = lab.set("paris", "/", &configuration("paris", "").replace("ifname eth3;", "ifname eth33;"));
    assert!(!said.status.success() && said.text.contains("eth33"), "{said:?}");
}

#[test]
fn a_renamed_interface_loses_no_packet() {
    let lab = Lab::with_tunnel("");
    let pings = lab.ping_for(6);
    let rename = |from: &str, to: &str| lab.must("vita-paris", &["ip", "link", "set", from, "name", to]);
    rename("eth2", "wan9");
    within(SOON, "the log says so", || lab.log("paris").contains("interface eth2 is called wan9 now"));
    let said = lab.set("paris", "/sa-ttl", "500");
    assert!(said.status.success(), "{}", said.text);
    rename("wan9", "eth2");
    within(SOON, "the log says so", || lab.log("paris").contains("interface eth2 has its name again"));
    Pings::of(pings).assert_none_lost();
    assert_eq!(lab.log("paris").matches("worker of queue 1 runs").count(), 1);
}

#[test]
fn an_interface_that_leaves_the_namespace_and_comes_back_is_taken_up() {
    let lab = Lab::with_tunnel("negotiation-ttl 1;");
    for (device, times) in [("eth2", 2), ("eth1", 3)] {
        // The index stays what it was, and the program on it, too.
        lab.must("vita-paris", &["ip", "link", "set", device, "netns", &lab.namespace("vpc-paris")]);
        lab.must("vpc-paris", &["ip", "link", "set", device, "netns", &lab.namespace("vita-paris")]);
        lab.must("vita-paris", &["ip", "link", "set", device, "up"]);
        within(SOON, "the worker is started again", || {
            lab.log("paris").matches("worker of queue 1 runs").count() >= times
        });
        lab.await_tunnel();
        within(SOON, "every flow passes", || every_flow_passes(&lab));
    }
}

#[test]
fn a_name_that_goes_to_another_device_takes_the_worker_along() {
    let lab = Lab::with_tunnel("negotiation-ttl 1;");
    let ip = |words: &[&str]| lab.must("vita-paris", &[&["ip", "link"], words].concat());
    // eth0 is on the same network. The addresses of the gateway are those of its configuration.
    ip(&["set", "eth2", "name", "old"]);
    ip(&["set", "eth0", "down"]);
    ip(&["set", "eth0", "name", "eth2", "up"]);
    within(SOON, "the worker is started again", || {
        lab.log("paris").matches("worker of queue 1 runs").count() >= 2
    });
    assert!(ip(&["show", "dev", "eth2"]).contains("prog/xdp"));
    within(SOON, "the old device is left alone", || !ip(&["show", "dev", "old"]).contains("prog/xdp"));
}

#[test]
fn a_program_that_is_detached_is_attached_again() {
    let lab = Lab::with_tunnel("");
    for device in ["eth1", "eth2"] {
        let before = program_id(&lab, device).expect("there is one");
        detach(before);
        within(SOON, "it is attached again", || program_id(&lab, device).is_some());
        assert!(lab.log("paris").contains(&format!("interface {device}: the XDP program was detached")));
        assert!(every_flow_passes(&lab), "{device}");
    }
    // The workers have not noticed, nor have their keys.
    let log = lab.log("paris");
    assert_eq!(log.matches(" runs: private").count(), 2, "{log}");
    assert_eq!(log.matches("route tokyo, queue 1: up").count(), 1, "{log}");
}

#[test]
fn an_interface_may_be_named_by_its_altname() {
    let mut lab = Lab::raise();
    let altname = |device: &str, name: &str| {
        lab.must("vita-paris", &["ip", "link", "property", "add", "dev", device, "altname", name]);
    };
    altname("eth1", "inside");
    altname("eth2", "outside");
    lab.start("paris", &[]);
    lab.start("tokyo", &[]);
    let named = configuration("paris", "")
        .replace("ifname eth1;", "ifname inside;")
        .replace("ifname eth2;", "ifname outside;");
    lab.configure("paris", &named);
    lab.configure("tokyo", &configuration("tokyo", ""));
    lab.await_tunnel();
    within(SOON, "every flow passes", || every_flow_passes(&lab));
    // Two names, one device.
    let twice = named.replace("ifname eth3;", "ifname eth2;");
    let said = lab.set("paris", "/", &twice);
    assert!(!said.status.success() && said.text.contains("same device as"), "{said:?}");
    assert!(lab.configured("paris").contains("ifname inside;"));
}

#[test]
fn a_next_hop_that_does_not_answer_is_named_instead_of_the_peer() {
    let mut lab = Lab::raise();
    lab.start("paris", &[]);
    let text = configuration("paris", "negotiation-ttl 1;").replacen(
        "nat-ip 203.0.113.2;\n  nexthop-ip 172.31.0.1;",
        "nat-ip 203.0.113.2;\n  nexthop-ip 172.31.0.99;",
        1,
    );
    lab.configure("paris", &text);
    let silent = "next hop 172.31.0.99 does not answer ARP on eth2";
    within(SOON, "it is named", || lab.log("paris").contains(silent));
    // The other queue's next hop answers, and the peer does not.
    within(SOON, "the peer of queue 2 is named", || lab.log("paris").contains("203.0.113.6"));
    let expired = lab.counter("paris", "key-manager/negotiations-expired");
    within(SOON, "there were more", || {
        lab.counter("paris", "key-manager/negotiations-expired") >= expired + 6
    });
    let log = lab.log("paris");
    assert!(!log.contains("203.0.113.5"), "the peer behind the next hop is blamed: {log}");
    assert_eq!(log.matches(silent).count(), 1, "{log}");
    assert_eq!(log.matches("203.0.113.6").count(), 1, "{log}");
}

fn start_with_file(lab: &mut Lab, site: &'static str, text: &str) {
    let file = lab.file(&format!("{site}.conf"));
    fs::write(&file, text).expect("the lab's directory can be written");
    lab.start(site, &["--config", file.to_str().expect("temporary names are ASCII")]);
}

/// Asks for as long as that, once at least. An answer takes as long as a program takes to start, but never as long as a
/// device may hold the daemon up.
fn answered(lab: &Lab, time: Duration) {
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        let said = lab.config(&["get", "paris", "/mtu"]);
        assert!(said.status.success(), "{said:?}");
        assert!(asked.elapsed() < Duration::from_secs(2), "an answer took {:?}", asked.elapsed());
        if start.elapsed() >= time {
            return;
        }
    }
}

/// Flows of all queues.
fn every_flow_passes(lab: &Lab) -> bool {
    ["1", "2", "3", "4", "5", "6", "7", "8"].into_iter().all(|port| {
        let pings = lab.ping("paris", KUBE_TOKYO, &["-c", "2", "-i", "0.1", "-W", "2", "-e", port]);
        pings.received == pings.sent
    })
}

/// The number of the XDP program on a device of vita-paris.
fn program_id(lab: &Lab, device: &str) -> Option<u32> {
    let shown = lab.must("vita-paris", &["ip", "-d", "link", "show", "dev", device]);
    let mut words = shown.split_whitespace().skip_while(|word| !word.starts_with("prog/xdp"));
    words.nth(2)?.parse().ok()
}

/// What `bpftool link detach` does to the link of this program.
fn detach(program: u32) {
    let mut id = 0;
    // SAFETY: `id` outlives the call.
    while unsafe { sys::bpf_link_get_next_id(id, &mut id) } == 0 {
        // SAFETY: no memory is involved.
        let fd = unsafe { sys::bpf_link_get_fd_by_id(id) };
        if fd < 0 {
            continue;
        }
        // SAFETY: the descriptor was just made and belongs to nobody else; the information is of plain numbers, all zeroes
        // being valid, and as long as said.
        let (_closed, information) = unsafe {
            let mut information: sys::bpf_link_info = std::mem::zeroed();
            let mut len = size_of::<sys::bpf_link_info>() as u32;
            sys::bpf_link_get_info_by_fd(fd, &mut information, &mut len);
            (OwnedFd::from_raw_fd(fd), information)
        };
        if information.prog_id == program {
            // SAFETY: no memory is involved.
            assert_eq!(unsafe { sys::bpf_link_detach(fd) }, 0);
            return;
        }
    }
    panic!("program {program} has no link");
}

const SOON: Duration = Duration::from_secs(30);
