// SPDX-License-Identifier: Apache-2.0
//! From syntax to data: names, types, keys and choices as the schema has them.

use super::data::{Container, Data, Key, List, Value};
use super::path::Step;
use super::schema::{self, Kind, Members, Node};
use super::syntax::{self, Body, Item, Reader};
use super::text::{Problem, TextError};
use super::types::Type;
use super::validate;
use std::sync::Arc;

/// The byte offset of the node that steps lead to, or of the nearest one above it; nothing if the text has none.
pub(super) fn place(schema: &Members, source: &str, steps: &[Step]) -> Option<usize> {
    let mut binder = Binder::new(source);
    let (mut members, mut at) = (schema, None);
    for step in steps {
        let kind = &members.node(&step.name)?.kind;
        loop {
            let Some(item) = binder.reader.statement().ok()? else { return at };
            if *item.keyword != *step.name {
                if matches!(item.body, Body::Block) {
                    binder.reader.skip().ok()?;
                }
                continue;
            }
            match (kind, &step.key, &item.body) {
                (Kind::List(list), Some((_, wanted)), Body::Block) => {
                    // The key may stand anywhere in the entry: what is read to find it is read again.
                    let inside = binder.reader.clone();
                    if binder.key(list).as_ref() != Some(wanted) {
                        continue;
                    }
                    binder.reader = inside;
                    members = &list.members;
                }
                (Kind::Container(inner), _, Body::Block) => members = inner,
                _ => return Some(item.at),
            }
            at = Some(item.at);
            break;
        }
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

pub(super) struct Binder<'a> {
    source: &'a str,
    reader: Reader<'a>,
    /// Whether state may be there.
    state: bool,
    /// Whether strings may have any character. Those of messages hold texts, which are judged when they are read.
    any_character: bool,
}

impl<'a> Binder<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Binder { source, reader: Reader::new(source), state: false, any_character: false }
    }

    pub(super) fn with_state(source: &'a str) -> Self {
        Binder { state: true, ..Binder::new(source) }
    }

    /// For messages of an rpc.
    pub(super) fn of_messages(source: &'a str) -> Self {
        Binder { any_character: true, ..Binder::new(source) }
    }

    /// The name of the next message; nothing at the end of the text.
    pub(super) fn message_name(&mut self) -> Result<Option<Item<'a>>, TextError> {
        let item = self.reader.statement()?;
        if item.is_none() {
            self.reader.end()?;
        }
        Ok(item)
    }

    /// The leaves of the message of that name: the members of an rpc's input or output.
    pub(super) fn message(&mut self, schema: &Members, item: &Item) -> Result<Container, TextError> {
        if !matches!(item.body, Body::Block) {
            return Err(self.shape(item, "a block in braces"));
        }
        self.block(schema, item.at)
    }

    /// The whole text as the members of a container.
    pub(super) fn whole(mut self, schema: &Members) -> Result<Container, TextError> {
        let container = self.members(schema, &[])?;
        self.reader.end()?;
        complete(schema, &container).map_err(|problem| self.error(self.source.len(), problem))?;
        Ok(container)
    }

    /// The whole text as the members of a list entry, without its key leaves, which the key supplies.
    pub(super) fn keyed(mut self, schema: &schema::List, key: &Key) -> Result<Container, TextError> {
        let mut container = self.members(&schema.members, &schema.keys)?;
        self.reader.end()?;
        for (name, value) in schema.keys.iter().zip(&key.0) {
            container.members.insert(name.clone(), Data::Leaf(value.clone()));
        }
        complete(&schema.members, &container).map_err(|problem| self.error(self.source.len(), problem))?;
        Ok(container)
    }

    /// The whole text as the value of a node.
    pub(super) fn node_value(mut self, node: &Node) -> Result<Data, TextError> {
        match &node.kind {
            Kind::Leaf(leaf) => self.only_value(&node.name, &leaf.kind).map(Data::Leaf),
            Kind::LeafList(kind) => {
                let mut values = Vec::new();
                while let Some(word) = self.reader.one_of_values()? {
                    values.push(self.value(&node.name, kind, &word.text, word.at)?);
                }
                self.reader.end()?;
                Ok(Data::LeafList(values))
            }
            Kind::Container(inner) => Ok(Data::Container(self.whole(inner)?.into())),
            Kind::List(schema) => {
                let mut list = List::default();
                while let Some(at) = self.reader.group()? {
                    self.entry(schema, &mut list, at)?;
                }
                self.reader.end()?;
                Ok(Data::List(list.into()))
            }
        }
    }

    /// The whole text as one value of a leaf-list.
    pub(super) fn single_value(mut self, node: &Node) -> Result<Data, TextError> {
        match &node.kind {
            Kind::LeafList(kind) => {
                self.only_value(&node.name, kind).map(|value| Data::LeafList(vec![value]))
            }
            _ => self.node_value(node),
        }
    }

    fn only_value(&mut self, name: &str, kind: &Type) -> Result<Value, TextError> {
        let word = self.reader.only_value()?;
        self.value(name, kind, &word.text, word.at)
    }

    /// The members of a block, up to its end; none may be one of those that are forbidden.
    fn members(&mut self, schema: &Members, forbidden: &[Arc<str>]) -> Result<Container, TextError> {
        let mut container = Container::default();
        while let Some(item) = self.reader.statement()? {
            if forbidden.iter().any(|name| **name == *item.keyword) {
                return Err(self.error(item.at, Problem::KeyInEntry(item.keyword.to_string())));
            }
            let node = self.node(schema, &item)?;
            exclusive(schema, &container, node).map_err(|problem| self.error(item.at, problem))?;
            self.member(&mut container, node, &item)?;
        }
        Ok(container)
    }

    /// The members of the block that begins at a place, and its end.
    fn block(&mut self, schema: &Members, at: usize) -> Result<Container, TextError> {
        let container = self.members(schema, &[])?;
        self.reader.close()?;
        complete(schema, &container).map_err(|problem| self.error(at, problem))?;
        Ok(container)
    }

    fn node<'s>(&self, schema: &'s Members, item: &Item) -> Result<&'s Node, TextError> {
        match schema.node(item.keyword) {
            Some(node) if node.config || self.state => Ok(node),
            Some(_) => Err(self.error(item.at, Problem::State(item.keyword.to_string()))),
            None => Err(self.error(item.at, Problem::Unknown(item.keyword.to_string()))),
        }
    }

    fn member(&mut self, container: &mut Container, node: &Node, item: &Item) -> Result<(), TextError> {
        let present = container.members.get_mut(&node.name);
        let data = match (&node.kind, &item.body, present) {
            (Kind::List(schema), Body::Block, Some(Data::List(list))) => {
                return self.entry(schema, Arc::make_mut(list), item.at);
            }
            (Kind::List(schema), Body::Block, _) => {
                let mut list = List::default();
                self.entry(schema, &mut list, item.at)?;
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
            (Kind::Leaf(_) | Kind::Container(_), _, Some(_)) => {
                return Err(self.error(item.at, Problem::Duplicate(item.keyword.to_string())));
            }
            (Kind::Leaf(leaf), Body::Value(word), None) => {
                Data::Leaf(self.value(item.keyword, &leaf.kind, &word.text, word.at)?)
            }
            (Kind::Container(schema), Body::Block, None) => {
                Data::Container(self.block(schema, item.at)?.into())
            }
            (Kind::Leaf(_) | Kind::LeafList(_), Body::Block, _) => {
                return Err(self.shape(item, "a value, not a block in braces"));
            }
            (Kind::Container(_) | Kind::List(_), Body::Value(_), _) => {
                return Err(self.shape(item, "a block in braces, not a value"));
            }
        };
        container.members.insert(node.name.clone(), data);
        Ok(())
    }

    /// The entry whose block begins at a place.
    fn entry(&mut self, schema: &schema::List, list: &mut List, at: usize) -> Result<(), TextError> {
        let mut entry = self.members(&schema.members, &[])?;
        self.reader.close()?;
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

    /// The key of the entry whose block was opened last, which is read to its end.
    fn key(&mut self, schema: &schema::List) -> Option<Key> {
        let mut values: Vec<Option<Value>> = schema.keys.iter().map(|_| None).collect();
        while let Some(item) = self.reader.statement().ok()? {
            let place = schema.keys.iter().position(|name| **name == *item.keyword);
            match (item.body, place) {
                (Body::Block, _) => self.reader.skip().ok()?,
                (Body::Value(word), Some(place)) => {
                    let kind = &schema.members.leaf(item.keyword)?.kind;
                    *values.get_mut(place)? = kind.parse(&word.text).ok();
                }
                (Body::Value(_), None) => {}
            }
        }
        self.reader.close().ok()?;
        let default = |name: &Arc<str>| schema.members.leaf(name).and_then(|leaf| leaf.default.clone());
        let values = schema.keys.iter().zip(values).map(|(name, value)| value.or_else(|| default(name)));
        values.collect::<Option<_>>().map(Key)
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
