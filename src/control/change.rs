// SPDX-License-Identifier: Apache-2.0
//! One change of what runs, step by step. Each step that may take time is done by another thread, so that the control
//! thread carries keys and answers clients meanwhile. One change is under way at a time.
//!
//! ```text
//!   survey ──► stop ──► start ──► withdraw ──► settle ──► release ──► the outcome
//!   devices    workers  workers   configured   workers    programs
//!   read,      that do  that are  SAs that     have it    that nobody
//!   programs   not stay new       go                      needs
//!   attached            │
//!                       └─ fails ──► undo ──► release ──► repair: the configuration before is put back
//! ```
//!
//! A change of routes only begins at `withdraw` (see `reroute`).

use super::handoffs::Handoffs;
use super::layout::{Known, Mtus};
use super::listeners::Listeners;
use super::plan::{self, Neighbours, Numbers};
use super::queue::{Queue, Starting};
use super::survey::Survey;
use super::{ApplyError, Job, Progress, Supervisor, guard};
use crate::clock::Instant;
use crate::config::{Config, Document};
use crate::device::{PinError, Pins};
use crate::graph::Plan;
use crate::worker::{StartError, Worker};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A change that is under way.
pub(super) struct UnderWay {
    change: Change,
    stage: Stage,
}

/// What is to run, and what came of it so far.
struct Change {
    document: Document,
    purpose: Purpose,
    /// Why the change has to be given up.
    failed: Option<ApplyError>,
    /// Why not everything runs, which is no reason to give the change up but to try again later.
    fault: Option<ApplyError>,
    /// Why the change was given up that this one takes back.
    given_up: Option<ApplyError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// Everything or nothing, but for what does not run already.
    Change,
    /// The first configuration: as much as can be.
    Start,
    /// The configuration that runs: as much as can be.
    Repair,
}

enum Stage {
    Survey(Job<Result<Survey, ApplyError>>),
    Stop(Option<Job<Vec<Queue>>>, Prepared),
    Start(Prepared),
    Withdraw(Instant),
    Settle(Instant),
    Undo(Job<Vec<Queue>>),
    Release(Job<Released>, End),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// What runs is as it was.
    Untouched,
    Touched,
}

/// The listeners, on the devices of now; and whether programs could be pinned.
type Released = (Listeners, Result<(), PinError>);

enum Step {
    /// Not over yet.
    Stay(Stage),
    Next(Stage),
    End(End),
}

/// A configuration on its way, all that can fail before anything is touched being done.
struct Prepared {
    survey: Survey,
    numbers: Numbers,
    neighbours: Neighbours,
    handoffs: Handoffs,
    /// Workers that are not what the layout needs.
    gone: Vec<u16>,
    mtus: Mtus,
    plans: BTreeMap<u16, Plan>,
    starting: Vec<Starting>,
    started: Vec<(Starting, Result<Worker, StartError>)>,
}

impl Supervisor {
    /// Whether a change is under way. Another has to wait.
    pub fn is_busy(&self) -> bool {
        self.change.is_some()
    }

    /// Begins to make `candidate` the configuration that runs. [`Supervisor::outcome`] says when it is, or why everything
    /// is as it was.
    pub fn begin(&mut self, now: Instant, candidate: Document) {
        self.outcome = self.refuse_unproven(candidate.config()).err().map(Err);
        if self.outcome.is_some() {
            return;
        }
        if self.reroute(now, candidate.config()) {
            let stage = Stage::Withdraw(Instant::now() + PATIENCE);
            let change = Change::new(candidate, Purpose::Change);
            self.change = Some(UnderWay { change, stage });
        } else {
            self.survey(now, candidate, Purpose::Change, None);
        }
        self.advance(now);
    }

    /// Begins to run the first configuration. What cannot run now is waited for.
    pub fn begin_first(&mut self, now: Instant, document: Document) {
        // Such SAs are left out, and the rest runs.
        if let Err(error) = self.refuse_unproven(document.config()) {
            tracing::error!("not installed: {error}");
        }
        (self.outcome, self.document) = (None, document.clone());
        self.survey(now, document, Purpose::Start, None);
        self.advance(now);
    }

    /// Begins to make what runs equal to the running document again, as far as that can be.
    pub(super) fn repair(&mut self, now: Instant) {
        self.repair.begin(now);
        self.survey(now, self.document.clone(), Purpose::Repair, None);
    }

    /// What came of the change begun last, once.
    pub fn outcome(&mut self) -> Option<Result<(), ApplyError>> {
        self.outcome.take()
    }

    /// What runs already, for reading a layout.
    pub(super) fn known(&self) -> Known {
        let seats = self.queues.values().filter(|queue| !queue.is_dead()).map(Queue::seat);
        Known::new(self.document.config(), seats, self.watch.seen())
    }

    fn survey(&mut self, now: Instant, document: Document, purpose: Purpose, given_up: Option<ApplyError>) {
        let (candidate, options, programs) = (document.clone(), self.options.clone(), self.programs.clone());
        let known = self.known().lenient(purpose != Purpose::Change);
        let is_first = purpose == Purpose::Start;
        let survey = move || Survey::of(candidate.config(), &options, &known, is_first, programs);
        let change = Change { given_up, ..Change::new(document, purpose) };
        match Job::start(&self.bell, survey) {
            Ok(job) => self.change = Some(UnderWay { change, stage: Stage::Survey(job) }),
            Err(error) => {
                let change = Change { failed: Some(error.into()), ..change };
                self.end(now, change, End::Untouched);
            }
        }
    }

    /// Goes on with the change as far as that goes without waiting.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(UnderWay { mut change, stage }) = self.change.take() {
            let step = match stage {
                Stage::Survey(job) => self.prepare(&mut change, job),
                Stage::Stop(job, prepared) => self.start(&mut change, job, prepared),
                Stage::Start(prepared) => self.switch(now, &mut change, prepared),
                Stage::Withdraw(until) => self.withdraw(&mut change, until),
                Stage::Settle(until) => self.settle(&mut change, until),
                Stage::Undo(job) => match job.poll() {
                    Progress::Running => Step::Stay(Stage::Undo(job)),
                    Progress::Done(queues) => {
                        self.account(queues, change.document.config());
                        Step::End(End::Touched)
                    }
                    Progress::Died => Step::End(End::Touched),
                },
                Stage::Release(job, end) => match job.poll() {
                    Progress::Running => Step::Stay(Stage::Release(job, end)),
                    progress => {
                        if let Progress::Done((listeners, pinned)) = progress {
                            self.listeners = listeners;
                            pinned.unwrap_or_else(|error| _ = change.failed.get_or_insert(error.into()));
                        }
                        self.end(now, change, end);
                        continue;
                    }
                },
            };
            match step {
                Step::Stay(stage) => {
                    self.change = Some(UnderWay { change, stage });
                    return;
                }
                Step::Next(stage) => self.change = Some(UnderWay { change, stage }),
                Step::End(end) => match self.release(&change.document) {
                    Some(job) => self.change = Some(UnderWay { change, stage: Stage::Release(job, end) }),
                    None => self.end(now, change, end),
                },
            }
        }
    }

    /// Makes plans for what is there, and has the workers end that do not fit. Until then nothing is touched.
    fn prepare(&mut self, change: &mut Change, job: Job<Result<Survey, ApplyError>>) -> Step {
        let survey = match job.poll() {
            Progress::Running => return Step::Stay(Stage::Survey(job)),
            Progress::Done(Ok(survey)) => survey,
            Progress::Done(Err(error)) => return change.refused(error),
            Progress::Died => return change.refused(ApplyError::Died),
        };
        let (config, layout) = (change.document.config(), &survey.layout);
        let stays = |queue: &Queue| layout.seat(queue.seat().queue).is_some_and(|seat| queue.serves(seat));
        let gone: Vec<u16> =
            self.queues.iter().filter(|(_, queue)| !stays(queue)).map(|(number, _)| *number).collect();
        let mut numbers = self.numbers.clone();
        numbers.assign(config);
        let mut neighbours = self.neighbours.clone();
        neighbours.keep(config);
        let table = Arc::new(plan::table(config, &numbers));
        let workers = layout.seats().iter().map(|seat| seat.queue).collect();
        let handoffs = self.handoffs.for_workers(workers, numbers.room_for_peers());
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
        let queues: Vec<Queue> = gone.iter().filter_map(|number| self.queues.remove(number)).collect();
        let job = (!queues.is_empty()).then(|| self.halt(queues));
        let (starting, started) = (Vec::new(), Vec::new());
        let prepared =
            Prepared { survey, numbers, neighbours, handoffs, gone, mtus, plans, starting, started };
        match job.transpose() {
            Ok(job) => Step::Next(Stage::Stop(job, prepared)),
            Err(error) => change.given_up(error.into()),
        }
    }

    /// Has workers end, and counts what they have counted as long as that takes.
    fn halt(&mut self, mut queues: Vec<Queue>) -> std::io::Result<Job<Vec<Queue>>> {
        self.leaving.extend(queues.iter().map(Queue::counters));
        Job::start(&self.bell, move || {
            queues.iter().for_each(Queue::ask_to_stop);
            queues.iter_mut().for_each(Queue::halt);
            queues
        })
    }

    /// Keeps what workers have counted that have ended because of this configuration.
    fn account(&mut self, queues: Vec<Queue>, config: &Config) {
        self.leaving.clear();
        for queue in queues {
            let number = queue.seat().queue;
            self.handoffs.leave(number);
            queue.end(config, &mut self.past, self.memory.ledger());
            self.ran = true;
            tracing::info!("worker of queue {number} stops");
        }
    }

    /// Starts the workers that are missing, once those have ended that were in their place.
    fn start(&mut self, change: &mut Change, job: Option<Job<Vec<Queue>>>, mut prepared: Prepared) -> Step {
        match job.as_ref().map(Job::poll) {
            Some(Progress::Running) => return Step::Stay(Stage::Stop(job, prepared)),
            Some(Progress::Done(queues)) => self.account(queues, change.document.config()),
            None | Some(Progress::Died) => {}
        }
        let survey = &mut prepared.survey;
        change.fault = survey.fault.take();
        for (place, filters) in survey.layout.filters(change.document.config()) {
            let Some(program) = survey.programs.get(&place) else { continue };
            if let Err(error) = program.set_filters(&filters) {
                match change.purpose {
                    Purpose::Change => {
                        self.discard(&prepared);
                        return change.given_up(error.into());
                    }
                    Purpose::Start | Purpose::Repair => change.fault = Some(error.into()),
                }
            }
        }
        for seat in survey.layout.seats() {
            if self.queues.contains_key(&seat.queue) {
                continue;
            }
            let Some(plan) = prepared.plans.remove(&seat.queue) else { continue };
            let is_needed = change.purpose == Purpose::Change && !survey.layout.is_optional(seat.queue);
            let patience = if is_needed { PATIENCE } else { SHORT_PATIENCE };
            match Starting::begin(seat, plan, &self.bell, patience) {
                Ok(starting) => prepared.starting.push(starting),
                Err(error) if is_needed => {
                    self.discard(&prepared);
                    return change.given_up(error);
                }
                Err(error) => change.fault = Some(error),
            }
        }
        Step::Next(Stage::Start(prepared))
    }

    /// Goes over to the new configuration, once the new workers have their sockets.
    fn switch(&mut self, now: Instant, change: &mut Change, mut prepared: Prepared) -> Step {
        for starting in std::mem::take(&mut prepared.starting) {
            match starting.poll() {
                None => prepared.starting.push(starting),
                Some(result) => prepared.started.push((starting, result)),
            }
        }
        if !prepared.starting.is_empty() {
            return Step::Stay(Stage::Start(prepared));
        }
        let config = change.document.config();
        let (mut begun, mut useless, mut error) = (Vec::new(), Vec::new(), None);
        for (starting, result) in std::mem::take(&mut prepared.started) {
            let number = starting.seat.queue;
            let registered = result.map_err(ApplyError::from).and_then(|worker| {
                let queue = Queue::new(now, config, starting, worker);
                match queue.register(&prepared.survey.programs) {
                    Ok(()) => Ok(queue),
                    Err(error) => {
                        useless.push(queue);
                        Err(error)
                    }
                }
            });
            match registered {
                Ok(queue) => begun.push(queue),
                // One that cannot be started keeps no other from it.
                Err(fault) if change.tolerates(&fault, prepared.survey.layout.is_optional(number)) => {
                    change.fault = Some(fault);
                }
                Err(fault) => error = Some(fault),
            }
        }
        if let Some(error) = error {
            useless.append(&mut begun);
            self.discard(&prepared);
            change.failed = Some(error);
            return match self.halt(useless) {
                Ok(job) => Step::Next(Stage::Undo(job)),
                Err(_) => Step::End(End::Touched),
            };
        }
        if !useless.is_empty() {
            // What they counted is nothing; nobody waits for their end.
            let _ = Job::start(&self.bell, move || drop(useless));
        }

        // Only now, because the answer to what one worker asks for may lead to another.
        begun.iter_mut().for_each(Queue::begin);
        let begun_any = !begun.is_empty();
        self.queues.extend(begun.into_iter().map(|queue| (queue.seat().queue, queue)));
        let Prepared { survey, numbers, neighbours, handoffs, gone, mtus, plans, .. } = prepared;
        for (number, plan) in plans {
            if let Some(queue) = self.queues.get_mut(&number) {
                queue.replan(plan);
            }
        }
        (self.numbers, self.neighbours, self.handoffs) = (numbers, neighbours, handoffs);
        // The table was copied while these still ran.
        gone.iter().for_each(|number| self.handoffs.leave(*number));
        if begun_any {
            self.acquaint();
        }
        for (place, program) in std::mem::replace(&mut self.programs, survey.programs) {
            if !self.programs.contains_key(&place) {
                self.guard.retire(&program);
            }
            self.discarded.push(program);
        }
        for queue in self.queues.values_mut() {
            queue.configure(now, config, &self.numbers, &mut self.log, self.memory.ledger());
        }
        let mtu = mtus.least(config);
        if mtu < config.mtu && mtu != self.mtu && !self.queues.is_empty() {
            tracing::warn!(
                "mtu {} does not fit the interfaces once sealed: inner packets of up to {mtu} bytes are sent",
                config.mtu
            );
        }
        (self.mtus, self.mtu) = (mtus, mtu);
        self.watch.note(survey.layout.watched(), &self.programs);
        self.guard.look_now(now, config, survey.layout.watched(), &self.programs);
        self.tell_waiting(survey.layout.waiting());
        self.switched = Some(survey.layout);
        Step::Next(Stage::Withdraw(Instant::now() + PATIENCE))
    }

    /// Has the workers hold the associations that are configured, after those that are not have been withdrawn.
    fn withdraw(&mut self, change: &mut Change, until: Instant) -> Step {
        let (config, settled) = (change.document.config(), self.are_settled());
        if config.data_plane {
            if !settled && Instant::now() < until {
                return Step::Stay(Stage::Withdraw(until));
            }
            self.queues.values_mut().for_each(Queue::free);
            // Keys that are still in use are not used again.
            if let Err(error) = self.provide(config) {
                change.failed = Some(error);
            }
        }
        Step::Next(Stage::Settle(Instant::now() + PATIENCE))
    }

    /// Waits until the workers have carried out all they were told: they do so between two batches.
    fn settle(&mut self, change: &mut Change, until: Instant) -> Step {
        if !self.are_settled() && Instant::now() < until {
            return Step::Stay(Stage::Settle(until));
        }
        // A dead one is started again, with this configuration.
        let silent = self.queues.values().find(|queue| !queue.is_settled() && !queue.is_dead());
        if let Some(number) = silent.map(|queue| queue.seat().queue) {
            tracing::error!("the worker of queue {number} does not answer");
            change.failed = Some(ApplyError::Unresponsive(number));
        }
        Step::End(End::Touched)
    }

    fn are_settled(&mut self) -> bool {
        for queue in self.queues.values_mut() {
            queue.free();
            queue.wake();
        }
        self.queues.values().all(|queue| queue.is_settled() || queue.is_dead())
    }

    /// Whether the change waits for something that no bell tells of.
    pub(super) fn is_settling(&self) -> bool {
        matches!(&self.change, Some(UnderWay { stage: Stage::Withdraw(_) | Stage::Settle(_), .. }))
    }

    fn discard(&mut self, prepared: &Prepared) {
        self.discarded.extend(prepared.survey.programs.values().cloned());
    }

    /// Has devices told what they have to know: programs that nobody needs any more are detached, those pinned that are to
    /// outlive the process, and listeners follow.
    fn release(&mut self, document: &Document) -> Option<Job<Released>> {
        let mut discarded = std::mem::take(&mut self.discarded);
        discarded.retain(|one| !self.programs.values().any(|other| Arc::ptr_eq(one, other)));
        let switched = self.switched.take();
        if discarded.is_empty() && switched.is_none() {
            return None;
        }
        let (options, programs, document) = (self.options.clone(), self.programs.clone(), document.clone());
        let mut listeners = std::mem::take(&mut self.listeners);
        let work = move || {
            if let Some(layout) = &switched {
                listeners.follow(document.config(), layout);
            }
            let pins = (!options.name.is_empty()).then(|| Pins::of(&options.name));
            let unpinned = discarded.iter().filter(|program| program.is_pinned()).try_for_each(|program| {
                // It goes with its device, or with the configuration of it.
                pins.iter().try_for_each(|pins| pins.unpin(program.interface()))
            });
            discarded.iter().for_each(|program| program.detach());
            let mut pins = pins.iter().filter(|_| switched.is_some());
            let pinned = pins.try_for_each(|pins| guard::pin(pins, &programs, document.config()));
            (listeners, unpinned.and(pinned))
        };
        // Should no thread be had, programs are detached when they are dropped.
        Job::start(&self.bell, work).ok()
    }

    fn end(&mut self, now: Instant, change: Change, end: End) {
        let Change { document, purpose, failed, fault, given_up } = change;
        match (purpose, failed) {
            (Purpose::Change, Some(error)) if end == End::Touched => {
                tracing::error!("going back to the configuration before: {error}");
                self.survey(now, self.document.clone(), Purpose::Repair, Some(error));
                return;
            }
            (Purpose::Change | Purpose::Start, Some(error)) => self.outcome = Some(Err(error)),
            (Purpose::Change | Purpose::Start, None) => {
                // There was nothing before the first one.
                let before =
                    if purpose == Purpose::Start { Document::empty() } else { self.document.clone() };
                self.accept(document, &before);
                self.retry(now, fault);
                self.outcome = Some(Ok(()));
            }
            (Purpose::Repair, failed) => self.retry(now, failed.or(fault)),
        }
        if let Some(error) = given_up {
            self.outcome = Some(Err(error));
        }
    }
}

impl Change {
    fn new(document: Document, purpose: Purpose) -> Change {
        Change { document, purpose, failed: None, fault: None, given_up: None }
    }

    fn refused(&mut self, error: ApplyError) -> Step {
        self.failed = Some(error);
        Step::End(End::Untouched)
    }

    fn given_up(&mut self, error: ApplyError) -> Step {
        self.failed = Some(error);
        Step::End(End::Touched)
    }

    /// Whether a worker that cannot be started for this reason is no reason to give the change up.
    fn tolerates(&self, error: &ApplyError, is_optional: bool) -> bool {
        match self.purpose {
            Purpose::Change => is_optional,
            Purpose::Start => !error.is_of_the_process(),
            Purpose::Repair => true,
        }
    }
}

/// How long all workers together may take to carry out what they are told, and how long a queue is waited for that another
/// process has just left.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same where it is tried again later.
const SHORT_PATIENCE: Duration = Duration::from_millis(300);
