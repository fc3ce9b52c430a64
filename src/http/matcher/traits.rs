//! The trait, and what implements it besides the matchers of this module.

use std::sync::Arc;

use super::{And, AnyMatcher, Not, Or};
use crate::http::head::RequestHead;

/// Says whether a request is one of ours.
///
/// Closures are matchers. So are an `Arc` of any matcher, `Box<dyn Matcher>` and
/// `&dyn Matcher`.
///
/// A matcher answers at once and looks at nothing but the head. It may be asked more than once
/// about one request, each time with another [`path`](RequestHead::path); see
/// [`owns`](super::owns).
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
    /// Whether this request matches.
    fn matches(&self, request: &RequestHead<'_>) -> bool;

    /// Matches what both match. `other` is not asked where this one says no.
    fn and<M: Matcher>(self, other: M) -> And<Self, M>
    where
        Self: Sized,
    {
        And::new(self, other)
    }

    /// Matches what either matches. `other` is not asked where this one says yes.
    fn or<M: Matcher>(self, other: M) -> Or<Self, M>
    where
        Self: Sized,
    {
        Or::new(self, other)
    }

    /// Matches what this one does not.
    fn not(self) -> Not<Self>
    where
        Self: Sized,
    {
        Not::new(self)
    }

    /// This matcher with its type forgotten, for a list of different ones or for a field.
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

// `Arc` is no `Fn`, so this one may be generic. `Box` and `&` of a closure are closures
// themselves; of matchers, only the ones with a forgotten type can be told from those.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::matcher::{
        all, any, client_ip, header, host, method, origin, path, query, same_origin, subprotocol,
        websocket,
    };

    fn answer(matcher: &impl Matcher) -> bool {
        let request = http::Request::get("/ws/x").body(()).unwrap();
        matcher.matches(&RequestHead::from(&request))
    }

    #[test]
    fn closures_are_matchers_also_behind_pointers() {
        let on_ws = |head: &RequestHead<'_>| head.path() == "/ws/x";
        assert!(answer(&on_ws));
        assert!(answer(&&on_ws));
        assert!(answer(&Box::new(on_ws)));
        assert!(answer(&Arc::new(on_ws)));
        assert!(!answer(&on_ws.not()));
    }

    #[test]
    fn matchers_behind_pointers_are_matchers() {
        let arc: Arc<dyn Matcher> = Arc::new(path("/ws/*"));
        let boxed: Box<dyn Matcher> = Box::new(path("/ws/*"));
        let borrowed: &dyn Matcher = &path("/ws/*");
        assert!(answer(&arc) && answer(&boxed) && answer(&borrowed));
        assert!(answer(&Arc::new(path("/ws/*"))));
        assert!(!answer(&arc.and(path("/other"))));
    }

    #[test]
    fn different_matchers_meet_in_one_list() {
        assert!(answer(&all([
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
}
