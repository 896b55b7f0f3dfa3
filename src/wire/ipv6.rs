// SPDX-License-Identifier: Apache-2.0
//! IPv6 (RFC 8200). Extension headers are carried along and looked through, never interpreted: of options for us it is
//! only found out whether they may be skipped. This gateway sends none.

use super::Malformed;
use std::net::Ipv6Addr;

/// A packet whose header and payload length fit the bytes received.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    fixed: &'a [u8; HEADER],
    /// From the first byte of the header to the end that the header announces.
    packet: &'a [u8],
}

/// What lies behind the extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upper {
    pub protocol: u8,
    /// Where in the packet the byte is that names the protocol.
    pub named_at: usize,
    /// Where in the packet it starts.
    pub offset: usize,
    /// Whether this is one of several pieces of a packet, the first included.
    pub is_fragment: bool,
    /// Whether the protocol's header is in another piece.
    pub is_later_fragment: bool,
    /// Why its destination does not take the packet: the first of the destination options that forbids it.
    pub refused: Option<Refused>,
}

/// An option that says that whoever does not know it, as we do not, has to discard the packet; or one that is cut short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Where in the packet the option is.
    pub at: usize,
    /// Whether the packet's source is to be told.
    pub is_told: bool,
}

impl<'a> Ipv6<'a> {
    /// Bytes beyond the payload length are padding of the frame and ignored. A jumbogram (RFC 2675) announces a
    /// length of zero and is taken at its word.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Ipv6<'a>, Malformed> {
        let fixed = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        if fixed[0] >> 4 != VERSION {
            return Err(Malformed::Version);
        }
        let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let packet = bytes.get(..HEADER + payload_len).ok_or(Malformed::Truncated)?;
        Ok(Ipv6 { fixed, packet })
    }

    /// In bytes, header included.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.packet.len()
    }

    #[inline]
    pub fn traffic_class(&self) -> u8 {
        self.fixed[0] << 4 | self.fixed[1] >> 4
    }

    #[inline]
    pub fn flow_label(&self) -> u32 {
        let [_, a, b, c, ..] = *self.fixed;
        u32::from_be_bytes([0, a & 0x0f, b, c])
    }

    /// The field of the fixed header: an extension header or a protocol.
    #[inline]
    pub fn next_header(&self) -> u8 {
        self.fixed[NEXT_HEADER]
    }

    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.fixed[7]
    }

    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.fixed[8..24]);
        octets.into()
    }

    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.fixed[24..]);
        octets.into()
    }

    /// The whole packet, header first, cut to the length it announces.
    #[inline]
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// What follows the fixed header: extension headers, if any, come first.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(HEADER..).unwrap_or_default()
    }

    /// Looks through the extension headers. Authentication and encryption are protocols here.
    #[inline]
    pub fn upper(&self) -> Result<Upper, Malformed> {
        let mut upper = Upper {
            protocol: self.next_header(),
            named_at: NEXT_HEADER,
            offset: HEADER,
            is_fragment: false,
            is_later_fragment: false,
            refused: None,
        };
        for _ in 0..MAX_EXTENSION_HEADERS {
            if upper.is_later_fragment || !is_extension(upper.protocol) {
                return Ok(upper);
            }
            let rest = self.packet.get(upper.offset..).unwrap_or_default();
            let &[next, length, high, low, ..] = rest else { return Err(Malformed::Truncated) };
            let mut length = (usize::from(length) + 1) * 8;
            if upper.protocol == FRAGMENT {
                let [offset, more] = [u16::from_be_bytes([high, low]) & !7, u16::from(low & 1)];
                // RFC 6946: a fragment that is the whole packet is no piece of one.
                upper.is_fragment |= offset | more != 0;
                upper.is_later_fragment = offset != 0;
                length = 8;
            }
            let header = rest.get(..length).ok_or(Malformed::Truncated)?;
            if upper.protocol == DESTINATION_OPTIONS && upper.refused.is_none() {
                let of_packet = |option: Refused| Refused { at: upper.offset + option.at, ..option };
                upper.refused = refused(header).map(of_packet);
            }
            upper.protocol = next;
            upper.named_at = upper.offset;
            upper.offset += length;
        }
        if is_extension(upper.protocol) { Err(Malformed::Extensions) } else { Ok(upper) }
    }
}

/// A header without extensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub traffic_class: u8,
    /// 20 bits; what is above is not written.
    pub flow_label: u32,
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub payload_len: u16,
}

impl Header {
    /// The header of a packet that the gateway itself sends.
    pub fn of_ours(next_header: u8, source: Ipv6Addr, destination: Ipv6Addr, payload_len: u16) -> Header {
        Header {
            traffic_class: 0,
            flow_label: 0,
            next_header,
            hop_limit: 64,
            source,
            destination,
            payload_len,
        }
    }

    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER]) {
        let first =
            u32::from(VERSION) << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        out[..4].copy_from_slice(&first.to_be_bytes());
        out[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        out[NEXT_HEADER] = self.next_header;
        out[7] = self.hop_limit;
        out[8..24].copy_from_slice(&self.source.octets());
        out[24..].copy_from_slice(&self.destination.octets());
    }
}

/// One hop less to live; a header at zero stays as it is.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8; HEADER]) {
    packet[7] = packet[7].saturating_sub(1);
}

/// Sets the traffic class, which shares its bytes with the version and the flow label.
#[inline]
pub fn set_traffic_class(packet: &mut [u8; HEADER], class: u8) {
    packet[0] = packet[0] & 0xf0 | class >> 4;
    packet[1] = packet[1] & 0x0f | class << 4;
}

/// Whether the address has no meaning beyond its link, so that no packet from or to it is forwarded
/// (RFC 4291 section 2.5.6).
#[inline]
pub const fn is_link_local(address: &Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// Whether packets from or to an address are forwarded: not if it is unspecified, loopback, IPv4-compatible (`::/96`) or
/// IPv4-mapped (`::ffff:0:0/96`), link-local, site-local (`fec0::/10`, of old), or a group (RFC 4291 sections 2.5 to 2.7).
#[inline(always)]
pub const fn is_forwardable(address: Ipv6Addr) -> bool {
    // Nearly every address.
    matches!(address.octets()[0], 1..=0xfd) || is_forwardable_though_special(address)
}

#[cold]
const fn is_forwardable_though_special(address: Ipv6Addr) -> bool {
    // What is left of fe00::/8 belongs to nobody yet.
    !is_of_ipv4(&address) && address.segments()[0] < 0xfe80
}

/// Whether the address is IPv4-compatible or IPv4-mapped (RFC 4291 section 2.5.5): no packet on the wire has one. Loopback
/// and unspecified addresses are among them.
#[inline]
pub const fn is_of_ipv4(address: &Ipv6Addr) -> bool {
    matches!(address.segments(), [0, 0, 0, 0, 0, 0 | 0xffff, ..])
}

#[inline]
pub(super) const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// Of an options header, the first option that forbids to go on (RFC 8200 section 4.2).
#[inline]
fn refused(header: &[u8]) -> Option<Refused> {
    let mut at = OPTIONS;
    while let Some(&kind) = header.get(at) {
        if kind == PAD1 {
            at += 1;
            continue;
        }
        let end = header.get(at + 1).map(|length| at + 2 + usize::from(*length));
        let Some(end) = end.filter(|end| *end <= header.len()) else {
            return Some(Refused { at, is_told: false });
        };
        // The two highest bits: skip; discard; discard and tell; the same, but not about a packet to a group, which
        // never gets as far as this. Padding says that it may be skipped.
        match kind >> 6 {
            0 => at = end,
            action => return Some(Refused { at, is_told: action != 1 }),
        }
    }
    None
}

/// The fixed header.
pub const HEADER: usize = 40;
pub const PROTOCOL_IPV6: u8 = 41;
pub const PROTOCOL_ICMPV6: u8 = 58;
/// Every link carries packets of this size (RFC 8200 section 5).
pub const MIN_MTU: u16 = 1280;

const VERSION: u8 = 6;
/// Offset of the field in the fixed header.
const NEXT_HEADER: usize = 6;
pub(super) const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// Where the first option is in its header.
const OPTIONS: usize = 2;
/// The option without length: one byte of padding.
pub(super) const PAD1: u8 = 0;
/// RFC 8200 section 4.1 recommends five places for them; some may be taken twice.
const MAX_EXTENSION_HEADERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::testing::needs_exactly;
    use super::*;
    use etherparse::{IpNumber, Ipv6ExtensionsSlice, Ipv6FlowLabel, Ipv6HeaderSlice};
    use proptest::prelude::*;

    const UDP: u8 = 17;

    const SAMPLE: Header = Header {
        traffic_class: 0xb9,
        flow_label: 0x12345,
        next_header: UDP,
        hop_limit: 64,
        source: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2),
        destination: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2),
        payload_len: 8,
    };

    fn sample() -> [u8; 60] {
        let mut packet = [0; 60];
        SAMPLE.write(packet.first_chunk_mut().unwrap());
        packet
    }

    /// A packet with these bytes behind the fixed header.
    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        let header = Header { next_header, payload_len: payload.len() as u16, ..SAMPLE };
        header.write(bytes.first_chunk_mut().unwrap());
        bytes.extend(payload);
        bytes
    }

    fn upper(bytes: &[u8]) -> Result<Upper, Malformed> {
        Ipv6::parse(bytes).unwrap().upper()
    }

    fn headers() -> impl Strategy<Value = Header> {
        let addresses = any::<(u128, u128)>();
        (any::<(u8, u8, u8, u16)>(), 0u32..1 << 20, addresses).prop_map(
            |((traffic_class, next_header, hop_limit, payload_len), flow_label, (source, destination))| {
                Header {
                    traffic_class,
                    flow_label,
                    next_header,
                    hop_limit,
                    source: source.into(),
                    destination: destination.into(),
                    payload_len,
                }
            },
        )
    }

    #[test]
    fn what_is_forwarded_ends_at_the_borders_of_the_special_blocks() {
        for (address, forwarded) in [
            ("::", false),
            ("::1", false),
            ("::2", false),
            ("::10.0.0.1", false),
            ("::ffff:ffff", false),
            ("::1:0:0", true),
            ("::fffe:10.0.0.1", true),
            ("::ffff:10.0.0.1", false),
            ("::ffff:255.255.255.255", false),
            ("::1:0:10.0.0.1", true),
            ("64:ff9b::10.0.0.1", true), // NAT64 (RFC 6052)
            ("100::1", true),
            ("2001:db8::1", true),
            ("fc00::1", true),
            ("fd00::1", true),
            ("fdff:ffff::", true),
            ("fe7f:ffff::", true),
            ("fe80::1", false),
            ("febf:ffff::", false),
            ("fec0::1", false),
            ("feff:ffff::", false),
            ("ff00::", false),
            ("ff0e::1", false),
        ] {
            assert_eq!(is_forwardable(address.parse().unwrap()), forwarded, "{address}");
        }
    }

    #[test]
    fn a_packet_cut_anywhere_is_refused_and_padding_is_not_part_of_it() {
        let packet = sample();
        needs_exactly(48, &packet, Ipv6::parse);
        let view = Ipv6::parse(&packet).unwrap();
        assert_eq!((view.total_len(), view.packet(), view.payload()), (48, &packet[..48], &packet[40..48]));
    }

    #[test]
    fn any_other_version_is_refused() {
        for version in (0..16).filter(|version| *version != VERSION) {
            let mut packet = sample();
            packet[0] = version << 4;
            assert_eq!(Ipv6::parse(&packet).err(), Some(Malformed::Version), "version {version}");
        }
    }

    #[test]
    fn the_last_hop_is_never_taken() {
        let mut header = [0; HEADER];
        Header { hop_limit: 1, ..SAMPLE }.write(&mut header);
        decrement_hop_limit(&mut header);
        assert_eq!(header[7], 0);
        decrement_hop_limit(&mut header);
        assert_eq!(header[7], 0);
    }

    #[test]
    fn an_unknown_option_says_itself_whether_it_may_be_skipped() {
        let refused = |options: [u8; 14]| {
            let header = [&[UDP, 1][..], &options, &[0; 8]].concat();
            upper(&packet(DESTINATION_OPTIONS, &header)).unwrap().refused
        };
        let option = |kind| refused([1, 1, 0, 0, 0, kind, 3, 9, 9, 9, 1, 2, 0, 0]);
        assert_eq!(refused([0; 14]), None);
        for number in 1..=0x3f {
            assert_eq!(option(number), None, "{number}: skip");
            let at = HEADER + 2 + 5;
            assert_eq!(option(0x40 | number), Some(Refused { at, is_told: false }));
            assert_eq!(option(0x80 | number), Some(Refused { at, is_told: true }));
            assert_eq!(option(0xc0 | number), Some(Refused { at, is_told: true }));
        }
        // The first counts, and so does what does not fit its header.
        let first = refused([0x41, 0, 0x81, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(first, Some(Refused { at: HEADER + 2, is_told: false }));
        let cut = Some(Refused { at: HEADER + 2 + 12, is_told: false });
        assert_eq!(refused([1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]), cut);
        assert_eq!(refused([1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), None);
        let alone = refused([1, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(alone, Some(Refused { at: HEADER + 2 + 13, is_told: false }));
        // Options on the way are none of the destination's business.
        let on_the_way = packet(HOP_BY_HOP, &[&[UDP, 0, 0x41, 4][..], &[0; 12]].concat());
        assert_eq!(upper(&on_the_way).unwrap().refused, None);
    }

    #[test]
    fn the_protocol_is_found_behind_extension_headers() {
        assert_eq!(
            upper(&packet(UDP, &[0; 8])),
            Ok(Upper {
                protocol: UDP,
                named_at: 6,
                offset: 40,
                is_fragment: false,
                is_later_fragment: false,
                refused: None
            })
        );
        // Hop-by-hop options of 8 bytes, destination options of 16, UDP.
        let mut chain = vec![DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0, UDP, 1, 1, 12];
        chain.resize(8 + 16, 0);
        chain.extend([0; 8]);
        let found = upper(&packet(HOP_BY_HOP, &chain)).unwrap();
        assert_eq!((found.protocol, found.named_at, found.offset), (UDP, 48, 64));
    }

    #[test]
    fn first_middle_and_last_pieces_are_fragments_and_a_whole_packet_is_none() {
        for (word, fragment, later) in [
            (0x0000u16, false, false), // atomic
            (0x0006, false, false),    // reserved bits say nothing
            (0x0001, true, false),
            (0x0009, true, true),
            (0x0010, true, true),
        ] {
            let [high, low] = word.to_be_bytes();
            let bytes = packet(FRAGMENT, &[UDP, 0, high, low, 0, 0, 0, 7, 1, 2, 3, 4]);
            let found = upper(&bytes).unwrap();
            assert_eq!((found.is_fragment, found.is_later_fragment), (fragment, later), "{word:#06x}");
            assert_eq!((found.protocol, found.offset), (UDP, 48));
        }
        // What follows in a later piece is not a header, whatever it is called.
        let later = packet(FRAGMENT, &[ROUTING, 0, 0, 0x10, 0, 0, 0, 7]);
        assert_eq!(upper(&later).unwrap().protocol, ROUTING);
    }

    #[test]
    fn a_chain_cut_short_or_without_end_is_refused() {
        let whole = packet(DESTINATION_OPTIONS, &[UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for cut in 0..16 {
            assert_eq!(upper(&packet(DESTINATION_OPTIONS, &whole[40..40 + cut])), Err(Malformed::Truncated));
        }
        assert!(upper(&whole).is_ok());
        let endless: Vec<u8> = [DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0].repeat(100);
        assert_eq!(upper(&packet(DESTINATION_OPTIONS, &endless)), Err(Malformed::Extensions));
    }

    #[test]
    fn only_fe80_is_link_local() {
        for (address, expected) in
            [("fe80::1", true), ("febf::1", true), ("fec0::1", false), ("fd00::1", false)]
        {
            assert_eq!(is_link_local(&address.parse().unwrap()), expected, "{address}");
        }
    }

    fn read(view: &Ipv6<'_>) -> Header {
        Header {
            traffic_class: view.traffic_class(),
            flow_label: view.flow_label(),
            next_header: view.next_header(),
            hop_limit: view.hop_limit(),
            source: view.source(),
            destination: view.destination(),
            payload_len: view.payload().len() as u16,
        }
    }

    proptest! {
        #[test]
        fn a_written_header_reads_back_and_etherparse_writes_the_same(header in headers()) {
            let mut packet = vec![0; HEADER + usize::from(header.payload_len)];
            header.write(packet.first_chunk_mut().unwrap());
            prop_assert_eq!(read(&Ipv6::parse(&packet).unwrap()), header);

            let theirs = etherparse::Ipv6Header {
                traffic_class: header.traffic_class,
                flow_label: Ipv6FlowLabel::try_new(header.flow_label).unwrap(),
                payload_length: header.payload_len,
                next_header: IpNumber(header.next_header),
                hop_limit: header.hop_limit,
                source: header.source.octets(),
                destination: header.destination.octets(),
            };
            prop_assert_eq!(&packet[..HEADER], &theirs.to_bytes()[..]);
        }

        #[test]
        fn etherparse_accepts_the_same_bytes_and_reads_the_same_fields(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120), shape in proptest::option::of(0u8..90),
        ) {
            if let (Some(length), Some(start)) = (shape, bytes.first_chunk_mut::<6>()) {
                start[0] = VERSION << 4 | start[0] & 0x0f;
                start[4..].copy_from_slice(&[0, length]);
            }
            let theirs = Ipv6HeaderSlice::from_slice(&bytes).ok()
                .filter(|header| HEADER + usize::from(header.payload_length()) <= bytes.len());
            let ours = Ipv6::parse(&bytes);
            prop_assert_eq!(ours.is_ok(), theirs.is_some());
            if let (Ok(ours), Some(theirs)) = (ours, theirs) {
                prop_assert_eq!(ours.traffic_class(), theirs.traffic_class());
                prop_assert_eq!(ours.flow_label(), theirs.flow_label().value());
                prop_assert_eq!(ours.next_header(), theirs.next_header().0);
                prop_assert_eq!(ours.hop_limit(), theirs.hop_limit());
                prop_assert_eq!(ours.source(), theirs.source_addr());
                prop_assert_eq!(ours.destination(), theirs.destination_addr());
                prop_assert_eq!(ours.payload().len(), usize::from(theirs.payload_length()));
                let _ = ours.upper();
            }
        }

        #[test]
        fn etherparse_finds_the_same_protocol_behind_a_chain(
            // At most one of each and in the recommended order, which is all that etherparse follows.
            lengths in proptest::array::uniform3(proptest::option::of(0u8..4)),
            fragment in proptest::option::of(any::<(u16, bool)>()),
            tail in proptest::collection::vec(any::<u8>(), 0..40),
            cut in 0usize..200,
        ) {
            let mut headers: Vec<(u8, Vec<u8>)> = Vec::new();
            for (kind, length) in [HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING].into_iter().zip(lengths) {
                let body = |length: u8| [&[0, length][..], &vec![0; 6 + 8 * usize::from(length)]].concat();
                headers.extend(length.map(|length| (kind, body(length))));
            }
            if let Some((offset, more)) = fragment {
                let [high, low] = (offset & !7 | u16::from(more)).to_be_bytes();
                headers.push((FRAGMENT, vec![0, 0, high, low, 1, 2, 3, 4]));
            }
            let mut payload = Vec::new();
            for (at, (_, header)) in headers.iter().enumerate() {
                let next = headers.get(at + 1).map_or(UDP, |(kind, _)| *kind);
                payload.push(next);
                payload.extend(&header[1..]);
            }
            payload.extend(&tail);
            payload.truncate(cut);
            let first = headers.first().map_or(UDP, |(kind, _)| *kind);
            let bytes = packet(first, &payload);
            let ours = upper(&bytes);
            let theirs = Ipv6ExtensionsSlice::from_slice(IpNumber(first), &payload);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
            if let (Ok(ours), Ok((extensions, protocol, rest))) = (ours, theirs) {
                prop_assert_eq!(ours.protocol, protocol.0);
                prop_assert_eq!(&bytes[ours.offset..], rest);
                prop_assert_eq!(ours.is_fragment, extensions.is_fragmenting_payload());
            }
        }
    }
}
