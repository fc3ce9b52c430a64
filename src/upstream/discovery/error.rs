//! Why upstreams were not found.

use std::{error, fmt, sync::Arc, time::Duration};

use crate::error::BoxError;

/// Why upstreams were not found. The pool keeps those that it has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DiscoverError {
    /// DNS answers that the name does not exist, or has no records of the kind that was asked for.
    NoRecords {
        /// What was asked for.
        name: Box<str>,
    },
    /// No answer came in time.
    TimedOut {
        /// In this time.
        after: Duration,
    },
    /// The source ended before it found any.
    Ended,
    /// Anything else.
    Failed(Arc<dyn error::Error + Send + Sync>),
}

impl DiscoverError {
    /// A failure of any other kind.
    #[must_use]
    pub fn failed(source: impl Into<BoxError>) -> Self {
        Self::Failed(source.into().into())
    }
}

impl fmt::Display for DiscoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecords { name } => write!(f, "{name} has no records"),
            Self::TimedOut { after } => write!(f, "no answer within {after:?}"),
            Self::Ended => f.write_str("the source ended before it found any upstreams"),
            Self::Failed(source) => fmt::Display::fmt(source, f),
        }
    }
}

impl error::Error for DiscoverError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // Its own words were ours already.
            Self::Failed(source) => source.source(),
            Self::NoRecords { .. } | Self::TimedOut { .. } | Self::Ended => None,
        }
    }
}
