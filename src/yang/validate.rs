// SPDX-License-Identifier: Apache-2.0
//! Rules that relate several nodes: mandatory leaves, choices, unique leaves, numbers of entries.
//!
//! They are checked on whole trees, so that an edit is judged by its outcome. A container that is absent is no
//! fault, even if it has mandatory leaves: configurations are put together one container at a time. Modules say so
//! by a presence statement; without one YANG would miss the leaves (RFC 7950, section 7.6.5).
//!
//! Trees share what they have in common, and what a tree shares with one that was found valid is not looked at
//! again. So the price of a change of one entry among thousands is that of the entry, and one comparison with each
//! of the others.
//!
//! Values that a standard type has one canonical form for are the same if that form is.

use super::data::{Container, Data, Key, List, Value};
use super::path::Step;
use super::schema::{self, Kind, Leaf, Members};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// A rule that is broken, and the node where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Invalid {
    pub path: String,
    pub problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("missing scalar value: {0}")]
    Missing(String),
    #[error(
        "only one choice set can exist at one time: {choice} (here are {first} and {second}); \
         to go from one to the other set the node that contains them"
    )]
    Choice { choice: String, first: String, second: String },
    #[error("not unique: {leaves} is also in entry {other}")]
    NotUnique { leaves: String, other: String },
    #[error("{0} is given twice")]
    Repeated(String),
    #[error("expected at least {expected} in this list, found {found}")]
    TooFew { expected: usize, found: usize },
}

/// Checks a tree against the schema of its root. `valid` is one that was checked before, if there is any.
pub fn validate(schema: &Members, root: &Container, valid: Option<&Container>) -> Result<(), Invalid> {
    Node { parent: None, step: None }.members(schema, root, valid)
}

/// A leaf that ought to be in a container and is not. One inside of a case is needed if the case is taken
/// (RFC 7950, section 7.6.5).
pub(super) fn missing<'s>(schema: &'s Members, container: &Container) -> Option<&'s str> {
    let taken = |cases: &[schema::Case]| {
        let present = container.members.keys().filter_map(|name| schema.node(name));
        cases.is_empty() || { present }.any(|node| node.cases.starts_with(cases))
    };
    let absent = schema.iter().find(|node| {
        matches!(&node.kind, Kind::Leaf(Leaf { mandatory: true, .. }))
            && !container.members.contains_key(&node.name)
            && taken(&node.cases)
    });
    absent.map(|node| &*node.name)
}

/// A node on the way from the root; the path is put together only when something is wrong.
struct Node<'a> {
    parent: Option<&'a Node<'a>>,
    step: Option<(&'a str, Option<(&'a schema::List, &'a Container)>)>,
}

impl Node<'_> {
    fn members(
        &self,
        schema: &Members,
        container: &Container,
        valid: Option<&Container>,
    ) -> Result<(), Invalid> {
        if let Some(name) = missing(schema, container) {
            return Err(self.invalid(Problem::Missing(name.to_string())));
        }
        self.choices(schema, container)?;
        for node in schema.iter() {
            let place = Node { parent: Some(self), step: Some((&node.name, None)) };
            let valid = valid.and_then(|valid| valid.members.get(&node.name));
            match (&node.kind, container.members.get(&node.name)) {
                (Kind::Container(schema), Some(Data::Container(inner))) => match valid {
                    Some(Data::Container(valid)) if Arc::ptr_eq(valid, inner) => {}
                    Some(Data::Container(valid)) => place.members(schema, inner, Some(valid))?,
                    _ => place.members(schema, inner, None)?,
                },
                (Kind::List(schema), Some(Data::List(list))) => match valid {
                    Some(Data::List(valid)) if Arc::ptr_eq(valid, list) => {}
                    Some(Data::List(valid)) => self.list(&node.name, schema, list, valid)?,
                    _ => self.list(&node.name, schema, list, &List::default())?,
                },
                (Kind::LeafList(kind), Some(Data::LeafList(values))) if node.config => {
                    let mut seen = HashSet::with_capacity(values.len());
                    if let Some(twice) = values.iter().find(|value| !seen.insert(kind.canonical(value))) {
                        return Err(place.invalid(Problem::Repeated(twice.to_string())));
                    }
                }
                (Kind::List(schema), None) if schema.min_elements > 0 => {
                    return Err(place.invalid(Problem::TooFew { expected: schema.min_elements, found: 0 }));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn choices(&self, schema: &Members, container: &Container) -> Result<(), Invalid> {
        let mut with_cases = container.members.keys().filter_map(|name| schema.node(name));
        let Some(first) = with_cases.find(|node| !node.cases.is_empty()) else { return Ok(()) };
        for second in with_cases {
            if let Some((case, _)) = first.conflict(second) {
                return Err(self.invalid(Problem::Choice {
                    choice: case.choice.to_string(),
                    first: first.name.to_string(),
                    second: second.name.to_string(),
                }));
            }
        }
        Ok(())
    }

    fn list(&self, name: &str, schema: &schema::List, list: &List, valid: &List) -> Result<(), Invalid> {
        if list.entries.len() < schema.min_elements {
            let problem = Problem::TooFew { expected: schema.min_elements, found: list.entries.len() };
            return Err(Node { parent: Some(self), step: Some((name, None)) }.invalid(problem));
        }
        let entry_place = |entry| Node { parent: Some(self), step: Some((name, Some((schema, entry)))) };
        let has_canonical =
            |name: &Arc<str>| schema.members.leaf(name).is_some_and(|leaf| leaf.kind.has_canonical());
        let keys = Some(&schema.keys).filter(|keys| keys.iter().any(has_canonical));
        let changed = list.changed_since(valid);
        for leaves in schema.unique.iter().chain(keys) {
            let twice = match changed.len() {
                0..=FEW => search(schema, leaves, list, &changed),
                _ => index(schema, leaves, list),
            };
            if let Some((entry, other)) = twice {
                let (leaves, other) = (leaves.join(" "), entry_place(other).to_string());
                return Err(entry_place(entry).invalid(Problem::NotUnique { leaves, other }));
            }
        }
        for (key, entry) in changed {
            let valid = valid.entries.get(key).map(|entry| &**entry);
            entry_place(entry).members(&schema.members, entry, valid)?;
        }
        Ok(())
    }

    fn invalid(&self, problem: Problem) -> Invalid {
        Invalid { path: self.to_string(), problem }
    }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((name, entry)) = &self.step else {
            return if f.alternate() { Ok(()) } else { write!(f, "/") };
        };
        if let Some(parent) = self.parent {
            write!(f, "{parent:#}")?;
        }
        write!(f, "/{name}")?;
        let Some((schema, entry)) = entry else { return Ok(()) };
        for key in Step::sorted(&schema.keys) {
            if let Some(value) = entry.value(key) {
                write!(f, "[{key}={value}]")?;
            }
        }
        Ok(())
    }
}

/// One of some entries, the last first, and another one of the list with the same values, found by comparison.
fn search<'a>(
    schema: &'a schema::List,
    leaves: &[Arc<str>],
    list: &'a List,
    some: &[(&Key, &'a Arc<Container>)],
) -> Option<(&'a Container, &'a Container)> {
    some.iter().rev().find_map(|(key, entry)| {
        let values = unique_values(schema, leaves, entry)?;
        let same = |other: &Container| {
            let mut pairs = leaves.iter().zip(&values);
            pairs.all(|(name, value)| unique_value(schema, name, other).as_ref() == Some(value))
        };
        let (_, other) = list.entries.iter().find(|(other_key, other)| other_key != key && same(other))?;
        Some((&***entry, &**other))
    })
}

/// An entry and another one before it with the same values, found with an index of all.
fn index<'a>(
    schema: &'a schema::List,
    leaves: &[Arc<str>],
    list: &'a List,
) -> Option<(&'a Container, &'a Container)> {
    let mut seen: HashMap<Vec<_>, &Container> = HashMap::with_capacity(list.entries.len());
    list.entries.values().find_map(|entry| {
        let other = seen.insert(unique_values(schema, leaves, entry)?, entry)?;
        Some((&**entry, other))
    })
}

/// The values of a unique statement; absent leaves count with their default, and without one the entry is exempt
/// (RFC 7950, section 7.8.3).
fn unique_values<'a>(
    schema: &'a schema::List,
    leaves: &[Arc<str>],
    entry: &'a Container,
) -> Option<Vec<Cow<'a, Value>>> {
    leaves.iter().map(|name| unique_value(schema, name, entry)).collect()
}

fn unique_value<'a>(schema: &'a schema::List, name: &str, entry: &'a Container) -> Option<Cow<'a, Value>> {
    let leaf = schema.members.leaf(name)?;
    Some(leaf.kind.canonical(entry.value(name).or(leaf.default.as_ref())?))
}

/// Changed entries up to which comparing each with all others is cheaper than an index of all.
const FEW: usize = 16;
