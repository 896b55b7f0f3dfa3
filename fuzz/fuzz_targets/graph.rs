// SPDX-License-Identifier: Apache-2.0
#![no_main]

#[path = "../graph.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::graph(data));
