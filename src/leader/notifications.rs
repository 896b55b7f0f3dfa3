// SPDX-License-Identifier: Apache-2.0
//! The socket on which alarms are announced. There are none so far, so whoever listens hears nothing.

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::peer;
use super::reserve::{Reserve, is_short};
use crate::clock::Instant;
use crate::wait::readable;

/// The socket for notifications, and those who listen there.
pub(super) struct Notifications {
    listener: UnixListener,
    /// In the order in which they came.
    subscribers: Vec<UnixStream>,
    /// Whether the listener is left alone until the next `service`, because it cannot accept.
    rests: bool,
}

impl Notifications {
    /// Listens beside the control socket, for the same users.
    pub(super) fn bind(control_socket: &Path) -> io::Result<Self> {
        let path = control_socket.with_file_name(SOCKET);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, subscribers: Vec::new(), rests: false })
    }

    /// Appends the descriptors to poll.
    pub(super) fn poll_fds(&self, out: &mut Vec<libc::pollfd>) {
        let fds = (!self.rests).then(|| self.listener.as_raw_fd()).into_iter();
        let fds = fds.chain(self.subscribers.iter().map(AsRawFd::as_raw_fd));
        out.extend(fds.map(readable));
    }

    /// Takes in who came and lets go who left.
    pub(super) fn service(&mut self, now: Instant, reserve: &mut Reserve, allowed: impl Fn(u32) -> bool) {
        self.subscribers.retain_mut(is_there);
        self.rests = false;
        for _ in 0..MAX_SUBSCRIBERS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    self.rests = match is_short(&error) {
                        true => !reserve.turn_away(&self.listener, &error, now),
                        false => error.kind() != io::ErrorKind::WouldBlock,
                    };
                    return;
                }
            };
            let known = peer::user(&stream).is_ok_and(&allowed) && stream.set_nonblocking(true).is_ok();
            if !known {
                continue;
            }
            if self.subscribers.len() >= MAX_SUBSCRIBERS {
                self.subscribers.remove(0);
            }
            self.subscribers.push(stream);
        }
    }
}

/// Subscribers have nothing to say; what they say all the same is thrown away.
fn is_there(subscriber: &mut UnixStream) -> bool {
    let mut discarded = [0; 4096];
    match subscriber.read(&mut discarded) {
        Ok(count) => count > 0,
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

const SOCKET: &str = "notifications";

/// One agent per installation is usual; the one that came first makes room for another.
const MAX_SUBSCRIBERS: usize = 16;
