// SPDX-License-Identifier: Apache-2.0
//! The devices that a configuration names.

use crate::config::{Config, Link};
use crate::device::Device;
use std::collections::{BTreeMap, BTreeSet};

/// A device by its index: it may have several names, and an interface that was deleted and made again is another one.
pub(super) type DeviceId = u32;

/// Interfaces by name; `None` while there is none of that name.
pub(super) type Devices = BTreeMap<String, Option<Device>>;

/// Interfaces as they are now. One that has been renamed is still the one it was, unless another has its name.
pub(super) fn inspect<'a>(names: impl Iterator<Item = &'a str>, before: &Devices) -> Devices {
    let names: BTreeSet<&str> = names.collect();
    let inspect = |name: &str| {
        let renamed = || Device::renamed(before.get(name)?.as_ref()?);
        Device::inspect(name).ok().or_else(renamed)
    };
    names.iter().map(|name| (name.to_string(), inspect(name))).collect()
}

/// The names of the interfaces of a configuration.
pub(super) fn names(config: &Config) -> impl Iterator<Item = &str> {
    let private = config.private.iter().map(|private| &private.link);
    let links = private.chain(config.public.iter().map(|public| &public.link));
    links.filter_map(|link| match link {
        Link::Interface(name) => Some(name.as_str()),
        _ => None,
    })
}
