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

use super::queue::Queue;
use super::{Supervisor, plan};
use crate::clock::Instant;
use crate::config::{Changes, Config, Difference, Route};
use crate::graph::Reroute;
use crate::route::PeerNumber;
use std::sync::Arc;

impl Supervisor {
    /// Tells the workers that run to change their routes. Whether that was all there is to do but to see that they do;
    /// if not, nothing was done.
    pub(super) fn reroute(&mut self, now: Instant, config: &Config) -> bool {
        let document = self.document.clone();
        let difference = Difference::between(document.config(), config);
        let routes = &difference.routes;
        if !difference.keeps_the_rest() || !self.has_room_for(config, routes.added.len()) {
            return false;
        }
        if difference.is_empty() {
            return true;
        }
        let present = || routes.added.iter().copied().chain(routes.changed.iter().map(|(_, new)| *new));
        // Nothing fails from here on, unless a worker does not answer.
        let gone: Vec<_> = routes
            .removed
            .iter()
            .filter_map(|route| self.numbers.route(&route.id).zip(self.numbers.peer(&route.id)))
            .collect();
        self.numbers.change(&routes.added, &routes.removed);
        let same_prefixes = routes.added.is_empty()
            && routes.removed.is_empty()
            && routes.changed.iter().all(|(old, new)| old.nets == new.nets);
        let table = (!same_prefixes).then(|| Arc::new(plan::table(config, &self.numbers)));
        for (number, queue) in &mut self.queues {
            let gone_spis = gone_spis(config, routes, *number);
            let tunnel = |route| plan::tunnel(config, route, *number, self.mtus, &self.numbers);
            let tunnels = present().filter_map(|route| Some((self.numbers.peer(&route.id)?, tunnel(route))));
            let tunnels = gone.iter().map(|(_, peer)| (*peer, None)).chain(tunnels).collect();
            let active_peers = routes
                .added
                .iter()
                .filter_map(|route| self.numbers.route(&route.id).zip(self.numbers.peer(&route.id)));
            let active_peers =
                gone.iter().map(|(route, _)| (*route, PeerNumber::NONE)).chain(active_peers).collect();
            if !routes.is_empty() {
                let peers = present()
                    .filter(|_| !config.data_plane)
                    .filter_map(|route| Some((route.spi, plan::exchange_peer(config, route, *number)?)));
                let (gone, peers) = (gone_spis.clone(), peers.collect());
                queue.reroute(Reroute { table: table.clone(), active_peers, tunnels, gone, peers });
            }
            if config.data_plane {
                queue.withdraw(config, &self.numbers, self.memory.ledger());
                continue;
            }
            let keys = present().filter_map(|route| plan::exchange_route(config, route, *number)).collect();
            queue.change(now, &gone_spis, keys, &self.numbers, &mut self.log);
        }
        true
    }

    /// Whether all workers there should be run, and can take so many routes more.
    fn has_room_for(&self, config: &Config, added: usize) -> bool {
        let is_whole = self.waiting.is_empty()
            && !self.repair.is_pending()
            && self.queues.len() == config.workers().count()
            && !self.queues.values().any(Queue::is_dead);
        let associations = plan::associations(config);
        is_whole
            && self
                .queues
                .values()
                .all(|queue| self.numbers.fit(added, queue.tables()) && queue.room() >= associations)
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
