// SPDX-License-Identifier: Apache-2.0
//! The associations of one worker: those that its key manager made, or those that are configured.
//!
//! To make what the worker has equal to a configuration takes two steps: what is not configured is withdrawn, then what
//! the worker does not have is provided. In between the worker carries out the first, so that the last sequence number
//! of a key is known before the key is used again. What is equal in both is not touched.

use super::ledger::Ledger;
use super::plan::Numbers;
use crate::aead::{self, Secret};
use crate::config::{Aead, AeadKey, Association, Config, LiveAssociation};
use crate::count::SaCounters;
use crate::esp::{InboundSa, LastNumber, OutboundSa, Parameters};
use crate::exchange::{Direction, SaParameters};
use crate::stage::Inbound;
use crate::worker::{Command, Worker};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What the worker of a queue has.
pub struct Associations {
    queue: u16,
    /// By SPI.
    inbound: BTreeMap<u32, (Held, Arc<SaCounters>)>,
    /// By route.
    outbound: BTreeMap<String, Held>,
}

struct Held {
    route: String,
    sa: Parameters,
    /// The number that was configured to be used up.
    sequence: u64,
    /// Where it leaves its last number, unless the ledger has that.
    last: Option<LastNumber>,
}

impl Associations {
    pub fn new(queue: u16) -> Associations {
        Associations { queue, inbound: BTreeMap::new(), outbound: BTreeMap::new() }
    }

    /// Inbound SPIs and what they count.
    pub fn inbound(&self) -> impl Iterator<Item = (u32, &SaCounters)> {
        self.inbound.iter().map(|(spi, (_, count))| (*spi, &**count))
    }

    /// All of them, keys included.
    pub fn live(&self) -> impl Iterator<Item = LiveAssociation<'_>> {
        let inbound = self.inbound.values().map(|(held, _)| held.shown(true, self.queue));
        self.outbound.values().map(|held| held.shown(false, self.queue)).chain(inbound)
    }

    /// Has the worker accept packets of this SA.
    pub fn install(&mut self, worker: &mut Worker, numbers: &Numbers, route: String, sa: SaParameters) {
        let (sa, last) = (negotiated(&sa), LastNumber::default());
        // A route that is no more has no number.
        let Some(count) = install(worker, numbers, (&route, self.queue), &sa, 0, &last) else { return };
        self.inbound.insert(sa.spi, (Held { route, sa, sequence: 0, last: Some(last) }, count));
    }

    pub fn remove(&mut self, worker: &mut Worker, spi: u32) {
        self.inbound.remove(&spi);
        worker.command(Command::Remove { spi });
    }

    /// Has the worker send through this SA. Whether the route had none before.
    pub fn activate(
        &mut self,
        worker: &mut Worker,
        numbers: &Numbers,
        route: String,
        sa: SaParameters,
    ) -> bool {
        let (sa, last) = (negotiated(&sa), LastNumber::default());
        if let Some(number) = numbers.of(&route) {
            activate(worker, number, &sa, 0, &last);
        }
        let held = Held { route: route.clone(), sa, sequence: 0, last: Some(last) };
        self.outbound.insert(route, held).is_none()
    }

    /// Whether the route had one.
    pub fn deactivate(&mut self, worker: &mut Worker, numbers: &Numbers, route: &str) -> bool {
        if let Some(number) = numbers.of(route) {
            worker.command(Command::Activate { route: number, sa: None });
        }
        self.outbound.remove(route).is_some()
    }

    /// Ends those that are not configured just so, unless they are merely to be replaced by one of another key.
    pub fn withdraw(&mut self, worker: &mut Worker, config: &Config, numbers: &Numbers, ledger: &mut Ledger) {
        let wanted = |list| self::wanted(list, self.queue);
        let by_spi: BTreeMap<_, _> = wanted(&config.inbound).map(|one| (one.spi, one)).collect();
        self.inbound.retain(|spi, (held, _)| {
            held.settle(Direction::Inbound, ledger);
            let stays = by_spi.get(spi).is_some_and(|wanted| held.is(wanted) || !held.has_key_of(wanted));
            if !stays {
                worker.command(Command::Remove { spi: *spi });
            }
            stays
        });
        let by_route: BTreeMap<_, _> = wanted(&config.outbound).map(|one| (&*one.route, one)).collect();
        let keys: HashSet<_> =
            config.outbound.iter().map(|one| (one.key.bytes(), one.salt.bytes())).collect();
        self.outbound.retain(|route, held| {
            held.settle(Direction::Outbound, ledger);
            let is_used_again = keys.contains(&(held.sa.key.bytes(), &held.sa.salt));
            let stays = by_route.get(&**route).is_some_and(|wanted| held.is(wanted) || !is_used_again);
            if !stays {
                if let Some(number) = numbers.of(route) {
                    worker.command(Command::Activate { route: number, sa: None });
                }
                tracing::info!("route {route}, queue {}: outbound SA {} ends", self.queue, held.sa.spi);
            }
            stays
        });
    }

    /// Gives the worker what is configured and it does not have. How many of these begin with the first number of all.
    pub fn provide(
        &mut self,
        worker: &mut Worker,
        config: &Config,
        numbers: &Numbers,
        ledger: &mut Ledger,
    ) -> usize {
        let queue = self.queue;
        for wanted in wanted(&config.inbound, queue) {
            if self.inbound.get(&wanted.spi).is_some_and(|(held, _)| held.is(wanted)) {
                continue;
            }
            let sa = parameters(wanted);
            let Some(number) = known(Direction::Inbound, wanted, &sa, ledger) else { continue };
            let last = LastNumber::default();
            let place = (&*wanted.route, queue);
            let Some(count) = install(worker, numbers, place, &sa, number, &last) else { continue };
            ledger.keep(Direction::Inbound, &sa, last);
            self.inbound.insert(wanted.spi, (Held::configured(wanted, sa), count));
        }
        let mut first = 0;
        for wanted in wanted(&config.outbound, queue) {
            if self.outbound.get(&wanted.route).is_some_and(|held| held.is(wanted)) {
                continue;
            }
            let sa = parameters(wanted);
            let Some(number) = known(Direction::Outbound, wanted, &sa, ledger) else { continue };
            let Some(route) = numbers.of(&wanted.route) else { continue };
            let last = LastNumber::default();
            activate(worker, route, &sa, number, &last);
            ledger.keep(Direction::Outbound, &sa, last);
            first += usize::from(number == 0);
            tracing::info!(
                "route {}, queue {queue}: outbound SA {} goes on after number {number}",
                wanted.route,
                wanted.spi
            );
            self.outbound.insert(wanted.route.clone(), Held::configured(wanted, sa));
        }
        worker.wake();
        first
    }

    /// Hands over what tells where the numbers end, before the worker does.
    pub fn end(self, ledger: &mut Ledger) {
        for (mut held, _) in self.inbound.into_values() {
            held.settle(Direction::Inbound, ledger);
        }
        for mut held in self.outbound.into_values() {
            held.settle(Direction::Outbound, ledger);
        }
    }
}

impl Held {
    fn configured(association: &Association, sa: Parameters) -> Held {
        Held { route: association.route.clone(), sa, sequence: association.sequence, last: None }
    }

    /// Whether this is what is configured. A lower sequence number takes nothing back, so it is no difference.
    fn is(&self, association: &Association) -> bool {
        let Association { spi, route, key, sequence, .. } = association;
        (self.sa.spi, &self.route, algorithm(&self.sa.key)) == (*spi, route, key.aead())
            && self.has_key_of(association)
            && self.sequence >= *sequence
    }

    fn has_key_of(&self, association: &Association) -> bool {
        (self.sa.key.bytes(), &self.sa.salt) == (association.key.bytes(), association.salt.bytes())
    }

    /// Leaves it to the ledger to remember the last number.
    fn settle(&mut self, direction: Direction, ledger: &mut Ledger) {
        if let Some(last) = self.last.take() {
            ledger.keep(direction, &self.sa, last);
        }
    }

    fn shown(&self, is_inbound: bool, queue: u16) -> LiveAssociation<'_> {
        let Parameters { spi, key, salt } = &self.sa;
        let (aead, key) = (algorithm(key).name(), key.bytes());
        LiveAssociation { is_inbound, spi: *spi, queue, route: &self.route, aead, key, salt }
    }
}

fn wanted(list: &[Arc<Association>], queue: u16) -> impl Iterator<Item = &Association> {
    list.iter().map(|association| &**association).filter(move |association| association.queue == queue)
}

/// The number after which a configured association begins.
fn known(direction: Direction, wanted: &Association, sa: &Parameters, ledger: &mut Ledger) -> Option<u64> {
    let number = ledger.number(direction, sa);
    if number.is_none() {
        tracing::error!(
            "route {}, queue {}: {direction} SA {} is not installed: its key is still in use elsewhere, so that \
             nonces could repeat; configure another key",
            wanted.route,
            wanted.queue,
            wanted.spi
        );
    }
    number.map(|number| number.max(wanted.sequence))
}

fn parameters(association: &Association) -> Parameters {
    let key = match &association.key {
        AeadKey::AesGcm16Icv(key) => Secret::Aes128(*key.bytes()),
        AeadKey::Aes256Gcm16Icv(key) => Secret::Aes256(*key.bytes()),
        AeadKey::ChaCha20Poly1305(key) => Secret::ChaCha20(*key.bytes()),
    };
    Parameters { spi: association.spi, key, salt: *association.salt.bytes() }
}

/// The key exchange knows AES-128-GCM only.
fn negotiated(sa: &SaParameters) -> Parameters {
    Parameters { spi: sa.spi, key: Secret::Aes128(sa.key), salt: sa.salt }
}

fn algorithm(key: &Secret) -> Aead {
    match key {
        Secret::Aes128(_) => Aead::AesGcm16Icv,
        Secret::Aes256(_) => Aead::Aes256Gcm16Icv,
        Secret::ChaCha20(_) => Aead::ChaCha20Poly1305,
    }
}

fn install(
    worker: &mut Worker,
    numbers: &Numbers,
    (route, queue): (&str, u16),
    sa: &Parameters,
    after: u64,
    last: &LastNumber,
) -> Option<Arc<SaCounters>> {
    let count = Arc::<SaCounters>::default();
    let sa = InboundSa::new(sa, aead::preferred()).after(after, last);
    let told = numbers.told(route, queue).cloned().unwrap_or_default();
    let inbound = Inbound { sa, route: numbers.of(route)?, count: count.clone(), told };
    worker.command(Command::Install(Box::new(inbound)));
    Some(count)
}

fn activate(worker: &mut Worker, route: u32, sa: &Parameters, after: u64, last: &LastNumber) {
    let sa = OutboundSa::new(sa, aead::preferred()).after(after, last);
    worker.command(Command::Activate { route, sa: Some(Box::new(sa)) });
}
