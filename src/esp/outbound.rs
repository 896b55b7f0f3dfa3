// SPDX-License-Identifier: Apache-2.0
//! The sending end of a security association.

use super::last::Will;
use super::{Cipher, LastNumber, Parameters};
use crate::aead::{Aead, Job};
use crate::frame::{self, Frame};
use crate::wire::esp::{HEADER, Header, ICV, Trailer};
use std::cell::Cell;

/// Seals inner packets. It alone draws sequence numbers under its key, and never draws one twice.
pub struct OutboundSa {
    pub(super) cipher: Cipher,
    spi: u32,
    /// The number of the last packet sealed; 0 before the first.
    sequence: Cell<u64>,
    will: Option<Will>,
}

/// Why a packet cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsealed {
    /// The sequence numbers are used up; only a new key helps.
    SequenceExhausted,
    /// The frame has no room for headers, padding and ICV.
    NoRoom,
}

impl OutboundSa {
    pub fn new(parameters: &Parameters, aead: &dyn Aead) -> OutboundSa {
        OutboundSa {
            cipher: Cipher::new(parameters, aead),
            spi: parameters.spi,
            sequence: Cell::new(0),
            will: None,
        }
    }

    /// Continues behind `sequence`, and leaves its own last number there.
    pub fn after(mut self, sequence: u64, last: &LastNumber) -> OutboundSa {
        self.sequence.set(sequence);
        self.will = Some(last.will());
        self
    }

    /// Brings near the core what the next packet will use.
    #[inline(always)]
    pub fn fetch(&self) {
        frame::fetch(&self.cipher);
        frame::fetch(&self.sequence);
    }

    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// The number of the last packet sealed; 0 before the first.
    pub fn last(&self) -> u64 {
        self.sequence.get()
    }

    /// Puts the ESP header in front of an inner packet, trailer and room for the ICV behind. A packet shorter than
    /// `padded` bytes is extended with zeros first (traffic flow confidentiality, RFC 4303 section 2.7).
    #[inline(always)]
    pub fn encapsulate(&self, frame: &mut Frame, next_header: u8, padded: usize) -> Result<(), Unsealed> {
        let confidentiality = padded.saturating_sub(frame.len());
        let trailer = Trailer::after(frame.len() + confidentiality, next_header);
        let behind = confidentiality + trailer.len() + ICV;
        if frame.headroom() < HEADER || frame.tailroom() < behind {
            return Err(Unsealed::NoRoom);
        }
        //= RFC 4303 section 3.3.3: the sequence number must not cycle.
        let sequence = self.sequence.get().checked_add(1).ok_or(Unsealed::SequenceExhausted)?;
        self.sequence.set(sequence);
        let added = frame.append(behind).ok_or(Unsealed::NoRoom)?;
        let text = if confidentiality > 0 {
            let (zeros, text) = added.split_at_mut(confidentiality);
            zeros.fill(0);
            text
        } else {
            added
        };
        // The ICV takes more bytes than the trailer leaves of these.
        *text.first_chunk_mut().ok_or(Unsealed::NoRoom)? = trailer.shortest();
        let header = frame.prepend_chunk().ok_or(Unsealed::NoRoom)?;
        Header { spi: self.spi, sequence_low: sequence as u32, iv: sequence.to_be_bytes() }.write(header);
        Ok(())
    }

    /// The work left to do on a packet that was encapsulated: `esp` starts at the SPI. `None` if it is no such packet.
    #[inline(always)]
    pub fn job<'a>(&'a self, esp: &'a mut [u8]) -> Option<Job<'a>> {
        let (header, data) = esp.split_first_chunk_mut::<HEADER>()?;
        let (_, iv) = header.split_last_chunk::<8>()?;
        Some(self.cipher.job(self.spi, u64::from_be_bytes(*iv), *iv, data))
    }
}

impl Drop for OutboundSa {
    fn drop(&mut self) {
        if let Some(will) = &self.will {
            will.leave(self.sequence.get());
        }
    }
}
