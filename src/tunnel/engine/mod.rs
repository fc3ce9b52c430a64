//! Tunnel future: two legs, two flows, one alarm.

mod deadlines;
mod ending;
mod splice;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    error::Side,
    frame::Extensions,
    net::transport::Transport,
    tunnel::registry::{Departure, RegistryGuard},
    tunnel::report::{Rtt, TunnelInfo, TunnelReport},
};

use super::{
    alarm::Alarm, config::TunnelConfig, context::Clock, flow::Flow, handle::TunnelHandle, leg::Leg,
    pair::LegId, scratch::Scratch,
};

use splice::{Core, Progress};

/// Two byte streams spliced into one connection, both past their opening handshakes.
///
/// A future that moves bytes both ways until both directions have ended, and yields its report.
/// The tunnel never decodes a payload: it follows frame headers, so that its own pings and closes
/// come between frames. While nothing passes it holds no buffer.
///
/// Use it by itself where you do the handshakes yourself; [`ProxyLayer`](crate::ProxyLayer)
/// runs one for each upgrade. [`builder`](Self::builder) makes one with settings, in a
/// [`Registry`](crate::Registry) if you like; [`handle`](Self::handle) closes it from elsewhere.
///
/// # Cancellation
///
/// Dropping the tunnel drops both connections at once, without a close frame.
///
/// # Panics
///
/// When polled outside a tokio runtime with its timer on, once one of its waits has begun.
///
/// # Examples
///
/// ```
/// use wsplice::{KeepAlive, Transport, Tunnel, TunnelConfig};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (client, far_client) = tokio::io::duplex(1024);
/// # let (upstream, far_upstream) = tokio::io::duplex(1024);
/// # drop((far_client, far_upstream));
/// let config = TunnelConfig::new().keep_alive(KeepAlive::default());
/// let report = Tunnel::builder(Transport::new(client), Transport::new(upstream))
///     .config(config)
///     .await;
/// println!("{} after {:?}", report.end, report.duration);
/// # }
/// ```
#[must_use = "a tunnel moves nothing unless it is polled"]
pub struct Tunnel {
    core: Core,
    alarm: Alarm,
    guard: RegistryGuard,
    polled_by: PolledBy,
}

/// Which tasks poll a tunnel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolledBy {
    /// One and the same for its whole life, so that its waker is registered only once.
    OneTask,
    /// Any.
    Anyone,
}

impl Tunnel {
    /// A handle that closes the tunnel, and shows its figures, from elsewhere.
    #[must_use]
    pub fn handle(&self) -> TunnelHandle {
        TunnelHandle::new(Arc::clone(self.guard.entry()))
    }

    /// Bytes that the tunnel holds in memory at this moment, both directions together: those that
    /// a stalled side has not taken, and the beginning of a frame that waits for its rest.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.core.flows.iter().map(Flow::buffered).sum()
    }
}

impl Tunnel {
    pub(crate) fn from_parts(
        parts: TunnelParts,
        config: Arc<TunnelConfig>,
        guard: RegistryGuard,
        polled_by: PolledBy,
    ) -> Self {
        let entry = Some(Arc::clone(guard.entry()));
        Self {
            core: Core::new(parts, config, entry, Instant::now()),
            alarm: Alarm::default(),
            guard,
            polled_by,
        }
    }

    /// The facts of the tunnel that are known from its start.
    pub(crate) fn info(&self) -> &TunnelInfo {
        self.guard.entry().info()
    }

    /// Round trips of our pings that were measured since the last call, by side.
    pub(crate) fn take_rtt_updates(&mut self) -> [(Side, Option<Rtt>); 2] {
        self.core.take_rtt_updates()
    }

    /// The report, once, as soon as the outcome is certain, possibly before the closing handshake
    /// is over.
    pub(crate) fn take_early_report(&mut self) -> Option<TunnelReport> {
        self.core.take_report_due().then(|| self.core.report())
    }

    /// Ends the tunnel at once: it is no longer listed or counted.
    pub(crate) fn abandon(&self) -> TunnelReport {
        self.guard.leave(Departure::Cut);
        self.core.report()
    }

    fn finish(&self) -> TunnelReport {
        let was_cut = self.core.legs.iter().any(Leg::was_cut);
        self.guard.leave(match was_cut {
            false => Departure::Orderly,
            true => Departure::Cut,
        });
        self.core.report()
    }
}

/// The parts of a tunnel.
pub(crate) struct TunnelParts {
    pub(crate) client: Transport,
    pub(crate) client_read_ahead: Bytes,
    pub(crate) upstream: Transport,
    pub(crate) upstream_read_ahead: Bytes,
    pub(crate) extensions: Extensions,
}

impl Future for Tunnel {
    type Output = TunnelReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TunnelReport> {
        let tunnel = self.get_mut();
        if tunnel.polled_by == PolledBy::Anyone {
            tunnel.guard.entry().register(cx.waker());
        }
        let Self { core, alarm, .. } = tunnel;
        let mut scratch = Scratch::take();
        let mut clock = Clock::default();
        core.register_waker(cx);
        // Updates of the poll before that the owner did not take.
        let _ = core.take_rtt_updates();
        loop {
            if core.step(cx, &mut scratch, &mut clock) == Progress::Made {
                continue;
            }
            if core.is_finished() {
                core.publish();
                return Poll::Ready(tunnel.finish());
            }
            let Some(deadline) = core.deadline() else {
                break;
            };
            if core.has_rtt_update() {
                alarm.postpone(deadline);
            }
            if alarm.poll_until(cx, deadline).is_pending() {
                break;
            }
            clock = Clock::default();
            core.on_deadline(clock.now());
        }
        core.publish();
        Poll::Pending
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("client", &self.core.legs[LegId::Client].transport)
            .field("upstream", &self.core.legs[LegId::Upstream].transport)
            .field("opened", &self.core.opened)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
