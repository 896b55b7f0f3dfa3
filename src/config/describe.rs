// SPDX-License-Identifier: Apache-2.0
//! A difference in words, for operators. Keys are never part of it.

use super::difference::{Changes, Difference};
use super::typed::{Association, Gateway, Link, PrivateInterface, PublicInterface, Route};
use crate::wire::ip::Family;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// One line for each element: `+` is new, `-` is gone, `~` has changed.
impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for leaf in self.leaves() {
            writeln!(f, "~ {leaf}")?;
        }
        lines(f, &self.private, private, private_changes)?;
        lines(f, &self.public, public, public_changes)?;
        lines(f, &self.routes, |route| self::route(route), |old, new| route_changes(old, new))?;
        for (list, changes) in [("outbound-sa", &self.outbound), ("inbound-sa", &self.inbound)] {
            let between = |old: &Arc<Association>, new: &Arc<Association>| {
                (association_name(list, new), association_changes(old, new))
            };
            lines(f, changes, |sa| association(list, sa), between)?;
        }
        Ok(())
    }
}

impl Difference<'_> {
    /// All of it in one line.
    pub fn summary(&self) -> String {
        let mut parts = self.leaves();
        parts.extend(count("private interface", &self.private, |private| private.ip.to_string()));
        parts.extend(count("public interface", &self.public, |public| public.ip.to_string()));
        parts.extend(count("route", &self.routes, |route| route.id.clone()));
        parts.extend(count("outbound SA", &self.outbound, |association| association.sa.spi.to_string()));
        parts.extend(count("inbound SA", &self.inbound, |association| association.sa.spi.to_string()));
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }

    fn leaves(&self) -> Vec<String> {
        let (old, new) = (self.old, self.new);
        let mut leaves = Vec::new();
        change(&mut leaves, "mtu", &old.mtu, &new.mtu);
        change(&mut leaves, "tfc", &old.tfc, &new.tfc);
        change(&mut leaves, "dscp", &old.dscp, &new.dscp);
        change(&mut leaves, "ecn", &old.ecn, &new.ecn);
        change(&mut leaves, "check-inner-source", &old.check_inner_source, &new.check_inner_source);
        change(&mut leaves, "fail-closed", &old.fail_closed, &new.fail_closed);
        change(&mut leaves, "fragment-inner", &old.fragment_inner, &new.fragment_inner);
        change(&mut leaves, "mss-clamp", &old.mss_clamp, &new.mss_clamp);
        change(&mut leaves, "protocol-port", &old.protocol_port, &new.protocol_port);
        change(&mut leaves, "negotiation-ttl", &old.negotiation_ttl, &new.negotiation_ttl);
        change(&mut leaves, "sa-ttl", &old.sa_ttl, &new.sa_ttl);
        change(&mut leaves, "data-plane", &old.data_plane, &new.data_plane);
        leaves
    }
}

/// `name old -> new`, if there is a change.
fn change<T: PartialEq + fmt::Display>(changes: &mut Vec<String>, name: &str, old: &T, new: &T) {
    if old != new {
        changes.push(format!("{name} {old} -> {new}"));
    }
}

/// As [`change`], of a value that may be absent.
fn change_option<T: PartialEq + fmt::Display>(
    changes: &mut Vec<String>,
    name: &str,
    old: &Option<T>,
    new: &Option<T>,
) {
    let text = |value: &Option<T>| value.as_ref().map_or_else(|| "none".to_owned(), T::to_string);
    change(changes, name, &text(old), &text(new));
}

fn lines<T>(
    f: &mut fmt::Formatter<'_>,
    changes: &Changes<'_, T>,
    whole: impl Fn(&T) -> String,
    between: impl Fn(&T, &T) -> (String, Vec<String>),
) -> fmt::Result {
    let removed = changes.removed.iter().map(|element| format!("- {}", whole(element)));
    let added = changes.added.iter().map(|element| format!("+ {}", whole(element)));
    let changed = changes.changed.iter().map(|(old, new)| {
        let (name, changes) = between(old, new);
        format!("~ {name}: {}", changes.join(", "))
    });
    let mut all = removed.chain(changed).chain(added);
    for line in all.by_ref().take(MAX_LINES) {
        writeln!(f, "{line}")?;
    }
    match all.count() {
        0 => Ok(()),
        more => writeln!(f, ".. and {more} more"),
    }
}

/// The first of these names, separated by commas; two dots stand for the rest.
pub(crate) fn first_names<T: ToString>(names: &[T], most: usize) -> String {
    let first: Vec<String> = names.iter().take(most).map(T::to_string).collect();
    let more = if names.len() > most { ", .." } else { "" };
    format!("{}{more}", first.join(", "))
}

/// `2 routes added (a, b)`, and the same of what was removed and changed.
fn count<T>(what: &str, changes: &Changes<'_, T>, name: impl Fn(&T) -> String) -> Vec<String> {
    let changed: Vec<&T> = changes.changed.iter().map(|(_, new)| *new).collect();
    let kinds = [(&changes.added, "added"), (&changes.removed, "removed"), (&changed, "changed")];
    let kinds = kinds.into_iter().filter(|(elements, _)| !elements.is_empty());
    let part = |(elements, verb): (&Vec<&T>, &str)| {
        let names: Vec<String> = elements.iter().take(MAX_NAMES + 1).map(|element| name(element)).collect();
        let plural = if elements.len() == 1 { "" } else { "s" };
        format!("{} {what}{plural} {verb} ({})", elements.len(), first_names(&names, MAX_NAMES))
    };
    kinds.map(part).collect()
}

fn private(private: &PrivateInterface) -> String {
    let PrivateInterface { link, ip, nexthop_ip, .. } = private;
    format!("private-interface{}: {link}, ip {ip}, nexthop-ip {nexthop_ip}", family(*ip))
}

fn private_changes(old: &PrivateInterface, new: &PrivateInterface) -> (String, Vec<String>) {
    let mut changes = Vec::new();
    change(&mut changes, "interface", &old.link, &new.link);
    change(&mut changes, "ip", &old.ip, &new.ip);
    change(&mut changes, "nexthop-ip", &old.nexthop_ip, &new.nexthop_ip);
    change_option(&mut changes, "mac", &old.mac, &new.mac);
    change_option(&mut changes, "nexthop-mac", &old.nexthop_mac, &new.nexthop_mac);
    (format!("private-interface{}", family(new.ip)), changes)
}

fn public(public: &PublicInterface) -> String {
    let PublicInterface { queue, link, device_queue, nexthop_ip, .. } = public;
    let name = public_name(public);
    format!("{name}: queue {queue}, {link} queue {device_queue}, nexthop-ip {nexthop_ip}")
}

fn public_name(public: &PublicInterface) -> String {
    format!("public-interface{}[ip={}]", family(public.ip), public.ip)
}

fn public_changes(old: &PublicInterface, new: &PublicInterface) -> (String, Vec<String>) {
    let mut changes = Vec::new();
    change(&mut changes, "ip", &old.ip, &new.ip);
    change(&mut changes, "interface", &old.link, &new.link);
    change(&mut changes, "device-queue", &old.device_queue, &new.device_queue);
    change(&mut changes, "nexthop-ip", &old.nexthop_ip, &new.nexthop_ip);
    change_option(&mut changes, "nat-ip", &old.nat_ip, &new.nat_ip);
    change_option(&mut changes, "mac", &old.mac, &new.mac);
    change_option(&mut changes, "nexthop-mac", &old.nexthop_mac, &new.nexthop_mac);
    (public_name(new), changes)
}

fn route(route: &Route) -> String {
    format!(
        "{}: net {}, spi {}, gateway {}",
        route_name(route),
        nets(route),
        route.spi,
        gateways(&route.gateways)
    )
}

fn route_name(route: &Route) -> String {
    format!("route{}[id={}]", if route.outer == Family::V4 { 4 } else { 6 }, route.id)
}

fn route_changes(old: &Route, new: &Route) -> (String, Vec<String>) {
    let mut changes = Vec::new();
    change(&mut changes, "net", &nets(old), &nets(new));
    change(&mut changes, "spi", &old.spi, &new.spi);
    if old.preshared_key != new.preshared_key {
        changes.push("preshared-key changed".to_owned());
    }
    change(&mut changes, "gateway", &gateways(&old.gateways), &gateways(&new.gateways));
    (route_name(new), changes)
}

fn association(list: &str, association: &Association) -> String {
    let Association { route, sa, sequence, .. } = association;
    let after = if *sequence > 0 { format!(", sequence-number {sequence}") } else { String::new() };
    format!("{}: route {route}, {}{after}", association_name(list, association), sa.key.algorithm().name())
}

fn association_name(list: &str, association: &Association) -> String {
    format!("{list}[queue={}][spi={}]", association.queue, association.sa.spi)
}

fn association_changes(old: &Association, new: &Association) -> Vec<String> {
    let mut changes = Vec::new();
    change(&mut changes, "route", &old.route, &new.route);
    change(&mut changes, "aead", &old.sa.key.algorithm().name(), &new.sa.key.algorithm().name());
    let secrets = [("key", old.sa.key != new.sa.key), ("salt", old.sa.salt != new.sa.salt)];
    let changed = secrets.into_iter().filter(|(_, changed)| *changed);
    changes.extend(changed.map(|(name, _)| format!("{name} changed")));
    change(&mut changes, "sequence-number", &old.sequence, &new.sequence);
    changes
}

fn nets(route: &Route) -> String {
    route.nets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" and ")
}

fn gateways(gateways: &[Gateway]) -> String {
    let gateway = |gateway: &Gateway| format!("{} (queue {})", gateway.ip, gateway.queue);
    gateways.iter().map(gateway).collect::<Vec<_>>().join(" and ")
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 4 } else { 6 }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::None => f.write_str("no device"),
            Link::Pci(address) => write!(f, "pci {address}"),
            Link::Interface(name) => write!(f, "{name}"),
        }
    }
}

/// What a person may still look through. Whoever wants all of it compares two outputs of `get`.
const MAX_LINES: usize = 200;
/// Elements that a single line names.
const MAX_NAMES: usize = 4;

#[cfg(test)]
mod tests {
    use crate::config::{Difference, Document};

    const SITE: &str = "private-interface4 { ifname eth1; ip 172.31.1.20; nexthop-ip 172.31.0.1; }
        public-interface4 { ifname eth2; ip 172.31.1.30; nexthop-ip 172.31.0.1; }
        route4 { id tokyo; net \"172.32.0.0/16\"; spi 1234; gateway { ip 203.0.113.5; }
                 preshared-key 00000000000000000000000000000000000000000000000000000000000ACAB1; }";

    fn described(after: &str) -> (String, String) {
        let (before, after) = (Document::parse(SITE).unwrap(), Document::parse(after).unwrap());
        let difference = Difference::between(before.config(), after.config());
        (difference.to_string(), difference.summary())
    }

    #[test]
    fn no_difference_is_nothing() {
        assert_eq!(described(SITE), (String::new(), "nothing".to_owned()));
    }

    #[test]
    fn every_change_is_told_with_old_and_new() {
        let after = SITE
            .replace("ip 172.31.1.20", "ip 172.31.1.21")
            .replace("ifname eth2;", "ifname eth3; queue 2; mac 02:00:00:00:00:01;")
            .replace("spi 1234", "spi 1235")
            .replace("ACAB1;", "ACAB2;")
            .replace("203.0.113.5;", "203.0.113.6; queue 2;")
            + "mtu 1440; tfc true; dscp 46; ecn false; check-inner-source false;\
               fragment-inner false; mss-clamp false;";
        let (lines, summary) = described(&after);
        let expected = "\
~ mtu 8923 -> 1440
~ tfc false -> true
~ dscp none -> 46
~ ecn true -> false
~ check-inner-source true -> false
~ fragment-inner true -> false
~ mss-clamp true -> false
~ private-interface4: ip 172.31.1.20 -> 172.31.1.21
- public-interface4[ip=172.31.1.30]: queue 1, eth2 queue 1, nexthop-ip 172.31.0.1
+ public-interface4[ip=172.31.1.30]: queue 2, eth3 queue 2, nexthop-ip 172.31.0.1
~ route4[id=tokyo]: spi 1234 -> 1235, preshared-key changed, \
gateway 203.0.113.5 (queue 1) -> 203.0.113.6 (queue 2)
";
        assert_eq!(lines, expected);
        let expected = "mtu 8923 -> 1440, tfc false -> true, dscp none -> 46, ecn true -> false, \
            check-inner-source true -> false, fragment-inner true -> false, mss-clamp true -> false, \
            1 private interface changed (172.31.1.21), 1 public interface added (172.31.1.30), 1 public interface removed (172.31.1.30), 1 route changed (tokyo)";
        assert_eq!(summary, expected);
        assert!(!lines.contains("ACAB"));
    }

    #[test]
    fn thousands_of_routes_are_told_in_a_few_words() {
        let route = |n: u32| {
            let net = std::net::Ipv4Addr::from((10 << 24) + (n << 8));
            format!(
                "route4 {{ id r{n:04}; net \"{net}/24\"; spi {}; gateway {{ ip 192.0.2.1; }} preshared-key {n:064x}; }}\n",
                2000 + n
            )
        };
        let routes: String = (0..1000).map(route).collect();
        let (lines, summary) = described(&format!("{SITE}\n{routes}"));
        assert_eq!(lines.lines().count(), 201);
        assert!(lines.ends_with(".. and 800 more\n"), "{lines}");
        assert_eq!(summary, "1000 routes added (r0000, r0001, r0002, r0003, ..)");
    }
}
