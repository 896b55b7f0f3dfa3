// SPDX-License-Identifier: Apache-2.0
//! What of YANG is understood, and that the rest is refused.

use super::*;
use crate::yang::schema::{Kind, SchemaError};

#[test]
fn typedefs_groupings_and_choices_are_resolved() {
    let schema = schema();
    let Kind::Container(inner) = &schema.root.node("box").unwrap().kind else { panic!() };
    let names: Vec<_> = inner.iter().map(|node| &*node.name).collect();
    assert_eq!(names, ["colour", "inner", "radius", "side", "x", "y"]);
    assert!(inner.leaf("x").unwrap().mandatory);
    assert_eq!(inner.leaf("y").unwrap().default.as_ref().unwrap().to_string(), "-3");
    assert_eq!(schema.root.leaf("number").unwrap().default.as_ref().unwrap().to_string(), "5");
    let (radius, side) = (inner.node("radius").unwrap(), inner.node("side").unwrap());
    assert!(radius.conflict(side).is_some());
    assert!(radius.conflict(inner.node("colour").unwrap()).is_none());
    assert!(!schema.root.node("seen").unwrap().config);
}

#[test]
fn rules_between_nodes_are_checked_on_the_whole() {
    let parts = "part { n 1; } part { n 2; }";
    let item = |leaves: &str| format!("item {{ {leaves} {parts} }}");
    assert_eq!(
        read("item { a 1; part { n 1; } }").unwrap_err(),
        "/item[a=1][b=none]/part: expected at least 2 in this list, found 1"
    );
    assert_eq!(
        read("item { a 1; }").unwrap_err(),
        "/item[a=1][b=none]/part: expected at least 2 in this list, found 0"
    );
    // Unique over two leaves, one of which has a default; entries without the other are exempt.
    let same = item("a 1; c x;") + &item("a 2; c x; d same;");
    assert_eq!(
        read(&same).unwrap_err(),
        "/item[a=2][b=none]: not unique: c d is also in entry /item[a=1][b=none]"
    );
    read(&(item("a 1; c x;") + &item("a 2; c x; d other;"))).unwrap();
    read(&(item("a 1;") + &item("a 2;"))).unwrap();
}

#[test]
fn modules_that_need_more_than_is_understood_are_refused() {
    let compile = |body: &str| {
        let module = format!("module m {{ namespace m; prefix m; {body} }}");
        Schema::compile(&module, &[], &[]).map(|_| ())
    };
    compile("leaf a { type string; description 'd'; }").unwrap();
    for body in [
        "leaf a { type union { type string; } }",
        "leaf a { type leafref { path '../b'; } }",
        "leaf a { type string; must 'true'; }",
        "leaf a { type string; when 'true'; }",
        "leaf a { type string; if-feature f; }",
        "container c { typedef t { type string; } }",
        "grouping g { leaf a { type string; } } uses g { refine a { default b; } }",
        "augment '/a' { leaf b { type string; } }",
        "choice c { leaf a { type string; } }",
        "include other;",
        "notification n { }",
    ] {
        assert!(matches!(compile(body), Err(SchemaError::Unsupported { .. })), "{body}");
    }
    for body in [
        "leaf a { type nothing; }",
        "leaf a { type x:string; }",
        "uses g;",
        "leaf a { }",
        "list l { leaf a { type string; } }",
        "list l { key b; leaf a { type string; } }",
        "list l { key a; unique b; leaf a { type string; } }",
        "leaf a { type string; } leaf a { type string; }",
        "leaf a { type uint8; default 256; }",
        "leaf a { type uint8 { range '1..256'; } }",
        "leaf a { type uint8 { range '9..1'; } }",
        "leaf a { type uint8 { length 1; } }",
        "leaf a { type string { pattern '('; } }",
        "leaf a { type string { pattern '[a-z-[x]]'; } }",
        "grouping g { uses g; } uses g;",
        "typedef t { type t; } leaf a { type t; }",
    ] {
        assert!(compile(body).is_err(), "{body}");
    }
}
