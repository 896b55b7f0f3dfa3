// SPDX-License-Identifier: Apache-2.0
//! One row per rule of paths.

use super::*;
use crate::yang::path::Path;

#[test]
fn a_path_has_one_normal_form() {
    let schema = schema();
    for (path, normal) in [
        ("", "/"),
        ("/", "/"),
        ("///", "/"),
        ("number", "/number"),
        ("/number", "/number"),
        ("//number//", "/number"),
        ("/box//inner/deep/", "/box/inner/deep"),
        // Keys in any order, sorted; those with a default may be left out.
        ("/item[b=q][a=1]", "/item[a=1][b=q]"),
        ("/item[a=1][b=q]", "/item[a=1][b=q]"),
        ("/item[a=1]", "/item[a=1][b=none]"),
        // Numbers are compared as numbers.
        ("/item[a=0x10]", "/item[a=16][b=none]"),
        ("/item[a=007]/part[n=3]", "/item[a=7][b=none]/part[n=3]"),
        // Brackets protect what stands in them.
        ("/item[a=1][b=x/y.z:w=v]/c", "/item[a=1][b=x/y.z:w=v]/c"),
        ("/item[a=1][b='q']", "/item[a=1][b='q']"),
        ("/item[a=1][b=]", "/item[a=1][b=]"),
        // Members of cases belong to the node around the choice.
        ("/box/radius", "/box/radius"),
        ("/seen/count", "/seen/count"),
        // Values of a leaf-list, with quotes or without.
        ("/tag", "/tag"),
        ("/tag[.=one]", "/tag[.='one']"),
        ("/tag[.='one']", "/tag[.='one']"),
        ("/tag[.=\"one\"]", "/tag[.='one']"),
    ] {
        assert_eq!(
            Path::resolve(&schema.root, path).map(|path| path.to_string()).as_deref(),
            Ok(normal),
            "{path:?}"
        );
        assert_eq!(Path::resolve(&schema.root, normal).unwrap().to_string(), normal);
    }
}

#[test]
fn without_a_schema_the_form_is_normal_as_far_as_it_can_be() {
    for (path, normal) in
        [("", "/"), ("//a//b/", "/a/b"), ("a[z=1][b=2]/c", "/a[b=2][z=1]/c"), ("/a[b=x/y]", "/a[b=x/y]")]
    {
        assert_eq!(Path::normalise(path).as_deref(), Ok(normal), "{path:?}");
    }
    for path in ["/a[b", "/a[b]", "/a]", "/[a=1]", "/a[b=1]c"] {
        assert!(Path::normalise(path).is_err(), "{path:?}");
    }
}

#[test]
fn a_path_that_leads_nowhere_is_refused_in_words_that_clients_know() {
    let schema = schema();
    for (path, line, more) in [
        ("/nosuch", "Invalid path: Struct has no field named 'nosuch'.", "/ has box, flag, item, "),
        ("/box/nosuch", "Invalid path: Struct has no field named 'nosuch'.", "/box has colour, inner, "),
        ("/box/shape", "Invalid path: Struct has no field named 'shape'.", "/box has"),
        ("/toy:number", "Invalid path: Struct has no field named 'toy:number'.", "/ has"),
        ("/tag/one", "Invalid path: Invalid path.", "/tag is a leaf"),
        ("/tag[.='one']/x", "Invalid path: Invalid path.", "/tag[.='one'] is a leaf"),
        (
            "/tag[a=1]",
            "Invalid path: 'a' is not a table key",
            "/tag is a list of values: name one by [.='VALUE']",
        ),
        ("/tag[.=one][.=two]", "Invalid path: '.' is not a table key", "/tag is a list of values"),
        ("/item[.=1]", "Invalid path: '.' is not a table key", "The keys of /item are b, a"),
        ("/item[a=1]/a", "Invalid path: Struct has no field named 'a'.", "/item[a=1][b=none] has c, d, part"),
        ("/number/x", "Invalid path: Invalid path.", "/number is a leaf"),
        ("/item/c", "Invalid path: Invalid path.", "/item is a list: name the entry by [b=...][a=...]"),
        ("/item[c=1]", "Invalid path: 'c' is not a table key", "The keys of /item are b, a"),
        ("/item[a=1][a=1]", "Invalid path: 'a' is not a table key", "each given once"),
        ("/item[b=q]", "Invalid path: Table query missing required key 'a'", "give [a=...]"),
        (
            "/number[a=1]",
            "Invalid path: Path query parameters only supported for structs and tables.",
            "/number is not a list",
        ),
        (
            "/box[x=1]",
            "Invalid path: Path query parameters only supported for structs and tables.",
            "/box is not a list",
        ),
    ] {
        let message = Path::resolve(&schema.root, path).unwrap_err().to_string();
        let (first, second) = message.split_once('\n').unwrap();
        assert_eq!(first, line, "{path}");
        assert!(second.contains(more), "{path}: {second}");
    }
    for path in [
        "/item[a= 1]",
        "/item[ a=1]",
        "/item[a='1']",
        "/tag[.=One]",
        "/tag[.='one]",
        "/tag[. =one]",
        "/item[a=1x]",
        "/item[a=1",
        "/item[a]",
        "/item]",
        "/[a=1]",
    ] {
        assert!(Path::resolve(&schema.root, path).is_err(), "{path}");
    }
    assert!(Path::resolve(&schema.root, &"/box".repeat(100_000)).is_err());
}
