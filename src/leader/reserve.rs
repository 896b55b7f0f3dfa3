// SPDX-License-Identifier: Apache-2.0
//! What to do with a client when this process has no descriptor for it: take it with one that was kept for that, and close
//! it. Left in the queue of the listener, it would make `poll` return at once, again and again.

use crate::clock::Instant;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use tracing::warn;

/// A descriptor that is not needed.
pub(super) struct Reserve {
    spare: Option<File>,
    logged_at: Option<Instant>,
}

impl Default for Reserve {
    fn default() -> Self {
        Self { spare: spare(), logged_at: None }
    }
}

impl Reserve {
    /// After `accept` failed for want of a descriptor: closes the next client. Whether that was possible; if not, the
    /// listener is better left alone for a while.
    pub(super) fn turn_away(&mut self, listener: &UnixListener, error: &io::Error, now: Instant) -> bool {
        if self.logged_at.is_none_or(|at| now.saturating_duration_since(at) >= LOG_EVERY) {
            self.logged_at = Some(now);
            warn!(
                "control connections are closed unanswered: this process has no descriptor left ({error}); raise \
                 LimitNOFILE (ulimit -n)"
            );
        }
        self.spare = None;
        let accepted = listener.accept();
        let is_done = match &accepted {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        drop(accepted);
        self.spare = spare();
        is_done
    }
}

/// Whether `accept` failed because there is no descriptor.
pub(super) fn is_short(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// A client that tries again and again does not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(60);
