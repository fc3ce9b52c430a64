//! Matching by method.

use http::Method;

use super::traits::Matcher;
use crate::http::head::RequestHead;

/// Matcher for one method; see [`method`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodMatcher {
    method: Method,
}

/// Matches requests with this method. Methods are case-sensitive (RFC 9110 §9.1).
#[must_use]
pub fn method(method: Method) -> MethodMatcher {
    MethodMatcher { method }
}

impl Matcher for MethodMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        *request.method() == self.method
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::matcher::testing::matches_target;

    #[test]
    fn only_the_method_itself_matches() {
        assert!(matches_target(&method(Method::GET), "/"));
        assert!(!matches_target(&method(Method::POST), "/"));
        assert!(!matches_target(&method("get".parse().unwrap()), "/"));
    }
}
