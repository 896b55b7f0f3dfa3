// SPDX-License-Identifier: Apache-2.0
//! The gateway process: one loop that serves the control socket and the workers, until a signal ends it.

use super::args::Gateway;
use crate::aead;
use crate::clock::Instant;
use crate::config::{Document, Rejected};
use crate::control::{self, History, Supervisor, Transactions, history};
use crate::leader::rundir::{self, RunDir, RunDirError};
use crate::leader::{Change, Extension, Handler, Server};
use crate::xdp;
use crate::yang::format::Format;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Aead(#[from] aead::Unavailable),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error("cannot listen on {path}: {source}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("--config {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("--config {path}: {problem}")]
    Config { path: PathBuf, problem: String },
    /// A message that names the file and the place in it.
    #[error("{0}")]
    File(String),
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs a gateway until SIGINT or SIGTERM; SIGHUP has it read its configuration file again. On the way out programs are detached, sockets closed, names removed.
pub fn run(gateway: Gateway) -> Result<(), DaemonError> {
    // Without a name it is found by its process id.
    let id = gateway.name.clone().unwrap_or_else(|| std::process::id().to_string());
    let id = id.as_str();
    let aead = aead::chosen()?;
    let signals = Signals::new()?;
    // The file is read before anything is made, so that a mistake in it leaves nothing behind.
    let start = gateway.config.as_deref().map(read).transpose()?;
    let mut run_dir = RunDir::create(&rundir::root())?;
    let path = run_dir.socket();
    let mut server = Server::bind(&path).map_err(|source| DaemonError::Listen { path, source })?;
    if let Some(name) = &gateway.name {
        run_dir.claim(name)?;
    }
    let supervisor = Supervisor::new(control::Options {
        cpus: gateway.cpu.map(|list| list.0).unwrap_or_default(),
        busywait: gateway.busywait,
        realtime: gateway.realtime,
        name: id.to_string(),
    })?;
    let history = match &gateway.name {
        Some(name) => History::open(&history::root().join(name)),
        None => {
            tracing::info!(
                "configurations end with this process: it has no name (--name) to keep them under"
            );
            History::in_memory()
        }
    };
    let mut transactions = Transactions::new(supervisor, history);
    if let (Some(document), Some(path)) = (start, &gateway.config) {
        if document.is_empty() {
            tracing::warn!("--config {}: the file holds no configuration", path.display());
        }
        warn_of(&document, &Document::empty());
        let applied = transactions.start(Instant::now(), document, &path.display().to_string());
        applied.map_err(|error| DaemonError::Config { path: path.clone(), problem: error.to_string() })?;
    }
    tracing::info!("packets are sealed by {}", aead.name());
    tracing::info!("{id} runs; configure it with: vita config set {id} / < FILE");
    let mut fds = Vec::new();
    loop {
        fds.clear();
        fds.push(xdp::readable(signals.arrival.as_raw_fd()));
        fds.push(xdp::readable(transactions.supervisor.bell()));
        fds.extend(transactions.supervisor.neighbours().map(xdp::readable));
        server.poll_fds(&mut fds);
        let now = Instant::now();
        let timeout = transactions.deadline(now).saturating_duration_since(now);
        if let Err(error) = xdp::poll(&mut fds, Some(timeout)) {
            // The workers go on meanwhile, and so does everything that is looked after without being asked.
            tracing::error!("cannot wait for events: {error}");
            std::thread::sleep(POLL_ERROR_PAUSE);
        }
        if signals.stop.load(Ordering::Relaxed) {
            tracing::info!("{id} stops");
            return Ok(());
        }
        let now = Instant::now();
        if signals.takes_reload() {
            reload(&mut transactions, now, gateway.config.as_deref(), gateway.allow_empty);
        }
        transactions.service(now);
        server.service(now, &mut Requests { transactions: &mut transactions, now });
    }
}

/// Reads the configuration file again. Whatever is wrong with it, nothing has changed then.
fn reload(transactions: &mut Transactions, now: Instant, path: Option<&Path>, allow_empty: bool) {
    let Some(path) = path else {
        tracing::warn!("SIGHUP: there is no file to read again: it would be the one of --config");
        return;
    };
    let verb = format!("reload of {}", path.display());
    let before = transactions.document().clone();
    let candidate = read(path).map_err(|error| error.to_string()).and_then(|candidate| {
        match candidate.removes_all_of(&before).filter(|_| !allow_empty) {
            Some(what) => Err(format!(
                "the file has no {what}, and the running configuration has: a file that is not written to its end \
                 looks like this. To remove them all, use vita config load, or start with --allow-empty"
            )),
            None => Ok(candidate),
        }
    });
    let applied = candidate.and_then(|candidate| {
        let told = transactions.apply(now, candidate.clone(), &verb).map_err(|error| error.to_string())?;
        warn_of(&candidate, &before);
        Ok(told)
    });
    match applied {
        Ok(told) => tracing::info!("SIGHUP: {verb}: {}", told.trim_end()),
        Err(error) => tracing::error!("SIGHUP: {verb}: nothing is changed: {error}"),
    }
}

/// Signals to stop. The first one is heard by the loop; a second one, of somebody who cannot wait, ends the process where
/// it stands. And SIGHUP, the signal to read the configuration file again.
struct Signals {
    /// Becomes readable.
    arrival: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let (arrival, sender) = UnixStream::pair()?;
        arrival.set_nonblocking(true)?;
        let (stop, reload) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, KILLED, stop.clone())?;
            flag::register(signal, stop.clone())?;
            pipe::register(signal, sender.try_clone()?)?;
        }
        flag::register(SIGHUP, reload.clone())?;
        pipe::register(SIGHUP, sender)?;
        Ok(Signals { arrival, stop, reload })
    }

    /// Whether the configuration file is to be read again; true once for any number of signals since.
    fn takes_reload(&self) -> bool {
        // What arrives is one byte a signal; a flag says which it was.
        while matches!((&self.arrival).read(&mut [0; 64]), Ok(1..)) {}
        self.reload.swap(false, Ordering::Relaxed)
    }
}

fn read(path: &Path) -> Result<Document, DaemonError> {
    let bytes = std::fs::read(path).map_err(|source| DaemonError::Read { path: path.to_owned(), source })?;
    Document::parse_bytes(bytes)
        .map_err(|error| DaemonError::File(error.in_file(&path.display().to_string())))
}

/// What the control socket may ask for.
struct Requests<'a> {
    transactions: &'a mut Transactions,
    now: Instant,
}

impl Requests<'_> {
    fn apply(&mut self, candidate: Result<Document, Rejected>, verb: &str) -> Result<(), String> {
        let candidate = accepted(candidate)?;
        let before = self.transactions.document().clone();
        let applied = self.transactions.apply(self.now, candidate.clone(), verb);
        applied.map(drop).map_err(|error| error.to_string())?;
        warn_of(&candidate, &before);
        Ok(())
    }
}

/// Tells what is valid in a configuration and does not work, as far as it was not so before.
fn warn_of(document: &Document, before: &Document) {
    let warnings = document.warnings_since(before);
    for warning in warnings.iter().take(MAX_WARNINGS) {
        tracing::warn!("{warning}");
    }
    if let more @ 1.. = warnings.len().saturating_sub(MAX_WARNINGS) {
        tracing::warn!("{more} more warnings of the configuration: vita config check FILE shows them");
    }
}

/// Tells what of a configuration is not taken over.
fn accepted(candidate: Result<Document, Rejected>) -> Result<Document, String> {
    let candidate = candidate.map_err(|error| error.to_string())?;
    if candidate.ignored_associations() > 0 {
        tracing::warn!(
            "Rejected changes to auto-managed SA database (data-plane option is not set): {} configured SAs are \
             dropped, the key exchange makes its own",
            candidate.ignored_associations()
        );
    }
    Ok(candidate)
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

    fn set_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.apply(self.transactions.document().set(path, config), &format!("set {path}"))
    }

    fn add_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.apply(self.transactions.document().add(path, config), &format!("add {path}"))
    }

    fn remove_config(&mut self, path: &str) -> Result<(), String> {
        self.apply(self.transactions.document().remove(path), &format!("remove {path}"))
    }

    fn extension(&mut self, call: &Extension) -> Result<String, String> {
        let (transactions, now) = (&mut *self.transactions, self.now);
        let told = match call {
            Extension::DryRun(change) => {
                let document = transactions.document();
                let candidate = accepted(match change {
                    Change::Set { path, config } => document.set(path, config),
                    Change::Add { path, config } => document.add(path, config),
                    Change::Remove { path } => document.remove(path),
                })?;
                transactions.dry_run(&candidate).map(|told| {
                    let warnings = candidate.warnings().into_iter();
                    told + &warnings.map(|warning| format!("warning: {warning}\n")).collect::<String>()
                })
            }
            Extension::Commit { config, confirm_timeout_s } => {
                let candidate = accepted(transactions.document().set("/", config))?;
                let timeout = confirm_timeout_s.map(|seconds| Duration::from_secs(seconds.into()));
                let before = transactions.document().clone();
                let told = transactions.commit(now, candidate.clone(), timeout);
                if told.is_ok() {
                    warn_of(&candidate, &before);
                }
                told
            }
            Extension::Confirm => transactions.confirm().map(|()| String::new()),
            Extension::Rollback { index } => transactions.rollback(now, *index as usize),
            Extension::History => Ok(transactions.history(now)),
        };
        told.map_err(|error| error.to_string())
    }
}

/// What a shell reports of a process that SIGTERM ended.
const KILLED: i32 = 143;
/// Warnings about one configuration that the log gets.
const MAX_WARNINGS: usize = 10;
/// Keeps an error that does not go away from filling the log and a CPU.
const POLL_ERROR_PAUSE: Duration = Duration::from_secs(1);
