//! Many tunnels: the cost of each, in the proxy and in the kernel, as their number grows.
//!
//! A process may have only so many files open, so the tunnels are spread over several sets of
//! upstream, subject and clients, one after the other.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Result, cpu,
    load::{Load, Work},
    process::{Server, free_address},
    run::most_tunnels,
    subject::Kind,
    target::Target,
};

#[derive(clap::Args)]
pub struct Options {
    /// Tunnels in all; at most so many are opened.
    #[arg(long, default_value_t = 50_000)]
    tunnels: usize,
    #[arg(long, default_value = "wsplice-keepalive")]
    subject: Kind,
    /// Seconds for which CPU is measured after each step.
    #[arg(long, default_value_t = 20)]
    window: u64,
}

/// One upstream, one subject, one process of clients.
struct Set {
    // The first to be dropped, so that they lose nothing.
    _clients: Clients,
    subject: Server,
    _upstream: Server,
}

struct Clients(Child);

impl Drop for Clients {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn run(options: Options) -> Result<()> {
    let mut sets: Vec<Set> = Vec::new();
    let mut open = 0;
    println!(
        "| tunnels | opened/s | RSS each | kernel, slab each | TCP buffers each | CPU, % of a core |"
    );
    println!("|---|---|---|---|---|---|");
    let kernel_before = Kernel::read();
    let mut resident_before = 0;
    while open < options.tunnels {
        let tunnels = (options.tunnels - open).min(most_tunnels());
        let (set, fresh, took) = Set::start(options.subject, tunnels).await?;
        resident_before += fresh;
        sets.push(set);
        open += tunnels;
        sleep(Duration::from_secs(2)).await;
        let used = || sets.iter().map(|set| set.subject.cpu()).sum::<u64>();
        let before = used();
        let window = Duration::from_secs(options.window);
        sleep(window).await;
        let busy = (used() - before) as f64 / window.as_nanos() as f64 * 100.0;
        let resident: u64 = sets.iter().map(|set| set.subject.resident()).sum();
        let kernel = Kernel::read();
        let each = |bytes: f64| format!("{:.0}", bytes / open as f64);
        let line = [
            open.to_string(),
            format!("{:.0}", tunnels as f64 / took.as_secs_f64()),
            each(resident.saturating_sub(resident_before) as f64),
            each(kernel.slab - kernel_before.slab),
            each(kernel.tcp - kernel_before.tcp),
            format!("{busy:.2}"),
        ];
        println!("| {} |", line.join(" | "));
    }
    println!("\n{:#}", about(sets.len()));
    Ok(())
}

impl Set {
    /// The set, the memory of its subject before, and the time that opening took.
    async fn start(kind: Kind, tunnels: usize) -> Result<(Self, u64, Duration)> {
        let program = std::env::current_exe()?;
        let upstream_at = free_address()?;
        let mut command = Command::new(&program);
        command.args(["upstream", "--listen", &upstream_at.to_string()]);
        let upstream = Server::start("upstream", upstream_at, command).await?;
        let listen = free_address()?;
        let mut command = Command::new(&program);
        command.args(["subject", &kind.name(), "--listen", &listen.to_string()]);
        command.args(["--upstream", &upstream_at.to_string()]);
        let subject = Server::start(&kind.name(), listen, command).await?;
        // The first tunnels pay for all that is shared: thread buffers, tables, allocator arenas.
        drop(Load::start(&Target::plain(listen), &[(Work::Quiet, 64)]).await?);
        sleep(Duration::from_millis(300)).await;
        let fresh = subject.resident();
        let began = Instant::now();
        let clients = Clients(
            Command::new(&program)
                .args(["hold", "--target", &listen.to_string()])
                .args(["--tunnels", &tunnels.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?,
        );
        let (clients, answer) = tokio::task::spawn_blocking(move || {
            let mut clients = clients;
            let mut answer = String::new();
            if let Some(stdout) = clients.0.stdout.take() {
                let _ = BufReader::new(stdout).read_line(&mut answer);
            }
            (clients, answer)
        })
        .await?;
        if answer.trim() != "ready" {
            return Err(format!("{tunnels} tunnels could not be opened: {answer}").into());
        }
        let set = Self {
            _clients: clients,
            subject,
            _upstream: upstream,
        };
        Ok((set, fresh, began.elapsed()))
    }
}

/// The command `hold`: opens tunnels, reports that, and keeps them until it is ended.
pub async fn hold(target: std::net::SocketAddr, tunnels: usize) -> Result<()> {
    let load = Load::start(&Target::plain(target), &[(Work::Quiet, tunnels)]).await?;
    println!("ready");
    loop {
        sleep(Duration::from_secs(1)).await;
        if load.snapshot().failures > 0 {
            return Err("a tunnel was lost".into());
        }
    }
}

/// Memory of the kernel, in bytes.
struct Kernel {
    slab: f64,
    tcp: f64,
}

impl Kernel {
    fn read() -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let sockstat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
        let kibibytes = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("Slab:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        // The last field of the line "TCP: inuse 5 ... mem 3", in pages.
        let pages = sockstat
            .lines()
            .find(|line| line.starts_with("TCP:"))
            .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Self {
            slab: kibibytes.unwrap_or_default() * 1024.0,
            tcp: pages.unwrap_or_default() * 4096.0,
        }
    }
}

fn about(sets: usize) -> Value {
    let setting = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    json!({
        "sets": sets,
        "open_files_each": cpu::open_files_limit(),
        "fs.nr_open": setting("fs/nr_open"),
        "net.ipv4.ip_local_port_range": setting("net/ipv4/ip_local_port_range"),
        "net.ipv4.tcp_mem": setting("net/ipv4/tcp_mem"),
        "kernel": setting("kernel/osrelease"),
    })
}
