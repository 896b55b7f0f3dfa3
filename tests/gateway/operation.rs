// SPDX-License-Identifier: Apache-2.0
//! Starting, stopping, restarting, rekeying.

use crate::support::VITA;
use std::fs;

use crate::support::lab::{KUBE_TOKYO, Lab, Pings, SITES, configuration};

#[test]
fn no_packet_is_lost_while_keys_change() {
    // Both queues of both gateways take new keys about every 4 to 5 seconds.
    let lab = Lab::with_tunnel("negotiation-ttl 1; sa-ttl 8;");
    // Which side begins is chance, so what counts is what a site took part in.
    let changes = |site| {
        ["negotiated", "offered"]
            .map(|role| lab.counter(site, &format!("key-manager/keypairs-{role}")))
            .iter()
            .sum::<u64>()
    };
    let before = SITES.map(changes);
    Pings::of(lab.ping_for(24)).assert_none_lost();
    for (site, before) in SITES.into_iter().zip(before) {
        let rekeyed = changes(site) - before;
        assert!(rekeyed >= 8, "vita-{site} changed its keys {rekeyed} times only");
    }
}

#[test]
fn a_restarted_gateway_takes_up_its_tunnels_again() {
    let mut lab = Lab::with_tunnel("negotiation-ttl 1;");
    for signal in ["TERM", "KILL"] {
        lab.stop("tokyo", signal);
        assert_eq!(lab.ping("paris", KUBE_TOKYO, &["-c", "2", "-i", "0.1", "-W", "1"]).received, 0);
        lab.start("tokyo", &[]);
        lab.configure("tokyo", &configuration("tokyo", "negotiation-ttl 1;"));
        lab.await_tunnel();
    }
}

#[test]
fn a_configuration_file_is_loaded_at_the_start() {
    let mut lab = Lab::raise();
    for site in SITES {
        let file = lab.file(&format!("{site}.conf"));
        fs::write(&file, configuration(site, "")).expect("the lab's directory can be written");
        lab.start(site, &["--config", file.to_str().expect("temporary names are ASCII")]);
    }
    lab.await_tunnel();
}

#[test]
fn a_broken_configuration_file_is_reported_with_its_line() {
    let lab = Lab::raise();
    let file = lab.file("broken.conf");
    fs::write(&file, "mtu 1440;\nsa-ttl 8\n}\n").expect("the lab's directory can be written");
    let file = file.to_str().expect("temporary names are ASCII");
    let words = ["timeout", "20", "env", &shm(&lab), VITA, "--name", "paris", "--xdp", "--config", file];
    let said = lab.run("vita-paris", &words);
    assert!(matches!(said.status.code(), Some(code) if code != 0 && code != 124), "{said:?}");
    assert!(said.text.contains(":3:1: "), "no line and column in: {}", said.text);
}

#[test]
fn a_name_belongs_to_one_daemon() {
    let lab = Lab::with_tunnel("");
    let words = ["timeout", "20", "env", &shm(&lab), VITA, "--name", "paris", "--xdp"];
    let said = lab.run("vita-paris", &words);
    assert!(matches!(said.status.code(), Some(code) if code != 0 && code != 124), "{said:?}");
    assert!(said.text.contains("taken"), "{}", said.text);
    // The one that has it is not troubled.
    lab.ping("paris", KUBE_TOKYO, &["-c", "5", "-i", "0.05"]).assert_none_lost();
    assert!(lab.config(&["get", "paris", "/mtu"]).status.success());
}

#[test]
fn the_name_of_a_dead_daemon_is_free() {
    let mut lab = Lab::raise();
    lab.start("paris", &[]);
    let dead = lab.run_directory().join(lab.pid("paris").to_string());
    lab.stop("paris", "KILL");
    assert!(dead.exists(), "a killed daemon cannot clean up");
    lab.start("paris", &[]);
    let by_name = lab.run_directory().join("by-name/paris");
    let now = fs::canonicalize(&by_name).expect("the name leads to a directory");
    assert!(now.ends_with(lab.pid("paris").to_string()), "{by_name:?} leads to {now:?}");
}

#[test]
fn a_terminated_daemon_leaves_nothing_behind() {
    for signal in ["TERM", "INT"] {
        let mut lab = Lab::with_tunnel("");
        let directory = lab.run_directory().join(lab.pid("paris").to_string());
        assert!(directory.exists());
        for device in DEVICES {
            assert!(has_xdp_program(&lab, device), "nothing is attached to {device}");
        }
        let status = lab.stop("paris", signal);
        assert_eq!(status.code(), Some(0), "after SIG{signal}: {status}");
        assert!(!directory.exists(), "{directory:?} is still there");
        assert!(
            fs::symlink_metadata(lab.run_directory().join("by-name/paris")).is_err(),
            "the name is still there"
        );
        for device in DEVICES {
            assert!(!has_xdp_program(&lab, device), "the XDP program is still attached to {device}");
        }
    }
}

#[test]
fn an_xdp_program_goes_with_a_killed_daemon() {
    let mut lab = Lab::with_tunnel("");
    lab.stop("paris", "KILL");
    for device in DEVICES {
        assert!(!has_xdp_program(&lab, device), "the XDP program is still attached to {device}");
    }
}

#[test]
fn what_get_prints_can_be_set_again_and_changes_nothing() {
    let lab = Lab::with_tunnel("");
    let (printed, configured) = (lab.config(&["get", "paris", "/"]).text, lab.configured("paris"));
    let pings = lab.ping_for(4);
    let said = lab.set("paris", "/", &printed);
    assert!(said.status.success(), "{}", said.text);
    assert_eq!(lab.configured("paris"), configured);
    Pings::of(pings).assert_none_lost();
}

#[test]
fn a_change_that_touches_other_routes_loses_no_packet() {
    let lab = Lab::with_tunnel("");
    let pings = lab.ping_for(6);
    for number in 1..=20 {
        let route = format!(
            "{{ id other{number}; spi {}; net \"10.{number}.0.0/16\"; preshared-key {number:064x}; gateway {{ ip 203.0.113.9; }} }}",
            2000 + number
        );
        let said = lab.config(&["add", "paris", "/route4", &route]);
        assert!(said.status.success(), "{}", said.text);
    }
    for number in 1..=20 {
        let said = lab.config(&["remove", "paris", &format!("/route4[id=other{number}]")]);
        assert!(said.status.success(), "{}", said.text);
    }
    assert!(lab.set("paris", "/mtu", "1400").status.success());
    assert!(lab.set("paris", "/mtu", "1440").status.success());
    Pings::of(pings).assert_none_lost();
}

fn has_xdp_program(lab: &Lab, device: &str) -> bool {
    lab.must("vita-paris", &["ip", "link", "show", "dev", device]).contains("xdp")
}

fn shm(lab: &Lab) -> String {
    format!("SNABB_SHM_ROOT={}", lab.run_directory().display())
}

const DEVICES: [&str; 3] = ["eth1", "eth2", "eth3"];
