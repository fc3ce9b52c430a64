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
    encode::encode_head,
    head_limits::HeadLimits,
    head_scan::{HeadScan, parse_head, scan_head},
    inbound::has_unsupported_coding,
    refusal::{self, HyperConnection},
    replay::Replay,
    response::{RefusalBody, UpgradeResponse},
};

/// As much as most answers' heads take, and what is read at once.
const READ_SIZE: usize = 1024;

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
) -> Result<UpgradeResponse, Error> {
    let mut exchange = Http1Exchange {
        transport,
        unsent: encode_head(&request).into(),
        write_error: None,
        received: BytesMut::with_capacity(READ_SIZE),
    };
    match exchange.find_101(limits).await? {
        Some(head) => Ok(UpgradeResponse::Accepted {
            head,
            transport: exchange.transport,
            // Of its own size: the buffer is larger, and would live as long as the tunnel.
            read_ahead: Bytes::copy_from_slice(&exchange.received),
        }),
        None => {
            let replay = Replay::new(exchange.transport, exchange.received.freeze());
            // Boxed: few need it, and all would carry it.
            Box::pin(read_by_hyper(replay, request, limits, body_timeout)).await
        }
    }
}

/// A request on its way, and what has come in answer.
struct Http1Exchange {
    transport: Transport,
    unsent: Bytes,
    /// Why the rest of the request cannot be sent. The answer may have come for all that.
    write_error: Option<io::Error>,
    received: BytesMut,
}

impl Http1Exchange {
    /// Reads up to the end of a 101. `None` if that is not what comes.
    async fn find_101(&mut self, limits: HeadLimits) -> Result<Option<response::Parts>, Error> {
        let failed = |error: io::Error| Error::with_source(ErrorKind::Handshake, error);
        let mut scanned = 0;
        loop {
            match scan_head(&self.received, scanned, limits) {
                HeadScan::Other => return Ok(None),
                HeadScan::Partial => {
                    scanned = self.received.len();
                    if poll_fn(|cx| self.poll(cx)).await.map_err(failed)? == 0 {
                        return match self.write_error.take() {
                            Some(error) => Err(failed(error)),
                            None => Ok(None),
                        };
                    }
                }
                HeadScan::Informational(end) => {
                    let head = self.received.split_to(end).freeze();
                    scanned = 0;
                    match parse_head(&head, limits) {
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
        if self.write_error.is_none() {
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                self.write_error = Some(error);
            }
        }
        self.received.reserve(READ_SIZE);
        pin!(self.transport.read_buf(&mut self.received)).poll(cx)
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
async fn read_by_hyper(
    replay: Replay,
    request: Request<Empty<Bytes>>,
    limits: HeadLimits,
    body_timeout: Duration,
) -> Result<UpgradeResponse, Error> {
    let failed = |error: hyper::Error| Error::with_source(ErrorKind::Handshake, error);
    let (mut sender, mut connection): (_, HyperConnection) = http1::Builder::new()
        .max_headers(limits.lines)
        // The buffer may overshoot, since it takes what one read brings; the head may not.
        .max_buf_size(limits.bytes)
        .max_header_size(limits.bytes)
        .handshake(TokioIo::new(replay))
        .await
        .map_err(failed)?;
    let mut response = pin!(sender.send_request(request));
    let response = poll_fn(|cx| {
        // The connection first: it is what makes the answer ready. If it ends without one, the
        // answer says why.
        let _ = connection.poll_without_shutdown(cx);
        response.as_mut().poll(cx)
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
    if has_unsupported_coding(&head.headers) {
        return Err(Error::with_source(
            ErrorKind::Handshake,
            "the upstream's answer has a transfer coding other than chunked",
        ));
    }
    let body = refusal::Http1RefusalBody::new(connection, body, body_timeout);
    Ok(UpgradeResponse::Refused(Response::from_parts(
        head,
        RefusalBody::Own(body),
    )))
}
