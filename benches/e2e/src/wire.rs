//! The opening handshake and the frames of the load, as bytes.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use wsplice::frame::{FrameHeader, OpCode};

const MAX_HEAD: usize = 16 * 1024;

/// Connects from the source address of this number.
pub async fn connect(target: SocketAddr, source: usize) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Several addresses of 127.0.0.0/8, as one has only some 28,000 ports.
    let last = u8::try_from(source % 8).unwrap_or(0) + 2;
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a handshake for `path`, and reads its 101.
///
/// Bytes that `/source` sends right behind its 101 are dropped: no window has begun yet.
pub async fn shake_hands(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
) -> io::Result<()> {
    stream.write_all(request(path).as_bytes()).await?;
    let (head, _read_ahead) = read_head(stream).await?;
    if !head.starts_with("HTTP/1.1 101") {
        let line = head.lines().next().unwrap_or_default().to_owned();
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, line));
    }
    Ok(())
}

/// The request of a handshake for `path`.
pub fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: wsplice-e2e\r\n\
         Origin: http://localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Reads to the end of a head; returns the head, and the bytes after it.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(String, Vec<u8>)> {
    read_next_head(stream, Vec::with_capacity(512)).await
}

/// Reads to the end of a head whose first bytes have been read.
pub async fn read_next_head(
    stream: &mut (impl AsyncRead + Unpin),
    mut bytes: Vec<u8>,
) -> io::Result<(String, Vec<u8>)> {
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            let head = String::from_utf8_lossy(&bytes).into_owned();
            return Ok((head, rest));
        }
        if bytes.len() > MAX_HEAD || stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A client's binary frame. Its masking key is zero, so that masking costs the load nothing.
pub fn client_frame(payload: usize) -> Vec<u8> {
    frame(FrameHeader::new(OpCode::BINARY, payload as u64).map(|header| header.masked([0; 4])))
}

/// A server's binary frame.
pub fn server_frame(payload: usize) -> Vec<u8> {
    frame(FrameHeader::new(OpCode::BINARY, payload as u64))
}

fn frame(header: Result<FrameHeader, wsplice::frame::HeaderError>) -> Vec<u8> {
    let header = header.expect("a binary frame may be as long as it likes");
    let mut bytes = header.encode().to_vec();
    bytes.resize(header.frame_len() as usize, 0x5A);
    bytes
}

/// The value of a header in a head.
pub fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
    Some(value.trim())
}
