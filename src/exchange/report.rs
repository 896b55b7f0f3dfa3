// SPDX-License-Identifier: Apache-2.0
//! What the key exchange tells about itself: why it refused a message, what happened, and how often.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

use super::kind::Kind;
use crate::sa::Direction;

/// Why a datagram was not acted on. No datagram is answered with an error.
#[allow(missing_docs, reason = "the text of each says it")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Rejection {
    #[error(
        "the message names route SPI {0}, which no route here has: compare the spi of the route on both sides"
    )]
    UnknownRoute(u32),
    #[error("{0} bytes are too few for a key exchange message: something else is sent to this port")]
    TooShort(usize),
    #[error(
        "the source is not the gateway of the route: compare gateway ip and nat-ip of the route on both sides"
    )]
    Source,
    #[error("the {0} does not carry the token of this negotiation: late, or forged")]
    Token(Kind),
    #[error("the peer negotiates lane {0}, and there is only lane 0 here")]
    Lane(u8),
    #[error("message type {0} is unknown: the peer speaks another protocol")]
    UnknownType(u8),
    #[error("a {kind} of {length} bytes, which has to have {}: the peer speaks another protocol", kind.length())]
    Length { kind: Kind, length: usize },
    #[error("a {0} that nobody here waits for: late, repeated, or forged")]
    OutOfState(Kind),
    #[error(
        "the peer speaks version {0} of the key exchange, we speak version 5: upgrade one of the two gateways"
    )]
    Version(u32),
    #[error("the peer asks for an aead other than aes-gcm-16-icv: configure that one there")]
    Parameter,
    #[error(
        "the {0} does not authenticate: compare preshared-key, spi, gateway ip and nat-ip of the route on both sides"
    )]
    Authentication(Kind),
    #[error("the {0} has a public key of low order: it is forged, or the peer is broken")]
    PublicKey(Kind),
    #[error("more exchange messages than are processed in a second: find out who sends them")]
    RateLimit,
    #[error("all inbound SPIs of this queue are in use: spread the routes over more queues")]
    NoSpi,
}

/// A line for the log.
#[allow(missing_docs, reason = "names say it")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A datagram was refused. `route` is the id of the route it names, where there is one.
    Rejected { source: IpAddr, route: Option<String>, reason: Rejection },
    /// An exchange is complete on our side. Over a loopback route each role makes one of the two SAs.
    Negotiated { route: String, role: Role, inbound: Option<u32>, outbound: Option<u32> },
    /// The peer did not answer in time. The negotiation starts again.
    NegotiationExpired { route: String, gateway: IpAddr },
    /// An SA has come to the end of its life.
    SaExpired { route: String, direction: Direction, spi: u32 },
}

/// The side a gateway takes in one exchange.
#[allow(missing_docs, reason = "names say it")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Initiator,
    Responder,
}

/// The leaves of `gateway-state/key-manager`, by their names.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Every refused datagram, whatever the reason.
    pub rxerrors: u64,
    /// No route has the SPI.
    pub route_errors: u64,
    /// Not a message of the protocol, or not one that fits the state.
    pub protocol_errors: u64,
    /// A challenge of another version.
    pub version_errors: u64,
    /// A challenge with another AEAD.
    pub parameter_errors: u64,
    /// A tag that fails.
    pub authentication_errors: u64,
    /// A public key of low order.
    pub public_key_errors: u64,
    /// As initiator: a knock was sent.
    pub negotiations_initiated: u64,
    /// As initiator: a knock or a proposal was not answered in time.
    pub negotiations_expired: u64,
    /// As responder: a challenge was sent.
    pub challenges_offered: u64,
    /// As initiator: a challenge was good, and the proposal was sent.
    pub challenges_accepted: u64,
    /// As responder: a proposal was good, and the agreement was sent.
    pub keypairs_offered: u64,
    /// As initiator: an agreement was good.
    pub keypairs_negotiated: u64,
    /// Inbound SAs that reached their age.
    pub inbound_sa_expired: u64,
    /// Outbound SAs that reached their age, active or waiting.
    pub outbound_sa_expired: u64,
    /// Outbound SAs replaced by one with the same SPI.
    pub outbound_sa_updated: u64,
    /// Beyond the leaves of deployed gateways: messages from elsewhere than the gateway of the route.
    pub source_errors: u64,
    /// Beyond the leaves of deployed gateways: messages over the budget.
    pub rate_errors: u64,
    /// Beyond the leaves of deployed gateways: messages not acted on because no inbound SPI is free.
    pub spi_errors: u64,
}

impl Counters {
    pub(super) fn count_rejection(&mut self, reason: &Rejection) {
        self.rxerrors += 1;
        *match reason {
            Rejection::UnknownRoute(_) => &mut self.route_errors,
            Rejection::TooShort(_)
            | Rejection::Token(_)
            | Rejection::Lane(_)
            | Rejection::UnknownType(_)
            | Rejection::Length { .. }
            | Rejection::OutOfState(_) => &mut self.protocol_errors,
            Rejection::Source => &mut self.source_errors,
            Rejection::Version(_) => &mut self.version_errors,
            Rejection::Parameter => &mut self.parameter_errors,
            Rejection::Authentication(_) => &mut self.authentication_errors,
            Rejection::PublicKey(_) => &mut self.public_key_errors,
            Rejection::RateLimit => &mut self.rate_errors,
            Rejection::NoSpi => &mut self.spi_errors,
        } += 1;
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Rejected { source, route: Some(route), reason } => {
                write!(f, "key exchange message from {source} for route {route} rejected: {reason}")
            }
            Event::Rejected { source, route: None, reason } => {
                write!(f, "key exchange message from {source} rejected: {reason}")
            }
            Event::Negotiated { route, role, inbound, outbound } => {
                write!(f, "route {route}: new keys as {role}")?;
                if let Some(spi) = inbound {
                    write!(f, ", inbound SPI {spi}")?;
                }
                if let Some(spi) = outbound {
                    write!(f, ", outbound SPI {spi}")?;
                }
                Ok(())
            }
            Event::NegotiationExpired { route, gateway } => {
                write!(
                    f,
                    "route {route}: gateway {gateway} does not answer the key exchange: is it running, and does UDP reach it?"
                )
            }
            Event::SaExpired { route, direction, spi } => {
                write!(f, "route {route}: the {direction} SA with SPI {spi} has expired")
            }
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Initiator => "initiator",
            Role::Responder => "responder",
        })
    }
}
