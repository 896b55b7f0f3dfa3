// SPDX-License-Identifier: Apache-2.0
//! The state tree: sums over all workers, those of the past included.

use super::queue::Queue;
use crate::config::{Config, Rejected, State};
use crate::count::Totals;
use crate::wire::ip::Family;
use std::collections::BTreeMap;

/// All that `gateway-state` shows. Without a worker, present or past, there is nothing to show.
pub fn gather(queues: &BTreeMap<u16, Queue>, past: Option<&Totals>, config: &Config, mtu: u16) -> State {
    let mut state = State::new();
    if queues.is_empty() && past.is_none() {
        return state;
    }
    let mut totals = past.cloned().unwrap_or_default();
    for queue in queues.values() {
        queue.add_to(&mut totals);
    }
    // The table of counters and the model agree (a test compares them), so there is a place for every leaf.
    if let Err(error) = fill(&mut state, &totals, queues, config, mtu) {
        tracing::error!("state: {error}");
    }
    state
}

fn fill(
    state: &mut State,
    totals: &Totals,
    queues: &BTreeMap<u16, Queue>,
    config: &Config,
    mtu: u16,
) -> Result<(), Rejected> {
    let shown = |group: &str| match group {
        "private-icmp4" | "public-icmp4" | "inbound-icmp4" => config.has(Family::V4),
        "private-icmp6" | "public-icmp6" | "inbound-icmp6" => config.has(Family::V6),
        _ => true,
    };
    for (group, leaf, value) in totals.iter().filter(|(group, ..)| shown(group)) {
        state.set(&["gateway-state", group, leaf], value)?;
    }
    state.set(&["gateway-state", "effective-mtu"], u64::from(mtu))?;
    for (number, queue) in queues {
        for (spi, count) in queue.associations().inbound() {
            let entry = format!("inbound-sa[queue={number}][spi={spi}]");
            let mut result = Ok(());
            count.visit(|leaf, value| {
                if result.is_ok() {
                    result = state.set(&["gateway-state", &entry, "sa-state", leaf], value);
                }
            });
            result?;
        }
    }
    Ok(())
}
