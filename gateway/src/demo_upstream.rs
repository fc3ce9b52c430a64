//! Demo upstream: a WebSocket application with a chat room and an echo.
//!
//! Text that the demo sends by itself begins with `* `; text of a client begins with that client's
//! number, as in `7: hello`.

mod room;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::routing::any;
use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio_tungstenite::tungstenite::Message;

use room::{Member, Room};
use websocket::WebSocket;

/// Demo on a port of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct DemoUpstream {
    addr: SocketAddr,
    /// `None` while the demo is killed.
    server: Mutex<Option<Server>>,
}

/// Thread with a runtime of its own, which ends with all of its connections.
#[derive(Debug)]
struct Server {
    /// Ends the thread when it is dropped.
    running: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl DemoUpstream {
    /// Starts the demo on a free port of this address.
    ///
    /// # Errors
    ///
    /// No port is available.
    pub(crate) async fn start(ip: Ipv4Addr) -> io::Result<Self> {
        let listener = TcpListener::bind((ip, 0))?;
        let addr = listener.local_addr()?;
        let server = Server::start(listener)?;
        Ok(Self {
            addr,
            server: Mutex::new(Some(server)),
        })
    }

    /// Returns the address of the demo.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether the demo is running.
    pub(crate) fn is_running(&self) -> bool {
        self.server().is_some()
    }

    /// Ends the demo as a process does that is killed: without close frames.
    pub(crate) async fn kill(&self) {
        let killed = self.server().take();
        // The port is free once the thread is over.
        let _ = spawn_blocking(|| killed.map(Server::end)).await;
    }

    /// Starts the demo again at its port, unless it is running.
    ///
    /// # Errors
    ///
    /// The port is not available.
    pub(crate) fn start_again(&self) -> io::Result<()> {
        let mut server = self.server();
        if server.is_none() {
            *server = Some(Server::start(TcpListener::bind(self.addr)?)?);
        }
        Ok(())
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    fn start(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (running, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("demo".into());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener) => {
                        if let Err(error) = served {
                            tracing::error!("the demo upstream ended: {error}");
                        }
                    }
                    _ = ended => {}
                }
            });
        })?;
        Ok(Self { running, thread })
    }

    fn end(self) {
        let Self { running, thread } = self;
        drop(running);
        let _ = thread.join();
    }
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let listener = listener.tap_io(|stream| {
        // Nagle's algorithm would add to the round-trip time of short messages.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router()).await
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
    use crate::tests::own_loopback;

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
        let demo = DemoUpstream::start(own_loopback()).await.unwrap();
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
        let demo = DemoUpstream::start(own_loopback()).await.unwrap();
        let mut one = Client::connect(&demo, "/ws/echo").await;
        let mut two = Client::connect(&demo, "/ws/echo").await;
        one.send("one").await;
        two.send(vec![2]).await;
        one.expect("one").await;
        two.expect(vec![2]).await;
    }
}
