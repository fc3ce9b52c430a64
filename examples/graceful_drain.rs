//! Graceful shutdown: no new sockets, and a close frame for each open one.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example graceful_drain
//! websocat -v ws://127.0.0.1:3000/                  # in one or many terminals
//! ```
//!
//! and press Ctrl-C, or send SIGTERM, as service managers do: within five seconds each client gets
//! code 1012, "service restart".

use std::time::Duration;

use axum::Router;
use tokio::{net::TcpListener, signal};
use wsplice::{
    Pool, ProxyLayer,
    frame::{CloseCode, CloseFrame},
};

/// Waits for Ctrl-C or SIGTERM.
async fn stopped() {
    #[cfg(unix)]
    if let Ok(mut terminate) = signal::unix::signal(signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = signal::ctrl_c().await;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?);
    let drain = proxy
        .drain()
        .close_frame(CloseFrame::new(CloseCode::SERVICE_RESTART, "new version"))
        .spread(Duration::from_secs(5))
        .deadline(Duration::from_secs(30));

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    // axum waits for plain requests, and forgets connections once they are upgraded.
    axum::serve(listener, Router::new().layer(proxy))
        .with_graceful_shutdown(stopped())
        .await?;
    // So the drain waits for those.
    let drained = drain.run().await;
    println!("{} closed, {} cut off", drained.closed, drained.aborted);
    Ok(())
}
