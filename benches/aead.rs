// SPDX-License-Identifier: Apache-2.0
//! What sealing and opening a packet costs, by size, by cipher and by implementation, in batches as the gateway hands
//! them over.
//!
//! Times are over single batches, too short for other processes to interrupt many of them, in rounds that interleave
//! all implementations and sizes, so that a machine that changes its speed does so for all of them. Packets lie in
//! frames of their own, as they do in the gateway. `IMIX` mixes sizes under one key, `keys` under thousands, which is
//! what a gateway of many tunnels has to bear; `cold` is the largest size with other memory touched before each batch.
//!
//! `figures` says where the figures go besides. Theirs are named `vaes-avx512/AES-128/seal/1420 B`: implementation, cipher,
//! way, and bytes of text, `IMIX`, `keys` or `cold`. Each of AES stands against the `aes-gcm` crate in the same
//! run. ChaCha20-Poly1305 is the same in all implementations.

mod figures;

use figures::Figure;
use std::hint::black_box;
use std::time::{Duration, Instant};
use vita::aead::{Aead, ExpandedKey, ICV, Job, Portable, available};
use vita::sa::Key;

fn main() {
    let mut rows: Vec<Row> =
        available().iter().flat_map(|aead| AES.map(|cipher| Row::new(*aead, cipher))).collect();
    rows.push(Row::new(&Portable, CHACHA20));
    for _ in 0..ROUNDS {
        for trial in rows.iter_mut().flat_map(|row| &mut row.trials) {
            trial.run();
        }
    }
    // The crates come last.
    let portable: Vec<_> =
        rows.iter_mut().rev().take(AES.len() + 1).map(|row| (row.cipher, row.medians())).collect();
    print!("{:>12} {:>8} {:>6}", "ns/packet", "cipher", "");
    for column in columns() {
        print!(" {column:>6}");
    }
    println!();
    for row in &mut rows {
        let Some((_, others)) = portable.iter().find(|(cipher, _)| *cipher == row.cipher) else { continue };
        row.print(others);
    }
    println!("medians and best over batches of {BATCH} in {ROUNDS} rounds; ratio: to the crate, by medians");
    println!(
        "IMIX: 7 x 48, 4 x 580, 1 x 1504 bytes; keys: the same with {MANY_KEYS} keys in turn, far from the core"
    );
    println!("cold: {COLD} bytes, which the first cache has lost");
}

/// One implementation with keys of one cipher.
struct Row {
    aead: &'static dyn Aead,
    cipher: &'static str,
    trials: Vec<Trial>,
}

impl Row {
    fn new(aead: &'static dyn Aead, cipher: &'static str) -> Row {
        let mut trials: Vec<_> =
            SIZES.iter().map(|bytes| Trial::new(aead, cipher, &[*bytes], 1, false)).collect();
        trials.push(Trial::new(aead, cipher, &MIX, 1, false));
        trials.push(Trial::new(aead, cipher, &MIX, MANY_KEYS, false));
        trials.push(Trial::new(aead, cipher, &[COLD], 1, true));
        Row { aead, cipher, trials }
    }

    /// Of sealing, then of opening, by column.
    fn medians(&mut self) -> [Vec<f64>; 2] {
        let (seal, open) = self
            .trials
            .iter_mut()
            .map(|trial| (median(&mut trial.seal_ns), median(&mut trial.open_ns)))
            .unzip();
        [seal, open]
    }

    fn print(&mut self, others: &[Vec<f64>; 2]) {
        let (name, cipher) = (self.aead.name(), self.cipher);
        let other_name = if cipher == CHACHA20 { "chacha20poly1305 crate" } else { "aes-gcm crate" };
        for ((way, others), opens) in ["seal", "open"].into_iter().zip(others).zip([false, true]) {
            let mut lines = [
                format!("{name:>12} {cipher:>8} {way:>6}"),
                format!("{:>28}", "best"),
                format!("{:>28}", "ratio"),
            ];
            for ((trial, column), other) in self.trials.iter_mut().zip(columns()).zip(others) {
                let column = if column.parse::<usize>().is_ok() { column + " B" } else { column };
                let times = if opens { &mut trial.open_ns } else { &mut trial.seal_ns };
                let figure = Figure {
                    bench: "aead",
                    figure: &format!("{name}/{cipher}/{way}/{column}"),
                    unit: "ns",
                    goal: None,
                    against: &[(other_name, *other)],
                };
                let median = figure.record(times);
                for (line, value) in lines.iter_mut().zip([median, times[0], other / median]) {
                    *line += &format!(" {value:>6.1}");
                }
            }
            lines.iter().for_each(|line| println!("{line}"));
        }
    }
}

fn columns() -> impl Iterator<Item = String> {
    let others = ["IMIX", "keys", "cold"].map(str::to_owned);
    SIZES.iter().map(usize::to_string).chain(others)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// One implementation at one size.
struct Trial {
    aead: &'static dyn Aead,
    keys: Vec<ExpandedKey>,
    sizes: Vec<usize>,
    /// Frames of 4 KiB; a packet begins where headers have left it.
    memory: Vec<u8>,
    /// Read before each batch, so that the first cache has nothing else.
    other_memory: Vec<u8>,
    next_key: usize,
    seal_ns: Vec<f64>,
    open_ns: Vec<f64>,
}

impl Trial {
    fn new(aead: &'static dyn Aead, cipher: &str, sizes: &[usize], keys: usize, cold: bool) -> Trial {
        let keys = (0..keys).map(|i| aead.expand(&secret(cipher, i))).collect();
        let sizes = sizes.iter().copied().cycle().take(BATCH).collect();
        let other_memory = vec![1; if cold { FIRST_CACHE } else { 0 }];
        let memory = vec![0; BATCH * FRAME];
        Trial {
            aead,
            keys,
            sizes,
            memory,
            other_memory,
            next_key: 0,
            seal_ns: Vec::new(),
            open_ns: Vec::new(),
        }
    }

    fn run(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < ROUND {
            let mut jobs: Vec<Job<'_>> = self
                .memory
                .chunks_mut(FRAME)
                .zip(&self.sizes)
                .zip(self.keys.iter().cycle().skip(self.next_key))
                .enumerate()
                .map(|(i, ((frame, size), key))| {
                    let data = &mut frame[HEADERS..][..size + ICV];
                    Job { key, nonce: [i as u8; 12], associated: [7; 12], data, authentic: false }
                })
                .collect();
            self.next_key = (self.next_key + BATCH) % self.keys.len();
            self.aead.seal(&mut jobs);
            forget(self.aead, &self.keys, &self.other_memory);
            let start = Instant::now();
            self.aead.open(black_box(&mut jobs));
            self.open_ns.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
            assert!(jobs.iter().all(|job| job.authentic), "what was sealed must open");
            forget(self.aead, &self.keys, &self.other_memory);
            let start = Instant::now();
            self.aead.seal(black_box(&mut jobs));
            self.seal_ns.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
        }
    }
}

fn secret(cipher: &str, number: usize) -> Key {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    match bytes.split_first_chunk::<16>() {
        Some((half, _)) if cipher == AES[0] => Key::Aes128Gcm(*half),
        _ if cipher == CHACHA20 => Key::ChaCha20Poly1305(bytes),
        _ => Key::Aes256Gcm(bytes),
    }
}

/// Uses all keys, so that those of the next batch are as far away as among many tunnels, and the other memory.
fn forget(aead: &dyn Aead, keys: &[ExpandedKey], memory: &[u8]) {
    if keys.len() > 1 {
        for key in keys {
            let job = Job { key, nonce: [0; 12], associated: [0; 12], data: &mut [0; ICV], authentic: false };
            aead.seal(&mut [job]);
        }
    }
    black_box(memory.iter().fold(0u8, |sum, byte| sum ^ byte));
}

const AES: [&str; 2] = ["AES-128", "AES-256"];
const CHACHA20: &str = "ChaCha20";
/// Text bytes: the inner packet with its padding and trailer.
const SIZES: [usize; 6] = [44, 64, 128, 354, 1024, 1420];
/// The text of inner packets of 40, 576 and 1500 bytes, mixed as they would arrive.
const MIX: [usize; 12] = [48, 580, 48, 48, 580, 48, 1504, 48, 580, 48, 580, 48];
const COLD: usize = 1420;
/// More than the first cache of any CPU in use.
const FIRST_CACHE: usize = 128 * 1024;
const MANY_KEYS: usize = 2048;
/// As the gateway hands them over.
const BATCH: usize = 64;
const FRAME: usize = 4096;
/// Headroom, outer Ethernet and IPv4, ESP: what lies before the text.
const HEADERS: usize = 256 + 14 + 20 + 16;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(6);
