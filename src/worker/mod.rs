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

mod inbox;

pub use inbox::Inbox;

use crate::aead;
use crate::clock::Instant;
use crate::count::{Counters, Interface as InterfaceCount};
use crate::esp::OutboundSa;
use crate::frame::{Batch, Pool, Port};
use crate::graph::{Graph, Leftover, Plan, Reroute};
use crate::process;
use crate::route::PeerNumber;
use crate::stage::{Datagram, Event, Overheard, SadEntry};
use crate::wait::{Doorbell, poll, readable};
use crate::xdp::{self, BindError, Device, KernelStatistics, Mode, Options, Socket, Umem};
use crossbeam::queue::ArrayQueue;
use inbox::Shares;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where a worker sits. It does not change in a worker's life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The queue of the configuration, from 1.
    pub queue: u16,
    /// `None`: an interface that is configured to have no device.
    pub private: Option<Attachment>,
    pub public: Option<Attachment>,
    pub cpu: Option<usize>,
    /// Spin instead of sleeping.
    pub busywait: bool,
    /// Run as a real-time thread.
    pub realtime: bool,
}

/// One queue of a device, counted from 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    pub device: Device,
    pub queue: u32,
}

/// What the control thread tells a worker.
pub enum Command {
    Replan(Box<Plan>),
    Reroute(Box<Reroute>),
    Install(Box<SadEntry>),
    Remove {
        spi: u32,
    },
    /// Makes an SA the one that packets to a peer are sealed with, or none.
    Activate {
        peer: PeerNumber,
        sa: Option<Box<OutboundSa>>,
    },
    /// Sends a dummy packet through the tunnel of a peer.
    SendDummy {
        peer: PeerNumber,
    },
    Send(Datagram),
    /// Tells the neighbours where this gateway is.
    Announce,
    /// What a neighbour has told everyone.
    Hear(Overheard),
    /// How to wake the other workers, by their place.
    Acquaint(Bells),
}

/// The bells of all workers, by their place.
pub type Bells = Vec<Option<Arc<Doorbell>>>;

/// What a worker has no more use for.
pub enum Retired {
    Plan(Leftover),
    Routes(Box<Reroute>),
    Inbound(Box<SadEntry>),
    Outbound(Box<OutboundSa>),
    Bells(Bells),
}

/// All that a worker and the control thread share.
pub struct Link {
    commands: ArrayQueue<Command>,
    /// Commands carried out so far.
    obeyed: AtomicU64,
    pub retired: ArrayQueue<Retired>,
    pub exchange: Inbox,
    pub events: ArrayQueue<Event>,
    /// SPIs of inbound SAs whose first authentic packet has arrived. None is lost: what finds no room waits at the worker.
    pub confirmed: ArrayQueue<u32>,
    pub counters: Arc<Counters>,
    /// Set once frames lead to the worker: what it asks before, it would not hear the answer to.
    begin: AtomicBool,
    stop: AtomicBool,
    /// Wakes the worker.
    bell: Arc<Doorbell>,
    /// Wakes the control thread; one for all workers.
    control: Arc<Doorbell>,
}

/// A running worker, as its control thread holds it. Dropping it stops the worker and waits for its end.
pub struct Worker {
    pub link: Arc<Link>,
    pub private: Option<Bound>,
    pub public: Option<Bound>,
    thread: Option<JoinHandle<()>>,
    /// Commands for which the ring has no room yet.
    backlog: VecDeque<Command>,
    /// Since when the ring has taken none of the backlog.
    stuck_since: Option<Instant>,
    commanded: u64,
    /// It has taken no command for so long that it is of no use any more.
    lost: bool,
}

/// A socket that a worker has bound.
pub struct Bound {
    /// To be entered in the XDP program's map.
    pub socket: OwnedFd,
    pub mode: Mode,
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "worker of queue {queue}: cannot run on CPU {cpu}: it does not exist or is not allowed to this process"
    )]
    Cpu { queue: u16, cpu: usize },
    #[error("worker of queue {queue}: cannot become a real-time thread (is CAP_SYS_NICE there?): {source}")]
    Realtime { queue: u16, source: io::Error },
    #[error("worker of queue {queue}: cannot have {} MiB of packet memory: {source}", MEMORY_MIB)]
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
        seat: Seat,
        plan: Plan,
        counters: Arc<Counters>,
        control: Arc<Doorbell>,
        patience: Duration,
    ) -> Result<Worker, StartError> {
        let queue = seat.queue;
        let system = |source| StartError::System { queue, source };
        let link = Arc::new(Link {
            commands: ArrayQueue::new(COMMANDS),
            obeyed: AtomicU64::new(0),
            retired: ArrayQueue::new(COMMANDS),
            exchange: Inbox::default(),
            events: ArrayQueue::new(EVENTS),
            confirmed: ArrayQueue::new(CONFIRMATIONS),
            counters,
            begin: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            bell: Arc::new(Doorbell::new().map_err(system)?),
            control,
        });
        let (report, reported) = mpsc::sync_channel(1);
        let shared = link.clone();
        let thread = std::thread::Builder::new()
            .name(format!("vita-queue{queue}"))
            .spawn(move || match Running::prepare(seat, plan, shared, patience) {
                Ok((running, sockets)) => {
                    if let Err(error) = process::confine() {
                        tracing::warn!(
                            "worker of queue {queue}: runs with the rights of the process: {error}"
                        );
                    }
                    // A control thread that no longer waits for this has ended; so will the worker.
                    let _ = report.send(Ok(sockets));
                    running.run();
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
            stuck_since: None,
            commanded: 0,
            lost: false,
        })
    }

    /// Frames lead to the worker now.
    pub fn begin(&self) {
        self.link.begin.store(true, Ordering::Release);
        self.link.bell.ring();
    }

    /// Hands over a command, without waiting: what the ring has no room for is kept for [`Worker::pump`].
    pub fn command(&mut self, command: Command) {
        self.commanded += 1;
        self.backlog.push_back(command);
        self.pump();
    }

    /// Moves as much of the backlog into the ring as it takes. A worker that takes nothing for too long, or lets too much
    /// pile up, is as good as dead.
    pub fn pump(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            if let Err(refused) = self.link.commands.push(command) {
                self.backlog.push_front(refused);
                self.link.bell.ring();
                let stuck_since = *self.stuck_since.get_or_insert_with(Instant::now);
                self.lost |= stuck_since.elapsed() > STUCK || self.backlog.len() > BACKLOG;
                if self.lost {
                    self.backlog.clear();
                }
                return;
            }
            self.stuck_since = None;
        }
    }

    /// Whether commands wait for room in the ring, so that [`Worker::pump`] should be called again soon.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether all commands so far have been carried out.
    pub fn is_settled(&self) -> bool {
        self.link.obeyed.load(Ordering::Acquire) >= self.commanded
    }

    /// Hands over a command, or drops it when the ring is full: for commands that may be lost.
    pub fn offer(&mut self, command: Command) {
        if self.link.commands.push(command).is_ok() {
            self.commanded += 1;
        }
    }

    /// What wakes the worker.
    pub fn bell(&self) -> &Arc<Doorbell> {
        &self.link.bell
    }

    /// Has the control thread come again.
    pub fn call_again(&self) {
        self.link.control.ring();
    }

    /// Has the worker look at its commands.
    pub fn wake(&self) {
        self.link.bell.ring();
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
        self.link.bell.ring();
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
        [&self.private, &self.public].into_iter().flatten().any(|bound| xdp::is_unbound(&bound.socket))
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

/// The worker's own side.
struct Running {
    link: Arc<Link>,
    graph: Graph,
    private: Side,
    public: Side,
    shares: Shares,
    /// Of the other workers.
    bells: Bells,
    busywait: bool,
}

/// A port that may be configured to be none.
enum Side {
    Socket(Box<Socket>),
    Nowhere,
}

impl Running {
    fn prepare(
        seat: Seat,
        plan: Plan,
        link: Arc<Link>,
        patience: Duration,
    ) -> Result<(Running, [Option<Bound>; 2]), StartError> {
        let queue = seat.queue;
        if let Some(cpu) = seat.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            return Err(StartError::Cpu { queue, cpu });
        }
        if seat.realtime {
            process::realtime().map_err(|source| StartError::Realtime { queue, source })?;
        }
        let pool = Pool::new(Umem::CHUNKS).map_err(|source| StartError::Memory { queue, source })?;
        let pool = Rc::new(pool);
        let umem = Umem::new(pool.clone());
        let bind = |attachment: &Option<Attachment>| match attachment {
            Some(Attachment { device, queue: device_queue }) => {
                let options = Options { patience, ..Options::default() };
                let socket = Socket::bind(&umem, device, *device_queue, options)
                    .map_err(|source| StartError::Bind { queue, source })?;
                Ok(Side::Socket(Box::new(socket)))
            }
            None => Ok(Side::Nowhere),
        };
        let (mut private, mut public) = (bind(&seat.private)?, bind(&seat.public)?);
        for side in [&mut private, &mut public] {
            side.prefer_busy_poll(seat.busywait);
        }
        let bound = |side: &Side| side.bound().map_err(|source| StartError::System { queue, source });
        let sockets = [bound(&private)?, bound(&public)?];
        let graph = Graph::new(pool, link.counters.clone(), aead::preferred(), plan);
        let busywait = seat.busywait;
        let (shares, bells) = (Shares::default(), Vec::new());
        Ok((Running { link, graph, private, public, shares, bells, busywait }, sockets))
    }

    fn run(mut self) {
        while !self.link.begin.load(Ordering::Acquire) && !self.link.stop.load(Ordering::Acquire) {
            self.sleep(Duration::MAX);
        }
        let mut publish_at_ns = 0;
        while !self.link.stop.load(Ordering::Acquire) {
            let now_ns = Instant::now().as_nanos();
            let mut work = self.obey(now_ns);
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
                self.link.control.ring();
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

    /// Carries out what has been commanded.
    fn obey(&mut self, now_ns: u64) -> usize {
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
                Command::Hear(heard) => {
                    self.graph.hear(now_ns, &heard, &mut self.private, &mut self.public);
                    None
                }
                Command::SendDummy { peer } => {
                    self.graph.send_dummy(now_ns, peer, &mut self.public);
                    None
                }
                Command::Acquaint(bells) => Some(Retired::Bells(std::mem::replace(&mut self.bells, bells))),
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
            self.link.obeyed.fetch_add(count as u64, Ordering::Release);
        }
        count
    }

    /// Wakes the workers that packets were handed to.
    #[cold]
    fn wake_owners(&mut self) {
        let mut places = std::mem::take(&mut self.graph.handed);
        while places != 0 {
            // One whose bell is not known yet looks into its mailbox when it wakes up.
            if let Some(Some(bell)) = self.bells.get(places.trailing_zeros() as usize) {
                bell.ring();
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
        fds.push(readable(self.link.bell.fd()));
        fds.extend(self.private.fd().map(readable));
        fds.extend(self.public.fd().map(readable));
        // An error here means the same as being woken: look what there is.
        let _ = poll(&mut fds, Some(timeout));
        if fds.first().is_some_and(|bell| bell.revents != 0) {
            self.link.bell.hush();
        }
    }
}

impl Side {
    fn bound(&self) -> io::Result<Option<Bound>> {
        match self {
            Side::Socket(socket) => {
                let fd = socket.as_fd().try_clone_to_owned()?;
                Ok(Some(Bound { socket: fd, mode: socket.mode() }))
            }
            Side::Nowhere => Ok(None),
        }
    }

    /// Kernels before 5.11 do not know how; then interrupts bring the packets, as without spinning.
    fn prefer_busy_poll(&mut self, enable: bool) {
        if let (Side::Socket(socket), true) = (self, enable) {
            let _ = socket.busy_poll(true);
        }
    }

    fn unsent(&self) -> u32 {
        match self {
            Side::Socket(socket) => socket.unsent(),
            Side::Nowhere => 0,
        }
    }

    fn fd(&self) -> Option<i32> {
        match self {
            Side::Socket(socket) => Some(socket.fd()),
            Side::Nowhere => None,
        }
    }

    fn count(&self, count: &InterfaceCount) {
        let Side::Socket(socket) = self else { return };
        let seen = socket.statistics();
        count.rxpackets.set(seen.rx_packets);
        count.rxdmapackets.set(seen.rx_packets);
        count.rxbytes.set(seen.rx_bytes);
        count.rxmcast.set(seen.rx_multicast);
        count.rxbcast.set(seen.rx_broadcast);
        count.txpackets.set(seen.tx_packets);
        count.txbytes.set(seen.tx_bytes);
        count.txmcast.set(seen.tx_multicast);
        count.txbcast.set(seen.tx_broadcast);
        count.txdrop.set(seen.tx_dropped);
    }

    /// What only the kernel knows; a system call.
    fn count_kernel(&self, count: &InterfaceCount) {
        let Side::Socket(socket) = self else { return };
        let KernelStatistics { rx_dropped, rx_invalid, tx_invalid, rx_ring_full, fill_empty, .. } =
            socket.kernel_statistics().unwrap_or_default();
        count.rxdrop.set(rx_dropped + rx_ring_full + fill_empty);
        count.rxerrors.set(rx_invalid);
        count.txerrors.set(tx_invalid + socket.statistics().tx_errors);
    }
}

impl Port for Side {
    #[inline]
    fn receive(&mut self, into: &mut Batch) {
        match self {
            Side::Socket(socket) => socket.receive(into),
            Side::Nowhere => {}
        }
    }

    #[inline]
    fn transmit(&mut self, from: &mut Batch) {
        match self {
            Side::Socket(socket) => socket.transmit(from),
            Side::Nowhere => from.clear(),
        }
    }

    #[inline]
    fn flush(&mut self) {
        match self {
            Side::Socket(socket) => socket.flush(),
            Side::Nowhere => {}
        }
    }
}

/// Commands that may wait. A configuration of 10,000 routes makes one plan, not 10,000 commands; what comes one by
/// one are SAs and datagrams, at most a few hundred a second.
const COMMANDS: usize = 1024;
/// More than the inbound SAs that the key exchange makes in a second.
const CONFIRMATIONS: usize = 1024;
/// Commands that may wait for room in the ring: the configured SAs of 10,000 routes, several times over.
const BACKLOG: usize = 1 << 17;
const EVENTS: usize = 256;
/// How long a worker may take to end: it looks between two batches.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a worker may take nothing from a full ring. Nobody waits for it meanwhile.
const STUCK: Duration = Duration::from_secs(10);
const KERNEL_STATISTICS_EVERY_NS: u64 = 1_000_000_000;
const OFFER_AGAIN: Duration = Duration::from_millis(1);
const MEMORY_MIB: usize = Umem::CHUNKS as usize * crate::frame::CHUNK / (1 << 20);
