// SPDX-License-Identifier: Apache-2.0
//! An expanded key, in the form of the implementation that expanded it.

use aes_gcm::Aes128Gcm;

/// Behind a pointer, so that moving a key leaves no copies to wipe. Both forms wipe themselves.
pub(super) enum Expanded {
    Portable(Box<Aes128Gcm>),
    #[cfg(target_arch = "x86_64")]
    Table(Box<super::x86::Table>),
}
