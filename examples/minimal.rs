//! The shortest proxy: `/ws/*` goes to an upstream, everything else stays in the router.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example minimal
//! websocat ws://127.0.0.1:3000/ws/anything
//! ```

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use wsplice::{Pool, ProxyLayer, matcher::path};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?).matching(path("/ws/*"));
    let app = Router::new()
        .route("/", get(|| async { "the socket is at /ws/\n" }))
        .layer(proxy);

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
