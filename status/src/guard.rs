//! Checks of a request before anything is shown: the `Host`, and for actions the sender.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Uri, header, uri::Authority};

/// Names by which the page may be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostNames {
    any: bool,
    names: Vec<String>,
}

impl HostNames {
    pub(crate) const fn any() -> Self {
        Self {
            any: true,
            names: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, name: String) {
        self.names.push(name);
    }

    /// Whether a request to this target with these headers reached one of the names. Over HTTP/2
    /// the target has the authority, over HTTP/1.1 the `Host` field (RFC 9110 §7.2).
    pub(crate) fn accept(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        self.any || authority(uri, headers).is_some_and(|authority| self.knows(authority.host()))
    }

    fn knows(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        // A name that was rebound to this address is still a name, so an address is safe.
        bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self
                .names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(host))
    }
}

fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?;
    if hosts.next().is_some() {
        return None;
    }
    Authority::try_from(host.as_bytes()).ok()
}

/// Whether an action comes from the page itself or from a program: its body is declared as JSON,
/// which a foreign site's form cannot do, and a browser names no foreign site as its origin.
pub(crate) fn is_own_action(uri: &Uri, headers: &HeaderMap) -> bool {
    const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_json = text(header::CONTENT_TYPE).is_some_and(|content_type| {
        let essence = content_type.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("application/json")
    });
    let from_own_site =
        text(SEC_FETCH_SITE).is_none_or(|site| matches!(site, "same-origin" | "none"));
    let from_own_origin = text(header::ORIGIN).is_none_or(|origin| {
        let origin = origin.split_once("://").map(|(_, authority)| authority);
        let own = authority(uri, headers);
        origin
            .zip(own)
            .is_some_and(|(origin, own)| own.as_str().eq_ignore_ascii_case(origin))
    });
    is_json && from_own_site && from_own_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::HeaderValue;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_rebound_name_is_not_accepted() {
        let mut names = HostNames::default();
        names.add("admin.example.com".to_owned());
        let target = Uri::from_static("/");
        let accepts = |lines: &[_]| names.accept(&target, &headers(lines));
        for host in [
            "127.0.0.1:9000",
            "[::1]:9000",
            "10.0.0.1",
            "LOCALHOST:1",
            "Admin.Example.com",
        ] {
            assert!(accepts(&[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "admin.example.com.evil",
            "127.0.0.1.nip.io",
            "a b",
            "",
        ] {
            assert!(!accepts(&[("host", host)]), "{host}");
        }
        assert!(!accepts(&[]));
        assert!(!accepts(&[("host", "localhost"), ("host", "localhost")]));
        assert!(!names.accept(
            &Uri::from_static("http://evil.example/"),
            &headers(&[("host", "localhost")])
        ));
        assert!(HostNames::any().accept(&target, &headers(&[("host", "evil.example")])));
    }

    #[test]
    fn a_foreign_sites_action_is_refused() {
        let target = Uri::from_static("/");
        let json = ("content-type", "application/json; charset=utf-8");
        let host = ("host", "localhost:9000");
        let own = |lines: &[_]| is_own_action(&target, &headers(lines));
        assert!(own(&[json, host]));
        assert!(own(&[json, host, ("origin", "http://localhost:9000")]));
        assert!(own(&[json, host, ("sec-fetch-site", "same-origin")]));
        assert!(!own(&[host]));
        assert!(!own(&[host, ("content-type", "text/plain")]));
        assert!(!own(&[json, host, ("origin", "http://evil.example")]));
        assert!(!own(&[json, host, ("origin", "null")]));
        assert!(!own(&[json, host, ("origin", "http://localhost:9001")]));
        assert!(!own(&[json, host, ("sec-fetch-site", "cross-site")]));
    }
}
