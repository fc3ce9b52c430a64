//! A client's connection, on which a test writes and reads bytes.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Returns the time limit of every step; never the thing under test. The bounds of the gateway are
/// minutes.
pub(crate) fn deadline() -> Duration {
    match crate::gateway::program() {
        Some(_) => Duration::from_secs(240),
        None => Duration::from_secs(60),
    }
}

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let deadline = deadline();
    let result = timeout(deadline, future).await;
    result.unwrap_or_else(|_| panic!("{what} took longer than {deadline:?}"))
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(addr)).await;
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Opens a WebSocket.
    pub(crate) async fn websocket(addr: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(addr).await;
        client.send(handshake(path)).await.unwrap();
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// Sends bytes, which fails once the server has closed the connection.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("sending", self.0.write_all(bytes.as_ref())).await
    }

    pub(crate) async fn read_exact(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        within("reading", self.0.read_exact(&mut bytes))
            .await
            .unwrap();
        bytes
    }

    /// Reads a head, and nothing behind it.
    pub(crate) async fn read_head(&mut self) -> String {
        let mut bytes = [0; 1024];
        let end = within("a head", async {
            loop {
                let count = self.0.peek(&mut bytes).await.unwrap();
                assert!(count > 0, "the server closed the connection");
                let end = bytes[..count]
                    .windows(4)
                    .position(|bytes| bytes == b"\r\n\r\n");
                match end {
                    Some(end) => return end + 4,
                    None => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        String::from_utf8(self.read_exact(end).await).unwrap()
    }

    /// Reads until the server closes the connection, in order or not.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = within("the server to close", self.0.read_to_end(&mut bytes)).await;
        bytes
    }

    /// Resets the connection.
    pub(crate) fn abort(self) {
        self.0.set_zero_linger().unwrap();
    }
}

/// A handshake.
pub(crate) fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A request with these header lines.
pub(crate) fn request(method: &str, path: &str, lines: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n")
}
