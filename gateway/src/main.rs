//! WebSocket gateway in one program: a site, and the upstreams of its WebSockets on the same port.
//!
//! ```text
//! wsplice-gateway                                     # try it: page and demo upstream
//! wsplice-gateway --upstream ws://10.0.0.1:8080 --static ./site
//! wsplice-gateway --upstream wss://chat.example.com
//! wsplice-gateway --discover srv:_ws._tcp.chat.example.
//! wsplice-gateway --tls-listen 127.0.0.1:3443 --tls-cert chain.pem --tls-key key.pem
//! ```
//!
//! The first line of output is `listening on http://ADDR`, and the second, with TLS to clients,
//! `listening on https://ADDR`; the last one, with an admin listener, `admin on http://ADDR`. Everything
//! else is logged to standard error, at the levels that
//! `RUST_LOG` sets (default `info`).
//!
//! Sockets that a service manager passes (systemd's socket activation) are used in place of `--listen`,
//! and are printed in the same way.
//!
//! Ctrl-C or SIGTERM starts the drain: the gateway accepts no more connections, closes open
//! WebSockets with code 1001, and ends with exit code 0. A second signal ends it at once, with exit
//! code 1.

mod accepted;
mod admin;
#[cfg(feature = "mimalloc")]
mod allocator;
mod app;
mod args;
mod arrival;
mod balance;
mod bind;
mod client_tls;
mod connect;
mod connection;
mod demo;
mod demo_upstream;
mod discovery;
mod http2;
mod in_flight;
mod inherited;
mod listener;
mod logging;
mod pool;
mod preface;
mod probe;
mod proxy;
mod rewound;
mod serve;
mod service_manager;
mod setup;
mod shutdown;
mod signals;
mod site;
mod socket;
mod sticky;
mod turns;
mod upstream_tls;
mod workers;

use std::error::Error;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::task::JoinSet;
use wsplice::Upstream;

use admin::{Admin, Views};
use args::Args;
use bind::Bound;
use client_tls::ClientTls;
use demo_upstream::DemoUpstream;
use inherited::{Inherited, Service};
use serve::Exit;

/// Admin listener of the demo.
const DEMO_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(Exit::Drained) => ExitCode::SUCCESS,
        Ok(Exit::Forced) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wsplice-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Exit, Box<dyn Error>> {
    // Before there are threads, as it changes the environment.
    let inherited = inherited::take()?;
    logging::init(args.logging.log_format)?;
    workers::runtime()?.block_on(gateway(args, inherited))
}

async fn gateway(args: &Args, inherited: Vec<Inherited>) -> Result<Exit, Box<dyn Error>> {
    let bound = bind::bind(&args.listen, inherited)?;
    let mut upstreams = args.upstreams.upstream.clone();
    // The demo runs until this value is dropped.
    let demo = match upstreams.is_empty() && args.upstreams.discover.is_none() {
        true => Some(Arc::new(DemoUpstream::start(Ipv4Addr::LOCALHOST).await?)),
        false => None,
    };
    let with_demo;
    let args = match &demo {
        Some(demo) => {
            upstreams.push(Upstream::new(&format!("ws://{}", demo.addr()))?);
            with_demo = demo::with_defaults(args.clone());
            &with_demo
        }
        None => args,
    };

    let pool = pool::pool(args, &upstreams);
    // The pool follows the source until this value is dropped.
    let _following = match &args.upstreams.discover {
        Some(source) => Some(source.follow(&pool, pool::upstream_settings(args)).await),
        None => None,
    };
    let admin_addr = args.admin.admin.or(demo.as_ref().map(|_| DEMO_ADMIN));
    let admin = admin_addr.map(bind::bind_admin).transpose()?;
    let mut proxy = proxy::layer(args, &upstreams, pool)?;
    let mut views = None;
    if admin.is_some() {
        let (observing, observed) = Views::observe(args, proxy);
        (views, proxy) = (Some(observing), observed);
    }
    let (serving, drain) = setup::serving(args, &proxy, demo.as_ref());
    let stop_signals = signals::stop()?;
    let _reloading = reloading(bound.client_tls.clone())?;
    log_limits(args, bound.workers.len());
    print_addresses(&bound, admin.as_ref().map(|(addr, _)| *addr));
    // Serves until this value is dropped, after the drain.
    let admin = admin.zip(views);
    let _admin = admin.map(|((_, listener), views)| Admin::start(listener, views));
    let drain_timeout = args.shutdown.drain_timeout;
    Ok(serve::serve(bound.workers, serving, drain, drain_timeout, stop_signals).await?)
}

/// Reloads the certificate at each SIGHUP, until the result is dropped. Where there is no certificate the
/// signal is still handled, as it would end the process otherwise.
fn reloading(tls: Option<Arc<ClientTls>>) -> io::Result<JoinSet<()>> {
    let mut signals = signals::reload()?;
    let mut reloading = JoinSet::new();
    reloading.spawn(async move {
        while signals.recv().await.is_some() {
            reload(tls.as_deref());
        }
    });
    Ok(reloading)
}

fn reload(tls: Option<&ClientTls>) {
    match tls.map(ClientTls::reload) {
        Some(Ok(())) => tracing::info!("the certificate was reloaded"),
        Some(Err(error)) => tracing::error!("the certificate is unchanged: {error}"),
        None => tracing::info!("there is no certificate to reload"),
    }
}

fn log_limits(args: &Args, workers: usize) {
    let (upstreams, tunnels) = (&args.upstreams, &args.tunnels);
    tracing::info!(
        workers,
        connect_timeout = ?upstreams.connect_timeout,
        handshake_timeout = ?upstreams.handshake_timeout,
        keep_alive = %tunnels.keep_alive,
        idle_timeout = %tunnels.idle_timeout,
        half_close_timeout = ?tunnels.half_close_timeout,
        max_lifetime = %tunnels.max_lifetime,
        max_message = %tunnels.max_message,
        max_tunnels = args.pool.max_tunnels,
        "limits",
    );
}

/// Prints the addresses for a browser. A closed standard output does not end the gateway.
fn print_addresses(bound: &Bound, admin: Option<SocketAddr>) {
    let mut out = io::stdout().lock();
    for (service, address) in &bound.addresses {
        let scheme = match service {
            Service::Plain => "http",
            Service::Tls => "https",
        };
        let _ = match address.tcp() {
            Some(addr) => writeln!(out, "listening on {scheme}://{}", reachable(addr)),
            None => writeln!(out, "listening on {address} ({scheme})"),
        };
    }
    if let Some(admin) = admin {
        let _ = writeln!(out, "admin on http://{}", reachable(admin));
    }
    let _ = out.flush();
}

/// Returns an address that a browser can open: an unspecified address becomes the loopback one.
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
