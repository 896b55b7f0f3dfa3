// SPDX-License-Identifier: Apache-2.0
//! A queue without a device: nothing arrives, and what is sent is dropped.

use super::{Handle, Queue};
use crate::count::Interface as InterfaceCount;
use crate::frame::{Batch, Port};
use std::io;
use std::os::fd::RawFd;

/// The queue of an interface that is configured to have no device.
pub struct Nowhere;

impl Port for Nowhere {
    fn receive(&mut self, _: &mut Batch) {}

    fn transmit(&mut self, from: &mut Batch) {
        from.clear();
    }

    fn flush(&mut self) {}
}

impl Queue for Nowhere {
    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn unsent(&self) -> u32 {
        0
    }

    fn prefer_busy_poll(&mut self) {}

    fn count(&self, _: &InterfaceCount) {}

    fn count_kernel(&self, _: &InterfaceCount) {}

    fn handle(&self) -> io::Result<Option<Handle>> {
        Ok(None)
    }
}
