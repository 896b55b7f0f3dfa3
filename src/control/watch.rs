// SPDX-License-Identifier: Apache-2.0
//! Follows the interfaces: they go and come back, and change, while the gateway runs.

use super::WATCH_EVERY;
use crate::clock::Instant;
use crate::config::{Config, Link};
use crate::wire::Mac;
use crate::xdp::Device;
use std::collections::BTreeMap;

/// Interfaces by name; `None` while there is none of that name.
pub type Devices = BTreeMap<String, Option<Device>>;

/// What the interfaces were like when they were last looked at.
#[derive(Default)]
pub struct Watch {
    seen: Devices,
    look_at: Option<Instant>,
}

impl Watch {
    /// Whether it is time to look again.
    pub fn is_time(&self, now: Instant) -> bool {
        self.look_at.is_none_or(|at| now >= at)
    }

    /// Looks, if it is time again. Whether something is different.
    pub fn look(&mut self, now: Instant, config: &Config) -> bool {
        if !self.is_time(now) {
            return false;
        }
        self.look_at = Some(now + WATCH_EVERY);
        let devices = devices(config);
        let changed = devices != self.seen;
        self.note(&devices);
        changed
    }

    /// The interfaces as they were last seen.
    pub fn seen(&self) -> &Devices {
        &self.seen
    }

    /// Remembers what the interfaces are like, and writes what is different to the log.
    pub fn note(&mut self, devices: &Devices) {
        for (name, now) in devices {
            match (self.seen.get(name), now) {
                (Some(Some(before)), Some(now)) => compare(before, now),
                (Some(Some(_)), None) => {
                    tracing::warn!("interface {name} is gone: its workers stop until it is back");
                }
                (Some(None), Some(now)) => {
                    tracing::info!("interface {name} is back");
                    tell_if_down(now);
                }
                _ => {}
            }
        }
        self.seen.clone_from(devices);
    }
}

/// The interfaces of a configuration as they are now.
pub fn devices(config: &Config) -> Devices {
    names(config).map(|name| (name.to_string(), Device::inspect(name).ok())).collect()
}

/// The names of the interfaces of a configuration.
pub fn names(config: &Config) -> impl Iterator<Item = &str> {
    let private = config.private.iter().map(|private| &private.link);
    let links = private.chain(config.public.iter().map(|public| &public.link));
    links.filter_map(|link| match link {
        Link::Interface(name) => Some(name.as_str()),
        _ => None,
    })
}

fn compare(before: &Device, now: &Device) {
    let name = &now.name;
    if before.index != now.index {
        tracing::info!("interface {name} was deleted and made again");
    }
    if before.up && !now.up {
        tell_if_down(now);
    } else if !before.up && now.up {
        tracing::info!("interface {name} is up");
    }
    if before.mtu != now.mtu {
        tracing::info!("interface {name}: its MTU was {} and is {}", before.mtu, now.mtu);
    }
    if before.mac != now.mac {
        tracing::info!("interface {name}: its MAC address was {} and is {}", Mac(before.mac), Mac(now.mac));
    }
}

fn tell_if_down(device: &Device) {
    if !device.up {
        let name = &device.name;
        tracing::warn!("interface {name} is down, no packet passes: ip link set dev {name} up");
    }
}
