// SPDX-License-Identifier: Apache-2.0
//! Counters. One table (`table.rs`) says which there are; from it come the memory that a worker writes and the
//! names under which `gateway-state` shows them.
//!
//! ```text
//!   worker:   counters.private_router.route_errors.add(1)      one writer, a load and a store
//!   control:  counters.visit(|group, leaf, value| …)            "private-router", "route-errors", 1
//! ```
//!
//! A counter has one writer. Readers see a value that is at most one batch old. Adding a counter is a line in
//! the table and a leaf in `yang/vita-esp-gateway.yang`; a test holds the two together.
//!
//! What a worker tells of one route is a [`Route`]. It belongs to the route, not to the worker or to an SA: keys and
//! workers come and go, and the counts go on.

mod reason;
mod table;

pub use reason::{OwnerCounters, Reason, Side};
pub use table::*;

use std::sync::atomic::{AtomicU64, Ordering};

/// A 64-bit count with a single writer.
#[derive(Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more. A load and a store: cheaper than an atomic addition, and right with one writer.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes over a count kept elsewhere.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The count so far.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value().fmt(f)
    }
}

/// What one worker tells of one route.
#[derive(Default, Debug)]
pub struct Route {
    /// By direction.
    pub counters: RouteCounters,
    /// What the path to the gateway carries, in bytes with the outer header; 0 while nobody has complained. No count, but
    /// told in the same way.
    pub path_mtu: Counter,
}

/// Sums over workers, of the present and of the past.
#[derive(Clone, Default, Debug)]
pub struct Totals(std::collections::BTreeMap<(String, String), u64>);

impl Totals {
    /// Adds all that a worker has counted.
    pub fn add(&mut self, counters: &Counters) {
        counters.visit(|group, leaf, value| self.add_one(group, leaf, value));
    }

    /// Adds to a single sum.
    pub fn add_one(&mut self, group: &str, leaf: &str, value: u64) {
        *self.0.entry((group.to_string(), leaf.to_string())).or_default() += value;
    }

    /// Every sum with its group and leaf, ordered.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.0.iter().map(|((group, leaf), value)| (group.as_str(), leaf.as_str(), *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_leaves_as_the_state_tree_does() {
        let counters = Counters::default();
        counters.private_router.route_errors.add(2);
        counters.public_icmp4.fragment_reassembly_time_exceeded.add(1);
        let mut totals = Totals::default();
        totals.add(&counters);
        totals.add(&counters);
        let moved: Vec<_> = totals.iter().filter(|(_, _, value)| *value > 0).collect();
        assert_eq!(
            moved,
            [("private-router", "route-errors", 4), ("public-icmp4", "fragment-reassembly-time-exceeded", 2)]
        );
    }
}
