// SPDX-License-Identifier: Apache-2.0
//! Capture files of the classic format (libpcap 2.4, Ethernet, microseconds), as far as the tests write and read them.

use std::path::Path;

/// A frame and the nanosecond it was seen.
pub type Seen = (u64, Vec<u8>);

/// The frames of a file; none if there is no file.
pub fn read(path: &Path) -> Vec<Seen> {
    let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
    let name = path.display();
    let number = |at: usize| {
        let field = bytes.get(at..at + 4).unwrap_or_else(|| panic!("{name} ends at {at}"));
        u32::from_le_bytes(field.try_into().unwrap())
    };
    assert_eq!(number(0), MAGIC, "{name}: little endian, microseconds");
    assert_eq!(number(20), ETHERNET, "{name}: Ethernet");
    let mut frames = Vec::new();
    let mut at = FILE_HEADER;
    while at < bytes.len() {
        let [seconds, micros, captured, length] = [0, 4, 8, 12].map(|field| number(at + field));
        assert_eq!(captured, length, "{name}: whole frames");
        at += FRAME_HEADER;
        let frame = bytes.get(at..at + length as usize).unwrap_or_else(|| panic!("{name} ends in a frame"));
        frames.push((u64::from(seconds) * 1_000_000_000 + u64::from(micros) * 1000, frame.to_vec()));
        at += frame.len();
    }
    frames
}

/// Writes what was seen, for a look at it with tcpdump or Wireshark.
pub fn write(path: &Path, frames: &[Seen]) {
    let mut bytes = Vec::new();
    for field in [MAGIC, u32::from_le_bytes([2, 0, 4, 0]), 0, 0, u32::from(u16::MAX), ETHERNET] {
        bytes.extend(field.to_le_bytes());
    }
    for (time, frame) in frames {
        let (seconds, micros) = (time / 1_000_000_000, time % 1_000_000_000 / 1000);
        for field in [seconds as u32, micros as u32, frame.len() as u32, frame.len() as u32] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(frame);
    }
    std::fs::write(path, bytes).unwrap();
}

const MAGIC: u32 = 0xa1b2_c3d4;
const ETHERNET: u32 = 1;
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;
