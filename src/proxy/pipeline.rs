//! From a handshake that is ours to its response: one stage after the other.

use std::{pin::pin, sync::Arc};

use http::{Response, header::ORIGIN, request::Parts};
use hyper::upgrade::OnUpgrade;
use tracing::{Instrument, Span, field};

use crate::{
    error::{Error, ErrorKind},
    http::handshake::adapt_version,
    http::headers::ClientInfo,
    http::matcher::owns,
    http::upgrade::{Intent, UpgradeRequest},
    pool::Lease,
    upstream::admission::Visit,
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

/// A request that the proxy has claimed.
pub(super) struct ClaimedRequest {
    pub(super) head: Parts,
    pub(super) intent: Intent,
    pub(super) client: ClientInfo,
}

/// Answers a handshake. What fails on the way becomes a response.
pub(super) async fn run(settings: Arc<Settings>, claimed: ClaimedRequest) -> Response<ProxyBody> {
    let span = tracing::info_span!(
        "websocket_handshake",
        path = claimed.head.uri.path(),
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
            Err(FallbackOutcome::Error(error)) => rejection(&reporter, &error),
        };
        adapt_version(&mut response, version);
        response
    }
    .instrument(span)
    .await
}

/// One handshake under way.
struct HandshakePipeline<'a> {
    reporter: &'a EventReporter,
    settings: &'a Arc<Settings>,
}

impl HandshakePipeline<'_> {
    async fn proxy(&self, claimed: ClaimedRequest) -> Result<Response<ProxyBody>, FallbackOutcome> {
        self.settings.pool.keep_watch();
        let ClaimedRequest {
            mut head,
            intent,
            client,
        } = claimed;
        let upgrade = valid_upgrade(intent)?;
        admit(self.settings, &head, &client)?;
        let on_upgrade = head
            .extensions
            .remove::<OnUpgrade>()
            .ok_or_else(|| Error::new(ErrorKind::NotUpgradable))?;
        // Before connecting: no upstream shall hear of what cannot be forwarded.
        let target = self.settings.outbound.target(&head.uri)?;
        let handshake = PendingHandshake {
            head,
            client,
            upgrade,
            target,
        };
        self.try_upstreams(&handshake, on_upgrade).await
    }

    /// Asks one upstream after the other, as often as may be, until one agrees.
    async fn try_upstreams(
        &self,
        handshake: &PendingHandshake,
        on_upgrade: OnUpgrade,
    ) -> Result<Response<ProxyBody>, FallbackOutcome> {
        let request_head = request_head(self.settings, &handshake.head, &handshake.client);
        let mut attempts = Attempts::new(self.reporter, Visit::Tunnel, &self.settings.retry);
        loop {
            let (attempt, connection) = attempts.connect(&request_head, &handshake.client).await?;
            Span::current().record("upstream", attempt.upstream());
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
        Session::new(self.settings, on_upgrade, transport, read_ahead, lease)
            .enter(self.reporter.path().into(), &handshake.client, agreement)
            .start();
        response
    }
}

/// What the proxy itself has against a proper handshake, or another request that is its own.
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

/// The response when nothing came of a request.
pub(super) fn rejection(reporter: &EventReporter, error: &Error) -> Response<ProxyBody> {
    reporter.rejected(error);
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
        // The service lets these pass; it is answered like a server that cannot upgrade.
        Intent::Other => Err(Error::new(ErrorKind::NotUpgradable)),
    }
}
