// SPDX-License-Identifier: Apache-2.0
#![no_main]

#[path = "../ledger.rs"]
mod ledger;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ledger::ledger(data));
