//! The lines about one client in the request to the upstream.

use std::net::IpAddr;

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::client_info::ClientInfo;
use super::sink::HeaderSink;
use super::untrusted::{
    Trust, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO, X_REAL_IP,
    is_related, is_untrusted,
};
use super::{rfc7239, x_forwarded};

/// The headers of the family that the proxy writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrittenHeaders {
    pub(super) x_forwarded_for: bool,
    pub(super) x_forwarded_proto: bool,
    pub(super) x_forwarded_host: bool,
    pub(super) x_forwarded_prefix: bool,
    pub(super) forwarded: bool,
    pub(super) x_real_ip: bool,
}

impl Default for WrittenHeaders {
    fn default() -> Self {
        Self {
            x_forwarded_for: true,
            x_forwarded_proto: true,
            x_forwarded_host: true,
            x_forwarded_prefix: true,
            forwarded: false,
            x_real_ip: false,
        }
    }
}

/// The lines about the client of one request, which take the place of received ones.
pub(crate) struct ForwardedLines<'a> {
    pub(super) written: WrittenHeaders,
    pub(super) received: &'a HeaderMap,
    pub(super) client: &'a ClientInfo,
    /// The host that the client requested.
    pub(super) host: Option<&'a HeaderValue>,
    /// The prefix that the host's router removed from the path.
    pub(super) prefix: Option<&'a str>,
    /// The client's address, if it is written by itself.
    pub(super) real_ip: Option<IpAddr>,
    pub(super) trust: Trust,
}

impl<'a> ForwardedLines<'a> {
    /// Sets the prefix that the host's router removed from the path.
    pub(crate) fn prefix(mut self, prefix: Option<&'a str>) -> Self {
        self.prefix = prefix.filter(|_| self.written.x_forwarded_prefix);
        self
    }

    /// Returns whether received lines of this name are not passed on: the sender may not set them, or
    /// [`write`](Self::write) writes them again.
    pub(crate) fn replaces(&self, name: &HeaderName) -> bool {
        // Most names are unrelated.
        if !is_related(name) {
            return false;
        }
        let written = self.written;
        is_untrusted(name, self.trust)
            || (written.x_forwarded_for && name == X_FORWARDED_FOR)
            || (written.x_forwarded_proto && name == X_FORWARDED_PROTO)
            || (written.x_forwarded_host && name == X_FORWARDED_HOST)
            || (written.forwarded && name == FORWARDED)
            || (written.x_real_ip && name == X_REAL_IP)
            || (self.prefix.is_some() && name == X_FORWARDED_PREFIX)
    }

    /// Writes the lines.
    pub(crate) fn write(&self, sink: &mut impl HeaderSink) {
        let (written, client) = (self.written, self.client);
        let nothing = HeaderMap::new();
        let believed = match self.trust {
            Trust::Trusted => self.received,
            Trust::Untrusted => &nothing,
        };
        if written.x_forwarded_for {
            let list = x_forwarded::with_peer(believed, client.peer_ip());
            sink.write(&X_FORWARDED_FOR, &list);
        }
        if written.x_forwarded_proto {
            let proto = x_forwarded::proto(believed, client.scheme());
            sink.write(&X_FORWARDED_PROTO, proto);
        }
        if written.x_forwarded_host {
            let host = x_forwarded::host(believed, self.host);
            sink.write(&X_FORWARDED_HOST, host);
        }
        if written.forwarded {
            let element = rfc7239::element(client.peer_ip(), client.scheme(), self.host);
            sink.write(&FORWARDED, &rfc7239::with_element(believed, &element));
        }
        if written.x_real_ip {
            let text = self.real_ip.map(|ip| ip.to_string()).unwrap_or_default();
            sink.write(&X_REAL_IP, text.as_bytes());
        }
        if let Some(prefix) = self.prefix {
            let whole = x_forwarded::with_prefix(believed, prefix);
            sink.write(&X_FORWARDED_PREFIX, &whole);
        }
    }
}
