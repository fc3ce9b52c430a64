//! The tunnel: two legs, two flows, one alarm.

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
    frame::Extensions, net::transport::Transport, tunnel::registry::Entry,
    tunnel::report::TunnelReport,
};

use super::{
    alarm::Alarm, config::TunnelConfig, context::Clock, flow::Flow, pair::LegId, scratch::Scratch,
};

use splice::{Core, Progress};

/// Two byte streams spliced into one connection, both past their opening handshakes.
///
/// A future that moves bytes both ways until both directions have ended, and then tells how
/// it went. It never decodes a payload: it follows frame headers, so that pings and closes of
/// its own come to stand between frames. While nothing passes it holds no buffer.
///
/// Use it by itself where you do the handshakes yourself; [`ProxyLayer`](crate::ProxyLayer)
/// runs one for each upgrade.
///
/// # Cancellation
///
/// Dropping it closes both connections where they stand, without a close frame.
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
/// let report = Tunnel::new(Transport::new(client), Transport::new(upstream))
///     .config(config)
///     .await;
/// println!("{} after {:?}", report.end, report.duration);
/// # }
/// ```
#[must_use = "a tunnel moves nothing unless it is polled"]
pub struct Tunnel {
    core: Core,
    alarm: Alarm,
}

impl Tunnel {
    /// Joins two streams, with the default settings.
    pub fn new(client: impl Into<Transport>, upstream: impl Into<Transport>) -> Self {
        let parts = TunnelParts {
            client: client.into(),
            client_read_ahead: Bytes::new(),
            upstream: upstream.into(),
            upstream_read_ahead: Bytes::new(),
            extensions: Extensions::Unknown,
        };
        Self::from_parts(parts, Arc::new(TunnelConfig::new()), None)
    }

    /// The settings. Call it before the first poll: it begins the tunnel anew, and what a stalled
    /// side had not taken yet would be lost.
    pub fn config(self, config: TunnelConfig) -> Self {
        let core = self.core;
        let ([client, upstream], [mut client_to_upstream, mut upstream_to_client]) =
            (core.legs.into_array(), core.flows.into_array());
        let parts = TunnelParts {
            client_read_ahead: client_to_upstream.take_unread(),
            client: client.transport,
            upstream_read_ahead: upstream_to_client.take_unread(),
            upstream: upstream.transport,
            extensions: Extensions::Unknown,
        };
        Self::from_parts(parts, Arc::new(config), core.entry)
    }

    /// Bytes of the client that were read behind its opening handshake.
    pub fn client_read_ahead(mut self, bytes: &[u8]) -> Self {
        self.core.flows[LegId::Client].read_again(bytes);
        self
    }

    /// Bytes of the upstream that were read behind its 101.
    pub fn upstream_read_ahead(mut self, bytes: &[u8]) -> Self {
        self.core.flows[LegId::Upstream].read_again(bytes);
        self
    }

    /// Returns the final report once, as soon as the outcome is fixed, possibly before the closing
    /// handshake is over.
    pub(crate) fn take_early_report(&mut self) -> Option<TunnelReport> {
        self.core.take_certainty().then(|| self.core.report())
    }

    pub(crate) fn from_parts(
        parts: TunnelParts,
        config: Arc<TunnelConfig>,
        entry: Option<Arc<Entry>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            core: Core::new(parts, config, entry, now),
            alarm: Alarm::default(),
        }
    }

    /// Bytes that the tunnel holds in memory at this moment, both directions together: those that
    /// a stalled side has not taken, and the beginning of a frame that waits for its rest.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.core.flows.iter().map(Flow::buffered).sum()
    }
}

/// What a tunnel is made of.
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
        let Self { core, alarm } = self.get_mut();
        let mut scratch = Scratch::take();
        let mut clock = Clock::default();
        core.listen(cx);
        loop {
            if core.step(cx, &mut scratch, &mut clock) == Progress::Made {
                continue;
            }
            if core.is_finished() {
                core.report_pongs();
                core.publish();
                return Poll::Ready(core.report());
            }
            let Some(deadline) = core.deadline() else {
                break;
            };
            if core.was_answered() {
                alarm.postpone(deadline);
            }
            if alarm.poll_until(cx, deadline).is_pending() {
                break;
            }
            clock = Clock::default();
            core.on_time(clock.now());
        }
        core.report_pongs();
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
