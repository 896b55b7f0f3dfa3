// SPDX-License-Identifier: Apache-2.0
//! An edit looks only at what it changes, and comes to the same verdict as reading the whole text anew.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Few of each, so that they collide.
type Routes = BTreeMap<u8, (u8, u8, u8)>;

fn body((net, spi, key): (u8, u8, u8)) -> String {
    // The same network and key in two spellings.
    let host = if key.is_multiple_of(2) { 0 } else { net };
    let mut key = format!("{key:064x}");
    if spi.is_multiple_of(2) {
        key = key.as_bytes().chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ");
    }
    format!(
        "net \"10.{net}.0.{host}/16\"; spi {}; preshared-key \"{key}\"; gateway {{ ip 192.0.2.1; }}",
        256 + u32::from(spi)
    )
}

fn text(routes: &Routes) -> String {
    let route = |(id, values): (&u8, &(u8, u8, u8))| format!("route4 {{ id r{id}; {} }}\n", body(*values));
    routes.iter().map(route).collect()
}

proptest! {
    #[test]
    fn an_edit_is_judged_as_its_outcome_would_be(
        edits in prop::collection::vec((0u8..3, 0u8..8, (0u8..12, 0u8..12, 0u8..12)), 1..40)
    ) {
        let mut document = Document::empty();
        let mut routes = Routes::new();
        for (verb, id, values) in edits {
            let mut after = routes.clone();
            let path = format!("/route4[id=r{id}]");
            let edited = match verb {
                0 if routes.contains_key(&id) => continue,
                0 => {
                    after.insert(id, values);
                    document.add("/route4", &format!("{{ id r{id}; {} }}", body(values)))
                }
                _ if !routes.contains_key(&id) => continue,
                1 => {
                    after.insert(id, values);
                    document.set(&path, &body(values))
                }
                _ => {
                    after.remove(&id);
                    document.remove(&path)
                }
            };
            let anew = Document::parse(&text(&after));
            prop_assert_eq!(edited.is_ok(), anew.is_ok(), "{:?} but {:?}", edited, anew);
            if let (Ok(edited), Ok(anew)) = (edited, anew) {
                prop_assert_eq!(edited.config(), anew.config());
                prop_assert_eq!(&edited, &anew);
                (document, routes) = (edited, after);
            }
        }
    }
}

#[test]
fn configurations_share_the_routes_they_have_in_common() {
    let text: Routes = (0..9).map(|id| (id, (id, id, id))).collect();
    let before = Document::parse(&super::incremental::text(&text)).unwrap();
    let after = before.set("/route4[id=r3]/spi", "9999").unwrap();
    for (old, new) in before.config().routes.iter().zip(&after.config().routes) {
        assert_eq!(std::sync::Arc::ptr_eq(old, new), old.id != "r3");
    }
    assert_eq!(Difference::between(before.config(), after.config()).routes.changed.len(), 1);
}
