// SPDX-License-Identifier: Apache-2.0
//! The thread of a worker: its queues, its graph, and the loop around them.

use super::command::{Command, Retired, Wakeups};
use super::inbox::RouteShares;
use super::link::Link;
use super::{StartError, WorkerPlacement};
use crate::aead;
use crate::clock::Instant;
use crate::device::{Attachment, Handle, PacketMemory, Queue};
use crate::frame::Port;
use crate::graph::{Graph, Plan};
use crate::process;
use crate::wait::{poll, readable};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A worker, as its thread has it.
pub(super) struct WorkerThread {
    link: Arc<Link>,
    graph: Graph,
    private: Box<dyn Queue>,
    public: Box<dyn Queue>,
    shares: RouteShares,
    /// Descriptors that wake the other workers, by place.
    wakeups: Wakeups,
    busywait: bool,
}

impl WorkerThread {
    /// Opens the queues, in the worker's thread.
    pub(super) fn prepare(
        placement: WorkerPlacement,
        plan: Plan,
        link: Arc<Link>,
        patience: Duration,
    ) -> Result<(WorkerThread, [Option<Handle>; 2]), StartError> {
        let queue = placement.queue;
        if let Some(cpu) = placement.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            return Err(StartError::Cpu { queue, cpu });
        }
        if placement.realtime {
            process::realtime().map_err(|source| StartError::Realtime { queue, source })?;
        }
        let memory = PacketMemory::new().map_err(|source| StartError::Memory { queue, source })?;
        let open = |attachment: &Option<Attachment>| {
            memory.open(attachment.as_ref(), patience).map_err(|source| StartError::Bind { queue, source })
        };
        let (mut private, mut public) = (open(&placement.private)?, open(&placement.public)?);
        if placement.busywait {
            private.prefer_busy_poll();
            public.prefer_busy_poll();
        }
        let handle =
            |queue_of: &dyn Queue| queue_of.handle().map_err(|source| StartError::System { queue, source });
        let handles = [handle(&*private)?, handle(&*public)?];
        let graph = Graph::new(memory.pool().clone(), link.counters.clone(), aead::preferred(), plan);
        let busywait = placement.busywait;
        let (shares, wakeups) = (RouteShares::default(), Vec::new());
        Ok((WorkerThread { link, graph, private, public, shares, wakeups, busywait }, handles))
    }

    /// The loop of the thread, until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.link.begin.load(Ordering::Acquire) && !self.link.stop.load(Ordering::Acquire) {
            self.sleep(Duration::MAX);
        }
        let mut publish_at_ns = 0;
        while !self.link.stop.load(Ordering::Acquire) {
            let now_ns = Instant::now().as_nanos();
            let mut work = self.run_commands(now_ns);
            work += self.graph.outbound(now_ns, &mut self.private, &mut self.public);
            work += self.graph.handed_over(now_ns, &mut self.private, &mut self.public);
            let (inbox, shares) = (&self.link.exchange, &mut self.shares);
            let mut delivered = false;
            work += self.graph.inbound(now_ns, &mut self.private, &mut self.public, |datagram| {
                let is_taken = inbox.put(shares, datagram);
                delivered |= is_taken;
                is_taken
            });
            let due_ns = self.graph.tick(now_ns, &mut self.private, &mut self.public);
            self.private.flush();
            self.public.flush();
            if delivered | self.report() {
                self.link.control.notify();
            }
            if self.graph.handed != 0 {
                self.wake_owners();
            }
            self.private.count(&self.link.counters.private_interface);
            self.public.count(&self.link.counters.public_interface);
            if now_ns >= publish_at_ns {
                publish_at_ns = now_ns + KERNEL_STATISTICS_EVERY_NS;
                self.private.count_kernel(&self.link.counters.private_interface);
                self.public.count_kernel(&self.link.counters.public_interface);
            }
            if work == 0 && !self.busywait {
                self.sleep(Duration::from_nanos(due_ns.min(publish_at_ns).saturating_sub(now_ns)));
            }
        }
    }

    /// Carries out all waiting commands, and returns how many there were.
    fn run_commands(&mut self, now_ns: u64) -> usize {
        let mut count = 0;
        while let Some(command) = self.link.commands.pop() {
            let retired = match command {
                Command::Replan(plan) => Some(Retired::Plan(self.graph.replan(*plan))),
                Command::Reroute(change) => Some(Retired::Routes(self.graph.reroute(change))),
                Command::Install(inbound) => self.graph.install(inbound).map(Retired::Inbound),
                Command::Remove { spi } => self.graph.remove(spi).map(Retired::Inbound),
                Command::Activate { peer, sa } => self.graph.activate(peer, sa).map(Retired::Outbound),
                Command::Announce => {
                    self.graph.announce();
                    None
                }
                Command::ReceiveNeighbour(heard) => {
                    self.graph.receive_neighbour(now_ns, &heard, &mut self.private, &mut self.public);
                    None
                }
                Command::SendDummy { peer } => {
                    self.graph.send_dummy(now_ns, peer, &mut self.public);
                    None
                }
                Command::SetWakeups(wakeups) => {
                    Some(Retired::Wakeups(std::mem::replace(&mut self.wakeups, wakeups)))
                }
                Command::Send(datagram) => {
                    self.graph.send_datagram(now_ns, &datagram, &mut self.public);
                    None
                }
            };
            if let Some(retired) = retired {
                // Should nobody have emptied the ring for that long, it is freed here after all.
                let _ = self.link.retired.push(retired);
            }
            count += 1;
        }
        if count > 0 {
            self.link.completed.fetch_add(count as u64, Ordering::Release);
        }
        count
    }

    /// Wakes the workers that packets were handed to.
    #[cold]
    fn wake_owners(&mut self) {
        let mut places = std::mem::take(&mut self.graph.handed);
        while places != 0 {
            // A worker without a known descriptor reads its mailbox when it wakes up.
            if let Some(Some(wakeup)) = self.wakeups.get(places.trailing_zeros() as usize) {
                wakeup.notify();
            }
            places &= places - 1;
        }
    }

    /// Passes events on; false if there were none.
    fn report(&mut self) -> bool {
        let any = !self.graph.drops.events.is_empty() || !self.graph.confirmed.is_empty();
        let was_full = self.graph.confirmed.is_full();
        self.graph.confirmed.retain(|spi| self.link.confirmed.push(*spi).is_err());
        if was_full {
            self.graph.confirm_rest();
        }
        for event in self.graph.drops.events.drain(..) {
            // A full ring loses a log line; the counters have what it says.
            let _ = self.link.events.push(event);
        }
        any
    }

    fn sleep(&self, timeout: Duration) {
        // What the kernel did not take is offered again soon. Not at once: an interface that is down takes nothing.
        let unsent = self.private.unsent() + self.public.unsent() > 0;
        let timeout = if unsent { timeout.min(OFFER_AGAIN) } else { timeout };
        let mut fds = arrayvec::ArrayVec::<_, 3>::new();
        fds.push(readable(self.link.wakeup.fd()));
        fds.extend(self.private.fd().map(readable));
        fds.extend(self.public.fd().map(readable));
        // An error here means the same as being woken: look what there is.
        let _ = poll(&mut fds, Some(timeout));
        if fds.first().is_some_and(|wakeup| wakeup.revents != 0) {
            self.link.wakeup.clear();
        }
    }
}

const KERNEL_STATISTICS_EVERY_NS: u64 = 1_000_000_000;
const OFFER_AGAIN: Duration = Duration::from_millis(1);
