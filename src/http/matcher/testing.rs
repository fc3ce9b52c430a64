//! Test helpers of this module.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderName, Request};

use super::Matcher;
use crate::http::head::RequestHead;

/// A matcher with a fixed result that counts its evaluations.
#[derive(Debug, Clone)]
pub(super) struct Spy {
    result: bool,
    evaluations: Arc<AtomicUsize>,
}

impl Spy {
    pub(super) fn new(result: bool) -> Self {
        Self {
            result,
            evaluations: Arc::default(),
        }
    }

    pub(super) fn evaluations(&self) -> usize {
        self.evaluations.load(Ordering::Relaxed)
    }
}

impl Matcher for Spy {
    fn matches(&self, _: &RequestHead<'_>) -> bool {
        self.evaluations.fetch_add(1, Ordering::Relaxed);
        self.result
    }
}

/// Returns whether `matcher` matches a `GET` for `target`.
pub(super) fn matches_target(matcher: &impl Matcher, target: &str) -> bool {
    let request = Request::get(target).body(()).unwrap();
    matcher.matches(&RequestHead::from(&request))
}

/// Returns whether `matcher` matches a `GET` for `/` with these header lines.
pub(super) fn matches_lines(matcher: &impl Matcher, lines: &[(HeaderName, &str)]) -> bool {
    let mut request = Request::new(());
    for (name, line) in lines {
        request.headers_mut().append(name, line.parse().unwrap());
    }
    matcher.matches(&RequestHead::from(&request))
}
