// SPDX-License-Identifier: Apache-2.0
//! Two hosts, each behind a gateway with the real daemon, and a cable between the gateways. Both families everywhere, and no
//! address translation.
//!
//! ```text
//!   host 31 ──── lan [vita 31] wan ════════ wan [vita 32] lan ──── host 32
//!   10.31.0.50          10.31.0.20, 192.0.2.31   192.0.2.32, 10.32.0.20          10.32.0.50
//!   2001:db8:31::50     ::20, 2001:db8:ffff::31  ::32, ::20                      2001:db8:32::50
//! ```

use super::VITA;
use super::netns::{Netns, Turn};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub struct TwoSites {
    hosts: [Netns; 2],
    gateways: [Netns; 2],
    /// Between the gateways, if they are not on one cable; it lasts as long as this.
    _router: Option<Netns>,
    daemons: Vec<Child>,
    directory: tempfile::TempDir,
    _turn: Arc<Turn>,
}

/// Their numbers.
pub const SITES: [u8; 2] = [31, 32];

impl TwoSites {
    /// Raises both sites; `configuration` is that of a gateway, by its number and the other one's.
    pub fn raise(configuration: impl Fn(u8, u8) -> String) -> TwoSites {
        TwoSites::raise_on(None, [1; 2], configuration)
    }

    /// As [`TwoSites::raise`], with so many queues on the private link of each site. The cable between the gateways has as
    /// many as the larger of the two.
    pub fn raise_with_queues(queues: [u32; 2], configuration: impl Fn(u8, u8) -> String) -> TwoSites {
        TwoSites::raise_on(None, queues, configuration)
    }

    /// As [`TwoSites::raise`], with a router of Linux where the cable was: it is 192.0.N.1 and 2001:db8:ffNN::1 to gateway
    /// N, which is .2 and ::2. Its link to site 32 carries packets of this size.
    pub fn raise_apart(far_mtu: u16, configuration: impl Fn(u8, u8) -> String) -> TwoSites {
        TwoSites::raise_on(Some(far_mtu), [1; 2], configuration)
    }

    fn raise_on(
        far_mtu: Option<u16>,
        queues: [u32; 2],
        configuration: impl Fn(u8, u8) -> String,
    ) -> TwoSites {
        // The gateways of the test that runs need the few cores there are.
        let turn = Turn::take_alone();
        let hosts = SITES.map(|_| Netns::new());
        let gateways = SITES.map(|_| Netns::new());
        for (((host, gateway), number), queues) in hosts.iter().zip(&gateways).zip(SITES).zip(queues) {
            host.veth("lan", gateway, "lan", queues);
            host.run("sysctl -q -w net.ipv6.conf.lan.disable_ipv6=0 net.ipv6.conf.lan.accept_dad=0");
            host.run(&format!("ip address add 10.{number}.0.50/24 dev lan"));
            host.run(&format!("ip -6 address add 2001:db8:{number}::50/64 dev lan nodad"));
            host.run(&format!("ip route add default via 10.{number}.0.20"));
            host.run(&format!("ip -6 route add default via 2001:db8:{number}::20"));
            // The gateway takes packets as the device hands them over: with checksums, one by one.
            host.run("ethtool -K lan tx off tso off gso off");
        }
        let router = far_mtu.map(|far_mtu| router_between(&gateways, far_mtu));
        if router.is_none() {
            gateways[0].veth("wan", &gateways[1], "wan", queues[0].max(queues[1]));
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut sites =
            TwoSites { hosts, gateways, _router: router, daemons: Vec::new(), directory, _turn: turn };
        for (place, number) in SITES.into_iter().enumerate() {
            let [_, other] = [SITES[place], SITES[1 - place]];
            let file = sites.directory.path().join(format!("{number}.conf"));
            std::fs::write(&file, configuration(number, other)).expect("the directory can be written");
            let daemon = sites.spawn(number);
            sites.daemons.push(daemon);
        }
        sites
    }

    /// Starts the daemon of a gateway; its log goes on.
    fn spawn(&self, number: u8) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.log_file(number));
        let log = log.expect("the directory can be written");
        // Dies with the test, however that ends.
        let mut command = self.gateways[place(number)].command("setpriv");
        command
            .args(["--pdeathsig", "KILL", VITA, "--name", &format!("v{number}"), "--config"])
            .arg(self.directory.path().join(format!("{number}.conf")))
            .env("SNABB_SHM_ROOT", self.directory.path().join("run"))
            .env("VITA_STATE_DIR", self.directory.path().join("state"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor is free"))
            .stderr(log);
        command.spawn().expect("setpriv is installed")
    }

    /// Kills the daemon of a gateway, without a chance to tell anyone, and starts another one.
    pub fn restart(&mut self, number: u8) {
        let daemon = &mut self.daemons[place(number)];
        daemon.kill().expect("it runs");
        daemon.wait().expect("it can be waited for");
        self.daemons[place(number)] = self.spawn(number);
    }

    pub fn host(&self, number: u8) -> &Netns {
        &self.hosts[place(number)]
    }

    pub fn gateway(&self, number: u8) -> &Netns {
        &self.gateways[place(number)]
    }

    /// What a gateway has written to its log so far.
    pub fn log(&self, number: u8) -> String {
        std::fs::read_to_string(self.log_file(number)).unwrap_or_default()
    }

    /// Until the host of site 31 reaches that of 32 at this address, and the other way round.
    pub fn await_tunnel(&self, address: impl Fn(u8) -> String) {
        for (here, there) in [(31, 32), (32, 31)] {
            let line = format!("ping -q -c 1 -W 1 {}", address(there));
            let deadline = Instant::now() + PATIENCE;
            while let Err(output) = self.host(here).try_run(&line) {
                assert!(Instant::now() < deadline, "still no tunnel after {PATIENCE:?}: {output}");
                sleep(Duration::from_millis(200));
            }
        }
    }

    /// What a gateway prints of its state at a path.
    pub fn state(&self, number: u8, path: &str) -> String {
        self.state_in("yang", number, path)
    }

    /// The same in another format.
    pub fn state_in(&self, format: &str, number: u8, path: &str) -> String {
        let mut command = self.gateways[place(number)].command("timeout");
        command
            .args(["60", VITA, "config", "get-state", "--format", format, &format!("v{number}"), path])
            .env("SNABB_SHM_ROOT", self.directory.path().join("run"));
        let output = command.output().expect("timeout is installed");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_string()
    }

    fn log_file(&self, number: u8) -> PathBuf {
        self.directory.path().join(format!("{number}.log"))
    }
}

impl Drop for TwoSites {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if std::thread::panicking() {
            for number in SITES {
                eprintln!("--- the log of vita {number}:\n{}", self.log(number));
            }
        }
    }
}

fn router_between(gateways: &[Netns; 2], far_mtu: u16) -> Netns {
    let router = Netns::new();
    for (gateway, number) in gateways.iter().zip(SITES) {
        let link = format!("to{number}");
        router.veth(&link, gateway, "wan", 1);
        router.run(&format!("sysctl -q -w net.ipv6.conf.{link}.disable_ipv6=0"));
        router.run(&format!("ip address add 192.0.{number}.1/24 dev {link}"));
        router.run(&format!("ip -6 address add 2001:db8:ff{number}::1/64 dev {link} nodad"));
        router.run(&format!("ethtool -K {link} tx off tso off gso off gro off"));
    }
    // Only the router knows: the gateway at the other end may think that it can send more.
    router.run(&format!("ip link set dev to{} mtu {far_mtu}", SITES[1]));
    router.run("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    router
}

fn place(number: u8) -> usize {
    usize::from(number != SITES[0])
}

/// Generous: on a busy machine only the failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
