// SPDX-License-Identifier: Apache-2.0
//! The grammar of JSON (RFC 8259), with the places of its values.

use crate::yang::MAX_DEPTH;
use crate::yang::cursor::Cursor;
use crate::yang::syntax::is_yang;
use crate::yang::text::{Problem, TextError};
use std::ops::{Deref, DerefMut};

/// A value, and the byte offset where it begins.
#[derive(Debug)]
pub(super) struct Json<'a> {
    pub at: usize,
    pub value: Value<'a>,
}

#[derive(Debug)]
pub(super) enum Value<'a> {
    /// Its members are next, up to the end of [`Reader::member`].
    Object,
    /// Its elements are next, up to the end of [`Reader::element`].
    Array,
    Text(String),
    /// As written.
    Number(&'a str),
    Boolean(bool),
    Null,
}

/// The name of a member. Its value is what the reader reads next.
#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    /// Where the name begins.
    pub at: usize,
}

/// Reads a text from its beginning to its end, one value at a time, and keeps nothing of what it has read.
pub(super) struct Reader<'a> {
    cursor: Cursor<'a>,
    /// Objects and arrays that are open.
    depth: usize,
    /// Values read so far.
    values: usize,
    /// Whether an object or array was opened last, so that no comma comes before what is next.
    opened: bool,
}

impl<'a> Deref for Reader<'a> {
    type Target = Cursor<'a>;

    fn deref(&self) -> &Cursor<'a> {
        &self.cursor
    }
}

impl<'a> DerefMut for Reader<'a> {
    fn deref_mut(&mut self) -> &mut Cursor<'a> {
        &mut self.cursor
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Reader { cursor: Cursor::new(source), depth: 0, values: 0, opened: false }
    }

    /// The next value. Of an object or an array it is the beginning.
    pub(super) fn value(&mut self) -> Result<Json<'a>, TextError> {
        self.blank();
        let at = self.at;
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.error(at, Problem::TooMany { limit: MAX_VALUES }));
        }
        let value = match self.peek() {
            Some('{') => self.open(Value::Object)?,
            Some('[') => self.open(Value::Array)?,
            Some('"') => Value::Text(self.string()?),
            Some('-' | '0'..='9') => Value::Number(self.number()?),
            _ => self.word()?,
        };
        Ok(Json { at, value })
    }

    /// The name of the next member of the innermost object, or nothing at its end.
    pub(super) fn member(&mut self) -> Result<Option<Member>, TextError> {
        if !self.continues('}', "',' or '}'")? {
            return Ok(None);
        }
        let at = self.at;
        if self.peek() != Some('"') {
            return Err(self.unexpected("the name of a member, in double quotes"));
        }
        let name = self.string()?;
        self.blank();
        if !self.take(':') {
            return Err(self.unexpected("':'"));
        }
        Ok(Some(Member { name, at }))
    }

    /// Whether the innermost array has another element, which is next.
    pub(super) fn element(&mut self) -> Result<bool, TextError> {
        self.continues(']', "',' or ']'")
    }

    /// An error unless all of the text has been read.
    pub(super) fn end(&mut self) -> Result<(), TextError> {
        self.blank();
        if self.rest().is_empty() { Ok(()) } else { Err(self.unexpected("the end of the text")) }
    }

    fn open(&mut self, value: Value<'a>) -> Result<Value<'a>, TextError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error(self.at, Problem::TooDeep));
        }
        self.depth += 1;
        self.at += 1;
        self.opened = true;
        Ok(value)
    }

    /// Whether something follows before the end of the innermost object or array. What separates it is consumed,
    /// and so is the end.
    fn continues(&mut self, end: char, expected: &'static str) -> Result<bool, TextError> {
        let first = std::mem::take(&mut self.opened);
        self.blank();
        if self.take(end) {
            self.depth = self.depth.saturating_sub(1);
            return Ok(false);
        }
        if !first && !self.take(',') {
            return Err(self.unexpected(expected));
        }
        self.blank();
        Ok(true)
    }

    fn word(&mut self) -> Result<Value<'a>, TextError> {
        for (word, value) in
            [("true", Value::Boolean(true)), ("false", Value::Boolean(false)), ("null", Value::Null)]
        {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.unexpected("a value"))
    }

    /// `-1.5e+3`: RFC 8259, section 6.
    fn number(&mut self) -> Result<&'a str, TextError> {
        let start = self.at;
        self.take('-');
        let zero = self.peek() == Some('0');
        let digits = self.digits()?;
        if zero && digits > 1 {
            return Err(self.error(start, expected("a number without leading zeros", '0')));
        }
        if self.take('.') {
            self.digits()?;
        }
        if self.take('e') || self.take('E') {
            let _ = self.take('+') || self.take('-');
            self.digits()?;
        }
        Ok(self.source.get(start..self.at).unwrap_or(""))
    }

    fn digits(&mut self) -> Result<usize, TextError> {
        let rest = self.rest();
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        self.at += end;
        if end == 0 { Err(self.unexpected("a digit")) } else { Ok(end) }
    }

    fn string(&mut self) -> Result<String, TextError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let at = self.at;
            let Some(character) = self.next() else {
                return Err(self.error(start, Problem::Unterminated));
            };
            let character = match character {
                '"' => return Ok(text),
                '\\' => self.escape(at)?,
                '\0'..'\x20' => return Err(self.error(at, expected("an escape such as \\n", character))),
                other => other,
            };
            if !is_yang(character) {
                return Err(self.error(at, expected("a character that YANG has", character)));
            }
            text.push(character);
        }
    }

    fn escape(&mut self, at: usize) -> Result<char, TextError> {
        let bad = |reader: &Self| reader.error(at, expected("an escape such as \\n or \\u00e9", '\\'));
        match self.next() {
            Some(same @ ('"' | '\\' | '/')) => Ok(same),
            Some('b') => Ok('\x08'),
            Some('f') => Ok('\x0c'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => {
                let first = self.hex().ok_or_else(|| bad(self))?;
                let code = match first {
                    // The first half of a character beyond 16 bits: the second has to follow.
                    0xd800..0xdc00 if self.take('\\') && self.take('u') => {
                        let second = self.hex().filter(|second| (0xdc00..0xe000).contains(second));
                        let second = second.ok_or_else(|| bad(self))?;
                        0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    first => first,
                };
                char::from_u32(code).ok_or_else(|| bad(self))
            }
            _ => Err(bad(self)),
        }
    }

    /// Four hexadecimal digits.
    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn unexpected(&self, what: &'static str) -> TextError {
        let found = self.peek().map(|character| character.to_string());
        self.error(self.at, Problem::Unexpected { expected: what, found })
    }

    fn error(&self, at: usize, problem: Problem) -> TextError {
        TextError::new(self.source, at, problem)
    }
}

fn expected(expected: &'static str, found: char) -> Problem {
    Problem::Unexpected { expected, found: Some(found.to_string()) }
}

/// Values of one text. What a gateway prints has far fewer in a reply of the largest size (64 MiB).
const MAX_VALUES: usize = 8 << 20;
