//! Upstreams in DNS.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    instant::FAR,
    net::connect::Address,
    upstream::Upstream,
    upstream::discovery::{Discover, DiscoverError, Discovering, pace::Pace},
};

use super::{
    answers::{Grace, Refresh},
    lookup::{IpVersion, Lookup},
    name::{DnsName, InvalidName},
    records::{Answer, Service, in_use},
    resolver::DnsResolver,
};

/// The upstreams that a name has in DNS, asked for again when their records run out.
///
/// * [`Dns::addresses`]: an upstream for each A or AAAA record, at the port given. It is known by
///   its IP address.
/// * [`Dns::services`]: an upstream for each SRV record (RFC 2782), at its target and port, with
///   its weight. Only the records of the lowest priority number are used. An upstream is known by
///   its target's name, which is looked up at each connect: where names outlive addresses (the
///   pods of a Kubernetes StatefulSet), so does what is hashed to them.
///
/// A dot at the end of the name says that it is complete; else the system's search domains are
/// tried, as its settings say.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, balance::Rendezvous, discovery::Dns};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::from_upstreams([]).balance(Rendezvous::by_query("room"));
/// let pods = Dns::addresses("chat.default.svc.cluster.local.", 8080)?;
/// let follow = pool.follow(pods); // for as long as it is held
/// # let _ = follow;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Dns {
    name: DnsName,
    question: Question,
    security: Security,
    lookup: Arc<dyn Lookup>,
    refresh: Refresh,
    grace: Grace,
    query_timeout: Duration,
    pace: Pace,
}

#[derive(Clone, Debug)]
enum Question {
    Addresses { port: u16, families: IpFamilies },
    Services,
}

#[derive(Clone, Debug)]
enum Security {
    Plain,
    /// TLS, and a certificate for this name.
    Tls(String),
}

/// Which addresses of a name are used.
///
/// Not both kinds unless that is asked for: a server that has both would be two upstreams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IpFamilies {
    /// IPv4 addresses, or IPv6 addresses if DNS says that there are none.
    #[default]
    PreferV4,
    /// IPv6 addresses, or IPv4 addresses if DNS says that there are none.
    PreferV6,
    /// IPv4 addresses alone.
    OnlyV4,
    /// IPv6 addresses alone.
    OnlyV6,
    /// All of both. If either question fails, the answer to the other is not used alone.
    Both,
}

impl Dns {
    /// An upstream for each address of this name.
    ///
    /// # Errors
    ///
    /// When it is no name, or the port is zero.
    pub fn addresses(name: &str, port: u16) -> Result<Self, InvalidName> {
        if port == 0 {
            return Err(InvalidName::port(name));
        }
        let question = Question::Addresses {
            port,
            families: IpFamilies::default(),
        };
        Ok(Self::asking(DnsName::parse(name)?, question))
    }

    /// An upstream for each server of this service: `_ws._tcp.chat.example.`, or whatever name
    /// has SRV records.
    ///
    /// # Errors
    ///
    /// When it is no name.
    pub fn services(name: &str) -> Result<Self, InvalidName> {
        Ok(Self::asking(DnsName::parse(name)?, Question::Services))
    }

    fn asking(name: DnsName, question: Question) -> Self {
        Self {
            name,
            question,
            security: Security::Plain,
            lookup: Arc::new(DnsResolver::system()),
            refresh: Refresh::between(Duration::from_secs(1), Duration::from_secs(300)),
            grace: Grace::of(Duration::from_secs(30)),
            query_timeout: Duration::from_secs(10),
            pace: Pace::default(),
        }
    }

    /// Asks this resolver, and not the system's servers.
    #[must_use]
    pub fn resolver(mut self, resolver: DnsResolver) -> Self {
        self.lookup = Arc::new(resolver);
        self
    }

    /// Says which addresses of the name are used; SRV records have names for targets, and their
    /// addresses are the connector's business.
    #[must_use]
    pub fn families(mut self, choice: IpFamilies) -> Self {
        if let Question::Addresses { families, .. } = &mut self.question {
            *families = choice;
        }
        self
    }

    /// Reaches the upstreams by TLS (feature `rustls`). Their certificates must be for the name
    /// that was looked up, of a service for the name after its labels with underscores: what an
    /// unprotected answer says is no proof of who somebody is (RFC 6125 §7.2).
    #[must_use]
    pub fn tls(self) -> Self {
        let name = self.name.host().to_owned();
        self.tls_with_server_name(name)
    }

    /// Reaches the upstreams by TLS, and their certificates must be for this name.
    #[must_use]
    pub fn tls_with_server_name(mut self, server_name: impl Into<String>) -> Self {
        self.security = Security::Tls(server_name.into());
        self
    }

    /// Sets how soon and how late it is asked again, whatever the records say: after 1 s at the
    /// soonest and 5 min at the latest unless set. In between, the lowest TTL counts, and a little
    /// chance.
    #[must_use]
    pub fn refresh(mut self, soonest: Duration, latest: Duration) -> Self {
        let shortest = Duration::from_millis(10);
        self.refresh = Refresh::between(soonest.clamp(shortest, FAR / 2), latest.min(FAR / 2));
        self
    }

    /// Sets how long the last upstreams are kept when DNS says that there are none (the name does
    /// not exist, or has no such records that could be used); 30 s unless set, [`Duration::MAX`]
    /// for ever. Then the pool is emptied.
    ///
    /// A service whose target is the root, which says that it is decidedly not available (RFC
    /// 2782), empties it at once.
    ///
    /// Answers that do not come, and those that tell of a failure, never empty it.
    #[must_use]
    pub fn empty_grace(mut self, lasts: Duration) -> Self {
        self.grace = Grace::of(lasts);
        self
    }

    /// Sets how long an answer may take, all attempts included; 10 s unless set.
    #[must_use]
    pub fn query_timeout(mut self, query_timeout: Duration) -> Self {
        self.query_timeout = query_timeout;
        self
    }

    async fn ask(&self) -> Result<Answer<Upstream>, DiscoverError> {
        match self.question {
            Question::Addresses { port, families } => {
                let mut found = self.ask_addresses(families).await?;
                found.records.sort_unstable();
                found.records.dedup();
                let upstream = |ip: IpAddr| self.upstream(ip.to_string(), port);
                Ok(found.map(|ips| ips.into_iter().map(upstream).collect()))
            }
            Question::Services => {
                let found = self.lookup.services(&self.name).await?;
                if found.records.iter().all(Service::is_useless) {
                    return Err(DiscoverError::NoRecords {
                        name: self.name.as_str().into(),
                    });
                }
                Ok(found.map(|services| {
                    in_use(services)
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

    async fn ask_addresses(&self, families: IpFamilies) -> Result<Answer<IpAddr>, DiscoverError> {
        let ask = |version| self.lookup.addresses(&self.name, version);
        let (first, second) = match families {
            IpFamilies::OnlyV4 => return ask(IpVersion::V4).await,
            IpFamilies::OnlyV6 => return ask(IpVersion::V6).await,
            IpFamilies::PreferV4 | IpFamilies::Both => (IpVersion::V4, IpVersion::V6),
            IpFamilies::PreferV6 => (IpVersion::V6, IpVersion::V4),
        };
        match (ask(first).await, families) {
            (Ok(found), IpFamilies::Both) => match ask(second).await {
                Ok(more) => Ok(found.and(more)),
                Err(DiscoverError::NoRecords { .. }) => Ok(found),
                Err(error) => Err(error),
            },
            (Err(DiscoverError::NoRecords { .. }), _) => ask(second).await,
            (found, _) => found,
        }
    }

    fn upstream(&self, host: String, port: u16) -> Upstream {
        Upstream::from_address(match &self.security {
            Security::Plain => Address::tcp(host, port),
            Security::Tls(name) => Address::tls_with_server_name(name, host, port),
        })
    }

    /// Makes of an answer what the pool is told, and decides when to ask again.
    fn take(
        &mut self,
        answer: Result<Answer<Upstream>, DiscoverError>,
        now: Instant,
        dice: f64,
    ) -> Result<Vec<Upstream>, DiscoverError> {
        let latest = self.refresh.latest();
        match answer {
            Ok(answer) => {
                self.grace.found();
                self.pace
                    .succeeded(now, self.refresh.wait(answer.ttl, dice));
                Ok(answer.records)
            }
            Err(error @ DiscoverError::NoRecords { .. }) => {
                let left = self.grace.empty(now);
                // Not past the end of the grace, but not ever more often towards it either.
                let until_over = match left {
                    Duration::ZERO => latest,
                    left => latest.min(left.max(Duration::from_secs(1))),
                };
                self.pace.failed(now, until_over, dice);
                match left {
                    Duration::ZERO => Ok(Vec::new()),
                    _ => Err(error),
                }
            }
            Err(error) => {
                self.pace.failed(now, latest, dice);
                Err(error)
            }
        }
    }
}

impl Discover for Dns {
    fn discover(&mut self) -> Discovering<'_> {
        Box::pin(async {
            if let Some(due) = self.pace.due() {
                sleep_until(due).await;
            }
            let after = self.query_timeout;
            let answer = match timeout(after, self.ask()).await {
                Ok(answer) => answer,
                Err(_) => Err(DiscoverError::TimedOut { after }),
            };
            Some(self.take(answer, Instant::now(), fastrand::f64()))
        })
    }
}

#[cfg(test)]
mod tests;
