// SPDX-License-Identifier: Apache-2.0
//! Input of `vita config`, no longer than what an instance accepts.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use crate::config::decode;
use crate::leader::MAX_REQUEST;

pub(super) fn read_file(path: &PathBuf) -> Result<String, ConfigError> {
    let source_name = Path::display(path).to_string();
    let mut file =
        File::open(path).map_err(|error| ConfigError::Value { source_name: source_name.clone(), error })?;
    read_bounded(&mut file, &source_name)
}

pub(super) fn read_bounded(reader: &mut dyn Read, source_name: &str) -> Result<String, ConfigError> {
    let mut value = Vec::new();
    let result = reader.take(MAX_REQUEST as u64 + 1).read_to_end(&mut value);
    result.map_err(|error| ConfigError::Value { source_name: source_name.to_owned(), error })?;
    if value.len() > MAX_REQUEST {
        return Err(ConfigError::TooLong { source_name: source_name.to_owned() });
    }
    decode(value).map_err(|error| ConfigError::Encoding(error.in_file(source_name)))
}
