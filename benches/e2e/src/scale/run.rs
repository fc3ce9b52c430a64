//! The run: opens the tunnels step by step, measures, and drains them.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    addresses, child::Process, clients::PER_KEY, descriptors::threads_for, memory::Memory,
};
use crate::{cpu, error::Result, process::free_address};

const MIB: f64 = 1024.0 * 1024.0;

/// Memory that may be missing below the limit before the run is given up altogether.
const MARGIN: f64 = 1024.0 * MIB;

/// Keys whose tunnels are counted and closed after each step.
const KEYS: usize = 5;

#[derive(clap::Args)]
pub struct Options {
    /// Tunnels at each step. The last number is the largest.
    #[arg(long, value_delimiter = ',', default_value = "10000,25000,50000")]
    tunnels: Vec<usize>,
    /// Seconds between pings.
    #[arg(long, default_value_t = 20)]
    ping_every: u64,
    /// Seconds over which the tunnels are drained in the end.
    #[arg(long, default_value_t = 30)]
    spread: u64,
    /// Available memory, in MiB, below which no further tunnel is opened.
    #[arg(long, default_value_t = 4096)]
    keep_free: u64,
}

struct Run {
    options: Options,
    clients: Process,
    proxy: Process,
    upstreams: Process,
    before: Memory,
    /// Resident memory of the proxy before the first tunnel, and its heap.
    fresh: (f64, f64),
    key: usize,
}

/// Whether all tunnels of a step could be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    All,
    /// Memory is used up to the limit.
    Fewer,
}

pub async fn run(options: Options) -> Result<()> {
    let mut run = Run::start(options)?;
    println!(
        "| tunnels | opened/s | proxy: RSS each | heap each | far ends: RSS each | kernel: slab each \
         | TCP buffers each | CPU proxy, % of a core | CPU far ends | pongs/s | CPU: listing, ms \
         | count of a key, µs | close of a key, µs |"
    );
    println!("|{}", "---|".repeat(13));
    let mut last = (Opened::All, Memory::read());
    for step in run.options.tunnels.clone() {
        let began = (Instant::now(), run.open()?);
        let opened = run.open_up_to(step).await?;
        let rate = (run.open()? - began.1) / began.0.elapsed().as_secs_f64();
        run.measure(rate).await?;
        last = (opened, Memory::read());
        if opened == Opened::Fewer {
            break;
        }
    }
    let open = run.open()?;
    println!("\nSlab caches that grew most, bytes for each tunnel:\n");
    for (name, bytes) in last.1.grown_since(&run.before) {
        println!("    {name} {:.0}", bytes / open);
    }
    if last.0 == Opened::Fewer {
        println!("\nNo further tunnel was opened, since memory was used up to the limit.");
    }
    let used = run.proxy.cpu();
    let spread = run.options.spread;
    let drained = run.proxy.ask(&format!("drain {spread}"))?;
    let used = (run.proxy.cpu() - used) as f64 / 1e9;
    println!("\nDrain over {spread} s: {drained}, {used:.1} s of CPU in the proxy");
    println!("clients: {}", run.clients.ask("counts")?);
    println!("upstreams: {}", run.upstreams.ask("counts")?);
    println!("\n{:#}", about(&run.options));
    Ok(())
}

impl Run {
    fn start(options: Options) -> Result<Self> {
        let most = options.tunnels.iter().copied().max().unwrap_or_default();
        let before = Memory::read();
        let (port, upstream_port) = (free_address()?.port(), free_address()?.port());
        let upstreams = addresses::upstreams(most) as u64;
        let (one_file, two_files) = (threads_for(most) as u64, threads_for(2 * most) as u64);
        let upstreams_process = Process::start(
            "upstreams",
            &[
                ("threads", one_file),
                ("upstreams", upstreams),
                ("port", upstream_port.into()),
            ],
        )?;
        let mut proxy = Process::start(
            "proxy",
            &[
                ("threads", two_files),
                ("port", port.into()),
                ("upstreams", upstreams),
                ("upstream-port", upstream_port.into()),
                ("ping-every", options.ping_every),
            ],
        )?;
        let clients = Process::start(
            "clients",
            &[
                ("threads", one_file),
                ("proxies", two_files),
                ("port", port.into()),
            ],
        )?;
        let heap = number(&proxy.ask("figures")?, "heap");
        let fresh = (proxy.resident() as f64, heap);
        eprintln!("{two_files} threads of the proxy, {one_file} of each far end");
        Ok(Self {
            options,
            clients,
            proxy,
            upstreams: upstreams_process,
            before,
            fresh,
            key: 0,
        })
    }

    /// Tunnels that are open now.
    fn open(&mut self) -> Result<f64> {
        Ok(number(&self.proxy.ask("figures")?, "open"))
    }

    async fn open_up_to(&mut self, tunnels: usize) -> Result<Opened> {
        self.clients.ask(&format!("open {tunnels}"))?;
        let (mut progress, mut reported) = ((0.0, Instant::now()), Instant::now());
        loop {
            sleep(Duration::from_millis(100)).await;
            let counts = self.clients.ask("counts")?;
            let done = number(&counts, "opened") + number(&counts, "failures");
            if done >= tunnels as f64 {
                return Ok(Opened::All);
            }
            let available = Memory::read().available;
            if available < self.options.keep_free as f64 * MIB {
                eprintln!("{:.0} MiB are available", available / MIB);
                self.clients.ask("open 0")?;
                sleep(Duration::from_secs(2)).await;
                return Ok(Opened::Fewer);
            }
            if done > progress.0 {
                progress = (done, Instant::now());
            } else if progress.1.elapsed() > Duration::from_secs(60) {
                return Err(format!("no tunnel has opened for a minute: {counts}").into());
            }
            if reported.elapsed() > Duration::from_secs(10) {
                reported = Instant::now();
                eprintln!("{counts}, {:.0} MiB available", available / MIB);
            }
        }
    }

    /// Prints the row of a step: the costs of the tunnels that are open now.
    async fn measure(&mut self, rate: f64) -> Result<()> {
        // By then every tunnel has been pinged once.
        let interval = Duration::from_secs(self.options.ping_every);
        self.wait(interval.mul_f64(1.2)).await?;
        let before = (Instant::now(), self.used(), self.pongs()?);
        self.wait(interval).await?;
        let (took, used, pongs) = (before.0.elapsed(), self.used(), self.pongs()?);
        let share = |used: u64, before: u64| {
            format!(
                "{:.1}",
                (used - before) as f64 / took.as_nanos() as f64 * 100.0
            )
        };
        let figures = self.proxy.ask("figures")?;
        let (open, memory) = (number(&figures, "open"), Memory::read());
        let resident = self.proxy.resident() as f64 - self.fresh.0;
        let far_ends = self.clients.resident() + self.upstreams.resident();
        let each = |bytes: f64| format!("{:.0}", bytes / open);
        let list = self.proxy.ask("list")?;
        let (counted, closed) = self.keys()?;
        let line = [
            format!("{open}"),
            format!("{rate:.0}"),
            each(resident),
            each(number(&figures, "heap") - self.fresh.1),
            each(far_ends as f64),
            each(memory.slab - self.before.slab),
            each(memory.tcp - self.before.tcp),
            share(used.0, before.1.0),
            share(used.1, before.1.1),
            format!("{:.0}", (pongs - before.2) / took.as_secs_f64()),
            format!("{:.0}", number(&list, "seconds") * 1e3),
            format!("{:.1}", counted * 1e6),
            format!("{:.1}", closed * 1e6),
        ];
        println!("| {} |", line.join(" | "));
        let (clients, upstreams) = (self.clients.ask("counts")?, self.upstreams.ask("counts")?);
        eprintln!("clients: {clients}, upstreams: {upstreams}");
        Ok(())
    }

    /// Waits, and fails if memory becomes short meanwhile.
    async fn wait(&self, time: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            sleep(Duration::from_millis(200)).await;
            if Memory::read().available < self.options.keep_free as f64 * MIB - MARGIN {
                return Err("memory has become short".into());
            }
        }
        Ok(())
    }

    /// CPU of the proxy and of the far ends so far, in nanoseconds.
    fn used(&self) -> (u64, u64) {
        (self.proxy.cpu(), self.clients.cpu() + self.upstreams.cpu())
    }

    /// Pings answered so far, by both far ends.
    fn pongs(&mut self) -> Result<f64> {
        let (clients, upstreams) = (self.clients.ask("counts")?, self.upstreams.ask("counts")?);
        Ok(number(&clients, "pongs") + number(&upstreams, "pongs"))
    }

    /// The CPU times of a count and of a close of the tunnels with a key, in seconds: the medians.
    fn keys(&mut self) -> Result<(f64, f64)> {
        let (mut counted, mut closed) = (Vec::new(), Vec::new());
        for _ in 0..KEYS {
            let key = format!("user-{}", self.key);
            self.key += 1;
            let count = self.proxy.ask(&format!("count-key {key}"))?;
            let close = self.proxy.ask(&format!("close-key {key}"))?;
            if number(&close, "tunnels") != PER_KEY as f64 {
                eprintln!("{key}: {count}, {close}");
            }
            counted.push(number(&count, "seconds"));
            closed.push(number(&close, "seconds"));
        }
        Ok((median(counted), median(closed)))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn number(value: &Value, name: &str) -> f64 {
    value.get(name).and_then(Value::as_f64).unwrap_or_default()
}

fn about(options: &Options) -> Value {
    let setting = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    json!({
        "ping_every": options.ping_every,
        "open_files_of_a_table": cpu::open_files_limit(),
        "fs.nr_open": setting("fs/nr_open"),
        "net.ipv4.ip_local_port_range": setting("net/ipv4/ip_local_port_range"),
        "net.ipv4.tcp_mem": setting("net/ipv4/tcp_mem"),
        "kernel": setting("kernel/osrelease"),
    })
}
