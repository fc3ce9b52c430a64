//! Addresses of upstreams.

use std::{error, fmt, net::Ipv6Addr, path::PathBuf};

use http::Uri;

/// Network address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A TCP port of a host.
    #[non_exhaustive]
    Tcp {
        /// A name, an IPv4 address or an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A TCP port of a host, with TLS on it.
    #[non_exhaustive]
    Tls {
        /// A name, an IPv4 address or an IPv6 address without brackets; the certificate must be
        /// for it unless `server_name` or the TLS settings name another.
        host: String,
        /// The port.
        port: u16,
        /// The name that the certificate must be for, where that is not the host.
        server_name: Option<String>,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Creates a TCP address. The host is in lower case (RFC 3986 §3.2.2), and an IPv6 address in
    /// its shortest form (RFC 5952), so that one address has one name.
    #[must_use]
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp {
            host: normalized(host.into()),
            port,
        }
    }

    /// Creates a TCP address with TLS on it; the host is as in [`tcp`](Self::tcp).
    #[must_use]
    pub fn tls(host: impl Into<String>, port: u16) -> Self {
        Self::Tls {
            host: normalized(host.into()),
            port,
            server_name: None,
        }
    }

    /// Creates a TCP address with TLS on it, whose certificate must be for this name and not for the
    /// host: an address that was found under the name, say. The TLS settings may still name
    /// another.
    #[must_use]
    pub fn tls_with_server_name(
        server_name: impl Into<String>,
        host: impl Into<String>,
        port: u16,
    ) -> Self {
        Self::Tls {
            host: normalized(host.into()),
            port,
            server_name: Some(server_name.into()),
        }
    }

    /// Returns the name of the upstream: certificates must be for it, and probes name it as their host.
    /// `None` for a Unix socket.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match self {
            Self::Tls {
                server_name: Some(name),
                ..
            } => Some(name),
            Self::Tcp { host, .. } | Self::Tls { host, .. } => Some(host),
            Self::Unix(_) => None,
        }
    }

    /// Parses `ws://host[:port]`, `http://host[:port]`, `wss://host[:port]`,
    /// `https://host[:port]` or `unix:/path/to/socket`.
    ///
    /// The port is 80 unless given, or 443 with TLS. TLS needs the feature `rustls`. An IPv6
    /// address is written in brackets, without a zone id; a link-local address is reached through
    /// a name, or a connector of your own.
    ///
    /// # Errors
    ///
    /// Another scheme, no host, a path, a query or credentials where none may be.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        match Self::parse_with_path(text)? {
            (address, None) => Ok(address),
            (_, Some(_)) => Err(InvalidAddress::new(text, Reason::Path)),
        }
    }

    /// Parses an address as [`parse`](Self::parse) does, which a path may follow. The path is `None`
    /// if it is empty or `/`.
    ///
    /// # Errors
    ///
    /// Those of `parse`, but for the path.
    pub(crate) fn parse_with_path(text: &str) -> Result<(Self, Option<String>), InvalidAddress> {
        let read = match text.split_once(':') {
            Some((scheme, path)) if scheme.eq_ignore_ascii_case("unix") => {
                unix(path).map(|address| (address, None))
            }
            _ => tcp(text),
        };
        read.map_err(|reason| InvalidAddress::new(text, reason))
    }
}

fn normalized(mut host: String) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => {
            host.make_ascii_lowercase();
            host
        }
    }
}

fn unix(path: &str) -> Result<Address, Reason> {
    // `unix:///run/ws.sock` and `unix:/run/ws.sock` are the same file.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(Reason::NoPath);
    }
    Ok(Address::Unix(PathBuf::from(path)))
}

fn tcp(text: &str) -> Result<(Address, Option<String>), Reason> {
    check_ip_literal(text)?;
    let uri: Uri = text.parse().map_err(|_| Reason::NotAUrl)?;
    // Schemes come in any case (RFC 3986 §3.1).
    let scheme = uri.scheme_str().map(str::to_ascii_lowercase);
    let (address, default_port) = match scheme.as_deref() {
        Some("ws" | "http") => (Address::tcp as fn(_, _) -> _, 80),
        Some("wss" | "https") if cfg!(feature = "rustls") => (Address::tls as fn(_, _) -> _, 443),
        Some("wss" | "https") => return Err(Reason::Tls),
        _ => return Err(Reason::Scheme),
    };
    let authority = uri.authority().ok_or(Reason::NoHost)?;
    if authority.as_str().contains('@') {
        return Err(Reason::Credentials);
    }
    // The URL parser drops a fragment.
    if uri.query().is_some() || text.contains('#') {
        return Err(Reason::Query);
    }
    let path = match uri.path() {
        "" | "/" => None,
        path => Some(path.to_owned()),
    };
    let host = authority.host();
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err(Reason::NoHost);
    }
    // Nothing may follow the host but a colon and the port.
    let port = match authority.as_str().get(authority.host().len()..) {
        None | Some("") => default_port,
        Some(port) => read_port(port).ok_or(Reason::Port)?,
    };
    Ok((address(host, port), path))
}

/// Checks an IPv6 address, which the URL parser takes for something else or ignores
/// (RFC 3986 §3.2.2; zone ids of RFC 6874 are obsolete and mean nothing here).
fn check_ip_literal(text: &str) -> Result<(), Reason> {
    let Some((_, rest)) = text.split_once("://") else {
        return Ok(());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let is_literal = host.starts_with('[') || host.matches(':').count() > 1;
    if !is_literal {
        return Ok(());
    }
    if host.contains('%') {
        return Err(Reason::Zone);
    }
    let inside = host.strip_prefix('[').and_then(|host| host.split_once(']'));
    match inside.map(|(ip, _)| ip.parse::<Ipv6Addr>()) {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) | None => Err(Reason::Brackets),
    }
}

fn read_port(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(':')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| is_number && *port != 0)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port, .. } if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address that cannot be parsed, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress {
    address: String,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    NotAUrl,
    Scheme,
    Tls,
    NoHost,
    Brackets,
    Zone,
    Credentials,
    Path,
    BasePath,
    Query,
    Port,
    NoPath,
}

impl InvalidAddress {
    fn new(address: &str, reason: Reason) -> Self {
        Self {
            address: address.to_owned(),
            reason,
        }
    }

    /// Error for an address whose path cannot be the base of others.
    pub(crate) fn base_path(address: &str) -> Self {
        Self::new(address, Reason::BasePath)
    }

    /// The text as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            Reason::NotAUrl => "it is not a URL",
            Reason::Scheme => "it must begin with ws://, wss://, http://, https:// or unix:",
            Reason::Tls => "TLS needs the feature \"rustls\"",
            Reason::NoHost => "it names no host",
            Reason::Brackets => "brackets must hold an IPv6 address",
            Reason::Zone => "it must not carry a zone id, which has a meaning on one machine only",
            Reason::Credentials => "it must not carry credentials",
            Reason::Path => "an address has no path; an Upstream may have one",
            Reason::BasePath => "its path has a dot segment, or servers disagree on what it means",
            Reason::Query => "it must not carry a query or a fragment",
            Reason::Port => "its port is not a number from 1 to 65535",
            Reason::NoPath => "it names no socket file",
        };
        write!(f, "invalid upstream {:?}: {reason}", self.address)
    }
}

impl error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, expected) in [
            ("ws://10.0.0.1:8080", Address::tcp("10.0.0.1", 8080)),
            ("http://example.com", Address::tcp("example.com", 80)),
            ("ws://example.com/", Address::tcp("example.com", 80)),
            ("ws://[::1]:9000", Address::tcp("::1", 9000)),
            ("ws://[::1]", Address::tcp("::1", 80)),
            (
                "ws://[::ffff:10.0.0.1]:9000",
                Address::tcp("::ffff:10.0.0.1", 9000),
            ),
            ("WS://example.com:81", Address::tcp("example.com", 81)),
            ("ws://Example.COM", Address::tcp("example.com", 80)),
            ("ws://[0:0:0:0:0:0:0:1]", Address::tcp("::1", 80)),
            ("ws://[FD00::A]", Address::tcp("fd00::a", 80)),
            ("UNIX:/run/ws.sock", Address::Unix("/run/ws.sock".into())),
            ("unix:/run/ws.sock", Address::Unix("/run/ws.sock".into())),
            ("unix:///run/ws.sock", Address::Unix("/run/ws.sock".into())),
            ("unix:ws.sock", Address::Unix("ws.sock".into())),
        ] {
            assert_eq!(Address::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        for (text, reason) in [
            ("example.com:80", Reason::Scheme),
            ("ftp://example.com", Reason::Scheme),
            ("ws://", Reason::NotAUrl),
            ("ws://user:pw@example.com", Reason::Credentials),
            ("ws://example.com/chat", Reason::Path),
            ("ws://example.com?x=1", Reason::Query),
            ("ws://example.com/chat?x=1", Reason::Query),
            ("ws://example.com/#x", Reason::Query),
            ("ws://[fe80::1%25eth0]:80", Reason::Zone),
            ("ws://[fe80::1%eth0]:80", Reason::Zone),
            ("ws://fe80::1%eth0", Reason::Zone),
            ("ws://[10.0.0.1]:80", Reason::Brackets),
            ("ws://[example.com]:80", Reason::Brackets),
            ("ws://[]:80", Reason::Brackets),
            ("ws://[::1", Reason::Brackets),
            ("ws://::1:80", Reason::Brackets),
            ("ws://fe80::1", Reason::Brackets),
            ("ws://example.com:0", Reason::Port),
            ("ws://example.com:", Reason::Port),
            ("unix:", Reason::NoPath),
            ("", Reason::NotAUrl),
        ] {
            assert_eq!(
                Address::parse(text).map_err(|e| e.reason),
                Err(reason),
                "{text}"
            );
        }
        assert!(Address::parse("ws://example.com:99999").is_err());
    }

    #[test]
    fn tls_needs_its_feature() {
        let expected = if cfg!(feature = "rustls") {
            Ok(Address::tls("example.com", 443))
        } else {
            Err(Reason::Tls)
        };
        assert_eq!(
            Address::parse("wss://example.com").map_err(|e| e.reason),
            expected
        );
        assert_eq!(
            Address::parse("https://example.com").map_err(|e| e.reason),
            expected
        );
    }

    #[test]
    fn addresses_are_shown_as_people_write_them() {
        assert_eq!(Address::tcp("::1", 80).to_string(), "[::1]:80");
        assert_eq!(Address::tcp("a", 80).to_string(), "a:80");
        assert_eq!(Address::Unix("/x".into()).to_string(), "unix:/x");
        let found = Address::tls_with_server_name("chat.example", "10.0.0.1", 443);
        assert_eq!(found.to_string(), "10.0.0.1:443");
        assert_eq!(found.server_name(), Some("chat.example"));
    }
}
