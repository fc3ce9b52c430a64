//! WebSocket clients as people use them: two libraries behind one trait.
//!
//! A test that is generic over [`Client`] runs with [`Tungstenite`] and with [`Fast`].

use std::net::SocketAddr;

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, WebSocketError};
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::header::HeaderMap;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async};
use tungstenite::protocol::CloseFrame;

use super::deadline::within;
use super::raw::{HOST, KEY};

/// A WebSocket client. Methods panic when they fail.
pub(crate) trait Client: Sized {
    /// Connects to `addr` and performs the handshake for `path`, with further headers.
    async fn try_connect(
        addr: SocketAddr,
        path: &str,
        extra: &[(&str, &str)],
    ) -> Result<Self, Refusal>;

    /// The headers of the 101.
    fn headers(&self) -> &HeaderMap;

    /// Sends one message.
    async fn send(&mut self, message: Message);

    /// Waits for the next message. Answers pings and close frames before it returns them.
    async fn next(&mut self) -> Message;

    /// [`Client::try_connect`] without further headers.
    async fn connect(addr: SocketAddr, path: &str) -> Self {
        match Self::try_connect(addr, path, &[]).await {
            Ok(client) => client,
            Err(refusal) => panic!("expected a 101 for {path}, got {refusal:?}"),
        }
    }

    /// Sends a text message.
    async fn send_text(&mut self, text: &str) {
        self.send(Message::Text(text.to_owned())).await;
    }

    /// Sends a binary message.
    async fn send_binary(&mut self, payload: impl Into<Bytes>) {
        self.send(Message::Binary(payload.into())).await;
    }

    /// Sends a ping.
    async fn send_ping(&mut self, payload: impl Into<Bytes>) {
        self.send(Message::Ping(payload.into())).await;
    }

    /// Sends a close frame.
    async fn send_close(&mut self, code: u16, reason: &str) {
        let reason = reason.to_owned();
        self.send(Message::Close(Some((code, reason)))).await;
    }
}

/// A message of a client, sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong(Bytes),
    /// Code and reason, if the frame has any.
    Close(Option<(u16, String)>),
    /// Received only: the stream is over, for the reason that the library gives.
    Gone(String),
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The response was not a 101.
    Status(u16),
    /// There was no response, or an invalid one.
    Broken(String),
}

/// tokio-tungstenite over a socket of its own.
pub(crate) struct Tungstenite {
    socket: WebSocketStream<TcpStream>,
    headers: HeaderMap,
}

impl Client for Tungstenite {
    async fn try_connect(
        addr: SocketAddr,
        path: &str,
        extra: &[(&str, &str)],
    ) -> Result<Self, Refusal> {
        let stream = dial(addr).await?;
        let request = handshake(format!("ws://{HOST}{path}"), extra, ());
        match within("a handshake", client_async(request, stream)).await {
            Ok((socket, response)) => Ok(Self {
                socket,
                headers: response.headers().clone(),
            }),
            Err(tungstenite::Error::Http(response)) => {
                Err(Refusal::Status(response.status().as_u16()))
            }
            Err(error) => Err(Refusal::Broken(error.to_string())),
        }
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    async fn send(&mut self, message: Message) {
        let what = format!("tungstenite to send {}", kind(&message));
        let sent = within(&what, self.socket.send(to_tungstenite(message))).await;
        sent.unwrap_or_else(|error| panic!("wanted {what}: {error}"));
    }

    async fn next(&mut self) -> Message {
        let message = match within("a message", self.socket.next()).await {
            Some(Ok(message)) => from_tungstenite(message),
            Some(Err(error)) => Message::Gone(error.to_string()),
            None => Message::Gone("the end of the stream".to_owned()),
        };
        if let Message::Ping(_) | Message::Close(_) = message {
            // The answer is queued and leaves with the next write. A write to a closed connection
            // finds that it has already left.
            let _ = within("the answer to leave", self.socket.flush()).await;
        }
        message
    }
}

/// fastwebsockets over a socket of its own.
pub(crate) struct Fast {
    socket: FragmentCollector<TokioIo<Upgraded>>,
    headers: HeaderMap,
}

impl Client for Fast {
    async fn try_connect(
        addr: SocketAddr,
        path: &str,
        extra: &[(&str, &str)],
    ) -> Result<Self, Refusal> {
        let stream = dial(addr).await?;
        let request = handshake(path.to_owned(), extra, Empty::<Bytes>::new());
        let executor = TokioExecutor::new();
        let shaking = fastwebsockets::handshake::client(&executor, request, stream);
        match within("a handshake", shaking).await {
            Ok((mut socket, response)) => {
                // `next` returns pings to the test, so it answers them as well.
                socket.set_auto_pong(false);
                Ok(Self {
                    socket: FragmentCollector::new(socket),
                    headers: response.headers().clone(),
                })
            }
            Err(WebSocketError::InvalidStatusCode(status)) => Err(Refusal::Status(status)),
            Err(error) => Err(Refusal::Broken(error.to_string())),
        }
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    async fn send(&mut self, message: Message) {
        let what = format!("fastwebsockets to send {}", kind(&message));
        let sent = within(&what, self.socket.write_frame(to_fast(message))).await;
        sent.unwrap_or_else(|error| panic!("wanted {what}: {error}"));
    }

    async fn next(&mut self) -> Message {
        let message = match within("a message", self.socket.read_frame()).await {
            Ok(frame) => from_fast(frame),
            Err(error) => Message::Gone(error.to_string()),
        };
        if let Message::Ping(payload) = &message {
            let pong = to_fast(Message::Pong(payload.clone()));
            let _ = within("the pong to leave", self.socket.write_frame(pong)).await;
        }
        message
    }
}

async fn dial(addr: SocketAddr) -> Result<TcpStream, Refusal> {
    let stream = within("a connection", TcpStream::connect(addr)).await;
    stream.map_err(|error| Refusal::Broken(error.to_string()))
}

fn handshake<B>(uri: String, extra: &[(&str, &str)], body: B) -> hyper::Request<B> {
    let mut request = hyper::Request::builder()
        .uri(uri)
        .header("host", HOST)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY);
    for (name, value) in extra {
        request = request.header(*name, *value);
    }
    request.body(body).expect("a request")
}

fn kind(message: &Message) -> String {
    match message {
        Message::Text(text) => format!("a text of {} bytes", text.len()),
        Message::Binary(payload) => format!("a binary of {} bytes", payload.len()),
        other => format!("{other:?}"),
    }
}

fn to_tungstenite(message: Message) -> tungstenite::Message {
    match message {
        Message::Text(text) => tungstenite::Message::text(text),
        Message::Binary(payload) => tungstenite::Message::Binary(payload),
        Message::Ping(payload) => tungstenite::Message::Ping(payload),
        Message::Pong(payload) => tungstenite::Message::Pong(payload),
        Message::Close(frame) => {
            tungstenite::Message::Close(frame.map(|(code, reason)| CloseFrame {
                code: code.into(),
                reason: reason.into(),
            }))
        }
        Message::Gone(_) => panic!("`Gone` cannot be sent"),
    }
}

fn from_tungstenite(message: tungstenite::Message) -> Message {
    match message {
        tungstenite::Message::Text(text) => Message::Text(text.to_string()),
        tungstenite::Message::Binary(payload) => Message::Binary(payload),
        tungstenite::Message::Ping(payload) => Message::Ping(payload),
        tungstenite::Message::Pong(payload) => Message::Pong(payload),
        tungstenite::Message::Close(frame) => {
            Message::Close(frame.map(|frame| (frame.code.into(), frame.reason.to_string())))
        }
        tungstenite::Message::Frame(_) => panic!("tungstenite never gives out raw frames"),
    }
}

fn to_fast(message: Message) -> Frame<'static> {
    match message {
        Message::Text(text) => Frame::text(text.into_bytes().into()),
        Message::Binary(payload) => Frame::binary(payload.to_vec().into()),
        Message::Ping(payload) => Frame::new(true, OpCode::Ping, None, payload.to_vec().into()),
        Message::Pong(payload) => Frame::pong(payload.to_vec().into()),
        Message::Close(None) => Frame::close_raw(Vec::new().into()),
        Message::Close(Some((code, reason))) => Frame::close(code, reason.as_bytes()),
        Message::Gone(_) => panic!("`Gone` cannot be sent"),
    }
}

fn from_fast(frame: Frame<'_>) -> Message {
    let payload = Vec::from(frame.payload);
    match frame.opcode {
        OpCode::Text => Message::Text(String::from_utf8(payload).expect("UTF-8")),
        OpCode::Binary => Message::Binary(payload.into()),
        OpCode::Ping => Message::Ping(payload.into()),
        OpCode::Pong => Message::Pong(payload.into()),
        OpCode::Close => Message::Close(payload.split_first_chunk().map(|(code, reason)| {
            let reason = String::from_utf8_lossy(reason).into_owned();
            (u16::from_be_bytes(*code), reason)
        })),
        OpCode::Continuation => panic!("the collector never gives out continuations"),
    }
}
