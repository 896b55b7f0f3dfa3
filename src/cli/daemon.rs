// SPDX-License-Identifier: Apache-2.0
//! The gateway process: one loop that serves the control socket and the workers, until a signal ends it.

use super::args::Gateway;
use crate::config::Document;
use crate::control::{self, Supervisor};
use crate::leader::rundir::{self, RunDir, RunDirError};
use crate::leader::{Handler, Server};
use crate::xdp;
use crate::yang::format::Format;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
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

/// Runs a gateway until SIGINT or SIGTERM. On the way out programs are detached, sockets closed, names removed.
pub fn run(name: &str, gateway: Gateway) -> Result<(), DaemonError> {
    let signals = Signals::new()?;
    // The file is read before anything is made, so that a mistake in it leaves nothing behind.
    let start = gateway.config.as_deref().map(read).transpose()?;
    let mut run_dir = RunDir::create(&rundir::root())?;
    let path = run_dir.socket();
    let mut server = Server::bind(&path).map_err(|source| DaemonError::Listen { path, source })?;
    run_dir.claim(name)?;
    let mut supervisor = Supervisor::new(control::Options {
        cpus: gateway.cpu.map(|list| list.0).unwrap_or_default(),
        busywait: gateway.busywait,
        realtime: gateway.realtime,
    })?;
    if let (Some(document), Some(path)) = (start, gateway.config) {
        let applied = supervisor.apply(Instant::now(), document);
        applied.map_err(|error| DaemonError::Config { path, problem: error.to_string() })?;
    }
    tracing::info!("{name} runs; configure it with: vita config set {name} / < FILE");
    let mut fds = Vec::new();
    loop {
        fds.clear();
        fds.push(xdp::readable(signals.arrival.as_raw_fd()));
        fds.push(xdp::readable(supervisor.bell()));
        server.poll_fds(&mut fds);
        let now = Instant::now();
        let timeout = supervisor.deadline(now).saturating_duration_since(now);
        if let Err(error) = xdp::poll(&mut fds, Some(timeout)) {
            // The workers go on meanwhile, and so does everything that is looked after without being asked.
            tracing::error!("cannot wait for events: {error}");
            std::thread::sleep(POLL_ERROR_PAUSE);
        }
        if signals.stop.load(Ordering::Relaxed) {
            tracing::info!("{name} stops");
            return Ok(());
        }
        let now = Instant::now();
        supervisor.service(now);
        server.service(now, &mut Requests { supervisor: &mut supervisor, now });
    }
}

/// Signals to stop. The first one is heard by the loop; a second one, of somebody who cannot wait, ends the process where
/// it stands. The end of the terminal (SIGHUP) means nothing to a gateway.
struct Signals {
    /// Becomes readable.
    arrival: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let (arrival, sender) = UnixStream::pair()?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, KILLED, stop.clone())?;
            flag::register(signal, stop.clone())?;
            pipe::register(signal, sender.try_clone()?)?;
        }
        flag::register(SIGHUP, Arc::default())?;
        Ok(Signals { arrival, stop })
    }
}

fn read(path: &Path) -> Result<Document, DaemonError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| DaemonError::Read { path: path.to_owned(), source })?;
    Document::parse(&text).map_err(|error| DaemonError::File(error.in_file(&path.display().to_string())))
}

/// What the control socket may ask of the supervisor.
struct Requests<'a> {
    supervisor: &'a mut Supervisor,
    now: Instant,
}

impl Requests<'_> {
    fn apply(&mut self, candidate: Result<Document, crate::config::Rejected>) -> Result<(), String> {
        let candidate = candidate.map_err(|error| error.to_string())?;
        if candidate.ignored_associations() > 0 {
            tracing::warn!(
                "{} SAs of the submitted configuration are ignored: the key exchange makes them \
                 (data-plane is not set)",
                candidate.ignored_associations()
            );
        }
        self.supervisor.apply(self.now, candidate).map_err(|error| error.to_string())
    }
}

impl Handler for Requests<'_> {
    fn schema(&self) -> &str {
        crate::config::SCHEMA
    }

    fn schema_source(&self, schema: &str) -> Option<&str> {
        (schema == crate::config::SCHEMA).then(crate::config::schema_source)
    }

    fn get_config(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String> {
        self.supervisor.document().print(path, format, print_default).map_err(|error| error.to_string())
    }

    fn get_state(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String> {
        self.supervisor.state().print(path, format, print_default).map_err(|error| error.to_string())
    }

    fn set_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.apply(self.supervisor.document().set(path, config))
    }

    fn add_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.apply(self.supervisor.document().add(path, config))
    }

    fn remove_config(&mut self, path: &str) -> Result<(), String> {
        self.apply(self.supervisor.document().remove(path))
    }
}

/// What a shell reports of a process that SIGTERM ended.
const KILLED: i32 = 143;
/// Keeps an error that does not go away from filling the log and a CPU.
const POLL_ERROR_PAUSE: Duration = Duration::from_secs(1);
