//! Headers that the host application gives for the upstream.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{alias, checked_insert, hop_by_hop};

/// Headers for the upstream's request, which the host application puts into the extensions of the
/// client's: the user that an authentication middleware has found, a tenant, a trace.
///
/// The proxy adds them after it has removed the headers that the client's `Connection` names, so no
/// client can take them away, and they replace every header of the same name that the client sent,
/// and its aliases (`X_User_Id`), among the trailers too. A header that a middleware sets in the request itself has neither
/// property: RFC 9110 §7.6.1 makes a proxy remove each header that `Connection` names, including
/// those of a middleware (CVE-2022-1388, CVE-2024-45410). Where that cannot be changed, use
/// [`ProxyLayer::protect_headers`](crate::ProxyLayer::protect_headers).
///
/// The layer's [request edits](crate::ProxyLayer::request_headers) run afterwards and see these
/// headers. Matchers and load balancing policies find them in
/// [`RequestHead::extensions`](crate::head::RequestHead::extensions). Headers of the connection, of
/// its framing and of the handshake are left out, since the proxy writes its own.
///
/// # Examples
///
/// ```
/// use axum::{extract::Request, middleware::Next, response::Response};
/// use http::{HeaderName, HeaderValue};
/// use wsplice::headers::UpstreamHeaders;
///
/// async fn authenticate(mut request: Request, next: Next) -> Response {
///     // ... after the credentials have been checked:
///     let headers: &mut UpstreamHeaders = request.extensions_mut().get_or_insert_default();
///     let user = HeaderValue::from_static("alice");
///     headers.insert(HeaderName::from_static("x-user-id"), user);
///     next.run(request).await
/// }
/// ```
#[derive(Clone, Default)]
pub struct UpstreamHeaders {
    headers: HeaderMap,
}

impl UpstreamHeaders {
    /// Creates an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all lines of a header by one.
    ///
    /// A line is left out if the map has no room for it.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.remove(&name);
        let _ = self.headers.try_insert(name, value);
    }

    /// Adds a line to a header, after the existing ones.
    ///
    /// A line is left out if the map has no room for it.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        let _ = self.headers.try_append(name, value);
    }

    /// Adds the headers of the other set, each in place of all lines of the same name.
    pub fn extend(&mut self, other: &Self) {
        for name in other.headers.keys() {
            self.headers.remove(name);
            for value in other.headers.get_all(name) {
                self.append(name.clone(), value.clone());
            }
        }
    }

    /// Returns the headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Adds these headers to those of a request, in place of the client's.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let names: Vec<HeaderName> = self.headers.keys().cloned().collect();
        alias::strip_aliases(headers, &names);
        for name in names.iter().filter(|name| !hop_by_hop::is_managed(name)) {
            headers.remove(name);
            for value in self.headers.get_all(name) {
                checked_insert::append(headers, name, value.clone());
            }
        }
    }
}

impl From<HeaderMap> for UpstreamHeaders {
    fn from(headers: HeaderMap) -> Self {
        Self { headers }
    }
}

/// Shows names only, because values may be credentials.
impl fmt::Debug for UpstreamHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.headers.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn lines_are_replaced_added_and_taken_from_another_set() {
        let user = HeaderName::from_static("x-user");
        let mut own = UpstreamHeaders::new();
        own.append(user.clone(), HeaderValue::from_static("a"));
        own.append(user.clone(), HeaderValue::from_static("b"));
        assert_eq!(own.headers(), &map(&[("x-user", "a"), ("x-user", "b")]));
        own.insert(user, HeaderValue::from_static("c"));
        assert_eq!(own.headers(), &map(&[("x-user", "c")]));
        let other = map(&[("x-user", "d"), ("x-user", "e"), ("x-role", "f")]);
        own.extend(&UpstreamHeaders::from(other.clone()));
        assert_eq!(own.headers(), &other);
    }

    #[test]
    fn the_hosts_headers_replace_the_clients_and_their_aliases() {
        let mut headers = map(&[
            ("x-user", "mallory"),
            ("x-user", "eve"),
            ("x_user", "trent"),
            ("accept", "*/*"),
        ]);
        UpstreamHeaders::from(map(&[("x-user", "alice"), ("x-user", "admin")])).apply(&mut headers);
        let wanted = map(&[("accept", "*/*"), ("x-user", "alice"), ("x-user", "admin")]);
        assert_eq!(headers, wanted);
    }

    #[test]
    fn headers_of_the_connection_are_left_out() {
        let mut headers = map(&[("content-length", "5")]);
        let given = map(&[
            ("connection", "close"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("sec-websocket-key", "x"),
        ]);
        UpstreamHeaders::from(given).apply(&mut headers);
        assert_eq!(headers, map(&[("content-length", "5")]));
    }

    #[test]
    fn values_are_not_shown() {
        let headers = UpstreamHeaders::from(map(&[("x-token", "secret")]));
        assert_eq!(format!("{headers:?}"), "{\"x-token\"}");
    }
}
