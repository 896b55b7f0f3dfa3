// SPDX-License-Identifier: Apache-2.0
//! `vita config listen`: requests and answers as JSON objects, one after the other, for agents that keep an instance
//! configured. While it runs, nobody else may change the configuration.
//!
//! ```text
//!   > {"id":"0","verb":"set","path":"/mtu","value":"1440"}
//!   < {"status":"ok","id":"0"}
//!   > {"id":"1","verb":"get","path":"/mtu"}
//!   < {"status":"ok","value":"1440","id":"1"}
//!   > {"id":"2","verb":"remove","path":"/route4[id=oslo]"}
//!   < {"status":"error","error":"/route4[id=oslo]: Not found","id":"2"}
//! ```
//!
//! A request that is not understood ends the program.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;
use thiserror::Error;

use super::output::{complain, write};
use super::schema::InstanceSchema;
use crate::config::named;
use crate::leader::{Client, ClientError, Edit, MAX_REQUEST, Query, Request};
use crate::yang::format::Format;

#[derive(Debug, Error)]
pub(super) enum ListenError {
    #[error("error: {0}")]
    Client(#[from] ClientError),
    #[error("error: {0}")]
    Refused(String),
    #[error("error: the input is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("error: a request has to be a JSON object with strings as its members")]
    Shape,
    #[error("error: invalid verb: {0}; expected one of get, get-state, set, add, remove")]
    Verb(String),
    #[error("error: {verb} needs a {member}")]
    Missing { verb: String, member: &'static str },
    #[error("error: cannot listen on {path}: {error}")]
    Socket { path: PathBuf, error: io::Error },
    #[error("error: cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

/// Serves standard input, or one client of a socket, until it ends.
pub(super) fn run(
    client: Client,
    known: InstanceSchema,
    revision: Option<String>,
    socket: Option<&Path>,
) -> Result<(), ListenError> {
    let mut listener = Listener { client, known, revision };
    listener.attach()?;
    match socket {
        None => listener.serve(io::stdin(), io::stdout())?,
        Some(path) => {
            let failed = |error| ListenError::Socket { path: path.to_owned(), error };
            let _socket = Socket(path);
            let server = UnixListener::bind(path).map_err(failed)?;
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
            let (stream, _) = server.accept().map_err(failed)?;
            let input = stream.try_clone().map_err(failed)?;
            listener.serve(input, stream)?;
        }
    }
    complain(&"Input pipe closed.");
    Ok(())
}

/// Takes the file away in the end.
struct Socket<'a>(&'a Path);

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

struct Listener {
    client: Client,
    known: InstanceSchema,
    revision: Option<String>,
}

impl Listener {
    fn attach(&mut self) -> Result<(), ListenError> {
        let (schema, revision) = (self.known.name.clone(), self.revision.clone());
        let reply = self.client.call(&Request::AttachListener { schema, revision })?;
        match (reply.error(), reply.status()) {
            (None, 0) => Ok(()),
            (error, _) => Err(ListenError::Refused(error.unwrap_or_else(|| "not attached".to_owned()))),
        }
    }

    fn serve(&mut self, input: impl Read, mut output: impl Write) -> Result<(), ListenError> {
        let left = Rc::new(Cell::new(LONGEST));
        let input = Bounded { input: BufReader::new(input), left: left.clone() };
        for request in serde_json::Deserializer::from_reader(input).into_iter::<Value>() {
            let answer = self.answer(&request?)?;
            write(&mut output, &answer)?;
            left.set(LONGEST);
        }
        Ok(())
    }

    fn answer(&mut self, request: &Value) -> Result<String, ListenError> {
        let member = |name| match request.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ListenError::Shape),
        };
        let verb = member("verb")?.ok_or(ListenError::Shape)?;
        let id = request.get("id").cloned().unwrap_or(Value::Null);
        let path = member("path")?.unwrap_or_else(|| "/".to_owned());
        let value = member("value")?;
        let address = Address {
            schema: member("schema")?.unwrap_or_else(|| self.known.name.clone()),
            revision: member("revision")?.or_else(|| self.revision.clone()),
        };
        // Only paths into the schema that is known can be checked here.
        let path = match address.schema == self.known.name {
            true => self.known.path(&path).map_err(|error| error.to_string()),
            false => Ok(path),
        };
        let outcome = match path {
            Ok(path) => self.carry_out(&verb, address, path, value)?,
            Err(error) => {
                check_verb(&verb)?;
                Err(error)
            }
        };
        Ok(print(outcome, &id))
    }

    /// The value asked for, if any, or why the instance refused.
    fn carry_out(
        &mut self,
        verb: &str,
        Address { schema, revision }: Address,
        path: String,
        value: Option<String>,
    ) -> Result<Result<Option<String>, String>, ListenError> {
        let needed = || ListenError::Missing { verb: verb.to_owned(), member: "value" };
        let query = |schema, revision, path| Query {
            schema,
            revision,
            path,
            print_default: false,
            format: Some(Format::Yang.name().to_owned()),
        };
        let request = match verb {
            "get" => Request::GetConfig(query(schema, revision, path)),
            "get-state" => Request::GetState(query(schema, revision, path)),
            "remove" => Request::RemoveConfig { schema, revision, path },
            "set" | "add" => {
                let config = match self.known.value(&path, value.ok_or_else(needed)?, None) {
                    Ok(sent) => sent.text,
                    Err(error) => return Ok(Err(error.in_source(VALUE, &path))),
                };
                let edit = Edit { schema, revision, path, config };
                if verb == "set" { Request::SetConfig(edit) } else { Request::AddConfig(edit) }
            }
            other => return Err(ListenError::Verb(other.to_owned())),
        };
        let reply = self.client.call(&request)?;
        Ok(match (reply.error(), reply.status()) {
            (Some(error), _) => Err(named(&error, VALUE)),
            (None, 0) => Ok(reply.leaf("config").or_else(|| reply.leaf("state"))),
            (None, _) => Err("the instance refused this without saying why".to_owned()),
        })
    }
}

struct Address {
    schema: String,
    revision: Option<String>,
}

fn check_verb(verb: &str) -> Result<(), ListenError> {
    match verb {
        "get" | "get-state" | "set" | "add" | "remove" => Ok(()),
        other => Err(ListenError::Verb(other.to_owned())),
    }
}

/// The order of the members is that of deployed listeners.
fn print(outcome: Result<Option<String>, String>, id: &Value) -> String {
    let quoted = |text: String| Value::String(text).to_string();
    match outcome {
        Ok(None) => format!("{{\"status\":\"ok\",\"id\":{id}}}"),
        Ok(Some(value)) => format!("{{\"status\":\"ok\",\"value\":{},\"id\":{id}}}", quoted(value)),
        Err(error) => format!("{{\"status\":\"error\",\"error\":{},\"id\":{id}}}", quoted(error)),
    }
}

/// Input of which only so much is read as may be left.
struct Bounded<R> {
    input: R,
    left: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("the request is longer than an instance accepts"));
        }
        let wanted = buffer.len().min(left);
        let count = self.input.read(&mut buffer[..wanted])?;
        self.left.set(left - count);
        Ok(count)
    }
}

const VALUE: &str = "<value>";

/// Quoting can make a value this much longer than what the instance gets.
const LONGEST: usize = 6 * MAX_REQUEST;
