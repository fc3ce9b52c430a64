//! A gateway in one program: a site, and the WebSocket upstreams behind it on the same port.
//!
//! ```text
//! cargo run --example gateway                                     # try it: page and demo upstream
//! cargo run --example gateway -- --upstream ws://10.0.0.1:8080 --static ./site
//! cargo run --example gateway --features ring,webpki-roots -- --upstream wss://chat.example.com
//! ```
//!
//! Its first line of output is `listening on http://ADDR`; everything else is logged to standard
//! error, as `RUST_LOG` says (default `info`). Ctrl-C or SIGTERM stops it in good order: no new
//! connections, a close frame with code 1001 on those that are open, and exit code 0. A second one
//! stops it at once, with exit code 1.

mod args;
mod balance;
mod demo_upstream;
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

use axum::Router;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use wsplice::{Drain, Upstream};

use args::Args;
use demo_upstream::DemoUpstream;
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
    runtime(args)?.block_on(gateway(args))
}

fn runtime(args: &Args) -> io::Result<Runtime> {
    let mut builder = match args.threads.map(std::num::NonZero::get) {
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(threads) = args.threads {
        builder.worker_threads(threads.get());
    }
    builder.enable_all().build()
}

async fn gateway(args: &Args) -> Result<Stopped, Box<dyn Error>> {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    let addr = listener.local_addr()?;

    let mut upstreams = args.upstream.clone();
    // Held to the end: the demo ends with it.
    let demo = match upstreams.is_empty() {
        true => Some(DemoUpstream::start().await?),
        false => None,
    };
    if let Some(demo) = &demo {
        upstreams.push(Upstream::new(&format!("ws://{}", demo.addr()))?);
    }

    let (app, drain) = app(args, &upstreams)?;
    let stops = signals::stops()?;
    announce(args, addr);
    Ok(serve::serve(listener, app, drain, args.drain_timeout, stops).await?)
}

/// The whole application, and the handle that ends its WebSocket connections: the proxy takes the
/// handshakes that are its own, the site gets everything else.
fn app(args: &Args, upstreams: &[Upstream]) -> Result<(Router, Drain), Box<dyn Error>> {
    for upstream in upstreams {
        tracing::info!(upstream = upstream.name(), routes = ?args.route, "proxying");
    }
    let proxy = proxy::layer(args, upstreams)?;
    let drain = proxy
        .drain()
        .spread(args.drain_spread.min(args.drain_timeout / 2))
        .deadline(args.drain_timeout);
    let site = statics::statics(args.static_dir.as_deref());
    Ok((site.layer(proxy), drain))
}

fn announce(args: &Args, addr: SocketAddr) {
    tracing::info!(
        connect = ?args.connect_timeout,
        handshake = ?args.handshake_timeout,
        idle = %args.idle_timeout,
        linger = ?args.linger,
        keep_alive = %args.keep_alive,
        max_lifetime = %args.max_lifetime,
        max_message = %args.max_message,
        max_tunnels = args.max_tunnels,
        "limits",
    );
    let mut out = io::stdout().lock();
    // A gateway whose output nobody reads any more still serves.
    let _ = writeln!(out, "listening on http://{}", reachable(addr)).and_then(|()| out.flush());
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
