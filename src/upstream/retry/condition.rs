//! Kinds of failures that a retry policy distinguishes.

use crate::error::ErrorKind;

use super::budget::Cost;

/// Failure after which a request may be retried at another upstream; see [`Retry`](crate::Retry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryOn {
    /// No connection: the upstream refused, could not be reached or resolved, took too long to
    /// connect, or did not agree on TLS.
    Connect,
    /// The upstream closed or reset the connection before the first byte of a response
    /// ([`ErrorKind::NoResponse`]).
    Broken,
    /// The upstream did not respond in time ([`ErrorKind::HandshakeTimeout`],
    /// [`ErrorKind::ResponseTimeout`]).
    Timeout,
    /// The response cannot be used ([`ErrorKind::Handshake`], [`ErrorKind::Response`],
    /// [`ErrorKind::InvalidUpgradeResponse`]).
    InvalidResponse,
    /// The upstream responded with this HTTP status.
    Status(u16),
}

impl RetryOn {
    /// Returns the condition that a failure fulfills; `None` if it is never retried.
    pub(super) const fn of_failure(kind: ErrorKind) -> Option<Self> {
        match kind {
            ErrorKind::Resolve
            | ErrorKind::LocalShortage
            | ErrorKind::Connect
            | ErrorKind::ConnectTimeout
            | ErrorKind::Tls
            | ErrorKind::TlsTimeout
            | ErrorKind::Http2Unsupported => Some(Self::Connect),
            ErrorKind::NoResponse => Some(Self::Broken),
            ErrorKind::HandshakeTimeout | ErrorKind::ResponseTimeout => Some(Self::Timeout),
            ErrorKind::Handshake | ErrorKind::Response | ErrorKind::InvalidUpgradeResponse => {
                Some(Self::InvalidResponse)
            }
            _ => None,
        }
    }

    /// Returns the cost of a retry after this failure.
    pub(super) const fn cost(self) -> Cost {
        match self {
            // No byte of the request was sent.
            Self::Connect => Cost::Connect,
            Self::Broken | Self::Timeout | Self::InvalidResponse | Self::Status(_) => Cost::Request,
        }
    }
}
