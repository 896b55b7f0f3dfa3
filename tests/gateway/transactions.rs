// SPDX-License-Identifier: Apache-2.0
//! Changes while packets flow: thousands of routes, trials, what is refused half way.

use std::time::{Duration, Instant};

use crate::support::flow::Flow;
use crate::support::lab::{KUBE_PARIS, KUBE_TOKYO, Lab, Pings, TUNNEL_WAIT, configuration};
use crate::support::wait::within;

#[test]
fn a_steady_flow_does_not_notice_changes_among_ten_thousand_routes() {
    let lab = Lab::with_tunnel("");
    let flow = |from: &str, to: &str, address: &str| {
        let (from, to) = (format!("kube-node-{from}"), format!("kube-node-{to}"));
        let address = address.parse().expect("an address");
        Flow::start(&lab.namespace(&from), &lab.namespace(&to), address, Duration::from_millis(2))
    };
    let flows = [flow("paris", "tokyo", KUBE_TOKYO), flow("tokyo", "paris", KUBE_PARIS)];
    within(TUNNEL_WAIT, "both flows arrive", || flows.iter().all(|flow| flow.arrived() > 100));

    let all: String =
        (0..ROUTES).map(|number| format!("route4 {{ id r{number}; {} }}\n", route(number))).collect();
    let timed = |what: &str, change: &dyn Fn()| {
        let start = Instant::now();
        change();
        println!("{what}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    };
    timed("10,000 routes loaded", &|| lab.configure("paris", &configuration("paris", &all)));
    let accepted = |arguments: &[&str]| {
        let said = lab.config(arguments);
        assert!(said.status.success(), "{arguments:?}: {}", said.text);
    };
    for round in 0..20 {
        let number = ROUTES + round;
        let path = format!("/route4[id=r{}]", round * 400);
        timed("one added", &|| {
            accepted(&["add", "paris", "/route4", &format!("{{ id r{number}; {} }}", route(number))]);
        });
        timed("one changed", &|| accepted(&["set", "paris", &path, &route(ROUTES + 100 + round)]));
        timed("one removed", &|| accepted(&["remove", "paris", &path]));
    }
    timed("all removed", &|| lab.configure("paris", &configuration("paris", "")));
    for (way, flow) in ["paris to tokyo", "tokyo to paris"].into_iter().zip(flows) {
        let figures = flow.figures();
        println!("{way}: {} packets, longest gap {:?}", figures.sent, figures.longest_gap);
        assert_eq!(figures.lost, 0, "{way}: {figures:?}");
    }
}

#[test]
fn what_is_refused_half_way_leaves_traffic_and_configuration_alone() {
    let lab = Lab::with_tunnel("");
    let before = lab.configured("paris");
    let pings = lab.ping_for(6);
    // The route and the settings are right, the second interface is not there: nothing of it may stay.
    let mixed = configuration("paris", &format!("route4 {{ id other; {} }} sa-ttl 99;", route(1)))
        .replace("ifname eth3;", "ifname eth9;");
    for _ in 0..5 {
        let said = lab.set("paris", "/", &mixed);
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        assert!(said.text.contains("eth9"), "{}", said.text);
        assert_eq!(lab.configured("paris"), before);
    }
    // What follows is as quick and as right as ever.
    let said = lab.config(&["add", "paris", "/route4", &format!("{{ id other; {} }}", route(1))]);
    assert!(said.status.success(), "{}", said.text);
    assert!(lab.config(&["remove", "paris", "/route4[id=other]"]).status.success());
    assert_eq!(lab.configured("paris"), before);
    Pings::of(pings).assert_none_lost();
}

#[test]
fn a_configuration_that_cuts_the_tunnel_is_taken_back_by_itself() {
    let lab = Lab::with_tunnel("negotiation-ttl 1;");
    let file = lab.file("wrong.conf");
    let wrong = configuration("paris", "negotiation-ttl 1;").replace("spi 1234;", "spi 4321;");
    std::fs::write(&file, wrong).expect("the lab's directory can be written");
    let file = file.to_str().expect("temporary names are ASCII");
    let said = lab.config(&["commit", "--confirm", "3s", "paris", file]);
    assert!(said.status.success() && said.text.contains("spi 1234 -> 4321"), "{}", said.text);
    assert_eq!(lab.ping("paris", KUBE_TOKYO, &["-c", "2", "-i", "0.1", "-W", "1"]).received, 0);
    within(Duration::from_secs(20), "the route has its SPI again", || {
        lab.config(&["get", "paris", "/route4[id=tokyo]/spi"]).text.trim() == "1234"
    });
    lab.await_tunnel();
    let history = lab.config(&["history", "paris"]).text;
    assert!(history.contains("not confirmed in time"), "{history}");
}

fn route(number: usize) -> String {
    format!(
        "net \"10.{}.{}.0/24\"; spi {}; preshared-key {number:064x}; gateway {{ ip 203.0.113.9; }}",
        number / 256,
        number % 256,
        20_000 + number
    )
}

const ROUTES: usize = 10_000;
