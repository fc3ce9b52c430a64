//! A matcher with its type forgotten.

use std::fmt;
use std::sync::Arc;

use super::Matcher;
use crate::http::head::RequestHead;

/// A matcher of any type, cheap to clone; see [`Matcher::boxed`].
///
/// # Examples
///
/// ```
/// use wsplice::matcher::{AnyMatcher, Matcher, any, host, path};
///
/// let matcher: AnyMatcher = any([path("/ws/*").boxed(), host("ws.example.com").boxed()]).boxed();
/// ```
#[derive(Clone)]
pub struct AnyMatcher(Arc<dyn Matcher>);

impl AnyMatcher {
    /// Forgets the type of `matcher`.
    #[must_use]
    pub fn new(matcher: impl Matcher + 'static) -> Self {
        Self(Arc::new(matcher))
    }
}

impl From<Arc<dyn Matcher>> for AnyMatcher {
    fn from(matcher: Arc<dyn Matcher>) -> Self {
        Self(matcher)
    }
}

impl Matcher for AnyMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.0.matches(request)
    }
}

impl fmt::Debug for AnyMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyMatcher").finish_non_exhaustive()
    }
}
