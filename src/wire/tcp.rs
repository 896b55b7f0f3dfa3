// SPDX-License-Identifier: Apache-2.0
//! TCP (RFC 9293), as far as a router looks into it: the maximum segment size that the SYNs of a connection announce.

use super::checksum;
use super::ip::Ip;
use super::ipv6::{self, Ipv6};

/// Whether a packet is worth [`find_syn`], which takes longer.
#[inline(always)]
pub fn may_be_syn(packet: &Ip<'_>) -> bool {
    let flags = match packet {
        Ip::V4(ip) if ip.protocol() == PROTOCOL_TCP => ip.packet().get(ip.header_len() + FLAGS),
        Ip::V6(ip) if ip.next_header() == PROTOCOL_TCP => ip.packet().get(ipv6::HEADER + FLAGS),
        Ip::V6(ip) => return ipv6::is_extension(ip.next_header()),
        Ip::V4(_) => return false,
    };
    flags.is_some_and(|flags| flags & SYN != 0)
}

/// Where in a packet the header of TCP starts, if this is a SYN or the answer to one. In a fragment other than the first
/// there is no header.
pub fn find_syn(packet: &Ip<'_>) -> Option<usize> {
    let offset = match packet {
        Ip::V4(ip) if ip.protocol() == PROTOCOL_TCP && ip.fragment_offset() == 0 => ip.header_len(),
        Ip::V6(ip) if ip.next_header() == PROTOCOL_TCP => ipv6::HEADER,
        Ip::V6(ip) if ipv6::is_extension(ip.next_header()) => behind_extensions(ip)?,
        _ => return None,
    };
    let flags = *packet.packet().get(offset + FLAGS)?;
    (flags & SYN != 0).then_some(offset)
}

fn behind_extensions(packet: &Ipv6<'_>) -> Option<usize> {
    let upper = packet.upper().ok()?;
    (upper.protocol == PROTOCOL_TCP && !upper.is_later_fragment).then_some(upper.offset)
}

/// Lowers the maximum segment size that a segment announces to `most`, and patches the checksum to match (RFC 1624). What is
/// not higher, or not there, stays as it is. Tells whether anything was changed.
///
/// Options that contradict each other or their header end the search. A first fragment may end before its options do.
pub fn clamp_mss(segment: &mut [u8], most: u16) -> bool {
    let Some((header, rest)) = segment.split_first_chunk_mut::<HEADER>() else { return false };
    let announced = (usize::from(header[DATA_OFFSET] >> 4) * 4).saturating_sub(HEADER);
    let options = rest.len().min(announced);
    let options = rest.get_mut(..options).unwrap_or_default();
    let mut checksum = u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
    let mut is_changed = false;
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        if kind == END {
            break;
        }
        if kind == NO_OPERATION {
            at += 1;
            continue;
        }
        let Some(length) = options.get(at + 1).map(|length| usize::from(*length)) else { break };
        let Some(option) = options.get_mut(at..at + length).filter(|option| option.len() >= 2) else { break };
        if let [MSS, _, high, low] = option {
            let mss = u16::from_be_bytes([*high, *low]);
            if mss > most {
                [*high, *low] = most.to_be_bytes();
                // The header is of whole words, so a value at an odd place has its bytes in two of them, exchanged.
                let as_summed = |value: u16| if at % 2 == 0 { value } else { value.swap_bytes() };
                checksum = checksum::update(checksum, as_summed(mss), as_summed(most));
                is_changed = true;
            }
        }
        at += length;
    }
    [header[CHECKSUM], header[CHECKSUM + 1]] = checksum.to_be_bytes();
    is_changed
}

pub const PROTOCOL_TCP: u8 = 6;
/// The header without options.
pub const HEADER: usize = 20;

/// Offsets of fields in the header.
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const SYN: u8 = 0x02;
/// Kinds of options.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    /// A packet with these flags and options, sums included. `options` are whole words.
    fn packet(is_v6: bool, syn: bool, ack: bool, options: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let step = match is_v6 {
            false => PacketBuilder::ipv4([10, 1, 0, 1], [10, 2, 0, 1], 64),
            true => PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64),
        };
        let mut tcp = step.tcp(4000, 80, 7, 1024).options_raw(options).unwrap();
        if syn {
            tcp = tcp.syn();
        }
        if ack {
            tcp = tcp.ack(9);
        }
        tcp.write(&mut packet, b"").unwrap();
        packet
    }

    fn checksum_of(packet: &[u8]) -> (u16, u16) {
        let sliced = SlicedPacket::from_ip(packet).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        let header = tcp.to_header();
        let right = match sliced.net.unwrap() {
            etherparse::NetSlice::Ipv4(ip) => {
                header.calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()).unwrap()
            }
            etherparse::NetSlice::Ipv6(ip) => {
                header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()).unwrap()
            }
            etherparse::NetSlice::Arp(_) => panic!("ARP"),
        };
        (header.checksum, right)
    }

    #[track_caller]
    fn clamped(is_v6: bool, options: &[u8], most: u16) -> Option<Vec<u8>> {
        let mut packet = packet(is_v6, true, false, options);
        let offset = find_syn(&Ip::parse(&packet).unwrap()).unwrap();
        let is_changed = clamp_mss(&mut packet[offset..], most);
        let (found, right) = checksum_of(&packet);
        assert_eq!(found, right);
        is_changed.then(|| packet[offset + HEADER..][..options.len()].to_vec())
    }

    #[test]
    fn only_what_is_higher_is_lowered_and_the_checksum_stays_right() {
        for is_v6 in [false, true] {
            assert_eq!(clamped(is_v6, &[2, 4, 5, 180], 1400), Some(vec![2, 4, 5, 120]));
            assert_eq!(clamped(is_v6, &[2, 4, 5, 180], 1460), None);
            assert_eq!(clamped(is_v6, &[2, 4, 2, 24], 1400), None);
            assert_eq!(clamped(is_v6, &[], 1400), None);
            // Window scale and no option of ours; then one behind others, at an even and at an odd place.
            assert_eq!(clamped(is_v6, &[1, 3, 3, 7], 1400), None);
            assert_eq!(
                clamped(is_v6, &[4, 2, 1, 1, 2, 4, 0xff, 0xff], 1400),
                Some(vec![4, 2, 1, 1, 2, 4, 5, 120])
            );
            assert_eq!(
                clamped(is_v6, &[3, 3, 7, 2, 4, 0xff, 0xff, 0], 1400),
                Some(vec![3, 3, 7, 2, 4, 5, 120, 0])
            );
        }
    }

    #[test]
    fn options_that_contradict_their_header_are_left_alone() {
        for options in [
            &[2, 0, 0xff, 0xff][..],           // no length at all
            &[2, 1, 0xff, 0xff],               // less than itself
            &[2, 5, 0xff, 0xff],               // beyond the header
            &[2, 3, 0xff, 0xff],               // not the length of this option
            &[8, 255, 2, 4, 0xff, 0xff, 0, 0], // hides what follows
            &[0, 0, 0, 0, 2, 4, 0xff, 0xff],   // behind the end
            &[1, 1, 1, 2],                     // cut short
        ] {
            assert_eq!(clamped(false, options, 1400), None, "{options:?}");
        }
    }

    #[test]
    fn only_segments_that_start_a_connection_are_looked_at() {
        for (syn, ack, found) in [(true, false, true), (true, true, true), (false, true, false)] {
            for (is_v6, offset) in [(false, 20), (true, 40)] {
                let packet = packet(is_v6, syn, ack, &[2, 4, 5, 180]);
                assert_eq!(find_syn(&Ip::parse(&packet).unwrap()), found.then_some(offset));
            }
        }
        let mut udp = packet(false, true, false, &[]);
        udp[9] = 17;
        assert_eq!(find_syn(&Ip::parse(&udp).unwrap()), None);
    }

    #[test]
    fn a_first_fragment_has_a_header_and_a_later_one_has_none() {
        for (word, found) in [(0x2000u16, Some(20)), (0x2001, None), (0x0001, None)] {
            let mut packet = packet(false, true, false, &[2, 4, 5, 180]);
            packet[6..8].copy_from_slice(&word.to_be_bytes());
            assert_eq!(find_syn(&Ip::parse(&packet).unwrap()), found);
        }
    }

    #[test]
    fn it_is_found_behind_extension_headers_of_ipv6() {
        let plain = packet(true, true, false, &[2, 4, 5, 180]);
        let with = |next: u8, extensions: &[u8]| {
            let mut packet = [&plain[..40], extensions, &plain[40..]].concat();
            packet[6] = next;
            let payload = (packet.len() - 40) as u16;
            packet[4..6].copy_from_slice(&payload.to_be_bytes());
            packet
        };
        let destination_options = [6, 0, 1, 4, 0, 0, 0, 0];
        let fragment = |offset_and_more: u8| [6, 0, 0, offset_and_more, 0, 0, 0, 9];
        for (packet, found) in [
            (with(60, &destination_options), Some(48)),
            (with(44, &fragment(1)), Some(48)), // the first of several
            (with(44, &fragment(0)), Some(48)), // the only one (RFC 6946)
            (with(44, &fragment(8)), None),
            (with(50, &[]), None), // ESP inside
        ] {
            assert_eq!(find_syn(&Ip::parse(&packet).unwrap()), found);
        }
    }

    proptest! {
        #[test]
        fn any_segment_is_survived_and_its_length_stays(
            mut segment in prop::collection::vec(any::<u8>(), 0..90), most: u16,
        ) {
            let before = segment.clone();
            let is_changed = clamp_mss(&mut segment, most);
            prop_assert_eq!(is_changed, segment != before);
            prop_assert_eq!(segment.len(), before.len());
        }

        #[test]
        fn the_checksum_is_right_wherever_the_option_is(
            padding in 0usize..9, mss: u16, most: u16, is_v6: bool,
        ) {
            let mut options = vec![1; padding];
            options.extend([2, 4]);
            options.extend(mss.to_be_bytes());
            options.resize(options.len().next_multiple_of(4), 0);
            let mut packet = packet(is_v6, true, true, &options);
            let offset = find_syn(&Ip::parse(&packet).unwrap()).unwrap();
            prop_assert_eq!(clamp_mss(&mut packet[offset..], most), mss > most);
            let written = &packet[offset + HEADER + padding + 2..][..2];
            prop_assert_eq!(written, mss.min(most).to_be_bytes());
            let (found, right) = checksum_of(&packet);
            // Both zeros of the sum are right.
            prop_assert!(found == right || found ^ right == 0xffff);
        }

        #[test]
        fn any_packet_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(ip) = Ip::parse(&bytes) {
                let _ = find_syn(&ip);
            }
        }
    }
}
