// SPDX-License-Identifier: Apache-2.0
//! Types of leaves: what text they accept, and the value it stands for.

use super::data::Value;
use regex::Regex;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// A type with all restrictions of the typedefs it is derived from.
#[derive(Debug, Clone)]
pub struct Type {
    /// As written on the leaf, without prefix.
    pub name: String,
    /// Values must not be repeated in messages.
    pub secret: bool,
    pub(super) base: Base,
    pub(super) canonical: Option<Canonical>,
}

/// Makes the canonical form of a value.
pub(super) type Canonical = fn(&str) -> Option<String>;

#[derive(Debug, Clone)]
pub(super) enum Base {
    Integer {
        ranges: Vec<RangeInclusive<i128>>,
        /// Of 64 bits, which JSON has no numbers for (RFC 7951, section 6.1).
        wide: bool,
    },
    Text {
        lengths: Vec<RangeInclusive<i128>>,
        patterns: Vec<Pattern>,
    },
    Boolean,
    Enumeration(Vec<String>),
}

/// What values of a type are in JSON (RFC 7951, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Number,
    Boolean,
    Text,
}

/// A pattern as written, and ready to match.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    source: String,
    regex: Regex,
}

/// Text that is not of the type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a valid {name}: expected {expected}", .found.as_deref().map_or("the value (not shown)".to_string(), |found| format!("'{found}'")))]
pub struct ValueError {
    pub name: String,
    pub expected: String,
    /// Absent where the type is secret.
    pub found: Option<String>,
}

impl Type {
    /// Reads a value of this type.
    pub fn parse(&self, text: &str) -> Result<Value, ValueError> {
        let value = match &self.base {
            Base::Integer { ranges, .. } => {
                integer(text).filter(|number| within(ranges, *number)).map(Value::Integer)
            }
            Base::Boolean => match text {
                "true" => Some(Value::Boolean(true)),
                "false" => Some(Value::Boolean(false)),
                _ => None,
            },
            Base::Enumeration(names) => names.iter().find(|name| *name == text).map(|_| Value::from(text)),
            Base::Text { lengths, patterns } => {
                let fits = lengths.is_empty() || within(lengths, text.chars().count() as i128);
                (fits && patterns.iter().all(|pattern| pattern.regex.is_match(text)))
                    .then(|| Value::from(text))
            }
        };
        value.ok_or_else(|| self.error(text))
    }

    /// Whether several texts can stand for the same value of this type.
    pub(super) fn has_canonical(&self) -> bool {
        self.canonical.is_some()
    }

    /// The one of those texts that RFC 6991 prefers.
    pub(super) fn canonical<'v>(&self, value: &'v Value) -> Cow<'v, Value> {
        let canonical = self.canonical.zip(value.as_text()).and_then(|(form, text)| form(text));
        canonical.map_or(Cow::Borrowed(value), |text| Cow::Owned(Value::from(text.as_str())))
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self.base {
            Base::Integer { wide: false, .. } => Encoding::Number,
            Base::Boolean => Encoding::Boolean,
            _ => Encoding::Text,
        }
    }

    fn error(&self, text: &str) -> ValueError {
        let found = (!self.secret).then(|| text.chars().take(MAX_SHOWN).collect());
        ValueError { name: self.name.clone(), expected: self.to_string(), found }
    }
}

/// What is expected, in words.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            Base::Integer { ranges, .. } => write!(f, "a whole number in {}", Ranges(ranges)),
            Base::Boolean => write!(f, "true or false"),
            Base::Enumeration(names) => write!(f, "one of {}", names.join(", ")),
            Base::Text { lengths, patterns } => {
                write!(f, "text of type {}", self.name)?;
                if !lengths.is_empty() {
                    write!(f, " with a length in {}", Ranges(lengths))?;
                }
                // Patterns of standard types fill several lines and help nobody.
                for pattern in patterns.iter().filter(|pattern| pattern.source.len() <= MAX_SHOWN) {
                    write!(f, ", matching {}", pattern.source)?;
                }
                Ok(())
            }
        }
    }
}

impl Pattern {
    /// Takes an XSD regular expression (RFC 7950, section 9.4.5): it matches the whole value, and `^` and `$` are
    /// ordinary characters. What the two dialects write alike but mean differently is refused.
    pub(super) fn new(source: &str) -> Option<Pattern> {
        let mut rust = String::from("^(?:");
        let mut in_class = false;
        let mut previous = None;
        let mut characters = source.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' => {
                    let escaped = characters.next()?;
                    let block = matches!(escaped, 'p' | 'P') && source.contains("{Is");
                    if matches!(escaped, 'i' | 'I' | 'c' | 'C') || block {
                        return None;
                    }
                    rust.extend(['\\', escaped]);
                    previous = None;
                    continue;
                }
                '[' if in_class => return None,
                '&' | '-' | '~' if in_class && previous == Some(character) => return None,
                '[' => {
                    in_class = true;
                    rust.push('[');
                    if characters.next_if_eq(&'^').is_some() {
                        rust.push('^');
                    }
                }
                ']' => {
                    in_class = false;
                    rust.push(']');
                }
                '^' | '$' => rust.extend(['\\', character]),
                '(' if characters.peek() == Some(&'?') => return None,
                _ => rust.push(character),
            }
            previous = Some(character);
        }
        rust.push_str(")$");
        // `$` of the crate matches at the very end only, and not before a trailing newline.
        Some(Pattern { source: source.to_string(), regex: Regex::new(&rust).ok()? })
    }
}

/// The canonical form of a standard type that has one.
pub(super) fn canonical(name: &str) -> Option<Canonical> {
    Some(match name {
        "ipv4-prefix" | "ipv6-prefix" | "ip-prefix" => prefix,
        "ipv6-address-no-zone" => |text| text.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
        _ => return None,
    })
}

/// Without the bits that are not part of the prefix.
fn prefix(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    match address.parse().ok()? {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32u32.checked_sub(length)?).unwrap_or(0);
            Some(format!("{}/{length}", Ipv4Addr::from_bits(address.to_bits() & mask)))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128u32.checked_sub(length)?).unwrap_or(0);
            Some(format!("{}/{length}", Ipv6Addr::from_bits(address.to_bits() & mask)))
        }
    }
}

struct Ranges<'a>(&'a [RangeInclusive<i128>]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " or " };
            write!(f, "{separator}{}..{}", range.start(), range.end())?;
        }
        Ok(())
    }
}

fn within(ranges: &[RangeInclusive<i128>], number: i128) -> bool {
    ranges.iter().any(|range| range.contains(&number))
}

/// Decimal, hexadecimal (0x) or octal (leading 0), with an optional sign; all of the text must be a number.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (digits, radix) = if let Some(hexadecimal) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        (hexadecimal, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (digits, 8)
    } else {
        (digits, 10)
    };
    // A second sign would be taken by the conversion.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

/// Longest value or pattern that a message repeats: enough to recognise it, too short to flood a terminal.
const MAX_SHOWN: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn uint16() -> Type {
        Type {
            name: "uint16".into(),
            secret: false,
            base: Base::Integer { ranges: vec![0..=65535], wide: false },
            canonical: None,
        }
    }

    #[test]
    fn numbers_are_decimal_hexadecimal_or_octal() {
        for (text, number) in [
            ("0", 0),
            ("1304", 1304),
            ("+1304", 1304),
            ("0x10", 16),
            ("0XfF", 255),
            ("010", 8),
            ("00", 0),
            ("-0", 0),
            ("65535", 65535),
        ] {
            assert_eq!(uint16().parse(text), Ok(Value::Integer(number)), "{text}");
        }
    }

    #[test]
    fn what_only_begins_like_a_number_is_refused() {
        for text in [
            "", "abc", "1317.5", "1317x", " 1316", "1316 ", "08", "0x", "0xg", "+", "-", "+-1", "0x+1",
            "1e3", "1_0",
        ] {
            assert!(uint16().parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_outside_of_the_range_are_refused_whatever_their_size() {
        for text in ["65536", "-1", "99999999999999999999999999999999999999999999999999"] {
            assert!(uint16().parse(text).is_err(), "{text}");
        }
        assert_eq!(
            uint16().parse("65536").unwrap_err().to_string(),
            "'65536' is not a valid uint16: expected a whole number in 0..65535"
        );
    }

    #[test]
    fn patterns_match_the_whole_value() {
        let pattern = Pattern::new(r"a|b").unwrap();
        assert!(pattern.regex.is_match("a") && pattern.regex.is_match("b"));
        assert!(!pattern.regex.is_match("ab") && !pattern.regex.is_match("a\n"));
    }

    #[test]
    fn anchors_are_ordinary_characters_in_xsd() {
        assert!(Pattern::new("^a$").unwrap().regex.is_match("^a$"));
        assert!(!Pattern::new("[^/]").unwrap().regex.is_match("/"));
        assert!(Pattern::new("[$^]+").unwrap().regex.is_match("^$"));
    }

    #[test]
    fn patterns_that_would_mean_something_else_are_refused() {
        for source in [r"\i\c*", r"[a-z-[aeiou]]", r"\p{IsBasicLatin}", r"[a&&b]", "(?i)a", "a\\"] {
            assert!(Pattern::new(source).is_none(), "{source}");
        }
    }

    #[test]
    fn a_secret_value_is_not_repeated() {
        let patterns = vec![Pattern::new("[0-9]+").unwrap()];
        let key = Type {
            name: "key".into(),
            secret: true,
            base: Base::Text { lengths: vec![], patterns },
            canonical: None,
        };
        let message = key.parse("swordfish").unwrap_err().to_string();
        assert!(!message.contains("swordfish") && message.contains("key"), "{message}");
    }
}
