// SPDX-License-Identifier: Apache-2.0
//! Where the time of a batch goes, for those who want to know.

/// Told after each step of the packet path that it is done. Nothing is compiled into a path without one: `()`.
pub trait Meter {
    /// This step is done.
    fn lap(&mut self, step: &'static str);
}

impl Meter for () {
    #[inline(always)]
    fn lap(&mut self, _: &'static str) {}
}
