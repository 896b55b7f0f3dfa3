// SPDX-License-Identifier: Apache-2.0
//! What happened on the network, as log lines: at a limited rate, because strangers can cause them.

use super::plan::Numbers;
use crate::clock::Instant;
use crate::exchange;
use crate::stage::{Budget, Event};
use crate::xdp::Device;
use std::collections::BTreeSet;
use std::time::Duration;

pub struct Log {
    start: Instant,
    budget: Budget,
    suppressed: u64,
    report_at: Instant,
    /// Interfaces with unfinished checksums that were told.
    unfinished: BTreeSet<String>,
}

impl Default for Log {
    fn default() -> Log {
        let start = Instant::now();
        Log {
            start,
            budget: Budget::per_second(RATE, BURST),
            suppressed: 0,
            report_at: start,
            unfinished: BTreeSet::new(),
        }
    }
}

impl Log {
    pub fn event(&mut self, now: Instant, queue: u16, event: &Event, numbers: &Numbers) {
        match event {
            Event::Unopened { reason, spi, sequence_low, source, destination } => {
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
            Event::PathMtu { route, path_mtu, inner_mtu } => {
                if self.may_write(now) {
                    // One that was removed meanwhile is nobody's concern any more.
                    let route = numbers.id(*route).unwrap_or("(removed)");
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
    pub fn partial_checksums(&mut self, device: &Device) {
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

    pub fn exchange(&mut self, now: Instant, queue: u16, event: &exchange::Event) {
        if let exchange::Event::Negotiated { .. } = event {
            tracing::debug!("queue {queue}: key exchange: {event}");
        } else if self.may_write(now) {
            tracing::warn!("queue {queue}: key exchange: {event}");
        }
    }

    /// Says, once in a while, how much was not said.
    pub fn flush(&mut self, now: Instant) {
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
        let now_ns = now.saturating_duration_since(self.start).as_nanos() as u64;
        let allowed = self.budget.spend(now_ns);
        self.suppressed += u64::from(!allowed);
        allowed
    }
}

/// Lines a second, and how many may come at once.
const RATE: u64 = 5;
const BURST: u64 = 20;
const REPORT_EVERY: Duration = Duration::from_secs(60);
