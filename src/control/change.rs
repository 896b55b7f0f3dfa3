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

use super::listeners::Listeners;
use super::queue::{Queue, Starting};
use super::running::Next;
use super::survey::Survey;
use super::{ApplyError, Job, Progress, Supervisor, guard};
use crate::clock::Instant;
use crate::config::{Config, Document};
use crate::device::{PinError, Pins};
use crate::worker::{StartError, Worker};
use std::sync::Arc;
use std::time::Duration;

/// A change that is under way.
pub(super) struct UnderWay {
    change: Change,
    stage: Stage,
}

/// A change of what runs, made from the configuration that runs and the wanted one; and what came of it so far.
struct Change {
    kind: Kind,
    document: Document,
    /// Why the change has to be given up.
    failed: Option<ApplyError>,
    /// Why not everything runs, which is no reason to give the change up but to try again later.
    fault: Option<ApplyError>,
}

/// Kind of a change, which says what it tolerates.
enum Kind {
    /// Routes and configured SAs only.
    Routes,
    /// Everything or nothing, but for what does not run already.
    Whole,
    /// The first configuration: as much as can be.
    First,
    /// The configuration that runs: as much as can be. Also after a change that was given up, for this reason.
    Repair { given_up: Option<ApplyError> },
}

enum Stage {
    Survey(Job<Result<Survey, ApplyError>>),
    Stop(Option<Job<Vec<Queue>>>, Prepared),
    Start(Prepared),
    Withdraw(Waiting),
    Settle(Waiting),
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

/// All that can fail before anything is touched has been done.
struct Prepared {
    survey: Survey,
    next: Next,
    starting: Vec<Starting>,
    started: Vec<(Starting, Result<Worker, StartError>)>,
}

/// Wait for workers to carry out their commands, as long as their threads live.
struct Waiting {
    since: Instant,
    /// Whether the log says so.
    is_logged: bool,
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
        match self.prepare_reroute(candidate.config()) {
            Some(reroute) => {
                self.apply_reroute(now, candidate.config(), reroute);
                let change = Change::new(Kind::Routes, candidate);
                self.change = Some(UnderWay { change, stage: Stage::Withdraw(Waiting::new()) });
            }
            None => self.survey(now, Kind::Whole, candidate),
        }
        self.advance(now);
    }

    /// Begins to run the first configuration. What cannot run now is waited for.
    pub fn begin_first(&mut self, now: Instant, document: Document) {
        // Such SAs are left out, and the rest runs.
        if let Err(error) = self.refuse_unproven(document.config()) {
            tracing::error!("not installed: {error}");
        }
        (self.outcome, self.running.document) = (None, document.clone());
        self.survey(now, Kind::First, document);
        self.advance(now);
    }

    /// Begins to make what runs equal to the running document again, as far as that can be.
    pub(super) fn repair(&mut self, now: Instant) {
        self.repair.begin(now);
        self.survey(now, Kind::Repair { given_up: None }, self.running.document.clone());
    }

    /// What came of the change begun last, once.
    pub fn outcome(&mut self) -> Option<Result<(), ApplyError>> {
        self.outcome.take()
    }

    fn survey(&mut self, now: Instant, kind: Kind, document: Document) {
        let (candidate, options, programs) =
            (document.clone(), self.options.clone(), self.running.programs.clone());
        let known = self.running.known(self.watch.seen()).lenient(kind.is_lenient());
        let is_first = matches!(kind, Kind::First);
        let survey = move || Survey::of(candidate.config(), &options, &known, is_first, programs);
        let mut change = Change::new(kind, document);
        match Job::start(&self.wakeup, survey) {
            Ok(job) => self.change = Some(UnderWay { change, stage: Stage::Survey(job) }),
            Err(error) => {
                change.failed = Some(error.into());
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
                Stage::Withdraw(waiting) => self.withdraw(&mut change, waiting),
                Stage::Settle(waiting) => self.settle(waiting),
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
        let next = self.running.prepare(change.document.config(), &survey.layout);
        let queues: Vec<Queue> =
            next.gone.iter().filter_map(|number| self.running.queues.remove(number)).collect();
        let job = (!queues.is_empty()).then(|| self.halt(queues));
        let prepared = Prepared { survey, next, starting: Vec::new(), started: Vec::new() };
        match job.transpose() {
            Ok(job) => Step::Next(Stage::Stop(job, prepared)),
            Err(error) => change.given_up(error.into()),
        }
    }

    /// Has workers end, and counts what they have counted as long as that takes.
    fn halt(&mut self, mut queues: Vec<Queue>) -> std::io::Result<Job<Vec<Queue>>> {
        self.leaving.extend(queues.iter().map(Queue::counters));
        Job::start(&self.wakeup, move || {
            queues.iter().for_each(Queue::ask_to_stop);
            queues.iter_mut().for_each(Queue::halt);
            queues
        })
    }

    /// Keeps what workers have counted that have ended because of this configuration.
    fn account(&mut self, queues: Vec<Queue>, config: &Config) {
        self.leaving.clear();
        for queue in queues {
            let number = queue.placement().queue;
            self.running.handoffs.leave(number);
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
                if !change.kind.is_lenient() {
                    self.discard(&prepared);
                    return change.given_up(error.into());
                }
                change.fault = Some(error.into());
            }
        }
        for placement in survey.layout.placements() {
            if self.running.queues.contains_key(&placement.queue) {
                continue;
            }
            let Some(plan) = prepared.next.plans.remove(&placement.queue) else { continue };
            let is_needed = !change.kind.is_lenient() && !survey.layout.is_optional(placement.queue);
            let patience = if is_needed { PATIENCE } else { SHORT_PATIENCE };
            match Starting::begin(placement, plan, &self.wakeup, patience) {
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
            let number = starting.placement.queue;
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
                Err(fault) if change.kind.tolerates(&fault, prepared.survey.layout.is_optional(number)) => {
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
            let _ = Job::start(&self.wakeup, move || drop(useless));
        }

        // Only now, because the answer to what one worker asks for may lead to another.
        begun.iter_mut().for_each(Queue::begin);
        let begun_any = !begun.is_empty();
        self.running.queues.extend(begun.into_iter().map(|queue| (queue.placement().queue, queue)));
        let Prepared { survey, next, .. } = prepared;
        let Next { numbers, neighbours, handoffs, mtus, gone, plans } = next;
        for (number, plan) in plans {
            if let Some(queue) = self.running.queues.get_mut(&number) {
                queue.replan(plan);
            }
        }
        (self.running.numbers, self.running.neighbours, self.running.handoffs) =
            (numbers, neighbours, handoffs);
        // The table was copied while these still ran.
        gone.iter().for_each(|number| self.running.handoffs.leave(*number));
        if begun_any {
            self.set_wakeups();
        }
        for (place, program) in std::mem::replace(&mut self.running.programs, survey.programs) {
            if !self.running.programs.contains_key(&place) {
                self.guard.retire(&program);
            }
            self.discarded.push(program);
        }
        for queue in self.running.queues.values_mut() {
            queue.configure(now, config, &self.running.numbers, &mut self.log, self.memory.ledger());
        }
        let mtu = mtus.least(config);
        if mtu < config.mtu && mtu != self.running.mtu && !self.running.queues.is_empty() {
            tracing::warn!(
                "mtu {} does not fit the interfaces once sealed: inner packets of up to {mtu} bytes are sent",
                config.mtu
            );
        }
        (self.running.mtus, self.running.mtu) = (mtus, mtu);
        self.watch.note(survey.layout.watched(), &self.running.programs);
        self.guard.look_now(now, config, survey.layout.watched(), &self.running.programs);
        self.tell_waiting(survey.layout.waiting());
        self.switched = Some(survey.layout);
        Step::Next(Stage::Withdraw(Waiting::new()))
    }

    /// Gives the workers the SAs that are configured, after those that are not have been withdrawn.
    fn withdraw(&mut self, change: &mut Change, mut waiting: Waiting) -> Step {
        let config = change.document.config();
        if config.data_plane {
            if !self.are_settled() {
                self.log_silence(&mut waiting);
                return Step::Stay(Stage::Withdraw(waiting));
            }
            self.running.queues.values_mut().for_each(Queue::free);
            // Keys that are still in use are not used again.
            if let Err(error) = self.provide(config) {
                change.failed = Some(error);
            }
        }
        Step::Next(Stage::Settle(Waiting::new()))
    }

    /// Waits until the workers have carried out all they were told: they do so between two batches. A dead one is started
    /// again, with this configuration.
    fn settle(&mut self, mut waiting: Waiting) -> Step {
        if self.are_settled() {
            return Step::End(End::Touched);
        }
        self.log_silence(&mut waiting);
        Step::Stay(Stage::Settle(waiting))
    }

    /// Says which worker is waited for, once. Its thread may have no CPU.
    fn log_silence(&self, waiting: &mut Waiting) {
        if waiting.is_logged || waiting.since.elapsed() < PATIENCE {
            return;
        }
        let silent = self.running.queues.values().find(|queue| !queue.is_settled() && !queue.is_dead());
        if let Some(queue) = silent {
            waiting.is_logged = true;
            tracing::warn!(
                "worker of queue {}: has not carried out its commands for {} s; the change waits for it. Has its CPU other \
                 work?",
                queue.placement().queue,
                PATIENCE.as_secs()
            );
        }
    }

    fn are_settled(&mut self) -> bool {
        for queue in self.running.queues.values_mut() {
            queue.free();
            queue.wake();
        }
        self.running.queues.values().all(|queue| queue.is_settled() || queue.is_dead())
    }

    /// Whether the change waits for something that wakes nobody.
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
        discarded.retain(|one| !self.running.programs.values().any(|other| Arc::ptr_eq(one, other)));
        let switched = self.switched.take();
        if discarded.is_empty() && switched.is_none() {
            return None;
        }
        let (options, programs, document) =
            (self.options.clone(), self.running.programs.clone(), document.clone());
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
        Job::start(&self.wakeup, work).ok()
    }

    fn end(&mut self, now: Instant, change: Change, end: End) {
        let Change { kind, document, failed, fault } = change;
        match (kind, failed) {
            (Kind::Routes | Kind::Whole, Some(error)) if end == End::Touched => {
                tracing::error!("going back to the configuration before: {error}");
                self.survey(now, Kind::Repair { given_up: Some(error) }, self.running.document.clone());
            }
            (Kind::Routes | Kind::Whole | Kind::First, Some(error)) => self.outcome = Some(Err(error)),
            (kind, None) if !matches!(kind, Kind::Repair { .. }) => {
                // There was nothing before the first one.
                let is_first = matches!(kind, Kind::First);
                let before = if is_first { Document::empty() } else { self.running.document.clone() };
                self.accept(document, &before);
                self.retry(now, fault);
                self.outcome = Some(Ok(()));
            }
            (kind, failed) => {
                self.retry(now, failed.or(fault));
                if let Kind::Repair { given_up: Some(error) } = kind {
                    self.outcome = Some(Err(error));
                }
            }
        }
    }
}

impl Kind {
    /// Whether the rest runs if something cannot.
    fn is_lenient(&self) -> bool {
        matches!(self, Kind::First | Kind::Repair { .. })
    }

    /// Whether a worker that cannot be started for this reason is no reason to give the change up.
    fn tolerates(&self, error: &ApplyError, is_optional: bool) -> bool {
        match self {
            Kind::Routes | Kind::Whole => is_optional,
            Kind::First => !error.is_of_the_process(),
            Kind::Repair { .. } => true,
        }
    }
}

impl Change {
    fn new(kind: Kind, document: Document) -> Change {
        Change { kind, document, failed: None, fault: None }
    }

    fn refused(&mut self, error: ApplyError) -> Step {
        self.failed = Some(error);
        Step::End(End::Untouched)
    }

    fn given_up(&mut self, error: ApplyError) -> Step {
        self.failed = Some(error);
        Step::End(End::Touched)
    }
}

impl Waiting {
    fn new() -> Waiting {
        Waiting { since: Instant::now(), is_logged: false }
    }
}

/// How long a queue is waited for that another process has just left, and how long a worker may take for its commands before
/// the log says so.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same where it is tried again later.
const SHORT_PATIENCE: Duration = Duration::from_millis(300);
