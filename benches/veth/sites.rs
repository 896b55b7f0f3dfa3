// SPDX-License-Identifier: Apache-2.0
//! Two hosts, each behind a gateway, and a cable between the gateways.
//!
//! ```text
//!   host 31 ──── lan [gateway 31] wan ════════ wan [gateway 32] lan ──── host 32
//!   10.31.0.50   10.31.0.20, 192.0.2.31        192.0.2.32, 10.32.0.20    10.32.0.50
//! ```
//!
//! No device offloads anything, as there is no hardware that would: packets are what crosses a wire. All systems work on
//! the same cables with the same MAC addresses and the same size of packets between the hosts.

use crate::netns::Netns;
use crate::plain::{Plain, Side};
use crate::thread;
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vita::xdp::Device;

pub struct Sites {
    hosts: [Netns; 2],
    gateways: [Netns; 2],
    mtu: u16,
    directory: tempfile::TempDir,
    /// By site: of the host, and of both devices of the gateway.
    macs: [[[u8; 6]; 3]; 2],
}

/// Per second: sent by one host, come to the other, and read there by a server. A server that has to wait for its turn on
/// a CPU finds that its socket had room for a few hundred.
pub struct Datagrams {
    pub offered: f64,
    pub carried: f64,
    pub read: f64,
}

/// What the gateways run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum System {
    Vita,
    /// Each gateway's worker on a CPU of its own, shared with everything else.
    VitaPinned,
    /// The same, and workers that never sleep.
    VitaBusy,
    Plain,
    Kernel,
    WireGuard,
}

/// Gateways at work. They end when this is dropped.
pub enum Running<'a> {
    Processes(Vec<Child>),
    Plain(#[allow(dead_code, reason = "forwards as long as it lives")] [Plain; 2]),
    Kernel(&'a Sites, Vec<Child>),
}

const SITES: [u8; 2] = [31, 32];

impl Sites {
    pub fn new(mtu: u16) -> Sites {
        let hosts = SITES.map(|_| Netns::new());
        let gateways = SITES.map(|_| Netns::new());
        gateways[0].veth("wan", &gateways[1], "wan", 1);
        for ((host, gateway), site) in hosts.iter().zip(&gateways).zip(SITES) {
            host.veth("lan", gateway, "lan", 1);
            for (netns, device) in [(host, "lan"), (gateway, "lan"), (gateway, "wan")] {
                netns.run(&format!("ip link set dev {device} mtu {mtu}"));
                netns.run(&format!("ethtool -K {device} tx off gso off tso off gro off"));
            }
            host.run(&format!("ip address add 10.{site}.0.50/24 dev lan"));
        }
        let macs = [0, 1].map(|place| {
            let mac =
                |netns: &Netns, device| inside(netns, || Device::inspect(device).expect("it was made").mac);
            let gateway: &Netns = &gateways[place];
            [mac(&hosts[place], "lan"), mac(gateway, "lan"), mac(gateway, "wan")]
        });
        let path_mtu = mtu - WIREGUARD_OVERHEAD;
        for ((host, site), macs) in hosts.iter().zip(SITES).zip(&macs) {
            // The forwarder without sealing answers no ARP.
            let mac = colons(macs[1]);
            host.run(&format!("ip neigh add 10.{site}.0.20 lladdr {mac} dev lan nud permanent"));
            host.run(&format!("ip route add default via 10.{site}.0.20 mtu {path_mtu}"));
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        Sites { hosts, gateways, mtu, directory, macs }
    }

    /// Starts both gateways and waits until packets pass.
    pub fn start(&self, system: System) -> Running<'_> {
        let running = match system {
            System::Vita => Running::Processes(self.daemons(|_| Vec::new())),
            System::VitaPinned => Running::Processes(self.daemons(|place| vec!["--cpu".into(), cpu(place)])),
            System::VitaBusy => Running::Processes(
                self.daemons(|place| vec!["--busywait".into(), "--cpu".into(), cpu(place)]),
            ),
            System::Plain => Running::Plain([0, 1].map(|place| {
                let sides = [
                    Side { device: "lan", neighbour: self.macs[place][0] },
                    Side { device: "wan", neighbour: self.macs[1 - place][2] },
                ];
                Plain::start(&self.gateways[place], sides, None)
            })),
            System::Kernel => {
                self.route_in_kernel("192.0.2.", "wan");
                Running::Kernel(self, Vec::new())
            }
            System::WireGuard => {
                let daemons = self.wireguard();
                Running::Kernel(self, daemons)
            }
        };
        let deadline = Instant::now() + PATIENCE;
        while let Err(output) = self.hosts[0].try_run("ping -q -c 1 -W 1 10.32.0.50") {
            assert!(Instant::now() < deadline, "{}: no packets pass: {output}", system.name());
            std::thread::sleep(Duration::from_millis(100));
        }
        running
    }

    /// Gbit/s and retransmissions of one stream.
    pub fn tcp(&self) -> (f64, f64) {
        let end = self.iperf3(&[]);
        let bits = end["sum_received"]["bits_per_second"].as_f64().unwrap_or_default();
        (bits / 1e9, end["sum_sent"]["retransmits"].as_f64().unwrap_or_default())
    }

    /// As many datagrams as the client can send, in frames of 64 bytes with a frame check sequence.
    pub fn udp(&self) -> Datagrams {
        let before = self.reached();
        let end = self.iperf3(&["-u", "-b", "0", "-l", "18"]);
        let of = |name: &str| end["sum"][name].as_f64().unwrap_or_default();
        let rate = |packets: f64| packets / of("seconds").max(1e-3);
        Datagrams {
            offered: rate(of("packets")),
            carried: rate(self.reached() - before),
            read: rate(of("packets") - of("lost_packets")),
        }
    }

    /// Packets that have reached the second host.
    fn reached(&self) -> f64 {
        let said = self.hosts[1].run("ip -json -statistics link show dev lan");
        let said: Value = serde_json::from_str(&said).unwrap_or_default();
        said[0]["stats64"]["rx"]["packets"].as_f64().expect("ip counts packets")
    }

    /// Round trips, in milliseconds.
    pub fn ping(&self) -> Vec<f64> {
        let said = self.hosts[0].run(&format!("ping -i 0.002 -c {PINGS} -W 1 10.32.0.50"));
        let times: Vec<f64> = said
            .lines()
            .filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok())
            .collect();
        assert!(!times.is_empty(), "{said}");
        times
    }

    fn iperf3(&self, arguments: &[&str]) -> Value {
        let mut server = quiet(self.hosts[1].command("setpriv"))
            .args(["--pdeathsig", "KILL", "iperf3", "-s", "-1"])
            .spawn()
            .expect("setpriv is installed");
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            let mut client = self.hosts[0].command("timeout");
            client.args(["30", "iperf3", "-J", "-c", "10.32.0.50", "-t", SECONDS]).args(arguments);
            let output = client.output().expect("timeout is installed");
            let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if said["error"].is_null() && said["end"].is_object() {
                break said["end"].clone();
            }
            // The server takes a moment to listen.
            assert!(Instant::now() < deadline, "iperf3: {said} {}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_millis(100));
        };
        let _ = server.kill();
        let _ = server.wait();
        end
    }

    fn daemons(&self, arguments: impl Fn(usize) -> Vec<String>) -> Vec<Child> {
        let daemon = |place: usize| {
            let (site, file) = (SITES[place], self.directory.path().join(format!("{place}.conf")));
            std::fs::write(&file, self.configuration(place)).expect("the directory can be written");
            quiet(self.gateways[place].command("setpriv"))
                .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_vita"), "--name", &format!("v{site}")])
                .args(arguments(place))
                .arg("--config")
                .arg(file)
                .env("SNABB_SHM_ROOT", self.directory.path().join("run"))
                .env("VITA_STATE_DIR", self.directory.path().join("state"))
                .spawn()
                .expect("setpriv is installed")
        };
        vec![daemon(0), daemon(1)]
    }

    fn configuration(&self, place: usize) -> String {
        let (site, far) = (SITES[place], SITES[1 - place]);
        let [_, lan, wan] = self.macs[place].map(colons);
        let mtu = self.mtu - ESP_OVERHEAD;
        format!(
            "private-interface4 {{ ifname lan; mac {lan}; ip 10.{site}.0.20; nexthop-ip 10.{site}.0.50; }}
             public-interface4 {{
               queue 1; ifname wan; mac {wan}; ip 192.0.2.{site}; nexthop-ip 192.0.2.{far};
               nexthop-mac {};
             }}
             mtu {mtu};
             route4 {{
               id far;
               gateway {{ queue 1; ip 192.0.2.{far}; }}
               net \"10.{far}.0.0/16\";
               preshared-key \"{PRESHARED}\";
               spi 1234;
             }}\n",
            colons(self.macs[1 - place][2])
        )
    }

    /// The kernel as the gateway: from the hosts to the other site by way of this network and device.
    fn route_in_kernel(&self, network: &str, device: &str) {
        for (gateway, (site, far)) in self.gateways.iter().zip([(31, 32), (32, 31)]) {
            gateway.run("sysctl -q -w net.ipv4.ip_forward=1");
            gateway.run(&format!("ip address add 10.{site}.0.20/24 dev lan"));
            gateway.run(&format!("ip address add 192.0.2.{site}/24 dev wan"));
            if device != "wan" {
                gateway.run(&format!("ip address add {network}{site}/24 dev {device}"));
                gateway.run(&format!("ip link set dev {device} mtu {} up", self.mtu - WIREGUARD_OVERHEAD));
            }
            gateway.run(&format!("ip route add 10.{far}.0.0/16 via {network}{far} dev {device}"));
        }
    }

    fn wireguard(&self) -> Vec<Child> {
        let key = |command: &str, input: &str| {
            let script = format!("echo '{input}' | wg {command}");
            let output = Command::new("sh").args(["-c", &script]).output().expect("sh is installed");
            String::from_utf8_lossy(&output.stdout).trim().to_string()
        };
        let private = SITES.map(|_| key("genkey", ""));
        let public = [0, 1].map(|place: usize| key("pubkey", &private[place]));
        // The name is that of a socket in /run/wireguard, too.
        let device = |place: usize| format!("vb{}-{place}", std::process::id());
        let daemons = [0, 1].map(|place| {
            quiet(self.gateways[place].command("setpriv"))
                .args(["--pdeathsig", "TERM", "wireguard-go", "-f", &device(place)])
                .spawn()
                .expect("setpriv is installed")
        });
        for (place, gateway) in self.gateways.iter().enumerate() {
            let deadline = Instant::now() + PATIENCE;
            while gateway.try_run(&format!("wg show {}", device(place))).is_err() {
                assert!(Instant::now() < deadline, "wireguard-go does not start");
                std::thread::sleep(Duration::from_millis(50));
            }
            let file = self.directory.path().join(format!("{place}.key"));
            std::fs::write(&file, &private[place]).expect("the directory can be written");
            gateway.run(&format!(
                "wg set {} listen-port 51820 private-key {} peer {} allowed-ips 0.0.0.0/0 endpoint 192.0.2.{}:51820",
                device(place),
                file.display(),
                public[1 - place],
                SITES[1 - place]
            ));
            gateway.run(&format!("ip link set dev {} name wg", device(place)));
        }
        self.route_in_kernel("10.99.0.", "wg");
        daemons.into()
    }
}

impl System {
    pub const ALL: [System; 5] =
        [System::Vita, System::VitaPinned, System::Plain, System::Kernel, System::WireGuard];

    pub fn name(&self) -> &'static str {
        match self {
            System::Vita => "vita",
            System::VitaPinned => "vita --cpu",
            System::VitaBusy => "vita --busywait",
            System::Plain => "plain AF_XDP",
            System::Kernel => "kernel",
            System::WireGuard => "wireguard-go",
        }
    }

    /// Whether this machine has it.
    pub fn is_here(&self) -> bool {
        let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
        *self != System::WireGuard || (has("wireguard-go") && has("wg"))
    }
}

impl Running<'_> {
    /// The part of a CPU that one gateway takes, the greater of the two.
    pub fn idle(&self, time: Duration) -> f64 {
        let Running::Processes(daemons) = self else { return 0.0 };
        let used = || daemons.iter().map(|daemon| thread::of_process(daemon.id()));
        let before: Vec<Duration> = used().collect();
        std::thread::sleep(time);
        let spent = used().zip(before).map(|(after, before)| (after - before).as_secs_f64());
        spent.fold(0.0, f64::max) / time.as_secs_f64()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let (Running::Processes(children) | Running::Kernel(_, children)) = self else { return };
        for child in children.iter_mut() {
            // SAFETY: no memory is involved; the child has not been waited for, so the number is its own.
            unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
            let _ = child.wait();
        }
        if let Running::Kernel(sites, _) = self {
            for gateway in &sites.gateways {
                gateway.run("sysctl -q -w net.ipv4.ip_forward=0");
                gateway.run("ip address flush dev lan");
                gateway.run("ip address flush dev wan");
            }
        }
    }
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn inside<T: Send>(netns: &Netns, what: impl FnOnce() -> T + Send) -> T {
    let there = || {
        netns.enter();
        what()
    };
    std::thread::scope(|scope| scope.spawn(there).join()).expect("root may enter a namespace it made")
}

/// The second gateway goes to another CPU, if there is one.
fn cpu(place: usize) -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (place % cpus).to_string()
}

fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Of this bench alone: it protects nothing.
const PRESHARED: &str = "ACAB129AC4A0A4845886EC6B5604B478280D5EAF855E52A2D0A5DCADE89C844B";
/// Outer IPv4 and ESP with AES-GCM: what 1500 bytes leave is 1446.
const ESP_OVERHEAD: u16 = 54;
/// Outer headers and tag of WireGuard over IPv6, as it is usually set: the hosts keep below that with every system.
const WIREGUARD_OVERHEAD: u16 = 80;
const SECONDS: &str = "2";
const PINGS: u32 = 500;
const PATIENCE: Duration = Duration::from_secs(60);
