// SPDX-License-Identifier: Apache-2.0
//! ICMP for IPv4.

use super::{Class, Common, ErrorMessage, Leaves, Problem, Received, Request, Version};
use crate::count;
use crate::frame::Frame;
use crate::wire::icmpv4;
use crate::wire::ipv4::{self, Ipv4, PROTOCOL_ICMP};
use std::net::Ipv4Addr;

pub(super) struct Icmpv4;

impl Version for Icmpv4 {
    type Address = Ipv4Addr;
    type Count = count::Icmp4;

    const PROTOCOL: u8 = PROTOCOL_ICMP;
    //= RFC 1812 section 4.3.2.5: errors SHOULD have precedence 6 (INTERNETWORK CONTROL) or 7.
    const ERROR_CLASS: u8 = 6 << 5;

    fn read(frame: &Frame) -> Received {
        //= RFC 1122 section 3.2.1.2: a datagram with a bad header checksum is discarded silently.
        let Some(ip) = Ipv4::parse(frame.data()).ok().filter(Ipv4::checksum_ok) else {
            return Received::Malformed;
        };
        if ip.protocol() != PROTOCOL_ICMP {
            return Received::UnknownProtocol;
        }
        let message = icmpv4::Icmpv4::parse(ip.payload());
        let Some(message) = message.ok().filter(|message| !ip.is_fragment() && message.checksum_ok()) else {
            return Received::Malformed;
        };
        let (kind, code) = (message.kind(), message.code());
        let class = if is_error(kind) {
            // RFC 792: an error quotes at least the header of the packet that it is about.
            if message.body().len() < ipv4::HEADER {
                return Received::Malformed;
            }
            let is_too_big = (kind, code) == (icmpv4::DESTINATION_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED);
            Class::Error { excerpt: message.body().iter().copied().take(EXCERPT).collect(), is_too_big }
        } else if (kind, code) == (icmpv4::ECHO_REQUEST, 0) {
            Class::EchoRequest { is_answerable: icmpv4::is_single_host(ip.source()) }
        } else {
            Class::Other
        };
        Received::Message { kind, code, source: ip.source().into(), class }
    }

    fn request(frame: &Frame) -> Option<Request<Ipv4Addr>> {
        let ip = Ipv4::parse(frame.data()).ok()?;
        Some(Request {
            class: ip.tos(),
            source: ip.source(),
            destination: ip.destination(),
            header_len: ip.header_len(),
            total_len: ip.total_len(),
        })
    }

    fn write_reply(message: &mut [u8]) -> bool {
        icmpv4::echo_reply(message)
    }

    fn may_report(frame: &Frame) -> bool {
        Ipv4::parse(frame.data()).is_ok_and(|ip| icmpv4::may_answer(&ip))
    }

    fn error(frame: &Frame, problem: Problem) -> Option<ErrorMessage<Ipv4Addr>> {
        let offender = Ipv4::parse(frame.data()).ok()?;
        let (kind, code, rest) = match problem {
            Problem::UnknownProtocol => {
                (icmpv4::DESTINATION_UNREACHABLE, icmpv4::PROTOCOL_UNREACHABLE, [0; 4])
            }
            Problem::TimeExceeded => (icmpv4::TIME_EXCEEDED, icmpv4::TTL_EXCEEDED, [0; 4]),
            Problem::TooBig { mtu } => {
                let rest = icmpv4::next_hop_mtu(mtu);
                (icmpv4::DESTINATION_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED, rest)
            }
        };
        let (destination, quoted) = (offender.source(), icmpv4::quote(&offender).len());
        Some(ErrorMessage { kind, code, rest, destination, quoted })
    }

    fn write_error(message: &mut [u8], error: &ErrorMessage<Ipv4Addr>, _: Ipv4Addr) -> bool {
        icmpv4::write_error(message, error.kind, error.code, error.rest)
    }

    fn common(count: &count::Icmp4) -> Common<'_> {
        Common {
            rxerrors: &count.rxerrors,
            protocol_errors: &count.protocol_errors,
            type_not_implemented_errors: &count.type_not_implemented_errors,
            code_not_implemented_errors: &count.code_not_implemented_errors,
            rate_limited: &count.rate_limited,
            answer_errors: &count.answer_errors,
            quote_errors: &count.quote_errors,
        }
    }

    fn leaves(kind: u8, code: u8, count: &count::Icmp4) -> Option<Leaves<'_>> {
        let (of_type, of_code) = match (kind, code) {
            (icmpv4::DESTINATION_UNREACHABLE, _) => (
                Some(&count.destination_unreachable),
                match code {
                    0 => Some(&count.net_unreachable),
                    1 => Some(&count.host_unreachable),
                    2 => Some(&count.protocol_unreachable),
                    3 => Some(&count.port_unreachable),
                    4 => Some(&count.fragmentation_needed),
                    5 => Some(&count.source_route_failed),
                    _ => None,
                },
            ),
            (icmpv4::TIME_EXCEEDED, _) => (
                Some(&count.time_exceeded),
                match code {
                    0 => Some(&count.transit_ttl_exceeded),
                    1 => Some(&count.fragment_reassembly_time_exceeded),
                    _ => None,
                },
            ),
            (icmpv4::REDIRECT, _) => (
                Some(&count.redirect),
                match code {
                    0 => Some(&count.redirect_net),
                    1 => Some(&count.redirect_host),
                    2 => Some(&count.redirect_tos_net),
                    3 => Some(&count.redirect_tos_host),
                    _ => None,
                },
            ),
            // The only code of these has no leaf apart from the type's.
            (icmpv4::PARAMETER_PROBLEM, 0) => (None, Some(&count.parameter_problem)),
            (icmpv4::PARAMETER_PROBLEM, _) => (Some(&count.parameter_problem), None),
            (icmpv4::ECHO_REQUEST, 0) => (None, Some(&count.echo_request)),
            (icmpv4::ECHO_REQUEST, _) => (Some(&count.echo_request), None),
            _ => return None,
        };
        Some(Leaves { of_type, of_code })
    }
}

/// Whether a message is about a packet of ours.
fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        icmpv4::DESTINATION_UNREACHABLE
            | icmpv4::REDIRECT
            | icmpv4::TIME_EXCEEDED
            | icmpv4::PARAMETER_PROBLEM
    )
}

/// What an error quotes at least: a header without options, and eight bytes.
const EXCERPT: usize = ipv4::HEADER + 8;
