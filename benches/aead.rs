// SPDX-License-Identifier: Apache-2.0
//! What sealing and opening a packet costs, by size and by implementation, in batches as the gateway hands them over.
//!
//! Times are medians over single batches, too short for other processes to interrupt many of them, in rounds that
//! interleave all implementations and sizes, so that a machine that changes its speed does so for all of them. Packets
//! lie in frames of their own, as they do in the gateway, and stay in the cache. The last two columns mix sizes, under
//! one key and under thousands: what a gateway of many tunnels has to bear.

use std::hint::black_box;
use std::time::{Duration, Instant};
use vita::aead::{Aead, ICV, Job, Key, available};

fn main() {
    let mut trials: Vec<Trial> = Vec::new();
    for aead in available() {
        for bytes in SIZES {
            trials.push(Trial::new(*aead, &[bytes], 1));
        }
        trials.push(Trial::new(*aead, &MIX, 1));
        trials.push(Trial::new(*aead, &MIX, MANY_KEYS));
    }
    for _ in 0..ROUNDS {
        for trial in &mut trials {
            trial.run();
        }
    }
    print!("{:>12} {:>5}", "ns/packet", "");
    for bytes in SIZES {
        print!(" {bytes:>6}");
    }
    println!(" {:>6} {:>6}", "IMIX", "keys");
    for row in trials.chunks_mut(SIZES.len() + 2) {
        let name = row[0].aead.name();
        let (seal, open): (Vec<f64>, Vec<f64>) = row.iter_mut().map(Trial::medians).unzip();
        for (way, row) in [("seal", seal), ("open", open)] {
            print!("{name:>12} {way:>5}");
            for ns in row {
                print!(" {ns:>6.1}");
            }
            println!();
        }
    }
    println!("medians over batches of {BATCH} in {ROUNDS} rounds; IMIX: 7 x 48, 4 x 580, 1 x 1504 bytes");
    println!("keys: IMIX with {MANY_KEYS} keys in turn, far from the core");
}

/// One implementation at one size.
struct Trial {
    aead: &'static dyn Aead,
    keys: Vec<Key>,
    sizes: Vec<usize>,
    /// Frames of 4 KiB; a packet begins where headers have left it.
    memory: Vec<u8>,
    next_key: usize,
    seal_ns: Vec<f64>,
    open_ns: Vec<f64>,
}

impl Trial {
    fn new(aead: &'static dyn Aead, sizes: &[usize], keys: usize) -> Trial {
        let keys = (0..keys as u128).map(|i| aead.expand(&i.to_le_bytes().into())).collect();
        let sizes = sizes.iter().copied().cycle().take(BATCH).collect();
        let memory = vec![0; BATCH * FRAME];
        Trial { aead, keys, sizes, memory, next_key: 0, seal_ns: Vec::new(), open_ns: Vec::new() }
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
            forget(self.aead, &self.keys);
            let start = Instant::now();
            self.aead.open(black_box(&mut jobs));
            self.open_ns.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
            assert!(jobs.iter().all(|job| job.authentic), "what was sealed must open");
            forget(self.aead, &self.keys);
            let start = Instant::now();
            self.aead.seal(black_box(&mut jobs));
            self.seal_ns.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
        }
    }

    fn medians(&mut self) -> (f64, f64) {
        for times in [&mut self.seal_ns, &mut self.open_ns] {
            times.sort_by(f64::total_cmp);
        }
        (self.seal_ns[self.seal_ns.len() / 2], self.open_ns[self.open_ns.len() / 2])
    }
}

/// Uses all keys, so that those of the next batch are as far away as among many tunnels.
fn forget(aead: &dyn Aead, keys: &[Key]) {
    if keys.len() > 1 {
        for key in keys {
            let job = Job { key, nonce: [0; 12], associated: [0; 12], data: &mut [0; ICV], authentic: false };
            aead.seal(&mut [job]);
        }
    }
}

/// Text bytes: the inner packet with its padding and trailer.
const SIZES: [usize; 6] = [44, 64, 128, 354, 1024, 1420];
/// The text of inner packets of 40, 576 and 1500 bytes, mixed as they would arrive.
const MIX: [usize; 12] = [48, 580, 48, 48, 580, 48, 1504, 48, 580, 48, 580, 48];
const MANY_KEYS: usize = 2048;
/// As the gateway hands them over.
const BATCH: usize = 64;
const FRAME: usize = 4096;
/// Headroom, outer Ethernet and IPv4, ESP: what lies before the text.
const HEADERS: usize = 256 + 14 + 20 + 16;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(8);
