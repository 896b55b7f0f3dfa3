// SPDX-License-Identifier: Apache-2.0
//! Interface between the control socket and whoever runs the configuration.

use super::extension::Extension;
use crate::yang::format::Format;
use std::task::Poll;

/// What the control socket serves. Errors are shown to the user as they are, so they name the path, the
/// value and what was expected.
pub trait Handler {
    /// Name of the schema that paths and values belong to.
    fn schema(&self) -> &str;
    /// YANG text of a schema, if this one is known.
    fn schema_source(&self, schema: &str) -> Option<&str>;
    fn get_config(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String>;
    fn get_state(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String>;
    /// Whether a change is under way, so that none of the calls below may be made.
    fn is_busy(&self) -> bool {
        false
    }
    /// What came of the call of those below that was made last and not refused: an error, with nothing changed; another text
    /// than the call gave, if there is one. `Pending` until the change is in effect.
    fn outcome(&mut self) -> Poll<Result<Option<String>, String>> {
        Poll::Ready(Ok(None))
    }
    /// Begins a change, or refuses it.
    fn set_config(&mut self, path: &str, config: &str) -> Result<(), String>;
    fn add_config(&mut self, path: &str, config: &str) -> Result<(), String>;
    fn remove_config(&mut self, path: &str) -> Result<(), String>;
    /// What deployed instances do not offer. The text that is shown in answer.
    fn extension(&mut self, _: &Extension) -> Result<String, String> {
        Err("this instance has no history and no dry run".to_owned())
    }
}
