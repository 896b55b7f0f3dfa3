// SPDX-License-Identifier: Apache-2.0
//! The state tree: sums over all workers, those of the past included.

use super::queue::Queue;
use crate::config::{Rejected, State};
use crate::count::Totals;
use std::collections::BTreeMap;

/// All that `gateway-state` shows. Without a worker, present or past, there is nothing to show.
pub fn gather(queues: &BTreeMap<u16, Queue>, past: Option<&Totals>, mtu: u16) -> State {
    let mut state = State::new();
    if queues.is_empty() && past.is_none() {
        return state;
    }
    let mut totals = past.cloned().unwrap_or_default();
    for queue in queues.values() {
        queue.add_to(&mut totals);
    }
    // The table of counters and the model agree (a test compares them), so there is a place for every leaf.
    if let Err(error) = fill(&mut state, &totals, queues, mtu) {
        tracing::error!("state: {error}");
    }
    state
}

fn fill(state: &mut State, totals: &Totals, queues: &BTreeMap<u16, Queue>, mtu: u16) -> Result<(), Rejected> {
    for (group, leaf, value) in totals.iter() {
        state.set(&["gateway-state", group, leaf], value)?;
    }
    state.set(&["gateway-state", "effective-mtu"], u64::from(mtu))?;
    for (number, queue) in queues {
        for (spi, count) in queue.inbound() {
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
