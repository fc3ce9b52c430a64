//! Matching by header.

use http::HeaderName;

use super::traits::Matcher;
use crate::http::head::RequestHead;

/// Matcher for the value of a header; see [`header`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatcher {
    name: HeaderName,
    pattern: HeaderPattern,
}

/// Pattern for the value of a header.
///
/// Values are compared byte by byte and case-sensitively. Text alone becomes
/// [`Exact`](Self::Exact).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderPattern {
    /// Matches if the header has a line, with any value.
    Present,
    /// Matches if the header has no line.
    Absent,
    /// Matches if a line equals this text.
    Exact(String),
    /// Matches if a line begins with this text.
    Prefix(String),
    /// Matches if a line ends with this text.
    Suffix(String),
    /// Matches if a line contains this text.
    Contains(String),
}

/// Matches a header. If it has several lines, one that matches is enough.
///
/// A line is compared whole: `chat, superchat` does not equal `chat`. For lists use
/// [`websocket`](super::websocket()) and [`subprotocol`](super::subprotocol()).
///
/// # Examples
///
/// ```
/// use http::HeaderName;
/// use http::header::USER_AGENT;
/// use wsplice::matcher::{HeaderPattern, header};
///
/// let tenant = header(HeaderName::from_static("x-tenant"), "blue");
/// let probes = header(USER_AGENT, HeaderPattern::Prefix("probe/".into()));
/// ```
#[must_use]
pub fn header(name: HeaderName, pattern: impl Into<HeaderPattern>) -> HeaderMatcher {
    HeaderMatcher {
        name,
        pattern: pattern.into(),
    }
}

impl From<&str> for HeaderPattern {
    fn from(value: &str) -> Self {
        Self::Exact(value.to_owned())
    }
}

impl From<String> for HeaderPattern {
    fn from(value: String) -> Self {
        Self::Exact(value)
    }
}

impl Matcher for HeaderMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        let mut lines = request.headers().get_all(&self.name).iter();
        match &self.pattern {
            HeaderPattern::Present => lines.next().is_some(),
            HeaderPattern::Absent => lines.next().is_none(),
            HeaderPattern::Exact(text) => lines.any(|line| line == text),
            HeaderPattern::Prefix(text) => {
                lines.any(|line| line.as_bytes().starts_with(text.as_bytes()))
            }
            HeaderPattern::Suffix(text) => {
                lines.any(|line| line.as_bytes().ends_with(text.as_bytes()))
            }
            HeaderPattern::Contains(text) => {
                lines.any(|line| contains(line.as_bytes(), text.as_bytes()))
            }
        }
    }
}

fn contains(line: &[u8], text: &[u8]) -> bool {
    text.is_empty() || line.windows(text.len()).any(|part| part == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::matcher::testing::matches_lines;

    const X: HeaderName = HeaderName::from_static("x-tenant");

    fn fits(pattern: impl Into<HeaderPattern>, lines: &[&str]) -> bool {
        let lines: Vec<_> = lines.iter().map(|line| (X, *line)).collect();
        matches_lines(&header(X, pattern), &lines)
    }

    #[test]
    fn presence_is_about_lines_not_about_values() {
        assert!(fits(HeaderPattern::Present, &[""]) && !fits(HeaderPattern::Present, &[]));
        assert!(fits(HeaderPattern::Absent, &[]) && !fits(HeaderPattern::Absent, &[""]));
    }

    #[test]
    fn values_are_compared_in_their_case() {
        use HeaderPattern::{Contains, Prefix, Suffix};
        let blue = &["deep-blue-1"];
        assert!(fits("deep-blue-1", blue) && fits(String::from("deep-blue-1"), blue));
        assert!(!fits("blue", blue) && !fits("Deep-Blue-1", blue));
        assert!(fits(Prefix("deep".into()), blue) && !fits(Prefix("blue".into()), blue));
        assert!(fits(Suffix("-1".into()), blue) && !fits(Suffix("blue".into()), blue));
        assert!(fits(Contains("blue".into()), blue) && !fits(Contains("BLUE".into()), blue));
        assert!(!fits(Contains("deep-blue-1-and-more".into()), blue));
    }

    #[test]
    fn any_line_is_enough_but_there_has_to_be_one() {
        assert!(fits("b", &["a", "b"]));
        assert!(!fits("b", &["a, b"]));
        assert!(!fits("", &[]) && !fits(HeaderPattern::Contains(String::new()), &[]));
        assert!(fits(HeaderPattern::Contains(String::new()), &[""]));
    }
}
