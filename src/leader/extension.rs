// SPDX-License-Identifier: Apache-2.0
//! Calls that the module snabb-config-leader-v1 has here and nowhere else: dry runs, confirmed commits, history.
//!
//! A deployed instance closes the connection of a client that makes one of them, before it does anything. So a dry
//! run is never taken for the change itself.

use crate::yang::rpc::Leaves;

/// A call and the schema it addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extended {
    pub schema: String,
    pub revision: Option<String>,
    pub call: Extension,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Extension {
    /// What would a change do?
    DryRun(Change),
    /// Replace the whole configuration; return to the one of now unless that is confirmed within so many seconds.
    Commit {
        config: String,
        confirm_timeout_s: Option<u32>,
    },
    Confirm,
    /// Return to an earlier configuration: the number that the history gives it.
    Rollback {
        index: u32,
    },
    History,
}

/// A change of the configuration, at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Set { path: String, config: String },
    Add { path: String, config: String },
    Remove { path: String },
}

impl Extension {
    /// Whether the configuration may be another one afterwards.
    pub fn changes(&self) -> bool {
        matches!(self, Extension::Commit { .. } | Extension::Rollback { .. })
    }

    /// The leaf of the reply that holds the answer.
    pub(super) fn result(&self) -> Option<&'static str> {
        match self {
            Extension::DryRun(_) | Extension::Commit { .. } | Extension::Rollback { .. } => {
                Some("difference")
            }
            Extension::Confirm => None,
            Extension::History => Some("history"),
        }
    }
}

impl Extended {
    pub(super) fn rpc(&self) -> &'static str {
        match &self.call {
            Extension::DryRun(Change::Set { .. }) => "set-config",
            Extension::DryRun(Change::Add { .. }) => "add-config",
            Extension::DryRun(Change::Remove { .. }) => "remove-config",
            Extension::Commit { .. } => "commit-config",
            Extension::Confirm => "confirm-commit",
            Extension::Rollback { .. } => "rollback-config",
            Extension::History => "get-history",
        }
    }

    /// The call with these leaves, if it is one of ours. The module says which leaves must be there, and the reader
    /// of messages has seen to it.
    pub(super) fn read(rpc: &str, leaves: &Leaves) -> Option<Extended> {
        let text = |name: &str| leaves.text(name).unwrap_or_default();
        let path = || leaves.text("path").unwrap_or_else(|| "/".to_owned());
        let number = |name: &str| leaves.number(name).and_then(|number| u32::try_from(number).ok());
        let dry_run = leaves.flag("dry-run");
        let call = match rpc {
            "set-config" if dry_run => {
                Extension::DryRun(Change::Set { path: path(), config: text("config") })
            }
            "add-config" if dry_run => {
                Extension::DryRun(Change::Add { path: path(), config: text("config") })
            }
            "remove-config" if dry_run => Extension::DryRun(Change::Remove { path: path() }),
            "commit-config" => {
                Extension::Commit { config: text("config"), confirm_timeout_s: number("confirm-timeout") }
            }
            "confirm-commit" => Extension::Confirm,
            "rollback-config" => Extension::Rollback { index: number("index").unwrap_or(1) },
            "get-history" => Extension::History,
            _ => return None,
        };
        Some(Extended { schema: text("schema"), revision: leaves.text("revision"), call })
    }

    /// The leaves of the call, but for those that address a schema.
    pub(super) fn add_to(&self, leaves: Leaves) -> Leaves {
        match &self.call {
            Extension::DryRun(Change::Set { path, config } | Change::Add { path, config }) => {
                leaves.with("path", path.as_str()).with("config", config.as_str()).with("dry-run", true)
            }
            Extension::DryRun(Change::Remove { path }) => {
                leaves.with("path", path.as_str()).with("dry-run", true)
            }
            Extension::Commit { config, confirm_timeout_s } => {
                let leaves = leaves.with("config", config.as_str());
                match confirm_timeout_s {
                    Some(seconds) => leaves.with("confirm-timeout", u64::from(*seconds)),
                    None => leaves,
                }
            }
            Extension::Rollback { index } => leaves.with("index", u64::from(*index)),
            Extension::Confirm | Extension::History => leaves,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Edit, Request, parse_requests, print_request};
    use super::*;

    fn request(call: Extension) -> Request {
        Request::Extended(Extended { schema: "toy".into(), revision: None, call })
    }

    #[test]
    fn every_call_is_read_as_it_was_printed() {
        let (path, config) = ("/route4".to_owned(), "{ id a; }".to_owned());
        for call in [
            Extension::DryRun(Change::Set { path: path.clone(), config: config.clone() }),
            Extension::DryRun(Change::Add { path: path.clone(), config: config.clone() }),
            Extension::DryRun(Change::Remove { path }),
            Extension::Commit { config: config.clone(), confirm_timeout_s: None },
            Extension::Commit { config, confirm_timeout_s: Some(300) },
            Extension::Confirm,
            Extension::Rollback { index: 31 },
            Extension::History,
        ] {
            let text = print_request(&request(call.clone())).unwrap();
            assert_eq!(parse_requests(&text).unwrap(), [request(call)], "{text}");
        }
        let text = "rollback-config { schema toy; }";
        assert_eq!(parse_requests(text).unwrap(), [request(Extension::Rollback { index: 1 })]);
    }

    #[test]
    fn a_change_without_dry_run_is_the_change_itself() {
        let edit = Edit { schema: "toy".into(), revision: None, path: "/mtu".into(), config: "5".into() };
        let set = Request::SetConfig(edit);
        let text = print_request(&set).unwrap();
        assert!(!text.contains("dry-run"));
        let refused = text.replace("config 5;", "config 5; dry-run false;");
        assert_eq!(parse_requests(&refused).unwrap(), vec![set.clone()]);
        assert_eq!(
            parse_requests(&text.replace("config 5;", "config 5; dry-run true;")).unwrap(),
            [set.dry_run()]
        );
    }

    #[test]
    fn a_time_for_confirmation_has_its_bounds() {
        for seconds in ["0", "86401", "-1", "5m"] {
            assert!(
                parse_requests(&format!(
                    "commit-config {{ schema a; config ''; confirm-timeout {seconds}; }}"
                ))
                .is_err()
            );
        }
    }
}
