//! DNS as a source of upstreams.

use std::{net::IpAddr, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    escaped::Escaped,
    instant::{FAR, saturating_add},
    net::connect::Address,
    upstream::{
        discovery::{
            discover::{Discover, DiscoverFuture},
            error::DiscoverError,
            poll_schedule::PollSchedule,
        },
        upstream::Upstream,
    },
};

use super::{
    lookup::IpVersion,
    name::{DnsName, InvalidName},
    records::{RecordSet, Service, select_services},
    refresh::{EmptyGrace, Keep, Refresh},
    resolver::DnsResolver,
};

/// DNS source: the upstreams of a name, queried again when their records expire.
///
/// * [`Dns::addresses`]: one upstream for each A or AAAA record, at the given port. The upstream's
///   name is its IP address.
/// * [`Dns::services`]: one upstream for each SRV record (RFC 2782), at its target and port, with
///   its weight. Only the records of the lowest priority number are used. The upstream's name is
///   the target's, which is looked up at each connect: where names outlive addresses (the pods of a
///   Kubernetes StatefulSet), so do the keys that are hashed to them.
///
/// A dot at the end of the name marks it as complete; otherwise the system's search domains are
/// tried, according to its settings.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`resolver`](Self::resolver) | [`DnsResolver::system`] | | |
/// | [`families`](Self::families) | [`IpFamilies::PreferV4`] | | a dual-stack server is one upstream |
/// | [`tls`](Self::tls) | off | | |
/// | [`refresh`](Self::refresh) | 1 to 300 | seconds | bounds the TTL |
/// | [`empty_grace`](Self::empty_grace) | 30 | seconds | a zone may be empty while it is reloaded |
/// | [`query_timeout`](Self::query_timeout) | 10 | seconds | a few retransmissions |
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, balance::Rendezvous, discovery::Dns};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::from_upstreams([]).balance(Rendezvous::by_query("room")).build();
/// let pods = Dns::addresses("chat.default.svc.cluster.local.", 8080)?;
/// let follow = pool.follow(pods); // for as long as it is held
/// # let _ = follow;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Dns {
    name: DnsName,
    query: Query,
    security: Security,
    resolver: DnsResolver,
    refresh: Refresh,
    grace: EmptyGrace,
    keep: Keep,
    query_timeout: Duration,
    schedule: PollSchedule,
}

#[derive(Clone, Debug)]
enum Query {
    Addresses { port: u16, families: IpFamilies },
    Services,
}

#[derive(Clone, Debug)]
enum Security {
    Plain,
    /// TLS, with a certificate for this name.
    Tls(String),
}

/// Address families of a name that are used.
///
/// Both families are used only if asked for: a server that has both would be two upstreams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IpFamilies {
    /// IPv4 addresses, or IPv6 addresses if DNS reports no IPv4 ones.
    #[default]
    PreferV4,
    /// IPv6 addresses, or IPv4 addresses if DNS reports no IPv6 ones.
    PreferV6,
    /// IPv4 addresses only.
    OnlyV4,
    /// IPv6 addresses only.
    OnlyV6,
    /// All addresses of both families. If either query fails, the other's result is not used alone.
    Both,
}

impl Dns {
    /// Creates a source with an upstream for each address of this name.
    ///
    /// # Errors
    ///
    /// The name is invalid, or the port is zero.
    pub fn addresses(name: &str, port: u16) -> Result<Self, InvalidName> {
        if port == 0 {
            return Err(InvalidName::port(name));
        }
        let query = Query::Addresses {
            port,
            families: IpFamilies::default(),
        };
        Ok(Self::with_query(DnsName::parse(name)?, query))
    }

    /// Creates a source with an upstream for each server of this service: `_ws._tcp.chat.example.`,
    /// or any other name that has SRV records.
    ///
    /// # Errors
    ///
    /// The name is invalid.
    pub fn services(name: &str) -> Result<Self, InvalidName> {
        Ok(Self::with_query(DnsName::parse(name)?, Query::Services))
    }

    fn with_query(name: DnsName, query: Query) -> Self {
        Self {
            name,
            query,
            security: Security::Plain,
            resolver: DnsResolver::system(),
            refresh: Refresh::between(Duration::from_secs(1), Duration::from_secs(300)),
            grace: EmptyGrace::new(Duration::from_secs(30)),
            keep: Keep::default(),
            query_timeout: Duration::from_secs(10),
            schedule: PollSchedule::default(),
        }
    }

    /// Uses this resolver instead of the system's servers.
    #[must_use]
    pub fn resolver(mut self, resolver: DnsResolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// Sets the address families that are used. SRV records have names as targets; the connector
    /// resolves these.
    #[must_use]
    pub fn families(mut self, choice: IpFamilies) -> Self {
        if let Query::Addresses { families, .. } = &mut self.query {
            *families = choice;
        }
        self
    }

    /// Connects to the upstreams by TLS (feature `rustls`). Their certificates must be for the name
    /// that was looked up, for a service without its labels with underscores: an unsigned DNS
    /// response does not prove an identity (RFC 6125 §7.2).
    #[must_use]
    pub fn tls(self) -> Self {
        let name = self.name.host().to_owned();
        self.tls_with_server_name(name)
    }

    /// Connects to the upstreams by TLS; their certificates must be for this name.
    #[must_use]
    pub fn tls_with_server_name(mut self, server_name: impl Into<String>) -> Self {
        self.security = Security::Tls(server_name.into());
        self
    }

    /// Sets the bounds of the time until the next query: 1 s and 5 min by default. Within them the
    /// lowest TTL counts, plus some jitter.
    #[must_use]
    pub fn refresh(mut self, min: Duration, max: Duration) -> Self {
        let shortest = Duration::from_millis(10);
        self.refresh = Refresh::between(min.clamp(shortest, FAR / 2), max.min(FAR / 2));
        self
    }

    /// Sets how long the last upstreams are kept when DNS reports that there are none (the name
    /// does not exist, or has no usable records); 30 s by default, [`Duration::MAX`] for ever.
    /// After that the pool is emptied.
    ///
    /// A service whose target is the root, which declares it unavailable (RFC 2782), empties the
    /// pool at once.
    ///
    /// Timeouts and error responses do not count. They keep the targets of a service for ever, and
    /// addresses for [`DnsResolver::max_stale`] after their TTL has ended.
    #[must_use]
    pub fn empty_grace(mut self, duration: Duration) -> Self {
        self.grace = EmptyGrace::new(duration);
        self
    }

    /// Sets the maximum duration of a query, including all its attempts; 10 s by default.
    #[must_use]
    pub fn query_timeout(mut self, query_timeout: Duration) -> Self {
        self.query_timeout = query_timeout;
        self
    }

    async fn resolve(&self) -> Result<RecordSet<Upstream>, DiscoverError> {
        match self.query {
            Query::Addresses { port, families } => {
                let mut found = self.resolve_addresses(families).await?;
                found.records.sort_unstable();
                found.records.dedup();
                let upstream = |ip: IpAddr| self.upstream(ip.to_string(), port);
                Ok(found.map(|ips| ips.into_iter().map(upstream).collect()))
            }
            Query::Services => {
                let query = self.resolver.query_services(&self.name, self.query_timeout);
                let found = query.await?;
                if found.records.iter().all(Service::is_unreachable) {
                    return Err(DiscoverError::NoRecords {
                        name: self.name.as_str().into(),
                    });
                }
                Ok(found.map(|services| {
                    select_services(services)
                        .into_iter()
                        .map(|service| {
                            self.upstream(service.target, service.port)
                                .weight(service.weight.into())
                        })
                        .collect()
                }))
            }
        }
    }

    async fn resolve_addresses(
        &self,
        families: IpFamilies,
    ) -> Result<RecordSet<IpAddr>, DiscoverError> {
        let query = |version| {
            self.resolver
                .query_addresses(&self.name, version, self.query_timeout)
        };
        let (first, second) = match families {
            IpFamilies::OnlyV4 => return query(IpVersion::V4).await,
            IpFamilies::OnlyV6 => return query(IpVersion::V6).await,
            IpFamilies::PreferV4 | IpFamilies::Both => (IpVersion::V4, IpVersion::V6),
            IpFamilies::PreferV6 => (IpVersion::V6, IpVersion::V4),
        };
        match (query(first).await, families) {
            (Ok(found), IpFamilies::Both) => match query(second).await {
                Ok(more) => Ok(found.merge(more)),
                Err(DiscoverError::NoRecords { .. }) => Ok(found),
                Err(error) => Err(error),
            },
            (Err(DiscoverError::NoRecords { .. }), _) => query(second).await,
            (found, _) => found,
        }
    }

    fn upstream(&self, host: String, port: u16) -> Upstream {
        Upstream::from_address(match &self.security {
            Security::Plain => Address::tcp(host, port),
            Security::Tls(name) => Address::tls_with_server_name(name, host, port),
        })
    }

    /// Returns the set that empties the pool.
    fn empty(&mut self) -> Vec<Upstream> {
        self.keep = Keep::Nothing;
        Vec::new()
    }

    /// Converts the result of a query into the set for the pool, and schedules the next query.
    fn accept(
        &mut self,
        result: Result<RecordSet<Upstream>, DiscoverError>,
        now: Instant,
        random: f64,
    ) -> Result<Vec<Upstream>, DiscoverError> {
        let max = self.refresh.max();
        match result {
            Ok(found) => {
                self.grace.reset();
                self.keep = match self.query {
                    Query::Services => Keep::Names,
                    Query::Addresses { .. } => {
                        let valid_for = found.ttl.saturating_add(self.resolver.limits().max_stale);
                        Keep::AddressesUntil(saturating_add(now, valid_for))
                    }
                };
                self.schedule
                    .after(now, self.refresh.delay(found.ttl, random));
                Ok(found.records)
            }
            Err(error @ DiscoverError::NoRecords { .. }) => {
                let left = self.grace.remaining(now);
                // The next query comes at the end of the grace at the latest, but not ever more
                // often towards it.
                let until_over = match left {
                    Duration::ZERO => max,
                    left => max.min(left.max(Duration::from_secs(1))),
                };
                self.schedule.failed(now, until_over, random);
                match left {
                    Duration::ZERO => Ok(self.empty()),
                    _ => Err(error),
                }
            }
            Err(error) => {
                let recheck = self.resolver.limits().recheck;
                match self.keep.recheck(now, recheck, random) {
                    Some(Duration::ZERO) => {
                        tracing::warn!(
                            name = %Escaped(&self.name),
                            error = %Escaped(format_args!("{error:#}")),
                            "the last addresses are too old"
                        );
                        self.schedule.failed(now, max, random);
                        Ok(self.empty())
                    }
                    Some(delay) => {
                        self.schedule.after(now, delay);
                        Err(error)
                    }
                    None => {
                        self.schedule.failed(now, max, random);
                        Err(error)
                    }
                }
            }
        }
    }
}

impl Discover for Dns {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        Box::pin(async {
            if let Some(due) = self.schedule.due() {
                sleep_until(due).await;
            }
            let after = self.query_timeout;
            let result = match timeout(after, self.resolve()).await {
                Ok(result) => result,
                Err(_) => Err(DiscoverError::TimedOut { after }),
            };
            Some(self.accept(result, Instant::now(), fastrand::f64()))
        })
    }
}

#[cfg(test)]
mod tests;
