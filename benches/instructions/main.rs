//! The operations whose instructions are counted under callgrind.
//!
//! `.ci/suites/20-instructions` runs each row twice, with few operations and with many. The
//! difference of the two totals, divided by the difference of the two numbers, is the count of one
//! operation: the cost of starting the process cancels. The suite compares the count with
//! `counts.txt`.
//!
//! To add a row: a line in [`ROWS`], a function in `rows.rs`, and then
//! `.ci/suites/20-instructions --update`.
//!
//! The counts can be repeated because random numbers are seeded, everything happens in memory and in
//! one thread, and the clock is paused. What remains, 0.05 % on a quiet machine and up to 0.3 % on a
//! busy one, comes from the keys of the standard library's hash maps, from malloc, and from the
//! machine's clock, which tokio reads for its own metrics.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod frames;
mod host;
mod rows;
mod tls;

/// An operation, and the number of times that each of the two runs performs it.
struct Row {
    name: &'static str,
    few: u32,
    many: u32,
    run: fn(u32),
}

const ROWS: &[Row] = &[
    row("message_to_upstream", 200, 2_200, rows::message_to_upstream),
    row("message_to_client", 200, 2_200, rows::message_to_client),
    row(
        "tls_message_to_upstream",
        200,
        2_200,
        rows::tls_message_to_upstream,
    ),
    row(
        "tls_message_to_client",
        200,
        2_200,
        rows::tls_message_to_client,
    ),
    row(
        "http2_message_to_upstream",
        200,
        2_200,
        rows::http2_message_to_upstream,
    ),
    row(
        "http2_message_to_client",
        200,
        2_200,
        rows::http2_message_to_client,
    ),
    row("ping_pair", 100, 1_100, rows::ping_pair),
    row("handshake", 50, 450, rows::handshake),
    row("close", 50, rows::TUNNELS_TO_CLOSE, rows::close),
    row("forwarded_get", 200, 2_200, rows::forwarded_get),
    row("pick", 200, 1_200, rows::pick),
    row("balance", 1_000, 11_000, rows::balance),
];

const fn row(name: &'static str, few: u32, many: u32, run: fn(u32)) -> Row {
    Row {
        name,
        few,
        many,
        run,
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["rows"] => {
            for row in ROWS {
                println!("{} {} {}", row.name, row.few, row.many);
            }
        }
        ["run", name, count] => {
            let row = ROWS.iter().find(|row| row.name == name);
            fastrand::seed(11);
            (row.expect("a row").run)(count.parse().expect("a number"));
        }
        _ => eprintln!("`rows`, or `run` with a row and a count; see .ci/suites/20-instructions"),
    }
}
