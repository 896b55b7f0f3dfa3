// SPDX-License-Identifier: Apache-2.0
//! The ends of things: of vectors, of tables, of counter bytes, of memory.

use super::*;
use std::{ptr, slice};

#[test]
fn the_block_counter_carries_into_its_third_byte() {
    // Block 65,536 has the first counter of more than 16 bits.
    let text = noise((1 << 20) + 200, 4);
    for key in &KEYS {
        let sealed = expected(key, &[0xff; 12], &[7; 12], &text);
        for aead in available() {
            let mut data = [&text[..], &[0; ICV]].concat();
            seal(*aead, key, &[0xff; 12], &[7; 12], &mut data);
            assert!(data == sealed, "{}", aead.name());
            assert!(open(*aead, key, &[0xff; 12], &[7; 12], &mut data));
            assert!(data[..text.len()] == text, "{}", aead.name());
        }
    }
}

#[test]
fn every_length_that_a_frame_can_have() {
    let (nonce, text) = ([8; 12], noise(4096, 5));
    for len in 0..text.len() {
        let key = &KEYS[len % KEYS.len()];
        let sealed = expected(key, &nonce, &[7; 12], &text[..len]);
        for aead in available() {
            let mut data = [&text[..len], &[0; ICV]].concat();
            seal(*aead, key, &nonce, &[7; 12], &mut data);
            assert!(data == sealed, "{} {len}", aead.name());
            assert!(open(*aead, key, &nonce, &[7; 12], &mut data));
            assert!(data[..len] == text[..len], "{} {len}", aead.name());
        }
    }
}

/// Between two pages that nobody may touch: an access beyond the packet would end the test.
#[test]
fn no_access_leaves_the_packet() {
    let mut memory = Enclosed::new();
    let nonce = [8; 12];
    for (len, key) in (0..700).flat_map(|len| KEYS.iter().map(move |key| (len, key))) {
        let text = noise(len, 6);
        let sealed = expected(key, &nonce, &[7; 12], &text);
        for aead in available() {
            for place in [0..len + ICV, PAGE - len - ICV..PAGE] {
                let data = &mut memory.page()[place];
                data[..len].copy_from_slice(&text);
                seal(*aead, key, &nonce, &[7; 12], data);
                assert!(data == sealed, "{} {len}", aead.name());
                assert!(open(*aead, key, &nonce, &[7; 12], data));
                assert!(data[..len] == text, "{} {len}", aead.name());
            }
        }
    }
}

/// One page of memory with an inaccessible one on each side.
struct Enclosed(*mut u8);

impl Enclosed {
    fn new() -> Enclosed {
        // SAFETY: new memory, of which the middle page is made accessible.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(ptr::null_mut(), 3 * PAGE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            let page = start.cast::<u8>().add(PAGE);
            assert_eq!(libc::mprotect(page.cast(), PAGE, libc::PROT_READ | libc::PROT_WRITE), 0);
            Enclosed(page)
        }
    }

    fn page(&mut self) -> &mut [u8] {
        // SAFETY: mapped until drop, borrowed as long as `self`.
        unsafe { slice::from_raw_parts_mut(self.0, PAGE) }
    }
}

impl Drop for Enclosed {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no borrow of the page is left.
        unsafe { libc::munmap(self.0.sub(PAGE).cast(), 3 * PAGE) };
    }
}

const PAGE: usize = 4096;
