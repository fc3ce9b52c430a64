//! Outlier detection: compares the upstreams of a pool with one another.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    escaped::Escaped,
    instant::{FAR, saturating_add},
    lock::lock,
    task::{catch_panic, log_policy_panic},
    upstream::health::{
        EjectedBy,
        availability::UpstreamHealth,
        outlier::{EventCounts, Outlier},
    },
    upstream::{Member, MemberHealth},
};

use super::{
    member_set::MemberSet, refresh::MemberState, settings::HealthSettings, state::PoolState,
};

/// Longest time until the interval of an outlier policy is read again, as it may change.
const MAX_UNREAD: Duration = Duration::from_secs(60);

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

    /// Schedules the next comparison, if there is an outlier policy; returns whether it is earlier
    /// than all other changes. Its interval may change, so it is read again with each event, and once a
    /// minute without.
    pub(super) fn schedule_comparison(&self, now: Instant) -> bool {
        let Some(interval) = self.comparison_interval() else {
            return false;
        };
        let last = *lock(&self.last_comparison).get_or_insert(now);
        let at = saturating_add(last, interval).min(saturating_add(now, MAX_UNREAD));
        self.next_change.bring_forward(at)
    }

    fn is_time_to_compare(&self, now: Instant) -> bool {
        let Some(interval) = self.comparison_interval() else {
            return false;
        };
        let mut last = lock(&self.last_comparison);
        let is_time = last.is_some_and(|last| saturating_add(last, interval) <= now);
        if is_time {
            *last = Some(now);
        }
        is_time
    }

    fn comparison_interval(&self) -> Option<Duration> {
        let policy = self.health_settings().outliers.as_ref()?;
        let interval = catch_panic(|| policy.interval()).unwrap_or_else(|_| {
            log_policy_panic();
            MAX_UNREAD
        });
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
        let Some(index) = set
            .members()
            .iter()
            .position(|member| Arc::ptr_eq(member, unwanted))
            .filter(|_| unwanted.is_open())
        else {
            return true;
        };
        let mut states = self.health_of(set.members(), now);
        if let Some(state) = states.get_mut(index) {
            state.unhealthy_since.get_or_insert(now);
            state.ejected_by = EjectedBy::Clients;
        }
        let healths: Vec<_> = states.iter().map(MemberState::as_input).collect();
        let is_serving = |health: &&UpstreamHealth<'_>| {
            health.is_healthy() && health.weight > 0 && !health.is_draining
        };
        healths.iter().any(|health| is_serving(&health))
            && !settings.availability().admit(&healths).contains(index)
    }
}
