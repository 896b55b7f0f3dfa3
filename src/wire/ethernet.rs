// SPDX-License-Identifier: Apache-2.0
//! Ethernet II frames, without preamble and check sequence: what a network device hands over.

use super::{Mac, Malformed};

/// A frame whose header is complete.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a> {
    header: &'a [u8; HEADER],
    payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Ethernet<'a>, Malformed> {
        let (header, payload) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Ethernet { header, payload })
    }

    #[inline]
    pub fn destination(&self) -> Mac {
        let [a, b, c, d, e, f, ..] = *self.header;
        Mac([a, b, c, d, e, f])
    }

    /// Whether this is the destination, found out with one comparison.
    #[inline(always)]
    pub fn is_to(&self, mac: Mac) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *self.header;
        let Mac([i, j, k, l, m, n]) = mac;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) << 16 == u64::from_le_bytes([0, 0, i, j, k, l, m, n])
    }

    #[inline]
    pub fn source(&self) -> Mac {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.header;
        Mac([a, b, c, d, e, f])
    }

    #[inline]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.header[12], self.header[13]])
    }

    /// All that follows the header, padding of short frames included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub destination: Mac,
    pub source: Mac,
    pub ethertype: u16,
}

impl Header {
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER]) {
        out[..6].copy_from_slice(&self.destination.0);
        out[6..12].copy_from_slice(&self.source.0);
        out[12..].copy_from_slice(&self.ethertype.to_be_bytes());
    }
}

pub const HEADER: usize = 14;
pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_VLAN: u16 = 0x8100;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

#[cfg(test)]
mod tests {
    use super::super::testing::needs_exactly;
    use super::*;
    use etherparse::{EtherType, Ethernet2Header};
    use proptest::prelude::*;

    const SAMPLE: Header = Header {
        destination: Mac([2, 0, 0, 0, 0, 1]),
        source: Mac([0x3a, 0xbb, 10, 20, 0, 1]),
        ethertype: ETHERTYPE_ARP,
    };

    #[test]
    fn a_frame_shorter_than_its_header_is_refused_at_every_length() {
        let mut frame = [0; 60];
        SAMPLE.write(frame.first_chunk_mut().unwrap());
        needs_exactly(HEADER, &frame, Ethernet::parse);
    }

    #[test]
    fn the_payload_is_all_that_follows_and_may_be_empty() {
        let mut frame = [0; 17];
        SAMPLE.write(frame.first_chunk_mut().unwrap());
        frame[14..].copy_from_slice(b"end");
        assert_eq!(Ethernet::parse(&frame).unwrap().payload(), b"end");
        assert_eq!(Ethernet::parse(&frame[..HEADER]).unwrap().payload(), b"");
    }

    proptest! {
        #[test]
        fn a_written_header_reads_back(destination: [u8; 6], source: [u8; 6], ethertype: u16) {
            let header = Header { destination: Mac(destination), source: Mac(source), ethertype };
            let mut bytes = [0; HEADER];
            header.write(&mut bytes);
            let view = Ethernet::parse(&bytes).unwrap();
            let read = Header {
                destination: view.destination(), source: view.source(), ethertype: view.ethertype(),
            };
            prop_assert_eq!(read, header);
        }

        #[test]
        fn etherparse_writes_the_same_bytes(destination: [u8; 6], source: [u8; 6], ethertype: u16) {
            let mut ours = [0; HEADER];
            Header { destination: Mac(destination), source: Mac(source), ethertype }.write(&mut ours);
            let theirs = Ethernet2Header { source, destination, ether_type: EtherType(ethertype) };
            prop_assert_eq!(ours, theirs.to_bytes());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(view) = Ethernet::parse(&bytes) {
                let _ = (view.destination(), view.source(), view.ethertype());
                prop_assert_eq!(view.payload().len(), bytes.len() - HEADER);
            }
        }
    }
}
