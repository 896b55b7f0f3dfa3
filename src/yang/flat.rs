// SPDX-License-Identifier: Apache-2.0
//! A line for each leaf: as a path and a value, or in the line protocol of InfluxDB.
//!
//! ```text
//!   /route4[id=tokyo]/gateway[ip=192.0.2.1]/queue 2
//!   /route4/gateway/queue,route4/id=tokyo,route4/gateway/ip=192.0.2.1 value=2i
//! ```
//!
//! Key leaves are part of the path and have no line of their own. So an entry with nothing but keys and defaults
//! does not appear, unless defaults are shown.
//!
//! Measurements and tags are named as deployed instances name them, because dashboards ask for these names. A
//! measurement is called by the path of its leaf, seen from the node that was asked for: of `/gateway-state` it is
//! `/public-router/route-errors`. Leaves that the schema lists (`Schema::with_series`) have a name of their own
//! wherever they are asked for: `inbound-sa-expired`. A tag is called by the path of the list, before its first key:
//! `inbound-sa/queue=1,spi=300`. Of the entries of a list that was asked for, all these paths begin with a second
//! slash. Unlike with deployed instances, an entry in a list in a list has the keys of both, and a single leaf has
//! its line.

use super::data::{Container, List, Value};
use super::edit::Found;
use super::path::{Path, SELF, Step, Target};
use super::print::{self, Member, Shown};
use super::schema::{self, Members, Schema};
use std::collections::BTreeSet;
use std::fmt::Write;

pub(super) fn xpath(path: &Path, found: Found, shown: Shown) -> String {
    let mut lines = Lines { out: String::new(), shown, path: String::new(), form: Xpath };
    let (steps, last) = match (path.target, path.steps.split_last()) {
        (Target::Node(_) | Target::Value(_), Some((last, before))) => (before, Some(last)),
        _ => (&path.steps[..], None),
    };
    for (step, default) in steps.iter().zip(&path.defaults) {
        let _ = write!(lines.path, "/{}", step.name);
        for (name, value) in step.sorted_keys() {
            if shown == Shown::WithDefaults || !default.iter().any(|key| **key == *name) {
                let _ = write!(lines.path, "[{name}={value}]");
            }
        }
    }
    match (found, last) {
        (Found::Members(schema, container), None) => lines.members(schema, container, &[]),
        (Found::Members(schema, container), Some(step)) => lines.container(&step.name, schema, container),
        (Found::Entry(schema, entry), _) => {
            lines.members(&schema.members, entry, &Step::sorted(&schema.keys));
        }
        (Found::List(schema, list), Some(step)) => lines.list(&step.name, schema, list),
        (Found::Leaf { node, leaf, value }, Some(step)) => {
            if let Some(value) = print::chosen(shown, leaf, Some(value), node) {
                lines.leaf(&step.name, value);
            }
        }
        (Found::Values { values, .. }, Some(step)) => lines.leaf_list(&step.name, values),
        (Found::Value { value, .. }, Some(step)) => {
            let name = format!("{}[{SELF}='{value}']", step.name);
            lines.leaf(&name, value);
        }
        _ => {}
    }
    lines.out
}

pub(super) fn influxdb(schema: &Schema, path: &Path, found: Found, shown: Shown) -> String {
    // A leaf is called as if all had been asked for; of other nodes, the steps that lead to them are left out.
    let single = matches!(found, Found::Leaf { .. } | Found::Values { .. } | Found::Value { .. });
    let mut form = Influxdb { named: &schema.series, place: String::new(), tags: String::new() };
    let parents = path.steps.len().saturating_sub(usize::from(single));
    for step in path.steps.iter().take(parents) {
        form.enter(&step.name);
        if single {
            let place = form.place.clone();
            form.tag(&place, step.sorted_keys().into_iter());
        }
    }
    let path_of_leaf = if single { form.place.clone() } else { String::new() };
    let mut lines = Lines { out: String::new(), shown, path: path_of_leaf, form };
    match (found, path.steps.last()) {
        (Found::Members(schema, container), _) => lines.members(schema, container, &[]),
        (Found::Entry(schema, entry), _) => {
            lines.members(&schema.members, entry, &Step::sorted(&schema.keys));
        }
        (Found::List(schema, list), _) => {
            lines.path.push('/');
            lines.entries(schema, list);
        }
        (Found::Leaf { value, .. } | Found::Value { value, .. }, Some(step)) => lines.leaf(&step.name, value),
        (Found::Values { values, .. }, Some(step)) => lines.leaf_list(&step.name, values),
        _ => {}
    }
    lines.out
}

/// How lines are written.
trait Form {
    /// Goes down to a node of that name, which stands at a path.
    fn enter(&mut self, _name: &str) {}
    /// Comes back from there.
    fn leave(&mut self, _name: &str) {}
    /// Adds the keys of an entry of the list at a path, to the path or elsewhere.
    fn keys<'a>(&mut self, path: &mut String, keys: impl Iterator<Item = (&'a str, &'a Value)>);
    /// How much there is of what is kept elsewhere, and back to that much.
    fn mark(&self) -> usize {
        0
    }
    fn reset(&mut self, _mark: usize) {}
    fn leaf(&self, out: &mut String, path: &str, name: &str, value: &Value);
    /// A value of a leaf-list, of which nothing but its place tells it apart; places are counted from 1.
    fn nth(&self, out: &mut String, path: &str, name: &str, place: usize, value: &Value);
}

struct Lines<F> {
    out: String,
    shown: Shown,
    path: String,
    form: F,
}

impl<F: Form> Lines<F> {
    fn members(&mut self, schema: &Members, container: &Container, skip: &[&str]) {
        for node in schema.iter().filter(|node| !skip.contains(&&*node.name)) {
            match self.shown.member(node, container) {
                Some(Member::Leaf(_, value)) => self.leaf(&node.name, value),
                Some(Member::LeafList(_, values)) => self.leaf_list(&node.name, values),
                Some(Member::Container(schema, inner)) => self.container(&node.name, schema, inner),
                Some(Member::List(schema, list)) => self.list(&node.name, schema, list),
                None => {}
            }
        }
    }

    fn container(&mut self, name: &str, schema: &Members, container: &Container) {
        self.inside(name, |lines| lines.members(schema, container, &[]));
    }

    fn list(&mut self, name: &str, schema: &schema::List, list: &List) {
        self.inside(name, |lines| lines.entries(schema, list));
    }

    fn entries(&mut self, schema: &schema::List, list: &List) {
        let keys = Step::sorted(&schema.keys);
        for entry in list.entries.values() {
            let (length, mark) = (self.path.len(), self.form.mark());
            self.form.keys(&mut self.path, self.shown.keys(schema, entry));
            self.members(&schema.members, entry, &keys);
            self.path.truncate(length);
            self.form.reset(mark);
        }
    }

    fn inside(&mut self, name: &str, print: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        // Writing to a string cannot fail.
        let _ = write!(self.path, "/{name}");
        self.form.enter(name);
        print(self);
        self.form.leave(name);
        self.path.truncate(length);
    }

    fn leaf_list(&mut self, name: &str, values: &[Value]) {
        for (place, value) in (1..).zip(values) {
            self.form.nth(&mut self.out, &self.path, name, place, value);
        }
    }

    fn leaf(&mut self, name: &str, value: &Value) {
        self.form.leaf(&mut self.out, &self.path, name, value);
    }
}

struct Xpath;

impl Form for Xpath {
    fn keys<'a>(&mut self, path: &mut String, keys: impl Iterator<Item = (&'a str, &'a Value)>) {
        for (name, value) in keys {
            let _ = write!(path, "[{name}={value}]");
        }
    }

    fn leaf(&self, out: &mut String, path: &str, name: &str, value: &Value) {
        let _ = writeln!(out, "{path}/{name} {}", print::value(value));
    }

    fn nth(&self, out: &mut String, path: &str, name: &str, place: usize, value: &Value) {
        self.leaf(out, path, &format!("{name}[position()={place}]"), value);
    }
}

struct Influxdb<'s> {
    /// Leaves that are called by their name alone, by their whole path.
    named: &'s BTreeSet<String>,
    /// The whole path of the node whose members are printed.
    place: String,
    tags: String,
}

impl Influxdb<'_> {
    fn tag<'a>(&mut self, path: &str, keys: impl Iterator<Item = (&'a str, &'a Value)>) {
        // The path without its first slash, before the first key.
        let mut prefix = format!("{}/", path.strip_prefix('/').unwrap_or(path));
        for (name, value) in keys {
            let _ = write!(self.tags, ",{prefix}{name}=");
            prefix.clear();
            for character in value.to_string().chars() {
                if matches!(character, ',' | '=' | ' ' | '\\') {
                    self.tags.push('\\');
                }
                self.tags.push(character);
            }
        }
    }

    fn line(&self, out: &mut String, path: &str, name: &str, tag: &str, value: &Value) {
        if self.named.contains(&format!("{}/{name}", self.place)) {
            out.push_str(name);
        } else {
            let _ = write!(out, "{path}/{name}");
        }
        let tags = &self.tags;
        let _ = match value {
            Value::Integer(number) => writeln!(out, "{tags}{tag} value={number}i"),
            Value::Boolean(value) => writeln!(out, "{tags}{tag} value={value}"),
            Value::Text(text) => {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"");
                writeln!(out, "{tags}{tag} value=\"{text}\"")
            }
        };
    }
}

impl Form for Influxdb<'_> {
    fn enter(&mut self, name: &str) {
        let _ = write!(self.place, "/{name}");
    }

    fn leave(&mut self, name: &str) {
        self.place.truncate(self.place.len().saturating_sub(name.len() + 1));
    }

    fn keys<'a>(&mut self, path: &mut String, keys: impl Iterator<Item = (&'a str, &'a Value)>) {
        self.tag(path, keys);
    }

    fn mark(&self) -> usize {
        self.tags.len()
    }

    fn reset(&mut self, mark: usize) {
        self.tags.truncate(mark);
    }

    fn leaf(&self, out: &mut String, path: &str, name: &str, value: &Value) {
        self.line(out, path, name, "", value);
    }

    fn nth(&self, out: &mut String, path: &str, name: &str, place: usize, value: &Value) {
        self.line(out, path, name, &format!(",position={place}"), value);
    }
}
