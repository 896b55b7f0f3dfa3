// SPDX-License-Identifier: Apache-2.0
//! Frames of the control socket: the payload's length in decimal, a newline, the payload.
//!
//! ```text
//!   13\ndescribe {\n}\n
//!   ^^ bytes of payload, canonical decimal: no sign, no blanks, no leading zero
//! ```
//!
//! A stream that breaks these rules cannot be resynchronised, so the first error ends the connection.

use thiserror::Error;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    #[error(
        "the frame does not start with a decimal length and a newline; send e.g. \"13\\n\" and then 13 bytes"
    )]
    Length,
    #[error("the frame announces {announced} bytes, and at most {limit} are accepted; send smaller parts")]
    TooLong { announced: usize, limit: usize },
}

/// Takes a byte stream as it comes and gives back whole payloads.
pub struct Decoder {
    buffer: Vec<u8>,
    consumed: usize,
    limit: usize,
}

impl Decoder {
    /// A decoder of payloads of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), consumed: 0, limit }
    }

    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole payload, or `None` if more bytes are needed.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let Some((header, length)) = self.complete()? else { return Ok(None) };
        let start = self.consumed + header;
        let end = start + length;
        if self.buffer.len() == end && length > LONG {
            // A document is not copied, only moved to the front of its buffer.
            let mut payload = std::mem::take(&mut self.buffer);
            payload.drain(..start);
            self.consumed = 0;
            return Ok(Some(payload));
        }
        let payload = self.buffer[start..end].to_vec();
        self.consumed = end;
        self.compact();
        Ok(Some(payload))
    }

    /// Whether `take` has something to say (a payload or an error) without more bytes.
    pub fn is_ready(&self) -> bool {
        !matches!(self.complete(), Ok(None))
    }

    /// Bytes held that `take` has not returned yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.consumed
    }

    fn complete(&self) -> Result<Option<(usize, usize)>, FrameError> {
        let pending = &self.buffer[self.consumed..];
        let Some((header, length)) = header(pending, self.limit)? else { return Ok(None) };
        Ok((pending.len() - header >= length).then_some((header, length)))
    }

    /// Moves the rest to the front only once it is the smaller half: many small frames in one buffer
    /// must not cost a copy of everything behind each of them. The old buffer goes, and is erased with that: neither the
    /// memory nor the keys of a frame stay for the life of the connection.
    fn compact(&mut self) {
        if self.consumed * 2 >= self.buffer.len() {
            self.buffer = self.buffer[self.consumed..].to_vec();
            self.consumed = 0;
        }
    }
}

/// Appends one frame to `out`.
pub fn encode(payload: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(payload.len().to_string().as_bytes());
    out.push(b'\n');
    out.extend_from_slice(payload.as_bytes());
}

/// Length of the header with its newline, and the payload length it announces.
fn header(bytes: &[u8], limit: usize) -> Result<Option<(usize, usize)>, FrameError> {
    let mut length = 0usize;
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if index > 0 => return Ok(Some((index + 1, length))),
            b'0'..=b'9' if index == 0 || length > 0 => {
                length = length.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
                if length > limit {
                    return Err(FrameError::TooLong { announced: length, limit });
                }
            }
            _ => return Err(FrameError::Length),
        }
    }
    Ok(None)
}

/// Longest reply: state carries several times as many leaves as the configuration. A document of 10,000 routes is
/// about 3 MB.
pub const MAX_REPLY: usize = 64 << 20;

/// Longest request. What one instance prints in a reply, another has to take in a request: the same text, quoted in
/// the same way, and beside it a path and the name of a schema.
pub const MAX_REQUEST: usize = MAX_REPLY + (64 << 10);

/// A longer payload is handed over in its buffer, not copied.
const LONG: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut decoder = Decoder::new(1000);
        decoder.push(bytes);
        let mut payloads = Vec::new();
        while let Some(payload) = decoder.take()? {
            payloads.push(payload);
        }
        Ok(payloads)
    }

    #[test]
    fn frames_sent_together_come_out_in_order() {
        assert_eq!(decode(b"3\nabc0\n2\nde").unwrap(), [b"abc".to_vec(), vec![], b"de".to_vec()]);
    }

    #[test]
    fn a_frame_that_has_not_arrived_in_full_waits() {
        let mut decoder = Decoder::new(1000);
        for &byte in b"11\nhello worl" {
            decoder.push(&[byte]);
            assert!(!decoder.is_ready());
            assert_eq!(decoder.take(), Ok(None));
        }
        decoder.push(b"d");
        assert!(decoder.is_ready());
        assert_eq!(decoder.take(), Ok(Some(b"hello world".to_vec())));
        assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn only_canonical_decimal_lengths_are_understood() {
        for garbage in [
            &b"012\n"[..],
            b" 12\n",
            b"12 \n",
            b"12\r\n",
            b"-1\n",
            b"+1\n",
            b"\n",
            b"00\n",
            b"1e1\n",
            b"GET / HTTP",
        ] {
            assert_eq!(decode(garbage), Err(FrameError::Length), "{garbage:?}");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_payload_arrives() {
        assert_eq!(decode(b"1001"), Err(FrameError::TooLong { announced: 1001, limit: 1000 }));
        assert!(matches!(decode(b"99999999999999999999999999999999"), Err(FrameError::TooLong { .. })));
        assert_eq!(decode(b"1000\n"), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back_whatever_the_pieces(
            payloads in prop::collection::vec("\\PC{0,40}", 0..20), piece in 1usize..50
        ) {
            let mut stream = Vec::new();
            payloads.iter().for_each(|payload| encode(payload, &mut stream));
            let mut decoder = Decoder::new(1000);
            let mut seen = Vec::new();
            for bytes in stream.chunks(piece) {
                decoder.push(bytes);
                while let Some(payload) = decoder.take().unwrap() {
                    seen.push(String::from_utf8(payload).unwrap());
                }
            }
            prop_assert_eq!(seen, payloads);
            prop_assert_eq!(decoder.buffered(), 0);
        }

        #[test]
        fn random_bytes_end_in_payloads_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn random_almost_frames_end_in_payloads_or_an_error(text in "[0-9\n a-c]{0,60}") {
            let _ = decode(text.as_bytes());
        }
    }
}
