// SPDX-License-Identifier: Apache-2.0
//! One row per rule of the textual form.

use super::*;
use crate::yang::syntax::Reader;

#[test]
fn text_means_what_it_says() {
    for (source, printed) in [
        // White space, and comments in place of it.
        ("", ""),
        (" \t\r\n\x0b\x0c", ""),
        ("number 7;", "number 7;\n"),
        ("number\n7\n;\n", "number 7;\n"),
        ("number/**/7;", "number 7;\n"),
        ("number /* a * b / c */ 7 // until the end of the line\n;", "number 7;\n"),
        ("number 7;// no newline at the end", "number 7;\n"),
        ("/* first */ number 7;", "number 7;\n"),
        // Blocks need no white space.
        ("box{x 1;}", "box {\n  x 1;\n}\n"),
        ("box {\n  x 1 ;\n}", "box {\n  x 1;\n}\n"),
        ("box { x 1; inner { } }", "box {\n  inner {\n  }\n  x 1;\n}\n"),
        // Unquoted values.
        ("name a/b;", "name \"a/b\";\n"),
        ("name a\\n;", "name a\\n;\n"),
        ("name a#b;", "name a#b;\n"),
        ("name a+b;", "name a+b;\n"),
        ("name café;", "name café;\n"),
        ("name a//b;\n;", "name a;\n"),
        ("name a/*b*/;", "name a;\n"),
        // Quoted values.
        ("name \"a b\";", "name \"a b\";\n"),
        ("name 'a b';", "name \"a b\";\n"),
        ("name \"\";", "name '';\n"),
        ("name '';", "name '';\n"),
        ("name 'a';", "name a;\n"),
        ("name \"it's\";", "name \"it's\";\n"),
        ("name 'say \"a\"';", "name \"say \\\"a\\\"\";\n"),
        ("name \"a;b{c}\";", "name \"a;b{c}\";\n"),
        ("name \"// no comment\";", "name \"// no comment\";\n"),
        ("name \"a\"/**/;", "name a;\n"),
        // Escapes, between double quotes only.
        (r#"name "a\n\t\"\\b c";"#, "name \"a\\n\\t\\\"\\\\b c\";\n"),
        (r#"name "a\d c";"#, "name \"a\\\\d c\";\n"),
        (r"name 'a\n c';", "name \"a\\\\n c\";\n"),
        // Concatenation.
        ("name \"a\" + 'b';", "name ab;\n"),
        ("name 'a'+\"b\" /* and */ + 'c';", "name abc;\n"),
        ("number \"1\" + '0';", "number 10;\n"),
        // Strings of several lines lose the blanks up to the column of the quote.
        ("name \"a\n      b\";", "name \"a\\n b\";\n"),
        ("name \"a\n     b\";", "name \"a\\nb\";\n"),
        ("name \"a\n b\";", "name \"a\\nb\";\n"),
        ("name 'a\n      b';", "name \"a\\n b\";\n"),
        ("name \"a\n\tb\";", "name \"a\\n   b\";\n"),
        ("name \"a\n\n     b\";", "name \"a\\n\\nb\";\n"),
        // Numbers and booleans.
        ("number 0x0a;", "number 10;\n"),
        ("number 012;", "number 10;\n"),
        ("number +7;", "number 7;\n"),
        ("box { x -5; }", "box {\n  x -5;\n}\n"),
        ("box { x -0x10; }", "box {\n  x -16;\n}\n"),
        ("flag true;", "flag true;\n"),
        // Defaults are left out.
        ("number 5;", ""),
        ("box { x 1; y -3; }", "box {\n  x 1;\n}\n"),
        // Lists are sorted by key, key leaves stand first; members are sorted by name.
        (
            "item { c z; b q; a 10; part { n 2; } part { n 1; } } item { a 9; b q; part { n 1; } part { n 2; } }",
            "item {\n  a 9;\n  b q;\n  part {\n    n 1;\n  }\n  part {\n    n 2;\n  }\n}\n\
             item {\n  a 10;\n  b q;\n  c z;\n  part {\n    n 1;\n  }\n  part {\n    n 2;\n  }\n}\n",
        ),
        ("name a; flag false; number 7;", "flag false;\nname a;\nnumber 7;\n"),
        ("tag b; tag a;", "tag b;\ntag a;\n"),
    ] {
        let found = read(source).map(|root| print::members(&schema().root, &root, Shown::Explicit));
        assert_eq!(found.as_deref(), Ok(printed), "{source:?}");
    }
}

#[test]
fn text_that_is_wrong_is_refused_with_its_place() {
    for (source, expected) in [
        ("number 7", "line 1, column 9: expected ';', found the end of the text"),
        ("number", "column 7: expected white space after the name of a node, found the end of the text"),
        ("number;", "column 7: expected white space after the name of a node, found ';'"),
        ("number ;", "column 8: expected a value, found ';'"),
        ("number\"7\";", "column 7: expected white space after the name of a node, found '\\\"'"),
        ("number 7;;", "column 10: expected the name of a node, found ';'"),
        ("box { x 1; };", "column 13: expected the name of a node, found ';'"),
        ("box { x 1;", "column 11: expected '}', found the end of the text"),
        ("box { x 1; } }", "column 14: expected the end of the text, found '}'"),
        ("number 7 8;", "column 10: expected ';', found '8'"),
        ("toy:number 7;", "column 4: expected white space after the name of a node, found ':'"),
        ("'number' 7;", "column 1: expected the name of a node, found '\\''"),
        ("7 7;", "column 1: expected the name of a node, found '7'"),
        ("# comment", "column 1: expected the name of a node, found '#'"),
        ("name /a;", "column 6: expected a value (one that begins with '/' must be quoted), found '/'"),
        ("name a\"b\";", "column 7: expected ';', found '\\\"'"),
        ("name \"a\"b;", "column 9: expected ';', found 'b'"),
        ("name \"a\" \"b\";", "column 10: expected ';', found '\\\"'"),
        ("name \"a\" + b;", "column 12: expected a quoted string after '+', found 'b'"),
        ("name \"a;", "column 6: a quoted string or comment that begins here has no end"),
        ("name 'a\n\n;", "line 1, column 6: a quoted string or comment that begins here has no end"),
        ("name a; /* b", "column 9: a quoted string or comment that begins here has no end"),
        ("/*/ name a;", "column 1: a quoted string or comment that begins here has no end"),
        ("nombre 7;", "column 1: unrecognized parameter: nombre"),
        ("Number 7;", "unrecognized parameter: Number"),
        ("box {\n  z 1; }", "line 2, column 3: unrecognized parameter: z"),
        ("seen { }", "seen is state and cannot be configured"),
        ("number 7; number 7;", "column 11: duplicate parameter: number"),
        ("box { x 1; } box { x 1; }", "column 14: duplicate parameter: box"),
        ("number { }", "number takes a value, not a block in braces"),
        ("box 7;", "box takes a block in braces, not a value"),
        ("item 7;", "item takes a block in braces, not a value"),
        (
            "number 11;",
            "column 8: number: '11' is not a valid small: expected a whole number in 1..10 or 20..20",
        ),
        ("number 7x;", "number: '7x' is not a valid small"),
        ("flag True;", "flag: 'True' is not a valid boolean: expected true or false"),
        (
            "short abcde;",
            "short: 'abcde' is not a valid word: expected text of type word with a length in 1..4, matching [a-z]+",
        ),
        ("short A;", "short: 'A' is not a valid word"),
        ("tag '';", "tag: '' is not a valid word"),
        ("name 'a\0';", "column 6: name: expected characters that YANG has, found '\\u{0}'"),
        ("name '\x0b';", "name: expected characters that YANG has, found '\\u{b}'"),
        ("name \u{ffff};", "name: expected characters that YANG has"),
        ("box { y 1; }", "column 1: missing scalar value: x"),
        ("item { b q; }", "column 1: missing scalar value: a"),
        ("item { a 1; part { n 1; } part { n 1; } }", "column 27: duplicate key: 1"),
        ("item { a 0x1; } item { b none; a 1; }", "column 17: duplicate key: none 1"),
        ("box { x 1; radius 1; side 1; }", "column 22: only one choice set can exist at one time: shape"),
        ("box { x 1; colour red; }", "missing scalar value: radius"),
    ] {
        let message = read(source).expect_err(source);
        assert!(message.contains(expected), "{source:?}: {message}");
    }
}

#[test]
fn an_error_shows_the_line_and_a_caret_under_the_place() {
    assert_eq!(
        read("flag true;\n  number 7 8;\n").unwrap_err(),
        "line 2, column 12: expected ';', found '8'\n  number 7 8;\n           ^"
    );
    assert_eq!(read("name é é;").unwrap_err().lines().last(), Some("       ^"));
    // Of a long line, the part around the place.
    let long = format!("name \"{}\"; number 99; name \"{}\";", "x".repeat(5000), "y".repeat(5000));
    let message = read(&long).unwrap_err();
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines[1].chars().count(), 100);
    assert_eq!(lines[1].chars().nth(lines[2].len() - 1), Some('9'));
}

#[test]
fn nesting_is_bounded() {
    let mut reader = Reader::new("");
    let nested = "a {".repeat(100_000);
    reader.clone_from(&Reader::new(&nested));
    let blocks = std::iter::from_fn(|| reader.statement().ok()).count();
    assert_eq!(blocks, crate::yang::MAX_DEPTH);
    assert!(reader.statement().unwrap_err().to_string().contains("nested too deeply"));
    let mut reader = Reader::new(&nested);
    assert!(reader.statement().is_ok() && reader.skip().is_err());
    // Whoever binds text to a schema stops where the schema does.
    assert!(read(&"box {".repeat(100_000)).unwrap_err().contains("unrecognized parameter: box"));
}

#[test]
fn the_number_of_statements_is_bounded() {
    let many = "a{}".repeat(9 << 20);
    let mut reader = Reader::new(&many);
    let error = loop {
        match reader.statement() {
            Ok(_) => reader.close().unwrap(),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("more than 8388608 statements"), "{error}");
    assert!(read(&many).unwrap_err().contains("line 1, column 1: unrecognized parameter: a"));
}

/// With work that grows with the square of the length these take many minutes.
#[test]
fn long_texts_are_read_in_time_proportional_to_their_length() {
    let start = std::time::Instant::now();
    let words = "\\\"a ".repeat(1 << 20);
    let escapes = "name \"\\\\\"; ".repeat(1 << 19);
    let one_line = escapes.replacen("name", "flag true; name", 1);
    for source in [
        format!("name \"{words}\";"),
        format!("name {};", "\"\\n\" + ".repeat(1 << 19) + "''"),
        format!("/*{}*/ number 7;", "*".repeat(4 << 20)),
        format!("{} number 7;", "/**/".repeat(1 << 20)),
        format!("name \"{}\";", "\n \t".repeat(1 << 20)),
        format!("{}number 7;", "\t\u{feff}".repeat(1 << 20)),
    ] {
        read(&source).unwrap_or_else(|error| panic!("{}", &error[..error.len().min(200)]));
    }
    // Errors at the end of a long line, and at the end of many lines.
    for source in [one_line, format!("name {}\"", "x".repeat(4 << 20)), "\n".repeat(4 << 20) + "}"] {
        let error = read(&source).unwrap_err();
        assert!(error.len() < 1000, "{} bytes", error.len());
    }
    let mut reader = Reader::new(&escapes);
    while reader.statement().unwrap().is_some() {}
    let items: String = (0..1 << 14).map(|n| format!("item {{ a {n}; }} ")).collect();
    let last = crate::yang::text::find(&schema().root, &items, "/item[a=16383]").unwrap();
    assert_eq!((last.line, last.column), (1, items.rfind("item").unwrap() + 1));
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn byte_order_marks_are_skipped() {
    for source in ["\u{feff}number 7;", "\u{feff} number 7;", "number 7;\u{feff}flag true;", "\u{feff}"] {
        read(source).unwrap_or_else(|error| panic!("{source:?}: {error}"));
    }
    let message = read("\u{feff}number x;").unwrap_err();
    assert!(
        message.starts_with("line 1, column 8: ") && message.ends_with("\nnumber x;\n       ^"),
        "{message}"
    );
    for source in ["number\u{feff}7;", "number 7\u{feff};", "box\u{feff}{ x 1; }"] {
        assert!(read(source).is_err(), "{source:?}");
    }
}

#[test]
fn what_is_not_utf_8_is_refused_with_its_place() {
    let decode = |bytes: &[u8]| crate::yang::text::decode(bytes.to_vec()).map_err(|error| error.to_string());
    assert_eq!(decode("\u{feff}number 7; // café".as_bytes()).as_deref(), Ok("\u{feff}number 7; // café"));
    assert_eq!(decode(b"").as_deref(), Ok(""));
    let latin = decode(b"number 7;\n// caf\xe9\n").unwrap_err();
    assert!(latin.starts_with("line 2, column 7: byte 0xe9 is not UTF-8; convert the file"), "{latin}");
    assert!(decode(b"number 7; \xc3").unwrap_err().starts_with("line 1, column 11: byte 0xc3"));
    let wide = |little: bool, text: &str| -> Vec<u8> {
        let units = text.encode_utf16();
        units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    };
    for (little, name) in [(true, "UTF-16LE"), (false, "UTF-16BE")] {
        for text in ["\u{feff}number 7;", "number 7;"] {
            let message = decode(&wide(little, text)).unwrap_err();
            assert!(message.starts_with(&format!("line 1, column 1: this is {name}")), "{message}");
        }
    }
    let wider: Vec<u8> = "number 7;".chars().flat_map(|one| u32::from(one).to_le_bytes()).collect();
    assert!(decode(&wider).unwrap_err().contains("UTF-32LE"));
}

#[test]
fn a_value_on_its_own_takes_no_semicolon_and_no_braces() {
    let schema = schema();
    let leaf = |source| text::node(schema.root.node("number").unwrap(), source).is_ok();
    for source in ["7", " 7 ", "'7'", "/* n */ 7 // n", "\"1\" + \"0\""] {
        assert!(leaf(source), "{source}");
    }
    for source in ["", "7;", "{ 7 }", "7 8", "number 7", "'7'8"] {
        assert!(!leaf(source), "{source}");
    }
}

#[test]
fn a_list_on_its_own_is_groups_without_keyword() {
    let schema = schema();
    let list = |source| text::node(schema.root.node("item").unwrap(), source).is_ok();
    for source in ["", " ", "{ a 1; }", "{ a 1; } { a 2; }", "{a 1;}{a 2;} // two"] {
        assert!(list(source), "{source}");
    }
    for source in ["item { a 1; }", "{ a 1; };", "{ a 1;", "a 1;", "{ a 1; } }", "{ a 1; } { a 1; }", "{ }"] {
        assert!(!list(source), "{source}");
    }
}

#[test]
fn what_is_printed_reads_the_same() {
    for source in [
        r#"name "tab\t quote\" backslash\\ newline\n  end ";"#,
        "name '\r \t';",
        "name \"+\";",
        "name \\;",
        "name a\\\\b;",
        "name '\\';",
    ] {
        let printed = reprint(source);
        assert_eq!(read(&printed).unwrap(), read(source).unwrap(), "{source:?}");
        assert_eq!(reprint(&printed), printed, "{source:?}");
    }
}
