//! From a handshake that is ours to its answer: one stage after the other.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header::ORIGIN, request::Parts,
};
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span, field};

use crate::{
    connect::Link,
    error::{Error, ErrorKind, Side},
    handshake::{Answer, Offer, RefusalBody, accepted, exchange, fit, outbound, refused},
    head::RequestHead,
    headers::{ClientInfo, add_header},
    health::HealthEventKind,
    matcher::owns,
    observe::Handshake,
    pool::Lease,
    upgrade::{Intent, UpgradeRequest},
    upstream::Member,
};

use super::{reject::reject, session::Session, settings::Settings};

/// A request that the proxy has taken.
pub(super) struct Taken {
    pub(super) head: Parts,
    pub(super) intent: Intent,
    pub(super) client: ClientInfo,
}

/// The body of the proxy's answer.
pub(super) enum Answered {
    Own(Bytes),
    Refusal(RefusalBody),
}

/// Answers a handshake. What fails on the way becomes a response.
pub(super) async fn run(settings: Arc<Settings>, taken: Taken) -> Response<Answered> {
    let span = tracing::info_span!(
        "websocket_handshake",
        path = taken.head.uri.path(),
        upstream = field::Empty
    );
    let version = taken.head.version;
    let journey = Journey {
        path: taken.head.uri.path().into(),
        began: Instant::now(),
        settings,
    };
    async {
        let result = journey.proxy(taken).await;
        let mut response = result.unwrap_or_else(|error| journey.rejection(&error));
        fit(&mut response, version);
        response
    }
    .instrument(span)
    .await
}

/// A way to the upstream that was picked.
struct Connected {
    lease: Lease,
    link: Link,
    /// When the attempt at this upstream began.
    began: Instant,
}

/// One handshake under way.
struct Journey {
    path: Box<str>,
    began: Instant,
    settings: Arc<Settings>,
}

impl Journey {
    async fn proxy(&self, taken: Taken) -> Result<Response<Answered>, Error> {
        self.settings.pool.keep_probing(&self.settings.dial);
        let Taken {
            mut head,
            intent,
            client,
        } = taken;
        let upgrade = accept(intent)?;
        self.admit(&head, &client)?;
        let on_upgrade = head
            .extensions
            .remove::<OnUpgrade>()
            .ok_or_else(|| Error::new(ErrorKind::NotUpgradable))?;
        // Before connecting: no upstream shall hear of what cannot be forwarded.
        let target = self.settings.outbound.target(&head.uri)?;
        let reached = self.connect(&head, &client).await?;
        Span::current().record("upstream", reached.lease.member().upstream().name());
        self.shake_hands(head, target, &upgrade, client, on_upgrade, reached)
            .await
    }

    /// What the proxy itself has against a proper handshake.
    fn admit(&self, head: &Parts, client: &ClientInfo) -> Result<(), Error> {
        if self.settings.drain.is_draining() {
            return Err(Error::new(ErrorKind::Draining));
        }
        let Some(origins) = &self.settings.origins else {
            return Ok(());
        };
        if !head.headers.contains_key(ORIGIN) || owns(origins, &self.view(head, client)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::OriginNotAllowed))
    }

    /// Connects to an upstream; to the next one if that fails, as often as the settings say.
    /// Nothing has been sent yet, so trying again is safe.
    async fn connect(&self, head: &Parts, client: &ClientInfo) -> Result<Connected, Error> {
        let head = self.view(head, client);
        let mut tried: Vec<Arc<Member>> = Vec::new();
        let mut last = None;
        while tried.len() < self.settings.connect_attempts {
            let lease = match self.settings.pool.lease(&head, &tried).await {
                Ok(lease) => lease,
                // The upstream that failed says more than that there is no other.
                Err(error) => return Err(last.unwrap_or(error)),
            };
            let began = Instant::now();
            let upstream = lease.member().upstream();
            let reached = self
                .settings
                .dial
                .reach(upstream.address(), upstream.version());
            match reached.await {
                Ok(link) => return Ok(Connected { lease, link, began }),
                Err(error) => {
                    self.failed(&lease, began, &error);
                    last = Some(error);
                    tried.push(Arc::clone(lease.member()));
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::NoUpstream)))
    }

    /// What the policy that picked the upstream adds to its answer.
    fn mark(
        &self,
        head: &Parts,
        client: &ClientInfo,
        lease: &Lease,
    ) -> Option<(HeaderName, HeaderValue)> {
        let forwarded = &self.settings.outbound.forwarded;
        let scheme = forwarded.client_scheme(&head.headers, client);
        let head = self.view(head, client);
        self.settings.pool.response_header(lease, &head, scheme)
    }

    fn view<'a>(&self, head: &'a Parts, client: &ClientInfo) -> RequestHead<'a> {
        let forwarded = &self.settings.outbound.forwarded;
        let client_ip = forwarded.client_ip(&head.headers, client);
        let head = RequestHead::from(head);
        match client_ip {
            Some(client_ip) => head.with_client_ip(client_ip),
            None => head,
        }
    }

    async fn shake_hands(
        &self,
        head: Parts,
        target: Uri,
        upgrade: &UpgradeRequest,
        client: ClientInfo,
        on_upgrade: OnUpgrade,
        connected: Connected,
    ) -> Result<Response<Answered>, Error> {
        let Connected { lease, link, began } = connected;
        let settings = &self.settings;
        let path = Box::from(head.uri.path());
        let mark = self.mark(&head, &client, &lease);
        let request = outbound(head, target, upgrade, &client, &settings.outbound);
        let offer = Offer::of(request.headers(), upgrade);
        let answer = self.exchange(link, request).await.inspect_err(|error| {
            self.failed(&lease, began, error);
        })?;
        let via = settings.outbound.via.as_ref();
        match answer {
            Answer::Refusal(response) => {
                self.refused(&lease, began, response.status());
                let mut response = refused(response, upgrade, via, &settings.response_edits);
                add(mark, response.headers_mut());
                Ok(response.map(Answered::Refusal))
            }
            Answer::Agreed {
                head,
                transport,
                read_ahead,
            } => {
                let agreement = offer.verify(&head).map_err(|disagreement| {
                    let error = Error::because(ErrorKind::Disagreement, disagreement);
                    self.failed(&lease, began, &error);
                    error
                })?;
                self.accepted(&lease, began);
                let mut response = accepted(head, upgrade, via, &settings.response_edits);
                add(mark, response.headers_mut());
                Session::new(settings, on_upgrade, transport, read_ahead, lease)
                    .enter(path, &client, agreement)
                    .start();
                Ok(response.map(|()| Answered::Own(Bytes::new())))
            }
        }
    }

    async fn exchange(
        &self,
        link: Link,
        request: http::Request<http_body_util::Empty<Bytes>>,
    ) -> Result<Answer, Error> {
        let settings = &self.settings;
        let timeouts = &settings.timeouts;
        let exchange = exchange(
            link,
            &settings.dial,
            request,
            settings.head_limits,
            timeouts.refusal_body,
        );
        timeout(timeouts.handshake, exchange)
            .await
            .unwrap_or_else(|_| {
                let budget = timeouts.handshake;
                Err(Error::because(
                    ErrorKind::HandshakeTimeout,
                    format!("after {budget:?}"),
                ))
            })
    }

    fn rejection(&self, error: &Error) -> Response<Answered> {
        // An upstream's failure has been told when it happened.
        if error.side() != Side::Upstream {
            tracing::debug!(%error, "handshake rejected");
            if let Some(observer) = &self.settings.observer {
                observer.handshake_rejected(&self.shown(None), error);
            }
        }
        let response = reject(error);
        let response = match &self.settings.restyle {
            Some(restyle) => restyle(error, response),
            None => response,
        };
        response.map(Answered::Own)
    }

    fn failed(&self, lease: &Lease, began: Instant, error: &Error) {
        self.settings
            .pool
            .note(lease, HealthEventKind::of_error(error), began);
        let upstream = lease.member().upstream().name();
        tracing::warn!(upstream, %error, "handshake failed");
        if let Some(observer) = &self.settings.observer {
            observer.handshake_failed(&self.shown(Some(lease)), error);
        }
    }

    fn refused(&self, lease: &Lease, began: Instant, status: StatusCode) {
        let pool = &self.settings.pool;
        pool.note(lease, Some(HealthEventKind::Answered { status }), began);
        tracing::debug!(%status, "handshake refused by the upstream");
        if let Some(observer) = &self.settings.observer {
            observer.handshake_refused(&self.shown(Some(lease)), status);
        }
    }

    fn accepted(&self, lease: &Lease, began: Instant) {
        let latency = began.elapsed();
        let pool = &self.settings.pool;
        pool.note(lease, Some(HealthEventKind::Accepted { latency }), began);
        tracing::debug!("handshake accepted");
        if let Some(observer) = &self.settings.observer {
            observer.handshake_accepted(&self.shown(Some(lease)));
        }
    }

    fn shown<'a>(&'a self, lease: Option<&'a Lease>) -> Handshake<'a> {
        Handshake {
            path: &self.path,
            upstream: lease.map(|lease| lease.member().upstream().name()),
            elapsed: self.began.elapsed(),
        }
    }
}

fn add(line: Option<(HeaderName, HeaderValue)>, headers: &mut HeaderMap) {
    if let Some((name, value)) = line {
        add_header(headers, &name, value);
    }
}

fn accept(intent: Intent) -> Result<UpgradeRequest, Error> {
    match intent {
        Intent::Upgrade(upgrade) => Ok(upgrade),
        Intent::Malformed(malformed) => {
            Err(Error::because(ErrorKind::MalformedHandshake, malformed))
        }
        // The service lets these pass; it is answered like a server that cannot upgrade.
        Intent::Other => Err(Error::new(ErrorKind::NotUpgradable)),
    }
}
