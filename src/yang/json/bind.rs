// SPDX-License-Identifier: Apache-2.0
//! From JSON to data: names, encodings, types, keys and choices as the schema has them.

use super::syntax::{Json, Member, Reader, Value};
use crate::yang::bind::{complete, exclusive};
use crate::yang::data::{self, Container, Data, Key, List};
use crate::yang::path::{Path, Step, Target};
use crate::yang::schema::{self, Kind, Members, Node};
use crate::yang::text::{Problem, TextError};
use crate::yang::types::{Encoding, Type};
use std::sync::Arc;

pub(super) fn read(module: &str, path: &Path, source: &str) -> Result<Data, TextError> {
    let mut binder = Binder { source, reader: Reader::new(source), module };
    let data = binder.target(path)?;
    binder.reader.end()?;
    Ok(data)
}

struct Binder<'a> {
    source: &'a str,
    reader: Reader<'a>,
    module: &'a str,
}

impl Binder<'_> {
    /// The value of what a path leads to.
    fn target(&mut self, path: &Path) -> Result<Data, TextError> {
        let json = self.reader.value()?;
        // A leaf may do without the object: nothing else can be meant.
        if let (Target::Node(node @ Node { kind: Kind::Leaf(_), .. }), false) =
            (path.target, matches!(json.value, Value::Object))
        {
            return self.node(node, &node.name, json);
        }
        if !matches!(json.value, Value::Object) {
            return Err(self.error(json.at, shape("the text", "an object in braces")));
        }
        match (path.target, path.steps.last()) {
            (Target::Root(schema), _) => Ok(Data::Container(self.members(schema, json.at, true)?.into())),
            (Target::Node(node), _) => {
                self.only(json.at, &node.name, |binder, json| binder.node(node, &node.name, json))
            }
            (Target::Value(node), _) => self.only(json.at, &node.name, |binder, json| {
                let at = json.at;
                match binder.node(node, &node.name, json)? {
                    Data::LeafList(values) if values.len() == 1 => Ok(Data::LeafList(values)),
                    _ => Err(binder.error(at, shape(&node.name, "a list of one value"))),
                }
            }),
            (Target::Entry(list), Some(step)) => {
                self.only(json.at, &step.name, |binder, json| binder.single(list, step, json))
            }
            (Target::Entry(_), None) => Err(self.error(json.at, Problem::TooDeep)),
        }
    }

    /// The value of the member of an object that has one, of that name.
    fn only(
        &mut self,
        at: usize,
        name: &str,
        read: impl FnOnce(&mut Self, Json) -> Result<Data, TextError>,
    ) -> Result<Data, TextError> {
        let Some(member) = self.reader.member()? else {
            return Err(self.error(at, Problem::Missing(name.to_string())));
        };
        if self.name(&member, true)? != name {
            return Err(self.error(member.at, Problem::Unknown(member.name)));
        }
        let json = self.reader.value()?;
        let data = read(self, json)?;
        match self.reader.member()? {
            Some(second) => {
                Err(self.error(second.at, shape("the object", "one member, which the path names")))
            }
            None => Ok(data),
        }
    }

    /// The one entry of a list that a path names.
    fn single(&mut self, list: &schema::List, step: &Step, json: Json) -> Result<Data, TextError> {
        let at = json.at;
        let mut found = self.list(list, &step.name, json)?.entries.into_iter();
        match (found.next(), found.next()) {
            (Some((key, entry)), None) if step.key.as_ref().is_some_and(|(_, wanted)| *wanted == key) => {
                Ok(Data::Container(entry))
            }
            _ => {
                Err(self
                    .error(at, shape(&step.name, "a list of one entry with the keys that are in the path")))
            }
        }
    }

    /// The members of the object that begins at a place.
    fn members(&mut self, schema: &Members, at: usize, top: bool) -> Result<Container, TextError> {
        let mut container = Container::default();
        while let Some(member) = self.reader.member()? {
            let name = self.name(&member, top)?;
            let node = match schema.node(name) {
                Some(node) if node.config => node,
                Some(_) => return Err(self.error(member.at, Problem::State(member.name))),
                None => return Err(self.error(member.at, Problem::Unknown(member.name))),
            };
            if container.members.contains_key(&node.name) {
                return Err(self.error(member.at, Problem::Duplicate(member.name)));
            }
            let json = self.reader.value()?;
            let data = self.node(node, name, json)?;
            // A list without entries is as good as none.
            if matches!(&data, Data::List(list) if list.entries.is_empty()) {
                continue;
            }
            exclusive(schema, &container, node).map_err(|problem| self.error(member.at, problem))?;
            container.members.insert(node.name.clone(), data);
        }
        complete(schema, &container).map_err(|problem| self.error(at, problem))?;
        Ok(container)
    }

    /// The name of a member without its module. At the top it must have one (RFC 7951, section 4).
    fn name<'m>(&self, member: &'m Member, top: bool) -> Result<&'m str, TextError> {
        match member.name.split_once(':') {
            Some((module, name)) if module == self.module => Ok(name),
            None if !top => Ok(&member.name),
            None => {
                let qualified = format!("{0} (expected {1}:{0})", member.name, self.module);
                Err(self.error(member.at, Problem::Unknown(qualified)))
            }
            Some(_) => Err(self.error(member.at, Problem::Unknown(member.name.clone()))),
        }
    }

    fn node(&mut self, node: &Node, name: &str, json: Json) -> Result<Data, TextError> {
        match (&node.kind, &json.value) {
            (Kind::Leaf(leaf), _) => self.value(name, &leaf.kind, json).map(Data::Leaf),
            (Kind::LeafList(kind), Value::Array) => {
                let mut values = Vec::new();
                while self.reader.element()? {
                    let json = self.reader.value()?;
                    values.push(self.value(name, kind, json)?);
                }
                Ok(Data::LeafList(values))
            }
            (Kind::LeafList(_), _) => Err(self.error(json.at, shape(name, "a list of values"))),
            (Kind::Container(schema), Value::Object) => {
                Ok(Data::Container(self.members(schema, json.at, false)?.into()))
            }
            (Kind::Container(_), _) => Err(self.error(json.at, shape(name, "an object in braces"))),
            (Kind::List(list), _) => Ok(Data::List(self.list(list, name, json)?.into())),
        }
    }

    fn list(&mut self, schema: &schema::List, name: &str, json: Json) -> Result<List, TextError> {
        if !matches!(json.value, Value::Array) {
            return Err(self.error(json.at, shape(name, "a list of objects")));
        }
        let mut list = List::default();
        while self.reader.element()? {
            let entry = self.reader.value()?;
            if !matches!(entry.value, Value::Object) {
                return Err(self.error(entry.at, shape(name, "objects as its entries")));
            }
            let container = self.members(&schema.members, entry.at, false)?;
            // Unlike in text, all keys must be there (RFC 7950, section 7.8.2).
            let key = |name: &Arc<str>| {
                let missing = || self.error(entry.at, Problem::Missing(name.to_string()));
                container.value(name).cloned().ok_or_else(missing)
            };
            let key = Key(schema.keys.iter().map(key).collect::<Result<_, _>>()?);
            if list.entries.contains_key(&key) {
                let names: Vec<_> = key.0.iter().map(data::Value::to_string).collect();
                return Err(self.error(entry.at, Problem::DuplicateKey(names.join(" "))));
            }
            list.entries.insert(key, container.into());
        }
        Ok(list)
    }

    /// RFC 7951, section 6: which types are numbers, booleans, strings.
    fn value(&self, name: &str, kind: &Type, json: Json) -> Result<data::Value, TextError> {
        let text = match (kind.encoding(), &json.value) {
            (Encoding::Number, Value::Number(number)) => match whole(number) {
                Some(number) => number,
                None => return Err(self.error(json.at, shape(name, "a whole number"))),
            },
            (Encoding::Boolean, Value::Boolean(value)) => value.to_string(),
            (Encoding::Text, Value::Text(text)) => text.clone(),
            (Encoding::Number, _) => return Err(self.error(json.at, shape(name, "a number"))),
            (Encoding::Boolean, _) => return Err(self.error(json.at, shape(name, "true or false"))),
            (Encoding::Text, _) => return Err(self.error(json.at, shape(name, "a string"))),
        };
        let invalid = |error| Problem::Value { name: name.to_string(), error: Box::new(error) };
        kind.parse(&text).map_err(|error| self.error(json.at, invalid(error)))
    }

    fn error(&self, at: usize, problem: Problem) -> TextError {
        TextError::new(self.source, at, problem)
    }
}

fn shape(name: &str, expected: &'static str) -> Problem {
    Problem::Shape { name: name.to_string(), expected }
}

/// The digits of a JSON number that is a whole one: `1440`, also as `1.44e3`, but not `1440.0`.
fn whole(number: &str) -> Option<String> {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return (!number.contains('.')).then(|| number.to_string());
    };
    let exponent: i32 =
        exponent.parse().ok().filter(|exponent| (-MAX_DIGITS..=MAX_DIGITS).contains(exponent))?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{integer}{fraction}");
    let point = i32::try_from(integer.len()).ok()?.checked_add(exponent)?;
    let point = usize::try_from(point).ok()?;
    let (before, after) = digits.split_at(point.min(digits.len()));
    if after.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let zeros = "0".repeat(point.saturating_sub(digits.len()));
    let digits = format!("{before}{zeros}");
    let digits = digits.trim_start_matches('0');
    Some(format!("{sign}{}", if digits.is_empty() { "0" } else { digits }))
}

/// No integer type has numbers with more digits.
const MAX_DIGITS: i32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_have_an_exponent_if_they_are_whole() {
        for (number, expected) in [
            ("0", Some("0")),
            ("-5", Some("-5")),
            ("1.44e3", Some("1440")),
            ("144E+1", Some("1440")),
            ("14400e-1", Some("1440")),
            ("0e9", Some("0")),
            ("-1e0", Some("-1")),
            ("1440.0", None),
            ("1.5", None),
            ("15e-1", None),
            ("1e-30", None),
            ("1e99999999999", None),
            ("1e400", None),
        ] {
            assert_eq!(whole(number).as_deref(), expected, "{number}");
        }
    }
}
