//! Settings of reattachment.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{frame::CloseCode, tunnel::info::TunnelInfo};

use super::{
    decision::ReattachDecision,
    hook::{Hook, ReattachRequest},
    loss::Loss,
    recording::Recording,
    tap::{ClientMessage, Tap},
};

/// Reattachment: a tunnel that loses its upstream gets another one, and the client's connection
/// lives on.
///
/// When the upstream's leg is lost, the proxy keeps the client, picks an upstream again, and makes
/// the handshake again with the head of the client's request. The client notices a delay at most.
/// An upstream sees a new client. Whether that is safe depends on the application's protocol: a
/// socket that survives while its subscriptions are gone is worse than one that is closed, because
/// its client does not subscribe again.
///
/// A tunnel gets another upstream only between two messages in both directions, and only if the next
/// upstream agrees to the same subprotocol and to the same extensions; otherwise it ends as it would
/// have without reattachment, and [`TunnelReport::reattach_refusal`] has the reason. So the client
/// gets whole messages, in order, and none twice. Messages that were on their way to or from the
/// lost upstream may be lost.
///
/// All attempts count against the pool's [`RetryBudget`](crate::pool::RetryBudget). With a budget of zero no
/// tunnel gets another upstream, and each ends after the time for one.
///
/// The head of the request, with its credentials, is kept as long as the tunnel. Admission by the
/// host (a middleware in front of the proxy) happens once, at the client's handshake.
///
/// [`TunnelReport::reattach_refusal`]: crate::TunnelReport::reattach_refusal
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`within`](Self::within) | 10 s | a restart takes a few seconds; clients wait 20 s for a pong |
/// | [`on`](Self::on) | [`ReattachOn::Loss`], close code 1012 | servers close idle sockets with 1001, and ask clients to stay away with 1013 |
/// | [`limit`](Self::limit) | 3 a minute | a client whose messages kill upstreams must not go through them all |
/// | [`spread`](Self::spread) | 500 ms | the clients of one upstream must not fall upon the next at once |
/// | [`max_held`](Self::max_held) | 64 KiB | |
/// | [`on_reattach`](Self::on_reattach) | none | |
/// | [`decision_timeout`](Self::decision_timeout) | 5 s | a database may be slow |
/// | [`replay`](Self::replay) | none | only the application knows that its messages may come twice |
/// | [`max_replayed`](Self::max_replayed) | 16 KiB | kept as long as the tunnel |
/// | [`swallow`](Self::swallow) | none | |
/// | [`max_swallowed`](Self::max_swallowed) | 64 KiB | |
/// | [`tap`](Self::tap) | none | |
/// | [`without_added_parameter`](Self::without_added_parameter) | off: the parameter is added | without it, most compressed tunnels cannot be reattached |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::{Pool, ProxyLayer, tunnel::reattach::Reattach};
///
/// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?;
/// let proxy = ProxyLayer::new(pool).reattach(Reattach::new().within(Duration::from_secs(5)));
/// # let _ = proxy;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Reattach {
    within: Duration,
    spread: Duration,
    on: Vec<ReattachOn>,
    limit: usize,
    max_held: usize,
    parameter: AddedParameter,
    hook: Option<Hook>,
    decision_timeout: Duration,
    replay: Part,
    swallow: Part,
    tap: Option<Tap>,
}

/// The first messages of a stream.
#[derive(Clone, Copy, Debug)]
struct Part {
    messages: usize,
    max_bytes: usize,
}

/// Loss of an upstream after which a tunnel may get another one; see [`Reattach::on`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReattachOn {
    /// The upstream's connection ended without a close frame, broke, or stopped answering pings or
    /// taking bytes.
    Loss,
    /// The upstream sent a close frame with this code.
    Closed(CloseCode),
}

/// Whether `client_no_context_takeover` is added to the client's 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddedParameter {
    NoContextTakeover,
    None,
}

impl Reattach {
    /// The default settings.
    pub fn new() -> Self {
        Self {
            within: Duration::from_secs(10),
            spread: Duration::from_millis(500),
            on: vec![
                ReattachOn::Loss,
                ReattachOn::Closed(CloseCode::SERVICE_RESTART),
            ],
            limit: 3,
            max_held: 64 * 1024,
            parameter: AddedParameter::NoContextTakeover,
            hook: None,
            decision_timeout: Duration::from_secs(5),
            replay: Part {
                messages: 0,
                max_bytes: 16 * 1024,
            },
            swallow: Part {
                messages: 0,
                max_bytes: 64 * 1024,
            },
            tap: None,
        }
    }

    /// Sets the time in which another upstream must have accepted the handshake, from the loss on.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Sets the losses after which a tunnel may get another upstream.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{
    ///     frame::CloseCode,
    ///     tunnel::reattach::{Reattach, ReattachOn},
    /// };
    ///
    /// // Only where the server says that it restarts.
    /// let codes = [CloseCode::SERVICE_RESTART, CloseCode::TRY_AGAIN_LATER];
    /// let reattach = Reattach::new().on(codes.map(ReattachOn::Closed));
    /// # let _ = reattach;
    /// ```
    pub fn on(mut self, losses: impl IntoIterator<Item = ReattachOn>) -> Self {
        self.on = losses.into_iter().collect();
        self
    }

    /// Sets the most reattachments of one tunnel within a minute.
    pub fn limit(mut self, per_minute: usize) -> Self {
        self.limit = per_minute;
        self
    }

    /// Sets the longest random delay before the first attempt, of which each tunnel takes its own
    /// share, so that the tunnels of one upstream come to the next ones over this time.
    pub fn spread(mut self, spread: Duration) -> Self {
        self.spread = spread;
        self
    }

    /// Sets how many bytes of the client's messages are held while the tunnel has no upstream. Then
    /// the client is not read, its pings neither.
    pub fn max_held(mut self, bytes: usize) -> Self {
        self.max_held = bytes;
        self
    }

    /// Sets the function of the host that decides on each tunnel that lost its upstream, before the
    /// handshake with the next one: it closes the tunnel, or restores the state of the connection by
    /// headers and messages. This is the way for protocols whose state changes after the first
    /// messages; the function learns of the state by [`tap`](Self::tap), or has it anyway.
    ///
    /// The function is called once for each loss, and may wait: at most for the [decision
    /// timeout](Self::decision_timeout), which is a part of the time for the [next
    /// upstream](Self::within). Its future is dropped when the client leaves. A panic ends the tunnel,
    /// as the timeout does.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::tunnel::reattach::{Reattach, ReattachDecision, ReattachRequest, Restoration};
    /// use wsplice::frame::{CloseCode, CloseFrame, Message};
    ///
    /// # async fn find_subscriptions(_: &str) -> Option<Vec<String>> { None }
    /// async fn restore(request: ReattachRequest) -> ReattachDecision {
    ///     let user = request.tunnel().key().unwrap_or_default();
    ///     match find_subscriptions(user).await {
    ///         None => CloseFrame::new(CloseCode::SERVICE_RESTART, "connect again").into(),
    ///         Some(topics) => {
    ///             let subscribe = topics.into_iter().map(Message::text);
    ///             subscribe.fold(Restoration::new(), Restoration::to_upstream).into()
    ///         }
    ///     }
    /// }
    ///
    /// let reattach = Reattach::new().on_reattach(restore);
    /// # let _ = reattach;
    /// ```
    pub fn on_reattach<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(ReattachRequest) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Into<ReattachDecision>,
    {
        self.hook = Some(Hook::new(function));
        self
    }

    /// Sets how long the function of [`on_reattach`](Self::on_reattach) may take.
    pub fn decision_timeout(mut self, timeout: Duration) -> Self {
        self.decision_timeout = timeout;
        self
    }

    /// Sends the client's first messages, at most this many, to each further upstream before anything
    /// else: those that the upstreams before were given. They come **twice or more**, if the lost
    /// upstream had read them, so they must be such as a login, whose repetition does no harm.
    ///
    /// A compressed message is sent as it came, which the added parameter makes possible; each frame
    /// is masked anew. If the upstream is lost again within 5 s, the tunnel ends, since the messages
    /// may be what kills it.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::tunnel::reattach::Reattach;
    ///
    /// // The client logs in by its first message, and the server's first message confirms that.
    /// let reattach = Reattach::new().replay(1).swallow(1);
    /// # let _ = reattach;
    /// ```
    pub fn replay(mut self, messages: usize) -> Self {
        self.replay.messages = messages;
        self
    }

    /// Sets the bytes that the messages for the [replay](Self::replay) may have, headers included.
    /// They are kept as long as the tunnel. A tunnel whose first messages are larger gets no other
    /// upstream.
    pub fn max_replayed(mut self, bytes: usize) -> Self {
        self.replay.max_bytes = bytes;
        self
    }

    /// Keeps the first messages of each further upstream from the client, at most this many and no
    /// more than the client has had: responses to the [replayed](Self::replay) messages. If the first
    /// upstream is lost before it has responded, the client gets the response of the next one.
    pub fn swallow(mut self, messages: usize) -> Self {
        self.swallow.messages = messages;
        self
    }

    /// Sets the bytes that the [swallowed](Self::swallow) messages may have, without headers. If the
    /// next upstream's are larger, the tunnel ends.
    pub fn max_swallowed(mut self, bytes: usize) -> Self {
        self.swallow.max_bytes = bytes;
        self
    }

    /// Shows a function each message of the client, as soon as its upstream was given all of it, with
    /// at most `max_bytes` of its payload: for hosts that must know what [to
    /// restore](Self::on_reattach).
    ///
    /// The function is called in the tunnel's task, in the order of the messages, and must not block.
    /// Messages that the proxy holds while there is no upstream are shown later, when the next one is
    /// given them, and not restored by then. Of a compressed message the kind and the size are shown.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use wsplice::{
    ///     TunnelInfo,
    ///     frame::Message,
    ///     tunnel::reattach::{ClientMessage, Reattach, Restoration},
    /// };
    ///
    /// /// Messages of one tunnel that its next upstream needs. A tunnel gets it by
    /// /// `RequestOptions::value`.
    /// #[derive(Clone, Default)]
    /// struct Subscriptions(Arc<Mutex<Vec<Vec<u8>>>>);
    ///
    /// let record = |tunnel: &TunnelInfo, message: &ClientMessage| {
    ///     let Some(Subscriptions(list)) = tunnel.value() else { return };
    ///     if message.is_whole() && message.bytes().starts_with(b"subscribe ") {
    ///         list.lock().unwrap().push(message.bytes().to_vec());
    ///     }
    /// };
    /// let reattach = Reattach::new().tap(4096, record).on_reattach(|request| async move {
    ///     let list = request.tunnel().value::<Subscriptions>();
    ///     let list = list.map(|Subscriptions(list)| list.lock().unwrap().clone());
    ///     let messages = list.unwrap_or_default().into_iter().map(Message::binary);
    ///     messages.fold(Restoration::new(), Restoration::to_upstream)
    /// });
    /// # let _ = reattach;
    /// ```
    pub fn tap<F>(mut self, max_bytes: usize, function: F) -> Self
    where
        F: Fn(&TunnelInfo, &ClientMessage) + Send + Sync + 'static,
    {
        self.tap = Some(Tap::new(max_bytes, Arc::new(function)));
        self
    }

    /// Leaves the upstream's agreement on permessage-deflate as it is.
    ///
    /// A client that compresses with context takeover refers to its earlier messages, which the next
    /// upstream has not seen (RFC 7692 §7.2.3.2). Therefore the proxy adds `client_no_context_takeover`
    /// to the extension in the client's 101, which a server may do without an offer (§7.1.1.2); an
    /// upstream that did not ask for it decompresses such messages as well. Without that, a tunnel
    /// gets no other upstream unless the upstream itself asked for the parameter.
    pub fn without_added_parameter(mut self) -> Self {
        self.parameter = AddedParameter::None;
        self
    }
}

impl Reattach {
    pub(crate) const fn time(&self) -> Duration {
        self.within
    }

    pub(crate) const fn spread_time(&self) -> Duration {
        self.spread
    }

    pub(crate) fn adds_no_context_takeover(&self) -> bool {
        self.parameter == AddedParameter::NoContextTakeover
    }

    pub(crate) const fn hook(&self) -> Option<&Hook> {
        self.hook.as_ref()
    }

    pub(crate) const fn decision_time(&self) -> Duration {
        self.decision_timeout
    }

    pub(in crate::tunnel) const fn message_tap(&self) -> Option<&Tap> {
        self.tap.as_ref()
    }

    /// Returns the means to record the messages that are to be replayed, if there are any.
    pub(super) fn recording(&self) -> Option<Recording> {
        let Part {
            messages,
            max_bytes,
        } = self.replay;
        (messages > 0).then(|| Recording::new(messages, max_bytes))
    }

    /// Returns the most messages of a further upstream that are kept from a client, and the most bytes
    /// that they may have.
    pub(super) const fn swallowed(&self) -> (usize, usize) {
        (self.swallow.messages, self.swallow.max_bytes)
    }

    pub(in crate::tunnel) const fn most_held(&self) -> usize {
        self.max_held
    }

    pub(super) const fn most_in_a_minute(&self) -> usize {
        self.limit
    }

    /// Returns whether a tunnel may get another upstream after such a loss.
    pub(in crate::tunnel) fn covers(&self, loss: Loss) -> bool {
        match loss {
            Loss::Moved => true,
            Loss::Closed(code) => self.on.contains(&ReattachOn::Closed(code)),
            _ => self.on.contains(&ReattachOn::Loss),
        }
    }
}

impl Default for Reattach {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn losses_and_close_codes_are_covered_as_they_are_set() {
        let closed = |code| Loss::Closed(CloseCode::new(code));
        let losses = [
            Loss::ClosedWithoutFrame,
            Loss::Broken(ErrorKind::ConnectionReset),
            Loss::PongTimeout,
            Loss::WriteTimeout,
        ];
        let by_default = Reattach::new();
        assert!(losses.iter().all(|loss| by_default.covers(*loss)));
        assert!(by_default.covers(closed(1012)));
        for code in [1000, 1001, 1011, 1013, 4000] {
            assert!(!by_default.covers(closed(code)), "{code}");
        }
        let restarts = [1001, 1012].map(|code| ReattachOn::Closed(CloseCode::new(code)));
        let restarts = Reattach::new().on(restarts);
        assert!(!losses.iter().any(|loss| restarts.covers(*loss)));
        assert!(restarts.covers(closed(1001)) && !restarts.covers(closed(1013)));
        assert!(restarts.covers(Loss::Moved));
    }
}
