// SPDX-License-Identifier: Apache-2.0
//! Why packets are dropped. [`Counters::dropped`] knows the leaf of each reason: one without a leaf does not compile.

use super::{Counter, Counters, InboundSa, RouteCounters};

/// One side of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// The network behind the gateway, whose packets must not leave in clear text.
    Private,
    /// The network between gateways.
    Public,
}

/// Why a packet is dropped. The side is the one that it was received on, or, behind dispatch, the one that it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the text of each says it")]
pub enum Reason {
    #[error("Ethertype that the interface has no address for")]
    Ethertype(Side),
    #[error("address that is not forwarded, or a frame to another interface")]
    Address(Side),
    #[error("malformed packet")]
    Malformed(Side),
    #[error("bad header checksum")]
    HeaderChecksum(Side),
    #[error("protocol that nobody handles")]
    Protocol,
    #[error("fragment")]
    Fragment,

    #[error("no route to the destination")]
    NoRoute,
    #[error("longer than the tunnel takes")]
    TooBig,
    #[error("more fragments than there are buffers for")]
    TooManyFragments,
    #[error("no outbound SA")]
    NoSa,
    #[error("sequence numbers are used up")]
    SequenceExhausted,
    #[error("no room for headers and trailer")]
    NoRoom,
    #[error("the other worker takes no more packets")]
    HandoffFull,

    #[error("no ESP header")]
    NoEsp,
    #[error("no inbound SA with this SPI")]
    UnknownSpi,
    #[error("too short for ESP")]
    TooShort,
    #[error("sequence number replayed or too old")]
    Replayed,
    #[error("integrity check failed")]
    Forged,
    #[error("pad length exceeds the packet")]
    BadPadding,
    #[error("next header is not that of the tunnel")]
    BadNextHeader,
    #[error("a dummy packet, which is no error")]
    Dummy,
    #[error("packets to the inner source address would not go back through the same route")]
    ForbiddenSource,
    #[error(
        "congestion was marked on the way, of which the inner packet's transport knows nothing (RFC 6040)"
    )]
    Congestion,
    #[error("malformed inner packet")]
    InnerMalformed,
    #[error("inner packet of no IP version")]
    InnerVersion,
    #[error("inner packet with an address that is not forwarded")]
    InnerAddress,

    #[error("next hop not resolved")]
    Unresolved(Side),
    #[error("bad ARP message")]
    Arp(Side),
    #[error("bad neighbour discovery message")]
    NeighbourDiscovery(Side),
    #[error("bad MLD query")]
    Mld(Side),

    #[error("malformed datagram to the key exchange")]
    ExchangeMalformed,
    #[error("key exchange about an unknown route")]
    ExchangeRoute,
    #[error("key exchange from an address that is not the gateway of the route")]
    ExchangeSource,
    #[error("the control thread takes no more messages of the key exchange")]
    ExchangeOverflow,
}

/// The counters that a dropped packet concerns besides those of the gateway, as far as they are known.
#[derive(Clone, Copy, Default)]
pub struct OwnerCounters<'a> {
    /// Its route.
    pub route: Option<&'a RouteCounters>,
    /// Its inbound SA.
    pub sa: Option<&'a InboundSa>,
}

/// Where a reason is counted.
#[derive(Default)]
struct Leaves<'a> {
    leaf: Option<&'a Counter>,
    /// The sum of errors in the group of the leaf.
    sum: Option<&'a Counter>,
    route: Option<fn(&RouteCounters) -> &Counter>,
    sa: Option<fn(&InboundSa) -> &Counter>,
    /// Whether it is an error of the SA.
    is_sa_error: bool,
}

impl Counters {
    /// Counts packets that were dropped for a reason.
    #[cold]
    pub fn dropped(&self, packets: u64, reason: Reason, owner: OwnerCounters<'_>) {
        let Leaves { leaf, sum, route, sa, is_sa_error } = self.leaves(reason);
        let of_route = route.zip(owner.route).map(|(leaf, route)| leaf(route));
        let of_sa = sa.zip(owner.sa).map(|(leaf, sa)| leaf(sa));
        let sa_errors = owner.sa.filter(|_| is_sa_error).map(|sa| &sa.rxerrors);
        for counter in [leaf, sum, of_route, of_sa, sa_errors].into_iter().flatten() {
            counter.add(packets);
        }
    }

    fn leaves(&self, reason: Reason) -> Leaves<'_> {
        let (private, public, router) = (&self.private_dispatch, &self.public_dispatch, &self.private_router);
        let exchange = &self.key_manager;
        match reason {
            Reason::Ethertype(Side::Private) => Leaves::one(&private.ethertype_errors),
            Reason::Ethertype(Side::Public) => Leaves::of(&public.ethertype_errors, &public.rxerrors),
            Reason::Address(Side::Private) => Leaves::one(&private.address_errors),
            Reason::Address(Side::Public) => Leaves::of(&public.address_errors, &public.rxerrors),
            Reason::Malformed(Side::Private) => Leaves::one(&self.outbound_ttl.protocol_errors),
            Reason::Malformed(Side::Public) => Leaves::of(&public.protocol_errors, &public.rxerrors),
            Reason::HeaderChecksum(Side::Private) => Leaves::one(&self.outbound_ttl.checksum_errors),
            Reason::HeaderChecksum(Side::Public) => Leaves::one(&self.inbound_ttl.checksum_errors),
            Reason::Protocol => Leaves::of(&public.protocol_errors, &public.rxerrors),
            Reason::Fragment => Leaves::of(&public.fragment_errors, &public.rxerrors),

            Reason::NoRoute => Leaves::of(&router.route_errors, &router.rxerrors),
            Reason::TooBig | Reason::NoRoom => {
                Leaves::of(&router.mtu_errors, &router.rxerrors).route(|route| &route.outbound.mtu_errors)
            }
            Reason::TooManyFragments => Leaves::of(&self.packet_size.fragment_errors, &router.rxerrors)
                .route(|route| &route.outbound.mtu_errors),
            Reason::NoSa => {
                Leaves::of(&router.sa_errors, &router.rxerrors).route(|route| &route.outbound.sa_errors)
            }
            Reason::SequenceExhausted => Leaves::of(&router.sequence_errors, &router.rxerrors)
                .route(|route| &route.outbound.sequence_errors),
            Reason::HandoffFull => Leaves::of(&self.outbound_handoff.handoff_out_drops, &router.rxerrors),

            Reason::NoEsp => Leaves::one(&self.public_router.protocol_errors),
            Reason::UnknownSpi => Leaves::one(&self.public_router.route_errors),
            Reason::TooShort | Reason::Replayed | Reason::Forged | Reason::BadPadding => {
                Leaves::sa_error(|sa| &sa.decrypt_errors).route(|route| &route.inbound.decrypt_errors)
            }
            Reason::BadNextHeader => {
                Leaves::sa_error(|sa| &sa.protocol_errors).route(|route| &route.inbound.protocol_errors)
            }
            Reason::ForbiddenSource => Leaves::sa_error(|sa| &sa.inner_source_errors)
                .route(|route| &route.inbound.inner_source_errors),
            Reason::Congestion => {
                Leaves::sa_error(|sa| &sa.ecn_errors).route(|route| &route.inbound.ecn_errors)
            }
            //= RFC 4303 section 2.6: a receiver must be prepared to discard dummy packets.
            Reason::Dummy => Leaves { is_sa_error: false, ..Leaves::sa_error(|sa| &sa.dummy_packets) }
                .route(|route| &route.inbound.dummy_packets),
            Reason::InnerMalformed => {
                Leaves::one(&self.inbound_ttl.protocol_errors).route(|route| &route.inbound.protocol_errors)
            }
            Reason::InnerVersion => Leaves::one(&self.inbound_dispatch.protocol_errors)
                .route(|route| &route.inbound.protocol_errors),
            Reason::InnerAddress => Leaves::one(&self.inbound_dispatch.protocol_errors),

            Reason::Unresolved(side) => Leaves::one(&self.next_hop(side).unresolved_errors),
            Reason::Arp(side) => Leaves::one(&self.next_hop(side).arp_errors),
            Reason::NeighbourDiscovery(side) => Leaves::one(&self.next_hop(side).nd_errors),
            Reason::Mld(side) => Leaves::one(&self.next_hop(side).mld_errors),

            Reason::ExchangeMalformed => Leaves::of(&exchange.protocol_errors, &exchange.rxerrors),
            Reason::ExchangeRoute => Leaves::of(&exchange.route_errors, &exchange.rxerrors),
            Reason::ExchangeSource => Leaves::of(&exchange.source_errors, &exchange.rxerrors),
            Reason::ExchangeOverflow => Leaves::of(&exchange.overflow_errors, &exchange.rxerrors),
        }
    }

    /// Address resolution on one side.
    pub fn next_hop(&self, side: Side) -> &super::NextHop {
        match side {
            Side::Private => &self.private_next_hop,
            Side::Public => &self.public_next_hop,
        }
    }
}

impl<'a> Leaves<'a> {
    fn one(leaf: &'a Counter) -> Leaves<'a> {
        Leaves { leaf: Some(leaf), ..Leaves::default() }
    }

    fn of(leaf: &'a Counter, sum: &'a Counter) -> Leaves<'a> {
        Leaves { sum: Some(sum), ..Leaves::one(leaf) }
    }

    fn sa_error(leaf: fn(&InboundSa) -> &Counter) -> Leaves<'a> {
        Leaves { sa: Some(leaf), is_sa_error: true, ..Leaves::default() }
    }

    fn route(self, leaf: fn(&RouteCounters) -> &Counter) -> Leaves<'a> {
        Leaves { route: Some(leaf), ..self }
    }
}
