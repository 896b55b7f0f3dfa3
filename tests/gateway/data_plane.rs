// SPDX-License-Identifier: Apache-2.0
//! Security associations with configured keys, and a look at those that are negotiated.

use std::time::Duration;

use super::lab::{Lab, Pings, SITES, configuration, eventually};

/// The other end of a site's associations.
fn other(site: &str) -> &'static str {
    if site == "paris" { "tokyo" } else { "paris" }
}

/// An entry of a list of associations: traffic from `from`, on a queue. Its key is that of the generation.
fn entry(from: &str, route: &str, queue: u32, generation: u32, more: &str) -> String {
    let direction = u32::from(from == "paris");
    let spi = 1000 + 100 * direction + 10 * queue + generation;
    format!(
        "{{ spi {spi}; queue {queue}; route {route}; aead aes-gcm-16-icv; key {:032x}; salt {:08x}; {more} }}",
        (spi << 8) + 1,
        spi
    )
}

/// A site's lists for both queues.
fn associations(site: &str, generation: u32, more: &str) -> String {
    let peer = other(site);
    let of_queue = |queue| {
        let outbound = entry(site, peer, queue, generation, more);
        let inbound = entry(peer, peer, queue, generation, more);
        format!("outbound-sa {outbound}\ninbound-sa {inbound}\n")
    };
    format!("data-plane true;\n{}{}", of_queue(1), of_queue(2))
}

fn manual(site: &str, generation: u32, more: &str) -> String {
    configuration(site, &associations(site, generation, more))
}

/// A lab whose gateways share configured keys.
fn lab(more: &str) -> Lab {
    let mut lab = Lab::raise();
    for site in SITES {
        lab.start(site, &[]);
        lab.configure(site, &manual(site, 1, more));
    }
    lab.await_tunnel();
    lab
}

fn decrypt_errors(lab: &Lab, site: &str) -> u64 {
    let said = lab.config(&["get-state", "--format", "xpath", site, "/gateway-state/inbound-sa"]);
    assert!(said.status.success(), "{said:?}");
    let lines = said.text.lines().filter(|line| line.contains("decrypt-errors"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn refused(lab: &Lab, arguments: &[&str], words: &str) {
    let said = lab.config(arguments);
    assert_eq!(said.status.code(), Some(1), "{arguments:?}: {said:?}");
    assert!(said.text.contains(words), "{arguments:?}: {}", said.text);
}

#[test]
fn gateways_with_configured_keys_need_no_exchange() {
    let lab = lab("");
    lab.ping("paris", super::lab::KUBE_TOKYO, &["-c", "50", "-i", "0.02"]).assert_none_lost();
    for site in SITES {
        assert_eq!(lab.counter(site, "key-manager/negotiations-initiated"), 0);
        assert_eq!(decrypt_errors(&lab, site), 0);
        assert!(lab.log(site).contains("nonces repeat"), "no warning in the log");
    }
    // What is printed can be set, and changes nothing.
    let printed = lab.config(&["get", "paris", "/"]).text;
    let pings = lab.ping_for(4);
    lab.configure("paris", &printed);
    assert_eq!(lab.config(&["get", "paris", "/"]).text, printed);
    // A restart of a worker under a live key goes on where it was: a repeated number would be a replay.
    Pings::of(pings).assert_none_lost();
    assert_eq!(lab.config(&["history", "paris"]).text.lines().count(), 1);
    let errors = lab.counter("paris", "public-dispatch/protocol-errors");
    let public = "172.31.1.30";
    let send = format!("echo knock > /dev/udp/{public}/303");
    lab.run("vita-tokyo", &["ip", "route"]);
    drop((errors, send));
}
