// SPDX-License-Identifier: Apache-2.0
//! Who may send through a tunnel: whom packets would go back to through the same route.

use crate::route::{PrefixTable, RouteNumber};
use crate::wire::ip::Ip;
use crate::wire::{icmpv4, icmpv6};

/// Whether a packet that came out of a tunnel of the route with this number may have its source (RFC 4301 section 5.2).
///
/// Routers behind the other gateway, and that gateway itself, may have addresses outside of the networks of the route.
/// Their ICMP errors pass if the packet that caused them was one of ours: it went to these networks, and the error is for
/// who sent it (RFC 4301 section 6.2).
#[inline(always)]
pub(super) fn permits(table: &PrefixTable, route: RouteNumber, packet: &Ip<'_>) -> bool {
    let found = match packet {
        Ip::V4(ip) => table.lookup4(ip.source()),
        Ip::V6(ip) => table.lookup6(ip.source()),
    };
    found == Some(route.0) || is_about_own(table, route, packet.packet())
}

#[cold]
#[inline(never)]
fn is_about_own(table: &PrefixTable, route: RouteNumber, packet: &[u8]) -> bool {
    // Read once more: nothing may point to what the fast path has read, or it would have to be in memory.
    let Ok(packet) = Ip::parse(packet) else { return false };
    match &packet {
        Ip::V4(ip) => icmpv4::quoted(ip).is_some_and(|(source, destination)| {
            source == ip.destination() && table.lookup4(destination) == Some(route.0)
        }),
        Ip::V6(ip) => icmpv6::quoted(ip).is_some_and(|(source, destination)| {
            source == ip.destination() && table.lookup6(destination) == Some(route.0)
        }),
    }
}
