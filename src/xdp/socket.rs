// SPDX-License-Identifier: Apache-2.0
//! One AF_XDP socket: a queue of an interface as a [`Port`].
//!
//! Every chunk that the socket has handed to the kernel is counted: `posted` on the receiving side (fill and
//! rx ring), `in_flight` on the sending side (tx and completion ring). Both are bounded by a share of the
//! memory, so that no backlog on one side can take the chunks of the other.

use super::ring::{Consumer, Producer};
use super::umem::{self, Mapping, RING};
use crate::frame::{BATCH, Batch, Frame, Pool, Port};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

/// A bound socket. It keeps its pool alive; chunks that the kernel holds when it is dropped stay out of the
/// pool, because a driver may still write to them for a while.
pub struct Socket {
    // The cursors before the mappings they point into, the mappings before the descriptor: the kernel lets go
    // of the queue only when the rings are unmapped.
    pub(super) rings: Rings,
    pub(super) _mappings: [Mapping; 4],
    pub(super) fd: Rc<OwnedFd>,
    pub(super) pool: Rc<Pool>,
    pub(super) mode: Mode,
    pub(super) share: Share,
    /// Chunks in the fill and rx rings.
    pub(super) posted: u32,
    /// Chunks in the tx and completion rings.
    pub(super) in_flight: u32,
    pub(super) busy_poll: bool,
    pub(super) statistics: InterfaceStatistics,
}

pub(super) struct Rings {
    pub receive: Consumer<libc::xdp_desc>,
    pub transmit: Producer<libc::xdp_desc>,
    pub fill: Producer<u64>,
    pub completion: Consumer<u64>,
}

/// Whether packets are copied between the driver's memory and ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    ZeroCopy,
    Copy,
}

/// How a socket is bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Try zero copy before copy mode.
    pub zero_copy: bool,
    /// How long to wait for a queue that is in use: after a restart the kernel needs some 40 ms to free it.
    pub patience: Duration,
}

/// What has passed through the socket, as `gateway-state` counts an interface.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct InterfaceStatistics {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    /// Of these, to multicast and to the broadcast address.
    pub rx_multicast: u64,
    pub rx_broadcast: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tx_multicast: u64,
    pub tx_broadcast: u64,
    /// Not sent: no room in the ring, or an empty frame.
    pub tx_dropped: u64,
    /// System calls to send that failed: the interface is down or gone.
    pub tx_errors: u64,
}

/// What the kernel counts for the socket (`XDP_STATISTICS`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct KernelStatistics {
    /// Lost for want of anything but ring space, such as frames larger than a chunk.
    pub rx_dropped: u64,
    pub rx_invalid: u64,
    pub tx_invalid: u64,
    /// Lost because the worker did not take frames out of the rx ring in time.
    pub rx_ring_full: u64,
    /// Lost because the fill ring had no chunk.
    pub fill_empty: u64,
    pub tx_ring_empty: u64,
}

/// How many chunks one socket may have in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Share {
    pub receive: u32,
    pub transmit: u32,
}

impl Socket {
    /// Takes chunks back that the kernel has sent. [`Port::receive`] and [`Port::transmit`] do this as well.
    #[inline]
    pub fn complete(&mut self) {
        if self.in_flight == 0 {
            return;
        }
        let count = self.rings.completion.ready(RING);
        for offset in 0..count {
            // SAFETY: each completion is for one frame that `transmit` handed over.
            unsafe { self.pool.reclaim(self.rings.completion.read(offset)) };
        }
        if count > 0 {
            self.rings.completion.release(count);
            self.in_flight -= count;
        }
    }

    /// Frames in the tx ring that the kernel has not looked at: while there are any, call [`Port::flush`]
    /// again before sleeping.
    pub fn unsent(&self) -> u32 {
        if self.in_flight == 0 { 0 } else { self.rings.transmit.pending() }
    }

    /// Frames handed over whose chunks have not come back.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// For `poll`: readable when frames have arrived.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn statistics(&self) -> &InterfaceStatistics {
        &self.statistics
    }

    /// Asks the kernel: one system call, not for every batch.
    pub fn kernel_statistics(&self) -> io::Result<KernelStatistics> {
        // SAFETY: a structure of plain numbers, which is what the kernel writes for this option.
        let raw: libc::xdp_statistics = unsafe { umem::option(&self.fd, libc::XDP_STATISTICS)? };
        Ok(KernelStatistics {
            rx_dropped: raw.rx_dropped,
            rx_invalid: raw.rx_invalid_descs,
            tx_invalid: raw.tx_invalid_descs,
            rx_ring_full: raw.rx_ring_full,
            fill_empty: raw.rx_fill_ring_empty_descs,
            tx_ring_empty: raw.tx_ring_empty_descs,
        })
    }

    /// Has the driver's receive loop run in this thread's system calls instead of interrupts: for a worker
    /// that never sleeps. Drivers without such a loop, and veth, take no notice.
    pub fn busy_poll(&mut self, enable: bool) -> io::Result<()> {
        let (microseconds, budget) = if enable { (BUSY_POLL_US, BATCH as i32) } else { (0, 0) };
        umem::set_option(&self.fd, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, i32::from(enable))?;
        umem::set_option(&self.fd, libc::SOL_SOCKET, SO_BUSY_POLL, microseconds)?;
        if enable {
            umem::set_option(&self.fd, libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, budget)?;
        }
        self.busy_poll = enable;
        Ok(())
    }

    /// Gives the kernel free chunks up to our share, in batches.
    #[inline]
    fn refill(&mut self) {
        let wanted = self.share.receive - self.posted;
        if wanted < REFILL.min(self.share.receive / 2) {
            return;
        }
        let room = self.rings.fill.room(wanted);
        let mut count = 0;
        while count < room
            && let Some(frame) = self.pool.take()
        {
            let (address, _) = frame.into_address();
            self.rings.fill.write(count, Pool::chunk_of(address));
            count += 1;
        }
        if count > 0 {
            self.rings.fill.submit(count);
            self.posted += count;
        }
    }

    /// A system call that lets the driver run: it has nothing else that would make it look at the fill ring.
    #[cold]
    fn wake_receiver(&self) {
        // SAFETY: no memory is involved, a null buffer of length 0 is what the kernel documents for this.
        unsafe {
            libc::recvfrom(
                self.fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }

    /// A system call that makes the kernel look at the tx ring. Whether another one can help.
    fn wake_sender(&mut self) -> bool {
        // SAFETY: as in `wake_receiver`.
        let result =
            unsafe { libc::sendto(self.fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        if result >= 0 {
            return true;
        }
        match io::Error::last_os_error().raw_os_error() {
            // EAGAIN: the budget of one call is used up, or completions are waiting to be taken.
            Some(libc::EAGAIN | libc::EINTR) => true,
            // The driver is at it already, or is out of memory: later.
            Some(libc::EBUSY | libc::ENOBUFS) => false,
            _ => {
                self.statistics.tx_errors += 1;
                false
            }
        }
    }
}

/// Whether the kernel has unbound this socket, because its interface was deleted or moved to another namespace. Told
/// once. Sockets of interfaces that are down stay bound.
pub fn is_unbound(socket: &OwnedFd) -> bool {
    let (mut error, mut len) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: `error` is valid for writing `len` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &mut len,
        )
    };
    result == 0 && error == libc::ENETDOWN
}

impl Port for Socket {
    #[inline]
    fn receive(&mut self, into: &mut Batch) {
        self.complete();
        let count = self.rings.receive.ready(into.remaining_capacity() as u32);
        for offset in 0..count {
            let descriptor = self.rings.receive.read(offset);
            // SAFETY: each entry is a chunk that `refill` posted, filled once.
            let frame = unsafe { self.pool.adopt(descriptor.addr, descriptor.len) };
            self.statistics.rx_packets += 1;
            self.statistics.rx_bytes += u64::from(descriptor.len);
            let (multicast, broadcast) = group(&frame);
            self.statistics.rx_multicast += multicast;
            self.statistics.rx_broadcast += broadcast;
            into.push(frame);
        }
        if count > 0 {
            self.rings.receive.release(count);
            self.posted -= count;
        }
        self.refill();
        if self.rings.fill.needs_wakeup() || (self.busy_poll && count == 0) {
            self.wake_receiver();
        }
    }

    #[inline]
    fn transmit(&mut self, from: &mut Batch) {
        self.complete();
        let wanted = u32::min(from.len() as u32, self.share.transmit.saturating_sub(self.in_flight));
        let room = self.rings.transmit.room(wanted);
        let mut count = 0;
        for frame in from.drain(..) {
            // The kernel skips an empty frame without ever giving its chunk back.
            if count == room || frame.is_empty() {
                self.statistics.tx_dropped += 1;
                continue;
            }
            let (multicast, broadcast) = group(&frame);
            self.statistics.tx_multicast += multicast;
            self.statistics.tx_broadcast += broadcast;
            let (addr, len) = frame.into_address();
            self.statistics.tx_packets += 1;
            self.statistics.tx_bytes += u64::from(len);
            self.rings.transmit.write(count, libc::xdp_desc { addr, len, options: 0 });
            count += 1;
        }
        if count > 0 {
            self.rings.transmit.submit(count);
            self.in_flight += count;
        }
    }

    /// In copy mode one call sends a limited number of frames: as many calls as the ring needs, and no more
    /// than `WAKEUPS`. With a driver that works by itself, one call or none.
    #[inline]
    fn flush(&mut self) {
        let mut unsent = self.unsent();
        if unsent == 0 || !self.rings.transmit.needs_wakeup() {
            return;
        }
        for _ in 0..WAKEUPS {
            if !self.wake_sender() || self.mode == Mode::ZeroCopy {
                break;
            }
            let in_flight = self.in_flight;
            self.complete();
            let left = self.unsent();
            if left == 0 || (left == unsent && self.in_flight == in_flight) {
                break;
            }
            unsent = left;
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Default for Options {
    fn default() -> Options {
        Options { zero_copy: true, patience: PATIENCE }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::ZeroCopy => "zero-copy",
            Mode::Copy => "copy",
        })
    }
}

impl Share {
    /// A quarter of the memory to each direction of each of two sockets, less what the worker itself holds:
    /// two batches in its hands and as much again for packets of its own.
    pub(super) fn of(chunks: u32) -> Share {
        let quarter = chunks / 4;
        let reserve = u32::min(2 * BATCH as u32, quarter / 4);
        Share { receive: quarter.min(RING), transmit: (quarter - reserve).min(RING) }
    }
}

/// Whether a frame goes to a group and whether that is everyone, as numbers to add. Reading the first byte
/// also fetches the cache line that the worker looks at next.
#[inline]
fn group(frame: &Frame) -> (u64, u64) {
    match frame.data() {
        [first, ..] if first & 1 == 0 => (0, 0),
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => (0, 1),
        [] => (0, 0),
        _ => (1, 0),
    }
}

/// Chunks that the fill ring lacks before it is worth touching, as its cache line is shared with the kernel.
const REFILL: u32 = 32;

/// Calls of one flush: a full ring at 32 frames a call, which is the kernel's smallest budget.
const WAKEUPS: u32 = RING / 32;

/// After a restart the queue is free again within tens of milliseconds, unless another process has it.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the kernel stays in the driver's loop for one call. A few batches' worth: it returns early when
/// packets have come.
const BUSY_POLL_US: i32 = 20;

// asm-generic/socket.h
const SO_BUSY_POLL: i32 = 46;
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL_BUDGET: i32 = 70;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdp::Umem;

    #[test]
    fn the_shares_of_two_sockets_leave_chunks_for_the_worker() {
        for chunks in [16, 64, 1000, 1024, Umem::CHUNKS, 4 * Umem::CHUNKS] {
            let Share { receive, transmit } = Share::of(chunks);
            assert!(receive > 0 && transmit > 0 && receive <= RING && transmit <= RING);
            assert!(2 * (receive + transmit) < chunks, "{chunks}");
        }
        assert_eq!(Share::of(Umem::CHUNKS).receive, RING);
        assert_eq!(Umem::CHUNKS - 2 * (RING + Share::of(Umem::CHUNKS).transmit), 4 * BATCH as u32);
    }

    #[test]
    fn multicast_and_broadcast_are_told_apart() {
        let pool = Pool::new(4).unwrap();
        let of = |mac: &[u8]| group(&pool.copy_of(mac).unwrap());
        assert_eq!(of(&[0x02, 0, 0, 0, 0, 1]), (0, 0));
        assert_eq!(of(&[0x33, 0x33, 0, 0, 0, 1]), (1, 0));
        assert_eq!(of(&[0xff; 6]), (0, 1));
        assert_eq!(of(&[]), (0, 0));
    }
}
