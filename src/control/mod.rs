// SPDX-License-Identifier: Apache-2.0
//! The control thread's side of the gateway: makes the workers do what the configuration says, and keeps their keys.
//!
//! ```text
//!   Document ──► Layout ──────► programs, seats        which devices and queues, who sits where
//!            └─► Plan ────────► workers                addresses, routes, MTU
//!            └─► routes, keys ► key managers ──► SAs ──► workers
//!   State  ◄── totals ◄── counters of workers, present and past
//! ```
//!
//! [`Supervisor::apply`] makes what runs equal to a configuration, touching only what differs, and returns when the
//! workers have it. What cannot be applied is found out first, as far as that is possible (devices, programs); what
//! fails later is rolled back by applying the configuration before. [`Supervisor::service`] is called whenever the
//! bell has rung or the deadline has passed: it carries datagrams between workers and key managers, keeps SA
//! lifetimes, writes the log, and restarts a worker that died.
//!
//! Limits: a change of the devices, queues or CPUs of a worker restarts that worker, and its SAs are negotiated anew.

pub mod history;
mod impact;
mod layout;
mod log;
mod plan;
mod queue;
mod state;
mod transaction;

pub use history::History;
pub use impact::Impact;
pub use transaction::{TransactionError, Transactions};

use crate::config::{Config, Document, State};
use crate::count::Totals;
use crate::route::Ipv4Table;
use crate::worker::StartError;
use crate::xdp::{DeviceError, Doorbell, Program, ProgramError};
use layout::{Layout, Place};
use log::Log;
use plan::{Neighbours, Numbers};
use queue::Queue;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How workers are to run: settings of the process, not of the network.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// Worker k is pinned to the k-th of these CPUs.
    pub cpus: Vec<usize>,
    /// Workers spin instead of sleeping.
    pub busywait: bool,
    /// Workers are real-time threads.
    pub realtime: bool,
}

/// Runs the workers of one gateway.
pub struct Supervisor {
    options: Options,
    document: Document,
    /// By interface name and index.
    programs: BTreeMap<Place, Arc<Program>>,
    queues: BTreeMap<u16, Queue>,
    numbers: Numbers,
    table: Arc<Ipv4Table>,
    neighbours: Neighbours,
    mtu: u16,
    bell: Arc<Doorbell>,
    /// What workers and key managers counted that are no more.
    past: Totals,
    log: Log,
    restart_at: Option<Instant>,
}

/// Why a configuration cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}: only IPv4 gateways are supported")]
    Family(IpAddr),
    #[error("the worker of queue {0} does not answer; see the log")]
    Unresponsive(u16),
}

impl Supervisor {
    /// A supervisor of nothing, as before any configuration.
    pub fn new(options: Options) -> io::Result<Supervisor> {
        Ok(Supervisor {
            options,
            document: Document::empty(),
            programs: BTreeMap::new(),
            queues: BTreeMap::new(),
            numbers: Numbers::default(),
            table: Arc::new(Ipv4Table::build([])),
            neighbours: Neighbours::default(),
            mtu: 0,
            bell: Arc::new(Doorbell::new()?),
            past: Totals::default(),
            log: Log::default(),
            restart_at: None,
        })
    }

    /// The configuration that runs.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Makes `candidate` the configuration that runs, or leaves everything as it is and says why.
    pub fn apply(&mut self, now: Instant, candidate: Document) -> Result<(), ApplyError> {
        let result = self.transition(now, candidate.config());
        match &result {
            Ok(()) => self.document = candidate,
            Err(_) => {
                let before = self.document.clone();
                if let Err(error) = self.transition(now, before.config()) {
                    tracing::error!("cannot go back to the configuration before: {error}");
                }
            }
        }
        result
    }

    /// Makes what runs equal to a configuration.
    fn transition(&mut self, now: Instant, config: &Config) -> Result<(), ApplyError> {
        let layout = Layout::of(config, &self.options)?;
        let mut programs = BTreeMap::new();
        for (place, device) in layout.devices() {
            let program = match self.programs.get(&place) {
                Some(program) => program.clone(),
                None => Arc::new(Program::attach(device)?),
            };
            programs.insert(place, program);
        }

        let gone: Vec<u16> = self
            .queues
            .iter()
            .filter(|(number, queue)| {
                layout.seat(**number).is_none_or(|seat| !layout::same(seat, queue.seat()))
            })
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.retire(number);
        }

        self.numbers.assign(&config.routes);
        self.table = Arc::new(plan::table(config, &self.numbers));
        self.neighbours.keep(config);
        let mtu = layout.effective_mtu(config);
        for (interface, filters) in layout.filters(config) {
            if let Some(program) = programs.get(&interface) {
                program.set_filters(&filters)?;
            }
        }
        let first = config.public.first().map(|public| public.queue);
        for seat in layout.seats() {
            let make = plan::Making {
                config,
                seat,
                numbers: &self.numbers,
                table: &self.table,
                neighbours: &self.neighbours,
                mtu,
                asks_private: first == Some(seat.queue),
            };
            match self.queues.get_mut(&seat.queue) {
                Some(queue) => queue.replan(make)?,
                None => {
                    let queue = Queue::start(now, make, self.bell.clone())?;
                    queue.register(&programs)?;
                    self.queues.insert(seat.queue, queue);
                }
            }
        }
        // Programs that nobody needs any more are detached here.
        self.programs = programs;
        for queue in self.queues.values_mut() {
            queue.configure(now, config, &self.numbers, &mut self.log)?;
        }
        for queue in self.queues.values() {
            if !queue.settle() {
                return Err(ApplyError::Unresponsive(queue.seat().queue));
            }
        }
        if mtu < config.mtu && mtu != self.mtu && !self.queues.is_empty() {
            tracing::warn!(
                "mtu {} does not fit the interfaces once sealed: inner packets of up to {mtu} bytes are sent",
                config.mtu
            );
        }
        self.mtu = mtu;
        Ok(())
    }

    /// Stops a worker and keeps its counts.
    fn retire(&mut self, number: u16) {
        if let Some(queue) = self.queues.remove(&number) {
            queue.add_to(&mut self.past);
            tracing::info!("worker of queue {number} stops");
        }
    }

    /// Readable when a worker has something to say.
    pub fn bell(&self) -> RawFd {
        self.bell.fd()
    }

    /// When [`Supervisor::service`] is due even if the bell has not rung.
    pub fn deadline(&self, now: Instant) -> Instant {
        let keys = self.queues.values().filter_map(Queue::deadline).min();
        let watch = now + WATCH_EVERY;
        keys.map_or(watch, |keys| keys.min(watch))
    }

    /// Does what has come up.
    pub fn service(&mut self, now: Instant) {
        self.bell.hush();
        for queue in self.queues.values_mut() {
            queue.service(now, &self.numbers, &mut self.log);
        }
        self.log.flush(now);
        self.replace_dead(now);
    }

    /// Starts workers anew that died, all others undisturbed; not more often than every few seconds.
    fn replace_dead(&mut self, now: Instant) {
        let dead: Vec<u16> =
            self.queues.iter().filter(|(_, queue)| queue.is_dead()).map(|(number, _)| *number).collect();
        for number in dead {
            tracing::error!("worker of queue {number} died; it is started again");
            self.retire(number);
            self.restart_at.get_or_insert(now);
        }
        if self.restart_at.is_some_and(|at| now >= at) {
            self.restart_at = None;
            let document = self.document.clone();
            if let Err(error) = self.transition(now, document.config()) {
                tracing::error!("cannot start a worker again: {error}");
                self.restart_at = Some(now + RESTART_EVERY);
            }
        }
    }

    /// What `gateway-state` shows now.
    pub fn state(&self) -> State {
        state::gather(&self.queues, &self.past, self.mtu)
    }
}

/// How often workers are looked after.
const WATCH_EVERY: Duration = Duration::from_secs(1);
const RESTART_EVERY: Duration = Duration::from_secs(5);
