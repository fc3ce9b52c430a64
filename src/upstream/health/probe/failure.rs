//! How a probe fails.

use std::{
    error::{self, Error as _},
    fmt,
    sync::Arc,
    time::Duration,
};

use http::StatusCode;

use crate::{
    error::Error,
    frame::{CloseCode, Violation},
};

/// What a probe met instead of a healthy upstream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProbeFailure {
    /// The probe took longer than it may.
    #[non_exhaustive]
    TimedOut {
        /// What it was waiting for: `handshake`.
        step: &'static str,
        /// How long the probe had as a whole.
        after: Duration,
    },
    /// No connection was made, or the upstream broke the handshake: what a client would have met.
    Failed(Error),
    /// The connection ended before the HTTP answer did, or what came is no HTTP.
    NoAnswer(Error),
    /// The handshake was refused.
    Refused(StatusCode),
    /// The 101 names no subprotocol, although one was asked for.
    NoSubprotocol,
    /// The status of the answer is not one of those expected.
    UnexpectedStatus(StatusCode),
    /// The body of the answer is not what was expected.
    UnexpectedBody,
    /// The text that came is not what was expected.
    UnexpectedText,
    /// The upstream closed the WebSocket too early, with this code if any.
    Closed(Option<CloseCode>),
    /// The connection ended while the probe waited for this: `pong`.
    Lost(&'static str),
    /// The upstream sent what is no WebSocket frame, or not one that may come.
    Violation(Violation),
    /// A probe of your own panicked, with this message. That is a bug in it, and says nothing of
    /// the upstream; but an upstream that cannot be asked cannot be trusted either.
    Panicked(Arc<str>),
    /// What a probe of your own says.
    Other(Arc<str>),
}

impl ProbeFailure {
    /// A failure in words of your own. They should say what was met: `queue is full`.
    #[must_use]
    pub fn other(text: impl Into<Arc<str>>) -> Self {
        Self::Other(text.into())
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { step, after } => write!(f, "{step} timed out after {after:?}"),
            Self::Failed(error) => error.fmt(f),
            Self::NoAnswer(error) => {
                f.write_str("no whole answer")?;
                error
                    .source()
                    .map_or(Ok(()), |source| write!(f, ": {source}"))
            }
            Self::Refused(status) => write!(f, "the handshake was refused with {status}"),
            Self::NoSubprotocol => f.write_str("the upstream chose no subprotocol"),
            Self::UnexpectedStatus(status) => write!(f, "answered {status}"),
            Self::UnexpectedBody => f.write_str("the body is not what was expected"),
            Self::UnexpectedText => f.write_str("the text is not what was expected"),
            Self::Closed(Some(code)) => write!(f, "the upstream closed with {code}"),
            Self::Closed(None) => f.write_str("the upstream closed without a code"),
            Self::Lost(step) => write!(f, "the connection ended before the {step}"),
            Self::Violation(violation) => write!(f, "not a WebSocket: {violation}"),
            Self::Panicked(message) => write!(f, "the probe panicked: {message}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl error::Error for ProbeFailure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // Its text is this error's own, so what follows is its source.
            Self::Failed(error) | Self::NoAnswer(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Error> for ProbeFailure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
