// SPDX-License-Identifier: Apache-2.0
//! One client of the server: bytes in, requests answered in order, bytes out.
//!
//! A request is taken up only when the answer to the one before has left. So a peer that asks faster than
//! it reads fills its own socket and waits, and at most one answer is held for it.

use crate::clock::Instant;
use crate::wait::{readable, writable};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::task::Poll;
use std::time::Duration;

use thiserror::Error;

use super::dispatch::{Calls, Session, Unanswerable};
use super::frame::{Decoder, FrameError, MAX_REQUEST, encode};
use super::handler::Handler;

/// Why a connection is over.
#[derive(Debug, Error)]
pub(super) enum Closed {
    /// The peer is done, as it should be.
    #[error("the peer closed the connection")]
    Finished,
    #[error("the peer closed the connection in the middle of a request")]
    Cut,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Request(#[from] Unanswerable),
    #[error("the peer left a request or an answer half transferred for {} s", STALL.as_secs())]
    Stalled,
}

/// The connection of one client.
pub(super) struct Connection {
    /// No other connection of the server has the same.
    pub number: u64,
    stream: UnixStream,
    input: Decoder,
    input_ended: bool,
    /// The request that is being answered, and its length.
    calls: Option<(Calls, usize)>,
    output: Vec<u8>,
    written: usize,
    last_progress: Instant,
}

impl Connection {
    /// Takes over an accepted socket.
    pub(super) fn new(number: u64, stream: UnixStream, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            number,
            stream,
            input: Decoder::new(MAX_REQUEST),
            input_ended: false,
            calls: None,
            output: Vec::new(),
            written: 0,
            last_progress: now,
        })
    }

    /// The event to poll for: none while a change is being made, whose end another descriptor signals. With a
    /// request in the buffer it is writability, which comes at once: `poll` does not see bytes in our memory.
    pub(super) fn poll_fd(&self) -> libc::pollfd {
        // The kernel passes over negative ones.
        let fd = if self.calls.is_some() { -1 } else { self.descriptor() };
        if self.has_output() || self.input.is_ready() { writable(fd) } else { readable(fd) }
    }

    /// The socket, for polling.
    pub(super) fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Bytes held for this peer.
    pub(super) fn buffered(&self) -> usize {
        self.input.buffered() + self.output.len() + self.calls.as_ref().map_or(0, |(_, length)| *length)
    }

    /// When the connection last made progress.
    pub(super) fn last_progress(&self) -> Instant {
        self.last_progress
    }

    /// Does what can be done without waiting, up to a fair share. An error ends the connection.
    pub(super) fn service(
        &mut self,
        now: Instant,
        session: &mut Session,
        handler: &mut dyn Handler,
    ) -> Result<(), Closed> {
        for _ in 0..STEPS_PER_TURN {
            if self.has_output() && !self.flush(now)? {
                break;
            }
            if self.calls.is_some() && !self.answer(now, session, handler)? {
                return Ok(());
            }
            if self.has_output() {
                continue;
            }
            match self.input.take()? {
                // An empty frame asks for nothing; deployed instances give no answer to it.
                Some(payload) if payload.is_empty() => {}
                Some(payload) => self.calls = Some((Calls::read(&payload)?, payload.len())),
                None if self.input_ended => return Err(self.end()),
                None if !self.fill(now)? => break,
                None => {}
            }
        }
        let waiting = self.has_output() || self.input.buffered() > 0;
        if waiting && now.saturating_duration_since(self.last_progress) > STALL {
            return Err(Closed::Stalled);
        }
        Ok(())
    }

    /// Goes on answering the request; whether it is answered.
    fn answer(
        &mut self,
        now: Instant,
        session: &mut Session,
        handler: &mut dyn Handler,
    ) -> Result<bool, Closed> {
        let Some((calls, _)) = &mut self.calls else { return Ok(true) };
        let Poll::Ready(replies) = calls.advance(session, handler)? else { return Ok(false) };
        encode(&replies, &mut self.output);
        self.calls = None;
        // The peer has waited for us.
        self.last_progress = now;
        Ok(true)
    }

    fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Writes what the socket takes; whether that was all.
    fn flush(&mut self, now: Instant) -> Result<bool, Closed> {
        while self.has_output() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(count) => {
                    self.written += count;
                    self.last_progress = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The peer left before it read everything: its right, and nothing to warn about.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(Closed::Finished),
                Err(error) => return Err(error.into()),
            }
        }
        // A large answer does not keep its memory for the life of the connection.
        self.output = Vec::new();
        self.written = 0;
        Ok(true)
    }

    /// Reads one chunk; whether there may be more.
    fn fill(&mut self, now: Instant) -> Result<bool, Closed> {
        let mut chunk = [0; READ_CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.input_ended = true,
            Ok(count) => {
                self.input.push(&chunk[..count]);
                self.last_progress = now;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Closed::Finished),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn end(&self) -> Closed {
        if self.input.buffered() > 0 { Closed::Cut } else { Closed::Finished }
    }
}

const READ_CHUNK: usize = 64 << 10;

/// Reads, answers and writes per turn: enough to take a whole document at once, few enough that a peer
/// that pipelines without end does not keep the others waiting.
const STEPS_PER_TURN: usize = 64;

/// Local peers answer in microseconds; one that leaves a frame half done for this long is stuck.
const STALL: Duration = Duration::from_secs(60);
