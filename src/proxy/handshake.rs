//! A client's handshake, and its exchange with one upstream.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{SEC_WEBSOCKET_PROTOCOL, SET_COOKIE},
    request::Parts,
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
    http::headers::{ClientInfo, UpstreamHeaders, add_header, forbid_shared_caching},
    http::upgrade::UpgradeRequest,
    net::connect::UpstreamConnection,
    net::transport::Transport,
    pool::Lease,
};

use super::{body::ProxyBody, settings::Settings};

/// A valid handshake of a client, not yet accepted by an upstream.
pub(super) struct PendingHandshake {
    pub(super) head: Parts,
    pub(super) client: ClientInfo,
    pub(super) upgrade: UpgradeRequest,
    /// Target of the upstream's request.
    pub(super) target: Uri,
}

/// Response of an upstream, prepared for the client.
pub(super) enum HandshakeOutcome {
    /// A verified acceptance.
    Accepted(Box<AcceptedHandshake>),
    /// Any other response, with the upstream's status.
    Refused(StatusCode, Response<ProxyBody>),
}

/// A verified acceptance, with its connection.
pub(super) struct AcceptedHandshake {
    pub(super) response: Response<ProxyBody>,
    pub(super) agreement: Agreement,
    pub(super) transport: Transport,
    pub(super) read_ahead: Bytes,
}

impl PendingHandshake {
    /// Performs the handshake with the leased upstream.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::HandshakeTimeout`], [`ErrorKind::Handshake`] or
    /// [`ErrorKind::InvalidUpgradeResponse`]; over HTTP/2 also the error of a new connection.
    pub(super) async fn send(
        &self,
        settings: &Settings,
        lease: &Lease,
        connection: UpstreamConnection,
    ) -> Result<HandshakeOutcome, Error> {
        let policy_header = policy_header(settings, &self.head, &self.client, lease);
        let request = handshake_request(
            clone_head(&self.head),
            self.target.clone(),
            &self.upgrade,
            &self.client,
            &settings.outbound,
        );
        let offer = Offer::new(request.headers(), &self.upgrade).with_leniency(settings.leniency);
        let via = settings.outbound.via.as_ref();
        let edits = &settings.response_edits;
        match exchange_within_timeout(settings, connection, request).await? {
            UpgradeResponse::Refused(response) => {
                let status = response.status();
                let mut response = refused_response(response, &self.upgrade, via, edits);
                append_header(policy_header, response.headers_mut());
                Ok(HandshakeOutcome::Refused(
                    status,
                    response.map(ProxyBody::Refusal),
                ))
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
                let mut response = accepted_response(head, &self.upgrade, via, edits);
                append_header(policy_header, response.headers_mut());
                Ok(HandshakeOutcome::Accepted(Box::new(AcceptedHandshake {
                    response: response.map(|()| ProxyBody::own(Bytes::new())),
                    agreement,
                    transport,
                    read_ahead,
                })))
            }
        }
    }
}

/// Returns the header that the load balancing policy adds to the response.
pub(super) fn policy_header(
    settings: &Settings,
    head: &Parts,
    client: &ClientInfo,
    lease: &Lease,
) -> Option<(HeaderName, HeaderValue)> {
    let forwarded = &settings.outbound.forwarded;
    let scheme = forwarded.client_scheme(&head.headers, client);
    let head = request_head(settings, head, client);
    settings.pool.response_header(lease, &head, scheme)
}

/// Returns the head of a request as matchers and policies see it, with the client's address.
pub(super) fn request_head<'a>(
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

async fn exchange_within_timeout(
    settings: &Settings,
    connection: UpstreamConnection,
    request: Request<Empty<Bytes>>,
) -> Result<UpgradeResponse, Error> {
    let timeouts = &settings.timeouts;
    let exchange = exchange(
        connection,
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

/// Copies the client's head for one attempt. The original is kept for others.
pub(super) fn clone_head(head: &Parts) -> Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = head.method.clone();
    copy.uri = head.uri.clone();
    copy.version = head.version;
    copy.headers = head.headers.clone();
    if let Some(given) = head.extensions.get::<UpstreamHeaders>() {
        copy.extensions.insert(given.clone());
    }
    copy
}

/// Appends the header of [`policy_header`]. A response with a cookie must not be shared.
pub(super) fn append_header(line: Option<(HeaderName, HeaderValue)>, headers: &mut HeaderMap) {
    if let Some((name, value)) = line {
        if name == SET_COOKIE {
            forbid_shared_caching(headers);
        }
        add_header(headers, &name, value);
    }
}
