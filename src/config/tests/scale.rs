// SPDX-License-Identifier: Apache-2.0
//! Ten thousand routes.

use super::*;

fn many(count: u32) -> String {
    let route = |index: u32| {
        let net = std::net::Ipv4Addr::from((10 << 24) + (index << 8));
        format!(
            "route4 {{ id r{index}; net \"{net}/24\"; spi {}; preshared-key {index:064x}; gateway {{ ip 192.0.2.1; }} }}\n",
            1000 + index
        )
    };
    (0..count).map(route).collect()
}

#[test]
fn ten_thousand_routes_are_read_printed_and_edited() {
    let document = Document::parse(&many(10_000)).unwrap();
    assert_eq!(document.config().routes.len(), 10_000);
    let printed = document.get("/", false).unwrap();
    assert_eq!(Document::parse(&printed).unwrap(), document);
    let fewer = document.remove("/route4[id=r5000]").unwrap();
    let difference = Difference::between(document.config(), fewer.config());
    assert_eq!((difference.routes.removed.len(), difference.routes.changed.len()), (1, 0));
    let same = document.clone().set("/route4[id=r77]/spi", "999999").unwrap();
    assert_eq!(Difference::between(document.config(), same.config()).routes.changed.len(), 1);
}

#[test]
fn entries_are_sorted_by_key_whatever_their_order() {
    let forward = many(50);
    let backward: String = forward.lines().rev().collect();
    let printed = |text: &str| Document::parse(text).unwrap().get("/", false).unwrap();
    assert_eq!(printed(&forward), printed(&backward));
}
