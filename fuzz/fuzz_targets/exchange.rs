// SPDX-License-Identifier: Apache-2.0
#![no_main]

#[path = "../exchange.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::exchange(data));
