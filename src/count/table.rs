// SPDX-License-Identifier: Apache-2.0
//! The table of counters. A field `arp_requests` of a group `private_next_hop` is the leaf
//! `gateway-state/private-next-hop/arp-requests`. What is counted of each route and each SA stands here too.

use super::Counter;

/// What one SA counts apart from the table, because SAs come and go: `gateway-state/inbound-sa/sa-state`.
pub type SaCounters = InboundSa;

macro_rules! groups {
    ($($(#[$doc:meta])* $group:ident { $($leaf:ident)* })*) => { $(
        $(#[$doc])*
        #[derive(Default, Debug)]
        #[allow(missing_docs, reason = "the YANG model describes each leaf")]
        pub struct $group { $(pub $leaf: Counter),* }

        impl $group {
            /// Calls `each` with every leaf's name and value.
            pub fn visit(&self, mut each: impl FnMut(&str, u64)) {
                $( each(&stringify!($leaf).replace('_', "-"), self.$leaf.value()); )*
            }
        }
    )* };
}

macro_rules! counters {
    ($(#[$doc:meta])* $counters:ident { $($member:ident: $group:ident,)* }) => {
        $(#[$doc])*
        #[derive(Default, Debug)]
        #[allow(missing_docs, reason = "the YANG model describes each leaf")]
        pub struct $counters { $(pub $member: $group),* }

        impl $counters {
            /// Calls `each` with the group, leaf and value of every counter.
            pub fn visit(&self, mut each: impl FnMut(&str, &str, u64)) {
                $(
                    let group = stringify!($member).replace('_', "-");
                    self.$member.visit(|leaf, value| each(&group, leaf, value));
                )*
            }
        }
    };
}

counters! {
    /// All counters of one worker, on cache lines of their own.
    #[repr(align(128))]
    Counters {
        private_interface: Interface,
        public_interface: Interface,
        private_next_hop: NextHop,
        public_next_hop: NextHop,
        private_dispatch: PrivateDispatch,
        public_dispatch: PublicDispatch,
        inbound_dispatch: InboundDispatch,
        outbound_ttl: Ttl,
        inbound_ttl: Ttl,
        private_router: PrivateRouter,
        packet_size: PacketSize,
        outbound_handoff: OutboundHandoff,
        public_router: PublicRouter,
        private_icmp4: Icmp4,
        private_icmp6: Icmp6,
        public_icmp4: Icmp4,
        public_icmp6: Icmp6,
        inbound_icmp4: Icmp4,
        inbound_icmp6: Icmp6,
        key_manager: KeyManager,
    }
}

counters! {
    /// What one worker counts of one route: `gateway-state/route`. Each direction has a cache line.
    RouteCounters {
        outbound: RouteOutbound,
        inbound: RouteInbound,
    }
}

groups! {
    /// Frames and bytes (without the frame check sequence) through one interface. `unserved_packets` is counted by the XDP
    /// program, of queues without a worker; a worker has none.
    Interface {
        rxbytes rxpackets rxmcast rxbcast rxdrop rxerrors
        txbytes txpackets txmcast txbcast txdrop txerrors rxdmapackets unserved_packets
    }
    /// Address resolution, and packets that waited for it in vain.
    NextHop {
        arp_requests arp_replies arp_errors ns_requests na_replies nd_errors addresses_added addresses_updated
        unresolved_errors arp_announcements na_announcements mld_reports mld_errors
    }
    /// The way from the private interface.
    PrivateDispatch { ethertype_errors address_errors partial_checksums }
    /// The way from the public interface.
    PublicDispatch { rxerrors ethertype_errors protocol_errors fragment_errors address_errors }
    /// Packets that came out of a tunnel.
    InboundDispatch { protocol_errors }
    /// TTL and header checks of forwarded packets.
    Ttl { protocol_errors checksum_errors }
    /// From destination to route; what stops a packet before it is sealed.
    PrivateRouter { rxerrors route_errors mtu_errors sa_errors sequence_errors }
    /// From a worker without an SA of the route to one that has it.
    OutboundHandoff { handoff_out_packets handoff_out_drops }
    /// What is done about packets and TCP segments that are too long for a tunnel.
    PacketSize { fragment_errors fragmented_packets fragments_created outbound_mss_clamped inbound_mss_clamped }
    /// From SPI to inbound SA.
    PublicRouter { route_errors protocol_errors }
    /// One inbound SA. Dummy packets are no errors.
    InboundSa { rxerrors protocol_errors decrypt_errors inner_source_errors ecn_errors dummy_packets }
    /// One route, towards its gateway: packets sealed and their bytes, and why others were not.
    #[repr(align(64))]
    RouteOutbound { packets bytes mtu_errors sa_errors sequence_errors }
    /// One route, from its gateway: packets opened and their bytes, and why others were not.
    #[repr(align(64))]
    RouteInbound { packets bytes decrypt_errors protocol_errors inner_source_errors ecn_errors dummy_packets }
    /// ICMPv4 received, by type and code, and what was not answered because of the rate limit or the rules.
    Icmp4 {
        rxerrors protocol_errors type_not_implemented_errors code_not_implemented_errors
        destination_unreachable net_unreachable host_unreachable protocol_unreachable port_unreachable
        fragmentation_needed source_route_failed time_exceeded transit_ttl_exceeded
        fragment_reassembly_time_exceeded parameter_problem redirect redirect_net redirect_host
        redirect_tos_net redirect_tos_host echo_request rate_limited answer_errors quote_errors
    }
    /// The same of ICMPv6.
    Icmp6 {
        rxerrors protocol_errors type_not_implemented_errors code_not_implemented_errors
        destination_unreachable net_unreachable destination_denied scope_denied host_unreachable
        port_unreachable source_denied net_denied packet_too_big time_exceeded transit_hop_limit_exceeded
        fragment_reassembly_time_exceeded parameter_problem header_field_problem next_header_problem
        option_problem echo_request rate_limited answer_errors quote_errors
    }
    /// The key exchange.
    KeyManager {
        rxerrors route_errors protocol_errors version_errors parameter_errors authentication_errors
        public_key_errors negotiations_initiated negotiations_expired challenges_offered challenges_accepted
        keypairs_offered keypairs_negotiated inbound_sa_expired outbound_sa_expired outbound_sa_updated
        overflow_errors rate_errors spi_errors source_errors
    }
}
