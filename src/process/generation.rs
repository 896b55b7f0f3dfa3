// SPDX-License-Identifier: Apache-2.0
//! Whether this virtual machine is a copy: the kernel says so when it was resumed from a snapshot.
//!
//! Two machines that go on from one snapshot have the same keys and the same numbers, and would seal different packets with
//! the same nonce. Hypervisors give a resumed machine another *generation id*; the kernel's driver (`vmgenid`) then reseeds
//! its random numbers and, since Linux 6.10, sends the event `NEW_VMGENID=1`. Older kernels tell nobody.

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Listens for the event.
pub struct Generation(OwnedFd);

impl Generation {
    /// Opens the device, if the kernel has it.
    pub fn listen() -> io::Result<Generation> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, FROM_KERNEL))?;
        Ok(Generation(socket))
    }

    /// Readable when an event, of whatever kind, has arrived.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Whether the machine is another one since the last call. Of many events some are left for the next call.
    pub fn has_changed(&self) -> bool {
        let mut event = [0; LONGEST];
        let mut has_changed = false;
        for _ in 0..EVENTS_PER_CALL {
            match recvfrom(&self.0, &mut event[..], RecvFlags::empty()) {
                Ok((length, _, sender)) => {
                    // Others may send to this group, as root; they are not the kernel.
                    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                    let is_of_kernel = sender.is_some_and(|sender| sender.pid() == 0);
                    has_changed |= is_of_kernel && is_new_generation(&event[..length]);
                }
                // Events were lost in a flood of them. This one comes once in the life of a machine, if at all.
                Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(_) => break,
            }
        }
        has_changed
    }
}

/// Whether an event of the kernel says that the machine has another generation id: `ACTION@PATH`, then variables, each
/// ended by a zero.
fn is_new_generation(event: &[u8]) -> bool {
    let mut parts = event.split(|byte| *byte == 0);
    let is_change = parts.next().is_some_and(|head| head.starts_with(b"change@"));
    is_change && parts.any(|variable| variable == b"NEW_VMGENID=1")
}

/// The group to which the kernel sends; udev has another.
const FROM_KERNEL: u32 = 1;
/// `UEVENT_BUFFER_SIZE` of the kernel, and the head.
const LONGEST: usize = 4096;
const EVENTS_PER_CALL: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_of_the_driver_is_told_from_others() {
        let event = |variables: &str| format!("change@/devices/platform/vmgenid\0{variables}\0").into_bytes();
        assert!(is_new_generation(&event("ACTION=change\0SUBSYSTEM=platform\0NEW_VMGENID=1\0SEQNUM=1234")));
        for other in [
            event("ACTION=change\0SUBSYSTEM=platform\0SEQNUM=1234"),
            // What `echo change UUID NEW_VMGENID=1 > uevent` makes.
            event("ACTION=change\0SYNTH_UUID=0\0SYNTH_ARG_NEW_VMGENID=1"),
            event("NEW_VMGENID=10"),
            b"add@/devices/x\0NEW_VMGENID=1\0".to_vec(),
            b"libudev\0\xfe\xed\xca\xfe".to_vec(),
            Vec::new(),
        ] {
            assert!(!is_new_generation(&other), "{}", String::from_utf8_lossy(&other));
        }
    }

    #[test]
    fn one_who_listens_hears_nothing_of_a_machine_that_stays_the_same() {
        let generation = Generation::listen().unwrap();
        assert!(generation.fd() >= 0);
        assert!(!generation.has_changed());
    }
}
