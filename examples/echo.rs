//! A WebSocket server to try the other examples with: it sends each message back, on every path.
//!
//! ```text
//! cargo run --example echo                          # on port 9000
//! cargo run --example echo -- 9001                  # on another
//! websocat ws://127.0.0.1:9000/
//! ```

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    routing::any,
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(9000), |port| port.parse())?;
    let app = Router::new().fallback(any(|upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(echo)
    }));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        // Pings are answered, and closes too, by axum itself.
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_data && socket.send(message).await.is_err() {
            break;
        }
    }
}
