// SPDX-License-Identifier: Apache-2.0
//! Changes of the running configuration: each as a whole or not at all, and each can be taken back.
//!
//! ```text
//!   change ──► applied ──► history ─┬──────────────► the configuration
//!                                   └─ (on trial) ──► confirmed in time ──► the configuration
//!                                                 └─► time is over, or rolled back ──► the one before the trial
//! ```
//!
//! One request at a time is taken up ([`Transactions::begin`]) and takes its time; [`Transactions::outcome`] has its end.
//!
//! While a configuration is on trial only another trial may replace it: whatever else was changed meanwhile would be
//! lost without notice when the time is over. A trial that follows another returns to where the first began.

use super::history::{self, Found, History, HistoryError};
use super::layout::Layout;
use super::{ApplyError, Job, Progress, Supervisor};
use crate::clock::Instant;
use crate::config::{Difference, Document};
use std::fmt::Write;
use std::io;
use std::time::Duration;

/// The supervisor, with the history of its configurations and the one on trial.
pub struct Transactions {
    pub supervisor: Supervisor,
    history: History,
    /// Whether the configuration that runs is the newest of the history. One that is empty since the start is not.
    recorded: bool,
    trial: Option<Trial>,
    stage: Option<Stage>,
    outcome: Option<Result<String, TransactionError>>,
}

struct Trial {
    /// To return to.
    before: Document,
    until: Instant,
}

/// Makes a configuration from the one that runs, or says why it cannot. Runs on a thread of its own: long texts take time.
pub type Edit = Box<dyn FnOnce(&Document) -> Result<Document, String> + Send>;

/// A request that takes its time.
pub enum Request {
    /// The configuration of the start, before anything runs. It makes no entry in the history if it is the
    /// newest there already.
    Start { document: Document, source: String },
    /// Changes the configuration, or nothing. Gives what was changed.
    Change { edit: Edit, verb: String },
    /// The same, but unless [`Transactions::confirm`] follows in time the change is taken back.
    Commit { edit: Edit, timeout: Option<Duration> },
    /// Returns to the configuration of that number in the history. During a trial, 1 is the one before it began.
    Rollback { index: usize },
    /// What a change would do; nothing is changed.
    DryRun { edit: Edit },
}

/// How far the request is.
enum Stage {
    Edit(Job<Result<Document, String>>, Purpose),
    Read(Job<Result<Document, HistoryError>>, Purpose),
    Preview(Job<Result<Layout, ApplyError>>, Document),
    /// Waits for the end of a repair.
    Ready(Document, Purpose),
    Apply(Document, Purpose),
}

/// Why a configuration is applied.
enum Purpose {
    Start { source: String, is_known: bool },
    Change { verb: String },
    Trial { timeout: Duration },
    Rollback { index: usize },
    EndOfTrial(Trial),
    DryRun,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The message of whoever made the candidate.
    #[error("{0}")]
    Rejected(String),
    #[error(
        "a configuration is on trial for another {0} s; confirm it (vita config confirm NAME) or take it back \
         (vita config rollback NAME) first"
    )]
    OnTrial(u64),
    #[error("no configuration awaits confirmation")]
    NothingToConfirm,
    #[error("configuration 0 is the one that runs; vita config history NAME lists the others")]
    Running,
    #[error("no thread can be started: {0}")]
    Thread(#[from] io::Error),
    #[error("a thread of this process panicked; see the log")]
    Died,
}

impl Transactions {
    /// Nothing runs yet, and nothing is on trial.
    pub fn new(supervisor: Supervisor, history: History) -> Transactions {
        Transactions { supervisor, history, recorded: false, trial: None, stage: None, outcome: None }
    }

    /// The configuration that runs.
    pub fn document(&self) -> &Document {
        self.supervisor.document()
    }

    /// Whether a request is under way. Another has to wait.
    pub fn is_busy(&self) -> bool {
        self.stage.is_some()
    }

    /// Takes a request up, while none is under way; or refuses it at once.
    pub fn begin(&mut self, now: Instant, request: Request) -> Result<(), TransactionError> {
        self.outcome = None;
        let stage = match request {
            Request::Start { document, source } => {
                let newest = self.history.document(0);
                let is_known = newest.is_ok_and(|newest| newest.config() == document.config());
                Stage::Ready(document, Purpose::Start { source, is_known })
            }
            Request::Change { edit, verb } => {
                self.refuse_on_trial(now)?;
                self.edit(edit, Purpose::Change { verb })?
            }
            Request::Commit { edit, timeout: None } => {
                self.refuse_on_trial(now)?;
                self.edit(edit, Purpose::Change { verb: "commit".to_owned() })?
            }
            Request::Commit { edit, timeout: Some(timeout) } => {
                self.edit(edit, Purpose::Trial { timeout })?
            }
            Request::Rollback { index: 0 } => return Err(TransactionError::Running),
            Request::Rollback { index } => {
                let purpose = Purpose::Rollback { index };
                match &self.trial {
                    Some(trial) if index == 1 => Stage::Ready(trial.before.clone(), purpose),
                    _ => match self.history.find(index - usize::from(!self.recorded))? {
                        Found::Here(document) => Stage::Ready(document, purpose),
                        Found::File(path) => Stage::Read(self.job(move || history::load(path))?, purpose),
                    },
                }
            }
            Request::DryRun { edit } => self.edit(edit, Purpose::DryRun)?,
        };
        self.stage = Some(stage);
        self.advance(now);
        Ok(())
    }

    /// How the request begun last has ended, once.
    pub fn outcome(&mut self) -> Option<Result<String, TransactionError>> {
        self.outcome.take()
    }

    /// Ends the trial: the configuration stays.
    pub fn confirm(&mut self) -> Result<(), TransactionError> {
        self.trial.take().ok_or(TransactionError::NothingToConfirm)?;
        tracing::info!("the configuration is confirmed");
        Ok(())
    }

    fn refuse_on_trial(&self, now: Instant) -> Result<(), TransactionError> {
        self.trial.as_ref().map_or(Ok(()), |trial| Err(TransactionError::OnTrial(trial.left(now))))
    }

    fn edit(&self, edit: Edit, purpose: Purpose) -> io::Result<Stage> {
        let document = self.document().clone();
        Ok(Stage::Edit(self.job(move || edit(&document))?, purpose))
    }

    fn job<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Job<T>> {
        self.supervisor.job(work)
    }

    /// Goes on with the request as far as that goes without waiting.
    fn advance(&mut self, now: Instant) {
        while let Some(stage) = self.stage.take() {
            match self.step(now, stage) {
                Ok(Some(Step::Wait(stage))) => {
                    self.stage = Some(stage);
                    return;
                }
                Ok(Some(Step::Next(stage))) => self.stage = Some(stage),
                Ok(None) => {}
                Err(error) => self.outcome = Some(Err(error)),
            }
        }
    }

    fn step(&mut self, now: Instant, stage: Stage) -> Result<Option<Step>, TransactionError> {
        let next = match stage {
            Stage::Edit(job, purpose) => match job.poll() {
                Progress::Running => Step::Wait(Stage::Edit(job, purpose)),
                Progress::Died => return Err(TransactionError::Died),
                Progress::Done(candidate) => {
                    let candidate = candidate.map_err(TransactionError::Rejected)?;
                    Step::Next(match purpose {
                        Purpose::DryRun => Stage::Preview(self.supervisor.preview(&candidate)?, candidate),
                        purpose => Stage::Ready(candidate, purpose),
                    })
                }
            },
            Stage::Read(job, purpose) => match job.poll() {
                Progress::Running => Step::Wait(Stage::Read(job, purpose)),
                Progress::Died => return Err(TransactionError::Died),
                Progress::Done(document) => Step::Next(Stage::Ready(document?, purpose)),
            },
            Stage::Preview(job, candidate) => match job.poll() {
                Progress::Running => Step::Wait(Stage::Preview(job, candidate)),
                Progress::Died => return Err(TransactionError::Died),
                Progress::Done(layout) => {
                    let impact = self.supervisor.impact(&candidate, &layout?);
                    let difference = Difference::between(self.document().config(), candidate.config());
                    let is_empty = difference.is_empty();
                    let text = if is_empty { NO_CHANGE.to_owned() } else { format!("{difference}{impact}") };
                    let warnings = candidate.warnings().into_iter();
                    let warnings: String = warnings.map(|warning| format!("warning: {warning}\n")).collect();

                    self.outcome = Some(Ok(text + &warnings));
                    return Ok(None);
                }
            },
            Stage::Ready(document, purpose) if self.supervisor.is_busy() => {
                Step::Wait(Stage::Ready(document, purpose))
            }
            Stage::Ready(document, purpose) => {
                let before = self.document().clone();
                match purpose {
                    Purpose::Start { .. } => self.supervisor.begin_first(now, document),
                    _ => self.supervisor.begin(now, document),
                }
                Step::Next(Stage::Apply(before, purpose))
            }
            Stage::Apply(before, purpose) => match self.supervisor.outcome() {
                None => Step::Wait(Stage::Apply(before, purpose)),
                Some(outcome) => {
                    self.finish(now, before, purpose, outcome);
                    return Ok(None);
                }
            },
        };
        Ok(Some(next))
    }

    /// The supervisor runs the configuration, or says why not.
    fn finish(&mut self, now: Instant, before: Document, purpose: Purpose, outcome: Result<(), ApplyError>) {
        let purpose = match (purpose, &outcome) {
            (Purpose::EndOfTrial(trial), Err(error)) => {
                tracing::error!("the configuration on trial cannot be taken back yet: {error}");
                self.trial = Some(Trial { until: now + RETRY, ..trial });
                return;
            }
            (purpose, _) => purpose,
        };
        self.outcome = match (outcome, purpose) {
            (Err(error), _) => Some(Err(error.into())),
            (Ok(()), Purpose::Start { is_known: true, .. }) => {
                self.recorded = true;
                Some(Ok(String::new()))
            }
            (Ok(()), Purpose::Start { source, .. }) => {
                Some(Ok(self.record(&before, &format!("start with {source}"))))
            }
            (Ok(()), Purpose::Change { verb }) => Some(Ok(self.record(&before, &verb))),
            (Ok(()), Purpose::Rollback { index }) => {
                self.trial = None;
                Some(Ok(self.record(&before, &format!("rollback {index}"))))
            }
            (Ok(()), Purpose::Trial { timeout }) => {
                let text = self.record(&before, "commit on trial");
                let before = self.trial.take().map_or(before, |trial| trial.before);
                self.trial = Some(Trial { before, until: now + timeout });
                let seconds = timeout.as_secs();
                tracing::info!(
                    "the configuration is on trial: it is taken back in {seconds} s if not confirmed"
                );
                let note = "unless it is confirmed (vita config confirm NAME)";
                Some(Ok(format!("{text}on trial: taken back in {seconds} s {note}\n")))
            }
            (Ok(()), Purpose::EndOfTrial(_)) => {
                self.record(&before, "rollback, not confirmed in time");
                None
            }
            // Applies nothing.
            (Ok(()), Purpose::DryRun) => None,
        };
    }

    /// Records the change in the history, and gives its difference.
    fn record(&mut self, before: &Document, verb: &str) -> String {
        let document = self.document().clone();
        let difference = Difference::between(before.config(), document.config());
        if difference.is_empty() {
            return NO_CHANGE.to_owned();
        }
        self.history.record(&format!("{verb}: {}", difference.summary()), &document);
        self.recorded = true;
        difference.to_string()
    }

    /// One line for each configuration, the one that runs first.
    pub fn history(&self, now: Instant) -> String {
        let mut text = String::new();
        let trial = self
            .trial
            .as_ref()
            .map_or_else(String::new, |trial| format!(" (on trial for another {} s)", trial.left(now)));
        let entries = self.history.entries();
        if !self.recorded {
            let _ = writeln!(text, " 0  empty since the start of this process");
        }
        for (place, entry) in entries.iter().enumerate() {
            let note = if place == 0 && self.recorded { &*trial } else { "" };
            let (index, time) = (place + usize::from(!self.recorded), history::timestamp(entry.time));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{index:>2}  {time}  {}{note}", entry.what);
        }
        text
    }

    /// When [`Transactions::service`] is due.
    pub fn deadline(&self, now: Instant) -> Instant {
        let supervisor = self.supervisor.deadline(now);
        self.trial.as_ref().map_or(supervisor, |trial| trial.until.min(supervisor))
    }

    /// Handles all that is due.
    pub fn service(&mut self, now: Instant) {
        self.supervisor.service(now);
        self.advance(now);
        self.supervisor.look_after_workers(now);
        if self.is_busy() {
            return;
        }
        if let Some(trial) = self.trial.take_if(|trial| trial.until <= now) {
            tracing::warn!("the configuration was not confirmed in time: it is taken back");
            self.stage = Some(Stage::Ready(trial.before.clone(), Purpose::EndOfTrial(trial)));
            self.advance(now);
        }
    }
}

enum Step {
    /// The stage is not over.
    Wait(Stage),
    Next(Stage),
}

impl Trial {
    fn left(&self, now: Instant) -> u64 {
        self.until.saturating_duration_since(now).as_secs()
    }
}

const NO_CHANGE: &str = "no change\n";
const RETRY: Duration = Duration::from_secs(10);
