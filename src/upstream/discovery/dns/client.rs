//! DNS resolver, by hickory.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, Record, RecordType},
    system_conf::read_system_conf,
};

use crate::{error::BoxError, upstream::discovery::error::DiscoverError};

use super::{
    lookup::{IpVersion, Lookup, LookupFuture},
    name::DnsName,
    records::{RecordSet, Service},
};

/// DNS resolver that queries the system's servers or given ones.
///
/// Queries use UDP, and TCP if a response does not fit. Cheap to clone.
///
/// The type is also a [`Resolve`](crate::connect::Resolve), and can replace the system's resolver
/// for connects: it blocks no thread, and caches addresses for their TTL. Discovery uses no cache,
/// so that it gets the current records.
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
    servers: Servers,
    /// Created when first needed, and again after a failure: the system's settings may have
    /// changed.
    resolvers: Arc<Mutex<Option<Arc<Resolvers>>>>,
}

#[derive(Clone, Debug)]
enum Servers {
    System,
    Given(Arc<[SocketAddr]>),
}

/// Cache use of a lookup.
#[derive(Clone, Copy, Debug)]
pub(super) enum CacheUse {
    /// Queries the servers, for the current records.
    None,
    /// Uses cached records until their TTL ends.
    Ttl,
}

/// Resolvers with the same settings, with and without a cache.
struct Resolvers {
    uncached: TokioResolver,
    cached: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
}

impl DnsResolver {
    /// Creates a resolver from the servers, search domains and options in `/etc/resolv.conf` and
    /// the names in `/etc/hosts`, or from their equivalent on other systems. They are read at the
    /// first lookup, and again after a failure.
    #[must_use]
    pub fn system() -> Self {
        Self::with_servers(Servers::System)
    }

    /// Creates a resolver with these servers only, without search domains or names from files.
    #[must_use]
    pub fn servers(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::with_servers(Servers::Given(servers.into_iter().collect()))
    }

    fn with_servers(servers: Servers) -> Self {
        Self {
            servers,
            resolvers: Arc::default(),
        }
    }

    pub(super) async fn lookup<T>(
        &self,
        name: &DnsName,
        kind: RecordType,
        cache: CacheUse,
        read: fn(&RData) -> Option<T>,
    ) -> Result<RecordSet<T>, DiscoverError> {
        let failed = |error: BoxError| DiscoverError::failed(format!("{kind} of {name}: {error}"));
        let resolvers = self.resolvers().map_err(failed)?;
        // Connects time out for reasons of their own, so a lookup for them may be dropped.
        let guard = matches!(cache, CacheUse::None).then(|| DiscardOnDrop(self));
        match resolvers.lookup(name, kind, cache).await {
            Ok(records) => {
                std::mem::forget(guard);
                let found: Vec<_> = records
                    .iter()
                    .filter_map(|record| read(&record.data))
                    .collect();
                if found.is_empty() {
                    return Err(DiscoverError::NoRecords {
                        name: name.as_str().into(),
                    });
                }
                let ttl = records.iter().map(|record| record.ttl).min();
                Ok(RecordSet {
                    records: found,
                    ttl: Duration::from_secs(ttl.unwrap_or_default().into()),
                })
            }
            Err(error) => {
                self.discard_resolvers();
                Err(failed(error.into()))
            }
        }
    }

    pub(super) async fn ips(
        &self,
        name: &DnsName,
        version: IpVersion,
        cache: CacheUse,
    ) -> Result<RecordSet<IpAddr>, DiscoverError> {
        let kind = match version {
            IpVersion::V4 => RecordType::A,
            IpVersion::V6 => RecordType::AAAA,
        };
        self.lookup(name, kind, cache, |data| match data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        })
        .await
    }

    fn resolvers(&self) -> Result<Arc<Resolvers>, BoxError> {
        let mut resolvers = self.lock();
        if let Some(resolvers) = &*resolvers {
            return Ok(Arc::clone(resolvers));
        }
        let new = Arc::new(Resolvers::new(&self.servers)?);
        *resolvers = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Discards the resolvers, so that the system's settings are read again before the next lookup.
    fn discard_resolvers(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Resolvers>>> {
        self.resolvers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of a lookup: discards the resolvers if the lookup is dropped because it takes too long.
struct DiscardOnDrop<'a>(&'a DnsResolver);

impl Drop for DiscardOnDrop<'_> {
    fn drop(&mut self) {
        self.0.discard_resolvers();
    }
}

impl Default for DnsResolver {
    fn default() -> Self {
        Self::system()
    }
}

impl Lookup for DnsResolver {
    fn addresses<'a>(&'a self, name: &'a DnsName, version: IpVersion) -> LookupFuture<'a, IpAddr> {
        Box::pin(self.ips(name, version, CacheUse::None))
    }

    fn services<'a>(&'a self, name: &'a DnsName) -> LookupFuture<'a, Service> {
        let read = |data: &RData| match data {
            RData::SRV(srv) => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_ascii(),
            }),
            _ => None,
        };
        Box::pin(self.lookup(name, RecordType::SRV, CacheUse::None, read))
    }
}

impl Resolvers {
    fn new(servers: &Servers) -> Result<Self, BoxError> {
        let (config, mut options) = match servers {
            Servers::System => read_system_conf()?,
            Servers::Given(servers) => (config_of(servers), ResolverOpts::default()),
        };
        if let Servers::Given(_) = servers {
            options.use_hosts_file = ResolveHosts::Never;
            options.timeout = Duration::from_secs(2);
        }
        let resolver = |options| {
            let provider = TokioRuntimeProvider::default();
            TokioResolver::builder_with_config(config.clone(), provider)
                .with_options(options)
                .build()
        };
        let cached = resolver(options.clone())?;
        options.cache_size = 0;
        Ok(Self {
            search: config.search().to_vec(),
            ndots: options.ndots,
            uncached: resolver(options)?,
            cached,
        })
    }

    /// Returns the records of the first candidate that has any; empty if DNS reports that no
    /// candidate has records.
    ///
    /// # Errors
    ///
    /// The lookup of an earlier candidate failed. That name may be the intended one, and records of
    /// a later one may belong to a stranger.
    async fn lookup(
        &self,
        name: &DnsName,
        kind: RecordType,
        cache: CacheUse,
    ) -> Result<Vec<Record>, NetError> {
        let resolver = match cache {
            CacheUse::None => &self.uncached,
            CacheUse::Ttl => &self.cached,
        };
        for name in self.candidates(name)? {
            match resolver.lookup(name, kind).await {
                Ok(lookup) if !lookup.answers().is_empty() => return Ok(lookup.answers().to_vec()),
                Ok(_) => {}
                Err(error) if error.is_no_records_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Vec::new())
    }

    /// Returns the complete names that a name can mean, in order (`search` and `ndots` in
    /// resolv.conf(5)).
    fn candidates(&self, name: &DnsName) -> Result<Vec<Name>, NetError> {
        let mut complete = Name::from_ascii(name.as_str())?;
        complete.set_fqdn(true);
        if name.is_absolute() {
            return Ok(vec![complete]);
        }
        // Search domains with which the name becomes too long are skipped.
        let searched = self
            .search
            .iter()
            .filter_map(|domain| complete.clone().append_domain(domain).ok());
        let mut candidates: Vec<_> = searched.collect();
        match name.dots() >= self.ndots {
            true => candidates.insert(0, complete),
            false => candidates.push(complete),
        }
        Ok(candidates)
    }
}

fn config_of(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |server: &SocketAddr| {
        let connections =
            [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
        NameServerConfig::new(server.ip(), true, connections.to_vec())
    };
    ResolverConfig::from_name_servers(servers.iter().map(server).collect())
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsResolver")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(name: &str, search: &[&str], ndots: usize) -> Vec<String> {
        let servers = Servers::Given([([127, 0, 0, 1], 53).into()].into());
        let mut resolvers = Resolvers::new(&servers).unwrap();
        resolvers.search = search
            .iter()
            .map(|domain| Name::from_ascii(domain).unwrap())
            .collect();
        resolvers.ndots = ndots;
        let candidates = resolvers
            .candidates(&DnsName::parse(name).unwrap())
            .unwrap();
        candidates.iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn a_name_is_searched_for_as_resolv_conf_says() {
        let search = ["default.svc.cluster.local.", "cluster.local"];
        assert_eq!(
            candidates("chat", &search, 5),
            [
                "chat.default.svc.cluster.local.",
                "chat.cluster.local.",
                "chat."
            ]
        );
        assert_eq!(
            candidates("chat.example", &search[1..], 1),
            ["chat.example.", "chat.example.cluster.local."]
        );
        assert_eq!(candidates("chat.example.", &search, 5), ["chat.example."]);
        let long = [vec!["a"; 120].join(".")];
        assert_eq!(
            candidates("chat.example.chat.example", &[&long[0]], 9),
            ["chat.example.chat.example."]
        );
    }
}
