// SPDX-License-Identifier: Apache-2.0
//! What a change would touch, told before it is made.

use super::layout::Layout;
use super::{ApplyError, Job, Supervisor};
use crate::config::{Config, Difference, Document, Route, first_names};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What happens to workers, associations and exchanges under way.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// Queues whose workers are started, stopped, or stopped and started again.
    pub started: Vec<u16>,
    pub stopped: Vec<u16>,
    pub restarted: Vec<u16>,
    /// Routes that go, and their associations with them.
    pub removed: Vec<String>,
    /// Routes that lose their associations and negotiate new ones.
    pub rekeyed: Vec<String>,
    /// Routes whose exchanges under way begin again; what they have stays.
    pub reset: Vec<String>,
    /// Routes to which nothing happens but on restarted workers.
    pub untouched: usize,
    /// Whether associations are configured, not negotiated.
    pub is_manual: bool,
    /// Whether that is another answer than before.
    pub is_switched: bool,
}

impl Supervisor {
    /// Begins to read the devices for [`Supervisor::impact`]; or finds the error that [`Supervisor::begin`] would lead to, as
    /// far as that can be known before.
    pub fn preview(&self, candidate: &Document) -> io::Result<Job<Result<Layout, ApplyError>>> {
        let (candidate, options, known) =
            (candidate.clone(), self.options.clone(), self.running.known(self.watch.seen()));
        Job::start(&self.wakeup, move || Layout::of(candidate.config(), &options, &known))
    }

    /// What [`Supervisor::begin`] would do.
    pub fn impact(&self, candidate: &Document, layout: &Layout) -> Impact {
        let difference = Difference::between(self.running.document.config(), candidate.config());
        let mut impact = Impact::of_routes(&difference, self.running.document.config(), candidate.config());
        for (queue, running) in &self.running.queues {
            match layout.placement(*queue) {
                None => impact.stopped.push(*queue),
                Some(placement) if !running.serves(placement) => impact.restarted.push(*queue),
                Some(_) => {}
            }
        }
        let queues = layout.placements().iter().map(|placement| placement.queue);
        impact.started.extend(queues.filter(|queue| !self.running.queues.contains_key(queue)));
        impact
    }
}

impl Impact {
    fn of_routes(difference: &Difference<'_>, old: &Config, new: &Config) -> Impact {
        let mut impact =
            Impact { is_manual: new.data_plane, is_switched: difference.data_plane, ..Impact::default() };
        let id = |route: &&Arc<Route>| route.id.clone();
        impact.removed = difference.routes.removed.iter().map(id).collect();
        if impact.is_manual || impact.is_switched {
            // No exchange is under way, and what happens to associations is what the difference says.
            impact.untouched =
                new.routes.len() - difference.routes.added.len() - difference.routes.changed.len();
            return impact;
        }
        for (old, new) in &difference.routes.changed {
            if old.spi != new.spi || old.preshared_key != new.preshared_key {
                impact.rekeyed.push(new.id.clone());
            } else if old.gateways != new.gateways {
                impact.reset.push(new.id.clone());
            }
        }
        let addresses = |config: &Config| -> Vec<_> {
            config.public.iter().map(|public| (public.queue, public.outside_ip())).collect()
        };
        if difference.negotiation_ttl || addresses(old) != addresses(new) {
            let added = difference.routes.added.iter().map(|route| &route.id);
            let aside: HashSet<&String> = added.chain(&impact.rekeyed).collect();
            let ids = new.routes.iter().map(|route| &route.id);
            impact.reset = ids.filter(|id| !aside.contains(id)).cloned().collect();
        }
        let touched = difference.routes.changed.len().max(impact.rekeyed.len() + impact.reset.len());
        impact.untouched = new.routes.len() - difference.routes.added.len() - touched;
        impact
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let restarted = if self.is_manual {
            "workers restarted, their SAs go on where they were: queue"
        } else {
            "workers restarted, their SAs lost and negotiated anew: queue"
        };
        for (what, queues) in [
            ("workers started: queue", &self.started),
            ("workers stopped, their SAs lost: queue", &self.stopped),
            (restarted, &self.restarted),
        ] {
            if !queues.is_empty() {
                let queues: Vec<_> = queues.iter().map(u16::to_string).collect();
                writeln!(f, "{what} {}", queues.join(", "))?;
            }
        }
        for (what, routes) in [
            ("SAs lost", &self.removed),
            ("SAs lost and negotiated anew", &self.rekeyed),
            ("exchanges under way begun anew, SAs kept", &self.reset),
        ] {
            if !routes.is_empty() {
                writeln!(f, "{what}: {} of {}", routes.len(), first_names(routes, MAX_NAMES))?;
            }
        }
        match (self.is_switched, self.is_manual) {
            (true, true) => {
                writeln!(f, "no key exchange any more: negotiated SAs end, configured ones begin")?
            }
            (true, false) => writeln!(f, "configured SAs end, all routes negotiate new ones")?,
            (false, _) => {}
        }
        writeln!(f, "routes not touched: {}", self.untouched)
    }
}

/// Routes that a line names.
const MAX_NAMES: usize = 10;
