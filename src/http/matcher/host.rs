//! Matching by host name.

use super::traits::Matcher;
use crate::http::head::{Host, RequestHead};

/// Matcher for host names; see [`host`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostMatcher {
    /// Labels from left to right; `*` for any single one.
    labels: Vec<String>,
}

/// Matches the host that is requested ([`RequestHead::host`]).
///
/// A `*` matches exactly one label: `*.example.com` matches `ws.example.com`, but neither
/// `example.com` nor `eu.ws.example.com`. Case, port and a trailing dot do not matter.
/// International names are compared in their ASCII form (`xn--…`).
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{Matcher, host};
///
/// let request = http::Request::get("/").header("host", "WS.Example.com:8080").body(())?;
/// assert!(host("*.example.com").matches(&RequestHead::from(&request)));
/// # Ok::<(), http::Error>(())
/// ```
#[must_use]
pub fn host(pattern: impl AsRef<str>) -> HostMatcher {
    let pattern = pattern.as_ref();
    let name = match Host::parse(pattern) {
        Some(host) => host.name,
        None => pattern.split(':').next().unwrap_or(pattern),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    HostMatcher {
        labels: name.split('.').map(str::to_owned).collect(),
    }
}

impl Matcher for HostMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        request.host_condition(|request| request.host().is_some_and(|name| self.fits(name)))
    }
}

impl HostMatcher {
    fn fits(&self, name: &str) -> bool {
        let mut labels = name.split('.');
        let fits = |wanted: &String| {
            labels.next().is_some_and(|label| match wanted.as_str() {
                "*" => !label.is_empty(),
                wanted => label.eq_ignore_ascii_case(wanted),
            })
        };
        self.labels.iter().all(fits) && labels.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;
    use crate::http::matcher::testing::{matches_lines, matches_target};

    fn fits(pattern: &str, sent: &str) -> bool {
        matches_lines(&host(pattern), &[(HOST, sent)])
    }

    #[test]
    fn names_are_compared_without_case_port_and_trailing_dot() {
        for sent in [
            "example.com",
            "EXAMPLE.com",
            "example.com:80",
            "example.com.",
            "Example.Com.:1",
        ] {
            for pattern in [
                "example.com",
                "Example.COM",
                "example.com.",
                "example.com:443",
            ] {
                assert!(fits(pattern, sent), "{pattern} on {sent}");
            }
        }
        for sent in [
            "example.org",
            "xexample.com",
            "example.comx",
            "ws.example.com",
            "com",
            "example.com..",
        ] {
            assert!(!fits("example.com", sent), "{sent}");
        }
    }

    #[test]
    fn a_star_is_exactly_one_label() {
        assert!(fits("*.example.com", "ws.example.com"));
        assert!(fits("*.example.com.:80", "ws.example.com"));
        assert!(fits("ws.*.com", "ws.example.com"));
        assert!(fits("*", "localhost"));
        for sent in [
            "example.com",
            "a.b.example.com",
            ".example.com",
            "wsexample.com",
        ] {
            assert!(!fits("*.example.com", sent), "{sent}");
        }
        assert!(!fits("*", "example.com"));
    }

    #[test]
    fn addresses_are_hosts() {
        assert!(fits("[::1]", "[::1]:8080"));
        assert!(fits("[2001:DB8::1]:80", "[2001:db8::1]"));
        assert!(fits("127.0.0.1", "127.0.0.1:9"));
        assert!(!fits("[::1]", "::1"));
    }

    #[test]
    fn the_target_goes_before_the_header() {
        // RFC 9112 §3.2.2
        let request = http::Request::get("http://user@a.example:81/x")
            .header(HOST, "b.example")
            .body(())
            .unwrap();
        let head = RequestHead::from(&request);
        assert!(host("a.example").matches(&head));
        assert!(!host("b.example").matches(&head));
    }

    #[test]
    fn without_one_host_nothing_matches() {
        assert!(!matches_target(&host("*"), "/"));
        assert!(!matches_lines(&host("a"), &[(HOST, "a"), (HOST, "a")]));
        for sent in ["", "b@a", "a/b", "a b", "a:x"] {
            assert!(!fits("a", sent), "{sent}");
        }
    }
}
