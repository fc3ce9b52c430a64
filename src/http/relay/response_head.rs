//! The head of the response to the client.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_VERSION, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
    response::Parts,
};
use http_body::Frame;

use crate::http::headers::{
    HeaderEdits, Via, add_header, contains_token, members, only_line, set_header, strip_hop_by_hop,
    strip_trailers,
};

/// Builds the client's response from the upstream's.
///
/// The length of the body stays as the upstream announced it; edits do not affect it.
pub(crate) fn client_response<B>(
    response: Response<B>,
    via: Option<&Via>,
    edits: &HeaderEdits,
) -> Response<B> {
    let (mut head, body) = response.into_parts();
    let in_chunks = head.headers.contains_key(TRANSFER_ENCODING);
    let length = match in_chunks {
        true => None,
        false => body_length(&head),
    };
    let trailers = match in_chunks {
        true => head.headers.get_all(TRAILER).iter().cloned().collect(),
        false => Vec::new(),
    };
    let asks_for_websocket = head.status == StatusCode::UPGRADE_REQUIRED
        && contains_token(&head.headers, &UPGRADE, "websocket");

    prepare_response_head(&mut head, via, edits);
    if !edits.is_empty() {
        head.headers.remove(TRANSFER_ENCODING);
        head.headers.remove(TRAILER);
    }
    set_body_length(&mut head.headers, length);
    for line in trailers {
        add_header(&mut head.headers, &TRAILER, line);
    }
    // RFC 9110 §15.5.22: a 426 names the protocol to upgrade to.
    if asks_for_websocket {
        set_upgrade_headers(&mut head.headers);
    }
    // The upstream's framing concerns only its connection to this proxy.
    head.version = Version::HTTP_11;
    Response::from_parts(head, body)
}

/// Returns the length of the body that the upstream announces, as one number: the next reader may
/// reject a number that occurs several times (RFC 9110 §8.6).
///
/// Returns `None` for a status that never has a body. The `Content-Length` of a chunked body is ignored
/// (RFC 9112 §6.3, item 3).
fn body_length(head: &Parts) -> Option<u64> {
    if head.status == StatusCode::NO_CONTENT {
        return None;
    }
    let mut lengths = members(&head.headers, &CONTENT_LENGTH).map(parse_digits);
    let length = lengths.next()??;
    lengths.all(|other| other == Some(length)).then_some(length)
}

/// Returns whether there is a transfer coding besides chunked, or a list whose last member is empty.
///
/// The proxy cannot relay another coding: it would stay applied after its name is removed (RFC 9112
/// §6.1). And `chunked,` is `chunked` by the grammar (RFC 9110 §5.6.1), but hyper reads the body behind it
/// up to the end of the connection, so the lines of the chunks would become content.
pub(crate) fn has_unsupported_coding(headers: &HeaderMap) -> bool {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back() else {
        return false;
    };
    let mut codings = members(headers, &TRANSFER_ENCODING);
    let is_only_chunked = codings.next().is_some_and(is_chunked) && codings.next().is_none();
    let mut from_the_end = last.as_bytes().rsplit(|byte| *byte == b',');
    let ends_so = from_the_end
        .next()
        .is_some_and(|it| is_chunked(it.trim_ascii()));
    !(is_only_chunked && ends_so)
}

/// Parses digits alone; `parse` accepts a sign too.
fn parse_digits(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|_| is_number)
}

/// Sets the length of the body, which edits cannot change.
fn set_body_length(headers: &mut HeaderMap, length: Option<u64>) {
    match length {
        Some(length) if is_length(headers, length) => {}
        Some(length) => set_header(headers, &CONTENT_LENGTH, length.into()),
        None => drop(headers.remove(CONTENT_LENGTH)),
    }
}

/// Returns whether the headers already have this length, in one line and as it is usually written.
fn is_length(headers: &HeaderMap, length: u64) -> bool {
    let line = only_line(headers, &CONTENT_LENGTH).map(HeaderValue::as_bytes);
    line.is_some_and(|line| {
        parse_digits(line) == Some(length) && (line.len() == 1 || !line.starts_with(b"0"))
    })
}

/// Removes headers from a frame's trailers that belong ahead of the content.
pub(super) fn sanitize_trailers(part: Frame<Bytes>) -> Frame<Bytes> {
    match part.into_trailers() {
        Ok(mut trailers) => {
            strip_trailers(&mut trailers, &[]);
            Frame::trailers(trailers)
        }
        Err(part) => part,
    }
}

/// Removes headers that a response over HTTP/2 must not carry (RFC 9113 §8.2.2).
pub(crate) fn adapt_version<B>(response: &mut Response<B>, client: Version) {
    if client >= Version::HTTP_2 {
        response.headers_mut().remove(CONNECTION);
        response.headers_mut().remove(UPGRADE);
    }
}

/// Sets the headers of a WebSocket server that supports only version 13 (RFC 6455 §4.4).
pub(crate) fn set_supported_version(headers: &mut HeaderMap) {
    set_upgrade_headers(headers);
    set_header(
        headers,
        &SEC_WEBSOCKET_VERSION,
        HeaderValue::from_static("13"),
    );
}

/// Prepares the headers of an upstream's response for the client: removes those about the
/// upstream's connection, and applies the user's settings.
fn prepare_response_head(head: &mut Parts, via: Option<&Via>, edits: &HeaderEdits) {
    strip_hop_by_hop(&mut head.headers);
    if let Some(via) = via {
        via.apply(&mut head.headers, head.version);
    }
    edits.apply(&mut head.headers);
}

/// Sets the headers that offer an upgrade to WebSocket.
pub(crate) fn set_upgrade_headers(headers: &mut HeaderMap) {
    set_header(headers, &CONNECTION, HeaderValue::from_static("Upgrade"));
    set_header(headers, &UPGRADE, HeaderValue::from_static("websocket"));
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn response(status: u16, lines: &[(&str, &str)]) -> Response<()> {
        let mut response = Response::builder().status(status);
        for (name, value) in lines {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap()
    }

    fn client_headers(status: u16, lines: &[(&str, &str)]) -> HeaderMap {
        let edits = HeaderEdits::new();
        let response = client_response(response(status, lines), None, &edits);
        response.headers().clone()
    }

    #[test]
    fn hop_by_hop_headers_are_removed_and_trailers_announced_rfc9110_7_6_1() {
        let headers = client_headers(
            200,
            &[
                ("connection", "close, x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("transfer-encoding", "chunked"),
                ("content-length", "3"),
                ("trailer", "x-sum"),
                ("upgrade", "h2c"),
                ("x-app", "1"),
            ],
        );
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-app", "trailer"]);
    }

    #[test]
    fn a_426_keeps_its_upgrade_header_rfc9110_15_5_22() {
        let headers = client_headers(426, &[("upgrade", "websocket"), ("content-length", "0")]);
        assert_eq!(headers["upgrade"], "websocket");
        assert_eq!(headers["content-length"], "0");
        assert!(!client_headers(426, &[("upgrade", "TLS/1.0")]).contains_key("upgrade"));
    }

    #[test]
    fn a_length_is_relayed_as_one_number_rfc9110_8_6() {
        let headers = client_headers(200, &[("content-length", "3, 3"), ("content-length", "3")]);
        let lengths: Vec<_> = headers.get_all("content-length").iter().collect();
        assert_eq!(lengths, ["3"]);
        for (line, number) in [("3", "3"), ("0", "0"), ("003", "3"), ("00", "0")] {
            let headers = client_headers(200, &[("content-length", line)]);
            assert_eq!(headers["content-length"], number);
        }
        assert!(!client_headers(204, &[("content-length", "3")]).contains_key("content-length"));
    }

    fn length(status: u16, lines: &[(&str, &str)]) -> Option<u64> {
        let mut response = Response::builder().status(status);
        for (name, value) in lines {
            response = response.header(*name, *value);
        }
        body_length(&response.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_length_is_one_number_or_none_rfc9110_8_6() {
        let length_of = |value| length(200, &[("content-length", value)]);
        assert_eq!(length_of("5"), Some(5));
        assert_eq!(length_of("5, 5"), Some(5));
        for none in ["", ",", "5, 6", "+5", "5 5", "0x5", "99999999999999999999"] {
            assert_eq!(length_of(none), None, "{none}");
        }
        let twice = [("content-length", "5"), ("content-length", "5")];
        assert_eq!(length(200, &twice), Some(5));
        assert_eq!(length(204, &twice), None);
    }
}
