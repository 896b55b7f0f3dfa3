// SPDX-License-Identifier: Apache-2.0
//! Associations with configured keys, and a look at those that were negotiated.

use std::collections::BTreeSet;

use crate::support::lab::{KUBE_TOKYO, Lab, Pings, SITES, TUNNEL_WAIT, configuration};
use crate::support::wait::within;

#[test]
fn gateways_with_configured_keys_need_no_exchange() {
    let lab = lab("");
    for site in SITES {
        assert_eq!(lab.counter(site, "key-manager/negotiations-initiated"), 0);
        assert!(lab.log(site).contains("nonces repeat"), "no warning in the log");
    }
    // What is printed can be set, and changes nothing.
    let printed = lab.config(&["get", "paris", "/"]).text;
    let pings = lab.ping_for(4);
    lab.configure("paris", &printed);
    assert_eq!(lab.config(&["get", "paris", "/"]).text, printed);
    assert_eq!(lab.config(&["history", "paris"]).text.lines().count(), 1);
    Pings::of(pings).assert_none_lost();
    assert_clean(&lab);
    // A peer that wants to exchange keys is not heard.
    let before = lab.counter("paris", "public-dispatch/protocol-errors");
    lab.configure("tokyo", &configuration("tokyo", "negotiation-ttl 1;"));
    within(TUNNEL_WAIT, "the knocks of tokyo are counted", || {
        lab.counter("paris", "public-dispatch/protocol-errors") >= before + 2
    });
    assert_eq!(lab.counter("paris", "key-manager/challenges-offered"), 0);
    assert_eq!(lab.counter("paris", "key-manager/rxerrors"), 0);
}

#[test]
fn an_association_is_replaced_while_packets_flow_and_the_others_go_on() {
    let lab = lab("");
    let pings = lab.ping_for(10);
    for queue in [1, 2] {
        let new = entry("paris", "paris", queue, 2, "");
        must(&lab, &["add", "tokyo", "/inbound-sa", &new]);
        let generation = |of| if of <= queue { 2 } else { 1 };
        let all = [1, 2].map(|of| entry("paris", "tokyo", of, generation(of), "")).join(" ");
        let said = lab.set("paris", "/outbound-sa", &all);
        assert!(said.status.success(), "{said:?}");
        let old = format!("/inbound-sa[queue={queue}][spi={}]", spi("paris", queue, 1));
        must(&lab, &["remove", "tokyo", &old]);
    }
    // Had the associations from tokyo to paris begun again, their numbers would be replays.
    Pings::of(pings).assert_none_lost();
    assert_clean(&lab);
    let shown = lab.config(&["get", "paris", "/outbound-sa"]).text;
    assert!(
        [1, 2].iter().all(|queue| shown.contains(&format!("spi {};", spi("paris", *queue, 2)))),
        "{shown}"
    );
}

#[test]
fn a_key_that_was_taken_away_goes_on_where_it_was() {
    let lab = lab("");
    let traffic = || lab.ping("paris", KUBE_TOKYO, &["-c", "100", "-i", "0.01"]);
    traffic().assert_none_lost();
    for queue in [1, 2] {
        let path = format!("/outbound-sa[queue={queue}][spi={}]", spi("paris", queue, 1));
        must(&lab, &["remove", "paris", &path]);
        must(&lab, &["add", "paris", "/outbound-sa", &entry("paris", "tokyo", queue, 1, "")]);
    }
    traffic().assert_none_lost();
    // Workers that are stopped and started again, too.
    let empty = configuration("paris", "data-plane true;");
    let (begin, end) = (empty.find("public-interface4").unwrap(), empty.find("mtu ").unwrap());
    let nowhere = format!("{}{}", &empty[..begin], &empty[end..]);
    lab.configure("paris", &nowhere);
    lab.configure("paris", &manual("paris", 1, ""));
    lab.await_tunnel();
    // By way of negotiated keys and back.
    must(&lab, &["set", "paris", "/data-plane", "false"]);
    assert_eq!(lab.config(&["get", "paris", "/inbound-sa"]).text.trim(), "");
    lab.configure("paris", &manual("paris", 1, ""));
    lab.await_tunnel();
    traffic().assert_none_lost();
    assert_clean(&lab);
}

#[test]
fn sequence_numbers_begin_where_they_are_told_and_pass_the_32nd_bit() {
    let lab = lab("sequence-number 4294967200;");
    let traffic = || lab.ping("paris", KUBE_TOKYO, &["-c", "300", "-i", "0.005"]);
    traffic().assert_none_lost();
    // Backward is not a way to go; forward is, on the receiving side first or on the sending one.
    for number in ["1", "9000000000", "8000000000"] {
        for (site, list, from) in [
            ("tokyo", "inbound", "paris"),
            ("paris", "outbound", "paris"),
            ("paris", "inbound", "tokyo"),
            ("tokyo", "outbound", "tokyo"),
        ] {
            for queue in [1, 2] {
                let path = format!("/{list}-sa[queue={queue}][spi={}]/sequence-number", spi(from, queue, 1));
                must(&lab, &["set", site, &path, number]);
            }
        }
        traffic().assert_none_lost();
    }
    assert_clean(&lab);
}

#[test]
fn negotiated_associations_are_shown_and_are_no_part_of_a_configuration() {
    let lab = Lab::with_tunnel("");
    let keys = |site: &str, list: &str| -> BTreeSet<String> {
        let said = lab.config(&["get", "--format", "xpath", site, list]);
        let lines = said.text.lines().filter(|line| line.contains("/key ")).map(str::to_owned);
        lines.map(|line| line.split('"').nth(1).expect("a key").to_owned()).collect()
    };
    let sending = keys("paris", "/outbound-sa");
    assert!(!sending.is_empty() && sending.is_subset(&keys("tokyo", "/inbound-sa")), "{sending:?}");
    let all = lab.config(&["get", "paris", "/"]).text;
    assert!(sending.iter().any(|key| all.contains(key)), "{all}");

    let spi = lab.config(&["get", "--format", "xpath", "paris", "/outbound-sa"]).text;
    assert!(spi.contains("/route tokyo") && spi.contains("/aead aes-gcm-16-icv"), "{spi}");
    for list in ["/outbound-sa", "/inbound-sa"] {
        let entry = entry("paris", "tokyo", 1, 1, "");
        refused(&lab, &["add", "paris", list, &entry], "SA database is auto-managed");
        refused(&lab, &["set", "paris", list, &entry], "set /data-plane true");
        refused(&lab, &["remove", "paris", &format!("{list}[spi=1000]")], "SA database is auto-managed");
    }
    let pings = lab.ping_for(3);
    lab.configure("paris", &all);
    assert!(lab.log("paris").contains("Rejected changes to auto-managed SA database"));
    must(&lab, &["set", "paris", "/mtu", "1400"]);
    let output = lab.config(&["set", "--dry-run", "paris", "/data-plane", "true"]).text;
    Pings::of(pings).assert_none_lost();

    let mut written = output + &lab.log("paris");
    for file in std::fs::read_dir(lab.file("state/paris")).expect("there is a history").flatten() {
        written += &std::fs::read_to_string(file.path()).expect("it can be read");
    }
    assert!(written.contains("mtu 1400"), "{written}");
    for key in sending.iter().chain(&keys("paris", "/inbound-sa")) {
        assert!(!written.contains(key), "a live key was written down");
    }
}

#[test]
fn configured_keys_take_the_place_of_negotiated_ones_and_the_other_way_round() {
    let lab = Lab::with_tunnel("negotiation-ttl 1;");
    let state = |site: &str| lab.config(&["get-state", site, "/gateway-state/inbound-sa"]).text;
    let both = |set: &dyn Fn(&str)| SITES.map(set);
    for _ in 0..2 {
        both(&|site| lab.configure(site, &manual(site, 1, "")));
        lab.await_tunnel();
        for site in SITES {
            let from = other(site);
            let spis = state(site).matches("spi ").count();
            assert_eq!(spis, 2, "{}", state(site));
            assert!(state(site).contains(&format!("spi {};", spi(from, 1, 1))), "{}", state(site));
        }
        both(&|site| lab.configure(site, &configuration(site, "negotiation-ttl 1;")));
        lab.await_tunnel();
        for site in SITES {
            assert!(!state(site).contains(&format!("spi {};", spi(other(site), 1, 1))), "{}", state(site));
        }
    }
    // What was negotiated may be configured: it stays as it is.
    let all = SITES.map(|site| (site, lab.config(&["get", site, "/"]).text));
    let pings = lab.ping_for(3);
    for (site, text) in all {
        lab.configure(site, &format!("{text} data-plane true;"));
    }
    Pings::of(pings).assert_none_lost();
}

#[test]
fn each_algorithm_carries_packets_and_takes_the_place_of_another() {
    let lab = lab("");
    // A generation of keys for each.
    for (generation, aead) in (2..).zip(["aes-256-gcm-16-icv", "chacha20-poly1305"]) {
        for site in SITES {
            lab.configure(site, &with_suite(&manual(site, generation, ""), aead));
        }
        lab.await_tunnel();
        lab.ping("paris", KUBE_TOKYO, &["-c", "100", "-i", "0.01"]).assert_none_lost();
        lab.ping("paris", KUBE_TOKYO, &["-c", "20", "-i", "0.01", "-s", "1400"]).assert_none_lost();
        assert_clean(&lab);
        for site in SITES {
            let shown = lab.config(&["get", "--format", "xpath", site, "/"]).text;
            assert_eq!(shown.matches(&format!("/aead {aead}")).count(), 4, "{shown}");
        }
    }
    // One direction of one worker has another algorithm than the rest.
    let (old, queue) = (3, 1);
    let new = with_suite(&entry("paris", "paris", queue, 4, ""), "aes-256-gcm-16-icv");
    must(&lab, &["add", "tokyo", "/inbound-sa", &new]);
    let path = format!("/outbound-sa[queue={queue}][spi={}]", spi("paris", queue, old));
    let new = with_suite(&entry("paris", "tokyo", queue, 4, ""), "aes-256-gcm-16-icv");
    must(&lab, &["remove", "paris", &path]);
    must(&lab, &["add", "paris", "/outbound-sa", &new]);
    lab.ping("paris", KUBE_TOKYO, &["-c", "100", "-i", "0.01"]).assert_none_lost();
    assert_clean(&lab);
    // A key for another algorithm is refused, with its length and without its bytes.
    let aead = format!("/outbound-sa[queue={queue}][spi={}]/aead", spi("paris", queue, 4));
    refused(
        &lab,
        &["set", "paris", &aead, "aes-gcm-16-icv"],
        "16 bytes of a key of aes-gcm-16-icv, found 32",
    );
    lab.ping("paris", KUBE_TOKYO, &["-c", "20", "-i", "0.01"]).assert_none_lost();
}

/// An entry of a list of associations: of what is sent by `from`, with a key of a generation.
fn entry(from: &str, route: &str, queue: u32, generation: u32, more: &str) -> String {
    let spi = spi(from, queue, generation);
    let key = (spi << 8) + 1;
    format!(
        "{{ spi {spi}; queue {queue}; route {route}; aead aes-gcm-16-icv; key {key:032x}; salt {spi:08x}; {more} }}"
    )
}

/// The same associations by an algorithm with keys twice as long.
fn with_suite(text: &str, aead: &str) -> String {
    let longer = "key ".to_owned() + &"5".repeat(32);
    text.replace("; key ", &format!("; {longer}")).replace("aead aes-gcm-16-icv", &format!("aead {aead}"))
}

fn spi(from: &str, queue: u32, generation: u32) -> u32 {
    1000 + 100 * u32::from(from == "paris") + 10 * queue + generation
}

/// The lists of a site.
fn associations(site: &str, generation: u32, more: &str) -> String {
    let peer = other(site);
    let of_queue = |queue| {
        let (outbound, inbound) =
            (entry(site, peer, queue, generation, more), entry(peer, peer, queue, generation, more));
        format!("outbound-sa {outbound}\ninbound-sa {inbound}\n")
    };
    of_queue(1) + &of_queue(2)
}

fn manual(site: &str, generation: u32, more: &str) -> String {
    configuration(site, &format!("data-plane true;\n{}", associations(site, generation, more)))
}

fn other(site: &str) -> &'static str {
    if site == "paris" { "tokyo" } else { "paris" }
}

/// Gateways that share configured keys.
fn lab(more: &str) -> Lab {
    let mut lab = Lab::raise();
    for site in SITES {
        lab.start(site, &[]);
        lab.configure(site, &manual(site, 1, more));
    }
    lab.await_tunnel();
    lab
}

/// No gateway has received what was not fresh.
fn assert_clean(lab: &Lab) {
    for site in SITES {
        let said = lab.config(&["get-state", "--format", "xpath", site, "/gateway-state/inbound-sa"]);
        let errors = said.text.lines().filter(|line| line.contains("/decrypt-errors "));
        let counts: Vec<_> = errors.map(|line| line.rsplit(' ').next()).collect();
        assert!(!counts.is_empty() && counts.iter().all(|count| *count == Some("0")), "{site}: {said:?}");
    }
}

fn must(lab: &Lab, arguments: &[&str]) {
    let said = lab.config(arguments);
    assert!(said.status.success(), "{arguments:?}: {said:?}");
}

fn refused(lab: &Lab, arguments: &[&str], words: &str) {
    let said = lab.config(arguments);
    assert_eq!(said.status.code(), Some(1), "{arguments:?}: {said:?}");
    assert!(said.text.contains(words), "{arguments:?}: {}", said.text);
}
