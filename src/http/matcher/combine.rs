//! Two matchers into one, and one into its contrary.

use super::Matcher;
use crate::http::head::RequestHead;

/// Matches what both match; see [`Matcher::and`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct And<A, B> {
    first: A,
    second: B,
}

/// Matches what either matches; see [`Matcher::or`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

/// Matches what another matcher does not; see [`not`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Not<M> {
    matcher: M,
}

/// Matches what `matcher` does not.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{not, owns, path};
///
/// let public = not(path("/admin/*"));
///
/// let request = http::Request::get("/docs/%2e%2e/admin/users").body(())?;
/// assert!(!owns(&public, &RequestHead::from(&request)));
/// # Ok::<(), http::Error>(())
/// ```
#[must_use]
pub fn not<M: Matcher>(matcher: M) -> Not<M> {
    Not::new(matcher)
}

impl<A: Matcher, B: Matcher> And<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Matcher, B: Matcher> Matcher for And<A, B> {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.first.matches(request) && self.second.matches(request)
    }
}

impl<A: Matcher, B: Matcher> Or<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Matcher, B: Matcher> Matcher for Or<A, B> {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.first.matches(request) || self.second.matches(request)
    }
}

impl<M: Matcher> Not<M> {
    pub(super) fn new(matcher: M) -> Self {
        Self { matcher }
    }
}

impl<M: Matcher> Matcher for Not<M> {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        !self.matcher.matches(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::matcher::testing::Spy;

    fn answer(matcher: &impl Matcher) -> bool {
        let request = http::Request::new(());
        matcher.matches(&RequestHead::from(&request))
    }

    #[test]
    fn and_or_and_not_follow_their_truth_tables() {
        for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
            let (first, second) = (Spy::saying(a), Spy::saying(b));
            assert_eq!(answer(&first.clone().and(second.clone())), a && b);
            assert_eq!(answer(&first.clone().or(second)), a || b);
            assert_eq!(answer(&not(first)), !a);
        }
    }

    #[test]
    fn the_second_is_asked_only_where_it_matters() {
        let second = Spy::saying(true);
        assert!(!answer(&Spy::saying(false).and(second.clone())));
        assert!(answer(&Spy::saying(true).or(second.clone())));
        assert_eq!(second.times_asked(), 0);

        assert!(answer(&Spy::saying(true).and(second.clone())));
        assert!(answer(&Spy::saying(false).or(second.clone())));
        assert_eq!(second.times_asked(), 2);
    }
}
