// SPDX-License-Identifier: Apache-2.0
//! Work that may block on a device, a disk or another thread, done by a thread of its own. The control thread polls for
//! the result and never waits for it.

use crate::process;
use crate::wait::EventFd;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};

/// Work on another thread. A job that is dropped goes on to its end, and its result is dropped by its thread.
pub struct Job<T> {
    result: Receiver<T>,
}

/// The state of a job.
pub enum Progress<T> {
    Running,
    Done(T),
    /// The thread panicked; its message is on standard error.
    Died,
}

impl<T: Send + 'static> Job<T> {
    /// Starts the work. Notifies `wakeup` when the result is there.
    pub fn start(wakeup: &Arc<EventFd>, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Job<T>> {
        let (sender, result) = mpsc::sync_channel(1);
        let notify = NotifyAtEnd(wakeup.clone());
        std::thread::Builder::new().name(NAME.to_string()).spawn(move || {
            // Dropped after the sender, so that the listener also finds out about a panic.
            let _notify = notify;
            let sender = sender;
            let result = work();
            // The stack is given to another thread later, with the keys that went over it.
            process::erase_stack();
            // The job may have been dropped.
            let _ = sender.send(result);
        })?;
        Ok(Job { result })
    }

    /// The result, if it is there. It is given once.
    pub fn poll(&self) -> Progress<T> {
        match self.result.try_recv() {
            Ok(result) => Progress::Done(result),
            Err(TryRecvError::Empty) => Progress::Running,
            Err(TryRecvError::Disconnected) => Progress::Died,
        }
    }
}

struct NotifyAtEnd(Arc<EventFd>);

impl Drop for NotifyAtEnd {
    fn drop(&mut self) {
        self.0.notify();
    }
}

/// The thread's name, as `top -H` shows it.
const NAME: &str = "vita-job";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{poll, readable};
    use std::time::Duration;

    /// Waits for the notification and returns the result of that moment.
    fn outcome<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Progress<T> {
        let wakeup = Arc::new(EventFd::new().unwrap());
        let job = Job::start(&wakeup, work).unwrap();
        assert!(poll(&mut [readable(wakeup.fd())], Some(Duration::from_secs(60))).unwrap());
        job.poll()
    }

    #[test]
    fn the_bell_rings_when_the_result_is_there_or_there_will_be_none() {
        assert!(matches!(outcome(|| 7), Progress::Done(7)));
        assert!(matches!(outcome(|| -> u8 { panic!("the test's panic") }), Progress::Died));
    }

    #[test]
    fn a_running_job_is_not_waited_for() {
        let wakeup = Arc::new(EventFd::new().unwrap());
        let (release, released) = mpsc::channel::<()>();
        let job = Job::start(&wakeup, move || released.recv().is_ok()).unwrap();
        assert!(matches!(job.poll(), Progress::Running));
        release.send(()).unwrap();
        assert!(poll(&mut [readable(wakeup.fd())], Some(Duration::from_secs(60))).unwrap());
        assert!(matches!(job.poll(), Progress::Done(true)));
    }
}
