// SPDX-License-Identifier: Apache-2.0
//! ICMPv4 of the gateway's own address: answers to what is sent to it, errors about what it cannot forward.

use super::{Budget, EXCERPT, Event, Events};
use crate::count;
use crate::frame::{Batch, Frame};
use crate::wire::icmpv4::{self, Icmpv4};
use crate::wire::ipv4::{self, Ipv4, PROTOCOL_ICMP};
use std::net::Ipv4Addr;

/// One ICMP speaker: an address and its rate limits.
pub struct Icmp4 {
    address: Ipv4Addr,
    received: Budget,
    sent: Budget,
    reported: Budget,
}

/// What an error message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    ProtocolUnreachable,
    TimeExceeded,
    /// The largest packet that would have passed, in bytes.
    FragmentationNeeded(u16),
}

impl Icmp4 {
    pub fn new(address: Ipv4Addr) -> Icmp4 {
        Icmp4 {
            address,
            received: Budget::per_second(RATE, BURST),
            sent: Budget::per_second(RATE, BURST),
            reported: Budget::per_second(REPORTS, REPORTS_AT_ONCE),
        }
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Handles packets to the gateway itself. Answers are IP packets.
    pub fn receive(
        &mut self,
        now_ns: u64,
        input: &mut Batch,
        answers: &mut Batch,
        count: &count::Icmp4,
        events: &mut Events,
    ) {
        for mut frame in input.drain(..) {
            //= RFC 1122 section 3.2.1.2: a datagram with a bad header checksum is discarded silently.
            let Some(ip) = Ipv4::parse(frame.data()).ok().filter(Ipv4::checksum_ok) else {
                error(count, &count.protocol_errors);
                continue;
            };
            if ip.protocol() != PROTOCOL_ICMP {
                self.report_one(now_ns, Problem::ProtocolUnreachable, frame, answers, count);
                continue;
            }
            let message = Icmpv4::parse(ip.payload()).ok().filter(|message| {
                // Nothing here reassembles.
                !ip.is_fragment() && message.checksum_ok() && is_complete(message)
            });
            let Some(message) = message else {
                error(count, &count.protocol_errors);
                continue;
            };
            if !self.received.spend(now_ns) {
                count.rate_limited.add(1);
                continue;
            }
            if message.kind() == icmpv4::ECHO_REQUEST && message.code() == 0 {
                count.echo_request.add(1);
                let allowed = icmpv4::is_single_host(ip.source());
                if self.may_send(allowed, now_ns, count) {
                    answers.extend(echo_reply(&mut frame).then_some(frame));
                }
            } else {
                note(message.kind(), message.code(), count);
                if is_error(message.kind()) && !events.is_full() && self.reported.spend(now_ns) {
                    events.push(Event::Icmp {
                        source: ip.source(),
                        kind: message.kind(),
                        code: message.code(),
                        excerpt: message.body().iter().copied().take(EXCERPT).collect(),
                    });
                }
            }
        }
    }

    /// Sends an error about each packet to its source, where the rules and the rate allow one.
    pub fn report(
        &mut self,
        now_ns: u64,
        problem: Problem,
        offenders: &mut Batch,
        answers: &mut Batch,
        count: &count::Icmp4,
    ) {
        for frame in offenders.drain(..) {
            self.report_one(now_ns, problem, frame, answers, count);
        }
    }

    fn report_one(
        &mut self,
        now_ns: u64,
        problem: Problem,
        mut frame: Frame,
        answers: &mut Batch,
        count: &count::Icmp4,
    ) {
        let allowed = Ipv4::parse(frame.data()).is_ok_and(|ip| icmpv4::may_answer(&ip));
        if self.may_send(allowed, now_ns, count) {
            answers.extend(self.turn_into_error(&mut frame, problem).map(|()| frame));
        }
    }

    /// Whether an answer may go out that the rules allow, or do not.
    fn may_send(&mut self, allowed: bool, now_ns: u64, count: &count::Icmp4) -> bool {
        if !allowed {
            count.answer_errors.add(1);
            return false;
        }
        let affordable = self.sent.spend(now_ns);
        if !affordable {
            count.rate_limited.add(1);
        }
        affordable
    }

    /// Replaces a packet by the error about it, in the same frame.
    fn turn_into_error(&self, frame: &mut Frame, problem: Problem) -> Option<()> {
        let (kind, code, rest) = match problem {
            Problem::ProtocolUnreachable => {
                (icmpv4::DESTINATION_UNREACHABLE, icmpv4::PROTOCOL_UNREACHABLE, [0; 4])
            }
            Problem::TimeExceeded => (icmpv4::TIME_EXCEEDED, icmpv4::TTL_EXCEEDED, [0; 4]),
            Problem::FragmentationNeeded(mtu) => {
                (icmpv4::DESTINATION_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED, icmpv4::next_hop_mtu(mtu))
            }
        };
        let offender = Ipv4::parse(frame.data()).ok()?;
        let destination = offender.source();
        let mut quote = [0; LONGEST_QUOTE];
        let quoted = icmpv4::quote(&offender);
        let quote = quote.get_mut(..quoted.len())?;
        quote.copy_from_slice(quoted);
        frame.reset();
        icmpv4::error(frame.append(icmpv4::HEADER + quote.len())?, kind, code, rest, quote);
        prepend_header(frame, 0, self.address, destination)
    }
}

/// Turns a checked echo request into its reply, in place. False if there was no room.
fn echo_reply(frame: &mut Frame) -> bool {
    let Ok(ip) = Ipv4::parse(frame.data()) else { return false };
    let (tos, us, them) = (ip.tos(), ip.destination(), ip.source());
    let (header_len, total_len) = (ip.header_len(), ip.total_len());
    frame.truncate(total_len);
    frame.trim_front(header_len);
    icmpv4::echo_reply(frame.data_mut()) && prepend_header(frame, tos, us, them).is_some()
}

fn prepend_header(frame: &mut Frame, tos: u8, source: Ipv4Addr, destination: Ipv4Addr) -> Option<()> {
    let header = ipv4::Header {
        tos,
        id: 0,
        dont_fragment: true,
        ttl: TTL,
        protocol: PROTOCOL_ICMP,
        source,
        destination,
        payload_len: frame.len() as u16,
    };
    header.write(frame.prepend(ipv4::HEADER)?.first_chunk_mut()?);
    Some(())
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

/// RFC 792: an error quotes at least the header of the packet that it is about.
fn is_complete(message: &Icmpv4<'_>) -> bool {
    !is_error(message.kind()) || message.body().len() >= ipv4::HEADER
}

/// Counts a message that calls for no answer.
fn note(kind: u8, code: u8, count: &count::Icmp4) {
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
        // Its only code says which byte; there is no leaf below the type.
        (icmpv4::PARAMETER_PROBLEM, 0) => (None, Some(&count.parameter_problem)),
        (icmpv4::PARAMETER_PROBLEM, _) => (Some(&count.parameter_problem), None),
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
        (icmpv4::ECHO_REQUEST, _) => (Some(&count.echo_request), None),
        _ => return error(count, &count.type_not_implemented_errors),
    };
    if let Some(of_type) = of_type {
        of_type.add(1);
    }
    of_code.unwrap_or(&count.code_not_implemented_errors).add(1);
}

fn error(count: &count::Icmp4, reason: &count::Counter) {
    reason.add(1);
    count.rxerrors.add(1);
}

const TTL: u8 = 64;
/// Messages per second and direction, and how many may come at once.
const RATE: u64 = 50;
const BURST: u64 = 100;
/// Received errors per second that go to the log, and how many at once.
const REPORTS: u64 = 5;
const REPORTS_AT_ONCE: u64 = 20;
/// The longest IPv4 header and eight bytes (RFC 792).
const LONGEST_QUOTE: usize = 60 + 8;
