// SPDX-License-Identifier: Apache-2.0
//! The short way to another configuration, when nothing but routes and configured associations is different: workers and
//! key managers are told these and nothing else, so that one of thousands costs no more than one of a few.
//!
//! ```text
//!   difference ──► numbers ──► prefixes (a new table) ─┐
//!              └─► tunnels, by number ─────────────────┴─► every worker, as one command between two batches
//!              └─► SPIs that are gone, routes that are not as before ─► every key manager
//! ```
//!
//! Workers have room for more routes than there are; when it is used up, a plan with more of it is made the long way.

use super::Supervisor;
use super::plan::{self, Numbers};
use super::queue::Queue;
use crate::clock::Instant;
use crate::config::{Changes, Config, Difference, Route};
use crate::exchange;
use crate::graph::Reroute;
use crate::route::PeerNumber;
use std::sync::Arc;

/// A change of nothing but routes and configured SAs, ready to be applied.
pub(super) struct Prepared {
    /// If they are others.
    numbers: Option<Numbers>,
    /// By queue.
    queues: Vec<(u16, OfQueue)>,
}

/// Part of the change for one queue.
struct OfQueue {
    /// For the worker, if the routes are different.
    reroute: Option<Reroute>,
    /// For the key manager: SPIs that are gone, and routes that are new or different.
    gone_spis: Vec<u32>,
    routes: Vec<exchange::Route>,
}

impl Supervisor {
    /// The change to a configuration, if nothing but routes and configured SAs is different and the workers have room for
    /// it. Nothing is touched.
    pub(super) fn prepare_reroute(&self, config: &Config) -> Option<Prepared> {
        let running = &self.running;
        let difference = Difference::between(running.document.config(), config);
        let routes = &difference.routes;
        if !difference.keeps_the_rest() || !self.has_room_for(config, routes.added.len()) {
            return None;
        }
        if difference.is_empty() {
            return Some(Prepared { numbers: None, queues: Vec::new() });
        }
        let mut numbers = running.numbers.clone();
        let present = || routes.added.iter().copied().chain(routes.changed.iter().map(|(_, new)| *new));
        let negotiated = || present().filter(|_| !config.data_plane);
        let gone: Vec<_> = routes.removed.iter().filter_map(|route| numbers.of(&route.id)).collect();
        numbers.change(&routes.added, &routes.removed);
        let same_prefixes = routes.added.is_empty()
            && routes.removed.is_empty()
            && routes.changed.iter().all(|(old, new)| old.nets == new.nets);
        let table = (!same_prefixes).then(|| Arc::new(plan::table(config, &numbers)));
        let of_queue = |queue: u16| {
            let gone_spis = gone_spis(config, routes, queue);
            let tunnel = |route| plan::tunnel(config, route, queue, running.mtus, &numbers);
            let tunnels = present().filter_map(|route| Some((numbers.peer(&route.id)?, tunnel(route))));
            let added = routes.added.iter().filter_map(|route| numbers.of(&route.id));
            let peers = negotiated()
                .filter_map(|route| Some((route.spi, plan::exchange_peer(config, route, queue)?)));
            let reroute = (!routes.is_empty()).then(|| Reroute {
                table: table.clone(),
                active_peers: gone.iter().map(|(route, _)| (*route, PeerNumber::NONE)).chain(added).collect(),
                tunnels: gone.iter().map(|(_, peer)| (*peer, None)).chain(tunnels).collect(),
                gone: gone_spis.clone(),
                peers: peers.collect(),
            });
            let routes =
                negotiated().filter_map(|route| plan::exchange_route(config, route, queue)).collect();
            OfQueue { reroute, gone_spis, routes }
        };
        let queues = running.queues.keys().map(|queue| (*queue, of_queue(*queue))).collect();
        Some(Prepared { numbers: Some(numbers), queues })
    }

    /// Tells the workers and key managers. Nothing fails from here on, unless a worker dies.
    pub(super) fn apply_reroute(&mut self, now: Instant, config: &Config, prepared: Prepared) {
        if let Some(numbers) = prepared.numbers {
            self.running.numbers = numbers;
        }
        for (number, OfQueue { reroute, gone_spis, routes }) in prepared.queues {
            let Some(queue) = self.running.queues.get_mut(&number) else { continue };
            if let Some(reroute) = reroute {
                queue.reroute(reroute);
            }
            if config.data_plane {
                queue.withdraw(config, &self.running.numbers, self.memory.ledger());
            } else {
                queue.change(now, &gone_spis, routes, &self.running.numbers, &mut self.log);
            }
        }
    }

    /// Whether all workers there should be run, and can take so many routes more.
    fn has_room_for(&self, config: &Config, added: usize) -> bool {
        let is_whole = self.waiting.is_empty()
            && !self.repair.is_pending()
            && self.running.queues.len() == config.workers().count()
            && !self.running.queues.values().any(Queue::is_dead);
        let associations = plan::associations(config);
        is_whole
            && self
                .running
                .queues
                .values()
                .all(|queue| self.running.numbers.fit(added, queue.tables()) && queue.room() >= associations)
    }
}

/// SPIs of routes that no route has any more, or another one, or one that this queue has no gateway for.
fn gone_spis(config: &Config, routes: &Changes<'_, Arc<Route>>, queue: u16) -> Vec<u32> {
    let changed = routes
        .changed
        .iter()
        .filter(|(old, new)| old.spi != new.spi || plan::exchange_peer(config, new, queue).is_none());
    routes.removed.iter().map(|route| route.spi).chain(changed.map(|(old, _)| old.spi)).collect()
}
