// SPDX-License-Identifier: Apache-2.0
//! What is left of an SA.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where an SA leaves its last sequence number when it is dropped, by whichever thread and for whatever reason. Whoever
/// uses its key again goes on from there (RFC 4106 section 2: nonces must not repeat).
#[derive(Debug, Default)]
pub struct LastNumber(Arc<AtomicU64>);

/// The SA's side. It tells the number when it goes.
pub(crate) struct Will(Arc<AtomicU64>);

impl LastNumber {
    /// That of an SA that is gone already.
    pub fn new(number: u64) -> LastNumber {
        LastNumber(Arc::new(AtomicU64::new(number)))
    }

    /// The number; none while the SA lives.
    pub fn number(&mut self) -> Option<u64> {
        Arc::get_mut(&mut self.0).map(|number| *number.get_mut())
    }

    pub(crate) fn will(&self) -> Will {
        Will(self.0.clone())
    }
}

impl Will {
    pub fn leave(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }
}
