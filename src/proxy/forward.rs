//! The pipeline of a forwarded request, up to the response of its upstream.

use std::{net::IpAddr, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE,
    request::Parts,
};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tracing::{Instrument, Span, field, field::display};

use crate::{
    error::{Error, ErrorKind, Side},
    escaped::Escaped,
    http::forward::{
        BodyFraming, ClientBody, DownloadBody, Hop, Http1Connection, IdleConnections, ReuseTarget,
        SendFailure, UploadProgress, UpstreamHead, client_response, decrement_max_forwards, send,
        upstream_head,
    },
    http::handshake::adapt_version,
    http::headers::{ClientInfo, authenticates_connection, strip_nominated},
    tunnel::registry::InFlightRequest,
    upstream::Upstream,
    upstream::admission::AdmissionKind,
};

use super::{
    attempt::Attempt,
    attempts::{Attempts, FallbackOutcome},
    body::ProxyBody,
    event_reporter::{EventReporter, Subject},
    handshake::{append_header, clone_head, policy_header, request_head},
    pipeline::{admit, check_nominated, error_response, rejection},
    relayed_body::{ExchangeGuard, RelayedBody},
    settings::{Forward, Settings},
};

/// Forwards a request. A failure becomes a response.
pub(super) async fn forward(
    settings: Arc<Settings>,
    with: Forward,
    request: Request<ClientBody>,
    client: ClientInfo,
) -> Response<ProxyBody> {
    let span = tracing::info_span!(
        "http_request",
        path = %Escaped(request.uri().path()),
        upstream = field::Empty
    );
    let version = request.version();
    let reporter = EventReporter::new(Subject::Request, request.uri().path(), settings);
    let pipeline = ForwardPipeline {
        reporter: Arc::new(reporter),
        with,
        client,
    };
    async {
        let mut response = match pipeline.run(request).await {
            Ok(response) => response,
            Err(FallbackOutcome::Response(response)) => *response,
            Err(FallbackOutcome::Failure(error)) => error_response(&pipeline.reporter, &error),
            Err(FallbackOutcome::Error(error)) => rejection(&pipeline.reporter, &error),
        };
        adapt_version(&mut response, version);
        response
    }
    .instrument(span)
    .await
}

/// Context of one forwarded request.
struct ForwardPipeline {
    reporter: Arc<EventReporter>,
    with: Forward,
    client: ClientInfo,
}

/// A request that may be sent to several upstreams in turn.
struct OutboundRequest {
    head: UpstreamHead,
    upload: Arc<UploadProgress>,
    /// Whether the request may be repeated after it was sent.
    is_retryable: bool,
    in_flight: InFlightRequest,
}

/// Failure of one attempt, with the body if nothing was sent.
struct FailedAttempt {
    body: Option<ClientBody>,
    error: Error,
}

impl ForwardPipeline {
    async fn run(
        &self,
        request: Request<ClientBody>,
    ) -> Result<Response<ProxyBody>, FallbackOutcome> {
        let settings = self.reporter.settings();
        settings.pool.ensure_monitor();
        let (mut head, body) = request.into_parts();
        if head.method == Method::TRACE && !self.with.how.allows_trace {
            return Err(Error::new(ErrorKind::MethodNotAllowed).into());
        }
        if decrement_max_forwards(&head.method, &mut head.headers) == Hop::Final {
            return Ok(max_forwards_response(&head.method));
        }
        check_nominated(settings, &head, ErrorKind::MalformedRequest)?;
        strip_nominated(&mut head.headers);
        admit(settings, &head, &self.client)?;
        let framing = BodyFraming::from_body(&body);
        let outbound = OutboundRequest {
            head: upstream_head(clone_head(&head), framing, &self.client, &settings.outbound)?,
            upload: UploadProgress::new(&body),
            // RFC 9110 §9.2.2
            is_retryable: head.method.is_idempotent() && framing == BodyFraming::None,
            in_flight: settings.drain.enter_request(),
        };
        self.try_upstreams(&head, body, outbound).await
    }

    /// Tries upstreams in turn, as often as [`Retry`](crate::Retry) allows, until one responds.
    async fn try_upstreams(
        &self,
        head: &Parts,
        mut body: ClientBody,
        outbound: OutboundRequest,
    ) -> Result<Response<ProxyBody>, FallbackOutcome> {
        let settings = self.reporter.settings();
        let request_head = request_head(settings, head, &self.client);
        let mut attempts = Attempts::new(&self.reporter, AdmissionKind::Exchange, &settings.retry);
        loop {
            let attempt = attempts.next(&request_head).await?;
            Span::current().record("upstream", display(Escaped(attempt.upstream())));
            let client_ip = request_head.client_ip();
            let result = self.send(&attempts, &attempt, &outbound, client_ip, body);
            match result.await {
                Ok((response, connection)) => {
                    let status = response.status();
                    let upstream = attempt.lease.member().upstream();
                    let download =
                        self.download_response(response, connection, upstream, &outbound);
                    let policy_header = policy_header(settings, head, &self.client, &attempt.lease);
                    let is_covered = settings.retry.after_status(status).is_some();
                    if !(outbound.is_retryable && is_covered) {
                        attempts.responded(&attempt, status);
                        let guard = ExchangeGuard {
                            reporter: Arc::clone(&self.reporter),
                            attempt,
                            in_flight: outbound.in_flight,
                        };
                        return Ok(self.relay(download, Some(guard), policy_header));
                    }
                    attempts.refused(attempt, status, self.relay(download, None, policy_header))?;
                    body = empty_body();
                }
                Err(failed) => {
                    let is_retryable = outbound.is_retryable || failed.body.is_some();
                    let error = self.upstream_error(failed.error, &outbound)?;
                    if !is_retryable {
                        return Err(attempts.failed_finally(&attempt, error));
                    }
                    attempts.failed(attempt, error)?;
                    body = failed.body.unwrap_or_else(empty_body);
                }
            }
        }
    }

    /// Returns an upstream's failure. A failure of the client or an abort by the drain ends the
    /// request.
    fn upstream_error(
        &self,
        error: Error,
        outbound: &OutboundRequest,
    ) -> Result<Error, FallbackOutcome> {
        if outbound.in_flight.is_cut() {
            return Err(Error::with_source(ErrorKind::Draining, error).into());
        }
        match error.side() {
            Side::Client => Err(error.into()),
            Side::Upstream | Side::Proxy => Ok(error),
        }
    }

    /// Sends the request to one upstream: on an idle connection, and on a new one if that was
    /// closed meanwhile.
    async fn send(
        &self,
        attempts: &Attempts<'_>,
        attempt: &Attempt,
        outbound: &OutboundRequest,
        client_ip: Option<IpAddr>,
        mut body: ClientBody,
    ) -> Result<(Response<Incoming>, Http1Connection), FailedAttempt> {
        let upstream = attempt.lease.member().upstream();
        let mut idle = self
            .idle_connections(upstream)
            .and_then(|connections| connections.take(upstream.address()));
        loop {
            let mut connection = match idle.take() {
                Some(connection) => connection,
                None => match attempts
                    .bounded(pin!(self.open_connection(upstream, outbound, client_ip)))
                    .await
                {
                    Ok(connection) => connection,
                    Err(error) => {
                        let body = Some(body);
                        return Err(FailedAttempt { body, error });
                    }
                },
            };
            let is_reused = connection.is_reused();
            let head = outbound.head.clone();
            let how = &self.with.how;
            match send(&mut connection, head, body, &outbound.upload, how).await {
                Ok(response) => return Ok((response, connection)),
                Err(SendFailure::Unsent(unsent, _)) if is_reused => body = unsent,
                // RFC 9112 §9.3.1: the upstream may have closed it just when the request was sent.
                Err(SendFailure::Sent(error))
                    if is_reused
                        && outbound.is_retryable
                        && error.kind() == ErrorKind::NoResponse =>
                {
                    body = empty_body();
                }
                Err(SendFailure::Unsent(unsent, error)) => {
                    return Err(FailedAttempt {
                        body: Some(unsent),
                        error: Error::with_source(ErrorKind::Connect, error),
                    });
                }
                Err(SendFailure::Sent(error)) => return Err(FailedAttempt { body: None, error }),
            }
        }
    }

    /// Returns the idle connections that requests of all clients share. A connection with the PROXY
    /// protocol serves a single client.
    fn idle_connections(&self, upstream: &Upstream) -> Option<&Arc<IdleConnections>> {
        let can_reuse = upstream.proxy_protocol().is_none();
        can_reuse.then_some(&self.with.connections)
    }

    async fn open_connection(
        &self,
        upstream: &Upstream,
        outbound: &OutboundRequest,
        client_ip: Option<IpAddr>,
    ) -> Result<Http1Connection, Error> {
        let settings = self.reporter.settings();
        let header = upstream.proxy_header(client_ip, &self.client);
        let transport = settings.dial.dial(upstream.address(), header.as_ref());
        Http1Connection::open(
            transport.await?,
            settings.head_limits,
            outbound.in_flight.cuts(),
        )
        .await
    }

    fn download_response(
        &self,
        response: Response<Incoming>,
        connection: Http1Connection,
        upstream: &Upstream,
        outbound: &OutboundRequest,
    ) -> Response<DownloadBody> {
        let (head, body) = response.into_parts();
        // NTLM and Negotiate authenticate the connection: the upstream would take the next client for
        // this one.
        let is_authenticated = authenticates_connection(outbound.head.request.headers())
            || authenticates_connection(&head.headers);
        let reuse = self
            .idle_connections(upstream)
            .filter(|_| !is_authenticated)
            .map(|connections| ReuseTarget {
                connections: Arc::clone(connections),
                address: upstream.address().clone(),
                settings: self.with.how.clone(),
            });
        let upload = Arc::clone(&outbound.upload);
        let how = &self.with.how;
        let download = DownloadBody::new(body, &head.headers, connection, upload, reuse, how);
        Response::from_parts(head, download)
    }

    /// Prepares a response for the client.
    fn relay(
        &self,
        response: Response<DownloadBody>,
        guard: Option<ExchangeGuard>,
        policy_header: Option<(HeaderName, HeaderValue)>,
    ) -> Response<ProxyBody> {
        let settings = self.reporter.settings();
        let via = settings.outbound.via.as_ref();
        let mut response = client_response(response, via, &settings.response_edits);
        append_header(policy_header, response.headers_mut());
        response.map(|body| ProxyBody::Relayed(Box::new(RelayedBody::new(body, guard))))
    }
}

fn empty_body() -> ClientBody {
    Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Returns the response to a `TRACE` or `OPTIONS` whose `Max-Forwards` is zero (RFC 9110 §7.6.2).
/// Requests are not reflected: they may hold credentials that a page must not see (§9.3.8).
fn max_forwards_response(method: &Method) -> Response<ProxyBody> {
    if *method == Method::OPTIONS {
        return Response::new(ProxyBody::own(Bytes::new()));
    }
    let line = Bytes::from_static(b"requests are not reflected\n");
    let mut response = Response::new(ProxyBody::own(line));
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
