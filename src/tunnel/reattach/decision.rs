//! Decision of the host on a tunnel that lost its upstream.

use http::{HeaderName, HeaderValue};

use crate::{
    frame::{CloseFrame, Message},
    http::headers::UpstreamHeaders,
};

/// Decision of the host on a tunnel that lost its upstream; see
/// [`Reattach::on_reattach`](crate::Reattach::on_reattach).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReattachDecision {
    /// The tunnel gets no other upstream, and its client gets this close frame.
    Close(CloseFrame),
    /// The tunnel gets another upstream, with this.
    Attach(Restoration),
}

/// Headers and messages by which a host restores the state of a connection at its next upstream.
///
/// The messages are sent once the next upstream has accepted the handshake, each in one frame, masked
/// where they go to the upstream and never compressed. Those to the upstream come before any message
/// that the client's proxy holds, and after the [replayed](crate::Reattach::replay) ones; those to
/// the client before any message of the next upstream.
///
/// # Examples
///
/// ```
/// use wsplice::{Restoration, frame::Message};
///
/// let restoration = Restoration::new()
///     .to_upstream(Message::text(r#"{"op":"resume","session":"a1","seq":42}"#))
///     .to_client(Message::text(r#"{"op":"notice","text":"reconnected"}"#));
/// # let _ = restoration;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Restoration {
    headers: UpstreamHeaders,
    to_upstream: Vec<Message>,
    to_client: Vec<Message>,
}

impl Restoration {
    /// Nothing but the handshake.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a header of the handshake, in place of the client's; see [`UpstreamHeaders`]. It is sent
    /// to the next upstream only, and not to those after it.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a message to the next upstream.
    pub fn to_upstream(mut self, message: Message) -> Self {
        self.to_upstream.push(message);
        self
    }

    /// Adds a message to the client.
    pub fn to_client(mut self, message: Message) -> Self {
        self.to_client.push(message);
        self
    }
}

impl Restoration {
    pub(crate) const fn headers(&self) -> &UpstreamHeaders {
        &self.headers
    }

    /// Appends the frames to the upstream, each masked with a key of its own.
    pub(in crate::tunnel) fn encode_to_upstream(
        &self,
        frames: &mut Vec<u8>,
        mut key: impl FnMut() -> [u8; 4],
    ) {
        for message in &self.to_upstream {
            message.encode_to(frames, Some(key()));
        }
    }

    /// Returns the frames to the client.
    pub(in crate::tunnel) fn frames_to_client(&self) -> Vec<u8> {
        let mut frames = Vec::new();
        for message in &self.to_client {
            message.encode_to(&mut frames, None);
        }
        frames
    }
}

impl From<Restoration> for ReattachDecision {
    fn from(restoration: Restoration) -> Self {
        Self::Attach(restoration)
    }
}

impl From<CloseFrame> for ReattachDecision {
    fn from(frame: CloseFrame) -> Self {
        Self::Close(frame)
    }
}
