// SPDX-License-Identifier: Apache-2.0
//! The configuration as types.

use crate::sa::{PresharedKey, SaParameters};
use crate::wire::Mac;
use crate::wire::class::Dscp;
use crate::wire::ip::Family;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// Everything that can be configured, defaults included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// One of each family at most, IPv4 first. They are on one device.
    pub private: Vec<PrivateInterface>,
    /// Sorted by queue, IPv4 first; one of each family at most for a queue. Those of one queue are on one device queue.
    pub public: Vec<PublicInterface>,
    /// Sorted by id. Configurations share the routes that they have in common.
    pub routes: Vec<Arc<Route>>,
    /// Longest inner packet, in bytes.
    pub mtu: u16,
    pub tfc: bool,
    /// Of outer headers.
    pub dscp: Dscp,
    /// Whether outer headers have the ECN field of the packet inside.
    pub ecn: bool,
    /// Whether what comes out of a tunnel has to come from its route's networks.
    pub check_inner_source: bool,
    /// Whether XDP programs outlive the process.
    pub fail_closed: bool,
    /// Whether IPv4 packets without DF that are too long for a tunnel are cut.
    pub fragment_inner: bool,
    /// Whether the segment size that TCP connections announce is lowered to what a tunnel takes.
    pub mss_clamp: bool,
    pub protocol_port: u16,
    /// In seconds.
    pub negotiation_ttl: u32,
    /// In seconds.
    pub sa_ttl: u32,
    /// Associations are configured, not negotiated.
    pub data_plane: bool,
    /// Sorted by queue and SPI, as those below. Empty unless `data_plane`.
    pub outbound: Vec<Arc<Association>>,
    pub inbound: Vec<Arc<Association>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateInterface {
    pub link: Link,
    pub mac: Option<Mac>,
    pub nexthop_mac: Option<Mac>,
    pub ip: IpAddr,
    pub nexthop_ip: IpAddr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicInterface {
    pub queue: u16,
    /// Counted from 1; the same as `queue` unless configured.
    pub device_queue: u16,
    pub link: Link,
    pub mac: Option<Mac>,
    pub nexthop_mac: Option<Mac>,
    pub ip: IpAddr,
    pub nexthop_ip: IpAddr,
    pub nat_ip: Option<IpAddr>,
}

/// How an interface reaches its device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Link {
    /// No device: PCI address 00:00.0.
    None,
    /// A real PCI address, for drivers that are not part of this program.
    Pci(String),
    /// A network interface of the kernel.
    Interface(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub id: String,
    /// What its packets are wrapped in; that of all its gateways.
    pub outer: Family,
    pub spi: u32,
    pub preshared_key: PresharedKey,
    /// At least one; of either family.
    pub nets: Vec<IpNet>,
    /// Sorted by queue, never empty.
    pub gateways: Vec<Gateway>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    pub ip: IpAddr,
    pub queue: u16,
}

/// A security association with a configured key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    pub queue: u16,
    /// The id of a route.
    pub route: String,
    pub sa: SaParameters,
    /// The last sequence number that is used up.
    pub sequence: u64,
    /// Whether the configuration says that number, be it 0.
    pub is_sequence_given: bool,
}

impl Config {
    /// The public interface by which the worker of that number reaches gateways of that family.
    pub fn public(&self, queue: u16, family: Family) -> Option<&PublicInterface> {
        let key = |interface: &PublicInterface| (interface.queue, Family::of(interface.ip));
        let index = self.public.binary_search_by_key(&(queue, family), key).ok()?;
        self.public.get(index)
    }

    /// A public interface for each worker, by queue. It has the worker's device queue.
    pub fn workers(&self) -> impl Iterator<Item = &PublicInterface> {
        self.public.chunk_by(|one, other| one.queue == other.queue).filter_map(|both| both.first())
    }

    /// The route of that id.
    pub fn route(&self, id: &str) -> Option<&Arc<Route>> {
        let index = self.routes.binary_search_by(|route| route.id.as_str().cmp(id)).ok()?;
        self.routes.get(index)
    }

    /// Whether all gateways of a route are own addresses, so that its packets come back here.
    pub fn loops(&self, route: &str) -> bool {
        let own = |gateway: &Gateway| {
            let mut own = self.public.iter().flat_map(|public| [public.ip, public.outside_ip()]);
            own.any(|ip| ip == gateway.ip)
        };
        self.route(route).is_some_and(|route| route.gateways.iter().all(own))
    }

    /// Whether any interface has an address of that family.
    pub fn has(&self, family: Family) -> bool {
        let private = self.private.iter().map(|private| private.ip);
        private.chain(self.public.iter().map(|public| public.ip)).any(|ip| Family::of(ip) == family)
    }
}

impl PublicInterface {
    /// The address under which other gateways know this interface.
    pub fn outside_ip(&self) -> IpAddr {
        self.nat_ip.unwrap_or(self.ip)
    }
}

impl Route {
    /// The gateway that a worker sends to: the one with its number, else the one with the lowest.
    pub fn gateway(&self, queue: u16) -> Option<&Gateway> {
        self.gateways.iter().find(|gateway| gateway.queue == queue).or_else(|| self.gateways.first())
    }
}
