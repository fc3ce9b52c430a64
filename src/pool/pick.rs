//! Lease of an upstream, by the limits, the queue, and the balancing policy.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    http::head::RequestHead,
    instant::saturating_add,
    upstream::Member,
    upstream::admission::{AdmissionKind, LimitReached},
    upstream::balance::{Balance, Candidates},
};

use super::{
    handle::Pool,
    lease::Lease,
    member_set::MemberSet,
    queue::{QueueTicket, RefusalScope},
    state::PoolState,
};

/// Reason why no upstream can be leased now.
enum Refusal {
    None,
    LimitReached(LimitReached, RefusalScope),
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
        if self.state.queue().waits_for(ErrorKind::TooManyTunnels) {
            return Err(Error::new(ErrorKind::TooManyTunnels));
        }
        self.try_lease(AdmissionKind::Exchange, head, tried, now)
            .map_err(|refusal| match refusal {
                Refusal::None => Error::new(ErrorKind::NoUpstream),
                Refusal::LimitReached(limit, _) => Error::new(limit.kind),
            })
    }

    async fn lease_tunnel(
        &self,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Error> {
        let queue = self.state.queue();
        let refused_for = if queue.is_empty() {
            match self.try_lease(AdmissionKind::Tunnel, head, tried, now) {
                Ok(lease) => return Ok(lease),
                Err(Refusal::None) => {
                    // Room that this try took and returned may have kept a waiter from its lease.
                    queue.call();
                    return Err(Error::new(ErrorKind::NoUpstream));
                }
                Err(Refusal::LimitReached(limit, _)) => Some(limit.kind),
            }
        } else {
            None
        };
        let limits = self.state.settings().queue;
        let ticket = queue
            .join(limits.max_waiters, refused_for)
            .map_err(Error::new)?;
        let deadline = saturating_add(now, limits.max_wait);
        self.wait(&ticket, deadline, head, tried).await
    }

    /// Whether there is a usable upstream that is not among `tried`.
    pub(crate) fn has_other(&self, tried: &[Arc<Member>], now: Instant) -> bool {
        !self
            .untried(&self.state.current_members(now), tried)
            .is_empty()
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
                    Err(Refusal::LimitReached(limit, scope)) => {
                        retry_at = limit.retry_at;
                        ticket.refused(limit.kind, scope);
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
            Err(limit) => Err(Refusal::LimitReached(limit, RefusalScope::AllWaiters)),
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
        if let Err(Refusal::LimitReached(limit, scope)) = &mut picked {
            // A recovery of another upstream is worth a try, too.
            let healthier = LimitReached {
                retry_at: self.state.next_change.at(),
                ..*limit
            };
            *limit = limit.and(healthier);
            if !tried.is_empty() {
                // Upstreams in `tried` can be used by other waiters.
                *scope = RefusalScope::ThisWaiter;
            }
        }
        picked
    }

    fn pick_from(
        &self,
        kind: AdmissionKind,
        set: &MemberSet,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Refusal> {
        if !tried.is_empty() || set.usable().is_empty() {
            return self.pick_among(kind, self.untried(set, tried), None, head, now);
        }
        match self.try_pick(kind, set.usable(), head, now) {
            Picked::Lease(lease) => Ok(lease),
            Picked::None => Err(Refusal::None),
            Picked::LimitReached(at_limit, limit) => {
                let others = without(set.usable(), &at_limit);
                self.pick_among(kind, others, Some(limit), head, now)
            }
        }
    }

    fn pick_among(
        &self,
        kind: AdmissionKind,
        mut members: Vec<Arc<Member>>,
        mut refused: Option<LimitReached>,
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Result<Lease, Refusal> {
        loop {
            match self.try_pick(kind, &members, head, now) {
                Picked::Lease(lease) => return Ok(lease),
                Picked::None => {
                    let scope = match members.is_empty() {
                        true => RefusalScope::AllWaiters,
                        false => RefusalScope::ThisWaiter,
                    };
                    return Err(
                        refused.map_or(Refusal::None, |limit| Refusal::LimitReached(limit, scope))
                    );
                }
                Picked::LimitReached(at_limit, limit) => {
                    members = without(&members, &at_limit);
                    refused = Some(refused.map_or(limit, |before| before.and(limit)));
                }
            }
        }
    }

    /// Returns the upstreams that may be picked after those in `tried`.
    fn untried(&self, set: &MemberSet, tried: &[Arc<Member>]) -> Vec<Arc<Member>> {
        // Compares addresses: the same upstream may be another member by now, changed or added
        // again.
        let is_untried = |member: &&Arc<Member>| {
            let address = member.upstream().address();
            !tried.iter().any(|tried| tried.is_at(address))
        };
        let untried: Vec<_> = set.usable().iter().filter(is_untried).cloned().collect();
        if untried.is_empty() && self.state.health_settings().has_last_resort() {
            let is_possible = |member: &&Arc<Member>| is_untried(member) && member.is_open();
            let members = set.members().iter();
            return members.filter(is_possible).cloned().collect();
        }
        untried
    }

    fn try_pick(
        &self,
        kind: AdmissionKind,
        members: &[Arc<Member>],
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Picked {
        let Some(member) = self.choose(members, head, now) else {
            return Picked::None;
        };
        match member.counters().admit(kind, member.admission(), now) {
            Ok(()) => Picked::Lease(Lease::new(member, Arc::clone(&self.state), kind)),
            Err(limit) => Picked::LimitReached(member, limit),
        }
    }

    fn choose(
        &self,
        members: &[Arc<Member>],
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Option<Arc<Member>> {
        if members.is_empty() {
            return None;
        }
        let index = self.balance.pick(&Candidates::new(members, now), head)?;
        members.get(index).cloned()
    }
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

fn without(members: &[Arc<Member>], unwanted: &Arc<Member>) -> Vec<Arc<Member>> {
    members
        .iter()
        .filter(|member| !Arc::ptr_eq(member, unwanted))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::upstream::admission::Admission;
    use crate::upstream::balance::{AnyBalance, Rendezvous};

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
}
