// SPDX-License-Identifier: Apache-2.0
//! IPv4 (RFC 791). Options are carried along and never interpreted; this gateway sends none.

use super::{Malformed, checksum};
use std::net::Ipv4Addr;

/// A packet whose header and total length fit the bytes received.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    fixed: &'a [u8; HEADER],
    /// From the first byte of the header to the end that the header announces.
    packet: &'a [u8],
    header_len: usize,
}

impl<'a> Ipv4<'a> {
    /// Bytes beyond the total length are padding of the frame and ignored.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Ipv4<'a>, Malformed> {
        let fixed = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        // Nearly every header is without options.
        let header_len = if fixed[0] == PLAIN { HEADER } else { header_len(fixed[0])? };
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if total_len < header_len {
            return Err(Malformed::TotalLength);
        }
        let packet = bytes.get(..total_len).ok_or(Malformed::Truncated)?;
        Ok(Ipv4 { fixed, packet, header_len })
    }

    /// In bytes, options included: 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// In bytes, header included.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.packet.len()
    }

    #[inline]
    pub fn tos(&self) -> u8 {
        self.fixed[1]
    }

    #[inline]
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_and_offset() & DONT_FRAGMENT != 0
    }

    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_and_offset() & MORE_FRAGMENTS != 0
    }

    /// In units of eight bytes, as on the wire.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        self.flags_and_offset() & FRAGMENT_OFFSET
    }

    /// Whether this is one of several pieces of a packet, the first included.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_and_offset() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    #[inline]
    pub fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    #[inline]
    pub fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        let [.., a, b, c, d, _, _, _, _] = *self.fixed;
        Ipv4Addr::new(a, b, c, d)
    }

    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        let [.., a, b, c, d] = *self.fixed;
        Ipv4Addr::new(a, b, c, d)
    }

    /// The header with its options.
    #[inline]
    pub fn header(&self) -> &'a [u8] {
        self.packet.get(..self.header_len).unwrap_or(self.packet)
    }

    /// The whole packet, header first, cut to its total length.
    #[inline]
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// What follows the header, cut to the total length.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(self.header_len..).unwrap_or_default()
    }

    #[inline]
    pub fn checksum_ok(&self) -> bool {
        if self.header_len == HEADER {
            checksum::header_ok(self.fixed)
        } else {
            checksum::internet(self.header()) == 0
        }
    }

    #[inline]
    fn flags_and_offset(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6], self.fixed[7]])
    }
}

/// A header without options, of a packet that is not a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub tos: u8,
    pub id: u16,
    pub dont_fragment: bool,
    pub ttl: u8,
    pub protocol: u8,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// At most `MAX_PAYLOAD`; what is above cannot be said on the wire and is written as that.
    pub payload_len: u16,
}

impl Header {
    /// The header of a packet that the gateway itself sends. It needs no identification, because it is never fragmented
    /// (RFC 6864).
    pub fn of_ours(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, payload_len: u16) -> Header {
        Header { tos: 0, id: 0, dont_fragment: true, ttl: 64, protocol, source, destination, payload_len }
    }

    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER]) {
        let total_len = self.payload_len.min(MAX_PAYLOAD) + HEADER as u16;
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        out[0] = PLAIN;
        out[1] = self.tos;
        out[2..4].copy_from_slice(&total_len.to_be_bytes());
        out[4..6].copy_from_slice(&self.id.to_be_bytes());
        out[6..8].copy_from_slice(&flags.to_be_bytes());
        out[8] = self.ttl;
        out[9] = self.protocol;
        out[10..12].fill(0);
        out[12..16].copy_from_slice(&self.source.octets());
        out[16..].copy_from_slice(&self.destination.octets());
        let checksum = checksum::header(out);
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Whether packets from or to an address are forwarded: not if it is a group, broadcast or reserved (240/4), unspecified
/// (0/8), loopback, or link-local (RFC 1812 sections 5.3.5.1 and 5.3.7, RFC 3927 section 2.7).
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "the first octet is below 256")]
pub const fn is_forwardable(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    let first = octets[0] as usize;
    FORWARDED[first / 64] >> (first % 64) & 1 != 0 && !matches!(octets, [169, 254, ..])
}

/// A bit for each first octet: one look instead of four comparisons.
#[expect(clippy::indexing_slicing, reason = "at compile time")]
const FORWARDED: [u64; 4] = {
    let mut bits = [0; 4];
    let mut first = 0;
    while first < 256 {
        if matches!(first, 1..=126 | 128..=223) {
            bits[first / 64] |= 1 << (first % 64);
        }
        first += 1;
    }
    bits
};

#[inline]
fn header_len(first: u8) -> Result<usize, Malformed> {
    if first >> 4 != VERSION {
        return Err(Malformed::Version);
    }
    let header_len = usize::from(first & 0x0f) * 4;
    if header_len < HEADER { Err(Malformed::HeaderLength) } else { Ok(header_len) }
}

/// One hop less to live, and the checksum patched to match (RFC 1624); a header at zero stays as it is.
///
/// The first 20 bytes suffice whether or not options follow.
#[inline]
pub fn decrement_ttl(packet: &mut [u8; HEADER]) {
    let Some(ttl) = packet[8].checked_sub(1) else { return };
    packet[8] = ttl;
    // One less in the high byte of a word makes `~m + m'` of equation 3 in RFC 1624 a constant. What is left of it: 0x100
    // more, and a carry around; at the sum that equation 3 takes for a negative zero as well.
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    let checksum = checksum.wrapping_add(0x100 + u16::from(checksum >= 0xfeff));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Sets the type of service, and patches the checksum to match (RFC 1624).
#[inline]
pub fn set_tos(packet: &mut [u8; HEADER], tos: u8) {
    let old = u16::from_be_bytes([packet[0], packet[1]]);
    packet[1] = tos;
    let new = u16::from_be_bytes([packet[0], packet[1]]);
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    let checksum = checksum::update(checksum, old, new);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The header without options, which is also the shortest.
pub const HEADER: usize = 20;
/// What the 16-bit total length leaves beside that header.
pub const MAX_PAYLOAD: u16 = u16::MAX - HEADER as u16;
pub const PROTOCOL_ICMP: u8 = 1;
pub const PROTOCOL_IPIP: u8 = 4;
pub const PROTOCOL_UDP: u8 = 17;
pub const PROTOCOL_ESP: u8 = 50;

const VERSION: u8 = 4;
/// The first byte of a header without options.
pub(super) const PLAIN: u8 = VERSION << 4 | (HEADER / 4) as u8;
const DONT_FRAGMENT: u16 = 0x4000;
pub(super) const MORE_FRAGMENTS: u16 = 0x2000;
pub(super) const FRAGMENT_OFFSET: u16 = 0x1fff;

#[cfg(test)]
mod tests {
    use super::super::testing::{DeployedPacket, deployed_packets, needs_exactly};
    use super::*;
    use etherparse::{IpDscp, IpEcn, IpNumber, Ipv4HeaderSlice};
    use proptest::prelude::*;

    const SAMPLE: Header = Header {
        tos: 0,
        id: 0,
        dont_fragment: true,
        ttl: 64,
        protocol: PROTOCOL_UDP,
        source: Ipv4Addr::new(10, 10, 1, 2),
        destination: Ipv4Addr::new(10, 10, 2, 2),
        payload_len: 8,
    };

    fn sample() -> [u8; 46] {
        let mut packet = [0; 46];
        SAMPLE.write(packet.first_chunk_mut().unwrap());
        packet
    }

    /// Twelve bytes of options and four of payload.
    fn with_options() -> Vec<u8> {
        let mut header =
            etherparse::Ipv4Header::new(4, 7, IpNumber::ICMP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        header.options = [0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0].into();
        header.set_payload_len(4).unwrap();
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes()[..], b"data"].concat()
    }

    fn headers() -> impl Strategy<Value = Header> {
        let addresses = any::<([u8; 4], [u8; 4])>();
        (any::<(u8, u16, bool, u8, u8)>(), addresses, 0..=MAX_PAYLOAD).prop_map(
            |((tos, id, dont_fragment, ttl, protocol), (source, destination), payload_len)| Header {
                tos,
                id,
                dont_fragment,
                ttl,
                protocol,
                source: source.into(),
                destination: destination.into(),
                payload_len,
            },
        )
    }

    /// Random bytes, half of them made to look like a header, so that parsing often gets past it.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let lengths = proptest::option::of((0u8..16, 0u16..120));
        (proptest::collection::vec(any::<u8>(), 0..120), lengths).prop_map(|(mut bytes, lengths)| {
            if let (Some((words, total_len)), Some(start)) = (lengths, bytes.first_chunk_mut::<4>()) {
                let [high, low] = total_len.to_be_bytes();
                *start = [VERSION << 4 | words, start[1], high, low];
            }
            bytes
        })
    }

    #[test]
    fn what_is_forwarded_ends_at_the_borders_of_the_special_blocks() {
        for (address, forwarded) in [
            ("0.0.0.0", false),
            ("0.255.255.255", false),
            ("1.0.0.0", true),
            ("10.0.0.1", true),
            ("126.255.255.255", true),
            ("127.0.0.0", false),
            ("127.255.255.255", false),
            ("128.0.0.0", true),
            ("169.253.255.255", true),
            ("169.254.0.0", false),
            ("169.254.255.255", false),
            ("169.255.0.0", true),
            ("192.168.0.1", true),
            ("223.255.255.255", true),
            ("224.0.0.0", false),
            ("239.255.255.255", false),
            ("240.0.0.0", false),
            ("255.255.255.254", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(is_forwardable(address.parse().unwrap()), forwarded, "{address}");
        }
    }

    #[test]
    fn a_packet_cut_anywhere_is_refused() {
        needs_exactly(28, &sample(), Ipv4::parse);
        needs_exactly(36, &with_options(), Ipv4::parse);
    }

    #[test]
    fn ethernet_padding_is_not_part_of_the_packet() {
        let packet = sample();
        let view = Ipv4::parse(&packet).unwrap();
        assert_eq!((view.total_len(), view.header_len()), (28, HEADER));
        assert_eq!(view.packet(), &packet[..28]);
        assert_eq!(view.header(), &packet[..20]);
        assert_eq!(view.payload(), &packet[20..28]);
    }

    #[test]
    fn any_other_version_is_refused() {
        for version in (0..16).filter(|version| *version != VERSION) {
            let mut packet = sample();
            packet[0] = version << 4 | 5;
            assert_eq!(Ipv4::parse(&packet).err(), Some(Malformed::Version), "version {version}");
        }
    }

    #[test]
    fn a_header_length_below_the_fixed_header_is_refused() {
        for words in 0..5 {
            let mut packet = sample();
            packet[0] = VERSION << 4 | words;
            assert_eq!(Ipv4::parse(&packet).err(), Some(Malformed::HeaderLength), "{words} words");
        }
    }

    #[test]
    fn a_total_length_that_does_not_cover_the_header_is_refused() {
        for (mut packet, header_len) in [(sample().to_vec(), 20), (with_options(), 32)] {
            for total_len in 0..header_len {
                packet[3] = total_len;
                assert_eq!(Ipv4::parse(&packet).err(), Some(Malformed::TotalLength), "{total_len}");
            }
            packet[3] = header_len;
            assert_eq!(Ipv4::parse(&packet).unwrap().payload(), b"");
        }
    }

    #[test]
    fn options_are_carried_and_covered_by_the_checksum() {
        let mut packet = with_options();
        let view = Ipv4::parse(&packet).unwrap();
        assert_eq!((view.header_len(), view.payload()), (32, &b"data"[..]));
        assert!(view.checksum_ok());
        packet[31] ^= 1;
        assert!(!Ipv4::parse(&packet).unwrap().checksum_ok());
    }

    #[test]
    fn each_flipped_bit_of_the_header_breaks_the_checksum() {
        for (packet, header_len) in [(sample().to_vec(), 20), (with_options(), 32)] {
            assert!(Ipv4::parse(&packet).unwrap().checksum_ok());
            for bit in 0..header_len * 8 {
                let mut damaged = packet.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let intact = Ipv4::parse(&damaged).is_ok_and(|view| view.checksum_ok());
                assert!(!intact, "bit {bit} of {header_len} bytes");
            }
        }
    }

    #[test]
    fn first_middle_and_last_pieces_are_fragments_and_a_whole_packet_is_none() {
        for (word, more, offset, fragment) in [
            (0x0000u16, false, 0, false),
            (0x4000, false, 0, false),
            (0x8000, false, 0, false), // the reserved bit says nothing
            (0x2000, true, 0, true),
            (0x2001, true, 1, true),
            (0x1fff, false, 0x1fff, true),
        ] {
            let mut packet = sample();
            packet[6..8].copy_from_slice(&word.to_be_bytes());
            let view = Ipv4::parse(&packet).unwrap();
            assert_eq!(view.more_fragments(), more, "{word:#06x}");
            assert_eq!(view.fragment_offset(), offset, "{word:#06x}");
            assert_eq!(view.is_fragment(), fragment, "{word:#06x}");
            assert_eq!(view.dont_fragment(), word == 0x4000, "{word:#06x}");
        }
    }

    #[test]
    fn a_payload_too_long_to_announce_is_announced_as_the_longest() {
        let mut header = [0; HEADER];
        Header { payload_len: u16::MAX, ..SAMPLE }.write(&mut header);
        assert_eq!(header[2..4], [0xff, 0xff]);
    }

    #[test]
    fn the_last_hop_is_never_taken() {
        let mut header = [0; HEADER];
        Header { ttl: 0, ..SAMPLE }.write(&mut header);
        let before = header;
        decrement_ttl(&mut header);
        assert_eq!(header, before);
    }

    #[test]
    fn the_checksum_of_a_hop_less_is_that_of_rfc_1624() {
        for old in 0..=u16::MAX {
            let mut header = [0; HEADER];
            header[8] = 64;
            header[10..12].copy_from_slice(&old.to_be_bytes());
            decrement_ttl(&mut header);
            let new = checksum::update(old, 64 << 8, 63 << 8);
            assert_eq!(header[8..12], [[63, 0], new.to_be_bytes()].concat()[..], "{old:x}");
        }
    }

    #[test]
    fn outer_headers_of_deployed_gateways_are_written_alike() {
        for DeployedPacket { outer, inner, .. } in deployed_packets() {
            // The record may hold packets of the other family.
            let Ok(view) = Ipv4::parse(&outer) else { continue };
            assert!(view.checksum_ok());
            assert!(Ipv4::parse(&inner).map_or(inner[0] >> 4 == 6, |inner| inner.checksum_ok()));
            let mut ours = [0; HEADER];
            assert_eq!(view.protocol(), PROTOCOL_ESP);
            read(&view).write(&mut ours);
            assert_eq!(ours, outer[..HEADER]);
        }
    }

    fn read(view: &Ipv4<'_>) -> Header {
        Header {
            tos: view.tos(),
            id: view.id(),
            dont_fragment: view.dont_fragment(),
            ttl: view.ttl(),
            protocol: view.protocol(),
            source: view.source(),
            destination: view.destination(),
            payload_len: view.payload().len() as u16,
        }
    }

    proptest! {
        #[test]
        fn a_written_header_reads_back_and_its_checksum_is_right(header in headers()) {
            let mut packet = vec![0; HEADER + usize::from(header.payload_len)];
            header.write(packet.first_chunk_mut().unwrap());
            let view = Ipv4::parse(&packet).unwrap();
            prop_assert_eq!(read(&view), header);
            prop_assert!(view.checksum_ok() && !view.is_fragment());
        }

        #[test]
        fn etherparse_writes_the_same_bytes(header in headers()) {
            let mut ours = [0; HEADER];
            header.write(&mut ours);
            let mut theirs = etherparse::Ipv4Header::new(
                header.payload_len,
                header.ttl,
                IpNumber(header.protocol),
                header.source.octets(),
                header.destination.octets(),
            ).unwrap();
            theirs.dscp = IpDscp::try_new(header.tos >> 2).unwrap();
            theirs.ecn = IpEcn::try_new(header.tos & 3).unwrap();
            theirs.identification = header.id;
            theirs.dont_fragment = header.dont_fragment;
            theirs.header_checksum = theirs.calc_header_checksum();
            prop_assert_eq!(&ours[..], &theirs.to_bytes()[..]);
        }

        #[test]
        fn a_hop_less_leaves_the_checksum_as_right_as_it_was(header in headers(), damage: u16) {
            let mut bytes = [0; HEADER];
            Header { payload_len: 0, ..header }.write(&mut bytes);
            for (byte, damage) in bytes[10..12].iter_mut().zip(damage.to_be_bytes()) {
                *byte ^= damage;
            }
            let before = Ipv4::parse(&bytes).unwrap().checksum_ok();
            let ttl = header.ttl;
            decrement_ttl(&mut bytes);
            let after = Ipv4::parse(&bytes).unwrap();
            prop_assert_eq!(after.ttl(), ttl.saturating_sub(1));
            prop_assert_eq!(after.checksum_ok(), before);
        }

        #[test]
        fn etherparse_accepts_the_same_bytes_and_reads_the_same_fields(bytes in bytes()) {
            let theirs = Ipv4HeaderSlice::from_slice(&bytes).ok().filter(|header| {
                let (header_len, total_len) = (header.slice().len(), usize::from(header.total_len()));
                header_len <= total_len && total_len <= bytes.len()
            });
            let ours = Ipv4::parse(&bytes);
            prop_assert_eq!(ours.is_ok(), theirs.is_some());
            if let (Ok(ours), Some(theirs)) = (ours, theirs) {
                prop_assert_eq!(ours.header(), theirs.slice());
                prop_assert_eq!(ours.total_len(), usize::from(theirs.total_len()));
                prop_assert_eq!(ours.tos(), theirs.dcp().value() << 2 | theirs.ecn().value());
                prop_assert_eq!(ours.id(), theirs.identification());
                prop_assert_eq!(ours.dont_fragment(), theirs.dont_fragment());
                prop_assert_eq!(ours.more_fragments(), theirs.more_fragments());
                prop_assert_eq!(ours.fragment_offset(), theirs.fragments_offset().value());
                prop_assert_eq!(ours.is_fragment(), theirs.is_fragmenting_payload());
                prop_assert_eq!(ours.ttl(), theirs.ttl());
                prop_assert_eq!(ours.protocol(), theirs.protocol().0);
                prop_assert_eq!(ours.source(), theirs.source_addr());
                prop_assert_eq!(ours.destination(), theirs.destination_addr());
                prop_assert_eq!(
                    ours.checksum_ok(),
                    theirs.header_checksum() == theirs.to_header().calc_header_checksum(),
                );
                prop_assert_eq!([ours.header(), ours.payload()].concat(), ours.packet());
            }
        }
    }
}
