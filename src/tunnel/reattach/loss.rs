//! Ways in which a tunnel loses its upstream.

use std::{fmt, io};

use crate::frame::CloseCode;

/// How a tunnel lost its upstream, so that it may get another one; see
/// [`Reattach`](crate::tunnel::reattach::Reattach).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The upstream ended its connection in order, but sent no close frame before.
    ClosedWithoutFrame,
    /// The upstream's connection broke: reset, or another error of the transport.
    Broken(io::ErrorKind),
    /// The upstream did not answer a ping.
    PongTimeout,
    /// The upstream took none of the bytes that waited for it.
    WriteTimeout,
    /// The upstream sent a close frame with this code.
    Closed(CloseCode),
    /// The proxy moved the tunnel to another upstream, by
    /// [`OnUpstreamLoss::Move`](crate::pool::OnUpstreamLoss::Move) or
    /// [`Registry::move_where`](crate::Registry::move_where).
    Moved,
}

impl Loss {
    /// The loss as a [slug](crate#slugs), without the kind of the error or the code:
    /// `closed_without_frame`, `pong_timeout`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ClosedWithoutFrame => "closed_without_frame",
            Self::Broken(_) => "broken",
            Self::PongTimeout => "pong_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Closed(_) => "closed",
            Self::Moved => "moved",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedWithoutFrame => f.write_str("the upstream ended without a close frame"),
            Self::Broken(kind) => write!(f, "the upstream's connection broke: {kind}"),
            Self::PongTimeout => f.write_str("the upstream did not answer a ping"),
            Self::WriteTimeout => f.write_str("the upstream stopped reading"),
            Self::Closed(code) => write!(f, "the upstream closed with {code}"),
            Self::Moved => f.write_str("the tunnel was moved to another upstream"),
        }
    }
}
