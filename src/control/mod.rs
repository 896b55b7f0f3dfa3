// SPDX-License-Identifier: Apache-2.0
//! The control thread's side of the gateway: makes the workers do what the configuration says, and keeps their keys.
//!
//! ```text
//!   Document ──► Layout ──────► programs, seats        which devices and queues, who sits where
//!            └─► Plan ────────► workers                addresses, routes, MTU
//!            └─► routes, keys ► key managers ──► SAs ──► workers
//!            └─► (data-plane) ─────────────────► SAs ──► workers
//!   State  ◄── totals ◄── counters of workers, present and past
//! ```
//!
//! [`Supervisor::apply`] makes what runs equal to a configuration, touching only what differs, and returns when the
//! workers have it; a change of nothing but routes and configured associations takes a short way (`reroute`).
//! [`Transactions`] is around it: the configurations of the past, and those on trial. What cannot be applied is found out
//! before anything changes (devices, programs, plans); should a worker not start after that, the configuration before is
//! put back, and workers that stay have not noticed.
//! [`Supervisor::service`] is called whenever the bell has rung or the deadline has passed: it carries datagrams
//! between workers and key managers, keeps SA lifetimes, writes the log, restarts a worker that died, and follows the
//! interfaces: one that is deleted stops its workers until it is back, a change of its MTU or address is taken over. What
//! neighbours announce to everyone reaches the kernel, not a worker: `listeners` hands it over.
//!
//! Limits: a change of the devices, queues or CPUs of a worker restarts that worker, and its SAs are
//! negotiated anew (configured ones go on where they were).

mod associations;
mod guard;
mod handoffs;
pub mod history;
mod impact;
mod layout;
mod ledger;
mod listeners;
mod log;
mod plan;
mod queue;
mod reroute;
mod state;
mod transaction;
mod watch;

pub use history::History;
pub use impact::Impact;
pub use transaction::{TransactionError, Transactions};

use crate::clock::Instant;
use crate::config::{Config, Document, LiveAssociation, Rejected, State};
use crate::count::Totals;
use crate::graph::Plan;
use crate::wire::ip::Family;
use crate::worker::StartError;
use crate::xdp::{DeviceError, Doorbell, PinError, Pins, Program, ProgramError};
use guard::Guard;
use handoffs::Handoffs;
use layout::{Known, Layout, Mtus, Place};
use ledger::Ledger;
use listeners::Listeners;
use log::Log;
use plan::{Neighbours, Numbers};
use queue::Queue;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::RawFd;
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
    document: Document,
    /// One for each configured device that there is, by interface name and index. They do not depend on workers: while one
    /// waits for an interface, is started again or has died, the program drops its packets. The kernel might forward them.
    programs: BTreeMap<Place, Arc<Program>>,
    guard: Guard,
    pins: Pins,
    queues: BTreeMap<u16, Queue>,
    numbers: Numbers,
    neighbours: Neighbours,
    handoffs: Handoffs,
    mtus: Mtus,
    mtu: u16,
    watch: Watch,
    listeners: Listeners,
    /// Queues whose worker waits for an interface.
    waiting: BTreeSet<u16>,
    bell: Arc<Doorbell>,
    ledger: Ledger,
    /// What workers and key managers counted that are no more.
    past: Totals,
    /// Whether there was a worker before those that run.
    ran: bool,
    log: Log,
    /// When to try again what did not work.
    repair_at: Option<Instant>,
    repaired_at: Option<Instant>,
}

/// A configuration on its way, all that can fail before anything is touched being done.
struct Prepared {
    layout: Layout,
    programs: BTreeMap<Place, Arc<Program>>,
    /// Why a device without a worker has no program.
    unguarded: Vec<ProgramError>,
    /// Workers that are not what the layout needs.
    gone: Vec<u16>,
    numbers: Numbers,
    neighbours: Neighbours,
    handoffs: Handoffs,
    mtus: Mtus,
    plans: BTreeMap<u16, Plan>,
}

#[derive(Clone, Copy)]
enum Purpose {
    /// Everything or nothing.
    Change,
    /// As much as can be.
    Repair,
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
    #[error("the worker of queue {0} does not answer; see the log")]
    Unresponsive(u16),
    #[error(
        "{0} configured SAs are not installed: their keys are still in use by another worker; see the log"
    )]
    LeftOut(usize),
}

impl Supervisor {
    /// A supervisor of nothing, as before any configuration.
    pub fn new(options: Options) -> io::Result<Supervisor> {
        Ok(Supervisor {
            pins: Pins::of(&options.name),
            options,
            document: Document::empty(),
            programs: BTreeMap::new(),
            guard: Guard::default(),
            queues: BTreeMap::new(),
            numbers: Numbers::default(),
            neighbours: Neighbours::default(),
            handoffs: Handoffs::default(),
            mtus: Mtus::default(),
            mtu: 0,
            watch: Watch::default(),
            listeners: Listeners::default(),
            waiting: BTreeSet::new(),
            bell: Arc::new(Doorbell::new()?),
            ledger: Ledger::default(),
            past: Totals::default(),
            ran: false,
            log: Log::default(),
            repair_at: None,
            repaired_at: None,
        })
    }

    /// The configuration that runs.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Makes `candidate` the configuration that runs, or leaves everything as it is and says why.
    pub fn apply(&mut self, now: Instant, candidate: Document) -> Result<(), ApplyError> {
        if candidate.config().fail_closed {
            self.pins.prepare()?;
        }
        if !self.reroute(now, candidate.config())? {
            let prepared = self.prepare(candidate.config())?;
            if let Err(error) = self.commit(now, candidate.config(), prepared, Purpose::Change) {
                tracing::error!("going back to the configuration before: {error}");
                self.repair(Instant::now());
                return Err(error);
            }
        }
        let config = candidate.config();
        tracing::info!("configured: workers: {}, routes: {}", self.queues.len(), config.routes.len());
        if config.private.is_empty() || config.public.is_empty() {
            tracing::warn!("no worker runs: private and public interface are not both configured");
        }
        warn_of_stranded(self.document.config(), config);
        self.document = candidate;
        Ok(())
    }

    /// Makes all that can fail beforehand, and changes nothing: the devices are looked at, programs attached that no
    /// frame goes through yet, plans made.
    fn prepare(&mut self, config: &Config) -> Result<Prepared, ApplyError> {
        let seats = self.queues.values().filter(|queue| !queue.is_dead()).map(Queue::seat);
        let layout = Layout::of(config, &self.options, &Known::new(self.document.config(), seats))?;
        let (mut programs, mut unguarded) = (BTreeMap::new(), Vec::new());
        let filters = layout.filters(config);
        for (place, device) in layout.devices() {
            let program = match self.programs.get(&place) {
                Some(program) => program.clone(),
                None => {
                    let filters = filters.get(&place).map_or(&[][..], Vec::as_slice);
                    match Program::attach_with(device, filters, Some(&self.pins)) {
                        Ok(program) => {
                            if layout.has_worker_on(&place) {
                                program.check_tags(device)?;
                            }
                            Arc::new(program)
                        }
                        Err(error) if layout.has_worker_on(&place) => return Err(error.into()),
                        // Its worker waits anyway.
                        Err(error) => {
                            unguarded.push(error);
                            continue;
                        }
                    }
                }
            };
            programs.insert(place, program);
        }
        let stays = |queue: &Queue| layout.seat(queue.seat().queue).is_some_and(|seat| queue.serves(seat));
        let gone: Vec<u16> =
            self.queues.iter().filter(|(_, queue)| !stays(queue)).map(|(number, _)| *number).collect();
        let mut numbers = self.numbers.clone();
        numbers.assign(config);
        let mut neighbours = self.neighbours.clone();
        neighbours.keep(config);
        let table = Arc::new(plan::table(config, &numbers));
        let workers = layout.seats().iter().map(|seat| seat.queue).collect();
        let handoffs = self.handoffs.for_workers(workers, numbers.room());
        let mtus = layout.mtus(config);
        let asks_private = layout.seats().first().map(|seat| seat.queue);
        let mut plans = BTreeMap::new();
        for seat in layout.seats() {
            let stays = self.queues.get(&seat.queue).filter(|_| !gone.contains(&seat.queue));
            let make = plan::Making {
                config,
                seat,
                numbers: &numbers,
                table: &table,
                neighbours: &neighbours,
                mtus,
                asks_private: asks_private == Some(seat.queue),
                handoffs: &handoffs,
            };
            plans.insert(seat.queue, make.plan(stays.map_or(0, Queue::room)));
        }
        Ok(Prepared { layout, programs, unguarded, gone, numbers, neighbours, handoffs, mtus, plans })
    }

    /// Makes what runs equal to a configuration. What can fail comes first, and touches no worker that stays.
    fn commit(
        &mut self,
        now: Instant,
        config: &Config,
        prepared: Prepared,
        purpose: Purpose,
    ) -> Result<(), ApplyError> {
        let Prepared { layout, programs, unguarded, gone, numbers, neighbours, handoffs, mtus, mut plans } =
            prepared;
        let mtu = mtus.least(config);
        for number in &gone {
            self.retire(*number, config);
        }
        for (interface, filters) in layout.filters(config) {
            if let Some(program) = programs.get(&interface) {
                program.set_filters(&filters)?;
            }
        }
        self.listeners.follow(config, &layout);
        let (mut failed, mut started) = (None, Vec::new());
        for seat in layout.seats() {
            if self.queues.contains_key(&seat.queue) {
                continue;
            }
            let Some(plan) = plans.remove(&seat.queue) else { continue };
            let queue = Queue::start(now, config, seat, plan, self.bell.clone())
                .and_then(|queue| queue.register(&programs).map(|()| queue));
            match (queue, purpose) {
                (Ok(queue), _) => {
                    started.push(seat.queue);
                    self.queues.insert(seat.queue, queue);
                }
                (Err(error), Purpose::Change) => {
                    for number in started {
                        self.retire(number, config);
                    }
                    return Err(error);
                }
                // One that cannot be started keeps no other from it.
                (Err(error), Purpose::Repair) => failed = Some(error),
            }
        }

        // Only now, because the answer to what one worker asks for may lead to another.
        for number in &started {
            if let Some(queue) = self.queues.get_mut(number) {
                queue.begin();
            }
        }
        for (number, plan) in plans {
            if let Some(queue) = self.queues.get_mut(&number) {
                queue.replan(plan);
            }
        }
        (self.numbers, self.neighbours, self.handoffs) = (numbers, neighbours, handoffs);
        // The table was copied while these still ran.
        gone.iter().for_each(|number| self.handoffs.leave(*number));
        if !started.is_empty() {
            self.acquaint();
        }
        // Programs that nobody needs any more are detached here.
        for (place, program) in std::mem::replace(&mut self.programs, programs) {
            if !self.programs.contains_key(&place) {
                self.guard.retire(&program);
                // It goes with its device, or with the configuration of it.
                let _ = program.set_pinned(&self.pins, false);
            }
        }
        if let Err(error) = guard::pin(&self.pins, &self.programs, config) {
            failed = Some(error.into());
        }
        // Starting a worker can take seconds, which are not to be taken from the time that peers have to answer.
        let now = now.max(Instant::now());
        for queue in self.queues.values_mut() {
            queue.configure(now, config, &self.numbers, &mut self.log, &mut self.ledger);
        }
        if let Err(error) = self.associate(config) {
            failed = Some(error);
        }
        if mtu < config.mtu && mtu != self.mtu && !self.queues.is_empty() {
            tracing::warn!(
                "mtu {} does not fit the interfaces once sealed: inner packets of up to {mtu} bytes are sent",
                config.mtu
            );
        }
        (self.mtus, self.mtu) = (mtus, mtu);
        self.watch.note(layout.watched());
        for error in unguarded {
            match purpose {
                Purpose::Repair => failed = Some(error.into()),
                Purpose::Change => {
                    tracing::error!("a device without a worker has no XDP program: {error}");
                    self.repair_at.get_or_insert(now + REPAIR_EVERY);
                }
            }
        }
        self.guard.look_now(now, config, layout.watched(), &self.programs);
        self.tell_waiting(layout.waiting());
        let patience = Instant::now() + PATIENCE;
        for queue in self.queues.values() {
            // A dead one is started again, with this configuration.
            if !queue.settle(patience) && !queue.is_dead() {
                tracing::error!("the worker of queue {} does not answer", queue.seat().queue);
                failed = Some(ApplyError::Unresponsive(queue.seat().queue));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Has the workers hold the associations that are configured, after those that are not have been withdrawn.
    fn associate(&mut self, config: &Config) -> Result<(), ApplyError> {
        if !config.data_plane {
            return Ok(());
        }
        self.ledger.make_room(config.outbound.len(), config.inbound.len());
        let patience = Instant::now() + PATIENCE;
        for queue in self.queues.values() {
            // What is still in use then is not used again.
            queue.settle(patience);
            queue.free();
        }
        let (mut first, mut left_out) = (0, 0);
        for queue in self.queues.values_mut() {
            let provided = queue.provide(config, &self.numbers, &mut self.ledger);
            (first, left_out) = (first + provided.first, left_out + provided.left_out);
        }
        if first > 0 {
            tracing::warn!(
                "{first} outbound SAs with configured keys begin with sequence number 1: if packets were sealed under \
                 these keys before this process began, nonces repeat; give new keys, or the sequence-number reached"
            );
        }
        if left_out == 0 { Ok(()) } else { Err(ApplyError::LeftOut(left_out)) }
    }

    /// The associations that workers have, keys included.
    pub fn associations(&self) -> Vec<LiveAssociation<'_>> {
        self.queues.values().flat_map(|queue| queue.associations().live()).collect()
    }

    /// Makes what runs equal to the running document again, as far as that can be. Tries again later if need be.
    fn repair(&mut self, now: Instant) {
        let document = self.document.clone();
        let repaired = self
            .prepare(document.config())
            .and_then(|prepared| self.commit(now, document.config(), prepared, Purpose::Repair));
        self.repaired_at = Some(now);
        self.repair_at = repaired.err().map(|error| {
            tracing::error!("not everything runs, trying again in {} s: {error}", REPAIR_EVERY.as_secs());
            now + REPAIR_EVERY
        });
    }

    /// Says which workers wait for an interface, each once.
    fn tell_waiting(&mut self, waiting: &BTreeMap<u16, DeviceError>) {
        for (queue, error) in waiting {
            if !self.waiting.contains(queue) {
                tracing::warn!("worker of queue {queue} waits for its interface: {error}");
            }
        }
        self.waiting = waiting.keys().copied().collect();
    }

    /// Tells all workers how to wake each other.
    fn acquaint(&mut self) {
        let bells = handoffs::bells(self.queues.iter().map(|(number, queue)| (*number, queue.bell())));
        for queue in self.queues.values_mut() {
            queue.acquaint(bells.clone());
        }
    }

    /// Stops a worker, because of this configuration, and keeps its counts.
    fn retire(&mut self, number: u16, config: &Config) {
        if let Some(queue) = self.queues.remove(&number) {
            queue.stop(config, &mut self.past, &mut self.ledger);
            self.handoffs.leave(number);
            self.ran = true;
            tracing::info!("worker of queue {number} stops");
        }
    }

    /// Readable when a worker has something to say.
    pub fn bell(&self) -> RawFd {
        self.bell.fd()
    }

    /// Readable when a neighbour has said something to everyone.
    pub fn neighbours(&self) -> impl Iterator<Item = RawFd> {
        self.listeners.fds()
    }

    /// When [`Supervisor::service`] is due even if the bell has not rung.
    pub fn deadline(&self, now: Instant) -> Instant {
        let keys = self.queues.values().filter_map(Queue::deadline).min();
        let times = [keys, self.listeners.deadline()].into_iter().flatten();
        times.fold(now + WATCH_EVERY, Instant::min)
    }

    /// Does what has come up.
    pub fn service(&mut self, now: Instant) {
        self.bell.hush();
        for queue in self.queues.values_mut() {
            queue.service(now, &self.numbers, &mut self.log);
        }
        self.log.flush(now);
        let queues = &mut self.queues;
        self.listeners.receive(now, |place, frame| {
            for queue in queues.values_mut() {
                queue.hear(place, frame);
            }
        });
        self.look_after_workers(now);
    }

    /// Starts workers anew that died, and follows what happens to the interfaces.
    fn look_after_workers(&mut self, now: Instant) {
        let dead: Vec<u16> =
            self.queues.iter().filter(|(_, queue)| queue.is_dead()).map(|(number, _)| *number).collect();
        for number in dead {
            tracing::error!("worker of queue {number} died; it is started again");
            let document = self.document.clone();
            self.retire(number, document.config());
            // One that dies at once is not started at once.
            let earliest = self.repaired_at.map_or(now, |before| now.max(before + REPAIR_EVERY));
            self.repair_at.get_or_insert(earliest);
        }
        let is_time = self.watch.is_time(now);
        let changed = self.watch.look(now, self.document.config());
        self.guard.look(now, self.document.config(), self.watch.seen(), &self.programs);
        let links = if is_time { self.listeners.links_that_came() } else { Vec::new() };
        for queue in self.queues.values_mut() {
            if links.iter().any(|place| queue.is_on(place)) {
                queue.announce();
            }
        }
        if changed || self.repair_at.is_some_and(|at| now >= at) {
            self.repair(now);
        }
    }

    /// What `gateway-state` shows now at a path.
    pub fn state(&self, path: &str) -> Result<State, Rejected> {
        let running = state::Running {
            queues: &self.queues,
            config: self.document.config(),
            numbers: &self.numbers,
            mtus: self.mtus,
            mtu: self.mtu,
            unserved: self.guard.unserved(&self.programs),
        };
        state::gather(&running, self.ran.then_some(&self.past), path)
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
        let more = if new.len() > MAX_NAMES { ", .." } else { "" };
        let names = new[..new.len().min(MAX_NAMES)].join(", ");
        tracing::warn!(
            "queue {queue} has no {interface}: packets that it receives for route {names}{more} ({} in all) go to a \
             worker that has keys for the route, or are dropped (private-router/sa-errors); configure a {interface} \
             with queue {queue}",
            new.len()
        );
    }
}

/// Routes that a warning names.
const MAX_NAMES: usize = 10;
/// How often workers and interfaces are looked after.
const WATCH_EVERY: Duration = Duration::from_secs(1);
const REPAIR_EVERY: Duration = Duration::from_secs(5);
/// How long all workers together may take to carry out what they are told: they do so between two batches.
const PATIENCE: Duration = Duration::from_secs(3);
