// SPDX-License-Identifier: Apache-2.0
//! Standard error, behind a bounded queue: who logs never waits for who reads.
//!
//! ```text
//!   any thread ── line ──► queue (LINES, BYTES) ──► writer thread ──► standard error
//!                   └ no room: counted ────────────────┴► "N log lines were dropped", when it can write again
//! ```
//!
//! A full pipe holds up the writer and nobody else. A standard error that is closed, full or broken loses lines. At the end
//! of the process what is queued has [`FLUSH`] to leave.

use crate::clock::Instant;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The log of a process. Dropping it flushes what is queued, as far as that can be.
pub struct Log {
    shared: Arc<Shared>,
}

/// Where lines go.
#[derive(Clone)]
pub struct Lines {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is a line to write, or the log ends.
    filled: Condvar,
    /// All is written.
    drained: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Since it was last said.
    dropped: u64,
    /// The writer has taken lines that it has not written yet.
    is_writing: bool,
    is_ended: bool,
}

impl Log {
    /// Starts the thread that writes to standard error. Without a thread, lines are dropped.
    pub fn to_standard_error() -> Log {
        Log::to(io::stderr())
    }

    fn to(output: impl Write + Send + 'static) -> Log {
        let shared =
            Arc::new(Shared { queue: Mutex::default(), filled: Condvar::new(), drained: Condvar::new() });
        let of_writer = shared.clone();
        let writer = thread::Builder::new().name("vita-log".to_owned());
        let write = move || {
            super::limit();
            of_writer.write_all(output);
        };
        if writer.spawn(write).is_err() {
            shared.lock().is_ended = true;
        }
        Log { shared }
    }

    /// A writer that queues lines.
    pub fn lines(&self) -> Lines {
        Lines { shared: self.shared.clone() }
    }

    /// From now on panics of all threads are reported here. The standard hook would wait for standard error, and
    /// with it the thread that panics.
    pub fn report_panics(&self) {
        let lines = self.lines();
        panic::set_hook(Box::new(move |panic| lines.push(describe(panic).into_bytes())));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let until = Instant::now() + FLUSH;
        let mut queue = self.shared.lock();
        while !queue.is_ended && (queue.is_writing || !queue.lines.is_empty() || queue.dropped > 0) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.drained.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // A writer that hangs in a write is left behind: the process ends.
        queue.is_ended = true;
        self.shared.filled.notify_one();
    }
}

impl Lines {
    /// Queues a line, or counts it if there is no room.
    pub fn push(&self, line: Vec<u8>) {
        let mut queue = self.shared.lock();
        if queue.is_ended || queue.lines.len() >= LINES || queue.bytes + line.len() > BYTES {
            queue.dropped += 1;
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line);
        self.shared.filled.notify_one();
    }
}

/// One call is one line: this is how the formatter writes.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        self.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change of the queue is complete in itself.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's thread.
    fn write_all(&self, mut output: impl Write) {
        loop {
            let mut queue = self.lock();
            queue.is_writing = false;
            while queue.lines.is_empty() {
                if queue.dropped == 0 || queue.is_ended {
                    self.drained.notify_all();
                }
                if queue.is_ended {
                    return;
                }
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let dropped = std::mem::take(&mut queue.dropped);
            let line = queue.lines.pop_front().unwrap_or_default();
            queue.bytes -= line.len();
            queue.is_writing = true;
            drop(queue);
            // Said before the next line, which came later than what was dropped before it could be queued.
            let is_gap_written = dropped == 0 || output.write_all(&gap(dropped)).is_ok();
            let written = output.write_all(&line).and_then(|()| output.flush()).is_ok();
            let lost = u64::from(!written);
            self.lock().dropped += lost + if is_gap_written { 0 } else { dropped };
        }
    }
}

/// A line of the log that stands for lines that are not there.
fn gap(dropped: u64) -> Vec<u8> {
    let mut time = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    format!("{time}  WARN vita::process::log: {dropped} log lines were dropped: standard error did not take them\n")
        .into_bytes()
}

/// What the standard hook says, the backtrace included where RUST_BACKTRACE asks for one.
fn describe(panic: &PanicHookInfo) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("(unnamed)");
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    let payload = panic.payload();
    let literal = payload.downcast_ref::<&str>().copied();
    let message = literal.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            format!("thread '{name}' panicked{place}:\n{message}\n{backtrace}\n")
        }
        _ => format!("thread '{name}' panicked{place}:\n{message}\n"),
    }
}

/// A burst of a configuration with thousands of routes fits; a reader that is slow for longer loses lines.
const LINES: usize = 4096;
const BYTES: usize = 1 << 20;
/// What the end of the process waits for a reader.
const FLUSH: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;

    /// Hands over what is written, and refuses it while told so.
    struct Output {
        written: mpsc::Sender<String>,
        fails: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.send(String::from_utf8_lossy(bytes).into_owned()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_leave_in_order_and_the_end_waits_for_them() {
        let (written, read) = mpsc::channel();
        let log = Log::to(Output { written, fails: Arc::default() });
        for number in 0..100 {
            log.lines().push(format!("{number}\n").into_bytes());
        }
        drop(log);
        let lines: Vec<_> = read.iter().collect();
        assert_eq!(lines, (0..100).map(|number| format!("{number}\n")).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_dropped_is_said_once_lines_can_be_written_again() {
        let (written, read) = mpsc::channel();
        let fails = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let log = Log::to(Output { written, fails: fails.clone() });
        for _ in 0..3 {
            log.lines().push(b"lost\n".to_vec());
        }
        while log.shared.lock().dropped < 3 {
            thread::yield_now();
        }
        fails.store(false, Ordering::Relaxed);
        log.lines().push(b"written\n".to_vec());
        let gap = read.recv().unwrap();
        assert!(gap.contains("3 log lines were dropped"), "{gap}");
        assert_eq!(read.recv().unwrap(), "written\n");
    }

    #[test]
    fn a_reader_that_does_not_read_holds_up_the_writer_only() {
        let (output, mut input) = UnixStream::pair().unwrap();
        let log = Log::to(output);
        // The writer may take everything, dropped lines included, before its output is full; not any more then.
        let queue = loop {
            log.lines().push(vec![b'x'; 1000]);
            let queue = log.shared.lock();
            if queue.dropped > 0 && queue.is_writing {
                break queue;
            }
        };
        assert!(queue.bytes <= BYTES && queue.lines.len() <= LINES);
        drop(queue);
        let start = Instant::now();
        drop(log);
        assert!((FLUSH..4 * FLUSH).contains(&start.elapsed()), "{:?}", start.elapsed());
        io::Read::read_exact(&mut input, &mut [0; 1000]).unwrap();
    }
}
