//! Request and answer on a connection of their own, read by hyper.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection},
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    error::{BoxError, Error, ErrorKind},
    transport::Transport,
};

use super::casing::spell_as_written;

type Conn = Connection<TokioIo<Transport>, Empty<Bytes>>;

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

/// The upstream's final answer.
pub(crate) enum Answer {
    /// 101, not yet verified, with the connection and what was read behind the head.
    SwitchingProtocols {
        head: response::Parts,
        transport: Transport,
        read_ahead: Bytes,
    },
    /// Anything else.
    Refusal(Response<RefusalBody>),
}

/// Sends the request and waits for the final answer; 1xx before it are skipped.
///
/// No task is spawned: the connection is driven by whoever waits, here and in the body of a
/// refusal, and ends with it.
///
/// # Errors
///
/// [`ErrorKind::Handshake`] when the connection breaks or what comes is not HTTP.
pub(crate) async fn exchange(
    transport: Transport,
    mut request: Request<Empty<Bytes>>,
    limits: HeadLimits,
    body_timeout: Duration,
) -> Result<Answer, Error> {
    let failed = |error: hyper::Error| Error::because(ErrorKind::Handshake, error);
    spell_as_written(&mut request);
    let (mut sender, mut connection): (_, Conn) = http1::Builder::new()
        .title_case_headers(true)
        .max_headers(limits.lines)
        // The buffer may overshoot, since it takes what one read brings; the head may not.
        .max_buf_size(limits.bytes)
        .max_header_size(limits.bytes)
        .handshake(TokioIo::new(transport))
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
        let parts = connection.into_parts();
        return Ok(Answer::SwitchingProtocols {
            head,
            transport: parts.io.into_inner(),
            // Of its own size: hyper's buffer is larger, and would live as long as the tunnel.
            read_ahead: Bytes::copy_from_slice(&parts.read_buf),
        });
    }
    let body = RefusalBody::new(connection, body, body_timeout);
    Ok(Answer::Refusal(Response::from_parts(head, body)))
}

/// The body of an answer that is not a 101, with the connection that it comes from.
///
/// Dropping it closes the connection: after a refused upgrade nobody can be sure what the
/// upstream takes for the next request.
pub(crate) struct RefusalBody {
    connection: Box<Conn>,
    connection_is_done: bool,
    body: Incoming,
    /// How long the upstream may be silent.
    timeout: Duration,
    silence: Pin<Box<Sleep>>,
}

impl RefusalBody {
    fn new(connection: Conn, body: Incoming, timeout: Duration) -> Self {
        Self {
            connection: Box::new(connection),
            connection_is_done: false,
            body,
            timeout,
            silence: Box::pin(sleep(timeout)),
        }
    }
}

impl Body for RefusalBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if !this.connection_is_done {
            this.connection_is_done = this.connection.poll_without_shutdown(cx).is_ready();
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            let deadline = Instant::now() + this.timeout;
            this.silence.as_mut().reset(deadline);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(this.silence.as_mut().poll(cx));
        Poll::Ready(Some(Err(
            "the upstream stopped in the middle of its answer".into(),
        )))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
