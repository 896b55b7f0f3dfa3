// SPDX-License-Identifier: Apache-2.0
//! Security associations: what turns an inner packet into ESP and back (RFC 4303 tunnel mode, RFC 4106 AES-GCM or
//! RFC 7634 ChaCha20-Poly1305, extended sequence numbers always).
//!
//! ```text
//!   inner IP packet │ padding │ pad length │ next header          becomes, where it lies,
//!   SPI │ sequence low │ IV │ ── encrypted: the line above ── │ ICV
//! ```
//!
//! Each direction works in three steps, so that the cryptography of a whole batch is one call: `encapsulate` or
//! `inspect` a packet, run the [`Job`]s of the batch through an [`Aead`], then send or
//! `accept` and `decapsulate`.
//!
//! An SA that takes the place of another with the same key goes on [`after`](OutboundSa::after) the number that the other
//! has left in its [`LastNumber`].
//!
//! Limits: an SA never lives on after its last sequence number; there is no resynchronisation after a loss of
//! more than 2^32 packets (RFC 4303 appendix A3).

mod inbound;
mod last;
mod outbound;
mod replay;

pub use inbound::InboundSa;
pub use last::{LastNumber, STRIDE};
pub use outbound::{Number, OutboundSa};
pub use replay::{WINDOW, Window};

use crate::aead::ExpandedKey;
pub use crate::aead::{Aead, Job};
use crate::sa::SaParameters;

/// What one packet's nonce and associated data are made of, and the key.
struct Cipher {
    key: ExpandedKey,
    salt: [u8; 4],
    spi: u32,
}

impl Cipher {
    fn new(parameters: &SaParameters, aead: &dyn Aead) -> Cipher {
        Cipher { key: aead.expand(&parameters.key), salt: parameters.salt, spi: parameters.spi }
    }

    /// The job for one packet: `data` is everything behind the IV, ICV included.
    #[inline]
    fn job<'a>(&'a self, sequence: u64, iv: [u8; 8], data: &'a mut [u8]) -> Job<'a> {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&iv);
        //= RFC 4106 section 5, RFC 7634 section 2.1: the AAD is SPI and 64-bit extended sequence number.
        let mut associated = [0; 12];
        associated[..4].copy_from_slice(&self.spi.to_be_bytes());
        associated[4..].copy_from_slice(&sequence.to_be_bytes());
        Job { key: &self.key, nonce, associated, data, authentic: false }
    }
}

#[cfg(test)]
mod tests;
