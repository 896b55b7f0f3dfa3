// SPDX-License-Identifier: Apache-2.0
//! The packet memory of one worker, and the rings of a socket mapped from the kernel.

use super::ring::Layout;
use crate::frame::Pool;
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

/// A pool of which the kernel knows, so that its chunks can travel through the rings of several sockets.
pub struct Umem {
    pool: Rc<Pool>,
    /// The socket that registered the memory; others refer to it to share the registration.
    registrar: RefCell<Weak<OwnedFd>>,
}

impl Umem {
    /// Chunks for two sockets whose rings are all full, see `RING`: 8192.
    pub const CHUNKS: u32 = 4 * RING;

    /// Nothing is registered before the first socket is bound.
    pub fn new(pool: Rc<Pool>) -> Umem {
        Umem { pool, registrar: RefCell::default() }
    }

    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    pub(super) fn registrar(&self) -> Option<Rc<OwnedFd>> {
        self.registrar.borrow().upgrade()
    }

    pub(super) fn set_registrar(&self, socket: &Rc<OwnedFd>) {
        *self.registrar.borrow_mut() = Rc::downgrade(socket);
    }

    /// Registers the memory with a socket. No headroom is asked for: the kernel always leaves 256 bytes.
    pub(super) fn register(&self, socket: &OwnedFd) -> io::Result<()> {
        let (memory, len) = self.pool.memory();
        let registration = libc::xdp_umem_reg {
            addr: memory.as_ptr() as u64,
            len: len as u64,
            chunk_size: Pool::CHUNK_SIZE as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set_option(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, registration)
    }

    /// Where in the pool the chunk of an address starts.
    pub(super) fn chunk_at(&self, address: *const u8) -> u64 {
        Pool::chunk_of(address as u64 - self.pool.memory().0.as_ptr() as u64)
    }
}

/// Memory of the kernel that one ring lies in.
pub(super) struct Mapping {
    address: NonNull<libc::c_void>,
    len: usize,
}

impl Mapping {
    /// Maps the ring of `size` entries at `place`, one of the fixed offsets of linux/if_xdp.h.
    pub(super) fn new<T>(
        socket: &OwnedFd,
        place: i64,
        offsets: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<(Mapping, Layout<T>)> {
        let len = offsets.desc as usize + size as usize * size_of::<T>();
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                place,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        // SAFETY: the kernel's offsets lie inside the mapping whose size follows from them.
        let at = |offset: u64| unsafe { address.byte_add(offset as usize) };
        let layout = Layout {
            producer: at(offsets.producer).cast(),
            consumer: at(offsets.consumer).cast(),
            flags: at(offsets.flags).cast(),
            entries: at(offsets.desc).cast(),
            size,
        };
        Ok((Mapping { address, len }, layout))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours; a socket drops its cursors before it.
        unsafe { libc::munmap(self.address.as_ptr(), self.len) };
    }
}

pub(super) fn set_option<T: Copy>(socket: &OwnedFd, level: i32, name: i32, value: T) -> io::Result<()> {
    // SAFETY: `value` lives through the call and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option that is a plain structure of the kernel.
///
/// # Safety
/// All zeroes is a valid `T`, and so is whatever the kernel writes for this option.
pub(super) unsafe fn option<T: Copy>(socket: &OwnedFd, name: i32) -> io::Result<T> {
    // SAFETY: the caller vouches for zeroes.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is valid for writing `len` bytes.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, name, (&raw mut value).cast(), &mut len)
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Entries of each ring: 2048 frames of 60 bytes take a worker under half a millisecond, of 1514 bytes at
/// 25 Gbit/s one millisecond, which is what a worker may be away.
pub(super) const RING: u32 = 2048;
