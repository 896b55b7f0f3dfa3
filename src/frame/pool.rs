// SPDX-License-Identifier: Apache-2.0
//! The pool of chunks and the frames cut from it.

use super::{CHUNK, HEADROOM};
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::ptr::NonNull;

/// Chunks of packet memory and the list of those that are free. One per worker, used by one thread.
pub struct Pool {
    inner: NonNull<Inner>,
}

/// One packet buffer, owned. Not `Copy`, not `Clone`: a chunk has one owner at any time.
pub struct Frame {
    pool: NonNull<Inner>,
    data: NonNull<u8>,
    len: u16,
}

struct Inner {
    memory: NonNull<u8>,
    chunks: u32,
    free: UnsafeCell<Vec<u32>>,
    in_kernel: Cell<u32>,
}

impl Pool {
    /// Bytes of a chunk. ENA zero copy accepts nothing but 4096.
    pub const CHUNK_SIZE: usize = CHUNK;
    /// The longest frame that arrives in a chunk: what is left behind the headroom.
    pub const LONGEST: usize = CHUNK - HEADROOM;

    /// Maps memory for `chunks` chunks, all of them free.
    pub fn new(chunks: u32) -> io::Result<Pool> {
        let size = chunks as usize * CHUNK;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice aliases nothing.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        if let Err(source) = populate(memory, size) {
            // SAFETY: just mapped, and nobody else knows of it.
            unsafe { libc::munmap(memory.as_ptr().cast(), size) };
            return Err(source);
        }
        let inner = Inner {
            memory,
            chunks,
            // Highest index first, so that the first frames taken are the first in memory.
            free: UnsafeCell::new((0..chunks).rev().collect()),
            in_kernel: Cell::new(0),
        };
        Ok(Pool { inner: NonNull::from(Box::leak(Box::new(inner))) })
    }

    /// An empty frame with the usual headroom; `None` when every chunk is in use.
    #[inline]
    pub fn take(&self) -> Option<Frame> {
        let inner = self.inner();
        // SAFETY: the pool is not Sync and no reference into the list outlives a method.
        let chunk = unsafe { &mut *inner.free.get() }.pop()?;
        // SAFETY: `chunk` < `chunks`, so the address lies inside the mapping.
        let data = unsafe { inner.memory.add(chunk as usize * CHUNK + HEADROOM) };
        Some(Frame { pool: self.inner, data, len: 0 })
    }

    /// A frame that holds a copy of `bytes`; `None` when every chunk is in use or the bytes do not fit.
    pub fn copy_of(&self, bytes: &[u8]) -> Option<Frame> {
        let mut frame = self.take()?;
        frame.append(bytes.len())?.copy_from_slice(bytes);
        Some(frame)
    }

    /// Free chunks.
    pub fn available(&self) -> usize {
        // SAFETY: the pool is not Sync and no reference into the list outlives a method.
        unsafe { &*self.inner().free.get() }.len()
    }

    /// Chunks in all: free, in frames, or in the kernel.
    pub fn chunks(&self) -> u32 {
        self.inner().chunks
    }

    /// The address of the chunk that an address lies in.
    #[inline]
    pub fn chunk_of(address: u64) -> u64 {
        address & !(CHUNK as u64 - 1)
    }

    /// Where the chunks lie and how many bytes they take, page aligned.
    pub fn memory(&self) -> (NonNull<u8>, usize) {
        (self.inner().memory, self.chunks() as usize * CHUNK)
    }

    /// The frame for a chunk that the kernel gives back filled: `len` bytes of data at offset `address`.
    ///
    /// # Safety
    /// The chunk was handed out by [`Frame::into_address`] and has come back exactly once since.
    #[inline]
    pub unsafe fn adopt(&self, address: u64, len: u32) -> Frame {
        let inner = self.inner();
        debug_assert!((address as usize % CHUNK) + len as usize <= CHUNK);
        inner.in_kernel.set(inner.in_kernel.get() - 1);
        // SAFETY: the kernel returns addresses inside the memory it was given.
        let data = unsafe { inner.memory.add(address as usize) };
        Frame { pool: self.inner, data, len: len as u16 }
    }

    /// Puts a chunk that the kernel gives back on the free list.
    ///
    /// # Safety
    /// As for [`Pool::adopt`].
    #[inline]
    pub unsafe fn reclaim(&self, address: u64) {
        let inner = self.inner();
        inner.in_kernel.set(inner.in_kernel.get() - 1);
        // SAFETY: the pool is not Sync and no reference into the list outlives a method.
        unsafe { &mut *inner.free.get() }.push((address as usize / CHUNK) as u32);
    }

    #[inline]
    fn inner(&self) -> &Inner {
        // SAFETY: freed only by Drop of the pool.
        unsafe { self.inner.as_ref() }
    }
}

/// Has the kernel back the mapping with memory now, in huge pages where it has them: each packet lies in a page of its own,
/// and a worker's thousands of small pages are more than a CPU keeps translations of.
fn populate(memory: NonNull<u8>, size: usize) -> io::Result<()> {
    // Miri has neither the pages nor the system call.
    if cfg!(miri) {
        return Ok(());
    }
    // SAFETY: advice about a mapping of ours changes none of its contents.
    let advise = |advice| unsafe { libc::madvise(memory.as_ptr().cast(), size, advice) };
    // A kernel without huge pages says so, and gives small ones.
    advise(libc::MADV_HUGEPAGE);
    if advise(libc::MADV_POPULATE_WRITE) == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Before Linux 5.14: pages come when they are first touched, at the latest when AF_XDP pins them.
        unknown if unknown.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        error => Err(error),
    }
}

impl Drop for Pool {
    /// Chunks still in the kernel are no obstacle (it pins the pages it uses); frames still alive are: their
    /// memory is then kept for the life of the process.
    fn drop(&mut self) {
        let alive = self.chunks() as usize - self.available() - self.inner().in_kernel.get() as usize;
        debug_assert!(alive == 0 || std::thread::panicking(), "{alive} frames outlive their pool");
        if alive == 0 {
            let (memory, size) = self.memory();
            // SAFETY: no frame points into the mapping or at `inner` any more.
            unsafe {
                libc::munmap(memory.as_ptr().cast(), size);
                drop(Box::from_raw(self.inner.as_ptr()));
            }
        }
    }
}

impl Frame {
    /// Bytes of data.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The packet.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: data..data+len lies inside the chunk that this frame alone owns.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len()) }
    }

    /// The packet, to change it.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`; `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len()) }
    }

    /// Bytes free in front of the data. Chunks are aligned to their size, so the address tells.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.data.as_ptr() as usize % CHUNK
    }

    /// Bytes free behind the data.
    #[inline]
    pub fn tailroom(&self) -> usize {
        CHUNK - self.headroom() - self.len()
    }

    /// Grows the data to the front and gives the new bytes, not cleared; `None` when the headroom is too small.
    #[inline]
    pub fn prepend(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if bytes > self.headroom() {
            return None;
        }
        // SAFETY: stays inside the chunk, as just checked.
        self.data = unsafe { self.data.sub(bytes) };
        self.len += bytes as u16;
        Some(&mut self.data_mut()[..bytes])
    }

    /// [`Frame::prepend`] of a length known beforehand.
    #[inline]
    pub fn prepend_chunk<const BYTES: usize>(&mut self) -> Option<&mut [u8; BYTES]> {
        if BYTES > self.headroom() {
            return None;
        }
        // SAFETY: stays inside the chunk, as just checked, and the bytes there are initialised: the pool is mapped memory.
        unsafe {
            self.data = self.data.sub(BYTES);
            self.len += BYTES as u16;
            Some(&mut *self.data.as_ptr().cast())
        }
    }

    /// Grows the data to both sides and gives all of it, the new bytes not cleared; `None` when there is no room.
    #[inline(always)]
    pub fn surround(&mut self, front: usize, behind: usize) -> Option<&mut [u8]> {
        let headroom = self.headroom();
        if front > headroom || headroom + self.len() + behind > CHUNK {
            return None;
        }
        // SAFETY: stays inside the chunk, as just checked.
        self.data = unsafe { self.data.sub(front) };
        self.len += (front + behind) as u16;
        Some(self.data_mut())
    }

    /// Grows the data to the back and gives the new bytes, not cleared; `None` when the tailroom is too small.
    #[inline]
    pub fn append(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let old = self.len();
        // A full chunk (headroom 0) counts as `CHUNK` of data at most, so the sum fits the field.
        if bytes > self.tailroom() {
            return None;
        }
        self.len += bytes as u16;
        Some(&mut self.data_mut()[old..])
    }

    /// Cuts bytes off the front, at most all there are.
    #[inline]
    pub fn trim_front(&mut self, bytes: usize) {
        let bytes = bytes.min(self.len());
        self.len -= bytes as u16;
        if self.len > 0 {
            // SAFETY: at most one past the end of the data; kept inside the chunk by leaving an empty frame in place.
            self.data = unsafe { self.data.add(bytes) };
        }
    }

    /// Cuts the data to `len` bytes, if it is longer.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.len = len as u16;
        }
    }

    /// Cuts the data down to `len` bytes from `start` on, or to what is there of them.
    #[inline]
    pub fn cut(&mut self, start: usize, len: usize) {
        self.trim_front(start);
        self.truncate(len);
    }

    /// Makes the frame empty again, with the usual headroom.
    pub fn reset(&mut self) {
        // SAFETY: from the start of the chunk, HEADROOM < CHUNK stays inside it.
        self.data = unsafe { self.data.sub(self.headroom()).add(HEADROOM) };
        self.len = 0;
    }

    /// Hands the chunk to the kernel: its data's offset in the pool and length. It comes back through
    /// [`Pool::adopt`] or [`Pool::reclaim`].
    #[inline]
    pub fn into_address(self) -> (u64, u32) {
        let frame = std::mem::ManuallyDrop::new(self);
        // SAFETY: the pool outlives its frames.
        let inner = unsafe { frame.pool.as_ref() };
        inner.in_kernel.set(inner.in_kernel.get() + 1);
        (frame.data.as_ptr() as u64 - inner.memory.as_ptr() as u64, u32::from(frame.len))
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the pool outlives its frames.
        let inner = unsafe { self.pool.as_ref() };
        let offset = self.data.as_ptr() as usize - inner.memory.as_ptr() as usize;
        // SAFETY: pool and frames live on one thread; no reference into the list outlives a method.
        unsafe { &mut *inner.free.get() }.push((offset / CHUNK) as u32);
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} bytes, headroom {})", self.len, self.headroom())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_a_frame_returns_its_chunk() {
        let pool = Pool::new(2).unwrap();
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        drop(a);
        assert_eq!(pool.available(), 1);
        drop(b);
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn data_grows_and_shrinks_at_both_ends() {
        let pool = Pool::new(1).unwrap();
        let mut frame = pool.copy_of(b"inner").unwrap();
        frame.prepend(6).unwrap().copy_from_slice(b"outer ");
        frame.append(4).unwrap().copy_from_slice(b" icv");
        assert_eq!(frame.data(), b"outer inner icv");
        frame.trim_front(6);
        frame.truncate(5);
        assert_eq!(frame.data(), b"inner");
        assert_eq!(frame.headroom(), HEADROOM);
    }

    #[test]
    fn a_frame_never_leaves_its_chunk() {
        let pool = Pool::new(3).unwrap();
        let _first = pool.take().unwrap();
        let mut frame = pool.take().unwrap();
        assert!(frame.prepend(HEADROOM + 1).is_none());
        assert!(frame.append(CHUNK - HEADROOM + 1).is_none());
        assert!(frame.prepend(HEADROOM).is_some());
        assert!(frame.append(CHUNK - HEADROOM).is_some());
        assert_eq!((frame.len(), frame.headroom(), frame.tailroom()), (CHUNK, 0, 0));
        assert!(frame.surround(0, 1).is_none() && frame.surround(1, 0).is_none());
        frame.cut(HEADROOM, 4);
        assert!(frame.surround(HEADROOM + 1, 0).is_none() && frame.surround(0, CHUNK).is_none());
        assert_eq!(frame.surround(HEADROOM, CHUNK - HEADROOM - 4).map(|all| all.len()), Some(CHUNK));
        frame.trim_front(usize::MAX);
        assert!(frame.is_empty());
        frame.reset();
        assert_eq!((frame.len(), frame.headroom()), (0, HEADROOM));
        drop(frame);
        drop(_first);
        assert_eq!(pool.available(), 3);
    }

    #[test]
    fn a_chunk_survives_the_way_through_the_kernel() {
        let pool = Pool::new(2).unwrap();
        let (address, len) = pool.copy_of(b"hello").unwrap().into_address();
        assert_eq!(pool.available(), 1);
        // SAFETY: the chunk was handed out just above.
        let frame = unsafe { pool.adopt(address, len) };
        assert_eq!(frame.data(), b"hello");
        let (address, _) = frame.into_address();
        // SAFETY: as above.
        unsafe { pool.reclaim(address) };
        assert_eq!(pool.available(), 2);
    }
}
