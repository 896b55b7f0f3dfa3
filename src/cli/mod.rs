// SPDX-License-Identifier: Apache-2.0
//! The command line: run a gateway, or talk to one that runs.
//!
//! ```text
//!   vita --name paris --xdp --cpu 2,3      the gateway (crate::daemon)
//!   vita config set paris / < paris.conf   a client of its control socket (config)
//!   vita ps                                which instances run
//!   vita --keygen, --config-help           answers that need no gateway
//! ```
//!
//! The same binary called as `snabb` or `snabb-config` understands what deployed scripts say to those
//! (`program`). Exit codes: 0 for success, 1 for everything else, usage errors included.

mod answer;
mod args;
mod change;
mod config;
mod cpus;
mod error;
mod input;
mod listen;
mod model;
mod output;
mod program;
mod ps;
mod schema;
mod unpin;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use crate::daemon;
use crate::process::{self, Log};
use args::{Command, ConfigAction, Gateway, Vita};
use output::complain;

/// Does what the command line says.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match program::canonical(args) {
        Ok(args) => args,
        Err(error) => return fail(error),
    };
    let is_config = args.get(1).is_some_and(|word| word == "config");
    match Vita::try_parse_from(args) {
        Ok(Vita { command: Some(Command::Config { action }), .. }) => {
            let result = match action {
                ConfigAction::Common(command) => config::run(command),
                ConfigAction::Extended(command) => change::run(command),
            };
            result.unwrap_or_else(|error| {
                // Bare: scripts compare these texts, and some point at a column.
                complain(&error);
                ExitCode::FAILURE
            })
        }

        Ok(Vita { command: Some(Command::Unpin { name }), .. }) => {
            unpin::run(&name).map_or_else(fail, |text| print(&text))
        }
        Ok(Vita { command: Some(Command::Ps), .. }) => ps::list().map_or_else(fail, |text| print(&text)),
        Ok(Vita { command: None, gateway }) => run_gateway(gateway),
        Err(error) if is_config => explain_config(&error),
        Err(error) => explain(&error),
    }
}

fn run_gateway(gateway: Gateway) -> ExitCode {
    if gateway.keygen {
        return keygen().map_or_else(fail, |()| ExitCode::SUCCESS);
    }
    if gateway.config_help {
        return model::describe(crate::config::schema_source()).map_or_else(fail, |text| print(&text));
    }
    if let Some(Err(error)) = gateway.name.as_deref().map(crate::leader::rundir::check_name) {
        return fail(format_args!("--name: {error}"));
    }
    // Before there is a second thread, that of the log.
    let ungranted = process::harden();
    let log = match start_logging() {
        Ok(log) => log,
        Err(error) => return fail(error),
    };
    ungranted.iter().for_each(|what| tracing::warn!("{what}"));
    let options = daemon::Options {
        name: gateway.name,
        cpus: gateway.cpu.map(|list| list.0).unwrap_or_default(),
        busywait: gateway.busywait,
        realtime: gateway.realtime,
        config: gateway.config,
        allow_empty: gateway.allow_empty,
    };
    match daemon::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Behind what the log has to say, and as little waited for.
            log.lines().push(format!("vita: {error}\n").into_bytes());
            ExitCode::FAILURE
        }
    }
}

/// The log, which is flushed when it is dropped.
fn start_logging() -> Result<Log, String> {
    let level = std::env::var(LOG_VARIABLE).unwrap_or_default();
    let filter = EnvFilter::try_new(if level.is_empty() { DEFAULT_LEVEL } else { &level })
        .map_err(|error| format!("{LOG_VARIABLE}={level}: {error}; use error, warn, info, debug or trace"))?;
    let colours = io::stderr().is_terminal();
    let log = Log::to_standard_error();
    log.report_panics();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log.lines())
        .with_ansi(colours)
        .log_internal_errors(false)
        .init();
    Ok(log)
}

/// Prints a fresh key in the form the leaf preshared-key takes.
fn keygen() -> Result<(), String> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *key).map_err(|error| format!("the kernel gives no random bytes: {error}"))?;
    let mut line = Zeroizing::new([b'\n'; 2 * KEY_BYTES + 1]);
    for (digits, byte) in line.chunks_exact_mut(2).zip(key.iter()) {
        digits[0] = HEX[usize::from(byte >> 4)];
        digits[1] = HEX[usize::from(byte & 15)];
    }
    let line = std::str::from_utf8(&*line).map_err(|error| error.to_string())?;
    output::write(&mut io::stdout(), line).map_err(|error| format!("cannot write the key: {error}"))
}

fn print(text: &str) -> ExitCode {
    output::write(&mut io::stdout(), text).map_or_else(fail, |()| ExitCode::SUCCESS)
}

fn fail(error: impl Display) -> ExitCode {
    complain(&format_args!("vita: {error}"));
    ExitCode::FAILURE
}

/// Help and version succeed; everything else about the usage is an error with exit code 1.
fn explain(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell if even this cannot be written.
    let _ = error.print();
    if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Scripts around `snabb config` look for these words on these streams.
fn explain_config(error: &clap::Error) -> ExitCode {
    let word = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => word.clone(),
        Some(ContextValue::Strings(words)) => words.first().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let usage = || error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if word.starts_with('-') => {
            complain(&format_args!("Unknown option `{word}'"));
        }
        ErrorKind::UnknownArgument => {
            print(&format!("error: too many arguments\n\n{}\n", usage()));
        }
        ErrorKind::MissingRequiredArgument => {
            let name = word.trim_matches(['<', '>']).to_lowercase();
            print(&format!("error: missing {name} argument\n\n{}\n", usage()));
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            print(&error.render().to_string());
        }
        _ => return explain(error),
    }
    ExitCode::FAILURE
}

const LOG_VARIABLE: &str = "VITA_LOG";
const DEFAULT_LEVEL: &str = "info";
const KEY_BYTES: usize = 32;
const HEX: &[u8; 16] = b"0123456789abcdef";
