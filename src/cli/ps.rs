// SPDX-License-Identifier: Apache-2.0
//! `vita ps`: the instances below the run directory, of this and of other programs, as `snabb ps` lists them.
//!
//! ```text
//!   4711    [paris] * [schema: vita-esp-gateway]
//!   4712
//!     \- 4713   worker for 4712
//! ```
//!
//! The star is for instances that `vita config` can talk to.

use crate::leader::rundir::{self, Instance};
use crate::leader::{Client, Request};
use std::fmt::Write;
use std::io;

pub(super) fn list() -> io::Result<String> {
    let root = rundir::root();
    let mut text = String::new();
    for Instance { pid, name, leader } in rundir::instances(&root)? {
        // Writing to a string cannot fail.
        let _ = match (leader, name) {
            (Some(leader), _) => write!(text, "  \\- {pid}   worker for {leader}"),
            (None, Some(name)) => write!(text, "{pid}\t[{name}]"),
            (None, None) => write!(text, "{pid}"),
        };
        if let Some(schema) = schema(pid) {
            let _ = write!(text, " * [schema: {schema}]");
        }
        text.push('\n');
    }
    Ok(text)
}

/// The schema of an instance that answers.
fn schema(pid: u32) -> Option<String> {
    let reply = Client::connect_patiently(&pid.to_string(), PATIENCE).ok()?.call(&Request::Describe).ok()?;
    reply.leaf("native-schema")
}

/// An instance that hangs should not keep the others from being listed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
