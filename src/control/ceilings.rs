// SPDX-License-Identifier: Apache-2.0
//! The ledger on disk: which numbers each configured key may have used, for the process that comes next.
//!
//! ```text
//!   /var/lib/vita/paris/ledger      vita-ledger 1 whole
//!                                   b1946ac92492d2347c6235b4d2611184 4294901760 used 5f0c33aa
//!                                   (hash of key and salt)           (no number above it) (used, stale) (check)
//! ```
//!
//! Records are appended, synchronised, and only then hold; the last one of a key counts. A thread of its own writes, so that
//! nobody waits for a disk. A line that was cut off at the end of the file was never used; any other fault makes what is not
//! in the file unknown, not fresh.

use super::ledger::{Found, Job, Name, Record};
use crate::process;
use crate::wait::EventFd;
use blake2::{Blake2s256, Digest};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The writer's thread, as the control thread holds it.
pub struct Ceilings {
    jobs: Option<mpsc::Sender<Job>>,
    done: mpsc::Receiver<()>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Ceilings {
    /// Reads the ledger of a state directory that exists, and starts to write it. Notifies `wakeup` after each job.
    pub fn open(directory: &Path, wakeup: Arc<EventFd>) -> io::Result<(Ceilings, Found)> {
        let found = read(directory)?;
        let (jobs, jobs_of_writer) = mpsc::channel();
        let (done_by_writer, done) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let mut store = Store { directory: directory.to_owned(), file: None, length: 0 };
        let is_stopped = stop.clone();
        let writer = thread::Builder::new().name("vita-ledger".to_owned()).spawn(move || {
            process::limit();
            for job in jobs_of_writer {
                if !store.write_until(&job, &is_stopped) || done_by_writer.send(()).is_err() {
                    return;
                }
                wakeup.notify();
            }
        })?;
        Ok((Ceilings { jobs: Some(jobs), done, stop, writer: Some(writer) }, found))
    }

    /// Has a job done; one at a time.
    pub fn write(&self, job: Job) {
        // A writer that is gone finishes nothing more, and so nothing more begins.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
    }

    /// Whether the job has been done, waiting so long for it at most.
    pub fn is_done(&self, patience: Duration) -> bool {
        self.done.recv_timeout(patience).is_ok()
    }
}

impl Drop for Ceilings {
    /// Waits for what is being written, as long as that makes sense.
    fn drop(&mut self) {
        self.jobs = None;
        let Some(writer) = self.writer.take() else { return };
        for _ in 0..CLOSE.as_millis() {
            if writer.is_finished() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.stop.store(true, Ordering::Relaxed);
        writer.thread().unpark();
    }
}

struct Store {
    directory: PathBuf,
    /// To append to, once it has been written by this process.
    file: Option<File>,
    /// The valid part of the file, in bytes.
    length: u64,
}

impl Store {
    /// Writes a job, again and again if need be; false if it is time to stop.
    fn write_until(&mut self, job: &Job, stop: &AtomicBool) -> bool {
        let mut failing = false;
        while let Err(error) = self.write(job) {
            if !std::mem::replace(&mut failing, true) {
                tracing::error!(
                    "{}: cannot write which sequence numbers are used: configured keys that begin now do not carry \
                     packets before it is written; trying again: {error}",
                    self.directory.join(FILE).display()
                );
            }
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            thread::park_timeout(RETRY);
        }
        if failing {
            tracing::info!("{}: written again", self.directory.join(FILE).display());
        }
        true
    }

    fn write(&mut self, job: &Job) -> io::Result<()> {
        let text = if job.replaces { print(&job.records, job.is_whole) } else { lines(&job.records) };
        match &mut self.file {
            Some(file) if !job.replaces => {
                // What a failure left half written is written over.
                file.set_len(self.length)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                self.length += text.len() as u64;
            }
            // The first job of each process replaces.
            _ => {
                let path = self.directory.join(FILE);
                let unfinished = path.with_extension(UNFINISHED);
                let mut options = OpenOptions::new();
                let options = options.create(true).write(true).truncate(true).mode(0o600);
                let mut file = options.open(&unfinished)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                fs::rename(&unfinished, &path)?;
                File::open(&self.directory)?.sync_all()?;
                self.file = Some(OpenOptions::new().append(true).open(&path)?);
                self.length = text.len() as u64;
            }
        }
        Ok(())
    }
}

/// What the ledger of a directory has. Without one, a directory that has nothing else is new, and the ledger with it.
fn read(directory: &Path) -> io::Result<Found> {
    let path = directory.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            let found = parse(&bytes);
            if !found.is_whole {
                tracing::warn!(
                    "{}: not all keys that were used are known: configured keys that it does not vouch for need a \
                     sequence-number",
                    path.display()
                );
            }
            Ok(found)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_new = fs::read_dir(directory)?.next().is_none();
            if !is_new {
                tracing::warn!(
                    "{}: there is a history, but no ledger of the keys that were used: configured keys need a \
                     sequence-number",
                    path.display()
                );
            }
            Ok(Found { records: Vec::new(), is_whole: is_new })
        }
        Err(error) => Err(error),
    }
}

/// Reads a ledger. Nothing in it is trusted to be as it was written.
pub fn parse(bytes: &[u8]) -> Found {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.lines();
    let mut whole = String::new();
    header(&mut whole, true);
    let mut part = String::new();
    header(&mut part, false);
    let head = lines.next();
    let mut found = Found { records: Vec::new(), is_whole: head == Some(whole.trim_end()) };
    let mut is_damaged = !found.is_whole && head != Some(part.trim_end());
    for line in lines {
        match record(line) {
            Some(record) => found.records.push(record),
            None => is_damaged = true,
        }
    }
    if is_damaged {
        // What cannot be read may have been a later record of any of them.
        found.is_whole = false;
        found.records.iter_mut().for_each(|record| record.is_stale = true);
    }
    found
}

/// A ledger as it is written.
pub fn print(records: &[Record], is_whole: bool) -> String {
    let mut text = String::new();
    header(&mut text, is_whole);
    text + &lines(records)
}

/// Lines to be appended to one.
pub fn lines(records: &[Record]) -> String {
    let mut text = String::new();
    records.iter().for_each(|record| line(&mut text, record));
    text
}

fn header(text: &mut String, is_whole: bool) {
    text.push_str(if is_whole { "vita-ledger 1 whole\n" } else { "vita-ledger 1 part\n" });
}

fn line(text: &mut String, Record { name, number, is_stale }: &Record) {
    let start = text.len();
    let state = if *is_stale { STALE } else { USED };
    // Writing to a string does not fail.
    let _ = write!(text, "{:032x} {number} {state}", u128::from_be_bytes(*name));
    let check = check(&text[start..]);
    let _ = writeln!(text, " {check:08x}");
}

fn record(line: &str) -> Option<Record> {
    let (rest, sum) = line.rsplit_once(' ')?;
    if sum != format!("{:08x}", check(rest)) {
        return None;
    }
    let [name, number, state] = <[&str; 3]>::try_from(rest.split(' ').collect::<Vec<_>>()).ok()?;
    let name: Name = u128::from_str_radix(name, 16).ok()?.to_be_bytes();
    let is_stale = match state {
        USED => false,
        STALE => true,
        _ => return None,
    };
    Some(Record { name, number: number.parse().ok()?, is_stale })
}

fn check(text: &str) -> u32 {
    let [a, b, c, d, ..]: [u8; 32] = Blake2s256::digest(text.as_bytes()).into();
    u32::from_be_bytes([a, b, c, d])
}

const FILE: &str = "ledger";
const UNFINISHED: &str = "new";
const USED: &str = "used";
const STALE: &str = "stale";
const RETRY: Duration = Duration::from_secs(5);
/// What the end of the process waits for a disk.
const CLOSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let record = |byte, number, is_stale| Record { name: [byte; 16], number, is_stale };
        vec![record(1, 0, false), record(0, u64::MAX, false), record(255, 77, true), record(1, 9, false)]
    }

    fn open(directory: &Path) -> (Ceilings, Found) {
        Ceilings::open(directory, Arc::new(EventFd::new().unwrap())).unwrap()
    }

    fn job(records: Vec<Record>, replaces: bool) -> Job {
        Job { records, replaces, is_whole: true }
    }

    #[test]
    fn what_is_written_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let (ceilings, found) = open(directory.path());
        assert!(found.is_whole && found.records.is_empty(), "a new directory has used no key");
        let records = records();
        ceilings.write(job(records[..2].to_vec(), true));
        assert!(ceilings.is_done(Duration::from_secs(60)));
        ceilings.write(job(records[2..].to_vec(), false));
        drop(ceilings);
        let (_ceilings, found) = open(directory.path());
        assert!(found.is_whole);
        assert_eq!(found.records, records);
        let mode = fs::metadata(directory.path().join(FILE)).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    }

    #[test]
    fn a_cut_end_is_no_fault_and_any_other_change_is() {
        let text = print(&records(), true);
        let found = parse(&text.as_bytes()[..text.len() - 4]);
        assert!(found.is_whole);
        assert_eq!(found.records, records()[..3]);
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let found = parse(&bytes);
            assert!(!found.is_whole, "byte {at} changed unnoticed");
            let known = |record: &Record| records().iter().any(|one| one.number == record.number);
            assert!(found.records.iter().all(|record| record.is_stale && known(record)));
        }
        assert!(!parse(b"").is_whole);
        assert!(!parse(print(&records(), false).as_bytes()).is_whole);
    }

    #[test]
    fn a_history_without_a_ledger_has_lost_it() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("00000001.conf"), "").unwrap();
        assert!(!open(directory.path()).1.is_whole);
    }

    #[test]
    fn a_directory_that_cannot_be_written_finishes_nothing_and_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        fs::create_dir(&path).unwrap();
        let (ceilings, _) = open(&path);
        fs::remove_dir(&path).unwrap();
        ceilings.write(job(records(), true));
        assert!(!ceilings.is_done(Duration::from_millis(50)));
        fs::create_dir(&path).unwrap();
        assert!(ceilings.is_done(Duration::from_secs(60)), "it is tried again");
    }
}
