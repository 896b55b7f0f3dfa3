// SPDX-License-Identifier: Apache-2.0
//! What a thread or a process has used of the CPUs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// CPU time so far.
#[derive(Clone, Copy, Default)]
pub struct Used {
    pub user: Duration,
    pub all: Duration,
}

/// Of a thread of this process, by its name.
pub fn of_thread(name: &str) -> Used {
    let task = tasks(Path::new("/proc/self/task"))
        .find(|task| read(&task.join("comm")).trim() == name)
        .expect("the thread runs");
    of_task(&task)
}

/// Of all threads of a process.
pub fn of_process(pid: u32) -> Duration {
    tasks(&PathBuf::from(format!("/proc/{pid}/task"))).map(|task| of_task(&task).all).sum()
}

/// The sum is exact (nanoseconds in schedstat); what of it was user code the kernel tells in ticks.
fn of_task(task: &Path) -> Used {
    let exact = read(&task.join("schedstat"));
    let all = exact.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    let stat = read(&task.join("stat"));
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    // Behind the name, the 12th and 13th field (proc(5): utime, stime).
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
    let user = ticks.first().copied().unwrap_or(0);
    Used { user: Duration::from_millis(MS_PER_TICK * user), all: Duration::from_nanos(all) }
}

fn tasks(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// USER_HZ is 100 on every architecture this runs on.
const MS_PER_TICK: u64 = 10;
