//! Connections to upstreams: a byte stream, or with HTTP/2 a slot on a shared connection.
//!
//! [`Connect`] is the trait to implement for upstreams in memory, over vsock or through a tunnel of
//! another kind. [`Connector`] is the default: TCP, to every address that a name has, and Unix
//! sockets.
//!
//! | you want | take |
//! |---|---|
//! | to give an upstream's address, and read it | [`Address`], or a text such as `wss://chat:8080` or `unix:/run/chat.sock` |
//! | local addresses or a resolver of yours | [`Connector`], with [`Resolve`] |
//! | TLS to upstreams | `Tls`, made by a `TlsBuilder` (feature `ring` or `aws-lc-rs`), or of a configuration of yours (feature `rustls`) |
//! | an upstream that speaks HTTP/2 | [`HttpVersion`], for [`Upstream::http_version`](crate::Upstream::http_version); its shared connections: `Http2Connections` (feature `http2`) |
//! | to send the client's address to an upstream before HTTP begins | [`ProxyProtocol`] |
//! | another kind of transport | [`Connect`], which yields a [`Transport`] |
//! | a connector or a resolver of yours to divide its time between its steps | [`Connect::connect_within`], [`Resolve::resolve_within`] |
//! | a resolver of yours to learn which address could not be connected | [`Resolve::connect_failed`] |
//! | the connection under a response of hyper's that was upgraded, for a [`Tunnel`](crate::tunnel::Tunnel) | [`Transport::from_upgraded`] |
//! | the reason why a TLS configuration cannot be made | `InvalidTls` |
//! | TCP keep-alive on both legs | [`TcpKeepAlive`] |

mod address;
mod alpn;
mod connector;
mod dialer;
#[cfg(feature = "http2")]
mod http2;
mod http_version;
mod in_flight;
mod local_addresses;
mod local_shortage;
#[cfg(not(feature = "http2"))]
mod no_http2;
#[cfg(not(feature = "rustls"))]
mod no_tls;
mod proxy_protocol;
mod race;
mod resolve;
#[cfg(feature = "rustls")]
mod tls;
mod traits;
mod upstream_connection;

pub use address::{Address, InvalidAddress};
pub use connector::Connector;
pub(crate) use dialer::{Dialer, KeepAliveScope};
pub use http_version::HttpVersion;
#[cfg(feature = "http2")]
#[cfg_attr(docsrs, doc(cfg(feature = "http2")))]
pub use http2::Http2Connections;
#[cfg(feature = "http2")]
pub(crate) use http2::{Opened, Stream, StreamGuard, StreamSlot, Tried, io_error, is_unprocessed};
#[cfg(feature = "dns")]
pub(crate) use in_flight::InFlight;
#[cfg(not(feature = "http2"))]
use no_http2 as http2;
#[cfg(not(feature = "http2"))]
pub(crate) use no_http2::StreamSlot;
#[cfg(not(feature = "rustls"))]
use no_tls as tls;
pub(crate) use proxy_protocol::ProxyHeader;
pub use proxy_protocol::ProxyProtocol;
pub use resolve::{Resolve, ResolveFuture};
#[cfg(feature = "rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
pub use tls::Tls;
#[cfg(all(feature = "rustls", any(feature = "aws-lc-rs", feature = "ring")))]
pub use tls::{InvalidTls, TlsBuilder};
pub use traits::{Connect, ConnectFuture};

pub use super::transport::{TcpKeepAlive, Transport};
pub(crate) use upstream_connection::UpstreamConnection;
