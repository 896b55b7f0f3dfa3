// SPDX-License-Identifier: Apache-2.0
//! State, as clients read it.

use super::document::{Rejected, STATE};
use super::schema;
use crate::yang::data::{Container, Value};
use crate::yang::edit;
use crate::yang::format::{self, Format};
use crate::yang::path::Path;
use crate::yang::print::Shown;
use std::sync::Arc;

/// A snapshot of `gateway-state`, filled leaf by leaf.
#[derive(Debug, Clone, Default)]
pub struct State {
    root: Arc<Container>,
}

impl State {
    /// The state of a gateway that has no worker.
    pub fn new() -> State {
        State::default()
    }

    /// Sets a leaf, such as `["gateway-state", "private-router", "mtu-errors"]`. A step into a list names its entry:
    /// `"inbound-sa[queue=1][spi=300]"`; the entry is made if need be.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) -> Result<(), Rejected> {
        let text = path.join("/");
        let path = Path::resolve(&schema().root, &text)?;
        if path.begins_with(STATE) && edit::put(&mut self.root, &path, value.into()) {
            Ok(())
        } else {
            Err(Rejected::NoSuchState(text))
        }
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
