// SPDX-License-Identifier: Apache-2.0
//! Types of the four messages, and their lengths.

use std::fmt;

/// The type of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Asks for a challenge.
    Knock = 11,
    /// Names version and algorithm, and has a nonce.
    Challenge = 12,
    /// The initiator's key and SPI.
    Proposal = 13,
    /// The responder's key and SPI.
    Agreement = 14,
}

impl Kind {
    /// The exact length of the message that follows the header.
    pub(super) fn length(self) -> usize {
        match self {
            Kind::Knock => 4,
            Kind::Challenge => 68,
            Kind::Proposal | Kind::Agreement => KEY_MESSAGE,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Knock => "knock",
            Kind::Challenge => "challenge",
            Kind::Proposal => "proposal",
            Kind::Agreement => "agreement",
        })
    }
}

/// Length of the encrypted payload of proposal and agreement.
pub(super) const PAYLOAD: usize = 32;
/// Public key, encrypted payload, tag.
pub(super) const KEY_MESSAGE: usize = 32 + PAYLOAD + 16;
