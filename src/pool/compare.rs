//! Comparing the upstreams with one another.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    instant::{FAR, saturating_add},
    upstream::health::{EventCounts, Outlier, UpstreamHealth},
    upstream::{Member, Watch},
};

use super::{roster::Roster, settings::HealthSettings, state::State, state::lock};

/// Policies that want to compare more often are not believed.
const SHORTEST: Duration = Duration::from_millis(1);

impl State {
    /// Compares the upstreams, if it is time, and ejects those that do worse than the others.
    ///
    /// None is ejected that the pool's availability would use nevertheless, nor the last healthy
    /// one: doing worse than others is no reason to fail clients.
    pub(super) fn compare(&self, now: Instant) {
        let health = self.health();
        let Some(policy) = &health.outliers else {
            return;
        };
        if !self.is_time_to_compare(now) {
            return;
        }
        let roster = self.roster();
        let take = |watch: &mut Watch, _: &HealthSettings| std::mem::take(&mut watch.tally);
        let tallies: Vec<EventCounts> = roster
            .members()
            .iter()
            .map(|member| self.watching(member, now, take))
            .collect();
        for Outlier { index, cause, .. } in policy.outliers(&tallies) {
            let Some(member) = roster.members().get(index) else {
                continue;
            };
            if !self.can_do_without(&roster, member, &health, now) {
                tracing::debug!(
                    upstream = member.upstream().name(),
                    cause,
                    "outlier kept in use"
                );
                continue;
            }
            self.watching(member, now, |watch, health| {
                self.step(member, watch, health, now, |watch, dice| {
                    watch.standing.eject(&cause, now, dice)
                })
            });
        }
    }

    /// Sees to it that there is a comparison, if there is a policy for it.
    pub(super) fn schedule_comparison(&self, now: Instant) {
        if let Some(interval) = self.comparison_interval() {
            let next = *lock(&self.comparison).get_or_insert_with(|| saturating_add(now, interval));
            self.alarm.set(next);
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
        let interval = self.health().outliers.as_ref()?.interval();
        Some(interval.clamp(SHORTEST, FAR))
    }

    /// Whether clients would be served without this one.
    fn can_do_without(
        &self,
        roster: &Roster,
        unwanted: &Arc<Member>,
        health: &HealthSettings,
        now: Instant,
    ) -> bool {
        let open = self.open_rows(roster.members(), now);
        let Some(index) = open
            .iter()
            .position(|(member, _)| Arc::ptr_eq(member, unwanted))
        else {
            return true;
        };
        let mut rows: Vec<_> = open.into_iter().map(|(_, row)| row).collect();
        if let Some(row) = rows.get_mut(index).filter(|row| row.is_healthy()) {
            *row = UpstreamHealth::unhealthy(now).weight(row.weight);
        }
        rows.iter().any(UpstreamHealth::is_healthy)
            && !health.availability().admit(&rows).contains(index)
    }
}
