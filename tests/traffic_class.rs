// SPDX-License-Identifier: Apache-2.0
//! The traffic class with real daemons: what hosts mark, what the internet sees of it and does to it, what arrives.
//!
//! They need root, and fail without it.

use crate::support::lab::{KUBE_TOKYO, Lab, Pings};
use crate::support::wait::within;
use std::time::Duration;

/// Expedited forwarding, able to do ECN.
const EF_ECT_0: &str = "186";

/// TOS of a few ESP packets from Paris on their way through the internet.
fn outer_tos(lab: &Lab) -> Vec<String> {
    let from_paris = "esp and (src host 203.0.113.2 or src host 203.0.113.3 or src net 172.31.0.0/16)";
    let text =
        lab.must("internet", &["timeout", "30", "tcpdump", "-i", "any", "-n", "-v", "-c", "6", from_paris]);
    let tos = text.lines().filter_map(|line| line.split("(tos 0x").nth(1)?.split([',', ' ']).next());
    tos.map(str::to_string).collect()
}

/// Pings Tokyo with this type of service until the lab goes.
fn ping_for_ever(lab: &mut Lab, tos: &str) {
    lab.background("kube-node-paris", &["ping", "-q", "-i", "0.02", "-Q", tos, KUBE_TOKYO]);
}

/// Has the kernel of a node do this with the packets of a hook.
fn nft(lab: &Lab, node: &str, hook: &str, statement: &str) {
    lab.must(node, &["nft", "add table ip test"]);
    lab.must(
        node,
        &["nft", &format!("add chain ip test chosen {{ type filter hook {hook} priority -150 ; }}")],
    );
    lab.must(node, &["nft", &format!("add rule ip test chosen {statement}")]);
}

/// What a rule with a counter has counted.
fn counted(lab: &Lab, node: &str) -> u32 {
    let text = lab.must(node, &["nft", "list table ip test"]);
    let packets = text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    packets.and_then(|packets| packets.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn the_internet_sees_ecn_and_the_dscp_that_is_configured_and_no_change_of_it_loses_a_packet() {
    let mut lab = Lab::with_tunnel("");
    nft(&lab, "kube-node-tokyo", "input", "ip dscp 46 ip ecn ect0 counter");
    ping_for_ever(&mut lab, EF_ECT_0);
    let observed = lab.spawn(
        "kube-node-paris",
        &["ping", "-q", "-i", "0.01", "-W", "5", "-c", "500", "-Q", EF_ECT_0, KUBE_TOKYO],
    );
    for (rule, expected) in [("none", "2"), ("copy", "ba"), ("10", "2a"), ("none", "2")] {
        let said = lab.set("paris", "/dscp", rule);
        assert!(said.status.success(), "{}", said.text);
        within(SOON, &format!("with dscp {rule} the outer TOS is 0x{expected}"), || {
            let seen = outer_tos(&lab);
            !seen.is_empty() && seen.iter().all(|tos| tos == expected)
        });
    }
    Pings::of(observed).assert_none_lost();
    assert!(counted(&lab, "kube-node-tokyo") >= 500, "as it was marked, so it arrives");
    assert_eq!(lab.counter("tokyo", "inbound-ttl/checksum-errors"), 0);
    let said = lab.set("paris", "/dscp", "64");
    assert!(!said.status.success() && said.text.contains("none|copy"), "{}", said.text);
}

#[test]
fn congestion_on_the_way_reaches_hosts_that_know_it_and_costs_others_the_packet() {
    let lab = Lab::with_tunnel("");
    let ping = |tos| lab.ping("paris", KUBE_TOKYO, &["-c", "20", "-i", "0.02", "-W", "3", "-Q", tos]);
    nft(&lab, "kube-node-tokyo", "input", "ip dscp 46 ip ecn ce counter");
    // Only towards Tokyo, or there would be no answer.
    let towards_tokyo = "ip protocol esp ip saddr { 203.0.113.2, 203.0.113.3, 172.31.1.30, 172.31.1.40 }";
    nft(&lab, "internet", "forward", &format!("{towards_tokyo} ip ecn set ce"));
    ping(EF_ECT_0).assert_none_lost();
    assert_eq!(counted(&lab, "kube-node-tokyo"), 20);
    // The same without ECN.
    assert_eq!(ping("184").received, 0);
    let state = lab.config(&["get-state", "tokyo", "/gateway-state/inbound-sa"]).text;
    let dropped = state.lines().filter_map(|line| line.trim().strip_prefix("ecn-errors ")?.strip_suffix(';'));
    assert_eq!(dropped.map(|count| count.parse::<u32>().unwrap_or(0)).sum::<u32>(), 20, "{state}");
    lab.must("internet", &["nft", "delete table ip test"]);
    ping("184").assert_none_lost();
}

const SOON: Duration = Duration::from_secs(30);
