// SPDX-License-Identifier: Apache-2.0
//! The parts of `vita config` that `snabb config` does not have: check, dry runs, trials and history.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::{ConfigCommand, ExtendedCommand, Schema};
use super::config::{ConfigError, read_bounded, read_file, refuse, report};
use super::output::write;
use super::schema::Known;
use crate::config::Document;
use crate::leader::{Client, ClientError, Extended, Extension, Reply, Request};

pub fn run(command: ExtendedCommand) -> Result<ExitCode, ConfigError> {
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
    call: impl FnOnce(&Known) -> Result<Extension, String>,
) -> Result<ExitCode, ConfigError> {
    let mut client = Client::connect(id)?;
    let known = Known::of(&mut client, schema.name)?.ok_or(ConfigError::NoSchema)?;
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
    let (told, code) = match Document::parse(&text) {
        Ok(document) => {
            let config = document.config();
            let (queues, routes) =
                (counted(config.workers().count(), "queue"), counted(config.routes.len(), "route"));
            let mut told = format!("{name}: valid ({queues}, {routes})\n");
            if document.ignored_associations() > 0 {
                let ignored = counted(document.ignored_associations(), "association");
                told += &format!("{name}: note: {ignored} will be ignored: the key exchange makes them\n");
            }
            for warning in document.warnings() {
                told += &format!("{name}: warning: {warning}\n");
            }
            (told, ExitCode::SUCCESS)
        }
        Err(error) => (format!("{}\n", error.in_file(&name)), ExitCode::FAILURE),
    };
    let written = if code == ExitCode::SUCCESS {
        write(&mut io::stdout(), &told)
    } else {
        io::stderr().write_all(told.as_bytes())
    };
    written.map_err(ConfigError::Output)?;
    Ok(code)
}

pub fn is_dry_run(command: &ConfigCommand) -> bool {
    match command {
        ConfigCommand::Set { trial, .. }
        | ConfigCommand::Add { trial, .. }
        | ConfigCommand::Remove { trial, .. }
        | ConfigCommand::Load { trial, .. } => trial.dry_run,
        _ => false,
    }
}

/// What an instance tells of a change or of its history. Whole lines, the last one without its end.
pub fn told(reply: &Reply) -> Option<String> {
    let told = ["difference", "history"].into_iter().find_map(|name| reply.leaf(name))?;
    Some(told.trim_end().to_owned()).filter(|told| !told.is_empty())
}

/// Instances that do not have our calls close the connection.
pub fn explained(error: ClientError, request: &Request) -> ConfigError {
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

/// Seconds, from `90s`, `5m` or `1h`. The unit is required: guessing it wrong could cut somebody off.
pub fn time(text: &str) -> Result<u32, String> {
    let seconds = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        _ => None,
    };
    let number = text.chars().next_back().and_then(seconds).and_then(|unit: u32| {
        let (digits, _) = text.split_at(text.len() - 1);
        digits
            .bytes()
            .all(|digit| digit.is_ascii_digit())
            .then(|| digits.parse::<u32>().ok())??
            .checked_mul(unit)
    });
    let number = number.filter(|seconds| (1..=LONGEST_TRIAL_S).contains(seconds));
    number.ok_or_else(|| "write e.g. 90s, 5m or 1h, at most 24h".to_owned())
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
/// A day: the range of the protocol.
const LONGEST_TRIAL_S: u32 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_an_end() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h", 3600), ("24h", 86_400), ("007m", 420)] {
            assert_eq!(time(text), Ok(seconds));
        }
        for text in [
            "",
            "m",
            "5",
            "0s",
            "25h",
            "5 m",
            "-5m",
            "+5m",
            "5d",
            "4294967296s",
            "71582789m",
            "5\u{b5}",
            "h5m",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_instance_that_hangs_up_on_an_extension_does_not_know_it() {
        let request = |call| Request::Extended(Extended { schema: "a".into(), revision: None, call });
        let told = |error| explained(error, &request(Extension::History)).to_string();
        assert!(told(ClientError::Unanswered).starts_with("the instance does not know history"));
        assert_eq!(told(ClientError::Silent), ClientError::Silent.to_string());
        let plain = explained(ClientError::Unanswered, &Request::Describe).to_string();
        assert_eq!(plain, ClientError::Unanswered.to_string());
    }
}
