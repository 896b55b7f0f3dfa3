// SPDX-License-Identifier: Apache-2.0
//! AES-GCM on the AES and carry-less multiplication instructions of x86-64, in three widths.
//!
//! ```text
//!   zmm  ymm  xmm     one, two or four blocks
//!     └───┼───┘
//!      vector         what is common to them
//!    ghash │ table    sums of products; what is computed once per key
//!       └─┐│┌─┘
//!   short gcm         four short packets; one packet
//!      └─┬─┘
//!       batch         group after group
//!         │
//!        here         compiled for the instructions of each width
//! ```
//!
//! A batch is a plain loop: consecutive packets overlap in the CPU's out-of-order window, and four short ones go side by
//! side where a vector has four lanes. Every access and branch depends on lengths, on which packets share a key, and on
//! whether an ICV was right, never on keys or text. Packets of other ciphers than AES, of which keys have no table, go one
//! by one to the portable implementation.

mod batch;
mod gcm;
mod ghash;
mod mask;
mod short;
mod table;
mod vector;
mod xmm;
mod ymm;
mod zmm;

pub(super) use table::Table;
#[cfg(test)]
pub(super) use table::{Far, Near};

use super::key::{self, Expanded};
use super::{Aead, ExpandedKey, ICV, Job, Key, Portable};
use std::arch::is_x86_feature_detected as has;

/// A width that this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X86(Width);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Zmm,
    Ymm,
    Xmm,
}

impl X86 {
    /// AVX-512 with VAES and VPCLMULQDQ: Ice Lake, Zen 4 and later.
    pub fn zmm() -> Option<X86> {
        let vectors = has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("bmi2");
        (vectors && has!("vaes") && has!("vpclmulqdq") && has_aes()).then_some(X86(Width::Zmm))
    }

    /// AVX2 with VAES and VPCLMULQDQ: Alder Lake, Zen 3 and later.
    pub fn ymm() -> Option<X86> {
        (has!("avx2") && has!("vaes") && has!("vpclmulqdq") && has_aes()).then_some(X86(Width::Ymm))
    }

    /// AES-NI, PCLMULQDQ and AVX: nearly every server since 2011.
    pub fn xmm() -> Option<X86> {
        has_aes().then_some(X86(Width::Xmm))
    }
}

impl Aead for X86 {
    fn name(&self) -> &'static str {
        match self.0 {
            Width::Zmm => "vaes-avx512",
            Width::Ymm => "vaes-avx2",
            Width::Xmm => "aes-ni",
        }
    }

    fn expand(&self, secret: &Key) -> ExpandedKey {
        // SAFETY: every width implies AES-NI, PCLMULQDQ and AVX.
        match unsafe { Table::expand(secret) } {
            Some(table) => ExpandedKey(Expanded::Table(table)),
            None => Portable.expand(secret),
        }
    }

    fn seal(&self, jobs: &mut [Job<'_>]) {
        // SAFETY: a value exists only of a width that the CPU has.
        unsafe {
            match self.0 {
                Width::Zmm => seal_zmm(jobs),
                Width::Ymm => seal_ymm(jobs),
                Width::Xmm => seal_xmm(jobs),
            }
        }
    }

    fn open(&self, jobs: &mut [Job<'_>]) {
        // SAFETY: a value exists only of a width that the CPU has.
        unsafe {
            match self.0 {
                Width::Zmm => open_zmm(jobs),
                Width::Ymm => open_ymm(jobs),
                Width::Xmm => open_xmm(jobs),
            }
        }
    }
}

/// For associated data of any length, which takes the place of the job's own.
#[cfg(test)]
impl X86 {
    pub(super) fn one<const SEAL: bool>(&self, table: &Table, associated: &[u8], job: &mut Job<'_>) {
        // SAFETY: a value exists only of a width that the CPU has; callers bring data that has an ICV.
        unsafe {
            match self.0 {
                Width::Zmm => batch::one::<zmm::Zmm, SEAL>(table, associated, job),
                Width::Ymm => batch::one::<ymm::Ymm, SEAL>(table, associated, job),
                Width::Xmm => batch::one::<xmm::Xmm, SEAL>(table, associated, job),
            }
        }
    }
}

fn has_aes() -> bool {
    has!("aes") && has!("pclmulqdq") && has!("avx")
}

/// Batches compiled for the instructions of one width.
macro_rules! compiled {
    ($vector:ty, $features:literal, $seal:ident, $open:ident) => {
        /// # Safety
        /// The CPU has the features.
        #[target_feature(enable = $features)]
        unsafe fn $seal(jobs: &mut [Job<'_>]) {
            // SAFETY: the caller's; the features include those of the vector.
            unsafe { batch::run::<$vector, true>(jobs) }
        }

        /// # Safety
        /// The CPU has the features.
        #[target_feature(enable = $features)]
        unsafe fn $open(jobs: &mut [Job<'_>]) {
            // SAFETY: the caller's; the features include those of the vector.
            unsafe { batch::run::<$vector, false>(jobs) }
        }
    };
}

compiled!(zmm::Zmm, "aes,pclmulqdq,avx2,avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2", seal_zmm, open_zmm);
compiled!(ymm::Ymm, "aes,pclmulqdq,avx2,vaes,vpclmulqdq", seal_ymm, open_ymm);
compiled!(xmm::Xmm, "aes,pclmulqdq,avx", seal_xmm, open_xmm);
