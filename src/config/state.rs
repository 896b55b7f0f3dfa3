// SPDX-License-Identifier: Apache-2.0
//! State, as clients read it.

use super::document::{Rejected, STATE};
use super::schema;
use crate::yang::data::{Container, Data, Key, Value};
use crate::yang::edit;
use crate::yang::format::{self, Format};
use crate::yang::path::{Path, Step};
use crate::yang::print::Shown;
use crate::yang::schema::{Kind, List, Members};
use std::sync::Arc;

/// A snapshot of `gateway-state`, or of a part of it, filled leaf by leaf, and entry by entry where there are many.
#[derive(Debug, Clone, Default)]
pub struct State {
    root: Arc<Container>,
    /// Where the part is. What is elsewhere is not taken.
    part: Vec<Step>,
}

/// An entry of a list while it is filled.
pub struct Entry<'s> {
    schema: &'s Members,
    container: Container,
    /// A leaf that the model does not have.
    wrong: Option<String>,
}

impl State {
    /// The state of a gateway that has no worker.
    pub fn new() -> State {
        State::default()
    }

    /// That which is to have what stands at a path, and need not have the rest.
    pub fn at(path: &str) -> Result<State, Rejected> {
        Ok(State { part: Path::resolve(&schema().root, path)?.steps, ..State::default() })
    }

    /// Whether anything at or below these nodes is in the part.
    pub fn wants(&self, path: &[&str]) -> bool {
        let is_same = |(step, name): (&Step, &&str)| name.split('[').next() == Some(&step.name);
        self.part.iter().zip(path).all(is_same)
    }

    /// Sets a leaf, if it is in the part, such as `["gateway-state", "private-router", "mtu-errors"]`. A step into a list names its entry:
    /// `"inbound-sa[queue=1][spi=300]"`; the entry is made if need be.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) -> Result<(), Rejected> {
        if !self.wants(path) {
            return Ok(());
        }
        let text = path.join("/");
        let path = Path::resolve(&schema().root, &text)?;
        if path.begins_with(STATE) && edit::put(&mut self.root, &path, value.into()) {
            Ok(())
        } else {
            Err(Rejected::NoSuchState(text))
        }
    }

    /// Has an entry in a list at the top of `gateway-state`, filled by `fill`, if it is in the part. For where there are
    /// thousands: nothing is looked up by path.
    pub fn entry(
        &mut self,
        list: &str,
        key: &[(&str, Value)],
        fill: impl FnOnce(&mut Entry<'_>),
    ) -> Result<(), Rejected> {
        let unknown = |leaf: &str| Rejected::NoSuchState(format!("{STATE}/{list}{leaf}"));
        let schema = list_of_state(list).ok_or_else(|| unknown(""))?;
        let value =
            |name: &Arc<str>| key.iter().find(|(given, _)| **given == **name).map(|(_, value)| value.clone());
        let key: Option<Vec<Value>> = schema.keys.iter().map(value).collect();
        let key = Key(key.ok_or_else(|| unknown(""))?);
        let other_key = |step: &Step| step.key.as_ref().is_some_and(|(_, wanted)| *wanted != key);
        if !self.wants(&[STATE, list]) || self.part.get(1).is_some_and(other_key) {
            return Ok(());
        }
        let keys = schema.keys.iter().zip(&key.0);
        let members = keys.map(|(name, value)| (name.clone(), Data::Leaf(value.clone()))).collect();
        let mut entry = Entry { schema: &schema.members, container: Container { members }, wrong: None };
        fill(&mut entry);
        if let Some(leaf) = entry.wrong {
            return Err(unknown(&format!("/{leaf}")));
        }
        let state = Arc::make_mut(&mut self.root).members.entry(STATE.into());
        let state = state.or_insert_with(|| Data::Container(Arc::default()));
        let Data::Container(state) = state else { return Err(unknown("")) };
        let entries = Arc::make_mut(state).members.entry(list.into());
        let entries = entries.or_insert_with(|| Data::List(Arc::default()));
        let Data::List(entries) = entries else { return Err(unknown("")) };
        Arc::make_mut(entries).entries.insert(key, Arc::new(entry.container));
        Ok(())
    }

    /// The text of what stands at a path.
    pub fn get(&self, path: &str, print_default: bool) -> Result<String, Rejected> {
        self.print(path, Format::Yang, print_default)
    }

    /// What stands at a path, in any format.
    pub fn print(&self, path: &str, format: Format, print_default: bool) -> Result<String, Rejected> {
        let path = Path::resolve(&schema().root, path)?;
        if !path.steps.is_empty() && !path.begins_with(STATE) {
            return Err(Rejected::NotState(path.to_string()));
        }
        // At the root, only state is present: defaults of configuration leaves do not belong there.
        let defaults = print_default && !path.steps.is_empty();
        let shown = if defaults { Shown::WithDefaults } else { Shown::Explicit };
        Ok(format::print(schema(), &self.root, &path, format, shown)?)
    }
}

impl Entry<'_> {
    /// Sets a leaf, such as `["inbound", "packets"]`.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        if !put(self.schema, &mut self.container, path, value.into()) {
            self.wrong.get_or_insert_with(|| path.join("/"));
        }
    }
}

/// Whether there is such a leaf.
fn put(schema: &Members, container: &mut Container, path: &[&str], value: Value) -> bool {
    let Some((name, rest)) = path.split_first() else { return false };
    let Some(node) = schema.node(name) else { return false };
    match &node.kind {
        Kind::Leaf(leaf) if rest.is_empty() => {
            debug_assert!(leaf.kind.parse(&value.to_string()).as_ref() == Ok(&value), "{name} {value}");
            container.members.insert(node.name.clone(), Data::Leaf(value));
            true
        }
        Kind::Container(schema) => {
            let inner = container.members.entry(node.name.clone());
            match inner.or_insert_with(|| Data::Container(Arc::default())) {
                Data::Container(inner) => put(schema, Arc::make_mut(inner), rest, value),
                _ => false,
            }
        }
        _ => false,
    }
}

fn list_of_state(name: &str) -> Option<&'static List> {
    let Kind::Container(members) = &schema().root.node(STATE)?.kind else { return None };
    match &members.node(name)?.kind {
        Kind::List(list) => Some(list),
        _ => None,
    }
}
