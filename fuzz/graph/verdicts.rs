// SPDX-License-Identifier: Apache-2.0
//! What the counters say about frames: which leaves count a frame that went no further, and which only accompany
//! another leaf.

use std::ops::Sub;
use vita::count::{Counters, Icmp4, Icmp6, SaCounters};

/// Sums of leaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdicts {
    /// Frames that went no further, by leaves that count nothing else. A received ICMP error is among them, by type.
    pub dropped: usize,
    /// Leaves that count a frame's only verdict or go before another one:
    /// `mtu-errors` of what may not be fragmented (an ICMP error follows, or what prevents it), and
    /// `code-not-implemented-errors` of anything but an echo request (the type is counted as well).
    pub ambiguous: usize,
    /// Frames of neighbours that were counted: made no sense, or got an answer.
    pub neighbours: usize,
    /// Frames that the gateway made on its own.
    pub questions: usize,
    /// Frames that became of others which were cut, those not counted.
    pub pieces: usize,
    /// Each `rxerrors`, and the sum of the leaves that it accompanies.
    companions: [(u64, u64); 10],
}

impl Verdicts {
    pub fn of(count: &Counters, sa: &SaCounters) -> Verdicts {
        let dispatch = &count.public_dispatch;
        let public = sum([
            &dispatch.ethertype_errors,
            &dispatch.protocol_errors,
            &dispatch.fragment_errors,
            &dispatch.address_errors,
        ]);
        let router = &count.private_router;
        let routed = sum([
            &router.route_errors,
            &count.packet_size.fragment_errors,
            &router.sa_errors,
            &router.sequence_errors,
        ]);
        let opened = sum([&sa.protocol_errors, &sa.decrypt_errors, &sa.inner_source_errors, &sa.ecn_errors]);
        let keys = &count.key_manager;
        let exchange =
            sum([&keys.protocol_errors, &keys.overflow_errors, &keys.route_errors, &keys.source_errors]);
        let hops = [&count.private_next_hop, &count.public_next_hop];
        let icmp4 = [&count.private_icmp4, &count.public_icmp4, &count.inbound_icmp4];
        let icmp6 = [&count.private_icmp6, &count.public_icmp6, &count.inbound_icmp6];

        let others = sum([
            &count.private_dispatch.ethertype_errors,
            &count.private_dispatch.address_errors,
            &count.outbound_ttl.protocol_errors,
            &count.outbound_ttl.checksum_errors,
            &count.inbound_ttl.protocol_errors,
            &count.inbound_ttl.checksum_errors,
            &count.public_router.route_errors,
            &count.public_router.protocol_errors,
            &count.inbound_dispatch.protocol_errors,
        ]);
        let nonsense: u64 =
            hops.iter().map(|hop| sum([&hop.arp_errors, &hop.nd_errors, &hop.mld_errors])).sum();
        let unresolved: u64 = hops.iter().map(|hop| hop.unresolved_errors.value()).sum();
        let answered: u64 = hops.iter().map(|hop| sum([&hop.arp_replies, &hop.na_replies])).sum();
        let asked: u64 = hops.iter().map(|hop| sum([&hop.arp_requests, &hop.ns_requests])).sum();
        let announced =
            hops.iter().map(|hop| sum([&hop.arp_announcements, &hop.na_announcements, &hop.mld_reports]));
        let questions = asked + announced.sum::<u64>();
        let heard = icmp4.map(heard4).iter().sum::<u64>() + icmp6.map(heard6).iter().sum::<u64>();
        let unknown_codes = icmp4.iter().map(|icmp| icmp.code_not_implemented_errors.value()).sum::<u64>()
            + icmp6.iter().map(|icmp| icmp.code_not_implemented_errors.value()).sum::<u64>();

        let dropped = sa.dummy_packets.value()
            + public
            + routed
            + opened
            + exchange
            + others
            + nonsense
            + unresolved
            + heard;
        let of4 = |icmp: &Icmp4| {
            (icmp.rxerrors.value(), sum([&icmp.protocol_errors, &icmp.type_not_implemented_errors]))
        };
        let of6 = |icmp: &Icmp6| {
            (icmp.rxerrors.value(), sum([&icmp.protocol_errors, &icmp.type_not_implemented_errors]))
        };
        Verdicts {
            dropped: dropped as usize,
            ambiguous: (router.mtu_errors.value() + unknown_codes) as usize,
            neighbours: (nonsense + answered) as usize,
            questions: questions as usize,
            pieces: (count.packet_size.fragments_created.value()
                - count.packet_size.fragmented_packets.value()) as usize,
            companions: [
                (dispatch.rxerrors.value(), public),
                (router.rxerrors.value(), routed + router.mtu_errors.value()),
                (sa.rxerrors.value(), opened),
                (count.key_manager.rxerrors.value(), exchange),
                of4(icmp4[0]),
                of4(icmp4[1]),
                of4(icmp4[2]),
                of6(icmp6[0]),
                of6(icmp6[1]),
                of6(icmp6[2]),
            ],
        }
    }

    pub fn assert_companions(&self) {
        for (rxerrors, reasons) in self.companions {
            assert_eq!(rxerrors, reasons, "{self:?}");
        }
    }
}

/// Messages that ended here. Echo requests did not: each has an answer, or what prevented it.
fn heard4(icmp: &Icmp4) -> u64 {
    sum([
        &icmp.protocol_errors,
        &icmp.type_not_implemented_errors,
        &icmp.destination_unreachable,
        &icmp.time_exceeded,
        &icmp.parameter_problem,
        &icmp.redirect,
        &icmp.rate_limited,
        &icmp.answer_errors,
    ])
}

fn heard6(icmp: &Icmp6) -> u64 {
    sum([
        &icmp.protocol_errors,
        &icmp.type_not_implemented_errors,
        &icmp.destination_unreachable,
        &icmp.time_exceeded,
        &icmp.parameter_problem,
        &icmp.packet_too_big,
        &icmp.rate_limited,
        &icmp.answer_errors,
    ])
}

fn sum<const N: usize>(leaves: [&vita::count::Counter; N]) -> u64 {
    leaves.iter().map(|leaf| leaf.value()).sum()
}

impl Sub for Verdicts {
    type Output = Verdicts;

    fn sub(self, before: Verdicts) -> Verdicts {
        Verdicts {
            dropped: self.dropped - before.dropped,
            ambiguous: self.ambiguous - before.ambiguous,
            neighbours: self.neighbours - before.neighbours,
            questions: self.questions - before.questions,
            pieces: self.pieces - before.pieces,
            companions: self.companions,
        }
    }
}
