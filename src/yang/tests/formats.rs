// SPDX-License-Identifier: Apache-2.0
//! The formats besides text: one row per rule.

use super::*;
use crate::yang::data::Data;
use crate::yang::edit;
use crate::yang::format::{self, Format};
use crate::yang::json;
use crate::yang::path::Path;
use std::sync::Arc;

const DOCUMENT: &str = "number 7; name 'a \"b\\'; flag true; box { x 1; inner { deep 'd e'; } } \
    item { a 1; c z; part { n 1; } part { n 2; } } item { a 2; b q; part { n 3; } part { n 4; } }";

fn shown(path: &str, format: Format, shown: Shown) -> String {
    let schema = schema();
    let root = read(DOCUMENT).unwrap();
    format::print(&schema, &root, &Path::resolve(&schema.root, path).unwrap(), format, shown).unwrap()
}

#[test]
fn a_line_for_each_leaf_with_its_path() {
    for (path, expected, with_defaults) in [
        ("/number", "/number 7\n", "/number 7\n"),
        ("/flag", "/flag true\n", "/flag true\n"),
        ("/name", "/name \"a \\\"b\\\\\"\n", "/name \"a \\\"b\\\\\"\n"),
        ("/box", "/box/inner/deep \"d e\"\n/box/x 1\n", "/box/inner/deep \"d e\"\n/box/x 1\n/box/y -3\n"),
        // Keys with their default value are left out, and key leaves have no line.
        ("/item[a=1]", "/item[a=1]/c z\n", "/item[a=1][b=none]/c z\n/item[a=1][b=none]/d same\n"),
        ("/item[a=2][b=q]", "", "/item[a=2][b=q]/d same\n"),
        (
            "/item",
            "/item[a=1]/c z\n",
            "/item[a=1][b=none]/c z\n/item[a=1][b=none]/d same\n/item[a=2][b=q]/d same\n",
        ),
        // Entries with nothing but keys do not appear.
        ("/item[a=1]/part", "", ""),
        // A default is shown only if defaults are.
        ("/box/y", "", "/box/y -3\n"),
    ] {
        assert_eq!(shown(path, Format::Xpath, Shown::Explicit), expected, "{path}");
        assert_eq!(shown(path, Format::Xpath, Shown::WithDefaults), with_defaults, "{path}");
    }
}

#[test]
fn a_measurement_for_each_leaf_with_keys_as_tags() {
    assert_eq!(
        shown("/", Format::Influxdb, Shown::WithDefaults),
        "/box/inner/deep value=\"d e\"\n/box/x value=1i\n/box/y value=-3i\n/flag value=true\n\
         /item/c,item/a=1,b=none value=\"z\"\n/item/d,item/a=1,b=none value=\"same\"\n\
         /item/d,item/a=2,b=q value=\"same\"\n/name value=\"a \\\"b\\\\\"\n/number value=7i\n"
    );
    // Paths begin where the question did.
    assert_eq!(shown("/box", Format::Influxdb, Shown::Explicit), "/inner/deep value=\"d e\"\n/x value=1i\n");
    assert_eq!(shown("/item[a=1]", Format::Influxdb, Shown::Explicit), "/c value=\"z\"\n");
    assert_eq!(shown("/item", Format::Influxdb, Shown::Explicit), "//c,/a=1 value=\"z\"\n");
    let schema = schema();
    let root = read("item { a 1; b 'x y,z=\\'; c 'l1\nl2'; part { n 1; } part { n 2; } }").unwrap();
    let print = |path: &str| {
        let path = Path::resolve(&schema.root, path).unwrap();
        format::print(&schema, &root, &path, Format::Influxdb, Shown::Explicit)
    };
    assert_eq!(print("/").unwrap(), "/item/c,item/a=1,b=x\\ y\\,z\\=\\\\ value=\"l1\nl2\"\n");
}

#[test]
fn a_single_leaf_has_its_line_and_some_leaves_a_name_of_their_own() {
    let schema = schema().with_series(&["/number", "/box/x", "/item/c"]);
    let root = read(DOCUMENT).unwrap();
    let print = |path: &str| {
        let path = Path::resolve(&schema.root, path).unwrap();
        format::print(&schema, &root, &path, Format::Influxdb, Shown::Explicit).unwrap()
    };
    assert_eq!(print("/number"), "number value=7i\n");
    assert_eq!(print("/flag"), "/flag value=true\n");
    // Also one that has its default value.
    assert_eq!(print("/box/y"), "/box/y value=-3i\n");
    assert_eq!(print("/box"), "/inner/deep value=\"d e\"\nx value=1i\n");
    assert_eq!(print("/box/x"), "x value=1i\n");
    assert_eq!(print("/item"), "c,/a=1 value=\"z\"\n");
    assert_eq!(print("/item[a=1]/c"), "c,item/a=1,b=none value=\"z\"\n");
}

#[test]
fn values_of_a_leaf_list_are_read_written_added_and_removed_one_by_one() {
    let schema = schema();
    let root = Arc::new(read("tag one; tag two;").unwrap());
    let path = |text: &str| Path::resolve(&schema.root, text).unwrap();
    let print = |root: &Arc<_>, at: &str, format| {
        format::print(&schema, root, &path(at), format, Shown::Explicit).map_err(|error| error.to_string())
    };
    for (at, format, expected) in [
        ("/tag", Format::Yang, "one\ntwo\n"),
        ("/tag[.='two']", Format::Yang, "two"),
        ("/tag[.=two]", Format::Yang, "two"),
        ("/tag[.=\"two\"]", Format::Json, "{\n  \"toy:tag\": [\n    \"two\"\n  ]\n}\n"),
        ("/tag", Format::Json, "{\n  \"toy:tag\": [\n    \"one\",\n    \"two\"\n  ]\n}\n"),
        ("/tag", Format::Xpath, "/tag[position()=1] one\n/tag[position()=2] two\n"),
        ("/tag[.='two']", Format::Xpath, "/tag[.='two'] two\n"),
        ("/tag", Format::Influxdb, "/tag,position=1 value=\"one\"\n/tag,position=2 value=\"two\"\n"),
        ("/tag[.='two']", Format::Influxdb, "/tag value=\"two\"\n"),
    ] {
        assert_eq!(print(&root, at, format).as_deref(), Ok(expected), "{at} {format}");
    }
    assert_eq!(print(&root, "/tag[.='three']", Format::Yang), Err("/tag[.='three']: Not found".into()));

    let added = edit::add(&schema, &root, &path("/tag[.='three']"), "").unwrap();
    let added = edit::add(&schema, &added, &path("/tag"), "four \"five\";").unwrap();
    let added = edit::add(&schema, &added, &path("/tag"), "{ \"toy:tag\": [ \"six\" ] }").unwrap();
    assert_eq!(print(&added, "/tag", Format::Yang).as_deref(), Ok("one\ntwo\nthree\nfour\nfive\nsix\n"));
    for (at, value) in [("/tag[.='one']", ""), ("/tag", "seven one"), ("/tag", "seven seven")] {
        let error = edit::add(&schema, &added, &path(at), value).unwrap_err().to_string();
        assert!(error.contains("already-existing entry"), "{error}");
    }
    assert!(edit::add(&schema, &added, &path("/tag"), "Seven").is_err());
    let removed = edit::remove(&added, &path("/tag[.=two]")).unwrap();
    assert_eq!(print(&removed, "/tag[.=two]", Format::Yang), Err("/tag[.='two']: Not found".into()));
    assert!(edit::remove(&removed, &path("/tag[.=two]")).unwrap_err().to_string().contains("Not found"));
    assert!(edit::remove(&removed, &path("/tag")).is_err());
    let set = edit::set(&schema, &root, &path("/tag[.=one]"), "uno").unwrap();
    assert_eq!(print(&set, "/tag", Format::Yang).as_deref(), Ok("uno\ntwo\n"));
    let set = edit::set(&schema, &root, &path("/tag"), "a\nb\n").unwrap();
    assert_eq!(print(&set, "/tag", Format::Yang).as_deref(), Ok("a\nb\n"));
    let none = edit::set(&schema, &root, &path("/tag"), "").unwrap();
    assert_eq!(print(&none, "/tag", Format::Yang).as_deref(), Ok(""));
    assert!(none.members.is_empty());
    let last =
        edit::remove(&edit::remove(&root, &path("/tag[.=one]")).unwrap(), &path("/tag[.=two]")).unwrap();
    assert!(last.members.is_empty());
}

#[test]
fn a_value_stands_in_a_leaf_list_once() {
    let message = read("tag one; tag two; tag one;").unwrap_err();
    assert_eq!(message, "/tag: one is given twice");
}

#[test]
fn json_is_an_object_with_the_name_of_the_node() {
    for (path, expected) in [
        ("/number", "{\n  \"toy:number\": 7\n}\n"),
        ("/name", "{\n  \"toy:name\": \"a \\\"b\\\\\"\n}\n"),
        ("/flag", "{\n  \"toy:flag\": true\n}\n"),
        ("/box/inner", "{\n  \"toy:inner\": {\n    \"deep\": \"d e\"\n  }\n}\n"),
        (
            "/item[a=1]/part",
            "{\n  \"toy:part\": [\n    {\n      \"n\": 1\n    },\n    {\n      \"n\": 2\n    }\n  ]\n}\n",
        ),
        ("/item[a=1]/part[n=1]", "{\n  \"toy:part\": [\n    {\n      \"n\": 1\n    }\n  ]\n}\n"),
    ] {
        assert_eq!(shown(path, Format::Json, Shown::Explicit), expected, "{path}");
    }
    // Numbers of 64 bits are strings, and control characters are escaped.
    let schema = schema();
    let mut root = Arc::new(read("name 'a\tb\r';").unwrap());
    assert!(edit::put(&mut root, &Path::resolve(&schema.root, "/seen/count").unwrap(), 7u64.into()));
    let all =
        format::print(&schema, &root, &Path::root(&schema.root), Format::Json, Shown::Explicit).unwrap();
    assert_eq!(all, "{\n  \"toy:name\": \"a\\tb\\r\",\n  \"toy:seen\": {\n    \"count\": \"7\"\n  }\n}\n");
    let empty =
        format::print(&schema, &read("").unwrap(), &Path::root(&schema.root), Format::Json, Shown::Explicit);
    assert_eq!(empty.unwrap(), "{}\n");
}

#[test]
fn json_is_told_from_text_by_its_beginning() {
    for source in ["{}", " { } \n", "{\"a\":1}", " \n{ \t\"", "{\"\":"] {
        assert!(json::is_json(source), "{source}");
    }
    for source in ["", "{", "{}{}", "{ } // none", "{ a 1; }", "[\"a\"]", "\"a\"", "a { \"", "{ /**/ \"a\""] {
        assert!(!json::is_json(source), "{source}");
    }
}

/// Reads JSON at a path of the empty tree and prints the whole as text.
fn set(path: &str, source: &str) -> Result<String, String> {
    let schema = schema();
    let path = Path::resolve(&schema.root, path).unwrap();
    let text = format::json_to_text(&schema, &path, source).map_err(|error| error.to_string())?;
    // What is sent as text is what would have been read as JSON.
    let read = |source: &str| -> Data {
        if json::is_json(source) {
            json::read(&schema.name, &path, source).unwrap()
        } else {
            text::read(&path, source).unwrap()
        }
    };
    if json::is_json(source) {
        assert_eq!(read(source), read(&text), "{source}");
    }
    Ok(text)
}

#[test]
fn json_means_what_text_means() {
    for (path, source, expected) in [
        ("/", "{}", ""),
        ("/", "{\"toy:number\": 7}", "number 7;\n"),
        (
            "/",
            " { \"toy:flag\" : false , \"toy:name\" : \"a\\u00e9\\n\\ud83d\\ude00\" } ",
            "flag false;\nname \"aé\\n😀\";\n",
        ),
        ("/", "{\"toy:box\": {\"x\": -5, \"toy:y\": 1e2}}", "box {\n  x -5;\n  y 100;\n}\n"),
        ("/", "{\"toy:tag\": [\"b\", \"a\"]}", "tag b;\ntag a;\n"),
        ("/", "{\"toy:item\": []}", ""),
        ("/number", "{\"toy:number\": 20}", "20"),
        ("/number", "20", "20"),
        ("/name", "\"a b\"", "\"a b\""),
        ("/box", "{\"toy:box\": {\"x\": 1, \"radius\": 4}}", "radius 4;\nx 1;\n"),
        ("/box/inner", "{\"toy:inner\": {}}", ""),
        ("/item", "{\"toy:item\": [{\"a\": 1, \"b\": \"q\", \"part\": []}]}", "{\n  a 1;\n  b q;\n}\n"),
        ("/item", "{\"toy:item\": []}", ""),
        ("/item[a=1]", "{\"toy:item\": [{\"a\": 1, \"b\": \"none\", \"c\": \"z\"}]}", "c z;\n"),
        ("/item[a=1]/part", "{\"toy:part\": [{\"n\": 1}]}", "{\n  n 1;\n}\n"),
    ] {
        assert_eq!(set(path, source).as_deref(), Ok(expected), "{path} {source}");
    }
}

#[test]
fn json_that_is_wrong_is_refused_with_its_place() {
    for (path, source, expected) in [
        ("/", "", "column 1: expected a value, found the end of the text"),
        ("/", "{", "column 2: expected the name of a member, in double quotes, found the end of the text"),
        ("/", "{\"a", "column 2: a quoted string or comment that begins here has no end"),
        ("/", "{\"a\" 1}", "column 6: expected ':', found '1'"),
        ("/", "{\"toy:number\": 7,}", "column 18: expected the name of a member"),
        ("/", "{\"toy:number\": 7 8}", "column 18: expected ',' or '}', found '8'"),
        ("/", "{\"toy:tag\": [\"a\" \"b\"]}", "column 18: expected ',' or ']'"),
        ("/", "{\"toy:number\": 7}\n}", "line 2, column 1: expected the end of the text, found '}'"),
        ("/", "{\"toy:number\": 07}", "column 16: expected a number without leading zeros"),
        ("/", "{\"toy:number\": -}", "column 17: expected a digit"),
        ("/", "{\"toy:name\": \"\\x\"}", "column 15: expected an escape"),
        ("/", "{\"toy:name\": \"\\ud83d\"}", "column 15: expected an escape"),
        ("/", "{\"toy:name\": \"\\u0000\"}", "column 15: expected a character that YANG has"),
        ("/", "{\"toy:name\": \"\n\"}", "column 15: expected an escape such as"),
        ("/", "[]", "the text takes an object in braces"),
        ("/", "{\"number\": 7}", "column 2: unrecognized parameter: number (expected toy:number)"),
        ("/", "{\"other:number\": 7}", "unrecognized parameter: other:number"),
        ("/", "{\"toy:colour\": 7}", "unrecognized parameter: toy:colour"),
        ("/", "{\"toy:box\": {\"x\": 1, \"z\": 1}}", "column 22: unrecognized parameter: z"),
        ("/", "{\"toy:seen\": {}}", "toy:seen is state and cannot be configured"),
        ("/", "{\"toy:number\": 7, \"toy:number\": 7}", "column 19: duplicate parameter: toy:number"),
        ("/", "{\"toy:number\": \"7\"}", "column 16: number takes a number"),
        ("/", "{\"toy:number\": 7.5}", "number takes a whole number"),
        ("/", "{\"toy:number\": 11}", "column 16: number: '11' is not a valid small"),
        ("/", "{\"toy:flag\": \"true\"}", "flag takes true or false"),
        ("/", "{\"toy:name\": 7}", "name takes a string"),
        ("/", "{\"toy:name\": null}", "name takes a string"),
        ("/", "{\"toy:tag\": \"a\"}", "tag takes a list of values"),
        ("/", "{\"toy:box\": []}", "box takes an object in braces"),
        ("/", "{\"toy:box\": {\"y\": 1}}", "column 13: missing scalar value: x"),
        ("/", "{\"toy:box\": {\"x\": 1, \"radius\": 1, \"side\": 1}}", "column 35: only one choice set"),
        ("/", "{\"toy:item\": {}}", "item takes a list of objects"),
        ("/", "{\"toy:item\": [1]}", "item takes objects as its entries"),
        ("/", "{\"toy:item\": [{\"a\": 1}]}", "column 15: missing scalar value: b"),
        (
            "/",
            "{\"toy:item\": [{\"a\": 1, \"b\": \"q\"}, {\"b\": \"q\", \"a\": 1}]}",
            "column 35: duplicate key: q 1",
        ),
        ("/number", "{\"toy:name\": 7}", "unrecognized parameter: toy:name"),
        ("/number", "{}", "missing scalar value: number"),
        ("/item", "{}", "missing scalar value: item"),
        (
            "/number",
            "{\"toy:number\": 1, \"toy:name\": \"a\"}",
            "the object takes one member, which the path names",
        ),
        ("/item[a=1]", "{\"toy:item\": [{\"a\": 2, \"b\": \"none\"}]}", "the keys that are in the path"),
        ("/item[a=1]", "{\"toy:item\": []}", "the keys that are in the path"),
    ] {
        let message = set(path, source).expect_err(source);
        assert!(message.contains(expected), "{source}: {message}");
    }
    let message = set("/", &"[".repeat(100_000)).unwrap_err();
    assert!(message.contains("the text takes an object in braces"), "{message}");
}

#[test]
fn text_of_other_programs_becomes_json_state_included() {
    let schema = schema();
    for (path, source, expected) in [
        (
            "/",
            "seen { count 7; } number 1;",
            "{\n  \"toy:number\": 1,\n  \"toy:seen\": {\n    \"count\": \"7\"\n  }\n}\n",
        ),
        ("/seen", "count 7;", "{\n  \"toy:seen\": {\n    \"count\": \"7\"\n  }\n}\n"),
        ("/number", "7", "{\n  \"toy:number\": 7\n}\n"),
        (
            "/item",
            "{ a 1; }",
            "{\n  \"toy:item\": [\n    {\n      \"a\": 1,\n      \"b\": \"none\"\n    }\n  ]\n}\n",
        ),
        (
            "/item[a=1]",
            "c z;",
            "{\n  \"toy:item\": [\n    {\n      \"a\": 1,\n      \"b\": \"none\",\n      \"c\": \"z\"\n    }\n  ]\n}\n",
        ),
    ] {
        let path = Path::resolve(&schema.root, path).unwrap();
        assert_eq!(format::text_to_json(&schema, &path, source).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn formats_have_names() {
    for format in [Format::Yang, Format::Xpath, Format::Influxdb, Format::Json] {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let message = "yaml".parse::<Format>().unwrap_err().to_string();
    assert_eq!(message, "Not valid output format: yaml (expected one of yang, xpath, influxdb, json)");
}
