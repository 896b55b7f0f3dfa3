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

const ALIGNMENT: usize = 4;
