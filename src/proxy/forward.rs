//! From an ordinary request that is ours to the answer of its upstream.

use std::{net::IpAddr, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE,
    request::Parts,
};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tracing::{Instrument, Span, field};

use crate::{
    error::{Error, ErrorKind, Side},
    http::forward::{
        BodyFraming, ClientBody, Connection, DownloadBody, Hop, IdleConnections, ReuseTarget,
        SendFailure, UploadProgress, UpstreamHead, client_response, decrement_max_forwards, send,
        upstream_head,
    },
    http::handshake::adapt_version,
    http::headers::ClientInfo,
    tunnel::drain::Exchange,
    upstream::Upstream,
    upstream::admission::Visit,
};

use super::{
    attempt::Attempt,
    attempts::{Attempts, Standing},
    body::ProxyBody,
    event_reporter::{Subject, Teller},
    handshake::{add, copied, mark, view},
    pipeline::{admit, rejection},
    relayed_body::{Account, Relayed},
    settings::{Forward, Settings},
};

/// Forwards a request. What fails on the way becomes a response.
pub(super) async fn forward(
    settings: Arc<Settings>,
    with: Forward,
    request: Request<ClientBody>,
    client: ClientInfo,
) -> Response<ProxyBody> {
    let span = tracing::info_span!(
        "http_request",
        path = request.uri().path(),
        upstream = field::Empty
    );
    let version = request.version();
    let teller = Teller::new(Subject::Request, request.uri().path(), settings);
    let errand = Errand {
        teller: Arc::new(teller),
        with,
        client,
    };
    async {
        let mut response = match errand.run(request).await {
            Ok(response) => response,
            Err(Standing::Answer(response)) => *response,
            Err(Standing::Error(error)) => rejection(&errand.teller, &error),
        };
        adapt_version(&mut response, version);
        response
    }
    .instrument(span)
    .await
}

/// One request under way.
struct Errand {
    teller: Arc<Teller>,
    with: Forward,
    client: ClientInfo,
}

/// A request as it is sent to one upstream after the other.
struct Parcel {
    head: UpstreamHead,
    upload: Arc<UploadProgress>,
    /// Whether it may be sent again after it was sent.
    is_repeatable: bool,
    exchange: Exchange,
}

/// Why one upstream did not answer, and the body if nothing was sent.
struct Lost {
    body: Option<ClientBody>,
    error: Error,
}

impl Errand {
    async fn run(&self, request: Request<ClientBody>) -> Result<Response<ProxyBody>, Standing> {
        let settings = self.teller.settings();
        settings.pool.keep_watch();
        let (mut head, body) = request.into_parts();
        if decrement_max_forwards(&head.method, &mut head.headers) == Hop::Final {
            return Ok(last_hop(&head.method));
        }
        admit(settings, &head, &self.client)?;
        let measure = BodyFraming::from_body(&body);
        let parcel = Parcel {
            head: upstream_head(copied(&head), measure, &self.client, &settings.outbound)?,
            upload: UploadProgress::new(&body),
            // RFC 9110 §9.2.2
            is_repeatable: head.method.is_idempotent() && measure == BodyFraming::None,
            exchange: settings.drain.enter_exchange(),
        };
        self.deliver(&head, body, parcel).await
    }

    /// Asks one upstream after the other, as often as may be, until one answers.
    async fn deliver(
        &self,
        head: &Parts,
        mut body: ClientBody,
        parcel: Parcel,
    ) -> Result<Response<ProxyBody>, Standing> {
        let settings = self.teller.settings();
        let view = view(settings, head, &self.client);
        let mut attempts = Attempts::new(&self.teller, Visit::Exchange, &settings.retry);
        loop {
            let attempt = attempts.next(&view).await?;
            Span::current().record("upstream", attempt.upstream());
            match self
                .ask(&attempts, &attempt, &parcel, view.client_ip(), body)
                .await
            {
                Ok((answer, connection)) => {
                    let status = answer.status();
                    let upstream = attempt.lease.member().upstream();
                    let download = self.download(answer, connection, upstream, &parcel);
                    let mark = mark(settings, head, &self.client, &attempt.lease);
                    let is_covered = settings.retry.after_status(status).is_some();
                    if !(parcel.is_repeatable && is_covered) {
                        attempts.answered(&attempt, status);
                        let account = Account {
                            teller: Arc::clone(&self.teller),
                            attempt,
                            exchange: parcel.exchange,
                        };
                        return Ok(self.relay(download, Some(account), mark));
                    }
                    attempts.refused(attempt, status, self.relay(download, None, mark))?;
                    body = no_body();
                }
                Err(lost) => {
                    let is_repeatable = parcel.is_repeatable || lost.body.is_some();
                    let error = self.cause(lost.error, &parcel)?;
                    if !is_repeatable {
                        return Err(attempts.lost(&attempt, error));
                    }
                    attempts.failed(attempt, error)?;
                    body = lost.body.unwrap_or_else(no_body);
                }
            }
        }
    }

    /// An upstream's failure; what the client or the drain did is no upstream's, and ends it all.
    fn cause(&self, error: Error, parcel: &Parcel) -> Result<Error, Standing> {
        if parcel.exchange.is_cut() {
            return Err(Error::with_source(ErrorKind::Draining, error).into());
        }
        match error.side() {
            Side::Client => Err(error.into()),
            Side::Upstream | Side::Proxy => Ok(error),
        }
    }

    /// Asks one upstream: on a connection that is idle, and on a new one if that was closed
    /// meanwhile.
    async fn ask(
        &self,
        attempts: &Attempts<'_>,
        attempt: &Attempt,
        parcel: &Parcel,
        client_ip: Option<IpAddr>,
        mut body: ClientBody,
    ) -> Result<(Response<Incoming>, Connection), Lost> {
        let upstream = attempt.lease.member().upstream();
        let mut idle = self
            .shared(upstream)
            .and_then(|connections| connections.take(upstream.address()));
        loop {
            let mut connection = match idle.take() {
                Some(connection) => connection,
                None => match attempts
                    .bounded(pin!(self.open(upstream, parcel, client_ip)))
                    .await
                {
                    Ok(connection) => connection,
                    Err(error) => {
                        let body = Some(body);
                        return Err(Lost { body, error });
                    }
                },
            };
            let is_reused = connection.is_reused();
            let head = parcel.head.clone();
            let how = &self.with.how;
            match send(&mut connection, head, body, &parcel.upload, how).await {
                Ok(response) => return Ok((response, connection)),
                Err(SendFailure::Unsent(unsent, _)) if is_reused => body = unsent,
                // RFC 9112 §9.3.1: it may have been closed just when the request was sent.
                Err(SendFailure::Sent(error))
                    if is_reused && parcel.is_repeatable && error.kind() == ErrorKind::Response =>
                {
                    body = no_body();
                }
                Err(SendFailure::Unsent(unsent, error)) => {
                    return Err(Lost {
                        body: Some(unsent),
                        error: Error::with_source(ErrorKind::Connect, error),
                    });
                }
                Err(SendFailure::Sent(error)) => return Err(Lost { body: None, error }),
            }
        }
    }

    /// The connections that requests of different clients share. One that begins with the PROXY
    /// protocol is its client's alone.
    fn shared(&self, upstream: &Upstream) -> Option<&Arc<IdleConnections>> {
        let is_shared = upstream.proxy_protocol().is_none();
        is_shared.then_some(&self.with.connections)
    }

    async fn open(
        &self,
        upstream: &Upstream,
        parcel: &Parcel,
        client_ip: Option<IpAddr>,
    ) -> Result<Connection, Error> {
        let settings = self.teller.settings();
        let header = upstream.proxy_header(client_ip, &self.client);
        let dialled = settings.dial.dial(upstream.address(), header.as_ref());
        Connection::open(dialled.await?, settings.head_limits, parcel.exchange.cuts()).await
    }

    fn download(
        &self,
        answer: Response<Incoming>,
        connection: Connection,
        upstream: &Upstream,
        parcel: &Parcel,
    ) -> Response<DownloadBody> {
        let (head, body) = answer.into_parts();
        let back = self.shared(upstream).map(|connections| ReuseTarget {
            connections: Arc::clone(connections),
            address: upstream.address().clone(),
            upload: Arc::clone(&parcel.upload),
            settings: self.with.how.clone(),
        });
        let download = DownloadBody::new(body, &head.headers, connection, back, &self.with.how);
        Response::from_parts(head, download)
    }

    /// An answer as the client gets it.
    fn relay(
        &self,
        answer: Response<DownloadBody>,
        account: Option<Account>,
        mark: Option<(HeaderName, HeaderValue)>,
    ) -> Response<ProxyBody> {
        let settings = self.teller.settings();
        let via = settings.outbound.via.as_ref();
        let mut response = client_response(answer, via, &settings.response_edits);
        add(mark, response.headers_mut());
        response.map(|download| ProxyBody::Relayed(Box::new(Relayed::new(download, account))))
    }
}

fn no_body() -> ClientBody {
    Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The answer to a `TRACE` or `OPTIONS` that was to come no further (RFC 9110 §7.6.2). Requests
/// are not reflected: they may have credentials in them that are no page's to see (§9.3.8).
fn last_hop(method: &Method) -> Response<ProxyBody> {
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
