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
    net::connect::Dialer,
    task::{self, Tasks, catch_panic},
    upstream::Member,
    upstream::health::{HealthEvent, ProbeTarget, check},
};

use super::{
    handle::Pool, monitor_waker::Bell, probe_queue::Line, settings::HealthSettings, state::State,
};

/// Delay before an upstream is probed again if a probe ended without a result, as its runtime
/// ended.
const MAKE_UP: Duration = Duration::from_secs(1);

impl Pool {
    /// Sets the connector of later probes, and starts the monitor if the caller is in a runtime.
    pub(crate) fn watch_by(&self, dial: &Dialer) {
        self.state.set_dial(dial.clone());
        if tokio::runtime::Handle::try_current().is_ok() {
            self.keep_watch();
        }
    }

    /// Starts the monitor, if it is needed and not running. Must be called in a runtime; when that
    /// ends, another may go on.
    pub(crate) fn keep_watch(&self) {
        let bell = &self.state.bell;
        if bell.is_heard() || !self.state.health().wants_monitor() || !bell.listen() {
            return;
        }
        let monitor = Monitor {
            state: Arc::downgrade(&self.state),
            bell: Arc::clone(bell),
            line: Line::default(),
            running: Tasks::new(),
        };
        task::spawn(monitor.run());
    }
}

/// Task that probes, and applies changes that are due while no client comes. It does not keep the
/// pool alive, and ends with the pool, with all probes.
struct Monitor {
    state: Weak<State>,
    bell: Arc<Bell>,
    line: Line,
    running: Tasks<Finished>,
}

/// Probe that has ended.
struct Finished {
    probing: Probing,
    event: HealthEvent,
}

/// Probe under way. Dropped before its end, it schedules another.
struct Probing {
    state: Weak<State>,
    place: usize,
    member: Arc<Member>,
}

impl Monitor {
    async fn run(mut self) {
        while let Some(state) = self.state.upgrade() {
            let wake_at = self.turn(&state, Instant::now());
            // This reference may be the last.
            drop(state);
            let finished = self.wait(wake_at).await;
            if let (Some(finished), Some(state)) = (finished, self.state.upgrade()) {
                let (place, member) = finished.note(&state);
                self.line.join(place, &member);
            }
        }
    }

    /// Does everything that is due, and returns when to continue.
    fn turn(&mut self, state: &Arc<State>, now: Instant) -> Option<Instant> {
        let roster = catch_panic(|| state.fresh_roster(now)).unwrap_or_else(|_| {
            tell_panic();
            state.roster()
        });
        let health = state.health();
        if health.probe.is_none() {
            return state.alarm.at();
        }
        if self.bell.take_rescheduled() || !self.line.is_of(roster.members()) {
            self.line = Line::of(roster.members());
        }
        let dial = state.dial();
        while self.running.len() < health.schedule.most_at_once() {
            match self.line.next(now) {
                Some(next) => self.start(state, next, &health, dial.clone()),
                None => {
                    let times = [self.line.next_at(), state.alarm.at()];
                    return times.into_iter().flatten().min();
                }
            }
        }
        // The next probe that ends makes room.
        state.alarm.at()
    }

    fn start(
        &mut self,
        state: &Arc<State>,
        (place, member): (usize, Arc<Member>),
        health: &HealthSettings,
        dial: Dialer,
    ) {
        let Some(probe) = health.probe.clone() else {
            return;
        };
        let upstream = member.upstream();
        let target = ProbeTarget::over(upstream.address().clone(), dial)
            .with_http_version(upstream.version())
            .announced(upstream.proxy_protocol());
        let within = health.schedule.probe_timeout();
        let state = Arc::downgrade(state);
        let probing = Probing {
            state,
            place,
            member,
        };
        self.running.start(async move {
            let event = check(&*probe, &target, within).await;
            Finished { probing, event }
        });
    }

    /// Waits for this time, for a notification, or for a probe that ends.
    async fn wait(&mut self, wake_at: Option<Instant>) -> Option<Finished> {
        let bell = Arc::clone(&self.bell);
        let mut rung = pin!(bell.rung());
        let mut nap = pin!(async {
            match wake_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        });
        let mut poll = |cx: &mut Context<'_>| {
            if let Poll::Ready(finished) = self.running.poll_next(cx) {
                return Poll::Ready(finished);
            }
            if rung.as_mut().poll(cx).is_ready() || nap.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        };
        poll_fn(&mut poll).await
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.bell.leave();
    }
}

impl Finished {
    /// Records the result; returns the member and its index, for the next probe.
    fn note(self, state: &State) -> (usize, Arc<Member>) {
        let Self { probing, event } = self;
        let (place, member) = (probing.place, Arc::clone(&probing.member));
        let now = event.at;
        state.watching(&member, now, |watch, _| {
            watch.last_probe = Some(event.clone());
        });
        if catch_panic(|| state.observe(&member, &event)).is_err() {
            tell_panic();
        }
        state.watching(&member, now, |watch, health| {
            let state = watch.standing.state();
            let dice = fastrand::f64();
            watch.times.finish(&health.schedule, state, now, dice);
        });
        (place, member)
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else {
            return;
        };
        let is_given_up = self.member.with_watch(|watch| {
            let Some(watch) = watch.as_mut().filter(|watch| watch.times.due().is_none()) else {
                return false;
            };
            watch.times.abandon(Instant::now() + MAKE_UP);
            true
        });
        if is_given_up {
            state.bell.reschedule();
        }
    }
}

/// Logs a panic. The interrupted work is done later, and the panic hook has reported the panic.
fn tell_panic() {
    tracing::error!("a health policy or an observer panicked");
}
