//! Facts about the client's connection that the host application supplies.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The client's connection, as the host application knows it.
///
/// A request carries neither its sender's address nor whether a TLS listener received it. The host
/// inserts this value into the request's extensions; without it the peer is unknown, and the scheme
/// is that of [`ProxyLayer::client_scheme`](crate::ProxyLayer::client_scheme), or `http`.
///
/// # Examples
///
/// ```
/// use wsplice::headers::{ClientInfo, ClientScheme};
///
/// let client = ClientInfo::new()
///     .with_peer(([192, 0, 2, 1], 50_000).into())
///     .with_scheme(ClientScheme::Https);
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(client);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    scheme: Option<ClientScheme>,
}

impl ClientInfo {
    /// Creates a value with an unknown peer, as on a Unix socket, and plain `http`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            peer: None,
            local: None,
            scheme: None,
        }
    }

    /// Sets the remote address of the connection, which may be a proxy's.
    #[must_use]
    pub const fn with_peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Sets the local address of the connection. Only the [PROXY
    /// protocol](crate::connect::ProxyProtocol) passes this address on to upstreams.
    #[must_use]
    pub const fn with_local(mut self, local: SocketAddr) -> Self {
        self.local = Some(local);
        self
    }

    /// Sets the scheme of the connection. Without it the scheme is that of the layer
    /// ([`ProxyLayer::client_scheme`](crate::ProxyLayer::client_scheme)), or plain `http`.
    #[must_use]
    pub const fn with_scheme(mut self, scheme: ClientScheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Sets the scheme if none is set.
    pub(crate) fn or_scheme(mut self, scheme: Option<ClientScheme>) -> Self {
        self.scheme = self.scheme.or(scheme);
        self
    }

    /// Returns the remote address; `None` for Unix sockets.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns the remote IP address. An IPv4-mapped IPv6 address, as a dual-stack listener reports
    /// it, becomes the IPv4 address that it carries.
    #[must_use]
    pub const fn peer_ip(&self) -> Option<IpAddr> {
        match self.peer {
            Some(peer) => Some(peer.ip().to_canonical()),
            None => None,
        }
    }

    /// Returns the local address, if the host supplied one.
    #[must_use]
    pub const fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Returns the scheme of the connection.
    #[must_use]
    pub const fn scheme(&self) -> ClientScheme {
        match self.scheme {
            Some(scheme) => scheme,
            None => ClientScheme::Http,
        }
    }
}

/// Creates a value with this peer and plain `http`.
impl From<SocketAddr> for ClientInfo {
    fn from(peer: SocketAddr) -> Self {
        Self::new().with_peer(peer)
    }
}

/// Scheme of a client's connection: HTTP, with or without TLS.
///
/// The schemes `ws` and `wss` are missing on purpose: the opening handshake is an HTTP request, and
/// those two schemes only instruct a client how to send it (RFC 6455 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientScheme {
    /// Without TLS.
    #[default]
    Http,
    /// Inside TLS.
    Https,
}

impl ClientScheme {
    /// Returns `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl fmt::Display for ClientScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_at_first() {
        let client = ClientInfo::default();
        assert_eq!(client, ClientInfo::new());
        assert_eq!((client.peer(), client.peer_ip()), (None, None));
        assert_eq!(client.local(), None);
        assert_eq!(client.scheme().to_string(), "http");
    }

    #[test]
    fn a_mapped_peer_is_an_ipv4_peer() {
        let client = ClientInfo::from("[::ffff:192.0.2.1]:80".parse::<SocketAddr>().unwrap());
        assert_eq!(client.peer_ip(), Some([192, 0, 2, 1].into()));
        assert_eq!(client.peer().map(|peer| peer.port()), Some(80));
    }

    #[test]
    fn both_addresses_are_kept() {
        let (peer, local) = (
            ([192, 0, 2, 1], 50_000).into(),
            ([192, 0, 2, 2], 443).into(),
        );
        let client = ClientInfo::new().with_peer(peer).with_local(local);
        assert_eq!((client.peer(), client.local()), (Some(peer), Some(local)));
    }

    #[test]
    fn the_scheme_is_kept() {
        let client = ClientInfo::new().with_scheme(ClientScheme::Https);
        assert_eq!(client.scheme().as_str(), "https");
        let plain = Some(ClientScheme::Http);
        assert_eq!(client.or_scheme(plain).scheme(), ClientScheme::Https);
        let encrypted = Some(ClientScheme::Https);
        let unknown = ClientInfo::new().or_scheme(encrypted);
        assert_eq!(unknown.scheme(), ClientScheme::Https);
    }
}
