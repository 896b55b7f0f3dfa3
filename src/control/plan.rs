// SPDX-License-Identifier: Apache-2.0
//! The plan of one worker, made from a configuration.

use super::handoffs::Handoffs;
use super::layout::{Mtus, OwnAddresses};
use crate::config::{Config, PrivateInterface, PublicInterface, Route};
use crate::count;
use crate::device::Attachment;
use crate::device::Device;
use crate::exchange::{self, Share};
use crate::graph::{Interface, InterfaceAddress, Plan};
use crate::route::{PeerNumber, PrefixTable, RouteNumber, SpiTable};
use crate::stage::{ResolvedMac, Tunnel};
use crate::wire::Mac;
use crate::wire::class::Marking;
use crate::wire::ip::Family;
use crate::worker::WorkerPlacement;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The numbers by which workers know routes and peers. They stay the same while the route has the same id, and are not given
/// to others in the change that removes the first: SAs move between plans by number. What the workers count of a route stays
/// as long. Today a route has one peer: for each worker, the gateway of its queue.
#[derive(Clone, Default)]
pub(super) struct Numbers {
    of: HashMap<String, Numbered>,
    /// Workers, by queue.
    queues: Vec<u16>,
    routes: NumberPool,
    peers: NumberPool,
}

#[derive(Clone)]
struct Numbered {
    route: RouteNumber,
    peer: PeerNumber,
    /// In the order of the queues.
    stats: Arc<[Arc<count::Route>]>,
}

/// Numbers of one kind.
#[derive(Clone, Default)]
struct NumberPool {
    free: Vec<u32>,
    /// One more than the highest number ever given.
    end: u32,
}

/// Room for routes and peers in a worker.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    routes: usize,
    peers: usize,
}

/// ResolvedMac next-hop addresses, as long as the same neighbour is configured.
#[derive(Clone, Default)]
pub(super) struct Neighbours {
    known: HashMap<Neighbour, Arc<ResolvedMac>>,
}

/// A next hop, as configured.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Neighbour {
    /// None on the private side.
    queue: Option<u16>,
    ip: IpAddr,
    next_hop_ip: IpAddr,
    next_hop_mac: Option<Mac>,
}

/// Everything that a plan is made of.
pub(super) struct PlanInput<'a> {
    pub config: &'a Config,
    pub placement: &'a WorkerPlacement,
    pub numbers: &'a Numbers,
    pub table: &'a Arc<PrefixTable>,
    pub neighbours: &'a Neighbours,
    pub mtus: Mtus,
    pub asks_private: bool,
    pub handoffs: &'a Handoffs,
}

impl Numbers {
    /// Numbers for these routes; those of routes that are no more can be given again by the next call.
    pub(super) fn assign(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.of);
        let queues = config.workers().map(|public| public.queue).collect();
        let queues_before = std::mem::replace(&mut self.queues, queues);
        for route in &config.routes {
            let numbered = match before.remove(&route.id) {
                Some(numbered) => {
                    Numbered { stats: self.stats_for_queues(&queues_before, numbered.stats), ..numbered }
                }
                None => self.new_numbers(),
            };
            self.of.insert(route.id.clone(), numbered);
        }
        before.into_values().for_each(|numbered| self.free(&numbered));
    }

    /// As [`Numbers::assign`], from a difference.
    pub(super) fn change(&mut self, added: &[&Arc<Route>], removed: &[&Arc<Route>]) {
        for route in added {
            let numbered = self.new_numbers();
            self.of.insert(route.id.clone(), numbered);
        }
        for route in removed {
            if let Some(numbered) = self.of.remove(&route.id) {
                self.free(&numbered);
            }
        }
    }

    /// The numbers of a route and of its active peer.
    pub(super) fn of(&self, id: &str) -> Option<(RouteNumber, PeerNumber)> {
        self.of.get(id).map(|numbered| (numbered.route, numbered.peer))
    }

    /// The number of a route.
    pub(super) fn route(&self, id: &str) -> Option<RouteNumber> {
        self.of.get(id).map(|numbered| numbered.route)
    }

    /// The active peer of a route.
    pub(super) fn peer(&self, id: &str) -> Option<PeerNumber> {
        self.of.get(id).map(|numbered| numbered.peer)
    }

    /// The route of a peer; a search, for messages.
    pub(super) fn route_of(&self, peer: PeerNumber) -> Option<&str> {
        self.of.iter().find(|(_, numbered)| numbered.peer == peer).map(|(id, _)| id.as_str())
    }

    /// Counters of a route in the worker of a queue.
    pub(super) fn stats(&self, id: &str, queue: u16) -> Option<&Arc<count::Route>> {
        let place = self.queues.binary_search(&queue).ok()?;
        self.of.get(id)?.stats.get(place)
    }

    fn new_numbers(&mut self) -> Numbered {
        let (route, peer) = (RouteNumber(self.routes.take()), PeerNumber(self.peers.take()));
        Numbered { route, peer, stats: self.queues.iter().map(|_| Arc::default()).collect() }
    }

    fn free(&mut self, numbered: &Numbered) {
        self.routes.free.push(numbered.route.0);
        self.peers.free.push(numbered.peer.0);
    }

    /// Counters for the workers of now: those of workers that remain, and new ones.
    fn stats_for_queues(&self, before: &[u16], stats: Arc<[Arc<count::Route>]>) -> Arc<[Arc<count::Route>]> {
        if self.queues == before {
            return stats;
        }
        let of_queue = |queue| {
            let place = before.binary_search(queue).ok();
            place.and_then(|place| stats.get(place)).cloned().unwrap_or_default()
        };
        self.queues.iter().map(of_queue).collect()
    }

    /// Room for the routes that there are, and some that are added later.
    pub(super) fn room_for_routes(&self) -> usize {
        roomy(self.routes.end as usize)
    }

    /// The same for peers.
    pub(super) fn room_for_peers(&self) -> usize {
        roomy(self.peers.end as usize)
    }

    /// Whether there would be room in these tables if so many routes were added.
    pub(super) fn fit(&self, added: usize, tables: Tables) -> bool {
        self.routes.end_with(added) <= tables.routes && self.peers.end_with(added) <= tables.peers
    }
}

impl Tables {
    /// The room in a worker with this plan.
    pub(super) fn of(plan: &Plan) -> Tables {
        Tables { routes: plan.active_peers.len(), peers: plan.tunnels.len() }
    }
}

impl NumberPool {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.end += 1;
            self.end - 1
        })
    }

    /// One more than the highest number there could be if so many were taken.
    fn end_with(&self, taken: usize) -> usize {
        self.end as usize + taken.saturating_sub(self.free.len())
    }
}

impl Neighbours {
    /// Removes neighbours that this configuration does not have, and adds the new ones, unresolved.
    pub(super) fn retain(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.known);
        let private = config.private.iter().map(private_neighbour);
        for neighbour in private.chain(config.public.iter().map(public_neighbour)) {
            let address = before.remove(&neighbour).unwrap_or_default();
            self.known.insert(neighbour, address);
        }
    }

    fn of(&self, neighbour: &Neighbour) -> Arc<ResolvedMac> {
        self.known.get(neighbour).cloned().unwrap_or_default()
    }
}

impl PlanInput<'_> {
    /// The plan; with room for associations unless there is enough for all that these routes can have.
    pub(super) fn plan(&self, room: usize) -> Plan {
        let mut active_peers = vec![PeerNumber::NONE; self.numbers.room_for_routes()];
        let mut tunnels: Vec<Option<Tunnel>> =
            std::iter::repeat_with(|| None).take(self.numbers.room_for_peers()).collect();
        for route in &self.config.routes {
            if let Some((RouteNumber(number), peer)) = self.numbers.of(&route.id) {
                active_peers[number as usize] = peer;
                tunnels[peer.0 as usize] =
                    tunnel(self.config, route, self.placement.queue, self.mtus, self.numbers);
            }
        }
        let is_room = associations(self.config) <= room;
        let capacity = capacity(roomy(load(self.config)));
        Plan {
            private: self.private(),
            public: self.public(),
            protocol_port: self.config.protocol_port,
            key_exchange: !self.config.data_plane,
            table: self.table.clone(),
            check_inner_source: self.config.check_inner_source,
            fragment_inner: self.config.fragment_inner,
            mss_clamp: self.config.mss_clamp,
            active_peers,
            tunnels,
            associations: (!is_room).then(|| SpiTable::with_capacity(capacity)),
            peers: self.peers(self.numbers.room_for_peers()),
            handoff: self.handoffs.of(self.placement.queue),
        }
    }

    /// The gateways that this worker exchanges keys with, by route SPI, with room for as many routes.
    fn peers(&self, room: usize) -> SpiTable<IpAddr> {
        let mut peers = SpiTable::with_capacity(room);
        for route in self.config.routes.iter().filter(|_| !self.config.data_plane) {
            if let Some(gateway) = exchange_peer(self.config, route, self.placement.queue) {
                // There are no more routes than there is room for.
                let _ = peers.insert(route.spi, gateway);
            }
        }
        peers
    }

    fn private(&self) -> Interface {
        let own = OwnAddresses::private(self.config, device(&self.placement.private));
        let neighbours = self.config.private.iter().map(private_neighbour);
        self.interface(own, neighbours, self.asks_private)
    }

    fn public(&self) -> Interface {
        let own = OwnAddresses::public(self.config, self.placement.queue, device(&self.placement.public));
        let of_queue = self.config.public.iter().filter(|public| public.queue == self.placement.queue);
        self.interface(own, of_queue.map(public_neighbour), true)
    }

    fn interface(
        &self,
        own: Option<OwnAddresses>,
        neighbours: impl Iterator<Item = Neighbour>,
        asks: bool,
    ) -> Interface {
        let mut interface = Interface { mac: own.map(|own| own.mac).unwrap_or_default(), v4: None, v6: None };
        for neighbour in neighbours {
            let Neighbour { ip, next_hop_ip, next_hop_mac, .. } = neighbour;
            let next_hop = self.neighbours.of(&neighbour);
            match (ip, next_hop_ip) {
                (IpAddr::V4(ip), IpAddr::V4(next_hop_ip)) => {
                    interface.v4 = Some(InterfaceAddress { ip, next_hop_ip, next_hop_mac, next_hop, asks });
                }
                (IpAddr::V6(ip), IpAddr::V6(next_hop_ip)) => {
                    interface.v6 = Some(InterfaceAddress { ip, next_hop_ip, next_hop_mac, next_hop, asks });
                }
                // The model has both of one family.
                _ => {}
            }
        }
        interface
    }
}

/// The prefixes of all routes.
pub(super) fn table(config: &Config, numbers: &Numbers) -> PrefixTable {
    PrefixTable::build(config.routes.iter().flat_map(|route| {
        let number = numbers.route(&route.id);
        route.nets.iter().filter_map(move |net| Some((*net, number?.0)))
    }))
}

/// The way to the gateway that a route has for a queue; none if the queue has no public interface of that family.
pub(super) fn tunnel(
    config: &Config,
    route: &Route,
    queue: u16,
    mtus: Mtus,
    numbers: &Numbers,
) -> Option<Tunnel> {
    let public = config.public(queue, route.outer)?;
    let gateway = route.gateway(queue)?;
    let mut tunnel = Tunnel::new(public.ip, gateway.ip, mtus.of(route.outer), config.tfc)?;
    tunnel.stats = numbers.stats(&route.id, queue).cloned().unwrap_or_default();
    let tunnel = tunnel.with_marking(Marking::new(config.dscp, config.ecn));
    let carries_ipv6 = config.private.iter().any(|private| private.ip.is_ipv6())
        && route.nets.iter().any(|net| matches!(net, IpNet::V6(_)));
    Some(if carries_ipv6 { tunnel.with_ipv6_inside() } else { tunnel })
}

/// Routes that a worker cannot send by, because its queue has no public interface of their gateways' family.
pub(super) fn stranded(config: &Config) -> BTreeMap<(u16, Family), Vec<&str>> {
    let mut stranded = BTreeMap::new();
    if config.private.is_empty() {
        return stranded;
    }
    for queue in config.workers().map(|public| public.queue) {
        for family in
            [Family::V4, Family::V6].into_iter().filter(|family| config.public(queue, *family).is_none())
        {
            let of_family = config.routes.iter().filter(|route| route.outer == family);
            let ids: Vec<&str> = of_family.map(|route| route.id.as_str()).collect();
            if !ids.is_empty() {
                stranded.insert((queue, family), ids);
            }
        }
    }
    stranded
}

/// A route as the key manager of a queue sees it.
pub(super) fn exchange_route(config: &Config, route: &Route, queue: u16) -> Option<exchange::Route> {
    Some(exchange::Route {
        id: route.id.clone(),
        spi: route.spi,
        preshared_key: route.preshared_key.clone(),
        gateway: exchange_peer(config, route, queue)?,
    })
}

/// The SPIs of 16 bits that the key manager of a queue may give out: all of them, unless queues share a public address,
/// where packets with any of their SPIs arrive.
pub(super) fn spi_share(config: &Config, queue: u16) -> Share {
    let own: Vec<IpAddr> = config.public.iter().filter(|one| one.queue == queue).map(|one| one.ip).collect();
    let sharing = config.public.iter().filter(|one| own.contains(&one.ip)).map(|one| one.queue);
    let sharing: BTreeSet<u16> = sharing.collect();
    let index = sharing.iter().position(|&other| other == queue).unwrap_or(0);
    Share { index: index as u16, of: sharing.len().max(1) as u16 }
}

/// The gateway that a queue exchanges the keys of a route with.
pub(super) fn exchange_peer(config: &Config, route: &Route, queue: u16) -> Option<IpAddr> {
    config.public(queue, route.outer)?;
    Some(route.gateway(queue)?.ip)
}

/// How many inbound associations a worker can have by this configuration.
pub(super) fn associations(config: &Config) -> usize {
    capacity(load(config))
}

fn capacity(routes: usize) -> usize {
    ASSOCIATIONS_PER_ROUTE * routes + SPARE_ASSOCIATIONS
}

/// Routes, or as many as there would have to be for the associations that are configured.
fn load(config: &Config) -> usize {
    config.routes.len().max(config.inbound.len().div_ceil(ASSOCIATIONS_PER_ROUTE))
}

/// Room for so many routes and, without another plan, for some that are added later.
fn roomy(routes: usize) -> usize {
    routes + routes / 8 + SPARE_ROUTES
}

fn device(attachment: &Option<Attachment>) -> Option<&Device> {
    attachment.as_ref().map(|attachment| &attachment.device)
}

fn private_neighbour(private: &PrivateInterface) -> Neighbour {
    let PrivateInterface { ip, nexthop_ip, nexthop_mac, .. } = *private;
    Neighbour { queue: None, ip, next_hop_ip: nexthop_ip, next_hop_mac: nexthop_mac }
}

fn public_neighbour(public: &PublicInterface) -> Neighbour {
    let PublicInterface { queue, ip, nexthop_ip, nexthop_mac, .. } = *public;
    Neighbour { queue: Some(queue), ip, next_hop_ip: nexthop_ip, next_hop_mac: nexthop_mac }
}

/// Four inbound SAs live side by side, and a fifth for the moment until the oldest is removed.
const ASSOCIATIONS_PER_ROUTE: usize = 5;
const SPARE_ASSOCIATIONS: usize = 16;
/// Room that is not used costs no more than a tunnel and its associations' places in the table.
const SPARE_ROUTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Link};
    use crate::sa::PresharedKey;
    use crate::wire::ip::Family;

    fn routes(ids: &[&str]) -> Config {
        let route = |id: &&str| {
            Arc::new(Route {
                id: id.to_string(),
                spi: 1000,
                preshared_key: PresharedKey::new([0; 32]),
                outer: Family::V4,
                nets: vec!["10.0.0.0/8".parse().unwrap()],
                gateways: Vec::new(),
            })
        };
        let routes = ids.iter().map(route).collect();
        Config { routes, ..Document::empty().config().clone() }
    }

    fn with_queues(config: Config, queues: &[u16]) -> Config {
        let interface = |queue: &u16| PublicInterface {
            queue: *queue,
            device_queue: 1,
            link: Link::None,
            mac: None,
            nexthop_mac: None,
            ip: [192, 0, 2, 1].into(),
            nexthop_ip: [192, 0, 2, 2].into(),
            nat_ip: None,
        };
        Config { public: queues.iter().map(interface).collect(), ..config }
    }

    #[test]
    fn a_route_keeps_its_number_and_never_inherits_one_in_the_same_change() {
        let mut numbers = Numbers::default();
        numbers.assign(&routes(&["a", "b"]));
        let (a, b) = (numbers.route("a"), numbers.route("b"));
        assert_ne!(a, b);
        numbers.assign(&routes(&["b", "c"]));
        assert_eq!((numbers.route("a"), numbers.route("b")), (None, b));
        assert!(![a, b].contains(&numbers.route("c")));
        numbers.assign(&routes(&["b", "c", "d"]));
        assert_eq!(numbers.route("d"), a);
    }

    #[test]
    fn a_queue_without_an_interface_of_a_routes_family_strands_the_route() {
        let route = |family: u8, net: &str, gateway: &str| {
            format!(
                "route{family} {{ id six{family}; net \"{net}\"; spi 100{family}; gateway {{ ip {gateway}; }}
                 preshared-key {family:064}; }}"
            )
        };
        let private = "private-interface4 { ifname lan; ip 10.0.0.1; nexthop-ip 10.0.0.2; }";
        let rest = "public-interface4 { queue 1; ifname wan; ip 192.0.2.1; nexthop-ip 192.0.2.9; }
            public-interface4 { queue 2; ifname wan; ip 192.0.2.2; nexthop-ip 192.0.2.9; }
            public-interface6 { queue 1; ifname wan; ip 2001:db8::1; nexthop-ip 2001:db8::9; }"
            .to_string()
            + &route(4, "10.4.0.0/16", "198.51.100.4")
            + &route(6, "2001:db8:6::/48", "2001:db8:ff::6");
        let found = |text: &str| {
            let document = Document::parse(text).unwrap();
            let stranded = stranded(document.config()).into_iter();
            stranded.map(|(place, ids)| (place, ids.join(" "))).collect::<Vec<_>>()
        };
        assert_eq!(found(&format!("{private} {rest}")), [((2, Family::V6), "six6".to_string())]);
        assert_eq!(found(&rest), [], "there is no worker yet");
    }

    #[test]
    fn a_change_that_is_given_up_leaves_the_numbers_as_they_were() {
        let mut numbers = Numbers::default();
        numbers.assign(&routes(&["a", "b"]));
        let before = ["a", "b"].map(|id| numbers.route(id));
        let mut candidate = numbers.clone();
        candidate.assign(&routes(&["c"]));
        numbers.assign(&routes(&["a", "b"]));
        assert_eq!(["a", "b"].map(|id| numbers.route(id)), before);
    }

    #[test]
    fn stats_of_a_route_last_as_long_as_route_and_worker() {
        let mut numbers = Numbers::default();
        let packets = |numbers: &Numbers, id: &str, queue: u16| {
            numbers.stats(id, queue).map(|stats| stats.counters.outbound.packets.value())
        };
        numbers.assign(&with_queues(routes(&["a", "b"]), &[1, 3]));
        for (id, queue, count) in [("a", 1, 11), ("a", 3, 13), ("b", 3, 23)] {
            numbers.stats(id, queue).unwrap().counters.outbound.packets.set(count);
        }
        numbers.assign(&with_queues(routes(&["a", "b", "c"]), &[2, 3]));
        assert_eq!([1, 2, 3].map(|queue| packets(&numbers, "a", queue)), [None, Some(0), Some(13)]);
        assert_eq!([2, 3].map(|queue| packets(&numbers, "c", queue)), [Some(0), Some(0)]);
        let [a, b] = [routes(&["a"]), routes(&["b"])];
        numbers.change(&[], &[&b.routes[0], &a.routes[0]]);
        assert_eq!(packets(&numbers, "b", 3), None);
        numbers.change(&[&b.routes[0]], &[]);
        assert_eq!(packets(&numbers, "b", 3), Some(0), "it is another route of that name");
    }
}
