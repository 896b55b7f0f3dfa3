// SPDX-License-Identifier: Apache-2.0
//! What routers on the way tell of packets that were too big for the path to a gateway (RFC 1191, RFC 8201), and for how
//! long that is believed.
//!
//! ```text
//!   public icmp ── too big ──► whose packet does it quote? ──► that tunnel's MTU ──► too big, said to our own senders
//!                                 nobody's: counted                 └── the tick ends it
//! ```
//!
//! Anyone can send such a message. It is believed if it quotes an ESP packet from our address to a tunnel's gateway with
//! an SPI that is in use there, or was before the present one, and with a sequence number that was sent within the last
//! two to three seconds. A path is never believed to be narrower than 576 bytes (IPv4), nor so narrow that the inner MTU
//! of a tunnel that carries IPv6 would be below 1280; what says so of IPv6, below 1280, is not believed at all.
//!
//! When a number was sent is known from marks: once a second, a walk over the tunnels notes the last number of each. It goes
//! in small steps, and only while something is sent; so the packet path itself records nothing but the time.
//!
//! Limits: who sees our packets can quote them. Who does not has to guess an SPI, which start at a random number, together
//! with one of the few numbers of the last seconds, at 50 reports a second. The tunnel is searched for one by one. ICMP is
//! received at a limited rate: 50 searches a second, and 100 at once after a quiet time. Of a tunnel that is not the one, a
//! search reads the outer header and nothing else.

use super::icmp::IcmpCount;
use super::tunnel::MARKS;
use super::{Event, Events, Tunnel};
use crate::frame::{Batch, Frame};
use crate::route::PeerNumber;
use crate::wire::envelope::Quote;
use crate::wire::icmpv4::Icmpv4;
use crate::wire::icmpv6::Icmpv6;
use crate::wire::ip::{Family, Ip};
use crate::wire::ipv6;

/// Believes reports, and forgets them in time.
#[derive(Default)]
pub struct PathMtu {
    /// When the first of the reports that are in force ends, or earlier.
    due_ns: Option<u64>,
    walk: Walk,
}

/// The walk over the tunnels that notes what each has sent.
#[derive(Default)]
struct Walk {
    /// The tunnel that the next step begins with.
    next: usize,
    /// When the next step is due; 0 while nothing is sent.
    due_ns: u64,
    /// When something was sent last.
    sent_ns: u64,
}

impl PathMtu {
    /// To be called before packets are sealed.
    #[inline]
    pub fn sending(&mut self, now_ns: u64, tunnels: &mut [Option<Tunnel>]) {
        self.walk.sent_ns = now_ns;
        if now_ns >= self.walk.due_ns {
            self.walk.step(now_ns, tunnels);
        }
    }

    /// Takes reports that are sound but for what they quote.
    pub fn learn(
        &mut self,
        now_ns: u64,
        reports: &mut Batch,
        tunnels: &mut [Option<Tunnel>],
        count: IcmpCount<'_>,
        events: &mut Events,
    ) {
        if self.walk.is_due(now_ns) && !reports.is_empty() && !tunnels.is_empty() {
            self.walk.step(now_ns, tunnels);
        }
        for frame in reports.drain(..) {
            let Some(Report { mtu, quote }) = read(&frame) else { continue };
            let found = mtu.zip(quote).and_then(|(mtu, quote)| {
                let mut numbered = tunnels.iter_mut().zip(0..);
                numbered.find_map(|(tunnel, peer)| {
                    Some((tunnel.as_mut().filter(|tunnel| tunnel.has_sent(&quote))?, PeerNumber(peer), mtu))
                })
            });
            let Some((tunnel, peer, mtu)) = found else {
                count.misquoted(&frame);
                continue;
            };
            let until_ns = now_ns.saturating_add(BELIEVED_NS);
            if let Some(path_mtu) = tunnel.narrow(mtu, until_ns) {
                let event = Event::PathMtu { peer, path_mtu, inner_mtu: tunnel.mtu };
                // Without room a log line is lost; the state has what it says.
                let _ = events.try_push(event);
            }
            self.due_ns = self.due_ns.or(Some(until_ns));
        }
    }

    /// Ends what has been believed for long enough. Gives the time of the next call.
    pub fn tick(&mut self, now_ns: u64, tunnels: &mut [Option<Tunnel>]) -> u64 {
        if self.due_ns.is_some_and(|due_ns| now_ns >= due_ns) {
            let ends = tunnels.iter_mut().flatten().filter_map(|tunnel| tunnel.widen(now_ns));
            self.due_ns = ends.min().map(|end_ns| end_ns.max(now_ns + LOOK_EVERY_NS));
        }
        if self.walk.is_due(now_ns) {
            self.walk.step(now_ns, tunnels);
        }
        self.due_ns.into_iter().chain(self.walk.next_due()).min().unwrap_or(u64::MAX)
    }
}

impl Walk {
    #[inline]
    fn is_due(&self, now_ns: u64) -> bool {
        self.due_ns != 0 && now_ns >= self.due_ns
    }

    fn next_due(&self) -> Option<u64> {
        Some(self.due_ns).filter(|due_ns| *due_ns != 0)
    }

    /// Goes on with the walk; begins one if there is none, ends it once all that was sent is too old to matter.
    #[cold]
    fn step(&mut self, now_ns: u64, tunnels: &mut [Option<Tunnel>]) {
        let steps_per_lap = tunnels.len().div_ceil(STEP).max(1);
        let step_ns = LAP_NS / steps_per_lap as u64;
        if self.due_ns == 0 {
            *self = Walk { next: 0, due_ns: now_ns + step_ns, sent_ns: self.sent_ns };
            return;
        }
        // Steps that were missed are made up for; more than all laps that count change nothing.
        let missed = (now_ns.saturating_sub(self.due_ns) / step_ns + 1).min((MARKS * steps_per_lap) as u64);
        for _ in 0..missed {
            tunnels.iter_mut().skip(self.next).take(STEP).flatten().for_each(Tunnel::age);
            self.next = if self.next + STEP < tunnels.len() { self.next + STEP } else { 0 };
        }
        let due_ns = self.due_ns + missed * step_ns;
        self.due_ns = if due_ns > now_ns { due_ns } else { now_ns + step_ns };
        if now_ns.saturating_sub(self.sent_ns) > (MARKS as u64 + 2) * LAP_NS {
            self.due_ns = 0;
        }
    }
}

/// What a message about an ESP packet says.
struct Report {
    /// What the path carries; `None` if there is no such path.
    mtu: Option<u16>,
    /// `None` if it is no packet that we would send.
    quote: Option<Quote>,
}

/// Ignores errors that quote anything but ESP: answers and the key exchange come nowhere near the size of a path.
fn read(frame: &Frame) -> Option<Report> {
    let (family, mtu, quote) = match Ip::parse(frame.data()).ok()? {
        Ip::V4(ip) => {
            let message = Icmpv4::parse(ip.payload()).ok()?;
            let ([_, _, high, low], quote) = (message.rest(), message.body());
            let mtu = match u16::from_be_bytes([high, low]) {
                // No path is as narrow as that: nothing is said by it.
                0 => plateau_below(quote).unwrap_or(u16::MAX),
                mtu => mtu,
            };
            (Family::V4, Some(mtu.max(SMALLEST_V4)), quote)
        }
        Ip::V6(ip) => {
            let message = Icmpv6::parse(ip.packet().get(ip.upper().ok()?.offset..)?).ok()?;
            let mtu = u16::try_from(u32::from_be_bytes(message.rest())).unwrap_or(u16::MAX);
            //= RFC 8201 section 4: a message that tells of less than the IPv6 minimum link MTU must be discarded.
            (Family::V6, (mtu >= ipv6::MIN_MTU).then_some(mtu), message.body())
        }
    };
    Quote::is_esp(quote, family).then(|| Report { mtu, quote: Quote::parse(quote, family) })
}

/// RFC 1191 section 5: a router that is older than path MTU discovery says zero. Then the path carries, perhaps, the
/// next of the usual sizes below that of the packet, which it quotes.
fn plateau_below(quote: &[u8]) -> Option<u16> {
    let [_, _, high, low] = quote.first_chunk()?;
    let len = u16::from_be_bytes([*high, *low]);
    PLATEAUS.into_iter().find(|plateau| *plateau < len)
}

/// RFC 1191 section 6.3: "a timeout of ten minutes"; RFC 8201 section 5.3: "recommended .. is twice .. (10 minutes)".
const BELIEVED_NS: u64 = 600_000_000_000;
/// Looking at thousands of tunnels takes a while: it is done once a second at most.
const LOOK_EVERY_NS: u64 = 1_000_000_000;
/// How often the last number of each tunnel is noted.
const LAP_NS: u64 = 1_000_000_000;
/// Tunnels of one step: some microseconds of work.
const STEP: usize = 64;
/// What every host of IPv4 takes (RFC 791 section 3.1): less is not believed, so that nobody can choke a tunnel.
const SMALLEST_V4: u16 = 576;
/// RFC 1191 section 7.1, table 7-1, from what an interface can have down to the smallest that is believed.
const PLATEAUS: [u16; 7] = [8166, 4352, 2002, 1492, 1006, 576, 508];
