// SPDX-License-Identifier: Apache-2.0
//! Cutting IPv4 packets into fragments (RFC 791 section 3.2).

use super::checksum;
use super::ipv4::{self, Ipv4};
use arrayvec::ArrayVec;
use std::ops::Range;

/// The pieces of a packet, in order.
pub struct Pieces {
    /// Headers of the first and of all others, but for length, offset, flag and checksum.
    first: Header,
    later: Header,
    /// Where the packet itself starts in the one it may be a fragment of, in units of eight bytes, and flags.
    word: u16,
    mtu: usize,
    payload: usize,
    /// What of the payload has been given out.
    done: usize,
}

/// A header with its options.
pub type Header = ArrayVec<u8, LONGEST_HEADER>;

/// One fragment.
pub struct Piece {
    pub header: Header,
    /// Which part of the packet's payload it carries.
    pub payload: Range<usize>,
}

impl Pieces {
    /// Pieces of a packet of at most `mtu` bytes each. None if it must not be cut or cannot be: the MTU has no room for
    /// eight bytes, the options cannot be told apart, or the packet is a fragment that reaches beyond the longest packet.
    pub fn of(packet: &Ipv4<'_>, mtu: u16) -> Option<Pieces> {
        let (mtu, payload) = (usize::from(mtu), packet.payload().len());
        let first = Header::try_from(packet.header()).ok()?;
        let start = usize::from(packet.fragment_offset()) * UNIT;
        let reaches_too_far = start + payload > usize::from(ipv4::MAX_PAYLOAD);
        if packet.dont_fragment() || mtu < first.len() + UNIT || reaches_too_far {
            return None;
        }
        let word = u16::from_be_bytes([*first.get(6)?, *first.get(7)?]);
        let later = later_header(&first)?;
        Some(Pieces { first, later, word, mtu, payload, done: 0 })
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.done >= self.payload {
            return None;
        }
        let mut header = if self.done == 0 { self.first.clone() } else { self.later.clone() };
        let room = self.mtu - header.len();
        let left = self.payload - self.done;
        let is_last = left <= room;
        // All but the last carry whole units.
        let len = if is_last { left } else { room - room % UNIT };
        let more = if is_last { 0 } else { ipv4::MORE_FRAGMENTS };
        let word = (self.word + (self.done / UNIT) as u16) | more;
        let total = (header.len() + len) as u16;
        header.get_mut(2..4)?.copy_from_slice(&total.to_be_bytes());
        header.get_mut(6..8)?.copy_from_slice(&word.to_be_bytes());
        header.get_mut(10..12)?.fill(0);
        let checksum = checksum::internet(&header);
        header.get_mut(10..12)?.copy_from_slice(&checksum.to_be_bytes());
        let payload = self.done..self.done + len;
        self.done += len;
        Some(Piece { header, payload })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let room = |header: &Header| (self.mtu - header.len()) / UNIT * UNIT;
        let mut left = self.payload - self.done;
        let mut count = 0;
        if self.done == 0 && left > 0 {
            let is_last = left <= self.mtu - self.first.len();
            left = if is_last { 0 } else { left - room(&self.first) };
            count = 1;
        }
        // A last piece may use the bytes that are no whole unit.
        let last = self.mtu - self.later.len();
        let others = if left == 0 { 0 } else { left.saturating_sub(last).div_ceil(room(&self.later)) + 1 };
        (count + others, Some(count + others))
    }
}

impl ExactSizeIterator for Pieces {}

/// The header of all but the first: of the options it has those that say so (RFC 791 section 3.1). None if one of them
/// contradicts the header's length.
fn later_header(first: &Header) -> Option<Header> {
    let (fixed, mut options) = first.split_at_checked(ipv4::HEADER)?;
    let mut header = Header::try_from(fixed).ok()?;
    while let [kind, rest @ ..] = options {
        match *kind {
            END => break,
            NO_OPERATION => options = rest,
            kind => {
                let length = usize::from(*rest.first()?);
                let (option, behind) = options.split_at_checked(length).filter(|_| length >= 2)?;
                if kind & COPIED != 0 {
                    header.try_extend_from_slice(option).ok()?;
                }
                options = behind;
            }
        }
    }
    while header.len() % 4 != 0 {
        header.push(END);
    }
    let words = header.len() / 4;
    let start = header.first_mut()?;
    *start = *start & 0xf0 | words as u8;
    Some(header)
}

/// What offsets count in.
const UNIT: usize = 8;
/// 15 words.
pub const LONGEST_HEADER: usize = 60;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
/// The flag in an option's type.
const COPIED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::defrag::IpDefragPool;
    use etherparse::{IpNumber, Ipv4Header};
    use proptest::prelude::*;

    fn packet(options: &[u8], offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
        let mut header =
            Ipv4Header::new(payload.len() as u16, 60, IpNumber::UDP, [10, 1, 0, 1], [10, 2, 0, 1]).unwrap();
        header.options = options.try_into().unwrap();
        header.set_payload_len(payload.len()).unwrap();
        header.identification = 0xbeef;
        header.dont_fragment = false;
        header.more_fragments = more;
        header.fragment_offset = offset.try_into().unwrap();
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes()[..], payload].concat()
    }

    fn cut(packet: &[u8], mtu: u16) -> Option<Vec<Vec<u8>>> {
        let ip = Ipv4::parse(packet).unwrap();
        let mut pieces = Pieces::of(&ip, mtu)?;
        let mut all = Vec::new();
        let promised = pieces.len();
        while let Some(piece) = pieces.next() {
            all.push([&piece.header, &ip.payload()[piece.payload]].concat());
            assert_eq!(pieces.len(), promised - all.len());
        }
        Some(all)
    }

    /// (total length, header length, offset in bytes, more)
    fn shapes(pieces: &[Vec<u8>]) -> Vec<(usize, usize, usize, bool)> {
        pieces
            .iter()
            .map(|piece| {
                let ip = Ipv4::parse(piece).unwrap();
                assert!(ip.checksum_ok());
                assert_eq!((ip.id(), ip.ttl(), ip.protocol()), (0xbeef, 60, 17));
                let offset = usize::from(ip.fragment_offset()) * 8;
                (ip.total_len(), ip.header_len(), offset, ip.more_fragments())
            })
            .collect()
    }

    #[test]
    fn a_packet_of_1500_bytes_is_two_pieces() {
        let pieces = cut(&packet(&[], 0, false, &[7; 1480]), 1446).unwrap();
        assert_eq!(shapes(&pieces), [(1444, 20, 0, true), (76, 20, 1424, false)]);
    }

    #[test]
    fn the_last_piece_may_fill_the_mtu_to_the_byte() {
        let pieces = cut(&packet(&[], 0, false, &[7; 1424 + 1426]), 1446).unwrap();
        assert_eq!(shapes(&pieces), [(1444, 20, 0, true), (1446, 20, 1424, false)]);
        let pieces = cut(&packet(&[], 0, false, &[7; 1424 + 1427]), 1446).unwrap();
        assert_eq!(shapes(&pieces), [(1444, 20, 0, true), (1444, 20, 1424, true), (23, 20, 2848, false)]);
    }

    #[test]
    fn a_fragment_in_the_middle_stays_one_and_the_last_stays_the_last() {
        let middle = cut(&packet(&[], 100, true, &[7; 80]), 60).unwrap();
        assert_eq!(shapes(&middle), [(60, 20, 800, true), (60, 20, 840, true)]);
        let last = cut(&packet(&[], 100, false, &[7; 81]), 60).unwrap();
        assert_eq!(shapes(&last), [(60, 20, 800, true), (60, 20, 840, true), (21, 20, 880, false)]);
    }

    #[test]
    fn options_with_the_copied_flag_are_in_every_piece_and_others_in_the_first_only() {
        // Record route (not copied), router alert (copied), and an end.
        let options = [7, 7, 4, 0, 0, 0, 0, 1, 0x94, 4, 0, 0];
        let pieces = cut(&packet(&options, 0, false, &[7; 100]), 80).unwrap();
        assert_eq!(shapes(&pieces), [(80, 32, 0, true), (76, 24, 48, false)]);
        assert_eq!(pieces[0][20..32], options);
        assert_eq!(pieces[1][20..24], [0x94, 4, 0, 0]);
        // A copied one that is no whole word is padded.
        let security = [0x82, 3, 9, 1];
        let pieces = cut(&packet(&security, 0, false, &[7; 100]), 80).unwrap();
        assert_eq!(pieces[1][20..24], [0x82, 3, 9, 0]);
    }

    #[test]
    fn what_cannot_be_cut_is_not() {
        assert!(cut(&packet(&[], 0, false, &[7; 100]), 27).is_none());
        assert!(cut(&packet(&[], 0, false, &[7; 100]), 28).is_some());
        assert!(cut(&packet(&[0x94, 4, 0, 0], 0, false, &[7; 100]), 31).is_none());
        for malformed in [[0x94, 5, 0, 0], [0x94, 1, 0, 0], [0x94, 0, 0, 0], [1, 1, 1, 0x94]] {
            assert!(cut(&packet(&malformed, 0, false, &[7; 100]), 80).is_none(), "{malformed:?}");
        }
        let mut df = packet(&[], 0, false, &[7; 100]);
        df[6] |= 0x40;
        assert!(cut(&df, 80).is_none());
        assert!(cut(&packet(&[], 0x1fff, false, &[7; 100]), 80).is_none());
    }

    proptest! {
        #[test]
        fn an_independent_host_puts_the_pieces_together(
            payload in prop::collection::vec(any::<u8>(), 30..1500), mtu in 28u16..400,
            backwards: bool,
        ) {
            let whole = packet(&[], 0, false, &payload);
            prop_assume!(whole.len() > usize::from(mtu));
            let mut pieces = cut(&whole, mtu).unwrap();
            prop_assert!(pieces.iter().all(|piece| piece.len() <= usize::from(mtu)));
            if backwards {
                pieces.reverse();
            }
            let mut pool = IpDefragPool::<(), ()>::new();
            let mut together = None;
            for piece in &pieces {
                let sliced = etherparse::SlicedPacket::from_ip(piece).unwrap();
                together = together.or(pool.process_sliced_packet(&sliced, (), ()).unwrap());
            }
            prop_assert_eq!(together.unwrap().payload, payload);
        }

        #[test]
        fn pieces_of_pieces_are_pieces_of_the_whole(
            payload in prop::collection::vec(any::<u8>(), 600..1200), first in 200u16..400, second in 40u16..150,
        ) {
            let whole = packet(&[], 0, false, &payload);
            let mut bytes = vec![None; payload.len()];
            let mut ends = 0;
            for piece in cut(&whole, first).unwrap() {
                let small = if piece.len() > usize::from(second) { cut(&piece, second).unwrap() } else { vec![piece] };
                for piece in small {
                    let ip = Ipv4::parse(&piece).unwrap();
                    let start = usize::from(ip.fragment_offset()) * 8;
                    for (place, byte) in bytes[start..].iter_mut().zip(ip.payload()) {
                        prop_assert!(place.replace(*byte).is_none());
                    }
                    ends += usize::from(!ip.more_fragments());
                }
            }
            prop_assert_eq!(ends, 1);
            prop_assert_eq!(bytes.into_iter().collect::<Option<Vec<u8>>>(), Some(payload));
        }

        #[test]
        fn any_packet_is_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..200), words in 5u8..16, mtu: u16,
        ) {
            let mut bytes = bytes;
            let len = bytes.len() as u16;
            if let Some(start) = bytes.first_chunk_mut::<8>() {
                start[0] = 0x40 | words;
                start[2..4].copy_from_slice(&len.to_be_bytes());
                start[6] &= 0xbf;
            }
            if let Ok(ip) = Ipv4::parse(&bytes)
                && let Some(pieces) = Pieces::of(&ip, mtu)
            {
                let promised = pieces.len();
                prop_assert_eq!(pieces.count(), promised);
            }
        }
    }
}
