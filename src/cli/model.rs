// SPDX-License-Identifier: Apache-2.0
//! `--config-help`: the model of configuration and state as a tree to read, made from the YANG module
//! that the gateway itself checks configurations against.
//!
//! ```text
//!   route4* [id]
//!       What is known of another site.
//!     gateway* [ip]
//!       queue                 queue (default 1)
//! ```

use std::fmt::Write;

use crate::yang::schema::SchemaError;
use crate::yang::statement::Statement;

/// The tree of the data nodes of `module`, then its types.
///
/// The module is part of the program, so an error is never about input.
pub(super) fn describe(module: &str) -> Result<String, SchemaError> {
    let module = Statement::parse(module)?;
    let mut page = Page { module: &module, text: String::new() };
    page.wrapped(
        0,
        &format!("{}: {}", module.argument, module.argument_of("description").unwrap_or_default()),
    );
    page.text.push_str(LEGEND);
    page.nodes(&module, 0);
    page.text.push_str("\n# Types\n");
    for typedef in module.children.iter().filter(|child| child.keyword == "typedef") {
        page.typedef(typedef);
    }
    Ok(page.text)
}

struct Page<'a> {
    module: &'a Statement,
    text: String,
}

impl<'a> Page<'a> {
    fn nodes(&mut self, parent: &Statement, depth: usize) {
        for child in &parent.children {
            match child.keyword.as_str() {
                "leaf" | "leaf-list" => self.leaf(child, depth),
                "container" | "list" => self.branch(child, depth),
                "choice" => self.choice(child, depth),
                "uses" => {
                    if let Some(grouping) = self.grouping(&child.argument) {
                        self.nodes(grouping, depth);
                    }
                }
                _ => {}
            }
        }
    }

    fn leaf(&mut self, leaf: &Statement, depth: usize) {
        let name = format!("{:indent$}{}", "", leaf.argument, indent = depth * STEP);
        let mut notes = leaf.child("type").map(constraint).unwrap_or_default();
        notes.extend(leaf.argument_of("units").map(str::to_owned));
        notes.extend(leaf.argument_of("default").map(|default| format!("default {default}")));
        notes.extend((leaf.argument_of("mandatory") == Some("true")).then(|| "required".to_owned()));
        self.line(&format!("{name:TYPE_COLUMN$} {}", notes.join(", ")));
        self.description(leaf, depth);
    }

    fn branch(&mut self, branch: &Statement, depth: usize) {
        let mut heading = format!("{:indent$}{}", "", branch.argument, indent = depth * STEP);
        if branch.keyword == "list" {
            let _ = write!(heading, "* [{}]", branch.argument_of("key").unwrap_or_default());
        }
        if branch.argument_of("config") == Some("false") {
            heading.push_str("    (state, read with get-state)");
        }
        self.text.push('\n');
        self.line(&heading);
        self.description(branch, depth);
        self.nodes(branch, depth + 1);
    }

    /// Choices and cases are not nodes of the data, so they do not indent.
    fn choice(&mut self, choice: &Statement, depth: usize) {
        let indent = depth * STEP;
        for (index, case) in
            choice.children.iter().filter(|child| CASES.contains(&child.keyword.as_str())).enumerate()
        {
            let word = if index == 0 { "either" } else { "or" };
            if depth == 0 {
                self.text.push('\n');
            }
            self.line(&format!("{:indent$}# {word} {}:", "", case.argument));
            match case.keyword.as_str() {
                "case" => self.nodes(case, depth),
                "container" | "list" => self.branch(case, depth),
                _ => self.leaf(case, depth),
            }
        }
        if depth == 0 {
            self.text.push('\n');
        }
        self.line(&format!("{:indent$}# in any case:", ""));
    }

    fn typedef(&mut self, typedef: &Statement) {
        let notes = typedef.child("type").map(constraint).unwrap_or_default();
        self.line(&format!("{:TYPE_COLUMN$} {}", typedef.argument, notes.join(", ")));
        self.description(typedef, 0);
    }

    fn description(&mut self, node: &Statement, depth: usize) {
        if let Some(description) = node.argument_of("description") {
            self.wrapped(depth * STEP + 2 * STEP, description);
        }
    }

    fn grouping(&self, name: &str) -> Option<&'a Statement> {
        let name = name.rsplit(':').next()?;
        self.module.children.iter().find(|child| child.keyword == "grouping" && child.argument == name)
    }

    fn wrapped(&mut self, indent: usize, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && indent + line.len() + 1 + word.len() > WIDTH {
                self.line(&format!("{:indent$}{line}", ""));
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        self.line(&format!("{:indent$}{line}", ""));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// A type and what restricts it, in words.
fn constraint(kind: &Statement) -> Vec<String> {
    let mut notes = vec![kind.argument.rsplit(':').next().unwrap_or_default().to_owned()];
    for restriction in &kind.children {
        match restriction.keyword.as_str() {
            "range" => notes.push(restriction.argument.clone()),
            "length" => notes.push(format!("length {}", restriction.argument)),
            "pattern" => notes.push(format!("matching {}", restriction.argument)),
            "enum" => notes.push(format!("\"{}\"", restriction.argument)),
            _ => {}
        }
    }
    notes
}

const LEGEND: &str = "
Below, name* [key] is a list, whose entries are addressed as name[key=value]; key leaves are required.
\"required\" applies where the node around it is present. Lines with # are not part of the data.
";
const CASES: [&str; 5] = ["case", "container", "list", "leaf", "leaf-list"];
const STEP: usize = 2;
const TYPE_COLUMN: usize = 32;
const WIDTH: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = r#"
        module toy { namespace "t"; prefix t;
          description "A toy."; // comment
          typedef small { type uint8 { range "1..9"; } description "Fits a digit."; }
          grouping where { leaf place { type string { pattern '[a-z]+'; } mandatory true; } }
          choice way { case road { container car { uses t:where; } } leaf foot { type boolean; } }
          list stop { key name; leaf name { type string; } leaf wait { type small; default 3; units minutes; } }
          container log { config false; description "Where it
             was."; }
        }"#;

    #[test]
    fn a_module_becomes_a_tree() {
        let text = describe(MODULE).unwrap();
        let tree = text.split_once(LEGEND).unwrap().1;
        let expected = "
# either road:

car
  place                          string, matching [a-z]+, required

# or foot:
foot                             boolean

# in any case:

stop* [name]
  name                           string
  wait                           small, minutes, default 3

log    (state, read with get-state)
    Where it was.

# Types
small                            uint8, 1..9
    Fits a digit.
";
        assert_eq!(tree, expected, "{text}");
        assert!(text.starts_with("toy: A toy.\n"));
    }

    #[test]
    fn text_that_is_no_module_is_not_described() {
        assert!(describe("").is_err());
        assert!(describe("module a { leaf").is_err());
    }
}
