//! Reasons why a probe fails.

use std::{error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::{
    error::{Error, display_error},
    frame::{CloseCode, Violation},
};

/// Reason why a probe failed.
///
/// [`Failed`](Self::Failed) is printed as the error that it holds. The cause of that error, and of
/// the one in [`IncompleteResponse`](Self::IncompleteResponse), is the source; `{failure:#}` prints the whole chain in
/// one line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProbeFailure {
    /// The probe exceeded its timeout.
    #[non_exhaustive]
    TimedOut {
        /// Step that was under way: `handshake`.
        step: &'static str,
        /// Timeout of the whole probe.
        after: Duration,
    },
    /// No connection was made, or the upstream broke the handshake: a client would have failed the
    /// same way.
    Failed(Error),
    /// The connection ended before the HTTP response did, or the response is not HTTP.
    IncompleteResponse(Error),
    /// The upstream refused the handshake.
    Refused(StatusCode),
    /// The 101 names no subprotocol, although the probe offered one.
    NoSubprotocol,
    /// The status of the response is not an expected one.
    UnexpectedStatus(StatusCode),
    /// The body of the response is not as expected.
    UnexpectedBody,
    /// The text message is not as expected.
    UnexpectedText,
    /// The upstream closed the WebSocket too early, with this code if any.
    Closed(Option<CloseCode>),
    /// The connection ended while the probe waited for this: `pong`.
    Lost(&'static str),
    /// The upstream sent bytes that are not a WebSocket frame, or a frame that is not allowed here.
    Violation(Violation),
    /// A probe of your own panicked, with this message. The panic is a bug of the probe and no
    /// evidence about the upstream; but an upstream that cannot be probed cannot be trusted either.
    Panicked(Arc<str>),
    /// A failure of a probe of your own.
    Other(Arc<str>),
}

impl ProbeFailure {
    /// Creates a failure with a message of your own, which should describe the observation: `queue
    /// is full`.
    #[must_use]
    pub fn other(text: impl Into<Arc<str>>) -> Self {
        Self::Other(text.into())
    }

    /// The failure as a [slug](crate#slugs), without its values: `unexpected_status`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::TimedOut { .. } => "timed_out",
            Self::Failed(_) => "failed",
            Self::IncompleteResponse(_) => "incomplete_response",
            Self::Refused(_) => "refused",
            Self::NoSubprotocol => "no_subprotocol",
            Self::UnexpectedStatus(_) => "unexpected_status",
            Self::UnexpectedBody => "unexpected_body",
            Self::UnexpectedText => "unexpected_text",
            Self::Closed(_) => "closed",
            Self::Lost(_) => "lost",
            Self::Violation(_) => "violation",
            Self::Panicked(_) => "panicked",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display_error(self, f, |f| match self {
            Self::TimedOut { step, after } => write!(f, "{step} timed out after {after:?}"),
            Self::Failed(error) => error.fmt(f),
            Self::IncompleteResponse(_) => f.write_str("incomplete response"),
            Self::Refused(status) => write!(f, "the handshake was refused with {status}"),
            Self::NoSubprotocol => f.write_str("the upstream chose no subprotocol"),
            Self::UnexpectedStatus(status) => write!(f, "responded with {status}"),
            Self::UnexpectedBody => f.write_str("the body is not what was expected"),
            Self::UnexpectedText => f.write_str("the text is not what was expected"),
            Self::Closed(Some(code)) => write!(f, "the upstream closed with {code}"),
            Self::Closed(None) => f.write_str("the upstream closed without a code"),
            Self::Lost(step) => write!(f, "the connection ended before the {step}"),
            Self::Violation(violation) => write!(f, "not a WebSocket: {violation}"),
            Self::Panicked(message) => write!(f, "the probe panicked: {message}"),
            Self::Other(text) => f.write_str(text),
        })
    }
}

impl error::Error for ProbeFailure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // `Display` shows the error's own message, so the chain goes on behind it.
            Self::Failed(error) | Self::IncompleteResponse(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Error> for ProbeFailure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
