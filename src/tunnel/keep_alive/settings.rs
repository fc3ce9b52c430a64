//! Settings of keep-alive.

use std::time::Duration;

/// Settings of keep-alive: WebSocket pings (RFC 6455 §5.5.2) on each leg that has been quiet, with
/// a timeout for each pong.
///
/// The default pings after 20 s ± 10 % and waits 10 s for the pong. Hops that drop quiet
/// connections commonly do so at 60 s (AWS load balancers, nginx): a ping every 60 s may come
/// too late, one every 20 s comes three times by then.
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`interval`](Self::interval) | 20 s | three pings before a hop gives up at 60 s |
/// | [`jitter`](Self::jitter) | 0.1 | tunnels that were opened together must not stay together |
/// | [`pong_timeout`](Self::pong_timeout) | 10 s | |
/// | [`without_pong_timeout`](Self::without_pong_timeout) | off | |
/// | [`between_messages`](Self::between_messages) | off | RFC 6455 §5.4 allows pings between fragments |
///
/// # Which leg is alive
///
/// A leg that sends anything is alive. So is one that takes the bytes that wait for it, however
/// slowly: while bytes wait in the proxy, the time for the pong does not begin, and
/// [`TunnelConfig::write_timeout`](crate::TunnelConfig::write_timeout) applies. Where more than
/// 256 KiB went to a leg since anything last came from it, or before that behind the ping that it
/// has answered, the ping may be far behind in the buffers of the kernels, and the pong has the write
/// timeout to come.
///
/// A leg whose pong does not come in time is dead: a close frame would not be read there, so its
/// connection is reset. The other leg is closed with code 1011 if the upstream is the dead one, and with 1001 if
/// the client is ([`TunnelEnd::Timeout`](crate::tunnel::TunnelEnd::Timeout) in the report).
///
/// A leg that has sent a close frame owes no pong (RFC 6455 §5.5.2), and is not pinged.
///
/// # Peers that break the rules
///
/// A pong with a payload of its own counts as the answer to a ping, and is not forwarded, unless
/// the other endpoint has sent a ping that it may answer. For peers that never send pongs, use
/// [`without_pong_timeout`](Self::without_pong_timeout). For peers that fail when a ping comes
/// between the fragments of a message, use [`between_messages`](Self::between_messages).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::KeepAlive;
///
/// let keep_alive = KeepAlive::default()
///     .interval(Duration::from_secs(25))
///     .pong_timeout(Duration::from_secs(5));
/// # let _ = keep_alive;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct KeepAlive {
    pub(super) interval: Duration,
    jitter: f64,
    /// `None` if no pong is expected.
    pub(super) pong_timeout: Option<Duration>,
    /// How long a ping waits for the end of a message.
    pub(super) patience: Option<Duration>,
}

/// Shortest interval: zero would ping without end.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(1);

impl KeepAlive {
    /// The default settings: 20 s ± 10 %, pong within 10 s.
    pub const fn new() -> Self {
        Self {
            interval: Duration::from_secs(20),
            jitter: 0.1,
            pong_timeout: Some(Duration::from_secs(10)),
            patience: None,
        }
    }

    /// Pings a leg from which nothing has come for this long.
    ///
    /// Bytes that a leg sends prove that it lives, so a leg that keeps sending is never pinged.
    /// Bytes that are sent *to* it prove nothing.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Spreads each interval by this share of itself, up or down (0.1 is ± 10 %), so that
    /// tunnels that were opened together don't ping together. Limited to 0 ..= 0.5.
    ///
    /// Within it, both legs of a tunnel are pinged at once, and quiet tunnels a few at a time:
    /// that takes fewer wake-ups.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Considers a leg dead that has sent nothing at all for this long after a ping.
    pub const fn pong_timeout(mut self, timeout: Duration) -> Self {
        self.pong_timeout = Some(timeout);
        self
    }

    /// Sends pings, and never considers a leg dead for lack of a pong: for peers that never send
    /// any.
    ///
    /// The pings still keep hops on the way from dropping the connection. TCP keep-alive or the
    /// write timeout then detect that a peer is gone.
    pub const fn without_pong_timeout(mut self) -> Self {
        self.pong_timeout = None;
        self
    }

    /// Makes a ping wait up to this long for the end of the message that is passing, instead of
    /// going out between two of its fragments. For peers that cannot take control frames there,
    /// although RFC 6455 §5.4 demands that they do.
    pub const fn between_messages(mut self, at_most: Duration) -> Self {
        self.patience = Some(at_most);
        self
    }

    /// Longest time until pings detect that a leg is gone; `None` if they never do.
    pub(in crate::tunnel) fn notices_within(&self) -> Option<Duration> {
        // The jitter is small against what this is compared with.
        Some(self.interval.saturating_add(self.pong_timeout?))
    }

    /// The interval with its jitter applied; `jitter_sample` is uniform in 0 .. 1.
    pub(super) fn jittered(&self, jitter_sample: f64) -> Duration {
        let factor = 1.0 + self.share() * (2.0 * jitter_sample.clamp(0.0, 1.0) - 1.0);
        let jittered = Duration::try_from_secs_f64(self.interval.as_secs_f64() * factor);
        jittered.unwrap_or(self.interval).max(MIN_INTERVAL)
    }

    pub(super) fn share(&self) -> f64 {
        if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 0.5)
        }
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self::new()
    }
}
