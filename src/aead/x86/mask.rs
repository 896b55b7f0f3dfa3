// SPDX-License-Identifier: Apache-2.0
//! Byte masks for vectors that have no mask registers.

/// Loaded from `MASKED - len`: `len` bytes that are kept, then bytes that are not.
pub(super) static MASK: [u8; 2 * MASKED] = {
    let mut mask = [0; 2 * MASKED];
    let mut at = 0;
    while at < MASKED {
        mask[at] = 0xff;
        at += 1;
    }
    mask
};

/// The widest vector without mask registers.
pub(super) const MASKED: usize = 32;
