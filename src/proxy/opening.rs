//! The opening handshake of a client, as it is made with upstreams.

use std::pin::pin;

use bytes::Bytes;
use http::{Response, Uri, header::SEC_WEBSOCKET_PROTOCOL, request::Parts, response};

use crate::{
    error::{Error, ErrorKind},
    http::handshake::{Agreement, UpgradeResponse, UpstreamRequest, handshake},
    http::head::{detached_head, detached_uri},
    http::headers::UpstreamHeaders,
    http::relay::Source,
    http::upgrade::UpgradeRequest,
    net::connect::UpstreamConnection,
    net::transport::Transport,
    upstream::Upstream,
};

use super::{
    attempt::Attempt, attempts::Attempts, client::Client, pipeline::FailedAttempt,
    settings::Settings,
};

/// A valid opening handshake of a client.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) head: Parts,
    pub(super) client: Client,
    pub(super) upgrade: UpgradeRequest,
    /// Target of the request to an upstream without a base path.
    pub(super) target: Uri,
}

/// A verified acceptance, with its connection.
pub(super) struct Accepted {
    pub(super) head: response::Parts,
    pub(super) agreement: Agreement,
    pub(super) transport: Transport,
    pub(super) read_ahead: Bytes,
}

/// Final response of an upstream to an opening handshake.
pub(super) enum OpeningResponse {
    Accepted(Accepted),
    Refused(Response<Source>),
}

impl Opening {
    /// Returns a copy that can be kept after the request is over. It has the extensions too, which
    /// load balancing policies of the host may read.
    pub(super) fn detached(&self) -> Self {
        let target = match self.target == self.head.uri {
            true => None,
            false => Some(detached_uri(&self.target)),
        };
        let head = detached_head(&self.head);
        Self {
            target: target.unwrap_or_else(|| head.uri.clone()),
            head,
            client: self.client,
            upgrade: self.upgrade.detached(),
        }
    }

    /// Adds headers to the request, in place of the client's.
    pub(super) fn add_headers(&mut self, headers: &UpstreamHeaders) {
        let given: &mut UpstreamHeaders = self.head.extensions.get_or_insert_default();
        given.extend(headers);
    }

    /// Connects to the upstream of an attempt, and performs the handshake.
    ///
    /// # Errors
    ///
    /// Returns the errors of connecting, [`ErrorKind::HandshakeTimeout`],
    /// [`ErrorKind::NoResponse`], [`ErrorKind::Handshake`],
    /// [`ErrorKind::InvalidUpgradeResponse`] or [`ErrorKind::AttemptsTimeout`].
    pub(super) async fn send(
        &self,
        settings: &Settings,
        attempts: &Attempts<'_>,
        attempt: &mut Attempt,
    ) -> Result<OpeningResponse, FailedAttempt> {
        let failed = FailedAttempt::Repeatable;
        let target = self.target_at(settings, attempt.lease.member().upstream());
        let target = target.map_err(FailedAttempt::Ended)?;
        // Pinned: an async function holds an argument passed by value twice.
        let connection = {
            let upstream = attempt.lease.member().upstream();
            let (address, version) = (upstream.address(), upstream.version());
            let limit = settings.dial.acquire_limit(address, version);
            let connect = pin!(self.connect(settings, attempt));
            attempts.bounded(limit, connect).await.map_err(failed)?
        };
        attempt.connect = Some(attempt.started_at.elapsed());
        let perform = self.perform(settings, attempts, connection, &target);
        perform.await.map_err(failed)
    }

    /// Returns the target of the request to this upstream.
    fn target_at(&self, settings: &Settings, upstream: &Upstream) -> Result<Uri, Error> {
        match upstream.base_path() {
            Some(base) => settings.outbound.target_below(base, &self.head.uri),
            None => Ok(self.target.clone()),
        }
    }

    async fn connect(
        &self,
        settings: &Settings,
        attempt: &Attempt,
    ) -> Result<UpstreamConnection, Error> {
        let upstream = attempt.lease.member().upstream();
        let header = upstream.proxy_header(self.client.ip, &self.client.info);
        settings
            .dial
            .acquire(upstream.address(), upstream.version(), header.as_ref())
            .await
    }

    /// Performs the handshake on this connection; over HTTP/2, errors of a new connection occur here.
    async fn perform(
        &self,
        settings: &Settings,
        attempts: &Attempts<'_>,
        connection: UpstreamConnection,
        target: &Uri,
    ) -> Result<OpeningResponse, Error> {
        let request = UpstreamRequest {
            client_request: &self.head,
            target,
            upgrade: &self.upgrade,
            client: &self.client.info,
            rules: &settings.outbound,
        };
        let within = settings.timeouts.handshake;
        // Pinned: an async function holds an argument passed by value twice.
        let exchange = pin!(handshake(
            connection,
            &settings.dial,
            request,
            settings.head_limits
        ));
        let timeout = ErrorKind::HandshakeTimeout;
        let (response, offer) = attempts.bounded_within(within, timeout, exchange).await?;
        match response {
            UpgradeResponse::Refused(response) => Ok(OpeningResponse::Refused(response)),
            UpgradeResponse::Accepted {
                mut head,
                transport,
                read_ahead,
            } => {
                let offer = offer.with_leniency(settings.leniency);
                let agreement = offer
                    .verify(&head)
                    .map_err(|why| Error::with_source(ErrorKind::InvalidUpgradeResponse, why))?;
                if agreement.subprotocol.is_none() {
                    head.headers.remove(SEC_WEBSOCKET_PROTOCOL);
                }
                Ok(OpeningResponse::Accepted(Accepted {
                    head,
                    agreement,
                    transport,
                    read_ahead,
                }))
            }
        }
    }
}
