//! Error of a discovery source.

use std::{error, fmt, sync::Arc, time::Duration};

use crate::error::{BoxError, display_error};

/// Error of a discovery source. The pool keeps its upstreams.
///
/// [`Failed`](Self::Failed) is printed as the error that it holds, and has that error's source;
/// `{error:#}` prints the whole chain in one line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DiscoverError {
    /// DNS reports that the name does not exist, or has no records of the queried kind.
    NoRecords {
        /// Name that was looked up.
        name: Box<str>,
    },
    /// The query got no response in time.
    TimedOut {
        /// Timeout of the query.
        after: Duration,
    },
    /// The source ended before its first set.
    Ended,
    /// Any other failure.
    Failed(Arc<dyn error::Error + Send + Sync>),
}

impl DiscoverError {
    /// Creates a failure of any other kind.
    #[must_use]
    pub fn failed(source: impl Into<BoxError>) -> Self {
        Self::Failed(source.into().into())
    }

    /// The failure as a [slug](crate#slugs), without its values: `timed_out`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NoRecords { .. } => "no_records",
            Self::TimedOut { .. } => "timed_out",
            Self::Ended => "ended",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for DiscoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display_error(self, f, |f| match self {
            Self::NoRecords { name } => write!(f, "{name} has no records"),
            Self::TimedOut { after } => write!(f, "no response within {after:?}"),
            Self::Ended => f.write_str("the source ended before it found any upstreams"),
            Self::Failed(source) => fmt::Display::fmt(source, f),
        })
    }
}

impl error::Error for DiscoverError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // `Display` shows the source's own message, so the chain goes on behind it.
            Self::Failed(source) => source.source(),
            Self::NoRecords { .. } | Self::TimedOut { .. } | Self::Ended => None,
        }
    }
}
