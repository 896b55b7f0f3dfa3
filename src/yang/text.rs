// SPDX-License-Identifier: Apache-2.0
//! Reading the textual form, and what can be wrong with it.

use super::MAX_DEPTH;
use super::bind::{self, Binder};
use super::data::{Container, Data, Key};
use super::path::{Path, Target};
use super::schema::{Members, Node};
use super::syntax::BYTE_ORDER_MARK;
use super::types::ValueError;
use std::fmt;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    pub place: Position,
    pub problem: Problem,
}

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
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
    #[error("nested too deeply: more than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("more than {limit} statements: the text is too long")]
    TooMany { limit: usize },
    #[error("byte {byte:#04x} is not UTF-8; convert the file, for example: iconv -f LATIN1 -t UTF-8")]
    NotUtf8 { byte: u8 },
    #[error(
        "this is {encoding}, and the text has to be UTF-8; convert the file: iconv -f {encoding} -t UTF-8"
    )]
    Encoding { encoding: &'static str },
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
    #[error("{name}: expected characters that YANG has, found '{}'", .character.escape_default())]
    Character { name: String, character: char },
    #[error("missing scalar value: {0}")]
    Missing(String),
    #[error("only one choice set can exist at one time: {choice} (here are {first} and {second})")]
    Choice { choice: String, first: String, second: String },
}

/// The text of a file, which has to be in UTF-8. A byte-order mark may stand before it.
pub fn decode(bytes: Vec<u8>) -> Result<String, TextError> {
    if let Some(encoding) = other_encoding(&bytes) {
        return Err(TextError::new("", 0, Problem::Encoding { encoding }));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        let text = String::from_utf8_lossy(error.as_bytes());
        // What precedes the place is valid, so it stands at the same offset in both.
        TextError::new(&text, at, Problem::NotUtf8 { byte })
    })
}

/// The encoding that a text is in if it is none of single bytes: known by its mark, or by the zeros in its first
/// character, which no text in this form may have.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    match *bytes {
        [0xff, 0xfe, 0, 0, ..] => Some("UTF-32LE"),
        [0, 0, 0xfe, 0xff, ..] => Some("UTF-32BE"),
        [0xff, 0xfe, ..] => Some("UTF-16LE"),
        [0xfe, 0xff, ..] => Some("UTF-16BE"),
        [a, 0, 0, 0, ..] if a != 0 => Some("UTF-32LE"),
        [0, 0, 0, a, ..] if a != 0 => Some("UTF-32BE"),
        [a, 0, b, 0, ..] if a != 0 && b != 0 => Some("UTF-16LE"),
        [0, a, 0, b, ..] if a != 0 && b != 0 => Some("UTF-16BE"),
        _ => None,
    }
}

/// Reads the members of a container, or a whole document.
pub fn members(schema: &Members, source: &str) -> Result<Container, TextError> {
    Binder::new(source).whole(schema)
}

/// Reads the value of what a path leads to: of a list entry, its members without the keys, which the path supplies.
pub fn read(path: &Path, source: &str) -> Result<Data, TextError> {
    value(path, Binder::new(source))
}

/// The same for text that an instance printed, which may be state.
pub fn read_any(path: &Path, source: &str) -> Result<Data, TextError> {
    value(path, Binder::with_state(source))
}

/// Reads the value of a node: a leaf's, a container's, or the entries of a list.
pub fn node(schema: &Node, source: &str) -> Result<Data, TextError> {
    Binder::new(source).node_value(schema)
}

fn value(path: &Path, binder: Binder) -> Result<Data, TextError> {
    match path.target {
        Target::Root(schema) => Ok(Data::Container(binder.whole(schema)?.into())),
        Target::Node(schema) => binder.node_value(schema),
        Target::Value(schema) => binder.single_value(schema),
        Target::Entry(list) => {
            let key = path.steps.last().and_then(|step| step.key.as_ref());
            let key = key.map_or(Key(Vec::new()), |(_, key)| key.clone());
            Ok(Data::Container(binder.keyed(list, &key)?.into()))
        }
    }
}

/// Where a whole document says something about the node at a path, or about the nearest node above it. Nothing if
/// the document is not in the textual form.
pub fn find(schema: &Members, source: &str, path: &str) -> Option<Position> {
    let path = Path::resolve(schema, path).ok()?;
    Some(Position::new(source, bind::place(schema, source, &path.steps)?))
}

impl TextError {
    pub(super) fn new(source: &str, at: usize, problem: Problem) -> Self {
        TextError { place: Position::new(source, at), problem }
    }

    /// `FILE:LINE:COLUMN: problem`, then the line with a caret under the place. The path to which the text belongs
    /// is named where it is not the root.
    pub fn in_source(&self, file: &str, path: &str) -> String {
        let path = if path.is_empty() || path == "/" { String::new() } else { format!("{path}: ") };
        self.place.mark(file, &format!("{path}{}", self.problem))
    }
}

impl Position {
    fn new(source: &str, at: usize) -> Self {
        let before = source.get(..at).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        // A byte-order mark is not shown, and takes no column.
        let mark = if source.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8().min(at) } else { 0 };
        let start = before.rfind('\n').map_or(mark, |newline| newline + 1);
        let column = before[start..].chars().count();
        let text = source.get(start..).and_then(|rest| rest.split('\n').next()).unwrap_or("");
        let text = text.strip_suffix('\r').unwrap_or(text);
        let skip = column.saturating_sub(EXCERPT / 2);
        // Only so much of a long line is looked at that keys are seen which begin before the excerpt or end after it.
        let before = skip.min(MARGIN);
        let around: String = text.chars().skip(skip - before).take(before + EXCERPT + MARGIN).collect();
        let excerpt = conceal(&around).chars().skip(before).take(EXCERPT).collect::<String>().into();
        Position { line, column: column + 1, excerpt, indent: column - skip }
    }

    /// `FILE:LINE:COLUMN: message`, then the line with a caret under the place.
    pub fn mark(&self, file: &str, message: &str) -> String {
        format!("{file}:{}:{}: {message}\n{}", self.line, self.column, self.caret())
    }

    /// The line, and a caret under the place.
    fn caret(&self) -> String {
        // Tabs are repeated, so that the caret stands right at any tab width.
        let indent = self.excerpt.chars().chain(std::iter::repeat(' ')).take(self.indent);
        let indent: String = indent.map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
        format!("{}\n{indent}^", self.excerpt)
    }
}

/// Position and problem, then the line with a caret under the place.
impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column, .. } = self.place;
        write!(f, "line {line}, column {column}: {}\n{}", self.problem, self.place.caret())
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
/// Longer than any key that is written with white space between its digits.
const MARGIN: usize = 1000;
/// Hexadecimal digits in a row that are taken for a key: more than a MAC address or a number has.
const KEY_DIGITS: usize = 16;
