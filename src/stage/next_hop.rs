// SPDX-License-Identifier: Apache-2.0
//! The link-layer address that all packets of an interface go to: configured, or asked for with ARP (RFC 826).
//!
//! Where IPv6 neighbour discovery goes: beside `learn` and `ask`.

use super::{Event, Events};
use crate::count;
use crate::frame::{Batch, Frame, Pool, Port};
use crate::wire::Mac;
use crate::wire::arp::{self, Arp};
use crate::wire::ethernet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, Ethernet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An address that several workers may use while one of them finds it out.
#[derive(Default)]
pub struct Resolved(AtomicU64);

/// One interface's neighbour.
pub struct NextHop {
    own_ip: Ipv4Addr,
    own_mac: Mac,
    ip: Ipv4Addr,
    address: Arc<Resolved>,
    /// Whether ARP may teach us; not when the address is configured.
    learns: bool,
    /// When the next question is due; never where another worker asks.
    ask_at_ns: u64,
    waiting: Batch,
    waiting_since_ns: u64,
}

impl Resolved {
    /// The address, once it is known.
    #[inline]
    pub fn mac(&self) -> Option<Mac> {
        let [known, _, mac @ ..] = self.0.load(Ordering::Relaxed).to_be_bytes();
        (known != 0).then_some(Mac(mac))
    }

    pub fn set(&self, mac: Mac) {
        let Mac([a, b, c, d, e, f]) = mac;
        self.0.store(u64::from_be_bytes([1, 0, a, b, c, d, e, f]), Ordering::Relaxed);
    }
}

impl NextHop {
    /// `configured` is the address if it is not to be asked for; `asks` says whether this worker does the asking.
    pub fn new(
        own_ip: Ipv4Addr,
        own_mac: Mac,
        ip: Ipv4Addr,
        configured: Option<Mac>,
        address: Arc<Resolved>,
        asks: bool,
    ) -> NextHop {
        if let Some(mac) = configured {
            address.set(mac);
        }
        let learns = configured.is_none();
        let ask_at_ns = if asks && learns { 0 } else { u64::MAX };
        NextHop {
            own_ip,
            own_mac,
            ip,
            address,
            learns,
            ask_at_ns,
            waiting: Batch::new(),
            waiting_since_ns: 0,
        }
    }

    /// Goes over to another neighbour, unless it is the same one. What waits for the old one is lost: it was made for
    /// the addresses of before.
    pub fn change(&mut self, next: NextHop, count: &count::NextHop) {
        if !self.is_same(&next) {
            count.unresolved_errors.add(self.waiting.len() as u64);
            *self = next;
        }
    }

    /// Whether the other describes the same neighbour, so that what is known of it stays true.
    fn is_same(&self, other: &NextHop) -> bool {
        (self.own_ip, self.own_mac, self.ip, self.learns)
            == (other.own_ip, other.own_mac, other.ip, other.learns)
            && Arc::ptr_eq(&self.address, &other.address)
            && (self.ask_at_ns == u64::MAX) == (other.ask_at_ns == u64::MAX)
    }

    /// Sends IP packets on their way, or keeps them for a short while if the way is not known yet.
    pub fn send(&mut self, now_ns: u64, packets: &mut Batch, port: &mut impl Port, count: &count::NextHop) {
        if packets.is_empty() {
            return;
        }
        match self.address.mac() {
            Some(mac) => self.forward(mac, packets, port),
            None => {
                if self.waiting.is_empty() {
                    self.waiting_since_ns = now_ns;
                }
                for frame in packets.drain(..) {
                    if let Err(refused) = self.waiting.try_push(frame) {
                        drop(refused);
                        count.unresolved_errors.add(1);
                    }
                }
            }
        }
    }

    /// Takes ARP packets, answers those that ask for our address, and learns from those of the next hop.
    pub fn learn(
        &mut self,
        packets: &mut Batch,
        port: &mut impl Port,
        count: &count::NextHop,
        events: &mut Events,
    ) {
        let mut answers = Batch::new();
        for mut frame in packets.drain(..) {
            let arp = Ethernet::parse(frame.data()).and_then(|frame| Arp::parse(frame.payload()));
            let sound = arp.ok().filter(|arp| {
                !arp.sender_mac().is_multicast()
                    && arp.sender_mac() != Mac::ZERO
                    && arp.sender_ip() != self.own_ip
                    && matches!(arp.operation(), arp::REQUEST | arp::REPLY)
            });
            let Some(arp) = sound else {
                count.arp_errors.add(1);
                continue;
            };
            let (sender_mac, sender_ip) = (arp.sender_mac(), arp.sender_ip());
            let asks_for_us = arp.operation() == arp::REQUEST && arp.target_ip() == self.own_ip;
            if self.learns && sender_ip == self.ip {
                self.update(sender_mac, count, events);
            }
            if asks_for_us && self.turn_into_reply(&mut frame, sender_mac, sender_ip).is_some() {
                count.arp_replies.add(1);
                answers.push(frame);
            }
        }
        port.transmit(&mut answers);
    }

    /// What time brings: the next question, the end of waiting. Gives the time of the next call.
    pub fn tick(&mut self, now_ns: u64, pool: &Pool, port: &mut impl Port, count: &count::NextHop) -> u64 {
        if !self.waiting.is_empty() {
            if let Some(mac) = self.address.mac() {
                let mut waiting = std::mem::take(&mut self.waiting);
                self.forward(mac, &mut waiting, port);
            } else if now_ns.saturating_sub(self.waiting_since_ns) >= PATIENCE_NS {
                count.unresolved_errors.add(self.waiting.len() as u64);
                self.waiting.clear();
            }
        }
        if now_ns >= self.ask_at_ns {
            self.ask_at_ns = now_ns + ASK_EVERY_NS;
            if let Some(question) = self.question(pool) {
                count.arp_requests.add(1);
                let mut batch = Batch::new();
                batch.push(question);
                port.transmit(&mut batch);
            }
        }
        // The answer may come to another worker, so whoever waits looks again soon.
        if self.waiting.is_empty() { self.ask_at_ns } else { self.ask_at_ns.min(now_ns + LOOK_AGAIN_NS) }
    }

    fn update(&mut self, mac: Mac, count: &count::NextHop, events: &mut Events) {
        match self.address.mac() {
            Some(known) if known == mac => return,
            Some(_) => count.addresses_updated.add(1),
            None => count.addresses_added.add(1),
        }
        self.address.set(mac);
        if !events.is_full() {
            events.push(Event::NextHop { ip: self.ip, mac });
        }
    }

    fn forward(&self, mac: Mac, packets: &mut Batch, port: &mut impl Port) {
        let header = ethernet::Header { destination: mac, source: self.own_mac, ethertype: ETHERTYPE_IPV4 };
        // Headroom is never short here: at most the outer IPv4 and ESP headers were put in front.
        packets.retain(|frame| {
            let front = frame.prepend(ethernet::HEADER).and_then(<[u8]>::first_chunk_mut);
            front.map(|front| header.write(front)).is_some()
        });
        port.transmit(packets);
    }

    fn turn_into_reply(&self, frame: &mut Frame, mac: Mac, ip: Ipv4Addr) -> Option<()> {
        frame.reset();
        self.write(frame, arp::REPLY, mac, mac, ip)
    }

    fn question(&self, pool: &Pool) -> Option<Frame> {
        let mut frame = pool.take()?;
        self.write(&mut frame, arp::REQUEST, Mac::BROADCAST, Mac::ZERO, self.ip)?;
        Some(frame)
    }

    fn write(
        &self,
        frame: &mut Frame,
        operation: u16,
        destination: Mac,
        target_mac: Mac,
        target_ip: Ipv4Addr,
    ) -> Option<()> {
        let header = ethernet::Header { destination, source: self.own_mac, ethertype: ETHERTYPE_ARP };
        header.write(frame.append(ethernet::HEADER)?.first_chunk_mut()?);
        let message = arp::Header {
            operation,
            sender_mac: self.own_mac,
            sender_ip: self.own_ip,
            target_mac,
            target_ip,
        };
        message.write(frame.append(arp::MESSAGE)?.first_chunk_mut()?);
        frame.append(SHORTEST_FRAME - ethernet::HEADER - arp::MESSAGE)?.fill(0);
        Some(())
    }
}

/// IEEE 802.3, without the frame check sequence.
const SHORTEST_FRAME: usize = 60;
const ASK_EVERY_NS: u64 = 5_000_000_000;
/// How long a packet may wait for an address: about as long as its sender would for a slow answer.
const PATIENCE_NS: u64 = 3_000_000_000;
const LOOK_AGAIN_NS: u64 = 10_000_000;
