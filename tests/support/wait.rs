// SPDX-License-Identifier: Apache-2.0
//! Waiting for something that must happen.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until something is so, far longer than a loaded machine takes.
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    within(PATIENCE, what, is_so);
}

/// The same, and fails if it takes longer than the bound.
pub fn within(bound: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + bound;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not so after {bound:?}: {what}");
        thread::sleep(POLL);
    }
}

/// Generous: on a busy machine only the failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
