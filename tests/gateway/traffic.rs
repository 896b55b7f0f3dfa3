// SPDX-License-Identifier: Apache-2.0
//! Packets between the sites, and what the internet sees of them.

use std::time::Duration;

use crate::support::lab::{KUBE_PARIS, KUBE_TOKYO, Lab};
use crate::support::wait::within;

#[test]
fn the_example_unchanged_connects_its_sites_both_ways() {
    let lab = Lab::with_tunnel("");
    lab.ping("paris", KUBE_TOKYO, &["-c", "50", "-i", "0.02"]).assert_none_lost();
    lab.ping("tokyo", KUBE_PARIS, &["-c", "50", "-i", "0.02"]).assert_none_lost();
    // From an empty packet to the largest that the tunnel takes.
    for size in ["0", "1", "2", "3", "64", "1412"] {
        let pings = lab.ping("paris", KUBE_TOKYO, &["-c", "5", "-i", "0.02", "-M", "do", "-s", size]);
        pings.assert_none_lost();
    }
}

#[test]
fn the_gateways_answer_pings_from_both_sites() {
    let lab = Lab::with_tunnel("");
    for gateway in ["172.31.1.20", "172.32.1.20"] {
        lab.ping("paris", gateway, &["-c", "5", "-i", "0.1"]).assert_none_lost();
        lab.ping("tokyo", gateway, &["-c", "5", "-i", "0.1"]).assert_none_lost();
    }
}

#[test]
fn a_traceroute_shows_the_own_gateway_the_far_gateway_and_the_target() {
    let lab = Lab::with_tunnel("");
    for (node, target, hops) in [
        ("kube-node-paris", KUBE_TOKYO, ["172.31.1.20", "172.32.1.20", KUBE_TOKYO]),
        ("kube-node-tokyo", KUBE_PARIS, ["172.32.1.20", "172.31.1.20", KUBE_PARIS]),
    ] {
        for probe in ["--udp", "--icmp"] {
            let text = lab.must(node, &["traceroute", "-n", "-q", "1", "-w", "5", "-m", "8", probe, target]);
            let seen: Vec<&str> =
                text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
            assert_eq!(seen, hops, "{text}");
        }
    }
}

#[test]
fn tcp_and_udp_transfers_complete_in_both_directions() {
    let mut lab = Lab::with_tunnel("");
    start_iperf_server(&mut lab);
    for direction in [&[][..], &["-R"]] {
        let tcp = iperf(&lab, &[&["-n", "64M"], direction].concat());
        let received = tcp["end"]["sum_received"]["bytes"].as_u64().unwrap_or(0);
        assert!(received >= 60 << 20, "{tcp}");

        let udp = iperf(&lab, &[&["-u", "-b", "20M", "-l", "1300", "-n", "8M"], direction].concat());
        let lost = udp["end"]["sum"]["lost_percent"].as_f64().unwrap_or(100.0);
        assert!(lost < 50.0, "{udp}");
    }
    // Many connections at once, so that both queues of the private interface have work.
    let tcp = iperf(&lab, &["-n", "64M", "-P", "8"]);
    assert!(tcp["end"]["sum_received"]["bytes"].as_u64().unwrap_or(0) >= 32 << 20, "{tcp}");
}

#[test]
fn only_esp_and_the_key_exchange_cross_the_internet() {
    let mut lab = Lab::with_tunnel("");
    // Everything but what may be there: ESP and UDP/303 between public addresses, and the links' own ARP.
    let clear = "not arp and not ((ip proto 50 or (udp src port 303 and udp dst port 303)) \
                 and src net 203.0.113.0/24 and dst net 203.0.113.0/24)";
    let pcap = lab.file("clear.pcap");
    let pcap = pcap.to_str().expect("temporary names are ASCII");
    let capture = ["tcpdump", "-i", "any", "-n", "-U", "--immediate-mode", "-Z", "root", "-w", pcap, clear];
    lab.background("internet", &capture);
    start_iperf_server(&mut lab);
    let caught = || lab.run("internet", &["tcpdump", "-n", "-r", pcap]).text.matches("IP ").count();
    // A node's management address leads past the gateways. These packets must be caught: the proof that the capture works.
    let in_clear = || lab.run("kube-node-paris", &["ping", "-c", "1", "-W", "1", "203.0.113.8"]);
    within(Duration::from_secs(20), "the capture catches a packet sent in clear", || {
        in_clear();
        caught() > 0
    });
    let before = caught();

    lab.ping("paris", KUBE_TOKYO, &["-c", "20", "-i", "0.02"]).assert_none_lost();
    iperf(&lab, &["-n", "16M"]);
    iperf(&lab, &["-u", "-b", "20M", "-l", "1300", "-n", "2M"]);
    lab.run("kube-node-paris", &["traceroute", "-n", "-q", "1", "-w", "2", "-m", "4", KUBE_TOKYO]);

    let during = caught();
    in_clear();
    within(Duration::from_secs(20), "the capture still catches", || caught() > during);
    let text = lab.run("internet", &["tcpdump", "-n", "-r", pcap]).text;
    assert_eq!(during, before, "packets crossed the internet in clear:\n{text}");
}

#[test]
fn a_packet_too_big_for_the_tunnel_is_answered_with_the_mtu() {
    let lab = Lab::with_tunnel("");
    // Without the route's own MTU the node has to be told by the gateway.
    let route = ["ip", "route", "replace", "172.32.0.0/16", "via", "172.31.1.20", "dev", "eth0"];
    lab.must("kube-node-paris", &route);
    let before = lab.counter("paris", "private-router/mtu-errors");
    let pings =
        lab.run("kube-node-paris", &["ping", "-c", "1", "-W", "3", "-M", "do", "-s", "1472", KUBE_TOKYO]);
    assert!(pings.text.contains("Frag needed and DF set (mtu = 1440)"), "{}", pings.text);
    assert!(pings.text.contains("From 172.31.1.20"), "{}", pings.text);
    assert!(lab.counter("paris", "private-router/mtu-errors") > before);

    // The node has learned: what follows it cuts itself, and it arrives.
    let pings = lab.ping("paris", KUBE_TOKYO, &["-c", "5", "-i", "0.1", "-M", "want", "-s", "1472"]);
    pings.assert_none_lost();
    lab.must("kube-node-paris", &["ip", "route", "flush", "cache"]);
    let path = lab.must("kube-node-paris", &["tracepath", "-n", "-m", "8", KUBE_TOKYO]);
    assert!(path.contains("Resume: pmtu 1440 hops 3"), "{path}");
}

/// Between hosts and gateways no ICMP passes, so that nobody is told what fits.
#[test]
fn connections_and_long_datagrams_pass_though_nobody_is_told_what_fits() {
    let mut lab = Lab::with_tunnel("");
    for (site, far) in [("paris", "172.32.0.0/16"), ("tokyo", "172.31.0.0/16")] {
        let node = format!("kube-node-{site}");
        let gateway = if site == "paris" { "172.31.1.20" } else { "172.32.1.20" };
        // Their route has the MTU of Ethernet.
        lab.must(&node, &["ip", "route", "replace", far, "via", gateway, "dev", "eth0"]);
        lab.must(&node, &["sysctl", "-q", "-w", "net.ipv4.tcp_mtu_probing=0"]);
        for statement in [
            "add table ip test",
            "add chain ip test chosen { type filter hook input priority -150 ; }",
            "add rule ip test chosen ip protocol icmp drop",
        ] {
            lab.must(&node, &["nft", statement]);
        }
    }
    start_iperf_server(&mut lab);
    // One gateway is enough for both directions of a connection.
    let unclamped = |site| {
        let said = lab.set(site, "/mss-clamp", "false");
        assert!(said.status.success(), "{}", said.text);
    };
    unclamped("tokyo");
    let tcp = iperf(&lab, &["-n", "8M"]);
    // What is still on its way when the sender ends is not counted.
    assert!(tcp["end"]["sum_received"]["bytes"].as_u64().unwrap_or(0) >= 4 << 20, "{tcp}");
    assert!(lab.counter("paris", "packet-size/outbound-mss-clamped") > 0);
    assert!(lab.counter("paris", "packet-size/inbound-mss-clamped") > 0);

    // UDP without DF: 1500 bytes with its headers, both ways.
    let fragments = |value: &str| {
        for node in ["kube-node-paris", "kube-node-tokyo"] {
            lab.must(node, &["sysctl", "-q", "-w", &format!("net.ipv4.ip_no_pmtu_disc={value}")]);
        }
    };
    fragments("1");
    for (direction, receiver) in [(&[][..], "kube-node-tokyo"), (&["-R"], "kube-node-paris")] {
        let reassembled = || {
            let text = lab.must(receiver, &["nstat", "-a", "-z", "-s", "IpReasmOKs"]);
            let count = text.lines().find_map(|line| line.strip_prefix("IpReasmOKs"));
            count.and_then(|count| count.split_whitespace().next()?.parse::<u64>().ok()).expect("a count")
        };
        let before = reassembled();
        let udp = iperf(&lab, &[&["-u", "-b", "4M", "-l", "1472", "-n", "736000"], direction].concat());
        assert_eq!(udp["end"]["sum"]["lost_packets"].as_u64(), Some(0), "{udp}");
        assert!(reassembled() >= before + 500, "{} to {}", before, reassembled());
    }
    assert!(lab.counter("paris", "packet-size/fragmented-packets") >= 500);
    fragments("0");

    // It is the gateway's doing that connections pass.
    unclamped("paris");
    let stalled = lab.run("kube-node-paris", &["timeout", "8", "iperf3", "-c", KUBE_TOKYO, "-n", "8M"]);
    assert!(!stalled.status.success(), "{}", stalled.text);
}

fn start_iperf_server(lab: &mut Lab) {
    lab.background("kube-node-tokyo", &["iperf3", "-s"]);
    within(Duration::from_secs(20), "the iperf3 server listens", || {
        lab.must("kube-node-tokyo", &["ss", "-ltn"]).contains(":5201")
    });
}

fn iperf(lab: &Lab, options: &[&str]) -> serde_json::Value {
    let words = [&["timeout", "120", "iperf3", "-J", "-c", KUBE_TOKYO], options].concat();
    let text = lab.must("kube-node-paris", &words);
    // Warnings may follow.
    let mut values = serde_json::Deserializer::from_str(&text).into_iter();
    values.next().and_then(Result::ok).unwrap_or_else(|| panic!("no figures: {text}"))
}
