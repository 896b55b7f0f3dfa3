// SPDX-License-Identifier: Apache-2.0
//! What `get`, `set`, `add` and `remove` do to a tree. Edits leave the tree they are given alone and return
//! another one, which shares with it all that did not change. Whether that is valid is not decided here.

use super::data::{Container, Data, Key, List, Value};
use super::path::{Path, Step, Target};
use super::print::{self, Shown};
use super::schema::{Kind, Members, Node};
use super::text::{self, TextError};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{path}: {error}")]
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

/// Prints what stands at a path.
pub fn print(schema: &Members, root: &Container, path: &Path, shown: Shown) -> Result<String, EditError> {
    let no_value = || EditError::NoValue(path.to_string());
    let Some((last, parents)) = path.steps.split_last() else {
        return Ok(print::members(schema, root, shown));
    };
    // A parent that is absent has only absent children.
    let nothing = Container::default();
    let parent = match find(root, parents)? {
        Some(parent) => parent,
        None => &nothing,
    };
    match (path.target, parent.members.get(&last.name)) {
        (Target::Root(schema), _) => Ok(print::members(schema, root, shown)),
        (Target::Entry(schema), Some(Data::List(list))) => {
            let key = last.key.as_ref().map(|(_, key)| key);
            let entry = key.and_then(|key| list.entries.get(key));
            let entry = entry.ok_or_else(|| EditError::NoSuchEntry(path.to_string()))?;
            Ok(print::entry(schema, entry, shown))
        }
        (Target::Entry(_), _) => Err(EditError::NoSuchEntry(path.to_string())),
        (Target::Node(node), Some(data)) => match (&node.kind, data) {
            (Kind::Container(schema), Data::Container(inner)) => Ok(print::members(schema, inner, shown)),
            (Kind::List(schema), Data::List(list)) => Ok(print::list(schema, list, shown)),
            (Kind::Leaf(_), Data::Leaf(value)) => Ok(print::value(value)),
            _ => Err(no_value()),
        },
        (Target::Node(node), None) => match &node.kind {
            Kind::Leaf(leaf) => leaf.default.as_ref().map(print::value).ok_or_else(no_value),
            // Before there is any state, its containers are empty.
            Kind::Container(_) if !node.config => Ok(String::new()),
            Kind::List(_) if !excluded(schema, root, path, node) => Ok(String::new()),
            _ => Err(no_value()),
        },
    }
}

/// Replaces what stands at a path.
pub fn set(
    schema: &Members,
    root: &Arc<Container>,
    path: &Path,
    value: &str,
) -> Result<Arc<Container>, EditError> {
    let text_error = |error| EditError::Text { path: path.to_string(), error: Box::new(error) };
    let Some((last, parents)) = path.steps.split_last() else {
        return Ok(text::members(schema, value).map_err(text_error)?.into());
    };
    let data = match path.target {
        Target::Entry(list) => {
            let key = last.key.as_ref().map(|(_, key)| key.clone()).unwrap_or(Key(Vec::new()));
            let entry = text::entry(list, &key, value).map_err(text_error)?;
            return change(root, parents, path, |parent| {
                let present = entries(parent, last).and_then(|list| list.entries.get_mut(&key));
                *present.ok_or_else(|| EditError::NoSuchEntry(path.to_string()))? = entry.into();
                Ok(())
            });
        }
        Target::Node(node) => text::node(writable(node, path)?, value).map_err(text_error)?,
        Target::Root(_) => return Err(EditError::NoValue(path.to_string())),
    };
    change(root, parents, path, |parent| {
        let empty = matches!(&data, Data::List(list) if list.entries.is_empty());
        match empty {
            true => parent.members.remove(&last.name),
            false => parent.members.insert(last.name.clone(), data),
        };
        Ok(())
    })
}

/// Adds entries to a list, or none if one of them is there already.
pub fn add(root: &Arc<Container>, path: &Path, value: &str) -> Result<Arc<Container>, EditError> {
    let (Target::Node(node), Some((last, parents))) = (path.target, path.steps.split_last()) else {
        return Err(EditError::AddToNonList(path.to_string()));
    };
    if !matches!(node.kind, Kind::List(_)) {
        return Err(EditError::AddToNonList(path.to_string()));
    }
    let text_error = |error| EditError::Text { path: path.to_string(), error: Box::new(error) };
    let Data::List(added) = text::node(writable(node, path)?, value).map_err(text_error)? else {
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

/// Removes an entry from a list.
pub fn remove(root: &Arc<Container>, path: &Path) -> Result<Arc<Container>, EditError> {
    let target =
        path.steps.split_last().and_then(|(last, parents)| Some((last, &last.key.as_ref()?.1, parents)));
    let Some((last, key, parents)) = target else {
        return Err(EditError::RemoveOfNonEntry(path.to_string()));
    };
    change(root, parents, path, |parent| {
        let list = entries(parent, last);
        let list = list.filter(|list| list.entries.contains_key(key));
        let list = list.ok_or_else(|| EditError::NoSuchEntry(path.to_string()))?;
        list.entries.remove(key);
        if list.entries.is_empty() {
            parent.members.remove(&last.name);
        }
        Ok(())
    })
}

/// The container at the end of some steps, nothing if it is absent. List entries on the way must exist.
fn find<'d>(root: &'d Container, steps: &[Step]) -> Result<Option<&'d Container>, EditError> {
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
    if let Target::Node(node) = path.target {
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
