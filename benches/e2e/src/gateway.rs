//! The gateway as its users run it: a program that was built before.

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use tokio::task::JoinSet;

use crate::{
    error::Result,
    load,
    process::{Server, free_address},
    target::{Face, Target},
    tls::CertificateFiles,
};

/// Handshakes under way at once while their instructions are counted.
const AT_ONCE: usize = 16;

/// Handshakes before those that are counted, which pay for all that is done once.
const WARM_UP: usize = 64;

#[derive(clap::Args)]
pub struct CountOptions {
    /// The program, with debug information.
    #[arg(long, value_name = "PATH")]
    gateway: PathBuf,
    /// Handshakes of the two runs, whose difference is counted.
    #[arg(long, default_value_t = 160)]
    few: usize,
    #[arg(long, default_value_t = 1120)]
    many: usize,
    #[arg(long, default_value = "target/count")]
    out: PathBuf,
}

/// Name of a gateway among the subjects: that of its file.
pub fn name(program: &Path) -> String {
    let name = program.file_name().unwrap_or(OsStr::new("gateway"));
    name.to_string_lossy().into_owned()
}

/// Adds the arguments to a command that runs a gateway, with its log at `warn`. With TLS it listens
/// on `listen` for that, and on a port of the system's choice without.
pub fn configure(
    command: &mut Command,
    face: Face,
    listen: SocketAddr,
    certificate: &CertificateFiles,
) {
    let listen = listen.to_string();
    match face {
        Face::Plain | Face::Http2 => command.args(["--listen", &listen]),
        Face::Tls => command
            .args(["--listen", "127.0.0.1:0", "--tls-listen", &listen])
            .arg("--tls-cert")
            .arg(certificate.chain())
            .arg("--tls-key")
            .arg(certificate.key()),
    };
}

/// Adds the arguments that are the same for all clients.
pub fn proxy(command: &mut Command, upstream: SocketAddr, threads: usize) {
    command
        .args(["--upstream", &format!("ws://{upstream}")])
        .args(["--threads", &threads.to_string()])
        .args(["--route", "/*", "--drain-timeout", "1s"])
        .arg("--forward-http")
        .env("RUST_LOG", "warn");
}

/// Counts the instructions in user space of one handshake, with its echo and its close.
pub async fn count(options: CountOptions) -> Result<()> {
    fs::create_dir_all(&options.out)?;
    let few = total(&options, options.few).await?;
    let many = total(&options, options.many).await?;
    let each = many.saturating_sub(few) / (options.many - options.few) as u64;
    println!("{each} instructions");
    Ok(())
}

/// The instructions of a whole run with this number of handshakes.
async fn total(options: &CountOptions, handshakes: usize) -> Result<u64> {
    let upstream = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["upstream", "--listen", &upstream.to_string()]);
    let _upstream = Server::start("upstream", upstream, command).await?;

    let listen = free_address()?;
    let file = options.out.join(format!("{handshakes}.out"));
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(&options.gateway);
    command.args(["--listen", &listen.to_string()]);
    proxy(&mut command, upstream, 1);
    let gateway = Server::start("gateway", listen, command).await?;
    perform(listen, WARM_UP).await?;
    perform(listen, handshakes).await?;
    // Its end writes the file.
    drop(gateway);
    let profile = fs::read_to_string(&file)?;
    let totals = profile
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: "));
    Ok(totals.ok_or("callgrind wrote no totals")?.trim().parse()?)
}

async fn perform(target: SocketAddr, handshakes: usize) -> Result<()> {
    let mut clients = JoinSet::new();
    for source in 0..AT_ONCE {
        clients.spawn(async move {
            let target = Target::plain(target);
            for _ in 0..handshakes / AT_ONCE {
                load::handshake(&target, source).await?;
            }
            std::io::Result::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}
