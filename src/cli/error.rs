// SPDX-License-Identifier: Apache-2.0
//! Errors of `vita config`.

use std::io;

use thiserror::Error;

use super::listen::ListenError;
use crate::leader::{ClientError, Extended, Extension, MAX_REQUEST, Request};
use crate::yang::path::PathError;

#[derive(Debug, Error)]
pub(super) enum ConfigError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A caret below the place, in the manner of compilers.
    #[error("{INTRODUCTION}{path}\n{:indent$}^ {problem}", "", indent = INTRODUCTION.len() + column)]
    Brackets { path: String, column: usize, problem: &'static str },
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("cannot read the value from {source_name}: {error}")]
    Value { source_name: String, error: io::Error },
    /// Says where.
    #[error("{0}")]
    Encoding(String),
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

/// Instances that do not have our calls close the connection.
pub(super) fn explained(error: ClientError, request: &Request) -> ConfigError {
    match (error, request) {
        (ClientError::Unanswered, Request::Extended(Extended { call, .. })) => {
            ConfigError::NoExtension(match call {
                Extension::DryRun(_) => "--dry-run",
                Extension::Commit { .. } => "commit",
                Extension::Confirm => "confirm",
                Extension::Rollback { .. } => "rollback",
                Extension::History => "history",
            })
        }
        (error, _) => error.into(),
    }
}

const INTRODUCTION: &str = "Syntax error in ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_points_at_its_place() {
        let error = ConfigError::Brackets { path: "/r[x".to_owned(), column: 2, problem: "here" };
        assert_eq!(error.to_string(), "Syntax error in /r[x\n                  ^ here");
    }

    #[test]
    fn an_instance_that_hangs_up_on_an_extension_does_not_know_it() {
        let request = |call| Request::Extended(Extended { schema: "a".into(), revision: None, call });
        let shown = |error| explained(error, &request(Extension::History)).to_string();
        assert!(shown(ClientError::Unanswered).starts_with("the instance does not know history"));
        assert_eq!(shown(ClientError::Silent), ClientError::Silent.to_string());
        let plain = explained(ClientError::Unanswered, &Request::Describe).to_string();
        assert_eq!(plain, ClientError::Unanswered.to_string());
    }
}
