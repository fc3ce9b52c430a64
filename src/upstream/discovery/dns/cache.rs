//! Cache of lookups, in which callers that want the same records share a query.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use crate::{lock::lock, net::connect::InFlight, upstream::discovery::error::DiscoverError};

use super::{
    entry::{Entry, EntryChange, StaleLimits, Step},
    events::{DnsEvent, EventSink},
    name::DnsName,
    records::RecordSet,
};

/// Interval at which useless entries are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Queries of one record type that run at once; others wait for them.
const MAX_QUERIES: usize = 64;

/// Result of a query; without records, DNS has reported that there are none.
type QueryResult<T> = Result<RecordSet<T>, DiscoverError>;

/// Cache of lookups of one record type, or of two that `V` distinguishes.
pub(super) struct Cache<V, T> {
    store: Arc<Store<V, T>>,
    queries: InFlight<(DnsName, V), QueryResult<T>>,
}

impl<V, T> Cache<V, T>
where
    V: Copy + Eq + Hash + Send + Sync + 'static,
    T: Clone + PartialEq + Send + Sync + 'static,
{
    pub(super) fn new(limits: StaleLimits, sink: EventSink) -> Self {
        Self {
            store: Arc::new(Store {
                limits,
                sink,
                entries: Mutex::default(),
            }),
            queries: InFlight::at_most(MAX_QUERIES),
        }
    }

    /// Queries the servers for the current records, unless they have failed since the last ones and
    /// are not to be queried yet.
    ///
    /// # Errors
    ///
    /// The query fails, or the last one did.
    pub(super) async fn query<F>(
        &self,
        key: (DnsName, V),
        limit: Duration,
        call: impl FnOnce(DnsName) -> F,
    ) -> QueryResult<T>
    where
        F: Future<Output = QueryResult<T>> + Send + 'static,
    {
        match self.store.failure(&key) {
            Some(error) => Err(error),
            None => self.join(key, limit, call).await,
        }
    }

    /// Returns the records, from the cache if their TTL has not ended, or if it has and DNS fails
    /// or takes longer than `patience`.
    ///
    /// # Errors
    ///
    /// DNS reports that there are none, or fails and there are no usable records of earlier.
    pub(super) async fn resolve<F>(
        &self,
        key: (DnsName, V),
        patience: Duration,
        limit: Duration,
        call: impl FnOnce(DnsName) -> F,
    ) -> Result<Vec<T>, DiscoverError>
    where
        F: Future<Output = QueryResult<T>> + Send + 'static,
    {
        match self.store.next(&key) {
            Step::Fresh(records) | Step::Stale(records) => return Ok(records),
            Step::NoRecords => return Err(no_records(&key.0)),
            Step::Fail(error) => return Err(error),
            Step::Query => {}
        }
        let query = self.join(key.clone(), limit, call);
        let result = match self.store.has_records(&key) {
            false => query.await,
            true => match timeout(patience, query).await {
                Ok(result) => result,
                Err(_) => {
                    let slow = DiscoverError::TimedOut { after: patience };
                    self.store.failed(&key, slow.clone());
                    Err(slow)
                }
            },
        };
        match result {
            Ok(found) if found.records.is_empty() => Err(no_records(&key.0)),
            Ok(found) => Ok(found.records),
            Err(error) => match self.store.stale(&key) {
                None => Err(error),
                Some(records) if records.is_empty() => Err(no_records(&key.0)),
                Some(records) => Ok(records),
            },
        }
    }

    /// Drops a stale record that turned out to be useless.
    pub(super) fn drop_stale(&self, key: &(DnsName, V), record: &T) -> bool {
        let now = Instant::now();
        let mut entries = lock(&self.store.entries);
        let entry = entries.map.get_mut(key);
        entry.is_some_and(|entry| entry.drop_stale(now, record))
    }

    async fn join<F>(
        &self,
        key: (DnsName, V),
        limit: Duration,
        call: impl FnOnce(DnsName) -> F,
    ) -> QueryResult<T>
    where
        F: Future<Output = QueryResult<T>> + Send + 'static,
    {
        let start = || {
            let store = Arc::clone(&self.store);
            let (key, query) = (key.clone(), call(key.0.clone()));
            async move {
                let result = match timeout(limit, query).await {
                    Ok(result) => result,
                    Err(_) => Err(DiscoverError::TimedOut { after: limit }),
                };
                store.record(&key, &result);
                result
            }
        };
        let result = self.queries.join(key.clone(), start).await;
        result.unwrap_or_else(|| Err(DiscoverError::failed("the lookup ended early")))
    }
}

pub(super) fn no_records(name: &DnsName) -> DiscoverError {
    DiscoverError::NoRecords {
        name: name.as_str().into(),
    }
}

/// Entries of a cache.
struct Store<V, T> {
    limits: StaleLimits,
    sink: EventSink,
    entries: Mutex<Entries<V, T>>,
}

struct Entries<V, T> {
    map: HashMap<(DnsName, V), Entry<T>>,
    last_sweep: Option<Instant>,
}

impl<V: Copy + Eq + Hash, T: Clone + PartialEq> Store<V, T> {
    fn next(&self, key: &(DnsName, V)) -> Step<T> {
        self.with_entry(key, |entry, now| entry.next(now, &self.limits))
            .unwrap_or(Step::Query)
    }

    fn stale(&self, key: &(DnsName, V)) -> Option<Vec<T>> {
        self.with_entry(key, |entry, now| entry.stale(now, &self.limits))?
    }

    fn has_records(&self, key: &(DnsName, V)) -> bool {
        let has_records = |entry: &mut Entry<T>, now| (entry.has_records(now, &self.limits), None);
        self.with_entry(key, has_records).unwrap_or(false)
    }

    fn failure(&self, key: &(DnsName, V)) -> Option<DiscoverError> {
        self.with_entry(key, |entry, now| (entry.failure(now, &self.limits), None))?
    }

    /// Acts on an entry, if there is one, and reports its change without a lock.
    fn with_entry<R>(
        &self,
        key: &(DnsName, V),
        act: impl FnOnce(&mut Entry<T>, Instant) -> (R, Option<EntryChange>),
    ) -> Option<R> {
        let now = Instant::now();
        let (result, change) = act(lock(&self.entries).map.get_mut(key)?, now);
        self.report(&key.0, change);
        Some(result)
    }

    fn record(&self, key: &(DnsName, V), result: &QueryResult<T>) {
        let found = match result {
            Ok(found) => found,
            Err(error) => return self.failed(key, error.clone()),
        };
        let now = Instant::now();
        let change = lock(&self.entries)
            .entry(key, now, &self.limits)
            .succeeded(now, found);
        self.report(&key.0, change);
    }

    fn failed(&self, key: &(DnsName, V), error: DiscoverError) {
        let now = Instant::now();
        lock(&self.entries)
            .entry(key, now, &self.limits)
            .failed(now, error, &self.limits);
    }

    fn report(&self, name: &DnsName, change: Option<EntryChange>) {
        let name = name.as_str().into();
        self.sink.emit(&match change {
            None => return,
            Some(EntryChange::BeganStale(error)) => DnsEvent::ServingStale { name, error },
            Some(EntryChange::Expired) => DnsEvent::Expired { name },
            Some(EntryChange::Recovered) => DnsEvent::Recovered { name },
        });
    }
}

impl<V: Copy + Eq + Hash, T: Clone + PartialEq> Entries<V, T> {
    /// Returns the entry of this key, and removes useless ones from time to time.
    fn entry(&mut self, key: &(DnsName, V), now: Instant, limits: &StaleLimits) -> &mut Entry<T> {
        let last_sweep = *self.last_sweep.get_or_insert(now);
        if now.saturating_duration_since(last_sweep) >= SWEEP_INTERVAL {
            self.last_sweep = Some(now);
            self.map.retain(|_, entry| !entry.is_useless(now, limits));
        }
        self.map.entry(key.clone()).or_insert_with(Entry::new)
    }
}

impl<V, T> Default for Entries<V, T> {
    fn default() -> Self {
        Self {
            map: HashMap::new(),
            last_sweep: None,
        }
    }
}

impl<V, T> fmt::Debug for Cache<V, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("limits", &self.store.limits)
            .field("entries", &lock(&self.store.entries).map.len())
            .field("queries", &self.queries)
            .finish()
    }
}
