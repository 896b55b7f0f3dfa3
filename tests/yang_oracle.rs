// SPDX-License-Identifier: Apache-2.0
//! Another implementation of YANG as the judge of ours: yanglint, of libyang.
//!
//! The corpus holds documents in JSON with yanglint's verdict on each; `tools/yang-corpus` makes it. Compared is what
//! the model says. What this program refuses beyond that (IPv6, say) is no business of yanglint's.

use serde_json::Value;
use std::path::Path as File;
use std::process::Command;
use vita::config;
use vita::yang::data::Data;
use vita::yang::path::Path;
use vita::yang::{json, validate};

struct Judged {
    why: String,
    valid: bool,
    instance: String,
}

fn corpus() -> Vec<Judged> {
    let corpus: Vec<Value> = serde_json::from_str(include_str!("vectors/yang-corpus.json")).unwrap();
    let judged = |entry: &Value| Judged {
        why: entry["why"].as_str().unwrap().to_string(),
        valid: entry["valid"].as_bool().unwrap(),
        instance: entry["instance"].as_str().unwrap().to_string(),
    };
    let corpus: Vec<_> = corpus.iter().map(judged).collect();
    assert!(corpus.len() >= 200, "{} documents", corpus.len());
    assert!(corpus.iter().filter(|judged| judged.valid).count() >= 50, "few are valid");
    assert!(corpus.iter().filter(|judged| !judged.valid).count() >= 100, "few are not valid");
    corpus
}

/// Our verdict.
fn judge(instance: &str) -> Result<(), String> {
    let schema = config::schema();
    let root = json::read(&schema.name, &Path::root(&schema.root), instance);
    match root.map_err(|error| error.to_string())? {
        Data::Container(root) => {
            validate::validate(&schema.root, &root, None).map_err(|invalid| invalid.to_string())
        }
        _ => Err("the root is no container".to_string()),
    }
}

#[test]
fn our_verdict_is_that_of_yanglint() {
    let disagreements: Vec<_> = corpus()
        .iter()
        .filter_map(|judged| {
            let ours = judge(&judged.instance);
            let said = ours.as_ref().err().map_or("", |error| error.as_str());
            let line = || format!("{}: yanglint says {}, we say {said:?}", judged.why, judged.valid);
            (ours.is_ok() != judged.valid).then(line)
        })
        .collect();
    assert!(disagreements.is_empty(), "{}\n{}", disagreements.len(), disagreements.join("\n"));
}

/// The corpus is not out of date: the model as it is now, and the yanglint that is installed.
#[test]
fn yanglint_still_says_what_the_corpus_says() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("instance.json");
    let changed: Vec<_> = corpus()
        .iter()
        .filter(|judged| {
            std::fs::write(&file, &judged.instance).unwrap();
            yanglint(&["--format", "json", "--type", "config"], &file) != judged.valid
        })
        .map(|judged| judged.why.clone())
        .collect();
    assert!(changed.is_empty(), "run tools/yang-corpus and look at what changed: {changed:#?}");
}

/// What `get --format json` prints is valid for others as well.
#[test]
fn yanglint_accepts_what_is_printed_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("instance.json");
    let mut printed = 0;
    for judged in corpus().iter().filter(|judged| judged.valid) {
        // What this program does not support cannot be printed by it.
        let Ok(document) = config::Document::parse(&judged.instance) else { continue };
        for print_default in [false, true] {
            let text = document.print("/", vita::yang::format::Format::Json, print_default).unwrap();
            std::fs::write(&file, &text).unwrap();
            assert!(yanglint(&["--format", "json", "--type", "config"], &file), "{}: {text}", judged.why);
            printed += 1;
        }
    }
    assert!(printed >= 40, "{printed}");
}

#[test]
fn yanglint_accepts_the_modules() {
    let yang = File::new(env!("CARGO_MANIFEST_DIR")).join("yang");
    for module in ["vita-esp-gateway.yang", "snabb-config-leader-v1.yang"] {
        let output = yanglint_command().arg(yang.join(module)).output().expect(MISSING);
        assert!(output.status.success(), "{module}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn yanglint(options: &[&str], instance: &File) -> bool {
    let module = File::new(env!("CARGO_MANIFEST_DIR")).join("yang/vita-esp-gateway.yang");
    let mut command = yanglint_command();
    let output = command.args(options).arg(module).arg(instance).output().expect(MISSING);
    output.status.success()
}

fn yanglint_command() -> Command {
    let mut command = Command::new("yanglint");
    command.arg("--path").arg(File::new(env!("CARGO_MANIFEST_DIR")).join("yang/ietf"));
    command
}

const MISSING: &str = "yanglint runs; it is in the package libyang2-tools, see apt-packages.txt";
