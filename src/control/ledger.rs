// SPDX-License-Identifier: Apache-2.0
//! Where the sequence numbers of configured keys have got to: a key that is taken away and configured again, on another
//! worker or by another process, goes on behind what it has used (RFC 4106 section 2: a nonce must not repeat).
//!
//! ```text
//!   start(key) ──► known: behind its number          ── block on disk? ──► After(number, ceiling)
//!              ├─► unknown, ledger whole: from 1      └ not yet ─────────► Recording, ask again when it is
//!              ├─► an SA has it ────────────────────────────────────────► InUse
//!              └─► cannot be shown to be fresh ─────────────────────────► Unproven, unless sequence-number is given
//! ```
//!
//! Before a key is used, a *ceiling* goes to disk ([`ceilings`](super::ceilings)): the end of a block of [`BLOCK`] numbers
//! that the process may draw. It is raised before it is reached. At its orderly end a process records the exact numbers; the
//! one after a crash goes on behind the ceilings. What is on disk identifies keys by a hash.
//!
//! A key is *fresh* if a ledger that is whole does not have it: one that was begun together with the instance's state
//! directory, and has lost nothing since. Where a state directory has a history but no ledger, where the ledger is damaged,
//! or where it had to forget keys because there were more than [`MAX_ENDED`], a key that it does not know is not fresh.
//! Where nothing can be written no key is.
//!
//! No clock, no thread, no file here: [`Ledger::jobs`] says what is to be written, [`Ledger::written`] that it is.

use crate::esp::{LastNumber, STRIDE};
use crate::sa::{Direction, SaParameters};
use blake2::{Blake2s256, Digest};
use std::collections::{HashMap, HashSet, VecDeque};

/// Stands for a key, which is not kept longer than it is needed.
pub type Name = [u8; 16];

/// What stands on disk of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The key.
    pub name: Name,
    /// No number above it was used.
    pub number: u64,
    /// A copy of the machine may have used numbers above it.
    pub is_stale: bool,
}

/// What is to be written, in one go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// The last of each name counts.
    pub records: Vec<Record>,
    /// In place of all that there is, not behind it.
    pub replaces: bool,
    /// Whether a key that the file does not have is fresh.
    pub is_whole: bool,
}

/// What a file has.
#[derive(Default, Debug)]
pub struct Found {
    /// The later ones replace the earlier ones of the same name.
    pub records: Vec<Record>,
    /// Whether a key that the file does not have is fresh.
    pub is_whole: bool,
}

/// Whether, and behind which number, an SA may start to use its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Behind this number, up to a ceiling.
    After { number: u64, ceiling: u64 },
    /// As soon as the disk has it.
    Recording,
    /// Not while another SA has the key.
    InUse,
    /// Not without a sequence-number from the operator.
    Unproven,
}

/// The last sequence numbers of configured keys.
pub struct Ledger {
    outbound: Outbound,
    /// Apart, so that what was received displaces nothing that was sent: a replay does less harm than a nonce twice.
    inbound: Inbound,
}

struct Outbound {
    entries: HashMap<Name, Entry>,
    order: Order,
    medium: Medium,
    /// Whether a key that is not here is fresh.
    is_whole: bool,
    /// Names with something to write.
    dirty: Vec<Name>,
    writing: Option<Job>,
    /// Records in the file.
    written: usize,
    replace: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Medium {
    Disk,
    /// Nothing outlives the process, and nothing has to.
    Memory,
    /// There should be a disk.
    Missing,
}

struct Entry {
    last: LastNumber,
    /// On disk.
    recorded: u64,
    /// On its way there, or to go there next.
    asked: u64,
    is_stale: bool,
}

#[derive(Default)]
struct Inbound {
    numbers: HashMap<Name, LastNumber>,
    order: Order,
}

/// Who goes first.
#[derive(Default)]
struct Order {
    /// Those that an SA had when they were last looked at.
    live: HashSet<Name>,
    /// When these are looked at again.
    look_at: usize,
    /// Those that no SA has, with the stamp they got; the one that ended first in front.
    ended: VecDeque<(u64, Name)>,
    /// The latest stamp of each; an older one in the queue is of no account.
    stamps: HashMap<Name, u64>,
    stamp: u64,
}

impl Ledger {
    /// One that ends with the process, and takes each key for fresh that it has not seen.
    pub fn in_memory() -> Ledger {
        Ledger::new(Medium::Memory, Found { records: Vec::new(), is_whole: true })
    }

    /// One that goes on with what a file has.
    pub fn on_disk(found: Found) -> Ledger {
        Ledger::new(Medium::Disk, found)
    }

    /// One that cannot be written.
    pub fn without_disk() -> Ledger {
        Ledger::new(Medium::Missing, Found::default())
    }

    fn new(medium: Medium, found: Found) -> Ledger {
        let mut entries = HashMap::new();
        let written = found.records.len();
        for Record { name, number, is_stale } in found.records {
            let last = LastNumber::new(number);
            entries.insert(name, Entry { last, recorded: number, asked: number, is_stale });
        }
        let mut order = Order::default();
        entries.keys().for_each(|name| order.end(*name));
        let outbound = Outbound {
            entries,
            order,
            medium,
            is_whole: found.is_whole,
            dirty: Vec::new(),
            writing: None,
            written,
            // A file of this version, whatever was there.
            replace: medium == Medium::Disk,
        };
        Ledger { outbound, inbound: Inbound::default() }
    }

    /// How an outbound SA with this key may start. `given` is the sequence-number of the configuration, if there is one.
    pub fn start(&mut self, sa: &SaParameters, given: Option<u64>) -> Start {
        self.outbound.start(name(Direction::Outbound, sa), given)
    }

    /// Whether [`Ledger::start`] would refuse, without asking for anything.
    pub fn is_unproven(&mut self, sa: &SaParameters, given: Option<u64>) -> bool {
        self.outbound.number(name(Direction::Outbound, sa), given) == Err(Start::Unproven)
    }

    /// Whether there is a key that would be refused.
    pub fn may_refuse(&self) -> bool {
        !self.outbound.is_whole || self.outbound.entries.values().any(|entry| entry.is_stale)
    }

    /// The highest number received under an inbound key, 0 if the ledger does not know it; `None` while an SA uses it.
    pub fn last_received(&mut self, sa: &SaParameters) -> Option<u64> {
        self.inbound.numbers.get_mut(&name(Direction::Inbound, sa)).map_or(Some(0), LastNumber::number)
    }

    /// Tracks the last number of an SA from now on.
    pub fn track(&mut self, direction: Direction, sa: &SaParameters, last: LastNumber) {
        let name = name(direction, sa);
        match direction {
            Direction::Inbound => self.inbound.track(name, last),
            Direction::Outbound => self.outbound.track(name, last),
        }
    }

    /// Raises the ceilings of those that come near theirs. To be called every second or so.
    pub fn raise(&mut self) {
        self.outbound.raise();
    }

    /// A copy of this machine may run, and go on with the same keys: none is used any more as it is.
    pub fn distrust(&mut self) {
        let outbound = &mut self.outbound;
        for (name, entry) in &mut outbound.entries {
            entry.is_stale = true;
            outbound.dirty.push(*name);
        }
    }

    /// Records where each key that no SA has is exactly, now that the process ends.
    pub fn close(&mut self) {
        let outbound = &mut self.outbound;
        for (name, entry) in &mut outbound.entries {
            if let Some(number) = entry.last.number()
                && number < entry.recorded
            {
                (entry.asked, entry.recorded) = (number, number);
                outbound.dirty.push(*name);
            }
        }
    }

    /// What is to be written next; nothing while something is being written.
    pub fn jobs(&mut self) -> Option<Job> {
        self.outbound.job()
    }

    /// The last job is on disk.
    pub fn written(&mut self) {
        self.outbound.written();
    }

    /// Whether something has to be written.
    pub fn is_recording(&self) -> bool {
        self.outbound.writing.is_some() || !self.outbound.dirty.is_empty()
    }
}

impl Outbound {
    /// The number behind which a key may begin, whether or not the disk has it.
    fn number(&mut self, name: Name, given: Option<u64>) -> Result<u64, Start> {
        match self.entries.get_mut(&name) {
            Some(entry) => {
                let number = entry.last.number().ok_or(Start::InUse)?;
                // The number on disk is that of both copies; what was used behind it, only the operator knows.
                if entry.is_stale && given.is_none_or(|given| given <= number) {
                    return Err(Start::Unproven);
                }
                Ok(number.max(given.unwrap_or(0)))
            }
            None if self.is_whole => Ok(given.unwrap_or(0)),
            None => given.ok_or(Start::Unproven),
        }
    }

    fn start(&mut self, name: Name, given: Option<u64>) -> Start {
        let number = match self.number(name, given) {
            Ok(number) => number,
            Err(refused) => return refused,
        };
        if self.medium != Medium::Disk {
            return Start::After { number, ceiling: u64::MAX };
        }
        let entry = match self.entries.get_mut(&name) {
            Some(entry) => entry,
            None => {
                self.order.end(name);
                let last = LastNumber::new(number);
                self.entries.entry(name).or_insert(Entry { last, recorded: 0, asked: 0, is_stale: false })
            }
        };
        if number.saturating_add(STRIDE) <= entry.recorded && !entry.is_stale {
            return Start::After { number, ceiling: entry.recorded };
        }
        let ceiling = number.saturating_add(BLOCK);
        // The operator answers for the numbers from here on.
        entry.last = LastNumber::new(number);
        if entry.asked < ceiling || entry.is_stale {
            (entry.asked, entry.is_stale) = (ceiling, false);
            self.dirty.push(name);
        }
        self.forget();
        Start::Recording
    }

    fn track(&mut self, name: Name, mut last: LastNumber) {
        let bound = last.bound();
        let is_live = last.number().is_none();
        match self.entries.get_mut(&name) {
            Some(entry) => entry.last = last,
            None => {
                self.entries.insert(name, Entry { last, recorded: 0, asked: 0, is_stale: false });
            }
        }
        if is_live {
            self.order.live(name)
        } else {
            self.order.end(name)
        }
        if let Some(entry) = self.entries.get_mut(&name)
            && self.medium == Medium::Disk
            && entry.recorded < bound
        {
            // It was negotiated, and is used already: not beyond the next look at its ceiling before the disk has it.
            entry.last.allow(bound);
            entry.asked = bound.saturating_add(BLOCK);
            self.dirty.push(name);
        }
        self.forget();
    }

    fn raise(&mut self) {
        if self.medium != Medium::Disk {
            return;
        }
        for name in &self.order.live {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            let bound = entry.last.bound();
            let is_near = entry.asked.saturating_sub(bound) < BLOCK / 2;
            if is_near && entry.asked < u64::MAX {
                entry.asked = entry.asked.saturating_add(BLOCK);
                self.dirty.push(*name);
            }
        }
    }

    /// Keeps within bounds: those that ended first go, and with them the knowledge of what is fresh.
    fn forget(&mut self) {
        self.order.settle(|name| {
            self.entries.get_mut(name).map(|entry| (entry.last.number().is_none(), entry.last.ended()))
        });
        while let Some(name) = self.order.surplus() {
            self.entries.remove(&name);
            self.replace |= self.is_whole;
            self.is_whole = false;
        }
    }

    fn job(&mut self) -> Option<Job> {
        if self.medium != Medium::Disk || self.writing.is_some() {
            return None;
        }
        // Twice as many as needed, or a file that says something else about itself.
        self.replace |= self.written + self.dirty.len() > 2 * self.entries.len() + SPARE;
        if self.dirty.is_empty() && !self.replace {
            return None;
        }
        let record = |name: &Name, entry: &Entry| Record {
            name: *name,
            number: entry.asked,
            is_stale: entry.is_stale,
        };
        let records = if self.replace {
            self.dirty.clear();
            self.entries.iter().map(|(name, entry)| record(name, entry)).collect()
        } else {
            let dirty = std::mem::take(&mut self.dirty);
            dirty.iter().filter_map(|name| Some(record(name, self.entries.get(name)?))).collect()
        };
        let job = Job { records, replaces: std::mem::take(&mut self.replace), is_whole: self.is_whole };
        self.writing = Some(job.clone());
        Some(job)
    }

    fn written(&mut self) {
        let Some(job) = self.writing.take() else { return };
        self.written = job.records.len() + if job.replaces { 0 } else { self.written };
        for Record { name, number, .. } in job.records {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            entry.recorded = number;
            entry.last.allow(number);
        }
    }
}

impl Inbound {
    fn track(&mut self, name: Name, mut last: LastNumber) {
        let is_live = last.number().is_none();
        self.numbers.insert(name, last);
        if is_live {
            self.order.live(name)
        } else {
            self.order.end(name)
        }
        self.order
            .settle(|name| self.numbers.get_mut(name).map(|last| (last.number().is_none(), last.ended())));
        while let Some(name) = self.order.surplus() {
            self.numbers.remove(&name);
        }
    }
}

impl Order {
    fn live(&mut self, name: Name) {
        self.stamps.remove(&name);
        self.live.insert(name);
    }

    fn end(&mut self, name: Name) {
        self.live.remove(&name);
        self.stamp += 1;
        self.stamps.insert(name, self.stamp);
        self.ended.push_back((self.stamp, name));
    }

    /// Finds those that have ended, if there may be many; in the order of their ends. `look` says whether one lives, and
    /// when it ended.
    fn settle(&mut self, mut look: impl FnMut(&Name) -> Option<(bool, u64)>) {
        if self.live.len() <= self.look_at {
            return;
        }
        let mut gone: Vec<(u64, Name)> = Vec::new();
        for name in &self.live {
            match look(name) {
                Some((true, _)) => {}
                Some((false, when)) => gone.push((when, *name)),
                None => gone.push((0, *name)),
            }
        }
        gone.sort_unstable();
        gone.into_iter().for_each(|(_, name)| self.end(name));
        self.look_at = 2 * self.live.len() + LOOK_AT_LEAST;
        let stamps = &self.stamps;
        self.ended.retain(|(stamp, name)| stamps.get(name) == Some(stamp));
    }

    /// The one that ended first, if there are too many.
    fn surplus(&mut self) -> Option<Name> {
        while self.stamps.len() > MAX_ENDED {
            let (stamp, name) = self.ended.pop_front()?;
            if self.stamps.get(&name) == Some(&stamp) {
                self.stamps.remove(&name);
                return Some(name);
            }
        }
        None
    }
}

/// Nonces are those of key and salt, whatever the SPI and the algorithm. What was received before cannot be received by
/// another SPI, which the integrity check covers.
pub fn name(direction: Direction, sa: &SaParameters) -> Name {
    let spi = match direction {
        Direction::Inbound => sa.spi.to_be_bytes(),
        // Of no association (RFC 4303 section 2.1).
        Direction::Outbound => [0; 4],
    };
    let hash = Blake2s256::new_with_prefix(spi).chain_update(sa.salt).chain_update(sa.key.bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let (name, _) = hash.split_first_chunk().expect("16 of 32 bytes");
    *name
}

/// Numbers that are recorded before they are used: 2^32, less what keeps a receiver in step. It has the upper half of a
/// number from the lower one, as long as the next number is less than 2^32 less its window away (RFC 4303 appendix A2); so a
/// gateway that goes on behind its ceiling after a crash is understood, wherever in the block it was.
pub const BLOCK: u64 = (1 << 32) - (1 << 16);

/// In each direction, besides those that live. About 150 bytes each, so forty megabytes; the model tells of it.
pub const MAX_ENDED: usize = 1 << 18;

/// Keys that are taken for alive before it is looked whether they are.
const LOOK_AT_LEAST: usize = 1024;

/// Records in a file that are no longer needed, before it is written anew.
const SPARE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sa::Key;

    fn sa(spi: u32, key: u8) -> SaParameters {
        SaParameters { spi, key: Key::Aes128Gcm([key; 16]), salt: [0; 4] }
    }

    fn many(number: usize) -> SaParameters {
        let mut key = [9; 16];
        key[..8].copy_from_slice(&number.to_be_bytes());
        SaParameters { spi: 300, key: Key::Aes128Gcm(key), salt: [0; 4] }
    }

    fn new_on_disk() -> Ledger {
        Ledger::on_disk(Found { records: Vec::new(), is_whole: true })
    }

    /// Has the disk do all that is to be done.
    fn write(ledger: &mut Ledger) -> Vec<Job> {
        let mut jobs = Vec::new();
        while let Some(job) = ledger.jobs() {
            jobs.push(job);
            ledger.written();
        }
        jobs
    }

    fn after(number: u64) -> Start {
        Start::After { number, ceiling: u64::MAX }
    }

    #[test]
    fn a_sending_key_is_known_under_every_spi_and_a_receiving_one_under_its_own() {
        let mut ledger = Ledger::in_memory();
        ledger.track(Direction::Outbound, &sa(300, 1), LastNumber::new(7));
        ledger.track(Direction::Inbound, &sa(300, 1), LastNumber::new(9));
        assert_eq!(ledger.start(&sa(301, 1), None), after(7));
        assert_eq!(ledger.start(&sa(300, 2), None), after(0));
        assert_eq!(ledger.start(&sa(300, 1), Some(100)), after(100));
        assert_eq!(ledger.start(&sa(300, 1), Some(3)), after(7));
        assert_eq!(ledger.last_received(&sa(300, 1)), Some(9));
        assert_eq!(ledger.last_received(&sa(301, 1)), Some(0));
    }

    #[test]
    fn a_key_is_used_when_its_block_is_on_disk_and_goes_on_behind_it_after_a_crash() {
        let mut ledger = new_on_disk();
        assert_eq!(write(&mut ledger), [Job { records: Vec::new(), replaces: true, is_whole: true }]);
        assert_eq!(ledger.start(&sa(300, 1), None), Start::Recording);
        assert_eq!(ledger.start(&sa(300, 1), None), Start::Recording);
        let jobs = write(&mut ledger);
        let name = name(Direction::Outbound, &sa(300, 1));
        let record = Record { name, number: BLOCK, is_stale: false };
        assert_eq!(jobs, [Job { records: vec![record], replaces: false, is_whole: true }]);
        assert_eq!(ledger.start(&sa(300, 1), None), Start::After { number: 0, ceiling: BLOCK });

        let mut later = Ledger::on_disk(Found { records: vec![record], is_whole: true });
        assert_eq!(later.start(&sa(300, 1), None), Start::Recording);
        write(&mut later);
        let begins = later.start(&sa(300, 1), None);
        assert_eq!(begins, Start::After { number: BLOCK, ceiling: 2 * BLOCK });
    }

    #[test]
    fn an_orderly_end_records_where_each_key_is_and_leaves_out_those_that_live() {
        let mut ledger = new_on_disk();
        for key in [1, 2] {
            ledger.start(&sa(300, key), None);
        }
        write(&mut ledger);
        let lives = LastNumber::bounded(0, BLOCK);
        let _writer = lives.writer();
        ledger.track(Direction::Outbound, &sa(300, 1), LastNumber::new(7));
        ledger.track(Direction::Outbound, &sa(300, 2), lives);
        ledger.close();
        let jobs = write(&mut ledger);
        let name = name(Direction::Outbound, &sa(300, 1));
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].records, [Record { name, number: 7, is_stale: false }]);
    }

    #[test]
    fn a_ceiling_is_raised_before_it_is_reached() {
        let mut ledger = new_on_disk();
        ledger.start(&sa(300, 1), None);
        write(&mut ledger);
        let last = LastNumber::bounded(0, BLOCK);
        let writer = last.writer();
        ledger.track(Direction::Outbound, &sa(300, 1), last);
        ledger.raise();
        assert_eq!(write(&mut ledger), []);
        let half = BLOCK / 2 / STRIDE * STRIDE + STRIDE;
        assert!(writer.may_draw(half));
        ledger.raise();
        ledger.raise();
        let jobs = write(&mut ledger);
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].records[0].number, 2 * BLOCK);
        assert!(writer.may_draw(BLOCK / STRIDE * STRIDE + STRIDE));
        // The disk has stopped.
        assert!(!writer.may_draw(2 * BLOCK / STRIDE * STRIDE));
    }

    #[test]
    fn where_nothing_is_vouched_for_a_key_needs_a_number() {
        let lost = || Found { records: Vec::new(), is_whole: false };
        for mut ledger in [Ledger::on_disk(lost()), Ledger::without_disk()] {
            assert!(ledger.may_refuse() && ledger.is_unproven(&sa(300, 1), None));
            assert_eq!(ledger.start(&sa(300, 1), None), Start::Unproven);
            assert!(!ledger.is_unproven(&sa(300, 1), Some(0)));
            assert_ne!(ledger.start(&sa(300, 1), Some(0)), Start::Unproven);
        }
    }

    #[test]
    fn a_copied_machine_uses_no_key_before_its_number_has_moved() {
        let mut ledger = new_on_disk();
        ledger.start(&sa(300, 1), None);
        write(&mut ledger);
        ledger.track(Direction::Outbound, &sa(300, 1), LastNumber::new(7));
        ledger.distrust();
        let jobs = write(&mut ledger);
        assert!(jobs[0].records[0].is_stale, "it has to be known after a restart, too");
        for given in [None, Some(0), Some(7)] {
            assert_eq!(ledger.start(&sa(300, 1), given), Start::Unproven);
        }
        assert_eq!(ledger.start(&sa(300, 1), Some(8)), Start::Recording);
        write(&mut ledger);
        let begins = ledger.start(&sa(300, 1), Some(8));
        assert_eq!(begins, Start::After { number: 8, ceiling: 8 + BLOCK });
        assert_ne!(ledger.start(&sa(300, 2), None), Start::Unproven, "another key");
    }

    #[test]
    fn what_was_received_displaces_nothing_that_was_sent() {
        let mut ledger = Ledger::in_memory();
        ledger.track(Direction::Outbound, &sa(300, 1), LastNumber::new(7));
        for number in 0..MAX_ENDED + 10 {
            ledger.track(Direction::Inbound, &many(number), LastNumber::new(1));
        }
        assert_eq!(ledger.start(&sa(300, 1), None), after(7));
        assert_eq!(ledger.inbound.numbers.len(), MAX_ENDED);
    }

    #[test]
    fn the_one_that_ended_last_is_kept_and_what_was_forgotten_is_refused() {
        let mut ledger = Ledger::in_memory();
        // The oldest of all, which ends last.
        let oldest = LastNumber::default();
        let writer = oldest.writer();
        ledger.track(Direction::Outbound, &sa(300, 1), oldest);
        for number in 0..MAX_ENDED {
            ledger.track(Direction::Outbound, &many(number), LastNumber::new(1));
        }
        writer.leave(5);
        drop(writer);
        for number in 0..1000 {
            ledger.track(Direction::Outbound, &many(MAX_ENDED + number), LastNumber::new(1));
        }
        assert_eq!(ledger.start(&sa(300, 1), None), after(5));
        assert_eq!(ledger.start(&many(0), None), Start::Unproven);
        assert_eq!(ledger.start(&many(MAX_ENDED), None), after(1));
        assert!(ledger.outbound.entries.len() <= MAX_ENDED + 2 * LOOK_AT_LEAST);
    }
}
