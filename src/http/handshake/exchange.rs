//! Request and response over HTTP/1.1, on a connection of their own.
//!
//! The request is written and a 101 is read here, without hyper's client: that saves a task, a
//! channel and some 8 % of the instructions of a handshake, and the spelling of field names and the
//! bytes behind the head stay ours. Every other response is left to hyper, which gets the bytes read
//! so far once more (`replay`), so that bodies and codings have one parser.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, response};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::{
    error::{Error, ErrorKind},
    http::relay::{HeadLimits, has_unsupported_coding},
    net::transport::Transport,
};

use super::{
    encode::EncodedRequest,
    head_scan::{HeadScan, parse_head, scan_head},
    refusal::{Http1RefusalBody, HyperConnection},
    replay::Replay,
    upstream_response::UpgradeResponse,
};

/// Bytes to reserve for each read: the heads of most responses fit.
const READ_SIZE: usize = 1024;

/// Sends the request and waits for the final response; 1xx before it are skipped.
///
/// A 101 is parsed here: it has no body, and the connection is no longer HTTP after it. Every other
/// response is parsed by hyper. No task is spawned: polling this future, and later the body of a
/// refusal, drives the connection, which ends with them.
///
/// # Errors
///
/// Returns [`ErrorKind::NoResponse`] if the connection ends before a byte of a response, and
/// [`ErrorKind::Handshake`] if it ends after one, or the response is not HTTP.
pub(crate) async fn exchange(
    transport: Transport,
    request: EncodedRequest,
    limits: HeadLimits,
) -> Result<UpgradeResponse, Error> {
    let EncodedRequest { method, head } = request;
    let mut exchange = Http1Exchange {
        transport,
        unsent: head,
        write_error: None,
        received: BytesMut::with_capacity(READ_SIZE),
        failure: ErrorKind::NoResponse,
    };
    match exchange.find_101(limits).await? {
        Some(head) => Ok(UpgradeResponse::Accepted {
            head,
            transport: exchange.transport,
            // A copy of the exact size: the buffer is larger, and would live as long as the tunnel.
            read_ahead: Bytes::copy_from_slice(&exchange.received),
        }),
        None => {
            let replay = Replay::new(exchange.transport, exchange.received.freeze());
            // Boxed, because only refusals need this future, and all handshakes would carry it.
            Box::pin(read_by_hyper(replay, method, limits)).await
        }
    }
}

/// A request in flight, and the bytes received in response.
struct Http1Exchange {
    transport: Transport,
    unsent: BytesMut,
    /// The error that prevents sending the rest of the request. The response may have come
    /// regardless.
    write_error: Option<io::Error>,
    received: BytesMut,
    /// Kind of the failure if the connection breaks now: it depends on whether a byte was received.
    failure: ErrorKind,
}

impl Http1Exchange {
    /// Reads up to the end of a 101; `None` for any other response.
    async fn find_101(&mut self, limits: HeadLimits) -> Result<Option<response::Parts>, Error> {
        let mut scanned = 0;
        loop {
            match scan_head(&self.received, scanned, limits) {
                HeadScan::Other => return Ok(None),
                HeadScan::Partial => {
                    scanned = self.received.len();
                    let read = poll_fn(|cx| self.poll(cx)).await;
                    if read.map_err(|error| self.failed(error))? == 0 {
                        return match (self.write_error.take(), self.failure) {
                            (Some(error), _) => Err(self.failed(error)),
                            (None, ErrorKind::NoResponse) => {
                                Err(self.failed(io::ErrorKind::UnexpectedEof))
                            }
                            (None, _) => Ok(None),
                        };
                    }
                    self.failure = ErrorKind::Handshake;
                }
                HeadScan::Informational(end) => {
                    let head = self.received.split_to(end).freeze();
                    scanned = 0;
                    match parse_head(&head, limits) {
                        // The rest of the request would be lost, or be read as frames.
                        Some(parts) if parts.status == StatusCode::SWITCHING_PROTOCOLS => {
                            return match self.unsent.is_empty() {
                                true => Ok(Some(parts)),
                                false => Err(Error::with_source(
                                    ErrorKind::Handshake,
                                    "the 101 came before the whole request was sent",
                                )),
                            };
                        }
                        Some(_) => {}
                        None => {
                            return Err(Error::with_source(
                                ErrorKind::Handshake,
                                "the response is malformed, or has too many header lines",
                            ));
                        }
                    }
                }
            }
        }
    }

    fn failed(&self, error: impl Into<io::Error>) -> Error {
        Error::with_source(self.failure, error.into())
    }

    /// Sends the rest of the request, and reads; returns the number of bytes read.
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

/// Lets hyper read a response that has been read in part. Of the request, which was sent, hyper needs
/// the method alone.
async fn read_by_hyper(
    replay: Replay,
    method: Method,
    limits: HeadLimits,
) -> Result<UpgradeResponse, Error> {
    let failed = |error: hyper::Error| Error::with_source(ErrorKind::Handshake, error);
    let (mut sender, mut connection): (_, HyperConnection) = http1::Builder::new()
        .max_headers(limits.lines)
        // The buffer may exceed the limit by one read; the head may not.
        .max_buf_size(limits.bytes)
        .max_header_size(limits.bytes)
        .handshake(TokioIo::new(replay))
        .await
        .map_err(failed)?;
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    let mut response = pin!(sender.send_request(request));
    let response = poll_fn(|cx| {
        // Poll the connection first: it makes the response ready. If it ends without one, the
        // response's error has the reason.
        let _ = connection.poll_without_shutdown(cx);
        response.as_mut().poll(cx)
    })
    .await
    .map_err(failed)?;

    let (head, body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::with_source(
            ErrorKind::Handshake,
            "the 101 is malformed",
        ));
    }
    if has_unsupported_coding(&head.headers) {
        return Err(Error::with_source(
            ErrorKind::Handshake,
            "the transfer coding of the response is not exactly chunked",
        ));
    }
    let body = Http1RefusalBody::new(connection, body);
    Ok(UpgradeResponse::Refused(Response::from_parts(
        head,
        Box::pin(body),
    )))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_refusal_with_an_unrequested_coding_is_an_error_rfc9112_7_4() {
        expect_error_of_coding("gzip, chunked").await;
    }

    #[tokio::test]
    async fn a_refusal_in_chunks_that_hyper_does_not_read_as_chunks_is_an_error() {
        expect_error_of_coding("chunked,").await;
    }

    async fn expect_error_of_coding(coding: &str) {
        let (near, mut far) = duplex(1024);
        let coded = format!("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: {coding}\r\n\r\n");
        let upstream = async {
            assert!(far.read(&mut [0; 1024]).await.unwrap() > 0);
            far.write_all(coded.as_bytes()).await.unwrap();
        };
        let request = EncodedRequest::from(&Request::new(()));
        let limits = HeadLimits::default();
        let exchange = exchange(Transport::new(near), request, limits);
        let (response, ()) = tokio::join!(exchange, upstream);
        assert!(response.is_err_and(|error| format!("{error:#}").contains("coding")));
    }

    #[tokio::test]
    async fn a_101_before_the_whole_request_was_sent_is_an_error() {
        // The pipe is too small for the request, and the upstream reads nothing of it.
        let (near, mut far) = duplex(64);
        let accepted = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        far.write_all(accepted).await.unwrap();
        let mut request = Request::new(());
        let long = http::HeaderValue::from_static(
            "more than sixty-four bytes of a header's value, so that it waits",
        );
        request.headers_mut().insert("x-long", long);
        let request = EncodedRequest::from(&request);
        let exchange = exchange(Transport::new(near), request, HeadLimits::default());
        let error = exchange.await.err().map(|error| format!("{error:#}"));
        assert!(
            error
                .as_deref()
                .is_some_and(|error| error.contains("before the whole request")),
            "{error:?}"
        );
    }
}
