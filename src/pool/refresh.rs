//! Refresh of a pool's member set after changes of health: decides which members are in use.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    instant::saturating_add,
    lock::lock,
    task::{catch_panic, log_policy_panic},
    tunnel::registry::Revocable,
    upstream::health::{
        EjectedBy,
        availability::{Admitted, Availability, HealthCounts, Standard, UpstreamHealth},
    },
    upstream::{CountedHealth, Member, MemberHealth},
};

use super::{
    member_set::MemberSet,
    settings::{HealthEffect, OnUpstreamLoss},
    state::{Edits, PoolState},
};

/// Number of times that a policy is called again because the pool has changed meanwhile.
const MAX_TURNS: usize = 8;

/// Time until a policy that has panicked is called again.
const PANIC_DELAY: Duration = Duration::from_secs(1);

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
    /// Applies the changes of health at the next pick, so that many changes are one; or now, if
    /// tunnels are to be closed.
    pub(super) fn refresh_later(&self, now: Instant) {
        if self.health_settings().unhealthy_tunnels != OnUpstreamLoss::Leave {
            return self.apply_changes(now);
        }
        self.is_stale.store(true, Ordering::Release);
        self.queue().call();
        self.waker.wake();
        self.notifier.notify();
    }

    /// Applies the changes of health since the member set was created.
    ///
    /// While the healthy members are those in use, before and after, it looks only at the members
    /// that have changed.
    pub(super) fn apply_changes(&self, now: Instant) {
        if self.needs_refresh.swap(false, Ordering::AcqRel) {
            return self.refresh(now);
        }
        let mut edits = self.edits.lock();
        let changed = mem::take(&mut *lock(&self.changed));
        let lost = self.install_changed(&changed, &mut edits, now);
        drop(edits);
        self.apply_losses(&lost);
        self.settle(now);
    }

    fn install_changed(
        &self,
        changed: &[Arc<Member>],
        edits: &mut Edits,
        now: Instant,
    ) -> Vec<Arc<Member>> {
        let set = self.member_set();
        let mut changes = Vec::with_capacity(changed.len());
        for member in changed {
            // One that is drained, has no weight or has left is in use neither before nor after.
            let Some(member) = set.open_member(member) else {
                continue;
            };
            let (before, after) = self.count_anew(member, now);
            if let Some(before) = before {
                edits.counts.remove(&before.as_input());
            }
            edits.counts.add(&after.as_input());
            changes.push(after);
        }
        let was_plain = edits.is_plain && edits.settled == edits.version;
        if !was_plain || !self.is_plain(&edits.counts) {
            return self.install(set.members(), edits, now);
        }
        edits.version += 1;
        edits.settled = edits.version;
        let mut lost = Vec::new();
        let mut members = Vec::with_capacity(changes.len());
        for change in changes {
            let member = change.member();
            set_used(member, change.unhealthy_since.is_none(), &mut lost);
            members.push(Arc::clone(member));
        }
        self.publish(set.with_changed_use(&members, edits.counts.has_last_resort()));
        self.schedule_comparison(now);
        lost
    }

    /// Installs these members; returns those that are no longer in use because of their health.
    ///
    /// If a policy of the host decides which members are in use, none but those in use so far are
    /// until [`settle`](Self::settle) has called it.
    pub(super) fn install(
        &self,
        members: &Arc<[Arc<Member>]>,
        edits: &mut Edits,
        now: Instant,
    ) -> Vec<Arc<Member>> {
        let states = self.count_all(members, now);
        let healths: Vec<_> = states.iter().map(MemberState::as_input).collect();
        edits.version += 1;
        edits.counts = HealthCounts::of(&healths);
        edits.is_plain = self.is_plain(&edits.counts);
        let settings = self.health_settings();
        let admitted = match (settings.effect, &settings.availability) {
            (HealthEffect::ReportOnly, _) => Some(Admitted::all(&healths)),
            (HealthEffect::Eject, _) if edits.is_plain => Some(Admitted::healthy(&healths)),
            (HealthEffect::Eject, None) => Some(Standard.admit(&healths)),
            (HealthEffect::Eject, Some(_)) => None,
        };
        let lost = match admitted {
            Some(admitted) => use_admitted(members, &admitted, edits),
            None => Vec::new(),
        };
        for member in members.iter().filter(|member| !member.is_open()) {
            member.set_used(false);
        }
        self.publish_members(Arc::clone(members), edits, now);
        lost
    }

    /// Lets the host's availability policy decide which members are in use, if that is to be decided.
    ///
    /// No lock of the pool is held over the policy. While it runs, in this thread or in another,
    /// changes of the pool do not wait for it: it is called again after them.
    pub(super) fn settle(&self, now: Instant) {
        let mut turns = 0..MAX_TURNS;
        let is_turn = || self.unsettled().is_some() && turns.next().is_some();
        self.admitting.act_while(is_turn, || self.call_policy(now));
        if turns.is_empty() && self.unsettled().is_some() {
            // The policy goes on changing the pool that it decides about.
            self.needs_refresh.store(true, Ordering::Release);
            self.is_stale.store(true, Ordering::Release);
        }
    }

    fn call_policy(&self, now: Instant) {
        let Some((version, set)) = self.unsettled() else {
            return;
        };
        let states = self.health_of(set.members(), now);
        let healths: Vec<_> = states.iter().map(MemberState::as_input).collect();
        let policy = self.health_settings().availability();
        let admitted = catch_panic(|| policy.admit(&healths)).unwrap_or_else(|_| {
            log_policy_panic();
            self.refresh_by(saturating_add(now, PANIC_DELAY));
            Admitted::healthy(&healths)
        });
        let mut edits = self.edits.lock();
        if edits.version != version {
            return;
        }
        let lost = use_admitted(set.members(), &admitted, &mut edits);
        self.publish_members(Arc::clone(set.members()), &edits, now);
        drop(edits);
        self.apply_losses(&lost);
    }

    fn unsettled(&self) -> Option<(u64, Arc<MemberSet>)> {
        let edits = self.edits.lock();
        (edits.settled != edits.version).then(|| (edits.version, self.member_set()))
    }

    /// Returns the health of all members, in the pool's order.
    pub(super) fn health_of<'a>(
        &self,
        members: &'a [Arc<Member>],
        now: Instant,
    ) -> Vec<MemberState<'a>> {
        self.each_health(members, now, |_, _| ())
    }

    /// Returns the health of all members, in the pool's order, as it is counted from now on. The lock of the
    /// edits is held, whose counts are to be made of it.
    fn count_all<'a>(&self, members: &'a [Arc<Member>], now: Instant) -> Vec<MemberState<'a>> {
        self.each_health(members, now, |health, counted| {
            health.counted = Some(counted);
        })
    }

    fn each_health<'a>(
        &self,
        members: &'a [Arc<Member>],
        now: Instant,
        note: impl Fn(&mut MemberHealth, CountedHealth),
    ) -> Vec<MemberState<'a>> {
        let health = |member: &'a Arc<Member>| {
            let counted = self.with_member_health(member, now, |health, _| {
                if catch_panic(|| self.schedule_look(member, health)).is_err() {
                    log_policy_panic();
                }
                let counted = CountedHealth::of(health);
                note(health, counted);
                counted
            });
            MemberState::new(member, counted)
        };
        members.iter().map(health).collect()
    }

    /// Returns the health of a member as it was counted before, and as it is from now on. The lock of the
    /// edits is held.
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

    fn is_plain(&self, counts: &HealthCounts) -> bool {
        let settings = self.health_settings();
        let uses_the_healthy = || settings.availability().uses_the_healthy(counts);
        settings.effect == HealthEffect::Eject
            && catch_panic(uses_the_healthy).unwrap_or_else(|_| {
                log_policy_panic();
                false
            })
    }

    /// Brings the next refresh, which determines the members in use, forward to this time.
    fn refresh_by(&self, at: Instant) {
        self.needs_refresh.store(true, Ordering::Release);
        if self.next_change.bring_forward(at) {
            self.waker.wake();
        }
    }

    fn publish_members(&self, members: Arc<[Arc<Member>]>, edits: &Edits, now: Instant) {
        self.schedule_comparison(now);
        self.publish(MemberSet::new(members, edits.counts.has_last_resort()));
        // Counts may have changed since they were read for the index.
        self.member_set().update_all_rooms();
    }

    /// Applies the consequences of a new member set, without a lock held: closes the tunnels of
    /// members that became unhealthy, and notifies observers.
    pub(super) fn apply_losses(&self, lost: &[Arc<Member>]) {
        let choice = self.health_settings().unhealthy_tunnels;
        for member in lost {
            self.close_tunnels(
                member,
                choice,
                "upstream unhealthy",
                Revocable::ByNextUpstream,
            );
        }
        self.notifier.notify();
    }
}

/// Puts the admitted members to use; returns those that are no longer in use, though open.
fn use_admitted(
    members: &[Arc<Member>],
    admitted: &Admitted,
    edits: &mut Edits,
) -> Vec<Arc<Member>> {
    let mut lost = Vec::new();
    for (index, member) in members.iter().enumerate() {
        set_used(member, admitted.contains(index), &mut lost);
    }
    edits.settled = edits.version;
    lost
}

fn set_used(member: &Arc<Member>, is_admitted: bool, lost: &mut Vec<Arc<Member>>) {
    let is_open = member.is_open();
    let is_used = is_admitted && is_open;
    if member.set_used(is_used) && !is_used && is_open {
        lost.push(Arc::clone(member));
    }
}
