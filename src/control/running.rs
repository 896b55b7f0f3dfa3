// SPDX-License-Identifier: Apache-2.0
//! What runs: a configuration, its programs and workers, and the numbers that these know routes and peers by.

use super::devices::{DeviceId, Devices};
use super::handoffs::Handoffs;
use super::layout::{Layout, Mtus, RunningDevices};
use super::plan::{self, Neighbours, Numbers};
use super::queue::Queue;
use crate::config::{Config, Document};
use crate::device::Program;
use crate::graph::Plan;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The running configuration and all that belongs to it.
pub(super) struct Running {
    pub document: Document,
    /// One for each configured device that there is. They do not depend on workers: while one waits for an interface, is
    /// started again or has died, the program drops its packets. The kernel might forward them.
    pub programs: BTreeMap<DeviceId, Arc<Program>>,
    /// Workers, by queue.
    pub queues: BTreeMap<u16, Queue>,
    pub numbers: Numbers,
    pub neighbours: Neighbours,
    pub handoffs: Handoffs,
    pub mtus: Mtus,
    /// Longest packet that fits every tunnel.
    pub mtu: u16,
}

/// The same for another configuration, before it runs.
pub(super) struct Next {
    pub numbers: Numbers,
    pub neighbours: Neighbours,
    pub handoffs: Handoffs,
    pub mtus: Mtus,
    /// Workers that are not what the layout needs.
    pub gone: Vec<u16>,
    /// By queue.
    pub plans: BTreeMap<u16, Plan>,
}

impl Running {
    /// Nothing, as before any configuration.
    pub(super) fn nothing() -> Running {
        Running {
            document: Document::empty(),
            programs: BTreeMap::new(),
            queues: BTreeMap::new(),
            numbers: Numbers::default(),
            neighbours: Neighbours::default(),
            handoffs: Handoffs::default(),
            mtus: Mtus::default(),
            mtu: 0,
        }
    }

    /// The devices in use, for reading a layout.
    pub(super) fn known(&self, seen: &Devices) -> RunningDevices {
        let placements = self.queues.values().filter(|queue| !queue.is_dead()).map(Queue::placement);
        RunningDevices::new(self.document.config(), placements, seen)
    }

    /// Plans for the workers of another configuration. Nothing is touched.
    pub(super) fn prepare(&self, config: &Config, layout: &Layout) -> Next {
        let stays = |queue: &Queue| {
            layout.placement(queue.placement().queue).is_some_and(|placement| queue.serves(placement))
        };
        let gone: Vec<u16> =
            self.queues.iter().filter(|(_, queue)| !stays(queue)).map(|(number, _)| *number).collect();
        let mut numbers = self.numbers.clone();
        numbers.assign(config);
        let mut neighbours = self.neighbours.clone();
        neighbours.retain(config);
        let table = Arc::new(plan::table(config, &numbers));
        let workers = layout.placements().iter().map(|placement| placement.queue).collect();
        let handoffs = self.handoffs.for_workers(workers, numbers.room_for_peers());
        let mtus = layout.mtus(config);
        let asks_private = layout.placements().first().map(|placement| placement.queue);
        let mut plans = BTreeMap::new();
        for placement in layout.placements() {
            let stays = self.queues.get(&placement.queue).filter(|_| !gone.contains(&placement.queue));
            let make = plan::PlanInput {
                config,
                placement,
                numbers: &numbers,
                table: &table,
                neighbours: &neighbours,
                mtus,
                asks_private: asks_private == Some(placement.queue),
                handoffs: &handoffs,
            };
            plans.insert(placement.queue, make.plan(stays.map_or(0, Queue::room)));
        }
        Next { numbers, neighbours, handoffs, mtus, gone, plans }
    }
}
