// SPDX-License-Identifier: Apache-2.0
//! From syntax to data: names, types, keys and choices as the schema has them.

use super::data::{Container, Data, Key, List, Value};
use super::schema::{self, Kind, Members, Node};
use super::syntax::{self, Body, Item};
use super::text::{Problem, TextError};
use super::types::Type;
use super::validate;
use std::sync::Arc;

pub fn members(schema: &Members, source: &str) -> Result<Container, TextError> {
    let items = syntax::statements(source)?;
    let binder = Binder { source };
    let container = binder.members(schema, &items)?;
    binder.complete(schema, &container, source.len())?;
    Ok(container)
}

pub fn entry(schema: &schema::List, key: &Key, source: &str) -> Result<Container, TextError> {
    let items = syntax::statements(source)?;
    let binder = Binder { source };
    if let Some(item) = items.iter().find(|item| schema.keys.iter().any(|key| **key == *item.keyword)) {
        return Err(binder.error(item.at, Problem::KeyInEntry(item.keyword.to_string())));
    }
    let mut container = binder.members(&schema.members, &items)?;
    for (name, value) in schema.keys.iter().zip(&key.0) {
        container.members.insert(name.clone(), Data::Leaf(value.clone()));
    }
    binder.complete(&schema.members, &container, source.len())?;
    Ok(container)
}

pub fn leaf(name: &str, kind: &Type, source: &str) -> Result<Value, TextError> {
    let word = syntax::value(source)?;
    Binder { source }.value(name, kind, &word.text, word.at)
}

pub fn list(schema: &schema::List, source: &str) -> Result<List, TextError> {
    let binder = Binder { source };
    let mut list = List::default();
    for group in syntax::groups(source)? {
        binder.entry(schema, &mut list, &group.items, group.at)?;
    }
    Ok(list)
}

/// Binds the items of a message to the members of an rpc's input or output.
pub fn message(schema: &Members, source: &str, item: &Item) -> Result<Container, TextError> {
    let binder = Binder { source };
    let Body::Block(items) = &item.body else {
        return Err(binder.shape(item, "a block in braces"));
    };
    let container = binder.members(schema, items)?;
    binder.complete(schema, &container, item.at)?;
    Ok(container)
}

struct Binder<'a> {
    source: &'a str,
}

impl Binder<'_> {
    fn members(&self, schema: &Members, items: &[Item]) -> Result<Container, TextError> {
        let mut container = Container::default();
        for item in items {
            let node = self.node(schema, item)?;
            self.exclusive(schema, &container, node, item)?;
            self.member(&mut container, node, item)?;
        }
        Ok(container)
    }

    fn node<'s>(&self, schema: &'s Members, item: &Item) -> Result<&'s Node, TextError> {
        match schema.node(item.keyword) {
            Some(node) if node.config => Ok(node),
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
                self.complete(schema, &inner, item.at)?;
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
        self.complete(&schema.members, &entry, at)?;
        let key = Key(key);
        if list.entries.contains_key(&key) {
            let names: Vec<_> = key.0.iter().map(Value::to_string).collect();
            return Err(self.error(at, Problem::DuplicateKey(names.join(" "))));
        }
        list.entries.insert(key, entry.into());
        Ok(())
    }

    fn value(&self, name: &str, kind: &Type, text: &str, at: usize) -> Result<Value, TextError> {
        let invalid = |error| Problem::Value { name: name.to_string(), error: Box::new(error) };
        kind.parse(text).map_err(|error| self.error(at, invalid(error)))
    }

    /// No member may be in another case of a choice than those before it.
    fn exclusive(
        &self,
        schema: &Members,
        seen: &Container,
        node: &Node,
        item: &Item,
    ) -> Result<(), TextError> {
        if node.cases.is_empty() {
            return Ok(());
        }
        for other in seen.members.keys().filter_map(|name| schema.node(name)) {
            if let Some((case, _)) = node.conflict(other) {
                let problem = Problem::Choice {
                    choice: case.choice.to_string(),
                    first: other.name.to_string(),
                    second: node.name.to_string(),
                };
                return Err(self.error(item.at, problem));
            }
        }
        Ok(())
    }

    fn complete(&self, schema: &Members, container: &Container, at: usize) -> Result<(), TextError> {
        match validate::missing(schema, container) {
            Some(name) => Err(self.error(at, Problem::Missing(name.to_string()))),
            None => Ok(()),
        }
    }

    fn shape(&self, item: &Item, expected: &'static str) -> TextError {
        self.error(item.at, Problem::Shape { name: item.keyword.to_string(), expected })
    }

    fn error(&self, at: usize, problem: Problem) -> TextError {
        TextError::new(self.source, at, problem)
    }
}
