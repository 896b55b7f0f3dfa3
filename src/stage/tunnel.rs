// SPDX-License-Identifier: Apache-2.0
//! The way to the gateway of a route: what its outer headers are, how large a packet may be, what the path told.

use super::LinkHeaders;
use crate::count::{self, Reason};
use crate::esp::{Job, OutboundSa};
use crate::frame::Frame;
use crate::prefetch::prefetch;
use crate::wire::class::{self, Marking};
use crate::wire::envelope::{Envelope, Quote};
use crate::wire::esp;
use crate::wire::ip::Family;
use crate::wire::ipv4::PROTOCOL_IPIP;
use crate::wire::ipv6::{self, PROTOCOL_IPV6};
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

/// The way to the gateway of one route. What every packet needs of it is one line of the cache.
#[repr(C, align(64))]
pub struct Tunnel {
    envelope: Envelope,
    /// The largest inner packet at present, in bytes.
    pub(super) mtu: u16,
    /// The traffic class of the outer header, by that of the inner packet.
    marking: Marking,
    /// Whether shorter packets are extended to the largest (traffic flow confidentiality).
    tfc: bool,
    sa: Option<Box<OutboundSa>>,
    /// This worker's counters of the route.
    pub stats: Arc<count::Route>,
    path: Path,
}

/// What is seldom looked at.
struct Path {
    /// The largest inner packet unless the path is narrower.
    widest: u16,
    /// In a `Cell`, so that the compiler tells `Some(Tunnel)` from `None` by a field of the first line instead.
    narrow: Cell<Option<Narrow>>,
    /// The shortest outer packet that a path is believed to be limited to.
    floor: u16,
    /// The last number of the present SA at each of the last laps, newest first: numbers above the oldest were sent within
    /// the last seconds.
    marks: [u64; MARKS],
    /// Packets of the SA before the present one that may still be on their way.
    before: Sent,
    /// Laps until they no longer are.
    before_laps: u8,
}

/// Sequence numbers that an SA used lately: above `since`, up to `last`. None, by default.
#[derive(Clone, Copy, Default)]
struct Sent {
    spi: u32,
    since: u64,
    last: u64,
}

/// A path that carries less than our own interface does.
#[derive(Clone, Copy)]
struct Narrow {
    /// In bytes, outer header included.
    mtu: u16,
    until_ns: u64,
}

impl Tunnel {
    /// The outer header is that of `source` to `destination`, which are of one family; else `None`.
    pub fn new(source: IpAddr, destination: IpAddr, mtu: u16, tfc: bool) -> Option<Tunnel> {
        let envelope = Envelope::new(source, destination)?;
        let path = Path {
            widest: mtu,
            narrow: Cell::new(None),
            floor: 0,
            marks: [0; MARKS],
            before: Sent::default(),
            before_laps: 0,
        };
        Some(Tunnel {
            envelope,
            mtu,
            marking: Marking::default(),
            tfc,
            sa: None,
            stats: Arc::default(),
            path,
        })
    }

    /// The same with another rule for the outer traffic class.
    pub fn with_marking(self, marking: Marking) -> Tunnel {
        Tunnel { marking, ..self }
    }

    /// The same for a route that carries IPv6: no report makes its inner MTU smaller than the IPv6 minimum link MTU
    /// (RFC 8200 section 5), below which IPv6 does not work at all.
    pub fn with_ipv6_inside(mut self) -> Tunnel {
        self.path.floor = self.envelope.outer_len(ipv6::MIN_MTU.into()) as u16;
        self
    }

    /// Whether there is an SA that packets are sealed with.
    #[inline]
    pub fn has_association(&self) -> bool {
        self.sa.is_some()
    }

    /// Makes an association the one that packets are sealed with, or none. Gives back the one before.
    pub fn activate(&mut self, sa: Option<Box<OutboundSa>>) -> Option<Box<OutboundSa>> {
        let old = std::mem::replace(&mut self.sa, sa);
        let sent = self.sa.as_ref().and(old.as_deref()).map(|old| self.path.sent_by(old));
        (self.path.before, self.path.before_laps) = (sent.unwrap_or_default(), MARKS as u8);
        // One that goes on after a number may have sent up to it a moment ago, on another worker.
        self.path.marks = [0; MARKS];
        old
    }

    /// Goes on where another tunnel of the same route, if there was one, stops: with its keys; and, if it led to the same
    /// gateway, with what is known of the path.
    pub fn take_over(&mut self, old: Option<&mut Tunnel>) {
        let told_before = match old {
            Some(old) => {
                self.sa = old.sa.take();
                self.path.before = std::mem::take(&mut old.path.before);
                (self.path.before_laps, self.path.marks) = (old.path.before_laps, old.path.marks);
                if self.envelope.destination() == old.envelope.destination() {
                    let fits = |narrow: &Narrow| self.envelope.inner_mtu(narrow.mtu) < self.path.widest;
                    self.path.narrow = Cell::new(old.path.narrow.get().filter(fits));
                }
                Arc::ptr_eq(&self.stats, &old.stats).then_some(old.path.narrow.get().map(|narrow| narrow.mtu))
            }
            None => None,
        };
        // With thousands of routes and nothing new, their memory is left alone.
        if told_before != Some(self.path.narrow.get().map(|narrow| narrow.mtu))
            || self.path.narrow.get().is_some()
        {
            self.set_mtu();
        }
    }

    /// Prefetches what the next packet in this tunnel will use.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        if let Some(sa) = &self.sa {
            sa.prefetch();
        }
        prefetch(&self.stats.counters.outbound);
    }

    /// All that sealing is but the cryptography: headers in front, the trailer and room for the ICV behind. Tells too
    /// whether the next hop is resolved; else there is no Ethernet header.
    #[inline(always)]
    pub(super) fn prepare<'a>(
        &'a self,
        frame: &'a mut Frame,
        link_headers: &LinkHeaders,
    ) -> Result<(Job<'a>, bool), Reason> {
        self.surround::<false>(frame, link_headers)
    }

    /// As [`Tunnel::prepare`], for a dummy packet: a frame without data, which the peer throws away (RFC 4303 section 2.6).
    /// It is no packet of the route's traffic, and not counted as such.
    pub(super) fn prepare_dummy<'a>(
        &'a self,
        frame: &'a mut Frame,
        link_headers: &LinkHeaders,
    ) -> Result<(Job<'a>, bool), Reason> {
        self.surround::<true>(frame, link_headers)
    }

    #[inline(always)]
    fn surround<'a, const IS_DUMMY: bool>(
        &'a self,
        frame: &'a mut Frame,
        link_headers: &LinkHeaders,
    ) -> Result<(Job<'a>, bool), Reason> {
        let sa = self.sa.as_deref().ok_or(Reason::NoSa)?;
        let number = sa.draw()?;
        let padded = if self.tfc { self.mtu.into() } else { 0 };
        let len = frame.len();
        // The class of the inner packet cannot be read any more once it is sealed.
        let (next_header, class) = match class::with_family(frame.data()) {
            _ if IS_DUMMY => (esp::DUMMY, 0),
            Some((Family::V6, class)) => (PROTOCOL_IPV6, class),
            // The router has parsed it: it is one or the other.
            other => (PROTOCOL_IPIP, other.map_or(0, |(_, class)| class)),
        };
        let class = self.marking.outer(class);
        // Headroom is never short: a frame starts with 256 bytes of it.
        let (link, job, family) = match &self.envelope {
            Envelope::Ipv4(template) => {
                let (link, outer, job) = sa.encapsulate(number, frame, next_header, padded)?;
                template.write(outer, class, esp::HEADER + job.data.len());
                (link, job, Family::V4)
            }
            Envelope::Ipv6(template) => {
                let (link, outer, job) = sa.encapsulate(number, frame, next_header, padded)?;
                template.write(outer, class, esp::HEADER + job.data.len());
                (link, job, Family::V6)
            }
        };
        let resolved = link_headers.of(family);
        if let Some(header) = resolved {
            *link = *header;
        }
        if !IS_DUMMY {
            let of_route = &self.stats.counters.outbound;
            of_route.packets.add(1);
            of_route.bytes.add(len as u64);
        }
        Ok((job, resolved.is_some()))
    }

    /// Whether such a packet was sent here lately, by the association that is in use or the one before.
    #[inline]
    pub(super) fn has_sent(&self, quote: &Quote) -> bool {
        // First what is at hand: there are thousands of tunnels.
        self.envelope.has_ends_of(quote)
            && (self.path.before.includes(quote)
                || self.sa.as_deref().is_some_and(|sa| self.path.sent_by(sa).includes(quote)))
    }

    /// Notes that a lap has passed: what was sent [`MARKS`] laps ago is no longer recent.
    pub(super) fn age(&mut self) {
        let Some(sa) = self.sa.as_deref() else { return };
        self.path.marks.rotate_right(1);
        self.path.marks[0] = sa.last();
        self.path.before_laps = self.path.before_laps.saturating_sub(1);
        if self.path.before_laps == 0 {
            self.path.before = Sent::default();
        }
    }

    /// Believes that the path carries no more than this, outer header included, until a time. Gives what is believed
    /// from now on if it is less than before.
    pub(super) fn narrow(&mut self, mtu: u16, until_ns: u64) -> Option<u16> {
        let mtu = mtu.max(self.path.floor);
        let is_less = match self.path.narrow.get() {
            Some(narrow) => mtu < narrow.mtu,
            None => self.envelope.inner_mtu(mtu) < self.path.widest,
        };
        let is_confirmed = self.path.narrow.get().is_some_and(|narrow| narrow.mtu == mtu);
        if is_less || is_confirmed {
            self.path.narrow.set(Some(Narrow { mtu, until_ns }));
            self.set_mtu();
        }
        is_less.then_some(mtu)
    }

    /// Forgets what was believed until now. Gives the time until which something still is.
    pub(super) fn widen(&mut self, now_ns: u64) -> Option<u64> {
        let narrow = self.path.narrow.get()?;
        if now_ns < narrow.until_ns {
            return Some(narrow.until_ns);
        }
        self.path.narrow.set(None);
        self.set_mtu();
        None
    }

    fn set_mtu(&mut self) {
        let path_mtu = self.path.narrow.get().map_or(0, |narrow| narrow.mtu);
        self.mtu =
            self.path.narrow.get().map_or(self.path.widest, |narrow| self.envelope.inner_mtu(narrow.mtu));
        self.stats.path_mtu.set(path_mtu.into());
    }
}

impl Path {
    /// What the present SA has sent lately.
    fn sent_by(&self, sa: &OutboundSa) -> Sent {
        Sent { spi: sa.spi(), since: self.marks[MARKS - 1], last: sa.last() }
    }
}

impl Sent {
    fn includes(self, quote: &Quote) -> bool {
        // Of the number, the low half is in the header (RFC 4303 section 2.2.1).
        let behind = u64::from((self.last as u32).wrapping_sub(quote.sequence_low));
        self.spi == quote.spi && behind < (self.last - self.since).min(QUOTED_LATE)
    }
}

const _: () = assert!(std::mem::offset_of!(Tunnel, path) <= 64);

/// Laps of one second for which a packet counts as sent lately: a report about it arrives within a round trip.
pub(super) const MARKS: usize = 3;
/// Packets by which the one that a router reports may be behind the last one sent. 2^16 packets of 1500 bytes are 100 MB,
/// a round trip of 80 ms at 10 Gbit/s; of 2^32 numbers, that leaves one guess in 65,536 right.
const QUOTED_LATE: u64 = 1 << 16;
