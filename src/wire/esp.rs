// SPDX-License-Identifier: Apache-2.0
//! ESP packets (RFC 4303) as the AEADs with an eight-byte IV shape them (RFC 4106, RFC 7634).
//!
//! ```text
//!  │ SPI │ sequence low │ IV │ inner packet │ padding │ pad length │ next header │ ICV │
//!  │  4  │      4       │ 8  │              │  0..255 │     1      │      1      │ 16  │
//!   ╰───── Header ────────╯   ╰──────────── encrypted ────────────────────────╯
//!                                            ╰────────── Trailer ────────────╯
//! ```
//!
//! Nothing here knows a key: the trailer is read from, and written to, plaintext.

use super::Malformed;

/// A packet long enough to hold header, an empty payload with its trailer, and ICV.
#[derive(Clone, Copy, Debug)]
pub struct Esp<'a> {
    header: &'a [u8; HEADER],
    sealed: &'a [u8],
}

impl<'a> Esp<'a> {
    /// Takes the payload of an IP packet.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Esp<'a>, Malformed> {
        let (header, sealed) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
        if sealed.len() < TRAILER + ICV {
            return Err(Malformed::Truncated);
        }
        Ok(Esp { header, sealed })
    }

    #[inline]
    pub fn spi(&self) -> u32 {
        let [a, b, c, d, ..] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The low half of the extended sequence number; the high half is not sent.
    #[inline]
    pub fn sequence_low(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    #[inline]
    pub fn iv(&self) -> [u8; 8] {
        let [.., a, b, c, d, e, f, g, h] = *self.header;
        [a, b, c, d, e, f, g, h]
    }

    /// Ciphertext and ICV: what the AEAD opens.
    #[inline]
    pub fn sealed(&self) -> &'a [u8] {
        self.sealed
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub spi: u32,
    pub sequence_low: u32,
    pub iv: [u8; 8],
}

impl Header {
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER]) {
        out[..4].copy_from_slice(&self.spi.to_be_bytes());
        out[4..8].copy_from_slice(&self.sequence_low.to_be_bytes());
        out[8..].copy_from_slice(&self.iv);
    }
}

/// Padding, pad length and next header: the end of the plaintext.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    pub pad_length: u8,
    pub next_header: u8,
}

impl Trailer {
    /// The shortest trailer that ends an inner packet of this length on a four-byte boundary
    /// (RFC 4303 section 2.4).
    #[inline]
    pub const fn after(inner_len: usize, next_header: u8) -> Trailer {
        let pad_length = inner_len.wrapping_add(TRAILER).wrapping_neg() % ALIGNMENT;
        Trailer { pad_length: pad_length as u8, next_header }
    }

    /// In bytes, padding included.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // it never is
    pub const fn len(&self) -> usize {
        self.pad_length as usize + TRAILER
    }

    /// A trailer as [`Trailer::after`] makes it, and zeros behind it.
    #[inline]
    pub const fn shortest(&self) -> [u8; 8] {
        let bits = self.pad_length as u64 % ALIGNMENT as u64 * 8;
        let padding = 0x03_02_01 & ((1 << bits) - 1);
        let end = (self.next_header as u64) << 8 | self.pad_length as u64;
        (padding | end << bits).to_le_bytes()
    }

    /// Fills the end of `plaintext`, which has room for it behind the inner packet; false, and nothing
    /// written, if it has not.
    #[inline]
    pub fn write(&self, plaintext: &mut [u8]) -> bool {
        let Some((rest, [pad_length, next_header])) = plaintext.split_last_chunk_mut() else { return false };
        let Some(start) = rest.len().checked_sub(usize::from(self.pad_length)) else { return false };
        let Some(padding) = rest.get_mut(start..) else { return false };
        // RFC 4303 section 2.4: "the first padding byte ... is numbered 1, with subsequent padding bytes
        // making up a monotonically increasing sequence".
        for (byte, number) in padding.iter_mut().zip(1..=u8::MAX) {
            *byte = number;
        }
        *pad_length = self.pad_length;
        *next_header = self.next_header;
        true
    }

    /// Splits decrypted bytes into the inner packet and the trailer that ended it.
    ///
    /// The padding's contents are not looked at: deployed gateways send zeros.
    #[inline]
    pub fn split(plaintext: &[u8]) -> Result<(&[u8], Trailer), Malformed> {
        let (rest, &[pad_length, next_header]) = plaintext.split_last_chunk().ok_or(Malformed::Truncated)?;
        let inner_len = rest.len().checked_sub(usize::from(pad_length)).ok_or(Malformed::Padding)?;
        let inner = rest.get(..inner_len).ok_or(Malformed::Padding)?;
        Ok((inner, Trailer { pad_length, next_header }))
    }
}

/// SPI, sequence number and IV.
pub const HEADER: usize = 16;
/// Pad length and next header, without the padding before them.
pub const TRAILER: usize = 2;
pub const ICV: usize = 16;
/// The next header of what is sent only to be thrown away (RFC 4303 section 2.6).
pub const DUMMY: u8 = 59;

const ALIGNMENT: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::ip::Ip;
    use super::super::ipv4::{PROTOCOL_ESP, PROTOCOL_IPIP};
    use super::super::testing::{DeployedPacket, deployed_packets, needs_exactly};
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn a_packet_without_room_for_header_trailer_and_icv_is_refused_at_every_length() {
        needs_exactly(HEADER + TRAILER + ICV, &[0; 60], Esp::parse);
    }

    #[test]
    fn packets_of_deployed_gateways_have_the_sizes_we_compute() {
        for DeployedPacket { spi, sequence, next_header, outer, inner } in deployed_packets() {
            // Etherparse stops at ESP, so what it says is where the packet begins.
            let slices = etherparse::SlicedPacket::from_ip(&outer).unwrap();
            let payload = slices.net.unwrap();
            let payload = payload.ip_payload_ref().unwrap();
            assert_eq!(payload.ip_number.0, PROTOCOL_ESP);
            let (protocol, offset) = Ip::parse(&outer).unwrap().upper().unwrap();
            assert_eq!((protocol, &outer[offset..]), (PROTOCOL_ESP, payload.payload));

            let view = Esp::parse(payload.payload).unwrap();
            assert_eq!(view.spi(), spi);
            assert_eq!(view.sequence_low(), sequence as u32);
            assert_eq!(u64::from_le_bytes(view.iv()), sequence);
            let trailer = Trailer::after(inner.len(), next_header);
            assert_eq!(view.sealed().len(), inner.len() + trailer.len() + ICV);
        }
    }

    #[test]
    fn the_shortest_trailer_ends_on_a_four_byte_boundary() {
        for inner_len in 0..100 {
            let trailer = Trailer::after(inner_len, PROTOCOL_IPIP);
            assert!(trailer.pad_length < 4);
            assert_eq!((inner_len + trailer.len()) % 4, 0, "inner length {inner_len}");
        }
        assert!(Trailer::after(usize::MAX, 0).pad_length < 4);
    }

    #[test]
    fn padding_counts_up_from_one() {
        let mut plaintext = *b"innerxxxxx";
        assert!(Trailer { pad_length: 3, next_header: 4 }.write(&mut plaintext));
        assert_eq!(&plaintext, b"inner\x01\x02\x03\x03\x04");
    }

    #[test]
    fn the_longest_padding_is_written_and_read() {
        let mut plaintext = [0; 257];
        let longest = Trailer { pad_length: 255, next_header: 41 };
        assert!(longest.write(&mut plaintext));
        assert_eq!(plaintext[254..], [255, 255, 41]);
        assert_eq!(Trailer::split(&plaintext), Ok((&[][..], longest)));
    }

    #[test]
    fn a_trailer_without_room_is_not_written() {
        let trailer = Trailer { pad_length: 2, next_header: 4 };
        for length in 0..trailer.len() {
            let mut plaintext = vec![0xaa; length];
            assert!(!trailer.write(&mut plaintext));
            assert_eq!(plaintext, vec![0xaa; length]);
        }
    }

    #[test]
    fn padding_of_zeros_as_deployed_gateways_send_it_is_accepted() {
        let (inner, trailer) = Trailer::split(b"inner\0\0\0\x03\x04").unwrap();
        assert_eq!((inner, trailer.next_header), (&b"inner"[..], PROTOCOL_IPIP));
    }

    #[test]
    fn padding_longer_than_the_packet_and_plaintext_without_trailer_are_refused() {
        assert_eq!(Trailer::split(&[]), Err(Malformed::Truncated));
        assert_eq!(Trailer::split(&[4]), Err(Malformed::Truncated));
        assert_eq!(Trailer::split(&[1, 4]), Err(Malformed::Padding));
        assert_eq!(Trailer::split(&[0, 0, 3, 4]), Err(Malformed::Padding));
        assert!(Trailer::split(&[0, 0, 2, 4]).is_ok());
    }

    proptest! {
        #[test]
        fn a_written_header_reads_back(spi: u32, sequence_low: u32, iv: [u8; 8]) {
            let header = Header { spi, sequence_low, iv };
            let mut bytes = [0; HEADER + TRAILER + ICV];
            header.write(bytes.first_chunk_mut().unwrap());
            let view = Esp::parse(&bytes).unwrap();
            let read = Header { spi: view.spi(), sequence_low: view.sequence_low(), iv: view.iv() };
            prop_assert_eq!(read, header);
        }

        #[test]
        fn an_inner_packet_comes_back_from_behind_its_trailer(inner in vec(any::<u8>(), 0..100), next_header: u8) {
            let trailer = Trailer::after(inner.len(), next_header);
            let mut plaintext = inner.clone();
            plaintext.resize(inner.len() + trailer.len(), 0);
            prop_assert!(trailer.write(&mut plaintext));
            prop_assert_eq!(&plaintext[inner.len()..], &trailer.shortest()[..trailer.len()]);
            prop_assert_eq!(Trailer::split(&plaintext), Ok((&inner[..], trailer)));
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
            if let Ok(view) = Esp::parse(&bytes) {
                let _ = (view.spi(), view.sequence_low(), view.iv());
                prop_assert_eq!(view.sealed().len(), bytes.len() - HEADER);
            }
            if let Ok((inner, trailer)) = Trailer::split(&bytes) {
                prop_assert_eq!(inner.len() + trailer.len(), bytes.len());
            }
        }
    }
}
