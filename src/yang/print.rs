// SPDX-License-Identifier: Apache-2.0
//! Printing in the textual form: sorted, two spaces per level, quotes only where they are needed.

use super::data::{Container, Data, List, Value};
use super::path::Step;
use super::schema::{self, Kind, Leaf, Members};
use super::syntax::{is_special, is_white};
use super::types::Type;
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

/// What there is to print of a member, in whatever form.
pub(super) enum Member<'a> {
    Leaf(&'a Leaf, &'a Value),
    LeafList(&'a Type, &'a [Value]),
    Container(&'a Members, &'a Container),
    List(&'a schema::List, &'a List),
}

impl Shown {
    /// A member of a container, if it is to be printed.
    pub(super) fn member<'a>(self, node: &'a schema::Node, container: &'a Container) -> Option<Member<'a>> {
        match (&node.kind, container.members.get(&node.name)) {
            (Kind::Leaf(leaf), present) => {
                let present = match present {
                    Some(Data::Leaf(value)) => Some(value),
                    _ => None,
                };
                chosen(self, leaf, present, node).map(|value| Member::Leaf(leaf, value))
            }
            (Kind::LeafList(kind), Some(Data::LeafList(values))) => Some(Member::LeafList(kind, values)),
            (Kind::Container(schema), Some(Data::Container(inner))) => Some(Member::Container(schema, inner)),
            (Kind::List(schema), Some(Data::List(list))) => Some(Member::List(schema, list)),
            _ => None,
        }
    }

    /// Those of the key leaves of an entry that are to be printed, and their values.
    pub(super) fn keys<'a>(
        self,
        schema: &'a schema::List,
        entry: &'a Container,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> {
        Step::sorted(&schema.keys).into_iter().filter_map(move |key| {
            let (node, leaf) = schema.members.node(key).zip(schema.members.leaf(key))?;
            Some((key, chosen(self, leaf, entry.value(key), node)?))
        })
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
            match self.shown.member(node, container) {
                Some(Member::Leaf(_, value)) => self.line(&format!("{} {};", node.name, self::value(value))),
                Some(Member::LeafList(_, values)) => {
                    for value in values {
                        self.line(&format!("{} {};", node.name, self::value(value)));
                    }
                }
                Some(Member::Container(schema, inner)) => {
                    self.line(&format!("{} {{", node.name));
                    self.depth += 1;
                    self.members(schema, inner, &[]);
                    self.depth -= 1;
                    self.line("}");
                }
                Some(Member::List(schema, list)) => {
                    let opening = format!("{} {{", node.name);
                    list.entries.values().for_each(|entry| self.entry(schema, entry, &opening));
                }
                None => {}
            }
        }
    }

    /// Key leaves first, then the others.
    fn entry(&mut self, schema: &schema::List, entry: &Container, opening: &str) {
        self.line(opening);
        self.depth += 1;
        for (key, value) in self.shown.keys(schema, entry) {
            self.line(&format!("{key} {};", self::value(value)));
        }
        self.members(&schema.members, entry, &Step::sorted(&schema.keys));
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
