//! Clients that speak HTTP/2 frame by frame.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, within};
pub(crate) use crate::support::h2_frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, encode, frame,
};
use crate::support::h2_frame::{GOAWAY, PREFACE};

/// `SETTINGS_INITIAL_WINDOW_SIZE` (RFC 9113 §6.5.2).
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

/// Error `CANCEL` (RFC 9113 §7).
pub(crate) const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Header lines of a request.
pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    let lines = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "app.test"),
        (":path", path),
    ];
    encode(&lines)
}

/// Header lines of a handshake (RFC 8441 §5).
pub(crate) fn handshake(path: &str) -> Vec<u8> {
    let lines = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
    [request("CONNECT", path), encode(&lines)].concat()
}

/// Identifiers of a client's streams.
pub(crate) fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// How a flood ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server closed the connection before all was sent.
    Refused,
    /// The server took all, and closed the connection after the client did.
    Endured,
}

/// Client's connection over HTTP/2.
pub(crate) struct Connection(pub(crate) Client, Vec<u8>);

/// A frame of the server.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes(bytes[5..9].try_into().unwrap()),
            payload: bytes[9..].to_vec(),
        }
    }

    pub(crate) fn is_goaway(&self) -> bool {
        self.kind == GOAWAY
    }
}

impl Connection {
    /// Connects with one setting.
    pub(crate) async fn open(addr: SocketAddr, setting: (u16, u32)) -> Self {
        Self::over(Client::connect(addr).await, setting).await
    }

    /// Begins on a connection.
    pub(crate) async fn over(mut client: Client, setting: (u16, u32)) -> Self {
        let mut payload = setting.0.to_be_bytes().to_vec();
        payload.extend(setting.1.to_be_bytes());
        let settings = frame(SETTINGS, 0, 0, &payload);
        client.send([PREFACE, &settings].concat()).await.unwrap();
        Self(client, Vec::new())
    }

    /// Sends frames and reads all that the server sends meanwhile, until either side has ended.
    pub(crate) async fn flood(self, frames: impl Iterator<Item = Vec<u8>>) -> End {
        let (mut read, mut write) = self.0.0.into_split();
        let mut frames = frames.peekable();
        let sending = async {
            while frames.peek().is_some() {
                let bytes = frames.by_ref().take(100).collect::<Vec<_>>().concat();
                if write.write_all(&bytes).await.is_err() {
                    return End::Refused;
                }
            }
            match write.shutdown().await {
                Ok(()) => End::Endured,
                Err(_) => End::Refused,
            }
        };
        let reading = async {
            let (mut received, mut bytes) = (Vec::new(), [0; 4096]);
            loop {
                match read.read(&mut bytes).await {
                    Ok(0) => return End::Endured,
                    Ok(count) => received.extend_from_slice(&bytes[..count]),
                    Err(_) => return End::Refused,
                }
                while let Some(frame) = take_frame(&mut received) {
                    if is_error(&frame) {
                        return End::Refused;
                    }
                }
            }
        };
        let (sent, read) = within("a flood", async { tokio::join!(sending, reading) }).await;
        if sent == End::Refused { sent } else { read }
    }

    /// Sends frames again and again without reading, until the server closes the connection.
    pub(crate) async fn flood_unread(mut self, frames: &[u8]) {
        let sending = async { while self.0.0.write_all(frames).await.is_ok() {} };
        within("the server to close", sending).await;
    }

    /// Reads the next frame; `None` once the server has closed the connection.
    pub(crate) async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(bytes) = take_frame(&mut self.1) {
                return Some(Frame::from_bytes(&bytes));
            }
            let read = within("a frame", self.0.0.read_buf(&mut self.1)).await;
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Sends frames. The server need not take all of them.
    pub(crate) async fn send(&mut self, frames: &[Vec<u8>]) {
        let _ = self.0.send(frames.concat()).await;
    }
}

/// Takes the first frame of the bytes, if it is whole.
fn take_frame(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = bytes.first_chunk::<3>()?;
    let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize + 9;
    (bytes.len() >= length).then(|| bytes.drain(..length).collect())
}

/// Whether a frame is a `GOAWAY` with another error than `NO_ERROR` (RFC 9113 §6.8).
fn is_error(frame: &[u8]) -> bool {
    frame[3] == GOAWAY && frame[13..17] != [0; 4]
}
