// SPDX-License-Identifier: Apache-2.0
//! The real daemon and the neighbours on its links: they find each other behind devices and switches that keep multicast
//! from who has not asked for it, and hear of each other's new addresses at once. Needs root.
//!
//! ```text
//!   host ──── lan [vita 31] wan ──── (switch) ──── r0 [router]
//!   10.31.0.50    10.31.0.20, 192.0.2.31           192.0.2.254
//!   ::50          2001:db8:31::20                  2001:db8:ffff::fe
//!                 2001:db8:ffff::31
//! ```

use crate::support::VITA;
use crate::support::injector::Injector;
use crate::support::netns::{Netns, Turn};
use crate::support::site;
use crate::support::wait::eventually;
use etherparse::ArpOperation;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

#[test]
fn an_ipv6_address_is_found_behind_a_device_that_filters_groups() {
    let site = Site::new();
    let (gateway, router) = (&site.gateway, &site.router);
    router.veth("r0", gateway, "under", 1);
    gateway.run("ip link add link under name wan type macvlan mode bridge");
    gateway.run("sysctl -q -w net.ipv6.conf.wan.disable_ipv6=1");
    gateway.run("ip link set dev wan up");
    address6(router, "r0", "2001:db8:ffff::fe");
    let daemon = Daemon::start(&site, &(private4() + &public6(&mac(router, "r0"))));
    assert_is_found(&daemon, router);
    let groups = || gateway.run("ip maddress show dev wan");
    assert!(groups().contains("33:33:ff:00:00:31"), "{}", groups());
    drop(daemon);
    eventually("the device forgets the group", || !groups().contains("33:33:ff:00:00:31"));
}

#[test]
fn an_ipv6_address_is_found_behind_a_switch_that_prunes_multicast() {
    let site = Site::new();
    let (gateway, router, switch) = (&site.gateway, &site.router, Netns::new());
    switch.run(
        "ip link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_mld_version 2 mcast_query_interval 100 \
         mcast_query_response_interval 50 mcast_startup_query_interval 50 mcast_membership_interval 300",
    );
    switch.run("sysctl -q -w net.ipv6.conf.br0.accept_dad=0");
    switch.veth("to31", gateway, "wan", 1);
    switch.veth("to254", router, "r0", 1);
    for port in ["to31", "to254"] {
        switch.run(&format!("ip link set dev {port} master br0"));
    }
    switch.run("ip link set dev br0 up");
    address6(router, "r0", "2001:db8:ffff::fe");
    let daemon = Daemon::start(&site, &(private4() + &public6(&mac(router, "r0"))));
    let is_member = || {
        let groups = switch.run("bridge mdb show dev br0");
        groups.lines().any(|line| line.contains("port to31") && line.contains("ff02::1:ff00:31"))
    };
    eventually("the switch knows that the gateway listens", is_member);
    assert_is_found(&daemon, router);

    // The switch forgets in three seconds what is not reported again, and asks each second.
    let reports = || daemon.count("public-next-hop/mld-reports");
    for version in [2, 1] {
        switch.run(&format!("ip link set dev br0 type bridge mcast_mld_version {version}"));
        let before = reports();
        eventually("queries are answered", || {
            assert!(is_member(), "the switch has forgotten the gateway");
            reports() >= before + 5
        });
    }
    assert!(reaches(router, OUTSIDE6));
    assert_eq!(daemon.count("public-next-hop/mld-errors"), 0);
}

#[test]
fn neighbours_hear_of_the_gateway_when_it_starts_and_when_its_mac_changes() {
    let site = Site::new();
    let (host, gateway, router) = (&site.host, &site.gateway, &site.router);
    router.veth("r0", gateway, "wan", 1);
    router.run("ip address add 192.0.2.254/24 dev r0");
    address6(router, "r0", "2001:db8:ffff::fe");
    let neighbours = [
        (host, "lan", "lan", "10.31.0.20"),
        (host, "lan", "lan", "2001:db8:31::20"),
        (router, "r0", "wan", "192.0.2.31"),
        (router, "r0", "wan", OUTSIDE6),
    ];
    // They know the address of a machine that was here before.
    for (neighbour, device, _, ip) in neighbours {
        neighbour
            .run(&format!("ip neighbour replace {ip} lladdr 02:de:ad:00:00:01 dev {device} nud reachable"));
    }
    let know_the_address = || {
        for (neighbour, device, of_gateway, ip) in neighbours {
            let wanted = mac(gateway, of_gateway);
            eventually(&format!("{device} knows that {ip} is at {wanted}"), || {
                neighbour.run(&format!("ip neighbour show {ip} dev {device}")).contains(&wanted)
            });
        }
    };
    // Next hops are configured, so the gateway asks nothing, and nobody asks for it.
    let configured = private4() + &private6(&mac(host, "lan")) + &public6(&mac(router, "r0"));
    let public4 = "public-interface4 { ifname wan; ip 192.0.2.31; nexthop-ip 192.0.2.254; ";
    let text = format!("{configured}{public4} nexthop-mac {}; }}", mac(router, "r0"));
    let text = text.replace("10.31.0.50;", &format!("10.31.0.50; nexthop-mac {};", mac(host, "lan")));
    let daemon = Daemon::start(&site, &text);
    know_the_address();
    gateway.run("ip link set dev lan address 02:00:5e:10:00:01");
    gateway.run("ip link set dev wan address 02:00:5e:10:00:02");
    know_the_address();
    for leaf in ["arp-requests", "ns-requests", "arp-replies", "na-replies"] {
        assert_eq!(daemon.count(&format!("private-next-hop/{leaf}")), 0, "{leaf}");
        assert_eq!(daemon.count(&format!("public-next-hop/{leaf}")), 0, "{leaf}");
    }
    // A link that comes back may lead to another switch.
    let announced = || daemon.count("public-next-hop/arp-announcements");
    eventually("all has been said", || announced() >= 4);
    router.run("ip link set dev r0 down");
    sleep(Duration::from_millis(2500));
    let before = announced();
    router.run("ip link set dev r0 up");
    eventually("it is said again", || announced() > before);
}

#[test]
fn a_next_hop_that_announces_another_address_is_heard_and_the_kernel_hears_it_too() {
    let site = Site::new();
    let (gateway, router) = (&site.gateway, &site.router);
    router.veth("r0", gateway, "wan", 1);
    // The machine is managed by an address on the same device.
    gateway.run("sysctl -q -w net.ipv4.conf.wan.arp_accept=1");
    gateway.run("ip address add 192.0.2.77/24 dev wan");
    let text = private4()
        + "public-interface4 { ifname wan; ip 192.0.2.31; nexthop-ip 192.0.2.254; mac 02:00:5e:10:00:77; }
           public-interface6 { ifname wan; ip 2001:db8:ffff::31; nexthop-ip 2001:db8:ffff::fe;
                               mac 02:00:5e:10:00:77; }";
    let daemon = Daemon::start(&site, &text);
    eventually("the gateway asks", || {
        daemon.count("public-next-hop/arp-requests") > 0 && daemon.count("public-next-hop/ns-requests") > 0
    });
    // Nobody answers; so what is learnt is learnt from announcements.
    let wire = Injector::at(&router.path(), "r0");
    let announce4 = |mac, ip| wire.send(&site::arp(ArpOperation::REQUEST, (mac, ip), ([0; 6], ip)));
    let announcement6 = |mac, ip| {
        let mut frame = site::advertisement(ip, "ff02::1", true, mac);
        frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
        // Unsolicited (RFC 4861 section 7.1.2), with what that does to the checksum.
        let flags = &mut frame[14 + 40 + 4];
        assert_eq!(*flags & 0x40, 0x40);
        *flags &= !0x40;
        let checksum = u16::from_be_bytes([frame[56], frame[57]]);
        let (sum, carry) = checksum.overflowing_add(0x4000);
        frame[56..58].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
        frame
    };
    let [first, second, third] = [[2, 9, 9, 9, 9, 1], [2, 9, 9, 9, 9, 2], [2, 9, 9, 9, 9, 3]];
    let learnt =
        || ["added", "updated"].map(|what| daemon.count(&format!("public-next-hop/addresses-{what}")));
    announce4(first, "192.0.2.254");
    eventually("the IPv4 address is taken in", || learnt() == [1, 0]);
    wire.send(&announcement6(first, "2001:db8:ffff::fe"));
    eventually("the IPv6 address is taken in", || learnt() == [2, 0]);

    // Not the next hop's; tagged, so of another network; from beyond the link.
    announce4(third, "192.0.2.253");
    let tagged = site::arp(ArpOperation::REQUEST, (third, "192.0.2.254"), ([0; 6], "192.0.2.254"));
    wire.send(&[&tagged[..12], &[0x81, 0, 0, 5], &tagged[12..]].concat());
    let mut forwarded = announcement6(third, "2001:db8:ffff::fe");
    forwarded[14 + 7] = 254;
    wire.send(&forwarded);
    announce4(second, "192.0.2.254");
    wire.send(&announcement6(second, "2001:db8:ffff::fe"));
    eventually("new addresses are taken in", || learnt() == [2, 2]);
    assert_eq!(daemon.count("public-next-hop/nd-errors"), 1);
    assert_eq!(daemon.count("public-next-hop/arp-errors"), 0);
    let of_kernel = || gateway.run("ip neighbour show 192.0.2.254 dev wan");
    eventually("the kernel has its copy", || of_kernel().contains("02:09:09:09:09:02"));
    // The device passes up what is for the gateway's own MAC address.
    let addresses = gateway.run("bridge fdb show dev wan");
    assert!(addresses.contains("02:00:5e:10:00:77"), "{addresses}");

    // A flood is no way to hold up the gateway, and ends.
    for number in 0..2000u16 {
        let [high, low] = number.to_be_bytes();
        announce4([2, 9, 9, 9, high, low], "192.0.2.254");
    }
    eventually("it goes on", || {
        announce4(third, "192.0.2.254");
        daemon.log().contains("next hop 192.0.2.254 is at 02:09:09:09:09:03") || learnt()[1] > 10
    });
}

/// Namespaces of a gateway with a host behind it and a router before it, which is not connected yet.
struct Site {
    host: Netns,
    gateway: Netns,
    router: Netns,
    _turn: Arc<Turn>,
}

impl Site {
    fn new() -> Site {
        // There are few cores.
        let turn = Turn::take_alone();
        let (host, gateway, router) = (Netns::new(), Netns::new(), Netns::new());
        host.veth("lan", &gateway, "lan", 1);
        host.run("ip address add 10.31.0.50/24 dev lan");
        address6(&host, "lan", "2001:db8:31::50");
        Site { host, gateway, router, _turn: turn }
    }
}

/// The daemon of a gateway.
struct Daemon<'a> {
    gateway: &'a Netns,
    process: Child,
    directory: tempfile::TempDir,
}

impl Daemon<'_> {
    fn start<'a>(site: &'a Site, configuration: &str) -> Daemon<'a> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("vita.conf");
        std::fs::write(&file, configuration).expect("the directory can be written");
        let log = std::fs::File::create(directory.path().join("log")).expect("the directory can be written");
        // Dies with the test, however that ends.
        let mut command = site.gateway.command("setpriv");
        command
            .args(["--pdeathsig", "KILL", VITA, "--name", "v31", "--config"])
            .arg(file)
            .env("SNABB_SHM_ROOT", directory.path().join("run"))
            .env("VITA_STATE_DIR", directory.path().join("state"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor is free"))
            .stderr(log);
        let process = command.spawn().expect("setpriv is installed");
        Daemon { gateway: &site.gateway, process, directory }
    }

    /// A leaf below gateway-state; 0 as long as the daemon does not answer.
    fn count(&self, leaf: &str) -> u64 {
        let mut command = self.gateway.command("timeout");
        command
            .args(["60", VITA, "config", "get-state", "v31", &format!("/gateway-state/{leaf}")])
            .env("SNABB_SHM_ROOT", self.directory.path().join("run"));
        let output = command.output().expect("timeout is installed");
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of the gateway:\n{}", self.log());
        }
    }
}

/// The router finds the gateway, and by asking for it: the gateway asks for nobody, and has said all it says unasked.
fn assert_is_found(daemon: &Daemon, router: &Netns) {
    eventually("the announcements are out", || daemon.count("public-next-hop/na-announcements") == 3);
    eventually("the router reaches the gateway", || reaches(router, OUTSIDE6));
    assert_eq!(daemon.count("public-next-hop/ns-requests"), 0);
    assert!(daemon.count("public-next-hop/na-replies") > 0);
}

fn private4() -> String {
    "private-interface4 { ifname lan; ip 10.31.0.20; nexthop-ip 10.31.0.50; }\n".to_string()
}

fn private6(nexthop_mac: &str) -> String {
    format!(
        "private-interface6 {{ ifname lan; ip 2001:db8:31::20; nexthop-ip 2001:db8:31::50; nexthop-mac {nexthop_mac}; }}\n"
    )
}

fn public6(nexthop_mac: &str) -> String {
    format!(
        "public-interface6 {{ ifname wan; ip {OUTSIDE6}; nexthop-ip 2001:db8:ffff::fe; nexthop-mac {nexthop_mac}; }}\n"
    )
}

fn address6(netns: &Netns, device: &str, ip: &str) {
    netns.run(&format!(
        "sysctl -q -w net.ipv6.conf.{device}.disable_ipv6=0 net.ipv6.conf.{device}.accept_dad=0"
    ));
    netns.run(&format!("ip -6 address add {ip}/64 dev {device} nodad"));
}

fn mac(netns: &Netns, device: &str) -> String {
    netns.run(&format!("cat /sys/class/net/{device}/address")).trim().to_string()
}

fn reaches(netns: &Netns, ip: &str) -> bool {
    netns.try_run(&format!("ping -q -c 1 -W 1 {ip}")).is_ok()
}

const OUTSIDE6: &str = "2001:db8:ffff::31";
