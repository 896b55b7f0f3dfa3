// SPDX-License-Identifier: Apache-2.0
//! The calls and replies of the module snabb-config-leader-v1, as types.
//!
//! Both directions exist for both: the server reads requests and prints replies, the client the reverse.

use std::collections::BTreeMap;

use thiserror::Error;

use super::notation;

/// What is asked of an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Describe,
    GetSchema {
        schema: String,
        revision: Option<String>,
    },
    GetConfig(Query),
    GetState(Query),
    SetConfig(Edit),
    AddConfig(Edit),
    RemoveConfig {
        schema: String,
        revision: Option<String>,
        path: String,
    },
    /// Another rpc of the module.
    Unserved {
        rpc: String,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    pub schema: String,
    pub revision: Option<String>,
    pub path: String,
    pub print_default: bool,
    pub format: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    pub schema: String,
    pub revision: Option<String>,
    pub path: String,
    pub config: String,
}

/// What an instance answers: leaves by name, all as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    rpc: String,
    leaves: BTreeMap<String, String>,
}

/// Text that is no message of the protocol.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BadMessage {
    #[error("not a message of snabb-config-leader-v1: {0}")]
    Syntax(String),
    #[error("{rpc}: there is no such rpc in snabb-config-leader-v1")]
    UnknownRpc { rpc: String },
    #[error("{rpc}: {leaf} is missing")]
    Missing { rpc: String, leaf: &'static str },
    #[error("{rpc}: there is no input {leaf}")]
    UnknownLeaf { rpc: String, leaf: String },
    #[error("{rpc}: {leaf} is given twice")]
    Duplicate { rpc: String, leaf: String },
    #[error("{rpc}: {leaf} is not as the module says")]
    Value { rpc: String, leaf: &'static str },
}

impl Request {
    pub fn rpc(&self) -> &str {
        match self {
            Self::Describe => "describe",
            Self::GetSchema { .. } => "get-schema",
            Self::GetConfig(_) => "get-config",
            Self::GetState(_) => "get-state",
            Self::SetConfig(_) => "set-config",
            Self::AddConfig(_) => "add-config",
            Self::RemoveConfig { .. } => "remove-config",
            Self::Unserved { rpc } => rpc,
        }
    }
}

impl Reply {
    pub fn success(rpc: &str, leaves: Vec<(&str, String)>) -> Self {
        let leaves = leaves.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { rpc: rpc.to_owned(), leaves }
    }

    pub fn failure(rpc: &str, error: String) -> Self {
        Self::success(rpc, vec![("error", error), ("status", FAILED.to_string())])
    }

    pub fn leaf(&self, name: &str) -> Option<&str> {
        self.leaves.get(name).map(String::as_str)
    }

    pub fn error(&self) -> Option<&str> {
        self.leaf("error")
    }

    /// 0 for success; a status that is no number is a failure.
    pub fn status(&self) -> u8 {
        self.leaf("status").map_or(0, |status| status.parse().unwrap_or(FAILED))
    }
}

/// All calls of a payload; an error unless every one of them is understood.
pub fn parse_requests(text: &str) -> Result<Vec<Request>, BadMessage> {
    groups(text)?.into_iter().map(|(rpc, leaves)| request(Inputs { rpc, leaves })).collect()
}

pub fn print_request(request: &Request) -> String {
    let query = |query: &Query| {
        let print_default = if query.print_default { "true" } else { "false" };
        let mut leaves = common(&query.schema, &query.revision);
        leaves.extend([("path", query.path.clone()), ("print-default", print_default.to_owned())]);
        leaves.extend(query.format.clone().map(|format| ("format", format)));
        leaves
    };
    let edit = |edit: &Edit| {
        let mut leaves = common(&edit.schema, &edit.revision);
        leaves.extend([("path", edit.path.clone()), ("config", edit.config.clone())]);
        leaves
    };
    let leaves = match request {
        Request::Describe | Request::Unserved { .. } => vec![],
        Request::GetSchema { schema, revision } => common(schema, revision),
        Request::GetConfig(about) | Request::GetState(about) => query(about),
        Request::SetConfig(change) | Request::AddConfig(change) => edit(change),
        Request::RemoveConfig { schema, revision, path } => {
            let mut leaves = common(schema, revision);
            leaves.push(("path", path.clone()));
            leaves
        }
    };
    notation::print(request.rpc(), leaves)
}

/// The reply to a call of `rpc`, or `None` if the payload holds anything else.
pub fn parse_reply(rpc: &str, text: &str) -> Result<Option<Reply>, BadMessage> {
    let mut groups = groups(text)?.into_iter();
    Ok(match (groups.next(), groups.next()) {
        (Some((name, leaves)), None) if name == rpc => Some(Reply { rpc: name, leaves }),
        _ => None,
    })
}

pub fn print_reply(reply: &Reply) -> String {
    notation::print(
        &reply.rpc,
        reply.leaves.iter().map(|(name, value)| (name.as_str(), value.clone())).collect(),
    )
}

fn request(mut inputs: Inputs) -> Result<Request, BadMessage> {
    let request = match inputs.rpc.as_str() {
        "describe" => Request::Describe,
        "get-schema" => {
            Request::GetSchema { schema: inputs.required("schema")?, revision: inputs.optional("revision") }
        }
        "get-config" => Request::GetConfig(inputs.query()?),
        "get-state" => Request::GetState(inputs.query()?),
        "set-config" => {
            let path = inputs.optional("path").unwrap_or_else(|| ROOT.to_owned());
            Request::SetConfig(inputs.edit(path)?)
        }
        "add-config" => {
            let path = inputs.required("path")?;
            Request::AddConfig(inputs.edit(path)?)
        }
        "remove-config" => Request::RemoveConfig {
            schema: inputs.required("schema")?,
            revision: inputs.optional("revision"),
            path: inputs.required("path")?,
        },
        rpc if UNSERVED.contains(&rpc) => return Ok(Request::Unserved { rpc: inputs.rpc }),
        _ => return Err(BadMessage::UnknownRpc { rpc: inputs.rpc }),
    };
    inputs.finish()?;
    Ok(request)
}

/// The leaves of a call, each to be taken once.
struct Inputs {
    rpc: String,
    leaves: BTreeMap<String, String>,
}

impl Inputs {
    fn query(&mut self) -> Result<Query, BadMessage> {
        let print_default = match self.optional("print-default").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(BadMessage::Value { rpc: self.rpc.clone(), leaf: "print-default" }),
        };
        Ok(Query {
            schema: self.required("schema")?,
            revision: self.optional("revision"),
            path: self.optional("path").unwrap_or_else(|| ROOT.to_owned()),
            print_default,
            format: self.optional("format"),
        })
    }

    fn edit(&mut self, path: String) -> Result<Edit, BadMessage> {
        Ok(Edit {
            schema: self.required("schema")?,
            revision: self.optional("revision"),
            path,
            config: self.required("config")?,
        })
    }

    fn required(&mut self, leaf: &'static str) -> Result<String, BadMessage> {
        self.optional(leaf).ok_or_else(|| BadMessage::Missing { rpc: self.rpc.clone(), leaf })
    }

    fn optional(&mut self, leaf: &str) -> Option<String> {
        self.leaves.remove(leaf)
    }

    fn finish(self) -> Result<(), BadMessage> {
        match self.leaves.into_keys().next() {
            Some(leaf) => Err(BadMessage::UnknownLeaf { rpc: self.rpc, leaf }),
            None => Ok(()),
        }
    }
}

fn groups(text: &str) -> Result<Vec<(String, BTreeMap<String, String>)>, BadMessage> {
    let parsed = notation::parse(text).map_err(BadMessage::Syntax)?;
    let unique = |(rpc, pairs): notation::Group| {
        let mut leaves = BTreeMap::new();
        for (leaf, value) in pairs {
            if leaves.contains_key(&leaf) {
                return Err(BadMessage::Duplicate { rpc, leaf });
            }
            leaves.insert(leaf, value);
        }
        Ok((rpc, leaves))
    };
    parsed.into_iter().map(unique).collect()
}

fn common(schema: &str, revision: &Option<String>) -> Vec<(&'static str, String)> {
    let mut leaves = vec![("schema", schema.to_owned())];
    leaves.extend(revision.clone().map(|revision| ("revision", revision)));
    leaves
}

const ROOT: &str = "/";

/// The status deployed instances report every failure with.
const FAILED: u8 = 1;

const UNSERVED: [&str; 6] = [
    "get-alarms-state",
    "attach-listener",
    "attach-notification-listener",
    "set-alarm-operator-state",
    "purge-alarms",
    "compress-alarms",
];
