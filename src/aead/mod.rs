// SPDX-License-Identifier: Apache-2.0
//! The AEADs of ESP behind one trait that takes a batch.
//!
//! A [`Job`] is one packet: its key, nonce, associated data, and the bytes that are sealed or opened where they
//! lie, with the ICV at their end. Jobs of one batch may have different keys, of different ciphers. Batches are the unit because several
//! packets can then be in flight in the CPU's pipelines at once.
//!
//! | name          | what                                    | typical of                  |
//! | ------------- | --------------------------------------- | --------------------------- |
//! | `vaes-avx512` | four blocks per instruction, masked ends | Ice Lake, Zen 4 and later   |
//! | `vaes-avx2`   | two blocks per instruction              | Alder Lake, Zen 3           |
//! | `aes-ni`      | one block per instruction               | Skylake and before, Zen 1, 2 |
//! | `portable`    | the `aes-gcm` crate                     | everything else             |
//!
//! They differ in AES-GCM. ChaCha20-Poly1305 is that of the `chacha20poly1305` crate in all of them.
//!
//! [`preferred`] is the first of them that the CPU has, or the one that the environment variable `VITA_AEAD` names;
//! [`chosen`] tells whether that name was any good. All are checked against the same third-party vectors and against
//! each other. None has branches or memory accesses that depend on keys or text. Keys
//! are wiped when they are dropped; what of them is in registers and on the stack of who uses them is not.
//!
//! Text that is opened is decrypted while it is authenticated, in one pass; if the ICV turns out to be wrong, it is
//! zeroed before `open` returns (the crates check first, and leave it encrypted).
//!
//! Limits: AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305 with a 16-byte ICV and 12 bytes of associated data (SPI and 64-bit
//! sequence number: RFC 4106 section 5, RFC 7634 section 2.1, with extended sequence numbers). ChaCha20-Poly1305 takes
//! packets one by one, with a pass for the cipher and a pass for the ICV.

mod choice;
mod key;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use choice::{Unavailable, available, chosen, preferred};
pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub use x86::X86;

use crate::sa::Key;

/// Bytes of the integrity check value.
pub const ICV: usize = 16;

/// An expanded key. Wiped when dropped. Any implementation takes it, the one that expanded it is the fastest.
pub struct ExpandedKey(key::Expanded);

/// One packet to seal or open.
pub struct Job<'a> {
    /// The key, expanded.
    pub key: &'a ExpandedKey,
    /// Salt and IV.
    pub nonce: [u8; 12],
    /// Associated data: SPI and sequence number, authenticated and not encrypted.
    pub associated: [u8; 12],
    /// The text and, behind it, [`ICV`] bytes: written by `seal`, checked by `open`. Shorter data is never authentic.
    pub data: &'a mut [u8],
    /// Set by `open`: the ICV was right and the text is decrypted. When it is not, the text is not plaintext.
    pub authentic: bool,
}

/// One implementation.
pub trait Aead: Sync {
    /// What logs and `VITA_AEAD` call it.
    fn name(&self) -> &'static str;

    /// The form of a key that this implementation works with.
    fn expand(&self, key: &Key) -> ExpandedKey;

    /// Encrypts every job's text and appends its ICV.
    fn seal(&self, jobs: &mut [Job<'_>]);

    /// Checks every job's ICV in constant time, decrypts its text if it is right, and says which were.
    fn open(&self, jobs: &mut [Job<'_>]);
}

#[cfg(test)]
mod tests;
