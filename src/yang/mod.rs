// SPDX-License-Identifier: Apache-2.0
//! Data described by YANG modules (RFC 7950), in the textual form that `snabb config` speaks.
//!
//! ```text
//!   .yang files ── statement ──► schema (types, nodes, choices, keys, rpcs)
//!                                   │
//!   text ── syntax ──► bind ────────┤──► data (immutable, shared subtrees)
//!   JSON ── json ───────────────────┤      │  ▲
//!   path ── path ───────────────────┤      │  └── edit: set, add, remove
//!                                   │      ▼
//!                                validate, format ──► text (print), JSON (json), lines (flat)
//! ```
//!
//! The room knows nothing of gateways: whoever uses it brings the modules. A value gets its type, with every
//! pattern and range, when it is read; rules that relate several nodes (mandatory, unique, min-elements,
//! choices) are checked by [`validate`] on a whole tree, so that an edit is judged by what comes out of it.
//!
//! Modules are read with the lexer of the yang-rs crate, which knows YANG's quoting, concatenation and comments.
//! Its statement types are not used: they drop enumerations, unions and leafrefs, and lose the order of
//! statements. Only modules compiled into the program are read this way, never input.
//!
//! Limits: of the built-in types, integers, strings, booleans and enumerations; no must, when, augment, refine,
//! leafref, identityref, submodules or typedefs inside of nodes. A module that uses any of these is refused as a
//! whole rather than understood by half. Leaf-lists exist in messages only, paths do not lead into them.

mod bind;
mod cursor;
pub mod data;
pub mod edit;
mod flat;
pub mod format;
pub mod json;
pub mod path;
pub mod print;
pub mod rpc;
pub mod schema;
pub mod statement;
mod syntax;
pub mod text;
pub mod types;
pub mod validate;

#[cfg(test)]
mod tests;

/// The standard types of RFC 6991 that other modules import.
pub const IETF_YANG_TYPES: &str = include_str!("../../yang/ietf/ietf-yang-types.yang");
/// The standard types of RFC 6991 for addresses and ports.
pub const IETF_INET_TYPES: &str = include_str!("../../yang/ietf/ietf-inet-types.yang");

/// Deepest nesting that text or a module may have. What the modules here describe needs four levels; the bound
/// keeps hostile text from exhausting the stack.
const MAX_DEPTH: usize = 32;
