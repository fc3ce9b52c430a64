//! `X-Forwarded-*`, `Forwarded` and `X-Real-IP`: the client's address, host and scheme for
//! upstreams.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::client_info::{ClientInfo, ClientScheme};
use super::forwarded_lines::{ForwardedLines, WrittenHeaders};
use super::networks::Networks;
use super::sink::HeaderSink;
use super::untrusted::Trust;
use super::{client_address, x_forwarded};

/// Settings for the headers that describe the client to upstreams.
///
/// By default `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are written from this
/// proxy's own knowledge, and the client's headers of this family are dropped: every
/// `X-Forwarded-*`, `Forwarded` and `X-Real-IP`, and their aliases.
///
/// The values of a [trusted](Self::trust) proxy are extended instead:
///
/// | | untrusted peer | trusted peer |
/// |---|---|---|
/// | `X-Forwarded-For` | the peer | the received list, then the peer; all lines merged into one |
/// | `X-Forwarded-Proto` | of the connection | the last received value, else of the connection |
/// | `X-Forwarded-Host` | `Host` | the last received value, else `Host` |
/// | `X-Forwarded-Prefix` | the prefix that axum's `nest` removed from the path, if one | the last received value, then that prefix |
/// | `Forwarded` ([opt-in](Self::with_forwarded)) | one element | the received list, then one |
/// | `X-Real-IP` ([opt-in](Self::with_x_real_ip)) | the peer | the resolved client |
/// | other `X-Forwarded-*`, and disabled ones | dropped | kept |
/// | aliases such as `X_Forwarded_For` | dropped | dropped |
///
/// A peer without an address, as on a Unix socket, is untrusted, and no `X-Forwarded-For` is
/// written; see [`trust_unknown_peer`](Self::trust_unknown_peer).
///
/// `X-Forwarded-Proto` is `http` or `https`, for WebSocket handshakes too: applications compare it
/// with `https` and build links with it, and take a connection with `wss` for an unencrypted one. A
/// trusted proxy's `ws` or `wss` is translated.
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`trust`](Self::trust) | no proxies | a client must not choose its own address |
/// | [`trust_unknown_peer`](Self::trust_unknown_peer) | off | a missing [`ClientInfo`] proves nothing |
/// | `X-Forwarded-For`, `-Proto`, `-Host` | on | most upstreams read these three |
/// | `X-Forwarded-Prefix` | on | an upstream behind `nest` builds links with it; feature `axum` |
/// | [`with_forwarded`](Self::with_forwarded) | off | few upstreams read it |
/// | [`with_x_real_ip`](Self::with_x_real_ip) | off | few upstreams read it |
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use wsplice::headers::{ClientInfo, ForwardedHeaders, Networks};
///
/// let forwarded = ForwardedHeaders::new().trust(Networks::parse(["10.0.0.0/8"])?);
/// let host = HeaderValue::from_static("example.com");
///
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
///
/// let proxy = ClientInfo::new().with_peer(([10, 0, 0, 1], 50_000).into());
/// forwarded.apply(&mut headers, &proxy, Some(&host));
/// assert_eq!(headers["x-forwarded-for"], "192.0.2.1, 10.0.0.1");
///
/// let stranger = ClientInfo::new().with_peer(([198, 51, 100, 7], 50_000).into());
/// forwarded.apply(&mut headers, &stranger, Some(&host));
/// assert_eq!(headers["x-forwarded-for"], "198.51.100.7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ForwardedHeaders {
    trusted: Networks,
    unknown_peer: Trust,
    written: WrittenHeaders,
}

impl ForwardedHeaders {
    /// Creates the default settings: the three `X-Forwarded` headers and no trusted proxies.
    #[must_use]
    pub fn new() -> Self {
        Self {
            trusted: Networks::none(),
            unknown_peer: Trust::Untrusted,
            written: WrittenHeaders::default(),
        }
    }

    /// Sets the trusted proxies, in place of any set before.
    #[must_use]
    pub fn trust(mut self, proxies: Networks) -> Self {
        self.trusted = proxies;
        self
    }

    /// Trusts a peer without an address, such as a proxy on a Unix socket.
    ///
    /// Its `X-Forwarded-For` is passed on with nothing appended. Use this only on hosts where every
    /// request without [`ClientInfo`], or without a peer in it, comes from a proxy.
    #[must_use]
    pub fn trust_unknown_peer(mut self) -> Self {
        self.unknown_peer = Trust::Trusted;
        self
    }

    /// Disables writing `X-Forwarded-For`; an untrusted one is still dropped.
    #[must_use]
    pub fn without_x_forwarded_for(mut self) -> Self {
        self.written.x_forwarded_for = false;
        self
    }

    /// Disables writing `X-Forwarded-Proto`; an untrusted one is still dropped.
    #[must_use]
    pub fn without_x_forwarded_proto(mut self) -> Self {
        self.written.x_forwarded_proto = false;
        self
    }

    /// Disables writing `X-Forwarded-Host`; an untrusted one is still dropped.
    #[must_use]
    pub fn without_x_forwarded_host(mut self) -> Self {
        self.written.x_forwarded_host = false;
        self
    }

    /// Disables writing `X-Forwarded-Prefix`; an untrusted one is still dropped.
    #[must_use]
    pub fn without_x_forwarded_prefix(mut self) -> Self {
        self.written.x_forwarded_prefix = false;
        self
    }

    /// Also writes `Forwarded` (RFC 7239), with `for`, `host` and `proto`.
    ///
    /// `for` is left out if the peer has no address, `host` if the request has no valid one.
    #[must_use]
    pub fn with_forwarded(mut self) -> Self {
        self.written.forwarded = true;
        self
    }

    /// Also writes `X-Real-IP`, with the address that [`client_ip`](Self::client_ip) finds. A
    /// received one is dropped in any case.
    #[must_use]
    pub fn with_x_real_ip(mut self) -> Self {
        self.written.x_real_ip = true;
        self
    }

    /// Returns the address of the client as [`resolve_client`](super::resolve_client) finds it with
    /// these settings.
    ///
    /// Returns `None` if the peer has no address and is untrusted, or is trusted and sent no
    /// readable `X-Forwarded-For`.
    #[must_use]
    pub fn client_ip(&self, headers: &HeaderMap, client: &ClientInfo) -> Option<IpAddr> {
        match (client.peer_ip(), self.unknown_peer) {
            (None, Trust::Trusted) => client_address::walk(headers, &self.trusted),
            (peer, _) => client_address::resolve_client(headers, peer, &self.trusted),
        }
    }

    /// Returns the client's scheme: the last value of a trusted peer's `X-Forwarded-Proto`, else
    /// the scheme of the connection.
    #[must_use]
    pub fn client_scheme(&self, headers: &HeaderMap, client: &ClientInfo) -> ClientScheme {
        match self.trust_in(client) {
            Trust::Trusted => x_forwarded::scheme(headers).unwrap_or(client.scheme()),
            Trust::Untrusted => client.scheme(),
        }
    }

    /// Rewrites the headers of a request on its way to the upstream.
    ///
    /// `host` is the host that the client requested: `Host`, or `:authority` in HTTP/2, before the
    /// proxy changes it. Each call counts as one hop: applying twice appends twice.
    pub fn apply(&self, headers: &mut HeaderMap, client: &ClientInfo, host: Option<&HeaderValue>) {
        let lines = self.lines(headers, client, host);
        let replaced = headers.keys().filter(|name| lines.replaces(name));
        let replaced: Vec<HeaderName> = replaced.cloned().collect();
        let mut written = HeaderMap::new();
        lines.write(&mut written);
        for name in &replaced {
            headers.remove(name);
        }
        for (name, value) in &written {
            headers.copy(name, value);
        }
    }

    /// Returns the lines about this client, for a request that was received with these headers.
    pub(crate) fn lines<'a>(
        &'a self,
        received: &'a HeaderMap,
        client: &'a ClientInfo,
        host: Option<&'a HeaderValue>,
    ) -> ForwardedLines<'a> {
        let real_ip = match self.written.x_real_ip {
            true => self.client_ip(received, client),
            false => None,
        };
        ForwardedLines {
            written: self.written,
            received,
            client,
            host,
            prefix: None,
            real_ip,
            trust: self.trust_in(client),
        }
    }

    fn trust_in(&self, client: &ClientInfo) -> Trust {
        match client.peer_ip() {
            Some(peer) if self.trusted.contains(peer) => Trust::Trusted,
            Some(_) => Trust::Untrusted,
            None => self.unknown_peer,
        }
    }
}

impl Default for ForwardedHeaders {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
