// SPDX-License-Identifier: Apache-2.0
//! One worker: a pinned thread that moves the packets of one queue through its graph.
//!
//! ```text
//!   control ── commands ──►  ┌────────┐ ◄──► private socket
//!           ◄── retired ───  │ worker │
//!           ◄── exchange ──  │ (graph)│ ◄──► public socket     one packet memory under both
//!           ◄── events ────  └────────┘
//! ```
//!
//! A worker never locks, never logs and, once it runs, allocates nothing; it sleeps in `poll` when nothing
//! arrives, unless it is told to spin. All it shares with the control thread is a [`Link`] of bounded rings. What
//! it no longer needs goes back over the link, to be freed by someone who has the time.

mod command;
mod inbox;
mod link;
mod thread;

pub use command::{Command, Retired, Wakeups};
pub use inbox::Inbox;
pub use link::Link;

use crate::clock::Instant;
use crate::count::Counters;
use crate::device::{Attachment, BindError, Handle, PacketMemory};
use crate::graph::Plan;
use crate::process;
use crate::wait::EventFd;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use thread::WorkerThread;

/// The queues and the CPU of a worker. They do not change in its life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerPlacement {
    /// The queue of the configuration, from 1.
    pub queue: u16,
    /// `None`: an interface that is configured to have no device.
    pub private: Option<Attachment>,
    /// The same on the public side.
    pub public: Option<Attachment>,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// Spin instead of sleeping.
    pub busywait: bool,
    /// Run as a real-time thread.
    pub realtime: bool,
}

/// A running worker, as its control thread holds it. Dropping it stops the worker and waits for its end.
pub struct Worker {
    /// Rings shared with the control thread.
    pub link: Arc<Link>,
    /// Its open queue on the private side.
    pub private: Option<Handle>,
    /// Its open queue on the public side.
    pub public: Option<Handle>,
    thread: Option<JoinHandle<()>>,
    /// Commands for which the ring has no room yet.
    backlog: VecDeque<Command>,
    commanded: u64,
    /// Too many commands wait for it.
    lost: bool,
}

/// Why a worker did not start.
#[allow(missing_docs, reason = "the text of each says it")]
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "worker of queue {queue}: cannot run on CPU {cpu}: it does not exist or is not allowed to this process"
    )]
    Cpu { queue: u16, cpu: usize },
    #[error("worker of queue {queue}: cannot become a real-time thread (is CAP_SYS_NICE there?): {source}")]
    Realtime { queue: u16, source: io::Error },
    #[error("worker of queue {queue}: cannot have {} MiB of packet memory: {source}", PacketMemory::MIB)]
    Memory { queue: u16, source: io::Error },
    #[error("worker of queue {queue}: {source}")]
    Bind { queue: u16, source: BindError },
    #[error("worker of queue {queue}: {source}")]
    System { queue: u16, source: io::Error },
    #[error("worker of queue {queue}: ended before it began")]
    Died { queue: u16 },
}

impl Worker {
    /// Starts the thread and waits until its sockets are bound, which takes as long as the devices do; a queue that is in
    /// use is waited for as long as `patience`. The sockets are to be registered with the XDP programs of their interfaces
    /// before the worker may [`begin`](Worker::begin).
    pub fn start(
        placement: WorkerPlacement,
        plan: Plan,
        counters: Arc<Counters>,
        control: Arc<EventFd>,
        patience: Duration,
    ) -> Result<Worker, StartError> {
        let queue = placement.queue;
        let system = |source| StartError::System { queue, source };
        let link = Arc::new(Link::new(counters, control).map_err(system)?);
        let (report, reported) = mpsc::sync_channel(1);
        let shared = link.clone();
        let thread = std::thread::Builder::new()
            .name(format!("vita-queue{queue}"))
            .spawn(move || match WorkerThread::prepare(placement, plan, shared, patience) {
                Ok((worker, handles)) => {
                    if let Err(error) = process::confine() {
                        tracing::warn!(
                            "worker of queue {queue}: runs with the rights of the process: {error}"
                        );
                    }
                    // A control thread that no longer waits for this has ended; so will the worker.
                    let _ = report.send(Ok(handles));
                    worker.run();
                }
                Err(error) => {
                    let _ = report.send(Err(error));
                }
            })
            .map_err(system)?;
        let [private, public] = reported.recv().unwrap_or(Err(StartError::Died { queue }))?;
        Ok(Worker {
            link,
            private,
            public,
            thread: Some(thread),
            backlog: VecDeque::new(),
            commanded: 0,
            lost: false,
        })
    }

    /// Frames lead to the worker now.
    pub fn begin(&self) {
        self.link.begin.store(true, Ordering::Release);
        self.link.wakeup.notify();
    }

    /// Hands over a command, without waiting: what the ring has no room for is kept for [`Worker::pump`].
    pub fn command(&mut self, command: Command) {
        self.commanded += 1;
        self.backlog.push_back(command);
        self.pump();
    }

    /// Moves as much of the backlog into the ring as it takes. A worker without CPU is waited for; one that lets too much pile
    /// up is as good as dead.
    pub fn pump(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            if let Err(refused) = self.link.commands.push(command) {
                self.backlog.push_front(refused);
                self.link.wakeup.notify();
                self.lost |= self.backlog.len() > BACKLOG;
                if self.lost {
                    self.backlog.clear();
                }
                return;
            }
        }
    }

    /// Whether commands wait for room in the ring, so that [`Worker::pump`] should be called again soon.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether all commands so far have been carried out.
    pub fn is_settled(&self) -> bool {
        self.link.completed.load(Ordering::Acquire) >= self.commanded
    }

    /// Hands over a command, or drops it when the ring is full: for commands that may be lost.
    pub fn offer(&mut self, command: Command) {
        if self.link.commands.push(command).is_ok() {
            self.commanded += 1;
        }
    }

    /// What wakes the worker.
    pub fn wakeup(&self) -> &Arc<EventFd> {
        &self.link.wakeup
    }

    /// Has the control thread come again.
    pub fn call_again(&self) {
        self.link.control.notify();
    }

    /// Has the worker look at its commands.
    pub fn wake(&self) {
        self.link.wakeup.notify();
    }

    /// Waits until all commands so far are carried out; false if the worker is dead or does not get to it in time. For
    /// callers that have nothing else to look after.
    pub fn settle(&mut self, patience: Duration) -> bool {
        self.wake();
        let start = Instant::now();
        while !self.is_settled() {
            if self.is_dead() || start.elapsed() > patience {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
            self.pump();
        }
        true
    }

    /// Tells the thread to end, without waiting for it.
    pub fn ask_to_stop(&self) {
        self.link.stop.store(true, Ordering::Release);
        self.link.wakeup.notify();
    }

    /// Has the thread end, and waits for that. Belongs where there is time.
    pub fn halt(&mut self) {
        self.ask_to_stop();
        let Some(thread) = self.thread.take() else { return };
        let start = Instant::now();
        while !thread.is_finished() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_micros(100));
        }
        // The queues are free when the last descriptors are closed, for which the kernel may take its time.
        (self.private, self.public) = (None, None);
        if thread.is_finished() {
            // A panic of the worker has been printed by its thread.
            let _ = thread.join();
        } else {
            let name = thread.thread().name().unwrap_or_default().to_string();
            tracing::error!("{name} does not stop: it is left behind, and its device queues stay taken");
        }
    }

    /// Whether the kernel has taken a queue away from the worker: the interface was deleted or has left the namespace.
    pub fn has_lost_a_queue(&self) -> bool {
        [&self.private, &self.public].into_iter().flatten().any(Handle::is_lost)
    }

    /// Whether the thread has ended, which it does not do unasked but by a fault, or can no longer be commanded.
    pub fn is_dead(&self) -> bool {
        self.lost || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Commands that may wait for room in the ring: the configured SAs of 10,000 routes, several times over.
const BACKLOG: usize = 1 << 17;
/// How long a worker may take to end: it looks between two batches.
const PATIENCE: Duration = Duration::from_secs(2);
