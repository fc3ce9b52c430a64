//! Matching by the origin of the page.

use std::fmt;

use super::traits::Matcher;
use crate::http::head::{Host, RequestHead};

/// Matcher for listed origins; see [`origin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginMatcher {
    allowed: Vec<Origin<String>>,
}

/// Matcher for requests from pages of the same host; see [`same_origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SameOriginMatcher;

/// Error for a text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOrigin {
    text: String,
}

/// An origin (RFC 6454 §6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin<T> {
    /// The opaque origin of a sandboxed frame or a local file.
    Null,
    Page {
        scheme: T,
        host: T,
        /// The written port, or the default port of the scheme.
        port: Option<u16>,
    },
}

/// Matches requests whose `Origin` is one of these, each `scheme://host[:port]`.
///
/// Scheme and host are compared in any case, and the scheme's default port may be written or not.
/// Wildcards are not supported. `null` matches only if it is listed, and it should not be: any page
/// can have the origin `null`. A request without an `Origin`, which no browser sends for a page,
/// does not match.
///
/// # Errors
///
/// Returns an error if one of the texts is not an origin. An origin has no path, not even `/`.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{Matcher, origin};
///
/// let ours = origin(["https://example.com", "http://localhost:3000"])?;
///
/// let mut request = http::Request::new(());
/// request.headers_mut().insert("origin", "https://example.com:443".parse()?);
/// assert!(ours.matches(&RequestHead::from(&request)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn origin<T: AsRef<str>>(
    origins: impl IntoIterator<Item = T>,
) -> Result<OriginMatcher, InvalidOrigin> {
    let parse = |text: T| match Origin::parse(text.as_ref()) {
        Some(origin) => Ok(origin.into_owned()),
        None => Err(InvalidOrigin {
            text: text.as_ref().to_owned(),
        }),
    };
    Ok(OriginMatcher {
        allowed: origins.into_iter().map(parse).collect::<Result<_, _>>()?,
    })
}

/// Matches requests from a page of the requested host: the host and port of `Origin` equal those of
/// the request ([`RequestHead::host`]).
///
/// Schemes are not compared, since the request's own is unknown behind a TLS proxy; a port that is
/// left out is the default port of the origin's scheme. `null`, origins other than `http` and
/// `https`, and requests without an `Origin` do not match.
#[must_use]
pub fn same_origin() -> SameOriginMatcher {
    SameOriginMatcher
}

impl Matcher for OriginMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        let origin = request.origin().and_then(Origin::parse);
        origin.is_some_and(|origin| self.allowed.iter().any(|allowed| origin.is(allowed)))
    }
}

impl Matcher for SameOriginMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        request.host_condition(is_same_origin)
    }
}

fn is_same_origin(request: &RequestHead<'_>) -> bool {
    let origin = request.origin().and_then(Origin::parse);
    let (Some(Origin::Page { scheme, host, port }), Some(own)) = (origin, request.host_and_port())
    else {
        return false;
    };
    let is_web = ["http", "https"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web));
    is_web
        && host.eq_ignore_ascii_case(own.name)
        && port == own.port.or_else(|| default_port(scheme))
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an origin: `scheme://host[:port]` or `null`",
            self.text
        )
    }
}

impl std::error::Error for InvalidOrigin {}

impl<'a> Origin<&'a str> {
    fn parse(text: &'a str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let (scheme, authority) = text.split_once("://")?;
        let is_in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            || !scheme.bytes().all(is_in_scheme)
        {
            return None;
        }
        let Host { name, port } = Host::parse(authority)?;
        // A sub-delimiter is legal in a host, but no origin has one: `*` would read as a wildcard.
        if name.contains(|c: char| "!$&'()*+,;=".contains(c)) {
            return None;
        }
        Some(Self::Page {
            scheme,
            host: name,
            port: port.or_else(|| default_port(scheme)),
        })
    }

    fn is(&self, allowed: &Origin<String>) -> bool {
        match (self, allowed) {
            (Origin::Null, Origin::Null) => true,
            (
                Origin::Page { scheme, host, port },
                Origin::Page {
                    scheme: allowed_scheme,
                    host: allowed_host,
                    port: allowed_port,
                },
            ) => {
                scheme.eq_ignore_ascii_case(allowed_scheme)
                    && host.eq_ignore_ascii_case(allowed_host)
                    && port == allowed_port
            }
            _ => false,
        }
    }

    fn into_owned(self) -> Origin<String> {
        match self {
            Origin::Null => Origin::Null,
            Origin::Page { scheme, host, port } => Origin::Page {
                scheme: scheme.to_owned(),
                host: host.to_owned(),
                port,
            },
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HOST, ORIGIN};

    use super::*;
    use crate::http::matcher::testing::matches_lines;

    fn listed(allowed: &str, sent: &str) -> bool {
        matches_lines(&origin([allowed]).unwrap(), &[(ORIGIN, sent)])
    }

    fn same(host: &str, sent: &str) -> bool {
        matches_lines(&same_origin(), &[(HOST, host), (ORIGIN, sent)])
    }

    #[test]
    fn scheme_host_and_port_are_compared() {
        for (allowed, sent) in [
            ("https://example.com", "https://example.com"),
            ("https://Example.com", "HTTPS://EXAMPLE.COM"),
            ("https://example.com", "https://example.com:443"),
            ("http://example.com:80", "http://example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("null", "null"),
        ] {
            assert!(listed(allowed, sent), "{allowed} {sent}");
        }
    }

    #[test]
    fn what_only_resembles_a_listed_origin_does_not_match() {
        for sent in [
            "http://example.com",
            "https://example.com:8443",
            "https://example.com.evil.example",
            "https://evil-example.com",
            "https://ws.example.com",
            "https://example.com/",
            "https://example.com@evil.example",
            "https://evil.example@example.com",
            "https://example.com https://evil.example",
            "https://example.com:443:443",
            "//example.com",
            "example.com",
            "null",
            "NULL",
            "",
        ] {
            assert!(!listed("https://example.com", sent), "{sent}");
        }
    }

    #[test]
    fn there_has_to_be_one_origin() {
        let allowed = origin(["https://a.example", "https://b.example"]).unwrap();
        assert!(!matches_lines(&allowed, &[]));
        let twice = [(ORIGIN, "https://a.example"), (ORIGIN, "https://b.example")];
        assert!(!matches_lines(&allowed, &twice));
        assert!(matches_lines(&allowed, &twice[1..]));
    }

    #[test]
    fn what_is_no_origin_is_named_in_the_error() {
        for text in [
            "",
            "*",
            "example.com",
            "https://",
            "https://*.example.com",
            "https://a.example/",
            "https://a.example/x",
            "://a.example",
            "1http://a",
            "https://a:b",
            "https://u@a",
        ] {
            let error = origin(["https://ok.example", text]).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("{text:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_page_of_the_same_host_is_of_the_same_origin() {
        for (host, sent) in [
            ("example.com", "https://example.com"),
            ("example.com", "http://EXAMPLE.com"),
            ("example.com:443", "https://example.com"),
            ("localhost:3000", "http://localhost:3000"),
            ("example.com", "http://example.com:80"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            assert!(same(host, sent), "{host} {sent}");
        }
    }

    #[test]
    fn a_page_of_another_host_is_not() {
        for (host, sent) in [
            ("example.com", "https://evil.example"),
            ("example.com", "https://example.com:8443"),
            ("example.com:8443", "https://example.com"),
            ("example.com:80", "https://example.com"),
            ("ws.example.com", "https://example.com"),
            ("example.com", "null"),
            ("null", "null"),
            ("example.com", "chrome-extension://example.com"),
            ("example.com", ""),
        ] {
            assert!(!same(host, sent), "{host} {sent}");
        }
        assert!(!matches_lines(&same_origin(), &[(HOST, "example.com")]));
        assert!(!matches_lines(
            &same_origin(),
            &[(ORIGIN, "https://example.com")]
        ));
    }
}
