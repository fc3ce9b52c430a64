//! The pipeline of a forwarded request, up to the response of its upstream.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE, request::Parts,
};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::{
    error::{Error, ErrorKind, Side},
    http::forward::{
        BodyFraming, ClientBody, DownloadBody, Hop, Http1Connection, IdleConnections, ReuseTarget,
        SendFailure, UploadProgress, UpstreamHead, decrement_max_forwards, keep_alive_timeout,
        send, upstream_head,
    },
    http::headers::authenticates_connection,
    http::relay::{ExchangeGuard as _, Relay, RelayedBody, client_response},
    instant::saturating_add,
    tunnel::registry::InFlightRequest,
    upstream::Upstream,
    upstream::admission::AdmissionKind,
};

use super::{
    attempt::Attempt,
    attempts::{Attempts, FallbackOutcome},
    client::Client,
    event_reporter::{EventReporter, Subject},
    exchange_guard::{ExchangeGuard, length_of},
    options::RequestOptions,
    pipeline::{
        Exchange, FailedAttempt, Outcome, Received, add_response_headers, admit, check_nominated,
        consult_host, run, try_upstreams,
    },
    settings::{Forward, Settings},
    trace::record_client,
};

/// Forwards a request. A failure becomes a response.
pub(super) fn forward(
    settings: Arc<Settings>,
    with: Forward,
    request: Request<ClientBody>,
    client: Client,
) -> impl Future<Output = Response<RelayedBody>> {
    let (head, body) = request.into_parts();
    run(
        Subject::Request,
        head,
        (with, body, client),
        settings,
        proxy,
    )
}

/// Returns when the exchange must have ended: at its timeout or at the deadline of this request,
/// whichever is earlier.
fn deadline(reporter: &EventReporter, with: &Forward, head: &Parts) -> Option<Instant> {
    let timeout = with.how.exchange_timeout;
    let timed_out = timeout.map(|limit| saturating_add(reporter.started_at(), limit));
    let options = head.extensions.get::<RequestOptions>();
    let ends = [timed_out, options.and_then(RequestOptions::ends_at)];
    ends.into_iter().flatten().min()
}

/// Lets the host decide, unless a drain cuts the request off meanwhile.
async fn decide(
    reporter: &EventReporter,
    head: &mut Parts,
    client: &Client,
    in_flight: &InFlightRequest,
) -> Result<(), FallbackOutcome> {
    let decision = consult_host(reporter, head, client);
    if reporter.settings().authorize.is_none() {
        return decision.await;
    }
    let (mut decision, mut cuts) = (pin!(decision), in_flight.cuts());
    let mut cut = pin!(cuts.changed());
    poll_fn(|cx| match decision.as_mut().poll(cx) {
        Poll::Pending => cut
            .as_mut()
            .poll(cx)
            .map(|_| Err(Error::new(ErrorKind::Draining).into())),
        decided => decided,
    })
    .await
}

#[allow(clippy::manual_async_fn)] // the future of an `async` function would hold all arguments twice
fn proxy(
    reporter: &Arc<EventReporter>,
    mut head: Parts,
    (with, body, client): (Forward, ClientBody, Client),
) -> impl Future<Output = Outcome> {
    async move {
        let settings = reporter.settings();
        record_client(client.ip);
        if head.method == Method::TRACE && !with.how.allows_trace {
            return Err(Error::new(ErrorKind::MethodNotAllowed).into());
        }
        if decrement_max_forwards(&head.method, &mut head.headers) == Hop::Final {
            return Ok(max_forwards_response(&head.method));
        }
        check_nominated(settings, &head, ErrorKind::MalformedRequest)?;
        // A drain that begins after this look finds the request in flight.
        let in_flight = Arc::new(settings.registry.drain_state().enter_request());
        admit(settings, &head, &client)?;
        decide(reporter, &mut head, &client, &in_flight).await?;
        let framing = BodyFraming::from_body(&body);
        // Before an upstream is picked: a request that cannot be forwarded must not reach one.
        let upstream_head = upstream_head(&head, framing, &client.info, &settings.outbound)?;
        let mut forwarding = Forwarding {
            reporter,
            head: &head,
            client,
            framing,
            is_authenticated: authenticates_connection(upstream_head.request.headers()),
            upstream_head: Some(upstream_head),
            upload: UploadProgress::new(&body),
            body: Mutex::new(Some(body)),
            // RFC 9110 §9.2.2
            is_repeatable: head.method.is_idempotent() && framing == BodyFraming::None,
            in_flight,
            until: deadline(reporter, &with, &head),
            with,
        };
        let head = client.request_head(&head);
        // By reference, because it is large, and each step would move it.
        try_upstreams(
            reporter,
            AdmissionKind::Exchange,
            None,
            &head,
            &mut forwarding,
        )
        .await
    }
}

/// A request that may be sent to several upstreams in turn.
struct Forwarding<'a> {
    reporter: &'a Arc<EventReporter>,
    with: Forward,
    head: &'a Parts,
    client: Client,
    framing: BodyFraming,
    /// The head for the first attempt.
    upstream_head: Option<UpstreamHead>,
    /// Whether the request authenticates its connection.
    is_authenticated: bool,
    /// The client's body, until it is sent. The mutex is only reached through `&mut`: it makes the body
    /// count as `Sync`.
    body: Mutex<Option<ClientBody>>,
    upload: Arc<UploadProgress>,
    /// Whether the request may be repeated after it was sent.
    is_repeatable: bool,
    in_flight: Arc<InFlightRequest>,
    /// End of the time for the exchange.
    until: Option<Instant>,
}

/// A response of an upstream, with its connection.
struct ForwardedResponse {
    response: Response<Incoming>,
    connection: Http1Connection,
}

impl Exchange for &mut Forwarding<'_> {
    type Accepted = ForwardedResponse;
    type Refused = ForwardedResponse;

    async fn send(
        &mut self,
        attempts: &Attempts<'_>,
        attempt: &mut Attempt,
    ) -> Result<Received<Self>, FailedAttempt> {
        let upstream = attempt.lease.member().upstream();
        let response = match self.send_to(attempts, upstream).await {
            Ok(response) => response,
            Err(failed) => return Err(self.attributed(failed)),
        };
        let status = response.response.status();
        let settings = self.reporter.settings();
        let may_retry = self.is_repeatable && settings.retry.after_status(status).is_some();
        Ok(match may_retry {
            true => Received::Refused(status, response),
            false => Received::Accepted(response),
        })
    }

    async fn accept(
        self,
        attempts: Attempts<'_>,
        mut attempt: Attempt,
        response: ForwardedResponse,
    ) -> Response<RelayedBody> {
        attempts.responded(&mut attempt, response.response.status());
        self.relay_response(attempt, response)
    }

    async fn relay(&self, attempt: Attempt, response: ForwardedResponse) -> Response<RelayedBody> {
        self.relay_response(attempt, response)
    }
}

impl Forwarding<'_> {
    /// Sends the request: on an idle connection, and on a new one if that was closed meanwhile.
    async fn send_to(
        &mut self,
        attempts: &Attempts<'_>,
        upstream: &Upstream,
    ) -> Result<ForwardedResponse, FailedAttempt> {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            return Err(FailedAttempt::Ended(Error::new(ErrorKind::ExchangeTimeout)));
        }
        let idle = self.idle_connections(upstream);
        let mut idle = idle.and_then(|connections| connections.take(upstream.address()));
        loop {
            let mut connection = match idle.take() {
                Some(connection) => connection,
                None => {
                    let limit = self.reporter.settings().dial.limit(upstream.address());
                    let opening = pin!(self.open_connection(upstream));
                    self.before_end(attempts.bounded(Some(limit), opening))
                        .await
                        .map_err(FailedAttempt::Repeatable)?
                }
            };
            let is_reused = connection.is_reused();
            let head = self.head_for(upstream).map_err(FailedAttempt::Ended)?;
            let body = self.body().take().unwrap_or_else(empty_body);
            let (upload, how) = (&self.upload, &self.with.how);
            match send(&mut connection, head, body, upload, how, self.until).await {
                Ok(response) => {
                    return Ok(ForwardedResponse {
                        response,
                        connection,
                    });
                }
                Err(SendFailure::Unsent(unsent, error)) => {
                    *self.body() = Some(unsent);
                    if !is_reused {
                        let error = Error::with_source(ErrorKind::Connect, error);
                        return Err(FailedAttempt::Repeatable(error));
                    }
                }
                // RFC 9112 §9.3.1: the upstream may have closed it just when the request was sent.
                Err(SendFailure::Sent(error))
                    if is_reused && self.is_repeatable && error.kind() == ErrorKind::NoResponse => {
                }
                Err(SendFailure::Sent(error)) if self.is_repeatable => {
                    return Err(FailedAttempt::Repeatable(error));
                }
                Err(SendFailure::Sent(error)) => return Err(FailedAttempt::Sent(error)),
            }
        }
    }

    /// Awaits a part of the exchange, up to the end of its time.
    async fn before_end<T>(
        &self,
        part: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.until {
            None => part.await,
            Some(until) => timeout_at(until, part)
                .await
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::ExchangeTimeout))),
        }
    }

    /// Returns the head for this upstream. Only a repeated request needs another one.
    fn head_for(&mut self, upstream: &Upstream) -> Result<UpstreamHead, Error> {
        let (client_head, outbound) = (self.head, &self.reporter.settings().outbound);
        let mut head = match self.upstream_head.take() {
            Some(head) => head,
            None => upstream_head(client_head, self.framing, &self.client.info, outbound)?,
        };
        if let Some(base) = upstream.base_path() {
            *head.request.uri_mut() = outbound.target_below(base, &client_head.uri)?;
        }
        Ok(head)
    }

    fn body(&mut self) -> &mut Option<ClientBody> {
        self.body.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attributes a failure. One of the client's, or a cut by the drain, ends the request.
    fn attributed(&self, failed: FailedAttempt) -> FailedAttempt {
        let (FailedAttempt::Repeatable(error)
        | FailedAttempt::Sent(error)
        | FailedAttempt::Ended(error)) = &failed;
        if self.in_flight.is_cut() {
            let error = Error::with_source(ErrorKind::Draining, error.clone());
            return FailedAttempt::Ended(error);
        }
        match (error.side(), error.kind()) {
            (Side::Client, _) | (_, ErrorKind::ExchangeTimeout) => {
                FailedAttempt::Ended(error.clone())
            }
            (Side::Upstream | Side::Proxy, _) => failed,
        }
    }

    /// Returns the idle connections that requests of all clients share. A connection with the PROXY
    /// protocol serves a single client.
    fn idle_connections(&self, upstream: &Upstream) -> Option<&Arc<IdleConnections>> {
        let can_reuse = upstream.proxy_protocol().is_none();
        can_reuse.then_some(&self.with.connections)
    }

    async fn open_connection(&self, upstream: &Upstream) -> Result<Http1Connection, Error> {
        let settings = self.reporter.settings();
        let header = upstream.proxy_header(self.client.ip, &self.client.info);
        let transport = settings.dial.dial(upstream.address(), header.as_ref());
        let cuts = self.in_flight.cuts();
        Http1Connection::open(transport.await?, settings.head_limits, cuts).await
    }

    /// Relays a response. Its connection is used again if that is possible.
    fn relay_response(
        &self,
        attempt: Attempt,
        response: ForwardedResponse,
    ) -> Response<RelayedBody> {
        let ForwardedResponse {
            response,
            connection,
        } = response;
        let settings = self.reporter.settings();
        let reuse = self.reuse_target(attempt.lease.member().upstream(), &response);
        let via = settings.outbound.via.as_ref();
        let mut response = client_response(response, via, &settings.response_edits);
        let headers = response.headers_mut();
        add_response_headers(settings, self.head, &self.client, &attempt.lease, headers);
        let length = length_of(headers);
        response.map(|body| {
            let body = DownloadBody {
                body,
                upload: Arc::clone(&self.upload),
            };
            let limits = settings.response_limits(&self.with.how, self.until);
            let relay = (!body.is_end_stream()).then(|| Relay::new(Box::pin(body), limits, 0));
            if let Some(relay) = &relay {
                connection.set_response(relay);
            }
            let guard = Box::new(ExchangeGuard {
                connection: Some((connection, reuse)),
                reporter: Arc::clone(self.reporter),
                attempt,
                in_flight: Arc::clone(&self.in_flight),
                length,
                entry: None,
            });
            match relay {
                Some(relay) => RelayedBody::under_way(relay, Some(guard)),
                None => {
                    guard.completed();
                    RelayedBody::whole(Bytes::new())
                }
            }
        })
    }

    /// Returns where the connection goes after its exchange, if other requests may use it.
    fn reuse_target(
        &self,
        upstream: &Upstream,
        response: &Response<Incoming>,
    ) -> Option<ReuseTarget> {
        let connections = self.idle_connections(upstream)?;
        // NTLM and Negotiate authenticate the connection: the upstream would take the next client
        // for this one.
        let is_authenticated =
            self.is_authenticated || authenticates_connection(response.headers());
        (!is_authenticated).then(|| ReuseTarget {
            connections: Arc::clone(connections),
            upload: Arc::clone(&self.upload),
            settings: Arc::clone(&self.with.how),
            keep_alive_timeout: keep_alive_timeout(response.headers()),
        })
    }
}

fn empty_body() -> ClientBody {
    Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Returns the response to a `TRACE` or `OPTIONS` whose `Max-Forwards` is zero (RFC 9110 §7.6.2).
/// Requests are not reflected: they may hold credentials that a page must not see (§9.3.8).
fn max_forwards_response(method: &Method) -> Response<RelayedBody> {
    if *method == Method::OPTIONS {
        return Response::new(RelayedBody::whole(Bytes::new()));
    }
    let line = Bytes::from_static(b"requests are not reflected\n");
    let mut response = Response::new(RelayedBody::whole(line));
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
