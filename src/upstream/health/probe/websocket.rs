//! Whether the upstream speaks WebSocket.

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
    http::handshake::{Agreement, Answer, HeadLimits, Offer, exchange},
    http::head::RequestHead,
    http::headers::HeaderEdits,
    http::upgrade::{Intent, UpgradeRequest, inspect},
};

use super::{
    Probe, ProbeFailure, ProbeTarget, Probing,
    expect::{Containing, Exactly, Expect},
    frames::{Frames, Received, unforeseeable},
    request::RequestSettings,
};

/// How long the upstream may take to answer our close. It has proved itself before that.
const LEAVE_TAKING: Duration = Duration::from_secs(1);

/// How long the body of a refusal may be silent; it is never read.
const BODY_SILENCE: Duration = Duration::from_secs(1);

/// Passes when the upstream makes a WebSocket of a real handshake and answers a ping on it.
///
/// The 101 is verified as a client's would be (RFC 6455 §4.1), and so is what stands for it over
/// HTTP/2, which goes the way of [clients' handshakes](crate::Upstream::http_version). Then a ping with a payload that
/// nobody can guess must be answered by its pong (§5.5.3). A text may be exchanged too. In the
/// end the WebSocket is closed with 1000, so the upstream's logs stay clean; how it answers that
/// does not matter.
///
/// # Examples
///
/// ```
/// use wsplice::health::WebSocketProbe;
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
    say: Option<Box<str>>,
    hear: Option<Arc<dyn Expect>>,
}

impl WebSocketProbe {
    /// A handshake for this path, with its query if any. What may not stand in a path is escaped.
    pub fn get(path: &str) -> Self {
        Self {
            request: RequestSettings::get(path),
            subprotocol: None,
            say: None,
            hear: None,
        }
    }

    /// Offers this subprotocol, which the upstream must then choose.
    ///
    /// # Errors
    ///
    /// When it cannot stand in a header.
    pub fn subprotocol(
        mut self,
        subprotocol: &str,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        self.subprotocol = Some(HeaderValue::from_str(subprotocol)?);
        Ok(self)
    }

    /// Sets `Host`, which is the upstream's address otherwise.
    pub fn host(mut self, host: HeaderValue) -> Self {
        self.request.host = Some(host);
        self
    }

    /// Sets headers of the handshake: an `Origin`, credentials. Those that make it a handshake
    /// stand after all edits.
    pub fn headers(mut self, edits: HeaderEdits) -> Self {
        self.request.edits = edits;
        self
    }

    /// Sends this text after the pong.
    pub fn send_text(mut self, text: &str) -> Self {
        self.say = Some(text.into());
        self
    }

    /// Expects just this text.
    ///
    /// It is compared with the first text that comes after ours was sent; without one to send,
    /// with the first that comes at all. Of a longer text 65,536 bytes are compared.
    pub fn expect_text(self, text: &str) -> Self {
        self.expecting(Arc::new(Exactly(text.as_bytes().into())))
    }

    /// Expects a text with this in it; otherwise as [`expect_text`](Self::expect_text).
    pub fn expect_text_with(self, part: &str) -> Self {
        self.expecting(Arc::new(Containing(part.as_bytes().into())))
    }

    pub(super) fn expecting(mut self, text: Arc<dyn Expect>) -> Self {
        self.hear = Some(text);
        self
    }

    async fn ask(&self, target: &ProbeTarget) -> Result<(), ProbeFailure> {
        let mut frames = self.shake_hands(target).await?;
        if self.say.is_none() {
            // A greeting may come before our pong, and would be missed after it.
            self.hear(&mut frames, target).await?;
        }
        ping(&mut frames, target).await?;
        if let Some(text) = &self.say {
            target.step("text");
            frames.send_text(text).await?;
            self.hear(&mut frames, target).await?;
        }
        target.passed();
        let _ = timeout(LEAVE_TAKING, take_leave(&mut frames)).await;
        Ok(())
    }

    async fn shake_hands<'a>(&self, target: &'a ProbeTarget) -> Result<Frames<'a>, ProbeFailure> {
        let link = target.acquire(target.address()).await?;
        target.step("handshake");
        let (request, upgrade) = self.handshake(target)?;
        let offer = Offer::of(request.headers(), &upgrade);
        let limits = HeadLimits::default();
        match exchange(link, target.dial(), request, limits, BODY_SILENCE).await? {
            Answer::Refusal(response) => Err(ProbeFailure::Refused(response.status())),
            Answer::Agreed {
                head,
                transport,
                read_ahead,
            } => {
                let agreement = offer.verify(&head).map_err(|disagreement| {
                    Error::with_source(ErrorKind::InvalidUpgradeResponse, disagreement)
                })?;
                self.check_subprotocol(&agreement)?;
                Ok(Frames::new(transport, &read_ahead, target))
            }
        }
    }

    /// A handshake with a key of its own, and the proof that it is one.
    fn handshake(
        &self,
        target: &ProbeTarget,
    ) -> Result<(Request<Empty<Bytes>>, UpgradeRequest), ProbeFailure> {
        let request = self.request.request(target.address(), |headers| {
            self.name_upgrade(headers);
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

    /// RFC 6455 §4.1, items 5 to 10.
    fn name_upgrade(&self, headers: &mut HeaderMap) {
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

    async fn hear(
        &self,
        frames: &mut Frames<'_>,
        target: &ProbeTarget,
    ) -> Result<(), ProbeFailure> {
        let Some(expected) = &self.hear else {
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

/// Sends a ping and waits for its pong; what else comes is passed over.
async fn ping(frames: &mut Frames<'_>, target: &ProbeTarget) -> Result<(), ProbeFailure> {
    target.step("pong");
    let payload = unforeseeable();
    frames.send_control(&ControlFrame::ping(&payload)).await?;
    loop {
        match frames.next().await? {
            // RFC 6455 §5.5.3: a pong carries the payload of the ping that it answers.
            Received::Pong(pong) if pong.payload() == payload => return Ok(()),
            Received::Close(code) => return Err(ProbeFailure::Closed(code)),
            Received::Pong(_) | Received::Text(_) => {}
        }
    }
}

/// Closes in order: our close frame, then the upstream's (RFC 6455 §7.1.2).
async fn take_leave(frames: &mut Frames<'_>) -> Result<(), ProbeFailure> {
    let close = ControlFrame::close(CloseCode::NORMAL, "");
    frames.send_control(&close).await?;
    while !matches!(frames.next().await?, Received::Close(_)) {}
    frames.shutdown().await;
    Ok(())
}

impl Probe for WebSocketProbe {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> Probing<'a> {
        Box::pin(self.ask(target))
    }
}

#[cfg(test)]
mod tests;
