//! Watches over the upstreams of a pool for as long as there is the pool.

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

use super::{bell::Bell, handle::Pool, line::Line, settings::HealthSettings, state::State};

/// How soon an upstream is probed again whose probe told nothing, as its runtime ended.
const MAKE_UP: Duration = Duration::from_secs(1);

impl Pool {
    /// Says how probes go out from now on, and has the pool watched if that is possible already:
    /// in a runtime.
    pub(crate) fn watch_by(&self, dial: &Dialer) {
        self.state.set_dial(dial.clone());
        if tokio::runtime::Handle::try_current().is_ok() {
            self.keep_watch();
        }
    }

    /// Sees to it that the pool is watched, if there is anything to watch for. Must be called in
    /// a runtime; when that ends, another may go on.
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

/// The task that probes, and that sees to what is due while no client comes. It does not keep the
/// pool alive, and ends when the pool does, with all probes.
struct Monitor {
    state: Weak<State>,
    bell: Arc<Bell>,
    line: Line,
    running: Tasks<Finished>,
}

/// A probe that has come to its end.
struct Finished {
    probing: Probing,
    event: HealthEvent,
}

/// An upstream that is being probed. Dropped before the end, it is to be probed again.
struct Probing {
    state: Weak<State>,
    place: usize,
    member: Arc<Member>,
}

impl Monitor {
    async fn run(mut self) {
        while let Some(state) = self.state.upgrade() {
            let wake_at = self.turn(&state, Instant::now());
            // It might be the last.
            drop(state);
            let finished = self.wait(wake_at).await;
            if let (Some(finished), Some(state)) = (finished, self.state.upgrade()) {
                let (place, member) = finished.note(&state);
                self.line.join(place, &member);
            }
        }
    }

    /// Sees to everything that is due, and when to do so next.
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
        // The next that ends makes room.
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

    /// Waits for this moment, for a ring of the bell, or for a probe that ends.
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
    /// Takes note of what was learned; who it was, and in which place, for the next time.
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

/// What was undone by it is done later, and the panic itself was told by the panic hook.
fn tell_panic() {
    tracing::error!("a health policy or an observer panicked");
}
