// SPDX-License-Identifier: Apache-2.0
//! How a test and the peer talk. Frames in a stream of bytes: how many, then the length and the bytes of each. Numbers
//! have 32 bits, big-endian.

use std::io::{self, Read, Write};

pub fn write_frames(output: &mut impl Write, frames: &[Vec<u8>]) -> io::Result<()> {
    write_number(output, frames.len())?;
    for frame in frames {
        write_number(output, frame.len())?;
        output.write_all(frame)?;
    }
    output.flush()
}

pub fn read_frames(input: &mut impl Read) -> io::Result<Vec<Vec<u8>>> {
    let count = read_number(input)?;
    (0..count)
        .map(|_| {
            let mut frame = vec![0; read_number(input)?];
            input.read_exact(&mut frame).map(|()| frame)
        })
        .collect()
}

pub fn write_number(output: &mut impl Write, number: usize) -> io::Result<()> {
    output.write_all(&(number as u32).to_be_bytes())
}

pub fn read_number(input: &mut impl Read) -> io::Result<usize> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes).map(|()| u32::from_be_bytes(bytes) as usize)
}

/// The peer is bound, or has sent what it was given.
pub const READY: u8 = b'=';
/// Frames follow.
pub const SEND: u8 = b'>';
/// The number of frames to wait for follows; the answer is frames.
pub const RECEIVE: u8 = b'<';
