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
    upstream::balance::{Balance, CandidateList, Candidates},
    upstream::health::EventOrigin,
};

use super::{
    handle::Pool,
    lease::Lease,
    member_set::MemberSet,
    queue::{GroupKey, QueueTicket, RefusalScope, Refused},
    state::PoolState,
};

/// Number of times that another client may take the last place of the upstream that was picked.
const MAX_RACES: usize = 8;

/// Reason why no upstream can be leased now.
enum Refusal {
    None,
    LimitReached(Limited),
}

/// Limit of the upstream that would have been picked, or of the pool.
struct Limited {
    limit: LimitReached,
    scope: RefusalScope,
    wanted: Option<Arc<str>>,
}

impl Refusal {
    /// Combines the refusals of two lists of upstreams.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::LimitReached(one), Self::LimitReached(other)) => Self::LimitReached(Limited {
                limit: one.limit.and(other.limit),
                scope: match one.scope {
                    RefusalScope::AllWaiters => other.scope,
                    RefusalScope::ThisWaiter => one.scope,
                },
                wanted: one.wanted.or(other.wanted),
            }),
            (Self::None, other) | (other, Self::None) => other,
        }
    }
}

impl Limited {
    fn refused(self) -> Refused {
        Refused {
            // Where all are full, it makes no difference which was wanted.
            wanted: self
                .wanted
                .filter(|_| self.scope == RefusalScope::ThisWaiter),
            kind: self.limit.kind,
            scope: self.scope,
            retry_at: self.limit.retry_at,
        }
    }
}

/// Admission to the pool, revoked on drop unless a lease takes it over; also when a user's policy
/// panics.
struct AdmissionGuard<'a> {
    state: &'a PoolState,
    kind: AdmissionKind,
}

/// Result of one call of the policy.
enum Picked {
    Lease(Lease),
    None,
    /// The limit of the picked upstream was reached.
    LimitReached(Arc<Member>, LimitReached),
}

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
        let now = Instant::now();
        match kind {
            AdmissionKind::Tunnel => self.lease_tunnel(head, tried, now).await,
            AdmissionKind::Exchange => self.lease_exchange(head, tried, now),
        }
    }

    /// Requests do not wait; nor do they overtake waiters for a tunnel.
    fn lease_exchange(
        &self,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Error> {
        let queue = self.state.queue();
        let waits = || queue.waits_for(ErrorKind::TooManyTunnels, &self.group(head, tried));
        if !queue.is_empty() && waits() {
            return Err(Error::new(ErrorKind::TooManyTunnels));
        }
        self.try_lease(AdmissionKind::Exchange, head, tried, now)
            .map_err(|refusal| match refusal {
                Refusal::None => Error::new(ErrorKind::NoUpstream),
                Refusal::LimitReached(limited) => Error::new(limited.limit.kind),
            })
    }

    async fn lease_tunnel(
        &self,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Error> {
        let queue = self.state.queue();
        let mut refused = None;
        if queue.is_empty() || queue.admits(&self.group(head, tried)) {
            match self.try_lease(AdmissionKind::Tunnel, head, tried, now) {
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
            .join(self.group(head, tried), limits.max_waiters, refused)
            .map_err(Error::new)?;
        let deadline = saturating_add(now, limits.max_wait);
        let leased = self.wait(&ticket, deadline, head, tried).await;
        // Before the observers see the wait, so that they find the queue without it.
        drop(ticket);
        self.report_wait(&QueueWait::new(
            self.name(),
            now.elapsed(),
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
    fn group(&self, head: &RequestHead<'_>, tried: &[Arc<Member>]) -> GroupKey {
        let tried = tried.iter().map(|member| member.shared_name());
        GroupKey::new(&self.balance, head, tried)
    }

    /// Whether there is a usable upstream that is not among `tried`.
    pub(crate) fn has_other(&self, tried: &[Arc<Member>], now: Instant) -> bool {
        let set = self.state.current_members(now);
        set.lists().any(|list| list.skipped(tried).is_some())
            || !self.last_resort(&set, tried).is_empty()
    }

    /// Waits for the turn, and leases an upstream.
    async fn wait(
        &self,
        ticket: &QueueTicket<'_>,
        deadline: Instant,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
    ) -> Result<Lease, Error> {
        let mut retry_at = None;
        loop {
            let now = Instant::now();
            if ticket.may_try() {
                match self.try_lease(AdmissionKind::Tunnel, head, tried, now) {
                    Ok(lease) => return Ok(lease),
                    Err(Refusal::None) => return Err(Error::new(ErrorKind::NoUpstream)),
                    Err(Refusal::LimitReached(limited)) => {
                        retry_at = limited.limit.retry_at;
                        ticket.refused(&limited.refused());
                    }
                }
            }
            if now >= deadline {
                return Err(Error::new(ticket.reason()));
            }
            let until = retry_at.map_or(deadline, |at: Instant| at.min(deadline));
            if ticket.called(until).await.is_err() {
                retry_at = None;
            }
        }
    }

    fn try_lease(
        &self,
        kind: AdmissionKind,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Refusal> {
        // Before the member set is read.
        let close_orders = self.state.close_orders();
        let guard = self.admit(kind, now)?;
        let lease = self.pick(kind, head, tried, now)?;
        // The lease revokes the admission from now on.
        std::mem::forget(guard);
        Ok(lease.after_orders(close_orders))
    }

    fn admit(&self, kind: AdmissionKind, now: Instant) -> Result<AdmissionGuard<'_>, Refusal> {
        let state = &*self.state;
        match state
            .counters()
            .admit(kind, &state.settings().admission, now)
        {
            Ok(()) => Ok(AdmissionGuard { state, kind }),
            Err(limit) => Err(Refusal::LimitReached(Limited {
                limit,
                scope: RefusalScope::AllWaiters,
                wanted: None,
            })),
        }
    }

    /// Calls the policy, and again without upstreams whose limit was reached.
    fn pick(
        &self,
        kind: AdmissionKind,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Refusal> {
        let set = self.state.current_members(now);
        let mut picked = self.pick_from(kind, &set, head, tried, now);
        if let Err(Refusal::LimitReached(limited)) = &mut picked {
            // A recovery of another upstream is worth a try, too.
            let healthier = LimitReached {
                retry_at: self.state.next_change.at(),
                ..limited.limit
            };
            limited.limit = limited.limit.and(healthier);
            if !tried.is_empty() {
                // Upstreams in `tried` can be used by other waiters.
                limited.scope = RefusalScope::ThisWaiter;
            }
        }
        picked
    }

    /// Tries the lists of upstreams, by their priority, until one has an upstream with room.
    fn pick_from(
        &self,
        kind: AdmissionKind,
        set: &MemberSet,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Refusal> {
        let mut refusal = Refusal::None;
        let mut are_all_tried = true;
        for list in set.lists_for(fastrand::f64) {
            if let Some(skipped) = list.skipped(tried) {
                are_all_tried = false;
                let candidates = Candidates::new(list.list, &skipped, kind, now);
                match self.pick_among(kind, &candidates, head, now) {
                    Ok(lease) => return Ok(lease),
                    Err(further) => refusal = refusal.and(further),
                }
            }
        }
        if are_all_tried {
            let list = CandidateList::unindexed(self.last_resort(set, tried));
            return self.pick_among(kind, &Candidates::new(&list, &[], kind, now), head, now);
        }
        Err(refusal)
    }

    fn pick_among(
        &self,
        kind: AdmissionKind,
        candidates: &Candidates<'_>,
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Result<Lease, Refusal> {
        match self.try_pick(kind, candidates, head, now) {
            Picked::Lease(lease) => Ok(lease),
            Picked::None => self.refusal(kind, candidates, head, now),
            Picked::LimitReached(at_limit, limit) => {
                self.pick_with_room(kind, candidates, (at_limit, limit), head, now)
            }
        }
    }

    /// Returns the reason why the policy has picked none: the limit of the upstream that it would
    /// pick otherwise, if there is one.
    fn refusal(
        &self,
        kind: AdmissionKind,
        candidates: &Candidates<'_>,
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Result<Lease, Refusal> {
        if !candidates.are_limited() {
            return Err(Refusal::None);
        }
        match self.try_pick(kind, &candidates.without_limits(), head, now) {
            Picked::Lease(lease) => Ok(lease),
            Picked::None => Err(Refusal::None),
            Picked::LimitReached(wanted, limit) => {
                let scope = match candidates.are_full() {
                    true => RefusalScope::AllWaiters,
                    false => RefusalScope::ThisWaiter,
                };
                Err(limited(&wanted, limit, scope))
            }
        }
    }

    /// Picks among the upstreams whose limits leave room, after the policy has picked one without.
    fn pick_with_room(
        &self,
        kind: AdmissionKind,
        candidates: &Candidates<'_>,
        (wanted, mut refused): (Arc<Member>, LimitReached),
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Result<Lease, Refusal> {
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
            match self.try_pick(kind, &with_room, head, now) {
                Picked::Lease(lease) => return Ok(lease),
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

    fn try_pick(
        &self,
        kind: AdmissionKind,
        candidates: &Candidates<'_>,
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Picked {
        if candidates.is_empty() {
            return Picked::None;
        }
        let picked = self.balance.pick(candidates, head);
        let Some(member) = picked.and_then(|index| candidates.member(index)) else {
            return Picked::None;
        };
        let member = Arc::clone(member);
        match member.counters().admit(kind, member.admission(), now) {
            Ok(()) => {
                self.state.update_room(&member);
                let origin = EventOrigin::new(head.client_ip(), head.path());
                let pool = Arc::clone(&self.state);
                Picked::Lease(Lease::new(member, pool, kind, origin, now))
            }
            Err(limit) => Picked::LimitReached(member, limit),
        }
    }
}

fn limited(wanted: &Member, limit: LimitReached, scope: RefusalScope) -> Refusal {
    Refusal::LimitReached(Limited {
        limit,
        scope,
        wanted: Some(wanted.shared_name()),
    })
}

impl Drop for AdmissionGuard<'_> {
    fn drop(&mut self) {
        self.state.counters().revoke(self.kind);
        // The admission may have kept a waiter from its lease. A handshake notifies the queue by
        // itself, as it may be in the queue, unless it panics.
        if self.kind == AdmissionKind::Exchange || std::thread::panicking() {
            self.state.queue().call();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::pool::PoolBuilder;
    use crate::upstream::Upstream;
    use crate::upstream::admission::Admission;
    use crate::upstream::balance::{
        AnyBalance, First, LeastTunnels, LowestLatency, Random, Rendezvous, RoundRobin,
        WeightedRoundRobin,
    };
    use crate::upstream::health::{Consecutive, EventFilter, HealthEvent, HealthEventKind};

    fn kind(result: Result<Lease, Error>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[tokio::test(start_paused = true)]
    async fn requests_do_not_wait_and_overtake_no_waiter_for_a_tunnel() {
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let head = RequestHead::from(&parts);
        let limits = Admission::new().max_tunnels(1).max_handshakes(1);
        let pool = Pool::new(["ws://a"]).unwrap().admission(limits);
        let pool = pool.queue(9, Duration::from_secs(60)).build();
        let tunnel = pool.lease(AdmissionKind::Tunnel, &head, &[]).await.unwrap();
        let mut waits = task::spawn(pool.lease(AdmissionKind::Tunnel, &head, &[]));
        assert_pending!(waits.poll());
        drop(tunnel);
        // The place is free, but reserved for the waiter.
        let mut request = task::spawn(pool.lease(AdmissionKind::Exchange, &head, &[]));
        let refused = assert_ready!(request.poll());
        assert_eq!(kind(refused), Some(ErrorKind::TooManyTunnels));
        assert!(assert_ready!(waits.poll()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_not_held_up_by_handshakes() {
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let head = RequestHead::from(&parts);
        let limits = Admission::new().max_handshakes(1);
        let pool = Pool::new(["ws://a"]).unwrap().admission(limits);
        let pool = pool.queue(9, Duration::from_secs(60)).build();
        let _tunnel = pool.lease(AdmissionKind::Tunnel, &head, &[]).await.unwrap();
        let mut waits = task::spawn(pool.lease(AdmissionKind::Tunnel, &head, &[]));
        assert_pending!(waits.poll());
        let mut request = task::spawn(pool.lease(AdmissionKind::Exchange, &head, &[]));
        assert!(assert_ready!(request.poll()).is_ok());
    }

    /// Takes an upstream for each of these handles in turn, as often as the limits permit.
    async fn admitted(handles: &[Pool]) -> Vec<Result<Lease, Error>> {
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let head = RequestHead::from(&parts);
        let mut leases = Vec::new();
        for handle in handles.iter().cycle().take(20) {
            leases.push(handle.lease(AdmissionKind::Tunnel, &head, &[]).await);
        }
        leases
    }

    #[tokio::test(start_paused = true)]
    async fn routes_over_one_pool_share_its_limits_and_no_route_fails_for_another() {
        for limits in [
            Admission::new().max_tunnels(5),
            Admission::new().handshakes_per_second(5),
        ] {
            let pool = Pool::new(["ws://a", "ws://b"]).unwrap().admission(limits);
            let pool = pool.build();
            let rooms = AnyBalance::new(Rendezvous::by_path());
            let handles = [pool.clone(), pool.with_balance(rooms)];
            let leases = admitted(&handles).await;
            assert!(leases[..5].iter().all(Result::is_ok), "{limits:?}");
            assert!(leases[5..].iter().all(Result::is_err), "{limits:?}");
        }
        let pool = Pool::new(["ws://a"]).unwrap().queue(1, Duration::ZERO);
        let leases = admitted(&[pool.build()]).await;
        assert!(
            leases.iter().all(Result::is_ok),
            "without limits none waits"
        );
    }

    /// Returns the upstreams' tunnels after this many leases, by name.
    async fn held(pool: &Pool, leases: usize) -> (Vec<usize>, Vec<Result<Lease, Error>>) {
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let head = RequestHead::from(&parts);
        let mut held = Vec::new();
        for _ in 0..leases {
            held.push(pool.lease(AdmissionKind::Tunnel, &head, &[]).await);
        }
        let tunnels = pool
            .snapshot()
            .iter()
            .map(|upstream| upstream.tunnels)
            .collect();
        (tunnels, held)
    }

    fn leveled(levels: &[u32], each: Admission) -> PoolBuilder {
        let upstreams = levels.iter().enumerate().map(|(index, level)| {
            let upstream = Upstream::new(&format!("ws://u{index}")).unwrap();
            upstream.priority(*level).admission(each)
        });
        Pool::from_upstreams(upstreams)
    }

    #[tokio::test(start_paused = true)]
    async fn spares_get_requests_only_when_the_first_level_is_down_or_full() {
        fastrand::seed(30);
        let pool = leveled(&[1, 0, 0], Admission::new()).build();
        let (tunnels, _held) = held(&pool, 100).await;
        assert_eq!((tunnels[0], tunnels[1] + tunnels[2]), (0, 100));

        let two = Admission::new().max_tunnels(2);
        let pool = leveled(&[1, 0, 0], two).build();
        let (tunnels, leases) = held(&pool, 7).await;
        assert_eq!(tunnels, [2, 2, 2]);
        assert_eq!(
            kind(leases.into_iter().next_back().unwrap()),
            Some(ErrorKind::TooManyTunnels)
        );

        let pool = leveled(&[1, 0, 0], Admission::new());
        let policy = Consecutive::new().fails(1);
        let pool = pool
            .health_policy(policy.counting(EventFilter::handshakes()))
            .build();
        let failed = Arc::clone(&pool.state.member_set().members()[2]);
        let refused = HealthEventKind::ConnectFailed(ErrorKind::Connect);
        pool.state
            .observe(&failed, &HealthEvent::new(Instant::now(), refused));
        let (tunnels, _held) = held(&pool, 1_000).await;
        // Half of the first level is left, and takes 70 %.
        assert_eq!(tunnels[2], 0);
        assert!((240..360).contains(&tunnels[0]), "{tunnels:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_upstream_is_passed_over_and_found_again_when_it_has_room() {
        let two = Admission::new().max_tunnels(2);
        for policy in [
            AnyBalance::new(LeastTunnels::new()),
            AnyBalance::new(LeastTunnels::new().exact()),
            AnyBalance::new(LowestLatency::new()),
            AnyBalance::new(Random::new()),
            AnyBalance::new(RoundRobin::new()),
            AnyBalance::new(WeightedRoundRobin::new()),
            AnyBalance::new(First::new()),
            AnyBalance::new(Rendezvous::by_path()),
            AnyBalance::new(|_: &Candidates<'_>, _: &RequestHead<'_>| Some(0)),
        ] {
            let pool = leveled(&[0; 20], two).balance(policy.clone()).build();
            let (tunnels, mut leases) = held(&pool, 41).await;
            assert_eq!(tunnels, [2; 20], "{policy:?}");
            let refused = leases.pop().unwrap();
            assert_eq!(kind(refused), Some(ErrorKind::TooManyTunnels), "{policy:?}");
            let freed = leases.swap_remove(7).unwrap();
            let name = freed.member().shared_name();
            drop(freed);
            let (_, again) = held(&pool, 1).await;
            assert_eq!(
                again[0].as_ref().unwrap().member().shared_name(),
                name,
                "{policy:?}"
            );
        }
    }
}
