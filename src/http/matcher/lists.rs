//! Many matchers into one.

use super::Matcher;
use crate::http::head::RequestHead;

/// Matches what all of its matchers match; see [`all`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllOf<M> {
    matchers: Vec<M>,
}

/// Matches what at least one of its matchers matches; see [`any`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyOf<M> {
    matchers: Vec<M>,
}

/// Matches what all `matchers` match. Without any it matches everything.
///
/// They are asked in order, up to the first that says no. For matchers of different types,
/// see [`Matcher::boxed`].
#[must_use]
pub fn all<M: Matcher>(matchers: impl IntoIterator<Item = M>) -> AllOf<M> {
    AllOf {
        matchers: matchers.into_iter().collect(),
    }
}

/// Matches what at least one of `matchers` matches. Without any it matches nothing.
///
/// They are asked in order, up to the first that says yes.
///
/// # Examples
///
/// ```
/// use wsplice::matcher::{any, host};
///
/// let ours = any(["example.com", "*.example.com"].map(host));
/// ```
#[must_use]
pub fn any<M: Matcher>(matchers: impl IntoIterator<Item = M>) -> AnyOf<M> {
    AnyOf {
        matchers: matchers.into_iter().collect(),
    }
}

impl<M: Matcher> Matcher for AllOf<M> {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(request))
    }
}

impl<M: Matcher> Matcher for AnyOf<M> {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.matchers.iter().any(|matcher| matcher.matches(request))
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
    fn an_empty_list_is_neutral() {
        assert!(answer(&all::<Spy>([])));
        assert!(!answer(&any::<Spy>([])));
    }

    #[test]
    fn all_stops_at_the_first_no() {
        let spies = [true, false, true].map(Spy::saying);
        assert!(!answer(&all(spies.clone())));
        assert_eq!(spies.each_ref().map(Spy::times_asked), [1, 1, 0]);
        assert!(answer(&all([true, true].map(Spy::saying))));
    }

    #[test]
    fn any_stops_at_the_first_yes() {
        let spies = [false, true, true].map(Spy::saying);
        assert!(answer(&any(spies.clone())));
        assert_eq!(spies.each_ref().map(Spy::times_asked), [1, 1, 0]);
        assert!(!answer(&any([false, false].map(Spy::saying))));
    }
}
