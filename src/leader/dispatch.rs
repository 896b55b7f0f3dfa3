// SPDX-License-Identifier: Apache-2.0
//! From a request's payload to the payload that answers it.

use std::collections::VecDeque;
use std::task::Poll;

use thiserror::Error;

use super::extension::Extended;
use super::frame::MAX_REPLY;
use super::handler::Handler;
use super::message::{BadMessage, Query, Reply, Request};
use super::{alarms, message};
use crate::yang::format::{Format, UnknownFormat};

/// Why a payload gets no answer.
#[derive(Debug, Error)]
pub(super) enum Unanswerable {
    #[error("the request is not UTF-8 text: see its byte {0}")]
    Encoding(usize),
    #[error(transparent)]
    Message(#[from] BadMessage),
    #[error("the answer is longer than {MAX_REPLY} bytes; ask for parts")]
    TooLong,
    #[error("{rpc} is not available: notifications are sent on the socket beside this one")]
    Unserved { rpc: String },
}

/// Who asks, who has reserved the right to change the configuration, and who waits for a change of it.
pub(super) struct Session<'a> {
    pub connection: u64,
    pub listener: &'a mut Option<u64>,
    /// The first one's change is under way, or is to be made next.
    pub turns: &'a mut VecDeque<u64>,
}

/// The calls of one request, and what has been answered so far.
pub(super) struct Calls {
    requests: Vec<Request>,
    next: usize,
    /// Whether the next call has begun a change, and with which text.
    begun: Option<String>,
    replies: String,
}

impl Calls {
    /// Reads a request. Nothing is carried out unless the whole request is understood.
    pub(super) fn read(payload: &[u8]) -> Result<Calls, Unanswerable> {
        let text =
            std::str::from_utf8(payload).map_err(|error| Unanswerable::Encoding(error.valid_up_to()))?;
        let requests = message::parse_requests(text)?;
        if let Some(rpc) = requests.iter().find_map(|request| match request {
            Request::Unserved { rpc } => Some(rpc.clone()),
            _ => None,
        }) {
            return Err(Unanswerable::Unserved { rpc });
        }
        Ok(Calls { requests, next: 0, begun: None, replies: String::new() })
    }

    /// Carries the calls out in their order, as far as that goes without waiting. The answer, when it is complete.
    pub(super) fn advance(
        &mut self,
        session: &mut Session,
        handler: &mut dyn Handler,
    ) -> Result<Poll<String>, Unanswerable> {
        while let Some(request) = self.requests.get(self.next) {
            let rpc = request.rpc();
            let reply = match carry_out(request, &mut self.begun, session, handler) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(leaves)) => Reply::success(rpc, leaves),
                Poll::Ready(Err(error)) => Reply::failure(rpc, &error),
            };
            self.next += 1;
            self.replies.push_str(&message::print_reply(&reply)?);
            if self.replies.len() > MAX_REPLY {
                return Err(Unanswerable::TooLong);
            }
        }
        Ok(Poll::Ready(std::mem::take(&mut self.replies)))
    }
}

type Answer = Result<Vec<(&'static str, String)>, String>;

fn carry_out(
    request: &Request,
    begun: &mut Option<String>,
    session: &mut Session,
    handler: &mut dyn Handler,
) -> Poll<Answer> {
    if begun.is_none()
        && let Some(refused) = refusal(request, session, handler)
    {
        return Poll::Ready(Err(refused));
    }
    let leaf = match request {
        Request::Extended(Extended { call, .. }) => call.result(),
        Request::SetConfig(_) | Request::AddConfig(_) | Request::RemoveConfig { .. } => None,
        _ => return Poll::Ready(answer(request, session, handler)),
    };
    let outcome = make(request, begun, session, handler);
    outcome.map(|text| text.map(|text| leaf.map(|leaf| (leaf, text)).into_iter().collect()))
}

/// Has the handler make a change, when it is this connection's turn.
fn make(
    request: &Request,
    begun: &mut Option<String>,
    session: &mut Session,
    handler: &mut dyn Handler,
) -> Poll<Result<String, String>> {
    if begun.is_none() {
        if !session.turns.contains(&session.connection) {
            session.turns.push_back(session.connection);
        }
        if session.turns.front() != Some(&session.connection) || handler.is_busy() {
            return Poll::Pending;
        }
        let result = match request {
            Request::SetConfig(edit) => handler.set_config(&edit.path, &edit.config).map(|()| String::new()),
            Request::AddConfig(edit) => handler.add_config(&edit.path, &edit.config).map(|()| String::new()),
            Request::RemoveConfig { path, .. } => handler.remove_config(path).map(|()| String::new()),
            Request::Extended(Extended { call, .. }) => handler.extension(call),
            other => Err(format!("{} is no change", other.rpc())),
        };
        match result {
            Ok(text) => *begun = Some(text),
            Err(error) => {
                session.turns.pop_front();
                return Poll::Ready(Err(error));
            }
        }
    }
    let outcome = handler.outcome();
    if outcome.is_ready() {
        session.turns.pop_front();
        let text = begun.take().unwrap_or_default();
        return outcome.map(|outcome| outcome.map(|other| other.unwrap_or(text)));
    }
    Poll::Pending
}

/// Why a change is not even begun.
fn refusal(request: &Request, session: &Session, handler: &dyn Handler) -> Option<String> {
    let checked = match request {
        Request::SetConfig(edit) | Request::AddConfig(edit) => check_writer(&edit.schema, session, handler),
        Request::RemoveConfig { schema, .. } => check_writer(schema, session, handler),
        Request::Extended(Extended { schema, call, .. }) if call.changes() => {
            check_writer(schema, session, handler)
        }
        Request::Extended(Extended { schema, .. }) => check_schema(schema, handler),
        _ => Ok(()),
    };
    checked.err()
}

/// The answer to a call that is not for a change.
fn answer(request: &Request, session: &mut Session, handler: &mut dyn Handler) -> Answer {
    match request {
        Request::Describe => {
            let schema = handler.schema().to_owned();
            Ok(vec![("default-schema", schema.clone()), ("native-schema", schema)])
        }
        Request::GetSchema { schema, .. } => match handler.schema_source(schema) {
            Some(source) => Ok(vec![("source", source.to_owned())]),
            None => Err(unsupported(schema, handler)),
        },
        Request::GetConfig(query) => {
            check_schema(&query.schema, handler)?;
            Ok(vec![("config", handler.get_config(&query.path, format(query)?, query.print_default)?)])
        }
        Request::GetState(query) => {
            check_schema(&query.schema, handler)?;
            Ok(vec![("state", handler.get_state(&query.path, format(query)?, query.print_default)?)])
        }
        Request::AttachListener { schema, .. } => {
            check_schema(schema, handler)?;
            match *session.listener {
                Some(_) => Err(ATTACHED.to_owned()),
                None => {
                    *session.listener = Some(session.connection);
                    Ok(vec![])
                }
            }
        }
        Request::GetAlarmsState(query) => {
            check_alarms(&query.schema)?;
            Ok(vec![("state", alarms::state(&query.path, format(query)?, query.print_default)?)])
        }
        Request::SetAlarmOperatorState { schema } if schema == handler.schema() => {
            Err(NO_SUCH_ALARM.to_owned())
        }
        Request::SetAlarmOperatorState { schema } => {
            check_alarms(schema)?;
            Ok(vec![("success", false.to_string())])
        }
        // Deployed clients address the schema of the instance itself.
        Request::PurgeAlarms { schema } => {
            if schema != handler.schema() {
                check_alarms(schema)?;
            }
            Ok(vec![("purged-alarms", 0.to_string())])
        }
        // The reply to this one has no leaf for an error.
        Request::CompressAlarms { .. } => Ok(vec![("compressed-alarms", 0.to_string())]),
        other => Err(format!("{} is not available", other.rpc())),
    }
}

fn format(query: &Query) -> Result<Format, String> {
    let format = query.format.as_deref().map(str::parse).transpose();
    format.map(Option::unwrap_or_default).map_err(|error: UnknownFormat| error.to_string())
}

fn check_alarms(schema: &str) -> Result<(), String> {
    match schema {
        alarms::SCHEMA => Ok(()),
        other => Err(format!("unsupported schema: {other} (alarms are described by {})", alarms::SCHEMA)),
    }
}

fn check_writer(schema: &str, session: &Session, handler: &dyn Handler) -> Result<(), String> {
    check_schema(schema, handler)?;
    match *session.listener {
        Some(listener) if listener != session.connection => Err(RESERVED.to_owned()),
        _ => Ok(()),
    }
}

fn check_schema(schema: &str, handler: &dyn Handler) -> Result<(), String> {
    if schema == handler.schema() { Ok(()) } else { Err(unsupported(schema, handler)) }
}

fn unsupported(schema: &str, handler: &dyn Handler) -> String {
    format!("unsupported schema: {schema} (this instance serves {})", handler.schema())
}

/// In the words of deployed instances, which agents may know.
const NO_SUCH_ALARM: &str = "Could not locate alarm in alarm-list";
const ATTACHED: &str = "Listener already attached";
const RESERVED: &str = "Attempt to modify configuration while listener attached";
