// SPDX-License-Identifier: Apache-2.0
//! What the model cannot say, and what this version of the program cannot do.

use super::difference::Changes;
use super::typed::{Aead, Association, Config, Link, PrivateInterface, PublicInterface, Route};
use crate::wire::ip::Family;
use crate::wire::{Mac, ipv6};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Why a configuration that conforms to the model is refused nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{path}/aead {aead}: expected an algorithm that is supported, {}", supported_aeads())]
    Aead { path: String, aead: String },
    #[error("{path}/key: expected the {expected} bytes of a key of {aead}, found {found} bytes (not shown)")]
    KeyLength { path: String, aead: &'static str, expected: usize, found: usize },
    #[error("{path}/route {route}: expected the id of a route")]
    NoSuchRoute { path: String, route: String },
    #[error(
        "{path}/key: the same key and salt as that of {other}, so that nonces would repeat; \
         expected another key (or salt)"
    )]
    SameNonces { path: String, other: String },
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
    #[error("{path}/queue {queue}: expected the queue of a public interface, {expected}")]
    NoSuchQueue { path: String, queue: u16, expected: String },
    #[error("{path}/{leaf} {ip}: expected the address of a host")]
    NotAHost { path: String, leaf: &'static str, ip: IpAddr },
    #[error(
        "{path}/{leaf}: the interfaces of one worker on one side share a device queue; expected the same as in {other}"
    )]
    TwoDevices { path: String, leaf: &'static str, other: String },
    #[error("{path}: the same id as that of {other}; expected another one")]
    SameId { path: String, other: String },
    #[error("{path}/spi {spi}: the same number as that of route {other}")]
    SameSpi { path: String, spi: u32, other: String },
    #[error("{path}/net {net}: the same network as that of route {other}")]
    SameNet { path: String, net: String, other: String },
    #[error("{path}/preshared-key: the same key as that of route {other}")]
    SameKey { path: String, other: String },
    #[error(
        "{path}/additional-net {net}: expected an IPv4 or IPv6 prefix, such as 10.9.0.0/16 or 2001:db8::/32"
    )]
    NotANetwork { path: String, net: String },
    #[error("{path}: the value cannot be used")]
    Unreadable { path: String },
}

impl Refusal {
    /// The path of the node that is refused, of which the message speaks.
    pub(super) fn path(&self) -> String {
        match self {
            Refusal::Aead { path, .. } => format!("{path}/aead"),
            Refusal::NoSuchRoute { path, .. } => format!("{path}/route"),
            Refusal::SameNonces { path, .. } | Refusal::KeyLength { path, .. } => format!("{path}/key"),
            Refusal::Pci { path, .. } => format!("{path}/pci"),
            Refusal::NoSuchQueue { path, .. } => format!("{path}/queue"),
            Refusal::NotAHost { path, leaf, .. } => format!("{path}/{leaf}"),
            Refusal::TwoDevices { path, leaf, .. } => format!("{path}/{leaf}"),
            Refusal::SameSpi { path, .. } => format!("{path}/spi"),
            Refusal::SameNet { path, .. } => format!("{path}/net"),
            Refusal::SameKey { path, .. } => format!("{path}/preshared-key"),
            Refusal::NotANetwork { path, .. } => format!("{path}/additional-net"),
            Refusal::SameId { path, .. }
            | Refusal::NoDevice { path }
            | Refusal::SharedDeviceQueue { path, .. }
            | Refusal::Unreadable { path } => path.clone(),
        }
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
    routes(config, &changed)?;
    associations(config)
}

/// Every device is one that can be driven, and every device queue has one user.
fn devices(config: &Config) -> Result<(), Refusal> {
    let private = config.private.iter().map(|private| (private_path(private), &private.link));
    let public = config.public.iter().map(|interface| (public_path(interface), &interface.link));
    for (path, link) in private.chain(public) {
        if let Link::Pci(address) = link {
            return Err(Refusal::Pci { path, address: address.clone() });
        }
    }
    families(config)?;
    let mut users: HashMap<(&str, u16), String> = HashMap::new();
    for interface in config.workers() {
        // The private interface serves each worker by the device queue of the worker's number.
        if let Some(private) = config.private.first() {
            claim(&mut users, private_path(private), &private.link, interface.queue)?;
        }
        claim(&mut users, public_path(interface), &interface.link, interface.device_queue)?;
    }
    Ok(())
}

/// A worker has one device queue on each side, so the interfaces of both families are the same but for addresses.
fn families(config: &Config) -> Result<(), Refusal> {
    let differs = |path: String, leaf: &'static str, other: String| Refusal::TwoDevices { path, leaf, other };
    if let [one, other] = &config.private[..] {
        for (leaf, same) in [("ifname", one.link == other.link), ("mac", agree(one.mac, other.mac))] {
            if !same {
                return Err(differs(private_path(other), leaf, private_path(one)));
            }
        }
    }
    for pair in config.public.chunk_by(|one, other| one.queue == other.queue) {
        let [one, other] = pair else { continue };
        for (leaf, same) in [
            ("ifname", one.link == other.link),
            ("device-queue", one.device_queue == other.device_queue),
            ("mac", agree(one.mac, other.mac)),
        ] {
            if !same {
                return Err(differs(public_path(other), leaf, public_path(one)));
            }
        }
    }
    Ok(())
}

fn agree(one: Option<Mac>, other: Option<Mac>) -> bool {
    one.is_none() || other.is_none() || one == other
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
    for private in &config.private {
        let path = private_path(private);
        host(&path, "ip", private.ip)?;
        host(&path, "nexthop-ip", private.nexthop_ip)?;
    }
    for public in &config.public {
        let path = public_path(public);
        host(&path, "ip", public.ip)?;
        host(&path, "nexthop-ip", public.nexthop_ip)?;
        host(&path, "nat-ip", public.outside_ip())?;
    }
    for route in changed {
        for gateway in &route.gateways {
            host(&format!("{}/gateway", route_path(route)), "ip", gateway.ip)?;
        }
    }
    Ok(())
}

fn host(path: &str, leaf: &'static str, ip: IpAddr) -> Result<(), Refusal> {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    // Nothing but a router on the link has a use for such an address (RFC 4291 section 2.5.6).
    let link_local = matches!(ip, IpAddr::V6(ip) if leaf != "nexthop-ip" && ipv6::is_link_local(&ip));
    if ip.is_unspecified() || ip.is_multicast() || broadcast || link_local {
        return Err(Refusal::NotAHost { path: path.to_string(), leaf, ip });
    }
    Ok(())
}

/// A gateway entry is for the worker of its number, so there has to be one. While no public interface is configured
/// there is no worker at all, and the order in which nodes are configured is free.
fn queues(config: &Config) -> Result<(), Refusal> {
    let mut entries =
        config.routes.iter().flat_map(|route| route.gateways.iter().map(move |gateway| (route, gateway)));
    let lost = entries.find(|(route, gateway)| config.public(gateway.queue, route.outer).is_none());
    match lost.filter(|_| !config.public.is_empty()) {
        Some((route, gateway)) => {
            let path = format!("{}/gateway[ip={}]", route_path(route), gateway.ip);
            Err(no_such_queue(config, path, gateway.queue, route.outer))
        }
        None => Ok(()),
    }
}

fn no_such_queue(config: &Config, path: String, queue: u16, family: Family) -> Refusal {
    let of_family = config.public.iter().filter(|public| Family::of(public.ip) == family);
    let expected: Vec<_> = of_family.map(|public| public.queue.to_string()).collect();
    let expected = match (expected.is_empty(), family) {
        (true, Family::V4) => "which public-interface4 is to have".to_string(),
        (true, Family::V6) => "which public-interface6 is to have".to_string(),
        (false, _) => format!("one of {}", expected.join(", ")),
    };
    Refusal::NoSuchQueue { path, queue, expected }
}

/// Each serves a route, on a worker that there is, and no two seal by the same key and salt, even by other algorithms.
fn associations(config: &Config) -> Result<(), Refusal> {
    let outbound = config.outbound.iter().map(|association| ("outbound-sa", association));
    let inbound = config.inbound.iter().map(|association| ("inbound-sa", association));
    for (list, association) in outbound.chain(inbound) {
        let path = || association_path(list, association);
        let Some(route) = config.route(&association.route) else {
            return Err(Refusal::NoSuchRoute { path: path(), route: association.route.clone() });
        };
        if !config.public.is_empty() && config.public(association.queue, route.outer).is_none() {
            return Err(no_such_queue(config, path(), association.queue, route.outer));
        }
    }
    let mut keys = HashMap::with_capacity(config.outbound.len());
    for association in &config.outbound {
        if let Some(other) = keys.insert((association.key.bytes(), &association.salt), association) {
            let [path, other] = [association, other].map(|one| association_path("outbound-sa", one));
            return Err(Refusal::SameNonces { path, other });
        }
    }
    Ok(())
}

fn association_path(list: &str, association: &Association) -> String {
    format!("/{list}[queue={}][spi={}]", association.queue, association.spi)
}

fn supported_aeads() -> String {
    Aead::ALL.map(Aead::name).join(" or ")
}

/// The model compares text, and the same network or key can be written in more ways than one; and it compares each family's
/// routes among themselves.
fn routes(config: &Config, changed: &[&Arc<Route>]) -> Result<(), Refusal> {
    // Sorted by id.
    for pair in config.routes.windows(2) {
        if let [one, other] = pair
            && one.id == other.id
        {
            return Err(Refusal::SameId { path: route_path(other), other: route_path(one) });
        }
    }
    let mut nets = HashMap::with_capacity(changed.len());
    let mut keys = HashMap::with_capacity(changed.len());
    let mut spis = HashMap::with_capacity(changed.len());
    let same_net = |net: &IpNet, route: &Route, other: &Route| Refusal::SameNet {
        path: route_path(route),
        net: net.to_string(),
        other: other.id.clone(),
    };
    let same_key =
        |route: &Route, other: &Route| Refusal::SameKey { path: route_path(route), other: other.id.clone() };
    let same_spi = |route: &Route, other: &Route| Refusal::SameSpi {
        path: route_path(route),
        spi: route.spi,
        other: other.id.clone(),
    };
    for route in changed {
        for net in &route.nets {
            if let Some(other) = nets.insert(*net, *route) {
                return Err(same_net(net, route, other));
            }
        }
        if let Some(other) = keys.insert(&route.preshared_key, *route) {
            return Err(same_key(route, other));
        }
        if let Some(other) = spis.insert(route.spi, *route) {
            return Err(same_spi(route, other));
        }
    }
    if changed.is_empty() || changed.len() == config.routes.len() {
        return Ok(());
    }
    for other in &config.routes {
        let is_another = |route: &&&Arc<Route>| route.id != other.id;
        for net in &other.nets {
            if let Some(route) = nets.get(net).filter(is_another) {
                return Err(same_net(net, route, other));
            }
        }
        if let Some(route) = keys.get(&other.preshared_key).filter(is_another) {
            return Err(same_key(route, other));
        }
        if let Some(route) = spis.get(&other.spi).filter(is_another) {
            return Err(same_spi(route, other));
        }
    }
    Ok(())
}

fn private_path(private: &PrivateInterface) -> String {
    format!("/private-interface{}", digit(private.ip))
}

fn public_path(public: &PublicInterface) -> String {
    format!("/public-interface{}[ip={}]", digit(public.ip), public.ip)
}

fn route_path(route: &Route) -> String {
    let digit = if route.outer == Family::V4 { 4 } else { 6 };
    format!("/route{digit}[id={}]", route.id)
}

/// What ends the names of a family's nodes.
fn digit(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 4 } else { 6 }
}
