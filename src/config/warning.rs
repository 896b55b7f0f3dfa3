// SPDX-License-Identifier: Apache-2.0
//! Warnings: a configuration is accepted, but parts of it do not work yet. Documented orders of changes pass through such
//! configurations.

use super::check::{association_path, route_path};
use super::typed::{Association, Config, Gateway, Route};
use crate::wire::ip::Family;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Something in a configuration that is valid and does not work, or not safely. The message names the path, the value,
/// and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Warning {
    #[error(
        "{path}/queue {queue}: there is no public interface with this queue ({known}), so this gateway is not used; add \
         the interface"
    )]
    GatewayWithoutWorker { path: String, queue: u16, known: Queues },
    #[error(
        "{path}/queue {queue}: there is no public interface with this queue ({known}), so this SA is not used; add the \
         interface"
    )]
    AssociationWithoutWorker { path: String, queue: u16, known: Queues },
    #[error(
        "{path}/key: the same key as that of {other}, with another salt; give each direction a key of its own"
    )]
    SameKey { path: String, other: String },
    #[error(
        "{path}/key: the same key and salt as that of {other}: safe only because route {route} leads back to this \
         gateway"
    )]
    Loopback { path: String, other: String, route: String },
}

/// The first of them, in the order of the configuration.
pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = gateways(config);
    associations(config, &mut warnings);
    keys_of_both_directions(config, &mut warnings);
    warnings.truncate(MAX_WARNINGS);
    warnings
}

fn gateways(config: &Config) -> Vec<Warning> {
    let all =
        config.routes.iter().flat_map(|route| route.gateways.iter().map(move |gateway| (route, gateway)));
    let lost = all.filter(|(route, gateway)| config.public(gateway.queue, route.outer).is_none());
    let warning = |(route, gateway): (&Arc<Route>, &Gateway)| Warning::GatewayWithoutWorker {
        path: format!("{}/gateway[ip={}]", route_path(route), gateway.ip),
        queue: gateway.queue,
        known: Queues::of(config, route.outer),
    };
    lost.take(MAX_WARNINGS).map(warning).collect()
}

fn associations(config: &Config, warnings: &mut Vec<Warning>) {
    let outbound = config.outbound.iter().map(|association| ("outbound-sa", association));
    let inbound = config.inbound.iter().map(|association| ("inbound-sa", association));
    let outer = |association: &Association| config.route(&association.route).map(|route| route.outer);
    let lost = outbound.chain(inbound).filter_map(|(list, association)| {
        let outer = outer(association).filter(|outer| config.public(association.queue, *outer).is_none())?;
        Some(Warning::AssociationWithoutWorker {
            path: association_path(list, association),
            queue: association.queue,
            known: Queues::of(config, outer),
        })
    });
    warnings.extend(lost.take(MAX_WARNINGS));
}

/// Whoever has one key for both directions depends on salts, or on where packets go.
fn keys_of_both_directions(config: &Config, warnings: &mut Vec<Warning>) {
    let mut sealing: HashMap<&[u8], &Association> = HashMap::with_capacity(config.outbound.len());
    let mut exactly = HashMap::with_capacity(config.outbound.len());
    for association in &config.outbound {
        sealing.insert(association.sa.key.bytes(), association);
        exactly.insert((association.sa.key.bytes(), &association.sa.salt), association);
    }
    let both = config.inbound.iter().filter_map(|association| {
        let other = association_path("inbound-sa", association);
        let key = association.sa.key.bytes();
        if let Some(same) = exactly.get(&(key, &association.sa.salt)) {
            let (path, route) = (association_path("outbound-sa", same), association.route.clone());
            return Some(Warning::Loopback { path, other, route });
        }
        let path = association_path("outbound-sa", sealing.get(key)?);
        Some(Warning::SameKey { path, other })
    });
    warnings.extend(both.take(MAX_WARNINGS));
}

/// The queues that the public interfaces of a family have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Queues {
    family: u8,
    known: Vec<u16>,
}

impl Queues {
    fn of(config: &Config, family: Family) -> Queues {
        let of_family = config.public.iter().filter(|public| Family::of(public.ip) == family);
        let known = of_family.map(|public| public.queue).collect();
        Queues { family: if family == Family::V4 { 4 } else { 6 }, known }
    }
}

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Queues { family, known } = self;
        if known.is_empty() {
            return write!(f, "there is no public-interface{family} yet");
        }
        let known: Vec<_> = known.iter().map(u16::to_string).collect();
        write!(f, "public-interface{family} has queue {}", known.join(", "))
    }
}

/// More than anybody reads of one kind, and few enough that a change of a configuration with thousands of them does
/// not take longer for it.
const MAX_WARNINGS: usize = 100;
