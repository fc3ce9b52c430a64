//! The request that the host decides on.

use std::{fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc};

use http::{Extensions, HeaderMap, Method, Uri, request::Parts};

use crate::{
    http::head::RequestHead,
    http::headers::ClientInfo,
    http::matcher::{Matcher, may_match, owns},
};

use super::{options::RequestOptions, rejection::Rejection};

/// Decision of the host on a request.
pub(super) type Decision = Result<RequestOptions, Rejection>;

/// The host's function.
pub(super) type Authorize = dyn Fn(AuthorizationRequest) -> Deciding + Send + Sync;

/// The future that the host's function returns.
pub(super) type Deciding = Pin<Box<dyn Future<Output = Decision> + Send>>;

/// Request that the host's function [decides](crate::ProxyLayer::authorize) on: its head, with the
/// client's address.
///
/// The value is owned, and cheap to clone, so that the function can wait for a database. It has the
/// head that matchers see: headers that the client's `Connection` names are gone, and
/// [`head`](Self::head) has the path in the form that matchers compare.
///
/// Compare paths by [`may_match`](Self::may_match) and [`owned_by`](Self::owned_by), never by the
/// text of [`uri`](Self::uri): the same place has many spellings (`//`, `%61dmin`, `..%2f`).
///
/// # Examples
///
/// ```
/// use http::StatusCode;
/// use wsplice::{AuthorizationRequest, Rejection, RequestOptions, matcher::path};
///
/// async fn authorize(request: AuthorizationRequest) -> Result<RequestOptions, Rejection> {
///     let token = request.bearer_token().ok_or(StatusCode::UNAUTHORIZED)?;
///     let is_admin = token == "root";
///     if request.may_match(&path("/ws/admin/*")) && !is_admin {
///         return Err(Rejection::new(StatusCode::FORBIDDEN, "for administrators\n"));
///     }
///     Ok(RequestOptions::new().key(token))
/// }
/// # let _ = authorize;
/// ```
#[derive(Clone)]
pub struct AuthorizationRequest {
    head: Arc<Parts>,
    client: ClientInfo,
    client_ip: Option<IpAddr>,
    kind: RequestKind,
}

/// Kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    Handshake,
    /// A request that is forwarded.
    Forwarded,
}

impl AuthorizationRequest {
    pub(super) const fn new(
        head: Arc<Parts>,
        client: ClientInfo,
        client_ip: Option<IpAddr>,
        kind: RequestKind,
    ) -> Self {
        Self {
            head,
            client,
            client_ip,
            kind,
        }
    }

    /// Returns a copy of the head.
    pub(super) fn head_parts(&self) -> Parts {
        (*self.head).clone()
    }

    /// Returns the head as matchers see it.
    #[must_use]
    pub fn head(&self) -> RequestHead<'_> {
        RequestHead::from(&*self.head).with_known_client_ip(self.client_ip)
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// Returns the request target as it was sent. Don't compare its path; see
    /// [`may_match`](Self::may_match).
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.head.uri
    }

    /// Returns the headers, without those that the client's `Connection` removes.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Returns the extensions that the server and earlier layers attached to the request.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.head.extensions
    }

    /// Returns the client's address, if it is known: that of the connection, unless a
    /// [trusted](crate::ProxyLayer::trust) proxy reported another.
    #[must_use]
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip
    }

    /// Returns the client's connection.
    #[must_use]
    pub fn client(&self) -> &ClientInfo {
        &self.client
    }

    /// Whether the request is a WebSocket handshake, and not one to be
    /// [forwarded](crate::ForwardHttp).
    #[must_use]
    pub fn is_handshake(&self) -> bool {
        self.kind == RequestKind::Handshake
    }

    /// Returns the token of `Authorization: Bearer` (RFC 6750 §2.1), if the request has one such
    /// header.
    #[must_use]
    pub fn bearer_token(&self) -> Option<&str> {
        let mut lines = self.headers().get_all(http::header::AUTHORIZATION).iter();
        let line = lines.next()?.to_str().ok()?;
        if lines.next().is_some() {
            return None;
        }
        let (scheme, token) = line.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        is_bearer.then(|| token.trim_ascii())
    }

    /// Returns the value of a cookie, if the request has exactly one of this name (RFC 6265 §5.4).
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers().get_all(http::header::COOKIE).iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim_ascii().split_once('='));
        let mut values = pairs.filter_map(|(key, value)| (key == name).then_some(value));
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// Returns whether the matcher matches the request in every reading of its path: the call for
    /// rules that *allow* something. See [`owns`].
    #[must_use]
    pub fn owned_by(&self, matcher: &(impl Matcher + ?Sized)) -> bool {
        owns(matcher, &self.head())
    }

    /// Returns whether the matcher matches the request in some reading of its path, by which an
    /// upstream may go: the call for rules that *forbid* something. See [`may_match`].
    #[must_use]
    pub fn may_match(&self, matcher: &(impl Matcher + ?Sized)) -> bool {
        may_match(matcher, &self.head())
    }
}

/// Shows the path and addresses only: a query or a header may carry a credential.
impl fmt::Debug for AuthorizationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationRequest")
            .field("head", &self.head())
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::{
        Request,
        header::{AUTHORIZATION, COOKIE},
    };

    use super::*;

    fn request(lines: &[(http::HeaderName, &str)]) -> AuthorizationRequest {
        let mut request = Request::get("/ws/a").body(()).unwrap();
        for (name, line) in lines {
            request.headers_mut().append(name, line.parse().unwrap());
        }
        let head = Arc::new(request.into_parts().0);
        AuthorizationRequest::new(head, ClientInfo::new(), None, RequestKind::Handshake)
    }

    #[test]
    fn a_bearer_token_is_read_from_one_header_of_that_scheme() {
        for (lines, token) in [
            (&["Bearer abc"][..], Some("abc")),
            (&["bearer  abc "], Some("abc")),
            (&["Basic abc"], None),
            (&["Bearer"], None),
            (&["Bearer a", "Bearer b"], None),
            (&[], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| (AUTHORIZATION, *line)).collect();
            assert_eq!(request(&lines).bearer_token(), token, "{lines:?}");
        }
    }

    #[test]
    fn a_cookie_is_read_unless_it_is_repeated() {
        for (lines, value) in [
            (&["a=1; session=x; b=2"][..], Some("x")),
            (&["a=1", "session=x=y"], Some("x=y")),
            (&["session=x; session=y"], None),
            (&["session=x", "session=x"], None),
            (&["sessions=x; Session=y"], None),
            (&["session"], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| (COOKIE, *line)).collect();
            assert_eq!(request(&lines).cookie("session"), value, "{lines:?}");
        }
    }
}
