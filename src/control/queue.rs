// SPDX-License-Identifier: Apache-2.0
//! One queue: its worker, its key manager, and the traffic between the two.

use super::ApplyError;
use super::associations::{Associations, ProvideResult};
use super::devices::DeviceId;
use super::job::{Job, Progress};
use super::layout;
use super::ledger::Ledger;
use super::listeners;
use super::log::{Log, SilentNextHop};
use super::plan::{self, Numbers, Tables};
use crate::clock::Instant;
use crate::config::{Config, PublicInterface};
use crate::count::{Counters, KeyManager as KeyCounters, Totals};
use crate::device::{Handle, Mode, Program};
use crate::exchange::{self, KeyManager, Output, Settings};
use crate::graph::{Interface, Plan, Reroute};
use crate::stage::{Datagram, Event, NeighbourFrame, ResolvedMac};
use crate::wait::EventFd;
use crate::wire::ip::Family;
use crate::worker::{Command, StartError, Wakeups, Worker, WorkerPlacement};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A worker that is being started.
pub(super) struct Starting {
    pub placement: WorkerPlacement,
    counters: Arc<Counters>,
    room: usize,
    tables: Tables,
    next_hops: Vec<(IpAddr, Arc<ResolvedMac>)>,
    job: Job<Result<Worker, StartError>>,
}

pub(super) struct Queue {
    placement: WorkerPlacement,
    worker: Worker,
    keys: KeyManager,
    counters: Arc<Counters>,
    associations: Associations,
    /// Whether associations are configured, not negotiated.
    is_manual: bool,
    /// Whether the kernel has taken the worker's sockets off their device.
    is_lost: bool,
    /// Next hops of the public interface, and what is known of them.
    next_hops: Vec<(IpAddr, Arc<ResolvedMac>)>,
    /// Room for inbound SAs in the worker.
    room: usize,
    /// Room for routes and peers in the worker.
    tables: Tables,
}

impl Starting {
    /// Starts the worker, in a thread of its own. A device queue that is in use is waited for as long as that.
    pub(super) fn begin(
        placement: &WorkerPlacement,
        plan: Plan,
        wakeup: &Arc<EventFd>,
        patience: Duration,
    ) -> Result<Starting, ApplyError> {
        let room = plan.associations.as_ref().map_or(0, |table| table.capacity());
        let (tables, next_hops) = (Tables::of(&plan), next_hops(&plan));
        let counters = Arc::new(Counters::default());
        let (placement, own) = (placement.clone(), (placement.clone(), counters.clone(), wakeup.clone()));
        let job = Job::start(wakeup, move || {
            let (placement, counters, wakeup) = own;
            Worker::start(placement, plan, counters, wakeup, patience)
        })?;
        Ok(Starting { placement, counters, room, tables, next_hops, job })
    }

    /// What came of it, if that is known.
    pub(super) fn poll(&self) -> Option<Result<Worker, StartError>> {
        match self.job.poll() {
            Progress::Running => None,
            Progress::Done(result) => Some(result),
            Progress::Died => Some(Err(StartError::Died { queue: self.placement.queue })),
        }
    }
}

impl Queue {
    /// Takes over a worker that has been started. Its interfaces lead to it once [`Queue::register`] has told the XDP
    /// programs; it waits for [`Queue::begin`].
    pub(super) fn new(now: Instant, config: &Config, starting: Starting, worker: Worker) -> Queue {
        let Starting { placement, counters, room, tables, next_hops, .. } = starting;
        let settings = settings(config, placement.queue);
        let random = |bytes: &mut [u8]| {
            getrandom::fill(bytes).expect("without the kernel's random numbers there can be no keys");
        };
        let mut keys = KeyManager::new(settings, Box::new(random));
        keys.configure(now, settings, Vec::new());
        let place = |bound: &Option<Handle>| match bound.as_ref().map(|bound| bound.mode) {
            Some(Mode::ZeroCopy) => "zero copy",
            Some(Mode::Copy) => "copy mode",
            None => "no device",
        };
        let (private, public) = (place(&worker.private), place(&worker.public));
        let cpu = placement.cpu.map_or("any CPU".to_string(), |cpu| format!("CPU {cpu}"));
        tracing::info!("worker of queue {} runs: private {private}, public {public}, {cpu}", placement.queue);
        let associations = Associations::new(placement.queue);
        let (is_manual, is_lost) = (false, false);
        Queue { placement, worker, keys, counters, associations, is_manual, is_lost, next_hops, room, tables }
    }

    /// Has the XDP programs send this queue's frames to the worker.
    pub(super) fn register(&self, programs: &BTreeMap<DeviceId, Arc<Program>>) -> Result<(), ApplyError> {
        for (attachment, bound) in
            [(&self.placement.private, &self.worker.private), (&self.placement.public, &self.worker.public)]
        {
            if let (Some(attachment), Some(bound)) = (attachment, bound)
                && let Some(program) = programs.get(&layout::place(attachment))
            {
                program.register(attachment.queue, &bound.socket)?;
            }
        }
        Ok(())
    }

    /// What wakes the worker.
    pub(super) fn wakeup(&self) -> &Arc<EventFd> {
        self.worker.wakeup()
    }

    /// Tells the worker how to wake the others.
    pub(super) fn set_wakeups(&mut self, wakeups: Wakeups) {
        self.worker.command(Command::SetWakeups(wakeups));
        self.worker.wake();
    }

    /// Lets the worker begin. Neighbours may know another address of ours, of the gateway that was here before.
    pub(super) fn begin(&mut self) {
        self.worker.begin();
        self.announce();
    }

    /// Has the worker tell the neighbours where this gateway is.
    pub(super) fn announce(&mut self) {
        self.worker.offer(Command::Announce);
        self.worker.wake();
    }

    /// Gives the worker what a neighbour has said to everyone on a device, if it is there.
    pub(super) fn receive_neighbour(&mut self, place: &DeviceId, frame: &[u8]) {
        for side in listeners::sides(&self.placement, place) {
            if let Some(heard) = NeighbourFrame::new(side, frame) {
                self.worker.offer(Command::ReceiveNeighbour(heard));
                self.worker.wake();
            }
        }
    }

    /// The devices that the worker uses.
    pub(super) fn places(&self) -> impl Iterator<Item = DeviceId> {
        [&self.placement.private, &self.placement.public].into_iter().flatten().map(layout::place)
    }

    /// Whether the worker uses this device.
    pub(super) fn is_on(&self, place: &DeviceId) -> bool {
        listeners::sides(&self.placement, place).next().is_some()
    }

    /// Gives the worker a new plan.
    pub(super) fn replan(&mut self, plan: Plan) {
        if let Some(table) = &plan.associations {
            self.room = table.capacity();
        }
        (self.tables, self.next_hops) = (Tables::of(&plan), next_hops(&plan));
        self.worker.command(Command::Replan(Box::new(plan)));
    }

    /// Gives the key manager its routes; none where associations are configured. Those that are neither configured nor
    /// negotiated end.
    pub(super) fn configure(
        &mut self,
        now: Instant,
        config: &Config,
        numbers: &Numbers,
        log: &mut Log,
        ledger: &mut Ledger,
    ) {
        let queue = self.placement.queue;
        let settings = settings(config, queue);
        let routes = config.routes.iter().filter(|_| !config.data_plane);
        let routes = routes.filter_map(|route| plan::exchange_route(config, route, queue));
        let was_manual = std::mem::replace(&mut self.is_manual, config.data_plane);
        if was_manual || self.is_manual {
            self.withdraw(config, numbers, ledger);
        }
        self.keys.configure(now, settings, routes.collect());
        self.perform(now, numbers, log);
    }

    /// Ends associations that are not configured.
    pub(super) fn withdraw(&mut self, config: &Config, numbers: &Numbers, ledger: &mut Ledger) {
        self.associations.withdraw(&mut self.worker, config, numbers, ledger);
    }

    /// Forgets all that was negotiated, and negotiates anew; stops sending under configured keys.
    pub(super) fn renew(
        &mut self,
        now: Instant,
        config: &Config,
        numbers: &Numbers,
        log: &mut Log,
        ledger: &mut Ledger,
    ) {
        if config.data_plane {
            self.associations.silence(&mut self.worker, config, numbers, ledger);
            return self.worker.wake();
        }
        self.keys.configure(now, settings(config, self.placement.queue), Vec::new());
        self.perform(now, numbers, log);
        self.configure(now, config, numbers, log, ledger);
    }

    /// Gives the worker the configured associations that it does not have.
    pub(super) fn provide(
        &mut self,
        config: &Config,
        numbers: &Numbers,
        ledger: &mut Ledger,
    ) -> ProvideResult {
        self.associations.provide(&mut self.worker, config, numbers, ledger)
    }

    /// Gives the worker the routes that are different. Their numbers fit the tables of the worker.
    pub(super) fn reroute(&mut self, change: Reroute) {
        self.worker.command(Command::Reroute(Box::new(change)));
    }

    /// Gives the key manager the routes that are different, and the SPIs that are no more.
    pub(super) fn change(
        &mut self,
        now: Instant,
        gone: &[u32],
        routes: Vec<exchange::Route>,
        numbers: &Numbers,
        log: &mut Log,
    ) {
        self.keys.change(now, gone, routes);
        self.perform(now, numbers, log);
    }

    /// Whether the worker has carried out all it was told.
    pub(super) fn is_settled(&self) -> bool {
        self.worker.is_settled()
    }

    /// Whether the worker has yet to be told something, for which there is no room at this moment.
    pub(super) fn has_backlog(&self) -> bool {
        self.worker.has_backlog()
    }

    /// Has the worker look at what it was told.
    pub(super) fn wake(&self) {
        self.worker.wake();
    }

    /// Finds out whether the kernel has taken the worker's sockets off their device.
    pub(super) fn check_device(&mut self) {
        self.is_lost |= self.worker.has_lost_a_queue();
    }

    /// Tells the worker to end.
    pub(super) fn ask_to_stop(&self) {
        self.worker.ask_to_stop();
    }

    /// Waits for the end of the worker: where there is time.
    pub(super) fn halt(&mut self) {
        self.worker.halt();
    }

    /// Takes what the worker has, does what is due.
    pub(super) fn service(&mut self, now: Instant, numbers: &Numbers, log: &mut Log) {
        let link = self.worker.link.clone();
        // First what takes new keys into use: it waits for nothing else.
        for spi in std::iter::from_fn(|| link.confirmed.pop()).take(CONFIRMATIONS_PER_ROUND) {
            self.keys.authenticated(now, spi);
            self.perform(now, numbers, log);
        }
        let has_more = link.exchange.round(|datagram| {
            self.keys.handle(now, datagram.peer, datagram.payload());
            self.perform(now, numbers, log);
        });
        if has_more || !link.confirmed.is_empty() {
            self.worker.call_again();
        }
        if self.keys.deadline().is_some_and(|deadline| now >= deadline) {
            self.keys.timeout(now);
            self.perform(now, numbers, log);
        }
        while let Some(event) = link.events.pop() {
            if let (Event::PartialChecksum, Some(private)) = (&event, &self.placement.private) {
                log.partial_checksums(&private.device);
            }
            log.event(now, self.placement.queue, &event, numbers);
        }
        self.free();
    }

    /// Frees what the worker has no more use for: here, where there is time. Then it can be told more.
    pub(super) fn free(&mut self) {
        while self.worker.link.retired.pop().is_some() {}
        self.worker.pump();
    }

    /// Carries out what the key manager wants, in its order.
    fn perform(&mut self, now: Instant, numbers: &Numbers, log: &mut Log) {
        let queue = self.placement.queue;
        let mut any = false;
        while let Some(output) = self.keys.poll() {
            any = true;
            match output {
                Output::Send { to, payload } => {
                    self.worker.command(Command::Send(Datagram::new(to, &payload)));
                }
                // Those that were negotiated have been withdrawn, or are configured now.
                _ if self.is_manual && is_of_an_association(&output) => {}
                Output::InstallInbound { route, sa } => {
                    tracing::debug!("route {route}, queue {queue}: inbound SA {} installed", sa.spi);
                    self.associations.install(&mut self.worker, numbers, route, sa);
                }
                Output::RemoveInbound { route, spi } => {
                    tracing::debug!("route {route}, queue {queue}: inbound SA {spi} removed");
                    self.associations.remove(&mut self.worker, spi);
                }
                Output::ActivateOutbound { route, sa } => {
                    tracing::debug!("route {route}, queue {queue}: outbound SA {} active", sa.spi);
                    if self.associations.activate(&mut self.worker, numbers, route.clone(), sa) {
                        tracing::info!("route {route}, queue {queue}: up");
                    }
                }
                Output::RemoveOutbound { route } => {
                    let had_one = self.associations.deactivate(&mut self.worker, numbers, &route);
                    match (had_one, numbers.route(&route)) {
                        (true, Some(_)) => {
                            tracing::warn!("route {route}, queue {queue}: down, no outbound SA")
                        }
                        (true, None) => tracing::info!("route {route}, queue {queue}: removed"),
                        _ => {}
                    }
                }
                Output::SendDummy { route } => {
                    if let Some(peer) = numbers.peer(&route) {
                        self.worker.command(Command::SendDummy { peer });
                    }
                }
                Output::Log(event) => log.exchange(now, queue, &event, self.silent_next_hop(&event)),
            }
        }
        if any {
            self.worker.wake();
        }
    }

    /// The next hop towards a peer that did not answer in time, if it is the one that is silent.
    fn silent_next_hop(&self, event: &exchange::Event) -> Option<SilentNextHop<'_>> {
        let exchange::Event::NegotiationExpired { gateway, .. } = event else { return None };
        let attachment = self.placement.public.as_ref()?;
        let of_family = |hop: &&(IpAddr, Arc<ResolvedMac>)| Family::of(hop.0) == Family::of(*gateway);
        let (ip, address) = self.next_hops.iter().find(of_family)?;
        let is_silent = address.mac().is_none();
        is_silent.then(|| SilentNextHop { ip: *ip, interface: &attachment.device.name })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.keys.deadline()
    }

    /// Room for inbound SAs in the worker.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Room for routes and peers in the worker.
    pub(super) fn tables(&self) -> Tables {
        self.tables
    }

    /// Whether the worker is what this placement needs.
    pub(super) fn serves(&self, placement: &WorkerPlacement) -> bool {
        !self.is_dead() && layout::same(placement, &self.placement)
    }

    pub(super) fn placement(&self) -> &WorkerPlacement {
        &self.placement
    }

    /// Whether the worker is of no use any more.
    pub(super) fn is_dead(&self) -> bool {
        self.is_lost || self.worker.is_dead()
    }

    /// Whether that is because its interface went.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    pub(super) fn counters(&self) -> (Arc<Counters>, KeyCounters) {
        (self.counters.clone(), key_counters(&self.keys.counters()))
    }

    pub(super) fn associations(&self) -> &Associations {
        &self.associations
    }

    /// After the worker's end, which is because of this configuration: adds what was counted.
    pub(super) fn end(self, config: &Config, past: &mut Totals, ledger: &mut Ledger) {
        let Queue { keys, counters, associations, .. } = self;
        associations.end(config, ledger);
        add(&counters, &keys, past);
    }

    /// Adds what worker and key manager have counted.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        add(&self.counters, &self.keys, totals);
    }
}

/// First authentic packets that are dealt with in one round of the control thread.
const CONFIRMATIONS_PER_ROUND: usize = 256;

/// Next hops of the public interface.
fn next_hops(plan: &Plan) -> Vec<(IpAddr, Arc<ResolvedMac>)> {
    let Interface { v4, v6, .. } = &plan.public;
    let v4 = v4.iter().map(|face| (IpAddr::V4(face.next_hop_ip), face.next_hop.clone()));
    v4.chain(v6.iter().map(|face| (IpAddr::V6(face.next_hop_ip), face.next_hop.clone()))).collect()
}

fn is_of_an_association(output: &Output) -> bool {
    match output {
        Output::InstallInbound { .. }
        | Output::ActivateOutbound { .. }
        | Output::RemoveInbound { .. }
        | Output::RemoveOutbound { .. }
        | Output::SendDummy { .. } => true,
        Output::Send { .. } | Output::Log(_) => false,
    }
}

fn add(counters: &Counters, keys: &KeyManager, totals: &mut Totals) {
    add_counted(counters, &key_counters(&keys.counters()), totals);
}

/// Adds what a worker and its key manager have counted.
pub(super) fn add_counted(counters: &Counters, keys: &KeyCounters, totals: &mut Totals) {
    totals.add(counters);
    keys.visit(|leaf, value| totals.add_one("key-manager", leaf, value));
}

/// The key manager's counts under the names of the table.
fn key_counters(counted: &exchange::Counters) -> KeyCounters {
    let table = KeyCounters::default();
    table.rxerrors.set(counted.rxerrors);
    table.route_errors.set(counted.route_errors);
    table.protocol_errors.set(counted.protocol_errors);
    table.version_errors.set(counted.version_errors);
    table.parameter_errors.set(counted.parameter_errors);
    table.authentication_errors.set(counted.authentication_errors);
    table.public_key_errors.set(counted.public_key_errors);
    table.negotiations_initiated.set(counted.negotiations_initiated);
    table.negotiations_expired.set(counted.negotiations_expired);
    table.challenges_offered.set(counted.challenges_offered);
    table.challenges_accepted.set(counted.challenges_accepted);
    table.keypairs_offered.set(counted.keypairs_offered);
    table.keypairs_negotiated.set(counted.keypairs_negotiated);
    table.inbound_sa_expired.set(counted.inbound_sa_expired);
    table.outbound_sa_expired.set(counted.outbound_sa_expired);
    table.outbound_sa_updated.set(counted.outbound_sa_updated);
    table.source_errors.set(counted.source_errors);
    table.rate_errors.set(counted.rate_errors);
    table.spi_errors.set(counted.spi_errors);
    table
}

fn settings(config: &Config, queue: u16) -> Settings {
    let of_queue = config.public.iter().filter(|public| public.queue == queue);
    Settings {
        queue,
        share: plan::spi_share(config, queue),
        extensions: true,
        own: of_queue.map(PublicInterface::outside_ip).collect(),
        negotiation_ttl: Duration::from_secs(config.negotiation_ttl.into()),
        sa_ttl: Duration::from_secs(config.sa_ttl.into()),
    }
}
