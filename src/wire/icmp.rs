// SPDX-License-Identifier: Apache-2.0
//! What ICMP has in both versions: the form of a message.

use super::Malformed;

/// A message whose header is complete.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    header: &'a [u8; HEADER],
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes what follows the IP headers of a packet that is not a fragment.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let header = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Message { header, bytes })
    }

    /// The field named "type" in RFC 792 and RFC 4443.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.header[0]
    }

    /// The code, whose meaning depends on the type.
    #[inline]
    pub fn code(&self) -> u8 {
        self.header[1]
    }

    /// The last four bytes of the header, which each type uses in its own way.
    #[inline]
    pub fn rest(&self) -> [u8; 4] {
        let [.., a, b, c, d] = *self.header;
        [a, b, c, d]
    }

    /// Bytes behind the header: echo data, or the quoted packet of an error.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// Header and body.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Fills the header of a message that has its body already; false, and nothing written, if it is too short to have a header.
/// `checksum` computes over header and body, while the field in the header is zero.
#[inline]
pub(super) fn fill_header(
    message: &mut [u8],
    [kind, code]: [u8; 2],
    [a, b, c, d]: [u8; 4],
    checksum: impl FnOnce(&[u8], &[u8]) -> u16,
) -> bool {
    let Some((header, body)) = message.split_first_chunk_mut::<HEADER>() else { return false };
    *header = [kind, code, 0, 0, a, b, c, d];
    let checksum = checksum(header, body);
    header[2..4].copy_from_slice(&checksum.to_be_bytes());
    true
}

/// Bytes of type, code, checksum, and four that depend on the type.
pub const HEADER: usize = 8;
