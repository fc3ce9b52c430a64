//! HTTP version spoken to an upstream.

/// The version of HTTP in which an upstream is asked for its WebSockets.
///
/// HTTP/1.1 gives each WebSocket a connection of its own. Over HTTP/2 (RFC 8441, feature `http2`)
/// many share one, by [`Http2Connections`](crate::connect::Http2Connections): fewer sockets and no
/// handshake of TCP and TLS for each, but a failure of the connection hits all of them.
///
/// Clients see no difference, whichever version they speak themselves.
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
    /// HTTP/2, except for requests that cannot share a connection (with the
    /// [PROXY protocol](crate::Upstream::send_proxy_protocol)) and for
    /// [forwarded](crate::ProxyLayer::forward_http) ones. With TLS it is agreed on by ALPN, without
    /// TLS it is taken for granted (RFC 9113 §3.3).
    ///
    /// An upstream that does not support WebSockets over it fails with
    /// [`ErrorKind::Http2Unsupported`](crate::ErrorKind::Http2Unsupported).
    #[cfg(feature = "http2")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http2")))]
    Http2,
    /// HTTP/2 if the upstream agrees to it by ALPN and supports WebSockets over it
    /// (`SETTINGS_ENABLE_CONNECT_PROTOCOL`, RFC 8441 §3), else HTTP/1.1. A negative result is
    /// remembered for five minutes.
    ///
    /// Without TLS there is no ALPN, and the preface of HTTP/2 is garbage to an upstream that does
    /// not speak it. So plain connections use HTTP/1.1.
    #[cfg(feature = "http2")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http2")))]
    Auto,
}
