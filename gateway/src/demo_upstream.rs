//! Demo upstream: a WebSocket application with a chat room and an echo.
//!
//! Text that the demo sends by itself begins with `* `; text of a client begins with that client's
//! number, as in `7: hello`.

mod room;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::routing::any;
use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use room::{Member, Room};
use websocket::WebSocket;

/// Demo on a free port of the loopback interface, until it is dropped.
#[derive(Debug)]
pub(crate) struct DemoUpstream {
    addr: SocketAddr,
    _server: JoinSet<io::Result<()>>,
}

impl DemoUpstream {
    /// Starts the demo.
    ///
    /// # Errors
    ///
    /// No port is available.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            // Nagle's algorithm would add to the round-trip time of short messages.
            let _ = stream.set_nodelay(true);
        });
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router()).await });
        Ok(Self {
            addr,
            _server: server,
        })
    }

    /// Returns the address of the demo.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn router() -> Router {
    Router::new()
        .route("/ws/chat", any(chat))
        .route("/ws/echo", any(echo))
        .with_state(Room::new())
}

async fn chat(State(room): State<Room>, request: Request<Body>) -> Response<Body> {
    websocket::accept(request, |socket| converse(socket, Member::join(room)))
}

/// Passes messages between a client and the room until the client leaves.
async fn converse(mut socket: WebSocket, mut member: Member) {
    if socket.send(member.welcome().into()).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            message = member.next_message() => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            received = socket.next() => match received {
                Some(Ok(Message::Close(_))) => break,
                Some(Ok(message)) => member.send(message),
                Some(Err(_)) | None => return,
            }
        }
    }
    // Reading on sends the response to the close frame (RFC 6455 §5.5.1).
    while let Some(Ok(_)) = socket.next().await {}
}

async fn echo(request: Request<Body>) -> Response<Body> {
    websocket::accept(request, |mut socket| async move {
        while let Some(Ok(message)) = socket.next().await {
            let is_data = message.is_text() || message.is_binary();
            if is_data && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::net::TcpStream;
    use tokio_tungstenite::{WebSocketStream, client_async};

    struct Client(WebSocketStream<TcpStream>);

    impl Client {
        async fn connect(demo: &DemoUpstream, path: &str) -> Self {
            let stream = TcpStream::connect(demo.addr()).await.unwrap();
            let url = format!("ws://{}{path}", demo.addr());
            Self(client_async(url, stream).await.unwrap().0)
        }

        async fn send(&mut self, message: impl Into<Message>) {
            self.0.send(message.into()).await.unwrap();
        }

        async fn expect(&mut self, message: impl Into<Message>) {
            assert_eq!(self.0.next().await.unwrap().unwrap(), message.into());
        }
    }

    #[tokio::test]
    async fn the_room_greets_repeats_and_announces_who_joins_and_leaves() {
        let demo = DemoUpstream::start().await.unwrap();
        let mut one = Client::connect(&demo, "/ws/chat").await;
        one.expect("* hello, you are client 1; no other client is here")
            .await;
        let mut two = Client::connect(&demo, "/ws/chat").await;
        two.expect("* hello, you are client 2; 1 other is here")
            .await;
        one.expect("* client 2 joined").await;

        one.send("hi").await;
        one.expect("1: hi").await;
        two.expect("1: hi").await;
        two.send(vec![0, 255]).await;
        one.expect(vec![0, 255]).await;
        two.expect(vec![0, 255]).await;

        two.0.close(None).await.unwrap();
        assert!(matches!(two.0.next().await, Some(Ok(Message::Close(_)))));
        one.expect("* client 2 left").await;
    }

    #[tokio::test]
    async fn the_echo_responds_to_its_client_only() {
        let demo = DemoUpstream::start().await.unwrap();
        let mut one = Client::connect(&demo, "/ws/echo").await;
        let mut two = Client::connect(&demo, "/ws/echo").await;
        one.send("one").await;
        two.send(vec![2]).await;
        one.expect("one").await;
        two.expect(vec![2]).await;
    }
}
