//! From a handshake that is ours to its answer: one stage after the other.

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
    attempts::{Attempts, Standing},
    body::ProxyBody,
    event_reporter::{Subject, Teller},
    handshake::{Agreed, Heard, Wish, view},
    reject::reject,
    session::Session,
    settings::Settings,
};

/// A request that the proxy has taken.
pub(super) struct Taken {
    pub(super) head: Parts,
    pub(super) intent: Intent,
    pub(super) client: ClientInfo,
}

/// Answers a handshake. What fails on the way becomes a response.
pub(super) async fn run(settings: Arc<Settings>, taken: Taken) -> Response<ProxyBody> {
    let span = tracing::info_span!(
        "websocket_handshake",
        path = taken.head.uri.path(),
        upstream = field::Empty
    );
    let version = taken.head.version;
    let teller = Teller::new(Subject::Handshake, taken.head.uri.path(), settings);
    let journey = Journey {
        teller: &teller,
        settings: teller.settings(),
    };
    async {
        let mut response = match journey.proxy(taken).await {
            Ok(response) => response,
            Err(Standing::Answer(response)) => *response,
            Err(Standing::Error(error)) => rejection(&teller, &error),
        };
        adapt_version(&mut response, version);
        response
    }
    .instrument(span)
    .await
}

/// One handshake under way.
struct Journey<'a> {
    teller: &'a Teller,
    settings: &'a Arc<Settings>,
}

impl Journey<'_> {
    async fn proxy(&self, taken: Taken) -> Result<Response<ProxyBody>, Standing> {
        self.settings.pool.keep_watch();
        let Taken {
            mut head,
            intent,
            client,
        } = taken;
        let upgrade = accept(intent)?;
        admit(self.settings, &head, &client)?;
        let on_upgrade = head
            .extensions
            .remove::<OnUpgrade>()
            .ok_or_else(|| Error::new(ErrorKind::NotUpgradable))?;
        // Before connecting: no upstream shall hear of what cannot be forwarded.
        let target = self.settings.outbound.target(&head.uri)?;
        let wish = Wish {
            head,
            client,
            upgrade,
            target,
        };
        self.shake_hands(&wish, on_upgrade).await
    }

    /// Asks one upstream after the other, as often as may be, until one agrees.
    async fn shake_hands(
        &self,
        wish: &Wish,
        on_upgrade: OnUpgrade,
    ) -> Result<Response<ProxyBody>, Standing> {
        let view = view(self.settings, &wish.head, &wish.client);
        let mut attempts = Attempts::new(self.teller, Visit::Tunnel, &self.settings.retry);
        loop {
            let (attempt, link) = attempts.connect(&view, &wish.client).await?;
            Span::current().record("upstream", attempt.upstream());
            let heard = attempts
                .bounded(pin!(wish.ask(self.settings, &attempt.lease, link)))
                .await;
            match heard {
                Ok(Heard::Agreed(agreed)) => {
                    let lease = attempts.succeeded(attempt);
                    return Ok(self.open(wish, on_upgrade, lease, *agreed));
                }
                Ok(Heard::Refused(status, answer)) => attempts.refused(attempt, status, answer)?,
                Err(error) => attempts.failed(attempt, error)?,
            }
        }
    }

    /// Starts the tunnel, which waits for the client's connection.
    fn open(
        &self,
        wish: &Wish,
        on_upgrade: OnUpgrade,
        lease: Lease,
        agreed: Agreed,
    ) -> Response<ProxyBody> {
        let Agreed {
            response,
            agreement,
            transport,
            read_ahead,
        } = agreed;
        Session::new(self.settings, on_upgrade, transport, read_ahead, lease)
            .enter(self.teller.path().into(), &wish.client, agreement)
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
    if !head.headers.contains_key(ORIGIN) || owns(origins, &view(settings, head, client)) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::OriginNotAllowed))
}

/// The answer when nothing came of a request.
pub(super) fn rejection(teller: &Teller, error: &Error) -> Response<ProxyBody> {
    teller.rejected(error);
    let response = reject(error);
    let response = match &teller.settings().restyle {
        Some(restyle) => restyle(error, response),
        None => response,
    };
    response.map(ProxyBody::own)
}

fn accept(intent: Intent) -> Result<UpgradeRequest, Error> {
    match intent {
        Intent::Upgrade(upgrade) => Ok(upgrade),
        Intent::Malformed(malformed) => {
            Err(Error::with_source(ErrorKind::MalformedHandshake, malformed))
        }
        // The service lets these pass; it is answered like a server that cannot upgrade.
        Intent::Other => Err(Error::new(ErrorKind::NotUpgradable)),
    }
}
