//! Lists of matchers as one matcher.

use super::traits::Matcher;
use crate::http::head::RequestHead;

/// Matches if all matchers of a list match; see [`all`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllOf<M> {
    matchers: Vec<M>,
}

/// Matches if at least one matcher of a list matches; see [`any`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyOf<M> {
    matchers: Vec<M>,
}

/// Matches requests that all `matchers` match. An empty list matches everything.
///
/// Evaluation goes in order and stops at the first mismatch. For matchers of different types, see
/// [`Matcher::boxed`].
#[must_use]
pub fn all<M: Matcher>(matchers: impl IntoIterator<Item = M>) -> AllOf<M> {
    AllOf {
        matchers: matchers.into_iter().collect(),
    }
}

/// Matches requests that at least one of `matchers` matches. An empty list matches nothing.
///
/// Evaluation goes in order and stops at the first match.
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

    fn is_match(matcher: &impl Matcher) -> bool {
        let request = http::Request::new(());
        matcher.matches(&RequestHead::from(&request))
    }

    #[test]
    fn an_empty_list_is_neutral() {
        assert!(is_match(&all::<Spy>([])));
        assert!(!is_match(&any::<Spy>([])));
    }

    #[test]
    fn all_stops_at_the_first_mismatch() {
        let spies = [true, false, true].map(Spy::new);
        assert!(!is_match(&all(spies.clone())));
        assert_eq!(spies.each_ref().map(Spy::evaluations), [1, 1, 0]);
        assert!(is_match(&all([true, true].map(Spy::new))));
    }

    #[test]
    fn any_stops_at_the_first_match() {
        let spies = [false, true, true].map(Spy::new);
        assert!(is_match(&any(spies.clone())));
        assert_eq!(spies.each_ref().map(Spy::evaluations), [1, 1, 0]);
        assert!(!is_match(&any([false, false].map(Spy::new))));
    }
}
