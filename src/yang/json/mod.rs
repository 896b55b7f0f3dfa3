// SPDX-License-Identifier: Apache-2.0
//! Data as JSON (RFC 7951), so that other tools of the YANG world can make and check it.
//!
//! ```text
//!   text ── syntax ──► values with their places ── bind ──► data ── print ──► text
//! ```
//!
//! What stands at a path is an object with one member, named after the node and its module, as in RESTCONF
//! (RFC 8040, section 3.5.3); a list entry is a list of one, with its keys. The root is the object of its members.
//!
//! ```text
//!   /mtu                  { "example:mtu": 1440 }
//!   /route4[id=tokyo]     { "example:route4": [ { "id": "tokyo", "spi": 1234 } ] }
//! ```
//!
//! Limits: annotations (RFC 7952) are not read. Of the encodings of RFC 7951, those of the types that this room
//! knows.

mod bind;
mod print;
mod syntax;

use super::data::Data;
use super::edit::Found;
use super::path::Path;
use super::print::Shown;
use super::syntax::BYTE_ORDER_MARK;
use super::text::TextError;

/// Whether a value is JSON: a brace and a quoted name, which no text begins with, or an empty object, which as text is
/// at most an entry without its key.
pub fn is_json(source: &str) -> bool {
    let blank = [' ', '\t', '\n', '\r'];
    let object = unmarked(source)
        .trim_matches(blank)
        .strip_prefix('{')
        .map(|members| members.trim_start_matches(blank));
    object.is_some_and(|members| members.starts_with('"') || members == "}")
}

/// The text without a byte-order mark, which a reader of JSON may ignore (RFC 8259, section 8.1).
pub fn unmarked(source: &str) -> &str {
    source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source)
}

/// Reads the value of what a path leads to. That of a list entry includes its keys.
pub fn read(module: &str, path: &Path, source: &str) -> Result<Data, TextError> {
    bind::read(module, path, source)
}

/// Prints what was found at a path.
pub(super) fn print(module: &str, path: &Path, found: Found, shown: Shown) -> String {
    print::print(module, path, found, shown)
}
