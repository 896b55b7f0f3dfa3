// SPDX-License-Identifier: Apache-2.0
//! From a request's payload to the payload that answers it.

use thiserror::Error;

use super::extension::Extended;
use super::frame::MAX_REPLY;
use super::message::{BadMessage, Query, Reply, Request};
use super::{Handler, message};

/// Why a payload gets no answer.
#[derive(Debug, Error)]
pub enum Unanswerable {
    #[error("the request is not UTF-8 text")]
    Encoding,
    #[error(transparent)]
    Message(#[from] BadMessage),
    #[error("the request holds {calls} calls, and at most {MAX_CALLS} are accepted; send several requests")]
    TooManyCalls { calls: usize },
    #[error("the answer is longer than {MAX_REPLY} bytes; ask for parts")]
    TooLong,
}

/// Carries out all calls of a request in order. Nothing is carried out unless the whole request is
/// understood.
pub fn answer(payload: &[u8], handler: &mut dyn Handler) -> Result<String, Unanswerable> {
    let text = std::str::from_utf8(payload).map_err(|_| Unanswerable::Encoding)?;
    let requests = message::parse_requests(text)?;
    if requests.len() > MAX_CALLS {
        return Err(Unanswerable::TooManyCalls { calls: requests.len() });
    }
    let mut replies = String::new();
    for request in &requests {
        replies.push_str(&message::print_reply(&reply(request, handler))?);
        if replies.len() > MAX_REPLY {
            return Err(Unanswerable::TooLong);
        }
    }
    Ok(replies)
}

fn reply(request: &Request, handler: &mut dyn Handler) -> Reply {
    let rpc = request.rpc();
    match carry_out(request, handler) {
        Ok(leaves) => Reply::success(rpc, leaves),
        Err(error) => Reply::failure(rpc, &error),
    }
}

fn carry_out(request: &Request, handler: &mut dyn Handler) -> Result<Vec<(&'static str, String)>, String> {
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
            check_query(query, handler)?;
            Ok(vec![("config", handler.get_config(&query.path, query.print_default)?)])
        }
        Request::GetState(query) => {
            check_query(query, handler)?;
            Ok(vec![("state", handler.get_state(&query.path, query.print_default)?)])
        }
        Request::SetConfig(edit) => {
            check_schema(&edit.schema, handler)?;
            handler.set_config(&edit.path, &edit.config).map(|()| vec![])
        }
        Request::AddConfig(edit) => {
            check_schema(&edit.schema, handler)?;
            handler.add_config(&edit.path, &edit.config).map(|()| vec![])
        }
        Request::RemoveConfig { schema, path, .. } => {
            check_schema(schema, handler)?;
            handler.remove_config(path).map(|()| vec![])
        }
        Request::Extended(Extended { schema, call, .. }) => {
            check_schema(schema, handler)?;
            let text = handler.extension(call)?;
            Ok(call.result().map(|leaf| (leaf, text)).into_iter().collect())
        }
        Request::Unserved { rpc } => Err(format!(
            "{rpc} is not available: this instance serves describe, get-schema, get-config, set-config, \
             add-config, remove-config and get-state"
        )),
    }
}

fn check_query(query: &Query, handler: &dyn Handler) -> Result<(), String> {
    check_schema(&query.schema, handler)?;
    match query.format.as_deref() {
        None | Some("yang") => Ok(()),
        Some(other) => Err(format!("unsupported format: {other} (this instance answers in the format yang)")),
    }
}

fn check_schema(schema: &str, handler: &dyn Handler) -> Result<(), String> {
    if schema == handler.schema() { Ok(()) } else { Err(unsupported(schema, handler)) }
}

fn unsupported(schema: &str, handler: &dyn Handler) -> String {
    format!("unsupported schema: {schema} (this instance serves {})", handler.schema())
}

/// Clients send one call per request; a request of many only multiplies the work and memory of one turn.
const MAX_CALLS: usize = 256;
