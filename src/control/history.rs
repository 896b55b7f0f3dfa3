// SPDX-License-Identifier: Apache-2.0
//! The last configurations: on disk, so that they outlive the process, and in memory for as long as they are not.
//!
//! ```text
//!   /var/lib/vita/paris/00000041.conf      two comment lines, then what `get /` prints: can be fed to `load`
//!                       00000042.conf
//! ```
//!
//! A thread of its own writes, so that no change waits for a disk; it rests between files, so that a stream of
//! changes does not keep a CPU and a disk busy. What is older than the last [`KEPT`] by then is never written. A
//! directory that cannot be written costs a warning and the history its life beyond the process, nothing else.
//!
//! The files hold keys, so directory and files are open to their owner only.

use crate::clock::Instant;
use crate::config::Document;
use crate::process;
use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many configurations are kept.
pub const KEPT: usize = 32;

/// The configurations that ran, newest first.
pub struct History {
    shared: Arc<Shared>,
    directory: Option<PathBuf>,
    writer: Option<JoinHandle<()>>,
}

/// A configuration that ran or runs.
#[derive(Clone, Debug)]
pub struct Entry {
    number: u64,
    pub time: SystemTime,
    /// What was changed, in one line.
    pub what: String,
    /// Until it is on disk.
    document: Option<Document>,
}

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("there is no configuration {index} in the history, which ends with {last}")]
    NoSuchEntry { index: usize, last: usize },
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} does not hold a configuration for this version: {problem}")]
    Unusable { path: PathBuf, problem: String },
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// How long the writer rests after it has failed.
    retry: Duration,
}

#[derive(Default)]
struct State {
    /// Newest first.
    entries: VecDeque<Entry>,
    stop: bool,
}

/// Where the histories of all instances are.
pub fn root() -> PathBuf {
    std::env::var_os(VARIABLE)
        .filter(|path| !path.is_empty())
        .map_or_else(|| PathBuf::from(ROOT), PathBuf::from)
}

impl History {
    /// The history in a directory, which is made if need be.
    pub fn open(directory: &Path) -> History {
        History::open_and_retry(directory, RETRY)
    }

    fn open_and_retry(directory: &Path, retry: Duration) -> History {
        let entries = prepare(directory).and_then(|()| read(directory));
        match entries {
            Ok(entries) => {
                let mut history = History::new(retry);
                history.shared.lock().entries = entries;
                let (shared, path) = (history.shared.clone(), directory.to_owned());
                let writer = std::thread::Builder::new().name("vita-history".to_owned());
                let write = move || {
                    process::limit();
                    write_all(&shared, &path);
                };
                match writer.spawn(write) {
                    Ok(writer) => history.writer = Some(writer),
                    Err(error) => tracing::warn!("configurations are not kept on disk: {error}"),
                }
                history.directory = Some(directory.to_owned());
                history
            }
            Err(error) => {
                let path = directory.display();
                tracing::warn!("configurations are not kept in {path} and end with this process: {error}");
                History::in_memory()
            }
        }
    }

    /// A history that ends with the process.
    pub fn in_memory() -> History {
        History::new(RETRY)
    }

    fn new(retry: Duration) -> History {
        let shared = Shared { state: Mutex::default(), changed: Condvar::new(), retry };
        History { shared: Arc::new(shared), directory: None, writer: None }
    }

    /// Adds the configuration that runs from now on.
    pub fn record(&mut self, what: &str, document: &Document) {
        let mut state = self.shared.lock();
        let number = state.entries.front().map_or(1, |newest| newest.number + 1);
        let what = what.replace(char::is_control, " ");
        let (time, document) = (SystemTime::now(), Some(document.clone()));
        state.entries.push_front(Entry { number, time, what, document });
        state.entries.truncate(KEPT);
        self.shared.changed.notify_one();
    }

    /// Newest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.shared.lock().entries.iter().cloned().collect()
    }

    /// Where the configuration is at a place in [`History::entries`].
    pub fn find(&self, index: usize) -> Result<Found, HistoryError> {
        let entry = {
            let state = self.shared.lock();
            let last = state.entries.len().saturating_sub(1);
            state.entries.get(index).cloned().ok_or(HistoryError::NoSuchEntry { index, last })?
        };
        let directory = self.directory.as_deref().unwrap_or(Path::new(""));
        let file = || Found::File(directory.join(file_name(entry.number)));
        Ok(entry.document.map_or_else(file, Found::Here))
    }

    /// The configuration at a place in [`History::entries`]. May wait for a disk.
    pub fn document(&self, index: usize) -> Result<Document, HistoryError> {
        match self.find(index)? {
            Found::Here(document) => Ok(document),
            Found::File(path) => load(path),
        }
    }
}

/// Where a configuration of the past is.
pub enum Found {
    Here(Document),
    File(PathBuf),
}

/// Reads a configuration of the past.
pub fn load(path: PathBuf) -> Result<Document, HistoryError> {
    let text =
        fs::read_to_string(&path).map_err(|source| HistoryError::Read { path: path.clone(), source })?;
    Document::parse(&text).map_err(|error| HistoryError::Unusable { path, problem: error.to_string() })
}

impl Drop for History {
    /// Waits until all is written, or the disk has taken too long.
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        let Some(writer) = self.writer.take() else { return };
        let start = Instant::now();
        while !writer.is_finished() && start.elapsed() < LAST_PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        if writer.is_finished() {
            // A panic of the writer has been printed by its thread.
            let _ = writer.join();
        } else {
            tracing::warn!("the last configurations may be lost: the disk does not take them");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete in itself, so it is good even if a thread died holding it.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for the oldest entry that is not on disk; none when there will be no more.
    fn next(&self) -> Option<Entry> {
        let mut state = self.lock();
        loop {
            if let Some(entry) = state.entries.iter().rev().find(|entry| entry.document.is_some()) {
                return Some(entry.clone());
            }
            if state.stop {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn is_stopped(&self) -> bool {
        self.lock().stop
    }

    /// Waits, unless it is time to stop.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let (guard, _) =
                self.changed.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner());
            state = guard;
        }
    }
}

/// The writer's thread.
fn write_all(shared: &Shared, directory: &Path) {
    let mut failing = false;
    while let Some(entry) = shared.next() {
        let start = Instant::now();
        // Asked before the attempt, so that there is one after it was time to stop.
        let is_last = shared.is_stopped();
        match write(directory, &entry) {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("configurations are kept in {} again", directory.display());
                }
                let oldest = {
                    let mut state = shared.lock();
                    let written = state.entries.iter_mut().find(|other| other.number == entry.number);
                    written.into_iter().for_each(|entry| entry.document = None);
                    state.entries.back().map_or(0, |oldest| oldest.number)
                };
                remove_before(directory, oldest);
                shared.rest((start.elapsed() * REST).min(LONGEST_REST));
            }
            Err(error) => {
                let directory = directory.display();
                if is_last {
                    let lost = shared.lock().entries.iter().filter(|entry| entry.document.is_some()).count();
                    tracing::warn!("{lost} configurations are not kept in {directory}: {error}");
                    return;
                }
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("cannot keep the configuration in {directory}, will try again: {error}");
                }
                // Also when it is time to stop there is one more attempt.
                shared.rest(shared.retry);
            }
        }
    }
}

fn prepare(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let metadata = fs::symlink_metadata(directory)?;
    // What others own or can write to, they could make us load.
    let owner = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || metadata.uid() != owner {
        return Err(io::Error::other(format!("it has to be a directory of user {owner}")));
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}

/// Everything of an earlier process, newest first.
fn read(directory: &Path) -> io::Result<VecDeque<Entry>> {
    let mut entries = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            // Nobody else writes here, so it was left by a process that died.
            let _ = fs::remove_file(&path);
        }
        if let Some(number) = number(&path) {
            match head(&path, number) {
                Ok(entry) => entries.push(entry),
                Err(error) => tracing::warn!("{}: {error}", path.display()),
            }
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.number));
    entries.truncate(KEPT);
    Ok(entries.into())
}

fn head(path: &Path, number: u64) -> io::Result<Entry> {
    let mut head = String::new();
    File::open(path)?.take(LONGEST_HEAD).read_to_string(&mut head)?;
    let mut lines = head.lines().map(|line| line.strip_prefix(COMMENT).unwrap_or_default());
    let seconds = lines.next().and_then(|line| line.split_once(' ')?.1.parse().ok());
    let seconds = seconds.ok_or_else(|| io::Error::other("not written by this program"))?;
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
    Ok(Entry { number, time, what: lines.next().unwrap_or_default().to_owned(), document: None })
}

/// Writes under another name first, so that there is never half a file under its own.
fn write(directory: &Path, entry: &Entry) -> io::Result<()> {
    let Some(document) = &entry.document else { return Ok(()) };
    let text = document.get("/", false).map_err(io::Error::other)?;
    let seconds = entry.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let what: String = entry.what.chars().take(LONGEST_WHAT).collect();
    let head = format!("{COMMENT}{} {seconds}\n{COMMENT}{what}\n", timestamp(entry.time));
    let path = directory.join(file_name(entry.number));
    let unfinished = path.with_extension(UNFINISHED);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(head.as_bytes())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    File::open(directory)?.sync_all()
}

fn remove_before(directory: &Path, oldest: u64) {
    // What cannot be listed or removed now will be after the next change.
    for file in fs::read_dir(directory).into_iter().flatten().flatten() {
        if number(&file.path()).is_some_and(|number| number < oldest) {
            let _ = fs::remove_file(file.path());
        }
    }
}

fn file_name(number: u64) -> String {
    format!("{number:08}.{EXTENSION}")
}

fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    name.parse().ok().filter(|number| file_name(*number) == format!("{name}.{EXTENSION}"))
}

/// RFC 3339, in UTC, to the second. A time outside of 1970 to 9999 is shown as the nearest within.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST_SECOND)).to_string()
}

const ROOT: &str = "/var/lib/vita";
const VARIABLE: &str = "VITA_STATE_DIR";
const EXTENSION: &str = "conf";
const UNFINISHED: &str = "tmp";
const COMMENT: &str = "// ";
/// The end of the year 9999, after which RFC 3339 has no times.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);
/// The writer rests this many times as long as it has worked, but no longer than that.
const REST: u32 = 9;
const LONGEST_REST: Duration = Duration::from_secs(1);
/// A disk that was full may have room again.
const RETRY: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the disk.
const LAST_PATIENCE: Duration = Duration::from_secs(3);
/// A line, and the two lines in front of a configuration with room to spare (four bytes a character).
const LONGEST_WHAT: usize = 500;
const LONGEST_HEAD: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn mtu(mtu: usize) -> Document {
        Document::parse(&format!("mtu {mtu};")).unwrap()
    }

    fn listed(history: &History) -> Vec<String> {
        history.entries().into_iter().map(|entry| entry.what).collect()
    }

    #[test]
    fn configurations_outlive_the_process_and_only_their_owner_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/paris");
        let mut history = History::open(&path);
        history.record("one", &mtu(1001));
        history.record("two\nlines", &mtu(1002));
        drop(history);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("00000001.conf")), 0o600);

        let mut history = History::open(&path);
        assert_eq!(listed(&history), ["two lines", "one"]);
        assert_eq!(history.document(1).unwrap(), mtu(1001));
        history.record("three", &mtu(1003));
        assert_eq!(history.document(0).unwrap(), mtu(1003));
        assert_eq!(history.document(1).unwrap(), mtu(1002));
        let error = history.document(3).unwrap_err().to_string();
        assert_eq!(error, "there is no configuration 3 in the history, which ends with 2");
    }

    #[test]
    fn the_last_ones_are_kept_in_memory_and_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let mut history = History::open(directory.path());
        (0..2 * KEPT).for_each(|count| history.record(&format!("{count}"), &mtu(1000 + count)));
        assert_eq!(history.entries().len(), KEPT);
        drop(history);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), KEPT);
        let history = History::open(directory.path());
        assert_eq!(listed(&history)[0], format!("{}", 2 * KEPT - 1));
        assert_eq!(history.document(KEPT - 1).unwrap(), mtu(1000 + KEPT));
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let mut history = History::open(&file.join("paris"));
        history.record("one", &mtu(1001));
        assert_eq!(history.document(0).unwrap(), mtu(1001));

        let path = directory.path().join("paris");
        let mut history = History::open(&path);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "").unwrap();
        history.record("one", &mtu(1001));
        assert_eq!(history.document(0).unwrap(), mtu(1001));
    }

    /// A history whose disk takes nothing: a directory stands where the next file would be begun.
    fn refused(path: &Path, retry: Duration) -> History {
        let mut history = History::open_and_retry(path, retry);
        fs::create_dir(path.join("00000001.tmp")).unwrap();
        history.record("one", &mtu(1001));
        history.record("two", &mtu(1002));
        history
    }

    #[test]
    fn what_a_full_disk_did_not_take_is_written_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let history = refused(directory.path(), Duration::from_millis(1));
        assert!(!directory.path().join("00000002.conf").exists());
        fs::remove_dir(directory.path().join("00000001.tmp")).unwrap();
        let start = Instant::now();
        while !directory.path().join("00000002.conf").exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "it is not written");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(history);
        assert_eq!(listed(&History::open(directory.path())), ["two", "one"]);
    }

    #[test]
    fn and_at_the_latest_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let history = refused(directory.path(), Duration::from_secs(3600));
        fs::remove_dir(directory.path().join("00000001.tmp")).unwrap();
        drop(history);
        assert_eq!(listed(&History::open(directory.path())), ["two", "one"]);

        let history = refused(&directory.path().join("other"), Duration::from_secs(3600));
        let start = Instant::now();
        drop(history);
        assert!(start.elapsed() < LAST_PATIENCE, "the end waits for a disk that takes nothing");
    }

    #[test]
    fn what_a_process_left_half_written_or_another_put_there_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("00000007.tmp"), "// 2026").unwrap();
        fs::write(directory.path().join("00000008.conf"), [0xff, 0xfe]).unwrap();
        fs::write(directory.path().join("9.conf"), "").unwrap();
        fs::write(directory.path().join("00000005.conf"), "// 1970-01-01T00:00:01Z 1\n// old\nnonsense 1;")
            .unwrap();
        let history = History::open(directory.path());
        assert_eq!(listed(&history), ["old"]);
        assert!(history.document(0).unwrap_err().to_string().contains("nonsense"));
        assert!(!directory.path().join("00000007.tmp").exists());
    }

    #[test]
    fn times_are_written_as_other_programs_write_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_222_628, "2026-11-21T00:57:08Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn times_outside_the_calendar_are_shown_as_the_nearest_within() {
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
        let last = UNIX_EPOCH + LAST_SECOND;
        assert_eq!(timestamp(last), "9999-12-31T23:59:59Z");
        assert_eq!(timestamp(last + Duration::from_secs(1)), "9999-12-31T23:59:59Z");
    }
}
