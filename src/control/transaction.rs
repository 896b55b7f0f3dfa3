// SPDX-License-Identifier: Apache-2.0
//! Changes of the running configuration: each as a whole or not at all, and each can be taken back.
//!
//! ```text
//!   change ──► applied ──► history ─┬──────────────► the configuration
//!                                   └─ (on trial) ──► confirmed in time ──► the configuration
//!                                                 └─► time is over, or rolled back ──► the one before the trial
//! ```
//!
//! While a configuration is on trial only another trial may replace it: whatever else was changed meanwhile would be
//! lost without notice when the time is over. A trial that follows another returns to where the first began.

use super::history::{self, History, HistoryError};
use super::{ApplyError, Supervisor};
use crate::clock::Instant;
use crate::config::{Difference, Document};
use std::fmt::Write;
use std::time::Duration;

pub struct Transactions {
    pub supervisor: Supervisor,
    history: History,
    /// Whether the configuration that runs is the newest of the history. One that is empty since the start is not.
    recorded: bool,
    trial: Option<Trial>,
}

struct Trial {
    /// To return to.
    before: Document,
    until: Instant,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(
        "a configuration is on trial for another {0} s; confirm it (vita config confirm NAME) or take it back \
         (vita config rollback NAME) first"
    )]
    OnTrial(u64),
    #[error("no configuration awaits confirmation")]
    NothingToConfirm,
    #[error("configuration 0 is the one that runs; vita config history NAME lists the others")]
    Running,
}

impl Transactions {
    pub fn new(supervisor: Supervisor, history: History) -> Transactions {
        Transactions { supervisor, history, recorded: false, trial: None }
    }

    /// The configuration that runs.
    pub fn document(&self) -> &Document {
        self.supervisor.document()
    }

    /// Changes the configuration, or nothing. Gives what was changed.
    pub fn apply(
        &mut self,
        now: Instant,
        candidate: Document,
        verb: &str,
    ) -> Result<String, TransactionError> {
        if let Some(trial) = &self.trial {
            return Err(TransactionError::OnTrial(trial.left(now)));
        }
        self.change(now, candidate, verb)
    }

    /// The configuration of the start. It makes no entry in the history if it is the newest there already.
    pub fn start(&mut self, now: Instant, candidate: Document, source: &str) -> Result<(), TransactionError> {
        if self.history.document(0).is_ok_and(|newest| newest.config() == candidate.config()) {
            self.supervisor.apply(now, candidate)?;
            self.recorded = true;
            return Ok(());
        }
        self.change(now, candidate, &format!("start with {source}")).map(drop)
    }

    /// As [`Transactions::apply`], but unless [`Transactions::confirm`] follows in time the change is taken back.
    pub fn commit(
        &mut self,
        now: Instant,
        candidate: Document,
        timeout: Option<Duration>,
    ) -> Result<String, TransactionError> {
        let Some(timeout) = timeout else { return self.apply(now, candidate, "commit") };
        let running = self.document().clone();
        let told = self.change(now, candidate, "commit on trial")?;
        let before = self.trial.take().map_or(running, |trial| trial.before);
        self.trial = Some(Trial { before, until: now + timeout });
        let seconds = timeout.as_secs();
        tracing::info!("the configuration is on trial: it is taken back in {seconds} s if not confirmed");
        let note = "unless it is confirmed (vita config confirm NAME)";
        Ok(format!("{told}on trial: taken back in {seconds} s {note}\n"))
    }

    /// Ends the trial: the configuration stays.
    pub fn confirm(&mut self) -> Result<(), TransactionError> {
        self.trial.take().ok_or(TransactionError::NothingToConfirm)?;
        tracing::info!("the configuration is confirmed");
        Ok(())
    }

    /// Returns to the configuration of that number in the history. During a trial, 1 is the one before it began.
    pub fn rollback(&mut self, now: Instant, index: usize) -> Result<String, TransactionError> {
        let target = match &self.trial {
            _ if index == 0 => return Err(TransactionError::Running),
            Some(trial) if index == 1 => trial.before.clone(),
            _ => self.history.document(index - usize::from(!self.recorded))?,
        };
        let told = self.change(now, target, &format!("rollback {index}"))?;
        self.trial = None;
        Ok(told)
    }

    /// What a change would do; nothing is changed.
    pub fn dry_run(&self, candidate: &Document) -> Result<String, TransactionError> {
        let impact = self.supervisor.impact(candidate)?;
        let difference = Difference::between(self.document().config(), candidate.config());
        Ok(if difference.is_empty() { NO_CHANGE.to_owned() } else { format!("{difference}{impact}") })
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

    /// Does what has come up.
    pub fn service(&mut self, now: Instant) {
        self.supervisor.service(now);
        let Some(trial) = self.trial.take_if(|trial| trial.until <= now) else { return };
        tracing::warn!("the configuration was not confirmed in time: it is taken back");
        if let Err(error) = self.change(now, trial.before.clone(), "rollback, not confirmed in time") {
            tracing::error!("the configuration on trial cannot be taken back yet: {error}");
            self.trial = Some(Trial { until: now + RETRY, ..trial });
        }
    }

    fn change(&mut self, now: Instant, candidate: Document, verb: &str) -> Result<String, TransactionError> {
        let before = self.document().clone();
        self.supervisor.apply(now, candidate.clone())?;
        let difference = Difference::between(before.config(), candidate.config());
        if difference.is_empty() {
            return Ok(NO_CHANGE.to_owned());
        }
        self.history.record(&format!("{verb}: {}", difference.summary()), &candidate);
        self.recorded = true;
        Ok(difference.to_string())
    }
}

impl Trial {
    fn left(&self, now: Instant) -> u64 {
        self.until.saturating_duration_since(now).as_secs()
    }
}

const NO_CHANGE: &str = "no change\n";
const RETRY: Duration = Duration::from_secs(10);
