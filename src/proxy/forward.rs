//! From an ordinary request that is ours to the answer of its upstream.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE,
    request::Parts,
};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tracing::{Instrument, Span, field};

use crate::{
    admission::Visit,
    drain::Exchange,
    error::{Error, ErrorKind, Side},
    forward::{
        ClientBody, Connection, Connections, Download, Failure, ForwardHttp, Head, Hop, Measure,
        Upload, answered, count_hop, request_head, send,
    },
    handshake::fit,
    headers::ClientInfo,
};

use super::{
    ask::{add, copied, mark, view},
    attempts::{Attempt, Attempts, Standing},
    pipeline::{Answered, admit, rejection},
    relayed::{Account, Relayed},
    settings::Settings,
    teller::{Subject, Teller},
};

/// How requests are forwarded, and the connections for it.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    pub(super) how: ForwardHttp,
    pub(super) connections: Arc<Connections>,
}

/// Forwards a request. What fails on the way becomes a response.
pub(super) async fn forward(
    settings: Arc<Settings>,
    with: Forward,
    request: Request<ClientBody>,
    client: ClientInfo,
) -> Response<Answered> {
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
        fit(&mut response, version);
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
    head: Head,
    upload: Arc<Upload>,
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
    async fn run(&self, request: Request<ClientBody>) -> Result<Response<Answered>, Standing> {
        let settings = self.teller.settings();
        settings.pool.keep_probing(&settings.dial);
        let (mut head, body) = request.into_parts();
        if count_hop(&head.method, &mut head.headers) == Hop::Last {
            return Ok(last_hop(&head.method));
        }
        admit(settings, &head, &self.client)?;
        let measure = Measure::of(&body);
        let parcel = Parcel {
            head: request_head(copied(&head), measure, &self.client, &settings.outbound)?,
            upload: Upload::new(&body),
            is_repeatable: is_idempotent(&head.method) && measure == Measure::None,
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
    ) -> Result<Response<Answered>, Standing> {
        let settings = self.teller.settings();
        let view = view(settings, head, &self.client);
        let mut attempts = Attempts::new(&self.teller, Visit::Exchange);
        loop {
            let attempt = attempts.next(&view).await?;
            Span::current().record("upstream", attempt.upstream());
            let mark = mark(settings, head, &self.client, &attempt.lease);
            match self.ask(&attempt, &parcel, body).await {
                Ok((response, connection)) => {
                    return Ok(self.relay(response, connection, attempt, parcel, mark));
                }
                Err(Lost { error, .. }) if parcel.exchange.is_cut() => {
                    return Err(Error::because(ErrorKind::Draining, error).into());
                }
                Err(Lost { error, .. }) if error.side() == Side::Client => {
                    return Err(error.into());
                }
                Err(Lost {
                    body: Some(unsent),
                    error,
                }) => {
                    attempts.failed(attempt, error)?;
                    body = unsent;
                }
                Err(Lost { body: None, error }) if parcel.is_repeatable => {
                    attempts.failed(attempt, error)?;
                    body = no_body();
                }
                Err(Lost { body: None, error }) => {
                    self.teller.failed(&attempt, &error);
                    return Err(error.into());
                }
            }
        }
    }

    /// Asks one upstream: on a connection that is idle, and on a new one if that was closed
    /// meanwhile.
    async fn ask(
        &self,
        attempt: &Attempt,
        parcel: &Parcel,
        mut body: ClientBody,
    ) -> Result<(Response<Incoming>, Connection), Lost> {
        let address = attempt.lease.member().upstream().address();
        let mut idle = self.with.connections.take(address);
        loop {
            let mut connection = match idle.take() {
                Some(connection) => connection,
                None => match self.open(attempt, parcel).await {
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
                Err(Failure::Unsent(unsent, _)) if is_reused => body = unsent,
                // RFC 9112 §9.3.1: it may have been closed just when the request was sent.
                Err(Failure::Sent(error))
                    if is_reused && parcel.is_repeatable && error.kind() == ErrorKind::Answer =>
                {
                    body = no_body();
                }
                Err(Failure::Unsent(unsent, error)) => {
                    return Err(Lost {
                        body: Some(unsent),
                        error: Error::because(ErrorKind::Connect, error),
                    });
                }
                Err(Failure::Sent(error)) => return Err(Lost { body: None, error }),
            }
        }
    }

    async fn open(&self, attempt: &Attempt, parcel: &Parcel) -> Result<Connection, Error> {
        let settings = self.teller.settings();
        let address = attempt.lease.member().upstream().address();
        let transport = settings.dial.dial(address).await?;
        Connection::open(transport, settings.head_limits, parcel.exchange.cuts()).await
    }

    fn relay(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        attempt: Attempt,
        parcel: Parcel,
        mark: Option<(HeaderName, HeaderValue)>,
    ) -> Response<Answered> {
        self.teller.answered(&attempt, response.status());
        let settings = self.teller.settings();
        let (head, body) = response.into_parts();
        let download = Download::new(
            body,
            &head.headers,
            connection,
            attempt.lease.member().upstream().address().clone(),
            parcel.upload,
            Arc::clone(&self.with.connections),
            &self.with.how,
        );
        let account = Account {
            teller: Arc::clone(&self.teller),
            attempt,
            exchange: parcel.exchange,
        };
        let relayed = Answered::Relayed(Relayed::new(download, Some(account)));
        let via = settings.outbound.via.as_ref();
        let response = Response::from_parts(head, relayed);
        let mut response = answered(response, via, &settings.response_edits);
        add(mark, response.headers_mut());
        response
    }
}

/// RFC 9110 §9.2.2
fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

fn no_body() -> ClientBody {
    Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The answer to a `TRACE` or `OPTIONS` that was to come no further (RFC 9110 §7.6.2). Requests
/// are not reflected: they may have credentials in them that are no page's to see (§9.3.8).
fn last_hop(method: &Method) -> Response<Answered> {
    if *method == Method::OPTIONS {
        return Response::new(Answered::Own(Bytes::new()));
    }
    let line = Bytes::from_static(b"requests are not reflected\n");
    let mut response = Response::new(Answered::Own(line));
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
