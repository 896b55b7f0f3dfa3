// SPDX-License-Identifier: Apache-2.0
//! Where the fields of a frame are: an Ethernet header, then an IP header without options or extension headers.

use std::ops::Range;
use vita::wire::checksum;

/// Fields of the Ethernet header.
pub const SOURCE_MAC: Range<usize> = 6..12;
pub const ETHERTYPE: Range<usize> = 12..14;
/// The IP packet begins.
pub const IP: usize = 14;

/// Fields of an IPv4 packet.
pub mod v4 {
    use super::Range;

    pub const VERSION: usize = 14;
    pub const TOS: usize = 15;
    pub const TOTAL_LENGTH: Range<usize> = 16..18;
    /// Flags and the higher bits of the offset.
    pub const FRAGMENT: usize = 20;
    pub const TTL: usize = 22;
    pub const PROTOCOL: usize = 23;
    pub const CHECKSUM: Range<usize> = 24..26;
    pub const SOURCE: Range<usize> = 26..30;
    pub const DESTINATION: Range<usize> = 30..34;
    pub const HEADER: Range<usize> = 14..34;
    pub const PAYLOAD: usize = 34;
    /// As an ICMP error quotes it: the header and eight bytes (RFC 792).
    pub const QUOTED: Range<usize> = 14..42;
    pub const ICMP_TYPE_AND_CODE: Range<usize> = 34..36;
    pub const ESP_SPI: Range<usize> = 34..38;
    pub const ESP_SEQUENCE: Range<usize> = 38..42;
}

/// Fields of an IPv6 packet.
pub mod v6 {
    use super::Range;

    pub const PAYLOAD_LENGTH: Range<usize> = 18..20;
}

/// Makes the checksum of an IPv4 header right again.
pub fn refresh_checksum(frame: &mut [u8]) {
    frame[v4::CHECKSUM].fill(0);
    let sum = checksum::internet(&frame[v4::HEADER]);
    frame[v4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}
