// SPDX-License-Identifier: Apache-2.0
//! `vita config`: one request to a running instance.
//!
//! What an instance refuses is printed to standard output, as other clients of this protocol do and
//! scripts expect it; what goes wrong before it is asked goes to standard error. Both exit with 1.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use super::answer::{refuse, report};
use super::args::{ConfigCommand, Input, Printing, Schema, Target, Value};
use super::error::{ConfigError, explained};
use super::input::{read_bounded, read_file};
use super::listen;
use super::output;
use super::schema::InstanceSchema;
use crate::config::named;
use crate::leader::{Client, ClientError, Edit, Query, Reply, Request};
use crate::yang::format::Format;

pub(super) fn run(command: ConfigCommand) -> Result<ExitCode, ConfigError> {
    let dry_run = command.is_dry_run();
    let (id, schema, action) = prepare(command)?;
    let asked = |request: Request| if dry_run { request.dry_run() } else { request };
    let mut client = Client::connect(&id)?;
    let known = InstanceSchema::of(&mut client, schema.name)?.ok_or(ConfigError::NoSchema)?;
    let revision = schema.revision;
    match action {
        Action::Listen { socket } => {
            listen::run(client, known, revision, socket.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Get { verb, path, printing } => {
            let path = known.path(&path)?;
            let query = Query {
                schema: known.name.clone(),
                revision,
                path,
                print_default: printing.print_default,
                format: Some(printing.format.name().to_owned()),
            };
            report(&get(&id, client, verb, query, &known)?, &mut io::stdout())
        }
        Action::Change { verb, path, value } => {
            let path = known.path(&path)?;
            let Given { text, name, input } = value;
            let sent = match known.value(&path, text, input) {
                Ok(sent) => sent,
                Err(error) => return refuse(&error.in_source(&name, &path), &mut io::stdout()),
            };
            let edit =
                Edit { schema: known.name.clone(), revision, path: path.clone(), config: sent.text.clone() };
            let request = asked(verb(edit));
            let reply = client.call(&request).map_err(|error| explained(error, &request))?;
            let error = match (reply.error(), reply.status()) {
                (Some(error), _) if sent.translated => unplaced(&error),
                (Some(error), _) => named(&error, &name),
                (None, 0) => return report(&reply, &mut io::stdout()),
                (None, _) => match known.problem(&path, &sent.text) {
                    Some(problem) => problem.in_source(&name, &path),
                    None => return report(&reply, &mut io::stdout()),
                },
            };
            refuse(&error, &mut io::stdout())
        }
        Action::Remove { path } => {
            let path = known.path(&path)?;
            let request = asked(Request::RemoveConfig { schema: known.name, revision, path });
            let reply = client.call(&request).map_err(|error| explained(error, &request))?;
            report(&reply, &mut io::stdout())
        }
    }
}

/// What is to be done, with the value at hand.
enum Action {
    Get { verb: fn(Query) -> Request, path: String, printing: Printing },
    Change { verb: fn(Edit) -> Request, path: String, value: Given },
    Remove { path: String },
    Listen { socket: Option<PathBuf> },
}

/// A value, where it comes from, and how to read it.
struct Given {
    text: String,
    name: String,
    input: Option<Input>,
}

/// Checks and reads everything local before the instance is bothered.
fn prepare(command: ConfigCommand) -> Result<(String, Schema, Action), ConfigError> {
    let checked = |target: Target| match unbalanced(&target.path) {
        Some((column, problem)) => Err(ConfigError::Brackets { path: target.path, column, problem }),
        None => Ok((target.id, target.schema, target.path)),
    };
    Ok(match command {
        ConfigCommand::Get { target, printing } => {
            let (id, schema, path) = checked(target)?;
            (id, schema, Action::Get { verb: Request::GetConfig, path, printing })
        }
        ConfigCommand::GetState { target, printing } => {
            let (id, schema, path) = checked(target)?;
            (id, schema, Action::Get { verb: Request::GetState, path, printing })
        }
        ConfigCommand::Set { target, value, .. } => {
            let (id, schema, path) = checked(target)?;
            (id, schema, Action::Change { verb: Request::SetConfig, path, value: read_value(value)? })
        }
        ConfigCommand::Add { target, value, .. } => {
            let (id, schema, path) = checked(target)?;
            // The path of a value of a leaf-list holds all there is to add.
            let value = match value.value {
                None if names_value(&path) => Value { value: Some(String::new()), ..value },
                _ => value,
            };
            (id, schema, Action::Change { verb: Request::AddConfig, path, value: read_value(value)? })
        }
        ConfigCommand::Remove { target, .. } => {
            let (id, schema, path) = checked(target)?;
            (id, schema, Action::Remove { path })
        }
        ConfigCommand::Load { schema, format, id, file, .. } => {
            let value = Given { text: read_file(&file)?, name: file.display().to_string(), input: format };
            (id, schema, Action::Change { verb: Request::SetConfig, path: "/".to_owned(), value })
        }
        ConfigCommand::Listen { schema, socket, id } => (id, schema, Action::Listen { socket }),
    })
}

/// Reads; and where JSON is wanted of an instance that does not know it, makes it from text.
fn get(
    id: &str,
    mut client: Client,
    verb: fn(Query) -> Request,
    query: Query,
    known: &InstanceSchema,
) -> Result<Reply, ConfigError> {
    let reply = client.call(&verb(query.clone()));
    let json = query.format.as_deref() == Some(Format::Json.name());
    let unknown = match &reply {
        Ok(reply) => reply.error().is_some_and(|error| error.contains(UNKNOWN_FORMAT)),
        Err(error) => matches!(error, ClientError::Unanswered),
    };
    if !(json && unknown) {
        return Ok(reply?);
    }
    let path = query.path.clone();
    let query = Query { format: Some(Format::Yang.name().to_owned()), ..query };
    let text = Client::connect(id)?.call(&verb(query))?;
    let leaf = text.leaf("config").or_else(|| text.leaf("state"));
    Ok(match leaf.and_then(|leaf| known.to_json(&path, &leaf)) {
        Some(json) => Reply::success("get-config", [("config", json)]),
        None if text.error().is_some() => text,
        None => reply?,
    })
}

/// A message without the place in a text that the user has not seen.
fn unplaced(error: &str) -> String {
    let Some(message) = named(error, "").strip_prefix(':').map(str::to_owned) else {
        return error.to_owned();
    };
    let message = message.splitn(3, ':').nth(2).unwrap_or(&message).trim_start();
    // The last two lines are the excerpt and the caret.
    let lines: Vec<_> = message.lines().collect();
    lines[..lines.len().saturating_sub(2).max(1).min(lines.len())].join("\n")
}

fn read_value(value: Value) -> Result<Given, ConfigError> {
    let input = value.format;
    if let Some(text) = value.value {
        return Ok(Given { text, name: "<argument>".to_owned(), input });
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        output::complain(&"Type the value and end it with Ctrl-D.");
    }
    let text = read_bounded(&mut stdin.lock(), "standard input")?;
    Ok(Given { text, name: "<stdin>".to_owned(), input })
}

/// Whether a path ends with a value of a leaf-list: `[.='192.0.2.0/24']`.
fn names_value(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    path.ends_with(']') && path.rfind('[').is_some_and(|open| path[open..].starts_with("[.="))
}

/// Column and kind of the first bracket that has no counterpart. Everything else about a path is for the
/// instance to judge, which knows the schema.
fn unbalanced(path: &str) -> Option<(usize, &'static str)> {
    let mut open = None;
    for (column, character) in path.chars().enumerate() {
        match (character, open) {
            ('[', None) => open = Some(column),
            ('[', Some(_)) => return Some((column, "a bracket inside brackets")),
            (']', Some(_)) => open = None,
            (']', None) => return Some((column, "this bracket was not opened")),
            _ => {}
        }
    }
    open.map(|column| (column, "this bracket is not closed"))
}

/// What instances say of a format that they do not have.
const UNKNOWN_FORMAT: &str = "Not valid output format";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_checked_before_the_instance_is_asked() {
        assert_eq!(unbalanced("/route4[id=a/b]/gateway[ip=1.2.3.4]"), None);
        assert_eq!(unbalanced("/route4[id=a"), Some((7, "this bracket is not closed")));
        assert_eq!(unbalanced("/route4]"), Some((7, "this bracket was not opened")));
        assert_eq!(unbalanced("/route4[[id=a]"), Some((8, "a bracket inside brackets")));
    }

    #[test]
    fn a_path_may_hold_the_value_to_add() {
        assert!(names_value("/route4[id=a]/additional-net[.='10.3.0.0/16']"));
        assert!(names_value("/route4[id=a]/additional-net[.=10.3.0.0/16]/"));
        assert!(
            !names_value("/route4[id=a]/additional-net") && !names_value("/route4[id=.]") && !names_value("")
        );
    }
}
