// SPDX-License-Identifier: Apache-2.0
//! The ledger of configured keys against a model that knows every number that was ever drawn. Keys begin, draw and end,
//! processes end and crash, the disk is slow, torn and damaged, machines are copied: no number is drawn twice, unless the
//! operator says what is not true, which this one does not.
#![allow(dead_code)] // one fuzz target uses this

use vita::aead;
use vita::control::ceilings;
use vita::control::ledger::{BLOCK, Found, Job, Ledger, Start};
use vita::esp::{LastNumber, OutboundSa, STRIDE};
use vita::frame::Pool;
use vita::sa::{Direction, SaParameters};

/// A machine, and what is true about its keys.
struct Model {
    ledger: Ledger,
    /// What is synchronised; none before the first job.
    disk: Option<String>,
    writing: Option<Job>,
    /// Whether something else than the file says that the instance is not new.
    has_history: bool,
    keys: Vec<Key>,
    pool: Pool,
}

struct Key {
    parameters: SaParameters,
    /// The highest number ever drawn under it, here or by a copy.
    used: u64,
    sa: Option<OutboundSa>,
}

/// Runs what the bytes say: an operation, its key, its argument.
pub fn ledger(data: &[u8]) {
    let mut model = Model::new();
    for operation in data.as_chunks::<2>().0 {
        let [what, argument] = *operation;
        model.run(what % 16, usize::from(what / 16) % KEYS, u64::from(argument));
    }
    model.restart(false, 0);
}

impl Model {
    fn new() -> Model {
        let key = |number: u8| Key {
            parameters: SaParameters { spi: 300, key: vita::sa::Key::Aes128Gcm([number; 16]), salt: [0; 4] },
            used: 0,
            sa: None,
        };
        Model {
            ledger: Ledger::on_disk(Found { records: Vec::new(), is_whole: true }),
            disk: None,
            writing: None,
            has_history: false,
            keys: (0..KEYS as u8).map(key).collect(),
            pool: Pool::new(2).expect("memory for two frames"),
        }
    }

    fn run(&mut self, what: u8, key: usize, argument: u64) {
        match what {
            0..3 => self.begin(key, None),
            3 => self.begin(key, Some(self.keys[key].used.saturating_add(jump(argument)))),
            4..7 => self.draw(key, 1 + argument % 8),
            7 => self.keys[key].sa = None,
            8..11 => self.finish(),
            11 => self.ledger.raise(),
            12 => self.restart(true, argument as usize),
            13 => self.restart(false, argument as usize),
            14 => self.damage(argument as usize),
            _ => self.copy(),
        }
    }

    /// An SA with the key, by this configuration.
    fn begin(&mut self, key: usize, given: Option<u64>) {
        self.has_history = true;
        let Key { parameters, used, sa } = &mut self.keys[key];
        match self.ledger.start(parameters, given) {
            Start::After { number, ceiling } => {
                assert!(sa.is_none(), "two SAs with one key");
                assert!(number >= *used, "begins behind {number}, but {used} were used");
                assert!(number == u64::MAX || number < ceiling);
                let last = LastNumber::bounded(number, ceiling);
                *sa = Some(OutboundSa::new(parameters, aead::preferred()).after(number, &last));
                self.ledger.track(Direction::Outbound, parameters, last);
            }
            Start::InUse => assert!(sa.is_some(), "no SA has the key"),
            Start::Recording => assert!(sa.is_none() && self.ledger.is_recording()),
            Start::Unproven => assert!(sa.is_none()),
        }
    }

    fn draw(&mut self, key: usize, count: u64) {
        let Key { used, sa, .. } = &mut self.keys[key];
        let Some(sa) = sa else { return };
        for _ in 0..count {
            let mut frame = self.pool.copy_of(b"inner").expect("a frame is free");
            let drawn =
                sa.draw().is_ok_and(|number| sa.encapsulate::<0, 0>(number, &mut frame, 4, 0).is_ok());
            if !drawn {
                assert_eq!(sa.last().wrapping_add(1) % STRIDE, 0, "stops in the middle of a stride");
                return;
            }
            assert!(sa.last() > *used, "number {} is drawn again", sa.last());
            *used = sa.last();
        }
    }

    /// The disk has done what it was given, and gets more.
    fn finish(&mut self) {
        if let Some(job) = self.writing.take() {
            let text = match &self.disk {
                Some(disk) if !job.replaces => disk.clone() + &ceilings::lines(&job.records),
                _ => ceilings::print(&job.records, job.is_whole),
            };
            self.disk = Some(text);
            self.ledger.written();
        }
        self.writing = self.ledger.jobs();
    }

    /// The process ends, by itself or not, and another one begins.
    fn restart(&mut self, is_crash: bool, argument: usize) {
        if is_crash {
            self.tear(argument);
        }
        self.keys.iter_mut().for_each(|key| key.sa = None);
        if !is_crash {
            self.ledger.close();
            while self.ledger.is_recording() {
                self.finish();
            }
        }
        self.writing = None;
        let found = match &self.disk {
            Some(disk) => ceilings::parse(disk.as_bytes()),
            None => Found { records: Vec::new(), is_whole: !self.has_history },
        };
        self.ledger = Ledger::on_disk(found);
    }

    /// What was being written has come so far.
    fn tear(&mut self, argument: usize) {
        if let (Some(job), Some(disk)) = (&self.writing, &mut self.disk)
            && !job.replaces
        {
            let lines = ceilings::lines(&job.records);
            disk.push_str(&lines[..argument.min(lines.len())]);
        }
    }

    /// The process crashes, and the file is not what it was.
    fn damage(&mut self, argument: usize) {
        self.restart(true, 0);
        self.disk = match self.disk.take() {
            Some(disk) if argument > 0 && disk.len() > 1 => {
                let mut bytes = disk.into_bytes();
                // A cut end looks like one that was being written, so that one stays.
                let at = argument * 7 % (bytes.len() - 1);
                bytes[at] ^= 1 << (argument % 7);
                String::from_utf8(bytes).ok()
            }
            _ => None,
        };
        self.restart(true, 0);
    }

    /// The machine is resumed from a snapshot: another one draws under the same keys.
    fn copy(&mut self) {
        for key in self.keys.iter_mut().filter(|key| key.used > 0) {
            key.sa = None;
            key.used = key.used.saturating_add(3 * STRIDE);
        }
        self.ledger.distrust();
        self.keys.iter_mut().for_each(|key| key.sa = None);
        while self.ledger.is_recording() {
            self.finish();
        }
    }
}

/// To where something is different.
fn jump(argument: u64) -> u64 {
    let from = [0, STRIDE - 4, BLOCK - STRIDE - 4, BLOCK - 4, u64::MAX - 2 * BLOCK, u64::MAX - 6];
    from[argument as usize % from.len()].saturating_add(argument / from.len() as u64 % 8)
}

const KEYS: usize = 4;
