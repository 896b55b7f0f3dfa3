// SPDX-License-Identifier: Apache-2.0
//! No packet of the private network leaves the gateway in clear text, although its kernel forwards and has a default route:
//!
//! ```text
//!   host ──── lan [vita, ip_forward=1] wan ──── peer
//!   10.31.0.50      10.31.0.20    │ 192.0.2.31
//!                                 └ net0 ── internet, where somebody listens on 10.32.0.50
//! ```
//!
//! They need root, and fail without it.

use crate::support::VITA;
use crate::support::netns::{Netns, Turn};
use crate::support::wait::eventually;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

struct Lab {
    host: Netns,
    gateway: Netns,
    peer: Netns,
    _internet: Netns,
    /// Counts what arrives in clear text.
    listener: UdpSocket,
    daemon: Option<Child>,
    /// Keeps a mount namespace with a BPF file system, in which the daemon runs.
    keeper: Option<Child>,
    directory: tempfile::TempDir,
    _turn: Arc<Turn>,
}

impl Lab {
    /// Devices with so many queues on the private side.
    fn raise(queues: u32) -> Lab {
        let turn = Turn::take_alone();
        let [host, gateway, peer, internet] = [(); 4].map(|()| Netns::new());
        host.veth("lan", &gateway, "lan", queues);
        gateway.veth("wan", &peer, "wan", 1);
        gateway.veth("net0", &internet, "net0", 1);
        gateway.run("sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0");
        gateway.run("ip address add 10.31.0.1/24 dev lan");
        gateway.run("ip address add 198.51.100.1/24 dev net0");
        gateway.run("ip route add default via 198.51.100.2");
        internet.run("ip address add 198.51.100.2/24 dev net0");
        internet.run("ip address add 10.32.0.50/32 dev lo");
        host.run("ip address add 10.31.0.50/24 dev lan");
        host.run("ip route add default via 10.31.0.20");
        let listener = internet.inside(|| UdpSocket::bind("10.32.0.50:9").unwrap());
        listener.set_nonblocking(true).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab {
            host,
            gateway,
            peer,
            _internet: internet,
            listener,
            daemon: None,
            keeper: None,
            directory,
            _turn: turn,
        };
        lab.forward(true);
        lab.know_the_gateway();
        lab
    }

    /// The host has the gateway's MAC address, and goes on using it when nobody answers for it.
    fn know_the_gateway(&self) {
        let mac = self.mac(&self.gateway, "lan");
        self.host.run(&format!("ip neigh replace 10.31.0.20 lladdr {mac} nud permanent dev lan"));
    }

    fn mac(&self, netns: &Netns, device: &str) -> String {
        let text = netns.run(&format!("ip -o link show {device}"));
        let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).expect("a device has an address").to_string()
    }

    fn forward(&self, on: bool) {
        self.gateway.run(&format!("sysctl -q -w net.ipv4.ip_forward={}", u8::from(on)));
    }

    fn start(&mut self, settings: &str) {
        self.start_with(&(CONFIGURATION.to_string() + settings));
    }

    fn start_with(&mut self, text: &str) {
        std::fs::write(self.file("conf"), text).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(self.file("log")).unwrap();
        let mut command = self.command();
        command
            .args(["--name", "paris", "--config"])
            .arg(self.file("conf"))
            .env("VITA_STATE_DIR", self.file("state"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.daemon = Some(command.spawn().expect("setpriv is installed"));
    }

    fn await_answer(&self) {
        eventually("the gateway answers", || self.config("get paris /mtu").is_ok());
    }

    /// The daemon's program with a few words of its command line. It dies with the test, however that ends.
    fn command(&self) -> Command {
        let mut command = match &self.keeper {
            None => self.gateway.command("setpriv"),
            Some(keeper) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &keeper.id().to_string(), "--mount", "--net", "setpriv"]);
                command
            }
        };
        command.args(["--pdeathsig", "KILL", VITA]).env("SNABB_SHM_ROOT", self.file("run"));
        command
    }

    /// From now on there is a BPF file system where the daemon runs. It lasts longer than a daemon.
    fn mount_bpf(&mut self) {
        let mut command = self.gateway.command("setpriv");
        let script = "mount -t bpf bpf /sys/fs/bpf && echo mounted && exec sleep 3600";
        command.args(["--pdeathsig", "KILL", "sh", "-c", script]).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("setpriv is installed");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        self.keeper = Some(keeper);
    }

    /// Interfaces with pins.
    fn pinned(&self) -> String {
        let keeper = self.keeper.as_ref().expect("there is a BPF file system").id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &keeper, "--mount", "find", "/sys/fs/bpf/vita/paris", "-name", "link"]);
        String::from_utf8_lossy(&command.output().unwrap().stdout).trim().to_string()
    }

    fn unpin(&self) -> (bool, String) {
        let output = self.command().args(["unpin", "paris"]).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_string();
        (output.status.success(), text)
    }

    /// Sends packets of which none may get out, although nobody counts them.
    fn keeps_in_without_a_gateway(&self) {
        self.send(PACKETS);
        // On the one queue that there is, what arrives later is looked at later.
        let _ = self.host.try_run("ip neigh del 10.31.0.1 dev lan");
        eventually("the kernel answers a question that was sent last", || {
            self.host.inside(|| {
                let socket = UdpSocket::bind("10.31.0.50:0").unwrap();
                let _ = socket.send_to(b"who has", "10.31.0.1:9");
            });
            self.host.run("ip neigh show 10.31.0.1 dev lan").contains("lladdr")
        });
        assert_eq!(self.leaked(), 0);
    }

    fn config(&self, words: &str) -> Result<String, String> {
        let mut command = self.gateway.command("timeout");
        command.args(["60", VITA, "config"]).args(words.split_whitespace());
        let output = command.env("SNABB_SHM_ROOT", self.file("run")).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_string();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    fn state(&self, leaf: &str) -> u64 {
        let text = self.config(&format!("get-state paris /gateway-state/{leaf}")).unwrap();
        text.parse().unwrap_or_else(|_| panic!("{leaf}: {text}"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn await_log(&self, text: &str) {
        eventually(&format!("the log says: {text}"), || self.log().contains(text));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The host sends packets to the other site, each from another port so that they spread over the queues.
    fn send(&self, count: u64) {
        self.host.inside(|| {
            for _ in 0..count {
                let socket = UdpSocket::bind("10.31.0.50:0").unwrap();
                socket.send_to(b"not for the internet", "10.32.0.50:9").unwrap();
            }
        });
    }

    /// Packets that have arrived on the internet in clear text since the last call.
    fn leaked(&self) -> u64 {
        (0..).take_while(|_| self.listener.recv(&mut [0; 64]).is_ok()).count() as u64
    }

    /// Sends until the listener hears of it: the kernel does forward what the gateway leaves to it.
    fn show_that_the_kernel_forwards(&self) {
        eventually("a packet gets out in clear text", || {
            self.send(1);
            self.leaked() > 0
        });
    }

    /// Sends packets of which all must be counted somewhere and none may get out.
    fn keeps_in(&self, leaves: &[&str]) {
        let counted = || leaves.iter().map(|leaf| self.state(leaf)).sum::<u64>();
        let before = counted();
        self.send(PACKETS);
        eventually("every packet is counted", || counted() == before + PACKETS);
        assert_eq!(self.leaked(), 0);
    }

    fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in [&mut self.daemon, &mut self.keeper].into_iter().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if thread::panicking() {
            eprintln!("--- the log of vita:\n{}", self.log());
        }
    }
}

#[test]
fn while_the_public_interface_is_unplugged_nothing_leaves_in_clear_text() {
    let mut lab = Lab::raise(1);
    lab.forward(false);
    lab.start("");
    lab.await_answer();
    assert!(!lab.log().contains("the kernel forwards"), "{}", lab.log());
    // It is noticed when that changes, of either family.
    lab.forward(true);
    lab.await_log("sysctl -w net.ipv4.conf.lan.forwarding=0");
    lab.await_log("sysctl -w net.ipv4.conf.wan.forwarding=0");
    lab.gateway.run("sysctl -q -w net.ipv6.conf.all.forwarding=1");
    lab.await_log("sysctl -w net.ipv6.conf.lan.forwarding=0");
    lab.keeps_in(&["private-router/sa-errors"]);

    lab.gateway.run("ip link delete wan");
    lab.await_log("interface wan is gone");
    eventually("the worker has stopped", || lab.log().contains("worker of queue 1 stops"));
    lab.keeps_in(&["unserved-packets"]);
    assert_eq!(lab.state("private-interface/unserved-packets"), PACKETS);
    assert_eq!(lab.state("public-interface/unserved-packets"), 0);

    // It comes back: the same program goes on with a worker.
    lab.gateway.veth("wan", &lab.peer, "wan", 1);
    eventually("the worker is back", || lab.log().matches("worker of queue 1 runs").count() == 2);
    lab.keeps_in(&["private-router/sa-errors"]);
    assert_eq!(lab.state("unserved-packets"), PACKETS);

    // Without a gateway the kernel forwards.
    lab.kill();
    lab.show_that_the_kernel_forwards();
}

#[test]
fn queues_without_a_worker_let_nothing_through_and_are_named() {
    let mut lab = Lab::raise(4);
    lab.start("");
    lab.await_answer();
    for text in [
        "no worker serves 2, 3, 4",
        "ethtool --set-channels lan rx 1 tx 1\n",
        "net.ipv4.conf.lan.forwarding=0",
    ] {
        assert!(lab.log().contains(text), "{text}");
    }
    lab.keeps_in(&["private-router/sa-errors", "unserved-packets"]);
    assert!(lab.state("unserved-packets") > 0, "all packets came by one queue");

    // What the warning says helps, and the way back is noticed.
    let lines = |lab: &Lab| lab.log().matches("no worker serves 2, 3").count();
    assert_eq!(lines(&lab), 1);
    lab.host.run("ethtool --set-channels lan rx 1 tx 1");
    lab.gateway.run("ethtool --set-channels lan rx 1 tx 1");
    lab.keeps_in(&["private-router/sa-errors"]);
    lab.gateway.run("ethtool --set-channels lan rx 3 tx 3");
    eventually("it is noticed", || lines(&lab) == 2);
}

#[test]
fn sides_on_one_device_are_told_apart_by_their_addresses() {
    let mut lab = Lab::raise(2);
    let [private, public] = ["02:00:00:00:00:31", "02:00:00:00:00:32"];
    // The private side has the first queue of the device, the public one the second.
    let of_side = |text: &str, mac: &str| text.replace("ifname lan;", &format!("ifname lan; mac {mac};"));
    let (inside, outside) = CONFIGURATION.trim().split_once('\n').unwrap();
    let outside = outside.replace("ifname wan;", "ifname lan; device-queue 2;");
    lab.start_with(&(of_side(inside, private) + &of_side(&outside, public)));
    lab.await_answer();
    for (mac, leaves) in [
        (public, ["private-dispatch/address-errors", "public-dispatch/protocol-errors"]),
        (private, ["private-router/sa-errors", "public-dispatch/address-errors"]),
    ] {
        lab.host.run(&format!("ip neigh replace 10.31.0.20 lladdr {mac} nud permanent dev lan"));
        let before = leaves.map(|leaf| lab.state(leaf));
        lab.keeps_in(&leaves);
        let moved = leaves.map(|leaf| lab.state(leaf));
        assert!(moved[0] > before[0] && moved[1] > before[1], "all packets came by one queue");
    }
    assert_eq!(lab.state("unserved-packets"), 0);
}

#[test]
fn a_killed_gateway_lets_nothing_through_until_the_next_start_or_unpin() {
    let mut lab = Lab::raise(1);
    // Without a BPF file system there is nothing to pin in.
    lab.start("fail-closed true;");
    let status = lab.daemon.take().unwrap().wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(lab.log().contains("mount -t bpf bpf /sys/fs/bpf"), "{}", lab.log());

    lab.mount_bpf();
    let (done, text) = lab.unpin();
    assert!(!done && text.contains("nothing pinned"), "{text}");
    lab.start("fail-closed true;");
    lab.await_answer();
    let (done, text) = lab.unpin();
    assert!(!done && text.contains("paris runs"), "{text}");
    lab.keeps_in(&["private-router/sa-errors"]);
    eventually("both interfaces are pinned", || lab.pinned().lines().count() == 2);
    lab.kill();
    lab.keeps_in_without_a_gateway();

    // The next start takes over while packets flow.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (host, stopped) = (&lab.host, &stop);
        scope.spawn(move || {
            host.enter();
            let socket = UdpSocket::bind("10.31.0.50:0").unwrap();
            while !stopped.load(Ordering::Relaxed) {
                let _ = socket.send_to(b"all the time", "10.32.0.50:9");
                thread::sleep(Duration::from_millis(1));
            }
        });
        let stop = StopAtEnd(&stop);
        let log = std::fs::File::options().append(true).open(lab.file("log")).unwrap();
        let mut command = lab.command();
        command.args(["--name", "paris", "--config"]).arg(lab.file("conf"));
        command.env("VITA_STATE_DIR", lab.file("state")).stderr(log).stdin(Stdio::null());
        let mut daemon = command.spawn().unwrap();
        eventually("a worker gets the packets", || {
            lab.config("get-state paris /gateway-state/private-router/sa-errors")
                .is_ok_and(|count| count.parse().is_ok_and(|count: u64| count > 100))
        });
        // Told to end, it leaves the program as well.
        Command::new("kill").arg(daemon.id().to_string()).status().unwrap();
        assert!(daemon.wait().unwrap().success());
        drop(stop);
    });
    assert_eq!(lab.leaked(), 0);
    lab.keeps_in_without_a_gateway();

    let (done, text) = lab.unpin();
    assert!(done && text.contains("lan:") && text.contains("wan:"), "{text}");
    lab.show_that_the_kernel_forwards();

    // Switched off while it runs, nothing stays behind.
    lab.start("fail-closed true;");
    lab.await_answer();
    lab.config("set paris /fail-closed false").unwrap();
    eventually("nothing is pinned", || lab.pinned().is_empty());
    lab.kill();
    lab.show_that_the_kernel_forwards();
    assert!(!lab.unpin().0);
}

/// Ends the thread even if the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const PACKETS: u64 = 32;
const CONFIGURATION: &str = "
    private-interface4 { ifname lan; ip 10.31.0.20; nexthop-ip 10.31.0.50; }
    public-interface4 { ifname wan; ip 192.0.2.31; nexthop-ip 192.0.2.32; }
    route4 { id tokyo; spi 1000; net \"10.32.0.0/16\"; gateway { ip 192.0.2.32; }
             preshared-key 91440da06376a489867893d9fd61ff1aa0b1d9ac1e6e7f3e6d6e2e2c7f4a4a21; }
";
