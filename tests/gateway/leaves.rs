// SPDX-License-Identifier: Apache-2.0
//! Every leaf of the configuration does what it says, and can be changed while packets pass.

use std::time::Duration;

use crate::support::lab::{KUBE_TOKYO, Lab, Pings, SITES, TUNNEL_WAIT, configuration};
use crate::support::wait::within;

#[test]
fn settings_change_under_traffic_and_lose_nothing() {
    let lab = Lab::with_tunnel("");
    let pings = lab.pings("0.01", 1000);
    let other = "{ id other; spi 2000; net \"10.1.0.0/16\"; gateway { ip 203.0.113.9; } \
                 preshared-key 5555555555555555555555555555555555555555555555555555555555555555; }";
    let change = |said: crate::support::lab::Said| assert!(said.status.success(), "{}", said.text);
    let set = |path: &str, value: &str| SITES.map(|site| change(lab.set(site, path, value)));
    for (path, value) in [
        ("/mtu", "1300"),
        ("/tfc", "true"),
        ("/mtu", "1400"),
        ("/tfc", "false"),
        ("/ecn", "false"),
        ("/ecn", "true"),
        ("/negotiation-ttl", "2"),
        ("/sa-ttl", "300"),
        ("/protocol-port", "4500"),
        ("/mtu", "1440"),
    ] {
        set(path, value);
        change(lab.config(&["add", "paris", "/route4", other]));
        change(lab.config(&["remove", "paris", "/route4[id=other]"]));
    }
    for (path, value) in [
        ("/private-interface4/nexthop-mac", "02:00:00:00:31:01"),
        ("/public-interface4[ip=172.31.1.30]/nexthop-mac", "02:00:00:00:31:01"),
        ("/public-interface4[ip=172.31.1.40]/nat-ip", "203.0.113.3"),
    ] {
        change(lab.set("paris", path, value));
    }
    Pings::of(pings).assert_none_lost();
}

#[test]
fn mtu_is_the_largest_packet_that_passes() {
    let lab = Lab::with_tunnel("");
    let largest = |size: &str| unbroken(&lab, size);
    largest("1412").assert_none_lost();
    assert!(lab.set("paris", "/mtu", "1400").status.success());
    let said = largest("1412").said.text;
    assert!(said.contains("Frag needed and DF set (mtu = 1400)"), "{said}");
    largest("1372").assert_none_lost();
}

#[test]
fn the_mtu_follows_the_devices() {
    let lab = Lab::with_tunnel("");
    let effective = || lab.counter("paris", "effective-mtu");
    assert_eq!(effective(), 1440);
    lab.must("vita-paris", &["ip", "link", "set", "eth3", "mtu", "1300"]);
    // 1300 bytes less the outer header, ESP's header, trailer and ICV.
    within(SOON, "the MTU is what eth3 can carry", || effective() == 1246);
    let said = unbroken(&lab, "1400").said.text;
    assert!(said.contains("Frag needed and DF set (mtu = 1246)"), "{said}");
    lab.must("vita-paris", &["ip", "link", "set", "eth3", "mtu", "1500"]);
    within(SOON, "the MTU is as configured again", || effective() == 1440);
}

#[test]
fn without_nat_ip_there_is_no_tunnel_and_the_log_says_why() {
    let mut lab = Lab::raise();
    for site in SITES {
        lab.start(site, &[]);
        let text = configuration(site, "negotiation-ttl 1;");
        let bare: Vec<&str> = text.lines().filter(|line| !line.contains("nat-ip")).collect();
        lab.configure(site, &bare.join("\n"));
    }
    within(TUNNEL_WAIT, "the log names nat-ip", || {
        lab.log("paris").contains("does not authenticate: compare")
    });
    assert!(lab.log("paris").contains("nat-ip"), "{}", lab.log("paris"));
    assert_eq!(lab.ping("paris", KUBE_TOKYO, &["-c", "3", "-i", "0.2", "-W", "1"]).received, 0);
    for (site, path, outside) in [
        ("paris", "/public-interface4[ip=172.31.1.30]/nat-ip", "203.0.113.2"),
        ("paris", "/public-interface4[ip=172.31.1.40]/nat-ip", "203.0.113.3"),
        ("tokyo", "/public-interface4[ip=172.32.1.30]/nat-ip", "203.0.113.5"),
        ("tokyo", "/public-interface4[ip=172.32.1.40]/nat-ip", "203.0.113.6"),
    ] {
        let said = lab.set(site, path, outside);
        assert!(said.status.success(), "{}", said.text);
    }
    lab.await_tunnel();
}

#[test]
fn device_queue_says_which_queue_and_queue_is_its_default() {
    let mut lab = Lab::raise();
    lab.start("paris", &[]);
    let text = configuration("paris", "");
    let second = text.replace("ifname eth3;\n  device-queue 1;", "ifname eth3;");
    assert_ne!(text, second);
    let said = lab.set("paris", "/", &second);
    assert!(said.text.contains("eth3 has no queue 2"), "{}", said.text);
    let first = text.replace("ifname eth2;\n  device-queue 1;", "ifname eth2;");
    assert_ne!(text, first);
    lab.configure("paris", &first);
}

#[test]
fn the_key_exchange_runs_on_protocol_port() {
    let lab = Lab::with_tunnel("negotiation-ttl 1; sa-ttl 8; protocol-port 4500;");
    let port = "udp src port 4500 and udp dst port 4500";
    lab.must("internet", &["timeout", "30", "tcpdump", "-i", "any", "-n", "-c", "8", port]);
    let other =
        lab.run("internet", &["timeout", "3", "tcpdump", "-i", "any", "-n", "-c", "1", "udp port 303"]);
    assert_eq!(other.status.code(), Some(124), "{}", other.text);
}

#[test]
fn a_negotiation_is_given_up_after_negotiation_ttl() {
    let mut lab = Lab::raise();
    lab.start("paris", &[]);
    lab.configure("paris", &configuration("paris", "negotiation-ttl 1;"));
    // Two queues; with the default of 5 seconds it would be four by then.
    within(Duration::from_secs(12), "six negotiations are given up", || {
        lab.counter("paris", "key-manager/negotiations-expired") >= 6
    });
    assert!(lab.log("paris").contains("does not answer the key exchange"), "{}", lab.log("paris"));
}

#[test]
fn an_sa_ends_after_sa_ttl() {
    let mut lab = Lab::with_tunnel("negotiation-ttl 1; sa-ttl 6;");
    lab.stop("tokyo", "TERM");
    within(SOON, "no SA is left", || {
        lab.counter("paris", "key-manager/outbound-sa-expired") >= 2
            && !lab.config(&["get-state", "paris", "/gateway-state"]).text.contains("inbound-sa {")
    });
    assert!(lab.log("paris").contains("route tokyo, queue 1: down"), "{}", lab.log("paris"));
}

#[test]
fn mac_is_the_devices_own_unless_configured() {
    let mut lab = Lab::raise();
    let site = "paris";
    let text = configuration(site, "negotiation-ttl 1;");
    let without: Vec<&str> = text.lines().filter(|line| !line.trim().starts_with("mac ")).collect();
    lab.must("vita-paris", &["ip", "link", "set", "eth1", "address", "02:00:00:00:aa:01"]);
    lab.start(site, &[]);
    lab.configure(site, &without.join("\n"));
    lab.start("tokyo", &[]);
    lab.configure("tokyo", &configuration("tokyo", "negotiation-ttl 1;"));
    lab.await_tunnel();
    let neighbour = || {
        lab.run("kube-node-paris", &["ip", "neigh", "flush", "all"]);
        lab.ping(site, "172.31.1.20", &["-c", "1", "-W", "1"]);
        lab.must("kube-node-paris", &["ip", "neigh", "show", "172.31.1.20"])
    };
    assert!(neighbour().contains("02:00:00:00:aa:01"));

    // The device gets another one while the gateway runs.
    lab.must("vita-paris", &["ip", "link", "set", "eth1", "address", "02:00:00:00:aa:02"]);
    within(SOON, "the gateway answers with the new address", || neighbour().contains("02:00:00:00:aa:02"));
    lab.await_tunnel();

    // One that the device does not have.
    assert!(lab.set(site, "/private-interface4/mac", "02:00:00:00:aa:03").status.success());
    within(SOON, "the gateway answers with the configured address", || {
        neighbour().contains("02:00:00:00:aa:03")
    });
    lab.await_tunnel();
}

#[test]
fn with_nexthop_mac_nobody_is_asked() {
    let mut lab = Lab::raise();
    for site in SITES {
        lab.start(site, &[]);
        let net = if site == "paris" { 31 } else { 32 };
        let next = format!("nexthop-ip 172.{net}.0.1;");
        let text =
            configuration(site, "").replace(&next, &format!("{next} nexthop-mac 02:00:00:00:{net}:01;"));
        lab.configure(site, &text);
    }
    lab.await_tunnel();
    for side in ["private", "public"] {
        assert_eq!(lab.counter("paris", &format!("{side}-next-hop/arp-requests")), 0, "{side}");
    }
}

#[test]
fn with_tfc_all_packets_are_equally_long() {
    let mut lab = Lab::with_tunnel("tfc true;");
    let pcap = lab.file("esp.pcap");
    let pcap = pcap.to_str().expect("temporary names are ASCII");
    lab.background(
        "internet",
        &["tcpdump", "-i", "any", "-n", "-U", "--immediate-mode", "-Z", "root", "-w", pcap, "esp"],
    );
    let lengths = || {
        let text = lab.run("internet", &["tcpdump", "-n", "-r", pcap]).text;
        let lengths =
            text.lines().filter(|line| line.contains("ESP(")).filter_map(|line| line.split("length ").nth(1));
        lengths.map(str::to_string).collect::<Vec<_>>()
    };
    within(SOON, "the capture has packets of every size", || {
        for size in ["0", "1", "500", "1412"] {
            lab.ping("paris", KUBE_TOKYO, &["-c", "3", "-i", "0.02", "-s", size]).assert_none_lost();
        }
        lengths().len() >= 20
    });
    let lengths = lengths();
    assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
}

/// Pings of this size that may not be fragmented, with the errors that come back.
fn unbroken(lab: &Lab, size: &str) -> Pings {
    let words = ["ping", "-c", "2", "-i", "0.1", "-W", "3", "-M", "do", "-s", size, KUBE_TOKYO];
    Pings::read(lab.run("kube-node-paris", &words))
}

const SOON: Duration = Duration::from_secs(20);
