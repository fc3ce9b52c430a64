//! Matching by path.

use super::glob::{Case, Glob};
use super::lists::{AnyOf, any};
use super::traits::Matcher;
use crate::http::head::{RequestHead, comparable};

/// Matcher for paths by a pattern; see [`path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathMatcher {
    shape: Shape,
    case: Case,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Everything,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Part(String),
    Glob(Glob),
}

/// Matches paths by a pattern.
///
/// | pattern | matches |
/// |---|---|
/// | `/ws` | `/ws` alone |
/// | `/ws/*` | `/ws/` and all below it, but neither `/ws` nor `/wsx` |
/// | `/ws*` | paths that begin with `/ws`: `/ws`, `/wsx`, `/ws/x` |
/// | `*.json` | paths that end with `.json` |
/// | `*/live/*` | paths that contain `/live/` |
/// | `/rooms/*/ws` | `/rooms/7/ws`: in the middle a `*` is a non-empty part of one segment |
/// | `*` | every path |
///
/// `**` has the meaning of `*`. A pattern that begins with neither `/` nor `*` gets a `/` in front.
/// Matching is case-sensitive unless [`ignore_case`](PathMatcher::ignore_case) is called.
///
/// Patterns are compared with the decoded path ([`head`](crate::head#the-path)) and may be written
/// either way: `/café/*` or `/caf%C3%A9/*`. A literal `*` is `%2A`. A pattern with a dot segment
/// owns no request, since the primary reading of a path contains none.
///
/// Targets without a path (`OPTIONS *`, `CONNECT host:port`) match no pattern.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{Matcher, path};
///
/// let request = http::Request::get("/ws/room?id=7").body(())?;
/// let head = RequestHead::from(&request);
/// assert!(path("/ws/*").matches(&head));
/// assert!(!path("/ws").matches(&head));
/// # Ok::<(), http::Error>(())
/// ```
#[must_use]
pub fn path(pattern: impl AsRef<str>) -> PathMatcher {
    PathMatcher {
        shape: Shape::parse(pattern.as_ref()),
        case: Case::Sensitive,
    }
}

/// Matches paths that fit at least one of these patterns; see [`path`].
///
/// # Examples
///
/// ```
/// use wsplice::matcher::paths;
///
/// let live = paths(["/ws/*", "/live", "/rooms/*/ws"]);
/// ```
#[must_use]
pub fn paths<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> AnyOf<PathMatcher> {
    any(patterns.into_iter().map(path))
}

impl PathMatcher {
    /// Makes the comparison ignore the case of ASCII letters.
    #[must_use]
    pub fn ignore_case(mut self) -> Self {
        self.case = Case::Ignored;
        self
    }
}

impl Matcher for PathMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        let path = request.path();
        let bytes = path.as_bytes();
        let same = |part: Option<&[u8]>, literal: &str| {
            part.is_some_and(|part| self.case.same(part, literal.as_bytes()))
        };
        !path.is_empty()
            && match &self.shape {
                Shape::Everything => true,
                Shape::Exact(literal) => same(Some(bytes), literal),
                Shape::Prefix(literal) => same(bytes.get(..literal.len()), literal),
                Shape::Suffix(literal) => {
                    let start = bytes.len().checked_sub(literal.len());
                    same(start.and_then(|start| bytes.get(start..)), literal)
                }
                Shape::Part(literal) => {
                    (bytes.windows(literal.len())).any(|part| same(Some(part), literal))
                }
                Shape::Glob(glob) => glob.matches(path, self.case),
            }
    }
}

impl Shape {
    fn parse(pattern: &str) -> Self {
        let root = if pattern.starts_with(['/', '*']) {
            ""
        } else {
            "/"
        };
        let mut pattern = format!("{root}{pattern}");
        while pattern.contains("**") {
            pattern = pattern.replace("**", "*");
        }
        let pieces: Vec<_> = pattern.split('*').map(comparable).collect();
        match pieces.as_slice() {
            [exact] => Self::Exact(exact.to_string()),
            [first, last] if first.is_empty() && last.is_empty() => Self::Everything,
            [prefix, last] if last.is_empty() => Self::Prefix(prefix.to_string()),
            [first, suffix] if first.is_empty() => Self::Suffix(suffix.to_string()),
            [first, part, last] if first.is_empty() && last.is_empty() => {
                Self::Part(part.to_string())
            }
            pieces => Self::Glob(Glob::new(pieces.iter().map(AsRef::as_ref))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::matcher::testing::matches_target;

    /// A pattern, the paths that it matches, and some that it does not.
    type Row = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    const ROWS: &[Row] = &[
        (
            "/ws",
            &["/ws", "/ws?x", "//ws", "/%77s"],
            &["/", "/ws/", "/wsx", "/WS", "/a/ws"],
        ),
        ("ws", &["/ws"], &["/x/ws", "/wsx"]),
        ("", &["/", "//"], &["/x"]),
        ("/", &["/", "/?q"], &["/x"]),
        (
            "/ws/*",
            &["/ws/", "/ws/x", "/ws/x/y/"],
            &["/ws", "/wsx", "/w", "/x/ws/y"],
        ),
        ("ws/*", &["/ws/x"], &["/ws"]),
        ("/ws*", &["/ws", "/wsx", "/ws/x"], &["/w", "/x/ws"]),
        ("*.json", &["/a.json", "/a/b.json"], &["/a.jsonx", "/json"]),
        ("*/live/*", &["/live/", "/a/live/b"], &["/live", "/alive/b"]),
        ("*", &["/", "/a/b"], &[]),
        ("**", &["/", "/a/b"], &[]),
        ("/ws/**", &["/ws/", "/ws/x/y"], &["/ws"]),
        (
            "/rooms/*/ws",
            &[
                "/rooms/7/ws",
                "/rooms//7/ws",
                "/rooms/caf%C3%A9/ws",
                "/rooms/ws/ws",
            ],
            &[
                "/rooms//ws",
                "/rooms/ws",
                "/rooms/7/8/ws",
                "/rooms/7/ws/",
                "/rooms/7/wsx",
            ],
        ),
        (
            "/r-*-x",
            &["/r-1-x", "/r---x"],
            &["/r--x", "/r-x", "/r-1/-x"],
        ),
        (
            "/*/ws/*",
            &["/a/ws/", "/a/ws/b/c"],
            &["/ws/b", "/a/b/ws/c", "/a/ws"],
        ),
        (
            "*/a*c",
            &["/abc", "/x/y/abbc", "/a/abc"],
            &["/ac", "/ab/c", "/abcd"],
        ),
        (
            "*x*y*",
            &["/xay", "/x/xay", "/q/xyyz/"],
            &["/xy", "/x/y", "/yx"],
        ),
        (
            "/café/*",
            &["/caf%C3%A9/x", "/caf%c3%a9/"],
            &["/cafe/x", "/caf%E9/x"],
        ),
        ("/caf%c3%a9/*", &["/caf%C3%A9/x"], &["/cafe/x"]),
        ("/a b", &["/a%20b"], &["/a+b"]),
        ("/100%", &["/100%", "/100%25"], &["/100"]),
        ("/a%2fb", &["/a%2Fb"], &["/a/b"]),
        ("/%2A", &["/*", "/%2a"], &["/x"]),
        ("//a///b", &["/a/b", "/a//b"], &["/ab"]),
    ];

    #[test]
    fn patterns_match_what_the_table_says() {
        for (pattern, yes, no) in ROWS {
            for target in *yes {
                assert!(
                    matches_target(&path(pattern), target),
                    "{pattern:?} on {target:?}"
                );
            }
            for target in *no {
                assert!(
                    !matches_target(&path(pattern), target),
                    "{pattern:?} on {target:?}"
                );
            }
        }
    }

    #[test]
    fn case_matters_unless_it_is_ignored() {
        for (pattern, target) in [
            ("/ws", "/WS"),
            ("/Ws/*", "/wS/x"),
            ("*.JSON", "/a.json"),
            ("*LIVE*", "/a/live/b"),
            ("/rooms/*/ws", "/Rooms/7/WS"),
        ] {
            assert!(!matches_target(&path(pattern), target), "{pattern}");
            assert!(
                matches_target(&path(pattern).ignore_case(), target),
                "{pattern}"
            );
        }
        assert!(!matches_target(&path("/a[").ignore_case(), "/a%7B"));
    }

    #[test]
    fn one_of_several_patterns_is_enough() {
        let live = paths(["/ws/*", "/live"]);
        assert!(matches_target(&live, "/ws/x") && matches_target(&live, "/live"));
        assert!(!matches_target(&live, "/other"));
        assert!(!matches_target(&paths::<&str>([]), "/"));
    }

    #[test]
    fn a_target_without_a_path_matches_no_pattern() {
        for pattern in ["*", "/*", "/", ""] {
            assert!(!matches_target(&path(pattern), "*"), "{pattern:?}");
            assert!(
                !matches_target(&path(pattern), "example.com:80"),
                "{pattern:?}"
            );
        }
    }

    #[test]
    fn a_star_costs_no_more_on_a_hostile_path() {
        let target = format!("/{}", "ab".repeat(15_000));
        assert!(!matches_target(&path("*a*b*a*c*b*x"), &target));
    }
}
