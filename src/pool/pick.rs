//! Lease of an upstream, by the limits, the queue, and the balancing policy.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    http::head::RequestHead,
    instant::saturating_add,
    observe::QueueWait,
    task::catch_panic,
    upstream::Member,
    upstream::admission::{AdmissionKind, LimitReached},
    upstream::balance::{Balance, CandidateList, Candidates, Preference},
    upstream::health::EventOrigin,
};

use super::{
    admission_guard::AdmissionGuard,
    handle::Pool,
    lease::Lease,
    member_set::MemberSet,
    queue::{GroupKey, RefusalScope},
    refusal::{Refusal, limited},
};

/// Number of times that another client may take the last place of the upstream that was picked.
const MAX_RACES: usize = 8;

/// Request for a lease.
#[derive(Clone, Copy)]
struct LeaseRequest<'a, 'h> {
    kind: AdmissionKind,
    head: &'a RequestHead<'h>,
    /// Upstreams that were tried already.
    tried: &'a [Arc<Member>],
    now: Instant,
}

/// Result of one call of the policy.
enum Picked {
    Lease(Lease),
    None,
    /// The policy panicked.
    Panicked,
    /// The limit of the picked upstream was reached.
    LimitReached(Arc<Member>, LimitReached),
}

/// The policy has panicked.
struct PolicyPanicked;

impl Pool {
    /// Leases an upstream that is not among `tried`, after waiting in the queue if necessary.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoUpstream`], or the limit that was reached.
    pub(crate) async fn lease(
        &self,
        kind: AdmissionKind,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
    ) -> Result<Lease, Error> {
        let permit = match &self.gate {
            Some(gate) => Some(
                gate.pass(kind, |waited, error| {
                    self.report_wait(&QueueWait::new(self.name(), waited, error));
                })
                .await?,
            ),
            None => None,
        };
        let request = LeaseRequest {
            kind,
            head,
            tried,
            now: Instant::now(),
        };
        let lease = match kind {
            AdmissionKind::Tunnel => self.lease_tunnel(request).await?,
            AdmissionKind::Exchange => self.lease_exchange(request)?,
        };
        Ok(lease.with_permit(permit))
    }

    /// Requests do not wait; nor do they overtake waiters for a tunnel.
    fn lease_exchange(&self, request: LeaseRequest<'_, '_>) -> Result<Lease, Error> {
        let queue = self.state.queue();
        let waits = || queue.waits_for(ErrorKind::TooManyTunnels, &self.group(request));
        if !queue.is_empty() && waits() {
            return Err(Error::new(ErrorKind::TooManyTunnels));
        }
        self.try_lease(request).map_err(|refusal| match refusal {
            Refusal::None => Error::new(ErrorKind::NoUpstream),
            Refusal::LimitReached(limited) => Error::new(limited.limit.kind),
        })
    }

    async fn lease_tunnel(&self, request: LeaseRequest<'_, '_>) -> Result<Lease, Error> {
        let queue = self.state.queue();
        let mut refused = None;
        if queue.is_empty() || queue.admits(&self.group(request)) {
            match self.try_lease(request) {
                Ok(lease) => return Ok(lease),
                Err(Refusal::None) => {
                    // Room that this try took and returned may have kept a waiter from its lease.
                    queue.call();
                    return Err(Error::new(ErrorKind::NoUpstream));
                }
                Err(Refusal::LimitReached(limited)) => refused = Some(limited.refused()),
            }
        }
        let limits = self.state.settings().queue;
        let ticket = queue
            .join(self.group(request), limits.max_waiters, refused)
            .map_err(Error::new)?;
        let deadline = saturating_add(request.now, limits.max_wait);
        let attempt = |now| {
            self.try_lease(LeaseRequest { now, ..request })
                .map_err(Refusal::queued)
        };
        let leased = ticket.in_turn(deadline, attempt).await;
        let leased = leased.map_err(Error::new);
        // Before the observers see the wait, so that they find the queue without it.
        drop(ticket);
        self.report_wait(&QueueWait::new(
            self.name(),
            request.now.elapsed(),
            leased.as_ref().err().map(Error::kind),
        ));
        leased
    }

    fn report_wait(&self, wait: &QueueWait<'_>) {
        for observer in self.state.notifier.observers() {
            if catch_panic(|| observer.handshake_queued(wait)).is_err() {
                tracing::error!("an observer panicked");
            }
        }
    }

    /// Returns the group in which the request would wait.
    fn group(&self, request: LeaseRequest<'_, '_>) -> GroupKey {
        let tried = request.tried.iter().map(|member| member.shared_name());
        let declared =
            catch_panic(|| self.balance.queue_group(request.head)).unwrap_or_else(|_| {
                tracing::error!(policy = ?self.balance, "a load-balancing policy panicked");
                None
            });
        GroupKey::new(self.balance.id(), declared, tried)
    }

    /// Whether there is a usable upstream that is not among `tried`.
    pub(crate) fn has_other(&self, tried: &[Arc<Member>], now: Instant) -> bool {
        let set = self.state.current_members(now);
        set.lists().any(|list| list.skipped(tried).is_some())
            || !self.last_resort(&set, tried).is_empty()
    }

    fn try_lease(&self, request: LeaseRequest<'_, '_>) -> Result<Lease, Refusal> {
        // Before the member set is read.
        let close_orders = self.state.close_orders();
        let guard = AdmissionGuard::enter(&self.state, request.kind, request.now)?;
        let lease = self.pick(request)?;
        guard.hand_over();
        Ok(lease.after_orders(close_orders))
    }

    /// Calls the policy, and again without upstreams whose limit was reached.
    fn pick(&self, request: LeaseRequest<'_, '_>) -> Result<Lease, Refusal> {
        let set = self.state.current_members(request.now);
        let mut picked = self.pick_from(&set, request);
        if let Err(Refusal::LimitReached(limited)) = &mut picked {
            // A recovery of another upstream is worth a try, too.
            let healthier = LimitReached {
                retry_at: self.state.next_change.at(),
                ..limited.limit
            };
            limited.limit = limited.limit.and(healthier);
            if !request.tried.is_empty() {
                // Upstreams in `tried` can be used by other waiters.
                limited.scope = RefusalScope::ThisWaiter;
            }
        }
        picked
    }

    /// Tries the lists of upstreams, by their priority, until one has an upstream with room.
    fn pick_from(&self, set: &MemberSet, request: LeaseRequest<'_, '_>) -> Result<Lease, Refusal> {
        let LeaseRequest {
            kind, tried, now, ..
        } = request;
        let mut refusal = Refusal::None;
        let mut are_all_tried = true;
        for list in set.lists_for(fastrand::f64) {
            if let Some(skipped) = list.skipped(tried) {
                are_all_tried = false;
                list.list.release_rates(now);
                let candidates = Candidates::new(list.list, &skipped, kind, now);
                match self.pick_among(&candidates, request) {
                    Ok(lease) => return Ok(lease),
                    Err(further) => refusal = refusal.and(further),
                }
            }
        }
        if are_all_tried {
            let list = CandidateList::unindexed(self.last_resort(set, tried));
            return self.pick_among(&Candidates::new(&list, &[], kind, now), request);
        }
        Err(refusal)
    }

    fn pick_among(
        &self,
        candidates: &Candidates<'_>,
        request: LeaseRequest<'_, '_>,
    ) -> Result<Lease, Refusal> {
        match self.try_pick(candidates, request) {
            Picked::Lease(lease) => Ok(lease),
            Picked::None => self.refusal(candidates, request),
            Picked::Panicked => Err(Refusal::None),
            Picked::LimitReached(at_limit, limit) => {
                self.pick_with_room(candidates, (at_limit, limit), request)
            }
        }
    }

    /// Returns the reason why the policy has picked none: the limit of the upstream that it would
    /// pick otherwise, if there is one.
    fn refusal(
        &self,
        candidates: &Candidates<'_>,
        request: LeaseRequest<'_, '_>,
    ) -> Result<Lease, Refusal> {
        if !candidates.are_limited() {
            return Err(Refusal::None);
        }
        match self.try_pick(&candidates.without_limits(), request) {
            Picked::Lease(lease) => Ok(lease),
            Picked::None | Picked::Panicked => Err(Refusal::None),
            Picked::LimitReached(wanted, limit) if candidates.are_full() => {
                // The first rate that has room again may be another upstream's.
                let rates = LimitReached {
                    retry_at: candidates.rate_ready_at(),
                    ..limit
                };
                let limit = limit.and(rates);
                Err(limited(&wanted, limit, RefusalScope::AllWaiters))
            }
            Picked::LimitReached(wanted, limit) => {
                Err(limited(&wanted, limit, RefusalScope::ThisWaiter))
            }
        }
    }

    /// Picks among the upstreams whose limits leave room, after the policy has picked one without.
    fn pick_with_room(
        &self,
        candidates: &Candidates<'_>,
        (wanted, mut refused): (Arc<Member>, LimitReached),
        request: LeaseRequest<'_, '_>,
    ) -> Result<Lease, Refusal> {
        let LeaseRequest { kind, now, .. } = request;
        let mut members: Vec<_> = candidates.members().cloned().collect();
        let mut at_limit = Arc::clone(&wanted);
        for _ in 0..MAX_RACES {
            // All at once: leaving out one for each call of the policy would be quadratic.
            members.retain(|member| {
                if Arc::ptr_eq(member, &at_limit) {
                    return false;
                }
                let limit = member.limit_reached(kind, now);
                if let Some(limit) = limit {
                    refused = limit.and(refused);
                }
                limit.is_none()
            });
            let list = CandidateList::unindexed(members);
            let with_room = Candidates::new(&list, &[], kind, now);
            match self.try_pick(&with_room, request) {
                Picked::Lease(lease) => return Ok(lease),
                Picked::Panicked => return Err(Refusal::None),
                Picked::None => {
                    let scope = match list.members().is_empty() {
                        true => RefusalScope::AllWaiters,
                        false => RefusalScope::ThisWaiter,
                    };
                    return Err(limited(&wanted, refused, scope));
                }
                // Another client was faster.
                Picked::LimitReached(member, limit) => {
                    refused = limit.and(refused);
                    at_limit = member;
                    members = list.into_members();
                }
            }
        }
        Err(limited(&wanted, refused, RefusalScope::ThisWaiter))
    }

    /// Returns the unhealthy upstreams that may be picked after those in `tried`, if an unhealthy
    /// one is better than none.
    fn last_resort(&self, set: &MemberSet, tried: &[Arc<Member>]) -> Vec<Arc<Member>> {
        if !set.has_last_resort() || !self.state.health_settings().has_last_resort() {
            return Vec::new();
        }
        let is_possible = |member: &&Arc<Member>| {
            let is_tried = tried.iter().any(|tried| tried.is_same_upstream(member));
            !is_tried && member.is_open() && !member.is_forced_unhealthy()
        };
        set.members().iter().filter(is_possible).cloned().collect()
    }

    fn try_pick(&self, candidates: &Candidates<'_>, request: LeaseRequest<'_, '_>) -> Picked {
        let LeaseRequest {
            kind, head, now, ..
        } = request;
        if candidates.is_empty() {
            return Picked::None;
        }
        let member = match self.choose(candidates, head) {
            Ok(Some(member)) => member,
            Ok(None) => return Picked::None,
            Err(PolicyPanicked) => return Picked::Panicked,
        };
        match member.counters().admit(kind, member.admission(), now) {
            Ok(()) => {
                self.state.update_room(&member);
                let origin = EventOrigin::new(head.client_ip(), head.path());
                let pool = Arc::clone(&self.state);
                Picked::Lease(Lease::new(member, pool, kind, origin, now))
            }
            Err(limit) => {
                self.state.update_room(&member);
                Picked::LimitReached(member, limit)
            }
        }
    }

    /// Calls the policy: on the upstreams that the request prefers, then on all.
    fn call_policy(&self, candidates: &Candidates<'_>, head: &RequestHead<'_>) -> Option<usize> {
        let preference = head.extensions().get::<Preference>();
        preference
            .and_then(|preference| preference.pick(&self.balance, candidates, head))
            .or_else(|| self.balance.pick(candidates, head))
    }

    /// Calls the policy; once more, among the others, if it picks a half-open upstream that as many
    /// clients as may are trying.
    fn choose(
        &self,
        candidates: &Candidates<'_>,
        head: &RequestHead<'_>,
    ) -> Result<Option<Arc<Member>>, PolicyPanicked> {
        let call = |candidates: &Candidates<'_>| {
            let picked = catch_panic(|| self.call_policy(candidates, head)).map_err(|_| {
                tracing::error!(policy = ?self.balance, "a load-balancing policy panicked");
                PolicyPanicked
            })?;
            Ok(picked.and_then(|index| candidates.member(index).cloned()))
        };
        let picked = call(candidates)?;
        if !picked.as_ref().is_some_and(|member| member.is_trial_full()) {
            return Ok(picked);
        }
        let others = candidates
            .members()
            .filter(|member| !member.is_trial_full());
        let others = CandidateList::unindexed(others.cloned().collect());
        match others.members().is_empty() {
            true => Ok(picked),
            false => Ok(call(&candidates.among(&others))?.or(picked)),
        }
    }
}

#[cfg(test)]
mod tests;
