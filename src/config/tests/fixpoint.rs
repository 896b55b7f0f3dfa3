// SPDX-License-Identifier: Apache-2.0
//! What `get /` prints can be fed to `set /` and changes nothing.

use super::*;
use crate::yang::format::Format;
use proptest::prelude::*;

/// A valid configuration: any number of queues, routes and optional leaves, in any order of statements.
fn configuration() -> impl Strategy<Value = String> {
    let public = (any::<bool>(), any::<bool>(), prop::option::of(1u16..9));
    let publics = prop::collection::vec(public, 0..4).prop_map(|publics| {
        let text = |(index, (nat, mac, device)): (usize, (bool, bool, Option<u16>))| {
            let nat = if nat { format!("nat-ip 203.0.113.{index};") } else { String::new() };
            let mac = if mac { "mac 02:00:00:00:00:0A;" } else { "" };
            let device = device.map_or(String::new(), |device| format!("device-queue {device};"));
            let queue = index + 1;
            format!("public-interface4 {{ {device} {nat} queue {queue}; {mac} ifname 'e{index}'; ip 192.0.2.{queue}; nexthop-ip 192.0.2.99; }}")
        };
        publics.into_iter().enumerate().map(text).collect::<Vec<_>>()
    });
    let routes = prop::collection::vec((any::<[u8; 31]>(), 0u8..33, any::<bool>()), 0..8).prop_map(|routes| {
        let text = |(index, (key, length, spaced)): (usize, ([u8; 31], u8, bool))| {
            let separator = if spaced { "\n " } else { "" };
            let key: Vec<_> = key.iter().map(|byte| format!("{byte:02X}")).collect();
            let key = key.join(separator);
            let length = 8 + length % 25;
            format!("route4 {{ spi {}; preshared-key \"{index:02x}{key}\"; id r_{index}; net \"{index}.0.0.0/{length}\"; gateway {{ ip 198.51.100.{index}; }} }}", 0x100 + index)
        };
        routes.into_iter().enumerate().map(text).collect::<Vec<_>>()
    });
    let leaves = prop::sample::subsequence(
        vec![
            "mtu 8923;",
            "tfc true;",
            "dscp \"copy\";",
            "ecn false;",
            "check-inner-source false;",
            "fragment-inner false;",
            "mss-clamp false;",
            "protocol-port 0x100;",
            "sa-ttl 600;",
            "negotiation-ttl 010;",
            "data-plane false;",
        ],
        0..=11,
    );
    (publics, routes, leaves)
        .prop_map(|(mut parts, routes, leaves)| {
            parts.extend(routes);
            parts.extend(leaves.into_iter().map(str::to_string));
            parts
        })
        .prop_shuffle()
        .prop_map(|parts| parts.join(" /* and */ "))
}

proptest! {
    #[test]
    fn what_get_prints_can_be_set(text in configuration()) {
        let document = Document::parse(&text).unwrap();
        for print_default in [false, true] {
            let printed = document.get("/", print_default).unwrap();
            let again = Document::parse(&printed).unwrap();
            prop_assert_eq!(again.config(), document.config());
            prop_assert_eq!(again.get("/", print_default).unwrap(), printed);
        }
    }

    #[test]
    fn what_get_prints_of_any_part_can_be_set_there(text in configuration()) {
        let document = Document::parse(&text).unwrap();
        let mut paths = vec!["/mtu".to_string(), "/route4".to_string(), "/public-interface4".to_string()];
        for route in &document.config().routes {
            paths.push(format!("/route4[id={}]", route.id));
            paths.push(format!("/route4[id={}]/gateway", route.id));
            paths.push(format!("/route4[id={}]/preshared-key", route.id));
        }
        for path in paths {
            let printed = document.get(&path, false).unwrap();
            let again = document.set(&path, &printed).unwrap();
            prop_assert_eq!(again.config(), document.config(), "{}", path);
        }
    }

    #[test]
    fn what_get_prints_as_json_can_be_set(text in configuration()) {
        let document = Document::parse(&text).unwrap();
        for print_default in [false, true] {
            let printed = document.print("/", Format::Json, print_default).unwrap();
            let again = Document::parse(&printed).unwrap();
            prop_assert_eq!(again.config(), document.config());
            prop_assert_eq!(again.print("/", Format::Json, print_default).unwrap(), printed);
        }
        let again = document.set("/", &document.print("/", Format::Json, false).unwrap()).unwrap();
        prop_assert_eq!(again.get("/", false).unwrap(), document.get("/", false).unwrap());
    }

    #[test]
    fn what_get_prints_of_any_part_as_json_can_be_set_there(text in configuration()) {
        let document = Document::parse(&text).unwrap();
        let mut paths = vec!["/mtu".to_string(), "/route4".to_string(), "/public-interface4".to_string()];
        for route in &document.config().routes {
            paths.push(format!("/route4[id={}]", route.id));
            paths.push(format!("/route4[id={}]/gateway", route.id));
            paths.push(format!("/route4[id={}]/preshared-key", route.id));
        }
        for path in paths {
            let printed = document.print(&path, Format::Json, false).unwrap();
            let again = document.set(&path, &printed).unwrap();
            prop_assert_eq!(again.config(), document.config(), "{}", path);
        }
    }

    #[test]
    fn json_that_is_almost_right_is_accepted_or_refused(
        cut in any::<prop::sample::Index>(), length in 0usize..8, insert in "[:,{}\\[\\]\"\\\\ \nnul0e.-]{0,4}",
    ) {
        let json = paris().print("/", Format::Json, true).unwrap();
        let cut = cut.index(json.len());
        let end = (cut + length).min(json.len());
        let _ = Document::parse(&format!("{}{insert}{}", &json[..cut], &json[end..]));
    }

    #[test]
    fn every_line_of_xpath_is_a_path_and_its_value(text in configuration()) {
        let document = Document::parse(&text).unwrap();
        let lines = document.print("/", Format::Xpath, true).unwrap();
        // A key with line breaks is printed with escapes, so each line is whole.
        for line in lines.lines() {
            let (path, value) = line.split_once(' ').unwrap();
            prop_assert_eq!(document.get(path, true).unwrap(), value);
            prop_assert!(document.set(path, value).is_ok());
        }
    }

    #[test]
    fn any_text_is_accepted_or_refused(text in "\\PC{0,80}", path in "\\PC{0,40}") {
        let _ = Document::parse(&text);
        let document = Document::empty();
        let _ = (document.set(&path, &text), document.add(&path, &text), document.remove(&path));
        for format in [Format::Yang, Format::Json, Format::Xpath, Format::Influxdb] {
            let _ = (document.print(&path, format, true), State::new().print(&path, format, true));
        }
    }

    #[test]
    fn text_that_is_almost_right_is_accepted_or_refused(
        cut in 0..PARIS.len(), length in 0usize..8, insert in "[;{}\"'/*+\\\\ \n0a-]{0,4}",
    ) {
        let end = (cut + length).min(PARIS.len());
        let _ = Document::parse(&format!("{}{insert}{}", &PARIS[..cut], &PARIS[end..]));
    }
}
