// SPDX-License-Identifier: Apache-2.0
//! `vita config`: one request to a running instance.
//!
//! What an instance refuses is printed to standard output, as other clients of this protocol do and
//! scripts expect it; what goes wrong before it is asked goes to standard error. Both exit with 1.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thiserror::Error;

use super::args::{ConfigCommand, Format, Printing, Schema, Target, Value};
use super::change;
use crate::leader::{Client, ClientError, Edit, MAX_REQUEST, Query, Reply, Request};

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A caret below the place, in the manner of compilers.
    #[error("{INTRODUCTION}{path}\n{:indent$}^ {problem}", "", indent = INTRODUCTION.len() + column)]
    Path { path: String, column: usize, problem: &'static str },
    #[error("cannot read the value from {source_name}: {error}")]
    Value { source_name: String, error: io::Error },
    #[error("the value from {source_name} is longer than {MAX_REQUEST} bytes, more than an instance accepts")]
    TooLong { source_name: String },
    #[error("the instance does not say which schema it serves; name it with --schema")]
    NoSchema,
    #[error(
        "the instance does not know {0}: it is another program, or an older version; nothing was changed"
    )]
    NoExtension(&'static str),
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

pub fn run(command: ConfigCommand) -> Result<ExitCode, ConfigError> {
    let dry_run = change::is_dry_run(&command);
    let (id, schema, action) = prepare(command)?;
    let asked = |name, revision| {
        let request = action.request(name, revision);
        if dry_run { request.dry_run() } else { request }
    };
    ask(&id, schema, asked)
}

/// Asks an instance, and prints what it says.
pub(super) fn ask(
    id: &str,
    schema: Schema,
    request: impl FnOnce(String, Option<String>) -> Request,
) -> Result<ExitCode, ConfigError> {
    let mut client = Client::connect(id)?;
    let name = match schema.name {
        Some(name) => name,
        None => described_schema(&mut client)?,
    };
    let request = request(name, schema.revision);
    let reply = client.call(&request).map_err(|error| change::explained(error, &request))?;
    report(&reply, &mut io::stdout())
}

/// What is to be done, with the value at hand.
enum Action {
    Get { path: String, printing: Printing },
    GetState { path: String, printing: Printing },
    Set { path: String, value: String },
    Add { path: String, value: String },
    Remove { path: String },
}

impl Action {
    fn request(self, schema: String, revision: Option<String>) -> Request {
        let query = |path, printing: Printing, schema, revision| Query {
            schema,
            revision,
            path,
            print_default: printing.print_default,
            format: Some(format_name(printing.format).to_owned()),
        };
        match self {
            Self::Get { path, printing } => Request::GetConfig(query(path, printing, schema, revision)),
            Self::GetState { path, printing } => Request::GetState(query(path, printing, schema, revision)),
            Self::Set { path, value } => Request::SetConfig(Edit { schema, revision, path, config: value }),
            Self::Add { path, value } => Request::AddConfig(Edit { schema, revision, path, config: value }),
            Self::Remove { path } => Request::RemoveConfig { schema, revision, path },
        }
    }
}

/// Checks and reads everything local before the instance is bothered.
fn prepare(command: ConfigCommand) -> Result<(String, Schema, Action), ConfigError> {
    let checked = |target: Target| match unbalanced(&target.path) {
        Some((column, problem)) => Err(ConfigError::Path { path: target.path, column, problem }),
        None => Ok((target.id, target.schema, target.path)),
    };
    Ok(match command {
        ConfigCommand::Get { target, printing } => {
            let (id, schema, path) = checked(target)?;
            (id, schema, Action::Get { path, printing })
        }
        ConfigCommand::GetState { target, printing } => {
            let (id, schema, path) = checked(target)?;
            (id, schema, Action::GetState { path, printing })
        }
        ConfigCommand::Set { target, value, .. } => {
            let (id, schema, path) = checked(target)?;
            (id, schema, Action::Set { path, value: read_value(value)? })
        }
        ConfigCommand::Add { target, value, .. } => {
            let (id, schema, path) = checked(target)?;
            (id, schema, Action::Add { path, value: read_value(value)? })
        }
        ConfigCommand::Remove { target, .. } => {
            let (id, schema, path) = checked(target)?;
            (id, schema, Action::Remove { path })
        }
        ConfigCommand::Load { schema, id, file, .. } => {
            (id, schema, Action::Set { path: "/".to_owned(), value: read_file(&file)? })
        }
    })
}

fn described_schema(client: &mut Client) -> Result<String, ConfigError> {
    let description = client.call(&Request::Describe)?;
    let schema = description.leaf("default-schema").or_else(|| description.leaf("native-schema"));
    schema.ok_or(ConfigError::NoSchema)
}

fn report(reply: &Reply, output: &mut dyn Write) -> Result<ExitCode, ConfigError> {
    let text = match (reply.error(), reply.status()) {
        (Some(error), _) => Some(error),
        (None, 0) => RESULTS.into_iter().find_map(|name| reply.leaf(name)).or_else(|| change::told(reply)),
        (None, _) => Some(UNEXPLAINED.to_owned()),
    };
    if let Some(text) = text {
        writeln!(output, "{text}").and_then(|()| output.flush()).map_err(ConfigError::Output)?;
    }
    let failure = if reply.error().is_some() { reply.status().max(1) } else { reply.status() };
    Ok(ExitCode::from(failure))
}

fn read_value(value: Value) -> Result<String, ConfigError> {
    if let Some(value) = value.value {
        return Ok(value);
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprintln!("Type the value and end it with Ctrl-D.");
    }
    read_bounded(&mut stdin.lock(), "standard input")
}

pub(super) fn read_file(path: &PathBuf) -> Result<String, ConfigError> {
    let source_name = Path::display(path).to_string();
    let mut file =
        File::open(path).map_err(|error| ConfigError::Value { source_name: source_name.clone(), error })?;
    read_bounded(&mut file, &source_name)
}

pub(super) fn read_bounded(reader: &mut dyn Read, source_name: &str) -> Result<String, ConfigError> {
    let mut value = String::new();
    let result = reader.take(MAX_REQUEST as u64 + 1).read_to_string(&mut value);
    result.map_err(|error| ConfigError::Value { source_name: source_name.to_owned(), error })?;
    if value.len() > MAX_REQUEST {
        return Err(ConfigError::TooLong { source_name: source_name.to_owned() });
    }
    Ok(value)
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

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Yang => "yang",
        Format::Xpath => "xpath",
        Format::Influxdb => "influxdb",
    }
}

/// Leaves that hold an answer. A reply has one of them at most.
const RESULTS: [&str; 2] = ["config", "state"];

const INTRODUCTION: &str = "Syntax error in ";

/// Some instances answer a value they cannot parse with nothing but a status.
const UNEXPLAINED: &str =
    "The instance refused this without saying why; is there a syntax error in the value?";

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(reply: &Reply) -> (String, ExitCode) {
        let mut output = Vec::new();
        let code = report(reply, &mut output).unwrap();
        (String::from_utf8(output).unwrap(), code)
    }

    #[test]
    fn a_value_is_printed_with_one_more_newline() {
        let reply = Reply::success("get-config", vec![("config", "8923".to_owned())]);
        assert_eq!(reported(&reply), ("8923\n".to_owned(), ExitCode::SUCCESS));
        let reply = Reply::success("get-state", vec![("state", "rxerrors 0;\n".to_owned())]);
        assert_eq!(reported(&reply), ("rxerrors 0;\n\n".to_owned(), ExitCode::SUCCESS));
    }

    #[test]
    fn a_change_that_succeeds_prints_nothing() {
        assert_eq!(reported(&Reply::success("set-config", vec![])), (String::new(), ExitCode::SUCCESS));
    }

    #[test]
    fn an_error_is_printed_and_its_status_is_the_exit_code() {
        let reply = Reply::failure("set-config", "no");
        assert_eq!(reported(&reply), ("no\n".to_owned(), ExitCode::from(1)));
    }

    #[test]
    fn brackets_are_checked_before_the_instance_is_asked() {
        assert_eq!(unbalanced("/route4[id=a/b]/gateway[ip=1.2.3.4]"), None);
        assert_eq!(unbalanced("/route4[id=a"), Some((7, "this bracket is not closed")));
        assert_eq!(unbalanced("/route4]"), Some((7, "this bracket was not opened")));
        assert_eq!(unbalanced("/route4[[id=a]"), Some((8, "a bracket inside brackets")));
    }

    #[test]
    fn a_syntax_error_points_at_its_place() {
        let error = ConfigError::Path { path: "/r[x".to_owned(), column: 2, problem: "here" };
        assert_eq!(error.to_string(), "Syntax error in /r[x\n                  ^ here");
    }
}
