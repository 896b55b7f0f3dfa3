// SPDX-License-Identifier: Apache-2.0
//! From a validated tree to [`Config`].

use super::check::Refusal;
use super::schema;
use super::typed::{Config, Gateway, Key32, Link, PrivateInterface, PublicInterface, Route};
use crate::yang::data::{Container, Value};
use crate::yang::schema::{Kind, Members};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// Reads the IPv4 side of a tree. What the model's types let through and the program's do not is refused. Routes
/// that the tree shares with the one before are taken from there.
pub(super) fn convert(root: &Container, before: Option<(&Container, &Config)>) -> Result<Config, Refusal> {
    let top = Fields { schema: &schema().root, data: root, path: String::new() };
    let private = match root.container("private-interface4") {
        Some(data) => Some(private(&top.inner("private-interface4", data, None)?)?),
        None => None,
    };
    let mut public = Vec::new();
    for data in root.entries("public-interface4") {
        public.push(self::public(&top.inner("public-interface4", data, Some("ip"))?)?);
    }
    public.sort_by_key(|interface| interface.queue);
    let mut known = before.map(|(root, config)| root.entries("route4").zip(&config.routes));
    let mut known = known.iter_mut().flatten().peekable();
    let mut routes = Vec::new();
    for data in root.entries("route4") {
        let id = data.text("id");
        while known.next_if(|(_, route)| Some(route.id.as_str()) < id).is_some() {}
        routes.push(match known.next_if(|(old, _)| Arc::ptr_eq(old, data)) {
            Some((_, route)) => route.clone(),
            None => Arc::new(route(&top.inner("route4", data, Some("id"))?)?),
        });
    }
    Ok(Config {
        private,
        public,
        routes,
        mtu: top.number("mtu")?,
        tfc: top.flag("tfc"),
        protocol_port: top.number("protocol-port")?,
        negotiation_ttl: top.number("negotiation-ttl")?,
        sa_ttl: top.number("sa-ttl")?,
        data_plane: top.flag("data-plane"),
    })
}

fn private(fields: &Fields) -> Result<PrivateInterface, Refusal> {
    Ok(PrivateInterface {
        link: link(fields)?,
        mac: fields.parsed("mac")?,
        nexthop_mac: fields.parsed("nexthop-mac")?,
        ip: fields.address("ip")?,
        nexthop_ip: fields.address("nexthop-ip")?,
    })
}

fn public(fields: &Fields) -> Result<PublicInterface, Refusal> {
    let queue = fields.number("queue")?;
    Ok(PublicInterface {
        queue,
        device_queue: fields.data.value("device-queue").and_then(Value::as_number).unwrap_or(queue),
        link: link(fields)?,
        mac: fields.parsed("mac")?,
        nexthop_mac: fields.parsed("nexthop-mac")?,
        ip: fields.address("ip")?,
        nexthop_ip: fields.address("nexthop-ip")?,
        nat_ip: fields.parsed("nat-ip")?,
    })
}

fn link(fields: &Fields) -> Result<Link, Refusal> {
    match (fields.data.text("ifname"), fields.data.text("pci")) {
        (Some(name), _) => Ok(Link::Interface(name.to_string())),
        (None, Some(address)) if address.chars().all(|digit| "0:.".contains(digit)) => Ok(Link::None),
        (None, Some(address)) => Ok(Link::Pci(address.to_string())),
        (None, None) => Err(Refusal::NoDevice { path: fields.path.clone() }),
    }
}

fn route(fields: &Fields) -> Result<Route, Refusal> {
    let mut gateways = Vec::new();
    for data in fields.data.entries("gateway") {
        let fields = fields.inner("gateway", data, Some("ip"))?;
        gateways.push(Gateway { ip: fields.address("ip")?, queue: fields.number("queue")? });
    }
    gateways.sort_by_key(|gateway| gateway.queue);
    let key = fields.data.text("preshared-key").and_then(key32);
    let net: ipnet::IpNet = fields.needed("net")?;
    Ok(Route {
        id: fields.needed("id")?,
        spi: fields.number("spi")?,
        preshared_key: key.ok_or_else(|| fields.unreadable("preshared-key"))?,
        net: net.trunc(),
        gateways,
    })
}

/// Two digits a byte, white space ignored.
fn key32(text: &str) -> Option<Key32> {
    let mut bytes = [0; 32];
    let mut digits = text.chars().filter(|character| !character.is_whitespace());
    for byte in &mut bytes {
        let (high, low) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    digits.next().is_none().then(|| Key32::new(bytes))
}

/// A container with its schema, for the defaults, and its path, for messages.
struct Fields<'a> {
    schema: &'a Members,
    data: &'a Container,
    path: String,
}

impl<'a> Fields<'a> {
    fn inner(&self, name: &str, data: &'a Container, key: Option<&str>) -> Result<Fields<'a>, Refusal> {
        let schema = match self.schema.node(name).map(|node| &node.kind) {
            Some(Kind::Container(members)) => members,
            Some(Kind::List(list)) => &list.members,
            _ => return Err(self.unreadable(name)),
        };
        let key = key.map_or(String::new(), |key| format!("[{key}={}]", data.text(key).unwrap_or_default()));
        Ok(Fields { schema, data, path: format!("{}/{name}{key}", self.path) })
    }

    /// The number configured, or the default.
    fn number<N: TryFrom<i128>>(&self, name: &str) -> Result<N, Refusal> {
        let default = || self.schema.leaf(name).and_then(|leaf| leaf.default.as_ref());
        let value = self.data.value(name).or_else(default);
        value.and_then(Value::as_number).ok_or_else(|| self.unreadable(name))
    }

    fn flag(&self, name: &str) -> bool {
        self.data.value(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        match self.data.text(name) {
            Some(text) => text.parse().map(Some).map_err(|_| self.unreadable(name)),
            None => Ok(None),
        }
    }

    fn needed<T: FromStr>(&self, name: &str) -> Result<T, Refusal> {
        self.parsed(name)?.ok_or_else(|| self.unreadable(name))
    }

    fn address(&self, name: &str) -> Result<IpAddr, Refusal> {
        self.needed(name)
    }

    fn unreadable(&self, name: &str) -> Refusal {
        Refusal::Unreadable { path: format!("{}/{name}", self.path) }
    }
}
