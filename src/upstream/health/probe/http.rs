//! HTTP probe.

use std::{ops::RangeInclusive, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header::CONNECTION};
use http_body_util::BodyExt;

use crate::{
    error::{Error, ErrorKind},
    http::handshake::{UpgradeResponse, exchange},
    http::headers::HeaderEdits,
    http::relay::{HeadLimits, Source},
    net::connect::Address,
};

use super::{
    expect::{Containing, Expect},
    failure::ProbeFailure,
    probe_trait::{Probe, ProbeFuture},
    request_settings::RequestSettings,
    target::ProbeTarget,
};

/// HTTP probe: passes if the upstream responds to an ordinary request as expected.
///
/// Redirects are not followed. For an upstream that speaks only WebSocket use
/// [`WebSocketProbe`](super::WebSocketProbe), or [`any_response`](Self::any_response).
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`method`](Self::method) | GET | | |
/// | [`port`](Self::port) | the upstream's | | |
/// | [`host`](Self::host) | the upstream's address | | |
/// | [`expect_status`](Self::expect_status) | 200 to 399 | HTTP status | a redirect shows that the server works |
/// | [`expect_body`](Self::expect_body) | any body | | |
/// | [`body_limit`](Self::body_limit) | 65,536 | bytes | bounds the memory of a probe |
///
/// # Examples
///
/// ```
/// use wsplice::health::probe::HttpProbe;
///
/// let probe = HttpProbe::get("/health").port(9090).expect_body("\"ok\"");
/// # let _ = probe;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct HttpProbe {
    request: RequestSettings,
    port: Option<u16>,
    statuses: Vec<RangeInclusive<u16>>,
    body: Option<Arc<dyn Expect>>,
    body_limit: usize,
}

impl HttpProbe {
    /// Creates a probe that sends a GET for this path, with its query if any. Characters that are
    /// not allowed in a path are escaped.
    pub fn get(path: &str) -> Self {
        Self {
            request: RequestSettings::get(path),
            port: None,
            statuses: Vec::new(),
            body: None,
            body_limit: 64 * 1024,
        }
    }

    /// Sets the method. The request has no body.
    pub fn method(mut self, method: Method) -> Self {
        self.request.method = method;
        self
    }

    /// Uses another port of the same host, with TLS if the upstream uses TLS. Has no effect on a
    /// Unix socket.
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets `Host`; the upstream's address by default.
    pub fn host(mut self, host: HeaderValue) -> Self {
        self.request.host = Some(host);
        self
    }

    /// Edits the headers of the request.
    pub fn headers(mut self, edits: HeaderEdits) -> Self {
        self.request.edits = edits;
        self
    }

    /// Expects a status of this range, instead of 200 to 399. After several calls, a status of any
    /// of the ranges passes.
    pub fn expect_status(mut self, statuses: RangeInclusive<u16>) -> Self {
        self.statuses.push(statuses);
        self
    }

    /// Passes on every HTTP response: a server that speaks only WebSocket responds with 400 or 426
    /// while it is healthy.
    pub fn any_response(mut self) -> Self {
        self.statuses = vec![0..=u16::MAX];
        self
    }

    /// Expects this text somewhere in the body, within the [limit](Self::body_limit).
    pub fn expect_body(self, part: &str) -> Self {
        self.expecting(Arc::new(Containing(part.as_bytes().into())))
    }

    /// Sets the maximum number of body bytes to read, 65,536 by default. The rest is ignored.
    pub const fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    pub(super) fn expecting(mut self, body: Arc<dyn Expect>) -> Self {
        self.body = Some(body);
        self
    }

    async fn run(&self, target: &ProbeTarget) -> Result<(), ProbeFailure> {
        let address = self.address(target.address());
        let connection = target.acquire(&address).await?;
        target.step("response");
        let request = self.request.request(&address, |headers: &mut HeaderMap| {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        });
        let limits = HeadLimits::default();
        let response = exchange(connection, target.dialer(), request, limits).await;
        match response.map_err(ProbeFailure::IncompleteResponse)? {
            UpgradeResponse::Accepted { head, .. } => self.check_status(head.status),
            UpgradeResponse::Refused(response) => {
                self.check_status(response.status())?;
                self.check_body(response, target).await
            }
        }
    }

    fn address(&self, address: &Address) -> Address {
        let mut probed = address.clone();
        if let (Address::Tcp { port, .. } | Address::Tls { port, .. }, Some(other)) =
            (&mut probed, self.port)
        {
            *port = other;
        }
        probed
    }

    fn check_status(&self, status: StatusCode) -> Result<(), ProbeFailure> {
        let number = status.as_u16();
        let is_expected = match &*self.statuses {
            [] => (200..=399).contains(&number),
            ranges => ranges.iter().any(|range| range.contains(&number)),
        };
        if is_expected {
            Ok(())
        } else {
            Err(ProbeFailure::UnexpectedStatus(status))
        }
    }

    async fn check_body(
        &self,
        response: Response<Source>,
        target: &ProbeTarget,
    ) -> Result<(), ProbeFailure> {
        let Some(expected) = &self.body else {
            return Ok(());
        };
        target.step("body");
        let mut body = pin!(response.into_body());
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let broken = |error| Error::with_source(ErrorKind::Handshake, error);
            let frame = frame.map_err(|error| ProbeFailure::IncompleteResponse(broken(error)))?;
            let data: Bytes = frame.into_data().unwrap_or_default();
            let room = self.body_limit.saturating_sub(read.len());
            read.extend(data.iter().take(room));
            if read.len() >= self.body_limit {
                break;
            }
        }
        if expected.accepts(&read) {
            Ok(())
        } else {
            Err(ProbeFailure::UnexpectedBody)
        }
    }
}

impl Probe for HttpProbe {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> ProbeFuture<'a> {
        Box::pin(self.run(target))
    }
}

#[cfg(test)]
mod tests;
