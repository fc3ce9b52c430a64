//! The rules for all requests to upstreams.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version,
    header::{COOKIE, HOST},
    request::Parts,
};

use crate::{
    error::{Error, ErrorKind},
    http::head::{PathRewrite, original_uri, removed_prefix},
    http::headers::{
        ClientInfo, ForwardedHeaders, HeaderEdits, ReservedNames, UpstreamHeaders, Via, only_line,
        set_header, strip_aliases, strip_hop_by_hop,
    },
};

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
    /// Returns the target of the upstream's request: the client's, byte for byte, unless a rewrite
    /// is set.
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

    /// Returns the headers of the upstream's request: removes those about the client's connection,
    /// adds those about the client and those of the host, and applies the user's settings.
    ///
    /// The result has one `Host` unless the client named none.
    pub(crate) fn upstream_headers(&self, client_request: Parts, client: &ClientInfo) -> HeaderMap {
        let mut headers = client_request.headers;
        let host = requested_host(&client_request.uri, headers.get(HOST));
        strip_hop_by_hop(&mut headers);
        strip_aliases(&mut headers, &self.protected);
        if client_request.version >= Version::HTTP_2 {
            join_cookies(&mut headers);
        }
        self.forwarded.apply(&mut headers, client, host.as_ref());
        let original = original_uri(&client_request.extensions);
        let prefix = original.and_then(|it| removed_prefix(it, &client_request.uri));
        self.forwarded.apply_prefix(&mut headers, prefix);
        if let Some(via) = &self.via {
            via.apply(&mut headers, client_request.version);
        }
        if let Some(host) = &host {
            set_header(&mut headers, &HOST, host.clone());
        }
        if let Some(given) = client_request.extensions.get::<UpstreamHeaders>() {
            given.apply(&mut headers);
        }
        self.edits.apply(&mut headers);
        // RFC 9112 §3.2: exactly one `Host`, whatever the edits did to it.
        let other_host = match only_line(&headers, &HOST) {
            Some(_) => self.host.clone(),
            None => self.host.clone().or(host),
        };
        if let Some(host) = other_host {
            set_header(&mut headers, &HOST, host);
        }
        headers
    }
}

fn rewritten(rewrite: &PathRewrite, requested: &Uri) -> Result<Uri, Error> {
    let rewritten = rewrite.apply(requested).map(Uri::from);
    rewritten.map_err(|error| Error::with_source(ErrorKind::Rewrite, error))
}

/// Returns the target of a request to a server: the path and the query.
pub(crate) fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query()
        .map_or_else(Uri::default, |path| path.clone().into())
}

/// Joins the `Cookie` lines of an HTTP/2 request to one, because HTTP/1.1 allows only one (RFC 9113
/// §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.len() < 2 {
        return;
    }
    // Header values joined by `; ` form a header value.
    if let Ok(mut joined) = HeaderValue::try_from(lines.join(&b"; "[..])) {
        joined.set_sensitive(true);
        set_header(headers, &COOKIE, joined);
    }
}

/// Returns the requested host: an absolute target takes precedence over the header (RFC 9112
/// §3.2.2).
fn requested_host(target: &Uri, header: Option<&HeaderValue>) -> Option<HeaderValue> {
    match target.authority() {
        Some(authority) => {
            let without_credentials = authority
                .as_str()
                .rsplit_once('@')
                .map_or(authority.as_str(), |(_, host)| host);
            HeaderValue::from_str(without_credentials).ok()
        }
        None => header.cloned(),
    }
}
