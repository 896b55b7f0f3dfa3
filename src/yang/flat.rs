// SPDX-License-Identifier: Apache-2.0
//! A line for each leaf: as a path and a value, or in the line protocol of InfluxDB.
//!
//! ```text
//!   /route4[id=tokyo]/gateway[ip=192.0.2.1]/queue 2
//!   /route4/gateway/queue,id=tokyo,ip=192.0.2.1 value=2i
//! ```
//!
//! Key leaves are part of the path and have no line of their own. So an entry with nothing but keys and defaults
//! does not appear, unless defaults are shown.

use super::data::{Container, List, Value};
use super::edit::Found;
use super::path::{Path, Step, Target};
use super::print::{self, Member, Shown};
use super::schema::{self, Members};
use std::fmt::Write;

pub fn xpath(path: &Path, found: Found, shown: Shown) -> String {
    lines(path, found, shown, false)
}

/// Nothing for a single leaf, which other programs do not print in this form either.
pub fn influxdb(path: &Path, found: Found, shown: Shown) -> Option<String> {
    (!matches!(found, Found::Leaf { .. })).then(|| lines(path, found, shown, true))
}

fn lines(path: &Path, found: Found, shown: Shown, tagged: bool) -> String {
    let mut lines = Lines { out: String::new(), shown, tagged, path: String::new(), tags: String::new() };
    let (steps, last) = match (path.target, path.steps.split_last()) {
        (Target::Node(_), Some((last, before))) => (before, Some(last)),
        _ => (&path.steps[..], None),
    };
    for (step, default) in steps.iter().zip(&path.defaults) {
        lines.name(&step.name);
        for (name, value) in step.sorted_keys() {
            if shown == Shown::WithDefaults || !default.iter().any(|key| **key == *name) {
                lines.key(name, value);
            }
        }
    }
    match (found, last) {
        (Found::Members(schema, container), last) => {
            if let Some(step) = last {
                lines.name(&step.name);
            }
            lines.members(schema, container, &[]);
        }
        (Found::Entry(schema, entry), _) => {
            lines.members(&schema.members, entry, &Step::sorted(&schema.keys));
        }
        (Found::List(schema, list), Some(step)) => lines.list(&step.name, schema, list),
        (Found::Leaf { node, leaf, value }, Some(step)) => {
            if let Some(value) = print::chosen(shown, leaf, Some(value), node) {
                lines.leaf(&step.name, value);
            }
        }
        _ => {}
    }
    lines.out
}

struct Lines {
    out: String,
    shown: Shown,
    tagged: bool,
    path: String,
    tags: String,
}

impl Lines {
    fn members(&mut self, schema: &Members, container: &Container, skip: &[&str]) {
        for node in schema.iter().filter(|node| !skip.contains(&&*node.name)) {
            match self.shown.member(node, container) {
                Some(Member::Leaf(_, value)) => self.leaf(&node.name, value),
                Some(Member::LeafList(_, values)) => self.leaf_list(&node.name, values),
                Some(Member::Container(schema, inner)) => {
                    let length = self.path.len();
                    self.name(&node.name);
                    self.members(schema, inner, &[]);
                    self.path.truncate(length);
                }
                Some(Member::List(schema, list)) => self.list(&node.name, schema, list),
                None => {}
            }
        }
    }

    fn list(&mut self, name: &str, schema: &schema::List, list: &List) {
        let keys = Step::sorted(&schema.keys);
        for entry in list.entries.values() {
            let lengths = (self.path.len(), self.tags.len());
            self.name(name);
            for (key, value) in self.shown.keys(schema, entry) {
                self.key(key, value);
            }
            self.members(&schema.members, entry, &keys);
            self.path.truncate(lengths.0);
            self.tags.truncate(lengths.1);
        }
    }

    // Writing to a string cannot fail.

    /// Values that nothing but their place tells apart, counted from 1 as in XPath.
    fn leaf_list(&mut self, name: &str, values: &[Value]) {
        for (place, value) in (1..).zip(values) {
            let length = self.tags.len();
            let name = if self.tagged { name.to_string() } else { format!("{name}[position()={place}]") };
            let _ = write!(self.tags, ",position={place}");
            self.leaf(&name, value);
            self.tags.truncate(length);
        }
    }

    fn leaf(&mut self, name: &str, value: &Value) {
        let (path, tags) = (&self.path, &self.tags);
        let _ = match (self.tagged, value) {
            (false, value) => writeln!(self.out, "{path}/{name} {}", print::value(value)),
            (true, Value::Integer(number)) => writeln!(self.out, "{path}/{name}{tags} value={number}i"),
            (true, Value::Boolean(value)) => writeln!(self.out, "{path}/{name}{tags} value={value}"),
            (true, Value::Text(text)) => {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"");
                writeln!(self.out, "{path}/{name}{tags} value=\"{text}\"")
            }
        };
    }

    fn name(&mut self, name: &str) {
        let _ = write!(self.path, "/{name}");
    }

    fn key(&mut self, name: &str, value: &Value) {
        if !self.tagged {
            let _ = write!(self.path, "[{name}={value}]");
            return;
        }
        let _ = write!(self.tags, ",{name}=");
        for character in value.to_string().chars() {
            if matches!(character, ',' | '=' | ' ' | '\\') {
                self.tags.push('\\');
            }
            self.tags.push(character);
        }
    }
}
