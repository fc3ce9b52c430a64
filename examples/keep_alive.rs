//! Keep-alive: quiet connections live, dead ones are detected, and every end has a reason.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example keep_alive
//! websocat -v ws://127.0.0.1:3000/                  # send nothing, and watch the pings
//! kill -STOP $(pidof websocat)                      # the pong is missed
//! ```

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use wsplice::{KeepAlive, Observer, Pool, ProxyLayer, TunnelConfig, TunnelInfo, TunnelReport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Short, to have something to watch; `KeepAlive::default()` is 20 s and 10 s.
    let keep_alive = KeepAlive::default()
        .interval(Duration::from_secs(2))
        .pong_timeout(Duration::from_secs(3));
    let tunnel = TunnelConfig::new()
        .keep_alive(keep_alive)
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(Duration::from_secs(3600));
    let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?)
        .tunnel(tunnel)
        .observer(Ends);

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, Router::new().layer(proxy)).await?;
    Ok(())
}

/// Prints how each tunnel ended.
#[derive(Debug)]
struct Ends;

impl Observer for Ends {
    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        let rtt = report.client_rtt.map(|rtt| rtt.smoothed());
        println!(
            "tunnel {}: {} after {:?}, round trip to the client {rtt:?}",
            tunnel.id, report.end, report.duration
        );
    }
}
