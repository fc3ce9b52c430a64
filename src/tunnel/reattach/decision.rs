//! Decision of the host on a tunnel that lost its upstream.

use http::{HeaderName, HeaderValue};

use crate::{
    frame::{CloseFrame, Message},
    http::headers::UpstreamHeaders,
};

/// Decision of the host on a tunnel that lost its upstream; see
/// [`Reattach::on_reattach`](crate::tunnel::reattach::Reattach::on_reattach).
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
/// that the client's proxy holds, and after the [replayed](crate::tunnel::reattach::Reattach::replay) ones; those to
/// the client before any message of the next upstream.
///
/// # Examples
///
/// ```
/// use wsplice::{frame::Message, tunnel::reattach::Restoration};
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
    to_upstream: Vec<Step>,
    to_client: Vec<Message>,
}

/// Step of a restoration at the next upstream.
#[derive(Clone, Debug)]
enum Step {
    Send(Message),
    Await(usize),
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
        self.to_upstream.push(Step::Send(message));
        self
    }

    /// Waits until the next upstream has sent this many messages, before the messages that are added
    /// later are sent to it, and before the client's: for servers that accept nothing before they have
    /// confirmed a login. The awaited messages go to the client, unless they are
    /// [swallowed](crate::tunnel::reattach::Reattach::swallow).
    ///
    /// The wait is a part of the time for the next upstream ([`Reattach::within`]). If the upstream
    /// closes meanwhile, or sends more than 64 KiB, the tunnel ends. Messages before a wait are sent
    /// before [replayed](crate::tunnel::reattach::Reattach::replay) ones.
    ///
    /// [`Reattach::within`]: crate::tunnel::reattach::Reattach::within
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{frame::Message, tunnel::reattach::Restoration};
    ///
    /// let restoration = Restoration::new()
    ///     .to_upstream(Message::text(r#"{"type":"connection_init"}"#))
    ///     .await_messages(1)
    ///     .to_upstream(Message::text(r#"{"type":"subscribe","id":"1","payload":{}}"#));
    /// # let _ = restoration;
    /// ```
    pub fn await_messages(mut self, count: usize) -> Self {
        self.to_upstream.push(Step::Await(count));
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
        for step in &self.to_upstream {
            if let Step::Send(message) = step {
                message.encode_to(frames, Some(key()));
            }
        }
    }

    /// Takes the steps up to the last wait: each time the frames to send, masked by these keys, and the
    /// number of messages to wait for then.
    pub(in crate::tunnel) fn take_stages_with(
        &mut self,
        mut key: impl FnMut() -> [u8; 4],
    ) -> Vec<(Vec<u8>, usize)> {
        let is_wait = |step: &Step| matches!(step, Step::Await(_));
        let end = self.to_upstream.iter().rposition(is_wait);
        let end = end.map_or(0, |last| last + 1);
        let (mut stages, mut frames) = (Vec::new(), Vec::new());
        for step in self.to_upstream.drain(..end) {
            match step {
                Step::Send(message) => message.encode_to(&mut frames, Some(key())),
                Step::Await(count) => stages.push((std::mem::take(&mut frames), count)),
            }
        }
        stages
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
