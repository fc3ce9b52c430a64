//! Upstreams whose handshakes of this second are used up. Pure: time is an argument.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::Instant;

use crate::lock::lock;

/// Places of the upstreams whose handshakes of this second are used up, by the time at which they are
/// to be looked at again.
#[derive(Debug)]
pub(super) struct UsedUpRates {
    due: Mutex<BinaryHeap<Reverse<Due>>>,
    is_waiting: Box<[AtomicBool]>,
}

/// Time at which a place is to be looked at, `None` for the next look, and the place.
type Due = (Option<Instant>, usize);

impl UsedUpRates {
    pub(super) fn new(places: usize) -> Self {
        Self {
            due: Mutex::default(),
            is_waiting: (0..places).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Adds a place, to be looked at next time, unless it is there.
    pub(super) fn add(&self, place: usize) {
        let is_waiting = self.is_waiting.get(place);
        if is_waiting.is_some_and(|waiting| !waiting.swap(true, Ordering::Relaxed)) {
            lock(&self.due).push(Reverse((None, place)));
        }
    }

    /// Looks at the places that are due: `look` returns when a place is due again, and `None` once it
    /// has room.
    pub(super) fn look(&self, now: Instant, look: impl Fn(usize) -> Option<Instant>) {
        let mut due = lock(&self.due);
        while let Some(Reverse((at, place))) = due.peek().copied() {
            if at.is_some_and(|at| now < at) {
                return;
            }
            due.pop();
            match look(place) {
                // A time in the past must not make this spin.
                Some(at) if now < at => due.push(Reverse((Some(at), place))),
                _ => {
                    if let Some(waiting) = self.is_waiting.get(place) {
                        waiting.store(false, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Returns the time at which the first of the places is to be looked at again.
    pub(super) fn next_at(&self) -> Option<Instant> {
        lock(&self.due).peek().and_then(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use super::*;

    #[test]
    fn a_place_is_looked_at_once_when_it_is_due_until_it_has_room() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let rates = UsedUpRates::new(3);
        let seen = RefCell::new(Vec::new());
        let look_at = |now, again: Option<Instant>| {
            rates.look(now, |place| {
                seen.borrow_mut().push(place);
                again
            });
            seen.take()
        };
        rates.add(2);
        rates.add(2);
        rates.add(7);
        assert_eq!(look_at(start, Some(at(5))), [2]);
        assert_eq!(rates.next_at(), Some(at(5)));
        assert_eq!(look_at(at(4), None), [0; 0]);
        rates.add(0);
        assert_eq!(look_at(at(5), None), [0, 2]);
        assert_eq!(look_at(at(9), None), [0; 0]);
        assert_eq!(rates.next_at(), None);
        rates.add(2);
        assert_eq!(look_at(at(9), None), [2]);
    }
}
