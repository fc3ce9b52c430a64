//! The trait that opens byte streams to upstreams.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use crate::net::transport::Transport;

use super::address::Address;

/// The future that [`Connect::connect`] returns.
pub type ConnectFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send + 'a>>;

/// Opens byte streams to upstreams.
///
/// The connector gives addresses their meaning: the host of `ws://vm-7:8080`, or the path of
/// `unix:vm-7`, may as well name a virtual machine to reach over vsock, or a machine behind SSH.
/// Any stream will do ([`Transport::new`]); TLS, if the address demands it, and the PROXY protocol,
/// if the upstream wants it, are put on it afterwards. Give it to
/// [`ProxyLayer::connector`](crate::ProxyLayer::connector).
///
/// # Cancellation
///
/// The future is dropped when the connect timeout fires or the client goes away; all that it began
/// must end with it.
///
/// # Examples
///
/// ```
/// use std::io;
/// use wsplice::connect::{Address, Connect, ConnectFuture, Transport};
///
/// /// Every upstream is the same pipe in memory.
/// #[derive(Debug)]
/// struct InMemory;
///
/// impl Connect for InMemory {
///     fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
///         Box::pin(async {
///             let (near, far) = tokio::io::duplex(4096);
///             // Hand `far` to the server under test.
///             drop(far);
///             io::Result::Ok(Transport::new(near))
///         })
///     }
/// }
/// # let _ = InMemory;
/// ```
pub trait Connect: Send + Sync {
    /// Opens a byte stream to this address.
    ///
    /// # Errors
    ///
    /// Any error of the operating system or the protocol below. Kind [`io::ErrorKind::NotFound`]
    /// of a TCP address is taken to mean that the name could not be resolved.
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a>;

    /// As [`connect`](Self::connect), by a caller that drops the future after this time.
    ///
    /// A connector that takes several steps can divide the time between them, so that a step that
    /// hangs fails with an error of its own: [`Connector`](super::Connector) gives two thirds to
    /// the resolver. By default the budget is not used. Connectors that wrap another should pass it
    /// on.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    fn connect_within<'a>(&'a self, address: &'a Address, budget: Duration) -> ConnectFuture<'a> {
        let _ = budget;
        self.connect(address)
    }
}

/// Shows the name of the trait alone, as `Debug` is not demanded of its types.
impl fmt::Debug for dyn Connect + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")
    }
}

impl<C: Connect + ?Sized> Connect for Arc<C> {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        (**self).connect(address)
    }

    fn connect_within<'a>(&'a self, address: &'a Address, budget: Duration) -> ConnectFuture<'a> {
        (**self).connect_within(address, budget)
    }
}
