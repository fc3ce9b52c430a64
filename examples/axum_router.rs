//! Mixed routes on one port: files, a WebSocket handler of the application's own, a proxied one.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example axum_router
//! curl http://127.0.0.1:3000/README.md              # from disk
//! websocat ws://127.0.0.1:3000/own                  # answered by this program
//! websocat ws://127.0.0.1:3000/ws/anything          # answered by the upstream
//! ```

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{ConnectInfo, ws::WebSocketUpgrade},
    response::Response,
    routing::any,
};
use tokio::net::TcpListener;
use tower_http::services::ServeDir;
use wsplice::{Pool, ProxyLayer, headers::ClientInfo, matcher::path};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?)
        .matching(path("/ws/*"))
        // For X-Forwarded-For. The feature `axum` does this by itself.
        .client_info(|extensions| {
            let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
            Some(ClientInfo::from(*peer))
        });
    let app = Router::new()
        .route("/own", any(shout))
        .fallback_service(ServeDir::new("."))
        .layer(proxy);

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}

/// Answers every text in capitals: the layer leaves this handshake to the router.
async fn shout(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            let Ok(text) = message.to_text() else { return };
            if socket.send(text.to_uppercase().into()).await.is_err() {
                return;
            }
        }
    })
}
