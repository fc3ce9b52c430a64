//! Name resolution.

use std::{future::Future, io, net::SocketAddr, pin::Pin};

/// The future that [`Resolve::resolve`] returns.
pub type ResolveFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Looks up the addresses of a host's port.
///
/// Given to [`Connector::resolver`](super::Connector::resolver). It is called for each connection
/// to a name, and never for addresses; it may cache as it likes. The addresses are tried in its
/// order, with the two families taking turns (RFC 8305 §4). The connect timeout bounds resolving
/// and connecting together.
///
/// Closures implement it if they take a host and a port and return a future that borrows neither.
///
/// # Errors
///
/// Any error means that the name has no address now, and so does an empty list.
///
/// # Cancellation
///
/// The future is dropped when the connect timeout fires or the client goes away.
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

/// The system's resolver: `getaddrinfo`, on a blocking thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> ResolveFuture<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
