// SPDX-License-Identifier: Apache-2.0
//! The committed BPF objects are those that their source gives.

use std::path::Path;
use std::process::Command;

#[test]
fn the_committed_objects_are_built_from_the_committed_source() {
    let bpf = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf");
    let directory = tempfile::tempdir().unwrap();

    let output = Command::new(bpf.join("build.sh")).arg(directory.path()).output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "bpf/build.sh failed, which needs the packages clang and llvm (apt-get install clang llvm): {messages}"
    );

    let version = Command::new("clang").arg("--version").output().unwrap().stdout;
    let version = String::from_utf8_lossy(&version);
    for object in ["vita.bpf.o", "vita_tags.bpf.o"] {
        assert!(
            std::fs::read(directory.path().join(object)).unwrap() == std::fs::read(bpf.join(object)).unwrap(),
            "bpf/{object} is not what bpf/vita.bpf.c gives: run `make bpf` and commit the result.\n\
             The bytes depend on the compiler: the object is made with clang 14, here it is {}",
            version.lines().next().unwrap_or("unknown")
        );
    }
}
