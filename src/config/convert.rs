// SPDX-License-Identifier: Apache-2.0
//! From a validated tree to [`Config`].

use super::check::Refusal;
use super::schema;
use super::typed::{Association, Config, Gateway, Link, PrivateInterface, PublicInterface, Route};
use crate::sa::{Algorithm, Key, PresharedKey, SaParameters};
use crate::wire::ip::Family;
use crate::yang::data::{Container, Value};
use crate::yang::schema::{Kind, Members};
use ipnet::IpNet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Reads a tree. What the model's types let through and the program's do not is refused. Routes that the tree shares with
/// the one before are taken from there.
pub(super) fn convert(root: &Container, before: Option<(&Container, &Config)>) -> Result<Config, Refusal> {
    let top = Fields { schema: &schema().root, data: root, path: String::new() };
    let (mut private, mut public, mut routes) = (Vec::new(), Vec::new(), Vec::new());
    for (family, [private_name, public_name, route_name]) in NODES {
        if let Some(data) = root.container(private_name) {
            private.push(self::private(&top.inner(private_name, data, None)?)?);
        }
        for data in root.entries(public_name) {
            public.push(self::public(&top.inner(public_name, data, Some("ip"))?)?);
        }
        let known = before.map(|(root, config)| {
            let of_family = config.routes.iter().filter(move |route| route.outer == family);
            root.entries(route_name).zip(of_family)
        });
        let mut known = known.into_iter().flatten().peekable();
        for data in root.entries(route_name) {
            let id = data.text("id");
            while known.next_if(|(_, route)| Some(route.id.as_str()) < id).is_some() {}
            routes.push(match known.next_if(|(old, _)| Arc::ptr_eq(old, data)) {
                Some((_, route)) => route.clone(),
                None => Arc::new(route(family, &top.inner(route_name, data, Some("id"))?)?),
            });
        }
    }
    public.sort_by_key(|interface: &PublicInterface| (interface.queue, Family::of(interface.ip)));
    routes.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(Config {
        private,
        public,
        routes,
        mtu: top.number("mtu")?,
        tfc: top.flag("tfc"),
        dscp: top.parsed("dscp")?.unwrap_or_default(),
        ecn: top.flag("ecn"),
        check_inner_source: top.flag("check-inner-source"),
        fail_closed: top.flag("fail-closed"),
        fragment_inner: top.flag("fragment-inner"),
        mss_clamp: top.flag("mss-clamp"),
        protocol_port: top.number("protocol-port")?,
        negotiation_ttl: top.number("negotiation-ttl")?,
        sa_ttl: top.number("sa-ttl")?,
        data_plane: top.flag("data-plane"),
        outbound: associations(&top, "outbound-sa")?,
        inbound: associations(&top, "inbound-sa")?,
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

fn route(outer: Family, fields: &Fields) -> Result<Route, Refusal> {
    let mut gateways = Vec::new();
    for data in fields.data.entries("gateway") {
        let fields = fields.inner("gateway", data, Some("ip"))?;
        gateways.push(Gateway { ip: fields.address("ip")?, queue: fields.number("queue")? });
    }
    gateways.sort_by_key(|gateway| gateway.queue);
    let net: IpNet = fields.needed("net")?;
    let mut nets = vec![net.trunc()];
    for text in fields.data.texts("additional-net") {
        let refusal = |_| Refusal::NotANetwork { path: fields.path.clone(), net: text.to_string() };
        let net: IpNet = text.parse().map_err(refusal)?;
        nets.push(net.trunc());
    }
    Ok(Route {
        id: fields.needed("id")?,
        outer,
        spi: fields.number("spi")?,
        preshared_key: PresharedKey::new(*fields.secret("preshared-key")?),
        nets,
        gateways,
    })
}

fn associations(top: &Fields, list: &str) -> Result<Vec<Arc<Association>>, Refusal> {
    let entries = top.data.entries(list).map(|data| association(&top.inner(list, data, None)?));
    let mut associations = entries.collect::<Result<Vec<_>, _>>()?;
    associations.sort_by_key(|association| (association.queue, association.sa.spi));
    Ok(associations)
}

fn association(fields: &Fields) -> Result<Arc<Association>, Refusal> {
    let (spi, queue) = (fields.number("spi")?, fields.number("queue")?);
    let fields = Fields { path: format!("{}[queue={queue}][spi={spi}]", fields.path), ..*fields };
    let aead = fields.data.text("aead").unwrap_or_default();
    let unsupported = || Refusal::Aead { path: fields.path.clone(), aead: aead.to_string() };
    let key = fields.key(Algorithm::named(aead).ok_or_else(unsupported)?)?;
    Ok(Arc::new(Association {
        queue,
        route: fields.needed("route")?,
        sa: SaParameters { spi, key, salt: *fields.secret("salt")? },
        sequence: fields.data.value("sequence-number").and_then(Value::as_number).unwrap_or(0),
        is_sequence_given: fields.data.value("sequence-number").is_some(),
    }))
}

/// Fills `bytes` from a text with two digits for each, white space ignored; false if it has more or fewer.
fn decode(text: &str, bytes: &mut [u8]) -> bool {
    let mut digits = text.chars().filter_map(|character| match character {
        _ if character.is_whitespace() => None,
        _ => Some(character.to_digit(16)),
    });
    let mut digit = || digits.next().flatten().map(|digit| digit as u8);
    bytes.iter_mut().all(|byte| {
        digit().zip(digit()).is_some_and(|(high, low)| {
            *byte = high << 4 | low;
            true
        })
    }) && digits.next().is_none()
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
        self.value(name).and_then(Value::as_number).ok_or_else(|| self.unreadable(name))
    }

    /// What is configured, or the default, or false.
    fn flag(&self, name: &str) -> bool {
        self.value(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        let default = || self.schema.leaf(name).and_then(|leaf| leaf.default.as_ref());
        self.data.value(name).or_else(default)
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

    fn secret<const N: usize>(&self, name: &str) -> Result<Zeroizing<[u8; N]>, Refusal> {
        let mut bytes = Zeroizing::new([0; N]);
        let is_right = self.data.text(name).is_some_and(|text| decode(text, &mut *bytes));
        if is_right { Ok(bytes) } else { Err(self.unreadable(name)) }
    }

    /// The key, of the length that the algorithm has.
    fn key(&self, algorithm: Algorithm) -> Result<Key, Refusal> {
        let text = self.data.text("key").unwrap_or_default();
        let mut bytes = Zeroizing::new([0; LONGEST_KEY]);
        let bytes = bytes.get_mut(..algorithm.key_len()).unwrap_or_default();
        let key = if decode(text, bytes) { Key::new(algorithm, bytes) } else { None };
        key.ok_or_else(|| {
            let digits = text.chars().filter(|character| !character.is_whitespace()).count();
            let (path, aead, expected) = (self.path.clone(), algorithm.name(), algorithm.key_len());
            Refusal::KeyLength { path, aead, expected, found: digits / 2 }
        })
    }

    fn unreadable(&self, name: &str) -> Refusal {
        Refusal::Unreadable { path: format!("{}/{name}", self.path) }
    }
}

/// The nodes of either family.
const NODES: [(Family, [&str; 3]); 2] = [
    (Family::V4, ["private-interface4", "public-interface4", "route4"]),
    (Family::V6, ["private-interface6", "public-interface6", "route6"]),
];

const LONGEST_KEY: usize = 32;
