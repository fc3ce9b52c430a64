//! Matching by path, with a regular expression.

use std::fmt;

use regex::Regex;

use super::traits::Matcher;
use crate::{error::display_error, http::head::RequestHead};

/// Matcher for whole paths by a regular expression; see [`path_regex`].
#[derive(Debug, Clone)]
pub struct PathRegexMatcher {
    regex: Regex,
}

/// Error for a text that is not a regular expression. The source is the error of the parser.
#[derive(Debug, Clone)]
pub struct InvalidPathRegex {
    source: regex::Error,
}

/// Matches paths with a regular expression in the syntax of the `regex` crate.
///
/// The expression has to match the whole path, as if it were enclosed in `^` and `$`: `/ws/.*`
/// matches `/ws/x` and not `/private/ws/x`. It is compared with the decoded path
/// ([`head`](crate::head#the-path)).
///
/// # Errors
///
/// Returns an error if the expression does not compile, or would be too large.
///
/// # Examples
///
/// ```
/// use wsplice::matcher::path_regex;
///
/// let rooms = path_regex(r"/rooms/\d+/ws")?;
/// assert!(path_regex(r"/rooms/(\d+").is_err());
/// # Ok::<(), wsplice::matcher::InvalidPathRegex>(())
/// ```
pub fn path_regex(expression: &str) -> Result<PathRegexMatcher, InvalidPathRegex> {
    let compile = |text: &str| Regex::new(text).map_err(|source| InvalidPathRegex { source });
    // By itself first: `a)|(b` becomes an expression only inside parentheses.
    compile(expression)?;
    let whole = compile(&format!(r"\A(?:{expression})\z"));
    // With `(?x)` the end may be part of a comment, which a line break closes.
    let regex = whole.or_else(|_| compile(&format!("\\A(?:{expression}\n)\\z")))?;
    Ok(PathRegexMatcher { regex })
}

impl Matcher for PathRegexMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        let path = request.path();
        !path.is_empty() && self.regex.is_match(path)
    }
}

impl fmt::Display for InvalidPathRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display_error(self, f, |f| {
            f.write_str("the path expression does not compile")
        })
    }
}

impl std::error::Error for InvalidPathRegex {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::matcher::testing::matches_target;

    fn fits(expression: &str, target: &str) -> bool {
        matches_target(&path_regex(expression).unwrap(), target)
    }

    #[test]
    fn the_whole_path_has_to_fit() {
        assert!(fits(r"/ws/.*", "/ws/x?y"));
        assert!(!fits(r"/ws/.*", "/private/ws/x"));
        assert!(!fits(r"/ws", "/wsx"));
        assert!(fits(r"/a|/ab", "/ab"));
        assert!(!fits(r"/a|/b", "/b/x"));
        assert!(fits(r"^/a$", "/a"));
    }

    #[test]
    fn the_decoded_path_is_compared() {
        assert!(fits(r"/café/\w+", "//caf%C3%A9/x"));
        assert!(!fits(r"/ws/.*", "/ws/%2e%2e/private"));
        assert!(!fits(".*", "*"));
    }

    #[test]
    fn flags_stay_inside() {
        assert!(fits("(?i)/WS", "/ws"));
        assert!(fits("(?x) /ws # the chat", "/ws"));
        assert!(!fits("(?x) /ws # the chat", "/ws/x"));
        assert!(!fits("(?m)/ws", "/ws/x"));
    }

    #[test]
    fn a_text_that_does_not_compile_is_rejected() {
        for expression in ["(", "/a)|(/b", "[", r"\"] {
            let error = path_regex(expression).unwrap_err();
            assert!(std::error::Error::source(&error).is_some(), "{expression}");
        }
    }
}
