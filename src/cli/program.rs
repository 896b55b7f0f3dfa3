// SPDX-License-Identifier: Apache-2.0
//! Which program the command line asks for, by the name it was called with.
//!
//! ```text
//!   vita --name paris          vita --name paris
//!   vita config get ..         vita config get ..
//!   snabb config get ..        vita config get ..
//!   snabb-config get ..        vita config get ..
//!   snabb vita --name paris    vita --name paris
//!   snabb ps                   vita ps
//!   snabb-vita-2019.06.0 ..    vita ..
//! ```

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The command line as it reads when it starts with `vita`.
pub(super) fn canonical(args: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, UnknownProgram> {
    let mut args = args.into_iter();
    let called = args.next().unwrap_or_default();
    let mut name = program(&called);
    if name == "snabb" {
        let mut rest = args.peekable();
        // `snabb --help` and a bare `snabb` are questions to the whole program.
        if rest.peek().is_none() {
            return Ok(["vita", "--help"].map(OsString::from).into());
        }
        let option = rest.peek().is_some_and(|first| first.as_encoded_bytes().starts_with(b"-"));
        name = if option {
            "vita".to_owned()
        } else {
            rest.next().map(|word| program(&word)).unwrap_or_default()
        };
        return assemble(&name, rest);
    }
    // A renamed or linked binary of any other name is the gateway.
    if name != "config" && name != "ps" {
        name = "vita".to_owned();
    }
    assemble(&name, args)
}

/// `snabb` was asked for a program that is not in here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("snabb {name}: no such program here; there are \"snabb config\", \"snabb ps\" and \"snabb vita\"")]
pub(super) struct UnknownProgram {
    pub name: String,
}

fn assemble(name: &str, rest: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, UnknownProgram> {
    let prefix: &[&str] = match name {
        "vita" => &["vita"],
        "config" => &["vita", "config"],
        "ps" => &["vita", "ps"],
        other => return Err(UnknownProgram { name: other.to_owned() }),
    };
    Ok(prefix.iter().map(OsString::from).chain(rest).collect())
}

/// The program in a path to an executable: no directory, no version, no `snabb-`.
fn program(path: &OsStr) -> String {
    let file = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    let name = match file.rsplit_once('-') {
        Some((name, version)) if is_version(version) => name,
        _ => &file,
    };
    name.strip_prefix("snabb-").unwrap_or(name).to_owned()
}

fn is_version(text: &str) -> bool {
    let numbers: Vec<&str> = text.split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> String {
        let words = canonical(words.split(' ').map(OsString::from)).unwrap();
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn vita_is_called_as_itself() {
        assert_eq!(line("vita --name paris"), "vita --name paris");
        assert_eq!(line("/usr/bin/vita config get a /"), "vita config get a /");
        assert_eq!(line("vita-0.1.0 -n a"), "vita -n a");
        assert_eq!(line("./my-gateway -n a"), "vita -n a");
    }

    #[test]
    fn snabb_names_its_program_first() {
        assert_eq!(line("snabb config set paris /"), "vita config set paris /");
        assert_eq!(line("/opt/bin/snabb vita --xdp"), "vita --xdp");
        assert_eq!(line("snabb"), "vita --help");
        assert_eq!((line("snabb ps"), line("snabb-ps")), ("vita ps".to_owned(), "vita ps".to_owned()));
        assert_eq!(line("snabb vita"), "vita");
        assert_eq!(line("snabb --help"), "vita --help");
        assert_eq!(
            canonical(["snabb", "lwaftr"].map(OsString::from)),
            Err(UnknownProgram { name: "lwaftr".to_owned() })
        );
    }

    #[test]
    fn a_link_can_name_the_program() {
        assert_eq!(line("/usr/local/bin/snabb-config get a /mtu"), "vita config get a /mtu");
        assert_eq!(line("snabb-config-2019.06.0 get a /mtu"), "vita config get a /mtu");
        assert_eq!(line("snabb-2019.06.0 config get a /mtu"), "vita config get a /mtu");
        assert_eq!(line("snabb-vita --name a"), "vita --name a");
    }

    #[test]
    fn an_empty_command_line_is_the_gateway() {
        assert_eq!(canonical([]), Ok(vec![OsString::from("vita")]));
    }
}
