// SPDX-License-Identifier: Apache-2.0
//! Stories about associations with configured keys, and about those that the key manager keeps.

use super::{PARIS, paris};
use crate::config::{Difference, Document, LiveAssociation};
use crate::sa::{Algorithm, Direction, Key, SaParameters};
use crate::yang::format::Format;

const OUTBOUND: &str = "outbound-sa { spi 300; queue 2; route tokyo; aead aes-gcm-16-icv; \
    key \"AB AB AB AB AB AB AB AB AB AB AB AB AB AB AB 01\"; salt 01020304; sequence-number 18446744073709551615; }\n";
const INBOUND: &str = "inbound-sa { spi 301; route tokyo; aead aes-gcm-16-icv; \
    key ABABABABABABABABABABABABABABAB02; salt 01020305; }\n";

fn text() -> String {
    format!("{PARIS} data-plane true;\n{OUTBOUND}{INBOUND}")
}

fn manual() -> Document {
    Document::parse(&text()).unwrap()
}

/// The message about the example with these replacements.
fn refused(from: &str, to: &str) -> String {
    assert!(text().contains(from), "{from}");
    Document::parse(&text().replace(from, to)).expect_err(to).to_string()
}

#[test]
fn configured_associations_are_read_with_all_they_have() {
    let document = manual();
    let config = document.config();
    assert!(config.data_plane);
    let [outbound, inbound] = [&config.outbound[0], &config.inbound[0]];
    assert_eq!((outbound.sa.spi, outbound.queue, &*outbound.route), (300, 2, "tokyo"));
    assert_eq!(
        (outbound.sa.key.algorithm(), outbound.sa.key.bytes()[15], outbound.sequence),
        (Algorithm::Aes128Gcm, 1, u64::MAX)
    );
    assert_eq!((inbound.queue, &inbound.sa.salt, inbound.sequence), (1, &[1, 2, 3, 5], 0));
    assert_eq!(document.ignored_associations(), 0);
}

#[test]
fn the_document_that_is_printed_can_be_set_and_changes_nothing() {
    let document = manual();
    let printed = document.get("/", false).unwrap();
    assert!(printed.contains("sequence-number 18446744073709551615;"), "{printed}");
    let again = document.set("/", &printed).unwrap();
    assert!(Difference::between(document.config(), again.config()).is_empty());
    assert_eq!(again.get("/", false).unwrap(), printed);
    let json = document.print("/", Format::Json, false).unwrap();
    assert_eq!(Document::parse(&json).unwrap().config(), document.config(), "{json}");
}

#[test]
fn what_an_association_needs_is_named_with_path_value_and_expectation() {
    for (from, to, expected) in [
        (
            "queue 2; route tokyo",
            "queue 2; route oslo",
            "/outbound-sa[queue=2][spi=300]/route oslo: expected the id of a route",
        ),
        (
            "301; route tokyo",
            "301; route oslo",
            "/inbound-sa[queue=1][spi=301]/route oslo: expected the id of a route",
        ),
        (
            "aead aes-gcm-16-icv",
            "aead rot13",
            "/outbound-sa[queue=2][spi=300]/aead rot13: expected an algorithm that is supported, \
             aes-gcm-16-icv or aes-256-gcm-16-icv or chacha20-poly1305",
        ),
        ("salt 01020304", "salt 010203", "salt: the value (not shown) is not a valid key4: expected"),
        ("AB02", "AB", "key: the value (not shown) is not a valid aead-key: expected"),
        ("AB02", "AB0203", "key: the value (not shown) is not a valid aead-key: expected"),
        (
            "spi 300; queue",
            "spi 255; queue",
            "'255' is not a valid spi: expected a whole number in 256..4294967295",
        ),
        ("18446744073709551615", "18446744073709551616", "'18446744073709551616' is not a valid uint64"),
        ("18446744073709551615", "-1", "'-1' is not a valid uint64"),
    ] {
        let message = refused(from, to);
        assert!(message.contains(expected), "{to}: {message}");
        assert!(!message.replace("sequence", "").contains("AB"), "{message}");
    }
    assert!(refused("aead aes-gcm-16-icv", "aead rot13").starts_with("<unknown>:"));
}

#[test]
fn each_algorithm_has_keys_of_its_length_and_no_other() {
    let long = "ABABABABABABABABABABABABABABAB02 AB AB AB AB AB AB AB AB AB AB AB AB AB AB AB 03";
    let entry = |aead: &str, key: &str| {
        let entry = INBOUND.replace("aes-gcm-16-icv", aead);
        entry.replace("ABABABABABABABABABABABABABABAB02", &format!("\"{key}\""))
    };
    let with = |aead: &str, key: &str| Document::parse(&text().replace(INBOUND, &entry(aead, key)));
    for (aead, name) in Algorithm::ALL.map(|aead| (aead, aead.name())) {
        let (right, wrong, lengths) = match aead {
            Algorithm::Aes128Gcm => {
                (&long[..32], long, "16 bytes of a key of aes-gcm-16-icv, found 32 bytes")
            }
            Algorithm::Aes256Gcm => {
                (long, &long[..32], "32 bytes of a key of aes-256-gcm-16-icv, found 16 bytes")
            }
            Algorithm::ChaCha20Poly1305 => {
                (long, &long[..32], "32 bytes of a key of chacha20-poly1305, found 16 bytes")
            }
        };
        let document = with(name, right).unwrap();
        let key = &document.config().inbound[0].sa.key;
        assert_eq!((key.algorithm(), key.bytes().len() * 2), (aead, right.replace(' ', "").len()));
        assert_eq!(
            (key.bytes()[15], key.bytes().last()),
            (2, Some(&if aead == Algorithm::ALL[0] { 2 } else { 3 }))
        );
        let printed = document.get("/", false).unwrap();
        assert_eq!(Document::parse(&printed).unwrap().config(), document.config(), "{printed}");
        assert!(!format!("{document:?} {:?}", document.config()).contains("171"));
        let message = with(name, wrong).unwrap_err().to_string();
        let path = "/inbound-sa[queue=1][spi=301]/key";
        assert!(message.contains(&format!("{path}: expected the {lengths} (not shown)")), "{message}");
        assert!(!message.contains("AB"), "{message}");
    }
    for length in [15, 17, 24, 31, 33] {
        let message = with("aes-256-gcm-16-icv", &"AB".repeat(length)).unwrap_err().to_string();
        assert!(message.contains("(not shown) is not a valid aead-key"), "{length}: {message}");
        assert!(!message.contains("ABAB"), "{message}");
    }
}

#[test]
fn a_change_of_algorithm_is_told_without_the_key() {
    let (document, long) = (manual(), "AB".repeat(32));
    let entry = format!("route tokyo; aead chacha20-poly1305; key {long}; salt 01020305;");
    let changed = document.set("/inbound-sa[spi=301]", &entry).unwrap();
    let shown = Difference::between(document.config(), changed.config()).to_string();
    assert_eq!(
        shown,
        "~ inbound-sa[queue=1][spi=301]: aead aes-gcm-16-icv -> chacha20-poly1305, key changed\n"
    );
    let message = document.set("/inbound-sa[spi=301]/aead", "chacha20-poly1305").unwrap_err().to_string();
    assert!(message.contains("key: expected the 32 bytes"), "{message}");
}

#[test]
fn a_route_has_one_outbound_association_on_a_worker() {
    let second = OUTBOUND.replace("spi 300", "spi 302").replace("01\"", "03\"");
    let message = Document::parse(&(text() + &second)).unwrap_err().to_string();
    assert!(
        message.contains("/outbound-sa") && message.contains("route queue") && message.contains("tokyo"),
        "{message}"
    );
    let elsewhere = second.replace("queue 2", "queue 1");
    assert_eq!(Document::parse(&(text() + &elsewhere)).unwrap().config().outbound.len(), 2);
    // Inbound, one replaces the other while both live.
    let inbound = INBOUND.replace("spi 301", "spi 302");
    assert_eq!(Document::parse(&(text() + &inbound)).unwrap().config().inbound.len(), 2);
}

#[test]
fn no_two_associations_seal_with_the_same_nonces() {
    let same = OUTBOUND.replace("queue 2", "queue 1");
    let message = Document::parse(&(text() + &same)).unwrap_err().to_string();
    assert!(
        message.contains("/outbound-sa[queue=2][spi=300]/key: the same key and salt as that of /outbound-sa[queue=1][spi=300]"),
        "{message}"
    );
    Document::parse(&(text() + &same.replace("01020304", "01020306"))).unwrap();
    // Nor is a key for one algorithm a key for another.
    let key = "AB".repeat(32);
    let both = ["aes-256-gcm-16-icv", "chacha20-poly1305"].into_iter().zip(1..).map(|(aead, queue)| {
        format!(
            "outbound-sa {{ spi 310; queue {queue}; route tokyo; aead {aead}; key {key}; salt 01020304; }}\n"
        )
    });
    let message = Document::parse(&(text().replace(OUTBOUND, "") + &both.collect::<String>())).unwrap_err();
    assert!(message.to_string().contains("the same key and salt"), "{message}");
}

#[test]
fn an_association_of_a_queue_without_a_worker_is_a_warning() {
    let document = Document::parse(&text().replace("queue 2; route", "queue 3; route")).unwrap();
    assert_eq!(
        shown(&document),
        [
            "/outbound-sa[queue=3][spi=300]/queue 3: there is no public interface with this queue (public-interface4 has \
          queue 1, 2), so this SA is not used; add the interface"
        ]
    );
    // The interface is removed before what is for its queue, and added after it.
    let without = manual().remove("/public-interface4[ip=172.31.1.40]").unwrap();
    let shown = shown(&without);
    assert!(shown[1].starts_with("/outbound-sa[queue=2][spi=300]/queue 2: there is no public"), "{shown:?}");
}

fn shown(document: &Document) -> Vec<String> {
    document.warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn a_key_is_for_one_direction_only_or_salts_tell_them_apart() {
    let both = INBOUND.replace("AB02", "AB01").replace("01020305", "01020304");
    let message = Document::parse(&text().replace(INBOUND, &both)).unwrap_err().to_string();
    assert!(
        message.contains("/outbound-sa[queue=2][spi=300]/key: the same key and salt as that of /inbound-sa[queue=1][spi=301]"),
        "{message}"
    );
    assert!(!message.contains("AB"), "{message}");
    let salted = Document::parse(&text().replace(INBOUND, &both.replace("01020304", "01020305"))).unwrap();
    assert_eq!(
        shown(&salted),
        [
            "/outbound-sa[queue=2][spi=300]/key: the same key as that of /inbound-sa[queue=1][spi=301], with another \
          salt; give each direction a key of its own"
        ]
    );
    assert_eq!(shown(&manual()), [""; 0]);
}

/// The configuration with which deployed gateways are tested: what it sends comes back.
#[test]
fn a_gateway_that_talks_to_itself_may_have_one_association() {
    let looped = "data-plane true;
        private-interface4 { pci 00:00.0; ip 192.168.10.1; nexthop-ip 192.168.0.1; mac 52:54:00:00:00:00; }
        public-interface4 { pci 00:00.0; ip 203.0.113.1; nexthop-ip 203.0.0.1; mac 52:54:00:00:00:FF; }
        mtu 500;
        route4 { id loopback; net 192.168.10.0/24; gateway { ip 203.0.113.1; } spi 1001;
                 preshared-key 0000000000000000000000000000000000000000000000000000000000000000; }
        outbound-sa { spi 1001; route loopback; aead aes-gcm-16-icv;
                      key \"00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\"; salt \"00 00 00 00\"; }
        inbound-sa { spi 1001; route loopback; aead aes-gcm-16-icv;
                     key \"00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\"; salt \"00 00 00 00\"; }";
    let document = Document::parse(looped).unwrap();
    assert_eq!(
        shown(&document),
        [
            "/outbound-sa[queue=1][spi=1001]/key: the same key and salt as that of /inbound-sa[queue=1][spi=1001]: safe \
          only because route loopback leads back to this gateway"
        ]
    );
    // Once it leads elsewhere, a peer would seal by the same key.
    let message =
        document.set("/route4[id=loopback]/gateway", "{ ip 203.0.113.9; }").unwrap_err().to_string();
    assert!(
        message.contains("the same key and salt as that of /inbound-sa[queue=1][spi=1001], by which"),
        "{message}"
    );
}

#[test]
fn no_two_workers_accept_the_same_packets() {
    let same = INBOUND.replace("301;", "301; queue 2;");
    let message = Document::parse(&(text() + &same)).unwrap_err().to_string();
    assert!(
        message.contains("/inbound-sa[queue=2][spi=301]/key: the same SPI, key and salt as those of /inbound-sa[queue=1][spi=301]"),
        "{message}"
    );
    assert!(!message.contains("AB"), "{message}");
    for (from, to) in [("01020305", "01020306"), ("AB02", "AB03"), ("301;", "302;")] {
        Document::parse(&(text() + &same.replace(from, to))).unwrap();
    }
}

#[test]
fn associations_are_edited_one_by_one() {
    let document = manual();
    let added = document
        .add("/inbound-sa", "{ spi 302; route tokyo; aead aes-gcm-16-icv; key 000102030405060708090a0b0c0d0e0f; salt 00000000; }")
        .unwrap();
    let changed = added.set("/inbound-sa[spi=301]/sequence-number", "4294967296").unwrap();
    let removed = changed.remove("/outbound-sa[queue=2][spi=300]").unwrap();
    let difference = Difference::between(document.config(), removed.config());
    assert!(difference.keeps_the_rest() && difference.routes.is_empty() && !difference.is_empty());
    assert_eq!(
        difference.to_string(),
        "- outbound-sa[queue=2][spi=300]: route tokyo, aes-gcm-16-icv, sequence-number 18446744073709551615\n\
         ~ inbound-sa[queue=1][spi=301]: sequence-number 0 -> 4294967296\n\
         + inbound-sa[queue=1][spi=302]: route tokyo, aes-gcm-16-icv\n"
    );
    assert_eq!(
        difference.summary(),
        "1 outbound SA removed (300), 1 inbound SA added (302), 1 inbound SA changed (301)"
    );
    let rekeyed = document.set("/outbound-sa[spi=300][queue=2]/salt", "01020309").unwrap();
    let shown = Difference::between(document.config(), rekeyed.config()).to_string();
    assert_eq!(shown, "~ outbound-sa[queue=2][spi=300]: salt changed\n");
    let message = document.remove("/route4[id=tokyo]").unwrap_err().to_string();
    assert!(message.contains("/route tokyo: expected the id of a route"), "{message}");
}

#[test]
fn without_data_plane_they_are_dropped_and_the_lists_are_closed() {
    let off = manual().set("/data-plane", "false").unwrap();
    assert_eq!(off.ignored_associations(), 2);
    assert!(off.config().outbound.is_empty() && off.config().inbound.is_empty());
    let message = off.add("/outbound-sa", "").unwrap_err().to_string();
    assert!(message.starts_with("/outbound-sa: SA database is auto-managed"), "{message}");
    // An algorithm that only others know does not matter where the entry is dropped.
    let foreign = text().replace("data-plane true;", "").replace("aes-gcm-16-icv", "rot13");
    assert_eq!(Document::parse(&foreign).unwrap().ignored_associations(), 2);
    let on = paris().set("/data-plane", "true").unwrap();
    assert_eq!(
        on.add("/inbound-sa", INBOUND.trim().strip_prefix("inbound-sa").unwrap())
            .unwrap()
            .config()
            .inbound
            .len(),
        1
    );
}

#[test]
fn live_associations_are_shown_and_never_become_part_of_a_document() {
    let sa = |spi| SaParameters { spi, key: Key::Aes128Gcm([0xb8; 16]), salt: [7; 4] };
    let (one, other) = (sa(261), sa(999));
    let live = || {
        let inbound = LiveAssociation { direction: Direction::Inbound, queue: 1, route: "tokyo", sa: &one };
        let outbound = LiveAssociation { direction: Direction::Outbound, queue: 2, sa: &other, ..inbound };
        vec![inbound, outbound]
    };
    let document = paris();
    let shown = |path: &str| document.print_live(path, Format::Yang, false, live);
    assert_eq!(
        shown("/inbound-sa[spi=261]").unwrap(),
        "aead aes-gcm-16-icv;\nkey \"B8 B8 B8 B8 B8 B8 B8 B8 B8 B8 B8 B8 B8 B8 B8 B8\";\nroute tokyo;\nsalt \"07 07 07 07\";\n"
    );
    assert!(shown("/outbound-sa").unwrap().starts_with("{\n  queue 2;\n  spi 999;\n"));
    let all = shown("/").unwrap();
    assert!(all.contains("inbound-sa {") && all.contains("outbound-sa {"), "{all}");
    let again = document.set("/", &all).unwrap();
    assert_eq!(again.ignored_associations(), 2);
    assert_eq!(again.config(), document.config());
    assert!(!document.get("/", false).unwrap().contains("inbound-sa"));
    // Where they are configured, the configured ones are shown.
    assert!(!manual().print_live("/", Format::Yang, false, live).unwrap().contains("B8"));
}

#[test]
fn nothing_but_get_shows_a_configured_key() {
    let document = manual();
    let shown = format!("{document:?} {}", Difference::between(paris().config(), document.config()));
    assert!(!shown.contains("AB AB") && !shown.to_lowercase().contains("abab"), "{shown}");
    assert!(!shown.contains("171"), "{shown}");
}
