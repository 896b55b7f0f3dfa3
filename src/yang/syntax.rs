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
use crate::yang::cursor::Cursor;
use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

/// `keyword value;` or `keyword {`
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub keyword: &'a str,
    /// Byte offset of the keyword.
    pub at: usize,
    /// Whether white space or a comment follows the keyword.
    pub spaced: bool,
    pub body: Body<'a>,
}

#[derive(Debug)]
pub(super) enum Body<'a> {
    Value(Word<'a>),
    /// The statements in braces are the next ones, up to [`Reader::close`].
    Block,
}

/// A value, unquoted, and the byte offset where it stands.
#[derive(Debug)]
pub(super) struct Word<'a> {
    pub text: Cow<'a, str>,
    pub at: usize,
}

/// What separates tokens.
pub(super) fn is_white(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// What ends an unquoted word.
pub(super) fn is_special(character: char) -> bool {
    matches!(character, ';' | '{' | '}' | '"' | '\'')
}

/// Whether a string of YANG may contain the character (RFC 7950, section 14, yang-char).
pub(super) fn is_yang(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\0'..' ' => false,
        '\u{fdd0}'..='\u{fdef}' => false,
        other => u32::from(other) & 0xfffe != 0xfffe,
    }
}

/// Reads a text from its beginning to its end, one statement at a time, and keeps nothing of what it has read. So
/// the memory that a text takes is that of the data in it, and the time is proportional to its length.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    cursor: Cursor<'a>,
    /// Blocks that are open.
    depth: usize,
    /// Statements read so far.
    statements: usize,
    /// A place and its column, so that no line is measured more than once.
    measured: (usize, usize),
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
        let mark = if source.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        Reader { cursor: Cursor { source, at: mark }, depth: 0, statements: 0, measured: (mark, 0) }
    }

    /// The next statement of the innermost block, or nothing before a '}' or the end of the text.
    pub(super) fn statement(&mut self) -> Result<Option<Item<'a>>, TextError> {
        self.blank()?;
        // Files that were put together have the marks of each in the middle.
        while self.peek() == Some(BYTE_ORDER_MARK) {
            self.at += BYTE_ORDER_MARK.len_utf8();
            self.blank()?;
        }
        if matches!(self.peek(), None | Some('}')) {
            return Ok(None);
        }
        let at = self.at;
        self.count(at)?;
        let keyword =
            self.take_while(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
        if !keyword.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            self.at = at;
            return Err(self.unexpected("the name of a node"));
        }
        let spaced = self.blank()?;
        let body = if self.peek() == Some('{') {
            self.open()?;
            Body::Block
        } else if spaced {
            let word = self.value()?;
            self.blank()?;
            self.require(';', "';'")?;
            Body::Value(word)
        } else {
            return Err(self.unexpected("white space after the name of a node"));
        };
        Ok(Some(Item { keyword, at, spaced, body }))
    }

    /// The byte offset of the next '{' without a keyword, which opens a block, or nothing before anything else.
    pub(super) fn group(&mut self) -> Result<Option<usize>, TextError> {
        self.blank()?;
        if self.peek() != Some('{') {
            return Ok(None);
        }
        let at = self.at;
        self.count(at)?;
        self.open()?;
        Ok(Some(at))
    }

    /// Ends the innermost block, all statements of which have been read.
    pub(super) fn close(&mut self) -> Result<(), TextError> {
        self.require('}', "'}'")?;
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    /// Reads the rest of the innermost block and ends it.
    pub(super) fn skip(&mut self) -> Result<(), TextError> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            if self.statement()?.is_none() {
                self.close()?;
            }
        }
        Ok(())
    }

    /// The whole text as one value, without semicolon.
    pub(super) fn only_value(&mut self) -> Result<Word<'a>, TextError> {
        self.blank()?;
        let word = self.value()?;
        self.blank()?;
        self.end()?;
        Ok(word)
    }

    /// The next value of a text that is a sequence of them, or nothing at its end. A semicolon may follow each.
    pub(super) fn one_of_values(&mut self) -> Result<Option<Word<'a>>, TextError> {
        self.blank()?;
        if self.peek().is_none() {
            return Ok(None);
        }
        self.count(self.at)?;
        let word = self.value()?;
        let spaced = self.blank()?;
        if self.peek() == Some(';') {
            self.at += 1;
        } else if !spaced && self.peek().is_some() {
            return Err(self.unexpected("white space between values"));
        }
        Ok(Some(word))
    }

    fn open(&mut self) -> Result<(), TextError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.error(Problem::TooDeep)) } else { Ok(()) }
    }

    fn count(&mut self, at: usize) -> Result<(), TextError> {
        self.statements += 1;
        if self.statements <= MAX_STATEMENTS {
            return Ok(());
        }
        Err(TextError::new(self.source, at, Problem::TooMany { limit: MAX_STATEMENTS }))
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

    /// An error unless all of the text has been read.
    pub(super) fn end(&self) -> Result<(), TextError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.unexpected("the end of the text")) }
    }

    /// Width of the line before a place. Places are asked for in the order of the text.
    fn column(&mut self, at: usize) -> usize {
        let (from, column) = self.measured;
        let between = self.source.get(from..at).unwrap_or("");
        let column = between.chars().fold(column, |width, character| match character {
            '\n' => 0,
            '\t' => width + TAB - width % TAB,
            _ => width + 1,
        });
        self.measured = (at, column);
        column
    }

    fn unexpected(&self, expected: &'static str) -> TextError {
        let found = self.peek().map(|character| character.to_string());
        self.error(Problem::Unexpected { expected, found })
    }

    fn error(&self, problem: Problem) -> TextError {
        TextError::new(self.source, self.at, problem)
    }
}

/// Unicode 3.0 and older call it zero width no-break space; at the beginning of a file it tells an encoding.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';
/// Statements of one text. Printed by a gateway, so many fill a reply of the largest size (64 MiB) twice over.
const MAX_STATEMENTS: usize = 8 << 20;
/// Width of a tab stop (RFC 7950, section 6.1.3).
const TAB: usize = 8;
