//! What is learned of the upstreams, and who may be picked for it.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    tunnel::report::TunnelReport,
    upstream::health::{HealthEvent, HealthEventKind, HealthState, Transition, UpstreamHealth},
    upstream::{Member, Watch},
};

use super::{
    handle::Pool, lease::Lease, news::Change, roster::Roster, settings::HealthSettings,
    state::State,
};

impl Pool {
    /// Takes note of what a client's handshake met at an upstream, since it `began` with that one.
    /// `kind` is `None` for what was not the upstream's doing.
    pub(crate) fn note(&self, lease: &Lease, kind: Option<HealthEventKind>, began: Instant) {
        let Some(kind) = kind else { return };
        if let HealthEventKind::Accepted { latency } = kind {
            lease.member().sample_latency(latency);
        }
        let event = HealthEvent::new(Instant::now(), kind).started_at(began);
        self.state.observe(lease.member(), &event);
    }
}

impl Lease {
    /// Takes note of how the tunnel ended.
    pub(crate) fn note_end(&self, report: &TunnelReport) {
        if let Some(kind) = HealthEventKind::of_report(report) {
            let event = HealthEvent::new(Instant::now(), kind);
            self.pool().observe(self.member(), &event);
        }
    }
}

impl State {
    pub(super) fn health(&self) -> Arc<HealthSettings> {
        Arc::clone(&self.health.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the settings of health, which changes nothing that is already known.
    pub(super) fn set_health(&self, change: impl FnOnce(&mut HealthSettings), now: Instant) {
        self.change_health(change);
        self.refresh(now);
        self.bell.reschedule();
    }

    /// Changes the settings of health so that everybody's has to begin anew.
    pub(super) fn renew_health(&self, change: impl FnOnce(&mut HealthSettings), now: Instant) {
        self.change_health(change);
        let health = self.health();
        let renew = |member: &Arc<Member>| {
            member.with_watch(|watch| {
                if let Some(watch) = watch {
                    // The times stay, as a probe may be under way.
                    watch.times.hasten(now);
                    watch.standing = health.new_standing(now);
                    watch.last_probe = None;
                }
            });
        };
        self.refresh_after(renew, now);
        self.bell.reschedule();
    }

    fn change_health(&self, change: impl FnOnce(&mut HealthSettings)) {
        let mut health = self.health.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut health));
    }

    /// Shows what is known of an upstream's health.
    pub(super) fn watching<T>(
        &self,
        member: &Member,
        now: Instant,
        act: impl FnOnce(&mut Watch, &HealthSettings) -> T,
    ) -> T {
        member.with_watch(|watch| {
            // Read under the member's lock, so that who changes the settings finds every watch
            // that was made by the old ones.
            let health = self.health();
            let watch = watch.get_or_insert_with(|| health.new_watch(now));
            act(watch, &health)
        })
    }

    /// Takes an event in.
    pub(super) fn observe(&self, member: &Arc<Member>, event: &HealthEvent) {
        let has_moved = self.watching(member, event.began, |watch, health| {
            count(watch, health, event);
            self.step(member, watch, health, event.at, |watch, dice| {
                watch.standing.observe(event, dice)
            })
        });
        if has_moved {
            self.refresh(event.at);
        }
    }

    /// The roster, after everything that changes by itself has changed.
    pub(super) fn fresh_roster(&self, now: Instant) -> Arc<Roster> {
        if self.alarm.has_rung(now) {
            let rearm = Rearm(self, now);
            for member in self.roster().members().iter() {
                self.watching(member, now, |watch, health| {
                    let tick = |watch: &mut Watch, dice| watch.standing.tick(now, dice);
                    self.step(member, watch, health, now, tick)
                });
            }
            self.compare(now);
            self.refresh(now);
            std::mem::forget(rearm);
        }
        self.roster()
    }

    /// Moves an upstream's standing on, and sees to what follows; whether it is another one now.
    /// To be called under the member's lock, and followed by [`refresh`](Self::refresh) if so.
    pub(super) fn step(
        &self,
        member: &Arc<Member>,
        watch: &mut Watch,
        health: &HealthSettings,
        now: Instant,
        act: impl FnOnce(&mut Watch, f64) -> Option<Transition>,
    ) -> bool {
        let dice = fastrand::f64();
        let was_usable = watch.standing.state().is_usable();
        let transition = act(watch, dice);
        if let Some(at) = watch.standing.changes_at() {
            if self.alarm.set(at) {
                self.bell.ring();
            }
        }
        let Some(transition) = transition else {
            return false;
        };
        let after = watch.standing.state();
        watch.times.reschedule(&health.schedule, after, now, dice);
        self.bell.reschedule();
        if let (Some(slow_start), false, true) = (health.slow_start, was_usable, after.is_usable())
        {
            member.ramp_up(now, slow_start);
        }
        let why: Arc<str> = match &transition {
            Transition::Unhealthy { cause, .. } => Arc::clone(cause),
            Transition::HalfOpen => "its ejection is over".into(),
            Transition::Healthy if was_usable => "it passed its trial".into(),
            Transition::Healthy => "its probes pass again".into(),
        };
        let change = Change::Health { transition, why };
        self.news.push(member.shared_name(), change);
        true
    }

    /// Works out who may be picked; and who was picked until now, and is a member still, but is
    /// unhealthy now. To be called by whoever edits.
    pub(super) fn roster_of(
        &self,
        members: Arc<[Arc<Member>]>,
        now: Instant,
    ) -> (Roster, Vec<Arc<Member>>) {
        let open = self.open_rows(&members, now);
        let rows: Vec<_> = open.iter().map(|(_, row)| *row).collect();
        let admitted = self.health().availability().admit(&rows);
        let usable: Vec<_> = admitted
            .iter()
            .filter_map(|index| open.get(index).map(|(member, _)| Arc::clone(member)))
            .collect();
        let mut lost = Vec::new();
        let mut used = usable.iter().peekable();
        for member in members.iter() {
            let is_used = used.next_if(|used| Arc::ptr_eq(used, member)).is_some();
            if member.set_used(is_used) && !is_used && member.is_open() {
                lost.push(Arc::clone(member));
            }
        }
        self.schedule_comparison(now);
        (Roster::new(members, usable), lost)
    }

    /// The members that may get tunnels at all, with their health.
    pub(super) fn open_rows(
        &self,
        members: &[Arc<Member>],
        now: Instant,
    ) -> Vec<(Arc<Member>, UpstreamHealth)> {
        let mut rows = Vec::with_capacity(members.len());
        for member in members {
            let row = self.watching(member, now, |watch, _| {
                if let Some(at) = watch.standing.changes_at() {
                    self.alarm.set(at);
                }
                match watch.standing.state() {
                    HealthState::Unhealthy { since, .. } => UpstreamHealth::unhealthy(*since),
                    _ => UpstreamHealth::healthy(),
                }
            });
            if member.is_open() {
                rows.push((Arc::clone(member), row.weight(member.weight())));
            }
        }
        rows
    }

    /// Sees to what follows from a new roster, once no lock is held: the tunnels of those who may
    /// be picked no more, and telling of it.
    pub(super) fn settle(&self, lost: &[Arc<Member>]) {
        let choice = self.health().unhealthy_tunnels;
        for member in lost {
            self.lose_tunnels(member, choice, "upstream unhealthy");
        }
        self.news.tell();
    }
}

/// Counts an event for the comparison with the others. One that the standing passes over tells
/// of the time before it was left out.
fn count(watch: &mut Watch, health: &HealthSettings, event: &HealthEvent) {
    if let Some(policy) = &health.outliers {
        if watch.standing.is_usable_since(event.began) {
            watch.tally.count(&policy.signals(), &event.kind);
        }
    }
}

/// Sees to it that what a panic in a user's policy has left undone is done later.
struct Rearm<'a>(&'a State, Instant);

impl Drop for Rearm<'_> {
    fn drop(&mut self) {
        self.0.alarm.set(self.1 + Duration::from_secs(1));
    }
}
