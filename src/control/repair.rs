// SPDX-License-Identifier: Apache-2.0
//! When what does not run is tried again: soon at first, then less often.

use super::{ApplyError, Supervisor};
use crate::clock::Instant;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Repair {
    at: Option<Instant>,
    began_at: Option<Instant>,
    /// Doubled with each time in vain.
    pause: Option<Duration>,
    /// What was said of it last.
    last_logged: String,
}

impl Repair {
    pub(super) fn begin(&mut self, now: Instant) {
        (self.at, self.began_at) = (None, Some(now));
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| now >= at)
    }

    /// Whether something is to be tried again.
    pub(super) fn is_pending(&self) -> bool {
        self.at.is_some()
    }

    /// For a cause that is new.
    pub(super) fn at_once(&mut self, now: Instant) {
        (self.at, self.pause) = (Some(now), None);
    }

    /// For a worker that died: one that dies at once is not started at once. Whether that is news.
    pub(super) fn soon(&mut self, now: Instant) -> bool {
        let is_new = self.at.is_none();
        let earliest = self.began_at.map_or(now, |before| now.max(before + LONGEST_PAUSE));
        self.at.get_or_insert(earliest);
        is_new
    }
}

impl Supervisor {
    /// Has everything tried again later, if something does not run.
    pub(super) fn retry(&mut self, now: Instant, fault: Option<ApplyError>) {
        let repair = &mut self.repair;
        let Some(error) = fault else {
            if !std::mem::take(&mut repair.last_logged).is_empty() {
                tracing::info!("what did not run has been started");
            }
            (repair.at, repair.pause) = (None, None);
            return;
        };
        let pause = repair.pause.map_or(FIRST_PAUSE, |pause| (2 * pause).min(LONGEST_PAUSE));
        (repair.at, repair.pause) = (Some(now + pause), Some(pause));
        let text = error.to_string();
        if repair.last_logged != text {
            tracing::error!("not everything runs, trying again every few seconds: {text}");
            repair.last_logged = text;
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
