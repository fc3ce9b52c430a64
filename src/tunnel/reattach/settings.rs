//! Settings of reattachment.

use std::time::Duration;

use crate::frame::CloseCode;

use super::loss::Loss;

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
/// | [`without_added_parameter`](Self::without_added_parameter) | off: the parameter is added | without it, most compressed tunnels cannot be reattached |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::{Pool, ProxyLayer, Reattach};
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
    /// use wsplice::{Reattach, ReattachOn, frame::CloseCode};
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

    pub(in crate::tunnel) const fn most_held(&self) -> usize {
        self.max_held
    }

    pub(super) const fn most_in_a_minute(&self) -> usize {
        self.limit
    }

    /// Returns whether a tunnel may get another upstream after such a loss.
    pub(in crate::tunnel) fn covers(&self, loss: Loss) -> bool {
        self.on.contains(&match loss {
            Loss::Closed(code) => ReattachOn::Closed(code),
            _ => ReattachOn::Loss,
        })
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
    }
}
