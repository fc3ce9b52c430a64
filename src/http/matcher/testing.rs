//! What the tests of this module share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderName, Request};

use super::Matcher;
use crate::http::head::RequestHead;

/// A matcher that always says the same and counts how often it is asked.
#[derive(Debug, Clone)]
pub(super) struct Spy {
    answer: bool,
    asked: Arc<AtomicUsize>,
}

impl Spy {
    pub(super) fn saying(answer: bool) -> Self {
        Self {
            answer,
            asked: Arc::default(),
        }
    }

    pub(super) fn times_asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Matcher for Spy {
    fn matches(&self, _: &RequestHead<'_>) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer
    }
}

/// Whether `matcher` matches a `GET` for `target`.
pub(super) fn matches_target(matcher: &impl Matcher, target: &str) -> bool {
    let request = Request::get(target).body(()).unwrap();
    matcher.matches(&RequestHead::from(&request))
}

/// Whether `matcher` matches a `GET` for `/` with these header lines.
pub(super) fn matches_lines(matcher: &impl Matcher, lines: &[(HeaderName, &str)]) -> bool {
    let mut request = Request::new(());
    for (name, line) in lines {
        request.headers_mut().append(name, line.parse().unwrap());
    }
    matcher.matches(&RequestHead::from(&request))
}
