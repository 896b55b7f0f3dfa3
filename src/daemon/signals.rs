// SPDX-License-Identifier: Apache-2.0
//! Signals of the gateway process: SIGINT and SIGTERM stop it, SIGHUP has it read its configuration file again. The first
//! signal to stop is noticed by the loop; a second one ends the process at once.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct Signals {
    /// Becomes readable.
    pub arrival: UnixStream,
    pub stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Installs the signal handlers.
    pub(super) fn new() -> io::Result<Signals> {
        let (arrival, sender) = UnixStream::pair()?;
        arrival.set_nonblocking(true)?;
        let (stop, reload) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, KILLED, stop.clone())?;
            flag::register(signal, stop.clone())?;
            pipe::register(signal, sender.try_clone()?)?;
        }
        flag::register(SIGHUP, reload.clone())?;
        pipe::register(SIGHUP, sender)?;
        Ok(Signals { arrival, stop, reload })
    }

    /// Whether the configuration file is to be read again; true once for any number of signals since.
    pub(super) fn takes_reload(&self) -> bool {
        // What arrives is one byte a signal; a flag says which it was.
        while matches!((&self.arrival).read(&mut [0; 64]), Ok(1..)) {}
        self.reload.swap(false, Ordering::Relaxed)
    }
}

/// What a shell reports of a process that SIGTERM ended.
const KILLED: i32 = 143;
