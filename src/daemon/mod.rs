// SPDX-License-Identifier: Apache-2.0
//! The gateway process: one loop that serves the control socket and the workers, until a signal ends it.
//!
//! ```text
//!   control socket ──► leader::Server ──► requests ─┐
//!   --config, SIGHUP ──► file ──────────────────────┴─► control::Transactions ──► control::Supervisor ──► workers
//! ```
//!
//! The loop waits in one `poll` for clients, signals, workers, neighbour tables and the next deadline. Changes of the
//! configuration are made one after the other; the owner says whose is under way.

mod requests;
mod signals;

use crate::aead;
use crate::clock::Instant;
use crate::config::Document;
use crate::control::{self, History, Request, Supervisor, TransactionError, Transactions, history};
use crate::leader::Server;
use crate::leader::rundir::{self, RunDir, RunDirError};
use crate::process::{self, Generation};
use crate::wait::{poll, readable};
use requests::{Owner, Requests};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signals::Signals;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How a gateway is run.
#[derive(Debug)]
pub struct Options {
    /// None: it is found by its process id, and its configurations end with it.
    pub name: Option<String>,
    /// One for each worker, in the order of their queues.
    pub cpus: Vec<usize>,
    /// Workers spin instead of sleeping.
    pub busywait: bool,
    /// Workers are real-time threads.
    pub realtime: bool,
    /// File of the configuration to start with, read again at SIGHUP.
    pub config: Option<PathBuf>,
    /// Whether a reload may remove everything.
    pub allow_empty: bool,
}

#[allow(missing_docs, reason = "the text of each says it")]
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
    #[error(
        "--config {path}: expected a regular file; what a pipe or device would give can be had with `vita config load NAME \
         FILE` once the gateway runs"
    )]
    NotAFile { path: PathBuf },
    #[error("--config {path}: {problem}")]
    Config { path: PathBuf, problem: String },
    /// A message that names the file and the place in it.
    #[error("{0}")]
    File(String),
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs a gateway until SIGINT or SIGTERM; SIGHUP has it read its configuration file again. On the way out programs are
/// detached, sockets closed, names removed.
pub fn run(options: Options) -> Result<(), DaemonError> {
    let id = options.name.clone().unwrap_or_else(|| std::process::id().to_string());
    let id = id.as_str();
    let aead = aead::chosen()?;
    let signals = Signals::new()?;
    raise_descriptor_limit();
    // The file is read before anything is made, so that a mistake in it leaves nothing behind.
    let start = options.config.as_deref().map(read).transpose()?;
    let mut run_dir = RunDir::create(&rundir::root())?;
    let path = run_dir.socket();
    let mut server = Server::bind(&path).map_err(|source| DaemonError::Listen { path, source })?;
    if let Some(name) = &options.name {
        run_dir.claim(name)?;
    }
    let mut supervisor = Supervisor::new(control::Options {
        cpus: options.cpus,
        busywait: options.busywait,
        realtime: options.realtime,
        name: id.to_string(),
    })?;
    let history = match &options.name {
        Some(name) => {
            let state = history::root().join(name);
            let history = History::open(&state);
            supervisor.remember_in(&state);
            history
        }
        None => {
            tracing::info!(
                "configurations end with this process: it has no name (--name) to keep them under"
            );
            supervisor.remember_nowhere();
            History::in_memory()
        }
    };
    let mut transactions = Transactions::new(supervisor, history);
    let mut daemon = Daemon {
        config: options.config,
        allow_empty: options.allow_empty,
        owner: Owner::Nobody,
        wants_reload: false,
    };
    let began = Instant::now();
    if let (Some(document), Some(path)) = (start, &daemon.config) {
        if document.is_empty() {
            tracing::warn!("--config {}: the file holds no configuration", path.display());
        }
        let source = path.display().to_string();
        daemon.owner = Owner::Start;
        transactions
            .begin(began, Request::Start { document, source })
            .map_err(|error| daemon.unusable(error))?;
    }
    process::limit();
    tracing::info!("packets are sealed by {}", aead.name());
    tracing::info!("{id} runs; configure it with: vita config set {id} / < FILE");
    // Without such a socket there are no messages either.
    let generation = Generation::listen().ok();
    let mut fds = Vec::new();
    loop {
        fds.clear();
        fds.extend(generation.iter().map(|generation| readable(generation.fd())));
        fds.push(readable(signals.arrival.as_raw_fd()));
        fds.push(readable(transactions.supervisor.wakeup()));
        fds.extend(transactions.supervisor.neighbours().map(readable));
        // Who asks at once is answered from the configuration of the start.
        let is_open = daemon.owner != Owner::Start || began.elapsed() > START_PATIENCE;
        if is_open {
            server.poll_fds(&mut fds);
        }
        let now = Instant::now();
        let timeout = transactions.deadline(now).saturating_duration_since(now);
        if let Err(error) = poll(&mut fds, Some(timeout)) {
            // Workers, keys and repairs go on meanwhile.
            tracing::error!("cannot wait for events: {error}");
            std::thread::sleep(POLL_ERROR_PAUSE);
        }
        if signals.stop.load(Ordering::Relaxed) {
            tracing::info!("{id} stops");
            return Ok(());
        }
        let now = Instant::now();
        if signals.takes_reload() {
            daemon.wants_reload = true;
        }
        if generation.as_ref().is_some_and(Generation::has_changed) {
            transactions.supervisor.renew(now);
        }
        transactions.service(now);
        if is_open {
            let owner = &mut daemon.owner;
            server.service(now, &mut Requests { transactions: &mut transactions, now, owner });
        }
        daemon.service(&mut transactions, now)?;
        // Requests and the key exchange leave keys on the stack.
        process::erase_stack();
        process::lock_again();
    }
}

/// Workers, clients and programs need more descriptors than shells allow by default.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!("the limit of descriptors stays at {:?}: {error}", limit.current);
    }
}

/// What the loop does besides serving clients and workers.
struct Daemon {
    config: Option<PathBuf>,
    allow_empty: bool,
    owner: Owner,
    wants_reload: bool,
}

impl Daemon {
    /// Sees to the start and to SIGHUP.
    fn service(&mut self, transactions: &mut Transactions, now: Instant) -> Result<(), DaemonError> {
        match self.owner {
            // A client that is still there has taken the outcome.
            Owner::Client if !transactions.is_busy() => self.owner = Owner::Nobody,
            Owner::Nobody | Owner::Client => {}
            Owner::Start => {
                if let Some(outcome) = transactions.outcome() {
                    self.owner = Owner::Nobody;
                    outcome.map_err(|error| self.unusable(error))?;
                }
            }
            Owner::Reload => {
                if let Some(outcome) = transactions.outcome() {
                    self.owner = Owner::Nobody;
                    self.log_reload(outcome);
                }
            }
        }
        if !self.wants_reload || transactions.is_busy() || self.owner != Owner::Nobody {
            return Ok(());
        }
        self.wants_reload = false;
        let Some(path) = self.config.clone() else {
            tracing::warn!("SIGHUP: there is no file to read again: it would be the one of --config");
            return Ok(());
        };
        let verb = format!("reload of {}", path.display());
        let allow_empty = self.allow_empty;
        let edit = move |before: &Document| {
            let candidate = read(&path).map_err(|error| error.to_string())?;
            match candidate.removes_all_of(before).filter(|_| !allow_empty) {
                Some(what) => Err(format!(
                    "the file has no {what}, and the running configuration has: a file that is not written to its end \
                     looks like this. To remove them all, use vita config load, or start with --allow-empty"
                )),
                None => Ok(candidate),
            }
        };
        self.owner = Owner::Reload;
        if let Err(error) = transactions.begin(now, Request::Change { edit: Box::new(edit), verb }) {
            self.owner = Owner::Nobody;
            self.log_reload(Err(error));
        }
        Ok(())
    }

    /// Whatever was wrong with the file, nothing has changed then.
    fn log_reload(&self, outcome: Result<String, TransactionError>) {
        let path = self.path();
        match outcome {
            Ok(text) => tracing::info!("SIGHUP: reload of {}: {}", path.display(), text.trim_end()),
            Err(error) => {
                tracing::error!("SIGHUP: reload of {}: nothing is changed: {error}", path.display())
            }
        }
    }

    fn unusable(&self, error: TransactionError) -> DaemonError {
        DaemonError::Config { path: self.path().to_owned(), problem: error.to_string() }
    }

    fn path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(""))
    }
}

/// Reads a configuration. What is no file with an end is not even opened for long: nobody can say when the other end of a
/// pipe would write.
fn read(path: &Path) -> Result<Document, DaemonError> {
    let failed = |source| DaemonError::Read { path: path.to_owned(), source };
    let mut options = File::options();
    let mut file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(DaemonError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    Document::parse_bytes(bytes)
        .map_err(|error| DaemonError::File(error.in_file(&path.display().to_string())))
}

/// How long clients wait for the configuration of the start. It takes longer only where a device does.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// Keeps an error that does not go away from filling the log and a CPU.
const POLL_ERROR_PAUSE: Duration = Duration::from_secs(1);
