// SPDX-License-Identifier: Apache-2.0
//! What happened on the network, as log lines: at a limited rate, because strangers can cause them.

use super::plan::Numbers;
use crate::clock::Instant;
use crate::device::Device;
use crate::exchange;
use crate::limit::TokenBucket;
use crate::stage::Event;
use crate::wire::ip::Family;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// Log messages about events of workers, limited in rate.
pub(super) struct Log {
    budget: TokenBucket,
    suppressed: u64,
    report_at: Instant,
    /// Interfaces whose unfinished checksums were logged.
    unfinished: BTreeSet<String>,
    silent: Silent,
}

/// Neighbours and peers that do not answer, and when that was last said. They are asked every few seconds.
#[derive(Default)]
struct Silent {
    /// By queue and route.
    peers: HashMap<(u16, String), Instant>,
    /// By queue and address.
    next_hops: HashMap<(u16, IpAddr), Instant>,
}

/// A next hop whose link-layer address is not known, and the interface that leads to it.
pub(super) struct SilentNextHop<'a> {
    pub ip: IpAddr,
    pub interface: &'a str,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            budget: TokenBucket::per_second(RATE, BURST),
            suppressed: 0,
            report_at: Instant::now(),
            unfinished: BTreeSet::new(),
            silent: Silent::default(),
        }
    }
}

impl Log {
    /// Logs an event of the worker of a queue, unless it was logged lately.
    pub(super) fn event(&mut self, now: Instant, queue: u16, event: &Event, numbers: &Numbers) {
        match event {
            Event::NotDecapsulated { reason, spi, sequence_low, source, destination } => {
                if self.may_write(now) {
                    tracing::warn!(
                        "queue {queue}: ESP packet not opened: {reason}; SPI {spi}, sequence number {sequence_low}, \
                         from {source} to {destination}"
                    );
                }
            }
            Event::ForbiddenSource { spi, inner_source, inner_destination, peer } => {
                if self.may_write(now) {
                    tracing::warn!(
                        "queue {queue}: packet from {inner_source} to {inner_destination} dropped: it came through the \
                         tunnel from {peer} (SPI {spi}) with a source to which packets would not go back through the \
                         same route (no network of it, or another route has a longer prefix)"
                    );
                }
            }
            Event::Stranger { source, spi, is_known } => {
                if self.may_write(now) {
                    let remedy = if *is_known {
                        "it is not the gateway of the route with this SPI"
                    } else {
                        "no route has this SPI; a route must have the same spi on both gateways"
                    };
                    tracing::warn!(
                        "queue {queue}: key exchange: datagram from {source} for route SPI {spi} dropped: {remedy}"
                    );
                }
            }
            Event::Icmp { source, kind, code, excerpt } => {
                if self.may_write(now) {
                    tracing::warn!(
                        "queue {queue}: ICMP error of type {kind}, code {code} from {source} about the packet \
                         {excerpt:02x?}"
                    );
                }
            }
            Event::PathMtu { peer, path_mtu, inner_mtu } => {
                if self.may_write(now) {
                    // One that was removed meanwhile is nobody's concern any more.
                    let route = numbers.route_of(*peer).unwrap_or("(removed)");
                    tracing::info!(
                        "route {route}, queue {queue}: the path to its gateway carries {path_mtu} bytes, packets of up \
                         to {inner_mtu} bytes are sent"
                    );
                }
            }
            // That has an interface to be named, see below.
            Event::PartialChecksum => {}
            Event::NextHop { ip, mac } => {
                if self.may_write(now) {
                    tracing::info!("queue {queue}: next hop {ip} is at {mac}");
                }
            }
        }
    }

    /// Packets with checksums that are not finished came from this device: once for each.
    pub(super) fn partial_checksums(&mut self, device: &Device) {
        if !self.unfinished.insert(device.name.clone()) {
            return;
        }
        let peer = device.lower.as_ref().map_or("PEER", |peer| peer.name.as_str());
        tracing::warn!(
            "interface {}: TCP and UDP packets come with unfinished checksums, as a veth pair hands them over by default; \
             they are completed, which costs time (private-dispatch/partial-checksums): at the other end of the pair: \
             ethtool -K {peer} tx off",
            device.name
        );
    }

    /// `silent` is the next hop on the way to the peer that the event is about, if it does not answer.
    pub(super) fn exchange(
        &mut self,
        now: Instant,
        queue: u16,
        event: &exchange::Event,
        silent: Option<SilentNextHop<'_>>,
    ) {
        match (event, silent) {
            (exchange::Event::Negotiated { route, .. }, _) => {
                self.silent.peers.remove(&(queue, route.clone()));
                tracing::debug!("queue {queue}: key exchange: {event}");
            }
            // The ordinary end. Should the route be without keys then, that is said.
            (exchange::Event::SaExpired { .. }, _) => {
                tracing::debug!("queue {queue}: key exchange: {event}");
            }
            (exchange::Event::NegotiationExpired { route, .. }, Some(SilentNextHop { ip, interface })) => {
                let is_news = is_news(&mut self.silent.next_hops, (queue, ip), now);
                if is_news && self.may_write(now) {
                    let protocol = match Family::of(ip) {
                        Family::V4 => "ARP",
                        Family::V6 => "neighbour discovery",
                    };
                    tracing::warn!(
                        "queue {queue}: next hop {ip} does not answer {protocol} on {interface}, so nothing is sent by \
                         it, and route {route} gets no keys: is nexthop-ip right, and the interface connected?"
                    );
                }
            }
            (exchange::Event::NegotiationExpired { route, .. }, None) => {
                let is_news = is_news(&mut self.silent.peers, (queue, route.clone()), now);
                if is_news && self.may_write(now) {
                    tracing::warn!("queue {queue}: key exchange: {event}");
                } else {
                    tracing::debug!("queue {queue}: key exchange: {event}");
                }
            }
            _ if self.may_write(now) => tracing::warn!("queue {queue}: key exchange: {event}"),
            _ => {}
        }
    }

    /// Says, once in a while, how much was not said.
    pub(super) fn flush(&mut self, now: Instant) {
        if self.suppressed > 0 && now >= self.report_at {
            tracing::warn!(
                "{} log lines about packets suppressed; the counters have them all",
                self.suppressed
            );
            self.suppressed = 0;
            self.report_at = now + REPORT_EVERY;
        }
    }

    fn may_write(&mut self, now: Instant) -> bool {
        let allowed = self.budget.spend(now.as_nanos());
        self.suppressed += u64::from(!allowed);
        allowed
    }
}

/// Whether this has not been said for long. From now on it has.
fn is_news<Key: Eq + std::hash::Hash>(logged: &mut HashMap<Key, Instant>, key: Key, now: Instant) -> bool {
    let is_old = |at: &Instant| now.saturating_duration_since(*at) >= SILENCE_EVERY;
    if logged.len() >= MOST_SILENT {
        logged.retain(|_, at| !is_old(at));
    }
    if logged.get(&key).is_some_and(|at| !is_old(at)) || logged.len() >= MOST_SILENT {
        return false;
    }
    logged.insert(key, now);
    true
}

/// How often it is said that the same one does not answer.
const SILENCE_EVERY: Duration = Duration::from_secs(900);
/// More than the routes of all queues that a gateway is made for; beyond that only the counters show it.
const MOST_SILENT: usize = 1 << 16;
/// Lines a second, and how many may come at once.
const RATE: u64 = 5;
const BURST: u64 = 20;
const REPORT_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_logged_once_and_then_rarely() {
        let (mut logged, start) = (HashMap::new(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let said: Vec<u64> =
            (0..2000).step_by(5).filter(|seconds| is_news(&mut logged, "tokyo", after(*seconds))).collect();
        assert_eq!(said, [0, 900, 1800]);
        assert!(is_news(&mut logged, "oslo", after(2000)));
        logged.remove("tokyo");
        assert!(is_news(&mut logged, "tokyo", after(2001)), "it answered meanwhile");
    }

    #[test]
    fn what_is_remembered_of_silence_is_bounded() {
        let (mut logged, start) = (HashMap::new(), Instant::now());
        for number in 0..MOST_SILENT + 10 {
            is_news(&mut logged, number, start);
        }
        assert_eq!(logged.len(), MOST_SILENT);
        assert!(is_news(&mut logged, usize::MAX, start + SILENCE_EVERY));
    }
}
