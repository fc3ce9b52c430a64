//! A real application as an upstream: WebSocket endpoints as axum users write them.
//!
//! | path | behavior |
//! |---|---|
//! | `/ws/echo` | sends every text and binary message back; axum answers pings |
//! | `/ws/close/{code}/{reason}` | closes at once with that code and reason |
//! | `/ws/push/{count}/{size}` | sends `count` binary messages of `size` bytes, see [`pushed`] |
//! | `/ws/sub` | speaks `chat` and `superchat`, and first sends the chosen one, or `none` |
//! | `/ws/headers` | sends the request's headers, a line `name: value` each, and then echoes |

use axum::Router;
use axum::extract::Path;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::any;

use super::rng;
use super::serve::{Server, serve_axum};

/// The longest message that is accepted: 64 MiB.
const MAX_MESSAGE: usize = 64 << 20;

/// Starts the application on a port of its own.
pub(crate) async fn start() -> Server {
    serve_axum(router()).await
}

/// The routes of the application.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/ws/echo", any(echo))
        .route("/ws/close/{code}/{reason}", any(close))
        .route("/ws/push/{count}/{size}", any(push))
        .route("/ws/sub", any(subprotocol))
        .route("/ws/headers", any(headers))
}

/// The payload of the pushed message number `index`, from 0.
pub(crate) fn pushed(index: usize, size: usize) -> Vec<u8> {
    rng::payload(index as u64, size)
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    roomy(upgrade).on_upgrade(|mut socket| async move { echo_all(&mut socket).await })
}

async fn close(Path((code, reason)): Path<(u16, String)>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |mut socket| async move {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        let _ = socket.send(Message::Close(Some(frame))).await;
        // The client's own close frame ends the stream (RFC 6455 §7.1.1).
        while let Some(Ok(_)) = socket.recv().await {}
    })
}

async fn push(Path((count, size)): Path<(usize, usize)>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |mut socket| async move {
        for index in 0..count {
            if send(&mut socket, pushed(index, size)).await.is_none() {
                return;
            }
        }
        while let Some(Ok(_)) = socket.recv().await {}
    })
}

async fn subprotocol(upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.protocols(["chat", "superchat"]);
    upgrade.on_upgrade(|mut socket| async move {
        let chosen = socket.protocol().and_then(|name| name.to_str().ok());
        let chosen = chosen.unwrap_or("none").to_owned();
        if send(&mut socket, chosen).await.is_some() {
            echo_all(&mut socket).await;
        }
    })
}

async fn headers(headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    upgrade.on_upgrade(|mut socket| async move {
        if send(&mut socket, lines).await.is_some() {
            echo_all(&mut socket).await;
        }
    })
}

fn roomy(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
}

async fn echo_all(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let data = matches!(message, Message::Text(_) | Message::Binary(_));
        if data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Sends a message; `None` when the client is gone.
async fn send(socket: &mut WebSocket, message: impl Into<Message>) -> Option<()> {
    socket.send(message.into()).await.ok()
}
