// SPDX-License-Identifier: Apache-2.0
//! Paths: `/route4[id=a]/gateway[ip=192.0.2.1]/queue`.
//!
//! The leading slash may be left out, and repeated or trailing slashes mean nothing. What stands in brackets is
//! taken literally, slashes and dots included. Choices and cases are no elements of a path, and key leaves have
//! none of their own.
//!
//! A value of a leaf-list is named by itself: `/route4[id=a]/additional-net[.='192.0.2.0/24']` (RFC 7950, section
//! 9.13). There the quotes may be left out.

use super::MAX_DEPTH;
use super::data::{Key, Value};
use super::schema::{Kind, List, Members, Node};
use super::types::{Type, ValueError};
use std::fmt;
use std::sync::Arc;

/// A path that leads to a node of the schema.
#[derive(Debug)]
pub struct Path<'s> {
    pub steps: Vec<Step>,
    /// For each step, which of its keys have their default value.
    pub(super) defaults: Vec<Vec<Arc<str>>>,
    pub target: Target<'s>,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy)]
pub enum Target<'s> {
    Root(&'s Members),
    Node(&'s Node),
    /// One entry of a list; its key is in the last step.
    Entry(&'s List),
    /// One value of a leaf-list; it is the key in the last step.
    Value(&'s Node),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub name: Arc<str>,
    /// Names of key leaves and their values, in the order of the list's key statement. Of a value of a leaf-list, the
    /// name is `SELF`.
    pub key: Option<(Vec<Arc<str>>, Key)>,
}

/// The first line of a message is the one that deployed clients have for the same fault; a second one says more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("Syntax error in path '{0}': expected name or name[key=value]")]
    Syntax(String),
    #[error("Invalid path: Struct has no field named '{name}'.\n{place} has {expected}")]
    NoSuchNode { place: String, name: String, expected: String },
    #[error("Invalid path: Invalid path.\n{place} is a leaf: it has no field named '{name}'")]
    InLeaf { place: String, name: String },
    #[error("Invalid path: Invalid path.\n{place} is a list: name the entry by [{keys}=...]")]
    InList { place: String, keys: String },
    #[error(
        "Invalid path: Path query parameters only supported for structs and tables.\n\
         {place} is not a list, so it has no entries to choose by [{key}=...]"
    )]
    NotAList { place: String, key: String },
    #[error("Invalid path: '{name}' is not a table key\nThe keys of {place} are {expected}, each given once")]
    NotAKey { place: String, name: String, expected: String },
    #[error(
        "Invalid path: Table query missing required key '{key}'\n{place} has entries with several keys: give [{key}=...]"
    )]
    MissingKey { place: String, key: String },
    #[error(
        "Invalid path: '{name}' is not a table key\n{place} is a list of values: name one by [.='VALUE']"
    )]
    NotAValue { place: String, name: String },
    #[error("Invalid path: {place}: {name}: {error}")]
    Value { place: String, name: String, error: Box<ValueError> },
    #[error("Invalid path: too long")]
    TooDeep,
}

impl<'s> Path<'s> {
    /// The path `/`.
    pub fn root(schema: &'s Members) -> Path<'s> {
        Path { steps: Vec::new(), defaults: Vec::new(), target: Target::Root(schema) }
    }

    /// Finds the node of the schema that a path leads to. The instance need not exist.
    pub fn resolve(schema: &'s Members, text: &str) -> Result<Path<'s>, PathError> {
        let mut path = Path::root(schema);
        for element in elements(text)? {
            path.descend(&element)?;
        }
        Ok(path)
    }

    /// The form in which paths are compared, as far as it can be known without a schema.
    pub fn normalise(text: &str) -> Result<String, PathError> {
        let mut normal = String::new();
        for mut element in elements(text)? {
            element.predicates.sort();
            normal.extend(["/", element.name]);
            normal.extend(element.predicates.iter().map(|(key, value)| format!("[{key}={value}]")));
        }
        Ok(if normal.is_empty() { "/".to_string() } else { normal })
    }

    /// Whether a node of that name is the root's child on the way.
    pub fn begins_with(&self, name: &str) -> bool {
        self.steps.first().is_some_and(|step| *step.name == *name)
    }

    fn descend(&mut self, element: &Element) -> Result<(), PathError> {
        if self.steps.len() >= MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        let members = match self.target {
            Target::Root(members) | Target::Node(Node { kind: Kind::Container(members), .. }) => members,
            Target::Entry(list) => &list.members,
            Target::Node(Node { kind: Kind::List(list), .. }) => {
                return Err(PathError::InList { place: self.to_string(), keys: list.keys.join("=...][") });
            }
            Target::Node(_) | Target::Value(_) => {
                return Err(PathError::InLeaf { place: self.to_string(), name: element.name.to_string() });
            }
        };
        let is_key = match self.target {
            Target::Entry(list) => list.keys.iter().any(|key| **key == *element.name),
            _ => false,
        };
        let node = members.node(element.name).filter(|_| !is_key);
        let node = node.ok_or_else(|| self.no_such(members, element.name))?;
        self.steps.push(Step { name: node.name.clone(), key: None });
        self.defaults.push(Vec::new());
        self.target = Target::Node(node);
        let Some((first, _)) = element.predicates.first() else { return Ok(()) };
        let list = match &node.kind {
            Kind::List(list) => list,
            Kind::LeafList(kind) => {
                let value = self.value(&node.name, kind, &element.predicates)?;
                if let Some(step) = self.steps.last_mut() {
                    step.key = Some((vec![SELF.into()], Key(vec![value])));
                }
                self.target = Target::Value(node);
                return Ok(());
            }
            _ => return Err(PathError::NotAList { place: self.to_string(), key: first.to_string() }),
        };
        let key = self.key(list, &element.predicates)?;
        let default = |name: &str| list.members.leaf(name).and_then(|leaf| leaf.default.as_ref());
        let keys = list.keys.iter().zip(&key.0);
        if let Some(defaults) = self.defaults.last_mut() {
            let equal = keys.filter(|(name, value)| default(name) == Some(value));
            defaults.extend(equal.map(|(name, _)| name.clone()));
        }
        if let Some(step) = self.steps.last_mut() {
            step.key = Some((list.keys.clone(), key));
        }
        self.target = Target::Entry(list);
        Ok(())
    }

    fn key(&self, list: &List, predicates: &[(&str, &str)]) -> Result<Key, PathError> {
        let place = || self.to_string();
        for (index, (name, _)) in predicates.iter().enumerate() {
            let repeated = predicates[..index].iter().any(|(other, _)| other == name);
            if repeated || !list.keys.iter().any(|key| **key == **name) {
                let expected = list.keys.join(", ");
                return Err(PathError::NotAKey { place: place(), name: name.to_string(), expected });
            }
        }
        let value =
            |name: &Arc<str>| -> Result<Value, PathError> {
                let leaf = list.members.leaf(name);
                let given = predicates.iter().find(|(given, _)| **given == **name);
                match (leaf, given) {
                    (Some(leaf), Some((_, text))) => leaf.kind.parse(text).map_err(|error| {
                        PathError::Value { place: place(), name: name.to_string(), error: Box::new(error) }
                    }),
                    (leaf, _) => leaf
                        .and_then(|leaf| leaf.default.clone())
                        .ok_or_else(|| PathError::MissingKey { place: place(), key: name.to_string() }),
                }
            };
        list.keys.iter().map(value).collect::<Result<_, _>>().map(Key)
    }

    /// The value of a leaf-list that a predicate names.
    fn value(&self, name: &str, kind: &Type, predicates: &[(&str, &str)]) -> Result<Value, PathError> {
        match predicates {
            [(SELF, text)] => kind.parse(unquoted(text)).map_err(|error| PathError::Value {
                place: self.to_string(),
                name: name.to_string(),
                error: Box::new(error),
            }),
            _ => {
                let other = predicates.iter().find(|(name, _)| *name != SELF).map_or(SELF, |(name, _)| name);
                Err(PathError::NotAValue { place: self.to_string(), name: other.to_string() })
            }
        }
    }

    fn no_such(&self, members: &Members, name: &str) -> PathError {
        let keys: &[_] = match self.target {
            Target::Entry(list) => &list.keys,
            _ => &[],
        };
        let names = members.iter().map(|node| &*node.name);
        let names: Vec<_> = names.filter(|name| !keys.iter().any(|key| **key == **name)).collect();
        let (place, name) = (self.to_string(), name.chars().take(MAX_SHOWN).collect());
        PathError::NoSuchNode { place, name, expected: names.join(", ") }
    }
}

/// The form that other programs compare: a leading slash, keys sorted by name.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return write!(f, "/");
        }
        self.steps.iter().try_for_each(|step| write!(f, "/{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        self.sorted_keys().iter().try_for_each(|(name, value)| match *name {
            SELF => {
                let quote = if value.to_string().contains('\'') { '"' } else { '\'' };
                write!(f, "[{SELF}={quote}{value}{quote}]")
            }
            name => write!(f, "[{name}={value}]"),
        })
    }
}

impl Step {
    /// Names and values of the keys, sorted by name.
    pub(super) fn sorted_keys(&self) -> Vec<(&str, &Value)> {
        let pairs = self.key.iter().flat_map(|(names, key)| names.iter().zip(&key.0));
        let mut pairs: Vec<_> = pairs.map(|(name, value)| (&**name, value)).collect();
        pairs.sort();
        pairs
    }

    pub(super) fn sorted(names: &[Arc<str>]) -> Vec<&str> {
        let mut names: Vec<&str> = names.iter().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }
}

/// The text between quotes, if it stands in quotes.
fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"')).unwrap_or(text)
}

/// `name[key=value]...`
struct Element<'t> {
    name: &'t str,
    predicates: Vec<(&'t str, &'t str)>,
}

fn elements(text: &str) -> Result<Vec<Element<'_>>, PathError> {
    let error = || PathError::Syntax(text.chars().take(MAX_SHOWN).collect());
    let mut elements = Vec::new();
    let mut rest = text.trim_start_matches('/');
    while !rest.is_empty() {
        let end = rest.find(['/', '[', ']']).unwrap_or(rest.len());
        let mut element = Element { name: &rest[..end], predicates: Vec::new() };
        rest = &rest[end..];
        while let Some(predicate) = rest.strip_prefix('[') {
            let (inside, after) = predicate.split_once(']').ok_or_else(error)?;
            element.predicates.push(inside.split_once('=').ok_or_else(error)?);
            rest = after;
        }
        if element.name.is_empty() || !(rest.is_empty() || rest.starts_with('/')) {
            return Err(error());
        }
        elements.push(element);
        rest = rest.trim_start_matches('/');
    }
    Ok(elements)
}

/// What a value of a leaf-list is called in a predicate.
pub(super) const SELF: &str = ".";
/// Longest path that a message repeats.
const MAX_SHOWN: usize = 200;
