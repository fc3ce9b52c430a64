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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const SILENCE: Duration = Duration::from_secs(30);

    /// The body of a 403 of two bytes, of which these come; and the upstream's end.
    async fn refusal(bytes: &str) -> (RefusalBody, DuplexStream) {
        let (near, mut far) = duplex(1024);
        let answer = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{bytes}");
        let upstream = async {
            let asked = far.read(&mut [0; 1024]).await.unwrap();
            assert!(asked > 0);
            far.write_all(answer.as_bytes()).await.unwrap();
        };
        let request = Request::new(Empty::new());
        let limits = HeadLimits::default();
        let exchange = exchange(Transport::new(near), request, limits, SILENCE);
        match tokio::join!(exchange, upstream).0.unwrap() {
            Answer::Refusal(response) => (response.into_body(), far),
            Answer::SwitchingProtocols { .. } => panic!("a 403 switches nothing"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_stops_is_given_up() {
        let (mut body, _far) = refusal("n").await;
        let began = Instant::now();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "n");
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("stopped"), "{error}");
        assert!((SILENCE..SILENCE * 2).contains(&began.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_slow_to_read_makes_no_upstream_late() {
        let (mut body, mut far) = refusal("n").await;
        tokio::time::advance(SILENCE * 2).await;
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "n");
        tokio::time::advance(SILENCE * 2).await;
        far.write_all(b"o").await.unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "o");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_is_dropped_closes_its_connection() {
        let (body, mut far) = refusal("n").await;
        drop(body);
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
