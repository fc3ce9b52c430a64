//! The response to the client.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
    },
    response::Parts,
};
use http_body::Frame;

use crate::{
    http::headers::{
        HeaderEdits, Via, add_header, members, set_header, strip_hop_by_hop, strip_trailers,
    },
    http::upgrade::UpgradeRequest,
};

/// The headers that negotiate a handshake (RFC 6455 §4.2.2, items 5.4 to 5.6).
static NEGOTIATION_HEADERS: [HeaderName; 3] = [
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_EXTENSIONS,
];

/// Builds the client's 101 from the upstream's acceptance; or its 200, if the client used an
/// extended `CONNECT`.
///
/// The negotiation is verified already and is passed on unchanged: edits do not affect it.
pub(crate) fn accepted_response(
    mut head: Parts,
    upgrade: &UpgradeRequest,
    via: Option<&Via>,
    edits: &HeaderEdits,
) -> Response<()> {
    let lines = |name| {
        head.headers
            .get_all(name)
            .into_iter()
            // An empty line names nothing, and some clients fail on it.
            .filter(|line| !line.as_bytes().trim_ascii().is_empty())
            .map(move |line| (name, line.clone()))
    };
    let agreement: Vec<_> = NEGOTIATION_HEADERS.iter().flat_map(lines).collect();
    prepare_response_head(&mut head, via, edits);
    for name in NEGOTIATION_HEADERS
        .iter()
        .chain([&CONTENT_LENGTH, &TRANSFER_ENCODING])
    {
        head.headers.remove(name);
    }
    for (name, line) in agreement {
        add_header(&mut head.headers, name, line);
    }
    set_accept_key(&mut head, upgrade);
    let mut response = Response::new(());
    if !upgrade.is_extended_connect() {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        set_upgrade_headers(&mut head.headers);
    }
    *response.headers_mut() = head.headers;
    response
}

/// Sets the accept key that the client expects (RFC 6455 §4.2.2, item 5.4).
fn set_accept_key(head: &mut Parts, upgrade: &UpgradeRequest) {
    if upgrade.is_extended_connect() {
        // RFC 8441 §5: HTTP/2 has no accept key; the upstream's was verified here.
        head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    } else if head.version >= Version::HTTP_2 {
        // An upstream that got no key sends no accept key.
        if let Ok(proof) = HeaderValue::try_from(upgrade.accept_key()) {
            set_header(&mut head.headers, &SEC_WEBSOCKET_ACCEPT, proof);
        }
    }
}

/// Builds the client's response from the upstream's refusal.
///
/// To an extended `CONNECT` every 2xx establishes the tunnel (RFC 9113 §8.5), so there an
/// upstream's ordinary success becomes a 502.
pub(crate) fn refused_response<B>(
    response: Response<B>,
    upgrade: &UpgradeRequest,
    via: Option<&Via>,
    edits: &HeaderEdits,
) -> Response<B> {
    let (mut head, body) = response.into_parts();
    let length = body_length(&head);
    prepare_response_head(&mut head, via, edits);
    set_body_length(&mut head.headers, length);
    if upgrade.is_extended_connect() && head.status.is_success() {
        head.status = StatusCode::BAD_GATEWAY;
    }
    // RFC 9110 §15.5.22: a 426 names the protocol to upgrade to.
    if head.status == StatusCode::UPGRADE_REQUIRED {
        set_upgrade_headers(&mut head.headers);
    }
    // The upstream's framing concerns only its connection to this proxy.
    head.version = Version::HTTP_11;
    Response::from_parts(head, body)
}

/// Returns the length of the body that the upstream announces, as one number: the next reader may
/// reject a number that occurs several times (RFC 9110 §8.6).
///
/// Returns `None` for a chunked body, whose `Content-Length` is ignored (RFC 9112 §6.3, item 3),
/// and for a status that never has a body.
pub(crate) fn body_length(head: &Parts) -> Option<u64> {
    if head.status == StatusCode::NO_CONTENT || head.headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let mut lengths = members(&head.headers, &CONTENT_LENGTH).map(parse_digits);
    let length = lengths.next()??;
    lengths.all(|other| other == Some(length)).then_some(length)
}

/// Returns whether there is a transfer coding besides chunked. The proxy cannot relay it: the
/// coding would stay applied after its name is removed (RFC 9112 §6.1).
pub(crate) fn has_unsupported_coding(headers: &HeaderMap) -> bool {
    let mut codings = members(headers, &TRANSFER_ENCODING);
    let first = codings.next();
    codings.next().is_some() || first.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
}

/// Parses digits alone; `parse` accepts a sign too.
fn parse_digits(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|_| is_number)
}

/// Sets the length of the body, which edits cannot change.
pub(crate) fn set_body_length(headers: &mut HeaderMap, length: Option<u64>) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    if let Some(length) = length {
        set_header(headers, &CONTENT_LENGTH, length.into());
    }
}

/// Removes headers from a frame's trailers that belong ahead of the content.
pub(crate) fn sanitize_trailers(part: Frame<Bytes>) -> Frame<Bytes> {
    match part.into_trailers() {
        Ok(mut trailers) => {
            strip_trailers(&mut trailers);
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
pub(crate) fn prepare_response_head(head: &mut Parts, via: Option<&Via>, edits: &HeaderEdits) {
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
    use http::Request;

    use crate::{
        http::head::RequestHead,
        http::upgrade::{Intent, inspect},
    };

    use super::*;

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
        let chunks = [("content-length", "5"), ("transfer-encoding", "chunked")];
        assert_eq!(length(200, &chunks), None);
    }

    #[test]
    fn edits_do_not_change_the_length_of_a_refusal() {
        let request = Request::get("/ws")
            .header("host", "a")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        let Intent::Upgrade(upgrade) = inspect(&RequestHead::from(&request)) else {
            panic!("it is a handshake")
        };
        let refusal = Response::builder()
            .status(403)
            .header("content-length", "2")
            .body(())
            .unwrap();
        let edits = HeaderEdits::new().set("content-length", "99").unwrap();
        let response = refused_response(refusal, &upgrade, None, &edits);
        assert_eq!(response.headers()["content-length"], "2");
    }
}
