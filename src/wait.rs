// SPDX-License-Identifier: Apache-2.0
//! Sleeping until there is something to do: `poll`, and the descriptor with which one thread wakes another.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Wake-up descriptor (eventfd): wakes a thread that sleeps in [`poll`] with this descriptor among others.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A descriptor that nobody has notified yet.
    pub fn new() -> io::Result<EventFd> {
        // SAFETY: no pointers; a descriptor that comes back is nobody else's.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(EventFd(OwnedFd::from_raw_fd(fd))) }
        }
    }

    /// Wakes the thread; one that is about to sleep does not.
    pub fn notify(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is as long as said. It fails only if the counter overflows at 2^64.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Resets the descriptor: it is not readable until the next `notify`.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is as long as said. Nothing to read is no error here.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
    /// For [`poll`].
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Entry for [`poll`]: waits until there is something to read. The kernel passes over a negative `fd`.
pub fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Entry for [`poll`]: waits until there is room to write. The kernel passes over a negative `fd`.
pub fn writable(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLOUT, revents: 0 }
}

/// Sleeps until a descriptor is ready, a signal arrives or the time is over (`None`: never). True if one is ready.
pub fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<bool> {
    let time = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().min(A_DAY) as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the slice is as long as said; the time, if any, outlives the call.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, time, std::ptr::null()) };
    match ready {
        0.. => Ok(ready > 0),
        _ => match io::Error::last_os_error() {
            interrupted if interrupted.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
    }
}

const A_DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_before_poll_wakes_it() {
        let wakeup = EventFd::new().unwrap();
        let mut fds = [readable(wakeup.fd())];
        assert!(!poll(&mut fds, Some(Duration::ZERO)).unwrap());
        wakeup.notify();
        wakeup.notify();
        assert!(poll(&mut fds, None).unwrap());
        wakeup.clear();
        assert!(!poll(&mut fds, Some(Duration::ZERO)).unwrap());
    }
}
