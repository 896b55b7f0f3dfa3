// SPDX-License-Identifier: Apache-2.0
//! A place in a text that is read, for the readers of both formats.

/// The place of the next character.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub(super) source: &'a str,
    /// Byte offset, always at the beginning of a character.
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(source: &'a str) -> Cursor<'a> {
        Cursor { source, at: 0 }
    }

    /// The rest of the text.
    pub(super) fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or("")
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    /// Goes on if the next character is this one. Whether it was.
    pub(super) fn take(&mut self, character: char) -> bool {
        let is_there = self.peek() == Some(character);
        self.at += if is_there { character.len_utf8() } else { 0 };
        is_there
    }

    /// The characters from here on that are wanted.
    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !wanted(character)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}
