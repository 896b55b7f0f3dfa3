// SPDX-License-Identifier: Apache-2.0
//! ICMP for IPv6.

use super::{Class, Common, ErrorMessage, Leaves, Problem, Received, Request, Version};
use crate::count;
use crate::frame::Frame;
use crate::wire::icmpv6;
use crate::wire::ipv6::{self, Ipv6, PROTOCOL_ICMPV6};
use std::net::Ipv6Addr;

pub(super) struct Icmpv6;

impl Version for Icmpv6 {
    type Address = Ipv6Addr;
    type Count = count::Icmp6;

    const PROTOCOL: u8 = PROTOCOL_ICMPV6;
    const ERROR_CLASS: u8 = 0;

    fn read(frame: &Frame) -> Received {
        let Ok(ip) = Ipv6::parse(frame.data()) else { return Received::Malformed };
        let Ok(upper) = ip.upper() else { return Received::Malformed };
        if upper.refused.is_some_and(|option| !option.is_told) {
            return Received::Malformed;
        }
        if upper.refused.is_some() || upper.protocol != PROTOCOL_ICMPV6 {
            return Received::UnknownProtocol;
        }
        let message = icmpv6::Icmpv6::parse(ip.packet().get(upper.offset..).unwrap_or_default());
        let message = message
            .ok()
            .filter(|message| !upper.is_fragment && message.checksum_ok(ip.source(), ip.destination()));
        let Some(message) = message else { return Received::Malformed };
        let (kind, code) = (message.kind(), message.code());
        let class = if kind < icmpv6::ECHO_REQUEST {
            // An error quotes at least the header of the packet that it is about.
            if message.body().len() < ipv6::HEADER {
                return Received::Malformed;
            }
            let excerpt = message.body().iter().copied().take(super::EXCERPT).collect();
            Class::Error { excerpt, is_too_big: kind == icmpv6::PACKET_TOO_BIG }
        } else if (kind, code) == (icmpv6::ECHO_REQUEST, 0) {
            Class::EchoRequest { is_answerable: icmpv6::is_single_host(ip.source()) }
        } else {
            Class::Other
        };
        Received::Message { kind, code, source: ip.source().into(), class }
    }

    fn request(frame: &Frame) -> Option<Request<Ipv6Addr>> {
        let ip = Ipv6::parse(frame.data()).ok()?;
        Some(Request {
            class: ip.traffic_class(),
            source: ip.source(),
            destination: ip.destination(),
            header_len: ip.upper().ok()?.offset,
            total_len: ip.total_len(),
        })
    }

    fn write_reply(message: &mut [u8]) -> bool {
        icmpv6::echo_reply(message)
    }

    fn may_report(frame: &Frame) -> bool {
        Ipv6::parse(frame.data()).is_ok_and(|ip| icmpv6::may_answer(&ip))
    }

    fn error(frame: &Frame, problem: Problem) -> Option<ErrorMessage<Ipv6Addr>> {
        let offender = Ipv6::parse(frame.data()).ok()?;
        let (kind, code, rest) = match problem {
            Problem::UnknownProtocol => {
                // The pointer is the position of the byte that names the option or the protocol.
                let upper = offender.upper().ok()?;
                let (code, pointer) = match upper.refused {
                    Some(option) => (icmpv6::UNKNOWN_OPTION, option.at),
                    None => (icmpv6::UNKNOWN_NEXT_HEADER, upper.named_at),
                };
                (icmpv6::PARAMETER_PROBLEM, code, pointer as u32)
            }
            Problem::TimeExceeded => (icmpv6::TIME_EXCEEDED, icmpv6::HOP_LIMIT_EXCEEDED, 0),
            Problem::TooBig { mtu } => (icmpv6::PACKET_TOO_BIG, 0, mtu.into()),
        };
        let (destination, quoted) = (offender.source(), icmpv6::quote(&offender).len());
        Some(ErrorMessage { kind, code, rest: rest.to_be_bytes(), destination, quoted })
    }

    fn write_error(message: &mut [u8], error: &ErrorMessage<Ipv6Addr>, own: Ipv6Addr) -> bool {
        icmpv6::write_error(message, error.kind, error.code, error.rest, own, error.destination)
    }

    fn common(count: &count::Icmp6) -> Common<'_> {
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

    fn leaves(kind: u8, code: u8, count: &count::Icmp6) -> Option<Leaves<'_>> {
        let (of_type, of_code) = match (kind, code) {
            (icmpv6::DESTINATION_UNREACHABLE, _) => (
                Some(&count.destination_unreachable),
                match code {
                    0 => Some(&count.net_unreachable),
                    1 => Some(&count.destination_denied),
                    2 => Some(&count.scope_denied),
                    3 => Some(&count.host_unreachable),
                    4 => Some(&count.port_unreachable),
                    5 => Some(&count.source_denied),
                    6 => Some(&count.net_denied),
                    _ => None,
                },
            ),
            (icmpv6::TIME_EXCEEDED, _) => (
                Some(&count.time_exceeded),
                match code {
                    0 => Some(&count.transit_hop_limit_exceeded),
                    1 => Some(&count.fragment_reassembly_time_exceeded),
                    _ => None,
                },
            ),
            (icmpv6::PARAMETER_PROBLEM, _) => (
                Some(&count.parameter_problem),
                match code {
                    0 => Some(&count.header_field_problem),
                    1 => Some(&count.next_header_problem),
                    2 => Some(&count.option_problem),
                    _ => None,
                },
            ),
            // RFC 4443 section 3.2: its code "MUST be ignored by the receiver".
            (icmpv6::PACKET_TOO_BIG, _) => (None, Some(&count.packet_too_big)),
            // The only code of an echo request has no leaf apart from the type's.
            (icmpv6::ECHO_REQUEST, 0) => (None, Some(&count.echo_request)),
            (icmpv6::ECHO_REQUEST, _) => (Some(&count.echo_request), None),
            _ => return None,
        };
        Some(Leaves { of_type, of_code })
    }
}
