//! A WebSocket application to try the gateway with: a chat room and an echo.
//!
//! Everything it says by itself begins with `* `; what a client said begins with that client's
//! number, `7: `.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

/// Messages that a slow client may be behind before it misses some.
const BACKLOG: usize = 256;

/// The longest message the room takes, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// A demo that runs on a port of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct DemoUpstream {
    addr: SocketAddr,
    _task: JoinSet<io::Result<()>>,
}

impl DemoUpstream {
    /// Starts it on the loopback interface.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            // Messages are short and come in bursts: Nagle's delay would show as round-trip time.
            let _ = stream.set_nodelay(true);
        });
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router()).await });
        Ok(Self { addr, _task: task })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Its routes, `/ws/chat` and `/ws/echo`, with a room that is still empty.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/ws/chat", any(chat))
        .route("/ws/echo", any(echo))
        .with_state(Room::new())
}

/// Those who hear each other.
#[derive(Clone, Debug)]
struct Room {
    messages: broadcast::Sender<Message>,
    /// How many clients have come so far: each one's number.
    clients: Arc<AtomicU64>,
}

impl Room {
    fn new() -> Self {
        Self {
            messages: broadcast::Sender::new(BACKLOG),
            clients: Arc::default(),
        }
    }

    /// Tells everyone; that nobody listens is no error.
    fn tell(&self, message: impl Into<Message>) {
        let _ = self.messages.send(message.into());
    }
}

/// One client's place in the room; giving it up tells the others.
#[derive(Debug)]
struct Seat {
    room: Room,
    number: u64,
    messages: broadcast::Receiver<Message>,
}

impl Seat {
    /// Takes a place, and tells those who were there before.
    fn take(room: Room) -> Self {
        let number = room.clients.fetch_add(1, Ordering::Relaxed) + 1;
        room.tell(format!("* client {number} came"));
        let messages = room.messages.subscribe();
        Self {
            room,
            number,
            messages,
        }
    }

    fn welcome(&self) -> String {
        let others = match self.room.messages.receiver_count().saturating_sub(1) {
            0 => "nobody else is".to_owned(),
            1 => "1 other is".to_owned(),
            many => format!("{many} others are"),
        };
        format!("* hello, you are client {}; {others} here", self.number)
    }

    /// Waits for what is said next, by anyone.
    async fn hear(&mut self) -> Message {
        match self.messages.recv().await {
            Ok(message) => message,
            Err(RecvError::Lagged(count)) => format!("* you missed {count} messages").into(),
            // The seat itself holds a sender.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Says what the client sent. Text carries its number; pings and pongs stay with axum.
    fn say(&self, message: Message) {
        match message {
            Message::Text(text) => self.room.tell(format!("{}: {text}", self.number)),
            Message::Binary(_) => self.room.tell(message),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.tell(format!("* client {} left", self.number));
    }
}

async fn chat(State(room): State<Room>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .on_upgrade(|socket| converse(socket, Seat::take(room)))
}

/// Moves messages between a client and the room, until the client goes.
async fn converse(mut socket: WebSocket, mut seat: Seat) {
    if socket.send(seat.welcome().into()).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            heard = seat.hear() => {
                if socket.send(heard).await.is_err() {
                    return;
                }
            }
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_))) => break,
                Some(Ok(message)) => seat.say(message),
                Some(Err(_)) | None => return,
            }
        }
    }
    // Reading on sends the answer to the close frame (RFC 6455 §5.5.1).
    while let Some(Ok(_)) = socket.recv().await {}
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            let data = matches!(message, Message::Text(_) | Message::Binary(_));
            if data && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::{SinkExt, StreamExt};
    use tokio::net::TcpStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::{WebSocketStream, client_async};

    struct Guest(WebSocketStream<TcpStream>);

    impl Guest {
        async fn come(demo: &DemoUpstream, path: &str) -> Self {
            let stream = TcpStream::connect(demo.addr()).await.unwrap();
            let url = format!("ws://{}{path}", demo.addr());
            Self(client_async(url, stream).await.unwrap().0)
        }

        async fn say(&mut self, message: impl Into<Message>) {
            self.0.send(message.into()).await.unwrap();
        }

        async fn hears(&mut self, message: impl Into<Message>) {
            assert_eq!(self.0.next().await.unwrap().unwrap(), message.into());
        }
    }

    #[tokio::test]
    async fn the_room_greets_repeats_and_tells_who_comes_and_goes() {
        let demo = DemoUpstream::start().await.unwrap();
        let mut one = Guest::come(&demo, "/ws/chat").await;
        one.hears("* hello, you are client 1; nobody else is here")
            .await;
        let mut two = Guest::come(&demo, "/ws/chat").await;
        two.hears("* hello, you are client 2; 1 other is here")
            .await;
        one.hears("* client 2 came").await;

        one.say("hi").await;
        one.hears("1: hi").await;
        two.hears("1: hi").await;
        two.say(vec![0, 255]).await;
        one.hears(vec![0, 255]).await;
        two.hears(vec![0, 255]).await;

        two.0.close(None).await.unwrap();
        assert!(matches!(two.0.next().await, Some(Ok(Message::Close(_)))));
        one.hears("* client 2 left").await;
    }

    #[tokio::test]
    async fn the_echo_keeps_to_itself() {
        let demo = DemoUpstream::start().await.unwrap();
        let mut one = Guest::come(&demo, "/ws/echo").await;
        let mut two = Guest::come(&demo, "/ws/echo").await;
        one.say("one").await;
        two.say(vec![2]).await;
        one.hears("one").await;
        two.hears(vec![2]).await;
    }

    #[tokio::test]
    async fn a_slow_client_is_told_what_it_missed() {
        let mut seat = Seat::take(Room::new());
        for _ in 0..BACKLOG + 3 {
            seat.room.tell("more");
        }
        let heard = seat.hear().await;
        assert_eq!(heard.to_text().unwrap(), "* you missed 3 messages");
    }
}
