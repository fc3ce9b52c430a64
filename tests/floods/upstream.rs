//! The upstream: an echo, and responses that are large.

use std::{io, net::SocketAddr};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tungstenite::handshake::derive_accept_key;

use crate::bounded_server;

/// Size of a large response or message, in bytes: far more than sockets buffer.
const LARGE: usize = 64 << 20;

/// Send buffer of each connection, in bytes.
const SEND_BUFFER: usize = 16 << 10;

/// An upstream, until it is dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = bounded_server::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Some(_) = connections.join_next() => {}
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.unwrap();
                        connections.spawn(serve(stream));
                    }
                }
            }
        });
        Self {
            addr,
            _accepting: accepting,
        }
    }
}

/// Serves one connection. An error means that the proxy closed it.
async fn serve(mut stream: TcpStream) {
    // What the kernel keeps for a thousand slow readers should be little.
    SockRef::from(&stream)
        .set_send_buffer_size(SEND_BUFFER)
        .unwrap();
    let _ = converse(&mut stream).await;
}

async fn converse(stream: &mut TcpStream) -> io::Result<()> {
    if let Some(head) = read_head(stream).await? {
        let is_large = head.contains("/large ");
        if let Some(key) = value(&head, "sec-websocket-key") {
            if head.contains("/refused/") {
                return send_large(stream, "HTTP/1.1 403 Forbidden").await;
            }
            accept(stream, key).await?;
            return match () {
                () if is_large => send_message(stream).await,
                () if head.contains("/closing ") => close(stream).await,
                () if head.contains("/crashing ") => crash(stream).await,
                () => echo(stream).await,
            };
        }
        if value(&head, "transfer-encoding").is_some() || value(&head, "content-length").is_some() {
            // An upload of the attacks has no end.
            return drain(stream).await;
        }
        if is_large {
            return send_large(stream, "HTTP/1.1 200 OK").await;
        }
        // The proxy keeps no connection.
        let page = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nupstream";
        return stream.write_all(page).await;
    }
    Ok(())
}

/// Reads a head. What comes behind it is drained anyway, and may be lost.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

async fn accept(stream: &mut TcpStream, key: &str) -> io::Result<()> {
    let accept = derive_accept_key(key.as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(response.as_bytes()).await
}

/// Sends one unfragmented message (RFC 6455 §5.2).
async fn send_message(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = vec![0x82, 127];
    head.extend((LARGE as u64).to_be_bytes());
    stream.write_all(&head).await?;
    send_bytes(stream).await
}

async fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut bytes = [0; 1024];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&bytes[..count]).await?;
    }
}

/// Closes the WebSocket with 1001 once anything came.
async fn close(stream: &mut TcpStream) -> io::Result<()> {
    if stream.read(&mut [0; 1024]).await? > 0 {
        stream.write_all(&[0x88, 2, 0x03, 0xE9]).await?;
        stream.shutdown().await?;
    }
    drain(stream).await
}

/// Resets the connection once anything came.
async fn crash(stream: &mut TcpStream) -> io::Result<()> {
    let _ = stream.read(&mut [0; 1024]).await?;
    stream.set_zero_linger()
}

async fn send_large(stream: &mut TcpStream, status_line: &str) -> io::Result<()> {
    let head = format!("{status_line}\r\nContent-Length: {LARGE}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    send_bytes(stream).await
}

async fn send_bytes(stream: &mut TcpStream) -> io::Result<()> {
    static BYTES: [u8; 16 << 10] = [b'x'; 16 << 10];
    for _ in 0..LARGE / BYTES.len() {
        stream.write_all(&BYTES).await?;
    }
    Ok(())
}

async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}
