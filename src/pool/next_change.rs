//! Times at which health changes without an event. Pure.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use crate::{lock::lock, upstream::Member};

/// Times at which the health of upstreams may change without an event.
///
/// Every pick reads the earliest, so it is a single number. Once it has come, only the upstreams
/// that are due are looked at.
#[derive(Debug)]
pub(super) struct NextChange {
    origin: Instant,
    /// Nanoseconds since creation.
    at: AtomicU64,
    /// Upstreams by their time, and by the address of their member.
    due: Mutex<BTreeMap<(u64, usize), Arc<Member>>>,
}

const NEVER: u64 = u64::MAX;

impl NextChange {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            origin: now,
            at: AtomicU64::new(NEVER),
            due: Mutex::new(BTreeMap::new()),
        }
    }

    /// Schedules a look at the upstream; returns whether it is the next.
    pub(super) fn schedule(&self, member: &Arc<Member>, at: Instant) -> bool {
        let key = (self.nanos(at), Arc::as_ptr(member) as usize);
        lock(&self.due).insert(key, Arc::clone(member));
        self.bring_forward(at)
    }

    /// Moves the earliest time forward to `at`, if that is earlier; returns whether it was.
    pub(super) fn bring_forward(&self, at: Instant) -> bool {
        let at = self.nanos(at);
        self.at.fetch_min(at, Ordering::AcqRel) > at
    }

    /// Returns the upstreams that are due, if the time has come: for one caller, and the time moves
    /// on to the next upstream then.
    pub(super) fn take_due(&self, now: Instant) -> Option<Vec<Arc<Member>>> {
        let now = self.nanos(now);
        let at = self.at.load(Ordering::Acquire);
        let has_come = at <= now
            && self
                .at
                .compare_exchange(at, NEVER, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if !has_come {
            return None;
        }
        let mut due = lock(&self.due);
        let later = due.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut *due, later);
        Some(due.into_values().collect())
    }

    /// Moves the earliest time forward to that of the next upstream.
    pub(super) fn bring_next_forward(&self) {
        let next = lock(&self.due).keys().next().copied();
        if let Some((at, _)) = next {
            self.at.fetch_min(at, Ordering::AcqRel);
        }
    }

    pub(super) fn at(&self) -> Option<Instant> {
        let at = self.at.load(Ordering::Acquire);
        (at != NEVER).then(|| self.origin + std::time::Duration::from_nanos(at))
    }

    fn nanos(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos).map_or(NEVER - 1, |nanos| nanos.min(NEVER - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_soonest_moment_counts_and_rings_once() {
        let origin = Instant::now();
        let at = |secs| origin + Duration::from_secs(secs);
        let next_change = NextChange::new(origin);
        assert_eq!(next_change.at(), None);
        assert!(next_change.take_due(at(1_000_000)).is_none());
        assert!(next_change.bring_forward(at(5)));
        assert!(!next_change.bring_forward(at(9)), "that is later");
        assert!(next_change.bring_forward(at(3)));
        assert_eq!(next_change.at(), Some(at(3)));
        assert!(next_change.take_due(at(2)).is_none());
        assert!(next_change.take_due(at(3)).is_some());
        assert!(next_change.take_due(at(3)).is_none());
    }

    #[test]
    fn a_moment_of_the_past_rings_at_once() {
        let origin = Instant::now() + Duration::from_secs(9);
        let next_change = NextChange::new(origin);
        next_change.bring_forward(origin - Duration::from_secs(5));
        assert!(next_change.take_due(origin).is_some());
    }

    #[test]
    fn only_upstreams_that_are_due_are_returned() {
        let origin = Instant::now();
        let at = |secs| origin + Duration::from_secs(secs);
        let next_change = NextChange::new(origin);
        let [a, b] = ["ws://a", "ws://b"]
            .map(|address| Arc::new(Member::new(crate::Upstream::new(address).unwrap())));
        assert!(next_change.schedule(&a, at(5)));
        assert!(!next_change.schedule(&b, at(9)));
        let due = next_change.take_due(at(5)).unwrap();
        assert!(due.len() == 1 && Arc::ptr_eq(&due[0], &a));
        next_change.bring_next_forward();
        assert_eq!(next_change.at(), Some(at(9)));
        assert_eq!(next_change.take_due(at(10)).unwrap().len(), 1);
        next_change.bring_next_forward();
        assert_eq!(next_change.at(), None);
    }
}
