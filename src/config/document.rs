// SPDX-License-Identifier: Apache-2.0
//! Documents, the edits that clients make, and why one is rejected.

use super::check::{self, Refusal};
use super::live::{self, INBOUND, LiveAssociation, OUTBOUND};
use super::warning::{self, Warning};
use super::{Config, convert, schema};
use crate::yang::data::{Container, Data, Value};
use crate::yang::edit::{self, EditError, UNNAMED};
use crate::yang::format::{self, Format};
use crate::yang::path::{Path, PathError};
use crate::yang::print::Shown;
use crate::yang::text::{self, Position};
use crate::yang::validate::{self, Invalid};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// A valid configuration, as a tree and as types.
#[derive(Clone)]
pub struct Document {
    root: Arc<Container>,
    config: Arc<Config>,
    ignored_associations: usize,
}

/// Why a request was rejected. The message names the path, the value, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(
        "{0}: SA database is auto-managed (data-plane option is not set): the key exchange makes its entries; \
         to configure them, set /data-plane true"
    )]
    AutoManaged(String),
    #[error("{0} is configuration: it can be read with get only")]
    NotState(String),
    #[error("{0} is no leaf of state that could have this value")]
    NoSuchState(String),
    /// One of the others, and where in the text the node stands that it is about.
    #[error("{}", .0.mark(UNNAMED, &.1.to_string()))]
    At(Position, Box<Rejected>),
}

impl Rejected {
    /// The message for a text that has a name: `FILE:LINE:COLUMN: what is wrong`, the line, and a caret.
    pub fn in_file(&self, name: &str) -> String {
        named(&self.to_string(), name)
    }
}

/// The text of a file. What is not UTF-8 is refused with its place.
pub fn decode(bytes: Vec<u8>) -> Result<String, Rejected> {
    let rejected = |error| EditError::Text { path: "/".to_string(), error: Box::new(error) };
    text::decode(bytes).map_err(|error| rejected(error).into())
}

/// Puts the name of a file in a message about a text whose name the author of the message did not know.
pub fn named(message: &str, name: &str) -> String {
    match message.strip_prefix(UNNAMED) {
        Some(place) => format!("{name}{place}"),
        None => message.to_string(),
    }
}

impl Document {
    /// What a gateway has before it is configured.
    pub fn empty() -> Document {
        Document::parse("")
            .expect("the model has no mandatory node at the top, and a test reads the empty text")
    }

    /// Reads a whole configuration, from text or JSON.
    pub fn parse(text: &str) -> Result<Document, Rejected> {
        let path = Path::root(&schema().root);
        Document::accept(edit::set(schema(), &Arc::default(), &path, text)?, None)
            .map_err(|error| error.at(text))
    }

    /// Reads a whole configuration from the bytes of a file, which have to be UTF-8.
    pub fn parse_bytes(bytes: Vec<u8>) -> Result<Document, Rejected> {
        Document::parse(&decode(bytes)?)
    }

    /// Replaces what stands at a path.
    pub fn set(&self, path: &str, value: &str) -> Result<Document, Rejected> {
        let path = self.writable(path)?;
        let accepted = Document::accept(edit::set(schema(), &self.root, &path, value)?, Some(self));
        accepted.map_err(|error| if path.steps.is_empty() { error.at(value) } else { error })
    }

    /// Adds entries to a list.
    pub fn add(&self, path: &str, value: &str) -> Result<Document, Rejected> {
        Document::accept(edit::add(schema(), &self.root, &self.writable(path)?, value)?, Some(self))
    }

    /// Removes an entry from a list.
    pub fn remove(&self, path: &str) -> Result<Document, Rejected> {
        Document::accept(edit::remove(&self.root, &self.writable(path)?)?, Some(self))
    }

    /// The text of what stands at a path. That of `/` can be parsed again, and yields the same document.
    pub fn get(&self, path: &str, print_default: bool) -> Result<String, Rejected> {
        self.print(path, Format::Yang, print_default)
    }

    /// What stands at a path, in any format.
    pub fn print(&self, path: &str, format: Format, print_default: bool) -> Result<String, Rejected> {
        self.print_live(path, format, print_default, Vec::new)
    }

    /// As [`Document::print`]; in the lists that the key manager keeps stand the associations that it made.
    pub fn print_live<'a>(
        &self,
        path: &str,
        format: Format,
        print_default: bool,
        live: impl FnOnce() -> Vec<LiveAssociation<'a>>,
    ) -> Result<String, Rejected> {
        let path = Path::resolve(&schema().root, path)?;
        if path.begins_with(STATE) {
            return Err(EditError::State(path.to_string()).into());
        }
        let shown = if print_default { Shown::WithDefaults } else { Shown::Explicit };
        let shows_live = path.steps.is_empty() || shows_associations(&path);
        let mut root = self.root.clone();
        if shows_live && !is_manual(&root) {
            live::fill(&mut root, &live());
        }
        Ok(format::print(schema(), &root, &path, format, shown)?)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many associations the text contained that led to this document, and were left out, because without
    /// data-plane the key manager keeps these lists; an operator who wrote them should be told.
    pub fn ignored_associations(&self) -> usize {
        self.ignored_associations
    }

    /// What an operator should be told of a valid configuration.
    pub fn warnings(&self) -> Vec<Warning> {
        warning::warnings(&self.config)
    }

    /// What [`Document::warnings`] has that another document has not.
    pub fn warnings_since(&self, before: &Document) -> Vec<Warning> {
        let known: HashSet<Warning> = before.warnings().into_iter().collect();
        self.warnings().into_iter().filter(|warning| !known.contains(warning)).collect()
    }

    /// Whether nothing at all is configured.
    pub fn is_empty(&self) -> bool {
        self.root.members.is_empty()
    }

    /// What another document has and this one has nothing of, if there is such a thing: a file that was cut short
    /// looks like this.
    pub fn removes_all_of(&self, before: &Document) -> Option<&'static str> {
        let (old, new) = (&before.config, &self.config);
        if !before.is_empty() && self.is_empty() {
            Some("configuration")
        } else if !old.routes.is_empty() && new.routes.is_empty() {
            Some("route")
        } else if !old.public.is_empty() && new.public.is_empty() {
            Some("public interface")
        } else if !old.private.is_empty() && new.private.is_empty() {
            Some("private interface")
        } else {
            None
        }
    }

    /// A path that clients may change.
    fn writable(&self, path: &str) -> Result<Path<'static>, Rejected> {
        let path = Path::resolve(&schema().root, path)?;
        if shows_associations(&path) && !is_manual(&self.root) {
            return Err(Rejected::AutoManaged(path.to_string()));
        }
        Ok(path)
    }

    /// Checks a tree. What it shares with that of a document, which is valid, is not checked again.
    fn accept(mut root: Arc<Container>, before: Option<&Document>) -> Result<Document, Rejected> {
        validate::validate(&schema().root, &root, before.map(|before| &*before.root))?;
        let mut ignored_associations = 0;
        let managed = if is_manual(&root) { &[][..] } else { &ASSOCIATIONS };
        for &name in managed {
            if let Some(Data::List(list)) = root.members.get(name) {
                ignored_associations += list.entries.len();
                Arc::make_mut(&mut root).members.remove(name);
            }
        }
        let config = convert::convert(&root, before.map(|before| (&*before.root, &*before.config)))?;
        check::check(&config, before.map(|before| &*before.config))?;
        Ok(Document { root, config: Arc::new(config), ignored_associations })
    }
}

impl Rejected {
    /// With the place in a whole document of the node that this is about, if it can be found.
    fn at(self, text: &str) -> Rejected {
        let path = match &self {
            Rejected::Invalid(invalid) => invalid.path.clone(),
            Rejected::Refused(refusal) => refusal.path(),
            _ => return self,
        };
        match text::find(&schema().root, text, &path) {
            Some(place) => Rejected::At(place, Box::new(self)),
            None => self,
        }
    }
}

/// Documents are equal if their text is.
impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

/// Shows no text: it contains keys.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

fn shows_associations(path: &Path) -> bool {
    ASSOCIATIONS.iter().any(|name| path.begins_with(name))
}

/// Whether associations are configured, not negotiated.
fn is_manual(root: &Container) -> bool {
    root.value("data-plane").and_then(Value::as_bool).unwrap_or(false)
}

/// The container of all state.
pub(super) const STATE: &str = "gateway-state";
/// Lists that the key manager keeps, unless data-plane is true.
const ASSOCIATIONS: [&str; 2] = [OUTBOUND, INBOUND];
