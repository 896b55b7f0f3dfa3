// SPDX-License-Identifier: Apache-2.0
//! What the model cannot say, and what this version of the program cannot do.

use super::difference::Changes;
use super::typed::{Association, Config, Link, PrivateInterface, PublicInterface, Route};
use crate::sa::Algorithm;
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
    #[error(
        "{path}/key: the same key and salt as that of {other}, by which packets arrive, so that both gateways seal with \
         the same nonces; expected another key (or salt) in each direction"
    )]
    SameBothWays { path: String, other: String },
    #[error(
        "{path}/key: the same SPI, key and salt as those of {other}, so that what one worker received could be replayed \
         to the other; expected another key, salt or SPI for each worker"
    )]
    SameReplays { path: String, other: String },
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
    #[error("{path}/{leaf} {ip}: expected the address of a host")]
    NotAHost { path: String, leaf: &'static str, ip: IpAddr },
    #[error("{path}/{leaf} {mac}: {what}; expected the address of one device")]
    NotADevice { path: String, leaf: &'static str, mac: Mac, what: &'static str },
    #[error("{path}/nexthop-mac {mac}: the address of this interface itself; expected that of its next hop")]
    OwnNextHopMac { path: String, mac: Mac },
    #[error("{path}/nexthop-ip {ip}: the address of this interface itself; expected that of its next hop")]
    OwnNextHop { path: String, ip: IpAddr },
    #[error(
        "{path}/{leaf} {ip}: the same address as that of {other}; expected another one for each interface"
    )]
    SameAddress { path: String, leaf: &'static str, ip: IpAddr, other: String },
    #[error(
        "/mtu {mtu}: route {route} carries IPv6 ({net}), whose hosts need not send packets of less than \
         {IPV6_MINIMUM_MTU} bytes (RFC 8200 section 5); expected {IPV6_MINIMUM_MTU} or more"
    )]
    MtuBelowIpv6 { mtu: u16, route: String, net: IpNet },
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
            Refusal::SameNonces { path, .. }
            | Refusal::SameBothWays { path, .. }
            | Refusal::SameReplays { path, .. }
            | Refusal::KeyLength { path, .. } => format!("{path}/key"),
            Refusal::Pci { path, .. } => format!("{path}/pci"),
            Refusal::NotAHost { path, leaf, .. }
            | Refusal::NotADevice { path, leaf, .. }
            | Refusal::SameAddress { path, leaf, .. } => format!("{path}/{leaf}"),
            Refusal::OwnNextHopMac { path, .. } => format!("{path}/nexthop-mac"),
            Refusal::OwnNextHop { path, .. } => format!("{path}/nexthop-ip"),
            Refusal::MtuBelowIpv6 { .. } => "/mtu".to_string(),
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
    macs(config)?;
    addresses(config)?;
    mtu(config)?;
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

/// Ethernet addresses of devices, and not of groups of them (IEEE 802, section 8.2).
fn macs(config: &Config) -> Result<(), Refusal> {
    let private = config.private.iter().map(|one| (private_path(one), &one.link, one.mac, one.nexthop_mac));
    let public = config.public.iter().map(|one| (public_path(one), &one.link, one.mac, one.nexthop_mac));
    for (path, link, mac, nexthop_mac) in private.chain(public) {
        for (leaf, mac) in [("mac", mac), ("nexthop-mac", nexthop_mac)] {
            let Some(mac) = mac else { continue };
            let what = match mac.0 {
                [0, 0, 0, 0, 0, 0] => "no address at all",
                [first, ..] if first & GROUP != 0 => "the address of a group (broadcast or multicast)",
                _ => continue,
            };
            return Err(Refusal::NotADevice { path, leaf, mac, what });
        }
        if let (Link::Interface(_), Some(mac)) = (link, mac.filter(|_| mac == nexthop_mac)) {
            return Err(Refusal::OwnNextHopMac { path, mac });
        }
    }
    Ok(())
}

/// No two interfaces answer for one address, inside or out, and none is its own next hop. Interfaces without a device
/// send nothing, and configurations for tests are written with any addresses. A route may lead to an own address
/// (loopback).
fn addresses(config: &Config) -> Result<(), Refusal> {
    let mut owners: HashMap<IpAddr, String> = HashMap::new();
    for private in config.private.iter().filter(|one| has_device(&one.link)) {
        let path = private_path(private);
        if private.nexthop_ip == private.ip {
            return Err(Refusal::OwnNextHop { path, ip: private.ip });
        }
        owners.insert(private.ip, path);
    }
    let mut outside: HashMap<IpAddr, String> = HashMap::new();
    for public in config.public.iter().filter(|one| has_device(&one.link)) {
        let path = public_path(public);
        if public.nexthop_ip == public.ip {
            return Err(Refusal::OwnNextHop { path, ip: public.ip });
        }
        if let Some(other) = owners.insert(public.ip, path.clone()) {
            return Err(Refusal::SameAddress { path, leaf: "ip", ip: public.ip, other });
        }
        let (leaf, ip) =
            if public.nat_ip.is_some() { ("nat-ip", public.outside_ip()) } else { ("ip", public.ip) };
        if let Some(other) = outside.insert(ip, path.clone()) {
            return Err(Refusal::SameAddress { path, leaf, ip, other });
        }
    }
    Ok(())
}

fn has_device(link: &Link) -> bool {
    matches!(link, Link::Interface(_))
}

fn mtu(config: &Config) -> Result<(), Refusal> {
    if config.mtu >= IPV6_MINIMUM_MTU {
        return Ok(());
    }
    let mut nets = config.routes.iter().flat_map(|route| route.nets.iter().map(move |net| (route, net)));
    match nets.find(|(_, net)| matches!(net, IpNet::V6(_))) {
        Some((route, net)) => {
            Err(Refusal::MtuBelowIpv6 { mtu: config.mtu, route: route.id.clone(), net: *net })
        }
        None => Ok(()),
    }
}

/// Each serves a route. No two seal by the same key and salt, even by other algorithms, those of the peer included,
/// and no two accept the same packets.
fn associations(config: &Config) -> Result<(), Refusal> {
    let outbound = config.outbound.iter().map(|association| ("outbound-sa", association));
    let inbound = config.inbound.iter().map(|association| ("inbound-sa", association));
    for (list, association) in outbound.chain(inbound) {
        if config.route(&association.route).is_none() {
            let path = association_path(list, association);
            return Err(Refusal::NoSuchRoute { path, route: association.route.clone() });
        }
    }
    let mut keys = HashMap::with_capacity(config.outbound.len());
    for association in &config.outbound {
        if let Some(other) = keys.insert((association.sa.key.bytes(), &association.sa.salt), association) {
            let [path, other] = [association, other].map(|one| association_path("outbound-sa", one));
            return Err(Refusal::SameNonces { path, other });
        }
    }
    let mut received = HashMap::with_capacity(config.inbound.len());
    for association in &config.inbound {
        // A packet that this gateway sends to itself is sealed once: no peer seals by that key.
        let sealed_here = config.loops(&association.route);
        if let Some(outbound) =
            keys.get(&(association.sa.key.bytes(), &association.sa.salt)).filter(|_| !sealed_here)
        {
            let other = association_path("inbound-sa", association);
            return Err(Refusal::SameBothWays { path: association_path("outbound-sa", outbound), other });
        }
        let name = (association.sa.spi, association.sa.key.bytes(), &association.sa.salt);
        if let Some(other) = received.insert(name, association) {
            let [path, other] = [association, other].map(|one| association_path("inbound-sa", one));
            return Err(Refusal::SameReplays { path, other });
        }
    }
    Ok(())
}

pub(super) fn association_path(list: &str, association: &Association) -> String {
    format!("/{list}[queue={}][spi={}]", association.queue, association.sa.spi)
}

fn supported_aeads() -> String {
    Algorithm::ALL.map(Algorithm::name).join(" or ")
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
        if let Some(other) = keys.insert(route.preshared_key.bytes(), *route) {
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
        if let Some(route) = keys.get(other.preshared_key.bytes()).filter(is_another) {
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

pub(super) fn route_path(route: &Route) -> String {
    let digit = if route.outer == Family::V4 { 4 } else { 6 };
    format!("/route{digit}[id={}]", route.id)
}

/// What ends the names of a family's nodes.
fn digit(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 4 } else { 6 }
}

/// Every link that carries IPv6 takes packets of this size (RFC 8200, section 5).
const IPV6_MINIMUM_MTU: u16 = 1280;
/// The group bit in the first byte of an Ethernet address.
const GROUP: u8 = 1;
