//! The host of a request, and the faults that a `Host` header can have.

use std::{error, fmt, net::Ipv6Addr};

/// A host name or address, and the port if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host<'a> {
    /// The name in its original case; IPv6 addresses in brackets; no trailing dot.
    pub(crate) name: &'a str,
    pub(crate) port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Parses `uri-host [ ":" port ]` (RFC 9110 §7.2), which excludes user information.
    ///
    /// The name is a registered name or an IP address by RFC 3986 §3.2.2, without percent-encoding,
    /// which no name in DNS has and on which parsers disagree.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (name, port) = split_port(text)?;
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        (!name.is_empty()).then_some(Self { name, port })
    }

    /// Returns whether both are the same host and port, with the scheme's port where one names none.
    pub(crate) fn is_same(&self, other: &Self, scheme: Option<&http::uri::Scheme>) -> bool {
        let usual = match scheme.map(http::uri::Scheme::as_str) {
            Some("https" | "wss") => Some(443),
            Some("http" | "ws") => Some(80),
            _ => None,
        };
        self.name.eq_ignore_ascii_case(other.name) && self.port.or(usual) == other.port.or(usual)
    }

    /// Parses the authority of a URI: a host, possibly after user information.
    pub(crate) fn from_authority(authority: &'a http::uri::Authority) -> Option<Self> {
        Self::parse(authority.as_str().rsplit('@').next()?)
    }
}

/// Splits at the `:` before the port, and checks the characters of the name.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inside) = text.strip_prefix('[') {
        let (address, rest) = inside.split_once(']')?;
        // No zone identifiers and no future versions (RFC 3986 §3.2.2).
        address.parse::<Ipv6Addr>().ok()?;
        let name = text.get(..address.len() + 2)?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((name, Some(port))),
            None => rest.is_empty().then_some((name, None)),
        };
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    name.bytes().all(is_in_name).then_some((name, port))
}

/// Returns whether a registered name may contain this byte: unreserved bytes and sub-delimiters
/// (RFC 3986 §3.2.2).
fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

/// Fault of the host that a request names (RFC 9112 §3.2, RFC 9113 §8.3.1).
///
/// The displayed sentence is the body of the response to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidHost {
    /// There is no `Host` header, and in HTTP/2 no `:authority` either.
    Missing,
    /// There is more than one `Host` header.
    Repeated,
    /// The host is empty.
    Empty,
    /// The host is not a name or an address with an optional port (RFC 3986 §3.2.2), or it has
    /// user information.
    Malformed,
    /// In HTTP/2 the `Host` header names another host than `:authority`.
    UnlikeAuthority,
}

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the Host header is missing",
            Self::Repeated => "there is more than one Host header",
            Self::Empty => "the Host header is empty",
            Self::Malformed => "the Host header is not a name or address with an optional port",
            Self::UnlikeAuthority => "the Host header and :authority name different hosts",
        })
    }
}

impl error::Error for InvalidHost {}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: Option<u16>) -> Option<Host<'_>> {
        Some(Host { name, port })
    }

    #[test]
    fn the_port_is_split_off() {
        assert_eq!(Host::parse("example.com"), host("example.com", None));
        assert_eq!(
            Host::parse("example.com:8080"),
            host("example.com", Some(8080))
        );
        assert_eq!(Host::parse("example.com:"), host("example.com", None));
        assert_eq!(Host::parse("10.0.0.1:80"), host("10.0.0.1", Some(80)));
    }

    #[test]
    fn brackets_of_an_address_stay() {
        assert_eq!(Host::parse("[::1]"), host("[::1]", None));
        assert_eq!(
            Host::parse("[2001:db8::1]:443"),
            host("[2001:db8::1]", Some(443))
        );
        assert_eq!(
            Host::parse("[::ffff:10.0.0.1]:"),
            host("[::ffff:10.0.0.1]", None)
        );
    }

    #[test]
    fn one_trailing_dot_is_dropped_and_case_stays() {
        assert_eq!(Host::parse("Example.COM.:1"), host("Example.COM", Some(1)));
        assert_eq!(Host::parse("a.."), host("a.", None));
    }

    #[test]
    fn sub_delimiters_are_part_of_a_name_rfc3986_3_2_2() {
        for text in ["a,b", "*.a", "a!$&'()*+;=~_b"] {
            assert_eq!(Host::parse(text), host(text, None));
        }
    }

    #[test]
    fn malformed_hosts_do_not_parse() {
        for text in [
            "",
            ".",
            ":80",
            "a:b",
            "a:1:2",
            "a:+1",
            "a:65536",
            "::1",
            "[::1",
            "[::1]x",
            "[x]",
            "[::1]:x",
            "user@a",
            "a/b",
            "a b",
            "a?b",
            "a#b",
            "a\\b",
            "b\u{fc}cher",
            "a%2eb",
            "a, b",
            "[::1%25lo]",
            "[v1.x]",
            "[10.0.0.1]",
            "admin.internal:99999",
        ] {
            assert_eq!(Host::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn user_information_is_not_the_host() {
        let authority = "evil.example:x@good.example:81".parse().unwrap();
        assert_eq!(
            Host::from_authority(&authority),
            host("good.example", Some(81))
        );
    }
}
