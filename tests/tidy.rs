// SPDX-License-Identifier: Apache-2.0
//! House rules that no lint checks: which room may use which, how long a file may be, and that nothing is left half done. A
//! complaint says where and what to do. Lints are in Cargo.toml and src/lib.rs.
//!
//! `docs/architecture.md` has the picture of the rooms; `ROOMS` is the table that counts.
//!
//! Limits: rooms are read from paths (`crate::room`, `vita::room`, grouped or not), not from what a
//! compiler would resolve; a re-export of a lower room by a permitted one is that room's affair.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Which rooms a room may name. `below` adds all that the named ones may use in turn.
struct Room {
    name: &'static str,
    uses: &'static [&'static str],
    below: bool,
}

const ROOMS: &[Room] = &[
    Room { name: "clock", uses: &[], below: false },
    Room { name: "limit", uses: &["clock"], below: false },
    Room { name: "wait", uses: &[], below: false },
    Room { name: "prefetch", uses: &[], below: false },
    Room { name: "process", uses: &["clock"], below: false },
    Room { name: "wire", uses: &[], below: false },
    Room { name: "frame", uses: &[], below: false },
    Room { name: "count", uses: &[], below: false },
    Room { name: "sa", uses: &[], below: false },
    Room { name: "aead", uses: &["prefetch", "sa"], below: false },
    Room { name: "yang", uses: &[], below: false },
    Room { name: "route", uses: &["wire"], below: false },
    Room { name: "esp", uses: &["prefetch", "sa", "wire", "frame", "count", "aead"], below: false },
    Room { name: "exchange", uses: &["clock", "limit", "sa", "wire"], below: false },
    Room { name: "xdp", uses: &["clock", "frame", "count"], below: false },
    Room { name: "device", uses: &["frame", "count", "xdp"], below: false },
    Room { name: "config", uses: &["sa", "yang", "wire"], below: false },
    Room {
        name: "stage",
        uses: &["limit", "prefetch", "wire", "frame", "count", "route", "esp"],
        below: false,
    },
    Room { name: "graph", uses: &["stage"], below: true },
    Room { name: "worker", uses: &["clock", "wait", "process", "graph", "device"], below: true },
    Room {
        name: "control",
        uses: &["clock", "limit", "wait", "config", "worker", "exchange", "count"],
        below: true,
    },
    Room { name: "leader", uses: &["clock", "wait", "yang", "control"], below: false },
    Room {
        name: "daemon",
        uses: &["aead", "clock", "wait", "process", "yang", "config", "control", "leader"],
        below: false,
    },
];

/// The top of the house: these put everything together.
const MAY_USE_ALL: &[&str] = &["cli", "main"];

#[test]
fn arrows_between_rooms_go_only_downwards() {
    report(rust_sources().iter().flat_map(upward_arrows));
}

#[test]
fn every_room_has_its_place_in_the_table() {
    let rooms: BTreeSet<_> = rust_sources().iter().filter_map(|source| source.room.clone()).collect();
    report(rooms.iter().filter(|room| !is_listed(room)).map(|room| {
        format!("src/{room}: no room of the table in tests/tidy.rs; say there which rooms it may use")
    }));
}

#[test]
fn the_table_itself_has_no_circles() {
    for room in ROOMS {
        assert!(!reaches(room.name, room.name), "{} would use itself through others", room.name);
        for used in room.uses {
            assert!(find(used).is_some(), "{} may use {used}, which the table does not have", room.name);
        }
    }
}

#[test]
fn every_source_file_starts_with_its_licence() {
    report(sources().iter().flat_map(missing_licence));
}

#[test]
fn no_file_is_too_long_to_read() {
    report(sources().iter().flat_map(too_long));
}

/// The integration tests are one program, so a file that it does not name is never compiled.
#[test]
fn every_file_of_tests_is_compiled() {
    let program = fs::read_to_string("tests/main.rs").unwrap();
    for entry in fs::read_dir("tests").unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".rs").filter(|name| *name != "main") else { continue };
        assert!(program.contains(&format!("\nmod {name};")), "tests/{file}: name it in tests/main.rs");
    }
}

#[test]
fn nothing_is_left_for_later() {
    report(sources().iter().flat_map(unfinished));
}

#[test]
fn no_test_is_switched_off() {
    report(sources().iter().flat_map(switched_off));
}

/// One file, read once.
struct Source {
    /// From the top of the repository, with slashes.
    path: String,
    /// First component below `src`; none for `lib.rs` and files elsewhere.
    room: Option<String>,
    text: String,
    /// Rust with comments and literals blanked out, line for line.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let room = path.strip_prefix("src/").map(|below| {
            let first = below.split('/').next().unwrap_or(below);
            first.strip_suffix(".rs").unwrap_or(first).to_string()
        });
        let code = if path.ends_with(".rs") { blank_comments_and_literals(text) } else { String::new() };
        Source {
            path: path.to_string(),
            room: room.filter(|room| room != "lib"),
            text: text.to_string(),
            code,
        }
    }

    fn is_foreign(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{}", self.path, line + 1)
    }
}

fn upward_arrows(source: &Source) -> Vec<String> {
    let Some(room) = source.room.as_deref().filter(|room| !MAY_USE_ALL.contains(room)) else {
        return Vec::new();
    };
    let mut complaints = paths_out_by_super(source);
    let Some(rules) = find(room) else { return complaints };
    for (line, named) in rooms_named(&source.code) {
        let known = is_listed(&named);
        if known && named != room && !may_name(rules, &named) {
            let allowed = if rules.uses.is_empty() { "no other room".into() } else { rules.uses.join(", ") };
            let below = if rules.below { " and what these use" } else { "" };
            complaints.push(format!(
                "{}: {room} names {named}, but may use only {allowed}{below}; move the code to a room above \
                 both, or hand over what it needs as an argument",
                source.at(line),
            ));
        }
    }
    complaints
}

/// `super::super::room` would be an arrow that the search for `crate::` does not see.
fn paths_out_by_super(source: &Source) -> Vec<String> {
    let below_src = source.path.trim_start_matches("src/").trim_end_matches(".rs");
    let depth = below_src.split('/').filter(|part| *part != "mod").count();
    let mut inline_modules: Vec<usize> = Vec::new();
    let mut complaints = Vec::new();
    for (number, line) in source.code.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<_> = line.split_whitespace().collect();
        if inline_modules.last() == Some(&indent) && line.trim() == "}" {
            inline_modules.pop();
        }
        let longest =
            line.split(|c: char| !is_word(c) && c != ':').map(|path| path.matches("super::").count());
        if longest.max().unwrap_or(0) >= depth + inline_modules.len() {
            complaints
                .push(format!("{}: leaves its room by super::; write crate:: instead", source.at(number)));
        }
        if words.contains(&"mod") && words.last() == Some(&"{") {
            inline_modules.push(indent);
        }
    }
    complaints
}

fn missing_licence(source: &Source) -> Option<String> {
    let mut lines = source.text.lines();
    let first = lines.next().filter(|line| !line.starts_with("#!")).or_else(|| lines.next());
    let named = first.is_some_and(|line| line.contains(LICENCE));
    (!named && !source.is_foreign()).then(|| {
        let slashes = [".rs", ".c", ".h", ".yang"].iter().any(|suffix| source.path.ends_with(suffix));
        let comment = if slashes { "//" } else { "#" };
        format!("{}: make `{comment} {LICENCE}` the first line (the second after #!)", source.at(0))
    })
}

fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let most = if source.path.ends_with(".yang") { LONGEST_MODULE_LINES } else { LONGEST_FILE_LINES };
    (lines > most && !source.is_foreign())
        .then(|| format!("{}: {lines} lines, at most {most}; split it by nouns", source.path))
}

fn unfinished(source: &Source) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let noted =
        source.text.lines().enumerate().filter(|(_, line)| words(line).any(|word| marks.contains(&word)));
    noted
        .map(|(number, _)| {
            format!("{}: finish it, or write it down under Limits in docs/operating.md", source.at(number))
        })
        .collect()
}

fn switched_off(source: &Source) -> Vec<String> {
    let lines = source.code.lines().enumerate();
    lines
        .filter(|(_, line)| line.contains("#[ignore"))
        .map(|(number, _)| format!("{}: repair the test or delete it; none is ignored", source.at(number)))
        .collect()
}

fn find(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.name == name)
}

fn is_listed(name: &str) -> bool {
    find(name).is_some() || MAY_USE_ALL.contains(&name)
}

fn may_name(room: &Room, other: &str) -> bool {
    room.uses.contains(&other) || room.below && room.uses.iter().any(|used| reaches(used, other))
}

/// Through any number of rooms.
fn reaches(name: &str, other: &str) -> bool {
    find(name).is_some_and(|room| room.uses.iter().any(|used| *used == other || reaches(used, other)))
}

/// Every room that follows `crate::` or `vita::`, with its line.
fn rooms_named(code: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for root in ["crate::", "vita::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(is_word) {
                continue;
            }
            let start = at + root.len();
            for (offset, name) in heads(&code[start..]) {
                named.push((code[..start + offset].matches('\n').count(), name));
            }
        }
    }
    named
}

/// The first segment of a path, or of each path of a `{group}`.
fn heads(path: &str) -> Vec<(usize, String)> {
    let word_at = |at: usize| path[at..].chars().take_while(|c| is_word(*c)).collect::<String>();
    if !path.starts_with('{') {
        return vec![(0, word_at(0))];
    }
    let mut heads = Vec::new();
    let (mut depth, mut expected) = (0, false);
    for (at, c) in path.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            _ if expected && depth == 1 && is_word(c) => heads.push((at, word_at(at))),
            _ => {}
        }
        expected = depth == 1 && (c == '{' || c == ',' || expected && c.is_whitespace());
    }
    heads
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !is_word(c))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Replaces what is not code by spaces, so that searches see neither prose nor strings.
fn blank_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let after_word = at > 0 && is_word(chars[at - 1]);
        let end = at + literal_or_comment(&chars[at..], after_word);
        if end == at {
            code.push(chars[at]);
            at += 1;
        }
        for c in &chars[at.min(end)..end] {
            code.push(if *c == '\n' { '\n' } else { ' ' });
        }
        at = at.max(end);
    }
    code
}

/// The length of the comment or literal that starts here, zero if none does.
fn literal_or_comment(rest: &[char], after_word: bool) -> usize {
    match rest {
        ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => quoted(rest, '"'),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted(rest, '\''),
        ['r', ..] | ['b' | 'c', 'r', ..] if !after_word => raw_string(rest),
        _ => 0,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char], end: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != end {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Zero for a raw identifier, which starts alike.
fn raw_string(rest: &[char]) -> usize {
    let letters = rest.iter().take_while(|c| c.is_alphabetic()).count();
    let hashes = rest[letters..].iter().take_while(|c| **c == '#').count();
    let open = letters + hashes;
    if letters > 2 || rest.get(open) != Some(&'"') {
        return 0;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &rest[open + 1..];
    match body.windows(close.len()).position(|window| window == close) {
        Some(length) => open + 1 + length + close.len(),
        None => rest.len(),
    }
}

/// All sources of the repository, sorted, so that complaints come in the same order everywhere.
fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    collect(top, top, &mut sources);
    assert!(sources.iter().any(|source| source.path == "tests/tidy.rs"), "{} has no sources", top.display());
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn rust_sources() -> Vec<Source> {
    sources().into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

fn collect(top: &Path, directory: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("the directory was listed by its parent").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().expect("the kind of a listed entry is known");
        if kind.is_dir() && !NOT_OURS.contains(&name.as_str()) {
            collect(top, &path, sources);
        } else if kind.is_file() {
            let suffix = SOURCE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
            let text = fs::read(&path).unwrap_or_default();
            if suffix || name == "Makefile" || text.starts_with(b"#!") {
                let below = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
                sources.push(Source::new(&below, &String::from_utf8_lossy(&text)));
            }
        }
    }
}

fn report(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n\n{}\n", complaints.join("\n"));
}

/// A longer file holds more than one noun.
const LONGEST_FILE_LINES: usize = 900;

/// A YANG module is one file to the clients that fetch it, whatever it describes.
const LONGEST_MODULE_LINES: usize = 1500;

const LICENCE: &str = "SPDX-License-Identifier: Apache-2.0";

const SOURCE_SUFFIXES: &[&str] = &[".rs", ".c", ".h", ".sh", ".nix", ".py", ".yang"];

/// Modules of the IETF keep their own licence and length.
const FOREIGN_PREFIXES: &[&str] = &["ietf-", "iana-"];

/// What builds and tools leave behind.
const NOT_OURS: &[&str] = &[".git", "target", "result", "node_modules", "corpus", "artifacts"];

/// The checks would pass just as well if they saw nothing.
mod the_checks_notice {
    use super::*;

    fn arrows(path: &str, text: &str) -> usize {
        upward_arrows(&Source::new(path, text)).len()
    }

    #[test]
    fn an_arrow_upwards_however_it_is_written() {
        for text in [
            "use crate::stage::Verdict;",
            "use crate::{wire::Mac, stage};",
            "use crate::{\n    wire::{Mac, ipv4},\n    stage::{self, Verdict},\n};",
            "fn f() -> crate::stage::Verdict {}",
            "use vita::stage;",
            "use super::super::stage::Verdict;",
            "mod tests {\n    use super::super::super::stage;\n}",
            "let a = 'x'; let b = '\"'; use crate::stage;",
        ] {
            assert_eq!(arrows("src/esp/inbound.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn but_no_arrow_downwards_and_none_in_prose() {
        for text in [
            "use crate::{wire::Mac, frame::{Frame, stage}, aead};",
            "use crate::esp::Window;",
            "/// See [`crate::stage`]. /* crate::stage */",
            "/* /* nested */ use crate::stage; */",
            "const HELP: &str = \"use crate::stage\\\" crate::stage\";",
            "const HELP: &str = r#\"use \"crate::stage\"#;",
            "use other_crate::stage;",
            "use super::stage;",
            "mod tests {\n    use super::super::stage;\n}",
            "fn f<'a>(r#type: &'a str) {} // use crate::stage",
        ] {
            assert_eq!(arrows("src/esp/inbound.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn that_what_lies_below_is_given_only_where_the_table_says_so() {
        assert_eq!(arrows("src/worker.rs", "use crate::{graph, stage, esp, aead, xdp};"), 0);
        assert_eq!(arrows("src/worker.rs", "use crate::control;"), 1);
        assert_eq!(arrows("src/stage/tunnel.rs", "use crate::aead;"), 1);
        assert_eq!(arrows("src/cli/run.rs", "use crate::{leader, wire};"), 0);
        assert_eq!(arrows("tests/gateway.rs", "use vita::{leader, wire};"), 0);
    }

    #[test]
    fn a_file_without_licence() {
        let licensed = |path, text| missing_licence(&Source::new(path, text)).is_none();
        assert!(licensed("src/lib.rs", "// SPDX-License-Identifier: Apache-2.0\n"));
        assert!(licensed("a.sh", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n"));
        assert!(licensed("yang/ietf-inet-types.yang", "module ietf-inet-types {"));
        assert!(!licensed("yang/vita-esp-gateway.yang", "module vita-esp-gateway {"));
        assert!(!licensed("a.sh", "#!/bin/sh\necho\n# SPDX-License-Identifier: Apache-2.0\n"));
        assert!(!licensed("src/lib.rs", ""));
    }

    #[test]
    fn a_file_that_is_too_long() {
        let at_most = "\n".repeat(LONGEST_FILE_LINES);
        assert!(too_long(&Source::new("src/lib.rs", &at_most)).is_none());
        assert!(too_long(&Source::new("src/lib.rs", &(at_most + "\n"))).is_some());
    }

    #[test]
    fn what_is_unfinished_or_switched_off() {
        let complaints = |text| unfinished(&Source::new("src/cli/run.rs", text)).len();
        assert_eq!(complaints(concat!("// TO", "DO: more")), 1);
        assert_eq!(complaints(concat!("// FIX", "ME(someone)")), 1);
        assert_eq!(switched_off(&Source::new("tests/a.rs", "#[ignore = \"slow\"]")).len(), 1);
    }
}
