//! Probes the upstreams of a pool for as long as there is the pool.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    connect::Dial,
    health::{HealthEvent, Probe, ProbeTarget, check},
    task,
    upstream::Member,
};

use super::{handle::Pool, settings::PoolSettings, state::State};

/// Probes that may be under way at once.
const MAX_RUNNING: usize = 64;

/// How long a change of the pool can go unnoticed while nothing is due.
const MAX_NAP: Duration = Duration::from_secs(1);

type Running = Pin<Box<dyn Future<Output = (Arc<Member>, HealthEvent)> + Send>>;

impl Pool {
    /// Sees to it that the upstreams are probed, if they are to be. Must be called in a runtime.
    pub(crate) fn keep_probing(&self, dial: &Dial) {
        if self.settings.health.probe.is_some() && self.state.is_first_to_probe() {
            let monitor = Monitor {
                state: Arc::downgrade(&self.state),
                settings: Arc::clone(&self.settings),
                dial: dial.clone(),
                running: Vec::new(),
            };
            task::spawn(monitor.run());
        }
    }
}

/// The task that probes. It does not keep the pool alive, and ends when the pool does.
struct Monitor {
    state: Weak<State>,
    settings: Arc<PoolSettings>,
    dial: Dial,
    running: Vec<Running>,
}

impl Monitor {
    async fn run(mut self) {
        while let Some(pool) = self.pool() {
            let next = self.start_due(&pool, Instant::now());
            drop(pool);
            let mut nap = Box::pin(sleep_until(next));
            let finished = poll_fn(|cx| match self.poll_running(cx) {
                Poll::Ready(finished) => Poll::Ready(Some(finished)),
                Poll::Pending => nap.as_mut().poll(cx).map(|()| None),
            })
            .await;
            if let (Some((member, event)), Some(pool)) = (finished, self.pool()) {
                pool.note_probe(&member, &event);
            }
        }
    }

    fn pool(&self) -> Option<Pool> {
        let state = self.state.upgrade()?;
        Some(Pool::from_parts(state, Arc::clone(&self.settings)))
    }

    /// Starts the probes that are due; when to look again.
    fn start_due(&mut self, pool: &Pool, now: Instant) -> Instant {
        let health = &self.settings.health;
        let mut next = now + MAX_NAP;
        let Some(probe) = &health.probe else {
            return next;
        };
        for member in pool.fresh_roster(now).members().iter() {
            if self.running.len() >= MAX_RUNNING {
                break;
            }
            let mut watch = member.watch(|| health.new_watch(now));
            if watch.times.start(now) {
                let upstream = member.upstream();
                let target = ProbeTarget::over(upstream.address().clone(), self.dial.clone())
                    .announced(upstream.proxy_protocol());
                let within = health.schedule.probe_timeout();
                self.running
                    .push(run(Arc::clone(probe), Arc::clone(member), target, within));
            } else if let Some(due) = watch.times.due() {
                next = next.min(due);
            }
        }
        next
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<(Arc<Member>, HealthEvent)> {
        for (index, running) in self.running.iter_mut().enumerate() {
            if let Poll::Ready(finished) = running.as_mut().poll(cx) {
                drop(self.running.swap_remove(index));
                return Poll::Ready(finished);
            }
        }
        Poll::Pending
    }
}

impl Pool {
    fn note_probe(&self, member: &Arc<Member>, event: &HealthEvent) {
        let health = &self.settings.health;
        self.observe(member, event);
        let mut watch = member.watch(|| health.new_watch(event.at));
        let state = watch.standing.state().clone();
        watch
            .times
            .finish(&health.schedule, &state, event.at, fastrand::f64());
        watch.last_probe = Some(event.clone());
    }
}

fn run(
    probe: Arc<dyn Probe>,
    member: Arc<Member>,
    target: ProbeTarget,
    within: Duration,
) -> Running {
    Box::pin(async move {
        let event = check(&*probe, &target, within).await;
        (member, event)
    })
}
