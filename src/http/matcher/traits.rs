//! The trait `Matcher`, its implementations for closures and pointers, and the matchers that its
//! methods make.

use std::{fmt, sync::Arc};

use crate::http::head::RequestHead;

/// Selects the requests that the layer handles.
///
/// Closures are matchers. So are an `Arc` of any matcher, `Box<dyn Matcher>` and `&dyn Matcher`.
///
/// A matcher does not block and depends on the head alone. One request may be evaluated several
/// times, each time with another [`path`](RequestHead::path); see [`owns`](super::owns).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{Matcher, path};
///
/// fn matching(_: impl Matcher + 'static) {}
///
/// matching(path("/ws/*").or(path("/live")));
/// matching(|head: &RequestHead<'_>| head.query().is_none());
/// let shared: Arc<dyn Matcher> = Arc::new(path("/ws/*"));
/// matching(shared);
/// ```
pub trait Matcher: Send + Sync {
    /// Returns whether this request matches.
    fn matches(&self, request: &RequestHead<'_>) -> bool;

    /// Matches if both match. `other` is not evaluated if this one does not match.
    fn and<M: Matcher>(self, other: M) -> And<Self, M>
    where
        Self: Sized,
    {
        And::new(self, other)
    }

    /// Matches if either matches. `other` is not evaluated if this one matches.
    fn or<M: Matcher>(self, other: M) -> Or<Self, M>
    where
        Self: Sized,
    {
        Or::new(self, other)
    }

    /// Matches if this one does not.
    fn not(self) -> Not<Self>
    where
        Self: Sized,
    {
        Not::new(self)
    }

    /// Erases the type of this matcher, for a list of different ones or for a field.
    fn boxed(self) -> AnyMatcher
    where
        Self: Sized + 'static,
    {
        AnyMatcher::new(self)
    }
}

impl<F> Matcher for F
where
    F: Fn(&RequestHead<'_>) -> bool + Send + Sync,
{
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        self(request)
    }
}

// `Arc` does not implement `Fn`, so this one may be generic. `Box` and `&` of a closure are
// closures themselves; only type-erased matchers can be distinguished from those.
impl<M: Matcher + ?Sized> Matcher for Arc<M> {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        (**self).matches(request)
    }
}

impl Matcher for Box<dyn Matcher + '_> {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        (**self).matches(request)
    }
}

impl Matcher for &(dyn Matcher + '_) {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        (**self).matches(request)
    }
}

/// Matches if both matchers match; see [`Matcher::and`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct And<A, B> {
    first: A,
    second: B,
}

/// Matches if either matcher matches; see [`Matcher::or`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

/// Matches if another matcher does not; see [`not`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Not<M> {
    matcher: M,
}

/// Matches requests that `matcher` does not match.
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

/// A type-erased matcher, cheap to clone; see [`Matcher::boxed`].
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
    /// Erases the type of `matcher`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::matcher::{
        all, any, client_ip, header, host, method, origin, path, query, same_origin, subprotocol,
        testing::Spy, websocket,
    };

    fn is_match(matcher: &impl Matcher) -> bool {
        let request = http::Request::get("/ws/x").body(()).unwrap();
        matcher.matches(&RequestHead::from(&request))
    }

    #[test]
    fn closures_are_matchers_also_behind_pointers() {
        let on_ws = |head: &RequestHead<'_>| head.path() == "/ws/x";
        assert!(is_match(&on_ws));
        assert!(is_match(&&on_ws));
        assert!(is_match(&Box::new(on_ws)));
        assert!(is_match(&Arc::new(on_ws)));
        assert!(!is_match(&on_ws.not()));
    }

    #[test]
    fn matchers_behind_pointers_are_matchers() {
        let arc: Arc<dyn Matcher> = Arc::new(path("/ws/*"));
        let boxed: Box<dyn Matcher> = Box::new(path("/ws/*"));
        let borrowed: &dyn Matcher = &path("/ws/*");
        assert!(is_match(&arc) && is_match(&boxed) && is_match(&borrowed));
        assert!(is_match(&Arc::new(path("/ws/*"))));
        assert!(!is_match(&arc.and(path("/other"))));
    }

    #[test]
    fn different_matchers_meet_in_one_list() {
        assert!(is_match(&all([
            path("/ws/*").boxed(),
            method(http::Method::GET).boxed(),
            (|_: &RequestHead<'_>| true).boxed(),
        ])));
    }

    #[test]
    fn every_matcher_can_be_cloned_shown_and_shared() {
        fn check(matcher: impl Matcher + Clone + std::fmt::Debug + 'static) {
            assert!(!format!("{:?}", matcher.clone()).is_empty());
            assert!(!format!("{:?}", matcher.boxed()).is_empty());
        }
        check(path("/").and(method(http::Method::GET)).or(host("a")).not());
        check(any([query("a", "b")]));
        check(all([header(http::header::HOST, "b")]));
        check(websocket().and(subprotocol("a")).and(same_origin()));
        check(origin(["null"]).unwrap().or(client_ip(["::/0"]).unwrap()));
    }

    #[test]
    fn and_or_and_not_follow_their_truth_tables() {
        for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
            let (first, second) = (Spy::new(a), Spy::new(b));
            assert_eq!(is_match(&first.clone().and(second.clone())), a && b);
            assert_eq!(is_match(&first.clone().or(second)), a || b);
            assert_eq!(is_match(&not(first)), !a);
        }
    }

    #[test]
    fn the_second_is_evaluated_only_if_it_matters() {
        let second = Spy::new(true);
        assert!(!is_match(&Spy::new(false).and(second.clone())));
        assert!(is_match(&Spy::new(true).or(second.clone())));
        assert_eq!(second.evaluations(), 0);

        assert!(is_match(&Spy::new(true).and(second.clone())));
        assert!(is_match(&Spy::new(false).or(second.clone())));
        assert_eq!(second.evaluations(), 2);
    }
}
