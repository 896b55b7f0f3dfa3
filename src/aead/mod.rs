// SPDX-License-Identifier: Apache-2.0
//! The AEADs of ESP behind one trait that takes a batch.
//!
//! A [`Job`] is one packet: its key, nonce, associated data, and the bytes that are sealed or opened where they
//! lie, with the ICV at their end. Jobs of one batch may have different keys. Batches are the unit because several
//! packets can then be in flight in the CPU's pipelines at once.
//!
//! Limits: AES-128-GCM with a 16-byte ICV and 12 bytes of associated data (SPI and 64-bit sequence number,
//! RFC 4106 section 5 with extended sequence numbers).

mod portable;

pub use portable::Portable;

/// Bytes of the integrity check value.
pub const ICV: usize = 16;

/// An expanded key. Wiped when dropped.
pub struct Key(portable::Expanded);

/// One packet to seal or open.
pub struct Job<'a> {
    pub key: &'a Key,
    pub nonce: [u8; 12],
    pub associated: [u8; 12],
    /// The text and, behind it, [`ICV`] bytes: written by `seal`, checked by `open`. Shorter data is never authentic.
    pub data: &'a mut [u8],
    /// Set by `open`: the ICV was right and the text is decrypted. When it is not, the text is not plaintext.
    pub authentic: bool,
}

/// One implementation.
pub trait Aead: Sync {
    /// What logs call it.
    fn name(&self) -> &'static str;

    fn expand(&self, key: &[u8; 16]) -> Key;

    /// Encrypts every job's text and appends its ICV.
    fn seal(&self, jobs: &mut [Job<'_>]);

    /// Checks every job's ICV in constant time, decrypts its text if it is right, and says which were.
    fn open(&self, jobs: &mut [Job<'_>]);
}

/// The implementation for this machine.
pub fn preferred() -> &'static dyn Aead {
    &Portable
}
