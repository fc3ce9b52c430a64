//! What is learned of the upstreams, and who may be picked for it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    health::{HealthEvent, HealthEventKind, HealthRow, HealthState, Standing, Transition},
    report::TunnelReport,
    upstream::Member,
};

use super::{handle::Pool, lease::Lease, roster::Roster, settings::LostTunnels};

/// An upstream of a pool as it stands at one moment; see [`Pool::snapshot`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// Its name.
    pub name: Arc<str>,
    /// What it is taken for, since when, and why.
    pub health: HealthState,
    /// Tunnels open to it, those included that are still shaking hands, and forwarded requests
    /// under way.
    pub tunnels: usize,
    /// Handshakes with it that are under way.
    pub handshakes: usize,
    /// Smoothed time of its handshakes and of the pings to it.
    pub latency: Option<Duration>,
    /// What its last probe told.
    pub last_probe: Option<HealthEvent>,
}

impl Pool {
    /// Every upstream with its health and figures at this moment, in the pool's order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<UpstreamStatus> {
        let now = Instant::now();
        let roster = self.fresh_roster(now);
        let status = |member: &Arc<Member>| {
            let watch = member.watch(|| self.settings.health.new_watch(now));
            UpstreamStatus {
                name: member.shared_name(),
                health: watch.standing.state().clone(),
                tunnels: member.tunnels(),
                handshakes: member.handshakes(),
                latency: member.latency(),
                last_probe: watch.last_probe.clone(),
            }
        };
        roster.members().iter().map(status).collect()
    }

    /// Takes note of what a client's handshake met at an upstream, since it `began` with that one.
    /// `kind` is `None` for what was not the upstream's doing.
    pub(crate) fn note(&self, lease: &Lease, kind: Option<HealthEventKind>, began: Instant) {
        let Some(kind) = kind else { return };
        if let HealthEventKind::Accepted { latency } = kind {
            lease.member().sample_latency(latency);
        }
        let event = HealthEvent::new(Instant::now(), kind).begun(began);
        self.observe(lease.member(), &event);
    }

    /// Takes note of how a tunnel ended.
    pub(crate) fn note_end(&self, lease: &Lease, report: &TunnelReport) {
        if let Some(rtt) = report.upstream_rtt {
            lease.member().sample_latency(rtt.smoothed());
        }
        if let Some(kind) = HealthEventKind::of_report(report) {
            let event = HealthEvent::new(Instant::now(), kind);
            self.observe(lease.member(), &event);
        }
    }

    pub(super) fn observe(&self, member: &Arc<Member>, event: &HealthEvent) {
        let health = &self.settings.health;
        let transition = {
            let mut watch = member.watch(|| health.new_watch(event.began));
            let dice = fastrand::f64();
            let transition = watch.standing.observe(event, dice);
            if transition.is_some() {
                let state = watch.standing.state().clone();
                watch
                    .times
                    .reschedule(&health.schedule, &state, event.at, dice);
            }
            transition
        };
        if let Some(transition) = transition {
            self.refresh();
            self.tell(member, &transition, event.at);
        }
    }

    /// The roster, after everyone's health that changes by itself has changed.
    pub(super) fn fresh_roster(&self, now: Instant) -> Arc<Roster> {
        let roster = self.state.roster();
        if !roster.is_stale(now) {
            return roster;
        }
        let mut transitions = Vec::new();
        for member in roster.members().iter() {
            let Some(mut watch) = member.known_watch() else {
                continue;
            };
            if let Some(transition) = watch.standing.tick(now, fastrand::f64()) {
                transitions.push((Arc::clone(member), transition));
            }
        }
        self.refresh();
        for (member, transition) in transitions {
            self.tell(&member, &transition, now);
        }
        self.state.roster()
    }

    /// Works out anew who may be picked.
    fn refresh(&self) {
        self.state.refresh(|members| self.roster_of(members));
    }

    pub(super) fn roster_of(&self, members: Arc<[Arc<Member>]>) -> Roster {
        let mut changes_at: Option<Instant> = None;
        let mut rows = Vec::with_capacity(members.len());
        for member in members.iter() {
            // Nothing is known yet of one that is new, and it counts as healthy.
            let watch = member.known_watch();
            let standing = watch.as_ref().map(|watch| &watch.standing);
            let row = match standing.map(Standing::state) {
                Some(HealthState::Unhealthy { since, .. }) => HealthRow::unhealthy(*since),
                _ => HealthRow::healthy(),
            };
            rows.push(row.weight(member.weight()));
            if let Some(at) = standing.and_then(Standing::changes_at) {
                changes_at = Some(changes_at.map_or(at, |earliest| earliest.min(at)));
            }
        }
        let admitted = self.settings.health.availability().admit(&rows);
        let usable = admitted
            .iter()
            .filter_map(|index| members.get(index).cloned())
            .collect();
        Roster::new(members, usable, changes_at)
    }

    /// Acts on a change of health, and tells of it.
    fn tell(&self, member: &Arc<Member>, transition: &Transition, now: Instant) {
        let health = &self.settings.health;
        let upstream = member.upstream().name();
        match transition {
            Transition::Unhealthy { cause, .. } => {
                tracing::warn!(upstream, %cause, "upstream unhealthy");
                if let LostTunnels::Close { spread } = health.unhealthy_tunnels {
                    self.close_tunnels(member, spread, "upstream unhealthy");
                }
            }
            Transition::Healthy => tracing::info!(upstream, "upstream healthy"),
            Transition::OnTrial => tracing::info!(upstream, "upstream on trial"),
        }
        if let (Some(slow_start), Transition::Healthy | Transition::OnTrial) =
            (health.slow_start, transition)
        {
            member.ramp_up(now, slow_start);
        }
        for observer in self.state.observers() {
            observer.health_changed(upstream, transition);
        }
    }
}
