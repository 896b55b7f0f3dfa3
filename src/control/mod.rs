// SPDX-License-Identifier: Apache-2.0
//! The control thread's side of the gateway: makes the workers do what the configuration says, and keeps their keys.
//!
//! ```text
//!   Document ──► Layout ──────► programs, placements        which devices and queues, who sits where
//!            └─► Plan ────────► workers                addresses, routes, MTU
//!            └─► routes, keys ► key managers ──► SAs ──► workers
//!            └─► (data-plane) ─────────────────► SAs ──► workers
//!   State  ◄── totals ◄── counters of workers, present and past
//! ```
//!
//! [`Supervisor::begin`] makes what runs equal to a configuration, touching only what differs, step by step (`change`);
//! the outcome is there when the workers have it. A change of nothing but routes and configured associations takes a short
//! way (`reroute`). [`Transactions`] is around it: the configurations of the past, and those on trial. What cannot be
//! applied is found out before anything changes (devices, programs, plans); should a worker not start after that, the
//! configuration before is put back, and workers that stay have not noticed.
//! [`Supervisor::service`] is called whenever the eventfd is readable or the deadline has passed: it carries datagrams
//! between workers and key managers, keeps SA lifetimes, writes the log, goes on with a change, restarts a worker that
//! died, and follows the interfaces: one that is deleted stops its workers until it is back, a change of its MTU or
//! address is taken over. What neighbours announce to everyone reaches the kernel, not a worker: `listeners` hands it
//! over.
//!
//! The control thread never waits for a device, a worker or a disk: what these may hold up is a `job`, done by a thread of
//! its own, or asked about again and again.
//!
//! Limits: a change of the devices, queues or CPUs of a worker restarts that worker, and its SAs are
//! negotiated anew (configured ones go on where they were).

mod associations;
pub mod ceilings;
mod change;
mod devices;
mod guard;
mod handoffs;
pub mod history;
mod impact;
mod job;
mod layout;
pub mod ledger;
mod listeners;
mod log;
mod memory;
mod plan;
mod queue;
mod repair;
mod reroute;
mod running;
mod state;
mod survey;
mod transaction;
mod watch;

pub use history::History;
pub use impact::Impact;
pub use job::{Job, Progress};
pub use transaction::{Edit, Request, TransactionError, Transactions};

use crate::clock::Instant;
use crate::config::{Config, Document, LiveAssociation, Rejected, State, first_names};
use crate::count::{Counters, KeyManager as KeyCounters, Totals};
use crate::device::{BindError, DeviceError, PinError, Program, ProgramError};
use crate::wait::{EventFd, poll, readable};
use crate::wire::ip::Family;
use crate::worker::StartError;
use change::UnderWay;
use guard::Guard;
use layout::Layout;
use listeners::Listeners;
use log::Log;
use memory::Memory;
use queue::Queue;
use repair::Repair;
use running::Running;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use watch::Watch;

/// How workers are to run: settings of the process, not of the network.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// Worker k is pinned to the k-th of these CPUs.
    pub cpus: Vec<usize>,
    /// Workers spin instead of sleeping.
    pub busywait: bool,
    /// Workers are real-time threads.
    pub realtime: bool,
    /// Name of the instance, under which programs are pinned.
    pub name: String,
}

/// Runs the workers of one gateway.
pub struct Supervisor {
    options: Options,
    running: Running,
    guard: Guard,
    watch: Watch,
    listeners: Listeners,
    /// Queues whose worker waits for an interface, and why.
    waiting: BTreeMap<u16, String>,
    change: Option<UnderWay>,
    outcome: Option<Result<(), ApplyError>>,
    /// What workers counted that are about to end.
    leaving: Vec<(Arc<Counters>, KeyCounters)>,
    /// Programs that may be of no use any more.
    discarded: Vec<Arc<Program>>,
    /// What was gone over to, until devices have been told.
    switched: Option<Layout>,
    wakeup: Arc<EventFd>,
    memory: Memory,
    /// What workers and key managers counted that are no more.
    past: Totals,
    /// Whether there was a worker before those that run.
    ran: bool,
    log: Log,
    repair: Repair,
    look_at: Option<Instant>,
}

/// Why a configuration cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(
        "{0} configured SAs are not installed: their keys are still in use by another worker; see the log"
    )]
    LeftOut(usize),
    #[error(
        "interface {interface} is the same device as {other}: its queue {queue} would have two workers; give each its own"
    )]
    TakenTwice { interface: String, other: String, queue: u32 },
    #[error("no thread can be started: {0}")]
    Thread(#[from] io::Error),
    #[error("a thread of this process panicked; see the log")]
    Died,
    /// The text of another error.
    #[error("{0}")]
    Waits(String),
    #[error(
        "/outbound-sa[queue={queue}][spi={spi}] of route {route}: its key cannot be shown to be fresh, and sealing under a \
         used one from the start would repeat nonces ({count} such SAs in all); give it a new key, or, as sequence-number, \
         the last number sent under it (0 if there is none)"
    )]
    Unproven { route: String, queue: u16, spi: u32, count: usize },
}

impl ApplyError {
    /// Whether it is for want of a right or a setting of the process, so that no worker will ever start.
    fn is_of_the_process(&self) -> bool {
        let ApplyError::Start(error) = self else {
            return matches!(self, ApplyError::Program(ProgramError::Load { .. }));
        };
        match error {
            StartError::Cpu { .. } | StartError::Realtime { .. } => true,
            StartError::Bind { source, .. } => matches!(source, BindError::Permission { .. }),
            _ => false,
        }
    }
}

impl Supervisor {
    /// A supervisor of nothing, as before any configuration.
    pub fn new(options: Options) -> io::Result<Supervisor> {
        let wakeup = Arc::new(EventFd::new()?);
        Ok(Supervisor {
            options,
            running: Running::nothing(),
            guard: Guard::default(),
            watch: Watch::start(wakeup.clone())?,
            waiting: BTreeMap::new(),
            change: None,
            outcome: None,
            leaving: Vec::new(),
            discarded: Vec::new(),
            switched: None,
            listeners: Listeners::default(),
            wakeup,
            memory: Memory::default(),
            past: Totals::default(),
            ran: false,
            log: Log::default(),
            repair: Repair::default(),
            look_at: None,
        })
    }

    /// Keeps in this directory, beside the history, which sequence numbers of configured keys are used.
    pub fn remember_in(&mut self, directory: &Path) {
        self.memory = Memory::in_directory(directory, self.wakeup.clone());
    }

    /// Keeps no such thing, because there is nowhere to keep it: configured keys need a sequence-number.
    pub fn remember_nowhere(&mut self) {
        self.memory = Memory::nowhere();
    }

    /// The configuration that runs.
    pub fn document(&self) -> &Document {
        &self.running.document
    }

    /// Makes `candidate` the configuration that runs, or leaves everything as it is and says why. Waits for that, so is for
    /// callers that have nothing else to look after.
    pub fn apply(&mut self, now: Instant, candidate: Document) -> Result<(), ApplyError> {
        self.begin(now, candidate);
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            let now = Instant::now();
            let timeout = self.deadline(now).saturating_duration_since(now);
            poll(&mut [readable(self.wakeup())], Some(timeout))?;
            self.service(Instant::now());
            self.look_after_workers(Instant::now());
        }
    }

    /// Takes a configuration over that runs now.
    fn accept(&mut self, document: Document, before: &Document) {
        let config = document.config();
        tracing::info!("configured: workers: {}, routes: {}", self.running.queues.len(), config.routes.len());
        if config.private.is_empty() || config.public.is_empty() {
            tracing::warn!("no worker runs: private and public interface are not both configured");
        }
        warn_of_stranded(before.config(), config);
        warn_of(&document, before);
        self.running.document = document;
    }

    /// The associations that workers have, keys included.
    pub fn associations(&self) -> Vec<LiveAssociation<'_>> {
        self.running.queues.values().flat_map(|queue| queue.associations().live()).collect()
    }

    /// Says which workers wait for an interface, each once.
    fn tell_waiting(&mut self, waiting: &BTreeMap<u16, ApplyError>) {
        let waiting: BTreeMap<u16, String> =
            waiting.iter().map(|(queue, error)| (*queue, error.to_string())).collect();
        for (queue, error) in &waiting {
            if self.waiting.get(queue) != Some(error) {
                tracing::warn!("worker of queue {queue} waits for its interface: {error}");
            }
        }
        self.waiting = waiting;
    }

    /// Tells all workers how to wake each other.
    fn set_wakeups(&mut self) {
        let wakeups =
            handoffs::wakeups(self.running.queues.iter().map(|(number, queue)| (*number, queue.wakeup())));
        for queue in self.running.queues.values_mut() {
            queue.set_wakeups(wakeups.clone());
        }
    }

    /// Begins work that may take its time; the control thread is woken at its end.
    pub fn job<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Job<T>> {
        Job::start(&self.wakeup, work)
    }

    /// Readable when a worker has something to say.
    pub fn wakeup(&self) -> RawFd {
        self.wakeup.fd()
    }

    /// Readable when a neighbour has said something to everyone.
    pub fn neighbours(&self) -> impl Iterator<Item = RawFd> {
        self.listeners.fds()
    }

    /// When [`Supervisor::service`] is due even if nothing has woken the control thread.
    pub fn deadline(&self, now: Instant) -> Instant {
        let is_soon = self.is_settling() || self.running.queues.values().any(Queue::has_backlog);
        let look = now + if is_soon { ASK_AGAIN } else { LOOK_EVERY };
        let keys = self.running.queues.values().filter_map(Queue::deadline).min();
        [keys, self.listeners.deadline()].into_iter().flatten().fold(look, Instant::min)
    }

    /// Does what has come up.
    pub fn service(&mut self, now: Instant) {
        self.wakeup.clear();
        for queue in self.running.queues.values_mut() {
            queue.service(now, &self.running.numbers, &mut self.log);
        }
        self.log.flush(now);
        let queues = &mut self.running.queues;
        self.listeners.receive(now, |place, frame| {
            for queue in queues.values_mut() {
                queue.receive_neighbour(place, frame);
            }
        });
        self.advance(now);
        self.service_memory(now);
    }

    /// Starts workers anew that died, and follows what happens to the interfaces. Apart from [`Supervisor::service`], so that
    /// a change that waits comes before the next repair.
    pub fn look_after_workers(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| now >= at) {
            self.look_at = Some(now + LOOK_EVERY);
            let links = self.listeners.links_that_came();
            for queue in self.running.queues.values_mut() {
                queue.check_device();
                if queue.is_lost() {
                    // So have the listeners on these devices.
                    queue.places().for_each(|place| self.listeners.forget(place));
                } else if links.iter().any(|place| queue.is_on(place)) {
                    queue.announce();
                }
            }
        }
        self.guard.look(now, self.running.document.config(), self.watch.seen(), &self.running.programs);
        if self.is_busy() {
            return;
        }
        for (number, queue) in self.running.queues.iter().filter(|(_, queue)| queue.is_dead()) {
            match queue.is_lost() {
                // That is what the interface did, and no reason to be slow.
                true => self.repair.at_once(now),
                false if self.repair.soon(now) => {
                    tracing::error!("worker of queue {number} died; it is started again");
                }
                false => {}
            }
        }
        if self.watch.poll() {
            self.repair.at_once(now);
        }
        if self.repair.is_due(now) {
            self.repair(now);
            self.advance(now);
        }
    }

    /// What `gateway-state` shows now at a path.
    pub fn state(&self, path: &str) -> Result<State, Rejected> {
        let sources = state::Sources {
            running: &self.running,
            leaving: &self.leaving,
            unserved: self.guard.unserved(&self.running.programs),
        };
        state::gather(&sources, self.ran.then_some(&self.past), path)
    }
}

impl Drop for Supervisor {
    /// All workers end at the same time. They are dropped before the ledger, which records then what they have used.
    fn drop(&mut self) {
        self.running.queues.values().for_each(Queue::ask_to_stop);
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

/// Says which routes a worker cannot send by that it could, or that were not there, before.
fn warn_of_stranded(before: &Config, config: &Config) {
    let known = plan::stranded(before);
    for ((queue, family), routes) in plan::stranded(config) {
        let known: BTreeSet<&str> = known.get(&(queue, family)).into_iter().flatten().copied().collect();
        let new: Vec<&str> = routes.into_iter().filter(|route| !known.contains(route)).collect();
        if new.is_empty() {
            continue;
        }
        let interface = match family {
            Family::V4 => "public-interface4",
            Family::V6 => "public-interface6",
        };
        let names = first_names(&new, MAX_NAMES);
        tracing::warn!(
            "queue {queue} has no {interface}: packets that it receives for route {names} ({} in all) go to a \
             worker that has keys for the route, or are dropped (private-router/sa-errors); configure a {interface} \
             with queue {queue}",
            new.len()
        );
    }
}

/// Warnings about one configuration that the log gets.
const MAX_WARNINGS: usize = 10;
/// Routes that a warning names.
const MAX_NAMES: usize = 10;
/// How often workers are looked after.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How soon workers are asked again whether they have done what they were told.
const ASK_AGAIN: Duration = Duration::from_millis(1);
