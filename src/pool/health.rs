//! Health of a pool's upstreams: takes in events, and decides which upstreams may be picked.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    lock::lock,
    task::catch_panic,
    upstream::health::{
        Doubt, EventOutcome, EventSource, HealthEvent, HealthState, HealthTransition,
    },
    upstream::{Member, MemberHealth},
};

use super::{
    member_set::MemberSet,
    notifier::PoolChange,
    settings::{HealthEffect, HealthSettings},
    state::PoolState,
};

impl PoolState {
    /// Takes in an event.
    pub(super) fn observe(&self, member: &Arc<Member>, event: &HealthEvent) {
        let has_changed = self.with_member_health(member, event.began, |health, settings| {
            count(health, settings, event);
            let has_changed = self.step(member, health, settings, event.at, |health, random| {
                health.tracker.observe(event, random)
            });
            doubt(member, health, settings, event);
            has_changed
        });
        // The interval of the policy may have become shorter.
        if self.schedule_comparison(event.at) {
            self.waker.wake();
        }
        if has_changed {
            self.refresh_later(event.at);
        }
    }

    /// Returns the member set, after the changes that are due without an event.
    pub(super) fn current_members(&self, now: Instant) -> Arc<MemberSet> {
        if catch_panic(|| self.apply_due(now)).is_err() {
            tracing::error!("a health policy or an observer panicked");
        }
        self.member_set()
    }

    /// Applies the changes that are due without an event.
    fn apply_due(&self, now: Instant) {
        if let Some(due) = self.next_change.take_due(now) {
            let retry = RetryAfterPanic {
                state: self,
                due: &due,
                now,
            };
            let mut has_changed = false;
            for member in &due {
                has_changed |= self.with_member_health(member, now, |health, settings| {
                    health.due_at = None;
                    // One that has left is looked at when it comes back.
                    if member.has_left() {
                        return false;
                    }
                    let tick = |health: &mut MemberHealth, random| health.tracker.tick(now, random);
                    self.step(member, health, settings, now, tick)
                });
            }
            has_changed |= self.eject_outliers(now);
            if has_changed || self.needs_refresh.load(Ordering::Acquire) {
                self.is_stale.store(true, Ordering::Release);
            }
            self.schedule_comparison(now);
            self.next_change.bring_next_forward();
            std::mem::forget(retry);
        }
        if self.is_stale.load(Ordering::Acquire) && self.is_stale.swap(false, Ordering::AcqRel) {
            let retry = RetryAfterPanic {
                state: self,
                due: &[],
                now,
            };
            self.apply_changes(now);
            std::mem::forget(retry);
        }
    }

    /// Schedules a look at an upstream for when its health changes without an event; returns whether
    /// it is the pool's next.
    pub(super) fn schedule_look(&self, member: &Arc<Member>, health: &mut MemberHealth) -> bool {
        let Some(at) = health.tracker.changes_at() else {
            return false;
        };
        if health.due_at.is_some_and(|due_at| due_at <= at) {
            return false;
        }
        health.due_at = Some(at);
        self.next_change.schedule(member, at)
    }

    /// Applies a transition of an upstream's tracker, with its consequences; returns whether there
    /// was one. Call it under the member's lock; the change takes effect with
    /// [`apply_changes`](Self::apply_changes).
    pub(super) fn step(
        &self,
        member: &Arc<Member>,
        health: &mut MemberHealth,
        settings: &HealthSettings,
        now: Instant,
        act: impl FnOnce(&mut MemberHealth, f64) -> Option<HealthTransition>,
    ) -> bool {
        let random = fastrand::f64();
        let was_usable = health.tracker.state().is_usable();
        let transition = act(health, random);
        if self.schedule_look(member, health) {
            self.waker.wake();
        }
        let Some(transition) = transition else {
            return false;
        };
        let after = health.tracker.state();
        let is_dry_run = settings.effect == HealthEffect::ReportOnly;
        member.set_trial_limit(match after {
            HealthState::HalfOpen { .. } if !is_dry_run => settings.half_open_limit,
            _ => 0,
        });
        health
            .probe_times
            .reschedule(&settings.schedule, after, now, random);
        self.waker.reschedule();
        let slow_start = settings.slow_start.filter(|_| !is_dry_run);
        if let (Some(slow_start), false, true) = (slow_start, was_usable, after.is_usable()) {
            member.begin_slow_start(now, slow_start);
        }
        let cause: Arc<str> = match &transition {
            HealthTransition::Unhealthy { cause, .. } => Arc::clone(cause),
            HealthTransition::HalfOpen => "its ejection is over".into(),
            HealthTransition::Healthy if was_usable => "a handshake succeeded".into(),
            HealthTransition::Healthy => "its probes pass again".into(),
        };
        if let HealthTransition::Unhealthy { .. } = &transition {
            member.event_counters().eject();
        }
        lock(&self.changed).push(Arc::clone(member));
        // Nothing is reported of an upstream that has left the pool.
        if !member.has_left() {
            let change = PoolChange::Health { transition, cause };
            self.notifier.push(member.shared_name(), change);
        }
        true
    }
}

/// Lowers the preference for an upstream that has failed a client, and ends that with a success.
fn doubt(
    member: &Member,
    health: &mut MemberHealth,
    settings: &HealthSettings,
    event: &HealthEvent,
) {
    if event.kind.source() != EventSource::Handshake {
        return;
    }
    match event.kind.outcome() {
        EventOutcome::Good => member.with_doubt(Doubt::succeed),
        EventOutcome::Bad => {
            // The policy's part, which has none in a dry run.
            let until = match settings.effect {
                HealthEffect::Eject => health.tracker.doubts_until(event.at),
                HealthEffect::ReportOnly => None,
            };
            member.with_doubt(|doubt| {
                doubt.fail(event.at);
                if let Some(until) = until {
                    doubt.extend(until);
                }
            });
        }
        EventOutcome::Neutral => {}
    }
}

/// Counts an event for outlier detection. Events that the tracker ignores, as they began before the
/// ejection, are not counted.
fn count(health: &mut MemberHealth, settings: &HealthSettings, event: &HealthEvent) {
    if let Some(policy) = &settings.outliers {
        if health.tracker.is_usable_since(event.began) {
            health
                .event_counts
                .count(&policy.counted_events(), &event.kind);
        }
    }
}

/// Guard: schedules another try if a user's policy panics.
struct RetryAfterPanic<'a> {
    state: &'a PoolState,
    due: &'a [Arc<Member>],
    now: Instant,
}

impl Drop for RetryAfterPanic<'_> {
    fn drop(&mut self) {
        let at = self.now + Duration::from_secs(1);
        for member in self.due {
            self.state.next_change.schedule(member, at);
        }
        self.state.needs_refresh.store(true, Ordering::Release);
        self.state.is_stale.store(true, Ordering::Release);
        self.state.next_change.bring_forward(at);
    }
}
