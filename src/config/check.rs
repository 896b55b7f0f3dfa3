// SPDX-License-Identifier: Apache-2.0
//! What the model cannot say, and what this version of the program cannot do.

use super::difference::Changes;
use super::typed::{Config, Link, PublicInterface, Route};
use crate::yang::data::Container;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Why a configuration that conforms to the model is refused nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("/{0}: IPv6 gateways are not supported by this version; use the IPv4 nodes")]
    Ipv6(&'static str),
    #[error(
        "/data-plane true: associations with configured keys are not supported by this version; \
         remove data-plane or set it to false"
    )]
    DataPlane,
    #[error("{path}: expected ifname with the name of a network interface (or pci 00:00.0 for no device)")]
    NoDevice { path: String },
    #[error(
        "{path}/pci {address}: PCI devices are not driven directly; \
         use ifname with the name of the network interface"
    )]
    Pci { path: String, address: String },
    #[error(
        "{path}: device queue {device_queue} of {interface} is already used by {other}; \
         expected one that no other interface uses (see device-queue, queue)"
    )]
    SharedDeviceQueue { path: String, interface: String, device_queue: u16, other: String },
    #[error("{path}/queue {queue}: expected the queue of a public interface, one of {expected}")]
    NoSuchQueue { path: String, queue: u16, expected: String },
    #[error("{path}/{leaf} {ip}: expected the address of a host")]
    NotAHost { path: String, leaf: &'static str, ip: IpAddr },
    #[error("/route4[id={route}]/preshared-key: the same key as that of route {other}")]
    SameKey { route: String, other: String },
    #[error("{path}: the value cannot be used")]
    Unreadable { path: String },
}

impl Refusal {
    /// The path of the node that is refused, of which the message speaks.
    pub(super) fn path(&self) -> String {
        match self {
            Refusal::Ipv6(name) => format!("/{name}"),
            Refusal::DataPlane => "/data-plane".to_string(),
            Refusal::Pci { path, .. } => format!("{path}/pci"),
            Refusal::NoSuchQueue { path, .. } => format!("{path}/queue"),
            Refusal::NotAHost { path, leaf, .. } => format!("{path}/{leaf}"),
            Refusal::SameKey { route, .. } => format!("/route4[id={route}]/preshared-key"),
            Refusal::NoDevice { path }
            | Refusal::SharedDeviceQueue { path, .. }
            | Refusal::Unreadable { path } => path.clone(),
        }
    }
}

/// Refuses trees that use what there is not, before they are converted.
pub(super) fn supported(root: &Container) -> Result<(), Refusal> {
    if let Some(name) = IPV6.into_iter().find(|name| root.members.contains_key(*name)) {
        return Err(Refusal::Ipv6(name));
    }
    match root.value("data-plane").and_then(|value| value.as_bool()) {
        Some(true) => Err(Refusal::DataPlane),
        _ => Ok(()),
    }
}

/// Checks a configuration as a whole; of the routes, those that the one before, which was checked, has not.
pub(super) fn check(config: &Config, before: Option<&Config>) -> Result<(), Refusal> {
    let before = before.map_or(&[][..], |before| &before.routes);
    let changes = Changes::between(before, &config.routes, |route| route.id.as_str());
    let changed = changes.changed.into_iter().map(|(_, new)| new);
    let changed: Vec<&Arc<Route>> = changes.added.into_iter().chain(changed).collect();
    devices(config)?;
    hosts(config, &changed)?;
    queues(config)?;
    keys(config, &changed)
}

/// Every device is one that can be driven, and every device queue has one user.
fn devices(config: &Config) -> Result<(), Refusal> {
    let private = config.private.as_ref().map(|private| ("/private-interface4".to_string(), &private.link));
    let public = |public: &PublicInterface| format!("/public-interface4[ip={}]", public.ip);
    let links = config.public.iter().map(|interface| (public(interface), &interface.link));
    for (path, link) in private.iter().cloned().chain(links) {
        if let Link::Pci(address) = link {
            return Err(Refusal::Pci { path, address: address.clone() });
        }
    }
    let mut users: HashMap<(&str, u16), String> = HashMap::new();
    for interface in &config.public {
        // The private interface serves each worker by the device queue of the worker's number.
        if let Some((path, link)) = &private {
            claim(&mut users, path.clone(), link, interface.queue)?;
        }
        claim(&mut users, public(interface), &interface.link, interface.device_queue)?;
    }
    Ok(())
}

fn claim<'a>(
    users: &mut HashMap<(&'a str, u16), String>,
    path: String,
    link: &'a Link,
    device_queue: u16,
) -> Result<(), Refusal> {
    let Link::Interface(interface) = link else { return Ok(()) };
    match users.insert((interface, device_queue), path.clone()) {
        Some(other) => {
            Err(Refusal::SharedDeviceQueue { path, interface: interface.clone(), device_queue, other })
        }
        None => Ok(()),
    }
}

fn hosts(config: &Config, changed: &[&Arc<Route>]) -> Result<(), Refusal> {
    if let Some(private) = &config.private {
        host("/private-interface4", "ip", private.ip)?;
        host("/private-interface4", "nexthop-ip", private.nexthop_ip)?;
    }
    for public in &config.public {
        let path = format!("/public-interface4[ip={}]", public.ip);
        host(&path, "ip", public.ip)?;
        host(&path, "nexthop-ip", public.nexthop_ip)?;
        host(&path, "nat-ip", public.outside_ip())?;
    }
    for route in changed {
        for gateway in &route.gateways {
            host(&format!("/route4[id={}]/gateway", route.id), "ip", gateway.ip)?;
        }
    }
    Ok(())
}

fn host(path: &str, leaf: &'static str, ip: IpAddr) -> Result<(), Refusal> {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err(Refusal::NotAHost { path: path.to_string(), leaf, ip });
    }
    Ok(())
}

/// A gateway entry is for the worker of its number, so there has to be one. While no public interface is configured
/// there is no worker at all, and the order in which nodes are configured is free.
fn queues(config: &Config) -> Result<(), Refusal> {
    let mut entries =
        config.routes.iter().flat_map(|route| route.gateways.iter().map(move |gateway| (route, gateway)));
    let lost = entries.find(|(_, gateway)| config.public(gateway.queue).is_none());
    match lost.filter(|_| !config.public.is_empty()) {
        Some((route, gateway)) => {
            let expected: Vec<_> = config.public.iter().map(|public| public.queue.to_string()).collect();
            Err(Refusal::NoSuchQueue {
                path: format!("/route4[id={}]/gateway[ip={}]", route.id, gateway.ip),
                queue: gateway.queue,
                expected: expected.join(", "),
            })
        }
        None => Ok(()),
    }
}

/// The model compares text, and the same key can be written in more ways than one.
fn keys(config: &Config, changed: &[&Arc<Route>]) -> Result<(), Refusal> {
    let mut keys = HashMap::with_capacity(changed.len());
    let same =
        |route: &Route, other: &Route| Refusal::SameKey { route: route.id.clone(), other: other.id.clone() };
    for route in changed {
        if let Some(other) = keys.insert(&route.preshared_key, *route) {
            return Err(same(route, other));
        }
    }
    if changed.is_empty() || changed.len() == config.routes.len() {
        return Ok(());
    }
    for other in &config.routes {
        if let Some(route) = keys.get(&other.preshared_key).filter(|route| route.id != other.id) {
            return Err(same(route, other));
        }
    }
    Ok(())
}

const IPV6: [&str; 3] = ["private-interface6", "public-interface6", "route6"];
