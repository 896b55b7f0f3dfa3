// SPDX-License-Identifier: Apache-2.0
//! How `vita config` shows the answer of an instance: on standard output, with an exit code.

use std::io::Write;
use std::process::ExitCode;

use super::error::ConfigError;
use super::output::write;
use crate::leader::Reply;

pub(super) fn report(reply: &Reply, output: &mut dyn Write) -> Result<ExitCode, ConfigError> {
    let text = match (reply.error(), reply.status()) {
        (Some(error), _) => Some(error),
        (None, 0) => reply.leaf("config").or_else(|| reply.leaf("state")).or_else(|| shown(reply)),
        (None, _) => Some(UNEXPLAINED.to_owned()),
    };
    if let Some(text) = text {
        write(output, &(text + "\n")).map_err(ConfigError::Output)?;
    }
    let failure = if reply.error().is_some() { reply.status().max(1) } else { reply.status() };
    Ok(ExitCode::from(failure))
}

/// Says what is wrong with a value, where other clients say it.
pub(super) fn refuse(error: &str, output: &mut dyn Write) -> Result<ExitCode, ConfigError> {
    write(output, &format!("{error}\n")).map_err(ConfigError::Output)?;
    Ok(ExitCode::FAILURE)
}

/// What an instance tells of a change or of its history. Whole lines, the last one without its end.
fn shown(reply: &Reply) -> Option<String> {
    let shown = ["difference", "history"].into_iter().find_map(|name| reply.leaf(name))?;
    Some(shown.trim_end().to_owned()).filter(|shown| !shown.is_empty())
}

/// Some instances answer a value they cannot parse with nothing but a status.
const UNEXPLAINED: &str =
    "The instance refused this without saying why; is there a syntax error in the value?";

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(reply: &Reply) -> (String, ExitCode) {
        let mut output = Vec::new();
        let code = report(reply, &mut output).unwrap();
        (String::from_utf8(output).unwrap(), code)
    }

    #[test]
    fn a_value_is_printed_with_one_more_newline() {
        let reply = Reply::success("get-config", vec![("config", "8923".to_owned())]);
        assert_eq!(reported(&reply), ("8923\n".to_owned(), ExitCode::SUCCESS));
        let reply = Reply::success("get-state", vec![("state", "rxerrors 0;\n".to_owned())]);
        assert_eq!(reported(&reply), ("rxerrors 0;\n\n".to_owned(), ExitCode::SUCCESS));
    }

    #[test]
    fn a_change_that_succeeds_prints_nothing() {
        assert_eq!(reported(&Reply::success("set-config", vec![])), (String::new(), ExitCode::SUCCESS));
    }

    #[test]
    fn an_error_is_printed_and_its_status_is_the_exit_code() {
        let reply = Reply::failure("set-config", "no");
        assert_eq!(reported(&reply), ("no\n".to_owned(), ExitCode::from(1)));
    }
}
