// SPDX-License-Identifier: Apache-2.0
//! The supervisor.

use std::path::PathBuf;

use thiserror::Error;

/// How one gateway process is to run, apart from its network configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What the instance is called in the run directory.
    pub name: String,
    /// CPUs to pin workers to, in the order of their queues; empty to leave it to the kernel.
    pub cpus: Vec<usize>,
    /// Workers spin instead of sleeping when there is nothing to do.
    pub busywait: bool,
    /// Workers get real-time priority.
    pub realtime: bool,
    /// The configuration to start with.
    pub config: Option<PathBuf>,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("this build has no supervisor: instance {name:?} cannot run")]
    Unavailable { name: String },
}

/// Runs a gateway until it is told to stop.
pub fn run(options: Options) -> Result<(), Error> {
    Err(Error::Unavailable { name: options.name })
}
