// SPDX-License-Identifier: Apache-2.0
//! Memory that held a key holds it no longer than needed: what is freed is overwritten, and so is the stack that was used.
//!
//! Keys pass through many hands: text of requests and replies, trees of documents, printed lines, buffers that grow. Each
//! would have to be erased where it ends; a single one that is forgotten leaves the key for as long as nobody else happens to
//! need that memory. So the allocator does it, for all of them. It costs one pass over memory that is mostly in a cache:
//! workers do not allocate, so no packet pays for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// The system's allocator, which overwrites each block before it is given back. Growing is allocating anew and freeing, so
/// that no block is left behind as it was.
pub struct Erasing;

// SAFETY: every call goes to `System` with the same layout; a block is written to only while it still belongs to its owner,
// who has given it up with this call.
unsafe impl GlobalAlloc for Erasing {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is `layout.size()` bytes long, and nobody else has it. `black_box` may read it, so that the
        // compiler cannot leave out stores to memory that is freed next.
        unsafe {
            std::ptr::write_bytes(block, 0, layout.size());
            black_box(block);
            System.dealloc(block, layout);
        }
    }
}

/// Overwrites the part of this thread's stack that the calls before this one used, down to `STACK` bytes.
#[inline(never)]
pub fn erase_stack() {
    let stack = [0u8; STACK];
    black_box(&stack);
}

/// Deeper than requests go: parsing is bounded in depth, and printing with it.
const STACK: usize = 256 << 10;
