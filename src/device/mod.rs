// SPDX-License-Identifier: Apache-2.0
//! Devices and their queues, whatever moves the packets.
//!
//! ```text
//!   worker ──► Queue ──┬── xdp::Socket   a queue of a network interface (AF_XDP)
//!                      └── Nowhere       an interface that is configured to have no device
//! ```
//!
//! A worker opens its queues in one [`PacketMemory`] and knows them as [`Queue`]s from then on. Rooms above name the types of
//! this room only. Another kind of device implements [`Queue`], and is opened in [`PacketMemory::open`].
//!
//! Limits: a device is found, checked and guarded by the means of AF_XDP, which is the one kind there is.

mod af_xdp;
mod nowhere;

pub use crate::xdp::{
    BindError, Device, DeviceError, Filter, Interest, Listener, Lower, Mode, Offloads, PinError, Pins,
    Program, ProgramError, Queues, Unserved,
};
pub use nowhere::Nowhere;

use crate::count::Interface as InterfaceCount;
use crate::frame::{Batch, Pool, Port};
use crate::xdp::{Options, Socket, Umem};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

/// One queue of a device, as its worker uses it. What the worker calls for each batch neither allocates nor locks.
pub trait Queue: Port {
    /// A descriptor that is readable when frames have arrived; none if none ever do.
    fn fd(&self) -> Option<RawFd>;

    /// Frames that the device has not taken yet: while there are any, call [`Port::flush`] again before sleeping.
    fn unsent(&self) -> u32;

    /// Prepares for a worker that never sleeps. A device that cannot takes no notice.
    fn prefer_busy_poll(&mut self);

    /// Publishes what the queue counts itself.
    fn count(&self, counters: &InterfaceCount);

    /// Publishes what only the kernel knows: a system call.
    fn count_kernel(&self, counters: &InterfaceCount);

    /// The control thread's handle of the queue; none if there is no device.
    fn handle(&self) -> io::Result<Option<Handle>>;
}

/// A queue of a device, counted from 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The device.
    pub device: Device,
    /// The number of the queue.
    pub queue: u32,
}

/// An open queue, as the control thread knows it.
pub struct Handle {
    /// To be entered in the program of the device.
    pub socket: OwnedFd,
    /// Whether the driver copies.
    pub mode: Mode,
}

/// The packet memory of one worker. Its queues share it, so that a packet leaves from where it arrived.
pub struct PacketMemory {
    umem: Umem,
}

impl Handle {
    /// Whether the kernel has taken the queue away: the interface was deleted or has left the namespace. Told once.
    pub fn is_lost(&self) -> bool {
        crate::xdp::is_unbound(&self.socket)
    }
}

impl PacketMemory {
    /// Its size, for messages.
    pub const MIB: usize = Umem::CHUNKS as usize * Pool::CHUNK_SIZE / (1 << 20);

    /// Memory for two queues.
    pub fn new() -> io::Result<PacketMemory> {
        Ok(PacketMemory { umem: Umem::new(Rc::new(Pool::new(Umem::CHUNKS)?)) })
    }

    /// The buffers.
    pub fn pool(&self) -> &Rc<Pool> {
        self.umem.pool()
    }

    /// Opens a queue. One that is in use is waited for as long as `patience`.
    pub fn open(
        &self,
        attachment: Option<&Attachment>,
        patience: Duration,
    ) -> Result<Box<dyn Queue>, BindError> {
        let Some(Attachment { device, queue }) = attachment else { return Ok(Box::new(Nowhere)) };
        let options = Options { patience, ..Options::default() };
        Ok(Box::new(Socket::bind(&self.umem, device, *queue, options)?))
    }
}

impl Port for Box<dyn Queue> {
    #[inline]
    fn receive(&mut self, into: &mut Batch) {
        (**self).receive(into);
    }

    #[inline]
    fn transmit(&mut self, from: &mut Batch) {
        (**self).transmit(from);
    }

    #[inline]
    fn flush(&mut self) {
        (**self).flush();
    }
}
