//! The health of a pool's members at one moment, as availability policies see it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    task::{catch_panic, log_policy_panic},
    upstream::health::{EjectedBy, availability::UpstreamHealth},
    upstream::{CountedHealth, Member, MemberHealth},
};

use super::{settings::HealthSettings, state::PoolState};

/// Health of a member at one moment.
pub(super) struct MemberState<'a> {
    member: &'a Arc<Member>,
    pub(super) unhealthy_since: Option<Instant>,
    pub(super) ejected_by: EjectedBy,
}

impl<'a> MemberState<'a> {
    pub(super) const fn member(&self) -> &'a Arc<Member> {
        self.member
    }

    fn new(member: &'a Arc<Member>, health: CountedHealth) -> Self {
        Self {
            member,
            unhealthy_since: health.unhealthy_since,
            ejected_by: health.ejected_by,
        }
    }

    /// Returns the input of an availability policy.
    pub(super) fn as_input(&self) -> UpstreamHealth<'a> {
        let health = match self.unhealthy_since {
            Some(since) => UpstreamHealth::unhealthy(since).by(self.ejected_by),
            None => UpstreamHealth::healthy(),
        };
        let health = health
            .name(self.member.upstream().name())
            .weight(self.member.weight());
        match self.member.draining_since() {
            Some(_) => health.draining(),
            None => health,
        }
    }
}

impl PoolState {
    /// Runs `act` on an upstream's health.
    pub(super) fn with_member_health<T>(
        &self,
        member: &Member,
        now: Instant,
        act: impl FnOnce(&mut MemberHealth, &HealthSettings) -> T,
    ) -> T {
        member.with_health(|health| {
            let settings = self.health_settings();
            let health = health
                .get_or_insert_with(|| settings.new_member_health(&member.upstream().view(), now));
            act(health, settings)
        })
    }

    /// Returns the health of all members, in the pool's order.
    pub(super) fn health_of<'a>(
        &self,
        members: &'a [Arc<Member>],
        now: Instant,
    ) -> Vec<MemberState<'a>> {
        let health = |member: &'a Arc<Member>| {
            let counted = self.with_member_health(member, now, |health, _| {
                if catch_panic(|| self.schedule_look(member, health)).is_err() {
                    log_policy_panic();
                }
                let counted = CountedHealth::of(health);
                health.counted = Some(counted);
                counted
            });
            MemberState::new(member, counted)
        };
        members.iter().map(health).collect()
    }

    /// Returns the health of a member as it was counted before, and as it is from now on.
    pub(super) fn count_anew<'a>(
        &self,
        member: &'a Arc<Member>,
        now: Instant,
    ) -> (Option<MemberState<'a>>, MemberState<'a>) {
        let (before, after) = self.with_member_health(member, now, |health, _| {
            let after = CountedHealth::of(health);
            (health.counted.replace(after), after)
        });
        let state = |counted| MemberState::new(member, counted);
        (before.map(state), state(after))
    }
}
