//! The borrowed view itself.

use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use http::header::{HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri, Version, request};

use super::host::Host;
use super::path::PathReadings;
use crate::http::headers::{members, only_line};

/// A borrowed view of a request's head.
///
/// It is what a [`Matcher`](crate::matcher::Matcher) looks at. Making one copies nothing;
/// what takes work to find out, such as [`path`](Self::path) and [`host`](Self::host), is
/// worked out when it is first asked for, and once.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
///
/// let request = http::Request::get("http://Example.com:8080//ws/caf%C3%A9?room=1")
///     .body(())?;
/// let head = RequestHead::from(&request).with_client_ip([10, 0, 0, 1]);
///
/// assert_eq!(head.host(), Some("Example.com"));
/// assert_eq!(head.path(), "/ws/café");
/// assert_eq!(head.query(), Some("room=1"));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    client_ip: Option<IpAddr>,
    host: OnceLock<Option<Host<'a>>>,
    path: OnceLock<PathReadings<'a>>,
    subprotocols: OnceLock<Vec<&'a str>>,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self::new(
            request.method(),
            request.uri(),
            request.version(),
            request.headers(),
            request.extensions(),
        )
    }
}

impl<'a> From<&'a request::Parts> for RequestHead<'a> {
    fn from(parts: &'a request::Parts) -> Self {
        Self::new(
            &parts.method,
            &parts.uri,
            parts.version,
            &parts.headers,
            &parts.extensions,
        )
    }
}

impl<'a> RequestHead<'a> {
    /// Says who the client is.
    ///
    /// That takes knowledge that a request does not carry: the peer of the connection, and
    /// which proxies before this one are trusted.
    #[must_use]
    pub fn with_client_ip(mut self, client_ip: impl Into<IpAddr>) -> Self {
        self.client_ip = Some(client_ip.into());
        self
    }

    /// The method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The request target as it was sent. What is forwarded is made from this one.
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The HTTP version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// All header lines.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// What the server and earlier layers attached to the request.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// The client's address, where it is known.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip
    }

    /// The host that the request is for, without port and trailing dot.
    ///
    /// IPv6 addresses keep their brackets, names the case in which they were sent. A target
    /// that names a host (absolute form, or `:authority` in HTTP/2) goes before the `Host`
    /// header, which then counts for nothing (RFC 9112 §3.2.2). `None` when there is no
    /// host, more than one, or one that does not parse.
    pub fn host(&self) -> Option<&'a str> {
        self.host_and_port().map(|host| host.name)
    }

    /// The path in the form that matchers compare; see [the module](super#the-path).
    ///
    /// Empty when the target has no path: `OPTIONS *`, and the `host:port` of a plain
    /// `CONNECT`.
    pub fn path(&self) -> &str {
        self.readings().primary()
    }

    /// The query as it was sent, without the `?`.
    pub fn query(&self) -> Option<&'a str> {
        self.uri.query()
    }

    /// The subprotocols that the client offers, over all lines of `Sec-WebSocket-Protocol`,
    /// in its order of preference (RFC 6455 §4.1).
    pub fn subprotocols(&self) -> &[&'a str] {
        self.subprotocols.get_or_init(|| {
            members(self.headers, &SEC_WEBSOCKET_PROTOCOL)
                .filter_map(|token| std::str::from_utf8(token).ok())
                .collect()
        })
    }

    /// The value of the `Origin` header: `scheme://host[:port]`, or `null`.
    ///
    /// `None` when there is none, or more than one, which no browser sends (RFC 6454 §7.3).
    pub fn origin(&self) -> Option<&'a str> {
        only_text(self.headers, &ORIGIN)
    }

    pub(crate) fn host_and_port(&self) -> Option<Host<'a>> {
        *self.host.get_or_init(|| match self.uri.authority() {
            Some(authority) => Host::of_authority(authority),
            None => only_text(self.headers, &HOST).and_then(Host::parse),
        })
    }

    /// Whether `test` holds for this request, whichever way its path is read.
    ///
    /// Never so where nobody can tell how the path will be read.
    pub(crate) fn holds_for_every_reading(&self, test: impl Fn(&RequestHead<'_>) -> bool) -> bool {
        let Some(others) = self.readings().others() else {
            return false;
        };
        if others.is_empty() {
            return test(self);
        }
        test(&self.reading(self.path())) && others.iter().all(|path| test(&self.reading(path)))
    }

    fn new(
        method: &'a Method,
        uri: &'a Uri,
        version: Version,
        headers: &'a HeaderMap,
        extensions: &'a Extensions,
    ) -> Self {
        Self {
            method,
            uri,
            version,
            headers,
            extensions,
            client_ip: None,
            host: OnceLock::new(),
            path: OnceLock::new(),
            subprotocols: OnceLock::new(),
        }
    }

    /// This head, where the path is read as `path`.
    fn reading<'b>(&'b self, path: &'b str) -> RequestHead<'b> {
        RequestHead {
            client_ip: self.client_ip,
            path: OnceLock::from(PathReadings::settled(path)),
            ..RequestHead::new(
                self.method,
                self.uri,
                self.version,
                self.headers,
                self.extensions,
            )
        }
    }

    fn readings(&self) -> &PathReadings<'a> {
        self.path.get_or_init(|| PathReadings::of(self.uri.path()))
    }
}

/// Methods, paths and addresses only: a query or a header may carry a credential.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.uri.path())
            .field("version", &self.version)
            .field("client_ip", &self.client_ip)
            .finish_non_exhaustive()
    }
}

/// The value of the header `name` when it has exactly one line, and that is text.
/// The text of a header that may stand only once.
fn only_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    Some(only_line(headers, name)?.to_str().ok()?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, lines: &[(HeaderName, &str)]) -> Request<()> {
        let mut request = Request::get(target).body(()).unwrap();
        for (name, line) in lines {
            request.headers_mut().append(name, line.parse().unwrap());
        }
        request
    }

    #[test]
    fn a_request_and_its_parts_give_the_same_view() {
        let request = request("/ws//x?q=1", &[(HOST, "a.example:80")]);
        let (parts, ()) = request.clone().into_parts();
        for head in [RequestHead::from(&request), RequestHead::from(&parts)] {
            assert_eq!(head.method(), Method::GET);
            assert_eq!(head.uri(), "/ws//x?q=1");
            assert_eq!(head.version(), Version::HTTP_11);
            assert_eq!(head.headers().len(), 1);
            assert!(head.extensions().is_empty());
            assert_eq!(head.client_ip(), None);
            assert_eq!((head.path(), head.query()), ("/ws/x", Some("q=1")));
        }
    }

    #[test]
    fn the_host_of_the_target_goes_before_the_header() {
        // RFC 9112 §3.2.2
        for (target, line, wanted) in [
            ("/", "a.example:81", Some("a.example")),
            ("http://b.example:82/", "a.example:81", Some("b.example")),
            ("http://u:p@[::1]:82/", "a.example", Some("[::1]")),
            ("b.example:443", "a.example", Some("b.example")),
            ("/", "A.Example.", Some("A.Example")),
            ("/", "a.example, b.example", None),
            ("/", "", None),
        ] {
            let request = request(target, &[(HOST, line)]);
            assert_eq!(
                RequestHead::from(&request).host(),
                wanted,
                "{target} {line}"
            );
        }
    }

    #[test]
    fn two_hosts_are_none_and_so_are_two_origins() {
        let lines = [
            (HOST, "a"),
            (HOST, "a"),
            (ORIGIN, "http://a"),
            (ORIGIN, "http://a"),
        ];
        let request = request("/", &lines);
        let head = RequestHead::from(&request);
        assert_eq!((head.host(), head.origin()), (None, None));
    }

    #[test]
    fn subprotocols_come_from_every_line_in_order() {
        let name = SEC_WEBSOCKET_PROTOCOL;
        let lines = [(name.clone(), "b , a"), (ORIGIN, "null"), (name, ",c")];
        let mut request = request("/", &lines);
        let head = RequestHead::from(&request);
        assert_eq!(head.subprotocols(), ["b", "a", "c"]);
        assert_eq!(head.origin(), Some("null"));
        request.headers_mut().clear();
        assert_eq!(RequestHead::from(&request).subprotocols(), [""; 0]);
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let lines = [(SEC_WEBSOCKET_PROTOCOL, "bearer.s3cret"), (HOST, "a")];
        let request = request("/ws?token=s3cret", &lines);
        let head = RequestHead::from(&request);
        let _ = head.subprotocols();
        let shown = format!("{head:?}");
        assert!(
            shown.contains("/ws") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn a_view_may_go_to_other_threads() {
        fn assert_send_sync<T: Send + Sync>() {}
        assert_send_sync::<RequestHead<'_>>();
    }
}
