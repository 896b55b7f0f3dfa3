// SPDX-License-Identifier: Apache-2.0
//! The forms in which data are printed, and what of them can be read.
//!
//! | form | printed | read |
//! | --- | --- | --- |
//! | `yang` | the textual form | yes |
//! | `json` | RFC 7951 | yes; it begins with a brace and a quoted name, which text never does |
//! | `xpath` | `PATH VALUE`, a line for each leaf | no |
//! | `influxdb` | the line protocol, a line for each leaf | no |

use super::data::{Container, Data};
use super::edit::{self, EditError, Found};
use super::path::{Path, Target};
use super::print::{self, Shown};
use super::schema::{Kind, Schema};
use super::text::{self, TextError};
use super::{flat, json};
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Yang,
    Xpath,
    Influxdb,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Not valid output format: {0} (expected one of yang, xpath, influxdb, json)")]
pub struct UnknownFormat(String);

/// Prints what stands at a path.
pub fn print(
    schema: &Schema,
    root: &Container,
    path: &Path,
    format: Format,
    shown: Shown,
) -> Result<String, EditError> {
    let found = edit::find(&schema.root, root, path)?;
    match format {
        Format::Yang => Ok(match found {
            Found::Members(schema, container) => print::members(schema, container, shown),
            Found::Entry(schema, entry) => print::entry(schema, entry, shown),
            Found::List(schema, list) => print::list(schema, list, shown),
            Found::Leaf { value, .. } | Found::Value { value, .. } => print::value(value),
            Found::Values { values, .. } => values.iter().map(|value| print::value(value) + "\n").collect(),
            Found::Nothing => String::new(),
        }),
        Format::Json => Ok(json::print(&schema.name, path, found, shown)),
        Format::Xpath => Ok(flat::xpath(path, found, shown)),
        Format::Influxdb => Ok(flat::influxdb(schema, path, found, shown)),
    }
}

/// The value of what a path leads to, from JSON to text.
pub fn json_to_text(schema: &Schema, path: &Path, source: &str) -> Result<String, TextError> {
    let data = json::read(&schema.name, path, json::unmarked(source))?;
    Ok(match (path.target, &data) {
        (Target::Root(schema), Data::Container(root)) => print::members(schema, root, Shown::Present),
        (Target::Entry(list), Data::Container(entry)) => print::entry(list, entry, Shown::Present),
        (Target::Node(node), data) => match (&node.kind, data) {
            (Kind::Container(schema), Data::Container(inner)) => {
                print::members(schema, inner, Shown::Present)
            }
            (Kind::List(schema), Data::List(list)) => print::list(schema, list, Shown::Present),
            (_, Data::Leaf(value)) => print::value(value),
            (_, Data::LeafList(values)) => values.iter().map(|value| print::value(value) + "\n").collect(),
            _ => String::new(),
        },
        (Target::Value(_), Data::LeafList(values)) => values.first().map(print::value).unwrap_or_default(),
        _ => String::new(),
    })
}

/// The value of what a path leads to, from text to JSON. Unlike where a configuration is read, state is allowed.
pub fn text_to_json(schema: &Schema, path: &Path, source: &str) -> Result<String, TextError> {
    let data = text::read_any(path, source)?;
    let found = match (path.target, &data) {
        (Target::Root(schema), Data::Container(root)) => Found::Members(schema, root),
        (Target::Entry(list), Data::Container(entry)) => Found::Entry(list, entry),
        (Target::Node(node), data) => match (&node.kind, data) {
            (Kind::Container(schema), Data::Container(inner)) => Found::Members(schema, inner),
            (Kind::List(schema), Data::List(list)) => Found::List(schema, list),
            (Kind::Leaf(leaf), Data::Leaf(value)) => Found::Leaf { node, leaf, value },
            (Kind::LeafList(kind), Data::LeafList(values)) => Found::Values { kind, values },
            _ => Found::Nothing,
        },
        _ => Found::Nothing,
    };
    Ok(json::print(&schema.name, path, found, Shown::Present))
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Format::Yang => "yang",
            Format::Xpath => "xpath",
            Format::Influxdb => "influxdb",
            Format::Json => "json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let all = [Format::Yang, Format::Xpath, Format::Influxdb, Format::Json];
        let found = all.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownFormat(name.chars().take(MAX_SHOWN).collect()))
    }
}

/// Longest name that a message repeats.
const MAX_SHOWN: usize = 48;
