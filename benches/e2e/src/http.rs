//! Plain requests: the upstream's responses, and the clients' side.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{target::Stream, wire};

/// Body of the response to a small request.
const SMALL: &[u8] =
    b"{\"rooms\":[{\"id\":7,\"name\":\"general\",\"members\":42,\"unread\":3}],\"next\":12}";

/// Body of a download or an upload, in bytes.
const LARGE: usize = 64 * 1024 * 1024;

/// Bytes that are read or written at once.
const CHUNK: usize = 256 * 1024;

/// A request and its response.
#[derive(Clone, Copy, Debug)]
pub enum Exchange {
    /// A `GET`, and a response of a few bytes.
    Small,
    /// A `GET`, and a response of 64 MiB.
    Download,
    /// A `POST` of 64 MiB.
    Upload,
}

impl Exchange {
    fn head(self) -> String {
        let line = match self {
            Self::Small => "GET /small",
            Self::Download => "GET /download",
            Self::Upload => "POST /upload",
        };
        let length = match self {
            Self::Upload => format!("Content-Length: {LARGE}\r\n"),
            _ => String::new(),
        };
        format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: wsplice-e2e\r\nAccept: */*\r\n\
             Accept-Encoding: gzip, br\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\
             {length}\r\n"
        )
    }
}

/// Serves plain requests on an upstream's connection, the first of which has been read, up to a
/// handshake: proxies use the connections of the ones for the others. Returns the handshake's head, and
/// the bytes after it.
pub async fn respond(
    stream: &mut TcpStream,
    mut head: String,
    mut rest: Vec<u8>,
) -> io::Result<(String, Vec<u8>)> {
    while wire::header(&head, "sec-websocket-key").is_none() {
        let length = wire::header(&head, "content-length").and_then(|it| it.parse().ok());
        skip(stream, &mut rest, length.unwrap_or(0)).await?;
        let body = match head.split(' ').nth(1) {
            Some("/download") => LARGE,
            _ => SMALL.len(),
        };
        let mut response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {body}\r\n\r\n"
        )
        .into_bytes();
        match body {
            LARGE => {
                let chunk = vec![0x5A; CHUNK];
                stream.write_all(&response).await?;
                for _ in 0..LARGE / CHUNK {
                    stream.write_all(&chunk).await?;
                }
            }
            _ => {
                response.extend_from_slice(SMALL);
                stream.write_all(&response).await?;
            }
        }
        (head, rest) = wire::read_next_head(stream, rest).await?;
    }
    Ok((head, rest))
}

/// Reads so many bytes of a body, of which some may have been read.
async fn skip(
    stream: &mut (impl AsyncRead + Unpin),
    read_ahead: &mut Vec<u8>,
    length: usize,
) -> io::Result<()> {
    let behind = read_ahead.split_off(length.min(read_ahead.len()));
    let mut left = length - read_ahead.len();
    *read_ahead = behind;
    if left == 0 {
        return Ok(());
    }
    let mut buffer = vec![0; CHUNK.min(left)];
    while left > 0 {
        let most = left.min(buffer.len());
        match stream.read(&mut buffer[..most]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read,
        }
    }
    Ok(())
}

/// A client's connection.
pub struct Client {
    stream: Stream,
    exchange: Exchange,
    head: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(stream: Stream, exchange: Exchange) -> Self {
        let buffer = match exchange {
            Exchange::Small => Vec::new(),
            Exchange::Download | Exchange::Upload => vec![0x5A; CHUNK],
        };
        let head = exchange.head().into_bytes();
        Self {
            stream,
            exchange,
            head,
            buffer,
        }
    }

    /// Sends a request and reads its response. `moved` gets the bytes of the bodies as they pass.
    pub async fn perform(&mut self, mut moved: impl FnMut(usize)) -> io::Result<()> {
        self.stream.write_all(&self.head).await?;
        if matches!(self.exchange, Exchange::Upload) {
            for _ in 0..LARGE / CHUNK {
                self.stream.write_all(&self.buffer).await?;
                moved(CHUNK);
            }
        }
        let (head, rest) = wire::read_head(&mut self.stream).await?;
        let length = wire::header(&head, "content-length").and_then(|it| it.parse::<usize>().ok());
        let (true, Some(length)) = (head.starts_with("HTTP/1.1 200"), length) else {
            return Err(io::Error::other(head));
        };
        let mut left = length.saturating_sub(rest.len());
        if left > 0 && self.buffer.is_empty() {
            self.buffer = vec![0; 1024];
        }
        while left > 0 {
            let most = left.min(self.buffer.len());
            match self.stream.read(&mut self.buffer[..most]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    left -= read;
                    moved(read);
                }
            }
        }
        Ok(())
    }
}
