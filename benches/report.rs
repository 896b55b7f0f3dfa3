// SPDX-License-Identifier: Apache-2.0
//! Makes of the figures that the other benches have left in the file that `VITA_FIGURES` names: a table in Markdown
//! (`table.md`, also printed), one document for machines (`figures.json`) and a plot of packet rate against frame size
//! (`rate.svg`), beside that file.

use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

fn main() {
    let Some(path) = std::env::var_os("VITA_FIGURES") else {
        eprintln!("report: set VITA_FIGURES to the file that the benches have written; `make bench` does");
        return;
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        eprintln!("report: {}: {error}; run the other benches first", path.display());
        std::process::exit(1);
    });
    let figures: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let machine = Machine::this();
    let directory = Path::new(&path).parent().unwrap_or(Path::new("."));
    let write = |name: &str, content: &str| {
        let file = directory.join(name);
        std::fs::write(&file, content).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        println!("written: {}", file.display());
    };
    let table = table(&figures, &machine);
    println!("{table}");
    write("table.md", &table);
    let document = json!({ "machine": machine.describe(), "figures": figures });
    write("figures.json", &format!("{document:#}\n"));
    write("rate.svg", &plot(&figures));
}

/// What the figures were taken on.
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
}

impl Machine {
    fn this() -> Machine {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpu.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or("?", |(_, value)| value.trim()).to_string()
        };
        let model =
            format!("{} (family {}, model {})", field("model name"), field("cpu family"), field("model\t"));
        Machine {
            cpu: model,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_string(),
        }
    }

    fn describe(&self) -> String {
        let aead = vita::aead::preferred().name();
        format!("{}, {} cores, Linux {}, AES-GCM by {aead}", self.cpu, self.cores, self.kernel)
    }
}

fn table(figures: &[Value], machine: &Machine) -> String {
    let mut table = format!("{}. Median of the rounds, and the best of them.\n", machine.describe());
    let mut bench = "";
    for figure in figures {
        let of = figure["bench"].as_str().unwrap_or_default();
        if of != bench {
            bench = of;
            let _ = write!(
                table,
                "\n**{bench}**\n\n| figure | median | best | unit | goal | compared with |\n| --- | ---: | ---: | --- | ---: | --- |\n"
            );
        }
        let value = |name: &str| figure[name].as_f64().map_or(String::new(), short);
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} |",
            figure["figure"].as_str().unwrap_or_default(),
            value("median"),
            value("best"),
            figure["unit"].as_str().unwrap_or_default(),
            value("goal"),
            compared(figure),
        );
    }
    table
}

/// `what: its value, our value as a multiple of it`, for each.
fn compared(figure: &Value) -> String {
    let median = figure["median"].as_f64().unwrap_or_default();
    let pairs = figure["against"].as_array().into_iter().flatten().filter_map(|pair| {
        let (what, value) = (pair[0].as_str()?, pair[1].as_f64()?);
        Some(format!("{what}: {}, ours {:.2} times that", short(value), median / value))
    });
    pairs.collect::<Vec<_>>().join("; ")
}

/// Three digits, or all those before the point.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Packet rate against frame size, ours and those that others have been measured with.
fn plot(figures: &[Value]) -> String {
    let ours: Vec<(f64, f64)> = figures
        .iter()
        .filter_map(|figure| {
            let size = figure["figure"].as_str()?.strip_prefix("loop/IPv4/")?.strip_suffix(" B")?;
            Some((size.parse().ok()?, figure["median"].as_f64()?))
        })
        .collect();
    let (width, height, left, top, bottom) = (720.0, 420.0, 60.0, 40.0, 50.0);
    let most = ours.iter().map(|(_, rate)| *rate).fold(13.0, f64::max);
    let x = |size: f64| left + size / 1500.0 * (width - left - 150.0);
    let y = |rate: f64| height - bottom - rate / most * (height - top - bottom);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"20\">Million packets a second on one core, out and in, in memory, against bytes of the frame</text>\n"
    );
    for rate in (0..=most as u32).step_by(2) {
        let level = y(f64::from(rate));
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" y1=\"{level:.1}\" x2=\"{:.1}\" y2=\"{level:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{rate}</text>",
            x(1500.0),
            left - 8.0,
            level + 4.0
        );
    }
    for size in [64.0, 512.0, 1024.0, 1400.0] {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{size}</text>",
            x(size),
            height - bottom + 18.0
        );
    }
    let peers = PEERS.iter().map(|(name, colour, points)| (*name, *colour, points.to_vec()));
    for (name, colour, points) in std::iter::once(("Vita, this run", "#c02020", ours)).chain(peers) {
        let line: Vec<String> =
            points.iter().map(|(size, rate)| format!("{:.1},{:.1}", x(*size), y(*rate))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for (size, rate) in &points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(*size),
                y(*rate)
            );
        }
        if let Some((size, rate)) = points.last() {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>",
                x(*size) + 8.0,
                y(*rate) + 4.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The same loop with others' gateways, measured elsewhere (Sapphire Rapids, 2.3 GHz): frame size and million packets
/// a second. Of different machines, so only the shape compares.
type Peer = (&'static str, &'static str, &'static [(f64, f64)]);
const PEERS: [Peer; 2] = [
    ("deployed Vita (Lua)", "#2060c0", &[(60.0, 3.3), (1400.0, 0.95)]),
    ("VPP, native engine", "#208040", &[(60.0, 5.5), (1400.0, 2.7)]),
];
