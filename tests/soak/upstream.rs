//! The upstream: it echoes, refuses, closes or crashes, as the client wishes.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_tungstenite::accept_hdr_async;
use tungstenite::{
    Message,
    handshake::server::{ErrorResponse, Request, Response},
};

use crate::listener::listen;

/// The message after which the upstream closes the WebSocket.
pub(crate) const CLOSE: &str = "close";

/// The message after which the upstream resets the connection.
pub(crate) const CRASH: &str = "crash";

/// An upstream, until it is dropped.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream));
            }
        });
        Self {
            addr,
            _accepting: accepting,
        }
    }
}

async fn serve(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    // The handshake fails where it is refused, or where the client is gone already.
    let Ok(mut socket) = accept_hdr_async(stream, decide).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(order) if order.as_str() == CLOSE => {
                let _ = socket.close(None).await;
            }
            Message::Text(order) if order.as_str() == CRASH => {
                let _ = socket.get_ref().set_zero_linger();
                return;
            }
            message if message.is_binary() => {
                let echoed = socket.send(message).await;
                if echoed.is_err() {
                    return;
                }
            }
            _ => {}
        }
    }
}

// The signature is tungstenite's.
#[allow(clippy::result_large_err)]
fn decide(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() == "/ws/refuse" {
        let mut refusal = ErrorResponse::new(Some("not you".to_owned()));
        *refusal.status_mut() = http::StatusCode::FORBIDDEN;
        return Err(refusal);
    }
    Ok(response)
}
