// SPDX-License-Identifier: Apache-2.0
//! Configurations that are not accepted, and what that does to running traffic: nothing.

use crate::support::lab::{Lab, Pings, configuration};

#[test]
fn a_refused_configuration_changes_nothing() {
    let lab = Lab::with_tunnel("");
    let example = configuration("paris", "");
    let pid = lab.pid("paris");
    let before = lab.configured("paris");
    let pings = lab.ping_for(10);
    for (from, to, word) in REFUSED {
        assert!(example.contains(from), "the example has no {from:?}");
        refused(&lab, "/", &example.replacen(from, to, 1), word);
    }
    for (path, value) in [
        ("/mtu", "99999"),
        ("/mtu", "many"),
        ("/sa-ttl", "0"),
        ("/protocol-port", "65536"),
        ("/tfc", "maybe"),
    ] {
        refused(&lab, path, value, value);
    }
    refused(&lab, "/nothing", "1", "nothing");
    refused(&lab, "/route4[id=nobody]", "net \"10.0.0.0/8\";", "nobody");
    for text in ["mtu", "mtu 1440", "mtu 1440;;", "route4 {", "}", "mtu 1440; mtu 1441;", "\u{0}\u{1}\u{2}"] {
        refused(&lab, "/", text, "");
    }
    assert_eq!(lab.configured("paris"), before);
    Pings::of(pings).assert_none_lost();
    assert_eq!(lab.pid("paris"), pid);
}

#[test]
fn a_syntax_error_is_shown_where_it_is() {
    let lab = Lab::with_tunnel("");
    let said = lab.set("paris", "/", "mtu 1440;\nsa-ttl 600;\n  mtu ! {\n");
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    assert!(
        said.text.contains(":3:9: ") && said.text.contains('^'),
        "no line, or no caret, in: {}",
        said.text
    );
}

#[test]
fn a_missing_interface_is_named() {
    refused_at_first("ifname eth2;", "ifname eth9;", &["eth9"]);
}

#[test]
fn a_queue_that_a_device_does_not_have_is_named_with_the_remedy() {
    let (mut lab, example) = (Lab::raise(), configuration("paris", ""));
    lab.must("vita-paris", &["ethtool", "--set-channels", "eth1", "rx", "1", "tx", "1"]);
    lab.start("paris", &[]);
    let said = refused(&lab, "/", &example, "eth1");
    assert!(said.contains("no queue 2: it has 1 queue"), "{said}");
    let (_, remedy) = said.split_once("; ").expect("a remedy");
    let remedy: Vec<&str> = remedy.split_whitespace().collect();
    assert_eq!(remedy, ["ethtool", "--set-channels", "eth1", "rx", "2", "tx", "2"]);
    lab.must("vita-paris", &remedy);
    lab.configure("paris", &example);
}

#[test]
fn a_queue_that_a_device_cannot_have_is_named() {
    refused_at_first(
        "ifname eth2;\n  device-queue 1;",
        "ifname eth2;\n  device-queue 7;",
        &["eth2 has no queue 7 and cannot have it"],
    );
}

#[test]
fn two_interfaces_cannot_share_a_device_queue() {
    refused_at_first("ifname eth3;", "ifname eth2;", &["eth2"]);
}

#[test]
fn a_pci_address_is_refused_with_the_remedy() {
    refused_at_first("ifname eth2;", "pci 00:05.0;", &["00:05.0", "ifname"]);
}

#[test]
fn an_interface_that_is_down_is_named_with_the_remedy() {
    let mut lab = Lab::raise();
    lab.start("paris", &[]);
    lab.must("vita-paris", &["ip", "link", "set", "eth3", "down"]);
    let said = refused(&lab, "/", &configuration("paris", ""), "eth3");
    assert!(said.contains("down") && said.contains("ip link set"), "{said}");
    lab.must("vita-paris", &["ip", "link", "set", "eth3", "up"]);
    lab.configure("paris", &configuration("paris", ""));
}

/// A daemon that has no configuration refuses this one, says so, goes on running, and takes the right one afterwards.
fn refused_at_first(from: &str, to: &str, words: &[&str]) {
    let mut lab = Lab::raise();
    lab.start("paris", &[]);
    let example = configuration("paris", "");
    assert!(example.contains(from), "the example has no {from:?}");
    let said = refused(&lab, "/", &example.replacen(from, to, 1), "");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    assert_eq!(lab.config(&["get", "paris", "/"]).text.trim(), "", "some of it was kept");
    lab.configure("paris", &example);
}

fn refused(lab: &Lab, path: &str, value: &str, word: &str) -> String {
    let said = lab.set("paris", path, value);
    assert_eq!(said.status.code(), Some(1), "{path} {value:?}: {said:?}");
    assert!(said.text.contains(word), "no {word:?} in the answer to {path} {value:?}: {}", said.text);
    assert!(!said.text.trim().is_empty(), "no reason is given for {path} {value:?}");
    assert!(
        lab.config(&["get", "paris", "/mtu"]).status.success(),
        "the daemon is gone after {path} {value:?}"
    );
    said.text
}

/// In the example: this, replaced by that, and what the answer has to name.
const REFUSED: &[(&str, &str, &str)] = &[
    ("ifname eth2;", "ifname eth9;", "eth9"),
    ("ifname eth3;", "ifname eth2;", "eth2"),
    ("ifname eth2;\n  device-queue 1;", "ifname eth2;\n  device-queue 7;", "eth2"),
    ("ifname eth2;", "ifname a-name-that-is-too-long;", "a-name-that-is-too-long"),
    ("ifname eth1;", "pci 00:05.0;", "00:05.0"),
    ("ip 172.31.1.30;", "ip 172.31.1.300;", "172.31.1.300"),
    ("ip 172.31.1.40;", "ip 172.31.1.30;", "172.31.1.30"),
    ("queue 2;\n  ifname", "queue 1;\n  ifname", "queue"),
    ("queue 2;\n  ifname", "queue 0;\n  ifname", "queue"),
    ("nexthop-ip 172.31.0.1;", "", "nexthop-ip"),
    ("mac 0a:42:13:9e:a8:ae;", "mac 0a:42:13:9e:a8;", "0a:42:13:9e:a8"),
    ("spi 1234;", "spi 255;", "255"),
    ("spi 1234;", "spi 4294967296;", "4294967296"),
    ("net \"172.32.0.0/16\";", "net \"172.32.0.0\";", "172.32.0.0"),
    ("net \"172.32.0.0/16\";", "net \"172.32.0.0/33\";", "172.32.0.0/33"),
    ("preshared-key \"ACAB", "preshared-key \"", "preshared-key"),
    ("gateway { queue 2;", "gateway { queue 1;", "queue"),
    ("id tokyo;", "id \"to kyo\";", "to kyo"),
    ("mtu 1440;", "mtu 8924;", "8924"),
    ("mtu 1440;", "mtu 1440; nonsense 1;", "nonsense"),
];
