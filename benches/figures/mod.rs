// SPDX-License-Identifier: Apache-2.0
//! What a bench leaves behind besides what it prints: one line of JSON for each figure, appended to the file that
//! `VITA_FIGURES` names. `cargo bench --bench report` makes a table, a document and a plot of all lines of one run.
//!
//! ```json
//! {"bench":"exchange","figure":"handshake","unit":"ns","median":1234.5,"best":1200.0,"goal":null,"against":[["what",1000.0]]}
//! ```
//!
//! `median` and `best` are of the rounds of one run; `goal` is what there is to reach, if anything; `against` is what the
//! figure is compared with, and that one's value in the same unit: measured in the same run, unless the name says where else.

use serde_json::{Value, json};
use std::io::Write;

/// One measured quantity.
pub struct Figure<'a> {
    pub bench: &'a str,
    /// Unique in its bench; words apart by spaces, parts by slashes: `loop/IPv4/60 B`.
    pub figure: &'a str,
    pub unit: &'a str,
    pub goal: Option<f64>,
    pub against: &'a [(&'a str, f64)],
}

impl Figure<'_> {
    /// Records the median and the best of these rounds, and gives the median. The best is the greatest, or for times and
    /// costs (`ns`, `us`, `ms`, `%`) the least.
    pub fn record(&self, rounds: &mut [f64]) -> f64 {
        rounds.sort_by(f64::total_cmp);
        let median = rounds[rounds.len() / 2];
        let less_is_better = LESS_IS_BETTER.contains(&self.unit);
        let best = if less_is_better { rounds.first() } else { rounds.last() };
        let line = json!({
            "bench": self.bench, "figure": self.figure, "unit": self.unit, "median": median, "best": best,
            "goal": self.goal, "against": self.against,
        });
        if let Err(error) = append(&line) {
            eprintln!("{}: {error}", self.figure);
        }
        median
    }
}

fn append(line: &Value) -> std::io::Result<()> {
    let Some(path) = std::env::var_os("VITA_FIGURES") else { return Ok(()) };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{line}")
}

const LESS_IS_BETTER: [&str; 4] = ["ns", "us", "ms", "%"];
