// SPDX-License-Identifier: Apache-2.0
//! Stories about what a whole process has: descriptors, mappings, pinned memory. Those of the other stories would count.

use super::netns::Turn;
use std::process::Command;

/// Runs a story in a process that runs nothing else. `test` is the path of the test that calls this, as libtest prints it.
pub fn in_a_process_of_its_own(test: &str, story: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return story();
    }
    let _turn = Turn::take();
    let this = std::env::current_exe().expect("the program has a path");
    let mut child = Command::new(this);
    let output = child.args(["--exact", test]).env(CHILD, "1").output().expect("it can be started again");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // Success alone may mean that no test has this name.
    assert!(output.status.success() && said.contains("1 passed"), "{test}: {}\n{said}", output.status);
}

const CHILD: &str = "VITA_TEST_ALONE";
