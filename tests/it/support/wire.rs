//! One end of a TCP connection, with the methods that both raw sides share.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::deadline::within;
use super::head::Head;
use super::rng::Checksum;

/// A socket and the bytes read ahead from it.
///
/// Reading past a head is normal (a 101 and the first frame may share a segment), so what is read
/// ahead is kept and handed out first. Methods that begin with `try_` leave failure to the caller;
/// all others panic with a sentence.
pub(crate) struct Wire {
    stream: TcpStream,
    ahead: BytesMut,
    meter: Meter,
}

/// Callback for the length of every read.
type Meter = Box<dyn Fn(usize) + Send + Sync>;

impl Wire {
    /// Takes over a connected socket, without Nagle's delay.
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self {
            stream,
            ahead: BytesMut::new(),
            meter: Box::new(|_| {}),
        }
    }

    /// Reports the length of every read to `meter`, and at once that of the bytes already at hand.
    pub(crate) fn set_meter(&mut self, meter: impl Fn(usize) + Send + Sync + 'static) {
        meter(self.ahead.len());
        self.meter = Box::new(meter);
    }

    /// Bytes that were read off the socket and not yet consumed.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Sends all of `bytes`.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_send(bytes).await {
            panic!("could not send {} bytes: {error}", bytes.len());
        }
    }

    /// Sends all of `bytes`.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let what = format!("the other side to take {} bytes", bytes.len());
        within(what, self.stream.write_all(bytes)).await
    }

    /// Reads once and returns everything at hand; empty means the end.
    pub(crate) async fn try_read_some(&mut self) -> io::Result<Bytes> {
        if self.ahead.is_empty() {
            self.fill("more bytes or the end").await?;
        }
        Ok(self.ahead.split().freeze())
    }

    /// Reads exactly `len` bytes.
    pub(crate) async fn read_exact(&mut self, len: usize) -> Bytes {
        self.await_ahead(len).await;
        self.ahead.split_to(len).freeze()
    }

    /// Looks at the next `len` bytes and leaves them to be read.
    pub(crate) async fn peek(&mut self, len: usize) -> &[u8] {
        self.await_ahead(len).await;
        &self.ahead[..len]
    }

    /// Reads `len` bytes without keeping them and returns their checksum.
    pub(crate) async fn read_checksum(&mut self, len: usize) -> Checksum {
        let mut sum = Checksum::new();
        let mut left = len;
        while left > 0 {
            self.await_ahead(1).await;
            let piece = self.ahead.split_to(left.min(self.ahead.len()));
            sum.update(&piece);
            left -= piece.len();
        }
        sum
    }

    /// Reads the head of a request or response; the bytes after it stay to be read.
    pub(crate) async fn read_head(&mut self) -> Head {
        match self.try_read_head().await {
            Ok(Some(head)) => head,
            Ok(None) => panic!("the connection ended before a head: {:?}", self.ahead),
            Err(error) => panic!("the connection failed before a head: {error}"),
        }
    }

    /// Reads a head, or `None` when the connection ends before the head does.
    pub(crate) async fn try_read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(head) = Head::parse(&self.ahead) {
                self.ahead.advance(head.raw.len());
                return Ok(Some(head));
            }
            if self.fill("a whole head").await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads the body that goes with the response `head`, as RFC 9112 §6.3 delimits it.
    pub(crate) async fn read_body(&mut self, head: &Head) -> Bytes {
        if matches!(head.status(), 100..=199 | 204 | 304) {
            return Bytes::new();
        }
        if head.all("transfer-encoding").any(|te| te == "chunked") {
            return self.read_chunks().await;
        }
        match head.get("content-length") {
            Some(len) => self.read_exact(len.parse().expect("a length")).await,
            None => self.read_to_end().await,
        }
    }

    /// Reads until the other side has finished sending.
    pub(crate) async fn read_to_end(&mut self) -> Bytes {
        loop {
            match self.fill("the end of the connection").await {
                Ok(0) => return self.ahead.split().freeze(),
                Ok(_) => {}
                Err(error) => panic!("expected the connection to end well, got {error}"),
            }
        }
    }

    /// Expects the other side to have finished sending, with nothing left to read.
    pub(crate) async fn expect_eof(&mut self) {
        let rest = self.read_to_end().await;
        assert!(
            rest.is_empty(),
            "expected the end, got {} bytes: {rest:?}",
            rest.len(),
        );
    }

    /// Expects the connection to be reset; bytes that come before that are dropped.
    pub(crate) async fn expect_reset(&mut self) {
        loop {
            match self.fill("a reset").await {
                Ok(0) => panic!("expected a reset, got an orderly end"),
                Ok(_) => self.ahead.clear(),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
                    return;
                }
            }
        }
    }

    /// Sends `out` and reads `len` bytes at the same time, so that neither side can stall the other.
    pub(crate) async fn exchange(&mut self, out: &[u8], len: usize) -> Bytes {
        let (mut reader, mut writer) = self.stream.split();
        let (ahead, meter) = (&mut self.ahead, &self.meter);
        let sending = async {
            let sent = within("the other side to take bytes", writer.write_all(out)).await;
            sent.expect("the connection to take bytes");
        };
        let reading = async {
            while ahead.len() < len {
                let what = format!("{len} bytes, {} have come", ahead.len());
                let read = within(what, reader.read_buf(ahead)).await;
                let count = read.expect("the connection to give bytes");
                assert_ne!(count, 0, "ended after {} of {len} bytes", ahead.len());
                meter(count);
            }
        };
        tokio::join!(sending, reading);
        self.ahead.split_to(len).freeze()
    }

    /// Finishes sending (FIN); reading goes on.
    pub(crate) async fn fin(&mut self) {
        let done = within("the write side to shut", self.stream.shutdown()).await;
        done.expect("the write side to shut");
    }

    /// Drops the connection so that the other side sees a reset (RST).
    pub(crate) fn reset(self) {
        let linger = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        linger.expect("SO_LINGER");
    }

    async fn read_chunks(&mut self) -> Bytes {
        let mut body = BytesMut::new();
        loop {
            let chunk = self.read_chunk().await;
            if chunk.is_empty() {
                self.read_trailers().await;
                return body.freeze();
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Reads the next chunk of a body (RFC 9112 §7.1); empty is the last, and trailers follow.
    pub(crate) async fn read_chunk(&mut self) -> Bytes {
        let line = self.read_line().await;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let len = usize::from_str_radix(digits, 16)
            .unwrap_or_else(|_| panic!("expected the length of a chunk, got {line:?}"));
        let chunk = self.read_exact(len).await;
        if len > 0 {
            assert_eq!(self.read_line().await, "", "a chunk ends with its line");
        }
        chunk
    }

    /// Reads the trailers behind the last chunk, a line each.
    pub(crate) async fn read_trailers(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.read_line().await;
            if line.is_empty() {
                return lines;
            }
            lines.push(line.to_ascii_lowercase());
        }
    }

    /// Reads up to the next line end, and drops that.
    pub(crate) async fn read_line(&mut self) -> String {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.ahead.split_to(end);
                self.ahead.advance(2);
                return String::from_utf8_lossy(&line).into_owned();
            }
            self.await_ahead(self.ahead.len() + 1).await;
        }
    }

    async fn await_ahead(&mut self, len: usize) {
        while self.ahead.len() < len {
            let what = format!("{len} bytes, {} have come", self.ahead.len());
            match self.fill(&what).await {
                Ok(0) => panic!("the connection ended; awaited {what}: {:?}", self.ahead),
                Ok(_) => {}
                Err(error) => panic!("the connection failed ({error}); awaited {what}"),
            }
        }
    }

    /// Reads once into the bytes at hand; 0 means the end.
    async fn fill(&mut self, what: &str) -> io::Result<usize> {
        let count = within(what, self.stream.read_buf(&mut self.ahead)).await?;
        (self.meter)(count);
        Ok(count)
    }
}
