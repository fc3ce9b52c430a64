//! Request and answer on a connection of their own.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response, StatusCode, response};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::{
    error::{Error, ErrorKind},
    net::transport::Transport,
};

use super::{
    answer::{Answer, RefusalBody},
    inbound::has_other_coding,
    refusal::{self, Conn},
    replay::Replay,
    spelling::encode_head,
    switching::{Seen, look, parse},
};

/// As much as most answers' heads take, and what is read at once.
const READ: usize = 1024;

/// How large the head of an upstream's answer may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Header lines.
    pub(crate) lines: usize,
    /// Bytes; at least 8,192.
    pub(crate) bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            lines: 100,
            bytes: 64 * 1024,
        }
    }
}

/// Sends the request and waits for the final answer; 1xx before it are skipped.
///
/// A 101 is read here: a head and no body, after which the connection is no longer HTTP's.
/// Everything else is read by hyper. No task is spawned: the connection is driven by whoever
/// waits, here and in the body of a refusal, and ends with it.
///
/// # Errors
///
/// [`ErrorKind::Handshake`] when the connection breaks or what comes is not HTTP.
pub(crate) async fn exchange(
    transport: Transport,
    request: Request<Empty<Bytes>>,
    limits: HeadLimits,
    body_timeout: Duration,
) -> Result<Answer, Error> {
    let mut asking = Asking {
        transport,
        unsent: encode_head(&request).into(),
        broken: None,
        read: BytesMut::with_capacity(READ),
    };
    match asking.find_101(limits).await? {
        Some(head) => Ok(Answer::Agreed {
            head,
            transport: asking.transport,
            // Of its own size: the buffer is larger, and would live as long as the tunnel.
            read_ahead: Bytes::copy_from_slice(&asking.read),
        }),
        None => {
            let begun = Replay::new(asking.transport, asking.read.freeze());
            // Boxed: few need it, and all would carry it.
            Box::pin(by_hyper(begun, request, limits, body_timeout)).await
        }
    }
}

/// A request on its way, and what has come in answer.
struct Asking {
    transport: Transport,
    unsent: Bytes,
    /// Why the rest of the request cannot be sent. The answer may have come for all that.
    broken: Option<io::Error>,
    read: BytesMut,
}

impl Asking {
    /// Reads up to the end of a 101. `None` if that is not what comes.
    async fn find_101(&mut self, limits: HeadLimits) -> Result<Option<response::Parts>, Error> {
        let failed = |error: io::Error| Error::with_source(ErrorKind::Handshake, error);
        let mut looked_at = 0;
        loop {
            match look(&self.read, looked_at, limits) {
                Seen::Other => return Ok(None),
                Seen::Partial => {
                    looked_at = self.read.len();
                    if poll_fn(|cx| self.poll(cx)).await.map_err(failed)? == 0 {
                        return match self.broken.take() {
                            Some(error) => Err(failed(error)),
                            None => Ok(None),
                        };
                    }
                }
                Seen::Informational(end) => {
                    let head = self.read.split_to(end).freeze();
                    looked_at = 0;
                    match parse(&head, limits) {
                        Some(parts) if parts.status == StatusCode::SWITCHING_PROTOCOLS => {
                            return Ok(Some(parts));
                        }
                        Some(_) => {}
                        None => {
                            return Err(Error::with_source(
                                ErrorKind::Handshake,
                                "the upstream's answer is malformed, or has too many header lines",
                            ));
                        }
                    }
                }
            }
        }
    }

    /// Sends what is left to send, and reads; how many bytes came.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.broken.is_none() {
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                self.broken = Some(error);
            }
        }
        self.read.reserve(READ);
        pin!(self.transport.read_buf(&mut self.read)).poll(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut transport = Pin::new(&mut self.transport);
        while !self.unsent.is_empty() {
            let sent = ready!(transport.as_mut().poll_write(cx, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(sent);
        }
        transport.poll_flush(cx)
    }
}

/// Has hyper read the answer, of which no more than a part has been read.
async fn by_hyper(
    begun: Replay,
    request: Request<Empty<Bytes>>,
    limits: HeadLimits,
    body_timeout: Duration,
) -> Result<Answer, Error> {
    let failed = |error: hyper::Error| Error::with_source(ErrorKind::Handshake, error);
    let (mut sender, mut connection): (_, Conn) = http1::Builder::new()
        .max_headers(limits.lines)
        // The buffer may overshoot, since it takes what one read brings; the head may not.
        .max_buf_size(limits.bytes)
        .max_header_size(limits.bytes)
        .handshake(TokioIo::new(begun))
        .await
        .map_err(failed)?;
    let mut answer = pin!(sender.send_request(request));
    let response = poll_fn(|cx| {
        // The connection first: it is what makes the answer ready. If it ends without one, the
        // answer says why.
        let _ = connection.poll_without_shutdown(cx);
        answer.as_mut().poll(cx)
    })
    .await
    .map_err(failed)?;

    let (head, body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::with_source(
            ErrorKind::Handshake,
            "the upstream's 101 is malformed",
        ));
    }
    if has_other_coding(&head.headers) {
        return Err(Error::with_source(
            ErrorKind::Handshake,
            "the upstream's answer has a transfer coding other than chunked",
        ));
    }
    let body = refusal::RefusalBody::new(connection, body, body_timeout);
    Ok(Answer::Refusal(Response::from_parts(
        head,
        RefusalBody::Own(body),
    )))
}
