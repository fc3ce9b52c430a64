//! Last results of one lookup, and the rules for records whose TTL has ended (RFC 8767). Pure: time
//! is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::{instant::saturating_add, upstream::discovery::error::DiscoverError};

use super::records::RecordSet;

/// Time for which a failure is remembered where there are no records to use instead
/// (RFC 9520 §3.2: at least one second).
const FAILURE_TTL: Duration = Duration::from_secs(1);

/// Longest time for which the absence of records is remembered (RFC 2308 §5 allows hours).
const MAX_ABSENCE: Duration = Duration::from_secs(30);

/// Bounds on the use of records whose TTL has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaleLimits {
    /// Longest time for which they are used.
    pub(super) max_stale: Duration,
    /// Shortest time between a failed query and the next.
    pub(super) recheck: Duration,
}

/// Last results of the lookups of one name and record type.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// Last response; without records if DNS reported that there are none.
    response: Option<Kept<T>>,
    /// Failure of the last query, if it failed.
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Kept<T> {
    records: Vec<T>,
    expires: Instant,
}

#[derive(Debug)]
struct Failing {
    error: DiscoverError,
    next_query: Instant,
    /// Whether stale records were used since.
    in_use: bool,
}

/// What a lookup does.
#[derive(Debug)]
pub(super) enum Step<T> {
    /// Uses these records, whose TTL has not ended.
    Fresh(Vec<T>),
    /// Uses these records, whose TTL has ended: the last query failed, and the next is not due.
    Stale(Vec<T>),
    /// Has no records: DNS has reported that, a moment ago or before it began to fail.
    NoRecords,
    /// Fails as the last query did, a moment ago.
    Fail(DiscoverError),
    /// Queries the servers.
    Query,
}

/// Change of an entry that is worth an event.
#[derive(Clone, Debug)]
pub(super) enum EntryChange {
    /// Stale records are used, because of this failure.
    BeganStale(DiscoverError),
    /// The stale records have become too old.
    Expired,
    /// A query succeeded after stale records were used.
    Recovered,
}

impl<T: Clone + PartialEq> Entry<T> {
    pub(super) const fn new() -> Self {
        Self {
            response: None,
            failing: None,
        }
    }

    /// Decides about a lookup.
    pub(super) fn next(
        &mut self,
        now: Instant,
        limits: &StaleLimits,
    ) -> (Step<T>, Option<EntryChange>) {
        match &self.response {
            Some(kept) if now < kept.expires && kept.records.is_empty() => {
                return (Step::NoRecords, None);
            }
            Some(kept) if now < kept.expires => return (Step::Fresh(kept.records.clone()), None),
            _ => {}
        }
        let Some(error) = self.recent_failure(now).cloned() else {
            return (Step::Query, None);
        };
        let (records, change) = self.stale(now, limits);
        let step = match records {
            None => Step::Fail(error),
            Some(records) if records.is_empty() => Step::NoRecords,
            Some(records) => Step::Stale(records),
        };
        (step, change)
    }

    /// Returns the records of the last response although their TTL may have ended, for a lookup
    /// whose query has failed.
    pub(super) fn stale(
        &mut self,
        now: Instant,
        limits: &StaleLimits,
    ) -> (Option<Vec<T>>, Option<EntryChange>) {
        let Some(kept) = &self.response else {
            return (None, None);
        };
        let had_records = !kept.records.is_empty();
        if !self.has_response(now, limits) {
            self.response = None;
            return (None, had_records.then_some(EntryChange::Expired));
        }
        let records = Some(kept.records.clone());
        match &mut self.failing {
            Some(failing) if had_records && !failing.in_use => {
                failing.in_use = true;
                (
                    records,
                    Some(EntryChange::BeganStale(failing.error.clone())),
                )
            }
            _ => (records, None),
        }
    }

    /// Whether there are records, fresh or stale.
    pub(super) fn has_records(&self, now: Instant, limits: &StaleLimits) -> bool {
        let has_records = |kept: &Kept<T>| !kept.records.is_empty();
        self.has_response(now, limits) && self.response.as_ref().is_some_and(has_records)
    }

    fn has_response(&self, now: Instant, limits: &StaleLimits) -> bool {
        self.response
            .as_ref()
            .is_some_and(|kept| now < saturating_add(kept.expires, limits.max_stale))
    }

    /// Returns the failure of the last query, if there are records and the next query is not due.
    pub(super) fn failure(&self, now: Instant, limits: &StaleLimits) -> Option<DiscoverError> {
        let failure = self.recent_failure(now)?;
        self.has_records(now, limits).then(|| failure.clone())
    }

    fn recent_failure(&self, now: Instant) -> Option<&DiscoverError> {
        let failing = self.failing.as_ref()?;
        (now < failing.next_query).then_some(&failing.error)
    }

    /// Takes the response to a query. One without records is a response too: it ends the use of
    /// earlier records.
    pub(super) fn succeeded(&mut self, now: Instant, found: &RecordSet<T>) -> Option<EntryChange> {
        let valid_for = match found.records.is_empty() {
            true => found.ttl.min(MAX_ABSENCE),
            false => found.ttl,
        };
        self.response = Some(Kept {
            records: found.records.clone(),
            expires: saturating_add(now, valid_for),
        });
        let was_stale = self.failing.take().is_some_and(|failing| failing.in_use);
        was_stale.then_some(EntryChange::Recovered)
    }

    /// Takes the failure of a query, or that it takes long.
    pub(super) fn failed(&mut self, now: Instant, error: DiscoverError, limits: &StaleLimits) {
        let until_next = match self.has_response(now, limits) {
            true => limits.recheck,
            false => limits.recheck.min(FAILURE_TTL),
        };
        self.failing = Some(Failing {
            error,
            next_query: saturating_add(now, until_next),
            in_use: self.failing.as_ref().is_some_and(|failing| failing.in_use),
        });
    }

    /// Drops a record that turned out to be useless, unless its TTL has not ended: DNS vouches for
    /// it until then. True if there was one.
    pub(super) fn drop_stale(&mut self, now: Instant, record: &T) -> bool {
        let Some(kept) = self.response.as_mut().filter(|kept| kept.expires <= now) else {
            return false;
        };
        let before = kept.records.len();
        kept.records.retain(|kept| kept != record);
        let is_dropped = kept.records.len() < before;
        // That none is left is not what DNS reported.
        if is_dropped && kept.records.is_empty() {
            self.response = None;
        }
        is_dropped
    }

    /// Whether the entry has no effect on lookups any more.
    pub(super) fn is_useless(&self, now: Instant, limits: &StaleLimits) -> bool {
        self.recent_failure(now).is_none() && !self.has_response(now, limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StaleLimits = StaleLimits {
        max_stale: secs(3600),
        recheck: secs(30),
    };

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn set(records: &[u8], ttl: u64) -> RecordSet<u8> {
        RecordSet {
            records: records.to_vec(),
            ttl: secs(ttl),
        }
    }

    fn broken() -> DiscoverError {
        DiscoverError::failed("SERVFAIL")
    }

    /// An entry whose records 1 and 2 were valid for ten seconds.
    fn entry(now: Instant) -> Entry<u8> {
        let mut entry = Entry::new();
        assert_eq!(step(&mut entry, now), ("query", vec![]));
        assert!(entry.succeeded(now, &set(&[1, 2], 10)).is_none());
        entry
    }

    /// Step of a lookup, with the records that it uses.
    fn step(entry: &mut Entry<u8>, now: Instant) -> (&'static str, Vec<u8>) {
        words(entry.next(now, &LIMITS).0)
    }

    fn words(step: Step<u8>) -> (&'static str, Vec<u8>) {
        match step {
            Step::Fresh(records) => ("fresh", records),
            Step::Stale(records) => ("stale", records),
            Step::NoRecords => ("none", Vec::new()),
            Step::Fail(_) => ("fail", Vec::new()),
            Step::Query => ("query", Vec::new()),
        }
    }

    #[test]
    fn records_are_fresh_for_their_ttl() {
        let now = Instant::now();
        let mut entry = entry(now);
        assert_eq!(step(&mut entry, now + secs(9)), ("fresh", vec![1, 2]));
        assert_eq!(step(&mut entry, now + secs(10)), ("query", vec![]));
    }

    #[test]
    fn a_failure_leaves_the_last_records_and_is_rechecked_after_its_time_rfc8767_5() {
        let now = Instant::now();
        let mut entry = entry(now);
        let failed = now + secs(10);
        entry.failed(failed, broken(), &LIMITS);
        let (first, change) = entry.next(failed, &LIMITS);
        assert_eq!(words(first), ("stale", vec![1, 2]));
        assert!(
            matches!(change, Some(EntryChange::BeganStale(_))),
            "{change:?}"
        );
        let (again, change) = entry.next(failed + secs(29), &LIMITS);
        assert_eq!(words(again), ("stale", vec![1, 2]));
        assert!(change.is_none(), "{change:?}");
        assert_eq!(step(&mut entry, failed + secs(30)), ("query", vec![]));
        // The same outage goes on.
        entry.failed(failed + secs(30), broken(), &LIMITS);
        assert!(entry.next(failed + secs(31), &LIMITS).1.is_none());
        let back = entry.succeeded(failed + secs(60), &set(&[3], 10));
        assert!(matches!(back, Some(EntryChange::Recovered)), "{back:?}");
        assert_eq!(step(&mut entry, failed + secs(61)), ("fresh", vec![3]));
    }

    #[test]
    fn no_records_is_a_response_and_ends_the_use_of_stale_ones_rfc8767_4() {
        let now = Instant::now();
        let mut entry = entry(now);
        entry.failed(now + secs(10), broken(), &LIMITS);
        entry.succeeded(now + secs(40), &set(&[], 5));
        assert_eq!(step(&mut entry, now + secs(44)), ("none", vec![]));
        assert_eq!(step(&mut entry, now + secs(45)), ("query", vec![]));
        entry.failed(now + secs(46), broken(), &LIMITS);
        assert_eq!(step(&mut entry, now + secs(46)), ("none", vec![]));
        assert_eq!(entry.stale(now + secs(46), &LIMITS).0, Some(vec![]));
    }

    #[test]
    fn absence_is_remembered_for_half_a_minute_at_most() {
        let now = Instant::now();
        let mut entry = entry(now);
        entry.succeeded(now, &set(&[], 3600));
        assert_eq!(step(&mut entry, now + secs(29)), ("none", vec![]));
        assert_eq!(step(&mut entry, now + secs(30)), ("query", vec![]));
    }

    #[test]
    fn stale_records_have_an_age_limit() {
        let now = Instant::now();
        let mut entry = entry(now);
        for at in [3599, 3609] {
            entry.failed(now + secs(at), broken(), &LIMITS);
            assert_eq!(step(&mut entry, now + secs(at)), ("stale", vec![1, 2]));
        }
        let (last, change) = entry.next(now + secs(3610), &LIMITS);
        assert_eq!(words(last), ("fail", vec![]));
        assert!(matches!(change, Some(EntryChange::Expired)), "{change:?}");
        assert!(entry.next(now + secs(3611), &LIMITS).1.is_none());
    }

    #[test]
    fn without_records_a_failure_is_remembered_for_a_second_rfc9520_3_2() {
        let now = Instant::now();
        let mut entry = Entry::<u8>::new();
        entry.failed(now, broken(), &LIMITS);
        assert_eq!(
            step(&mut entry, now + Duration::from_millis(999)),
            ("fail", vec![])
        );
        assert_eq!(step(&mut entry, now + secs(1)), ("query", vec![]));
    }

    #[test]
    fn an_address_that_fails_is_dropped_while_it_is_stale_alone() {
        let now = Instant::now();
        let mut entry = entry(now);
        assert!(!entry.drop_stale(now + secs(9), &1), "DNS vouches for it");
        entry.failed(now + secs(10), broken(), &LIMITS);
        assert!(entry.drop_stale(now + secs(11), &1));
        assert!(!entry.drop_stale(now + secs(11), &1));
        assert_eq!(step(&mut entry, now + secs(11)), ("stale", vec![2]));
        assert!(entry.drop_stale(now + secs(12), &2));
        assert_eq!(step(&mut entry, now + secs(12)), ("fail", vec![]));
        entry.succeeded(now + secs(40), &set(&[1, 2], 10));
        assert_eq!(step(&mut entry, now + secs(40)), ("fresh", vec![1, 2]));
    }

    #[test]
    fn an_entry_is_kept_as_long_as_it_has_an_effect() {
        let now = Instant::now();
        let entry = entry(now);
        assert!(!entry.is_useless(now + secs(3609), &LIMITS));
        assert!(entry.is_useless(now + secs(3610), &LIMITS));
        let mut failed = Entry::<u8>::new();
        failed.failed(now, broken(), &LIMITS);
        assert!(!failed.is_useless(now, &LIMITS));
        assert!(failed.is_useless(now + secs(1), &LIMITS));
    }
}
