//! How an upstream is leased: by the limits, the queue, and the policy.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    http::head::RequestHead,
    instant::saturating_add,
    upstream::Member,
    upstream::admission::{Busy, Visit},
    upstream::balance::{Balance, Candidates},
};

use super::{
    handle::Pool,
    lease::Lease,
    queue::{Place, Scope},
    roster::Roster,
    state::State,
};

/// Why no upstream can be leased now.
enum Refusal {
    None,
    Busy(Busy, Scope),
}

/// A place in the pool that is given back, unless it is for a lease; also when a user's policy
/// panics.
struct Claim<'a> {
    state: &'a State,
    visit: Visit,
}

/// What came of asking the policy once.
enum Picked {
    Lease(Lease),
    None,
    /// It picked one that is full.
    Full(Arc<Member>, Busy),
}

impl Pool {
    /// Leases an upstream that is not among those tried, waiting for a turn if need be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoUpstream`], or the limit that stands against it.
    pub(crate) async fn lease(
        &self,
        visit: Visit,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
    ) -> Result<Lease, Error> {
        let now = Instant::now();
        match visit {
            Visit::Tunnel => self.lease_tunnel(head, tried, now).await,
            Visit::Exchange => self.lease_exchange(head, tried, now),
        }
    }

    /// Requests do not wait; nor do they overtake who waits for the place of a tunnel.
    fn lease_exchange(
        &self,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Error> {
        if self.state.queue().waits_for(ErrorKind::TooManyTunnels) {
            return Err(Error::new(ErrorKind::TooManyTunnels));
        }
        self.try_lease(Visit::Exchange, head, tried, now)
            .map_err(|refusal| match refusal {
                Refusal::None => Error::new(ErrorKind::NoUpstream),
                Refusal::Busy(busy, _) => Error::new(busy.kind),
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
            match self.try_lease(Visit::Tunnel, head, tried, now) {
                Ok(lease) => return Ok(lease),
                Err(Refusal::None) => {
                    // What it took, and gave back, may have stood in somebody's way.
                    queue.call();
                    return Err(Error::new(ErrorKind::NoUpstream));
                }
                Err(Refusal::Busy(busy, _)) => Some(busy.kind),
            }
        } else {
            None
        };
        let place = queue
            .join(self.settings.queue.places, refused_for)
            .map_err(Error::new)?;
        let deadline = saturating_add(now, self.settings.queue.wait);
        self.wait(&place, deadline, head, tried).await
    }

    /// Whether there is an upstream that may be picked and is not among those tried.
    pub(crate) fn has_other(&self, tried: &[Arc<Member>], now: Instant) -> bool {
        !self.left(&self.state.fresh_roster(now), tried).is_empty()
    }

    /// Waits for a turn, and takes it.
    async fn wait(
        &self,
        place: &Place<'_>,
        deadline: Instant,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
    ) -> Result<Lease, Error> {
        let mut retry_at = None;
        loop {
            let now = Instant::now();
            if place.may_try() {
                match self.try_lease(Visit::Tunnel, head, tried, now) {
                    Ok(lease) => return Ok(lease),
                    Err(Refusal::None) => return Err(Error::new(ErrorKind::NoUpstream)),
                    Err(Refusal::Busy(busy, scope)) => {
                        retry_at = busy.retry_at;
                        place.refused(busy.kind, scope);
                    }
                }
            }
            if now >= deadline {
                return Err(Error::new(place.reason()));
            }
            let until = retry_at.map_or(deadline, |at: Instant| at.min(deadline));
            if place.called(until).await.is_err() {
                retry_at = None;
            }
        }
    }

    fn try_lease(
        &self,
        visit: Visit,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Refusal> {
        // Before the look at the roster.
        let losses = self.state.losses();
        let claim = self.claim(visit, now)?;
        let lease = self.pick(visit, head, tried, now)?;
        // The lease's from now on.
        std::mem::forget(claim);
        Ok(lease.after(losses))
    }

    fn claim(&self, visit: Visit, now: Instant) -> Result<Claim<'_>, Refusal> {
        let state = &*self.state;
        match state.gate().enter(visit, &self.settings.admission, now) {
            Ok(()) => Ok(Claim { state, visit }),
            Err(busy) => Err(Refusal::Busy(busy, Scope::Everyone)),
        }
    }

    /// Asks the policy, and again without those that are full.
    fn pick(
        &self,
        visit: Visit,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Refusal> {
        let roster = self.state.fresh_roster(now);
        let mut picked = self.pick_from(visit, &roster, head, tried, now);
        if let Err(Refusal::Busy(busy, scope)) = &mut picked {
            // One that comes back to health is worth asking for, too.
            let healthier = Busy {
                retry_at: self.state.alarm.at(),
                ..*busy
            };
            *busy = busy.and(healthier);
            if !tried.is_empty() {
                // Those that were tried come into question for others.
                *scope = Scope::ThisOne;
            }
        }
        picked
    }

    fn pick_from(
        &self,
        visit: Visit,
        roster: &Roster,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Refusal> {
        if !tried.is_empty() || roster.usable().is_empty() {
            return self.pick_among(visit, self.left(roster, tried), None, head, now);
        }
        match self.try_pick(visit, roster.usable(), head, now) {
            Picked::Lease(lease) => Ok(lease),
            Picked::None => Err(Refusal::None),
            Picked::Full(full, busy) => {
                let others = without(roster.usable(), &full);
                self.pick_among(visit, others, Some(busy), head, now)
            }
        }
    }

    fn pick_among(
        &self,
        visit: Visit,
        mut members: Vec<Arc<Member>>,
        mut refused: Option<Busy>,
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Result<Lease, Refusal> {
        loop {
            match self.try_pick(visit, &members, head, now) {
                Picked::Lease(lease) => return Ok(lease),
                Picked::None => {
                    let scope = match members.is_empty() {
                        true => Scope::Everyone,
                        false => Scope::ThisOne,
                    };
                    return Err(refused.map_or(Refusal::None, |busy| Refusal::Busy(busy, scope)));
                }
                Picked::Full(full, busy) => {
                    members = without(&members, &full);
                    refused = Some(refused.map_or(busy, |before| before.and(busy)));
                }
            }
        }
    }

    /// Who may be picked after those that were tried.
    fn left(&self, roster: &Roster, tried: &[Arc<Member>]) -> Vec<Arc<Member>> {
        // By address: the same upstream may be another member by now, changed or added again.
        let is_untried = |member: &&Arc<Member>| {
            let address = member.upstream().address();
            !tried.iter().any(|tried| tried.is_at(address))
        };
        let left: Vec<_> = roster.usable().iter().filter(is_untried).cloned().collect();
        if left.is_empty() && self.state.health().has_last_resort() {
            let is_possible = |member: &&Arc<Member>| is_untried(member) && member.is_open();
            let members = roster.members().iter();
            return members.filter(is_possible).cloned().collect();
        }
        left
    }

    fn try_pick(
        &self,
        visit: Visit,
        members: &[Arc<Member>],
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Picked {
        let Some(member) = self.choose(members, head, now) else {
            return Picked::None;
        };
        match member.gate().enter(visit, member.admission(), now) {
            Ok(()) => Picked::Lease(Lease::new(member, Arc::clone(&self.state), visit)),
            Err(busy) => Picked::Full(member, busy),
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
        let index = self
            .settings
            .balance
            .pick(&Candidates::new(members, now), head)?;
        members.get(index).cloned()
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.state.gate().undo(self.visit);
        // The place may have stood in somebody's way. Who comes for a tunnel calls by itself, as
        // it may stand in the line, unless it panics.
        if self.visit == Visit::Exchange || std::thread::panicking() {
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

    fn kind(result: Result<Lease, Error>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[tokio::test(start_paused = true)]
    async fn requests_do_not_wait_and_overtake_nobody_for_a_tunnel_s_place() {
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let head = RequestHead::from(&parts);
        let limits = Admission::new().max_tunnels(1).max_handshakes(1);
        let pool = Pool::new(["ws://a"]).unwrap().admission(limits);
        let pool = pool.queue(9, Duration::from_secs(60));
        let tunnel = pool.lease(Visit::Tunnel, &head, &[]).await.unwrap();
        let mut waits = task::spawn(pool.lease(Visit::Tunnel, &head, &[]));
        assert_pending!(waits.poll());
        drop(tunnel);
        // The place is free, but promised.
        let mut request = task::spawn(pool.lease(Visit::Exchange, &head, &[]));
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
        let pool = pool.queue(9, Duration::from_secs(60));
        let _tunnel = pool.lease(Visit::Tunnel, &head, &[]).await.unwrap();
        let mut waits = task::spawn(pool.lease(Visit::Tunnel, &head, &[]));
        assert_pending!(waits.poll());
        let mut request = task::spawn(pool.lease(Visit::Exchange, &head, &[]));
        assert!(assert_ready!(request.poll()).is_ok());
    }
}
