//! A gateway in one program: a site, and the WebSocket upstreams behind it on the same port.
//!
//! ```text
//! cargo run --example gateway                                     # try it: page and demo upstream
//! cargo run --example gateway -- --upstream ws://10.0.0.1:8080 --static ./site
//! ```
//!
//! `RUST_LOG` chooses what is logged (default `info`). Ctrl-C or SIGTERM stops it in good order, a
//! second one at once.

mod args;
mod demo_upstream;
mod statics;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use axum::Router;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use args::{Args, UpstreamUrl};
use demo_upstream::DemoUpstream;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .map_err(|error| format!("RUST_LOG cannot be read: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    runtime(args)?.block_on(serve(args))
}

fn runtime(args: &Args) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = args.threads {
        builder.worker_threads(threads.get());
    }
    builder.enable_all().build()
}

async fn serve(args: &Args) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    let addr = listener.local_addr()?;

    let mut upstreams = args.upstream.clone();
    let demo = match upstreams.is_empty() {
        true => Some(DemoUpstream::start().await?),
        false => None,
    };
    upstreams.extend(demo.iter().map(|demo| UpstreamUrl::at(demo.addr())));

    announce(args, addr, &upstreams);
    let service = app(args, &upstreams).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async {
        stop_signal().await;
        tracing::info!("stopping; once more stops at once");
    });
    tokio::select! {
        served = serving => served?,
        () = second_stop_signal() => tracing::warn!("stopped at once"),
    }
    Ok(())
}

/// The whole application: WebSocket routes first, the site beside them.
fn app(args: &Args, upstreams: &[UpstreamUrl]) -> Router {
    let site = statics::statics(args.static_dir.as_deref());
    // The proxy layer goes around `site` here and takes `args.route` to `upstreams`.
    let _ = upstreams;
    site.merge(demo_upstream::router())
}

fn announce(args: &Args, addr: SocketAddr, upstreams: &[UpstreamUrl]) {
    for upstream in upstreams {
        tracing::info!(%upstream, routes = ?args.route, "proxying");
    }
    tracing::info!(
        connect = ?args.connect_timeout,
        handshake = ?args.handshake_timeout,
        idle = %args.idle_timeout,
        linger = ?args.linger,
        trust = ?args.trust,
        "limits",
    );
    println!("Open http://{}/", reachable(addr));
}

/// The address to open for what listens on `addr`: "any address" is none that a browser can open.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    addr
}

/// Waits for Ctrl-C or SIGTERM.
async fn stop_signal() {
    let ctrl_c = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for Ctrl-C");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = ctrl_c => {}
        () = terminate() => {}
    }
}

/// Waits for Ctrl-C or SIGTERM to come twice.
async fn second_stop_signal() {
    stop_signal().await;
    stop_signal().await;
}

#[cfg(unix)]
async fn terminate() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            tracing::error!(%error, "cannot listen for SIGTERM");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending::<()>().await;
}
