//! Name resolution.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use super::in_flight::InFlight;

/// The future that [`Resolve::resolve`] returns.
pub type ResolveFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Looks up the addresses of a host's port.
///
/// Given to [`Connector::resolver`](super::Connector::resolver). It is called for each connection
/// to a name, and never for addresses; it may cache as it likes. The addresses are tried in its
/// order, with the two families taking turns (RFC 8305 §4). It may take two thirds of the connect
/// timeout.
///
/// Closures implement it if they take a host and a port and return a future that borrows neither.
///
/// # Errors
///
/// Any error means that the name has no address now, and so does an empty list.
///
/// # Cancellation
///
/// The future is dropped when its time is over, or the client goes away.
///
/// # Examples
///
/// ```
/// use std::{collections::HashMap, io, net::{IpAddr, SocketAddr}};
/// use wsplice::connect::Connector;
///
/// let names: HashMap<String, IpAddr> = [("chat".to_owned(), IpAddr::from([10, 0, 0, 1]))].into();
/// let connector = Connector::new().resolver(move |host: &str, port| {
///     let found = names.get(host).map(|ip| vec![SocketAddr::new(*ip, port)]);
///     async move { found.ok_or_else(|| io::ErrorKind::NotFound.into()) }
/// });
/// # let _ = connector;
/// ```
pub trait Resolve: Send + Sync {
    /// Looks up a host: a name as it is written in the upstream's address.
    ///
    /// # Errors
    ///
    /// When the name cannot be looked up, or has no address.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> ResolveFuture<'a>;

    /// As [`resolve`](Self::resolve), by a caller that drops the future after this time. A resolver
    /// that has older addresses can return them before. By default the limit is not used.
    /// Resolvers that wrap another should pass it on.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    fn resolve_within<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        limit: Duration,
    ) -> ResolveFuture<'a> {
        let _ = limit;
        self.resolve(host, port)
    }

    /// Takes note that the system could not connect to this address of the host. A resolver that
    /// returns addresses without knowing that they are still valid can drop it. Does nothing by
    /// default.
    fn connect_failed(&self, host: &str, address: SocketAddr) {
        let _ = (host, address);
    }
}

impl<F, Found> Resolve for F
where
    F: Fn(&str, u16) -> Found + Send + Sync,
    Found: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> ResolveFuture<'a> {
        Box::pin(self(host, port))
    }
}

/// Result that callers of the same lookup share.
type SharedResult = Result<Arc<[SocketAddr]>, Arc<io::Error>>;

/// Lookups of the system's resolver that run at once. Each takes a blocking thread, of which a
/// runtime has 512 by default, for as long as the system pleases.
const MAX_SYSTEM_LOOKUPS: usize = 16;

/// The system's resolver: `getaddrinfo`, on a blocking thread. Callers that look up the same name
/// share one thread.
#[derive(Debug)]
pub(super) struct SystemResolver {
    lookups: InFlight<Box<str>, SharedResult>,
}

impl SystemResolver {
    pub(super) fn new() -> Self {
        Self {
            lookups: InFlight::at_most(MAX_SYSTEM_LOOKUPS),
        }
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> ResolveFuture<'a> {
        Box::pin(async move {
            let look_up = || {
                let host = host.to_owned();
                async move {
                    let found = tokio::net::lookup_host((host, 0)).await;
                    found.map(Iterator::collect).map_err(Arc::new)
                }
            };
            let found = self.lookups.join(host.into(), look_up).await;
            let found = found.ok_or_else(|| io::Error::other("the lookup ended early"))?;
            // All callers of the lookup get the same error.
            let found = found.map_err(|error| io::Error::new(error.kind(), error))?;
            Ok(found
                .iter()
                .map(|address| SocketAddr::new(address.ip(), port))
                .collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let found = SystemResolver::new()
            .resolve("localhost", 81)
            .await
            .unwrap();
        assert!(!found.is_empty());
        for address in found {
            assert!(address.ip().is_loopback(), "{address}");
            assert_eq!(address.port(), 81);
        }
    }
}
