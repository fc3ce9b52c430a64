//! The pipeline of a handshake, up to the tunnel.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, Response, Uri,
    header::SEC_WEBSOCKET_PROTOCOL,
    request::{self, Parts},
    response,
};
use tokio::time::timeout;

use crate::{
    error::{Error, ErrorKind},
    http::handshake::{
        Agreement, Offer, UpgradeResponse, accepted_response, exchange, handshake_request,
        refused_response,
    },
    http::headers::strip_nominated,
    http::relay::{RelayedBody, Source, start},
    http::upgrade::{Intent, UpgradeRequest},
    net::client_stream::PendingClient,
    net::connect::UpstreamConnection,
    net::transport::Transport,
    upstream::Upstream,
    upstream::admission::AdmissionKind,
};

use super::{
    attempt::Attempt,
    attempts::Attempts,
    client::Client,
    event_reporter::{EventReporter, Subject},
    exchange_guard::ExchangeGuard,
    key_limit::KeyPermit,
    pipeline::{
        Exchange, FailedAttempt, KeyStage, Outcome, Received, add_response_headers, admit,
        admit_keys, check_nominated, clone_head, consult_host, run, try_upstreams,
    },
    session::{Session, SessionFacts},
    settings::Settings,
    trace::record_tunnel,
};

/// Proxies a handshake. A failure becomes a response.
pub(super) async fn handshake(
    settings: Arc<Settings>,
    head: request::Parts,
    intent: Intent,
    client: Client,
) -> Response<RelayedBody> {
    let pipeline =
        async |reporter: &Arc<EventReporter>, head| proxy(reporter, head, intent, client).await;
    run(Subject::Handshake, head, settings, pipeline).await
}

async fn proxy(
    reporter: &Arc<EventReporter>,
    mut head: request::Parts,
    intent: Intent,
    client: Client,
) -> Outcome {
    let settings = reporter.settings();
    let upgrade = valid_upgrade(intent)?;
    check_nominated(settings, &head, ErrorKind::MalformedHandshake)?;
    strip_nominated(&mut head.headers);
    admit(settings, &head, &client)?;
    let pending_client = PendingClient::take(&mut head.extensions)
        .ok_or_else(|| Error::new(ErrorKind::NotUpgradable))?;
    // Before connecting: a request that cannot be forwarded must not reach an upstream.
    let target = settings.outbound.target(&head.uri)?;
    let mut permits = Vec::new();
    let stage = KeyStage::BeforeAuthorization;
    admit_keys(settings, &head, &client, stage, &mut permits)?;
    let head = consult_host(reporter, head, &client).await?;
    let stage = KeyStage::AfterAuthorization;
    admit_keys(settings, &head, &client, stage, &mut permits)?;
    let handshake = Handshake {
        reporter,
        head: &head,
        client,
        upgrade,
        target,
        pending_client,
        permits,
    };
    let head = client.request_head(&head);
    try_upstreams(reporter, AdmissionKind::Tunnel, &head, handshake).await
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

/// A valid handshake of a client.
struct Handshake<'a> {
    reporter: &'a Arc<EventReporter>,
    head: &'a Parts,
    client: Client,
    upgrade: UpgradeRequest,
    /// Target of the request to an upstream without a base path.
    target: Uri,
    pending_client: PendingClient,
    /// Places under the keys that limits count.
    permits: Vec<KeyPermit>,
}

/// A verified acceptance, with its connection.
struct Accepted {
    head: response::Parts,
    agreement: Agreement,
    transport: Transport,
    read_ahead: Bytes,
}

impl Exchange for Handshake<'_> {
    type Accepted = Accepted;
    type Refused = Response<Source>;

    async fn send(
        &mut self,
        attempts: &Attempts<'_>,
        attempt: &mut Attempt,
    ) -> Result<Received<Self>, FailedAttempt> {
        let failed = FailedAttempt::Repeatable;
        let target = self.target_at(attempt.lease.member().upstream());
        let target = target.map_err(FailedAttempt::Ended)?;
        // Pinned: an async function holds an argument passed by value twice.
        let connection = {
            let connect = pin!(self.connect(attempt));
            attempts.bounded(connect).await.map_err(failed)?
        };
        attempt.connect = Some(attempt.started_at.elapsed());
        let perform = pin!(self.perform(connection, target));
        attempts.bounded(perform).await.map_err(failed)
    }

    async fn accept(
        self,
        attempts: Attempts<'_>,
        attempt: Attempt,
        response: Accepted,
    ) -> Response<RelayedBody> {
        let Accepted {
            head,
            agreement,
            transport,
            read_ahead,
        } = response;
        let settings = self.reporter.settings();
        let rules = (settings.outbound.via.as_ref(), &settings.response_edits);
        let mut response = accepted_response(head, &self.upgrade, rules.0, rules.1);
        self.add_response_headers(&attempt, response.headers_mut());
        let session = Session::new(
            settings,
            self.pending_client,
            transport,
            read_ahead,
            attempts.succeeded(attempt),
            self.reporter.started_at(),
        );
        // The tunnel waits for the client's connection.
        let facts = SessionFacts {
            path: self.reporter.path().into(),
            client: self.client.info,
            options: self.head.extensions.get(),
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
    /// Returns the target of the request to this upstream.
    fn target_at(&self, upstream: &Upstream) -> Result<Uri, Error> {
        match upstream.base_path() {
            Some(base) => {
                let outbound = &self.reporter.settings().outbound;
                outbound.target_below(base, &self.head.uri)
            }
            None => Ok(self.target.clone()),
        }
    }

    async fn connect(&self, attempt: &Attempt) -> Result<UpstreamConnection, Error> {
        let upstream = attempt.lease.member().upstream();
        let header = upstream.proxy_header(self.client.ip, &self.client.info);
        let dial = &self.reporter.settings().dial;
        dial.acquire(upstream.address(), upstream.version(), header.as_ref())
            .await
    }

    /// Performs the handshake on this connection.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::HandshakeTimeout`], [`ErrorKind::NoResponse`], [`ErrorKind::Handshake`]
    /// or [`ErrorKind::InvalidUpgradeResponse`]; over HTTP/2 also the error of a new connection.
    async fn perform(
        &self,
        connection: UpstreamConnection,
        target: Uri,
    ) -> Result<Received<Self>, Error> {
        let settings = self.reporter.settings();
        let request = handshake_request(
            clone_head(self.head),
            target,
            &self.upgrade,
            &self.client.info,
            &settings.outbound,
        );
        let offer = Offer::new(request.headers(), &self.upgrade).with_leniency(settings.leniency);
        let within = settings.timeouts.handshake;
        let exchange = exchange(connection, &settings.dial, request, settings.head_limits);
        let response = timeout(within, exchange).await.unwrap_or_else(|_| {
            let after = format!("after {within:?}");
            Err(Error::with_source(ErrorKind::HandshakeTimeout, after))
        })?;
        match response {
            UpgradeResponse::Refused(response) => {
                Ok(Received::Refused(response.status(), response))
            }
            UpgradeResponse::Accepted {
                mut head,
                transport,
                read_ahead,
            } => {
                let agreement = offer
                    .verify(&head)
                    .map_err(|why| Error::with_source(ErrorKind::InvalidUpgradeResponse, why))?;
                if agreement.subprotocol.is_none() {
                    head.headers.remove(SEC_WEBSOCKET_PROTOCOL);
                }
                Ok(Received::Accepted(Accepted {
                    head,
                    agreement,
                    transport,
                    read_ahead,
                }))
            }
        }
    }

    async fn relay_refusal(
        &self,
        attempt: Attempt,
        response: Response<Source>,
    ) -> Response<RelayedBody> {
        let settings = self.reporter.settings();
        let rules = (settings.outbound.via.as_ref(), &settings.response_edits);
        let mut response = refused_response(response, &self.upgrade, rules.0, rules.1);
        self.add_response_headers(&attempt, response.headers_mut());
        let in_flight = Arc::new(settings.registry.drain_state().enter_request());
        let cuts = in_flight.cuts();
        let guard = Box::new(ExchangeGuard {
            connection: None,
            reporter: Arc::clone(self.reporter),
            attempt,
            in_flight,
        });
        let (head, body) = response.into_parts();
        let limits = settings.refusal_limits();
        let body = start(body, limits, Some(guard), Some(cuts)).await;
        Response::from_parts(head, body)
    }

    fn add_response_headers(&self, attempt: &Attempt, headers: &mut HeaderMap) {
        let settings = self.reporter.settings();
        add_response_headers(settings, self.head, &self.client, &attempt.lease, headers);
    }
}
