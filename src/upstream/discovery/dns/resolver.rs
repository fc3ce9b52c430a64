//! DNS resolver: lookups with a cache, for discovery and for connects.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::upstream::discovery::error::DiscoverError;

use super::{
    cache::{Cache, no_records},
    client::DnsClient,
    entry::StaleLimits,
    events::{DnsEvent, EventSink},
    lookup::{IpVersion, Lookup},
    name::DnsName,
    records::{RecordSet, Service},
};

/// Upper bound of [`DnsResolver::max_stale`]: entries are not kept for ever.
const LONGEST_STALE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest duration of a query for a connect, including all its attempts.
const QUERY_LIMIT: Duration = Duration::from_secs(10);

/// DNS resolver that queries the system's servers or given ones.
///
/// Queries use UDP, and TCP if a response does not fit. Callers that look up the same name share a
/// query. Cheap to clone; clones share the cache.
///
/// The type is also a [`Resolve`](crate::connect::Resolve), and can replace the system's resolver
/// for connects: it blocks no thread, and caches addresses for their TTL. Discovery gets the
/// current records instead.
///
/// # When DNS fails
///
/// Servers that fail, refuse or do not respond are no reason to lose upstreams that were right a
/// minute ago, so connects go on with the last addresses of a name (RFC 8767):
///
/// * A response is always used. A name that does not exist, or has no addresses, has none.
/// * Otherwise the last addresses are used for [`max_stale`](Self::max_stale) after their TTL has
///   ended. A lookup waits 1.8 s for the servers before it uses them, or half of the
///   connect timeout if that is shorter.
/// * After a failure the servers are queried for this name again after
///   [`failure_recheck`](Self::failure_recheck) at the earliest.
/// * An address that fails to connect meanwhile is dropped until DNS responds again.
///
/// Each of these is logged, and reported to [`on_event`](Self::on_event).
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`max_stale`](Self::max_stale) | 3600 | seconds | a cluster gives a pod's address away again |
/// | [`failure_recheck`](Self::failure_recheck) | 30 | seconds | RFC 8767 §5 |
/// | [`on_event`](Self::on_event) | none | | |
///
/// # Examples
///
/// ```
/// use wsplice::{connect::Connector, discovery::DnsResolver};
///
/// let connector = Connector::new().resolver(DnsResolver::system());
/// # let _ = connector;
/// ```
#[derive(Clone)]
pub struct DnsResolver {
    lookup: Arc<dyn Lookup>,
    limits: StaleLimits,
    sink: EventSink,
    caches: Arc<Caches>,
}

#[derive(Debug)]
struct Caches {
    addresses: Cache<IpVersion, IpAddr>,
    services: Cache<(), Service>,
}

impl DnsResolver {
    /// Creates a resolver from the servers, search domains and options in `/etc/resolv.conf` and
    /// the names in `/etc/hosts`, or from their equivalent on other systems. They are read at the
    /// first lookup, and again after a failure.
    #[must_use]
    pub fn system() -> Self {
        Self::with_lookup(Arc::new(DnsClient::system()))
    }

    /// Creates a resolver with these servers only, without search domains or names from files.
    #[must_use]
    pub fn servers(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::with_lookup(Arc::new(DnsClient::servers(servers)))
    }

    pub(super) fn with_lookup(lookup: Arc<dyn Lookup>) -> Self {
        let limits = StaleLimits {
            max_stale: Duration::from_secs(3600),
            recheck: Duration::from_secs(30),
        };
        Self {
            lookup,
            limits,
            sink: EventSink::default(),
            caches: Arc::new(Caches::new(limits, &EventSink::default())),
        }
    }

    /// Sets how long addresses are used after their TTL has ended, as long as DNS fails; one hour
    /// by default, seven days at most. Zero turns this off.
    ///
    /// The limit applies to [`Dns::addresses`](super::Dns::addresses) too: the pool is emptied after this
    /// time.
    ///
    /// The resolver gets a cache of its own, and so it does by the other settings.
    #[must_use]
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.limits.max_stale = max_stale.min(LONGEST_STALE);
        self.with_new_caches()
    }

    /// Sets the shortest time between a failed query and the next one for the same name, while the
    /// last addresses are used; 30 s by default.
    #[must_use]
    pub fn failure_recheck(mut self, failure_recheck: Duration) -> Self {
        self.limits.recheck = failure_recheck;
        self.with_new_caches()
    }

    /// Sets a receiver of events. It is called by the task of a connect, so it must not block.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::discovery::DnsResolver;
    ///
    /// let resolver = DnsResolver::system().on_event(|event| eprintln!("DNS: {event}"));
    /// # let _ = resolver;
    /// ```
    #[must_use]
    pub fn on_event(mut self, receive: impl Fn(&DnsEvent) + Send + Sync + 'static) -> Self {
        self.sink = EventSink::new(receive);
        self.with_new_caches()
    }

    fn with_new_caches(mut self) -> Self {
        self.caches = Arc::new(Caches::new(self.limits, &self.sink));
        self
    }

    pub(super) const fn limits(&self) -> &StaleLimits {
        &self.limits
    }

    /// Queries the servers for the current addresses of a name; see [`Cache::query`].
    ///
    /// # Errors
    ///
    /// [`DiscoverError::NoRecords`] only if DNS reports that there are none; a timeout or a
    /// malformed message is another failure.
    pub(super) async fn query_addresses(
        &self,
        name: &DnsName,
        version: IpVersion,
        limit: Duration,
    ) -> Result<RecordSet<IpAddr>, DiscoverError> {
        let key = (name.clone(), version);
        let call = self.address_query(version);
        some_records(name, self.caches.addresses.query(key, limit, call).await)
    }

    /// As [`query_addresses`](Self::query_addresses), for the SRV records of a name.
    ///
    /// # Errors
    ///
    /// As there.
    pub(super) async fn query_services(
        &self,
        name: &DnsName,
        limit: Duration,
    ) -> Result<RecordSet<Service>, DiscoverError> {
        let lookup = Arc::clone(&self.lookup);
        let call = |name: DnsName| async move { lookup.services(&name).await };
        let key = (name.clone(), ());
        some_records(name, self.caches.services.query(key, limit, call).await)
    }

    /// Returns the addresses of a name for a connect; see [`Cache::resolve`].
    ///
    /// # Errors
    ///
    /// There are none, or DNS fails.
    pub(super) async fn resolve_addresses(
        &self,
        name: &DnsName,
        version: IpVersion,
        patience: Duration,
    ) -> Result<Vec<IpAddr>, DiscoverError> {
        let key = (name.clone(), version);
        let call = self.address_query(version);
        let addresses = &self.caches.addresses;
        addresses.resolve(key, patience, QUERY_LIMIT, call).await
    }

    /// Drops an address that could not be connected, if it is used although its TTL has ended.
    pub(super) fn drop_stale(&self, name: DnsName, address: IpAddr) {
        let version = match address {
            IpAddr::V4(_) => IpVersion::V4,
            IpAddr::V6(_) => IpVersion::V6,
        };
        let key = (name, version);
        if self.caches.addresses.drop_stale(&key, &address) {
            self.sink.emit(&DnsEvent::AddressDropped {
                name: key.0.as_str().into(),
                address,
            });
        }
    }

    fn address_query(
        &self,
        version: IpVersion,
    ) -> impl FnOnce(DnsName) -> super::lookup::LookupFuture<'static, IpAddr> {
        let lookup = Arc::clone(&self.lookup);
        move |name| Box::pin(async move { lookup.addresses(&name, version).await })
    }
}

fn some_records<T>(
    name: &DnsName,
    result: Result<RecordSet<T>, DiscoverError>,
) -> Result<RecordSet<T>, DiscoverError> {
    match result {
        Ok(found) if found.records.is_empty() => Err(no_records(name)),
        result => result,
    }
}

impl Caches {
    fn new(limits: StaleLimits, sink: &EventSink) -> Self {
        Self {
            addresses: Cache::new(limits, sink.clone()),
            services: Cache::new(limits, sink.clone()),
        }
    }
}

impl Default for DnsResolver {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsResolver")
            .field("lookup", &self.lookup)
            .field("limits", &self.limits)
            .field("caches", &self.caches)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
