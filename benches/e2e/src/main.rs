//! Measures wsplice beside other proxies, end to end on loopback.
//!
//! `run` does it all; the other commands are its parts, each usable by itself. The method, and how
//! to read the output, are in `docs/benchmarks.md`.

mod bulk;
mod cpu;
mod error;
mod external;
mod gateway;
mod heap;
mod http;
mod load;
mod measure;
mod process;
mod relay;
mod report;
mod run;
mod scale;
mod scenario;
mod scrape;
mod serve;
mod stdin;
mod subject;
mod syscalls;
mod target;
mod tls;
mod upstream;
mod watched;
mod wire;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use error::Result;
use stdin::until_stdin_ends;
use subject::Kind;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Measures wsplice beside other proxies, end to end on loopback.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts everything, measures, and writes JSON and a table.
    Run(run::Options),
    /// Serves one of the built-in proxies until its standard input ends.
    Subject {
        kind: Kind,
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Milliseconds between pings, for the kinds that ping.
        #[arg(long, default_value_t = 20_000)]
        ping_every: u64,
        /// The directory of the certificate, for the kinds with TLS.
        #[arg(long)]
        certificate: Option<PathBuf>,
        /// Counts the heap, and prints how much is in use for each line on standard input.
        #[arg(long)]
        heap: bool,
    },
    /// Serves `/echo`, `/sink` and `/source` until its standard input ends.
    Upstream {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Puts one scenario's load on a target for a while and prints the result.
    Load {
        /// One of those that `run` prints.
        scenario: String,
        #[arg(long)]
        target: SocketAddr,
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// A process whose CPU time is reported too.
        #[arg(long)]
        pid: Option<u32>,
    },
    /// Opens very many tunnels, reports the cost of each as their number grows, and drains them.
    Scale(scale::Options),
    /// One of the processes of `scale`.
    #[command(hide = true)]
    ScalePart {
        #[command(subcommand)]
        part: scale::Part,
    },
    /// Counts the instructions in user space of a handshake through a gateway, under callgrind.
    Count(gateway::CountOptions),
    /// Makes the table of a result that `run` has written.
    Table { json: PathBuf },
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Run(options) => runtime(2).and_then(|rt| rt.block_on(run::run(options))),
        Command::Subject {
            kind,
            listen,
            upstream,
            threads,
            ping_every,
            certificate,
            heap,
        } => {
            if heap {
                heap::start_counting();
            }
            let subject = subject::Subject {
                kind,
                listen,
                upstream,
                ping_every: Duration::from_millis(ping_every),
                certificate,
            };
            match kind.is_per_core() {
                true => subject::serve_per_core(&subject, threads),
                false => {
                    runtime(threads).and_then(|rt| rt.block_on(until_stdin_ends(subject.serve())))
                }
            }
        }
        Command::Upstream { listen, threads } => {
            runtime(threads).and_then(|rt| rt.block_on(until_stdin_ends(upstream::serve(listen))))
        }
        Command::Load {
            scenario,
            target,
            seconds,
            pid,
        } => {
            let window = Duration::from_secs(seconds);
            runtime(2).and_then(|rt| rt.block_on(measure::one(&scenario, target, window, pid)))
        }
        Command::Scale(options) => runtime(1).and_then(|rt| rt.block_on(scale::run(options))),
        Command::ScalePart { part } => part.serve(),
        Command::Count(options) => runtime(2).and_then(|rt| rt.block_on(gateway::count(options))),
        Command::Table { json } => report::reprint(&json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wsplice-e2e: {error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(threads).enable_all().build()?)
}
