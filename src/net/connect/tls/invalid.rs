//! Error of a TLS setting.

use std::{error, fmt};

use crate::error::display_error;

/// An invalid TLS setting.
///
/// The reason that a reader or verifier gave is the source; `{error:#}` prints both in one line.
#[derive(Debug)]
pub struct InvalidTls {
    message: &'static str,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl InvalidTls {
    pub(super) fn new(
        message: &'static str,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            message,
            source: Some(source.into()),
        }
    }

    pub(super) const fn without_source(message: &'static str) -> Self {
        Self {
            message,
            source: None,
        }
    }
}

impl fmt::Display for InvalidTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display_error(self, f, |f| f.write_str(self.message))
    }
}

impl error::Error for InvalidTls {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
