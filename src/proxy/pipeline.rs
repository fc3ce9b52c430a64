//! The pipeline of a handshake: one stage after the other, up to the response.

use std::{pin::pin, sync::Arc};

use http::{Response, header::ORIGIN, request::Parts};
use hyper::upgrade::OnUpgrade;
use tracing::{Instrument, Span, field, field::display};

use crate::{
    error::{Error, ErrorKind},
    escaped::Escaped,
    http::handshake::adapt_version,
    http::headers::{ClientInfo, find_nominated, strip_nominated},
    http::matcher::owns,
    http::upgrade::{Intent, UpgradeRequest},
    pool::Lease,
    upstream::admission::AdmissionKind,
};

use super::{
    attempts::{Attempts, FallbackOutcome},
    body::ProxyBody,
    event_reporter::{EventReporter, Subject},
    handshake::{AcceptedHandshake, HandshakeOutcome, PendingHandshake, request_head},
    reject::reject,
    session::Session,
    settings::Settings,
};

/// A request that the layer's matcher owns.
pub(super) struct ClaimedRequest {
    pub(super) head: Parts,
    pub(super) intent: Intent,
    pub(super) client: ClientInfo,
}

/// Proxies a handshake. A failure becomes a response.
pub(super) async fn run(settings: Arc<Settings>, claimed: ClaimedRequest) -> Response<ProxyBody> {
    let span = tracing::info_span!(
        "websocket_handshake",
        path = %Escaped(claimed.head.uri.path()),
        upstream = field::Empty
    );
    let version = claimed.head.version;
    let reporter = EventReporter::new(Subject::Handshake, claimed.head.uri.path(), settings);
    let pipeline = HandshakePipeline {
        reporter: &reporter,
        settings: reporter.settings(),
    };
    async {
        let mut response = match pipeline.proxy(claimed).await {
            Ok(response) => response,
            Err(FallbackOutcome::Response(response)) => *response,
            Err(FallbackOutcome::Failure(error)) => error_response(&reporter, &error),
            Err(FallbackOutcome::Error(error)) => rejection(&reporter, &error),
        };
        adapt_version(&mut response, version);
        response
    }
    .instrument(span)
    .await
}

/// Context of one handshake.
struct HandshakePipeline<'a> {
    reporter: &'a EventReporter,
    settings: &'a Arc<Settings>,
}

impl HandshakePipeline<'_> {
    async fn proxy(&self, claimed: ClaimedRequest) -> Result<Response<ProxyBody>, FallbackOutcome> {
        self.settings.pool.ensure_monitor();
        let ClaimedRequest {
            mut head,
            intent,
            client,
        } = claimed;
        let upgrade = valid_upgrade(intent)?;
        check_nominated(self.settings, &head, ErrorKind::MalformedHandshake)?;
        strip_nominated(&mut head.headers);
        admit(self.settings, &head, &client)?;
        let on_upgrade = head
            .extensions
            .remove::<OnUpgrade>()
            .ok_or_else(|| Error::new(ErrorKind::NotUpgradable))?;
        // Before connecting: a request that cannot be forwarded must not reach an upstream.
        let target = self.settings.outbound.target(&head.uri)?;
        let handshake = PendingHandshake {
            head,
            client,
            upgrade,
            target,
        };
        self.try_upstreams(&handshake, on_upgrade).await
    }

    /// Tries upstreams in turn, as often as [`Retry`](crate::Retry) allows, until one accepts.
    async fn try_upstreams(
        &self,
        handshake: &PendingHandshake,
        on_upgrade: OnUpgrade,
    ) -> Result<Response<ProxyBody>, FallbackOutcome> {
        let request_head = request_head(self.settings, &handshake.head, &handshake.client);
        let mut attempts =
            Attempts::new(self.reporter, AdmissionKind::Tunnel, &self.settings.retry);
        loop {
            let (attempt, connection) = attempts.connect(&request_head, &handshake.client).await?;
            Span::current().record("upstream", display(Escaped(attempt.upstream())));
            let outcome = attempts
                .bounded(pin!(handshake.send(
                    self.settings,
                    &attempt.lease,
                    connection
                )))
                .await;
            match outcome {
                Ok(HandshakeOutcome::Accepted(accepted)) => {
                    let lease = attempts.succeeded(attempt);
                    return Ok(self.start_tunnel(handshake, on_upgrade, lease, *accepted));
                }
                Ok(HandshakeOutcome::Refused(status, response)) => {
                    attempts.refused(attempt, status, response)?;
                }
                Err(error) => attempts.failed(attempt, error)?,
            }
        }
    }

    /// Starts the tunnel, which waits for the client's connection.
    fn start_tunnel(
        &self,
        handshake: &PendingHandshake,
        on_upgrade: OnUpgrade,
        lease: Lease,
        accepted: AcceptedHandshake,
    ) -> Response<ProxyBody> {
        let AcceptedHandshake {
            response,
            agreement,
            transport,
            read_ahead,
        } = accepted;
        let requested_at = self.reporter.started_at();
        Session::new(
            self.settings,
            on_upgrade,
            transport,
            read_ahead,
            lease,
            requested_at,
        )
        .enter(self.reporter.path().into(), &handshake.client, agreement)
        .start();
        response
    }
}

/// Checks whether the proxy itself rejects a valid handshake, or another owned request.
pub(super) fn admit(settings: &Settings, head: &Parts, client: &ClientInfo) -> Result<(), Error> {
    if settings.drain.is_draining() {
        return Err(Error::new(ErrorKind::Draining));
    }
    let Some(origins) = &settings.origins else {
        return Ok(());
    };
    if !head.headers.contains_key(ORIGIN) || owns(origins, &request_head(settings, head, client)) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::OriginNotAllowed))
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

/// Reports that the proxy rejects a request, and returns its response.
pub(super) fn rejection(reporter: &EventReporter, error: &Error) -> Response<ProxyBody> {
    reporter.rejected(error);
    error_response(reporter, error)
}

/// Returns the response for a failed request.
pub(super) fn error_response(reporter: &EventReporter, error: &Error) -> Response<ProxyBody> {
    let response = reject(error);
    let response = match &reporter.settings().map_rejection {
        Some(map_rejection) => map_rejection(error, response),
        None => response,
    };
    response.map(ProxyBody::own)
}

fn valid_upgrade(intent: Intent) -> Result<UpgradeRequest, Error> {
    match intent {
        Intent::Upgrade(upgrade) => Ok(upgrade),
        Intent::Malformed(malformed) => {
            Err(Error::with_source(ErrorKind::MalformedHandshake, malformed))
        }
        // The service does not pass such requests; the response is that of a server without
        // upgrades.
        Intent::Other => Err(Error::new(ErrorKind::NotUpgradable)),
    }
}
