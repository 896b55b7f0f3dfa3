// SPDX-License-Identifier: Apache-2.0
//! The ledger of configured keys, and its file, as the supervisor uses them.
//!
//! The control thread gives a disk [`DISK_PATIENCE`] to write down keys that begin; then it goes on, and the SAs follow
//! when the disk has them.

use super::associations;
use super::ceilings::Ceilings;
use super::ledger::Ledger;
use super::{ApplyError, Supervisor};
use crate::clock::Instant;
use crate::config::Config;
use crate::wait::EventFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Memory {
    ledger: Ledger,
    ceilings: Option<Ceilings>,
    /// Whether SAs wait for the disk.
    is_awaited: bool,
    /// Whether the disk has done something since they were tried last.
    has_news: bool,
    raise_at: Option<Instant>,
}

impl Default for Memory {
    /// One that ends with the process.
    fn default() -> Memory {
        Memory {
            ledger: Ledger::in_memory(),
            ceilings: None,
            is_awaited: false,
            has_news: false,
            raise_at: None,
        }
    }
}

impl Memory {
    pub(super) fn in_directory(directory: &Path, wakeup: Arc<EventFd>) -> Memory {
        let (ledger, ceilings) = match Ceilings::open(directory, wakeup) {
            Ok((ceilings, found)) => (Ledger::on_disk(found), Some(ceilings)),
            Err(error) => {
                tracing::warn!(
                    "{}: cannot keep which sequence numbers are used: configured keys need a sequence-number: {error}",
                    directory.display()
                );
                (Ledger::without_disk(), None)
            }
        };
        let mut memory = Memory { ledger, ceilings, ..Memory::default() };
        memory.write();
        memory
    }

    /// One that ends with the process, which should not.
    pub(super) fn nowhere() -> Memory {
        Memory { ledger: Ledger::without_disk(), ceilings: None, ..Memory::default() }
    }

    pub(super) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Hands the next job to the disk, if it has time.
    fn write(&mut self) {
        if let Some(ceilings) = &self.ceilings
            && let Some(job) = self.ledger.jobs()
        {
            ceilings.write(job);
        }
    }

    /// Takes what the disk has done, waiting so long for it at most. Whether there was anything.
    fn take_written(&mut self, patience: Duration) -> bool {
        let is_done = self.ceilings.as_ref().is_some_and(|ceilings| ceilings.is_done(patience));
        if is_done {
            self.ledger.written();
        }
        self.write();
        is_done
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.ledger.close();
        // What is being written may be followed by one more job.
        while self.ceilings.is_some() && self.ledger.is_recording() && self.take_written(CLOSE) {}
    }
}

impl Supervisor {
    /// Refuses a configuration with keys that may have been used, before anything is changed.
    pub(super) fn refuse_unproven(&mut self, config: &Config) -> Result<(), ApplyError> {
        let running = self.running.document.config();
        let unproven = associations::unproven(config, &mut self.memory.ledger);
        // One that is refused already is no reason to refuse another change.
        let mut new = unproven
            .into_iter()
            .filter(|one| !running.data_plane || !running.outbound.iter().any(|before| &**before == *one));
        let Some(first) = new.next() else { return Ok(()) };
        let (route, queue, spi) = (first.route.clone(), first.queue, first.sa.spi);
        Err(ApplyError::Unproven { route, queue, spi, count: 1 + new.count() })
    }

    /// Gives the workers the configured associations that they do not have. What has to be written down first follows when
    /// the disk has it.
    pub(super) fn provide(&mut self, config: &Config) -> Result<(), ApplyError> {
        let (mut unused_keys, until) = (0, Instant::now() + DISK_PATIENCE);
        let left_out = loop {
            let (mut left_out, mut recording) = (0, 0);
            for queue in self.running.queues.values_mut() {
                let result = queue.provide(config, &self.running.numbers, &mut self.memory.ledger);
                unused_keys += result.unused_keys;
                left_out += result.left_out;
                recording += result.recording;
            }
            self.memory.is_awaited = recording > 0;
            self.memory.write();
            let left = until.saturating_duration_since(Instant::now());
            if recording == 0 || !self.memory.take_written(left) {
                break left_out;
            }
        };
        if unused_keys > 0 {
            tracing::warn!(
                "{unused_keys} outbound SAs with configured keys begin with sequence number 1: if packets were sealed \
                 under these keys on another machine, nonces repeat; give new keys, or the sequence-number reached"
            );
        }
        if left_out == 0 { Ok(()) } else { Err(ApplyError::LeftOut(left_out)) }
    }

    /// Does what has come up with the ledger.
    pub(super) fn service_memory(&mut self, now: Instant) {
        if self.memory.raise_at.is_none_or(|at| now >= at) {
            self.memory.raise_at = Some(now + RAISE_EVERY);
            self.memory.ledger.raise();
        }
        self.memory.has_news |= self.memory.take_written(Duration::ZERO);
        // A change that is under way is of another configuration than the one that runs.
        if self.memory.has_news && self.memory.is_awaited && !self.is_busy() {
            self.memory.has_news = false;
            let document = self.running.document.clone();
            if let Err(error) = self.provide(document.config()) {
                tracing::error!("not all configured SAs are there: {error}");
            }
        }
    }

    /// A copy of this machine may run (a snapshot was resumed): everything that both would use alike is given up. What was
    /// negotiated is negotiated anew; configured keys carry nothing until they are given anew, or their sequence-number.
    pub fn renew(&mut self, now: Instant) {
        let document = self.running.document.clone();
        let config = document.config();
        tracing::warn!("this machine was resumed from a snapshot: its keys are not used any more");
        self.memory.ledger.distrust();
        for queue in self.running.queues.values_mut() {
            queue.renew(now, config, &self.running.numbers, &mut self.log, &mut self.memory.ledger);
        }
        if config.data_plane && !config.outbound.is_empty() {
            tracing::error!(
                "{} outbound SAs have configured keys and do not send: a copy of this machine could send under them, \
                 too; give them new keys, or a sequence-number that no copy has reached",
                config.outbound.len()
            );
        }
        self.memory.write();
    }
}

/// The longest that the control thread waits for a disk: a request is mostly answered when its SAs are there.
const DISK_PATIENCE: Duration = Duration::from_millis(40);
const RAISE_EVERY: Duration = Duration::from_secs(1);
/// The longest that the end of the process waits for a disk.
const CLOSE: Duration = Duration::from_secs(2);
