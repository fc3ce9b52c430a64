//! The tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use serde_json::Value;

use crate::Result;

/// The floor that everything is compared with.
const FLOOR: &str = "raw-shared";

/// A table: its heading, and of which scenarios and figures its columns are.
struct Table {
    heading: &'static str,
    columns: &'static [Column],
    shows: Shows,
}

/// The proxy that TLS and HTTP/2 are compared with.
const HAPROXY: &str = "haproxy";

struct Column {
    title: &'static str,
    scenario: &'static str,
    figure: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// Multiples of this subject's figure of the same round.
    Over(&'static str),
    /// The figure itself.
    Figures,
}

const fn column(title: &'static str, scenario: &'static str, figure: &'static str) -> Column {
    Column {
        title,
        scenario,
        figure,
    }
}

const CPU: &str = "cpu_us_per_message";
const RATE: &str = "messages_per_second";

const TABLES: &[Table] = &[
    Table {
        heading: "CPU of the proxy per message, × raw-shared",
        columns: &[
            column("16 B, 64", "echo-16b-64", CPU),
            column("16 B, 512", "echo-16b-512", CPU),
            column("1 KiB, 64", "echo-1k-64", CPU),
            column("1 KiB, 512", "echo-1k-512", CPU),
            column("64 KiB, 64", "echo-64k-64", CPU),
            column("256 KiB, 16", "echo-256k-16", CPU),
            column("1 MiB, 8", "echo-1m-8", CPU),
            column("16 B × 16, 64", "echo-16b-x16-64", CPU),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "Round trips per second, × raw-shared",
        columns: &[
            column("16 B, 64", "echo-16b-64", RATE),
            column("16 B, 512", "echo-16b-512", RATE),
            column("1 KiB, 64", "echo-1k-64", RATE),
            column("1 KiB, 512", "echo-1k-512", RATE),
            column("64 KiB, 64", "echo-64k-64", RATE),
            column("16 B × 16, 64", "echo-16b-x16-64", RATE),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "One way, 1 MiB messages, 8 connections, × raw-shared",
        columns: &[
            column("GB/s down", "down-1m", "gb_per_second"),
            column("CPU per GiB down", "down-1m", "cpu_ms_per_gib"),
            column("GB/s up", "up-1m", "gb_per_second"),
            column("CPU per GiB up", "up-1m", "cpu_ms_per_gib"),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "Latency of 8 busy among 1,000 quiet, and handshakes (16 at a time), × raw-shared",
        columns: &[
            column("p50", "latency-1000-8", "p50_us"),
            column("p99", "latency-1000-8", "p99_us"),
            column("p99.9", "latency-1000-8", "p999_us"),
            column("CPU per handshake", "handshake-16", "cpu_us_per_handshake"),
            column("handshakes/s", "handshake-16", "handshakes_per_second"),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "Latency of 8 busy among 9,600 quiet, µs",
        columns: &[
            column("p50", "latency-9600-8", "p50_us"),
            column("p99", "latency-9600-8", "p99_us"),
            column("p99.9", "latency-9600-8", "p999_us"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "Memory per quiet tunnel, bytes",
        columns: &[
            column("RSS, 1,000", "memory-1000", "rss_bytes_per_tunnel"),
            column("RSS, 10,000", "memory-10000", "rss_bytes_per_tunnel"),
            column("heap, 1,000", "memory-1000", "heap_bytes_per_tunnel"),
            column("heap, 10,000", "memory-10000", "heap_bytes_per_tunnel"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "16 B of 8 connections, by themselves and beside 8 floods",
        columns: &[
            column("p50 alone, µs", "fairness-8-8", "p50_us_alone"),
            column("p50 beside", "fairness-8-8", "p50_us_beside"),
            column("p99 alone, µs", "fairness-8-8", "p99_us_alone"),
            column("p99 beside", "fairness-8-8", "p99_us_beside"),
            column("p99, ratio", "fairness-8-8", "p99_ratio"),
            column("GB/s of the floods", "fairness-8-8", "gb_per_second"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "Forwarded requests, × raw-shared",
        columns: &[
            column("CPU per GET, 64", "http-get-64", CPU),
            column("GET/s", "http-get-64", RATE),
            column("GB/s down, 8", "http-download-8", "gb_per_second"),
            column("CPU per GiB down", "http-download-8", "cpu_ms_per_gib"),
            column("GB/s up, 8", "http-upload-8", "gb_per_second"),
            column("CPU per GiB up", "http-upload-8", "cpu_ms_per_gib"),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "TLS at the edge: CPU, × haproxy",
        columns: &[
            column("16 B, 64", "tls-echo-16b-64", CPU),
            column("1 KiB, 64", "tls-echo-1k-64", CPU),
            column("64 KiB, 64", "tls-echo-64k-64", CPU),
            column("per GiB down", "tls-down-1m", "cpu_ms_per_gib"),
            column("per GiB up", "tls-up-1m", "cpu_ms_per_gib"),
            column("handshake", "tls-handshake-16", HANDSHAKE),
            column("resumed", "tls-resumption-16", HANDSHAKE),
        ],
        shows: Shows::Over(HAPROXY),
    },
    Table {
        heading: "TLS at the edge: memory per quiet tunnel, bytes",
        columns: &[
            column("RSS, 1,000", "tls-memory-1000", "rss_bytes_per_tunnel"),
            column("RSS, 10,000", "tls-memory-10000", "rss_bytes_per_tunnel"),
            column("heap, 1,000", "tls-memory-1000", "heap_bytes_per_tunnel"),
            column("heap, 10,000", "tls-memory-10000", "heap_bytes_per_tunnel"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "HTTP/2, 100 tunnels on a connection: CPU, × haproxy",
        columns: &[
            column("16 B, 100", "http2-echo-16b-100", CPU),
            column("1 KiB, 100", "http2-echo-1k-100", CPU),
            column("64 KiB, 100", "http2-echo-64k-100", CPU),
            column("tunnel opened and closed, 16", "http2-tunnel-16", HANDSHAKE),
        ],
        shows: Shows::Over(HAPROXY),
    },
    Table {
        heading: "HTTP/2, 100 tunnels on a connection: memory per quiet tunnel, bytes",
        columns: &[
            column("RSS, 1,000", "http2-memory-1000", "rss_bytes_per_tunnel"),
            column("RSS, 10,000", "http2-memory-10000", "rss_bytes_per_tunnel"),
            column("heap, 1,000", "http2-memory-1000", "heap_bytes_per_tunnel"),
            column(
                "heap, 10,000",
                "http2-memory-10000",
                "heap_bytes_per_tunnel",
            ),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "System calls per operation (strace)",
        columns: &[
            column("16 B, 64", "syscalls-echo-16b-64", "calls_per_op"),
            column("64 KiB, 64", "syscalls-echo-64k-64", "calls_per_op"),
            column("handshake", "syscalls-handshake-16", "calls_per_op"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "10,000 quiet tunnels pinged every 20 s on both legs",
        columns: &[
            column("% of a core", "pinged", "percent_of_a_core"),
            column("CPU µs per pair of pings", "pinged", "cpu_us_per_ping_pair"),
        ],
        shows: Shows::Figures,
    },
];

/// A goal: a ratio of our figure to another's of the same round, and its bound.
struct Goal {
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    /// Nothing where the figure itself has the bound.
    over: Option<&'static str>,
    bound: Bound,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

const OURS: &str = "wsplice-keepalive";

/// The subjects that the goals apply to; the second is the same with a runtime for each core.
const JUDGED: [&str; 2] = [OURS, "wsplice-per-core"];

const fn at_most(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    over: &'static str,
    bound: f64,
) -> Goal {
    Goal {
        what,
        scenario,
        figure,
        over: Some(over),
        bound: Bound::AtMost(bound),
    }
}

const fn at_least(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    over: &'static str,
    bound: f64,
) -> Goal {
    Goal {
        bound: Bound::AtLeast(bound),
        ..at_most(what, scenario, figure, over, bound)
    }
}

const fn absolute(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    bound: f64,
) -> Goal {
    Goal {
        over: None,
        ..at_most(what, scenario, figure, "", bound)
    }
}

const HANDSHAKE: &str = "cpu_us_per_handshake";

const GOALS: &[Goal] = &[
    at_most("CPU 16 B, 64 / floor", "echo-16b-64", CPU, FLOOR, 1.05),
    at_most("CPU 16 B, 512 / floor", "echo-16b-512", CPU, FLOOR, 1.05),
    at_most("CPU 1 KiB, 64 / floor", "echo-1k-64", CPU, FLOOR, 1.05),
    at_most("CPU 1 KiB, 512 / floor", "echo-1k-512", CPU, FLOOR, 1.05),
    at_most("CPU 16 B, 64 / HAProxy", "echo-16b-64", CPU, "haproxy", 1.0),
    at_most(
        "CPU 16 B, 512 / HAProxy",
        "echo-16b-512",
        CPU,
        "haproxy",
        1.0,
    ),
    at_most("CPU 1 KiB, 64 / HAProxy", "echo-1k-64", CPU, "haproxy", 1.0),
    at_most(
        "CPU 1 KiB, 512 / HAProxy",
        "echo-1k-512",
        CPU,
        "haproxy",
        1.0,
    ),
    at_most("CPU 16 B, 64 / nginx", "echo-16b-64", CPU, "nginx", 1.0),
    at_most("CPU 16 B, 512 / nginx", "echo-16b-512", CPU, "nginx", 1.0),
    at_most("CPU 1 KiB, 64 / nginx", "echo-1k-64", CPU, "nginx", 1.0),
    at_most("CPU 1 KiB, 512 / nginx", "echo-1k-512", CPU, "nginx", 1.0),
    at_most("CPU 64 KiB / floor", "echo-64k-64", CPU, FLOOR, 1.05),
    at_most(
        "CPU 64 KiB / axum-reverse-proxy",
        "echo-64k-64",
        CPU,
        "axum-reverse-proxy",
        0.30,
    ),
    at_most("CPU 256 KiB / floor", "echo-256k-16", CPU, FLOOR, 1.05),
    at_most("CPU 1 MiB / floor", "echo-1m-8", CPU, FLOOR, 1.05),
    at_most(
        "CPU 64 KiB / nginx-256k",
        "echo-64k-64",
        CPU,
        "nginx-256k",
        1.0,
    ),
    at_most(
        "CPU 256 KiB / nginx-256k",
        "echo-256k-16",
        CPU,
        "nginx-256k",
        1.0,
    ),
    at_most(
        "CPU 1 MiB / nginx-256k",
        "echo-1m-8",
        CPU,
        "nginx-256k",
        1.0,
    ),
    absolute(
        "p99 beside floods / alone",
        "fairness-8-8",
        "p99_ratio",
        2.0,
    ),
    at_least("GB/s down / floor", "down-1m", "gb_per_second", FLOOR, 0.95),
    at_least("GB/s up / floor", "up-1m", "gb_per_second", FLOOR, 0.95),
    at_least(
        "GB/s down / HAProxy",
        "down-1m",
        "gb_per_second",
        "haproxy",
        1.3,
    ),
    at_least(
        "GB/s up / HAProxy",
        "up-1m",
        "gb_per_second",
        "haproxy",
        1.3,
    ),
    at_most("p99 / floor", "latency-1000-8", "p99_us", FLOOR, 1.1),
    at_most(
        "handshake / HAProxy",
        "handshake-16",
        HANDSHAKE,
        "haproxy",
        1.0,
    ),
    at_most("handshake / nginx", "handshake-16", HANDSHAKE, "nginx", 1.0),
    absolute(
        "heap per tunnel, B",
        "memory-10000",
        "heap_bytes_per_tunnel",
        2048.0,
    ),
    absolute(
        "RSS per tunnel, B",
        "memory-10000",
        "rss_bytes_per_tunnel",
        2560.0,
    ),
    absolute("pings, % of a core", "pinged", "percent_of_a_core", 1.0),
];

const TLS_JUDGED: [&str; 2] = ["wsplice-tls-ring", "wsplice-tls-aws-lc"];

const RESIDENT: &str = "rss_bytes_per_tunnel";

/// TLS at the edge beside the other proxies.
const TLS_GOALS: &[Goal] = &[
    at_most("TLS 16 B / HAProxy", "tls-echo-16b-64", CPU, "haproxy", 1.0),
    at_most("TLS 16 B / nginx", "tls-echo-16b-64", CPU, "nginx", 1.0),
    at_most("TLS 1 KiB / HAProxy", "tls-echo-1k-64", CPU, "haproxy", 1.0),
    at_most("TLS 1 KiB / nginx", "tls-echo-1k-64", CPU, "nginx", 1.0),
    at_most(
        "TLS 64 KiB / HAProxy",
        "tls-echo-64k-64",
        CPU,
        "haproxy",
        1.0,
    ),
    at_most("TLS 64 KiB / nginx", "tls-echo-64k-64", CPU, "nginx", 1.0),
    at_most(
        "TLS memory / HAProxy",
        "tls-memory-10000",
        RESIDENT,
        "haproxy",
        1.0,
    ),
    at_most(
        "TLS memory / nginx",
        "tls-memory-10000",
        RESIDENT,
        "nginx",
        1.0,
    ),
];

/// Cost of a program of the gateway beside another proxy.
const GATEWAY_GOALS: &[Goal] = &[at_most(
    "handshake / HAProxy",
    "handshake-16",
    HANDSHAKE,
    "haproxy",
    1.1,
)];

const SCRAPED: &str = "wsplice-scraped";
const UNSCRAPED: &str = "wsplice";

/// What metrics and a status page may cost that are read every second.
const SCRAPED_GOALS: &[Goal] = &[
    at_most(
        "CPU 16 B, 64 / without",
        "echo-16b-64",
        CPU,
        UNSCRAPED,
        1.02,
    ),
    at_most(
        "CPU 16 B, 512 / without",
        "echo-16b-512",
        CPU,
        UNSCRAPED,
        1.02,
    ),
    at_most(
        "p99 beside 9,600 / without",
        "latency-9600-8",
        "p99_us",
        UNSCRAPED,
        1.2,
    ),
];

/// Prints the tables of a result that was written before.
pub fn reprint(json: &Path) -> Result<()> {
    let result = serde_json::from_slice(&fs::read(json)?)?;
    println!("{}", markdown(&result));
    Ok(())
}

pub fn markdown(result: &Value) -> String {
    let samples = Samples::of(result);
    let mut text = String::new();
    for table in TABLES {
        samples.table(table, &mut text);
    }
    for ours in JUDGED {
        samples.goals(ours, GOALS, &mut text);
    }
    for ours in TLS_JUDGED {
        samples.goals(ours, TLS_GOALS, &mut text);
    }
    samples.goals(SCRAPED, SCRAPED_GOALS, &mut text);
    let gateways = result["about"]["gateways"].as_array();
    for gateway in gateways.into_iter().flatten().filter_map(Value::as_str) {
        samples.goals(gateway, GATEWAY_GOALS, &mut text);
    }
    let failures = result["samples"].as_array().into_iter().flatten();
    for failure in failures.filter(|sample| sample.get("error").is_some()) {
        let _ = writeln!(text, "\nFailed: {failure}");
    }
    text
}

/// Figures by scenario, subject, and round.
struct Samples {
    figures: BTreeMap<(String, String, u64), Value>,
    subjects: Vec<String>,
}

impl Samples {
    fn of(result: &Value) -> Self {
        let mut figures = BTreeMap::new();
        let mut names = BTreeSet::new();
        for sample in result["samples"].as_array().into_iter().flatten() {
            let text = |key: &str| sample[key].as_str().unwrap_or_default().to_owned();
            let round = sample["round"].as_u64().unwrap_or_default();
            names.insert(text("subject"));
            let key = (text("scenario"), text("subject"), round);
            figures.insert(key, sample["figures"].clone());
        }
        let mut subjects: Vec<_> = names.into_iter().collect();
        subjects.sort_by_key(|name| (name != FLOOR, name != "raw-copy", !name.starts_with("wsp")));
        Self { figures, subjects }
    }

    fn get(&self, scenario: &str, subject: &str, round: u64, figure: &str) -> Option<f64> {
        let key = (scenario.to_owned(), subject.to_owned(), round);
        self.figures.get(&key)?[figure].as_f64()
    }

    fn all(&self, scenario: &str, subject: &str, figure: &str) -> Vec<f64> {
        let get = |round| self.get(scenario, subject, round, figure);
        (0..64).filter_map(get).collect()
    }

    fn ratios(&self, scenario: &str, figure: &str, subject: &str, over: &str) -> Vec<f64> {
        let ratio = |round| {
            let of = |subject| self.get(scenario, subject, round, figure);
            Some(of(subject)? / of(over)?)
        };
        (0..64).filter_map(ratio).collect()
    }

    fn table(&self, table: &Table, text: &mut String) {
        let titles: Vec<_> = table.columns.iter().map(|column| column.title).collect();
        let _ = writeln!(text, "\n### {}\n", table.heading);
        let _ = writeln!(text, "| | {} |", titles.join(" | "));
        let _ = writeln!(text, "|---{}|", "|---".repeat(titles.len()));
        for subject in &self.subjects {
            let cells = table.columns.iter().map(|column| {
                let Column {
                    scenario, figure, ..
                } = *column;
                match table.shows {
                    Shows::Over(over) if subject == over => {
                        let figures = self.all(scenario, subject, figure);
                        format!("1 = {}", spread(figures))
                    }
                    Shows::Over(over) => spread(self.ratios(scenario, figure, subject, over)),
                    Shows::Figures => spread(self.all(scenario, subject, figure)),
                }
            });
            let cells: Vec<_> = cells.collect();
            if cells.iter().any(|cell| cell != "–") {
                let _ = writeln!(text, "| {subject} | {} |", cells.join(" | "));
            }
        }
    }

    fn goals(&self, ours: &str, goals: &[Goal], text: &mut String) {
        let mut rows = String::new();
        for goal in goals {
            let figures = match goal.over {
                Some(over) => self.ratios(goal.scenario, goal.figure, ours, over),
                None => self.all(goal.scenario, ours, goal.figure),
            };
            let Some(median) = median(figures.clone()) else {
                continue;
            };
            let (bound, text_of_bound, holds) = match goal.bound {
                Bound::AtMost(bound) => (bound, format!("≤ {bound}"), median <= bound),
                Bound::AtLeast(bound) => (bound, format!("≥ {bound}"), median >= bound),
            };
            let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = figures.iter().copied().fold(0.0, f64::max);
            // Rounds on both sides of the bound decide nothing.
            let verdict = match (holds, least < bound && bound < greatest) {
                (true, false) => "holds",
                (false, false) => "**missed**",
                (true, true) => "median holds, spread does not",
                (false, true) => "median misses, spread does not",
            };
            let spread = spread(figures);
            let _ = writeln!(
                rows,
                "| {} | {text_of_bound} | {spread} | {verdict} |",
                goal.what
            );
        }
        if rows.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n### Goals ({ours})\n");
        let _ = writeln!(text, "| | goal | median (spread) | |\n|---|---|---|---|");
        text.push_str(&rows);
    }
}

/// The median, with the least and the greatest beside it.
fn spread(mut figures: Vec<f64>) -> String {
    figures.sort_by(f64::total_cmp);
    match (figures.as_slice(), median(figures.clone())) {
        ([only], _) => rounded(*only),
        ([least, .., greatest], Some(median)) => format!(
            "{} ({}–{})",
            rounded(median),
            rounded(*least),
            rounded(*greatest)
        ),
        _ => "–".to_owned(),
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        1 => figures.get(middle).copied(),
        _ => Some((figures.get(middle.checked_sub(1)?)? + figures.get(middle)?) / 2.0),
    }
}

fn rounded(figure: f64) -> String {
    if figure.abs() >= 100.0 {
        format!("{figure:.0}")
    } else if figure.abs() >= 10.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.2}")
    }
}
