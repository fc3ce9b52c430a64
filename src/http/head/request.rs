//! The borrowed view of a request's head.

use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use http::header::{HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri, Version, request};

use super::host::{Host, InvalidHost};
use super::path::PathReadings;
use super::truth_assignment::{TruthAssignment, holds_for_any};
use crate::http::headers::{members, only_line};

/// A borrowed view of a request's head.
///
/// [`Matcher`](crate::matcher::Matcher)s evaluate this view. Creating one copies nothing; values
/// that need parsing, such as [`path`](Self::path) and [`host`](Self::host), are computed at their
/// first use, and once.
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
    host_check: OnceLock<Result<(), InvalidHost>>,
    path: OnceLock<PathReadings<'a>>,
    subprotocols: OnceLock<Vec<&'a str>>,
    /// Set while a matcher is evaluated on a request whose host is invalid.
    assumed: Option<&'a TruthAssignment>,
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
    /// Sets the client's address.
    ///
    /// A request does not carry it: the address depends on the peer of the connection, and on the
    /// trusted proxies before this one.
    #[must_use]
    pub fn with_client_ip(mut self, client_ip: impl Into<IpAddr>) -> Self {
        self.client_ip = Some(client_ip.into());
        self
    }

    /// Sets the client's address, if it is known.
    pub(crate) const fn with_known_client_ip(mut self, client_ip: Option<IpAddr>) -> Self {
        self.client_ip = client_ip;
        self
    }

    /// Sets the header lines, in place of the request's own.
    pub(crate) fn with_headers(self, headers: &'a HeaderMap) -> Self {
        Self {
            client_ip: self.client_ip,
            assumed: self.assumed,
            ..Self::new(
                self.method,
                self.uri,
                self.version,
                headers,
                self.extensions,
            )
        }
    }

    /// Sets the target, in place of the request's own.
    pub(crate) fn with_uri(self, uri: &'a Uri) -> Self {
        Self {
            client_ip: self.client_ip,
            assumed: self.assumed,
            ..Self::new(
                self.method,
                uri,
                self.version,
                self.headers,
                self.extensions,
            )
        }
    }

    /// Returns the method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the request target as it was sent. The forwarded target is made from this one.
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// Returns the HTTP version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns all header lines, without those that the client's `Connection` removes (RFC 9110
    /// §7.6.1): the upstream does not get them.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the extensions that the server and earlier layers attached to the request.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// Returns the client's address, if it is known.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip
    }

    /// Returns the requested host, without port and trailing dot.
    ///
    /// IPv6 addresses keep their brackets, names the case in which they were sent. A target that
    /// names a host (absolute form, or `:authority` in HTTP/2) replaces the `Host` header (RFC 9112
    /// §3.2.2). Returns `None` if there is no host, more than one, or one that does not parse.
    pub fn host(&self) -> Option<&'a str> {
        self.host_and_port().map(|host| host.name)
    }

    /// Returns the path in the form that matchers compare; see [the module](super#the-path).
    ///
    /// The path is empty if the target has none: `OPTIONS *`, and the `host:port` of a plain
    /// `CONNECT`.
    pub fn path(&self) -> &str {
        self.readings().primary()
    }

    /// Returns the query as it was sent, without the `?`.
    pub fn query(&self) -> Option<&'a str> {
        self.uri.query()
    }

    /// Returns the subprotocols that the client offers, over all lines of `Sec-WebSocket-Protocol`,
    /// in its order of preference (RFC 6455 §4.1).
    pub fn subprotocols(&self) -> &[&'a str] {
        self.subprotocols.get_or_init(|| {
            members(self.headers, &SEC_WEBSOCKET_PROTOCOL)
                .filter_map(|token| std::str::from_utf8(token).ok())
                .collect()
        })
    }

    /// Returns the value of the `Origin` header: `scheme://host[:port]`, or `null`.
    ///
    /// Returns `None` if the header is missing or repeated, which no browser does (RFC 6454 §7.3).
    pub fn origin(&self) -> Option<&'a str> {
        only_text(self.headers, &ORIGIN)
    }

    pub(crate) fn host_and_port(&self) -> Option<Host<'a>> {
        *self.host.get_or_init(|| match self.uri.authority() {
            Some(authority) => Host::from_authority(authority),
            None => only_text(self.headers, &HOST).and_then(Host::parse),
        })
    }

    /// Checks the host that the request names: every request must name one valid host (RFC 9112
    /// §3.2), except those in HTTP/1.0.
    pub(crate) fn check_host(&self) -> Result<(), InvalidHost> {
        // Inspections and matchers ask for it in turn.
        *self.host_check.get_or_init(|| self.new_host_check())
    }

    fn new_host_check(&self) -> Result<(), InvalidHost> {
        let mut lines = self.headers.get_all(HOST).iter();
        let line = lines.next();
        if lines.next().is_some() {
            return Err(InvalidHost::Repeated);
        }
        let line = match line.map(|line| line.to_str().map(str::trim_ascii)) {
            None => None,
            Some(Ok("")) => return Err(InvalidHost::Empty),
            Some(line) => {
                let host = line.ok().and_then(Host::parse);
                Some(host.ok_or(InvalidHost::Malformed)?)
            }
        };
        match (line, self.authority_host()?) {
            (None, None) if self.version > Version::HTTP_10 => Err(InvalidHost::Missing),
            (None, Some(_)) if self.version == Version::HTTP_11 => Err(InvalidHost::Missing),
            // In HTTP/1.1 the target replaces the header (RFC 9112 §3.2.2).
            (Some(line), Some(authority)) if self.version >= Version::HTTP_2 => {
                let is_same = line.is_same(&authority, self.uri.scheme());
                is_same.then_some(()).ok_or(InvalidHost::UnlikeAuthority)
            }
            _ => Ok(()),
        }
    }

    /// Returns the host of a target that names one: the absolute form, or `:authority` in HTTP/2.
    fn authority_host(&self) -> Result<Option<Host<'a>>, InvalidHost> {
        let Some(authority) = self.uri.authority() else {
            return Ok(None);
        };
        let host = if self.version < Version::HTTP_2 {
            Host::from_authority(authority)
        } else {
            // User information is an error in HTTP/2 (RFC 9113 §8.3.1).
            Host::parse(authority.as_str())
        };
        host.map(Some).ok_or(InvalidHost::Malformed)
    }

    /// Evaluates a condition on the host: by the host if it is valid, else by the value that is
    /// assumed in this evaluation.
    pub(crate) fn host_condition(&self, condition: impl FnOnce(&Self) -> bool) -> bool {
        match self.assumed {
            Some(assumed) => assumed.next(),
            None => condition(self),
        }
    }

    /// Returns whether `test` holds for every reading of this request's path, with conditions on an
    /// invalid host assumed to be true or false.
    ///
    /// Returns `false` if the readings are unknown.
    pub(crate) fn holds_for_every_reading(&self, test: impl Fn(&RequestHead<'_>) -> bool) -> bool {
        if self.assumed.is_some() || self.check_host().is_ok() {
            return self.holds_with_this_host(&test);
        }
        holds_for_any(|assumed| self.assuming(assumed).holds_with_this_host(&test))
    }

    /// Returns whether `test` holds for at least one reading of this request's path, with some
    /// assumption about an invalid host.
    ///
    /// Returns `true` if the readings are unknown.
    pub(crate) fn holds_for_some_reading(&self, test: impl Fn(&RequestHead<'_>) -> bool) -> bool {
        let some = |head: &RequestHead<'_>| !head.holds_with_this_host(&|reading| !test(reading));
        if self.assumed.is_some() || self.check_host().is_ok() {
            return some(self);
        }
        holds_for_any(|assumed| some(&self.assuming(assumed)))
    }

    fn holds_with_this_host(&self, test: &dyn Fn(&RequestHead<'_>) -> bool) -> bool {
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
            host_check: OnceLock::new(),
            path: OnceLock::new(),
            subprotocols: OnceLock::new(),
            assumed: None,
        }
    }

    /// Returns this head for an evaluation with assumed conditions on the host. The readings of the path,
    /// which cost the most, are those of this head.
    fn assuming<'b>(&'b self, assumed: &'b TruthAssignment) -> RequestHead<'b> {
        RequestHead {
            client_ip: self.client_ip,
            path: OnceLock::from(self.readings().borrowed()),
            assumed: Some(assumed),
            ..RequestHead::new(
                self.method,
                self.uri,
                self.version,
                self.headers,
                self.extensions,
            )
        }
    }

    /// Returns this head with `path` as the reading of its path.
    fn reading<'b>(&'b self, path: &'b str) -> RequestHead<'b> {
        RequestHead {
            client_ip: self.client_ip,
            path: OnceLock::from(PathReadings::single(path)),
            assumed: self.assumed,
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
        self.path.get_or_init(|| PathReadings::new(self.uri.path()))
    }
}

/// Shows methods, paths and addresses only: a query or a header may carry a credential.
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

/// Returns the text of a header that may occur only once; `None` if it is missing, repeated or not
/// text.
fn only_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    Some(only_line(headers, name)?.to_str().ok()?.trim_ascii())
}

#[cfg(test)]
mod tests;
