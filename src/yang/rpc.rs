// SPDX-License-Identifier: Apache-2.0
//! The messages of snabb-config-leader-v1: `get-config { path "/mtu"; schema example; }`.
//!
//! A payload holds any number of calls, or of replies, each the name of an rpc and a block of its leaves. Unlike in
//! data, white space between name and block is required.

use super::bind::Binder;
use super::data::{Container, Data, Value};
use super::print;
use super::schema::{Members, Schema, SchemaError};
use super::text::{Problem, TextError};
use super::validate;
use std::sync::LazyLock;

/// One call or reply: the name of an rpc, and leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub name: String,
    pub leaves: Leaves,
}

/// The leaves of a call or reply.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Leaves(Container);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    #[error("{0}")]
    Text(Box<TextError>),
    #[error("the rpc schema does not compile: {0}")]
    Schema(&'static SchemaError),
    #[error("there is no rpc '{0}'")]
    UnknownRpc(String),
    #[error("rpc {rpc} has no leaf '{name}' that could have this value")]
    UnknownLeaf { rpc: String, name: String },
    #[error("more than {MAX_MESSAGES} calls; send several requests")]
    TooMany,
    #[error("rpc {rpc} needs {name}")]
    Missing { rpc: String, name: String },
}

/// Reads the calls that a client sends.
pub fn parse_calls(text: &str) -> Result<Vec<Message>, RpcError> {
    parse(text, Side::Input)
}

/// Reads the replies that a daemon sends.
pub fn parse_replies(text: &str) -> Result<Vec<Message>, RpcError> {
    parse(text, Side::Output)
}

/// Prints a call. Leaves must be those of the rpc, complete and of the right type.
pub fn print_call(name: &str, leaves: &Leaves) -> Result<String, RpcError> {
    print(name, leaves, Side::Input)
}

/// Prints a reply.
pub fn print_reply(name: &str, leaves: &Leaves) -> Result<String, RpcError> {
    print(name, leaves, Side::Output)
}

impl Leaves {
    pub fn new() -> Self {
        Leaves::default()
    }

    /// The same with one leaf more. Numbers and booleans may be given as text.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.into(), Data::Leaf(value.into()));
        self
    }

    /// The value of a leaf as text, whatever its type.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.value(name).map(Value::to_string)
    }

    /// Names and values of all leaves, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.members.iter().filter_map(|(name, data)| match data {
            Data::Leaf(value) => Some((&**name, value)),
            _ => None,
        })
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.value(name)?.as_number()
    }

    /// Whether a boolean leaf is there and true.
    pub fn flag(&self, name: &str) -> bool {
        self.0.value(name).and_then(Value::as_bool).unwrap_or(false)
    }
}

#[derive(Clone, Copy)]
enum Side {
    Input,
    Output,
}

fn parse(text: &str, side: Side) -> Result<Vec<Message>, RpcError> {
    let mut messages = Vec::new();
    let mut binder = Binder::of_messages(text);
    while let Some(item) = binder.message_name().map_err(text_error)? {
        if messages.len() >= MAX_MESSAGES {
            return Err(RpcError::TooMany);
        }
        if !item.spaced {
            let problem = Problem::Unexpected {
                expected: "white space between the name of an rpc and '{'",
                found: Some("{".to_string()),
            };
            return Err(text_error(TextError::new(text, item.at + item.keyword.len(), problem)));
        }
        let schema = members(item.keyword, side)?;
        let leaves = Leaves(binder.message(schema, &item).map_err(text_error)?);
        messages.push(Message { name: item.keyword.to_string(), leaves });
    }
    Ok(messages)
}

fn print(name: &str, leaves: &Leaves, side: Side) -> Result<String, RpcError> {
    let schema = members(name, side)?;
    let mut container = Container::default();
    for (leaf, data) in &leaves.0.members {
        let data = match (data, schema.leaf(leaf)) {
            (Data::Leaf(value), Some(leaf)) => leaf.kind.parse(&value.to_string()).ok().map(Data::Leaf),
            (other, None) => schema.node(leaf).map(|_| other.clone()),
            _ => None,
        };
        let unknown = || RpcError::UnknownLeaf { rpc: name.to_string(), name: leaf.to_string() };
        container.members.insert(leaf.clone(), data.ok_or_else(unknown)?);
    }
    if let Some(missing) = validate::missing(schema, &container) {
        return Err(RpcError::Missing { rpc: name.to_string(), name: missing.to_string() });
    }
    Ok(print::block(name, schema, &container, print::Shown::Present))
}

fn text_error(error: TextError) -> RpcError {
    RpcError::Text(Box::new(error))
}

fn members(name: &str, side: Side) -> Result<&'static Members, RpcError> {
    let schema = PROTOCOL.as_ref().map_err(RpcError::Schema)?;
    let rpc = schema.rpcs.get(name).ok_or_else(|| RpcError::UnknownRpc(name.to_string()))?;
    Ok(match side {
        Side::Input => &rpc.input,
        Side::Output => &rpc.output,
    })
}

/// Clients send one call per request; a request of many only multiplies the work and memory of one turn.
const MAX_MESSAGES: usize = 256;

/// The module of the messages.
pub const MODULE: &str = include_str!("../../yang/snabb-config-leader-v1.yang");
/// Its name.
pub const MODULE_NAME: &str = "snabb-config-leader-v1";

static PROTOCOL: LazyLock<Result<Schema, SchemaError>> = LazyLock::new(|| Schema::compile(MODULE, &[], &[]));
