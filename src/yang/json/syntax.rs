// SPDX-License-Identifier: Apache-2.0
//! The grammar of JSON (RFC 8259), with the places of its values.

use crate::yang::MAX_DEPTH;
use crate::yang::syntax::is_yang;
use crate::yang::text::{Problem, TextError};

/// A value, and the byte offset where it begins.
#[derive(Debug)]
pub struct Json<'a> {
    pub at: usize,
    pub value: Value<'a>,
}

#[derive(Debug)]
pub enum Value<'a> {
    /// In the order of the text; a name may be there twice.
    Object(Vec<Member<'a>>),
    Array(Vec<Json<'a>>),
    Text(String),
    /// As written.
    Number(&'a str),
    Boolean(bool),
    Null,
}

#[derive(Debug)]
pub struct Member<'a> {
    pub name: String,
    /// Where the name begins.
    pub at: usize,
    pub value: Json<'a>,
}

/// Text that is one value.
pub fn parse(source: &str) -> Result<Json<'_>, TextError> {
    let mut reader = Reader { source, at: 0 };
    reader.blank();
    let value = reader.value(0)?;
    reader.blank();
    match reader.rest() {
        "" => Ok(value),
        _ => Err(reader.unexpected("the end of the text")),
    }
}

struct Reader<'a> {
    source: &'a str,
    /// Byte offset, always at the beginning of a character.
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Json<'a>, TextError> {
        if depth > MAX_DEPTH {
            return Err(self.error(self.at, Problem::TooDeep));
        }
        let at = self.at;
        let value = match self.peek() {
            Some('{') => Value::Object(self.sequence('}', |reader| reader.member(depth))?),
            Some('[') => Value::Array(self.sequence(']', |reader| reader.value(depth + 1))?),
            Some('"') => Value::Text(self.string()?),
            Some('-' | '0'..='9') => Value::Number(self.number()?),
            _ => self.word()?,
        };
        Ok(Json { at, value })
    }

    /// Elements with commas in between, in brackets.
    fn sequence<T>(
        &mut self,
        end: char,
        mut element: impl FnMut(&mut Self) -> Result<T, TextError>,
    ) -> Result<Vec<T>, TextError> {
        let mut elements = Vec::new();
        self.at += 1;
        self.blank();
        if self.take(end) {
            return Ok(elements);
        }
        loop {
            elements.push(element(self)?);
            self.blank();
            if self.take(end) {
                return Ok(elements);
            }
            if !self.take(',') {
                return Err(self.unexpected(if end == '}' { "',' or '}'" } else { "',' or ']'" }));
            }
            self.blank();
        }
    }

    fn member(&mut self, depth: usize) -> Result<Member<'a>, TextError> {
        let at = self.at;
        if self.peek() != Some('"') {
            return Err(self.unexpected("the name of a member, in double quotes"));
        }
        let name = self.string()?;
        self.blank();
        if !self.take(':') {
            return Err(self.unexpected("':'"));
        }
        self.blank();
        Ok(Member { name, at, value: self.value(depth + 1)? })
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

    fn take(&mut self, character: char) -> bool {
        let there = self.peek() == Some(character);
        self.at += if there { character.len_utf8() } else { 0 };
        there
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or("")
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
