// SPDX-License-Identifier: Apache-2.0
//! The sending end of a security association.

use super::last::{LastNumberWriter, STRIDE};
use super::{Cipher, LastNumber};
use crate::aead::{Aead, Job};
use crate::count::Reason;
use crate::frame::Frame;
use crate::prefetch::prefetch;
use crate::sa::SaParameters;
use crate::wire::esp::{HEADER, Header, ICV, Trailer};
use std::cell::Cell;

/// Seals inner packets. It alone draws sequence numbers under its key, and never draws one twice. One line of the cache,
/// besides the key.
#[repr(align(64))]
pub struct OutboundSa {
    pub(super) cipher: Cipher,
    /// The number drawn last; 0 before the first.
    sequence: Cell<u64>,
    writer: Option<LastNumberWriter>,
}

/// A sequence number, for one packet.
pub struct Number(u64);

impl OutboundSa {
    /// An SA that has sent no packet yet.
    pub fn new(parameters: &SaParameters, aead: &dyn Aead) -> OutboundSa {
        OutboundSa { cipher: Cipher::new(parameters, aead), sequence: Cell::new(0), writer: None }
    }

    /// Continues behind `sequence`, and leaves its own last number there.
    pub fn after(mut self, sequence: u64, last: &LastNumber) -> OutboundSa {
        let writer = last.writer();
        writer.begin(sequence);
        self.sequence.set(sequence);
        self.writer = Some(writer);
        self
    }

    /// Prefetches what the next packet will use.
    #[inline(always)]
    pub fn prefetch(&self) {
        prefetch(self);
    }
    /// Its SPI.
    pub fn spi(&self) -> u32 {
        self.cipher.spi
    }

    /// The number drawn last; 0 before the first.
    pub fn last(&self) -> u64 {
        self.sequence.get()
    }

    /// The number of the next packet. It is used up, whatever becomes of the packet. Fails when the numbers are used up, all
    /// or those that it may use as yet ([`LastNumber::allow`]).
    #[inline(always)]
    pub fn draw(&self) -> Result<Number, Reason> {
        //= RFC 4303 section 3.3.3: the sequence number must not cycle.
        let sequence = self.sequence.get().wrapping_add(1);
        if sequence.is_multiple_of(STRIDE) && !self.may_go_on(sequence) {
            return Err(Reason::SequenceExhausted);
        }
        self.sequence.set(sequence);
        Ok(Number(sequence))
    }

    /// Puts the ESP header in front of an inner packet, trailer and room for the ICV behind. A packet shorter than
    /// `padded` bytes is extended with zeros first (traffic flow confidentiality, RFC 4303 section 2.7).
    ///
    /// Gives room for a link-layer and an IP header in front of that of ESP, and the work that is left to do.
    #[inline(always)]
    pub fn encapsulate<'a, const LINK: usize, const IP: usize>(
        &'a self,
        Number(sequence): Number,
        frame: &'a mut Frame,
        next_header: u8,
        padded: usize,
    ) -> Result<(&'a mut [u8; LINK], &'a mut [u8; IP], Job<'a>), Reason> {
        let inner = frame.len();
        let confidentiality = padded.saturating_sub(inner);
        let trailer = Trailer::after(inner + confidentiality, next_header);
        let iv = sequence.to_be_bytes();
        let all = frame.surround(LINK + IP + HEADER, confidentiality + trailer.len() + ICV);
        let (link, packet) = all.and_then(|all| all.split_first_chunk_mut()).ok_or(Reason::NoRoom)?;
        let (ip, esp) = packet.split_first_chunk_mut().ok_or(Reason::NoRoom)?;
        let (header, sealed) = esp.split_first_chunk_mut().ok_or(Reason::NoRoom)?;
        if confidentiality > 0 {
            clear(sealed.get_mut(inner..inner + confidentiality).ok_or(Reason::NoRoom)?);
        }
        // The ICV takes more bytes than the trailer leaves of these.
        let end = sealed.get_mut(inner + confidentiality..).and_then(|end| end.first_chunk_mut());
        *end.ok_or(Reason::NoRoom)? = trailer.shortest();
        Header { spi: self.cipher.spi, sequence_low: sequence as u32, iv }.write(header);
        Ok((link, ip, self.cipher.job(sequence, iv, sealed)))
    }
}

impl OutboundSa {
    /// Whether this number, a multiple of the stride, and those up to the next may be drawn.
    #[cold]
    fn may_go_on(&self, sequence: u64) -> bool {
        // It is 0 behind the last number of all.
        sequence != 0 && self.writer.as_ref().is_none_or(|writer| writer.may_draw(sequence))
    }
}

/// Out of the way of what has to stay in registers where nothing is cleared.
#[cold]
#[inline(never)]
fn clear(padding: &mut [u8]) {
    padding.fill(0);
}

const _: () = assert!(size_of::<OutboundSa>() == 64);

impl Drop for OutboundSa {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.leave(self.sequence.get());
        }
    }
}
