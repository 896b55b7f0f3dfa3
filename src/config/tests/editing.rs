// SPDX-License-Identifier: Apache-2.0
//! What get, set, add and remove do.

use super::*;
use crate::yang::format::Format;

#[test]
fn get_prints_each_kind_of_node_in_its_form() {
    let document = paris();
    for (path, text) in [
        ("/mtu", "1440"),
        ("mtu", "1440"),
        ("//mtu/", "1440"),
        ("/protocol-port", "303"),
        ("/route4[id=tokyo]/net", "\"172.32.0.0/16\""),
        ("/route4[id=tokyo]/gateway[ip=203.0.113.5]", ""),
        ("/route4[id=tokyo]/gateway[ip=203.0.113.6]", "queue 2;\n"),
        ("/route4[id=tokyo]/gateway", "{\n  ip 203.0.113.5;\n}\n{\n  ip 203.0.113.6;\n  queue 2;\n}\n"),
        (
            "/private-interface4",
            "ifname eth1;\nip 172.31.1.20;\nmac 0a:cc:b1:e4:24:d2;\nnexthop-ip 172.31.0.1;\n",
        ),
        ("/outbound-sa", ""),
    ] {
        assert_eq!(document.get(path, false).unwrap(), text, "{path}");
    }
    assert_eq!(document.get("/route4[id=tokyo]/gateway[ip=203.0.113.5]", true).unwrap(), "queue 1;\n");
    assert_eq!(
        document.get("/", false).unwrap(),
        "mtu 1440;\n\
         private-interface4 {\n  ifname eth1;\n  ip 172.31.1.20;\n  mac 0a:cc:b1:e4:24:d2;\n  nexthop-ip 172.31.0.1;\n}\n\
         public-interface4 {\n  ip 172.31.1.30;\n  device-queue 1;\n  ifname eth2;\n  mac 0a:42:13:9e:a8:ae;\n  \
         nat-ip 203.0.113.2;\n  nexthop-ip 172.31.0.1;\n}\n\
         public-interface4 {\n  ip 172.31.1.40;\n  device-queue 1;\n  ifname eth3;\n  mac 0a:33:39:04:9c:ac;\n  \
         nat-ip 203.0.113.3;\n  nexthop-ip 172.31.0.1;\n  queue 2;\n}\n\
         route4 {\n  id tokyo;\n  gateway {\n    ip 203.0.113.5;\n  }\n  gateway {\n    ip 203.0.113.6;\n    \
         queue 2;\n  }\n  net \"172.32.0.0/16\";\n  preshared-key \
         ACAB129AACAB129AACAB129AACAB129AACAB129AACAB129AACAB129AACAB129A;\n  spi 1234;\n}\n"
    );
}

#[test]
fn paths_that_lead_nowhere_are_errors() {
    let document = paris();
    for (path, expected) in [
        (
            "/foo",
            "Invalid path: Struct has no field named 'foo'.\n/ has check-inner-source, data-plane, dscp, ecn, fail-closed, fragment-inner, gateway-state, ",
        ),
        ("/mtu/foo", "Invalid path: Invalid path.\n/mtu is a leaf"),
        ("/link", "no field named 'link'"),
        ("/route4/net", "Invalid path: Invalid path.\n/route4 is a list: name the entry by [id=...]"),
        ("/route4[net=1]", "Invalid path: 'net' is not a table key\nThe keys of /route4 are id"),
        (
            "/route4[id=tokyo]/id",
            "Invalid path: Struct has no field named 'id'.\n/route4[id=tokyo] has additional-net, gateway, net, preshared-key, spi",
        ),
        ("/route4[id='tokyo']", "'tokyo'"),
        ("/route4[id=a b]", "id: 'a b' is not a valid id"),
        ("/route4[id=kyoto]", "/route4[id=kyoto]: Not found"),
        ("/route4[id=kyoto]/net", "/route4[id=kyoto]: Not found"),
        ("/inbound-sa[queue=1]", "Invalid path: Table query missing required key 'spi'\n"),
        (
            "/mtu[id=1]",
            "Invalid path: Path query parameters only supported for structs and tables.\n/mtu is not a list",
        ),
        ("/private-interface4[ip=1]", "is not a list"),
        ("/route4[id=tokyo", "Syntax error in path"),
        ("/route4[id=tokyo]x", "Syntax error in path"),
        ("/route4[id]", "Syntax error in path"),
        ("/[id=1]", "Syntax error in path"),
        ("/]", "Syntax error in path"),
        ("/tfc", "/tfc has no value"),
        ("/private-interface4/pci", "/private-interface4/pci has no value"),
        ("/private-interface6", "/private-interface6 has no value"),
        ("/gateway-state", "it can be read with get-state only"),
        ("/gateway-state/key-manager", "it can be read with get-state only"),
    ] {
        let message = document.get(path, false).expect_err(path).to_string();
        assert!(message.contains(expected), "{path}: {message}");
    }
}

#[test]
fn a_key_leaf_with_a_default_may_be_left_out_of_a_path() {
    let message = paris().get("/inbound-sa[spi=261]", false).unwrap_err().to_string();
    assert_eq!(message, "/inbound-sa[queue=1][spi=261]: Not found");
    assert!(State::new().get("/gateway-state/inbound-sa[spi=261]", false).is_err());
}

#[test]
fn set_replaces_what_the_path_names_and_nothing_else() {
    let document = paris();
    let changed = document.set("/mtu", " 1280 // bytes").unwrap();
    assert_eq!(changed.get("/", false).unwrap(), document.get("/", false).unwrap().replace("1440", "1280"));
    // A container loses the leaves that are not given again.
    let changed =
        document.set("/private-interface4", "ifname eth9; ip 192.0.2.1; nexthop-ip 192.0.2.2;").unwrap();
    assert_eq!(changed.config().private[0].mac, None);
    // A list loses its entries.
    let changed = document.set("/route4[id=tokyo]/gateway", "{ ip 192.0.2.7; }").unwrap();
    assert_eq!(changed.config().routes[0].gateways.len(), 1);
    assert!(document.set("/route4", "").unwrap().config().routes.is_empty());
    // The root loses everything.
    assert_eq!(document.set("/", "").unwrap(), Document::empty());
    assert_eq!(document.set("", "").unwrap(), Document::empty());
}

#[test]
fn set_of_a_list_entry_needs_the_entry_and_all_its_mandatory_leaves() {
    let document = paris();
    let key = "0b".repeat(32);
    let entry = format!("net \"10.0.0.0/8\"; spi 300; preshared-key {key}; gateway {{ ip 192.0.2.1; }}");
    let changed = document.set("/route4[id=tokyo]", &entry).unwrap();
    assert_eq!((changed.config().routes[0].id.as_str(), changed.config().routes[0].spi), ("tokyo", 300));
    assert!(document.set("/route4[id=kyoto]", &entry).unwrap_err().to_string().contains("Not found"));
    let message = document.set("/route4[id=tokyo]", "spi 300;").unwrap_err().to_string();
    assert!(message.contains("missing scalar value: net"), "{message}");
    let message = document.set("/route4[id=tokyo]", &format!("id tokyo; {entry}")).unwrap_err().to_string();
    assert!(message.contains("id names the entry in the path"), "{message}");
    assert!(document.set("/route4[id=kyoto]/spi", "300").unwrap_err().to_string().contains("Not found"));
}

#[test]
fn add_takes_all_entries_or_none() {
    let document = paris();
    let two = "{ ip 192.0.2.1; queue 9; } { ip 203.0.113.5; queue 8; }";
    let message = document.add("/route4[id=tokyo]/gateway", two).unwrap_err().to_string();
    assert_eq!(message, "/route4[id=tokyo]/gateway: already-existing entry 203.0.113.5");
    assert_eq!(document.config().routes[0].gateways.len(), 2);
    for path in ["/", "/mtu", "/private-interface4", "/route4[id=tokyo]"] {
        let message = document.add(path, "1").unwrap_err().to_string();
        assert!(message.contains("Add only allowed on lists"), "{path}: {message}");
    }
}

#[test]
fn remove_takes_one_entry() {
    let document = paris();
    let changed = document.remove("/route4[id=tokyo]/gateway[ip=203.0.113.6]").unwrap();
    assert_eq!(changed.config().routes[0].gateways.len(), 1);
    let changed = changed.remove("/route4[id=tokyo]").unwrap();
    assert_eq!(changed.get("/route4", false).unwrap(), "");
    assert!(changed.remove("/route4[id=tokyo]").unwrap_err().to_string().contains("Not found"));
    for path in ["/", "/mtu", "/route4", "/private-interface4"] {
        let message = document.remove(path).unwrap_err().to_string();
        assert!(message.contains("Remove only allowed on list entries"), "{path}: {message}");
    }
}

#[test]
fn state_cannot_be_configured() {
    let document = paris();
    for (path, value) in [
        ("/gateway-state", ""),
        ("/gateway-state/private-router/rxerrors", "1"),
        ("/gateway-state/inbound-sa", "{ queue 1; spi 300; sa-state { } }"),
    ] {
        assert!(document.set(path, value).unwrap_err().to_string().contains("is state"), "{path}");
    }
    assert!(document.set("/", "gateway-state { }").unwrap_err().to_string().contains("is state"));
    assert!(document.add("/gateway-state/inbound-sa", "{ queue 1; spi 300; }").is_err());
    assert!(document.remove("/gateway-state/inbound-sa[queue=1][spi=300]").is_err());
}

#[test]
fn associations_in_a_whole_document_are_left_out() {
    let key = "01".repeat(16);
    let entry = format!("{{ spi 300; route tokyo; aead aes-gcm-16-icv; key {key}; salt 01020304; }}");
    let text = format!("{PARIS} outbound-sa {entry} inbound-sa {entry}");
    let document = Document::parse(&text).unwrap();
    assert_eq!(document, paris());
    assert_eq!((document.ignored_associations(), paris().ignored_associations()), (2, 0));
    // They are read all the same.
    assert!(Document::parse(&text.replace("salt 01020304", "salt 0102")).is_err());
}

#[test]
fn the_lists_of_associations_belong_to_the_key_manager() {
    let document = paris();
    for path in ["/outbound-sa", "/inbound-sa"] {
        assert!(document.set(path, "").unwrap_err().to_string().contains("SA database is auto-managed"));
        assert!(document.add(path, "").unwrap_err().to_string().contains("SA database is auto-managed"));
        let entry = format!("{path}[spi=300]");
        assert!(document.remove(&entry).unwrap_err().to_string().contains("SA database is auto-managed"));
        assert!(
            document
                .set(&format!("{entry}/salt"), "0")
                .unwrap_err()
                .to_string()
                .contains("set /data-plane true")
        );
    }
}

#[test]
fn an_error_in_a_text_shows_the_place() {
    let message = Document::parse("mtu 1440;\nprivate-interface4 {\n\tmuc 1;\n}\n").unwrap_err().to_string();
    assert_eq!(message, "<unknown>:3:2: unrecognized parameter: muc\n\tmuc 1;\n\t^");
}

#[test]
fn an_additional_net_has_a_path() {
    let document = paris();
    let list = "/route4[id=tokyo]/additional-net";
    let entry = |net: &str| format!("{list}[.='{net}']");
    assert_eq!(document.get(list, false).unwrap(), "");
    let one = document.add(&entry("10.3.0.0/16"), "").unwrap();
    let two = one.add(list, "2001:db8:3::/48").unwrap();
    assert_eq!(two.get(list, false).unwrap(), "\"10.3.0.0/16\"\n\"2001:db8:3::/48\"\n");
    assert_eq!(two.get(&entry("10.3.0.0/16"), false).unwrap(), "\"10.3.0.0/16\"");
    assert_eq!(two.get(&format!("{list}[.=10.3.0.0/16]"), false).unwrap(), "\"10.3.0.0/16\"");
    assert_eq!(two.config().routes[0].nets.len(), 3);
    let message = two.add(&entry("10.3.0.0/16"), "").unwrap_err().to_string();
    assert_eq!(message, format!("{}: already-existing entry 10.3.0.0/16", entry("10.3.0.0/16")));
    // The same network in other words is seen where networks are compared.
    let message = two.add(list, "10.3.7.7/16").unwrap_err().to_string();
    assert_eq!(message, "/route4[id=tokyo]/net 10.3.0.0/16: the same network as that of route tokyo");
    let message = two.remove(&entry("10.4.0.0/16")).unwrap_err().to_string();
    assert_eq!(message, format!("{}: Not found", entry("10.4.0.0/16")));
    assert_eq!(two.remove(&entry("2001:db8:3::/48")).unwrap(), one);
    assert_eq!(one.remove(&entry("10.3.0.0/16")).unwrap(), document);
    assert!(document.add("/route4[id=kyoto]/additional-net", "10.3.0.0/16").is_err());
    assert!(document.add(&entry("10.3.0.0"), "").unwrap_err().to_string().contains("is not a valid network"));
    let changed = two.set(&entry("10.3.0.0/16"), "10.4.0.0/16").unwrap();
    assert_eq!(changed.get(list, false).unwrap(), "\"10.4.0.0/16\"\n\"2001:db8:3::/48\"\n");
    let printed = two.print(list, Format::Json, false).unwrap();
    assert_eq!(one.set(list, &printed).unwrap(), two);
}

#[test]
fn every_format_prints_every_value_of_a_leaf_list() {
    let document = Document::parse(
        "route4 { id a; spi 300; net 10.1.0.0/16; additional-net 10.2.0.0/16; additional-net 10.3.0.0/16;\n\
         preshared-key 0000000000000000000000000000000000000000000000000000000000000001;\n\
         gateway { ip 192.0.2.9; } }",
    )
    .unwrap();
    let shown = |format| document.print("/route4[id=a]", format, false).unwrap();
    let text = shown(Format::Yang);
    assert!(text.contains("additional-net \"10.2.0.0/16\";\nadditional-net \"10.3.0.0/16\";\n"), "{text}");
    let xpath = shown(Format::Xpath);
    assert!(xpath.contains("/route4[id=a]/additional-net[position()=1] \"10.2.0.0/16\"\n"), "{xpath}");
    assert!(xpath.contains("/route4[id=a]/additional-net[position()=2] \"10.3.0.0/16\"\n"), "{xpath}");
    let influxdb = shown(Format::Influxdb);
    assert!(influxdb.contains("/additional-net,position=1 value=\"10.2.0.0/16\"\n"), "{influxdb}");
    assert!(influxdb.contains("/additional-net,position=2 value=\"10.3.0.0/16\"\n"), "{influxdb}");
}
