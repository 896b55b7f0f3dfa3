// SPDX-License-Identifier: Apache-2.0
//! Printing as JSON: sorted like the textual form, two spaces per level.

use crate::yang::data::{Container, List, Value};
use crate::yang::edit::Found;
use crate::yang::path::{Path, Step, Target};
use crate::yang::print::{Member, Shown};
use crate::yang::schema::{self, Kind, Members, Node};
use crate::yang::types::{Encoding, Type};

pub(super) fn print(module: &str, path: &Path, found: Found, shown: Shown) -> String {
    let mut printer = Printer { out: String::new(), depth: 0, shown, module: Some(module) };
    let name = path.steps.last().map(|step| &*step.name);
    match (found, name) {
        (Found::Members(schema, container), None) => printer.object(|printer| {
            printer.members(schema, container, &[]);
        }),
        (Found::Members(schema, container), Some(name)) => printer.object(|printer| {
            printer.name(name);
            printer.container(schema, container);
        }),
        (Found::List(schema, list), Some(name)) => printer.object(|printer| {
            printer.name(name);
            printer.list(schema, list);
        }),
        (Found::Entry(schema, entry), Some(name)) => printer.object(|printer| {
            printer.name(name);
            printer.entries(schema, [entry].into_iter());
        }),
        (Found::Leaf { leaf, value, .. }, Some(name)) => printer.object(|printer| {
            printer.name(name);
            printer.value(&leaf.kind, value);
        }),
        (Found::Values { kind, values, .. }, Some(name)) => printer.object(|printer| {
            printer.name(name);
            printer.values(kind, values);
        }),
        (Found::Value { kind, value, .. }, Some(name)) => printer.object(|printer| {
            printer.name(name);
            printer.values(kind, std::slice::from_ref(value));
        }),
        (_, Some(name)) => printer.object(|printer| {
            printer.name(name);
            let list = matches!(path.target, Target::Node(Node { kind: Kind::List(_), .. }));
            printer.out.push_str(if list { "[]" } else { "{}" });
        }),
        (_, None) => printer.out.push_str("{}"),
    }
    printer.out.push('\n');
    printer.out
}

struct Printer<'a> {
    out: String,
    depth: usize,
    shown: Shown,
    /// Of the names at the top.
    module: Option<&'a str>,
}

impl Printer<'_> {
    fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.sequence('{', '}', members);
    }

    /// What `elements` prints, in brackets; each element begins with `next`.
    fn sequence(&mut self, open: char, close: char, elements: impl FnOnce(&mut Self)) {
        self.out.push(open);
        self.depth += 1;
        elements(self);
        self.depth -= 1;
        if !self.out.ends_with(open) {
            self.line();
        }
        self.out.push(close);
    }

    fn next(&mut self) {
        if !self.out.ends_with(['{', '[']) {
            self.out.push(',');
        }
        self.line();
    }

    fn line(&mut self) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', self.depth * INDENT));
    }

    fn name(&mut self, name: &str) {
        self.next();
        match self.module {
            Some(module) if self.depth == 1 => self.string(&format!("{module}:{name}")),
            _ => self.string(name),
        }
        self.out.push_str(": ");
    }

    fn members(&mut self, schema: &Members, container: &Container, first: &[&str]) {
        let keys = first.iter().filter_map(|name| schema.node(name));
        let others = schema.iter().filter(|node| !first.contains(&&*node.name));
        for node in keys.chain(others) {
            self.member(node, container, first.contains(&&*node.name));
        }
    }

    fn member(&mut self, node: &Node, container: &Container, key: bool) {
        // An entry without its keys could not be read again, whatever their default.
        let shown = if key { Shown::Present } else { self.shown };
        let Some(member) = shown.member(node, container) else { return };
        self.name(&node.name);
        match member {
            Member::Leaf(leaf, value) => self.value(&leaf.kind, value),
            Member::LeafList(kind, values) => self.values(kind, values),
            Member::Container(schema, inner) => self.container(schema, inner),
            Member::List(schema, list) => self.list(schema, list),
        }
    }

    fn values(&mut self, kind: &Type, values: &[Value]) {
        self.sequence('[', ']', |printer| {
            for value in values {
                printer.next();
                printer.value(kind, value);
            }
        });
    }

    fn container(&mut self, schema: &Members, container: &Container) {
        self.object(|printer| printer.members(schema, container, &[]));
    }

    fn list(&mut self, schema: &schema::List, list: &List) {
        self.entries(schema, list.entries.values().map(|entry| &**entry));
    }

    fn entries<'d>(&mut self, schema: &schema::List, entries: impl Iterator<Item = &'d Container>) {
        let keys = Step::sorted(&schema.keys);
        self.sequence('[', ']', |printer| {
            for entry in entries {
                printer.next();
                printer.object(|printer| printer.members(&schema.members, entry, &keys));
            }
        });
    }

    fn value(&mut self, kind: &Type, value: &Value) {
        match kind.encoding() {
            Encoding::Number | Encoding::Boolean => self.out.push_str(&value.to_string()),
            Encoding::Text => self.string(&value.to_string()),
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\t' => self.out.push_str("\\t"),
                '\r' => self.out.push_str("\\r"),
                '\0'..' ' => self.out.push_str(&format!("\\u{:04x}", u32::from(character))),
                other => self.out.push(other),
            }
        }
        self.out.push('"');
    }
}

const INDENT: usize = 2;
