// SPDX-License-Identifier: Apache-2.0
//! The statements of a YANG module (RFC 7950, section 6.3), without interpretation.

use super::MAX_DEPTH;
use super::schema::SchemaError;
use yang_rs::parser::{Parser, Token};

/// `keyword argument { children }`
#[derive(Debug, Clone)]
pub struct Statement {
    pub keyword: String,
    /// Empty where the keyword takes none.
    pub argument: String,
    pub children: Vec<Statement>,
    pub line: usize,
}

impl Statement {
    /// Parses a module, which is one statement.
    pub fn parse(source: &str) -> Result<Self, SchemaError> {
        let mut parser = Parser::new(source.to_string());
        let module = match parser.get_token() {
            Ok(Token::Identifier(keyword)) => parse(&mut parser, keyword, 0)?,
            other => return Err(unexpected(&parser, &other, "module")),
        };
        match parser.get_token() {
            Ok(Token::EndOfInput) => Ok(module),
            other => Err(unexpected(&parser, &other, "the end of the module")),
        }
    }

    /// The first child of that kind.
    pub fn child(&self, keyword: &str) -> Option<&Statement> {
        self.children.iter().find(|child| child.keyword == keyword)
    }

    /// The argument of the first child of that kind.
    pub fn argument_of(&self, keyword: &str) -> Option<&str> {
        self.child(keyword).map(|child| child.argument.as_str())
    }

    /// All children of that kind.
    pub fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a Statement> {
        self.children.iter().filter(move |child| child.keyword == keyword)
    }

    /// Refuses children of any other kind, apart from those that only document.
    pub fn allow(&self, keywords: &[&str]) -> Result<(), SchemaError> {
        let known = |keyword: &str| keywords.contains(&keyword) || DOCUMENTATION.contains(&keyword);
        match self.children.iter().find(|child| !known(&child.keyword)) {
            Some(child) => Err(SchemaError::Unsupported {
                line: child.line,
                what: format!("{} in {} {}", child.keyword, self.keyword, self.argument),
            }),
            None => Ok(()),
        }
    }

    /// An error about the argument of this statement.
    pub fn bad_argument(&self) -> SchemaError {
        SchemaError::BadArgument {
            line: self.line,
            keyword: self.keyword.clone(),
            argument: self.argument.clone(),
        }
    }
}

fn parse(parser: &mut Parser, keyword: String, depth: usize) -> Result<Statement, SchemaError> {
    let line = parser.line() + 1;
    if depth > MAX_DEPTH {
        return Err(SchemaError::TooDeep { line });
    }
    let mut statement = Statement { keyword, argument: String::new(), children: Vec::new(), line };
    let mut token = parser.get_token();
    if let Ok(Token::Identifier(word) | Token::QuotedString(word)) = token {
        statement.argument = word;
        token = parser.get_token();
    }
    match token {
        Ok(Token::StatementEnd) => return Ok(statement),
        Ok(Token::BlockBegin) => {}
        other => return Err(unexpected(parser, &other, "';' or '{'")),
    }
    loop {
        match parser.get_token() {
            Ok(Token::BlockEnd) => return Ok(statement),
            Ok(Token::Identifier(keyword)) if !keyword.is_empty() => {
                statement.children.push(parse(parser, keyword, depth + 1)?);
            }
            other => return Err(unexpected(parser, &other, "a statement or '}'")),
        }
    }
}

fn unexpected(
    parser: &Parser,
    found: &Result<Token, yang_rs::error::YangError>,
    expected: &'static str,
) -> SchemaError {
    SchemaError::Syntax { line: parser.line() + 1, expected, found: format!("{found:?}") }
}

/// Statements that carry no rule for data.
const DOCUMENTATION: [&str; 8] =
    ["description", "reference", "status", "units", "organization", "contact", "revision", "presence"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_quotes_and_concatenation() {
        let module =
            Statement::parse("module a { /* c */ prefix 'p'; b \"x\" + 'y' { c; } // d\n c 'one two'; }")
                .unwrap();
        let seen: Vec<_> =
            module.children.iter().map(|child| (child.keyword.as_str(), child.argument.as_str())).collect();
        assert_eq!(seen, [("prefix", "p"), ("b", "xy"), ("c", "one two")]);
    }

    #[test]
    fn malformed_modules_are_errors() {
        for source in
            ["", "module", "module a", "module a {", "module a { b }", "module a { } x", "module a { */ }"]
        {
            assert!(Statement::parse(source).is_err(), "{source:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let source = "a {".repeat(100_000);
        assert!(matches!(Statement::parse(&source), Err(SchemaError::TooDeep { .. })));
    }
}
