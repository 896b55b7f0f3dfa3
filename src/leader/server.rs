// SPDX-License-Identifier: Apache-2.0
//! The serving side of the control socket, for a caller that owns the poll loop.
//!
//! ```text
//!   loop { poll_fds(&mut fds); poll(fds, ..); service(now, handler) }
//! ```
//!
//! `service` never blocks on a peer, and whether a descriptor was ready does not matter to it: calling it
//! too often costs a few system calls.

use crate::clock::Instant;
use crate::wait::readable;
use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use tracing::{debug, warn};

use super::connection::{Closed, Connection};
use super::dispatch::Session;
use super::handler::Handler;
use super::notifications::Notifications;
use super::peer;
use super::reserve::{Reserve, is_short};

/// The server of the control socket.
pub struct Server {
    listener: UnixListener,
    owner: u32,
    connections: Vec<Connection>,
    /// Number of the next connection.
    next: u64,
    /// Number of the connection that alone may change the configuration, if one does.
    exclusive: Option<u64>,
    /// Numbers of the connections that wait for a change, in the order in which they came with it.
    turns: VecDeque<u64>,
    reserve: Reserve,
    /// Whether the listener is left alone until the next `service`, because it cannot accept.
    rests: bool,
    notifications: Notifications,
}

impl Server {
    /// Listens on a new socket that only its owner (and root) may connect to, and on the one for notifications
    /// beside it.
    pub fn bind(socket_path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket_path)?;
        fs::set_permissions(socket_path, Permissions::from_mode(0o700))?;
        listener.set_nonblocking(true)?;
        let owner = fs::metadata(socket_path)?.uid();
        let notifications = Notifications::bind(socket_path)?;
        Ok(Self {
            listener,
            owner,
            connections: Vec::new(),
            next: 0,
            exclusive: None,
            turns: VecDeque::new(),
            reserve: Reserve::default(),
            rests: false,
            notifications,
        })
    }

    /// Adds what has to be waited for before the next `service`.
    pub fn poll_fds(&self, out: &mut Vec<libc::pollfd>) {
        if !self.rests {
            out.push(readable(self.listener.as_raw_fd()));
        }
        self.notifications.poll_fds(out);
        out.extend(self.connections.iter().map(Connection::poll_fd));
    }

    /// Accepts, reads, answers and writes as far as that goes without waiting.
    pub fn service(&mut self, now: Instant, handler: &mut dyn Handler) {
        self.accept(now);
        let owner = self.owner;
        self.notifications.service(now, &mut self.reserve, |user| may_control(user, owner));
        // Once more for those that waited for a change that has been made now.
        for _ in 0..=self.connections.len() {
            let turn = self.turns.front().copied();
            self.serve(now, handler);
            if self.turns.is_empty() || self.turns.front().copied() == turn {
                break;
            }
        }
    }

    fn serve(&mut self, now: Instant, handler: &mut dyn Handler) {
        // Backwards, so that removing one moves only one whose turn has been.
        for index in (0..self.connections.len()).rev() {
            let connection = &mut self.connections[index];
            let mut session = Session {
                connection: connection.number,
                listener: &mut self.exclusive,
                turns: &mut self.turns,
            };
            if let Err(end) = connection.service(now, &mut session, handler) {
                self.close(index);
                if !matches!(end, Closed::Finished) {
                    warn!(error = %end, "closed a control connection");
                }
            }
            if self.shed_buffers() {
                break;
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        self.rests = false;
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.admit(stream, now) {
                        warn!(%error, "refused a control connection");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The peer has gone again: not a reason to stop.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_short(&error) => {
                    if !self.reserve.turn_away(&self.listener, &error, now) {
                        self.rests = true;
                        return;
                    }
                }
                Err(error) => {
                    warn!(%error, "cannot accept control connections");
                    self.rests = true;
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: UnixStream, now: Instant) -> io::Result<()> {
        let user = peer::user(&stream)?;
        if !may_control(user, self.owner) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("user {user} may not control this instance, only root and user {}", self.owner),
            ));
        }
        if self.connections.len() >= MAX_CONNECTIONS {
            self.close_idlest();
        }
        self.connections.push(Connection::new(self.next, stream, now)?);
        self.next += 1;
        Ok(())
    }

    fn close(&mut self, index: usize) {
        let connection = self.connections.swap_remove(index);
        self.turns.retain(|number| *number != connection.number);
        self.exclusive = self.exclusive.filter(|number| *number != connection.number);
    }

    /// A new peer is somebody who wants something now; the one silent for the longest wants it least. The listener
    /// is meant to be silent.
    fn close_idlest(&mut self) {
        let others = self.connections.iter().enumerate();
        let others = others.filter(|(_, connection)| Some(connection.number) != self.exclusive);
        let idlest = others.min_by_key(|(_, connection)| connection.last_progress());
        if let Some((index, _)) = idlest {
            debug!("closed the control connection that was idle for the longest to make room for another");
            self.close(index);
        }
    }

    /// The memory all peers together may hold is bounded; above it, the largest holder goes. Says
    /// whether one went.
    fn shed_buffers(&mut self) -> bool {
        let mut shed = false;
        while self.connections.iter().map(Connection::buffered).sum::<usize>() > MAX_BUFFERED {
            let largest =
                self.connections.iter().enumerate().max_by_key(|(_, connection)| connection.buffered());
            let Some((index, _)) = largest else { break };
            warn!(
                "closed the control connection with the most unread data: all of them hold too much together"
            );
            self.close(index);
            shed = true;
        }
        shed
    }
}

fn may_control(user: u32, owner: u32) -> bool {
    user == ROOT || user == owner
}

const ROOT: u32 = 0;

/// Clients connect, ask and leave; only agents stay. Far more than an installation has of them.
const MAX_CONNECTIONS: usize = 64;

/// Keeps a stream of new connections from delaying the answers to those that are here.
const ACCEPTS_PER_TURN: usize = 16;

/// A request and an answer of the largest size; a few MB are the ordinary maximum.
const MAX_BUFFERED: usize = super::frame::MAX_REQUEST + super::frame::MAX_REPLY;
