//! Costs that may grow with the number of tunnels and of upstreams.
//!
//! ```text
//! cargo bench --bench growth --features http2,ring,test-util -- run docs/growth.svg
//! ```
//!
//! Everything happens on connections in memory, in one thread, on a paused clock. The figures are the
//! thread's CPU time by the account of Linux' scheduler; the far ends' work is part of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
#[path = "../instructions/frames.rs"]
mod frames;
#[allow(dead_code)]
#[path = "../instructions/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../instructions/tls.rs"]
mod tls;

mod measure;
mod plot;

use std::fs;

use measure::{Operation, Sample};

const TUNNELS: [usize; 3] = [1_000, 10_000, 100_000];
const UPSTREAMS: [usize; 3] = [10, 1_000, 10_000];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let mut arguments = arguments.iter().map(String::as_str);
    // The way in which cargo calls benchmarks is without a command.
    if arguments.next() != Some("run") {
        println!("cargo bench --bench growth --features http2,ring,test-util -- run");
        return;
    }
    let plot = arguments.next().filter(|file| !file.starts_with('-'));
    let mut samples = Vec::new();
    for upstreams in UPSTREAMS {
        for tunnels in TUNNELS {
            eprintln!("{tunnels} tunnels, {upstreams} upstreams");
            samples.extend(measure::all(tunnels, upstreams));
        }
    }
    print!("{}", table(&samples));
    if let Some(file) = plot {
        fs::write(file, plot::svg(&samples)).expect("the file is written");
    }
}

/// A row for each operation and number of upstreams, a column for each number of tunnels, and the
/// growth of the last one from the first.
fn table(samples: &[Sample]) -> String {
    let mut text = "| | upstreams | 1,000 tunnels | 10,000 | 100,000 | |\n".to_owned();
    text += "|---|---|---|---|---|---|\n";
    for operation in Operation::ALL {
        for upstreams in UPSTREAMS {
            let row: Vec<_> = series(samples, operation, upstreams).collect();
            let cells: Vec<_> = row
                .iter()
                .map(|it| format!("{:.2} µs", it.micros))
                .collect();
            let growth = match (row.first(), row.last()) {
                (Some(first), Some(last)) => last.micros / first.micros,
                _ => f64::NAN,
            };
            let (name, cells) = (operation.name(), cells.join(" | "));
            text += &format!("| {name} | {upstreams} | {cells} | × {growth:.1} |\n");
        }
    }
    text
}

/// The samples of an operation beside this number of upstreams, by growing numbers of tunnels.
fn series(
    samples: &[Sample],
    operation: Operation,
    upstreams: usize,
) -> impl Iterator<Item = &Sample> {
    let samples = samples.iter();
    samples.filter(move |it| it.operation == operation && it.upstreams == upstreams)
}
