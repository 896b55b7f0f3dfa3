// SPDX-License-Identifier: Apache-2.0
//! What is different between two configurations, so that a change touches only what it names.

use super::typed::{Association, Config, PrivateInterface, PublicInterface, Route};
use crate::wire::ip::Family;
use std::cmp::Ordering;
use std::sync::Arc;

/// From an old configuration to a new one.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference<'a> {
    pub(super) old: &'a Config,
    pub(super) new: &'a Config,
    /// The private interfaces, one of each family at most, which all workers share.
    pub private: Changes<'a, PrivateInterface>,
    /// Public interfaces, matched by queue and family; there is a worker for each queue.
    pub public: Changes<'a, PublicInterface>,
    /// Routes, matched by id.
    pub routes: Changes<'a, Arc<Route>>,
    /// Configured associations, matched by queue and SPI.
    pub outbound: Changes<'a, Arc<Association>>,
    pub inbound: Changes<'a, Arc<Association>>,
    pub mtu: bool,
    pub tfc: bool,
    pub dscp: bool,
    pub ecn: bool,
    pub check_inner_source: bool,
    pub fail_closed: bool,
    pub fragment_inner: bool,
    pub mss_clamp: bool,
    pub protocol_port: bool,
    pub negotiation_ttl: bool,
    pub sa_ttl: bool,
    pub data_plane: bool,
}

/// Elements that one configuration has and the other has not, or has in another form.
#[derive(Debug, PartialEq, Eq)]
pub struct Changes<'a, T> {
    pub added: Vec<&'a T>,
    pub removed: Vec<&'a T>,
    /// Old and new.
    pub changed: Vec<(&'a T, &'a T)>,
}

impl<'a> Difference<'a> {
    pub fn between(old: &'a Config, new: &'a Config) -> Difference<'a> {
        Difference {
            old,
            new,
            private: Changes::between(&old.private, &new.private, |private| Family::of(private.ip)),
            public: Changes::between(&old.public, &new.public, |public| {
                (public.queue, Family::of(public.ip))
            }),
            routes: Changes::between(&old.routes, &new.routes, |route| route.id.as_str()),
            outbound: Changes::between(&old.outbound, &new.outbound, |one| (one.queue, one.sa.spi)),
            inbound: Changes::between(&old.inbound, &new.inbound, |one| (one.queue, one.sa.spi)),
            mtu: old.mtu != new.mtu,
            tfc: old.tfc != new.tfc,
            dscp: old.dscp != new.dscp,
            ecn: old.ecn != new.ecn,
            check_inner_source: old.check_inner_source != new.check_inner_source,
            fail_closed: old.fail_closed != new.fail_closed,
            fragment_inner: old.fragment_inner != new.fragment_inner,
            mss_clamp: old.mss_clamp != new.mss_clamp,
            protocol_port: old.protocol_port != new.protocol_port,
            negotiation_ttl: old.negotiation_ttl != new.negotiation_ttl,
            sa_ttl: old.sa_ttl != new.sa_ttl,
            data_plane: old.data_plane != new.data_plane,
        }
    }

    /// Whether nothing but routes and configured associations is different.
    pub fn keeps_the_rest(&self) -> bool {
        let leaves = [
            !self.private.is_empty(),
            self.mtu,
            self.tfc,
            self.dscp,
            self.ecn,
            self.check_inner_source,
            self.fail_closed,
            self.fragment_inner,
            self.mss_clamp,
            self.protocol_port,
            self.negotiation_ttl,
            self.sa_ttl,
            self.data_plane,
        ];
        !leaves.contains(&true) && self.public.is_empty()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keeps_the_rest() && self.routes.is_empty() && !self.has_associations()
    }

    /// Whether configured associations are different.
    pub fn has_associations(&self) -> bool {
        !self.outbound.is_empty() || !self.inbound.is_empty()
    }

    /// Whether the devices or addresses that the worker of that number uses are different, so that it has to be
    /// started, stopped, or bound anew.
    pub fn touches_interfaces_of(&self, queue: u16) -> bool {
        let Changes { added, removed, changed } = &self.public;
        let mut alone = added.iter().chain(removed);
        !self.private.is_empty()
            || alone.any(|public| public.queue == queue)
            || changed.iter().any(|(_, new)| new.queue == queue)
    }
}

impl<'a, T: PartialEq> Changes<'a, T> {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Compares two slices that are sorted by the same key.
    pub(super) fn between<K: Ord>(old: &'a [T], new: &'a [T], key: impl Fn(&'a T) -> K) -> Self {
        let mut changes = Changes { added: Vec::new(), removed: Vec::new(), changed: Vec::new() };
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => key(old).cmp(&key(new)),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return changes,
            };
            match order {
                Ordering::Less => changes.removed.extend(old.next()),
                Ordering::Greater => changes.added.extend(new.next()),
                Ordering::Equal => {
                    let pair = old.next().zip(new.next());
                    changes.changed.extend(pair.filter(|(old, new)| old != new));
                }
            }
        }
    }
}
