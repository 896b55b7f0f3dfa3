// SPDX-License-Identifier: Apache-2.0
//! An AF_XDP socket as a queue.

use super::{Handle, Queue};
use crate::count::Interface as InterfaceCount;
use crate::xdp::{KernelStatistics, Socket};
use std::io;
use std::os::fd::{AsFd, RawFd};

impl Queue for Socket {
    fn fd(&self) -> Option<RawFd> {
        Some(Socket::fd(self))
    }

    fn unsent(&self) -> u32 {
        Socket::unsent(self)
    }

    fn prefer_busy_poll(&mut self) {
        // Kernels before 5.11 do not know how; then interrupts bring the packets, as without spinning.
        let _ = self.busy_poll(true);
    }

    fn count(&self, counters: &InterfaceCount) {
        let seen = self.statistics();
        counters.rxpackets.set(seen.rx_packets);
        counters.rxdmapackets.set(seen.rx_packets);
        counters.rxbytes.set(seen.rx_bytes);
        counters.rxmcast.set(seen.rx_multicast);
        counters.rxbcast.set(seen.rx_broadcast);
        counters.txpackets.set(seen.tx_packets);
        counters.txbytes.set(seen.tx_bytes);
        counters.txmcast.set(seen.tx_multicast);
        counters.txbcast.set(seen.tx_broadcast);
        counters.txdrop.set(seen.tx_dropped);
    }

    fn count_kernel(&self, counters: &InterfaceCount) {
        let KernelStatistics { rx_dropped, rx_invalid, tx_invalid, rx_ring_full, fill_empty, .. } =
            self.kernel_statistics().unwrap_or_default();
        counters.rxdrop.set(rx_dropped + rx_ring_full + fill_empty);
        counters.rxerrors.set(rx_invalid);
        counters.txerrors.set(tx_invalid + self.statistics().tx_errors);
    }

    fn handle(&self) -> io::Result<Option<Handle>> {
        let socket = self.as_fd().try_clone_to_owned()?;
        Ok(Some(Handle { socket, mode: self.mode() }))
    }
}
