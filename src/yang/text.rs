// SPDX-License-Identifier: Apache-2.0
//! Reading the textual form, and what can be wrong with it.

use super::bind;
use super::data::{Container, Data, Key};
use super::schema::{Kind, List, Members, Node};
use super::types::ValueError;
use std::fmt;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    pub problem: Problem,
    /// The line, or the part of it around the place.
    excerpt: Box<str>,
    /// Characters of the excerpt before the place.
    indent: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("expected {expected}, found {}", .found.as_ref().map_or("the end of the text".to_string(), |found| format!("'{}'", found.escape_default())))]
    Unexpected { expected: &'static str, found: Option<String> },
    #[error("a quoted string or comment that begins here has no end")]
    Unterminated,
    #[error("nested too deeply")]
    TooDeep,
    #[error("unrecognized parameter: {0}")]
    Unknown(String),
    #[error("{0} is state and cannot be configured")]
    State(String),
    #[error("{0} names the entry in the path and cannot be given again")]
    KeyInEntry(String),
    #[error("duplicate parameter: {0}")]
    Duplicate(String),
    #[error("duplicate key: {0}")]
    DuplicateKey(String),
    #[error("{name} takes {expected}")]
    Shape { name: String, expected: &'static str },
    #[error("{name}: {error}")]
    Value { name: String, error: Box<ValueError> },
    #[error("missing scalar value: {0}")]
    Missing(String),
    #[error("only one choice set can exist at one time: {choice} (here are {first} and {second})")]
    Choice { choice: String, first: String, second: String },
}

/// Reads the members of a container, or a whole document.
pub fn members(schema: &Members, source: &str) -> Result<Container, TextError> {
    bind::members(schema, source)
}

/// Reads the members of a list entry, without its key leaves, which the key supplies.
pub fn entry(schema: &List, key: &Key, source: &str) -> Result<Container, TextError> {
    bind::entry(schema, key, source)
}

/// Reads the value of a node: a leaf's, a container's, or the entries of a list.
pub fn node(schema: &Node, source: &str) -> Result<Data, TextError> {
    match &schema.kind {
        Kind::Leaf(leaf) => bind::leaf(&schema.name, &leaf.kind, source).map(Data::Leaf),
        Kind::LeafList(kind) => {
            bind::leaf(&schema.name, kind, source).map(|value| Data::LeafList(vec![value]))
        }
        Kind::Container(inner) => Ok(Data::Container(members(inner, source)?.into())),
        Kind::List(list) => Ok(Data::List(bind::list(list, source)?.into())),
    }
}

impl TextError {
    pub(super) fn new(source: &str, at: usize, problem: Problem) -> Self {
        let before = source.get(..at).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count();
        let text = source[start..].lines().next().unwrap_or("");
        let skip = column.saturating_sub(EXCERPT / 2);
        let excerpt = conceal(text).chars().skip(skip).take(EXCERPT).collect::<String>().into();
        TextError { line, column: column + 1, problem, excerpt, indent: column - skip }
    }
}

/// Place and problem, then the line with a caret under the place.
impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}, column {}: {}", self.line, self.column, self.problem)?;
        writeln!(f, "{}", self.excerpt)?;
        // Tabs are repeated, so that the caret stands right at any tab width.
        for character in self.excerpt.chars().chain(std::iter::repeat(' ')).take(self.indent) {
            write!(f, "{}", if character == '\t' { '\t' } else { ' ' })?;
        }
        write!(f, "^")
    }
}

impl std::error::Error for TextError {}

/// Stars in place of many hexadecimal digits in a row, white space between them or not: these are keys, and messages
/// end up in logs.
fn conceal(line: &str) -> String {
    let of_key = |character: char| character.is_ascii_hexdigit() || character.is_whitespace();
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|character| !of_key(character)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        if run.chars().filter(char::is_ascii_hexdigit).count() >= KEY_DIGITS {
            shown.extend(
                run.chars().map(|character| if character.is_ascii_hexdigit() { '*' } else { character }),
            );
        } else {
            shown.push_str(run);
        }
        let next = after.find(of_key).unwrap_or(after.len());
        shown.push_str(&after[..next]);
        rest = &after[next..];
    }
    shown
}

/// Longest part of a line that a message repeats, in characters: about one line of a terminal.
const EXCERPT: usize = 100;
/// Hexadecimal digits in a row that are taken for a key: more than a MAC address or a number has.
const KEY_DIGITS: usize = 16;
