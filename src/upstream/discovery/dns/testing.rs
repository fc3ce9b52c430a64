//! Fake DNS for the tests of resolver and source.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    lookup::{IpVersion, Lookup, LookupFuture},
    name::DnsName,
    records::{RecordSet, Service},
    resolver::DnsResolver,
};
use crate::upstream::discovery::error::DiscoverError;

/// Records of the fake resolver, by kind.
#[derive(Debug, Default)]
pub(super) struct Zone {
    pub(super) v4: Option<Result<RecordSet<IpAddr>, DiscoverError>>,
    pub(super) v6: Option<Result<RecordSet<IpAddr>, DiscoverError>>,
    pub(super) srv: Option<Result<RecordSet<Service>, DiscoverError>>,
    /// Times and kinds of the queries.
    asked: Vec<(Instant, &'static str)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fake(Arc<Mutex<Zone>>);

impl Fake {
    pub(super) fn resolver(&self) -> DnsResolver {
        DnsResolver::with_lookup(Arc::new(self.clone()))
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.0.lock().unwrap());
    }

    pub(super) fn asked(&self) -> Vec<(Instant, &'static str)> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    /// `None` in the zone means that the query gets no response.
    fn answer<'a, T: Clone + Send + 'a>(
        &self,
        kind: &'static str,
        read: impl FnOnce(&Zone) -> Option<Result<RecordSet<T>, DiscoverError>>,
    ) -> LookupFuture<'a, T> {
        let mut zone = self.0.lock().unwrap();
        zone.asked.push((Instant::now(), kind));
        let answer = read(&zone);
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

impl Lookup for Fake {
    fn addresses<'a>(&'a self, _name: &'a DnsName, version: IpVersion) -> LookupFuture<'a, IpAddr> {
        match version {
            IpVersion::V4 => self.answer("A", |zone| zone.v4.clone()),
            IpVersion::V6 => self.answer("AAAA", |zone| zone.v6.clone()),
        }
    }

    fn services<'a>(&'a self, _name: &'a DnsName) -> LookupFuture<'a, Service> {
        self.answer("SRV", |zone| zone.srv.clone())
    }
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn ips(ips: &[&str], ttl: u64) -> Option<Result<RecordSet<IpAddr>, DiscoverError>> {
    Some(Ok(RecordSet {
        records: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        ttl: secs(ttl),
    }))
}

pub(super) fn no_records<T>() -> Option<Result<RecordSet<T>, DiscoverError>> {
    Some(Ok(RecordSet {
        records: Vec::new(),
        ttl: Duration::ZERO,
    }))
}

pub(super) fn broken<T>() -> Option<Result<T, DiscoverError>> {
    Some(Err(DiscoverError::failed("SERVFAIL")))
}

pub(super) fn one_service(
    target: &str,
    ttl: u64,
) -> Option<Result<RecordSet<Service>, DiscoverError>> {
    Some(Ok(RecordSet {
        records: vec![Service {
            priority: 0,
            weight: 1,
            port: 8080,
            target: target.to_owned(),
        }],
        ttl: secs(ttl),
    }))
}
