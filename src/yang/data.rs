// SPDX-License-Identifier: Apache-2.0
//! Instance data: values, containers and keyed lists.
//!
//! Containers and lists are sorted and sit behind `Arc`s, so that a copy of a tree is cheap and an edit copies
//! only what lies on its path.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The value of a leaf. Wide enough for every integer type of YANG.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    Integer(i128),
    Boolean(bool),
    Text(Arc<str>),
}

/// The values of the key leaves of a list entry, in the order of the list's key statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<Value>);

/// What stands at a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Leaf(Value),
    LeafList(Vec<Value>),
    Container(Arc<Container>),
    List(Arc<List>),
}

/// Members by name. The entries of a list are containers too, and hold their key leaves.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Container {
    pub members: BTreeMap<Arc<str>, Data>,
}

/// Entries by key.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct List {
    pub entries: BTreeMap<Key, Arc<Container>>,
}

impl Container {
    pub fn value(&self, name: &str) -> Option<&Value> {
        match self.members.get(name) {
            Some(Data::Leaf(value)) => Some(value),
            _ => None,
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_text()
    }

    pub fn container(&self, name: &str) -> Option<&Arc<Container>> {
        match self.members.get(name) {
            Some(Data::Container(container)) => Some(container),
            _ => None,
        }
    }

    /// The entries of a list, sorted by key; none if the list is absent.
    pub fn entries(&self, name: &str) -> impl Iterator<Item = &Arc<Container>> {
        let list = match self.members.get(name) {
            Some(Data::List(list)) => Some(list),
            _ => None,
        };
        list.into_iter().flat_map(|list| list.entries.values())
    }
}

impl List {
    /// Entries that another list does not share with this one, sorted by key.
    pub fn changed_since<'a>(&'a self, before: &List) -> Vec<(&'a Key, &'a Arc<Container>)> {
        let mut before = before.entries.iter().peekable();
        let mut changed = Vec::new();
        for (key, entry) in &self.entries {
            while before.next_if(|(other, _)| *other < key).is_some() {}
            let shared = before.next_if(|(other, old)| *other == key && Arc::ptr_eq(old, entry));
            if shared.is_none() {
                changed.push((key, entry));
            }
        }
        changed
    }
}

impl Value {
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, if it fits.
    pub fn as_number<N: TryFrom<i128>>(&self) -> Option<N> {
        match self {
            Value::Integer(number) => N::try_from(*number).ok(),
            _ => None,
        }
    }
}

/// Without quotes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(number) => write!(f, "{number}"),
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Text(text) => write!(f, "{text}"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Boolean(value)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Integer(number.into())
    }
}
