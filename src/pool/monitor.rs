//! Monitor task of a pool: probes, and health changes without an event.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    instant::saturating_add,
    net::connect::Dialer,
    task::{self, Tasks, catch_panic},
    upstream::Member,
    upstream::health::{
        HealthEvent, HealthEventKind,
        probe::{ProbeTarget, ProbeTimes, check},
    },
};

use super::{
    monitor_waker::MonitorWaker, probe_queue::ProbeQueue, settings::HealthSettings,
    state::PoolState,
};

/// Delay before an upstream is probed again if a probe ended without a result, as its runtime
/// ended.
const REPROBE_DELAY: Duration = Duration::from_secs(1);

/// Starts the monitor of a pool, if it is needed and not running. Must be called in a runtime; when that
/// ends, another may go on.
pub(super) fn ensure_monitor(state: &Arc<PoolState>) {
    let waker = &state.waker;
    if waker.has_monitor() || !state.health_settings().wants_monitor() || !waker.register() {
        return;
    }
    let monitor = Monitor {
        state: Arc::downgrade(state),
        waker: Arc::clone(waker),
        queue: ProbeQueue::default(),
        running: Tasks::new(),
    };
    task::spawn(monitor.run());
}

/// Task that probes, and applies changes that are due while no client comes. It does not keep the
/// pool alive, and ends with the pool, with all probes.
struct Monitor {
    state: Weak<PoolState>,
    waker: Arc<MonitorWaker>,
    queue: ProbeQueue,
    running: Tasks<FinishedProbe>,
}

/// Probe that has ended.
struct FinishedProbe {
    running: RunningProbe,
    event: HealthEvent,
}

/// Probe under way. Dropped before its end, it schedules another.
struct RunningProbe {
    state: Weak<PoolState>,
    index: usize,
    member: Arc<Member>,
}

impl Monitor {
    async fn run(mut self) {
        while let Some(state) = self.state.upgrade() {
            let wake_at = self.run_due(&state, Instant::now());
            // This reference may be the last.
            drop(state);
            let finished = self.wait(wake_at).await;
            if let (Some(finished), Some(state)) = (finished, self.state.upgrade()) {
                let (index, member) = finished.record(&state);
                self.queue.insert(index, &member);
            }
        }
    }

    /// Does everything that is due, and returns when to continue.
    fn run_due(&mut self, state: &Arc<PoolState>, now: Instant) -> Option<Instant> {
        let set = catch_panic(|| state.current_members(now)).unwrap_or_else(|_| {
            log_panic();
            state.member_set()
        });
        let settings = state.health_settings();
        if settings.probe.is_none() {
            return state.next_change.at();
        }
        if self.waker.take_reschedule() || !self.queue.is_current_for(set.members()) {
            spread_first_probes(set.members(), settings, now);
            self.queue = ProbeQueue::of(set.members());
        }
        let dialer = state.dialer();
        while self.running.len() < settings.schedule.concurrency_limit() {
            match self.queue.pop_due(now) {
                Some(next) => self.start(state, next, settings, dialer.clone()),
                None => {
                    let times = [self.queue.next_at(), state.next_change.at()];
                    return times.into_iter().flatten().min();
                }
            }
        }
        // The next probe that ends makes room.
        state.next_change.at()
    }

    fn start(
        &mut self,
        state: &Arc<PoolState>,
        (index, member): (usize, Arc<Member>),
        settings: &HealthSettings,
        dialer: Dialer,
    ) {
        let Some(probe) = settings.probe.clone() else {
            return;
        };
        let upstream = member.upstream();
        let target = ProbeTarget::with_dialer(upstream.address().clone(), dialer)
            .with_http_version(upstream.version())
            .with_proxy_protocol(upstream.proxy_protocol());
        let within = settings.schedule.probe_timeout();
        let state = Arc::downgrade(state);
        let running = RunningProbe {
            state,
            index,
            member,
        };
        self.running.start(async move {
            let event = check(&*probe, &target, within).await;
            FinishedProbe { running, event }
        });
    }

    /// Waits for this time, for a notification, or for a probe that ends.
    async fn wait(&mut self, wake_at: Option<Instant>) -> Option<FinishedProbe> {
        let waker = Arc::clone(&self.waker);
        let mut notified = pin!(waker.notified());
        let mut timer = pin!(async {
            match wake_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        });
        let mut poll = |cx: &mut Context<'_>| {
            if let Poll::Ready(finished) = self.running.poll_next(cx) {
                return Poll::Ready(finished);
            }
            if notified.as_mut().poll(cx).is_ready() || timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        };
        poll_fn(&mut poll).await
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.waker.unregister();
    }
}

impl FinishedProbe {
    /// Records the result; returns the member and its index, for the next probe.
    fn record(self, state: &PoolState) -> (usize, Arc<Member>) {
        let Self { running, event } = self;
        let (index, member) = (running.index, Arc::clone(&running.member));
        let now = event.at;
        if let HealthEventKind::ProbePassed { latency } = event.kind {
            member.sample_latency(latency, now);
        }
        state.with_member_health(&member, now, |health, _| {
            health.last_probe = Some(event.clone());
        });
        if catch_panic(|| state.observe(&member, &event)).is_err() {
            log_panic();
        }
        let upstream = state.notifier.info(member.upstream().name());
        for observer in state.notifier.observers() {
            if catch_panic(|| observer.probe_finished(&upstream, &event)).is_err() {
                log_panic();
            }
        }
        state.with_member_health(&member, now, |health, settings| {
            let state = health.tracker.state();
            let random = fastrand::f64();
            health
                .probe_times
                .finish(&settings.schedule, state, now, random);
        });
        (index, member)
    }
}

impl Drop for RunningProbe {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else {
            return;
        };
        let is_given_up = self.member.with_health(|health| {
            let Some(health) = health
                .as_mut()
                .filter(|health| health.probe_times.due().is_none())
            else {
                return false;
            };
            health.probe_times.abandon(Instant::now() + REPROBE_DELAY);
            true
        });
        if is_given_up {
            state.waker.reschedule();
        }
    }
}

/// Spreads the first probes of upstreams that have joined the pool together.
fn spread_first_probes(members: &[Arc<Member>], settings: &HealthSettings, now: Instant) {
    let has_joined = |member: &&Arc<Member>| {
        member.with_health(|health| {
            let times = health.as_ref().map(|health| &health.probe_times);
            times.is_some_and(ProbeTimes::has_just_joined)
        })
    };
    let joined: Vec<_> = members.iter().filter(has_joined).collect();
    for member in &joined {
        member.with_health(|health| {
            let Some(health) = health else { return };
            let (state, schedule) = (health.tracker.state(), &settings.schedule);
            let delay = schedule.first_delay(joined.len(), state, fastrand::f64);
            health.probe_times.put_off_first(saturating_add(now, delay));
        });
    }
}

/// Logs a panic. The interrupted work is done later, and the panic hook has reported the panic.
fn log_panic() {
    tracing::error!("a health policy or an observer panicked");
}
