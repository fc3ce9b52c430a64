//! The clocks of a response: one for the upstream, one for the client, and one for all.

use tokio::time::Instant;

use crate::error::{Error, ErrorKind};

use super::progress::{ProgressClock, ProgressLimits, Stall};

/// Limits on the relay of one response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RelayLimits {
    /// Limits on the upstream while it sends nothing.
    pub(crate) upstream: ProgressLimits,
    /// Limits on the client while bytes wait for it.
    pub(crate) client: ProgressLimits,
    /// End of the time for the whole exchange.
    pub(crate) until: Option<Instant>,
}

/// Loss of an upstream whose responses are broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamLoss {
    /// The upstream is drained, which may be called off.
    Drained,
    /// The upstream was removed, or is unhealthy.
    Gone,
}

/// Clocks of a response. At most one party is waited for at a time.
#[derive(Debug)]
pub(super) struct ResponseClocks {
    upstream: ProgressClock,
    client: ProgressClock,
    until: Option<Instant>,
    /// Time at which the response is broken off, as its upstream is drained.
    drained_at: Option<Instant>,
    /// The same, as its upstream is gone.
    gone_at: Option<Instant>,
}

impl ResponseClocks {
    /// Creates the clocks of a response whose head is on its way to the client.
    pub(super) fn new(limits: RelayLimits, now: Instant) -> Self {
        let mut clocks = Self {
            upstream: ProgressClock::new(limits.upstream),
            client: ProgressClock::new(limits.client),
            until: limits.until,
            drained_at: None,
            gone_at: None,
        };
        clocks.client.wait(now);
        clocks
    }

    /// The client took what was there.
    pub(super) fn client_asks(&mut self, now: Instant) {
        self.client.stop(now);
    }

    /// The upstream has sent nothing more.
    pub(super) fn wait_for_upstream(&mut self, now: Instant) {
        self.upstream.wait(now);
    }

    /// The upstream sent bytes.
    pub(super) fn upstream_sent(&mut self, now: Instant) {
        self.upstream.stop(now);
    }

    /// Bytes wait for the client.
    pub(super) fn wait_for_client(&mut self, bytes: usize, now: Instant) {
        self.client.count(bytes);
        self.client.wait(now);
    }

    /// Breaks the response off at this time, or earlier if that was chosen before.
    pub(super) fn end_at(&mut self, loss: UpstreamLoss, at: Instant) {
        let end = match loss {
            UpstreamLoss::Drained => &mut self.drained_at,
            UpstreamLoss::Gone => &mut self.gone_at,
        };
        *end = Some(end.map_or(at, |known| known.min(at)));
    }

    /// The drain of the upstream was called off.
    pub(super) const fn cancel_drain(&mut self) {
        self.drained_at = None;
    }

    /// Returns the error of a limit that is exceeded now.
    pub(super) fn overdue(&self, now: Instant) -> Option<Error> {
        if self.until.is_some_and(|until| until <= now) {
            return Some(Error::new(ErrorKind::ExchangeTimeout));
        }
        for (at, why) in [
            (self.drained_at, "the upstream is drained"),
            (self.gone_at, "the upstream was removed or is unhealthy"),
        ] {
            if at.is_some_and(|at| at <= now) {
                return Some(Error::with_source(ErrorKind::Draining, why));
            }
        }
        if let Some(stall) = self.upstream.stall(now) {
            return Some(stall.error(ErrorKind::ResponseBodyTimeout));
        }
        let stall = self.client.stall(now)?;
        Some(stall.error(ErrorKind::ClientReadTimeout))
    }

    /// Returns a time at which to look again, before which no limit is exceeded.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        let parties = earlier(self.upstream.next_look(now), self.client.next_look(now));
        let losses = earlier(self.drained_at, self.gone_at);
        earlier(earlier(parties, losses), self.until)
    }
}

/// Returns the earlier of two moments, where there are two.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

impl Stall {
    /// Returns the error of this kind, with the limit as its source.
    pub(crate) fn error(self, kind: ErrorKind) -> Error {
        let source = match self {
            Self::Silent(limit) => format!("after {limit:?}"),
            Self::Slow(rate) => format!("less than {rate} bytes per second"),
        };
        Error::with_source(kind, source)
    }
}
