// SPDX-License-Identifier: Apache-2.0
//! The state tree: sums over all workers, those of the past included, and what there is of each route and SA.

use super::queue;
use super::running::Running;
use crate::config::{Rejected, State};
use crate::count::{Counters, KeyManager as KeyCounters, Totals};
use crate::device::Unserved;
use crate::wire::envelope;
use crate::wire::ip::Family;
use std::sync::Arc;

/// Sources of the state tree.
pub(super) struct Sources<'a> {
    pub running: &'a Running,
    /// Of workers that are about to end.
    pub leaving: &'a [(Arc<Counters>, KeyCounters)],
    /// Counted by the XDP programs.
    pub unserved: Unserved,
}

/// What `gateway-state` shows at a path. Without a worker, present or past, there is nothing to show.
pub(super) fn gather(sources: &Sources<'_>, past: Option<&Totals>, path: &str) -> Result<State, Rejected> {
    let mut state = State::at(path)?;
    let is_nothing = sources.running.queues.is_empty() && sources.leaving.is_empty() && past.is_none();
    if is_nothing && sources.unserved == Unserved::default() {
        return Ok(state);
    }
    let mut totals = past.cloned().unwrap_or_default();
    // Every counter is shown, even if no worker has run yet.
    totals.add(&Counters::default());
    totals.add_one("private-interface", "unserved-packets", sources.unserved.private);
    totals.add_one("public-interface", "unserved-packets", sources.unserved.public);
    for queue in sources.running.queues.values() {
        queue.add_to(&mut totals);
    }
    for (counters, keys) in sources.leaving {
        queue::add_counted(counters, keys, &mut totals);
    }
    // The table of counters and the model agree (a test compares them), so there is a place for every leaf.
    let filled = sums(&mut state, &totals, sources)
        .and_then(|()| associations(&mut state, sources))
        .and_then(|()| routes(&mut state, sources));
    if let Err(error) = filled {
        tracing::error!("state: {error}");
    }
    Ok(state)
}

fn sums(state: &mut State, totals: &Totals, sources: &Sources<'_>) -> Result<(), Rejected> {
    let shown = |group: &str| match group {
        "private-icmp4" | "public-icmp4" | "inbound-icmp4" => {
            sources.running.document.config().has(Family::V4)
        }
        "private-icmp6" | "public-icmp6" | "inbound-icmp6" => {
            sources.running.document.config().has(Family::V6)
        }
        _ => true,
    };
    for (group, leaf, value) in totals.iter().filter(|(group, ..)| shown(group)) {
        state.set(&["gateway-state", group, leaf], value)?;
    }
    let Unserved { private, public } = sources.unserved;
    state.set(&["gateway-state", "unserved-packets"], private + public)?;
    state.set(&["gateway-state", "effective-mtu"], u64::from(sources.running.mtu))
}

fn associations(state: &mut State, sources: &Sources<'_>) -> Result<(), Rejected> {
    for (number, queue) in &sources.running.queues {
        for (spi, count) in queue.associations().inbound() {
            let key = [("queue", u64::from(*number).into()), ("spi", u64::from(spi).into())];
            state.entry("inbound-sa", &key, |entry| {
                count.visit(|leaf, value| entry.set(&["sa-state", leaf], value));
            })?;
        }
    }
    Ok(())
}

/// Every route and every worker that can reach its gateways, whether it does or not.
fn routes(state: &mut State, sources: &Sources<'_>) -> Result<(), Rejected> {
    let Running { document, numbers, mtus, .. } = sources.running;
    let config = document.config();
    if !state.wants(&["gateway-state", "route"]) {
        return Ok(());
    }
    for route in &config.routes {
        for public in config.public.iter().filter(|public| Family::of(public.ip) == route.outer) {
            let Some(stats) = numbers.stats(&route.id, public.queue) else { continue };
            let key = [("id", route.id.as_str().into()), ("queue", u64::from(public.queue).into())];
            state.entry("route", &key, |entry| {
                stats.counters.visit(|direction, leaf, value| entry.set(&[direction, leaf], value));
                let widest = u64::from(mtus.of(route.outer));
                let mtu = match stats.path_mtu.value() {
                    0 => widest,
                    path_mtu => {
                        entry.set(&["path-mtu"], path_mtu);
                        // The gauge is never above what fits a packet's length field.
                        let inner = envelope::inner_mtu(route.outer, path_mtu as u32);
                        widest.min(inner.into())
                    }
                };
                entry.set(&["effective-mtu"], mtu);
            })?;
        }
    }
    Ok(())
}
