//! Whether the upstream answers a request as it should.

use std::{ops::RangeInclusive, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header::CONNECTION};
use http_body_util::BodyExt;

use crate::{
    error::{Error, ErrorKind},
    http::handshake::{Answer, HeadLimits, RefusalBody, exchange},
    http::headers::HeaderEdits,
    net::connect::Address,
};

use super::{
    Probe, ProbeFailure, ProbeTarget, Probing,
    expect::{Containing, Expect},
    request::RequestSettings,
};

/// How long an answer's body may be silent. The probe's own timeout is shorter in all but strange
/// settings.
const BODY_SILENCE: Duration = Duration::from_secs(60);

/// Passes when the upstream answers an ordinary request with an expected status, 200 to 399
/// unless set, and with an expected body if one is set.
///
/// Redirects are not followed. For an upstream that speaks nothing but WebSocket see
/// [`WebSocketProbe`](super::WebSocketProbe), or [`answers_at_all`](Self::answers_at_all).
///
/// # Examples
///
/// ```
/// use wsplice::health::HttpProbe;
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
    /// A GET for this path, with its query if any. What may not stand in a path is escaped.
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

    /// Asks another port of the same host, with TLS if the upstream has it. It changes nothing for
    /// a Unix socket.
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets `Host`, which is the upstream's address otherwise.
    pub fn host(mut self, host: HeaderValue) -> Self {
        self.request.host = Some(host);
        self
    }

    /// Sets headers of the request.
    pub fn headers(mut self, edits: HeaderEdits) -> Self {
        self.request.edits = edits;
        self
    }

    /// Expects a status of this range, instead of 200 to 399. Given several times, a status of
    /// any of the ranges will do.
    pub fn expect_status(mut self, statuses: RangeInclusive<u16>) -> Self {
        self.statuses.push(statuses);
        self
    }

    /// Takes every HTTP answer for a sign of life: a server that speaks nothing but WebSocket
    /// answers 400 or 426, and is well.
    pub fn answers_at_all(mut self) -> Self {
        self.statuses = vec![0..=u16::MAX];
        self
    }

    /// Expects this text somewhere in the body, as far as [it is read](Self::body_limit).
    pub fn expect_body(self, part: &str) -> Self {
        self.expecting(Arc::new(Containing(part.as_bytes().into())))
    }

    /// How many bytes of the body are read at most, 65,536 unless set. What follows is not
    /// looked at.
    pub const fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    pub(super) fn expecting(mut self, body: Arc<dyn Expect>) -> Self {
        self.body = Some(body);
        self
    }

    async fn ask(&self, target: &ProbeTarget) -> Result<(), ProbeFailure> {
        let address = self.address(target.address());
        let link = target.acquire(&address).await?;
        target.step("answer");
        let request = self.request.request(&address, |headers: &mut HeaderMap| {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        });
        let limits = HeadLimits::default();
        let answer = exchange(link, target.dial(), request, limits, BODY_SILENCE).await;
        match answer.map_err(ProbeFailure::NoAnswer)? {
            Answer::Agreed { head, .. } => self.check_status(head.status),
            Answer::Refusal(response) => {
                self.check_status(response.status())?;
                self.check_body(response, target).await
            }
        }
    }

    fn address(&self, address: &Address) -> Address {
        let mut asked = address.clone();
        if let (Address::Tcp { port, .. } | Address::Tls { port, .. }, Some(other)) =
            (&mut asked, self.port)
        {
            *port = other;
        }
        asked
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
        response: Response<RefusalBody>,
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
            let frame = frame.map_err(|error| ProbeFailure::NoAnswer(broken(error)))?;
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
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> Probing<'a> {
        Box::pin(self.ask(target))
    }
}

#[cfg(test)]
mod tests;
