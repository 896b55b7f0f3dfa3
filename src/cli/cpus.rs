// SPDX-License-Identifier: Apache-2.0
//! CPU lists: `2,3` or `2-5,8`.

use std::fs;

use thiserror::Error;

#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum CpuListError {
    #[error("{word:?} is neither a CPU number nor a range of them; write e.g. 2,3 or 2-5")]
    Syntax { word: String },
    #[error("the range {word:?} runs backwards; write the lower number first")]
    Backwards { word: String },
    #[error("CPU {cpu} is named twice; each worker needs its own")]
    Duplicate { cpu: usize },
    #[error("CPU {cpu} does not exist here; there are {}", ranges(.available))]
    Missing { cpu: usize, available: Vec<usize> },
}

/// Reads a list of CPUs that exist here, in the order given.
pub(super) fn parse(text: &str) -> Result<Vec<usize>, CpuListError> {
    parse_among(text, &online())
}

fn parse_among(text: &str, available: &[usize]) -> Result<Vec<usize>, CpuListError> {
    let mut cpus = Vec::new();
    for word in text.split(',') {
        let (first, last) = range(word)?;
        for cpu in first..=last {
            // Before anything else: this ends ranges of astronomical length too.
            if cpu >= MAX_CPUS || !available.contains(&cpu) {
                return Err(CpuListError::Missing { cpu, available: available.to_vec() });
            }
            if cpus.contains(&cpu) {
                return Err(CpuListError::Duplicate { cpu });
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// The CPUs of this machine that are running. Not the affinity mask of this process: CPUs set aside with
/// `isolcpus`, which workers are meant for, are missing from that.
fn online() -> Vec<usize> {
    let listed = fs::read_to_string(ONLINE).ok().map(|text| {
        let ranges = text.trim().split(',').filter_map(|word| range(word).ok());
        ranges.flat_map(|(first, last)| first..=last.min(MAX_CPUS)).collect()
    });
    listed.unwrap_or_else(|| {
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect()
    })
}

fn range(word: &str) -> Result<(usize, usize), CpuListError> {
    let number = |digits: &str| {
        let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let value = decimal.then(|| digits.parse().unwrap_or(usize::MAX));
        value.ok_or_else(|| CpuListError::Syntax { word: word.to_owned() })
    };
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(CpuListError::Backwards { word: word.to_owned() }) } else { Ok((first, last)) }
}

/// A sorted list as ranges: `0-3,6`.
fn ranges(cpus: &[usize]) -> String {
    let runs = cpus.chunk_by(|a, b| a + 1 == *b);
    let words = runs.filter_map(|run| match (run.first()?, run.last()?) {
        (first, last) if first == last => Some(first.to_string()),
        (first, last) => Some(format!("{first}-{last}")),
    });
    words.collect::<Vec<_>>().join(",")
}

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Size of the kernel's fixed CPU set (cpu_set_t); pinning to one beyond it aborts the process.
const MAX_CPUS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &[usize] = &[0, 1, 2, 3, 4, 5, 8];

    #[test]
    fn lists_and_ranges_keep_their_order() {
        assert_eq!(parse_among("2,3", HERE), Ok(vec![2, 3]));
        assert_eq!(parse_among("8,2-5,0", HERE), Ok(vec![8, 2, 3, 4, 5, 0]));
        assert_eq!(parse_among("3-3", HERE), Ok(vec![3]));
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_named_with_those_that_do() {
        let error = parse_among("2,7", HERE).unwrap_err();
        assert_eq!(error.to_string(), "CPU 7 does not exist here; there are 0-5,8");
    }

    #[test]
    fn numbers_beyond_every_machine_are_just_missing() {
        for huge in ["1024", "0-99999999999999999999999", "99999999999999999999999"] {
            assert!(matches!(parse_among(huge, HERE), Err(CpuListError::Missing { .. })), "{huge}");
        }
        let everything: Vec<usize> = (0..5000).collect();
        assert!(matches!(parse_among("1024", &everything), Err(CpuListError::Missing { cpu: 1024, .. })));
    }

    #[test]
    fn a_cpu_named_twice_is_refused() {
        assert_eq!(parse_among("2,2", HERE), Err(CpuListError::Duplicate { cpu: 2 }));
        assert_eq!(parse_among("1-3,2", HERE), Err(CpuListError::Duplicate { cpu: 2 }));
    }

    #[test]
    fn what_is_not_a_list_is_refused() {
        for bad in ["", ",", "2,", "a", "-1", "1-", "+1", " 2", "2 ,3", "1-2-3", "0x2"] {
            assert!(matches!(parse_among(bad, HERE), Err(CpuListError::Syntax { .. })), "{bad:?}");
        }
        assert_eq!(parse_among("5-2", HERE), Err(CpuListError::Backwards { word: "5-2".to_owned() }));
    }

    #[test]
    fn this_machine_has_cpus() {
        assert!(!online().is_empty());
    }
}
