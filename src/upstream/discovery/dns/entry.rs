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
    /// Last records that DNS reported.
    records: Option<Kept<T>>,
    last_query: LastQuery,
}

#[derive(Debug)]
struct Kept<T> {
    records: Vec<T>,
    expires: Instant,
}

/// Outcome of the last query.
#[derive(Debug)]
enum LastQuery {
    /// It brought the records, or there was none.
    Succeeded,
    /// DNS reported that there are no records.
    NoRecords {
        valid_until: Instant,
    },
    Failed(Failing),
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
    /// Has no records: DNS has reported that a moment ago.
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
            records: None,
            last_query: LastQuery::Succeeded,
        }
    }

    /// Decides about a lookup.
    pub(super) fn next(
        &mut self,
        now: Instant,
        limits: &StaleLimits,
    ) -> (Step<T>, Option<EntryChange>) {
        if let Some(kept) = self.records.as_ref().filter(|kept| now < kept.expires) {
            return (Step::Fresh(kept.records.clone()), None);
        }
        match &self.last_query {
            LastQuery::NoRecords { valid_until } if now < *valid_until => (Step::NoRecords, None),
            LastQuery::Failed(failing) if now < failing.next_query => {
                let error = failing.error.clone();
                let (records, change) = self.stale(now, limits);
                (records.map_or(Step::Fail(error), Step::Stale), change)
            }
            _ => (Step::Query, None),
        }
    }

    /// Returns the records although their TTL may have ended, for a lookup whose query has failed.
    pub(super) fn stale(
        &mut self,
        now: Instant,
        limits: &StaleLimits,
    ) -> (Option<Vec<T>>, Option<EntryChange>) {
        let Some(kept) = &self.records else {
            return (None, None);
        };
        if now >= saturating_add(kept.expires, limits.max_stale) {
            self.records = None;
            return (None, Some(EntryChange::Expired));
        }
        if kept.records.is_empty() {
            return (None, None);
        }
        let records = Some(kept.records.clone());
        match &mut self.last_query {
            LastQuery::Failed(failing) if !failing.in_use => {
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
        self.records.as_ref().is_some_and(|kept| {
            !kept.records.is_empty() && now < saturating_add(kept.expires, limits.max_stale)
        })
    }

    /// Returns the failure of the last query, if there are records and the next query is not due.
    pub(super) fn failure(&self, now: Instant, limits: &StaleLimits) -> Option<DiscoverError> {
        match &self.last_query {
            LastQuery::Failed(failing) if now < failing.next_query => {
                self.has_records(now, limits).then(|| failing.error.clone())
            }
            _ => None,
        }
    }

    /// Takes the result of a query. A set without records is a response too: it ends the use of
    /// earlier records.
    pub(super) fn succeeded(&mut self, now: Instant, found: &RecordSet<T>) -> Option<EntryChange> {
        let was_stale = matches!(&self.last_query, LastQuery::Failed(failing) if failing.in_use);
        if found.records.is_empty() {
            self.records = None;
            self.last_query = LastQuery::NoRecords {
                valid_until: now + found.ttl.min(MAX_ABSENCE),
            };
        } else {
            self.records = Some(Kept {
                records: found.records.clone(),
                expires: saturating_add(now, found.ttl),
            });
            self.last_query = LastQuery::Succeeded;
        }
        was_stale.then_some(EntryChange::Recovered)
    }

    /// Takes the failure of a query, or that it takes long.
    pub(super) fn failed(&mut self, now: Instant, error: DiscoverError, limits: &StaleLimits) {
        let until_next = match self.has_records(now, limits) {
            true => limits.recheck,
            false => limits.recheck.min(FAILURE_TTL),
        };
        self.last_query = LastQuery::Failed(Failing {
            error,
            next_query: saturating_add(now, until_next),
            in_use: matches!(&self.last_query, LastQuery::Failed(failing) if failing.in_use),
        });
    }

    /// Drops a record that turned out to be useless, unless its TTL has not ended: DNS vouches for
    /// it until then. True if there was one.
    pub(super) fn drop_stale(&mut self, now: Instant, record: &T) -> bool {
        match &mut self.records {
            Some(kept) if kept.expires <= now => {
                let before = kept.records.len();
                kept.records.retain(|kept| kept != record);
                kept.records.len() < before
            }
            _ => false,
        }
    }

    /// Whether the entry has no effect on lookups any more.
    pub(super) fn is_useless(&self, now: Instant, limits: &StaleLimits) -> bool {
        let is_remembered = match &self.last_query {
            LastQuery::Succeeded => false,
            LastQuery::NoRecords { valid_until } => now < *valid_until,
            LastQuery::Failed(failing) => now < failing.next_query,
        };
        !is_remembered && !self.has_records(now, limits)
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
        assert_eq!(step(&mut entry, now + secs(46)), ("fail", vec![]));
        assert_eq!(entry.stale(now + secs(46), &LIMITS).0, None);
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
        let mut entry = entry(now);
        assert!(!entry.is_useless(now + secs(3609), &LIMITS));
        assert!(entry.is_useless(now + secs(3610), &LIMITS));
        entry.succeeded(now, &set(&[], 5));
        assert!(!entry.is_useless(now + secs(4), &LIMITS));
        assert!(entry.is_useless(now + secs(5), &LIMITS));
    }
}
