// SPDX-License-Identifier: Apache-2.0
//! Printing in the textual form: sorted, two spaces per level, quotes only where they are needed.

use super::data::{Container, Data, List, Value};
use super::schema::{self, Kind, Leaf, Members};
use super::syntax::{is_special, is_white};
use std::fmt::Write;

/// Which leaves are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Those of the configuration that differ from their default, and all state there is.
    Explicit,
    /// Also leaves that have, or would have, their default value.
    WithDefaults,
    /// Exactly those that are there.
    Present,
}

/// The members of a container, one per line.
pub fn members(schema: &Members, container: &Container, shown: Shown) -> String {
    let mut printer = Printer { out: String::new(), depth: 0, shown };
    printer.members(schema, container, &[]);
    printer.out
}

/// The members of a container in a block of that name.
pub fn block(name: &str, schema: &Members, container: &Container, shown: Shown) -> String {
    let mut printer = Printer { out: format!("{name} {{\n"), depth: 1, shown };
    printer.members(schema, container, &[]);
    printer.out + "}\n"
}

/// The members of a list entry, without its key leaves.
pub fn entry(schema: &schema::List, entry: &Container, shown: Shown) -> String {
    let mut printer = Printer { out: String::new(), depth: 0, shown };
    let keys: Vec<&str> = schema.keys.iter().map(|key| &**key).collect();
    printer.members(&schema.members, entry, &keys);
    printer.out
}

/// The entries of a list, each in braces.
pub fn list(schema: &schema::List, list: &List, shown: Shown) -> String {
    let mut printer = Printer { out: String::new(), depth: 0, shown };
    for entry in list.entries.values() {
        printer.entry(schema, entry, "{");
    }
    printer.out
}

/// A value, quoted if it has to be.
pub fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => quote(text),
        other => other.to_string(),
    }
}

/// The value to print for a leaf, if any.
pub(super) fn chosen<'a>(
    shown: Shown,
    leaf: &'a Leaf,
    present: Option<&'a Value>,
    node: &schema::Node,
) -> Option<&'a Value> {
    match shown {
        Shown::Present => present,
        Shown::Explicit => present.filter(|value| !node.config || Some(*value) != leaf.default.as_ref()),
        Shown::WithDefaults if node.cases.is_empty() => present.or(leaf.default.as_ref()),
        Shown::WithDefaults => present,
    }
}

struct Printer {
    out: String,
    depth: usize,
    shown: Shown,
}

impl Printer {
    fn members(&mut self, schema: &Members, container: &Container, skip: &[&str]) {
        for node in schema.iter().filter(|node| !skip.contains(&&*node.name)) {
            match (&node.kind, container.members.get(&node.name)) {
                (Kind::Leaf(leaf), present) => {
                    let present = match present {
                        Some(Data::Leaf(value)) => Some(value),
                        _ => None,
                    };
                    if let Some(value) = chosen(self.shown, leaf, present, node) {
                        self.line(&format!("{} {};", node.name, self::value(value)));
                    }
                }
                (Kind::LeafList(_), Some(Data::LeafList(values))) => {
                    for value in values {
                        self.line(&format!("{} {};", node.name, self::value(value)));
                    }
                }
                (Kind::Container(schema), Some(Data::Container(inner))) => {
                    self.line(&format!("{} {{", node.name));
                    self.depth += 1;
                    self.members(schema, inner, &[]);
                    self.depth -= 1;
                    self.line("}");
                }
                (Kind::List(schema), Some(Data::List(list))) => {
                    let opening = format!("{} {{", node.name);
                    list.entries.values().for_each(|entry| self.entry(schema, entry, &opening));
                }
                _ => {}
            }
        }
    }

    /// Key leaves first, then the others.
    fn entry(&mut self, schema: &schema::List, entry: &Container, opening: &str) {
        self.line(opening);
        self.depth += 1;
        let keys = super::path::Step::sorted(&schema.keys);
        for key in &keys {
            let leaf = schema.members.node(key).zip(schema.members.leaf(key));
            if let Some((node, leaf)) = leaf
                && let Some(value) = chosen(self.shown, leaf, entry.value(key), node)
            {
                self.line(&format!("{key} {};", self::value(value)));
            }
        }
        self.members(&schema.members, entry, &keys);
        self.depth -= 1;
        self.line("}");
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{:indent$}{text}", "", indent = self.depth * INDENT);
    }
}

fn quote(text: &str) -> String {
    if text.is_empty() {
        return "''".to_string();
    }
    if !text.contains(|character| is_white(character) || is_special(character) || character == '/') {
        return text.to_string();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

const INDENT: usize = 2;
