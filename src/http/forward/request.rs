//! The request to the upstream.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, HOST, MAX_FORWARDS, TE, TRAILER, TRANSFER_ENCODING,
    },
    request::Parts,
};

use crate::{
    error::{Error, ErrorKind},
    http::head::RequestHead,
    http::headers::{
        ClientInfo, NameSet, ReservedNames, add_header, contains_token, only_line, set_header,
    },
    http::relay::{OutboundRules, has_unsupported_coding},
};

/// The head of an upstream's request.
#[derive(Debug)]
pub(crate) struct UpstreamHead {
    pub(crate) request: Request<()>,
    /// Whether the body waits for the upstream's 100.
    pub(crate) expects_continue: bool,
    /// Headers that the client's trailers must not have.
    pub(crate) reserved: ReservedNames,
}

/// Builds the head of the upstream's request from the client's.
///
/// # Errors
///
/// Returns [`ErrorKind::MalformedRequest`] for requests that servers may interpret differently, and
/// [`ErrorKind::Rewrite`].
pub(crate) fn upstream_head(
    client_request: &Parts,
    body: BodyFraming,
    client: &ClientInfo,
    settings: &OutboundRules,
) -> Result<UpstreamHead, Error> {
    check(client_request)?;
    let target = settings.target(&client_request.uri)?;
    let (method, version) = (client_request.method.clone(), client_request.version);
    let trailers = Trailers::from_headers(&client_request.headers, body);
    let reserved = settings.reserved(client_request);
    let had_length = client_request.headers.contains_key(CONTENT_LENGTH);

    let mut headers = settings.upstream_headers(client_request, client, &NameSet::EMPTY);
    // RFC 9112 §3.2: `Host` is required, and empty if the host is unknown.
    if !headers.contains_key(HOST) {
        set_header(&mut headers, &HOST, HeaderValue::from_static(""));
    }
    set_framing(&mut headers, body, &method, had_length);
    trailers.apply(&mut headers);
    let expects_continue = expects_continue(&headers, body, version);
    if !expects_continue && contains_token(&headers, &EXPECT, "100-continue") {
        headers.remove(EXPECT);
    }

    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Ok(UpstreamHead {
        request,
        expects_continue,
        reserved,
    })
}

/// Framing of a body, known before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    None,
    Length(u64),
    Chunked,
}

impl BodyFraming {
    pub(crate) fn from_body(body: &impl http_body::Body) -> Self {
        if body.is_end_stream() {
            return Self::None;
        }
        body.size_hint().exact().map_or(Self::Chunked, Self::Length)
    }
}

/// Rejects requests that servers may interpret differently: without one valid host (RFC 9112 §3.2),
/// with a `Transfer-Encoding` that is not exactly chunked, or with a target that is not a path.
fn check(request: &Parts) -> Result<(), Error> {
    let malformed = |why: &'static str| Err(Error::with_source(ErrorKind::MalformedRequest, why));
    if let Err(fault) = RequestHead::from(request).check_host() {
        return Err(Error::with_source(ErrorKind::MalformedRequest, fault));
    }
    // RFC 9112 §6.1: the proxy removes the chunks, and a coding below them would lose its name.
    if has_unsupported_coding(&request.headers) {
        return malformed("the transfer coding is not exactly chunked");
    }
    let is_for_the_server = request.method == Method::OPTIONS && request.uri.path() == "*";
    if !request.uri.path().starts_with('/') && !is_for_the_server {
        return malformed("the request target must be a path");
    }
    Ok(())
}

/// Sets the framing headers (RFC 9112 §6) from the actual body, not from the client's headers.
fn set_framing(headers: &mut HeaderMap, body: BodyFraming, method: &Method, had_length: bool) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    // RFC 9110 §8.6: an explicit zero, for methods that usually have a body.
    let usually_has_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    match body {
        BodyFraming::None if had_length || usually_has_body => {
            set_header(headers, &CONTENT_LENGTH, 0.into());
        }
        BodyFraming::None => {}
        BodyFraming::Length(length) => set_header(headers, &CONTENT_LENGTH, length.into()),
        BodyFraming::Chunked => {
            let chunked = HeaderValue::from_static("chunked");
            set_header(headers, &TRANSFER_ENCODING, chunked);
        }
    }
}

/// Returns whether the client expects a 100 (RFC 9110 §10.1.1): not in HTTP/1.0, and only ahead of
/// a body.
fn expects_continue(headers: &HeaderMap, body: BodyFraming, client: Version) -> bool {
    client >= Version::HTTP_11
        && body != BodyFraming::None
        && contains_token(headers, &EXPECT, "100-continue")
}

/// The client's headers about trailers, each of which concerns one hop.
struct Trailers {
    wanted: bool,
    announced: Vec<HeaderValue>,
}

impl Trailers {
    fn from_headers(headers: &HeaderMap, body: BodyFraming) -> Self {
        let announced = match body {
            BodyFraming::Chunked => trailer_lines(headers),
            BodyFraming::None | BodyFraming::Length(_) => Vec::new(),
        };
        Self {
            wanted: contains_token(headers, &TE, "trailers"),
            announced,
        }
    }

    fn apply(self, headers: &mut HeaderMap) {
        for line in self.announced {
            add_header(headers, &TRAILER, line);
        }
        if self.wanted {
            // RFC 9110 §10.1.4
            set_header(headers, &TE, HeaderValue::from_static("trailers"));
            set_header(headers, &CONNECTION, HeaderValue::from_static("TE"));
        }
    }
}

/// Returns the lines of `Trailer`: HTTP/1.1 connections relay only announced trailers.
fn trailer_lines(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers.get_all(TRAILER).iter().cloned().collect()
}

/// Whether a request may be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    Forward,
    /// This proxy is the final recipient (RFC 9110 §7.6.2).
    Final,
}

/// Decrements the `Max-Forwards` of a `TRACE` or `OPTIONS` request (RFC 9110 §7.6.2).
pub(crate) fn decrement_max_forwards(method: &Method, headers: &mut HeaderMap) -> Hop {
    if ![Method::TRACE, Method::OPTIONS].contains(method) {
        return Hop::Forward;
    }
    let name: HeaderName = MAX_FORWARDS;
    let line = only_line(headers, &name).and_then(|line| line.to_str().ok());
    let is_number =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match line.filter(is_number).map(str::parse::<u64>) {
        None => Hop::Forward,
        Some(Ok(0)) => Hop::Final,
        Some(Ok(left)) => {
            set_header(headers, &name, (left - 1).into());
            Hop::Forward
        }
        // A larger number is replaced by the largest one.
        Some(Err(_)) => {
            set_header(headers, &name, u64::MAX.into());
            Hop::Forward
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn parts(method: &str, target: &str, lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn head(parts: &Parts, body: BodyFraming) -> UpstreamHead {
        upstream_head(parts, body, &ClientInfo::new(), &OutboundRules::default()).unwrap()
    }

    fn target(head: &UpstreamHead) -> &Uri {
        head.request.uri()
    }

    fn malformed(parts: &Parts) -> bool {
        let result = upstream_head(
            parts,
            BodyFraming::None,
            &ClientInfo::new(),
            &OutboundRules::default(),
        );
        result.is_err_and(|error| error.kind() == ErrorKind::MalformedRequest)
    }

    #[test]
    fn the_length_is_that_of_the_body_rfc9112_6() {
        let lines = [
            ("host", "a"),
            ("content-length", "9"),
            ("transfer-encoding", "chunked"),
        ];
        let headers = |body| {
            head(&parts("POST", "/", &lines), body)
                .request
                .headers()
                .clone()
        };
        assert_eq!(headers(BodyFraming::None)["content-length"], "0");
        assert_eq!(headers(BodyFraming::Length(5))["content-length"], "5");
        assert!(!headers(BodyFraming::Length(5)).contains_key("transfer-encoding"));
        assert_eq!(
            headers(BodyFraming::Chunked)["transfer-encoding"],
            "chunked"
        );
        assert!(!headers(BodyFraming::Chunked).contains_key("content-length"));
        let get = head(&parts("GET", "/", &[("host", "a")]), BodyFraming::None);
        assert!(!get.request.headers().contains_key("content-length"));
    }

    #[test]
    fn te_and_trailer_are_written_again_rfc9110_10_1_4() {
        let lines = [
            ("host", "a"),
            ("te", "gzip, trailers;q=1"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("connection", "te, upgrade"),
            ("upgrade", "h2c"),
        ];
        let chunks = head(&parts("POST", "/", &lines), BodyFraming::Chunked);
        let headers = chunks.request.headers();
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["connection"], "TE");
        assert_eq!(headers["trailer"], "x-sum");
        assert!(!headers.contains_key("upgrade"));
        let none = head(
            &parts("GET", "/", &[lines[0], lines[3], lines[4], lines[5]]),
            BodyFraming::None,
        );
        for name in ["te", "connection", "trailer"] {
            assert!(!none.request.headers().contains_key(name), "{name}");
        }
    }

    #[test]
    fn an_expectation_goes_on_where_a_body_follows_rfc9110_10_1_1() {
        let lines = [("host", "a"), ("expect", "100-Continue")];
        let with = head(&parts("PUT", "/", &lines), BodyFraming::Length(1));
        assert!(with.expects_continue && with.request.headers().contains_key("expect"));
        let without = head(&parts("PUT", "/", &lines), BodyFraming::None);
        assert!(!without.expects_continue && !without.request.headers().contains_key("expect"));
        let mut old = parts("PUT", "/", &lines);
        old.version = Version::HTTP_10;
        assert!(!head(&old, BodyFraming::Length(1)).expects_continue);
    }

    #[test]
    fn a_host_is_needed_and_no_second_rfc9112_3_2() {
        assert!(malformed(&parts("GET", "/", &[])));
        assert!(malformed(&parts(
            "GET",
            "/",
            &[("host", "a"), ("host", "b")]
        )));
        assert!(malformed(&parts(
            "GET",
            "http://a/",
            &[("host", "a"), ("host", "b")]
        )));
        let named = head(
            &parts("GET", "http://a:8/x?y", &[("host", "b")]),
            BodyFraming::None,
        );
        assert_eq!(named.request.headers()["host"], "a:8");
        assert_eq!(target(&named), "/x?y");
        let mut old = parts("GET", "/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(head(&old, BodyFraming::None).request.headers()["host"], "");
    }

    #[test]
    fn chunks_are_the_only_transfer_coding_rfc9112_6_1() {
        let is_taken = |coding| {
            let lines = [("host", "a"), ("transfer-encoding", coding)];
            !malformed(&parts("POST", "/", &lines))
        };
        assert!(is_taken("chunked") && is_taken(", Chunked"));
        // hyper does not read chunks behind the last two.
        let others = [
            "gzip, chunked",
            "chunked, chunked",
            "identity",
            "gzip",
            "",
            "chunked ,",
        ];
        for other in others {
            assert!(!is_taken(other), "{other}");
        }
        let two = [
            ("host", "a"),
            ("transfer-encoding", "gzip"),
            ("transfer-encoding", "chunked"),
        ];
        assert!(malformed(&parts("POST", "/", &two)));
    }

    #[test]
    fn a_target_is_a_path_and_for_options_a_star() {
        assert!(malformed(&parts("GET", "*", &[("host", "a")])));
        let star = head(&parts("OPTIONS", "*", &[("host", "a")]), BodyFraming::None);
        assert_eq!(target(&star), "*");
    }

    #[test]
    fn hops_are_counted_for_trace_and_options_rfc9110_7_6_2() {
        for (method, value, hop, left) in [
            ("OPTIONS", "0", Hop::Final, "0"),
            ("TRACE", "1", Hop::Forward, "0"),
            ("OPTIONS", "010", Hop::Forward, "9"),
            ("GET", "0", Hop::Forward, "0"),
            ("TRACE", "x", Hop::Forward, "x"),
            (
                "TRACE",
                "99999999999999999999",
                Hop::Forward,
                "18446744073709551615",
            ),
        ] {
            let mut headers = parts(method, "/", &[("max-forwards", value)]).headers;
            let method = Method::try_from(method).unwrap();
            assert_eq!(
                decrement_max_forwards(&method, &mut headers),
                hop,
                "{method} {value}"
            );
            assert_eq!(headers["max-forwards"], left);
        }
    }
}
