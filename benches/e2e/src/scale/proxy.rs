//! The proxy: one layer, and a thread with a runtime, a listener and a table of files for some tunnels
//! each.

use std::{
    convert::Infallible,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use wsplice::{
    AuthorizationRequest, Drain, KeepAlive, Pool, ProxyLayer, Registry, RequestOptions,
    TunnelConfig,
    frame::{CloseCode, CloseFrame},
};

use super::{
    addresses,
    child::{answer_lines, ready},
    descriptors::own_table,
};
use crate::{cpu, error::Result, heap, subject::serve_app};

/// Time beyond its spread that a drain has.
const TIME_TO_END: Duration = Duration::from_secs(60);

/// Serves the commands on standard input: `figures`, `list`, `count-key KEY`, `close-key KEY`,
/// `drain SECONDS`.
pub fn serve(
    threads: usize,
    port: u16,
    upstreams: usize,
    upstream_port: u16,
    ping_every: u64,
) -> Result<()> {
    let layer = layer(upstreams, upstream_port, ping_every)?;
    let registry = layer.registry();
    let app = Router::new().fallback(|| async { StatusCode::NOT_FOUND });
    let app = app.layer(layer);
    // All of them before the first thread has files of its own: they wake each other by descriptors, which
    // must be the same files in every thread.
    let own = runtime()?;
    let runtimes = (0..threads).map(|_| runtime());
    let runtimes: Vec<_> = runtimes.collect::<Result<_>>()?;
    let (listens, listening) = mpsc::channel();
    for (number, runtime) in runtimes.into_iter().enumerate() {
        let (app, listens) = (app.clone(), listens.clone());
        thread::spawn(move || {
            let serving = async {
                own_table()?;
                let listener = TcpListener::bind(addresses::proxy(number, port)).await?;
                listens.send(())?;
                serve_app(listener, app).await
            };
            if let Err(error) = runtime.block_on(serving) {
                eprintln!("proxy: {error}");
            }
        });
    }
    for _ in 0..threads {
        listening.recv()?;
    }
    ready();
    answer_lines(|line| answer(line, &registry, &own))
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn layer(upstreams: usize, port: u16, ping_every: u64) -> Result<ProxyLayer> {
    let addresses = (0..upstreams).map(|number| addresses::upstream(number, port));
    let pool = Pool::new(addresses.map(|address| format!("ws://{address}")))?;
    let keep_alive = KeepAlive::default().interval(Duration::from_secs(ping_every));
    Ok(ProxyLayer::new(pool)
        .tunnel(TunnelConfig::new().keep_alive(keep_alive))
        .authorize(options))
}

/// The query, if there is one, is the key of the tunnel.
async fn options(request: AuthorizationRequest) -> std::result::Result<RequestOptions, Infallible> {
    Ok(match request.uri().query() {
        Some(key) => RequestOptions::new().key(key.to_owned()),
        None => RequestOptions::new(),
    })
}

fn answer(line: &str, registry: &Registry, runtime: &Runtime) -> Result<Value> {
    let mut words = line.split(' ');
    let (began, used) = (Instant::now(), cpu::of_this_thread());
    let counted = match (words.next(), words.next()) {
        (Some("figures"), _) => {
            return Ok(json!({ "open": registry.count(), "heap": heap::in_use() }));
        }
        (Some("list"), _) => registry.list().len(),
        (Some("count-key"), Some(key)) => registry.count_by_key(key),
        (Some("close-key"), Some(key)) => {
            let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "logged out");
            registry.close_by_key(key, frame)
        }
        (Some("drain"), Some(spread)) => {
            let spread = Duration::from_secs(spread.parse()?);
            let drain = Drain::new(registry).spread(spread);
            let drained = runtime.block_on(drain.deadline(spread + TIME_TO_END).run());
            return Ok(json!({
                "closed": drained.closed,
                "aborted": drained.aborted,
                "seconds": began.elapsed().as_secs_f64(),
            }));
        }
        _ => return Err(format!("unknown order: {line}").into()),
    };
    let used = (cpu::of_this_thread() - used) as f64 / 1e9;
    Ok(json!({ "tunnels": counted, "seconds": used }))
}
