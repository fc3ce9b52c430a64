//! Connection to an upstream: one of its own, or a slot on a shared one.

use std::time::Duration;

use crate::{error::Error, net::transport::Transport};

use super::{
    address::Address, dialer::Dialer, http_version::HttpVersion, http2::StreamSlot,
    proxy_protocol::ProxyHeader,
};

/// A connection on which a request can be sent to an upstream.
#[derive(Debug)]
pub(crate) enum UpstreamConnection {
    /// A fresh connection of its own, for HTTP/1.1.
    Own(Transport),
    /// A stream of a shared connection that is still to be opened, for HTTP/2.
    #[cfg_attr(not(feature = "http2"), allow(dead_code))]
    Shared(StreamSlot),
}

impl Dialer {
    /// Returns the time within which [`acquire`](Self::acquire) ends by itself, where it is a
    /// [dial](Self::limit) alone.
    pub(crate) fn acquire_limit(
        &self,
        address: &Address,
        version: HttpVersion,
    ) -> Option<Duration> {
        match (version, address) {
            #[cfg(feature = "http2")]
            (HttpVersion::Http2, _) | (HttpVersion::Auto, Address::Tls { .. }) => None,
            _ => Some(self.limit(address)),
        }
    }

    /// Acquires a connection to the upstream at this address, for the wanted version of HTTP. With
    /// a PROXY header a connection belongs to one client and is never shared.
    ///
    /// # Errors
    ///
    /// As [`dial`](Self::dial), and
    /// [`ErrorKind::Http2Unsupported`](crate::ErrorKind::Http2Unsupported).
    pub(crate) async fn acquire(
        &self,
        address: &Address,
        version: HttpVersion,
        header: Option<&ProxyHeader>,
    ) -> Result<UpstreamConnection, Error> {
        match (version, address, header) {
            // Boxed, because they are large, and connections for HTTP/1.1 would carry them.
            #[cfg(feature = "http2")]
            (HttpVersion::Http2, _, None) => Box::pin(self.acquire_http2(address)).await,
            #[cfg(feature = "http2")]
            (HttpVersion::Auto, Address::Tls { .. }, None) => {
                Box::pin(self.acquire_either(address)).await
            }
            _ => self
                .dial(address, header)
                .await
                .map(UpstreamConnection::Own),
        }
    }
}
