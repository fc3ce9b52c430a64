//! Two layers with two pools, one registry and one drain: an operator sees one proxy.
//!
//! ```text
//! cargo run --example echo
//! cargo run --example echo -- 9001
//! cargo run --example two_layers
//! websocat ws://127.0.0.1:3000/chat/room            # to port 9000
//! websocat ws://127.0.0.1:3000/feed/news            # to port 9001
//! curl http://127.0.0.1:3000/                       # counts both; Ctrl-C drains both
//! ```

use std::time::Duration;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use wsplice::{
    Drain, KeepAlive, Observer, Pool, ProxyLayer, Registry, TunnelInfo, TunnelReport,
    connect::InvalidAddress, matcher::path,
};

/// Prints the end of each tunnel, of both layers.
#[derive(Clone)]
struct PrintEnds;

impl Observer for PrintEnds {
    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        println!("tunnel {} for {}: {}", tunnel.id, tunnel.path, report.end);
    }
}

/// The application, in front of these upstreams, with the registry of all its tunnels.
pub(crate) fn app(chat: &str, feed: &str) -> Result<(Router, Registry), InvalidAddress> {
    let registry = Registry::new();
    let layer = |upstream, at| {
        let layer = ProxyLayer::new(Pool::new([upstream])?).matching(path(at));
        Ok(layer.with_registry(&registry).observer(PrintEnds))
    };
    let chat = layer(chat, "/chat/*")?.keep_alive(KeepAlive::default());
    let feed = layer(feed, "/feed/*")?.idle_timeout(Duration::from_secs(600));
    let count = {
        let registry = registry.clone();
        get(async move || format!("{} sockets\n", registry.count()))
    };
    let app = Router::new().route("/", count).layer(chat).layer(feed);
    Ok((app, registry))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (app, registry) = app("ws://127.0.0.1:9000", "ws://127.0.0.1:9001")?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    // Ctrl-C alone; `graceful_drain` also waits for the SIGTERM of systemd and Kubernetes.
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await?;
    let drained = Drain::new(&registry)
        .spread(Duration::from_secs(5))
        .run()
        .await;
    println!("{} closed, {} aborted", drained.closed, drained.aborted);
    Ok(())
}
