// SPDX-License-Identifier: Apache-2.0
//! The traffic class (in IPv4: type of service): six bits of DSCP (RFC 2474) and two of ECN (RFC 3168), and what becomes of
//! both at the ends of a tunnel.
//!
//! ```text
//!   inner ──► Marking::outer ──► outer header ~~~ routers ~~~► outer header ──► decapsulated ──► inner
//! ```
//!
//! What routers did to the outer header is not authenticated: whoever is on the path can say anything there. RFC 6040 lets
//! through what cannot do more harm than dropping the packet would; the DSCP never comes inside (RFC 2983, pipe model).

use super::ip::Family;
use super::{ipv4, ipv6};
use std::fmt;
use std::str::FromStr;

/// Which DSCP the outer header of a tunnel has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Dscp {
    /// Always 0: the path does not learn which packets are important.
    #[default]
    None,
    /// That of the inner packet.
    Copy,
    /// Always this one, below 64.
    Fixed(u8),
}

/// How the class of an outer header follows from that of the inner packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marking {
    keep: u8,
    set: u8,
}

impl Marking {
    /// RFC 6040 section 4.1: in normal mode the ECN field is copied; in compatibility mode, without `ecn`, it is Not-ECT.
    pub const fn new(dscp: Dscp, ecn: bool) -> Marking {
        let ecn = if ecn { ECN } else { 0 };
        match dscp {
            Dscp::None => Marking { keep: ecn, set: 0 },
            Dscp::Copy => Marking { keep: DSCP | ecn, set: 0 },
            Dscp::Fixed(dscp) => Marking { keep: ecn, set: dscp << 2 },
        }
    }

    /// The class to send a packet of this class in.
    #[inline]
    pub const fn outer(self, inner: u8) -> u8 {
        inner & self.keep | self.set
    }
}

/// The class of a packet, of either version; 0 if it is none.
#[inline]
pub fn of(packet: &[u8]) -> u8 {
    with_family(packet).map_or(0, |(_, class)| class)
}

/// The version of a packet, and its class.
#[inline]
pub fn with_family(packet: &[u8]) -> Option<(Family, u8)> {
    let [first, second, ..] = packet else { return None };
    let family = Family::of_packet(packet)?;
    Some((family, if family == Family::V4 { *second } else { first << 4 | second >> 4 }))
}

/// What becomes of the inner packet's ECN field when the outer header, of this class, is taken off.
#[inline]
pub fn decapsulated(inner: u8, outer: u8) -> Option<u8> {
    // An outer ECT(0) or Not-ECT changes nothing, whatever is inside.
    if outer & ECT_1 == 0 {
        return Some(inner);
    }
    //= RFC 6040 section 4.2, figure 4.
    let ecn = match (inner & ECN, outer & ECN) {
        (NOT_ECT, CE) => return None,
        (ECT_0, ECT_1) => ECT_1,
        (ECT_0 | ECT_1, CE) => CE,
        (unchanged, _) => unchanged,
    };
    Some(inner & DSCP | ecn)
}

/// Gives a packet another class. What is no packet stays as it is.
pub fn set(packet: &mut [u8], class: u8) {
    match Family::of_packet(packet) {
        Some(Family::V4) => packet.first_chunk_mut().map(|header| ipv4::set_tos(header, class)),
        Some(Family::V6) => packet.first_chunk_mut().map(|header| ipv6::set_traffic_class(header, class)),
        None => None,
    };
}

impl Default for Marking {
    fn default() -> Marking {
        Marking::new(Dscp::None, true)
    }
}

impl FromStr for Dscp {
    type Err = NotADscp;

    fn from_str(text: &str) -> Result<Dscp, NotADscp> {
        match text {
            "none" => Ok(Dscp::None),
            "copy" => Ok(Dscp::Copy),
            number => number.parse().ok().filter(|dscp| *dscp <= DSCP >> 2).map(Dscp::Fixed).ok_or(NotADscp),
        }
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dscp::None => f.write_str("none"),
            Dscp::Copy => f.write_str("copy"),
            Dscp::Fixed(dscp) => dscp.fmt(f),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a rule for the DSCP: expected none, copy, or a number from 0 to 63")]
pub struct NotADscp;

const DSCP: u8 = 0xfc;
const ECN: u8 = 0x03;
/// The four values of the ECN field (RFC 3168 section 5).
const NOT_ECT: u8 = 0b00;
const ECT_0: u8 = 0b10;
const ECT_1: u8 = 0b01;
const CE: u8 = 0b11;

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    #[test]
    fn decapsulation_is_figure_4_of_rfc_6040() {
        let columns = [NOT_ECT, ECT_0, ECT_1, CE];
        for (inner, row) in [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ] {
            for (outer, expected) in columns.into_iter().zip(row) {
                assert_eq!(decapsulated(inner, outer), expected, "inner {inner:02b}, outer {outer:02b}");
                // Neither DSCP has a part in it, and the inner one stays.
                let marked = decapsulated(0xb8 | inner, 0x28 | outer);
                assert_eq!(marked, expected.map(|ecn| 0xb8 | ecn));
            }
        }
    }

    #[test]
    fn the_outer_class_has_the_inner_ecn_and_the_dscp_that_is_configured() {
        for ecn in 0..4 {
            for (copied, outer) in [(true, ecn), (false, NOT_ECT)] {
                assert_eq!(Marking::new(Dscp::None, copied).outer(0xb8 | ecn), outer);
                assert_eq!(Marking::new(Dscp::Copy, copied).outer(0xb8 | ecn), 0xb8 | outer);
                assert_eq!(Marking::new(Dscp::Fixed(46), copied).outer(0x28 | ecn), 46 << 2 | outer);
            }
        }
        assert_eq!(Marking::default(), Marking::new(Dscp::None, true));
    }

    #[test]
    fn rules_for_the_dscp_read_back_as_they_are_written() {
        for rule in [Dscp::None, Dscp::Copy, Dscp::Fixed(0), Dscp::Fixed(63)] {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        for other in ["", "64", "-1", "Copy", "256"] {
            assert_eq!(other.parse::<Dscp>(), Err(NotADscp), "{other}");
        }
    }

    #[test]
    fn what_is_no_packet_stays_as_it_is() {
        for bytes in [&[][..], &[0x45], &[0x45, 2, 0], &[0x60, 0x20], &[0x10; 60]] {
            let mut packet = bytes.to_vec();
            set(&mut packet, CE);
            assert_eq!(packet, bytes);
        }
    }

    proptest! {
        #[test]
        fn a_packet_keeps_all_but_its_class_and_its_checksum_fits(class: u8, outer: u8, six: bool) {
            let mut packet = Vec::new();
            if six {
                let header = etherparse::Ipv6Header { traffic_class: class, hop_limit: 9, ..Default::default() };
                PacketBuilder::ip(etherparse::IpHeaders::Ipv6(header, Default::default()))
                    .udp(1, 2).write(&mut packet, b"data").unwrap();
            } else {
                PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9).udp(1, 2).write(&mut packet, b"data").unwrap();
                ipv4::set_tos(packet.first_chunk_mut().unwrap(), class);
            }
            prop_assert_eq!(of(&packet), class);
            let before = packet.clone();
            set(&mut packet, outer);
            prop_assert_eq!(of(&packet), outer);
            if six {
                prop_assert_eq!(packet[0] >> 4, 6);
                prop_assert_eq!(packet[1] & 0x0f, before[1] & 0x0f);
                prop_assert_eq!(&packet[2..], &before[2..]);
            } else {
                prop_assert!(crate::wire::ipv4::Ipv4::parse(&packet).unwrap().checksum_ok());
                prop_assert_eq!(&packet[2..10], &before[2..10]);
                prop_assert_eq!(&packet[12..], &before[12..]);
            }
        }
    }
}
