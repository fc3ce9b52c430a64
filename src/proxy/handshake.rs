//! The pipeline of a handshake, up to the tunnel.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, request};

use crate::{
    error::{Error, ErrorKind},
    http::{
        handshake::{AgreedExtensions, accepted_response, refused_response},
        relay::{RelayedBody, Source, start},
        upgrade::{Intent, UpgradeRequest},
    },
    net::client_stream::PendingClient,
    tunnel::{ReattachParts, reattach::ReattachRefusal},
    upstream::admission::AdmissionKind,
};

use super::{
    attempt::Attempt,
    attempts::Attempts,
    client::Client,
    event_reporter::{EventReporter, Subject},
    exchange_guard::{ExchangeGuard, length_of},
    key_limit::KeyPermit,
    opening::{Accepted, Opening, OpeningResponse},
    options::RequestOptions,
    pipeline::{
        Exchange, FailedAttempt, KeyStage, Outcome, Received, add_response_headers, admit,
        admit_keys, check_nominated, consult_host, run, try_upstreams,
    },
    reconnect::Reconnector,
    session::{Reattachment, Session, SessionFacts},
    settings::Settings,
    trace::{record_client, record_tunnel},
};

/// Proxies a handshake. A failure becomes a response.
pub(super) fn handshake(
    settings: Arc<Settings>,
    head: request::Parts,
    intent: Intent,
    client: Client,
) -> impl Future<Output = Response<RelayedBody>> {
    run(Subject::Handshake, head, (intent, client), settings, proxy)
}

#[allow(clippy::manual_async_fn)] // the future of an `async` function would hold all arguments twice
fn proxy(
    reporter: &Arc<EventReporter>,
    mut head: request::Parts,
    (intent, client): (Intent, Client),
) -> impl Future<Output = Outcome> {
    async move {
        let settings = reporter.settings();
        record_client(client.ip);
        let upgrade = valid_upgrade(intent)?;
        check_nominated(settings, &head, ErrorKind::MalformedHandshake)?;
        admit(settings, &head, &client)?;
        let pending_client =
            PendingClient::take(&mut head).ok_or_else(|| Error::new(ErrorKind::NotUpgradable))?;
        // Before connecting: a request that cannot be forwarded must not reach an upstream.
        let target = settings.outbound.target(&head.uri)?;
        let mut permits = Vec::new();
        let stage = KeyStage::BeforeAuthorization;
        admit_keys(settings, &head, &client, stage, &mut permits)?;
        consult_host(reporter, &mut head, &client).await?;
        let stage = KeyStage::AfterAuthorization;
        admit_keys(settings, &head, &client, stage, &mut permits)?;
        let opening = Opening {
            head,
            client,
            upgrade,
            target,
        };
        let handshake = Handshake {
            reporter,
            opening: &opening,
            pending_client,
            permits,
        };
        let head = client.request_head(&opening.head);
        try_upstreams(reporter, AdmissionKind::Tunnel, None, &head, handshake).await
    }
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

/// A valid handshake of a client that waits for its response.
struct Handshake<'a> {
    reporter: &'a Arc<EventReporter>,
    opening: &'a Opening,
    pending_client: PendingClient,
    /// Places under the keys that limits count.
    permits: Vec<KeyPermit>,
}

impl Exchange for Handshake<'_> {
    type Accepted = Accepted;
    type Refused = Response<Source>;

    async fn send(
        &mut self,
        attempts: &Attempts<'_>,
        attempt: &mut Attempt,
    ) -> Result<Received<Self>, FailedAttempt> {
        let send = pin!(
            self.opening
                .send(self.reporter.settings(), attempts, attempt)
        );
        match send.await? {
            OpeningResponse::Accepted(accepted) => Ok(Received::Accepted(accepted)),
            OpeningResponse::Refused(response) => {
                Ok(Received::Refused(response.status(), response))
            }
        }
    }

    async fn accept(
        self,
        attempts: Attempts<'_>,
        attempt: Attempt,
        mut accepted: Accepted,
    ) -> Response<RelayedBody> {
        let settings = self.reporter.settings();
        let reattachment = self.reattachment(&mut accepted);
        let Accepted {
            head,
            agreement,
            transport,
            read_ahead,
        } = accepted;
        let rules = (settings.outbound.via.as_ref(), &settings.response_edits);
        let mut response = accepted_response(head, &self.opening.upgrade, rules.0, rules.1);
        self.add_response_headers(&attempt, response.headers_mut());
        let session = Session {
            settings: Arc::clone(settings),
            pending_client: self.pending_client,
            upstream: transport,
            read_ahead,
            lease: attempts.succeeded(attempt),
            requested_at: self.reporter.started_at(),
            reattachment,
        };
        // The tunnel waits for the client's connection.
        let facts = SessionFacts {
            path: self.reporter.path().into(),
            client: self.opening.client.info,
            options: self.opening.head.extensions.get(),
            permits: self.permits,
        };
        let session = session.enter(facts, agreement);
        record_tunnel(session.id());
        session.start();
        response.map(|()| RelayedBody::whole(Bytes::new()))
    }

    async fn relay(&self, attempt: Attempt, response: Response<Source>) -> Response<RelayedBody> {
        // Boxed, because only refusals need this future, and all handshakes would carry it.
        Box::pin(self.relay_refusal(attempt, response)).await
    }
}

impl Handshake<'_> {
    /// Keeps the handshake for the next upstream, if that is wanted, and adds the parameter to the
    /// response that makes it possible.
    fn reattachment(&self, accepted: &mut Accepted) -> Option<Reattachment> {
        let settings = self.reporter.settings();
        let options = self.opening.head.extensions.get();
        let reattach = RequestOptions::reattach_or(options, settings.reattach.as_ref())?;
        let headers = &mut accepted.head.headers;
        let mut extensions = AgreedExtensions::read(headers);
        if reattach.adds_no_context_takeover() {
            extensions = extensions.with_no_context_takeover(headers);
        }
        let agreement = match extensions {
            AgreedExtensions::Unknown => Some(ReattachRefusal::UnknownExtension),
            _ if extensions.has_independent_client_messages() => None,
            _ => Some(ReattachRefusal::ContextTakeover),
        };
        Some(Reattachment {
            parts: ReattachParts {
                settings: Arc::clone(reattach),
                agreement,
                reserved_bits: extensions.reserved_bits(),
            },
            reconnect: Arc::new(Reconnector {
                opening: self.opening.detached(),
                settings: Arc::clone(settings),
                reattach: Arc::clone(reattach),
                subprotocol: accepted.agreement.subprotocol.clone(),
                extensions,
            }),
        })
    }

    async fn relay_refusal(
        &self,
        attempt: Attempt,
        response: Response<Source>,
    ) -> Response<RelayedBody> {
        let settings = self.reporter.settings();
        let rules = (settings.outbound.via.as_ref(), &settings.response_edits);
        let mut response = refused_response(response, &self.opening.upgrade, rules.0, rules.1);
        self.add_response_headers(&attempt, response.headers_mut());
        let in_flight = Arc::new(settings.registry.drain_state().enter_request());
        let cuts = in_flight.cuts();
        let guard = Box::new(ExchangeGuard {
            connection: None,
            reporter: Arc::clone(self.reporter),
            attempt,
            in_flight,
            length: length_of(response.headers()),
            entry: None,
        });
        let (head, body) = response.into_parts();
        let limits = settings.refusal_limits();
        let body = start(body, limits, Some(guard), Some(cuts)).await;
        Response::from_parts(head, body)
    }

    fn add_response_headers(&self, attempt: &Attempt, headers: &mut HeaderMap) {
        let settings = self.reporter.settings();
        let Opening { head, client, .. } = self.opening;
        add_response_headers(settings, head, client, &attempt.lease, headers);
    }
}
