// SPDX-License-Identifier: Apache-2.0
//! The bounded rings between a worker and the control thread.

use super::command::{Command, Retired};
use super::inbox::Inbox;
use crate::count::Counters;
use crate::stage::Event;
use crate::wait::EventFd;
use crossbeam::queue::ArrayQueue;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// All that a worker and the control thread share.
pub struct Link {
    pub(super) commands: ArrayQueue<Command>,
    /// Commands carried out so far.
    pub(super) completed: AtomicU64,
    /// To be freed by the control thread.
    pub retired: ArrayQueue<Retired>,
    /// Messages of the key exchange for the control thread.
    pub exchange: Inbox,
    /// For the log.
    pub events: ArrayQueue<Event>,
    /// SPIs of inbound SAs whose first authentic packet has arrived. None is lost: what finds no room waits at the worker.
    pub confirmed: ArrayQueue<u32>,
    /// The worker's counters.
    pub counters: Arc<Counters>,
    /// Set once frames lead to the worker: what it asks before, it would not hear the answer to.
    pub(super) begin: AtomicBool,
    pub(super) stop: AtomicBool,
    /// Wakes the worker.
    pub(super) wakeup: Arc<EventFd>,
    /// Wakes the control thread; one for all workers.
    pub(super) control: Arc<EventFd>,
}

impl Link {
    /// Empty rings. `control` wakes the control thread.
    pub(super) fn new(counters: Arc<Counters>, control: Arc<EventFd>) -> io::Result<Link> {
        Ok(Link {
            commands: ArrayQueue::new(COMMANDS),
            completed: AtomicU64::new(0),
            retired: ArrayQueue::new(COMMANDS),
            exchange: Inbox::default(),
            events: ArrayQueue::new(EVENTS),
            confirmed: ArrayQueue::new(CONFIRMATIONS),
            counters,
            begin: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            wakeup: Arc::new(EventFd::new()?),
            control,
        })
    }
}

/// Commands that may wait. A configuration of 10,000 routes makes one plan, not 10,000 commands; what comes one by
/// one are SAs and datagrams, at most a few hundred a second.
const COMMANDS: usize = 1024;
/// More than the inbound SAs that the key exchange makes in a second.
const CONFIRMATIONS: usize = 1024;
const EVENTS: usize = 256;
