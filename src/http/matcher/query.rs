//! Matching by query.

use super::traits::Matcher;
use crate::http::head::{RequestHead, split_escape};

/// Matcher for a field of the query; see [`query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatcher {
    key: String,
    pattern: QueryPattern,
}

/// Pattern for the value of a query field. Text alone becomes [`Exact`](Self::Exact).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryPattern {
    /// Matches any well-formed value. `?key` has the empty value.
    Any,
    /// Matches this value, case-sensitively.
    Exact(String),
}

/// Matches a field of the query, parsed as a form (`application/x-www-form-urlencoded`).
///
/// Fields are separated by `&`, escapes are decoded, and `+` is a space. If a key occurs more than
/// once, one value that matches is enough. A field with a malformed escape never matches.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{Matcher, QueryPattern, query};
///
/// let request = http::Request::get("/ws?room=blue+moon&debug").body(())?;
/// let head = RequestHead::from(&request);
/// assert!(query("room", "blue moon").matches(&head));
/// assert!(query("debug", QueryPattern::Any).matches(&head));
/// # Ok::<(), http::Error>(())
/// ```
#[must_use]
pub fn query(key: impl Into<String>, value: impl Into<QueryPattern>) -> QueryMatcher {
    QueryMatcher {
        key: key.into(),
        pattern: value.into(),
    }
}

impl From<&str> for QueryPattern {
    fn from(value: &str) -> Self {
        Self::Exact(value.to_owned())
    }
}

impl From<String> for QueryPattern {
    fn from(value: String) -> Self {
        Self::Exact(value)
    }
}

impl Matcher for QueryMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        let fields = request.query().unwrap_or_default().split('&');
        fields.filter(|field| !field.is_empty()).any(|field| {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let key_fits = decodes_to(key, &self.key);
            key_fits
                && match &self.pattern {
                    QueryPattern::Any => form_bytes(value).all(|byte| byte.is_some()),
                    QueryPattern::Exact(wanted) => decodes_to(value, wanted),
                }
        })
    }
}

/// Returns the decoded values of this field of a query, in order. Fields whose key or value has a
/// malformed escape are left out.
pub(crate) fn form_values<'a>(
    query: &'a str,
    key: &'a str,
) -> impl Iterator<Item = Vec<u8>> + use<'a> {
    let fields = query.split('&').filter(|field| !field.is_empty());
    fields.filter_map(move |field| {
        let (found, value) = field.split_once('=').unwrap_or((field, ""));
        decodes_to(found, key).then(|| form_bytes(value).collect())?
    })
}

fn decodes_to(text: &str, wanted: &str) -> bool {
    form_bytes(text).eq(wanted.bytes().map(Some))
}

/// Returns the decoded bytes; `None` in the place of a malformed escape.
fn form_bytes(text: &str) -> impl Iterator<Item = Option<u8>> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, tail) = rest.split_first()?;
        let (byte, tail) = match (first, split_escape(rest)) {
            (b'%', Some((byte, tail))) => (Some(byte), tail),
            (b'%', None) => (None, tail),
            (b'+', _) => (Some(b' '), tail),
            (byte, _) => (Some(*byte), tail),
        };
        rest = tail;
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::matcher::testing::matches_target;

    fn fits(key: &str, value: impl Into<QueryPattern>, target: &str) -> bool {
        matches_target(&query(key, value), target)
    }

    #[test]
    fn keys_and_values_are_decoded_as_forms_are() {
        assert!(fits("room", "blue moon", "/?room=blue+moon"));
        assert!(fits("room", "blue moon", "/?room=blue%20moon"));
        assert!(fits("a b", "ü&=+", "/?x=1&a%20b=%C3%BC%26%3d%2B"));
        assert!(fits("a", "b=c", "/?a=b=c"));
        assert!(fits("a", "", "/?a") && fits("a", "", "/?a="));
        assert!(fits("", "x", "/?=x"));
    }

    #[test]
    fn key_and_value_are_compared_whole_and_in_their_case() {
        for target in [
            "/",
            "/?",
            "/?Room=x",
            "/?room=X",
            "/?room=xy",
            "/?rooms=x",
            "/?x=room",
            "/?room",
        ] {
            assert!(!fits("room", "x", target), "{target}");
        }
        assert!(!fits("a", "1", "/?b=0;a=1"));
        assert!(!fits("", QueryPattern::Any, "/?&&"));
    }

    #[test]
    fn one_of_several_values_is_enough() {
        assert!(fits("a", "2", "/?a=1&a=2") && fits("a", "1", "/?a=1&a=2"));
        assert!(fits("a", QueryPattern::Any, "/?b&a=1") && fits("a", QueryPattern::Any, "/?a"));
        assert!(!fits("a", QueryPattern::Any, "/?b=a"));
    }

    #[test]
    fn a_malformed_escape_never_matches() {
        for target in ["/?a=%", "/?a=%2", "/?a=x%zz", "/?a=%%20"] {
            assert!(!fits("a", QueryPattern::Any, target), "{target}");
        }
        assert!(!fits("a", "%zz", "/?a=%zz") && !fits("%", QueryPattern::Any, "/?%=1"));
        assert!(fits("a", "1", "/?a=%zz&a=1"));
    }
}
