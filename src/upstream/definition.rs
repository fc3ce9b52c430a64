//! One upstream: its settings, and in `member` its figures while it is in a pool.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    http::headers::ClientInfo,
    net::connect::{Address, HttpVersion, InvalidAddress, ProxyHeader, ProxyProtocol},
    upstream::admission::Admission,
};

/// One server behind the proxy.
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
    pub(super) weight: u32,
    tags: Vec<(Box<str>, Box<str>)>,
    pub(super) admission: Admission,
    http_version: HttpVersion,
    proxy_protocol: Option<ProxyProtocol>,
}

impl Upstream {
    /// An upstream at `ws://host[:port]`, `wss://host[:port]` (feature `rustls`) or
    /// `unix:/path/to/socket`; `http` and `https` are the same as `ws` and `wss`.
    ///
    /// # Errors
    ///
    /// When the address cannot be read; see [`Address::parse`].
    pub fn new(address: &str) -> Result<Self, InvalidAddress> {
        Address::parse(address).map(Self::from_address)
    }

    /// An upstream at this address.
    #[must_use]
    pub fn from_address(address: Address) -> Self {
        Self {
            name: name_of(&address).into(),
            address,
            weight: 1,
            tags: Vec::new(),
            admission: Admission::new(),
            http_version: HttpVersion::default(),
            proxy_protocol: None,
        }
    }

    /// How much it takes compared with the others, in policies that look at weights; 1 by
    /// default. One of weight 0 gets nothing, whatever the policy.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Limits on its tunnels and handshakes.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// In which version of HTTP it is asked for its WebSockets; HTTP/1.1 unless set. Of its probes
    /// those by WebSocket and HTTP go the same way; plain requests that are forwarded go by HTTP/1.1.
    #[must_use]
    pub fn http_version(mut self, version: HttpVersion) -> Self {
        self.http_version = version;
        self
    }

    /// Tells it the client's address by the PROXY protocol, at the start of each connection; off
    /// by default. It must be set to expect that, or it will see garbage.
    ///
    /// Such a connection is one client's and cannot be shared, so it speaks HTTP/1.1, whatever
    /// [`http_version`](Self::http_version) says.
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

    /// What logs, reports and [`Pool::remove`](crate::Pool::remove) call it: `host:port`,
    /// `wss://host:port` with TLS (then `#` and whom the certificate is for, if that is not the
    /// host), or `unix:` and the path. Another address has another name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) const fn version(&self) -> HttpVersion {
        self.http_version
    }

    /// How it is told the client's address.
    ///
    /// With such a header a connection belongs to one client: it must never be shared, pooled or
    /// used again for another.
    #[must_use]
    pub const fn proxy_protocol(&self) -> Option<ProxyProtocol> {
        self.proxy_protocol
    }

    /// What says who the client is, if this upstream is to be told: its IP address, as far as it
    /// can be believed, and what is known of its connection.
    pub(crate) fn proxy_header(
        &self,
        client_ip: Option<IpAddr>,
        client: &ClientInfo,
    ) -> Option<ProxyHeader> {
        let version = self.proxy_protocol?;
        let source = client_ip.map(|ip| {
            // One that a trusted proxy told has no port.
            let peer = client.peer().filter(|_| client.peer_ip() == Some(ip));
            peer.unwrap_or(SocketAddr::new(ip, 0))
        });
        Some(version.relayed(source, client.local()))
    }

    /// The newest value of a tag.
    #[must_use]
    pub fn tag_value(&self, key: &str) -> Option<&str> {
        let tag = self.tags.iter().rev().find(|(name, _)| **name == *key);
        tag.map(|(_, value)| &**value)
    }
}

/// The server behind `ws://a:443` is not the one behind `wss://a:443`, which may not be the one
/// that has a certificate for another name.
fn name_of(address: &Address) -> String {
    match address {
        Address::Tls {
            server_name: Some(server_name),
            ..
        } => format!("wss://{address}#{server_name}"),
        Address::Tls { .. } => format!("wss://{address}"),
        // Shown as it is written only if it can be.
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

    #[cfg(unix)]
    #[test]
    fn paths_that_are_no_text_have_names_of_their_own() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

        let at = |bytes: &[u8]| {
            Upstream::from_address(Address::Unix(Path::new(OsStr::from_bytes(bytes)).into()))
        };
        assert_eq!(at(b"/run/a").name(), "unix:/run/a");
        assert_ne!(at(b"/run/\xff").name(), at(b"/run/\xfe").name());
    }
}
