// SPDX-License-Identifier: Apache-2.0
//! Where frames enter and leave: one trait for AF_XDP sockets, for memory and for whatever a test invents.

use super::{Batch, Frame};
use std::collections::VecDeque;

/// One queue of one interface.
pub trait Port {
    /// Fills `into` with what has arrived, as far as there is room.
    fn receive(&mut self, into: &mut Batch);

    /// Takes every frame of the batch. What the port has no room for is dropped, and the port counts it.
    fn transmit(&mut self, from: &mut Batch);

    /// Tells the other side that frames were handed over, once after any number of [`Port::transmit`].
    fn flush(&mut self);
}

/// A port of plain memory: what a test puts in arrives, what the gateway sends is there to look at.
#[derive(Default)]
pub struct Memory {
    /// Frames to be received, the first one next.
    pub arriving: VecDeque<Frame>,
    /// Frames that were transmitted.
    pub sent: Vec<Frame>,
}

impl Port for Memory {
    fn receive(&mut self, into: &mut Batch) {
        let count = self.arriving.len().min(into.remaining_capacity());
        into.extend(self.arriving.drain(..count));
    }

    fn transmit(&mut self, from: &mut Batch) {
        self.sent.extend(from.drain(..));
    }

    fn flush(&mut self) {}
}
