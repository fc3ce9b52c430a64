//! A client that sends exactly the bytes of the test.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use tokio::net::TcpStream;

use super::deadline::within;
use super::head::Head;
use super::wire::Wire;

/// The `Sec-WebSocket-Key` of RFC 6455 §1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The `Sec-WebSocket-Accept` that belongs to [`KEY`], from the same section.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The `Host` of every request whose headers have none.
pub(crate) const HOST: &str = "app.test";

/// A client's end of a TCP connection; see [`Wire`] for its methods beyond requests.
pub(crate) struct RawClient(Wire);

impl RawClient {
    /// Connects to `addr`.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(addr)).await;
        let stream = stream.unwrap_or_else(|error| panic!("could not connect to {addr}: {error}"));
        Self(Wire::new(stream))
    }

    /// Connects to `addr`, performs the handshake for `path`, and expects a 101.
    pub(crate) async fn open(addr: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(addr).await;
        let head = client.handshake(path, &[]).await;
        assert_eq!(head.status(), 101, "{}", String::from_utf8_lossy(&head.raw));
        assert_eq!(head.get("sec-websocket-accept"), Some(ACCEPT));
        client
    }

    /// Sends `GET path` with exactly these headers, and a `Host` if they have none.
    pub(crate) async fn send_request(&mut self, path: &str, headers: &[(&str, &str)]) {
        self.send(&request(path, headers)).await;
    }

    /// Sends [`handshake_request`] and reads the head of the response, whatever its status.
    pub(crate) async fn handshake(&mut self, path: &str, extra: &[(&str, &str)]) -> Head {
        self.send(&handshake_request(path, extra)).await;
        self.read_head().await
    }

    /// Drops the connection so that the other side sees a reset.
    pub(crate) fn reset(self) {
        self.0.reset();
    }
}

impl Deref for RawClient {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl DerefMut for RawClient {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.0
    }
}

/// A valid opening handshake (RFC 6455 §4.1) for `path`, with [`KEY`].
///
/// An extra header takes the place of the usual one of its name. To leave a header out or send it
/// twice, use [`request`].
pub(crate) fn handshake_request(path: &str, extra: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        ("Host", HOST),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    let mut headers: Vec<_> = usual
        .into_iter()
        .filter(|(name, _)| !has(extra, name))
        .collect();
    headers.extend_from_slice(extra);
    request(path, &headers)
}

/// `GET path` with exactly these headers in this order, and a `Host` if they have none.
pub(crate) fn request(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("GET {path} HTTP/1.1\r\n");
    if !has(headers, "Host") {
        text += &format!("Host: {HOST}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

fn has(headers: &[(&str, &str)], name: &str) -> bool {
    headers
        .iter()
        .any(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
}
