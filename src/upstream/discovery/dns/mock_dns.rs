//! Mock DNS for tests.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{lock::lock, upstream::discovery::error::DiscoverError};

use super::{
    lookup::{IpVersion, Lookup, LookupFuture},
    name::DnsName,
    records::{RecordSet, Service},
    resolver::DnsResolver,
};

/// Mock DNS: names with their records, and outages, without a network. Cheap to clone; clones share
/// the records.
///
/// A name without records does not exist. Names are compared without their last dot, and there are
/// no search domains.
///
/// # Examples
///
/// ```
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use wsplice::{Pool, discovery::Dns, testing::MockDns};
///
/// let dns = MockDns::new(Duration::from_secs(30));
/// dns.set_addresses("chat.test.", ["10.0.0.1".parse()?, "10.0.0.2".parse()?]);
///
/// let pool = Pool::from_upstreams([]).build();
/// let follow = pool.follow(Dns::addresses("chat.test.", 8080)?.resolver(dns.resolver()));
/// follow.ready(Duration::from_secs(5)).await?;
/// assert_eq!(pool.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MockDns {
    ttl: Duration,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Debug, Default)]
struct Zone {
    addresses: HashMap<String, Vec<IpAddr>>,
    services: HashMap<String, Vec<Service>>,
    is_failing: bool,
    queries: u64,
}

impl MockDns {
    /// Creates a DNS without records. `ttl` is the time to live of those to come.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            zone: Arc::default(),
        }
    }

    /// Sets the A and AAAA records of a name; without an address, the name does not exist.
    pub fn set_addresses(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().collect();
        lock(&self.zone).addresses.insert(key(name), addresses);
    }

    /// Sets the SRV records of a name: the target, port and weight of each server, all of priority 0.
    pub fn set_services<'a>(
        &self,
        name: &str,
        servers: impl IntoIterator<Item = (&'a str, u16, u16)>,
    ) {
        let services = servers
            .into_iter()
            .map(|(target, port, weight)| Service {
                priority: 0,
                weight,
                port,
                target: target.to_owned(),
            })
            .collect();
        lock(&self.zone).services.insert(key(name), services);
    }

    /// Fails every query from now on, as servers do that respond with SERVFAIL.
    pub fn fail(&self) {
        lock(&self.zone).is_failing = true;
    }

    /// Responds with the records again.
    pub fn recover(&self) {
        lock(&self.zone).is_failing = false;
    }

    /// Returns the number of queries so far.
    #[must_use]
    pub fn queries(&self) -> u64 {
        lock(&self.zone).queries
    }

    /// Returns a resolver of these records, with a cache of its own.
    #[must_use]
    pub fn resolver(&self) -> DnsResolver {
        DnsResolver::with_lookup(Arc::new(self.clone()))
    }

    fn query<T>(&self, read: impl FnOnce(&Zone) -> Vec<T>) -> Result<RecordSet<T>, DiscoverError> {
        let mut zone = lock(&self.zone);
        zone.queries += 1;
        match zone.is_failing {
            true => Err(DiscoverError::failed("SERVFAIL")),
            false => Ok(RecordSet {
                records: read(&zone),
                ttl: self.ttl,
            }),
        }
    }
}

impl Lookup for MockDns {
    fn addresses<'a>(&'a self, name: &'a DnsName, version: IpVersion) -> LookupFuture<'a, IpAddr> {
        let is_version = |address: &IpAddr| address.is_ipv4() == (version == IpVersion::V4);
        let found = self.query(|zone| {
            let addresses = zone
                .addresses
                .get(&key(name.as_str()))
                .into_iter()
                .flatten();
            addresses.copied().filter(is_version).collect()
        });
        Box::pin(std::future::ready(found))
    }

    fn services<'a>(&'a self, name: &'a DnsName) -> LookupFuture<'a, Service> {
        let found = self.query(|zone| {
            let services = zone.services.get(&key(name.as_str())).into_iter().flatten();
            services.cloned().collect()
        });
        Box::pin(std::future::ready(found))
    }
}

fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::connect::Resolve;

    #[tokio::test(start_paused = true)]
    async fn names_have_their_records_and_outages_fail_all_of_them() {
        let dns = MockDns::new(Duration::from_secs(30));
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        dns.set_addresses("Chat.test.", [address]);
        let resolver = dns.resolver();
        let found = resolver.resolve("chat.test", 80).await.unwrap();
        assert_eq!(found, [(address, 80).into()]);
        assert_eq!(dns.queries(), 2, "one for each family");
        assert!(resolver.resolve("other.test", 80).await.is_err());
        dns.fail();
        assert!(dns.resolver().resolve("chat.test", 80).await.is_err());
        assert!(resolver.resolve("chat.test", 80).await.is_ok(), "cached");
        dns.recover();
        assert!(dns.resolver().resolve("chat.test", 80).await.is_ok());
    }
}
