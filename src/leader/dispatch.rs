// SPDX-License-Identifier: Apache-2.0
//! From a request's payload to the payload that answers it.

use thiserror::Error;

use super::extension::Extended;
use super::frame::MAX_REPLY;
use super::message::{BadMessage, Query, Reply, Request};
use super::{Handler, alarms, message};
use crate::yang::format::{Format, UnknownFormat};

/// Why a payload gets no answer.
#[derive(Debug, Error)]
pub enum Unanswerable {
    #[error("the request is not UTF-8 text: see its byte {0}")]
    Encoding(usize),
    #[error(transparent)]
    Message(#[from] BadMessage),
    #[error("the answer is longer than {MAX_REPLY} bytes; ask for parts")]
    TooLong,
    #[error("{rpc} is not available: notifications are sent on the socket beside this one")]
    Unserved { rpc: String },
}

/// Who asks, and who has reserved the right to change the configuration.
pub struct Session<'a> {
    pub connection: u64,
    pub listener: &'a mut Option<u64>,
}

/// Carries out all calls of a request in order. Nothing is carried out unless the whole request is
/// understood.
pub fn answer(
    payload: &[u8],
    session: &mut Session,
    handler: &mut dyn Handler,
) -> Result<String, Unanswerable> {
    let text = std::str::from_utf8(payload).map_err(|error| Unanswerable::Encoding(error.valid_up_to()))?;
    let requests = message::parse_requests(text)?;
    if let Some(rpc) = requests.iter().find_map(|request| match request {
        Request::Unserved { rpc } => Some(rpc.clone()),
        _ => None,
    }) {
        return Err(Unanswerable::Unserved { rpc });
    }
    let mut replies = String::new();
    for request in &requests {
        replies.push_str(&message::print_reply(&reply(request, session, handler))?);
        if replies.len() > MAX_REPLY {
            return Err(Unanswerable::TooLong);
        }
    }
    Ok(replies)
}

fn reply(request: &Request, session: &mut Session, handler: &mut dyn Handler) -> Reply {
    let rpc = request.rpc();
    match carry_out(request, session, handler) {
        Ok(leaves) => Reply::success(rpc, leaves),
        Err(error) => Reply::failure(rpc, &error),
    }
}

fn carry_out(
    request: &Request,
    session: &mut Session,
    handler: &mut dyn Handler,
) -> Result<Vec<(&'static str, String)>, String> {
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
        Request::SetConfig(edit) => {
            check_writer(&edit.schema, session, handler)?;
            handler.set_config(&edit.path, &edit.config).map(|()| vec![])
        }
        Request::AddConfig(edit) => {
            check_writer(&edit.schema, session, handler)?;
            handler.add_config(&edit.path, &edit.config).map(|()| vec![])
        }
        Request::RemoveConfig { schema, path, .. } => {
            check_writer(schema, session, handler)?;
            handler.remove_config(path).map(|()| vec![])
        }
        Request::Extended(Extended { schema, call, .. }) => {
            if call.changes() {
                check_writer(schema, session, handler)?;
            }
            check_schema(schema, handler)?;
            let text = handler.extension(call)?;
            Ok(call.result().map(|leaf| (leaf, text)).into_iter().collect())
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
        Request::Unserved { rpc } => Err(format!("{rpc} is not available")),
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
