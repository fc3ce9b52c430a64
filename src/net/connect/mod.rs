//! Stage 4: a byte stream to the upstream, or with HTTP/2 a place on a connection that is shared.
//!
//! [`Connect`] is the seam: bring your own to reach an upstream in memory, over vsock or through
//! a tunnel of another kind. [`Connector`] is the one used unless told otherwise: TCP, to every
//! address that a name has, and Unix sockets.

mod address;
mod alpn;
mod connector;
mod dialer;
#[cfg(feature = "http2")]
mod http2;
mod http_version;
#[cfg(not(feature = "http2"))]
mod no_http2;
#[cfg(not(feature = "rustls"))]
mod no_tls;
mod proxy_protocol;
mod race;
mod resolve;
mod source;
#[cfg(feature = "rustls")]
mod tls;
mod upstream_connection;

use std::{fmt, future::Future, io, pin::Pin, sync::Arc};

use crate::net::transport::Transport;

pub use address::{Address, InvalidAddress};
pub(crate) use alpn::{Agreed, Alpn};
pub use connector::Connector;
pub(crate) use dialer::{Dialer, KeptAlive};
pub use http_version::HttpVersion;
#[cfg(feature = "http2")]
#[cfg_attr(docsrs, doc(cfg(feature = "http2")))]
pub use http2::Http2Connections;
#[cfg(feature = "http2")]
pub(crate) use http2::{
    Http2Pool, Opened, Stream, StreamGuard, StreamSlot, Tried, io_error, is_unprocessed,
};
#[cfg(not(feature = "http2"))]
pub(crate) use no_http2::{Http2Pool, StreamSlot};
#[cfg(not(feature = "rustls"))]
use no_tls::{Tls, default_tls};
pub(crate) use proxy_protocol::ProxyHeader;
pub use proxy_protocol::ProxyProtocol;
pub use resolve::{Resolve, Resolving};
#[cfg(feature = "rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
pub use tls::Tls;
#[cfg(feature = "rustls")]
use tls::default_tls;
#[cfg(all(feature = "rustls", any(feature = "aws-lc-rs", feature = "ring")))]
pub use tls::{InvalidTls, TlsBuilder};
pub(crate) use upstream_connection::UpstreamConnection;

/// What [`Connect::connect`] returns.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send + 'a>>;

/// Opens byte streams to upstreams.
///
/// What an address means is the connector's affair: the host of `ws://vm-7:8080`, or the path of
/// `unix:vm-7`, may as well name a virtual machine to reach over vsock, or a machine behind SSH.
/// Any stream will do ([`Transport::new`]); TLS, if the address says so, and the PROXY protocol, if
/// the upstream wants it, are put on it afterwards. Give it to
/// [`ProxyLayer::connector`](crate::ProxyLayer::connector).
///
/// # Cancellation
///
/// The future is dropped when the connect timeout fires or the client goes away; what it began
/// must end with it.
///
/// # Examples
///
/// ```
/// use std::io;
/// use wsplice::{Transport, connect::{Address, Connect, Connecting}};
///
/// /// Every upstream is the same pipe in memory.
/// #[derive(Debug)]
/// struct InMemory;
///
/// impl Connect for InMemory {
///     fn connect<'a>(&'a self, _address: &'a Address) -> Connecting<'a> {
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
pub trait Connect: fmt::Debug + Send + Sync {
    /// Opens a byte stream to this address.
    ///
    /// # Errors
    ///
    /// Whatever the operating system or the protocol below says. Kind
    /// [`io::ErrorKind::NotFound`] of a TCP address is taken to mean that the name has no address.
    fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a>;
}

impl<C: Connect + ?Sized> Connect for Arc<C> {
    fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
        (**self).connect(address)
    }
}
