// SPDX-License-Identifier: Apache-2.0
//! The calls and replies of the module snabb-config-leader-v1, as types.
//!
//! Both directions exist for both: the server reads requests and prints replies, the client the reverse.

use thiserror::Error;

use super::extension::{Change, Extended, Extension};
use crate::yang::rpc::{self, Leaves, Message, RpcError};

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
    /// What deployed instances do not know.
    Extended(Extended),
    /// Reserves the right to change the configuration for this connection.
    AttachListener {
        schema: String,
        revision: Option<String>,
    },
    GetAlarmsState(Query),
    SetAlarmOperatorState {
        schema: String,
    },
    PurgeAlarms {
        schema: String,
    },
    CompressAlarms {
        schema: String,
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

/// What an instance answers to a call.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    rpc: String,
    leaves: Leaves,
}

/// Text that is no message of the protocol. Shown without the text: it may hold keys.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("not a message of snabb-config-leader-v1: {}", concise(.0))]
pub struct BadMessage(#[from] RpcError);

impl Request {
    /// The name of the RPC.
    pub fn rpc(&self) -> &str {
        match self {
            Self::Describe => "describe",
            Self::GetSchema { .. } => "get-schema",
            Self::GetConfig(_) => "get-config",
            Self::GetState(_) => "get-state",
            Self::SetConfig(_) => "set-config",
            Self::AddConfig(_) => "add-config",
            Self::RemoveConfig { .. } => "remove-config",
            Self::Extended(extended) => extended.rpc(),
            Self::AttachListener { .. } => "attach-listener",
            Self::GetAlarmsState(_) => "get-alarms-state",
            Self::SetAlarmOperatorState { .. } => "set-alarm-operator-state",
            Self::PurgeAlarms { .. } => "purge-alarms",
            Self::CompressAlarms { .. } => "compress-alarms",
            Self::Unserved { rpc } => rpc,
        }
    }

    /// The same, to be tried only. Requests that change nothing stay as they are.
    pub fn dry_run(self) -> Request {
        let (schema, revision, change) = match self {
            Request::SetConfig(Edit { schema, revision, path, config }) => {
                (schema, revision, Change::Set { path, config })
            }
            Request::AddConfig(Edit { schema, revision, path, config }) => {
                (schema, revision, Change::Add { path, config })
            }
            Request::RemoveConfig { schema, revision, path } => (schema, revision, Change::Remove { path }),
            other => return other,
        };
        Request::Extended(Extended { schema, revision, call: Extension::DryRun(change) })
    }
}

impl Reply {
    /// The reply to an RPC that succeeded.
    pub fn success<'a>(rpc: &str, leaves: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let add = |all: Leaves, (name, value): (&str, String)| all.with(name, value.as_str());
        Self { rpc: rpc.to_owned(), leaves: leaves.into_iter().fold(Leaves::new(), add) }
    }

    /// The reply to an RPC that failed.
    pub fn failure(rpc: &str, error: &str) -> Self {
        Self { rpc: rpc.to_owned(), leaves: Leaves::new().with("error", error).with("status", FAILED) }
    }

    /// The value of a leaf.
    pub fn leaf(&self, name: &str) -> Option<String> {
        self.leaves.text(name)
    }

    /// The error, if the RPC failed.
    pub fn error(&self) -> Option<String> {
        self.leaf("error")
    }

    /// 0 for success.
    pub fn status(&self) -> u8 {
        self.leaves.number("status").map_or(0, |status| u8::try_from(status).unwrap_or(u8::MAX))
    }
}

/// All calls of a payload; an error unless every one of them is understood.
pub(super) fn parse_requests(text: &str) -> Result<Vec<Request>, BadMessage> {
    rpc::parse_calls(text)?.into_iter().map(request).collect()
}

/// The text of a request.
pub(super) fn print_request(request: &Request) -> Result<String, BadMessage> {
    let leaves = match request {
        Request::Describe | Request::Unserved { .. } => Leaves::new(),
        Request::GetSchema { schema, revision } | Request::AttachListener { schema, revision } => {
            addressed(schema, revision)
        }
        Request::SetAlarmOperatorState { schema }
        | Request::PurgeAlarms { schema }
        | Request::CompressAlarms { schema } => addressed(schema, &None),
        Request::GetConfig(query) | Request::GetState(query) | Request::GetAlarmsState(query) => {
            let leaves = addressed(&query.schema, &query.revision)
                .with("path", query.path.as_str())
                .with("print-default", query.print_default);
            optional(leaves, "format", &query.format)
        }
        Request::SetConfig(edit) | Request::AddConfig(edit) => addressed(&edit.schema, &edit.revision)
            .with("path", edit.path.as_str())
            .with("config", edit.config.as_str()),
        Request::RemoveConfig { schema, revision, path } => {
            addressed(schema, revision).with("path", path.as_str())
        }
        Request::Extended(extended) => extended.add_to(addressed(&extended.schema, &extended.revision)),
    };
    Ok(rpc::print_call(request.rpc(), &leaves)?)
}

/// The reply to a call of `rpc`, or `None` if the payload holds anything else.
pub(super) fn parse_reply(rpc: &str, text: &str) -> Result<Option<Reply>, BadMessage> {
    let mut messages = rpc::parse_replies(text)?.into_iter();
    Ok(match (messages.next(), messages.next()) {
        (Some(Message { name, leaves }), None) if name == rpc => Some(Reply { rpc: name, leaves }),
        _ => None,
    })
}

/// The text of a reply.
pub(super) fn print_reply(reply: &Reply) -> Result<String, BadMessage> {
    Ok(rpc::print_reply(&reply.rpc, &reply.leaves)?)
}

/// The module says which leaves a call has and which of them must be there; `parse_calls` has seen to it.
fn request(message: Message) -> Result<Request, BadMessage> {
    let Message { name: rpc, leaves } = message;
    if let Some(extended) = Extended::read(&rpc, &leaves) {
        return Ok(Request::Extended(extended));
    }
    let required = |name: &str| {
        let missing = || BadMessage(RpcError::Missing { rpc: rpc.clone(), name: name.to_owned() });
        leaves.text(name).ok_or_else(missing)
    };
    let path = || leaves.text("path").unwrap_or_else(|| ROOT.to_owned());
    let revision = || leaves.text("revision");
    let query = || {
        Ok::<_, BadMessage>(Query {
            schema: required("schema")?,
            revision: revision(),
            path: path(),
            print_default: leaves.flag("print-default"),
            format: leaves.text("format"),
        })
    };
    let edit = || {
        Ok::<_, BadMessage>(Edit {
            schema: required("schema")?,
            revision: revision(),
            path: path(),
            config: required("config")?,
        })
    };
    Ok(match rpc.as_str() {
        "describe" => Request::Describe,
        "get-schema" => Request::GetSchema { schema: required("schema")?, revision: revision() },
        "get-config" => Request::GetConfig(query()?),
        "get-state" => Request::GetState(query()?),
        "set-config" => Request::SetConfig(edit()?),
        "add-config" => Request::AddConfig(edit()?),
        "remove-config" => Request::RemoveConfig {
            schema: required("schema")?,
            revision: revision(),
            path: required("path")?,
        },
        "attach-listener" => Request::AttachListener { schema: required("schema")?, revision: revision() },
        "get-alarms-state" => Request::GetAlarmsState(query()?),
        "set-alarm-operator-state" => Request::SetAlarmOperatorState { schema: required("schema")? },
        "purge-alarms" => Request::PurgeAlarms { schema: required("schema")? },
        "compress-alarms" => Request::CompressAlarms { schema: required("schema")? },
        _ => Request::Unserved { rpc },
    })
}

fn addressed(schema: &str, revision: &Option<String>) -> Leaves {
    optional(Leaves::new().with("schema", schema), "revision", revision)
}

fn optional(leaves: Leaves, name: &str, value: &Option<String>) -> Leaves {
    match value {
        Some(value) => leaves.with(name, value.as_str()),
        None => leaves,
    }
}

fn concise(error: &RpcError) -> String {
    let text = match error {
        RpcError::Text(error) => {
            format!("line {}, column {}: {}", error.place.line, error.place.column, error.problem)
        }
        other => other.to_string(),
    };
    text.chars().take(MAX_SHOWN).collect()
}

const ROOT: &str = "/";

/// The status deployed instances report every failure with.
const FAILED: u64 = 1;

/// Names in a message can be as long as the message; log lines should not.
const MAX_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn query(path: &str) -> Query {
        Query {
            schema: "vita-esp-gateway".into(),
            revision: None,
            path: path.into(),
            print_default: false,
            format: Some("yang".into()),
        }
    }

    fn edit(path: &str, config: &str) -> Edit {
        Edit { schema: "vita-esp-gateway".into(), revision: None, path: path.into(), config: config.into() }
    }

    /// Recorded from deployed clients.
    fn captured() -> Vec<(Request, &'static str)> {
        let schema = "vita-esp-gateway".to_owned();
        vec![
            (Request::Describe, "describe {\n}\n"),
            (
                Request::GetSchema { schema: schema.clone(), revision: None },
                "get-schema {\n  schema vita-esp-gateway;\n}\n",
            ),
            (
                Request::GetConfig(query("/mtu")),
                "get-config {\n  format yang;\n  path \"/mtu\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n",
            ),
            (
                Request::GetState(query("/gateway-state/private-router")),
                "get-state {\n  format yang;\n  path \"/gateway-state/private-router\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n",
            ),
            (
                Request::SetConfig(edit("/mtu", "1500")),
                "set-config {\n  config 1500;\n  path \"/mtu\";\n  schema vita-esp-gateway;\n}\n",
            ),
            (
                Request::AddConfig(edit("/route4[id=r1]/gateway", "{\n  ip 7.7.7.7;\n  queue 2;\n}\n")),
                "add-config {\n  config \"{\\n  ip 7.7.7.7;\\n  queue 2;\\n}\\n\";\n  path \"/route4[id=r1]/gateway\";\n  schema vita-esp-gateway;\n}\n",
            ),
            (
                Request::RemoveConfig {
                    schema,
                    revision: None,
                    path: "/route4[id=r1]/gateway[ip=7.7.7.7]".into(),
                },
                "remove-config {\n  path \"/route4[id=r1]/gateway[ip=7.7.7.7]\";\n  schema vita-esp-gateway;\n}\n",
            ),
        ]
    }

    #[test]
    fn requests_are_printed_and_read_as_deployed_clients_write_them() {
        for (request, text) in captured() {
            assert_eq!(print_request(&request).unwrap(), text);
            assert_eq!(parse_requests(text).unwrap(), [request]);
        }
    }

    #[test]
    fn replies_of_deployed_instances_are_understood() {
        let reply = parse_reply("get-config", "get-config {\n  config 8923;\n}\n").unwrap().unwrap();
        assert_eq!((reply.leaf("config").as_deref(), reply.error(), reply.status()), (Some("8923"), None, 0));
        let text = "get-config {\n  error \"lib/yang/path_data.lua:61: Not found\";\n  status 1;\n}\n";
        let reply = parse_reply("get-config", text).unwrap().unwrap();
        assert_eq!(reply.error().as_deref(), Some("lib/yang/path_data.lua:61: Not found"));
        assert_eq!(reply.status(), 1);
        let reply = parse_reply("set-config", "set-config {\n  status 1;\n}\n").unwrap().unwrap();
        assert_eq!((reply.error(), reply.status()), (None, 1));
    }

    #[test]
    fn a_reply_to_another_question_is_none() {
        for text in [
            "",
            "describe {\n  default-schema a;\n  native-schema a;\n}\n",
            "set-config {\n}\nset-config {\n}\n",
        ] {
            assert_eq!(parse_reply("set-config", text), Ok(None));
        }
    }

    #[test]
    fn an_error_about_a_message_is_brief_and_without_its_text() {
        let key = "AC AB 12 9A";
        let error = parse_requests(&format!("set-config {{ config \"preshared-key {key}\"; colour red; }}"));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("colour") && !text.contains(key), "{text}");
        let text = parse_requests(&format!("{} {{ }}", "x".repeat(100_000))).unwrap_err().to_string();
        assert!(text.len() < 300, "{} bytes", text.len());
    }
}
