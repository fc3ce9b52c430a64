//! Tunnel future: two legs, two flows, one alarm.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    alarm::Alarm,
    error::Side,
    frame::CloseFrame,
    task::catch_panic,
    tunnel::info::TunnelInfo,
    tunnel::reattach::{ReattachRefusal, UpstreamChange},
    tunnel::registry::{Departure, Entry, RegistryGuard, TunnelGroup},
    tunnel::report::TunnelReport,
    tunnel::traffic::Rtt,
};

use crate::tunnel::{
    config::TunnelConfig, context::Clock, flow::Flow, handle::TunnelHandle, leg::Leg, pair::LegId,
    scratch::Scratch,
};

use super::{
    parts::{NextUpstream, Search, TunnelParts},
    splice::Progress,
    state::Core,
};

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
/// Dropping the tunnel drops both connections at once, without a close frame. Its report, with
/// [`TunnelEnd::Dropped`](crate::tunnel::TunnelEnd::Dropped) unless its end had begun, goes to
/// [`TunnelBuilder::on_end`](crate::tunnel::TunnelBuilder::on_end) then.
///
/// # Panics
///
/// When polled outside a tokio runtime with its timer on, once one of its waits has begun.
///
/// # Examples
///
/// ```
/// use wsplice::{KeepAlive, TunnelConfig, connect::Transport, tunnel::Tunnel};
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
    affinity: TaskAffinity,
}

/// Which tasks poll a tunnel, and the state that the answer needs: one task for the tunnel's whole
/// life, whose waker is registered once, or any task of a host.
pub(crate) struct TaskAffinity(Option<Box<HostRun>>);

/// State of a tunnel that a host runs.
#[derive(Default)]
pub(crate) struct HostRun {
    /// The waker that was registered last.
    waker: Option<Waker>,
    on_end: Option<OnEnd>,
}

/// A host's function that is called with the report of a tunnel.
pub(crate) type OnEnd = Box<dyn FnOnce(&TunnelInfo, &TunnelReport) + Send + Sync>;

impl TaskAffinity {
    pub(crate) const ONE_TASK: Self = Self(None);

    pub(crate) fn any(on_end: Option<OnEnd>) -> Self {
        Self(Some(Box::new(HostRun {
            waker: None,
            on_end,
        })))
    }

    const fn is_one_task(&self) -> bool {
        self.0.is_none()
    }

    /// Registers the waker that a command wakes, if another one is registered.
    fn register(&mut self, core: &mut Core, waker: &Waker) {
        match &mut self.0 {
            None if core.is_registered => {}
            None => {
                core.entry().register(waker);
                core.is_registered = true;
            }
            Some(host) => {
                let registered = host.waker.as_ref();
                if !registered.is_some_and(|registered| registered.will_wake(waker)) {
                    core.entry().register(waker);
                    host.waker = Some(waker.clone());
                }
            }
        }
    }

    fn take_on_end(&mut self) -> Option<OnEnd> {
        self.0.as_mut()?.on_end.take()
    }
}

impl Tunnel {
    /// A handle that closes the tunnel, and shows its figures, from elsewhere.
    #[must_use]
    pub fn handle(&self) -> TunnelHandle {
        TunnelHandle::new(Arc::clone(self.core.guard.entry()))
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
        affinity: TaskAffinity,
    ) -> Self {
        Self {
            core: Core::new(parts, config, guard, Instant::now()),
            alarm: Alarm::default(),
            affinity,
        }
    }

    /// The facts of the tunnel that are known from its start.
    pub(crate) fn info(&self) -> &TunnelInfo {
        self.core.guard.entry().info()
    }

    /// Whether a round trip was measured that was not taken yet.
    #[inline]
    pub(crate) fn has_rtt_update(&self) -> bool {
        self.core.has_rtt_update()
    }

    /// Round trips of our pings that were measured since the last call, by side.
    pub(crate) fn take_rtt_updates(&mut self) -> [(Side, Option<Rtt>); 2] {
        self.core.take_rtt_updates()
    }

    /// Returns, once, whether the outcome is certain, possibly before the closing handshake is over.
    pub(crate) fn take_report_due(&mut self) -> bool {
        self.core.take_report_due()
    }

    /// The report as far as it is known.
    pub(crate) fn report(&self) -> TunnelReport {
        self.core.report()
    }

    /// The search for another upstream that the tunnel needs at this moment.
    #[inline]
    pub(crate) fn search(&self) -> Search {
        self.core.search()
    }

    /// Leaves the upstream at the end of the client's message, because another one was found. The
    /// tunnel must be polled then.
    pub(crate) fn leave_upstream(&mut self) {
        self.core.leave_upstream(Instant::now());
    }

    /// Ends the tunnel with this close frame, or as the order to move it says, or keeps the upstream,
    /// because no other one was found. The tunnel must be polled then.
    pub(crate) fn refuse_move(&mut self, refusal: ReattachRefusal, frame: Option<CloseFrame>) {
        self.core.refuse_move(refusal);
        if let Some(frame) = frame {
            self.core.close_instead(refusal, frame, Instant::now());
        }
    }

    /// Takes the tunnel out of the group of its lost upstream.
    pub(crate) fn leave_owner(&mut self) {
        self.core.guard.leave_owner();
    }

    /// Goes on with the next upstream, to whose group the tunnel belongs from now on. The tunnel must
    /// be polled then.
    pub(crate) fn attach(&mut self, next: NextUpstream, owner: &Arc<TunnelGroup>) {
        self.core.guard.enter_owner(owner, Arc::clone(&next.name));
        self.core.attach(next, Instant::now());
    }

    /// Ends the tunnel with this close frame to the client, or as it would have ended at the loss. The
    /// tunnel must be polled then.
    pub(crate) fn end_reattachment(&mut self, refusal: ReattachRefusal, frame: Option<CloseFrame>) {
        self.core.end_reattachment(refusal, frame, Instant::now());
    }

    /// The latest change of the upstream.
    pub(crate) fn last_upstream_change(&self) -> Option<&UpstreamChange> {
        self.core.last_upstream_change()
    }

    /// How long the tunnel had the upstream that it has, or lost last.
    pub(crate) fn time_with_upstream(&self) -> Duration {
        self.core.time_with_upstream(Instant::now())
    }

    /// The entry of the tunnel in its registry.
    pub(crate) fn entry(&self) -> &Entry {
        self.core.guard.entry()
    }

    /// Ends the tunnel at once: it is no longer listed or counted.
    pub(crate) fn abandon(&mut self) -> TunnelReport {
        self.core.publish();
        self.core.guard.leave(Departure::Cut);
        self.core.report()
    }

    fn finish(&mut self) -> TunnelReport {
        let was_cut = self.core.legs.iter().any(Leg::was_cut);
        self.core.guard.leave(match was_cut {
            false => Departure::Orderly,
            true => Departure::Cut,
        });
        let report = self.core.report();
        self.show_report(&report);
        report
    }

    /// Shows the host the report, once.
    fn show_report(&mut self, report: &TunnelReport) {
        let Some(on_end) = self.affinity.take_on_end() else {
            return;
        };
        let info = self.core.guard.entry().info();
        if catch_panic(|| on_end(info, report)).is_err() {
            tracing::error!("the function for the end of a tunnel panicked");
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let host = self.affinity.0.as_ref();
        if host.is_some_and(|host| host.on_end.is_some()) {
            let report = self.abandon();
            self.show_report(&report);
        }
    }
}

impl Future for Tunnel {
    type Output = TunnelReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TunnelReport> {
        let tunnel = self.get_mut();
        let Self {
            core,
            alarm,
            affinity,
            ..
        } = tunnel;
        affinity.register(core, cx.waker());
        let mut scratch = Scratch::take();
        let mut clock = Clock::default();
        if !affinity.is_one_task() {
            // Hosts do not take the round trips of a poll.
            let _ = core.take_rtt_updates();
        }
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
            let is_armed = affinity.is_one_task() && alarm.is_armed_for(deadline);
            if is_armed || alarm.poll_until(cx, deadline).is_pending() {
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
