// SPDX-License-Identifier: Apache-2.0
//! The parts of `vita config` that `snabb config` does not have: check, dry runs, trials and history.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::answer::{refuse, report};
use super::args::{ExtendedCommand, Schema};
use super::error::{ConfigError, explained};
use super::input::{read_bounded, read_file};
use super::output::write;
use super::schema::InstanceSchema;
use crate::config::Document;
use crate::leader::{Client, Extended, Extension, Request};

pub(super) fn run(command: ExtendedCommand) -> Result<ExitCode, ConfigError> {
    match command {
        ExtendedCommand::Check { file } => check(&file),
        ExtendedCommand::Commit { confirm, schema, id, file } => {
            let (text, source) = (read(&file)?, source(&file));
            ask(&id, schema, |known| {
                let config =
                    known.value("/", text, None).map_err(|error| error.in_source(&source, "/"))?.text;
                Ok(Extension::Commit { config, confirm_timeout_s: confirm })
            })
        }
        ExtendedCommand::Confirm { schema, id } => ask(&id, schema, |_| Ok(Extension::Confirm)),
        ExtendedCommand::Rollback { schema, id, number } => {
            ask(&id, schema, |_| Ok(Extension::Rollback { index: number }))
        }
        ExtendedCommand::History { schema, id } => ask(&id, schema, |_| Ok(Extension::History)),
    }
}

/// Makes a call. What is wrong with it before the instance is asked goes where refusals go.
fn ask(
    id: &str,
    schema: Schema,
    call: impl FnOnce(&InstanceSchema) -> Result<Extension, String>,
) -> Result<ExitCode, ConfigError> {
    let mut client = Client::connect(id)?;
    let known = InstanceSchema::of(&mut client, schema.name)?.ok_or(ConfigError::NoSchema)?;
    let call = match call(&known) {
        Ok(call) => call,
        Err(refusal) => return refuse(&refusal, &mut io::stdout()),
    };
    let request = Request::Extended(Extended { schema: known.name, revision: schema.revision, call });
    let reply = client.call(&request).map_err(|error| explained(error, &request))?;
    report(&reply, &mut io::stdout())
}

/// Says whether a file holds a valid configuration. Needs neither an instance nor privileges, and does not look at
/// the devices of this machine: the file may be meant for another.
fn check(file: &Path) -> Result<ExitCode, ConfigError> {
    let text = read(file)?;
    let name = source(file);
    let (report, code) = match Document::parse(&text) {
        Ok(document) => {
            let config = document.config();
            let (queues, routes) =
                (counted(config.workers().count(), "queue"), counted(config.routes.len(), "route"));
            let mut report = format!("{name}: valid ({queues}, {routes})\n");
            if document.ignored_associations() > 0 {
                let ignored = counted(document.ignored_associations(), "association");
                report += &format!("{name}: note: {ignored} will be ignored: the key exchange makes them\n");
            }
            for warning in document.warnings() {
                report += &format!("{name}: warning: {warning}\n");
            }
            (report, ExitCode::SUCCESS)
        }
        Err(error) => (format!("{}\n", error.in_file(&name)), ExitCode::FAILURE),
    };
    let written = if code == ExitCode::SUCCESS {
        write(&mut io::stdout(), &report)
    } else {
        io::stderr().write_all(report.as_bytes())
    };
    written.map_err(ConfigError::Output)?;
    Ok(code)
}

fn read(file: &Path) -> Result<String, ConfigError> {
    if file == Path::new(STANDARD_INPUT) {
        return read_bounded(&mut io::stdin().lock(), "standard input");
    }
    read_file(&PathBuf::from(file))
}

fn source(file: &Path) -> String {
    if file == Path::new(STANDARD_INPUT) { "<stdin>".to_owned() } else { file.display().to_string() }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

const STANDARD_INPUT: &str = "-";
