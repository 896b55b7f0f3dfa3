// SPDX-License-Identifier: Apache-2.0
//! What `get`, `set`, `add` and `remove` do to a tree. Edits leave the tree they are given alone and return
//! another one, which shares with it all that did not change. Whether that is valid is not decided here.

use super::data::{Container, Data, List, Value};
use super::json;
use super::path::{Path, Step, Target};
use super::schema::{self, Kind, Leaf, Members, Node, Schema};
use super::text::{self, TextError};
use super::types::Type;
use std::collections::HashSet;
use std::sync::Arc;

/// Stands for the name of a text in messages, until someone who knows it puts it in its place.
pub const UNNAMED: &str = "<unknown>";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{}", error.in_source(UNNAMED, path))]
    Text { path: String, error: Box<TextError> },
    #[error("{0}: Not found")]
    NoSuchEntry(String),
    #[error("{0} has no value")]
    NoValue(String),
    #[error("{0} is state: it can be read with get-state only")]
    State(String),
    #[error("{0}: Add only allowed on lists")]
    AddToNonList(String),
    #[error("{path}: already-existing entry {key}")]
    Exists { path: String, key: String },
    #[error("{0}: Remove only allowed on list entries; name one by its key, as in list[key=value]")]
    RemoveOfNonEntry(String),
}

/// What stands at a path.
pub(super) enum Found<'a> {
    /// The root, or a container.
    Members(&'a Members, &'a Container),
    List(&'a schema::List, &'a List),
    /// One entry of a list.
    Entry(&'a schema::List, &'a Container),
    /// A leaf that is there, or has a default.
    Leaf {
        node: &'a Node,
        leaf: &'a Leaf,
        value: &'a Value,
    },
    /// All values of a leaf-list.
    Values {
        kind: &'a Type,
        values: &'a [Value],
    },
    /// One of them.
    Value {
        kind: &'a Type,
        value: &'a Value,
    },
    /// A list without entries, or state before there is any.
    Nothing,
}

/// Finds what stands at a path.
pub(super) fn find<'a>(
    schema: &Members,
    root: &'a Container,
    path: &Path<'a>,
) -> Result<Found<'a>, EditError> {
    let no_value = || EditError::NoValue(path.to_string());
    let (Target::Node(_) | Target::Entry(_) | Target::Value(_), Some((last, parents))) =
        (path.target, path.steps.split_last())
    else {
        return match path.target {
            Target::Root(members) => Ok(Found::Members(members, root)),
            _ => Err(no_value()),
        };
    };
    // A parent that is absent has only absent children.
    let data = container(root, parents)?.and_then(|parent| parent.members.get(&last.name));
    match (path.target, data) {
        (Target::Entry(schema), Some(Data::List(list))) => {
            let key = last.key.as_ref().map(|(_, key)| key);
            let entry = key.and_then(|key| list.entries.get(key));
            let entry = entry.ok_or_else(|| EditError::NoSuchEntry(path.to_string()))?;
            Ok(Found::Entry(schema, entry))
        }
        (Target::Value(node), Some(Data::LeafList(values))) => {
            let no_entry = || EditError::NoSuchEntry(path.to_string());
            let Kind::LeafList(kind) = &node.kind else { return Err(no_value()) };
            let value = position(values, kind, last).and_then(|place| values.get(place));
            Ok(Found::Value { kind, value: value.ok_or_else(no_entry)? })
        }
        (Target::Entry(_) | Target::Value(_), _) => Err(EditError::NoSuchEntry(path.to_string())),
        (Target::Node(node), Some(data)) => match (&node.kind, data) {
            (Kind::Container(schema), Data::Container(inner)) => Ok(Found::Members(schema, inner)),
            (Kind::List(schema), Data::List(list)) => Ok(Found::List(schema, list)),
            (Kind::Leaf(leaf), Data::Leaf(value)) => Ok(Found::Leaf { node, leaf, value }),
            (Kind::LeafList(kind), Data::LeafList(values)) => Ok(Found::Values { kind, values }),
            _ => Err(no_value()),
        },
        (Target::Node(node), None) => match &node.kind {
            Kind::LeafList(kind) => Ok(Found::Values { kind, values: &[] }),
            Kind::Leaf(leaf) => match &leaf.default {
                Some(value) => Ok(Found::Leaf { node, leaf, value }),
                None => Err(no_value()),
            },
            // Before there is any state, its containers are empty.
            Kind::Container(_) if !node.config => Ok(Found::Nothing),
            Kind::List(_) if !excluded(schema, root, path, node) => Ok(Found::Nothing),
            _ => Err(no_value()),
        },
        (Target::Root(_), _) => Err(no_value()),
    }
}

/// Replaces what stands at a path.
pub fn set(
    schema: &Schema,
    root: &Arc<Container>,
    path: &Path,
    value: &str,
) -> Result<Arc<Container>, EditError> {
    if let Target::Node(node) | Target::Value(node) = path.target {
        writable(node, path)?;
    }
    let new = read(schema, path, value)?;
    let Some((last, parents)) = path.steps.split_last() else {
        return match new {
            Data::Container(root) => Ok(root),
            _ => Err(EditError::NoValue(path.to_string())),
        };
    };
    change(root, parents, path, |parent| {
        match (new, &last.key) {
            (Data::LeafList(new), Some(_)) => {
                let no_entry = || EditError::NoSuchEntry(path.to_string());
                let (kind, values) = values(parent, path, last).ok_or_else(no_entry)?;
                let place = position(values, kind, last).ok_or_else(no_entry)?;
                values.splice(place..=place, new);
            }
            (Data::LeafList(values), None) if values.is_empty() => {
                parent.members.remove(&last.name);
            }
            (Data::Container(entry), Some((_, key))) => {
                let present = entries(parent, last).and_then(|list| list.entries.get_mut(key));
                *present.ok_or_else(|| EditError::NoSuchEntry(path.to_string()))? = entry;
            }
            (Data::List(list), None) if list.entries.is_empty() => {
                parent.members.remove(&last.name);
            }
            (data, _) => {
                parent.members.insert(last.name.clone(), data);
            }
        }
        Ok(())
    })
}

/// Adds entries to a list, or values to a leaf-list, or none if one of them is there already.
pub fn add(
    schema: &Schema,
    root: &Arc<Container>,
    path: &Path,
    value: &str,
) -> Result<Arc<Container>, EditError> {
    let (Target::Node(node) | Target::Value(node), Some((last, parents))) =
        (path.target, path.steps.split_last())
    else {
        return Err(EditError::AddToNonList(path.to_string()));
    };
    writable(node, path)?;
    match &node.kind {
        Kind::List(_) => {}
        Kind::LeafList(kind) => {
            // The path has the value already.
            let named = last.key.as_ref().filter(|_| value.trim().is_empty()).map(|(_, key)| key.0.clone());
            let added = match named {
                Some(values) => values,
                None => match read(schema, path, value)? {
                    Data::LeafList(values) => values,
                    _ => return Err(EditError::AddToNonList(path.to_string())),
                },
            };
            return change(root, parents, path, |parent| add_values(parent, path, last, kind, added));
        }
        _ => return Err(EditError::AddToNonList(path.to_string())),
    }
    let Data::List(added) = read(schema, path, value)? else {
        return Err(EditError::AddToNonList(path.to_string()));
    };
    change(root, parents, path, |parent| {
        let Some(list) = entries(parent, last) else {
            if !added.entries.is_empty() {
                parent.members.insert(last.name.clone(), Data::List(added));
            }
            return Ok(());
        };
        for (key, entry) in &added.entries {
            if list.entries.insert(key.clone(), entry.clone()).is_some() {
                let key = key.0.iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ");
                return Err(EditError::Exists { path: path.to_string(), key });
            }
        }
        Ok(())
    })
}

fn add_values(
    parent: &mut Container,
    path: &Path,
    last: &Step,
    kind: &Type,
    added: Vec<Value>,
) -> Result<(), EditError> {
    if added.is_empty() {
        return Ok(());
    }
    let empty = || Data::LeafList(Vec::new());
    let Data::LeafList(values) = parent.members.entry(last.name.clone()).or_insert_with(empty) else {
        return Err(EditError::AddToNonList(path.to_string()));
    };
    let mut known: HashSet<Value> = values.iter().map(|value| kind.canonical(value).into_owned()).collect();
    for value in added {
        if !known.insert(kind.canonical(&value).into_owned()) {
            return Err(EditError::Exists { path: path.to_string(), key: value.to_string() });
        }
        values.push(value);
    }
    Ok(())
}

/// The values of the leaf-list that the last step of a path names.
fn values<'d, 's>(
    parent: &'d mut Container,
    path: &Path<'s>,
    last: &Step,
) -> Option<(&'s Type, &'d mut Vec<Value>)> {
    match (path.target, parent.members.get_mut(&last.name)) {
        (Target::Value(Node { kind: Kind::LeafList(kind), .. }), Some(Data::LeafList(values))) => {
            Some((kind, values))
        }
        _ => None,
    }
}

/// Where the value that a step names is.
fn position(values: &[Value], kind: &Type, step: &Step) -> Option<usize> {
    let wanted = step.key.as_ref().and_then(|(_, key)| key.0.first())?;
    let wanted = kind.canonical(wanted);
    values.iter().position(|value| kind.canonical(value) == wanted)
}

/// Reads the value of what a path leads to, from text or JSON. That of a list entry includes its keys.
fn read(schema: &Schema, path: &Path, value: &str) -> Result<Data, EditError> {
    let data = if json::is_json(value) {
        json::read(&schema.name, path, json::unmarked(value))
    } else {
        text::read(path, value)
    };
    data.map_err(|error| EditError::Text { path: path.to_string(), error: Box::new(error) })
}

/// Sets a leaf of state, making the containers and list entries on the way. Whether the leaf has that type.
pub fn put(root: &mut Arc<Container>, path: &Path, value: Value) -> bool {
    let (Target::Node(Node { kind: Kind::Leaf(leaf), .. }), Some((last, parents))) =
        (path.target, path.steps.split_last())
    else {
        return false;
    };
    if leaf.kind.parse(&value.to_string()).as_ref() != Ok(&value) {
        return false;
    }
    let mut at = Arc::make_mut(root);
    for step in parents {
        let data = at.members.entry(step.name.clone()).or_insert_with(|| match step.key {
            Some(_) => Data::List(Arc::default()),
            None => Data::Container(Arc::default()),
        });
        at = match (data, &step.key) {
            (Data::Container(inner), None) => Arc::make_mut(inner),
            (Data::List(list), Some((names, key))) => {
                let entry = Arc::make_mut(Arc::make_mut(list).entries.entry(key.clone()).or_default());
                let keys = names.iter().zip(&key.0);
                entry.members.extend(keys.map(|(name, value)| (name.clone(), Data::Leaf(value.clone()))));
                entry
            }
            _ => return false,
        };
    }
    at.members.insert(last.name.clone(), Data::Leaf(value));
    true
}

/// Removes an entry from a list, or a value from a leaf-list.
pub fn remove(root: &Arc<Container>, path: &Path) -> Result<Arc<Container>, EditError> {
    let target =
        path.steps.split_last().and_then(|(last, parents)| Some((last, &last.key.as_ref()?.1, parents)));
    let Some((last, key, parents)) = target else {
        return Err(EditError::RemoveOfNonEntry(path.to_string()));
    };
    change(root, parents, path, |parent| {
        let no_entry = || EditError::NoSuchEntry(path.to_string());
        if let Target::Value(_) = path.target {
            let (kind, values) = values(parent, path, last).ok_or_else(no_entry)?;
            values.remove(position(values, kind, last).ok_or_else(no_entry)?);
            if values.is_empty() {
                parent.members.remove(&last.name);
            }
            return Ok(());
        }
        let list = entries(parent, last);
        let list = list.filter(|list| list.entries.contains_key(key));
        let list = list.ok_or_else(no_entry)?;
        list.entries.remove(key);
        if list.entries.is_empty() {
            parent.members.remove(&last.name);
        }
        Ok(())
    })
}

/// The container at the end of some steps, nothing if it is absent. List entries on the way must exist.
fn container<'d>(root: &'d Container, steps: &[Step]) -> Result<Option<&'d Container>, EditError> {
    let mut at = root;
    for (index, step) in steps.iter().enumerate() {
        at = match (at.members.get(&step.name), &step.key) {
            (Some(Data::Container(inner)), None) => inner,
            (Some(Data::List(list)), Some((_, key))) if list.entries.contains_key(key) => {
                match list.entries.get(key) {
                    Some(entry) => entry,
                    None => return Ok(None),
                }
            }
            (_, Some(_)) => return Err(EditError::NoSuchEntry(display(&steps[..=index]))),
            (_, None) => return Ok(None),
        };
    }
    Ok(Some(at))
}

/// Changes the container at the end of some steps in a copy of the tree. Absent containers on the way are made;
/// absent list entries are an error.
fn change(
    root: &Arc<Container>,
    steps: &[Step],
    path: &Path,
    change: impl FnOnce(&mut Container) -> Result<(), EditError>,
) -> Result<Arc<Container>, EditError> {
    if let Target::Node(node) | Target::Value(node) = path.target {
        writable(node, path)?;
    }
    let mut root = root.clone();
    let mut at = Arc::make_mut(&mut root);
    for (index, step) in steps.iter().enumerate() {
        let no_entry = || EditError::NoSuchEntry(display(&steps[..=index]));
        at = match &step.key {
            Some((_, key)) => {
                let entry = entries(at, step).and_then(|list| list.entries.get_mut(key));
                Arc::make_mut(entry.ok_or_else(no_entry)?)
            }
            None => {
                let made = || Data::Container(Arc::default());
                match at.members.entry(step.name.clone()).or_insert_with(made) {
                    Data::Container(inner) => Arc::make_mut(inner),
                    _ => return Err(no_entry()),
                }
            }
        };
    }
    change(at)?;
    Ok(root)
}

fn entries<'d>(parent: &'d mut Container, step: &Step) -> Option<&'d mut List> {
    match parent.members.get_mut(&step.name) {
        Some(Data::List(list)) => Some(Arc::make_mut(list)),
        _ => None,
    }
}

/// Whether a node at the top cannot be there because of what the configuration has chosen instead.
fn excluded(schema: &Members, root: &Container, path: &Path, node: &Node) -> bool {
    let mut present = root.members.keys().filter_map(|name| schema.node(name));
    path.steps.len() == 1 && present.any(|other| node.conflict(other).is_some())
}

fn writable<'s>(node: &'s Node, path: &Path) -> Result<&'s Node, EditError> {
    if node.config { Ok(node) } else { Err(EditError::State(path.to_string())) }
}

fn display(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("/{step}")).collect()
}
