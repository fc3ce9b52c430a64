//! The upstream's handshake for hosts that run tunnels by themselves.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{HOST, SEC_WEBSOCKET_KEY},
    request::Parts,
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use tokio::time::timeout;

use crate::{
    error::{BoxError, Error, ErrorKind},
    frame::Extensions,
    http::head::RequestHead,
    http::headers::strip_hop_by_hop,
    http::relay::{HeadLimits, ProgressLimits, RelayLimits, RelayedBody, origin_form, start},
    http::upgrade::{Intent, UpgradeRequest, generate_key, inspect},
    net::transport::Transport,
};

use super::{
    agreement::Offer,
    encode::EncodedRequest,
    exchange::exchange,
    upstream_request::{set_handshake_headers, upgrade_request},
    upstream_response::UpgradeResponse,
};

/// The opening handshake with an upstream (RFC 6455 §4.1), over a stream that is connected.
///
/// It verifies the 101, and keeps what the upstream sent right behind it: a server may speak
/// first, and its first frame often comes with the 101 in one read. Hand both to a
/// [`Tunnel`](crate::tunnel::Tunnel), as [`Tunnel::after_handshakes`](crate::tunnel::Tunnel::after_handshakes) does.
///
/// # Examples
///
/// ```no_run
/// use tokio::net::TcpStream;
/// use wsplice::{
///     connect::Transport,
///     handshake::{UpstreamHandshake, UpstreamResponse},
///     tunnel::Tunnel,
/// };
///
/// # async fn splice(client: Transport) -> Result<(), Box<dyn std::error::Error>> {
/// let request = http::Request::get("ws://10.0.0.1:8080/chat")
///     .header("sec-websocket-protocol", "chat")
///     .body(())?;
/// let stream = TcpStream::connect("10.0.0.1:8080").await?;
/// match UpstreamHandshake::new(request).perform(stream).await? {
///     UpstreamResponse::Accepted(accepted) => {
///         let report = Tunnel::builder(client, accepted.transport)
///             .upstream_read_ahead(accepted.read_ahead)
///             .extensions(accepted.extensions)
///             .await;
///         println!("{}", report.end);
///     }
///     UpstreamResponse::Refused(response) => println!("refused: {}", response.status()),
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is sent until it is performed"]
pub struct UpstreamHandshake {
    request: Request<()>,
    timeout: Duration,
    body_timeout: Duration,
    limits: HeadLimits,
}

/// The final response of an upstream to an opening handshake.
#[derive(Debug)]
pub enum UpstreamResponse {
    /// A verified 101.
    Accepted(Box<AcceptedHandshake>),
    /// Any other response, with its body.
    Refused(Box<Response<RefusedBody>>),
}

/// A verified 101, and the stream that it came on.
#[derive(Debug)]
#[non_exhaustive]
pub struct AcceptedHandshake {
    /// The response. Its `Sec-WebSocket-Accept` answers the key that was sent: if that was the
    /// client's own, the response can be passed on to the client.
    pub response: Response<()>,
    /// The stream, past the handshake.
    pub transport: Transport,
    /// Bytes that came right behind the 101.
    pub read_ahead: Bytes,
    /// The subprotocol that the upstream chose among those that were offered.
    pub subprotocol: Option<Box<str>>,
    /// Whether the upstream agreed to an extension that was offered.
    pub extensions: Extensions,
}

/// The body of a response that refuses a handshake. Up to 64 KiB of it are read ahead, by a task
/// that ends with the body.
pub struct RefusedBody(RelayedBody);

impl UpstreamHandshake {
    /// Creates a handshake from this request. Its path, query and headers are sent: `Host`, a subprotocol,
    /// extensions, cookies. A `Sec-WebSocket-Key` in it is kept, so that the head of a client's
    /// handshake can be passed on; without one a random key is made.
    ///
    /// The method, the version and the headers that make it a handshake are set, and headers of
    /// the client's connection removed (RFC 9110 §7.6.1). Without a `Host` the authority of the
    /// URI is taken.
    pub fn new(request: Request<()>) -> Self {
        Self {
            request,
            timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            limits: HeadLimits::default(),
        }
    }

    /// Sets how long the upstream may take to the end of its response's head; 10 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long the upstream may be silent within the body of a refusal; 30 s by default.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Sends the handshake and waits for the response.
    ///
    /// # Errors
    ///
    /// * [`ErrorKind::MalformedHandshake`]: the request cannot be a handshake: it has no host or no
    ///   path, or its key is not valid;
    /// * [`ErrorKind::HandshakeTimeout`]: no response in time;
    /// * [`ErrorKind::NoResponse`]: the connection ended before the first byte of a response;
    /// * [`ErrorKind::Handshake`]: it broke after that, or the response is not HTTP/1.1;
    /// * [`ErrorKind::InvalidUpgradeResponse`]: a 101 that does not agree to what was asked.
    ///
    /// # Cancellation
    ///
    /// Dropping the future closes the connection.
    pub async fn perform(self, stream: impl Into<Transport>) -> Result<UpstreamResponse, Error> {
        let (head, ()) = self.request.into_parts();
        let (request, upgrade) = handshake_request(head)?;
        let offer = Offer::new(request.headers(), &upgrade);
        let request = EncodedRequest::from(&request);
        let exchange = exchange(stream.into(), request, self.limits);
        let response = timeout(self.timeout, exchange).await.unwrap_or_else(|_| {
            let after = format!("after {:?}", self.timeout);
            Err(Error::with_source(ErrorKind::HandshakeTimeout, after))
        })?;
        match response {
            UpgradeResponse::Refused(response) => {
                let (head, body) = response.into_parts();
                let limits = RelayLimits {
                    upstream: ProgressLimits::of_silence(self.body_timeout),
                    ..RelayLimits::default()
                };
                let body = RefusedBody(start(body, limits, None, None).await);
                let response = Response::from_parts(head, body);
                Ok(UpstreamResponse::Refused(Box::new(response)))
            }
            UpgradeResponse::Accepted {
                head,
                transport,
                read_ahead,
            } => {
                let agreement = offer
                    .verify(&head)
                    .map_err(|why| Error::with_source(ErrorKind::InvalidUpgradeResponse, why))?;
                Ok(UpstreamResponse::Accepted(Box::new(AcceptedHandshake {
                    response: Response::from_parts(head, ()),
                    transport,
                    read_ahead,
                    subprotocol: agreement.subprotocol,
                    extensions: agreement.extensions,
                })))
            }
        }
    }
}

/// Returns the request as it is sent, and the proof that it is a handshake.
fn handshake_request(mut head: Parts) -> Result<(Request<Empty<Bytes>>, UpgradeRequest), Error> {
    let key = head.headers.get(SEC_WEBSOCKET_KEY).cloned();
    if !head.headers.contains_key(HOST) {
        let host = head.uri.authority().map(http::uri::Authority::as_str);
        if let Some(Ok(host)) = host.map(HeaderValue::from_str) {
            head.headers.insert(HOST, host);
        }
    }
    strip_hop_by_hop(&mut head.headers);
    let key = key.unwrap_or_else(generate_key);
    set_handshake_headers(&mut head.headers, key);
    let request = upgrade_request(origin_form(&head.uri), head.headers);
    match inspect(&RequestHead::from(&request)) {
        Intent::Upgrade(upgrade) => Ok((request, upgrade)),
        Intent::Malformed(why) => Err(Error::with_source(ErrorKind::MalformedHandshake, why)),
        Intent::Other => Err(Error::new(ErrorKind::MalformedHandshake)),
    }
}

impl Body for RefusedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0)
            .poll_frame(cx)
            .map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl fmt::Debug for RefusedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedBody").finish_non_exhaustive()
    }
}

/// Without the headers, which may have tokens among them.
impl fmt::Debug for UpstreamHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamHandshake")
            .field("path", &self.request.uri().path())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
