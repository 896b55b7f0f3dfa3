// SPDX-License-Identifier: Apache-2.0
//! Which implementation this machine uses: the fastest that its CPU has, or the one that `VITA_AEAD` names.

#[cfg(target_arch = "x86_64")]
use super::X86;
use super::{Aead, Portable};
use std::env;
use std::sync::OnceLock;

/// Why the implementation that was asked for cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{VARIABLE}={asked} names no AEAD that this CPU has: unset it, or set it to one of {}",
    available().iter().map(|aead| aead.name()).collect::<Vec<_>>().join(", ")
)]
pub struct Unavailable {
    asked: String,
}

/// All that run on this machine, fastest first.
pub fn available() -> &'static [&'static dyn Aead] {
    static AVAILABLE: OnceLock<Vec<&'static dyn Aead>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        let mut available: Vec<&'static dyn Aead> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        for found in [X86::zmm(), X86::ymm(), X86::xmm()].into_iter().flatten() {
            available.push(Box::leak(Box::new(found)));
        }
        available.push(&Portable);
        available
    })
}

/// What the operator asked for, else the fastest. Settled once for the life of the process.
pub fn chosen() -> Result<&'static dyn Aead, Unavailable> {
    static CHOSEN: OnceLock<Result<&'static dyn Aead, Unavailable>> = OnceLock::new();
    CHOSEN
        .get_or_init(|| choose(env::var_os(VARIABLE).map(|name| name.to_string_lossy().into_owned())))
        .clone()
}

/// The implementation for this machine: what was chosen, and the fastest if that cannot be had.
pub fn preferred() -> &'static dyn Aead {
    chosen().unwrap_or_else(|_| fastest())
}

fn choose(asked: Option<String>) -> Result<&'static dyn Aead, Unavailable> {
    let Some(asked) = asked.filter(|name| !name.is_empty()) else { return Ok(fastest()) };
    available().iter().find(|aead| aead.name() == asked).copied().ok_or(Unavailable { asked })
}

fn fastest() -> &'static dyn Aead {
    available().first().copied().unwrap_or(&Portable)
}

/// The environment variable that overrides the choice, for measurements and in case of doubt.
const VARIABLE: &str = "VITA_AEAD";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_taken_unless_another_is_named() {
        assert_eq!(choose(None).unwrap().name(), available()[0].name());
        assert_eq!(choose(Some(String::new())).unwrap().name(), available()[0].name());
        for aead in available() {
            assert_eq!(choose(Some(aead.name().into())).unwrap().name(), aead.name());
        }
        assert_eq!(available().last().unwrap().name(), "portable");
    }

    #[test]
    fn a_name_that_cannot_be_had_is_answered_with_those_that_can() {
        let problem = choose(Some("rot13".into())).err().unwrap().to_string();
        assert!(problem.starts_with("VITA_AEAD=rot13 names no AEAD that this CPU has"), "{problem}");
        assert!(problem.ends_with("portable"), "{problem}");
    }
}
