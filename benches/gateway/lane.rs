// SPDX-License-Identifier: Apache-2.0
//! A port of which what left is handed on by the caller.

use vita::frame::{Batch, Port};

#[derive(Default)]
pub struct Lane {
    pub arriving: Box<Batch>,
    pub leaving: Box<Batch>,
}

impl Port for Lane {
    #[inline]
    fn receive(&mut self, into: &mut Batch) {
        into.append(&mut self.arriving);
    }

    #[inline]
    fn transmit(&mut self, from: &mut Batch) {
        self.leaving.append(from);
    }

    fn flush(&mut self) {}
}
