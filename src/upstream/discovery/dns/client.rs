//! DNS client, by hickory.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType},
    system_conf::read_system_conf,
};

use crate::{error::BoxError, lock::lock, upstream::discovery::error::DiscoverError};

use super::{
    lookup::{IpVersion, Lookup, LookupFuture},
    name::DnsName,
    records::{RecordSet, Service},
};

/// DNS client, without a cache.
pub(super) struct DnsClient {
    servers: Servers,
    /// Created when first needed, and again after a failure: the system's settings may have
    /// changed.
    resolver: Mutex<Option<Arc<Resolver>>>,
}

#[derive(Clone, Debug)]
enum Servers {
    System,
    Given(Arc<[SocketAddr]>),
}

/// Resolver of hickory, with the search domains that it does not apply itself.
struct Resolver {
    hickory: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
}

impl DnsClient {
    pub(super) fn system() -> Self {
        Self::with_servers(Servers::System)
    }

    pub(super) fn servers(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::with_servers(Servers::Given(servers.into_iter().collect()))
    }

    fn with_servers(servers: Servers) -> Self {
        Self {
            servers,
            resolver: Mutex::default(),
        }
    }

    async fn lookup<T>(
        &self,
        name: &DnsName,
        kind: RecordType,
        read: fn(&RData) -> Option<T>,
    ) -> Result<RecordSet<T>, DiscoverError> {
        let failed = |error: BoxError| DiscoverError::failed(format!("{kind} of {name}: {error}"));
        let resolver = self.resolver().map_err(failed)?;
        // A lookup is dropped if it takes too long, which is a failure too.
        let guard = DiscardOnDrop(self);
        let found = resolver.lookup(name, kind).await;
        let found = found.map_err(|error| failed(error.into()))?;
        std::mem::forget(guard);
        Ok(found.filter_map(read))
    }

    fn resolver(&self) -> Result<Arc<Resolver>, BoxError> {
        let mut resolver = self.lock();
        if let Some(resolver) = &*resolver {
            return Ok(Arc::clone(resolver));
        }
        let new = Arc::new(Resolver::new(&self.servers)?);
        *resolver = Some(Arc::clone(&new));
        Ok(new)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Resolver>>> {
        lock(&self.resolver)
    }
}

/// Guard of a lookup: if the lookup fails or is dropped, discards the resolver, so that the
/// system's settings are read again before the next one.
struct DiscardOnDrop<'a>(&'a DnsClient);

impl Drop for DiscardOnDrop<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Lookup for DnsClient {
    fn addresses<'a>(&'a self, name: &'a DnsName, version: IpVersion) -> LookupFuture<'a, IpAddr> {
        let kind = match version {
            IpVersion::V4 => RecordType::A,
            IpVersion::V6 => RecordType::AAAA,
        };
        Box::pin(self.lookup(name, kind, |data| match data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        }))
    }

    fn services<'a>(&'a self, name: &'a DnsName) -> LookupFuture<'a, Service> {
        Box::pin(self.lookup(name, RecordType::SRV, |data| match data {
            RData::SRV(srv) => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_ascii(),
            }),
            _ => None,
        }))
    }
}

impl Resolver {
    fn new(servers: &Servers) -> Result<Self, BoxError> {
        let (config, mut options) = match servers {
            Servers::System => read_system_conf()?,
            Servers::Given(servers) => (config_of(servers), ResolverOpts::default()),
        };
        if let Servers::Given(_) = servers {
            options.use_hosts_file = ResolveHosts::Never;
            options.timeout = Duration::from_secs(2);
        }
        options.cache_size = 0;
        let (search, ndots) = (config.search().to_vec(), options.ndots);
        let provider = TokioRuntimeProvider::default();
        Ok(Self {
            hickory: TokioResolver::builder_with_config(config, provider)
                .with_options(options)
                .build()?,
            search,
            ndots,
        })
    }

    /// Returns the records of the first candidate that has any; no records if DNS reports that no
    /// candidate has some.
    ///
    /// # Errors
    ///
    /// The lookup of an earlier candidate failed. That name may be the intended one, and records of
    /// a later one may belong to a stranger.
    async fn lookup(&self, name: &DnsName, kind: RecordType) -> Result<RecordSet<RData>, NetError> {
        // An absence without a TTL is not remembered (RFC 2308 §5).
        let mut absent_for = Duration::MAX;
        for name in self.candidates(name)? {
            match self.hickory.lookup(name, kind).await {
                Ok(lookup) if !lookup.answers().is_empty() => {
                    let ttl = lookup.answers().iter().map(|record| record.ttl).min();
                    return Ok(RecordSet {
                        records: lookup.answers().iter().map(|it| it.data.clone()).collect(),
                        ttl: seconds(ttl),
                    });
                }
                Ok(_) => absent_for = Duration::ZERO,
                Err(NetError::Dns(DnsError::NoRecordsFound(absence))) => {
                    absent_for = absent_for.min(seconds(absence.negative_ttl));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(RecordSet {
            records: Vec::new(),
            ttl: absent_for,
        })
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

fn seconds(ttl: Option<u32>) -> Duration {
    Duration::from_secs(ttl.unwrap_or_default().into())
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

impl fmt::Debug for DnsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsClient")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(name: &str, search: &[&str], ndots: usize) -> Vec<String> {
        let servers = Servers::Given([([127, 0, 0, 1], 53).into()].into());
        let mut resolver = Resolver::new(&servers).unwrap();
        resolver.search = search
            .iter()
            .map(|domain| Name::from_ascii(domain).unwrap())
            .collect();
        resolver.ndots = ndots;
        let candidates = resolver.candidates(&DnsName::parse(name).unwrap()).unwrap();
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
