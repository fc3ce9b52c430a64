//! Which HTTP an upstream is spoken to.

/// The version of HTTP in which an upstream is asked for its WebSockets.
///
/// HTTP/1.1 gives each WebSocket a connection of its own. Over HTTP/2 (RFC 8441, feature `http2`)
/// many share one, as [`Http2Connections`](crate::connect::Http2Connections) says: fewer sockets
/// and no handshake of TCP and TLS for each, but what befalls the connection befalls all of them.
///
/// Clients notice nothing of it, whichever version they speak themselves.
///
/// # Examples
///
/// ```
/// use wsplice::{Upstream, connect::HttpVersion};
///
/// let upstream = Upstream::new("ws://10.0.0.1:8080")?.http_version(HttpVersion::Http1);
/// # let _ = upstream;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, and nothing else but for what cannot be shared (with the
    /// [PROXY protocol](crate::Upstream::send_proxy_protocol)) and for
    /// [forwarded](crate::ProxyLayer::forward_http) requests: agreed on by ALPN where there is TLS, and taken for granted where
    /// there is none (RFC 9113 §3.3).
    ///
    /// An upstream that does not take WebSockets over it fails with
    /// [`ErrorKind::Http2Unsupported`](crate::ErrorKind::Http2Unsupported).
    #[cfg(feature = "http2")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http2")))]
    Http2,
    /// HTTP/2 if the upstream agrees to it by ALPN and takes WebSockets over it
    /// (`SETTINGS_ENABLE_CONNECT_PROTOCOL`, RFC 8441 §3), else HTTP/1.1. A no is remembered for
    /// five minutes.
    ///
    /// Without TLS nobody can be asked: what HTTP/2 begins with is garbage to an upstream that
    /// doesn't speak it. So that is HTTP/1.1.
    #[cfg(feature = "http2")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http2")))]
    Auto,
}
