// SPDX-License-Identifier: Apache-2.0
//! One story per constraint: what is refused, and that the message names path, value and expectation.

use super::*;
use crate::wire::class::Dscp;

/// Applies replacements to the example and returns the message with which it is refused.
fn refused(replacements: &[(&str, &str)]) -> String {
    let mut text = PARIS.to_string();
    for (from, to) in replacements {
        assert!(text.contains(from), "the example has no {from:?}");
        text = text.replacen(from, to, 1);
    }
    Document::parse(&text).expect_err(&text).to_string()
}

#[test]
fn values_outside_of_their_type_are_refused() {
    for (from, to, expected) in [
        ("mtu 1440", "mtu 8924", "mtu: '8924' is not a valid uint16: expected a whole number in 0..8923"),
        ("mtu 1440", "mtu abc", "expected a whole number in 0..8923"),
        ("mtu 1440", "mtu 1317.5", "'1317.5'"),
        ("mtu 1440", "mtu -1", "'-1'"),
        ("spi 1234", "spi 255", "spi: '255' is not a valid spi: expected a whole number in 256..4294967295"),
        ("spi 1234", "spi 4294967296", "256..4294967295"),
        ("queue 1;", "queue 0;", "queue: '0' is not a valid queue: expected a whole number in 1..65535"),
        ("device-queue 1;", "device-queue 0;", "device-queue: '0'"),
        ("mtu 1440", "sa-ttl 0", "sa-ttl: '0' is not a valid time-to-live"),
        ("mtu 1440", "negotiation-ttl 0", "negotiation-ttl: '0'"),
        ("mtu 1440", "protocol-port 65536", "protocol-port: '65536' is not a valid port-number"),
        ("mtu 1440", "tfc yes", "tfc: 'yes' is not a valid boolean: expected true or false"),
        (
            "id tokyo",
            "id \"to kyo\"",
            "id: 'to kyo' is not a valid id: expected text of type id, matching [\\w_]+",
        ),
        ("id tokyo", "id to-kyo", "id: 'to-kyo'"),
        ("\"172.32.0.0/16\"", "\"172.32.0.0\"", "net: '172.32.0.0' is not a valid ipv4-prefix"),
        ("\"172.32.0.0/16\"", "\"172.32.0.0/33\"", "net: '172.32.0.0/33'"),
        ("\"172.32.0.0/16\"", "\"172.32.0.256/16\"", "net: '172.32.0.256/16'"),
        ("ip 172.31.1.20", "ip 172.31.1", "ip: '172.31.1' is not a valid ipv4-address-no-zone"),
        ("ip 172.31.1.20", "ip 172.31.1.20%eth0", "ip: '172.31.1.20%eth0'"),
        ("0a:cc:b1:e4:24:d2", "0a:cc:b1:e4:24", "mac: '0a:cc:b1:e4:24' is not a valid mac-address"),
        ("ACAB129A", "ACAB129", "preshared-key: the value (not shown) is not a valid key32"),
        ("ACAB129A", "ACAB129G", "preshared-key: the value (not shown) is not a valid key32"),
        ("ACAB129A", "ACAB129AAA", "preshared-key: the value (not shown)"),
        ("ifname eth1", "pci 1:2", "pci: '1:2' is not a valid pci-address"),
        (
            "ifname eth1",
            "ifname interface-name-x",
            "ifname: 'interface-name-x' is not a valid interface-name",
        ),
        ("ifname eth1", "ifname \"a/b\"", "ifname: 'a/b'"),
    ] {
        let message = refused(&[(from, to)]);
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn values_at_the_border_of_their_type_are_accepted() {
    for (from, to) in [
        ("mtu 1440", "mtu 0"),
        ("mtu 1440", "mtu 8923"),
        ("mtu 1440", "mtu 0x5a0"),
        ("spi 1234", "spi 256"),
        ("spi 1234", "spi 4294967295"),
        ("id tokyo", "id T_0"),
        ("\"172.32.0.0/16\"", "\"0.0.0.0/0\""),
        ("ifname eth1", "ifname interface-name-"),
        ("mtu 1440", "sa-ttl 4294967295"),
    ] {
        Document::parse(&PARIS.replacen(from, to, 1)).unwrap_or_else(|error| panic!("{to}: {error}"));
    }
}

#[test]
fn mandatory_leaves_must_be_there() {
    for (from, leaf) in [
        ("ip 172.31.1.20;\n", "ip"),
        ("nexthop-ip 172.31.0.1;\n", "nexthop-ip"),
        ("id tokyo;", "id"),
        ("spi 1234;", "spi"),
        ("net \"172.32.0.0/16\";", "net"),
        ("ip 203.0.113.5;", "ip"),
        ("ip 172.31.1.30;\n", "ip"),
    ] {
        let message = refused(&[(from, "")]);
        assert!(message.contains(&format!("missing scalar value: {leaf}\n")), "{message}");
    }
}

#[test]
fn a_mandatory_leaf_is_missed_in_a_container_that_came_to_be_leaf_by_leaf() {
    let message = Document::empty().set("/private-interface4/ip", "192.0.2.1").unwrap_err().to_string();
    assert_eq!(message, "/private-interface4: missing scalar value: nexthop-ip");
}

#[test]
fn keys_are_not_repeated() {
    let message = refused(&[("ip 172.31.1.40", "ip 172.31.1.30")]);
    assert!(message.contains("duplicate key: 172.31.1.30"), "{message}");
}

#[test]
fn unique_leaves_are_unique_in_the_merged_result() {
    let route = |id: &str, spi: u32, net: &str, key: &str| {
        let key = key.repeat(32);
        format!("{{ id {id}; spi {spi}; net \"{net}\"; preshared-key {key}; gateway {{ ip 192.0.2.9; }} }}")
    };
    let one = paris().add("/route4", &route("a", 300, "10.0.0.0/8", "0a")).unwrap();
    for (entry, leaf) in [
        (route("b", 300, "10.1.0.0/16", "0b"), "spi"),
        (route("b", 301, "10.0.0.0/8", "0b"), "net"),
        (route("b", 301, "10.1.0.0/16", "0a"), "preshared-key"),
    ] {
        let message = one.add("/route4", &entry).unwrap_err().to_string();
        assert_eq!(message, format!("/route4[id=b]: not unique: {leaf} is also in entry /route4[id=a]"));
    }
    let message = one.add("/route4[id=tokyo]/gateway", "{ ip 192.0.2.1; queue 2; }").unwrap_err().to_string();
    assert!(message.contains("not unique: queue is also in entry /route4[id=tokyo]/gateway["), "{message}");
    let message = one.set("/public-interface4[ip=172.31.1.40]/queue", "1").unwrap_err().to_string();
    assert!(message.contains("not unique: queue"), "{message}");
}

#[test]
fn an_absent_leaf_is_as_good_as_its_default_when_it_comes_to_uniqueness() {
    let message = refused(&[("gateway { queue 2; ip", "gateway { ip")]);
    assert!(message.contains("not unique: queue"), "{message}");
}

#[test]
fn the_same_network_or_key_in_another_spelling_is_refused() {
    let second = |net: &str, key: &str| {
        format!("{{ id b; spi 300; net \"{net}\"; preshared-key \"{key}\"; gateway {{ ip 192.0.2.9; }} }}")
    };
    let message = paris().add("/route4", &second("172.32.9.9/16", &"0a".repeat(32))).unwrap_err().to_string();
    assert_eq!(message, "/route4[id=b]: not unique: net is also in entry /route4[id=tokyo]");
    let spelled = "ac ab 12 9a ".repeat(8);
    let message = paris().add("/route4", &second("10.0.0.0/8", spelled.trim())).unwrap_err().to_string();
    assert_eq!(message, "/route4[id=b]/preshared-key: the same key as that of route tokyo");
}

#[test]
fn a_route_has_a_gateway() {
    let message = refused(&[
        ("gateway { queue 1; ip 203.0.113.5; }", ""),
        ("gateway { queue 2; ip 203.0.113.6; }", ""),
    ]);
    let expected =
        "<unknown>:30:1: /route4[id=tokyo]/gateway: expected at least 1 in this list, found 0\nroute4 {\n^";
    assert_eq!(message, expected);
    let one = paris().remove("/route4[id=tokyo]/gateway[ip=203.0.113.5]").unwrap();
    assert!(one.remove("/route4[id=tokyo]/gateway[ip=203.0.113.6]").is_err());
}

#[test]
fn cases_of_a_choice_exclude_each_other() {
    let message = refused(&[("ifname eth1;", "ifname eth1; pci 00:00.0;")]);
    assert!(message.contains("only one choice set can exist at one time: link"), "{message}");
    let message = paris().set("/private-interface4/pci", "00:00.0").unwrap_err().to_string();
    assert!(
        message.starts_with("/private-interface4: only one choice set can exist at one time: link"),
        "{message}"
    );
}

#[test]
fn an_ipv6_gateway_is_read_like_an_ipv4_one() {
    let key = "0".repeat(62) + "b1";
    let text = format!(
        "private-interface6 {{ ifname eth1; ip 2001:db8:1::20; nexthop-ip fe80::1; }}
         public-interface6 {{ ifname eth2; ip 2001:db8:ffff::1; nexthop-ip 2001:db8:ffff::fe; queue 2; }}
         route6 {{ id a; spi 300; net \"2001:db8:2::/48\"; gateway {{ ip 2001:db8:ffff::2; queue 2; }}
                  preshared-key {key}; }}"
    );
    let document = Document::parse(&text).unwrap();
    let config = document.config();
    assert_eq!(config.private[0].ip, "2001:db8:1::20".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(
        config.public(2, crate::wire::ip::Family::V6).unwrap().nexthop_ip.to_string(),
        "2001:db8:ffff::fe"
    );
    assert_eq!(config.routes[0].nets[0].to_string(), "2001:db8:2::/48");
    assert_eq!(config.routes[0].gateways[0].ip.to_string(), "2001:db8:ffff::2");
    let again = Document::parse(&document.get("/", false).unwrap()).unwrap();
    assert_eq!(again, document);

    let refused = |from: &str, to: &str| Document::parse(&text.replace(from, to)).unwrap_err().to_string();
    assert_eq!(
        refused("gateway { ip 2001:db8:ffff::2;", "gateway { ip fe80::2;"),
        "/route6[id=a]/gateway/ip fe80::2: expected the address of a host"
    );
    assert!(refused("ip 2001:db8:1::20", "ip ff02::1").contains("/private-interface6/ip ff02::1: expected"));
}

#[test]
fn a_gateway_may_have_both_families_on_the_same_devices() {
    let private = "private-interface6 { ifname eth1; ip 2001:db8:1::20; nexthop-ip 2001:db8:1::1; }";
    let public = "public-interface6 { ifname eth2; ip 2001:db8:ffff::1; nexthop-ip 2001:db8:ffff::fe; device-queue 1; }";
    let route = "route6 { id osaka; spi 300; net \"2001:db8:2::/48\"; additional-net \"10.9.0.0/16\";
        gateway { ip 2001:db8:ffff::2; } preshared-key "
        .to_string()
        + &"01".repeat(32)
        + "; }";
    let both = |private: &str, public: &str, route: &str| {
        Document::parse(&format!("{PARIS}\n{private}\n{public}\n{route}"))
    };
    let document = both(private, public, &route).unwrap();
    let config = document.config();
    assert_eq!((config.private.len(), config.public.len(), config.workers().count()), (2, 3, 2));
    let osaka = config.routes.iter().find(|route| route.id == "osaka").unwrap();
    let nets: Vec<_> = osaka.nets.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["2001:db8:2::/48", "10.9.0.0/16"]);
    let text = document.get("/", false).unwrap();
    assert_eq!(Document::parse(&text).unwrap().get("/", false).unwrap(), text);
    // Routes are kept when something else changes.
    let newer = document.set("/mtu", "1400").unwrap();
    assert!(
        newer.config().routes.iter().zip(&config.routes).all(|(new, old)| std::sync::Arc::ptr_eq(new, old))
    );

    for (private, public, route, expected) in [
        (
            private.replace("eth1", "eth7"),
            public.to_string(),
            route.clone(),
            "/private-interface6/ifname: the interf",
        ),
        (
            private.to_string(),
            public.replace("device-queue 1", "device-queue 2"),
            route.clone(),
            "/public-interface6[ip=2001:db8:ffff::1]/device-queue: the interf",
        ),
        (
            private.to_string(),
            public.replace("device-queue", "mac 02:00:00:00:00:07; device-queue"),
            route.clone(),
            "/public-interface6[ip=2001:db8:ffff::1]/mac: the interf",
        ),
        (
            private.to_string(),
            public.to_string(),
            route.replace("10.9.0.0/16", "172.32.0.0/16"),
            "/route4[id=tokyo]/net 172.32.0.0/16: the same network as that of route osaka",
        ),
        (
            private.to_string(),
            public.to_string(),
            route.replace("spi 300", "spi 1234"),
            "/route4[id=tokyo]/spi 1234: the same",
        ),
        (
            private.to_string(),
            public.to_string(),
            route.replace("id osaka", "id tokyo"),
            "/route6[id=tokyo]: the same id",
        ),
    ] {
        let message = both(&private, &public, &route).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    for (public, route, expected) in [
        (
            public,
            route.replace("::2; }", "::2; queue 2; }"),
            "/route6[id=osaka]/gateway[ip=2001:db8:ffff::2]/queue 2: there is no public interface with this queue \
             (public-interface6 has queue 1), so this gateway is not used; add the interface",
        ),
        (
            "",
            route.clone(),
            "/route6[id=osaka]/gateway[ip=2001:db8:ffff::2]/queue 1: there is no public interface with this queue \
             (there is no public-interface6 yet), so this gateway is not used; add the interface",
        ),
    ] {
        let warnings = both(private, public, &route).unwrap().warnings();
        assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn malformed_ipv6_addresses_are_refused() {
    let message =
        Document::parse("route6 { id a; spi 300; net \"2001:db8::/32\"; gateway { ip 2001:db8::1; } }");
    assert!(message.unwrap_err().to_string().contains("missing scalar value: preshared-key"));
    let bad =
        Document::empty().set("/private-interface6", "ip 2001:db8:::1; nexthop-ip 2001:db8::2;").unwrap_err();
    assert!(bad.to_string().contains("'2001:db8:::1' is not a valid ipv6-address-no-zone"), "{bad}");
}

#[test]
fn real_pci_devices_are_refused_with_a_hint() {
    let message = refused(&[("ifname eth1", "pci 01:00.0")]);
    assert_eq!(
        message,
        "<unknown>:3:3: /private-interface4/pci 01:00.0: PCI devices are not driven directly; use ifname with the \
         name of the network interface\n  pci 01:00.0;\n  ^"
    );
    assert!(refused(&[("ifname eth2", "pci 0000:01:00.1")]).contains("use ifname"));
}

#[test]
fn an_interface_needs_a_device() {
    let message = refused(&[("ifname eth2;", "")]);
    assert!(
        message.starts_with("<unknown>:9:1: /public-interface4[ip=172.31.1.30]: expected ifname"),
        "{message}"
    );
}

#[test]
fn a_device_queue_has_one_user() {
    let message = refused(&[("ifname eth3", "ifname eth2")]);
    assert!(
        message.contains("device queue 1 of eth2 is already used by /public-interface4[ip=172.31.1.30]"),
        "{message}"
    );
    let message = refused(&[("ifname eth2", "ifname eth1")]);
    assert!(message.contains("device queue 1 of eth1 is already used by /private-interface4"), "{message}");
    // Different queues of one device are fine, as is any number of interfaces without a device.
    let shared = PARIS.replace("ifname eth3;\n  device-queue 1;", "ifname eth2;\n  device-queue 2;");
    Document::parse(&shared).unwrap();
    let none = PARIS.replace("ifname eth2", "pci 00:00.0").replace("ifname eth3", "pci 00:00.0");
    Document::parse(&none).unwrap();
}

#[test]
fn a_gateway_entry_for_a_worker_that_does_not_exist_is_a_warning() {
    let warning = |queue, known| {
        format!(
            "/route4[id=tokyo]/gateway[ip=203.0.113.{queue}]/queue {}: there is no public interface with this queue \
             ({known}), so this gateway is not used; add the interface",
            queue - 4
        )
    };
    let message =
        |document: &Document| document.warnings().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(message(&paris()), [""; 0]);
    // The interface goes first, and comes last.
    let without = paris().remove("/public-interface4[ip=172.31.1.40]").unwrap();
    assert_eq!(message(&without), [warning(6, "public-interface4 has queue 1")]);
    assert_eq!(without.warnings_since(&paris()), without.warnings());
    assert_eq!(without.set("/mtu", "1400").unwrap().warnings_since(&without), []);
    let entry = "{ ip 203.0.113.6; queue 2; }";
    let shorter = without.remove("/route4[id=tokyo]/gateway[ip=203.0.113.6]").unwrap();
    assert_eq!(message(&shorter), [""; 0]);
    let longer = shorter.add("/route4[id=tokyo]/gateway", entry).unwrap();
    assert_eq!(message(&longer), [warning(6, "public-interface4 has queue 1")]);
    // Before there are workers, routes may be configured already.
    let routes = PARIS.get(PARIS.find("route4").unwrap()..).unwrap();
    let none = "there is no public-interface4 yet";
    assert_eq!(message(&Document::parse(routes).unwrap()), [warning(5, none), warning(6, none)]);
}

#[test]
fn ethernet_addresses_are_those_of_single_devices() {
    for (from, to, expected) in [
        (
            "mac 0a:cc:b1:e4:24:d2",
            "mac 01:00:5e:00:00:01",
            "/private-interface4/mac 01:00:5e:00:00:01: the address of a group (broadcast or multicast); expected the address of one device",
        ),
        (
            "mac 0a:42:13:9e:a8:ae",
            "mac ff:ff:ff:ff:ff:ff",
            "/public-interface4[ip=172.31.1.30]/mac ff:ff:ff:ff:ff:ff: the",
        ),
        (
            "mac 0a:42:13:9e:a8:ae",
            "mac 00:00:00:00:00:00",
            "/mac 00:00:00:00:00:00: no address at all; expected",
        ),
        (
            "mac 0a:42:13:9e:a8:ae",
            "nexthop-mac 33:33:00:00:00:01",
            "/nexthop-mac 33:33:00:00:00:01: the address of a group",
        ),
        (
            "mac 0a:42:13:9e:a8:ae",
            "nexthop-mac 00:00:00:00:00:00",
            "/nexthop-mac 00:00:00:00:00:00: no address",
        ),
        (
            "mac 0a:42:13:9e:a8:ae;",
            "mac 0a:42:13:9e:a8:ae; nexthop-mac 0A:42:13:9E:A8:AE;",
            "/public-interface4[ip=172.31.1.30]/nexthop-mac 0a:42:13:9e:a8:ae: the address of this interface itself",
        ),
    ] {
        let message = refused(&[(from, to)]);
        assert!(message.contains(expected), "{to}: {message}");
    }
    // Bit 2 is for addresses that are administered locally.
    Document::parse(&PARIS.replace("0a:42:13:9e:a8:ae", "02:00:00:00:00:00")).unwrap();
}

#[test]
fn no_two_interfaces_answer_for_one_address() {
    for (from, to, expected) in [
        (
            "ip 172.31.1.40",
            "ip 172.31.1.20",
            "/public-interface4[ip=172.31.1.20]/ip 172.31.1.20: the same address as that of /private-interface4; expected",
        ),
        (
            "nat-ip 203.0.113.3",
            "nat-ip 203.0.113.2",
            "/public-interface4[ip=172.31.1.40]/nat-ip 203.0.113.2: the same address as that of /public-interface4[ip=172.31.1.30]",
        ),
        ("nat-ip 203.0.113.3", "nat-ip 203.0.113.2", "expected another one for each interface"),
        (
            "ip 172.31.1.20;\n  nexthop-ip 172.31.0.1",
            "ip 172.31.1.20;\n  nexthop-ip 172.31.1.20",
            "/private-interface4/nexthop-ip 172.31.1.20: the address of this interface itself; expected that of its next hop",
        ),
        (
            "nat-ip 203.0.113.3;\n  nexthop-ip 172.31.0.1",
            "nat-ip 203.0.113.3;\n  nexthop-ip 172.31.1.40",
            "/public-interface4[ip=172.31.1.40]/nexthop-ip 172.31.1.40: the address of this interface itself",
        ),
    ] {
        let message = refused(&[(from, to)]);
        assert!(message.contains(expected), "{to}: {message}");
    }
    // A route may lead back (loopback), and interfaces without a device send nothing.
    let looped = PARIS.replace("ip 203.0.113.5", "ip 203.0.113.2");
    assert!(Document::parse(&looped).is_ok());
    let bare = "private-interface4 { pci 00:00.0; ip 172.16.0.10; nexthop-ip 172.16.0.10; }
        public-interface4 { pci 00:00.0; ip 172.16.0.10; nexthop-ip 172.16.0.10; }";
    Document::parse(bare).unwrap();
}

#[test]
fn two_gateways_of_a_route_have_two_addresses_however_they_are_written() {
    let message = refused(&[("ip 203.0.113.6", "ip 203.0.113.5")]);
    assert!(message.contains("duplicate key: 203.0.113.5"), "{message}");
    let key = "0".repeat(64);
    let message = Document::parse(&format!(
        "route6 {{ id a; spi 300; net 2001:db8:2::/48; preshared-key {key};
                  gateway {{ ip 2001:db8::1; }} gateway {{ ip 2001:DB8:0::1; queue 2; }} }}"
    ));
    assert!(message.unwrap_err().to_string().contains("not unique: ip"));
    // Several routes may lead to one peer.
    let route = |id: &str, spi: u32, net: u32| {
        format!(
            "route4 {{ id {id}; spi {spi}; net 10.{net}.0.0/16; preshared-key {spi:064}; gateway {{ ip 192.0.2.1; }} }}"
        )
    };
    Document::parse(&(route("a", 300, 1) + &route("b", 301, 2))).unwrap();
}

#[test]
fn ipv6_needs_packets_of_1280_bytes() {
    let key = "0".repeat(64);
    let route6 = format!(
        "route6 {{ id a; spi 300; net 2001:db8:2::/48; gateway {{ ip 2001:db8::1; }} preshared-key {key}; }}"
    );
    let message = |text: String| Document::parse(&text).unwrap_err().to_string();
    let expected = "/mtu 1279: route a carries IPv6 (2001:db8:2::/48), whose hosts need not send packets of less than \
                    1280 bytes (RFC 8200 section 5); expected 1280 or more";
    assert!(message(format!("mtu 1279; {route6}")).contains(expected));
    Document::parse(&format!("mtu 1280; {route6}")).unwrap();
    // IPv6 in an IPv4 tunnel as well, and whichever comes last.
    let inner =
        PARIS.replace("mtu 1440", "mtu 576").replace("spi 1234;", "spi 1234; additional-net 2001:db8::/32;");
    assert!(message(inner).contains("/mtu 576: route tokyo carries IPv6 (2001:db8::/32)"));
    let small = Document::parse(&PARIS.replace("mtu 1440", "mtu 576")).unwrap();
    let message = small.add("/route4[id=tokyo]/additional-net", "2001:db8::/32").unwrap_err().to_string();
    assert!(message.starts_with("/mtu 576: route tokyo carries IPv6"), "{message}");
}

#[test]
fn addresses_are_those_of_hosts() {
    for (from, to) in [
        ("ip 172.31.1.20", "ip 0.0.0.0"),
        ("ip 203.0.113.5", "ip 224.0.0.1"),
        ("nat-ip 203.0.113.2", "nat-ip 255.255.255.255"),
    ] {
        assert!(refused(&[(from, to)]).contains("expected the address of a host"));
    }
}

#[test]
fn dscp_ecn_and_the_check_of_inner_sources_are_carried_into_the_configuration() {
    let set = |text: &str| paris().set("/dscp", text).map(|document| document.config().dscp);
    let defaults = paris();
    assert_eq!((defaults.config().dscp, defaults.config().check_inner_source), (Dscp::None, true));
    assert!(defaults.config().ecn);
    assert!(!paris().set("/ecn", "false").unwrap().config().ecn);
    for (text, expected) in [
        ("none", Dscp::None),
        ("copy", Dscp::Copy),
        ("0", Dscp::Fixed(0)),
        ("46", Dscp::Fixed(46)),
        ("63", Dscp::Fixed(63)),
    ] {
        assert_eq!(set(text).unwrap(), expected);
    }
    for text in ["64", "046", "ef", "-1", "100"] {
        let message = set(text).unwrap_err().to_string();
        assert!(message.contains("none|copy"), "{message}");
    }
    assert!(!paris().set("/check-inner-source", "false").unwrap().config().check_inner_source);
}

#[test]
fn what_is_done_about_the_size_of_packets_is_carried_into_the_configuration() {
    let defaults = paris();
    assert!(defaults.config().fragment_inner && defaults.config().mss_clamp);
    let changed = paris().set("/fragment-inner", "false").unwrap();
    assert!(!changed.config().fragment_inner && changed.config().mss_clamp);
    let changed = paris().set("/mss-clamp", "false").unwrap();
    assert!(changed.config().fragment_inner && !changed.config().mss_clamp);
}

#[test]
fn tfc_is_carried_into_the_configuration() {
    assert!(paris().set("/tfc", "true").unwrap().config().tfc);
}
