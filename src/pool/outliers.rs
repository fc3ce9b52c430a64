//! Outlier detection: compares the upstreams of a pool with one another.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    escaped::Escaped,
    instant::{FAR, saturating_add},
    lock::lock,
    upstream::health::{EventCounts, Outlier, UpstreamHealth},
    upstream::{Member, MemberHealth},
};

use super::{member_set::MemberSet, settings::HealthSettings, state::PoolState};

/// Lower bound of an outlier policy's interval.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

impl PoolState {
    /// Compares the upstreams if a comparison is due, and ejects the outliers; returns whether there
    /// were any.
    ///
    /// An upstream that the pool's availability policy would use nevertheless is not ejected, nor
    /// is the last healthy one: an outlier is better than a failed client.
    pub(super) fn eject_outliers(&self, now: Instant) -> bool {
        let settings = self.health_settings();
        let Some(policy) = &settings.outliers else {
            return false;
        };
        if !self.is_time_to_compare(now) {
            return false;
        }
        let mut has_ejected = false;
        let set = self.member_set();
        let take = |health: &mut MemberHealth, _: &HealthSettings| {
            std::mem::take(&mut health.event_counts)
        };
        let counts: Vec<EventCounts> = set
            .members()
            .iter()
            .map(|member| self.with_member_health(member, now, take))
            .collect();
        for Outlier { index, cause, .. } in policy.outliers(&counts) {
            let Some(member) = set.members().get(index) else {
                continue;
            };
            if !self.can_do_without(&set, member, settings, now) {
                tracing::debug!(
                    upstream = %Escaped(member.upstream().name()),
                    cause = %Escaped(&cause),
                    "outlier kept in use"
                );
                continue;
            }
            has_ejected |= self.with_member_health(member, now, |health, settings| {
                self.step(member, health, settings, now, |health, random| {
                    health.tracker.eject(&cause, now, random)
                })
            });
        }
        has_ejected
    }

    /// Schedules the first comparison, if there is an outlier policy.
    pub(super) fn schedule_comparison(&self, now: Instant) {
        if let Some(interval) = self.comparison_interval() {
            let next = *lock(&self.comparison).get_or_insert_with(|| saturating_add(now, interval));
            self.next_change.bring_forward(next);
        }
    }

    fn is_time_to_compare(&self, now: Instant) -> bool {
        let Some(interval) = self.comparison_interval() else {
            return false;
        };
        let mut next = lock(&self.comparison);
        let is_time = next.is_some_and(|next| next <= now);
        if is_time {
            *next = Some(saturating_add(now, interval));
        }
        is_time
    }

    fn comparison_interval(&self) -> Option<Duration> {
        let interval = self.health_settings().outliers.as_ref()?.interval();
        Some(interval.clamp(MIN_INTERVAL, FAR))
    }

    /// Whether clients would be served without this upstream.
    fn can_do_without(
        &self,
        set: &MemberSet,
        unwanted: &Arc<Member>,
        settings: &HealthSettings,
        now: Instant,
    ) -> bool {
        let open = self.open_members(set.members(), now);
        let Some(index) = open
            .iter()
            .position(|(member, _)| Arc::ptr_eq(member, unwanted))
        else {
            return true;
        };
        let mut healths: Vec<_> = open.into_iter().map(|(_, health)| health).collect();
        if let Some(health) = healths.get_mut(index).filter(|health| health.is_healthy()) {
            *health = UpstreamHealth::unhealthy(now).weight(health.weight);
        }
        healths.iter().any(UpstreamHealth::is_healthy)
            && !settings.availability().admit(&healths).contains(index)
    }
}
