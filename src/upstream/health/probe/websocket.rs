//! WebSocket probe.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request,
    header::{
        CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use http_body_util::Empty;
use tokio::time::timeout;
use tungstenite::handshake::client::generate_key;

use crate::{
    error::{Error, ErrorKind},
    frame::{CloseCode, ControlFrame},
    http::handshake::{Agreement, Offer, UpgradeResponse, exchange},
    http::head::RequestHead,
    http::headers::HeaderEdits,
    http::relay::HeadLimits,
    http::upgrade::{Intent, UpgradeRequest, inspect},
};

use super::{
    expect::{Containing, Exactly, Expect},
    failure::ProbeFailure,
    frames::{Frames, Received, unpredictable_bytes},
    probe_trait::{Probe, ProbeFuture},
    request_settings::RequestSettings,
    target::ProbeTarget,
};

/// Timeout of the closing handshake. The probe has passed before it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// WebSocket probe: passes if the upstream accepts a real opening handshake and responds to a ping.
///
/// The 101 is verified as for a client (RFC 6455 §4.1), and so is the 2xx over HTTP/2, which is
/// used if [clients' handshakes](crate::Upstream::http_version) use it. Then a ping with an
/// unpredictable payload must get its pong (§5.5.3). A text message can be exchanged too. At the
/// end the WebSocket is closed with 1000, so that the upstream's logs stay clean; the upstream's
/// reaction to the close does not matter.
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`subprotocol`](Self::subprotocol) | none offered | |
/// | [`host`](Self::host) | the upstream's address | |
/// | [`send_text`](Self::send_text) | no text | a ping needs no application |
/// | [`expect_text`](Self::expect_text) | no text | |
///
/// # Examples
///
/// ```
/// use wsplice::health::probe::WebSocketProbe;
///
/// let probe = WebSocketProbe::get("/ws/health");
///
/// let talks = WebSocketProbe::get("/graphql")
///     .subprotocol("graphql-transport-ws")?
///     .send_text(r#"{"type":"connection_init"}"#)
///     .expect_text_with("connection_ack");
/// # let _ = (probe, talks);
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct WebSocketProbe {
    request: RequestSettings,
    subprotocol: Option<HeaderValue>,
    text: Option<Box<str>>,
    expected_text: Option<Arc<dyn Expect>>,
}

impl WebSocketProbe {
    /// Creates a probe with a handshake for this path, with its query if any. Characters that are
    /// not allowed in a path are escaped.
    pub fn get(path: &str) -> Self {
        Self {
            request: RequestSettings::get(path),
            subprotocol: None,
            text: None,
            expected_text: None,
        }
    }

    /// Offers this subprotocol, which the upstream must then choose.
    ///
    /// # Errors
    ///
    /// The text is not a valid header value.
    pub fn subprotocol(
        mut self,
        subprotocol: &str,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        self.subprotocol = Some(HeaderValue::from_str(subprotocol)?);
        Ok(self)
    }

    /// Sets `Host`; the upstream's address by default.
    pub fn host(mut self, host: HeaderValue) -> Self {
        self.request.host = Some(host);
        self
    }

    /// Edits the headers of the handshake: an `Origin`, credentials. The headers that the handshake
    /// requires are set after all edits.
    pub fn headers(mut self, edits: HeaderEdits) -> Self {
        self.request.edits = edits;
        self
    }

    /// Sends this text message after the pong.
    pub fn send_text(mut self, text: &str) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Expects exactly this text message.
    ///
    /// The first text after the sent one is compared; without a text to send, the first of all.
    /// Only the first 65,536 bytes are compared.
    pub fn expect_text(self, text: &str) -> Self {
        self.expecting(Arc::new(Exactly(text.as_bytes().into())))
    }

    /// Expects a text message that contains this; otherwise as [`expect_text`](Self::expect_text).
    pub fn expect_text_with(self, part: &str) -> Self {
        self.expecting(Arc::new(Containing(part.as_bytes().into())))
    }

    pub(super) fn expecting(mut self, text: Arc<dyn Expect>) -> Self {
        self.expected_text = Some(text);
        self
    }

    async fn run(&self, target: &ProbeTarget) -> Result<(), ProbeFailure> {
        let mut frames = self.handshake(target).await?;
        if self.text.is_none() {
            // A greeting may come before the pong, and would be skipped with it.
            self.expect_reply(&mut frames, target).await?;
        }
        ping(&mut frames, target).await?;
        if let Some(text) = &self.text {
            target.step("text");
            frames.send_text(text).await?;
            self.expect_reply(&mut frames, target).await?;
        }
        target.passed();
        let _ = timeout(CLOSE_TIMEOUT, close(&mut frames)).await;
        Ok(())
    }

    async fn handshake<'a>(&self, target: &'a ProbeTarget) -> Result<Frames<'a>, ProbeFailure> {
        let connection = target.acquire(target.address()).await?;
        target.step("handshake");
        let (request, upgrade) = self.handshake_request(target)?;
        let offer = Offer::new(request.headers(), &upgrade);
        let limits = HeadLimits::default();
        match exchange(connection, target.dialer(), request, limits).await? {
            UpgradeResponse::Refused(response) => Err(ProbeFailure::Refused(response.status())),
            UpgradeResponse::Accepted {
                head,
                transport,
                read_ahead,
            } => {
                let agreement = offer.verify(&head).map_err(|invalid| {
                    Error::with_source(ErrorKind::InvalidUpgradeResponse, invalid)
                })?;
                self.check_subprotocol(&agreement)?;
                Ok(Frames::new(transport, &read_ahead, target))
            }
        }
    }

    /// Returns a handshake with a new key, and the parsed form of it.
    fn handshake_request(
        &self,
        target: &ProbeTarget,
    ) -> Result<(Request<Empty<Bytes>>, UpgradeRequest), ProbeFailure> {
        let request = self.request.request(target.address(), |headers| {
            self.add_upgrade_headers(headers);
        });
        match inspect(&RequestHead::from(&request)) {
            Intent::Upgrade(upgrade) => Ok((request, upgrade)),
            // Edits can still add a body, or a second host.
            Intent::Malformed(malformed) => Err(ProbeFailure::Failed(Error::with_source(
                ErrorKind::MalformedHandshake,
                malformed,
            ))),
            Intent::Other => Err(Error::new(ErrorKind::MalformedHandshake).into()),
        }
    }

    /// Sets the headers of an opening handshake (RFC 6455 §4.1, items 5 to 10).
    fn add_upgrade_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        if let Ok(key) = HeaderValue::from_str(&generate_key()) {
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
        if let Some(subprotocol) = &self.subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol.clone());
        }
    }

    fn check_subprotocol(&self, agreement: &Agreement) -> Result<(), ProbeFailure> {
        if self.subprotocol.is_some() && agreement.subprotocol.is_none() {
            return Err(ProbeFailure::NoSubprotocol);
        }
        Ok(())
    }

    async fn expect_reply(
        &self,
        frames: &mut Frames<'_>,
        target: &ProbeTarget,
    ) -> Result<(), ProbeFailure> {
        let Some(expected) = &self.expected_text else {
            return Ok(());
        };
        target.step("text");
        loop {
            match frames.next().await? {
                Received::Text(text) if expected.accepts(&text) => return Ok(()),
                Received::Text(_) => return Err(ProbeFailure::UnexpectedText),
                Received::Close(code) => return Err(ProbeFailure::Closed(code)),
                Received::Pong(_) => {}
            }
        }
    }
}

/// Sends a ping and waits for its pong; other messages are skipped.
async fn ping(frames: &mut Frames<'_>, target: &ProbeTarget) -> Result<(), ProbeFailure> {
    target.step("pong");
    let payload = unpredictable_bytes();
    frames.send_control(&ControlFrame::ping(&payload)).await?;
    loop {
        match frames.next().await? {
            // RFC 6455 §5.5.3: a pong has the payload of its ping.
            Received::Pong(pong) if pong.payload() == payload => return Ok(()),
            Received::Close(code) => return Err(ProbeFailure::Closed(code)),
            Received::Pong(_) | Received::Text(_) => {}
        }
    }
}

/// Closes in order: first the probe's close frame, then the upstream's (RFC 6455 §7.1.2).
async fn close(frames: &mut Frames<'_>) -> Result<(), ProbeFailure> {
    let close = ControlFrame::close(CloseCode::NORMAL, "");
    frames.send_control(&close).await?;
    while !matches!(frames.next().await?, Received::Close(_)) {}
    frames.shutdown().await;
    Ok(())
}

impl Probe for WebSocketProbe {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> ProbeFuture<'a> {
        Box::pin(self.run(target))
    }
}

#[cfg(test)]
mod tests;
