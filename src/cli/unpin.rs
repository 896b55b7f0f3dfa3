// SPDX-License-Identifier: Apache-2.0
//! `vita unpin NAME`: removes the XDP programs that an instance with `fail-closed` left on its interfaces.

use crate::device::{PinError, Pins};
use crate::leader::rundir::{self, RunDirError};
use std::fmt::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(super) enum UnpinError {
    #[error(transparent)]
    Name(#[from] RunDirError),
    #[error("{0} runs, and keeps its programs: vita config set {0} /fail-closed false")]
    Running(String),
    #[error("{name} has nothing pinned in {directory}")]
    Nothing { name: String, directory: PathBuf },
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// Gives a line for each interface.
pub(super) fn run(name: &str) -> Result<String, UnpinError> {
    let sockets = rundir::sockets(&rundir::root(), name)?;
    if sockets.iter().any(|socket| UnixStream::connect(socket).is_ok()) {
        return Err(UnpinError::Running(name.to_string()));
    }
    let pins = Pins::of(name);
    let interfaces = pins.interfaces();
    if interfaces.is_empty() {
        return Err(UnpinError::Nothing { name: name.to_string(), directory: pins.directory().to_owned() });
    }
    let mut text = String::new();
    for interface in interfaces {
        pins.release(&interface)?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{interface}: the XDP program is gone, the kernel gets its packets");
    }
    Ok(text)
}
