// SPDX-License-Identifier: Apache-2.0
//! Address resolution for IPv4 over Ethernet (RFC 826), the only kind this gateway speaks.

use super::{Mac, Malformed, ethernet};
use std::net::Ipv4Addr;

/// A message that is complete and maps IPv4 to Ethernet addresses.
#[derive(Clone, Copy, Debug)]
pub struct Arp<'a> {
    message: &'a [u8; MESSAGE],
}

impl<'a> Arp<'a> {
    /// Bytes beyond the message are padding of the frame and ignored.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Arp<'a>, Malformed> {
        let message = bytes.first_chunk::<MESSAGE>().ok_or(Malformed::Truncated)?;
        // RFC 826 "Packet Reception": go on only if both address spaces, and optionally their lengths, are ours.
        if message.first_chunk() != Some(&ADDRESS_FORMAT) {
            return Err(Malformed::AddressFormat);
        }
        Ok(Arp { message })
    }

    #[inline]
    pub fn operation(&self) -> u16 {
        u16::from_be_bytes([self.message[6], self.message[7]])
    }

    #[inline]
    pub fn sender_mac(&self) -> Mac {
        let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.message;
        Mac([a, b, c, d, e, f])
    }

    #[inline]
    pub fn sender_ip(&self) -> Ipv4Addr {
        let [.., a, b, c, d, _, _, _, _, _, _, _, _, _, _] = *self.message;
        Ipv4Addr::new(a, b, c, d)
    }

    #[inline]
    pub fn target_mac(&self) -> Mac {
        let [.., a, b, c, d, e, f, _, _, _, _] = *self.message;
        Mac([a, b, c, d, e, f])
    }

    #[inline]
    pub fn target_ip(&self) -> Ipv4Addr {
        let [.., a, b, c, d] = *self.message;
        Ipv4Addr::new(a, b, c, d)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub operation: u16,
    pub sender_mac: Mac,
    pub sender_ip: Ipv4Addr,
    pub target_mac: Mac,
    pub target_ip: Ipv4Addr,
}

impl Header {
    #[inline]
    pub fn write(&self, out: &mut [u8; MESSAGE]) {
        out[..6].copy_from_slice(&ADDRESS_FORMAT);
        out[6..8].copy_from_slice(&self.operation.to_be_bytes());
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(&self.sender_ip.octets());
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..].copy_from_slice(&self.target_ip.octets());
    }
}

pub const MESSAGE: usize = 28;
pub const REQUEST: u16 = 1;
pub const REPLY: u16 = 2;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const ADDRESS_FORMAT: [u8; 6] = {
    let [high, low] = ethernet::ETHERTYPE_IPV4.to_be_bytes();
    [0, 1, high, low, 6, 4]
};

#[cfg(test)]
mod tests {
    use super::super::testing::needs_exactly;
    use super::*;
    use etherparse::{ArpEthIpv4Packet, ArpOperation, ArpPacketSlice};
    use proptest::prelude::*;

    const SAMPLE: Header = Header {
        operation: REQUEST,
        sender_mac: Mac([2, 0, 0, 0, 0, 1]),
        sender_ip: Ipv4Addr::new(10, 0, 0, 1),
        target_mac: Mac::ZERO,
        target_ip: Ipv4Addr::new(10, 0, 0, 2),
    };

    #[test]
    fn a_message_cut_anywhere_is_refused_and_frame_padding_is_ignored() {
        let mut padded = [0; 46];
        SAMPLE.write(padded.first_chunk_mut().unwrap());
        needs_exactly(MESSAGE, &padded, Arp::parse);
    }

    #[test]
    fn other_hardware_protocols_or_address_lengths_are_refused() {
        let mut bytes = [0; MESSAGE];
        SAMPLE.write(&mut bytes);
        for at in 0..6 {
            for bit in 0..8 {
                let mut wrong = bytes;
                wrong[at] ^= 1 << bit;
                assert_eq!(Arp::parse(&wrong).err(), Some(Malformed::AddressFormat), "byte {at} bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_written_message_reads_back_and_etherparse_agrees(
            operation: u16, sender_mac: [u8; 6], sender_ip: [u8; 4], target_mac: [u8; 6], target_ip: [u8; 4],
        ) {
            let header = Header {
                operation,
                sender_mac: Mac(sender_mac),
                sender_ip: sender_ip.into(),
                target_mac: Mac(target_mac),
                target_ip: target_ip.into(),
            };
            let mut bytes = [0; MESSAGE];
            header.write(&mut bytes);

            let view = Arp::parse(&bytes).unwrap();
            let read = Header {
                operation: view.operation(),
                sender_mac: view.sender_mac(),
                sender_ip: view.sender_ip(),
                target_mac: view.target_mac(),
                target_ip: view.target_ip(),
            };
            prop_assert_eq!(read, header);

            let theirs = ArpEthIpv4Packet {
                operation: ArpOperation(operation),
                sender_mac, sender_ipv4: sender_ip, target_mac, target_ipv4: target_ip,
            };
            prop_assert_eq!(bytes, theirs.to_bytes());
            let slice = ArpPacketSlice::from_slice(&bytes).unwrap();
            prop_assert_eq!(slice.target_protocol_addr(), &target_ip);
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), ours: bool) {
            if let (true, Some(format)) = (ours, bytes.first_chunk_mut()) {
                *format = ADDRESS_FORMAT;
            }
            if let Ok(view) = Arp::parse(&bytes) {
                let _ = (view.operation(), view.sender_mac(), view.target_mac());
                let _ = (view.sender_ip(), view.target_ip());
            }
        }
    }
}
