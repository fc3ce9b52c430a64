//! An upstream's definition: its address and settings. `member` holds its state in a pool.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    http::head::PathRewrite,
    http::headers::ClientInfo,
    net::connect::{Address, HttpVersion, InvalidAddress, ProxyHeader, ProxyProtocol},
    upstream::admission::Admission,
    upstream::health::UpstreamView,
};

/// Upstream server: its address and settings.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`weight`](Self::weight) | 1 | | all upstreams get equal shares |
/// | [`priority`](Self::priority) | 0 | level | all upstreams are used alike |
/// | [`admission`](Self::admission) | no limits | | see [`Admission`] |
/// | [`http_version`](Self::http_version) | HTTP/1.1 | | every WebSocket server speaks it |
/// | [`send_proxy_protocol`](Self::send_proxy_protocol) | off | | a server that does not expect it fails |
/// | [`tag`](Self::tag) | none | | |
///
/// # Examples
///
/// ```
/// use wsplice::Upstream;
///
/// let upstream = Upstream::new("ws://10.0.0.1:8080")?.weight(3).tag("zone", "b");
/// assert_eq!(upstream.name(), "10.0.0.1:8080");
/// assert_eq!(upstream.tag_value("zone"), Some("b"));
/// assert!(Upstream::new("10.0.0.1:8080").is_err());
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub(super) name: Arc<str>,
    pub(super) address: Address,
    /// Addition of the base path, if there is one.
    base_path: Option<Arc<PathRewrite>>,
    pub(super) weight: u32,
    priority: u32,
    tags: Vec<(Box<str>, Box<str>)>,
    pub(super) admission: Admission,
    http_version: HttpVersion,
    proxy_protocol: Option<ProxyProtocol>,
}

impl Upstream {
    /// Creates an upstream at `ws://host[:port]`, `wss://host[:port]` (feature `rustls`) or
    /// `unix:/path/to/socket`; `http` and `https` are the same as `ws` and `wss`.
    ///
    /// # Base path
    ///
    /// All but a Unix socket may have a path, below which all requests of clients go. It is put in
    /// front of the request's path, whether it ends in a slash or not, after a
    /// [rewrite](crate::ProxyLayer::rewrite) if there is one; the query stays.
    ///
    /// | upstream | rewrite | requested | the upstream gets |
    /// |---|---|---|---|
    /// | `ws://host/chat` | none | `/ws/a?b` | `/chat/ws/a?b` |
    /// | `ws://host/chat/` | none | `/ws/a?b` | `/chat/ws/a?b` |
    /// | `ws://host/chat` | `strip_prefix("/ws")` | `/ws/a?b` | `/chat/a?b` |
    /// | `ws://host/chat` | `strip_prefix("/ws")` | `/ws` | `/chat` |
    /// | `ws://host/chat` | none | `/../a` | `/chat/a` |
    ///
    /// As with a rewrite, dot segments are resolved and empty segments merged, so that no path climbs
    /// out of the base: a path that some server may read as one outside gets 400. The paths of probes
    /// are whole, and the base is not added to them. A pool holds a server once: of two upstreams
    /// that differ in the base path alone, the first counts.
    ///
    /// # Errors
    ///
    /// The address cannot be parsed; see [`Address::parse`]. Or the path has a dot segment, or servers
    /// disagree on what it means, as they do on `/a;b` and `/a%2Fb`.
    pub fn new(address: &str) -> Result<Self, InvalidAddress> {
        let (server, path) = Address::parse_with_path(address)?;
        let mut upstream = Self::from_address(server);
        if let Some(path) = path {
            let path = path.trim_end_matches('/');
            let base =
                PathRewrite::add_prefix(path).map_err(|_| InvalidAddress::base_path(address))?;
            upstream.name = format!("{}{path}", upstream.name).into();
            upstream.base_path = Some(Arc::new(base));
        }
        Ok(upstream)
    }

    /// Creates an upstream at this address.
    #[must_use]
    pub fn from_address(address: Address) -> Self {
        Self {
            name: name_of(&address).into(),
            address,
            base_path: None,
            weight: 1,
            priority: 0,
            tags: Vec::new(),
            admission: Admission::new(),
            http_version: HttpVersion::default(),
            proxy_protocol: None,
        }
    }

    /// Sets the upstream's weight relative to the others, for policies that use weights; 1 by
    /// default. An upstream of weight 0 gets no traffic, whatever the policy.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the upstream's priority level; 0, the first, by default. Upstreams of a later level are
    /// spares, whatever the load-balancing policy.
    ///
    /// A level gets all requests while at least 5/7 of it can be used, by weight; below that, the
    /// next level gets the rest: with half of the first level down 30 % of the requests (Envoy's
    /// overprovisioning factor of 1.4). Requests for which a level has no room go to the next.
    #[must_use]
    pub fn priority(mut self, level: u32) -> Self {
        self.priority = level;
        self
    }

    /// Limits the upstream's tunnels and handshakes.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// Sets the HTTP version of the opening handshake; HTTP/1.1 by default. WebSocket and HTTP
    /// probes use the same version; forwarded plain requests use HTTP/1.1.
    #[must_use]
    pub fn http_version(mut self, version: HttpVersion) -> Self {
        self.http_version = version;
        self
    }

    /// Sends the client's address by the PROXY protocol at the start of each connection; off by
    /// default. The upstream must be configured to expect the header.
    ///
    /// Such a connection belongs to one client and cannot be shared, so it uses HTTP/1.1, whatever
    /// [`http_version`](Self::http_version) is set to.
    #[must_use]
    pub fn send_proxy_protocol(mut self, version: impl Into<Option<ProxyProtocol>>) -> Self {
        self.proxy_protocol = version.into();
        self
    }

    /// Adds a tag, for policies and predicates of your own.
    #[must_use]
    pub fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Returns the name used by logs, reports and [`Pool::remove`](crate::Pool::remove):
    /// `host:port`, `wss://host:port` with TLS (followed by `#` and the certificate's name if that
    /// is not the host), or `unix:` and the path; then the [base path](Self::new), if there is one.
    /// Different addresses have different names.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the upstream's address.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the addition of the base path to the paths of requests.
    pub(crate) fn base_path(&self) -> Option<&PathRewrite> {
        self.base_path.as_deref()
    }

    /// Returns the [priority](Self::priority) level.
    pub(crate) const fn level(&self) -> u32 {
        self.priority
    }

    /// Returns the upstream as health policies see it.
    pub(crate) fn view(&self) -> UpstreamView<'_> {
        UpstreamView::new(&self.name, self.weight, &self.tags)
    }

    pub(crate) const fn version(&self) -> HttpVersion {
        self.http_version
    }

    /// Returns the version of the PROXY protocol that is sent, if any.
    ///
    /// With such a header a connection belongs to one client: it must never be shared, pooled or
    /// reused for another.
    #[must_use]
    pub const fn proxy_protocol(&self) -> Option<ProxyProtocol> {
        self.proxy_protocol
    }

    /// Returns the PROXY protocol header for a client, if this upstream expects one. The source is
    /// the client's IP address as far as it is trusted, with the port of its connection.
    pub(crate) fn proxy_header(
        &self,
        client_ip: Option<IpAddr>,
        client: &ClientInfo,
    ) -> Option<ProxyHeader> {
        let version = self.proxy_protocol?;
        let source = client_ip.map(|ip| {
            // The port is unknown if a trusted proxy reported the address.
            let peer = client.peer().filter(|_| client.peer_ip() == Some(ip));
            peer.unwrap_or(SocketAddr::new(ip, 0))
        });
        Some(version.relayed(source, client.local()))
    }

    /// Returns the newest value of a tag.
    #[must_use]
    pub fn tag_value(&self, key: &str) -> Option<&str> {
        let tag = self.tags.iter().rev().find(|(name, _)| **name == *key);
        tag.map(|(_, value)| &**value)
    }
}

/// Returns the name of an address. TLS and the certificate's name are part of it: `ws://a:443`,
/// `wss://a:443` and `wss://a:443` with another certificate may be different servers.
fn name_of(address: &Address) -> String {
    match address {
        Address::Tls {
            server_name: Some(server_name),
            ..
        } => format!("wss://{address}#{server_name}"),
        Address::Tls { .. } => format!("wss://{address}"),
        // Paths that are not UTF-8 are shown escaped.
        Address::Unix(path) if path.to_str().is_none() => format!("unix:{path:?}"),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_port_with_and_without_tls_has_two_names() {
        let plain = Address::tcp("a", 443);
        let upstreams = [
            plain,
            Address::tls("a", 443),
            Address::tls_with_server_name("b", "a", 443),
        ];
        let upstreams = upstreams.map(Upstream::from_address);
        let names = upstreams.each_ref().map(Upstream::name);
        assert_eq!(names, ["a:443", "wss://a:443", "wss://a:443#b"]);
    }

    #[test]
    fn an_upstream_may_have_a_base_path() {
        for (address, name) in [
            ("ws://a:1", "a:1"),
            ("ws://a:1/", "a:1"),
            ("ws://a:1/chat", "a:1/chat"),
            ("ws://a:1/chat/v2/", "a:1/chat/v2"),
        ] {
            let upstream = Upstream::new(address).unwrap();
            assert_eq!(upstream.name(), name);
            assert_eq!(*upstream.address(), Address::tcp("a", 1));
        }
        for wrong in [
            "ws://a/../b",
            "ws://a/b;c",
            "ws://a/b%2fc",
            "ws://a/b?c",
            "ws://a/b#c",
        ] {
            assert!(Upstream::new(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_not_text_have_names_of_their_own() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

        let at = |bytes: &[u8]| {
            Upstream::from_address(Address::Unix(Path::new(OsStr::from_bytes(bytes)).into()))
        };
        assert_eq!(at(b"/run/a").name(), "unix:/run/a");
        assert_ne!(at(b"/run/\xff").name(), at(b"/run/\xfe").name());
    }
}
