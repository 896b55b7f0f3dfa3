// SPDX-License-Identifier: Apache-2.0
//! The configuration of the gateway: the text that operators write, and the types that the program uses.
//!
//! ```text
//!            set, add, remove                    validate            convert
//!   Document ────────────────► candidate tree ──────────────► tree ──────────► Config ──► Document
//!      │                            │ syntax, types,           mandatory,        │ what the model
//!      │ get                        │ paths                    unique, ...       │ cannot say
//!      ▼                            ▼                            ▼               ▼
//!     text                       Rejected ◄───────────────────────────────────────
//! ```
//!
//! A [`Document`] is valid by construction: there is no way to one but through every check. An edit yields another
//! document, so a rejected one leaves nothing behind. Documents share what they have in common; to copy one is
//! cheap, whatever its size.
//!
//! [`Config`] is what the rest of the program sees: addresses, networks, keys, with the defaults of the model filled
//! in. [`Difference`] tells what a change touches. [`State`] is the other way: counters to text.
//!
//! Security associations are part of a document only where they are configured (`data-plane true`). Otherwise the key
//! exchange makes them: [`Document::print_live`] shows them, and whoever writes them is told that they are dropped.

mod check;
mod convert;
mod describe;
mod difference;
mod document;
mod live;
mod state;
mod typed;

pub use check::Refusal;
pub use difference::{Changes, Difference};
pub use document::{Document, Rejected, named};
pub use live::LiveAssociation;
pub use state::State;
pub use typed::{
    Aead, AeadKey, Association, Config, Gateway, Key32, Link, PrivateInterface, PublicInterface, Route,
    Secret,
};

use crate::yang::schema::Schema;
use std::sync::LazyLock;

/// Name of the module that describes configuration and state.
pub const SCHEMA: &str = "vita-esp-gateway";

/// Its text.
pub fn schema_source() -> &'static str {
    include_str!("../../yang/vita-esp-gateway.yang")
}

/// The model of configuration and state: what paths lead to, and what values are.
pub fn schema() -> &'static Schema {
    &MODEL
}

static MODEL: LazyLock<Schema> = LazyLock::new(|| {
    let imports = [crate::yang::IETF_YANG_TYPES, crate::yang::IETF_INET_TYPES];
    Schema::compile(schema_source(), &imports, &SECRET)
        .expect("the module is part of the program, and the tests compile it")
});

/// Types whose values must not appear in messages.
const SECRET: [&str; 3] = ["key32", "aead-key", "key4"];

#[cfg(test)]
mod tests;
