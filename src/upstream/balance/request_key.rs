//! Hash key of a request.

use std::{fmt, net::IpAddr, sync::Arc};

use http::HeaderName;

use crate::{hash::hash, http::head::RequestHead, http::matcher::form_values};

use super::cookies;

/// Source of a request's hash key.
#[derive(Clone)]
pub(super) enum RequestKey {
    ClientIp,
    Header(HeaderName),
    Query(Box<str>),
    Cookie(Box<str>),
    Path,
    Custom(Arc<HashOf>),
}

/// Function that hashes a value of the request.
type HashOf = dyn Fn(&RequestHead<'_>) -> Option<u64> + Send + Sync;

impl RequestKey {
    /// Returns the key's hash; `None` if the request has no key, or an empty one.
    pub(super) fn of(&self, request: &RequestHead<'_>) -> Option<u64> {
        match self {
            Self::ClientIp => request.client_ip().map(|ip| match ip.to_canonical() {
                IpAddr::V4(ip) => hash(ip.octets()),
                IpAddr::V6(ip) => hash(ip.octets()),
            }),
            Self::Header(name) => {
                let line = request.headers().get(name)?;
                of_bytes(line.as_bytes().trim_ascii())
            }
            Self::Query(name) => of_bytes(&form_values(request.query()?, name).next()?),
            Self::Cookie(name) => of_bytes(cookies::values(request.headers(), name).next()?),
            Self::Path => of_bytes(request.path().as_bytes()),
            Self::Custom(key) => key(request),
        }
    }
}

pub(super) fn of_bytes(bytes: &[u8]) -> Option<u64> {
    (!bytes.is_empty()).then(|| hash(bytes.iter().copied()))
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("ClientIp"),
            Self::Header(name) => write!(f, "Header({name})"),
            Self::Query(name) => write!(f, "Query({name})"),
            Self::Cookie(name) => write!(f, "Cookie({name})"),
            Self::Path => f.write_str("Path"),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn key(key: &RequestKey, target: &str, lines: &[(&str, &str)]) -> Option<u64> {
        let mut request = Request::get(target);
        for (name, line) in lines {
            request = request.header(*name, *line);
        }
        let request = request.body(()).unwrap();
        key.of(&RequestHead::from(&request))
    }

    fn wanted(text: &str) -> Option<u64> {
        Some(hash(text.bytes()))
    }

    #[test]
    fn a_header_is_its_first_line() {
        let header = RequestKey::Header(HeaderName::from_static("x-tenant"));
        assert_eq!(key(&header, "/", &[("x-tenant", " blue ")]), wanted("blue"));
        let two = [("x-tenant", "a"), ("x-tenant", "b")];
        assert_eq!(key(&header, "/", &two), wanted("a"));
        assert_eq!(key(&header, "/", &[("x-tenant", "")]), None);
        assert_eq!(key(&header, "/", &[]), None);
    }

    #[test]
    fn a_query_value_is_the_same_however_it_is_escaped() {
        let query = RequestKey::Query("room".into());
        for target in ["/?room=a+b", "/?x=y&r%6fom=%61%20b", "/?room=a%20b&room=z"] {
            assert_eq!(key(&query, target, &[]), wanted("a b"), "{target}");
        }
        for target in ["/", "/?", "/?room", "/?room=", "/?rooms=a", "/?room=%zz"] {
            assert_eq!(key(&query, target, &[]), None, "{target}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let cookie = RequestKey::Cookie("sid".into());
        assert_eq!(key(&cookie, "/", &[("cookie", "a=b; sid=7")]), wanted("7"));
        assert_eq!(key(&cookie, "/", &[("cookie", "a=b; sid=")]), None);
        assert_eq!(key(&cookie, "/", &[]), None);
    }

    #[test]
    fn a_path_is_taken_as_matchers_read_it() {
        for target in ["/ws/x", "/%77s//x?q=1"] {
            assert_eq!(key(&RequestKey::Path, target, &[]), wanted("/ws/x"));
        }
    }

    #[test]
    fn an_address_is_the_same_on_a_dual_stack_listener() {
        let request = Request::new(());
        let of = |ip: &str| {
            let ip: IpAddr = ip.parse().unwrap();
            RequestKey::ClientIp.of(&RequestHead::from(&request).with_client_ip(ip))
        };
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(RequestKey::ClientIp.of(&RequestHead::from(&request)), None);
    }
}
