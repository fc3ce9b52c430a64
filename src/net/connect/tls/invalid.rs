//! The error of a TLS setting.

use std::{error, fmt};

/// What is wrong with a TLS setting.
#[derive(Debug)]
pub struct InvalidTls {
    what: &'static str,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl InvalidTls {
    pub(super) fn new(
        what: &'static str,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            what,
            source: Some(source.into()),
        }
    }

    pub(super) const fn bare(what: &'static str) -> Self {
        Self { what, source: None }
    }
}

impl fmt::Display for InvalidTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.what),
            None => f.write_str(self.what),
        }
    }
}

impl error::Error for InvalidTls {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
