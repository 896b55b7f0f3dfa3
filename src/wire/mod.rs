// SPDX-License-Identifier: Apache-2.0
//! Bytes on the wire: typed views and builders, one file per protocol.
//!
//! ```text
//!  frame   ┌────────────┬──────────────────┬───────────────────────────────┐
//!          │ ethernet   │ ipv4, ipv6 │ arp │ udp │ icmp, nd, mld      │ esp│
//!          └────────────┴──────────────────┴───────────────────────────────┘
//!            parse ──► payload() ────► parse ──► payload() ──► parse
//! ```
//!
//! Every protocol `X` has two halves. `X::parse` is the only check: it looks at every length the
//! protocol carries and returns a view that borrows the bytes; after it no accessor can fail or
//! panic. `Header` is the same header as plain values; its `write` fills an array of exactly the
//! header's size, so a caller cannot hand over too little room.
//!
//! Limits: nothing here allocates, reads a clock or keeps state, and nothing judges policy. `parse`
//! does not verify checksums, because a gateway that forwards a packet and a gateway that answers it
//! need different ones: ask `checksum_ok`. Neighbour and listener discovery are the exceptions, because their checks
//! are one list. IPv4 options and IPv6 extension headers are carried, never acted on. VLAN tags are an Ethernet
//! type like any other.

use std::fmt;
use std::str::FromStr;

pub mod arp;
pub mod checksum;
pub mod class;
pub mod envelope;
pub mod esp;
pub mod ethernet;
pub mod fragment;
pub mod icmp;
pub mod icmpv4;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod mld;
pub mod nd;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod udp;

/// Why bytes are not the header they were taken for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Malformed {
    #[error("cut short: the header, or the length it announces, goes beyond the bytes received")]
    Truncated,
    #[error("the version field names another protocol")]
    Version,
    #[error("the header length field is below the protocol's minimum")]
    HeaderLength,
    #[error("the length field does not even cover the header")]
    TotalLength,
    #[error("the addresses are not those of IPv4 over Ethernet")]
    AddressFormat,
    #[error("the padding is longer than the packet it ends")]
    Padding,
    #[error("more extension headers than anyone has a use for")]
    Extensions,
    #[error("the hop limit is not 255, so the message may come from beyond the link")]
    HopLimit,
    #[error("the checksum is wrong")]
    Checksum,
    #[error("a field has a value that this message must not have")]
    Message,
}

/// An Ethernet (EUI-48) address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Mac(pub [u8; 6]);

/// A text that is not a MAC address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a MAC address: write six pairs of hexadecimal digits with colons, such as 02:00:00:00:00:01")]
pub struct InvalidMac;

impl Mac {
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    pub const ZERO: Mac = Mac([0; 6]);

    /// The group bit; the broadcast address has it too.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    #[inline]
    pub const fn is_broadcast(self) -> bool {
        matches!(self.0, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Mac, InvalidMac> {
        let mut octets = [0; 6];
        let mut groups = text.split(':');
        for octet in &mut octets {
            let &[high, low] = groups.next().ok_or(InvalidMac)?.as_bytes() else {
                return Err(InvalidMac);
            };
            *octet = hex_digit(high)? << 4 | hex_digit(low)?;
        }
        if groups.next().is_some() { Err(InvalidMac) } else { Ok(Mac(octets)) }
    }
}

fn hex_digit(digit: u8) -> Result<u8, InvalidMac> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(InvalidMac),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mac_address_reads_either_case_and_prints_lower() {
        let mac: Mac = "0A:bC:00:ff:10:9f".parse().unwrap();
        assert_eq!(mac, Mac([0x0a, 0xbc, 0x00, 0xff, 0x10, 0x9f]));
        assert_eq!(mac.to_string(), "0a:bc:00:ff:10:9f");
    }

    #[test]
    fn what_is_not_quite_a_mac_address_is_refused() {
        for text in [
            "",
            ":",
            "0a:bc:00:ff:10",
            "0a:bc:00:ff:10:9f:",
            "0a:bc:00:ff:10:9f:00",
            "0a-bc-00-ff-10-9f",
            "0abc00ff109f",
            "a:bc:00:ff:10:9f",
            "0a:bc:00:ff:10:9g",
            "+a:bc:00:ff:10:9f",
            " 0a:bc:00:ff:10:9f",
            "0a:bc:00:ff:10:é",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(InvalidMac), "{text:?}");
        }
    }

    #[test]
    fn the_group_bit_tells_multicast_and_broadcast_from_unicast() {
        assert!(Mac::BROADCAST.is_multicast() && Mac::BROADCAST.is_broadcast());
        let group = Mac([0x33, 0x33, 0, 0, 0, 1]);
        assert!(group.is_multicast() && !group.is_broadcast());
        let single = Mac([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert!(!single.is_multicast() && !single.is_broadcast());
    }

    proptest! {
        #[test]
        fn every_mac_address_survives_text(octets: [u8; 6]) {
            prop_assert_eq!(Mac(octets).to_string().parse::<Mac>(), Ok(Mac(octets)));
        }

        #[test]
        fn any_text_parses_or_is_refused_without_panic(text in "\\PC{0,24}") {
            if let Ok(mac) = text.parse::<Mac>() {
                prop_assert_eq!(mac.to_string(), text.to_lowercase());
            }
        }
    }
}
