// SPDX-License-Identifier: Apache-2.0
//! The grammar of the textual form, independent of any schema.
//!
//! ```text
//! statement := keyword blank value ';'  |  keyword [blank] '{' statement* '}'
//! value     := word  |  quoted ( [blank] '+' [blank] quoted )*
//! blank     := white space, '/* comments */', '// comments'
//! ```

use super::MAX_DEPTH;
use super::text::{Problem, TextError};
use std::borrow::Cow;

/// `keyword value;` or `keyword { ... }`
#[derive(Debug)]
pub struct Item<'a> {
    pub keyword: &'a str,
    /// Byte offset of the keyword.
    pub at: usize,
    /// Whether white space or a comment follows the keyword.
    pub spaced: bool,
    pub body: Body<'a>,
}

#[derive(Debug)]
pub enum Body<'a> {
    Value(Word<'a>),
    Block(Vec<Item<'a>>),
}

/// A value, unquoted, and the byte offset where it stands.
#[derive(Debug)]
pub struct Word<'a> {
    pub text: Cow<'a, str>,
    pub at: usize,
}

/// `{ ... }` without keyword, and the byte offset where it stands.
#[derive(Debug)]
pub struct Group<'a> {
    pub at: usize,
    pub items: Vec<Item<'a>>,
}

/// Text that is a sequence of statements.
pub fn statements(source: &str) -> Result<Vec<Item<'_>>, TextError> {
    let mut reader = Reader { source, at: 0 };
    let items = reader.items(0)?;
    reader.end()?;
    Ok(items)
}

/// Text that is one value, without semicolon.
pub fn value(source: &str) -> Result<Word<'_>, TextError> {
    let mut reader = Reader { source, at: 0 };
    reader.blank()?;
    let word = reader.value()?;
    reader.blank()?;
    reader.end()?;
    Ok(word)
}

/// Text that is a sequence of groups.
pub fn groups(source: &str) -> Result<Vec<Group<'_>>, TextError> {
    let mut reader = Reader { source, at: 0 };
    let mut groups = Vec::new();
    reader.blank()?;
    while reader.peek() == Some('{') {
        let at = reader.at;
        reader.at += 1;
        let items = reader.items(1)?;
        reader.require('}', "'}'")?;
        groups.push(Group { at, items });
        reader.blank()?;
    }
    reader.end()?;
    Ok(groups)
}

/// What separates tokens.
pub fn is_white(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// What ends an unquoted word.
pub fn is_special(character: char) -> bool {
    matches!(character, ';' | '{' | '}' | '"' | '\'')
}

/// Whether a string of YANG may contain the character (RFC 7950, section 14, yang-char).
pub fn is_yang(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\0'..' ' => false,
        '\u{fdd0}'..='\u{fdef}' => false,
        other => u32::from(other) & 0xfffe != 0xfffe,
    }
}

struct Reader<'a> {
    source: &'a str,
    /// Byte offset, always at the beginning of a character.
    at: usize,
}

impl<'a> Reader<'a> {
    /// Statements up to a '}' or the end, neither of which is consumed.
    fn items(&mut self, depth: usize) -> Result<Vec<Item<'a>>, TextError> {
        if depth > MAX_DEPTH {
            return Err(self.error(Problem::TooDeep));
        }
        let mut items = Vec::new();
        loop {
            self.blank()?;
            if matches!(self.peek(), None | Some('}')) {
                return Ok(items);
            }
            items.push(self.item(depth)?);
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item<'a>, TextError> {
        let at = self.at;
        let keyword =
            self.take_while(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
        if !keyword.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            self.at = at;
            return Err(self.unexpected("the name of a node"));
        }
        let spaced = self.blank()?;
        let body = if self.peek() == Some('{') {
            self.at += 1;
            let items = self.items(depth + 1)?;
            self.require('}', "'}'")?;
            Body::Block(items)
        } else if spaced {
            let word = self.value()?;
            self.blank()?;
            self.require(';', "';'")?;
            Body::Value(word)
        } else {
            return Err(self.unexpected("white space after the name of a node"));
        };
        Ok(Item { keyword, at, spaced, body })
    }

    fn value(&mut self) -> Result<Word<'a>, TextError> {
        let at = self.at;
        if !matches!(self.peek(), Some('"' | '\'')) {
            let text = self.word()?;
            return Ok(Word { text: Cow::Borrowed(text), at });
        }
        let mut text = self.quoted()?;
        loop {
            let before = self.at;
            self.blank()?;
            if self.peek() != Some('+') {
                self.at = before;
                return Ok(Word { text, at });
            }
            self.at += 1;
            self.blank()?;
            if !matches!(self.peek(), Some('"' | '\'')) {
                return Err(self.unexpected("a quoted string after '+'"));
            }
            text.to_mut().push_str(&self.quoted()?);
        }
    }

    /// An unquoted value. A slash is part of it unless it begins a comment.
    fn word(&mut self) -> Result<&'a str, TextError> {
        if self.peek() == Some('/') {
            // Other readers of this syntax take it for a comment.
            return Err(self.unexpected("a value (one that begins with '/' must be quoted)"));
        }
        let rest = self.rest();
        let mut end =
            rest.find(|character| is_white(character) || is_special(character)).unwrap_or(rest.len());
        for comment in ["//", "/*"] {
            end = rest[..end].find(comment).unwrap_or(end);
        }
        match rest.get(..end) {
            Some(word) if end > 0 => {
                self.at += end;
                Ok(word)
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    /// One quoted string. Escapes exist between double quotes only; an unknown one stands for itself.
    fn quoted(&mut self) -> Result<Cow<'a, str>, TextError> {
        let start = self.at;
        let quote = self.next().unwrap_or('"');
        let body = self.rest();
        if let Some(end) = body.find([quote, '\n', '\\'])
            && body[end..].starts_with(quote)
        {
            self.at += end + 1;
            return Ok(Cow::Borrowed(&body[..end]));
        }
        let margin = self.column(start);
        let mut text = String::new();
        loop {
            match self.next() {
                Some(character) if character == quote => return Ok(Cow::Owned(text)),
                Some('\n') => {
                    text.push('\n');
                    text.push_str(&self.indentation_beyond(margin));
                }
                Some('\\') if quote == '"' => match self.peek() {
                    Some('n') => self.escape(&mut text, '\n'),
                    Some('t') => self.escape(&mut text, '\t'),
                    Some('"') => self.escape(&mut text, '"'),
                    Some('\\') => self.escape(&mut text, '\\'),
                    _ => text.push('\\'),
                },
                Some(character) => text.push(character),
                None => return Err(TextError::new(self.source, start, Problem::Unterminated)),
            }
        }
    }

    fn escape(&mut self, text: &mut String, character: char) {
        self.at += 1;
        text.push(character);
    }

    /// Consumes leading blanks of a line; those before the margin are layout, the others are returned.
    fn indentation_beyond(&mut self, margin: usize) -> String {
        let mut width = 0;
        while width < margin {
            match self.peek() {
                Some(' ') => width += 1,
                Some('\t') => width += TAB - width % TAB,
                _ => break,
            }
            self.at += 1;
        }
        " ".repeat(width.saturating_sub(margin))
    }

    /// Consumes white space and comments; whether there were any.
    fn blank(&mut self) -> Result<bool, TextError> {
        let start = self.at;
        loop {
            let before = self.at;
            self.take_while(is_white);
            if self.rest().starts_with("//") {
                self.take_while(|character| character != '\n');
            } else if let Some(comment) = self.rest().strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return Err(self.error(Problem::Unterminated)),
                }
            }
            if self.at == before {
                return Ok(self.at > start);
            }
        }
    }

    fn require(&mut self, character: char, expected: &'static str) -> Result<(), TextError> {
        if self.peek() == Some(character) {
            self.at += character.len_utf8();
            return Ok(());
        }
        Err(self.unexpected(expected))
    }

    fn end(&self) -> Result<(), TextError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.unexpected("the end of the text")) }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !wanted(character)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
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

    /// Characters between the beginning of the line and a place in it.
    fn column(&self, at: usize) -> usize {
        let before = self.source.get(..at).unwrap_or("");
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        before[line..].chars().fold(0, |width, character| match character {
            '\t' => width + TAB - width % TAB,
            _ => width + 1,
        })
    }

    fn unexpected(&self, expected: &'static str) -> TextError {
        let found = self.peek().map(|character| character.to_string());
        self.error(Problem::Unexpected { expected, found })
    }

    fn error(&self, problem: Problem) -> TextError {
        TextError::new(self.source, self.at, problem)
    }
}

/// Width of a tab stop (RFC 7950, section 6.1.3).
const TAB: usize = 8;
