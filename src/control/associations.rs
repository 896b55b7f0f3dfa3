// SPDX-License-Identifier: Apache-2.0
//! The associations of one worker: those that its key manager made, or those that are configured.
//!
//! To make what the worker has equal to a configuration takes two steps: what is not configured is withdrawn, then what
//! the worker does not have is provided. In between the worker carries out the first, so that the last sequence number
//! of a key is known before the key is used again. What is equal in both is not touched.

use super::ledger::{Ledger, Start};
use super::plan::Numbers;
use crate::aead;
use crate::config::{Association, Config, LiveAssociation};
use crate::count::SaCounters;
use crate::esp::{InboundSa, LastNumber, OutboundSa};
use crate::route::PeerNumber;
use crate::sa::{Direction, SaParameters};
use crate::stage::SadEntry;
use crate::worker::{Command, Worker};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What the worker of a queue has.
pub(super) struct Associations {
    queue: u16,
    /// By SPI.
    inbound: BTreeMap<u32, (InstalledSa, Arc<SaCounters>)>,
    /// By route, which has one peer.
    outbound: BTreeMap<String, InstalledSa>,
}

/// What came of giving a worker what is configured.
#[derive(Default)]
pub(super) struct ProvideResult {
    /// How many outbound associations begin with the first number of all.
    pub unused_keys: usize,
    /// How many could not be given, because their keys are in use elsewhere.
    pub left_out: usize,
    /// How many wait for the disk.
    pub recording: usize,
}

/// An SA that the worker has.
struct InstalledSa {
    route: String,
    /// Boxed, so that it leaves no key behind where it is moved from.
    sa: Box<SaParameters>,
    /// The number that was configured to be used up.
    sequence: u64,
    /// Where it leaves its last number, unless the ledger has that.
    last: Option<LastNumber>,
}

impl Associations {
    pub(super) fn new(queue: u16) -> Associations {
        Associations { queue, inbound: BTreeMap::new(), outbound: BTreeMap::new() }
    }

    /// Inbound SPIs and what they count.
    pub(super) fn inbound(&self) -> impl Iterator<Item = (u32, &SaCounters)> {
        self.inbound.iter().map(|(spi, (_, count))| (*spi, &**count))
    }

    /// All of them, keys included.
    pub(super) fn live(&self) -> impl Iterator<Item = LiveAssociation<'_>> {
        let inbound =
            self.inbound.values().map(|(installed, _)| installed.shown(Direction::Inbound, self.queue));
        self.outbound
            .values()
            .map(|installed| installed.shown(Direction::Outbound, self.queue))
            .chain(inbound)
    }

    /// Has the worker accept packets of this SA.
    pub(super) fn install(
        &mut self,
        worker: &mut Worker,
        numbers: &Numbers,
        route: String,
        sa: SaParameters,
    ) {
        let (sa, last) = (Box::new(sa), LastNumber::default());
        // A route that is no more has no number.
        let Some(count) = install(worker, numbers, (&route, self.queue), &sa, 0, &last) else { return };
        self.inbound.insert(sa.spi, (InstalledSa { route, sa, sequence: 0, last: Some(last) }, count));
    }

    pub(super) fn remove(&mut self, worker: &mut Worker, spi: u32) {
        self.inbound.remove(&spi);
        worker.command(Command::Remove { spi });
    }

    /// Has the worker send through this SA. Whether the route had none before.
    pub(super) fn activate(
        &mut self,
        worker: &mut Worker,
        numbers: &Numbers,
        route: String,
        sa: SaParameters,
    ) -> bool {
        let (sa, last) = (Box::new(sa), LastNumber::default());
        if let Some(peer) = numbers.peer(&route) {
            activate(worker, peer, &sa, 0, &last);
        }
        let installed = InstalledSa { route: route.clone(), sa, sequence: 0, last: Some(last) };
        self.outbound.insert(route, installed).is_none()
    }

    /// Whether the route had one.
    pub(super) fn deactivate(&mut self, worker: &mut Worker, numbers: &Numbers, route: &str) -> bool {
        if let Some(peer) = numbers.peer(route) {
            worker.command(Command::Activate { peer, sa: None });
        }
        self.outbound.remove(route).is_some()
    }

    /// Ends those that are not configured just so, unless they are merely to be replaced by one of another key.
    pub(super) fn withdraw(
        &mut self,
        worker: &mut Worker,
        config: &Config,
        numbers: &Numbers,
        ledger: &mut Ledger,
    ) {
        let (queue, keys) = (self.queue, Keys::of(config));
        let by_spi: BTreeMap<_, _> = wanted(&config.inbound, queue).map(|one| (one.sa.spi, one)).collect();
        self.inbound.retain(|spi, (installed, _)| {
            let stays = installed.stays(Direction::Inbound, by_spi.get(spi).copied(), &keys, ledger);
            if !stays {
                worker.command(Command::Remove { spi: *spi });
            }
            stays
        });
        let by_route: BTreeMap<_, _> =
            wanted(&config.outbound, queue).map(|one| (&*one.route, one)).collect();
        self.outbound.retain(|route, installed| {
            let stays = installed.stays(Direction::Outbound, by_route.get(&**route).copied(), &keys, ledger);
            if !stays {
                if let Some(peer) = numbers.peer(route) {
                    worker.command(Command::Activate { peer, sa: None });
                }
                tracing::info!("route {route}, queue {queue}: outbound SA {} ends", installed.sa.spi);
            }
            stays
        });
    }

    /// Gives the worker what is configured and it does not have.
    pub(super) fn provide(
        &mut self,
        worker: &mut Worker,
        config: &Config,
        numbers: &Numbers,
        ledger: &mut Ledger,
    ) -> ProvideResult {
        let queue = self.queue;
        let mut result = ProvideResult::default();
        for wanted in wanted(&config.inbound, queue) {
            if self.inbound.get(&wanted.sa.spi).is_some_and(|(installed, _)| installed.is(wanted)) {
                continue;
            }
            let sa = Box::new(wanted.sa.clone());
            let Some(number) = ledger.last_received(&sa) else {
                in_use(Direction::Inbound, wanted);
                result.left_out += 1;
                continue;
            };
            let number = number.max(wanted.sequence);
            let last = LastNumber::default();
            let place = (&*wanted.route, queue);
            // Every configured association is of a route that is configured.
            let Some(count) = install(worker, numbers, place, &sa, number, &last) else { continue };
            ledger.track(Direction::Inbound, &sa, last);
            self.inbound.insert(wanted.sa.spi, (InstalledSa::configured(wanted, sa), count));
        }
        for wanted in wanted(&config.outbound, queue) {
            if self.outbound.get(&wanted.route).is_some_and(|installed| installed.is(wanted)) {
                continue;
            }
            let sa = Box::new(wanted.sa.clone());
            let Some(peer) = numbers.peer(&wanted.route) else { continue };
            let (number, ceiling) = match ledger.start(&sa, given(wanted)) {
                Start::After { number, ceiling } => (number, ceiling),
                Start::Recording => {
                    result.recording += 1;
                    continue;
                }
                Start::InUse => {
                    in_use(Direction::Outbound, wanted);
                    result.left_out += 1;
                    continue;
                }
                // It has been told when it came to be so.
                Start::Unproven => continue,
            };
            let last = LastNumber::bounded(number, ceiling);
            activate(worker, peer, &sa, number, &last);
            ledger.track(Direction::Outbound, &sa, last);
            result.unused_keys += usize::from(number == 0);
            tracing::info!(
                "route {}, queue {queue}: outbound SA {} goes on after number {number}",
                wanted.route,
                wanted.sa.spi
            );
            self.outbound.insert(wanted.route.clone(), InstalledSa::configured(wanted, sa));
        }
        worker.wake();
        result
    }

    /// Stops sending through all associations, whose keys are not to be used any more as they are.
    pub(super) fn silence(
        &mut self,
        worker: &mut Worker,
        config: &Config,
        numbers: &Numbers,
        ledger: &mut Ledger,
    ) {
        let keys = Keys::of(config);
        for (route, mut installed) in std::mem::take(&mut self.outbound) {
            installed.settle(Direction::Outbound, &keys, ledger);
            if let Some(peer) = numbers.peer(&route) {
                worker.command(Command::Activate { peer, sa: None });
            }
        }
    }

    /// Hands over what tells where the numbers end that this configuration needs; the worker ends.
    pub(super) fn end(self, config: &Config, ledger: &mut Ledger) {
        let keys = Keys::of(config);
        for (mut installed, _) in self.inbound.into_values() {
            installed.settle(Direction::Inbound, &keys, ledger);
        }
        for mut installed in self.outbound.into_values() {
            installed.settle(Direction::Outbound, &keys, ledger);
        }
    }
}

impl InstalledSa {
    fn configured(association: &Association, sa: Box<SaParameters>) -> InstalledSa {
        InstalledSa { route: association.route.clone(), sa, sequence: association.sequence, last: None }
    }

    /// Whether this is what is configured. A lower sequence number takes nothing back, so it is no difference.
    fn is(&self, association: &Association) -> bool {
        *self.sa == association.sa && self.route == association.route && self.sequence >= association.sequence
    }

    /// Whether it goes on, where a configuration wants this one in its place.
    fn stays(
        &mut self,
        direction: Direction,
        wanted: Option<&Association>,
        keys: &Keys<'_>,
        ledger: &mut Ledger,
    ) -> bool {
        let is_used_again = self.settle(direction, keys, ledger);
        wanted.is_some_and(|wanted| self.is(wanted) || !is_used_again)
    }

    /// Whether the key is configured, for whichever worker. If so the ledger remembers the last number; negotiated keys
    /// that are not configured are many, and must not displace from there those that are.
    fn settle(&mut self, direction: Direction, keys: &Keys<'_>, ledger: &mut Ledger) -> bool {
        let is_configured = keys.contain(direction, &self.sa);
        if is_configured && let Some(last) = self.last.take() {
            ledger.track(direction, &self.sa, last);
        }
        is_configured
    }

    fn shown(&self, direction: Direction, queue: u16) -> LiveAssociation<'_> {
        LiveAssociation { direction, queue, route: &self.route, sa: &self.sa }
    }
}

/// Keys and salts that are configured, for all workers; inbound, with the SPI.
struct Keys<'a> {
    inbound: HashSet<(u32, &'a [u8], &'a [u8; 4])>,
    outbound: HashSet<(&'a [u8], &'a [u8; 4])>,
}

impl Keys<'_> {
    fn of(config: &Config) -> Keys<'_> {
        let inbound = config.inbound.iter().map(|one| (one.sa.spi, one.sa.key.bytes(), &one.sa.salt));
        let outbound = config.outbound.iter().map(|one| (one.sa.key.bytes(), &one.sa.salt));
        Keys { inbound: inbound.collect(), outbound: outbound.collect() }
    }

    fn contain(&self, direction: Direction, sa: &SaParameters) -> bool {
        match direction {
            Direction::Inbound => self.inbound.contains(&(sa.spi, sa.key.bytes(), &sa.salt)),
            Direction::Outbound => self.outbound.contains(&(sa.key.bytes(), &sa.salt)),
        }
    }
}

fn wanted(list: &[Arc<Association>], queue: u16) -> impl Iterator<Item = &Association> {
    list.iter().map(|association| &**association).filter(move |association| association.queue == queue)
}

/// Says that an association is left out.
fn in_use(direction: Direction, wanted: &Association) {
    let danger = match direction {
        Direction::Inbound => "replays could pass",
        Direction::Outbound => "nonces could repeat",
    };
    tracing::error!(
        "route {}, queue {}: {direction} SA {} is not installed: its key is still in use elsewhere, so that \
         {danger}; configure another key",
        wanted.route,
        wanted.queue,
        wanted.sa.spi
    );
}

/// The sequence-number of an association, if the configuration says one.
fn given(association: &Association) -> Option<u64> {
    association.is_sequence_given.then_some(association.sequence)
}

/// Outbound associations whose keys cannot be shown to be fresh, by this configuration.
pub(super) fn unproven<'a>(config: &'a Config, ledger: &mut Ledger) -> Vec<&'a Association> {
    if !config.data_plane || !ledger.may_refuse() {
        return Vec::new();
    }
    let mut is_unproven = |one: &&Association| ledger.is_unproven(&one.sa, given(one));
    config.outbound.iter().map(|one| &**one).filter(|one| is_unproven(one)).collect()
}

fn install(
    worker: &mut Worker,
    numbers: &Numbers,
    (route, queue): (&str, u16),
    sa: &SaParameters,
    after: u64,
    last: &LastNumber,
) -> Option<Arc<SaCounters>> {
    let count = Arc::<SaCounters>::default();
    let sa = InboundSa::new(sa, aead::preferred()).after(after, last);
    let stats = numbers.stats(route, queue).cloned().unwrap_or_default();
    let (route, peer) = numbers.of(route)?;
    let entry = SadEntry { sa, route, peer, counters: count.clone(), stats };
    worker.command(Command::Install(Box::new(entry)));
    Some(count)
}

fn activate(worker: &mut Worker, peer: PeerNumber, sa: &SaParameters, after: u64, last: &LastNumber) {
    let sa = OutboundSa::new(sa, aead::preferred()).after(after, last);
    worker.command(Command::Activate { peer, sa: Some(Box::new(sa)) });
}
