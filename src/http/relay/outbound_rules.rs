//! The rules for all requests to upstreams.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version,
    header::{COOKIE, HOST},
    request::Parts,
    uri::PathAndQuery,
};

use crate::{
    error::{Error, ErrorKind},
    http::head::{PathRewrite, original_uri, removed_prefix},
    http::headers::{
        ClientInfo, ForwardedHeaders, HeaderEdits, HeaderSink, NameSet, ReservedNames,
        UpstreamHeaders, Via, is_alias_of_managed, is_hop_by_hop, only_line, set_header,
    },
};

/// Lines that are commonly added to those of the client.
const ADDED_LINES: usize = 8;

/// The user's settings for requests to upstreams.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutboundRules {
    pub(crate) forwarded: ForwardedHeaders,
    pub(crate) via: Option<Via>,
    pub(crate) edits: HeaderEdits,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) rewrite: Option<PathRewrite>,
    /// Headers that a client must not name in `Connection`.
    pub(crate) protected: Arc<[HeaderName]>,
}

impl OutboundRules {
    /// Returns the target of the upstream's request: the path and the query as the client sent them, an
    /// empty path as a slash, unless a rewrite is set.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Rewrite`] if the path cannot be rewritten.
    pub(crate) fn target(&self, requested: &Uri) -> Result<Uri, Error> {
        match &self.rewrite {
            Some(rewrite) => rewritten(rewrite, requested),
            None => Ok(origin_form(requested)),
        }
    }

    /// Returns the headers that the host protects, gives or edits, which a client must not set by
    /// trailers either.
    pub(crate) fn reserved(&self, client_request: &Parts) -> ReservedNames {
        if self.edits.has_function() {
            return ReservedNames::All;
        }
        let given = client_request.extensions.get::<UpstreamHeaders>();
        let given = given.into_iter().flat_map(|given| given.headers().keys());
        let names = self.protected.iter().chain(self.edits.names());
        names.chain(given).cloned().collect()
    }

    /// Returns the target of a request to an upstream with this base path, which is put in front of
    /// the rewritten path.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Rewrite`] if the path cannot be rewritten.
    pub(crate) fn target_below(&self, base: &PathRewrite, requested: &Uri) -> Result<Uri, Error> {
        match &self.rewrite {
            Some(rewrite) => rewritten(&rewrite.clone().then(base.clone()), requested),
            None => rewritten(base, requested),
        }
    }

    /// Returns the headers of the upstream's request: those of the client's, without those about its
    /// connection and those that are `reserved`, and in their place those about the client and those of
    /// the host; then the user's settings are applied.
    ///
    /// The headers that `Connection` names are removed before. The result has one `Host` unless the
    /// client named none.
    pub(crate) fn upstream_headers(
        &self,
        client_request: &Parts,
        client: &ClientInfo,
        reserved: &NameSet,
    ) -> HeaderMap {
        let lines = client_request.headers.len() + ADDED_LINES;
        let mut headers = HeaderMap::try_with_capacity(lines).unwrap_or_default();
        self.write_lines(client_request, client, reserved, &mut headers);
        if let Some(given) = client_request.extensions.get::<UpstreamHeaders>() {
            given.apply(&mut headers);
        }
        self.edits.apply(&mut headers);
        // RFC 9112 §3.2: exactly one `Host`, whatever the edits did to it.
        let other_host = match only_line(&headers, &HOST) {
            Some(_) => self.host.clone(),
            None => self.host.clone().or_else(|| requested_host(client_request)),
        };
        if let Some(host) = other_host {
            set_header(&mut headers, &HOST, host);
        }
        headers
    }

    /// Returns whether [`write_lines`](Self::write_lines) writes all of the upstream's headers: the host
    /// changes none.
    pub(crate) fn are_lines_final(&self, client_request: &Parts) -> bool {
        let given = client_request.extensions.get::<UpstreamHeaders>();
        self.edits.is_empty() && self.host.is_none() && given.is_none()
    }

    /// Writes the headers of the upstream's request as they are before the host changes them, in one
    /// pass over those of the client's.
    pub(crate) fn write_lines(
        &self,
        client_request: &Parts,
        client: &ClientInfo,
        reserved: &NameSet,
        sink: &mut impl HeaderSink,
    ) {
        let received = &client_request.headers;
        let host = requested_host(client_request);
        let original = original_uri(&client_request.extensions);
        let prefix = original.and_then(|it| removed_prefix(it, &client_request.uri));
        let forwarded = self.forwarded.lines(received, client, host.as_ref());
        let forwarded = forwarded.prefix(prefix);
        let joined_cookie = match client_request.version >= Version::HTTP_2 {
            true => joined_cookie(received),
            false => None,
        };
        if let Some(host) = &host {
            sink.copy(&HOST, host);
        }
        for (name, value) in received {
            let is_left_out = name == HOST
                || is_hop_by_hop(name)
                || reserved.contains(name)
                || forwarded.replaces(name)
                || is_alias_of_managed(name, &self.protected)
                || (joined_cookie.is_some() && name == COOKIE);
            if !is_left_out {
                sink.copy(name, value);
            }
        }
        if let Some(cookie) = &joined_cookie {
            sink.copy(&COOKIE, cookie);
        }
        forwarded.write(sink);
        if let Some(via) = &self.via {
            via.write(client_request.version, sink);
        }
    }
}

fn rewritten(rewrite: &PathRewrite, requested: &Uri) -> Result<Uri, Error> {
    let rewritten = rewrite.apply(requested).map(Uri::from);
    rewritten.map_err(|error| Error::with_source(ErrorKind::Rewrite, error))
}

/// Returns the target of a request to a server: the path and the query. An empty path becomes a slash
/// (RFC 9112 §3.2.1).
pub(crate) fn origin_form(uri: &Uri) -> Uri {
    let target = uri.path_and_query();
    match target.map_or("/", PathAndQuery::as_str) {
        // `http://a#b` has a path that reads as a slash, and is written as nothing.
        "/" => Uri::default(),
        // This cannot fail: the characters of the query were checked when the target was parsed.
        query if query.starts_with('?') => Uri::try_from(format!("/{query}")).unwrap_or_default(),
        _ => target.cloned().map(Uri::from).unwrap_or_default(),
    }
}

/// Joins the `Cookie` lines of an HTTP/2 request to one, because HTTP/1.1 allows only one (RFC 9113
/// §8.2.3); `None` if there are not several.
fn joined_cookie(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.len() < 2 {
        return None;
    }
    // Header values joined by `; ` form a header value.
    let mut joined = HeaderValue::try_from(lines.join(&b"; "[..])).ok()?;
    joined.set_sensitive(true);
    Some(joined)
}

/// Returns the requested host: an absolute target takes precedence over the header (RFC 9112
/// §3.2.2).
fn requested_host(request: &Parts) -> Option<HeaderValue> {
    match request.uri.authority() {
        Some(authority) => {
            let without_credentials = authority
                .as_str()
                .rsplit_once('@')
                .map_or(authority.as_str(), |(_, host)| host);
            HeaderValue::from_str(without_credentials).ok()
        }
        None => request.headers.get(HOST).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_path_is_sent_as_a_slash_rfc9112_3_2_1() {
        for (requested, sent) in [
            ("http://a", "/"),
            ("http://a#b", "/"),
            ("http://a?x=1", "/?x=1"),
            ("http://a?", "/?"),
            ("http://a/b?x=1", "/b?x=1"),
            ("/", "/"),
            ("/b", "/b"),
            ("*", "*"),
        ] {
            let target = origin_form(&requested.parse().unwrap());
            assert_eq!(target.to_string(), sent, "{requested}");
            let path = target.path_and_query().map(PathAndQuery::as_str);
            assert_eq!(path, Some(sent), "{requested}");
        }
    }
}
