//! A gateway in one program: a site, and the WebSocket upstreams behind it on the same port.
//!
//! ```text
//! cargo run --example gateway                                     # try it: page and demo upstream
//! cargo run --example gateway -- --upstream ws://10.0.0.1:8080 --static ./site
//! cargo run --example gateway --features ring,webpki-roots -- --upstream wss://chat.example.com
//! cargo run --example gateway --features dns -- --discover srv:_ws._tcp.chat.example.
//! cargo run --example gateway --features ring,http2 -- --tls-listen 127.0.0.1:3443 \
//!     --tls-cert chain.pem --tls-key key.pem
//! ```
//!
//! Its first line of output is `listening on http://ADDR`, its second, if there is TLS to clients,
//! `listening on https://ADDR`; everything else is logged to standard error, as `RUST_LOG` says
//! (default `info`). Ctrl-C or SIGTERM stops it in good order: no new connections, a close frame
//! with code 1001 on those that are open, and exit code 0. A second one stops it at once, with exit
//! code 1.

mod args;
mod balance;
mod connection;
mod crew;
mod demo_upstream;
mod dial;
#[cfg(feature = "dns")]
mod discover;
#[cfg(not(feature = "dns"))]
#[path = "no_discover.rs"]
mod discover;
mod door;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod edge;
#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
#[path = "no_edge.rs"]
mod edge;
mod listen;
mod phase;
mod probe;
mod proxy;
mod serve;
mod signals;
mod statics;
#[cfg(feature = "sticky")]
mod sticky;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls;
#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
#[path = "no_tls.rs"]
mod tls;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use clap::Parser;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use wsplice::{Drain, Pool, Upstream};

use args::Args;
use demo_upstream::DemoUpstream;
use edge::Edge;
use listen::Opened;
use serve::Stopped;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(Stopped::InOrder) => ExitCode::SUCCESS,
        Ok(Stopped::AtOnce) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Stopped, Box<dyn Error>> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .map_err(|error| format!("RUST_LOG cannot be read: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    crew::runtime()?.block_on(gateway(args))
}

async fn gateway(args: &Args) -> Result<Stopped, Box<dyn Error>> {
    let opened = listen::open(args)?;
    let mut upstreams = args.upstream.clone();
    // Held to the end: the demo ends with it.
    let demo = match upstreams.is_empty() && args.discover.is_none() {
        true => Some(DemoUpstream::start().await?),
        false => None,
    };
    if let Some(demo) = &demo {
        upstreams.push(Upstream::new(&format!("ws://{}", demo.addr()))?);
    }

    let pool = proxy::pool(args, &upstreams);
    // Held to the end: the pool follows for as long.
    let _follow = match &args.discover {
        Some(source) => Some(source.feed(&pool, proxy::limited(args)).await),
        None => None,
    };
    let (app, drain) = app(args, &upstreams, pool)?;
    let stops = signals::stops()?;
    let mut reloading = JoinSet::new();
    if let Some(edge) = &opened.edge {
        reloading.spawn(reload(Arc::clone(edge), signals::reloads()?));
    }
    announce(args, &opened);
    Ok(serve::serve(opened.threads, app, drain, args.drain_timeout, stops).await?)
}

/// The whole application, and the handle that ends its WebSocket connections: the proxy takes the
/// handshakes that are its own, the site gets everything else.
fn app(args: &Args, upstreams: &[Upstream], pool: Pool) -> Result<(Router, Drain), Box<dyn Error>> {
    for upstream in upstreams {
        tracing::info!(upstream = upstream.name(), routes = ?args.route, "proxying");
    }
    let proxy = proxy::layer(args, upstreams, pool)?;
    let drain = proxy
        .drain()
        .spread(args.drain_spread.min(args.drain_timeout / 2))
        .deadline(args.drain_timeout);
    let site = statics::statics(args.static_dir.as_deref());
    Ok((site.layer(proxy), drain))
}

/// Reads the certificate again whenever it is asked to.
async fn reload(edge: Arc<Edge>, mut reloads: mpsc::Receiver<()>) {
    while reloads.recv().await.is_some() {
        match edge.reload() {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!("the certificate stays as it was: {error}"),
        }
    }
}

fn announce(args: &Args, opened: &Opened) {
    tracing::info!(
        threads = opened.threads.len(),
        connect = ?args.connect_timeout,
        handshake = ?args.handshake_timeout,
        idle = %args.idle_timeout,
        half_close_timeout = ?args.half_close_timeout,
        keep_alive = %args.keep_alive,
        max_lifetime = %args.max_lifetime,
        max_message = %args.max_message,
        max_tunnels = args.max_tunnels,
        "limits",
    );
    let mut out = io::stdout().lock();
    // A gateway whose output nobody reads any more still serves.
    let _ = writeln!(out, "listening on http://{}", reachable(opened.plain));
    if let Some(secured) = opened.secured {
        let _ = writeln!(out, "listening on https://{}", reachable(secured));
    }
    let _ = out.flush();
}

/// The address to open for what listens on `addr`: "any address" is none that a browser can open.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    addr
}

#[cfg(test)]
mod tests;
