// SPDX-License-Identifier: Apache-2.0
//! Sends frames, whatever they are, out of a device of another network namespace.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;

/// A packet socket on one device.
pub struct Injector {
    socket: File,
}

impl Injector {
    pub fn new(namespace: &str, device: &str) -> Injector {
        Injector::at(&format!("/run/netns/{namespace}"), device)
    }

    /// The same in the namespace of this file.
    pub fn at(namespace: &str, device: &str) -> Injector {
        let namespace = File::open(namespace).expect("the namespace exists");
        let device = CString::new(device).expect("a device name has no zero byte");
        // A thread of its own, because a thread that has entered a namespace stays there; the socket belongs to the namespace
        // it was made in, whoever uses it.
        let socket = thread::scope(|scope| scope.spawn(|| open(&namespace, &device)).join());
        let socket = socket.expect("the thread does not panic").expect("a packet socket can be opened");
        Injector { socket: File::from(socket) }
    }

    /// What the device refuses (too long, its queue full) is lost, as on a wire.
    pub fn send(&self, frame: &[u8]) {
        let _ = (&self.socket).write(frame);
    }
}

fn open(namespace: &File, device: &CString) -> io::Result<OwnedFd> {
    // SAFETY: takes a descriptor that is open; changes only the network namespace of this thread, which ends with it.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no pointers. Protocol zero: this socket receives nothing.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: `device` is a string that ends with zero.
    let index = unsafe { libc::if_nametoindex(device.as_ptr()) };
    // SAFETY: all zeroes is a valid value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_ifindex = index as libc::c_int;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a sockaddr_ll of the length given.
    if index == 0 || unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}
