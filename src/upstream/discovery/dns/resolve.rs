//! Host names of connects, looked up by the resolver of discovery.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    net::connect::{Resolve, ResolveFuture},
    upstream::discovery::error::DiscoverError,
};

use super::{lookup::IpVersion, name::DnsName, resolver::DnsResolver};

/// Time to wait for the second address family once the first is there (RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Time for which a lookup waits for a query if there are stale records to use
/// (RFC 8767 §5, client response timer).
const CLIENT_RESPONSE: Duration = Duration::from_millis(1800);

type LookupResult = Result<Vec<IpAddr>, DiscoverError>;

impl Resolve for DnsResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> ResolveFuture<'a> {
        self.resolve_within(host, port, Duration::MAX)
    }

    fn resolve_within<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        limit: Duration,
    ) -> ResolveFuture<'a> {
        // The last addresses are of no use to a caller that has gone. A busy machine takes its time
        // for them, and so does the wait for the second family.
        let patience = CLIENT_RESPONSE.min(limit / 4 * 3);
        Box::pin(async move {
            let name = DnsName::parse(host)
                .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
            let query = |version| self.resolve_addresses(&name, version, patience);
            let ips = join_families(query(IpVersion::V6), query(IpVersion::V4))
                .await
                .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
            Ok(ips
                .into_iter()
                .map(|ip| SocketAddr::new(ip, port))
                .collect())
        })
    }

    fn connect_failed(&self, host: &str, address: SocketAddr) {
        if let Ok(name) = DnsName::parse(host) {
            self.drop_stale(name, address.ip());
        }
    }
}

/// Returns the addresses of both lookups, those of the first in front; the addresses of one alone
/// if the other fails or takes too long.
///
/// # Errors
///
/// Both lookups failed: the error that is more specific than missing records.
async fn join_families(
    first: impl Future<Output = LookupResult>,
    second: impl Future<Output = LookupResult>,
) -> LookupResult {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    let mut delay = None;
    poll_fn(|cx| {
        poll_once(first.as_mut(), &mut a, cx);
        poll_once(second.as_mut(), &mut b, cx);
        match (&a, &b) {
            (Some(_), Some(_)) => Poll::Ready(()),
            (Some(Ok(_)), None) | (None, Some(Ok(_))) => delay
                .get_or_insert_with(|| Box::pin(sleep(RESOLUTION_DELAY)))
                .as_mut()
                .poll(cx),
            _ => Poll::Pending,
        }
    })
    .await;
    match (a, b) {
        (Some(Ok(a)), Some(Ok(b))) => Ok([a, b].concat()),
        (Some(Ok(found)), _) | (_, Some(Ok(found))) => Ok(found),
        (Some(Err(DiscoverError::NoRecords { .. })), Some(error)) => error,
        (Some(error), _) => error,
        (None, _) => Err(DiscoverError::Ended),
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>, found: &mut Option<F::Output>, cx: &mut Context<'_>) {
    if found.is_none() {
        if let Poll::Ready(output) = future.poll(cx) {
            *found = Some(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    async fn after(milliseconds: u64, found: LookupResult) -> LookupResult {
        sleep(Duration::from_millis(milliseconds)).await;
        found
    }

    fn ips(ips: &[&str]) -> LookupResult {
        Ok(ips.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    fn none() -> LookupResult {
        Err(DiscoverError::NoRecords { name: "a".into() })
    }

    fn broken() -> LookupResult {
        Err(DiscoverError::failed("SERVFAIL"))
    }

    #[tokio::test(start_paused = true)]
    async fn one_family_does_not_wait_for_the_other_for_long_rfc8305_3() {
        let (v6, v4) = (|| ips(&["::1"]), || ips(&["10.0.0.1"]));
        for (first, second, expected, takes) in [
            ((20, v6()), (10, v4()), "::1 10.0.0.1", 20),
            ((10, v6()), (40, v4()), "::1 10.0.0.1", 40),
            ((10, v6()), (5000, v4()), "::1", 60),
            ((5000, v6()), (10, v4()), "10.0.0.1", 60),
            ((10, none()), (500, v4()), "10.0.0.1", 500),
            ((500, v6()), (10, broken()), "::1", 500),
            ((10, v6()), (30, broken()), "::1", 30),
            ((10, none()), (20, none()), "a has no records", 20),
            ((20, none()), (10, broken()), "SERVFAIL", 20),
            ((10, broken()), (20, none()), "SERVFAIL", 20),
        ] {
            let began = Instant::now();
            let found = join_families(after(first.0, first.1), after(second.0, second.1)).await;
            let found = match found {
                Ok(ips) => {
                    let ips: Vec<_> = ips.iter().map(IpAddr::to_string).collect();
                    ips.join(" ")
                }
                Err(error) => error.to_string(),
            };
            let took = began.elapsed().as_millis();
            assert_eq!(found, expected);
            assert!((takes..=takes + 2).contains(&took), "{expected}: {took} ms");
        }
    }
}
