// SPDX-License-Identifier: Apache-2.0
//! Replays the corpus of the fuzz targets (`fuzz/`), which need a toolchain of their own, with the one that is here.

#[path = "../fuzz/checks.rs"]
mod checks;
#[path = "../fuzz/exchange.rs"]
mod exchange;
#[path = "../fuzz/graph.rs"]
mod graph;
#[path = "../fuzz/ledger.rs"]
mod ledger;
#[path = "../fuzz/wire.rs"]
mod wire;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        println!("{}", path.display());
        check(&data);
        // What a fuzzer tries first.
        for cut in [data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
            check(&data[..cut]);
            check(&data[cut..]);
            check(&[&data[..cut], b"\0", &data[cut..]].concat());
        }
        replayed += 1;
    }
    assert!(replayed >= 10, "{} has few inputs: {replayed}", directory.display());
}

#[test]
fn the_corpus_of_texts_holds_no_surprise() {
    replay("text", checks::text);
}

#[test]
fn the_corpus_of_json_holds_no_surprise() {
    replay("json", checks::json);
}

#[test]
fn the_corpus_of_paths_holds_no_surprise() {
    replay("path", checks::path);
}

#[test]
fn the_corpus_of_frames_holds_no_surprise() {
    replay("framing", checks::framing);
}

#[test]
fn the_corpus_of_connections_holds_no_surprise() {
    replay("leader", checks::leader);
}

#[test]
fn the_corpus_of_packets_holds_no_surprise() {
    replay("wire", wire::wire);
}

#[test]
fn the_corpus_of_ledgers_holds_no_surprise() {
    replay("ledger", ledger::ledger);
}

/// Histories of keys without end, from a fixed seed.
#[test]
fn no_history_of_a_ledger_draws_a_number_twice() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    for _ in 0..3000 {
        let length = 2 * usize::from(byte());
        let history: Vec<u8> = (0..length).map(|_| byte()).collect();
        ledger::ledger(&history);
    }
}

#[test]
fn the_corpus_of_whole_gateways_holds_no_surprise() {
    replay("graph", graph::graph);
}

#[test]
fn the_corpus_of_key_exchanges_holds_no_surprise() {
    replay("exchange", exchange::exchange);
}
