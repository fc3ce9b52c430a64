//! What a client wishes, and what one upstream says to it.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, request::Parts,
};
use http_body_util::Empty;
use tokio::time::timeout;

use crate::{
    error::{Error, ErrorKind},
    http::handshake::{
        Agreement, Offer, UpgradeResponse, accepted_response, exchange, handshake_request,
        refused_response,
    },
    http::head::RequestHead,
    http::headers::{ClientInfo, add_header},
    http::upgrade::UpgradeRequest,
    net::connect::UpstreamConnection,
    net::transport::Transport,
    pool::Lease,
};

use super::{body::ProxyBody, settings::Settings};

/// A handshake that is in order, as it came.
pub(super) struct Wish {
    pub(super) head: Parts,
    pub(super) client: ClientInfo,
    pub(super) upgrade: UpgradeRequest,
    /// What the upstream is asked for.
    pub(super) target: Uri,
}

/// An upstream's answer, made fit to pass on.
pub(super) enum Heard {
    /// A yes that has been verified.
    Agreed(Box<Agreed>),
    /// Any other, with the status that the upstream gave it.
    Refused(StatusCode, Response<ProxyBody>),
}

/// A yes, and the connection that it came on.
pub(super) struct Agreed {
    pub(super) response: Response<ProxyBody>,
    pub(super) agreement: Agreement,
    pub(super) transport: Transport,
    pub(super) read_ahead: Bytes,
}

impl Wish {
    /// Asks the upstream that was leased.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::HandshakeTimeout`], [`ErrorKind::Handshake`] or [`ErrorKind::InvalidUpgradeResponse`];
    /// over HTTP/2 also what connecting anew may give.
    pub(super) async fn ask(
        &self,
        settings: &Settings,
        lease: &Lease,
        link: UpstreamConnection,
    ) -> Result<Heard, Error> {
        let mark = mark(settings, &self.head, &self.client, lease);
        let request = handshake_request(
            copied(&self.head),
            self.target.clone(),
            &self.upgrade,
            &self.client,
            &settings.outbound,
        );
        let offer = Offer::new(request.headers(), &self.upgrade);
        let via = settings.outbound.via.as_ref();
        let edits = &settings.response_edits;
        match await_answer(settings, link, request).await? {
            UpgradeResponse::Refused(response) => {
                let status = response.status();
                let mut response = refused_response(response, &self.upgrade, via, edits);
                add(mark, response.headers_mut());
                Ok(Heard::Refused(status, response.map(ProxyBody::Refusal)))
            }
            UpgradeResponse::Accepted {
                head,
                transport,
                read_ahead,
            } => {
                let agreement = offer
                    .verify(&head)
                    .map_err(|why| Error::with_source(ErrorKind::InvalidUpgradeResponse, why))?;
                let mut response = accepted_response(head, &self.upgrade, via, edits);
                add(mark, response.headers_mut());
                Ok(Heard::Agreed(Box::new(Agreed {
                    response: response.map(|()| ProxyBody::own(Bytes::new())),
                    agreement,
                    transport,
                    read_ahead,
                })))
            }
        }
    }
}

/// What the policy that picked the upstream adds to its answer.
pub(super) fn mark(
    settings: &Settings,
    head: &Parts,
    client: &ClientInfo,
    lease: &Lease,
) -> Option<(HeaderName, HeaderValue)> {
    let forwarded = &settings.outbound.forwarded;
    let scheme = forwarded.client_scheme(&head.headers, client);
    let head = view(settings, head, client);
    settings.pool.response_header(lease, &head, scheme)
}

/// The head of a request as matchers and policies see it, with the client's address.
pub(super) fn view<'a>(
    settings: &Settings,
    head: &'a Parts,
    client: &ClientInfo,
) -> RequestHead<'a> {
    let forwarded = &settings.outbound.forwarded;
    let client_ip = forwarded.client_ip(&head.headers, client);
    let head = RequestHead::from(head);
    match client_ip {
        Some(client_ip) => head.with_client_ip(client_ip),
        None => head,
    }
}

async fn await_answer(
    settings: &Settings,
    link: UpstreamConnection,
    request: Request<Empty<Bytes>>,
) -> Result<UpgradeResponse, Error> {
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
            Err(Error::with_source(
                ErrorKind::HandshakeTimeout,
                format!("after {budget:?}"),
            ))
        })
}

/// What the upstream's request is made of. The original stays for other attempts.
pub(super) fn copied(head: &Parts) -> Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = head.method.clone();
    copy.uri = head.uri.clone();
    copy.version = head.version;
    copy.headers = head.headers.clone();
    copy
}

/// Adds what [`mark`] has made.
pub(super) fn add(line: Option<(HeaderName, HeaderValue)>, headers: &mut HeaderMap) {
    if let Some((name, value)) = line {
        add_header(headers, &name, value);
    }
}
