// SPDX-License-Identifier: Apache-2.0
//! Stories about configurations of a gateway. The fragments follow the example of docs/configuration.md: two
//! gateways, two queues each.

mod associations;
mod constraints;
mod editing;
mod fixpoint;
mod incremental;
mod scale;

use super::*;
use crate::yang::format::Format;

/// The example configuration, with a key of the right length.
pub(super) const PARIS: &str = r#"
private-interface4 {
  ifname eth1;
  mac 0a:cc:b1:e4:24:d2;
  ip 172.31.1.20;
  nexthop-ip 172.31.0.1;
}

public-interface4 {
  queue 1;
  ifname eth2;
  device-queue 1;
  mac 0a:42:13:9e:a8:ae;
  ip 172.31.1.30;
  nat-ip 203.0.113.2;
  nexthop-ip 172.31.0.1;
}
public-interface4 {
  queue 2;
  ifname eth3;
  device-queue 1;
  mac 0a:33:39:04:9c:ac;
  ip 172.31.1.40;
  nat-ip 203.0.113.3;
  nexthop-ip 172.31.0.1;
}

mtu 1440;

route4 {
  id tokyo;
  gateway { queue 1; ip 203.0.113.5; }
  gateway { queue 2; ip 203.0.113.6; }
  net "172.32.0.0/16";
  preshared-key "ACAB129AACAB129AACAB129AACAB129AACAB129AACAB129AACAB129AACAB129A";
  spi 1234;
}
"#;

pub(super) fn paris() -> Document {
    Document::parse(PARIS).unwrap()
}

#[test]
fn the_example_configuration_works_unchanged() {
    let document = paris();
    let config = document.config();
    let private = &config.private[0];
    assert_eq!(private.link, Link::Interface("eth1".into()));
    assert_eq!(private.mac.unwrap().to_string(), "0a:cc:b1:e4:24:d2");
    assert_eq!(private.nexthop_mac, None);
    assert_eq!(private.ip.to_string(), "172.31.1.20");
    let second = &config.public[1];
    assert_eq!((second.queue, second.device_queue), (2, 1));
    assert_eq!(second.outside_ip().to_string(), "203.0.113.3");
    let route = &config.routes[0];
    assert_eq!(
        (route.id.as_str(), route.spi, route.nets[0].to_string().as_str()),
        ("tokyo", 1234, "172.32.0.0/16")
    );
    assert_eq!(&route.preshared_key.bytes()[..4], [0xac, 0xab, 0x12, 0x9a]);
    assert_eq!(route.gateway(2).unwrap().ip.to_string(), "203.0.113.6");
    assert_eq!((config.mtu, config.tfc, config.protocol_port), (1440, false, 303));
}

#[test]
fn an_empty_document_has_the_defaults() {
    let empty = Document::empty();
    assert_eq!(empty.get("/", false).unwrap(), "");
    assert_eq!(
        empty.get("/", true).unwrap(),
        "check-inner-source true;\ndscp none;\necn true;\nfail-closed false;\nfragment-inner true;\nmss-clamp true;\nmtu 8923;\nnegotiation-ttl 5;\nprotocol-port 303;\nsa-ttl 600;\n"
    );
    let config = empty.config();
    assert_eq!((config.mtu, config.negotiation_ttl, config.sa_ttl), (8923, 5, 600));
    assert!(config.private.is_empty() && config.public.is_empty() && config.routes.is_empty());
}

#[test]
fn a_worker_without_a_gateway_of_its_own_uses_the_lowest() {
    let document = paris();
    assert_eq!(document.config().routes[0].gateway(7).unwrap().queue, 1);
}

#[test]
fn device_queue_is_the_queue_unless_configured() {
    let text = PARIS.replace("ifname eth3;\n  device-queue 1;", "ifname eth3;");
    assert_eq!(Document::parse(&text).unwrap().config().public[1].device_queue, 2);
}

#[test]
fn the_pci_address_of_no_device_is_accepted_in_each_spelling() {
    for address in ["00:00.0", "0000:00:00.0"] {
        let document = Document::empty()
            .set("/private-interface4", &format!("pci {address}; ip 192.0.2.1; nexthop-ip 192.0.2.2;"))
            .unwrap();
        assert_eq!(document.config().private[0].link, Link::None);
    }
}

#[test]
fn a_key_may_have_white_space_between_its_bytes_and_is_printed_as_configured() {
    let key = "AC AB\\n12".to_string() + &" 9a".repeat(29);
    let text = format!("\"{key}\"");
    let document = paris().set("/route4[id=tokyo]/preshared-key", &text).unwrap();
    assert_eq!(&document.config().routes[0].preshared_key.bytes()[..4], [0xac, 0xab, 0x12, 0x9a]);
    assert_eq!(document.get("/route4[id=tokyo]/preshared-key", false).unwrap(), text);
}

#[test]
fn nothing_shows_a_key_but_get() {
    let document = paris();
    let shown = format!("{document:?} {:?}", document.config());
    assert!(!shown.to_lowercase().contains("acab"), "{shown}");
    for text in [
        "preshared-key ACAB129AACAB129AACAB129AACAB129AACAB129AACAB129AACAB129AACAB1;",
        "spi 7; preshared-key \"ACAB129AACAB129AACAB129AACAB129AACAB129AACAB129AACAB129AACAB129A\";",
        "spi 7; preshared-key \"AC AB 12 9A AC AB 12 9A AC AB 12 9A AC AB 12 9A AC AB 12 9A\"",
    ] {
        let rejected = document.set("/route4[id=tokyo]", text).unwrap_err().to_string();
        assert!(!rejected.to_lowercase().replace(' ', "").contains("acab12"), "{rejected}");
    }
}

#[test]
fn state_is_sorted_and_prints_zeros() {
    let mut state = State::new();
    assert_eq!(state.get("/gateway-state/private-router", false).unwrap(), "");
    for (leaf, count) in [("rxerrors", 3u64), ("mtu-errors", 0), ("route-errors", u64::MAX)] {
        state.set(&["gateway-state", "private-router", leaf], count).unwrap();
    }
    let router = "mtu-errors 0;\nroute-errors 18446744073709551615;\nrxerrors 3;\n";
    assert_eq!(state.get("/gateway-state/private-router", false).unwrap(), router);
    state.set(&["gateway-state", "inbound-sa[spi=300][queue=1]", "sa-state", "rxerrors"], 1u64).unwrap();
    assert_eq!(
        state.get("/gateway-state/inbound-sa", false).unwrap(),
        "{\n  queue 1;\n  spi 300;\n  sa-state {\n    rxerrors 1;\n  }\n}\n"
    );
    state.set(&["gateway-state", "effective-mtu"], 1440u64).unwrap();
    assert_eq!(state.get("/gateway-state/effective-mtu", false).unwrap(), "1440");
    let all = state.get("/", false).unwrap();
    assert!(all.starts_with("gateway-state {\n  effective-mtu 1440;\n  inbound-sa {\n"), "{all}");
}

#[test]
fn state_of_a_part_has_no_more_than_it() {
    let filled = |path: &str| {
        let mut state = State::at(path).unwrap();
        for leaf in ["rxerrors", "mtu-errors"] {
            state.set(&["gateway-state", "private-router", leaf], 3u64).unwrap();
        }
        for spi in [300u64, 301] {
            let key = [("spi", spi.into()), ("queue", 1u64.into())];
            state.entry("inbound-sa", &key, |entry| entry.set(&["sa-state", "rxerrors"], spi)).unwrap();
        }
        state
    };
    let entry = "/gateway-state/inbound-sa[queue=1][spi=301]";
    let all = filled("/gateway-state");
    for path in [
        entry,
        &format!("{entry}/sa-state/rxerrors"),
        "/gateway-state/inbound-sa",
        "/gateway-state/private-router",
    ] {
        assert_eq!(filled(path).get(path, false), all.get(path, false), "{path}");
    }
    assert_eq!(all.get(&format!("{entry}/sa-state/rxerrors"), false).unwrap(), "301");
    assert_eq!(filled(entry).get("/", false).unwrap().matches("rxerrors").count(), 1);
    assert_eq!(filled("/").get("/", false), all.get("/", false));
    assert!(!filled("/gateway-state/private-router").get("/", false).unwrap().contains("inbound-sa"));
    let mut state = State::new();
    assert!(state.entry("inbound-sa", &[("spi", 300u64.into())], |_| {}).is_err());
    assert!(state.entry("mood", &[], |_| {}).is_err());
    let key = [("spi", 300u64.into()), ("queue", 1u64.into())];
    assert!(state.entry("inbound-sa", &key, |entry| entry.set(&["sa-state"], 1u64)).is_err());
}

#[test]
fn state_has_only_the_leaves_of_the_model() {
    let mut state = State::new();
    assert!(state.set(&["gateway-state", "private-router", "mood"], 1u64).is_err());
    assert!(state.set(&["gateway-state", "private-router"], 1u64).is_err());
    assert!(state.set(&["gateway-state", "inbound-sa[spi=300]", "sa-state", "rxerrors"], 1u64).is_err());
    assert!(state.set(&["gateway-state", "private-router", "rxerrors"], "many").is_err());
    assert!(state.set(&["mtu"], 1u64).is_err());
    assert!(state.get("/mtu", false).is_err());
}

#[test]
fn a_difference_names_what_changed_and_nothing_else() {
    let old = paris();
    assert!(Difference::between(old.config(), old.config()).is_empty());
    let other = "{ id osaka; net 10.0.0.0/8; spi 300; gateway { ip 203.0.113.9; } preshared-key \""
        .to_string()
        + &"01".repeat(32)
        + "\"; }";
    let new = old.add("/route4", &other.replace("10.0.0.0/8", "\"10.0.0.0/8\"")).unwrap();
    let difference = Difference::between(old.config(), new.config());
    assert_eq!(difference.routes.added[0].id, "osaka");
    assert!(difference.routes.removed.is_empty() && difference.routes.changed.is_empty());
    assert!(
        !difference.mtu && !difference.tfc && difference.public.is_empty() && difference.private.is_empty()
    );

    let newer = new.set("/mtu", "1400").unwrap().set("/tfc", "true").unwrap();
    let newer = newer.set("/public-interface4[ip=172.31.1.40]/nexthop-mac", "02:00:00:00:00:01").unwrap();
    let newer = newer.remove("/route4[id=osaka]").unwrap().set("/route4[id=tokyo]/spi", "1235").unwrap();
    let difference = Difference::between(new.config(), newer.config());
    assert!(difference.mtu && difference.tfc && !difference.sa_ttl && difference.private.is_empty());
    assert!(difference.touches_interfaces_of(2) && !difference.touches_interfaces_of(1));
    assert_eq!(difference.routes.removed[0].id, "osaka");
    assert_eq!((difference.routes.changed[0].0.spi, difference.routes.changed[0].1.spi), (1234, 1235));
}

#[test]
fn measurements_of_influxdb_have_the_names_of_deployed_gateways() {
    let mut state = State::new();
    for path in super::SERIES {
        let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
        // They are all in the model.
        let mut at = &schema().root;
        for (place, step) in steps.iter().enumerate() {
            match &at.node(step).unwrap_or_else(|| panic!("{path}")).kind {
                crate::yang::schema::Kind::Container(members) => at = members,
                crate::yang::schema::Kind::List(list) => at = &list.members,
                _ => assert_eq!(place + 1, steps.len(), "{path}"),
            }
        }
    }
    for (path, count) in [
        (&["gateway-state", "key-manager", "inbound-sa-expired"][..], 3u64),
        (&["gateway-state", "inbound-dispatch", "protocol-errors"], 4),
        (&["gateway-state", "private-router", "mtu-errors"], 5),
        (&["gateway-state", "inbound-sa[queue=1][spi=300]", "sa-state", "decrypt-errors"], 6),
        (&["gateway-state", "inbound-sa[queue=1][spi=300]", "sa-state", "protocol-errors"], 7),
    ] {
        state.set(path, count).unwrap();
    }
    let shown = |path: &str| state.print(path, Format::Influxdb, false).unwrap();
    assert_eq!(
        shown("/gateway-state"),
        "/inbound-dispatch/protocol-errors value=4i\n\
         decrypt-errors,inbound-sa/queue=1,spi=300 value=6i\n\
         /inbound-sa/sa-state/protocol-errors,inbound-sa/queue=1,spi=300 value=7i\n\
         inbound-sa-expired value=3i\n\
         mtu-errors value=5i\n"
    );
    assert!(shown("/").starts_with("/gateway-state/inbound-dispatch/protocol-errors value=4i\n"));
    assert_eq!(shown("/gateway-state/inbound-dispatch"), "/protocol-errors value=4i\n");
    assert_eq!(shown("/gateway-state/key-manager/inbound-sa-expired"), "inbound-sa-expired value=3i\n");
    assert_eq!(
        shown("/gateway-state/inbound-dispatch/protocol-errors"),
        "/gateway-state/inbound-dispatch/protocol-errors value=4i\n"
    );
    let config = paris().print("/", Format::Influxdb, false).unwrap();
    assert!(config.starts_with("mtu value=1440i\n/private-interface4/ifname value=\"eth1\"\n"), "{config}");
    assert!(config.contains("\n/route4/net,route4/id=tokyo value=\"172.32.0.0/16\"\n"), "{config}");
    assert!(
        config.contains("\n/route4/gateway/queue,route4/id=tokyo,route4/gateway/ip=203.0.113.6 value=2i\n")
    );
}
