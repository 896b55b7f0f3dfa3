// SPDX-License-Identifier: Apache-2.0
//! Requests of the control socket, carried out on the supervisor and its transactions.

use crate::clock::Instant;
use crate::config::{Document, Rejected};
use crate::control::{Edit, Request, Transactions};
use crate::leader::{Change, Extension, Handler};
use crate::yang::format::Format;
use std::task::Poll;
use std::time::Duration;

/// Whose request is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    Nobody,
    Start,
    Reload,
    Client,
}

/// Handler of the control socket.
pub(super) struct Requests<'a> {
    pub transactions: &'a mut Transactions,
    pub now: Instant,
    pub owner: &'a mut Owner,
}

impl Requests<'_> {
    fn begin(&mut self, request: Request) -> Result<(), String> {
        self.transactions.begin(self.now, request).map_err(|error| error.to_string())?;
        *self.owner = Owner::Client;
        Ok(())
    }

    fn apply(
        &mut self,
        verb: String,
        edit: impl FnOnce(&Document) -> Result<Document, Rejected> + Send + 'static,
    ) -> Result<(), String> {
        self.begin(Request::Change { edit: accepted(edit), verb })
    }
}

/// Logs what of a configuration is not taken over.
fn accepted(edit: impl FnOnce(&Document) -> Result<Document, Rejected> + Send + 'static) -> Edit {
    Box::new(|document| {
        let candidate = edit(document).map_err(|error| error.to_string())?;
        if candidate.ignored_associations() > 0 {
            tracing::warn!(
                "Rejected changes to auto-managed SA database (data-plane option is not set): {} configured SAs are \
                 dropped, the key exchange makes its own",
                candidate.ignored_associations()
            );
        }
        Ok(candidate)
    })
}

impl Handler for Requests<'_> {
    fn schema(&self) -> &str {
        crate::config::SCHEMA
    }

    fn schema_source(&self, schema: &str) -> Option<&str> {
        crate::config::module_source(schema)
    }

    fn get_config(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String> {
        let supervisor = &self.transactions.supervisor;
        let live = || supervisor.associations();
        let printed = supervisor.document().print_live(path, format, print_default, live);
        printed.map_err(|error| error.to_string())
    }

    fn get_state(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String> {
        let state = self.transactions.supervisor.state(path);
        let printed = state.and_then(|state| state.print(path, format, print_default));
        printed.map_err(|error| error.to_string())
    }

    fn is_busy(&self) -> bool {
        self.transactions.is_busy() || matches!(self.owner, Owner::Start | Owner::Reload)
    }

    fn outcome(&mut self) -> Poll<Result<Option<String>, String>> {
        // A call that is answered at once has begun nothing.
        if *self.owner != Owner::Client {
            return Poll::Ready(Ok(None));
        }
        let Some(outcome) = self.transactions.outcome() else { return Poll::Pending };
        *self.owner = Owner::Nobody;
        Poll::Ready(outcome.map(Some).map_err(|error| error.to_string()))
    }

    fn set_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        let (path, config) = (path.to_owned(), config.to_owned());
        self.apply(format!("set {path}"), move |document| document.set(&path, &config))
    }

    fn add_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        let (path, config) = (path.to_owned(), config.to_owned());
        self.apply(format!("add {path}"), move |document| document.add(&path, &config))
    }

    fn remove_config(&mut self, path: &str) -> Result<(), String> {
        let path = path.to_owned();
        self.apply(format!("remove {path}"), move |document| document.remove(&path))
    }

    fn extension(&mut self, call: &Extension) -> Result<String, String> {
        let request = match call.clone() {
            Extension::DryRun(change) => Request::DryRun {
                edit: accepted(move |document| match change {
                    Change::Set { path, config } => document.set(&path, &config),
                    Change::Add { path, config } => document.add(&path, &config),
                    Change::Remove { path } => document.remove(&path),
                }),
            },
            Extension::Commit { config, confirm_timeout_s } => Request::Commit {
                edit: accepted(move |document| document.set("/", &config)),
                timeout: confirm_timeout_s.map(|seconds| Duration::from_secs(seconds.into())),
            },
            Extension::Rollback { index } => Request::Rollback { index: index as usize },
            Extension::Confirm => {
                let confirmed = self.transactions.confirm().map(|()| String::new());
                return confirmed.map_err(|error| error.to_string());
            }
            Extension::History => return Ok(self.transactions.history(self.now)),
        };
        self.begin(request).map(|()| String::new())
    }
}
