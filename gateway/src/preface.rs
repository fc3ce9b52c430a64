//! Preface of HTTP/2 that arrives in pieces.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// First bytes of a client that speaks HTTP/2 (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Waits for a client's first bytes. If they are only a part of the preface, reads until the preface is
/// whole or other bytes show that it is none, and returns what was read. All other beginnings stay in
/// the socket, so that it can be served as it is; then the result is empty. `limit` bounds the whole.
///
/// # Errors
///
/// The socket's, and [`io::ErrorKind::TimedOut`].
///
/// # Cancellation
///
/// Loses what was read.
pub(crate) async fn read_partial(tcp: &mut TcpStream, limit: Duration) -> io::Result<Bytes> {
    timeout(limit, read(tcp)).await?
}

async fn read(tcp: &mut TcpStream) -> io::Result<Bytes> {
    let mut bytes = [0; PREFACE.len()];
    let peeked = tcp.peek(&mut bytes).await?;
    let is_partial = (1..PREFACE.len()).contains(&peeked);
    let first = bytes.get(..peeked).unwrap_or_default();
    if !is_partial || !PREFACE.starts_with(first) {
        return Ok(Bytes::new());
    }
    let mut read = Vec::with_capacity(PREFACE.len());
    while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
        let missing = (PREFACE.len() - read.len()) as u64;
        if (&mut *tcp).take(missing).read_buf(&mut read).await? == 0 {
            break;
        }
    }
    Ok(read.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::AsyncWriteExt;
    use tokio::time::sleep;

    use crate::tests::TestGateway;

    /// Sends these pieces with a pause behind each, and returns the first bytes of the response. Where the
    /// gateway is slower than the pause, it reads two pieces at once, which has the same response.
    async fn response_to(pieces: impl Iterator<Item = &[u8]>) -> [u8; 12] {
        let gateway = TestGateway::start(&["--threads=1"]).await;
        let mut stream = TcpStream::connect(gateway.http).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(piece).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        let mut response = [0; 12];
        stream.read_exact(&mut response).await.unwrap();
        response
    }

    /// An empty SETTINGS frame.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    #[tokio::test]
    async fn a_preface_that_is_cut_anywhere_begins_http2_rfc9113_3_4() {
        let begin = [PREFACE, SETTINGS].concat();
        for cut in 1..begin.len() {
            let (first, rest) = begin.split_at(cut);
            let response = response_to([first, rest].into_iter()).await;
            assert_eq!(response[3], 4, "SETTINGS, after a cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_preface_that_comes_byte_by_byte_begins_http2_rfc9113_3_4() {
        let response = response_to([PREFACE, SETTINGS].concat().chunks(1)).await;
        assert_eq!(response[3], 4, "SETTINGS");
    }

    #[tokio::test]
    async fn a_request_that_begins_like_the_preface_is_served() {
        for (request, status) in [
            ("PUT / HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 405"),
            ("PRI * HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 404"),
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200"),
        ] {
            let response = response_to(request.as_bytes().chunks(1)).await;
            assert_eq!(String::from_utf8_lossy(&response), status, "{request}");
        }
    }
}
