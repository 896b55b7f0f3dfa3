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
//! an SPI that is in use there, which only who sees our packets knows; and nothing below the smallest MTU that the
//! outer protocol allows is believed.
//!
//! Limits: the tunnel is searched for one by one. ICMP is received at a limited rate, so that is 50 searches a second at
//! most.

use super::{Event, Events, IcmpCount, Tunnel};
use crate::frame::{Batch, Frame};
use crate::wire::icmpv4::Icmpv4;
use crate::wire::icmpv6::Icmpv6;
use crate::wire::ip::{Family, Ip};
use crate::wire::ipv4::PROTOCOL_ESP;

/// Believes reports, and forgets them in time.
#[derive(Default)]
pub struct PathMtu {
    /// When the first of the reports that are in force ends, or earlier.
    due_ns: Option<u64>,
}

impl PathMtu {
    /// Takes reports that are sound but for what they quote.
    pub fn learn(
        &mut self,
        now_ns: u64,
        reports: &mut Batch,
        tunnels: &mut [Option<Tunnel>],
        count: IcmpCount<'_>,
        events: &mut Events,
    ) {
        for frame in reports.drain(..) {
            let Some(Report { mtu, quote }) = read(&frame) else { continue };
            let mut numbered = tunnels.iter_mut().zip(0..);
            let found = numbered.find_map(|(tunnel, route)| {
                Some((tunnel.as_mut().filter(|tunnel| tunnel.has_sent(quote))?, route))
            });
            let Some((tunnel, route)) = found else {
                count.misquoted(&frame);
                continue;
            };
            let until_ns = now_ns.saturating_add(BELIEVED_NS);
            if let Some(path_mtu) = tunnel.narrow(mtu, until_ns) {
                let event = Event::PathMtu { route, path_mtu, inner_mtu: tunnel.mtu };
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
        self.due_ns.unwrap_or(u64::MAX)
    }
}

/// What a message says.
struct Report<'a> {
    mtu: u32,
    /// The ESP packet that it is about, as far as it is quoted.
    quote: &'a [u8],
}

/// Of no interest is what is about an answer or the key exchange: neither comes near the size of a path.
fn read(frame: &Frame) -> Option<Report<'_>> {
    let report = match Ip::parse(frame.data()).ok()? {
        Ip::V4(ip) => {
            let message = Icmpv4::parse(ip.payload()).ok()?;
            let ([_, _, high, low], quote) = (message.rest(), message.body());
            let mtu = match u16::from_be_bytes([high, low]) {
                // No path is as narrow as that: nothing is said by it.
                0 => plateau_below(quote).unwrap_or(u16::MAX),
                mtu => mtu,
            };
            Report { mtu: mtu.into(), quote }
        }
        Ip::V6(ip) => {
            let message = Icmpv6::parse(ip.packet().get(ip.upper().ok()?.offset..)?).ok()?;
            Report { mtu: u32::from_be_bytes(message.rest()), quote: message.body() }
        }
    };
    let protocol_at = match Family::of_packet(report.quote)? {
        Family::V4 => 9,
        Family::V6 => 6,
    };
    (report.quote.get(protocol_at) == Some(&PROTOCOL_ESP)).then_some(report)
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
/// RFC 1191 section 7.1, table 7-1, from what an interface can have down to the smallest that is believed.
const PLATEAUS: [u16; 7] = [8166, 4352, 2002, 1492, 1006, 576, 508];
