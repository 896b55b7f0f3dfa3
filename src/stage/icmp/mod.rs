// SPDX-License-Identifier: Apache-2.0
//! ICMP of the gateway's own addresses: answers to what is sent to them, errors about what cannot be forwarded.
//!
//! ```text
//!   Icmp ──┬── Responder<V4>   address, rate limits   ── v4.rs: how ICMP reads and writes (RFC 792, RFC 1122)
//!          └── Responder<V6>   address, rate limits   ── v6.rs: how ICMPv6 does          (RFC 4443)
//! ```
//!
//! When to speak is decided here, for both; what is said is the version's part. There is one [`Icmp`] for each place in
//! the graph where packets for the gateway arrive.
//!
//! Limits: nothing is reassembled, so fragments for the gateway itself are errors.

mod v4;
mod v6;

use super::{EXCERPT, Event, Events, prepend_ip};
use crate::count::{self, Counter, Counters};
use crate::frame::{Batch, Frame};
use crate::limit::TokenBucket;
use crate::wire::icmp;
use crate::wire::ip::{Addresses, Family};
use arrayvec::ArrayVec;
use std::net::IpAddr;

/// One place's ICMP, of both versions.
pub struct Icmp {
    node: IcmpNode,
    own: Addresses,
    v4: Option<Responder<v4::Icmpv4>>,
    v6: Option<Responder<v6::Icmpv6>>,
}

/// Where in the graph packets for the gateway arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpNode {
    /// From the private network.
    Private,
    /// From the public network.
    Public,
    /// Out of a tunnel.
    Inbound,
}

/// Where one place counts.
#[derive(Clone, Copy)]
pub struct IcmpCount<'a> {
    v4: &'a count::Icmp4,
    v6: &'a count::Icmp6,
}

/// What an error message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The packet is for us, and we do not speak its protocol or, in IPv6, do not know an option that matters.
    UnknownProtocol,
    /// Its time to live is over.
    TimeExceeded,
    /// The largest packet that would have passed has `mtu` bytes.
    TooBig {
        /// Bytes of the largest packet that would have passed.
        mtu: u16,
    },
}

impl Icmp {
    /// Speaks for these addresses, with full budgets.
    pub fn new(node: IcmpNode, own: Addresses) -> Icmp {
        Icmp { node, own, v4: own.v4.map(Responder::new), v6: own.v6.map(Responder::new) }
    }

    /// The addresses that it speaks for.
    pub fn own(&self) -> Addresses {
        self.own
    }

    /// Goes over to other addresses, if they are others.
    pub fn change(&mut self, own: Addresses) {
        if self.own != own {
            *self = Icmp::new(self.node, own);
        }
    }

    /// Where it counts.
    pub fn count<'a>(&self, counters: &'a Counters) -> IcmpCount<'a> {
        match self.node {
            IcmpNode::Private => IcmpCount { v4: &counters.private_icmp4, v6: &counters.private_icmp6 },
            IcmpNode::Public => IcmpCount { v4: &counters.public_icmp4, v6: &counters.public_icmp6 },
            IcmpNode::Inbound => IcmpCount { v4: &counters.inbound_icmp4, v6: &counters.inbound_icmp6 },
        }
    }

    /// Handles packets to the gateway itself. Answers are IP packets; reports of packets that were too big on their way
    /// go to `too_big`, sound but for what they quote.
    pub fn receive(
        &mut self,
        now_ns: u64,
        input: &mut Batch,
        answers: &mut Batch,
        too_big: &mut Batch,
        count: IcmpCount<'_>,
        events: &mut Events,
    ) {
        for frame in input.drain(..) {
            let outcome = match (Family::of_packet(frame.data()), &mut self.v4, &mut self.v6) {
                (Some(Family::V4), Some(responder), _) => responder.receive(now_ns, frame, count.v4, events),
                (Some(Family::V6), _, Some(responder)) => responder.receive(now_ns, frame, count.v6, events),
                // Dispatch lets no packet get here but those to an address of ours.
                _ => None,
            };
            match outcome {
                Some(Outcome::Answer(frame)) => answers.push(frame),
                Some(Outcome::TooBig(frame)) => too_big.push(frame),
                None => {}
            }
        }
    }

    /// Sends an error about each packet to its source, where the rules and the rate allow one.
    pub fn report(
        &mut self,
        now_ns: u64,
        problems: impl IntoIterator<Item = (Frame, Problem)>,
        answers: &mut Batch,
        count: IcmpCount<'_>,
    ) {
        for (frame, problem) in problems {
            match (Family::of_packet(frame.data()), &mut self.v4, &mut self.v6) {
                (Some(Family::V4), Some(responder), _) => {
                    answers.extend(responder.report(now_ns, problem, frame, count.v4));
                }
                (Some(Family::V6), _, Some(responder)) => {
                    answers.extend(responder.report(now_ns, problem, frame, count.v6));
                }
                // Dispatch lets no packet of a family in that we have no address of.
                _ => {}
            }
        }
    }
}

/// What one version of ICMP does in its own way.
trait Version {
    type Address: Copy + Into<IpAddr>;
    type Count;
    /// The protocol number.
    const PROTOCOL: u8;
    /// The traffic class of errors.
    const ERROR_CLASS: u8;

    /// Reads a packet to our address.
    fn read(frame: &Frame) -> Received;
    /// Fields of a checked echo request that its reply needs.
    fn request(frame: &Frame) -> Option<Request<Self::Address>>;
    /// Turns an echo request without IP header into its reply; false if it is none.
    fn write_reply(message: &mut [u8]) -> bool;
    /// Whether the rules allow an error about a packet.
    fn may_report(frame: &Frame) -> bool;
    /// The error about a packet.
    fn error(frame: &Frame, problem: Problem) -> Option<ErrorMessage<Self::Address>>;
    /// Fills the header of an error that has its quote already; false if it is too short.
    fn write_error(message: &mut [u8], error: &ErrorMessage<Self::Address>, own: Self::Address) -> bool;
    fn common(count: &Self::Count) -> Common<'_>;
    /// Where a message is counted; `None` for a type that has no leaf.
    fn leaves(kind: u8, code: u8, count: &Self::Count) -> Option<Leaves<'_>>;
}

/// An echo request to us.
struct Request<Address> {
    class: u8,
    source: Address,
    destination: Address,
    /// Bytes in front of the message.
    header_len: usize,
    total_len: usize,
}

/// An error that we send.
struct ErrorMessage<Address> {
    kind: u8,
    code: u8,
    rest: [u8; 4],
    destination: Address,
    /// Bytes of the packet that it quotes.
    quoted: usize,
}

/// A packet to our address.
enum Received {
    /// Damaged, incomplete, or a fragment.
    Malformed,
    UnknownProtocol,
    Message {
        kind: u8,
        code: u8,
        source: IpAddr,
        class: Class,
    },
}

/// Purpose of a message.
enum Class {
    EchoRequest {
        /// Whether its source can be answered.
        is_answerable: bool,
    },
    /// An error about a packet of ours, and how that begins.
    Error {
        excerpt: ArrayVec<u8, EXCERPT>,
        is_too_big: bool,
    },
    Other,
}

/// What is left to do with a message that was received.
enum Outcome {
    /// It was turned into the answer.
    Answer(Frame),
    /// It says that a packet was too big.
    TooBig(Frame),
}

/// Leaves that both versions have.
struct Common<'a> {
    rxerrors: &'a Counter,
    protocol_errors: &'a Counter,
    type_not_implemented_errors: &'a Counter,
    code_not_implemented_errors: &'a Counter,
    rate_limited: &'a Counter,
    answer_errors: &'a Counter,
    quote_errors: &'a Counter,
}

/// The leaf of a type, if there is one, and that of the code: `None` for a code that has none.
struct Leaves<'a> {
    of_type: Option<&'a Counter>,
    of_code: Option<&'a Counter>,
}

/// One of our addresses that answers and reports, and how often. Each kind of message has a budget of its own, so that a flood of one kind
/// silences no other: path MTU discovery goes on while a traceroute, or a loop, uses up what there is of "time exceeded".
struct Responder<V: Version> {
    address: V::Address,
    received: ReceiveBudgets,
    sent: SendBudgets,
    /// What is logged.
    reported: TokenBucket,
}

struct ReceiveBudgets {
    /// Whoever watches whether we are alive shall not be told otherwise because of a flood of something else.
    echoes: TokenBucket,
    too_big: TokenBucket,
    others: TokenBucket,
}

/// One budget for each [`Problem`].
struct SendBudgets {
    unknown_protocol: TokenBucket,
    time_exceeded: TokenBucket,
    too_big: TokenBucket,
}

impl<V: Version> Responder<V> {
    fn new(address: V::Address) -> Responder<V> {
        Responder {
            address,
            received: ReceiveBudgets { echoes: usual(), too_big: usual(), others: usual() },
            sent: SendBudgets { unknown_protocol: usual(), time_exceeded: usual(), too_big: usual() },
            reported: TokenBucket::per_second(REPORTS, REPORTS_AT_ONCE),
        }
    }

    fn receive(
        &mut self,
        now_ns: u64,
        mut frame: Frame,
        count: &V::Count,
        events: &mut Events,
    ) -> Option<Outcome> {
        let common = V::common(count);
        let (kind, code, source, class) = match V::read(&frame) {
            Received::Malformed => {
                error(&common, common.protocol_errors);
                return None;
            }
            Received::UnknownProtocol => {
                return self.report(now_ns, Problem::UnknownProtocol, frame, count).map(Outcome::Answer);
            }
            Received::Message { kind, code, source, class } => (kind, code, source, class),
        };
        let budget = match class {
            Class::EchoRequest { .. } => &mut self.received.echoes,
            Class::Error { is_too_big: true, .. } => &mut self.received.too_big,
            Class::Error { .. } | Class::Other => &mut self.received.others,
        };
        if !budget.spend(now_ns) {
            common.rate_limited.add(1);
            return None;
        }
        let Some(leaves) = V::leaves(kind, code, count) else {
            error(&common, common.type_not_implemented_errors);
            return None;
        };
        if let Some(of_type) = leaves.of_type {
            of_type.add(1);
        }
        leaves.of_code.unwrap_or(common.code_not_implemented_errors).add(1);
        match class {
            Class::EchoRequest { is_answerable: true } => {
                replace_by_reply::<V>(&mut frame).map(|()| Outcome::Answer(frame))
            }
            Class::EchoRequest { is_answerable: false } => {
                common.answer_errors.add(1);
                None
            }
            Class::Error { excerpt, is_too_big } => {
                if !events.is_full() && self.reported.spend(now_ns) {
                    events.push(Event::Icmp { source, kind, code, excerpt });
                }
                is_too_big.then_some(Outcome::TooBig(frame))
            }
            Class::Other => None,
        }
    }

    fn report(&mut self, now_ns: u64, problem: Problem, mut frame: Frame, count: &V::Count) -> Option<Frame> {
        let common = V::common(count);
        if !V::may_report(&frame) {
            common.answer_errors.add(1);
            return None;
        }
        let budget = match problem {
            Problem::UnknownProtocol => &mut self.sent.unknown_protocol,
            Problem::TimeExceeded => &mut self.sent.time_exceeded,
            Problem::TooBig { .. } => &mut self.sent.too_big,
        };
        if !budget.spend(now_ns) {
            common.rate_limited.add(1);
            return None;
        }
        replace_by_error::<V>(self.address, problem, &mut frame).map(|()| frame)
    }
}

/// Turns an echo request into the packet that answers it, in place.
fn replace_by_reply<V: Version>(frame: &mut Frame) -> Option<()> {
    let Request { class, source, destination, header_len, total_len } = V::request(frame)?;
    frame.truncate(total_len);
    frame.trim_front(header_len);
    V::write_reply(frame.data_mut()).then_some(())?;
    prepend_ip(frame, class, V::PROTOCOL, destination.into(), source.into())
}

/// Turns a packet into the one that reports it, in place.
fn replace_by_error<V: Version>(own: V::Address, problem: Problem, frame: &mut Frame) -> Option<()> {
    let error = V::error(frame, problem)?;
    frame.truncate(error.quoted);
    frame.prepend(icmp::HEADER)?;
    V::write_error(frame.data_mut(), &error, own).then_some(())?;
    prepend_ip(frame, V::ERROR_CLASS, V::PROTOCOL, own.into(), error.destination.into())
}

impl IcmpCount<'_> {
    /// Counts a report of a packet of ESP that was too big, but not one of ours.
    pub(super) fn misquoted(&self, report: &Frame) {
        let common = match Family::of_packet(report.data()) {
            Some(Family::V6) => v6::Icmpv6::common(self.v6),
            _ => v4::Icmpv4::common(self.v4),
        };
        common.quote_errors.add(1);
    }
}

const fn usual() -> TokenBucket {
    TokenBucket::per_second(RATE, BURST)
}

fn error(common: &Common<'_>, reason: &Counter) {
    reason.add(1);
    common.rxerrors.add(1);
}

/// Messages per second, direction and kind, and how many may come at once.
const RATE: u64 = 50;
const BURST: u64 = 100;
/// Received errors per second that go to the log, and how many at once.
const REPORTS: u64 = 5;
const REPORTS_AT_ONCE: u64 = 20;
