//! The host that a request is for.

/// A host name or address, and the port where one is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host<'a> {
    /// In the case in which it was sent; IPv6 addresses in brackets; no trailing dot.
    pub(crate) name: &'a str,
    pub(crate) port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Parses `uri-host [ ":" port ]` (RFC 9110 §7.2). User information is no part of it.
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

    /// Parses the authority of a URI: a host that user information may precede.
    pub(crate) fn of_authority(authority: &'a http::uri::Authority) -> Option<Self> {
        Self::parse(authority.as_str().rsplit('@').next()?)
    }
}

/// Splits at the `:` before the port, and checks the characters of the name.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if text.starts_with('[') {
        let (address, rest) = text.split_at(text.find(']')? + 1);
        let is_address = address.bytes().all(is_in_address);
        return match rest.strip_prefix(':') {
            _ if !is_address => None,
            Some(port) => Some((address, Some(port))),
            None => rest.is_empty().then_some((address, None)),
        };
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    name.bytes().all(is_in_name).then_some((name, port))
}

/// What an IP literal is made of: hexadecimal, `:`, and `.` for an embedded IPv4 address
/// (RFC 3986 §3.2.2); zones and future versions are not for requests.
fn is_in_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'[' | b']' | b':' | b'.')
}

/// What a registered name is made of (RFC 3986 §3.2.2), less `!$&'()*+,;=`, which no name has.
fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)
}

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
    fn what_is_no_host_is_none() {
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
            "*.a",
            "a,b",
        ] {
            assert_eq!(Host::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn user_information_is_not_the_host() {
        let authority = "evil.example:x@good.example:81".parse().unwrap();
        assert_eq!(
            Host::of_authority(&authority),
            host("good.example", Some(81))
        );
    }
}
