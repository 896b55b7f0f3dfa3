// SPDX-License-Identifier: Apache-2.0
//! From a configuration to what one worker is told.

use super::ApplyError;
use super::layout::{Side, own_mac};
use crate::config::{Config, PrivateInterface, PublicInterface, Route};
use crate::exchange::{self, PresharedKey};
use crate::graph::{Interface, Plan};
use crate::route::{Ipv4Table, SpiTable};
use crate::stage::{Resolved, Tunnel};
use crate::wire::Mac;
use crate::worker::Seat;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The number by which workers know a route. It stays the same while the route has the same id, and is not given
/// to another route in the change that removes the first: associations move between plans by number.
#[derive(Clone, Default)]
pub struct Numbers {
    of: HashMap<String, u32>,
    free: Vec<u32>,
    /// One more than the highest number ever given.
    end: u32,
}

/// Next-hop addresses that were found out, for as long as the same neighbour is asked.
#[derive(Clone, Default)]
pub struct Neighbours {
    known: HashMap<Neighbour, Arc<Resolved>>,
}

/// Own address, its address, and what is configured for it.
type Neighbour = (Option<u16>, IpAddr, IpAddr, Option<Mac>);

/// All that goes into a plan.
pub struct Making<'a> {
    pub config: &'a Config,
    pub seat: &'a Seat,
    pub numbers: &'a Numbers,
    pub table: &'a Arc<Ipv4Table>,
    pub neighbours: &'a Neighbours,
    pub mtu: u16,
    pub asks_private: bool,
}

impl Numbers {
    /// Numbers for these routes; those of routes that are no more can be given again by the next call.
    pub fn assign(&mut self, routes: &[Arc<Route>]) {
        let mut before = std::mem::take(&mut self.of);
        for route in routes {
            let number = before.remove(&route.id).or_else(|| self.free.pop()).unwrap_or_else(|| {
                self.end += 1;
                self.end - 1
            });
            self.of.insert(route.id.clone(), number);
        }
        self.free.extend(before.into_values());
    }

    /// As [`Numbers::assign`], told only what is different.
    pub fn change(&mut self, added: &[&Arc<Route>], removed: &[&Arc<Route>]) {
        for route in added {
            let number = self.free.pop().unwrap_or_else(|| {
                self.end += 1;
                self.end - 1
            });
            self.of.insert(route.id.clone(), number);
        }
        let before = removed.iter().filter_map(|route| self.of.remove(&route.id));
        self.free.extend(before);
    }

    pub fn of(&self, id: &str) -> Option<u32> {
        self.of.get(id).copied()
    }

    /// One more than the highest number there could be if so many routes were added.
    pub fn end_with(&self, added: usize) -> usize {
        self.end as usize + added.saturating_sub(self.free.len())
    }
}

impl Neighbours {
    /// Forgets all that this configuration does not have, and makes room for what is new in it.
    pub fn keep(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.known);
        let private = config.private.iter().map(private_neighbour);
        for neighbour in private.chain(config.public.iter().map(public_neighbour)) {
            let address = before.remove(&neighbour).unwrap_or_default();
            self.known.insert(neighbour, address);
        }
    }

    fn of(&self, neighbour: &Neighbour) -> Arc<Resolved> {
        self.known.get(neighbour).cloned().unwrap_or_default()
    }
}

impl Making<'_> {
    /// The plan; with room for associations unless there is enough for all that these routes can have.
    pub fn plan(&self, room: usize) -> Result<Plan, ApplyError> {
        let (private, public) = (self.private()?, self.public()?);
        let room_for_tunnels = roomy(self.numbers.end as usize);
        let mut tunnels: Vec<Option<Tunnel>> =
            std::iter::repeat_with(|| None).take(room_for_tunnels).collect();
        for route in &self.config.routes {
            if let Some(number) = self.numbers.of(&route.id) {
                tunnels[number as usize] = tunnel(self.config, route, self.seat.queue)?;
            }
        }
        let routes = self.config.routes.len();
        let is_room = associations(routes) <= room;
        Ok(Plan {
            private,
            public,
            protocol_port: self.config.protocol_port,
            mtu: self.mtu,
            tfc: self.config.tfc,
            table: self.table.clone(),
            tunnels,
            associations: (!is_room).then(|| SpiTable::with_capacity(associations(roomy(routes)))),
        })
    }

    fn private(&self) -> Result<Interface, ApplyError> {
        let Some(private) = &self.config.private else {
            return Err(ApplyError::Family(Ipv4Addr::UNSPECIFIED.into()));
        };
        let ip = v4(private.ip)?;
        Ok(Interface {
            ip,
            mac: own_mac(private.mac, self.seat.private.as_ref(), ip, Side::Private),
            next_hop_ip: v4(private.nexthop_ip)?,
            next_hop_mac: private.nexthop_mac,
            next_hop: self.neighbours.of(&private_neighbour(private)),
            asks: self.asks_private,
        })
    }

    fn public(&self) -> Result<Interface, ApplyError> {
        let Some(public) = self.config.public(self.seat.queue) else {
            return Err(ApplyError::Family(Ipv4Addr::UNSPECIFIED.into()));
        };
        let ip = v4(public.ip)?;
        Ok(Interface {
            ip,
            mac: own_mac(public.mac, self.seat.public.as_ref(), ip, Side::Public),
            next_hop_ip: v4(public.nexthop_ip)?,
            next_hop_mac: public.nexthop_mac,
            next_hop: self.neighbours.of(&public_neighbour(public)),
            asks: true,
        })
    }
}

/// The prefixes of all routes.
pub fn table(config: &Config, numbers: &Numbers) -> Ipv4Table {
    Ipv4Table::build(config.routes.iter().filter_map(|route| match route.net {
        IpNet::V4(net) => Some((net, numbers.of(&route.id)?)),
        IpNet::V6(_) => None,
    }))
}

/// The way to the gateway that a route has for a queue.
pub fn tunnel(config: &Config, route: &Route, queue: u16) -> Result<Option<Tunnel>, ApplyError> {
    let ends = config.public(queue).zip(route.gateway(queue));
    ends.map(|(public, gateway)| Ok(Tunnel::new(v4(public.ip)?, v4(gateway.ip)?))).transpose()
}

/// A route as the key manager of a queue sees it.
pub fn exchange_route(route: &Route, queue: u16) -> Option<exchange::Route> {
    Some(exchange::Route {
        id: route.id.clone(),
        spi: route.spi,
        preshared_key: PresharedKey::new(*route.preshared_key.bytes()),
        gateway: route.gateway(queue)?.ip,
    })
}

/// How many inbound associations so many routes can have.
pub fn associations(routes: usize) -> usize {
    ASSOCIATIONS_PER_ROUTE * routes + SPARE_ASSOCIATIONS
}

/// Room for so many routes and, without another plan, for some that are added later.
fn roomy(routes: usize) -> usize {
    routes + routes / 8 + SPARE_ROUTES
}

fn private_neighbour(private: &PrivateInterface) -> Neighbour {
    (None, private.ip, private.nexthop_ip, private.nexthop_mac)
}

fn public_neighbour(public: &PublicInterface) -> Neighbour {
    (Some(public.queue), public.ip, public.nexthop_ip, public.nexthop_mac)
}

fn v4(address: IpAddr) -> Result<Ipv4Addr, ApplyError> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(ApplyError::Family(address)),
    }
}

/// Four inbound SAs live side by side, and a fifth for the moment until the oldest is removed.
const ASSOCIATIONS_PER_ROUTE: usize = 5;
const SPARE_ASSOCIATIONS: usize = 16;
/// A tunnel takes 40 bytes, an association in the table 32.
const SPARE_ROUTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key32;

    fn routes(ids: &[&str]) -> Vec<Arc<Route>> {
        let route = |id: &&str| {
            Arc::new(Route {
                id: id.to_string(),
                spi: 1000,
                preshared_key: Key32::new([0; 32]),
                net: "10.0.0.0/8".parse().unwrap(),
                gateways: Vec::new(),
            })
        };
        ids.iter().map(route).collect()
    }

    #[test]
    fn a_route_keeps_its_number_and_never_inherits_one_in_the_same_change() {
        let mut numbers = Numbers::default();
        numbers.assign(&routes(&["a", "b"]));
        let (a, b) = (numbers.of("a"), numbers.of("b"));
        assert_ne!(a, b);
        numbers.assign(&routes(&["b", "c"]));
        assert_eq!((numbers.of("a"), numbers.of("b")), (None, b));
        assert!(![a, b].contains(&numbers.of("c")));
        numbers.assign(&routes(&["b", "c", "d"]));
        assert_eq!(numbers.of("d"), a);
    }

    #[test]
    fn a_change_that_is_given_up_leaves_the_numbers_as_they_were() {
        let mut numbers = Numbers::default();
        numbers.assign(&routes(&["a", "b"]));
        let before = ["a", "b"].map(|id| numbers.of(id));
        let mut candidate = numbers.clone();
        candidate.assign(&routes(&["c"]));
        numbers.assign(&routes(&["a", "b"]));
        assert_eq!(["a", "b"].map(|id| numbers.of(id)), before);
    }
}
