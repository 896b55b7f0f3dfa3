// SPDX-License-Identifier: Apache-2.0
//! From syntax to data: names, types, keys and choices as the schema has them.

use super::data::{Container, Data, Key, List, Value};
use super::path::Step;
use super::schema::{self, Kind, Members, Node};
use super::syntax::{self, Body, Item};
use super::text::{Problem, TextError};
use super::types::Type;
use super::validate;
use std::sync::Arc;

/// Binds the items of a message to the members of an rpc's input or output.
pub fn message(schema: &Members, source: &str, item: &Item) -> Result<Container, TextError> {
    let binder = Binder { any_character: true, ..Binder::new(source) };
    let Body::Block(items) = &item.body else {
        return Err(binder.shape(item, "a block in braces"));
    };
    let container = binder.members(schema, items)?;
    complete(schema, &container).map_err(|problem| binder.error(item.at, problem))?;
    Ok(container)
}

/// The byte offset of the node that steps lead to, or of the nearest one above it; nothing if the text has none.
pub fn place(schema: &Members, source: &str, steps: &[Step]) -> Option<usize> {
    let binder = Binder::new(source);
    let items = syntax::statements(source).ok()?;
    let (mut items, mut members, mut at) = (&items[..], schema, None);
    for step in steps {
        let kind = &members.node(&step.name)?.kind;
        let found = items.iter().find(|item| {
            *item.keyword == *step.name
                && match (kind, &step.key, &item.body) {
                    (Kind::List(list), Some((_, key)), Body::Block(items)) => {
                        binder.key(list, items).is_some_and(|found| found == *key)
                    }
                    _ => true,
                }
        });
        let Some(item) = found else { break };
        at = Some(item.at);
        (items, members) = match (&item.body, kind) {
            (Body::Block(items), Kind::Container(members)) => (items, members),
            (Body::Block(items), Kind::List(list)) => (items, &list.members),
            _ => break,
        };
    }
    at
}

/// No member may be in another case of a choice than those before it.
pub(super) fn exclusive(schema: &Members, seen: &Container, node: &Node) -> Result<(), Problem> {
    if node.cases.is_empty() {
        return Ok(());
    }
    for other in seen.members.keys().filter_map(|name| schema.node(name)) {
        if let Some((case, _)) = node.conflict(other) {
            return Err(Problem::Choice {
                choice: case.choice.to_string(),
                first: other.name.to_string(),
                second: node.name.to_string(),
            });
        }
    }
    Ok(())
}

/// No leaf may be missing that is mandatory.
pub(super) fn complete(schema: &Members, container: &Container) -> Result<(), Problem> {
    match validate::missing(schema, container) {
        Some(name) => Err(Problem::Missing(name.to_string())),
        None => Ok(()),
    }
}

pub struct Binder<'a> {
    source: &'a str,
    /// Whether state may be there.
    state: bool,
    /// Whether strings may have any character. Those of messages hold texts, which are judged when they are read.
    any_character: bool,
}

impl<'a> Binder<'a> {
    pub fn new(source: &'a str) -> Self {
        Binder { source, state: false, any_character: false }
    }

    pub fn with_state(source: &'a str) -> Self {
        Binder { source, state: true, any_character: false }
    }

    /// The whole text as the members of a container.
    pub fn whole(&self, schema: &Members) -> Result<Container, TextError> {
        let items = syntax::statements(self.source)?;
        let container = self.members(schema, &items)?;
        complete(schema, &container).map_err(|problem| self.error(self.source.len(), problem))?;
        Ok(container)
    }

    /// The whole text as the members of a list entry, without its key leaves, which the key supplies.
    pub fn keyed(&self, schema: &schema::List, key: &Key) -> Result<Container, TextError> {
        let items = syntax::statements(self.source)?;
        if let Some(item) = items.iter().find(|item| schema.keys.iter().any(|key| **key == *item.keyword)) {
            return Err(self.error(item.at, Problem::KeyInEntry(item.keyword.to_string())));
        }
        let mut container = self.members(&schema.members, &items)?;
        for (name, value) in schema.keys.iter().zip(&key.0) {
            container.members.insert(name.clone(), Data::Leaf(value.clone()));
        }
        complete(&schema.members, &container).map_err(|problem| self.error(self.source.len(), problem))?;
        Ok(container)
    }

    /// The whole text as the value of a node.
    pub fn node_value(&self, node: &Node) -> Result<Data, TextError> {
        let value = |kind| {
            let word = syntax::value(self.source)?;
            self.value(&node.name, kind, &word.text, word.at)
        };
        match &node.kind {
            Kind::Leaf(leaf) => value(&leaf.kind).map(Data::Leaf),
            Kind::LeafList(kind) => value(kind).map(|value| Data::LeafList(vec![value])),
            Kind::Container(inner) => Ok(Data::Container(self.whole(inner)?.into())),
            Kind::List(schema) => {
                let mut list = List::default();
                for group in syntax::groups(self.source)? {
                    self.entry(schema, &mut list, &group.items, group.at)?;
                }
                Ok(Data::List(list.into()))
            }
        }
    }

    fn members(&self, schema: &Members, items: &[Item]) -> Result<Container, TextError> {
        let mut container = Container::default();
        for item in items {
            let node = self.node(schema, item)?;
            exclusive(schema, &container, node).map_err(|problem| self.error(item.at, problem))?;
            self.member(&mut container, node, item)?;
        }
        Ok(container)
    }

    fn node<'s>(&self, schema: &'s Members, item: &Item) -> Result<&'s Node, TextError> {
        match schema.node(item.keyword) {
            Some(node) if node.config || self.state => Ok(node),
            Some(_) => Err(self.error(item.at, Problem::State(item.keyword.to_string()))),
            None => Err(self.error(item.at, Problem::Unknown(item.keyword.to_string()))),
        }
    }

    fn member(&self, container: &mut Container, node: &Node, item: &Item) -> Result<(), TextError> {
        let present = container.members.get_mut(&node.name);
        let duplicate = || self.error(item.at, Problem::Duplicate(item.keyword.to_string()));
        let data = match (&node.kind, &item.body, present) {
            (Kind::List(schema), Body::Block(items), Some(Data::List(list))) => {
                let list = Arc::make_mut(list);
                return self.entry(schema, list, items, item.at);
            }
            (Kind::List(schema), Body::Block(items), _) => {
                let mut list = List::default();
                self.entry(schema, &mut list, items, item.at)?;
                Data::List(list.into())
            }
            (Kind::LeafList(kind), Body::Value(word), present) => {
                let value = self.value(item.keyword, kind, &word.text, word.at)?;
                if let Some(Data::LeafList(values)) = present {
                    values.push(value);
                    return Ok(());
                }
                Data::LeafList(vec![value])
            }
            (Kind::Leaf(_) | Kind::Container(_), _, Some(_)) => return Err(duplicate()),
            (Kind::Leaf(leaf), Body::Value(word), None) => {
                Data::Leaf(self.value(item.keyword, &leaf.kind, &word.text, word.at)?)
            }
            (Kind::Container(schema), Body::Block(items), None) => {
                let inner = self.members(schema, items)?;
                complete(schema, &inner).map_err(|problem| self.error(item.at, problem))?;
                Data::Container(inner.into())
            }
            (Kind::Leaf(_) | Kind::LeafList(_), Body::Block(_), _) => {
                return Err(self.shape(item, "a value, not a block in braces"));
            }
            (Kind::Container(_) | Kind::List(_), Body::Value(_), _) => {
                return Err(self.shape(item, "a block in braces, not a value"));
            }
        };
        container.members.insert(node.name.clone(), data);
        Ok(())
    }

    fn entry(
        &self,
        schema: &schema::List,
        list: &mut List,
        items: &[Item],
        at: usize,
    ) -> Result<(), TextError> {
        let mut entry = self.members(&schema.members, items)?;
        let mut key = Vec::with_capacity(schema.keys.len());
        for name in &schema.keys {
            let default = || schema.members.leaf(name).and_then(|leaf| leaf.default.clone());
            let Some(value) = entry.value(name).cloned().or_else(default) else {
                return Err(self.error(at, Problem::Missing(name.to_string())));
            };
            entry.members.insert(name.clone(), Data::Leaf(value.clone()));
            key.push(value);
        }
        complete(&schema.members, &entry).map_err(|problem| self.error(at, problem))?;
        let key = Key(key);
        if list.entries.contains_key(&key) {
            let names: Vec<_> = key.0.iter().map(Value::to_string).collect();
            return Err(self.error(at, Problem::DuplicateKey(names.join(" "))));
        }
        list.entries.insert(key, entry.into());
        Ok(())
    }

    /// The key of an entry that is known to be well formed.
    fn key(&self, schema: &schema::List, items: &[Item]) -> Option<Key> {
        let value = |name: &Arc<str>| {
            let leaf = schema.members.leaf(name)?;
            match &items.iter().find(|item| *item.keyword == **name) {
                Some(Item { body: Body::Value(word), at, .. }) => {
                    self.value(name, &leaf.kind, &word.text, *at).ok()
                }
                _ => leaf.default.clone(),
            }
        };
        schema.keys.iter().map(value).collect::<Option<_>>().map(Key)
    }

    fn value(&self, name: &str, kind: &Type, text: &str, at: usize) -> Result<Value, TextError> {
        let foreign = text.chars().find(|character| !self.any_character && !syntax::is_yang(*character));
        if let Some(character) = foreign {
            return Err(self.error(at, Problem::Character { name: name.to_string(), character }));
        }
        let invalid = |error| Problem::Value { name: name.to_string(), error: Box::new(error) };
        kind.parse(text).map_err(|error| self.error(at, invalid(error)))
    }

    fn shape(&self, item: &Item, expected: &'static str) -> TextError {
        self.error(item.at, Problem::Shape { name: item.keyword.to_string(), expected })
    }

    fn error(&self, at: usize, problem: Problem) -> TextError {
        TextError::new(self.source, at, problem)
    }
}
