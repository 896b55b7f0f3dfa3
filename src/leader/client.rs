// SPDX-License-Identifier: Apache-2.0
//! The asking side of the control socket: one instance, one connection, one call after the other.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use super::frame::{Decoder, FrameError, MAX_REPLY, encode};
use super::message::{self, BadMessage, Reply, Request};
use super::rundir;

#[derive(Debug, Error)]
pub enum ClientError {
    #[error("Could not connect to config leader socket on Snabb instance '{id}'.")]
    NoInstance { id: String },
    #[error("cannot connect to the instance '{id}': {error}. The control socket is for root only: try sudo")]
    Denied { id: String, error: io::Error },
    #[error("cannot talk to the instance: {0}")]
    Io(#[from] io::Error),
    #[error("the instance did not answer within {} s: it may be stopped; see its log", PATIENCE.as_secs())]
    Silent,
    #[error(
        "the instance closed the connection without an answer: it did not understand the request; its log \
         says why"
    )]
    Unanswered,
    #[error("the instance sent an answer that is no frame of the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the instance sent an answer that does not fit the call {rpc}")]
    WrongReply { rpc: String },
    #[error("the request or its answer is {0}")]
    Message(#[from] BadMessage),
}

/// A client of the control socket.
pub struct Client {
    stream: UnixStream,
    input: Decoder,
}

impl Client {
    /// Connects to the instance called `id`, or else the one whose process id that is.
    pub fn connect(id: &str) -> Result<Self, ClientError> {
        Self::connect_below(&rundir::root(), id)
    }

    /// `connect` with another time to wait for each answer.
    pub fn connect_patiently(id: &str, patience: Duration) -> Result<Self, ClientError> {
        let client = Self::connect(id)?;
        client.stream.set_read_timeout(Some(patience))?;
        client.stream.set_write_timeout(Some(patience))?;
        Ok(client)
    }

    /// `connect` with another root of run directories.
    pub fn connect_below(root: &Path, id: &str) -> Result<Self, ClientError> {
        let missing = || ClientError::NoInstance { id: id.to_owned() };
        for socket in rundir::sockets(root, id).map_err(|_| missing())? {
            match UnixStream::connect(&socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    return Ok(Self { stream, input: Decoder::new(MAX_REPLY) });
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(ClientError::Denied { id: id.to_owned(), error });
                }
                Err(_) => {}
            }
        }
        Err(missing())
    }

    /// Sends one call and waits for its reply.
    pub fn call(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let mut frame = Vec::new();
        encode(&message::print_request(request)?, &mut frame);
        // A peer that closes early has its reason in the reply, or in the lack of one: read first.
        let sent = self.stream.write_all(&frame);
        let received = self.receive();
        if let (Err(error), Err(ClientError::Unanswered)) = (sent, &received)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(error.into());
        }
        let text = String::from_utf8(received?)
            .map_err(|_| ClientError::WrongReply { rpc: request.rpc().into() })?;
        let reply = message::parse_reply(request.rpc(), &text)?;
        reply.ok_or_else(|| ClientError::WrongReply { rpc: request.rpc().into() })
    }

    fn receive(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut chunk = [0; READ_CHUNK];
        loop {
            if let Some(payload) = self.input.take()? {
                return Ok(payload);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Unanswered),
                Ok(count) => self.input.push(&chunk[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Err(ClientError::Unanswered),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Err(ClientError::Silent),
                    _ => return Err(error.into()),
                },
            }
        }
    }
}

const READ_CHUNK: usize = 64 << 10;

/// A change is answered when it is in effect. The largest take seconds; a script should not hang forever
/// on an instance that is stopped.
const PATIENCE: Duration = Duration::from_secs(120);
