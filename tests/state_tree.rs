// SPDX-License-Identifier: Apache-2.0
//! The table of counters and `gateway-state` of the YANG model say the same, both ways.

use std::collections::BTreeSet;
use vita::count::{Counters, RouteCounters, SaCounters};
use vita::yang::schema::{Kind, Members, Schema};

/// Leaves of the model that are not in the table: the effective MTU is no counter, and a sum of two others has none of its own.
/// Members of lists are compared on their own.
const NOT_COUNTED: [&str; 2] = ["effective-mtu", "unserved-packets"];

/// Leaves of a route's entry that are not in the table: its keys, and what is no counter.
const NOT_COUNTED_OF_A_ROUTE: [&str; 4] = ["id", "queue", "effective-mtu", "path-mtu"];

fn model() -> Schema {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/yang/");
    let read = |name: &str| std::fs::read_to_string(format!("{directory}{name}")).unwrap();
    let imports = [read("ietf/ietf-inet-types.yang"), read("ietf/ietf-yang-types.yang")];
    let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
    Schema::compile(&read("vita-esp-gateway.yang"), &imports, &[]).unwrap()
}

fn children<'a>(members: &'a Members, path: &[&str]) -> &'a Members {
    path.iter().fold(members, |members, name| match &members.node(name).unwrap().kind {
        Kind::Container(members) => members,
        Kind::List(list) => &list.members,
        Kind::Leaf(_) | Kind::LeafList(_) => panic!("{name} has no children"),
    })
}

/// Paths of all leaves below, without those inside lists.
fn leaves(members: &Members, above: &str, found: &mut BTreeSet<String>) {
    for node in members.iter() {
        let path = format!("{above}{}", node.name);
        match &node.kind {
            Kind::Leaf(_) => assert!(found.insert(path)),
            Kind::Container(members) => leaves(members, &format!("{path}/"), found),
            Kind::List(_) => {}
            Kind::LeafList(_) => panic!("{path}: counters are leaves"),
        }
    }
}

#[test]
fn every_counter_is_a_leaf_of_the_model_and_every_leaf_is_counted() {
    let mut modelled = BTreeSet::new();
    leaves(children(&model().root, &["gateway-state"]), "", &mut modelled);
    for name in NOT_COUNTED {
        let before = modelled.len();
        modelled.retain(|path| path != name && !path.starts_with(&format!("{name}/")));
        assert!(modelled.len() < before, "{name} is not in the model: take it off the list");
    }
    let mut counted = BTreeSet::new();
    Counters::default().visit(|group, leaf, _| assert!(counted.insert(format!("{group}/{leaf}"))));
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    assert_eq!(only(&counted, &modelled), [""; 0], "counted, but not in the model");
    assert_eq!(only(&modelled, &counted), [""; 0], "in the model, but not counted");
}

#[test]
fn every_count_of_an_association_is_a_leaf_of_its_entry() {
    let mut modelled = BTreeSet::new();
    let model = model();
    leaves(children(&model.root, &["gateway-state", "inbound-sa", "sa-state"]), "", &mut modelled);
    let mut counted = BTreeSet::new();
    SaCounters::default().visit(|leaf, _| assert!(counted.insert(leaf.to_string())));
    assert_eq!(counted, modelled);
}

#[test]
fn every_count_of_a_route_is_a_leaf_of_its_entry() {
    let mut modelled = BTreeSet::new();
    let model = model();
    leaves(children(&model.root, &["gateway-state", "route"]), "", &mut modelled);
    for name in NOT_COUNTED_OF_A_ROUTE {
        assert!(modelled.remove(name), "{name} is not in the model: take it off the list");
    }
    let mut counted = BTreeSet::new();
    RouteCounters::default().visit(|group, leaf, _| assert!(counted.insert(format!("{group}/{leaf}"))));
    assert_eq!(counted, modelled);
}
