//! ALPN (RFC 7301): protocols to offer, and the protocol agreed on.

/// The protocols that an upstream behind TLS is offered.
///
/// Only protocols that will be spoken are offered: a server that prefers h2 must not choose it in
/// vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpn {
    Http1,
    #[cfg(feature = "http2")]
    Http2,
    /// HTTP/2 if there is a choice.
    #[cfg(feature = "http2")]
    Either,
}

/// The protocol agreed on. A server that does not know ALPN has not agreed to HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreed {
    Http1,
    #[cfg_attr(not(all(feature = "http2", feature = "rustls")), allow(dead_code))]
    Http2,
}

#[cfg(feature = "rustls")]
impl Alpn {
    /// The names of the protocols, the preferred one first.
    pub(crate) fn names(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Http1 => &[b"http/1.1"],
            #[cfg(feature = "http2")]
            Self::Http2 => &[b"h2"],
            #[cfg(feature = "http2")]
            Self::Either => &[b"h2", b"http/1.1"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

#[cfg(feature = "rustls")]
impl Agreed {
    /// Returns the protocol of this name, which the server has chosen.
    pub(crate) fn of(name: Option<&[u8]>) -> Self {
        match name {
            Some(b"h2") => Self::Http2,
            _ => Self::Http1,
        }
    }
}
