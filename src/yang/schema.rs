// SPDX-License-Identifier: Apache-2.0
//! The schema: which nodes there are, of which type, under which rules.
//!
//! Choices and cases are not nodes of the data tree. Members of a case are members of the node around the choice;
//! each remembers to which cases it belongs.

mod build;

use super::data::Value;
use super::types::Type;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A module, compiled.
#[derive(Debug)]
pub struct Schema {
    pub name: String,
    pub root: Members,
    pub rpcs: BTreeMap<String, Rpc>,
    /// Paths of leaves, without keys, whose measurement in InfluxDB is called by the name of the leaf alone.
    pub(super) series: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Rpc {
    pub input: Members,
    pub output: Members,
}

/// The children of a node, sorted by name.
#[derive(Debug, Default)]
pub struct Members {
    nodes: BTreeMap<Arc<str>, Node>,
}

#[derive(Debug)]
pub struct Node {
    pub name: Arc<str>,
    pub kind: Kind,
    /// False for state.
    pub config: bool,
    /// The choices that lead to this node and the case taken in each, outermost first.
    pub cases: Vec<Case>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub choice: Arc<str>,
    pub case: Arc<str>,
}

#[derive(Debug)]
pub enum Kind {
    Leaf(Leaf),
    LeafList(Arc<Type>),
    Container(Members),
    List(List),
}

#[derive(Debug)]
pub struct Leaf {
    pub kind: Arc<Type>,
    pub default: Option<Value>,
    pub mandatory: bool,
}

#[derive(Debug)]
pub struct List {
    pub keys: Vec<Arc<str>>,
    /// Each a set of leaves that no two entries have in common.
    pub unique: Vec<Vec<Arc<str>>>,
    pub min_elements: usize,
    pub members: Members,
}

/// Why a module cannot be compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("YANG line {line}: expected {expected}, found {found}")]
    Syntax { line: usize, expected: &'static str, found: String },
    #[error("YANG line {line}: nested too deeply")]
    TooDeep { line: usize },
    #[error("YANG line {line}: {what} is not supported")]
    Unsupported { line: usize, what: String },
    #[error("YANG line {line}: bad argument '{argument}' of {keyword}")]
    BadArgument { line: usize, keyword: String, argument: String },
    #[error("YANG line {line}: {keyword} '{argument}' is defined nowhere")]
    Undefined { line: usize, keyword: &'static str, argument: String },
    #[error("YANG line {line}: '{name}' is defined twice")]
    Duplicate { line: usize, name: String },
    #[error("YANG line {line}: {parent} needs a {keyword} statement")]
    Missing { line: usize, parent: String, keyword: &'static str },
}

impl Schema {
    /// Compiles a module, given its text and that of every module it imports. Values of a type in `secret` are
    /// kept out of messages.
    pub fn compile(module: &str, imports: &[&str], secret: &[&str]) -> Result<Schema, SchemaError> {
        build::compile(module, imports, secret)
    }

    /// The same with these leaves, given by their paths without keys, as measurements that are called by the name of
    /// the leaf alone. Others are called by their path, because leaves in different places share a name.
    pub fn with_series(mut self, leaves: &[&str]) -> Schema {
        self.series = leaves.iter().map(|path| path.to_string()).collect();
        self
    }
}

impl Members {
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The leaf of that name.
    pub fn leaf(&self, name: &str) -> Option<&Leaf> {
        match &self.node(name)?.kind {
            Kind::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }
}

impl Node {
    /// The first choice in which the two took different cases, and these cases.
    pub fn conflict<'a>(&'a self, other: &'a Node) -> Option<(&'a Case, &'a Case)> {
        let same_choice = |(a, b): &(&Case, &Case)| a.choice == b.choice;
        self.cases.iter().zip(&other.cases).take_while(same_choice).find(|(a, b)| a.case != b.case)
    }
}
