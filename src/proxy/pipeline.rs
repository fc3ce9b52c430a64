//! The pipeline of an owned request, up to its response: the same for handshakes and for forwarded
//! requests, which differ in their [`Exchange`] with an upstream.

use std::{any::Any, pin::pin, sync::Arc};

use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{ORIGIN, SET_COOKIE},
    request::Parts,
};
use tracing::Instrument;

use crate::{
    error::{Error, ErrorKind},
    escaped::Escaped,
    http::head::{RequestHead, original_uri},
    http::headers::{UpstreamHeaders, add_header, find_nominated, forbid_shared_caching},
    http::matcher::owns,
    http::relay::{RelayedBody, adapt_version},
    pool::Lease,
    task::{catch_panic, catch_panics, panic_message},
    upstream::Member,
    upstream::admission::AdmissionKind,
};

use super::{
    attempt::Attempt,
    attempts::{Attempts, FallbackOutcome},
    authorization::authorize,
    client::Client,
    event_reporter::{EventReporter, Subject},
    key_limit::{KeyLimit, KeyPermit},
    options::RequestOptions,
    reject::reject,
    settings::Settings,
    trace::{record_attempt, request_span},
};

/// Result of a pipeline.
pub(super) type Outcome = Result<Response<RelayedBody>, FallbackOutcome>;

/// The exchange of one request with an upstream, which may be repeated with others.
pub(super) trait Exchange: Sized {
    /// A response that is final for the client.
    type Accepted;
    /// A response after which another upstream may be tried.
    type Refused;

    /// Sends the request to the upstream of this attempt.
    ///
    /// # Errors
    ///
    /// Returns the failure, and whether another upstream may be tried.
    async fn send(
        &mut self,
        attempts: &Attempts<'_>,
        attempt: &mut Attempt,
    ) -> Result<Received<Self>, FailedAttempt>;

    /// Returns the response to the client, and starts what begins with it.
    async fn accept(
        self,
        attempts: Attempts<'_>,
        attempt: Attempt,
        response: Self::Accepted,
    ) -> Response<RelayedBody>;

    /// Relays a refusal.
    async fn relay(&self, attempt: Attempt, response: Self::Refused) -> Response<RelayedBody>;
}

/// Response of an upstream.
pub(super) enum Received<E: Exchange> {
    Accepted(E::Accepted),
    Refused(StatusCode, E::Refused),
}

/// Failure of one attempt.
pub(super) enum FailedAttempt {
    /// The upstream failed, and another one may be tried.
    Repeatable(Error),
    /// The upstream failed after the request was sent, which must not be repeated.
    Sent(Error),
    /// The request itself ended, through no upstream.
    Ended(Error),
}

/// Runs the pipeline of one request, which gets the head and the rest of the `request`. A failure becomes a
/// response, as does a panic of the host's functions, whichever of them it is: the client's connection
/// lives on.
///
/// Not an `async` function, whose future would hold the head twice.
pub(super) fn run<R>(
    subject: Subject,
    head: Parts,
    request: R,
    settings: Arc<Settings>,
    pipeline: impl AsyncFnOnce(&Arc<EventReporter>, Parts, R) -> Outcome,
) -> impl Future<Output = Response<RelayedBody>> {
    let version = head.version;
    let span = match subject {
        Subject::Handshake | Subject::Reattachment => {
            settings.handshake_span(&RequestHead::from(&head))
        }
        Subject::Request => request_span(&RequestHead::from(&head)),
    };
    let reporter = Arc::new(EventReporter::new(subject, requested_path(&head), settings));
    async move {
        reporter.settings().pool.ensure_monitor();
        let pipeline = pin!(pipeline(&reporter, head, request));
        let outcome = catch_panics(|| pipeline).await;
        let outcome = outcome.unwrap_or_else(|panic| Err(panicked(&*panic).into()));
        let mut response = match outcome {
            Ok(response) => response,
            Err(FallbackOutcome::Response(response)) => *response,
            Err(FallbackOutcome::Failure(error)) => error_response(&reporter, &error),
            Err(FallbackOutcome::Error(error)) => {
                reporter.rejected(&error);
                error_response(&reporter, &error)
            }
        };
        reporter.log_response(&response, version);
        adapt_version(&mut response, version);
        response
    }
    .instrument(span)
}

/// Responds to a request whose route is unknown.
pub(super) fn fail(
    subject: Subject,
    head: Parts,
    settings: Arc<Settings>,
    error: Error,
) -> impl Future<Output = Response<RelayedBody>> {
    let pipeline = async |_: &Arc<EventReporter>, _: Parts, error: Error| Err(error.into());
    run(subject, head, error, settings, pipeline)
}

/// Logs a panic of the host's functions, and returns the error of its request.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let message = panic_message(panic);
    tracing::error!(panic = %Escaped(message), "a function of the host panicked");
    Error::with_source(ErrorKind::Panic, message)
}

/// Tries upstreams in turn, except an excluded one, as often as [`Retry`](crate::Retry) allows, until
/// one accepts.
pub(super) async fn try_upstreams(
    reporter: &EventReporter,
    kind: AdmissionKind,
    excluded: Option<&Arc<Member>>,
    head: &RequestHead<'_>,
    mut exchange: impl Exchange,
) -> Outcome {
    let mut attempts = Attempts::new(reporter, kind, excluded);
    loop {
        let mut attempt = attempts.next(head).await?;
        record_attempt(attempt.lease.member().upstream());
        match exchange.send(&attempts, &mut attempt).await {
            Ok(Received::Accepted(response)) => {
                return Ok(exchange.accept(attempts, attempt, response).await);
            }
            Ok(Received::Refused(status, response)) => {
                let cost = attempts.refused(&mut attempt, status);
                let response = exchange.relay(attempt, response).await;
                attempts.retry_after(cost, response)?;
            }
            Err(FailedAttempt::Repeatable(error)) => attempts.failed(attempt, error)?,
            Err(FailedAttempt::Sent(error)) => {
                return Err(attempts.failed_finally(&attempt, error));
            }
            Err(FailedAttempt::Ended(error)) => return Err(error.into()),
        }
    }
}

/// Checks whether the proxy itself rejects a valid handshake, or another owned request.
pub(super) fn admit(settings: &Settings, head: &Parts, client: &Client) -> Result<(), Error> {
    if settings.registry.drain_state().is_draining() {
        return Err(Error::new(ErrorKind::Draining));
    }
    let Some(origins) = &settings.origins else {
        return Ok(());
    };
    if !head.headers.contains_key(ORIGIN) || owns(origins, &client.request_head(head)) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::OriginNotAllowed))
}

/// Lets the host decide on an owned request, and takes the options that it gives.
///
/// # Errors
///
/// Returns the host's rejection, or the reason why there is no decision.
pub(super) async fn consult_host(
    reporter: &EventReporter,
    head: &mut Parts,
    client: &Client,
) -> Result<(), FallbackOutcome> {
    if let Some(function) = &reporter.settings().authorize {
        let (nothing, ()) = Request::new(()).into_parts();
        let undecided = std::mem::replace(head, nothing);
        // Boxed, because only layers with a function need this future.
        *head = Box::pin(authorize(&**function, reporter, undecided, client)).await?;
    }
    if let Some(headers_for) = &reporter.settings().upstream_headers {
        let given = headers_for(&client.request_head(head));
        let headers: &mut UpstreamHeaders = head.extensions.get_or_insert_default();
        headers.extend(&given);
    }
    RequestOptions::distribute(head);
    Ok(())
}

/// When the key of a limit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyStage {
    BeforeAuthorization,
    AfterAuthorization,
}

/// Admits a handshake under the keys that are known at this stage.
///
/// # Errors
///
/// Returns the limit that was reached.
pub(super) fn admit_keys(
    settings: &Settings,
    head: &Parts,
    client: &Client,
    stage: KeyStage,
    permits: &mut Vec<KeyPermit>,
) -> Result<(), Error> {
    if settings.key_limits.is_empty() {
        return Ok(());
    }
    let options = head.extensions.get::<RequestOptions>();
    let key = options.and_then(RequestOptions::request_key);
    let follows = stage == KeyStage::AfterAuthorization;
    let is_due = |limit: &&KeyLimit| limit.follows_authorization() == follows;
    for limit in settings.key_limits.iter().filter(is_due) {
        permits.extend(limit.admit(&client.request_head(head), key)?);
    }
    Ok(())
}

/// Rejects a request whose `Connection` names a header that the host protects.
pub(super) fn check_nominated(
    settings: &Settings,
    head: &Parts,
    kind: ErrorKind,
) -> Result<(), Error> {
    match find_nominated(&head.headers, &settings.outbound.protected) {
        None => Ok(()),
        Some(name) => {
            let why = format!("the Connection header names {name}, which it must not remove");
            Err(Error::with_source(kind, why))
        }
    }
}

/// Adds the headers of the host for this request to the response, and that of the load balancing
/// policy. A response with a cookie of the policy must not be shared.
pub(super) fn add_response_headers(
    settings: &Settings,
    head: &Parts,
    client: &Client,
    lease: &Lease,
    headers: &mut HeaderMap,
) {
    let forwarded = &settings.outbound.forwarded;
    let scheme = forwarded.client_scheme(&head.headers, &client.info);
    let head = client.request_head(head);
    if let Some(headers_for) = &settings.client_headers {
        UpstreamHeaders::from(headers_for(&head)).apply(headers);
    }
    if let Some((name, value)) = settings.pool.response_header(lease, &head, scheme) {
        if name == SET_COOKIE {
            forbid_shared_caching(headers);
        }
        add_header(headers, &name, value);
    }
}

/// Returns the path that the client asked for, before axum's `nest` removed a part of it.
fn requested_path(head: &Parts) -> &str {
    original_uri(&head.extensions).unwrap_or(&head.uri).path()
}

/// Returns the response for a failed request.
fn error_response(reporter: &EventReporter, error: &Error) -> Response<RelayedBody> {
    let response = match &reporter.settings().map_rejection {
        Some(map_rejection) => catch_panic(|| map_rejection(error, reject(error)))
            .inspect_err(|panic| drop(panicked(&**panic)))
            .ok(),
        None => None,
    };
    let response = response.unwrap_or_else(|| reject(error));
    response.map(RelayedBody::whole)
}
