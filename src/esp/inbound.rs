// SPDX-License-Identifier: Apache-2.0
//! The receiving end of a security association.

use super::last::LastNumberWriter;
use super::{Cipher, LastNumber, Window};
use crate::aead::{Aead, Job};
use crate::count::Reason;
use crate::prefetch::prefetch;
use crate::sa::SaParameters;
use crate::wire::Malformed;
use crate::wire::esp::{Esp, HEADER, ICV, Trailer};
use std::cell::Cell;

/// Opens ESP packets and remembers which it has seen.
#[repr(C)]
pub struct InboundSa {
    cipher: Cipher,
    /// It begins with what every packet needs of it.
    pub(crate) window: Window,
    /// Whether its first authentic packet has been reported. Seldom looked at.
    is_confirmed: Cell<bool>,
    writer: Option<LastNumberWriter>,
}

impl InboundSa {
    /// An SA that has seen no packet yet.
    pub fn new(parameters: &SaParameters, aead: &dyn Aead) -> InboundSa {
        let (cipher, window) = (Cipher::new(parameters, aead), Window::default());
        InboundSa { cipher, window, is_confirmed: Cell::new(false), writer: None }
    }

    /// Takes every number up to `sequence` for seen, and leaves the highest of its own there.
    pub fn after(mut self, sequence: u64, last: &LastNumber) -> InboundSa {
        self.window = Window::after(sequence);
        self.is_confirmed.set(sequence > 0);
        self.writer = Some(last.writer());
        self
    }

    /// Prefetches the SA and the word of its window that a packet with this number will use.
    #[inline(always)]
    pub fn prefetch(&self, sequence_low: u32) {
        prefetch(self);
        self.window.prefetch(sequence_low);
    }
    /// Its SPI.
    pub fn spi(&self) -> u32 {
        self.cipher.spi
    }

    /// The full sequence number of a packet, if it is worth the cryptography.
    #[inline(always)]
    pub fn inspect(&self, esp: &Esp<'_>) -> Result<u64, Reason> {
        let sequence = self.window.infer(esp.sequence_low()).ok_or(Reason::Replayed)?;
        if self.window.is_fresh(sequence) { Ok(sequence) } else { Err(Reason::Replayed) }
    }

    /// The work to do on a packet that passed [`InboundSa::inspect`] with this sequence number. `esp` starts at the SPI.
    #[inline(always)]
    pub fn job<'a>(&'a self, sequence: u64, esp: &'a mut [u8]) -> Option<Job<'a>> {
        let (header, data) = esp.split_first_chunk_mut::<HEADER>()?;
        let (_, iv) = header.split_last_chunk::<8>()?;
        Some(self.cipher.job(sequence, *iv, data))
    }

    /// Notes the number of an authentic packet. Fails for the second of two equal packets in one batch.
    #[inline(always)]
    pub fn accept(&self, sequence: u64) -> Result<(), Reason> {
        if self.window.accept(sequence) { Ok(()) } else { Err(Reason::Replayed) }
    }

    /// Whether no packet has authenticated yet.
    #[inline(always)]
    pub fn is_new(&self) -> bool {
        self.window.top() == 0
    }

    /// Whether a packet has authenticated, and nobody has been told yet that the peer has the key and uses it.
    pub fn is_unreported(&self) -> bool {
        !self.is_new() && !self.is_confirmed.get()
    }

    /// The first authentic packet has been reported.
    pub fn confirm(&self) {
        self.is_confirmed.set(true);
    }

    /// The inner packet in one that was opened, which starts at the SPI, and its next header. What traffic flow
    /// confidentiality added is behind the inner packet, whose own length tells it apart.
    #[inline(always)]
    pub fn decapsulate(esp: &[u8]) -> Result<(&[u8], u8), Reason> {
        let text = HEADER..esp.len().saturating_sub(ICV);
        let text = esp.get(text).ok_or(Reason::TooShort)?;
        let (inner, trailer) = Trailer::split(text).map_err(|problem| match problem {
            Malformed::Padding => Reason::BadPadding,
            _ => Reason::TooShort,
        })?;
        Ok((inner, trailer.next_header))
    }
}

impl Drop for InboundSa {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.leave(self.window.top());
        }
    }
}
